package main

import (
	"slices"
	"testing"

	"github.com/smmd-project/smmd/agent/config"
)

// TestBuiltIn: the adapters that the configuration knows without an [[adapter]] table are those that this program can be.
func TestBuiltIn(t *testing.T) {
	if known := slices.Sorted(slices.Values(config.Kinds)); !slices.Equal(kinds(), known) {
		t.Errorf("the program has the adapters %q, package config knows %q", kinds(), known)
	}
	for kind, build := range builtIn {
		if build() == nil {
			t.Errorf("there is no adapter behind %q", kind)
		}
	}
}

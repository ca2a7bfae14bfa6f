package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/config"
)

// TestCheckConfig: what an adapter does not understand is found before an agent runs into it, in every environment at once.
func TestCheckConfig(t *testing.T) {
	check := func(tables string) error {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte(tables), 0o600); err != nil {
			t.Fatal(err)
		}
		root := commands(io.Discard)
		root.SetArgs([]string{"check-config", file})
		return root.ExecuteContext(t.Context())
	}
	env := func(name, settings string) string {
		return "[[exec_env]]\nname = \"" + name + "\"\nadapter = \"osgi\"\n[exec_env.osgi]\n" + settings + "\n"
	}
	if err := check(env("good", `framework = "/f.jar"`)); err != nil {
		t.Error(err)
	}
	err := check(env("one", `framework = "f.jar"`) + env("good", `framework = "/f.jar"`) + env("two", "framework = \"/f.jar\"\nframewrok = 1"))
	if err == nil {
		t.Fatal("it is fine")
	}
	for _, want := range []string{`"one"`, "osgi.framework:", `"two"`, "osgi.framewrok"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %s: %v", want, err)
		}
	}
}

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

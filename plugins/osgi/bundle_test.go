package osgi

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// What is wrong with a package is told to servers. They are told which package it is, and not where the agent keeps it.
func TestErrorsNameNoDirectory(t *testing.T) {
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	const jar = "PK\x03\x04\x0a\x00\x00\x00\x00\x00"
	for _, tc := range []struct {
		name    string
		content string // of the file; empty: there is none
		ctx     context.Context
	}{
		{"no file", "", t.Context()},
		{"no archive", "text", t.Context()},
		{"another kind", "\x1f\x8b\x08\x00\x00\x00\x00\x00", t.Context()},
		{"truncated", jar, t.Context()},
		{"no member", "PK\x05\x06" + strings.Repeat("\x00", 18), t.Context()},
		{"canceled", "text", canceled},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "5b00")
		if tc.content != "" {
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, inspected := inspectBundle(tc.ctx, path)
		_, opened := openArchive(path)
		for _, err := range []error{inspected, opened} {
			if err == nil || strings.Contains(err.Error(), filepath.Dir(dir)) || !strings.Contains(err.Error(), "5b00") {
				t.Errorf("%s: the error is %v", tc.name, err)
			}
			if e, ok := err.(*adapter.Error); ok && strings.Contains(e.Cause, dir) {
				t.Errorf("%s: the cause is %s", tc.name, e.Cause)
			}
		}
	}
}

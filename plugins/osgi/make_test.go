package osgi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// factoryJar is a jar that says of itself that class makes a framework.
func factoryJar(t *testing.T, text string) string {
	t.Helper()
	return writeJar(t, member{manifestName, "Manifest-Version: 1.0\n"}, member{factoryName, text})
}

func TestMakeOf(t *testing.T) {
	plain, broken := bundleJar(t, "plain", "1"), filepath.Join(t.TempDir(), "broken.jar")
	if err := os.WriteFile(broken, []byte("no zip"), 0o600); err != nil {
		t.Fatal(err)
	}
	felix := factoryJar(t, "org.example.Felix\n")
	equinox := factoryJar(t, "# Generated\n\n  org.example.Equinox # the one\norg.example.Second")
	for _, test := range []struct {
		name        string
		files       []string
		class, file string
	}{
		{"none", nil, "", ""},
		{"no framework, and none that can be read", []string{plain, broken, "/nonexistent.jar"}, "", ""},
		{"one", []string{felix}, "org.example.Felix", felix},
		{"comments, spaces, no end of line", []string{equinox}, "org.example.Equinox", equinox},
		{"on the class path", []string{plain, equinox, felix}, "org.example.Equinox", equinox},
		{"only comments", []string{factoryJar(t, "# nothing\n"), felix}, "org.example.Felix", felix},
	} {
		t.Run(test.name, func(t *testing.T) {
			if class, file := makeOf(test.files); class != test.class || file != test.file {
				t.Errorf("it is %q in %q, want %q in %q", class, file, test.class, test.file)
			}
		})
	}
}

// A framework is launched on a storage of its own make, and on no other; one that failed leaves no mark.
func TestStorageOfAnotherMake(t *testing.T) {
	dir := t.TempDir()
	endHost(t, dir)
	one, two := factoryJar(t, "org.example.One"), factoryJar(t, "org.example.Two")
	launch := func(mode, framework string) error {
		t.Helper()
		set := launchable(t, mode)
		set["framework"] = framework
		o := configured(t, shortLimits(), dir, set)
		err := o.SetEnabled(t.Context(), "op", "home", true, nil)
		if off := o.SetEnabled(t.Context(), "op", "home", false, nil); off != nil {
			t.Fatal(off)
		}
		return err
	}
	mark := filepath.Join(dir, storageName, makeName)

	reasonIs(t, launch("exit", two), adapter.StartFailed)
	if _, err := os.Stat(mark); !os.IsNotExist(err) {
		t.Errorf("a launch that failed has left a mark: %v", err)
	}
	for range 2 {
		if err := launch("", one); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(mark); err != nil || string(text) != "org.example.One\n" {
		t.Errorf("the mark is %q, %v", text, err)
	}
	if err := launch("", bundleJar(t, "nameless", "1")); err != nil {
		t.Errorf("a framework that does not say what it is: %v", err)
	}
	err := launch("", two)
	reasonIs(t, err, adapter.Unstartable)
	for _, part := range []string{two, filepath.Join(dir, storageName), "org.example.One", "org.example.Two"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("the refusal %v does not name %s", err, part)
		}
	}
	if err := launch("", one); err != nil {
		t.Errorf("the right one again: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(dir, storageName)); err != nil {
		t.Fatal(err)
	}
	if err := launch("", two); err != nil {
		t.Errorf("an empty storage: %v", err)
	}
}

package osgi

import (
	"context"
	"errors"
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

// A framework is launched on a storage of its own make, and on no other; one that failed and wrote nothing pins none.
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

	reasonIs(t, launch("exit", two), adapter.StartFailed) // it wrote nothing
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

// A storage that a framework wrote is of its make, whatever became of the launch.
func TestMakeOfALaunchThatNobodySawSucceed(t *testing.T) {
	one, two := factoryJar(t, "org.example.One"), factoryJar(t, "org.example.Two")
	with := func(dir, mode, framework string) *osgi {
		t.Helper()
		set := launchable(t, mode)
		set["framework"] = framework
		if mode == "deaf" {
			set["start_timeout"] = "500ms"
		}
		return configured(t, shortLimits(), dir, set)
	}
	refused := func(dir string) {
		t.Helper()
		if err := with(dir, "", one).SetEnabled(t.Context(), "op", "home", false, nil); err != nil {
			t.Fatal(err)
		}
		err := with(dir, "", two).SetEnabled(t.Context(), "op", "home", true, nil)
		reasonIs(t, err, adapter.Unstartable)
	}
	marked := func(dir string) bool {
		text, err := os.ReadFile(filepath.Join(dir, storageName, makeName))
		return err == nil && string(text) == "org.example.One\n"
	}
	t.Run("timed out", func(t *testing.T) {
		dir := t.TempDir()
		endHost(t, dir)
		reasonIs(t, with(dir, "deaf", one).SetEnabled(t.Context(), "op", "home", true, nil), adapter.StartFailed)
		refused(dir)
	})
	t.Run("cut", func(t *testing.T) {
		dir := t.TempDir()
		endHost(t, dir)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- with(dir, "deaf", one).SetEnabled(ctx, "op", "home", true, nil) }()
		await(t, "the framework to write", func() bool {
			_, err := os.Stat(filepath.Join(dir, storageName, frameworkName, "bundles"))
			return err == nil
		})
		cancel()
		<-done
		if !marked(dir) {
			t.Error("there is no mark")
		}
		refused(dir)
	})
	for name, find := range map[string]func(*testing.T, *osgi){
		"found by a launch": func(t *testing.T, o *osgi) {
			if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
				t.Fatal(err)
			}
		},
		"found by the watch": func(t *testing.T, o *osgi) { watch(t, o).until("the sync", synced) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			endHost(t, dir)
			jar := link(t, one)
			if err := with(dir, "", jar).SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
				t.Fatal(err)
			}
			await(t, "the clock", func() bool { lived, err := age(pidOf(t, dir)); return err == nil && lived > 2*startSlack })
			// It is of the make that runs, not of the one that is there now.
			remove(t, filepath.Join(dir, storageName, makeName))
			if err := errors.Join(os.Symlink(two, jar+".next"), os.Rename(jar+".next", jar)); err != nil {
				t.Fatal(err)
			}
			find(t, with(dir, "", jar))
			await(t, "the mark", func() bool { return marked(dir) })
			refused(dir)
		})
	}
	t.Run("nothing written by one, and the next does not say what it is", func(t *testing.T) {
		dir := t.TempDir()
		endHost(t, dir)
		reasonIs(t, with(dir, "exit", one).SetEnabled(t.Context(), "op", "home", true, nil), adapter.StartFailed)
		nameless := with(dir, "", bundleJar(t, "nameless", "1"))
		if err := nameless.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
			t.Fatal(err)
		}
		if err := nameless.SetEnabled(t.Context(), "op", "home", false, nil); err != nil {
			t.Fatal(err)
		}
		if err := with(dir, "", two).SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
			t.Error(err)
		}
	})
}

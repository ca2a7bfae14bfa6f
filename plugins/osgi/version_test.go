package osgi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// versioned is an environment, launchable with the double, whose framework and class path are files that the test may replace.
type versioned struct {
	t              *testing.T
	dir            string // DataDir
	framework, lib string
	o              *osgi
}

func newVersioned(t *testing.T) *versioned {
	t.Helper()
	files := t.TempDir()
	v := &versioned{t: t, dir: t.TempDir(), framework: filepath.Join(files, "framework.jar"), lib: filepath.Join(files, "lib.jar")}
	v.configure("framework 1", "lib 1")
	endHost(t, v.dir)
	v.restart()
	return v
}

// restart makes another adapter.
func (v *versioned) restart() {
	set := launchable(v.t, "")
	set["framework"], set["class_path"] = v.framework, []string{v.lib}
	v.o = configured(v.t, shortLimits(), v.dir, set)
}

// configure replaces the content of the files that are configured.
func (v *versioned) configure(framework, lib string) {
	v.t.Helper()
	replaced(v.t, v.framework, framework)
	replaced(v.t, v.lib, lib)
}

func (v *versioned) save() adapter.Package {
	v.t.Helper()
	path := filepath.Join(v.t.TempDir(), "saved")
	if err := v.o.SaveVersion(v.t.Context(), "home", path); err != nil {
		v.t.Fatal(err)
	}
	return adapter.Package{Path: path}
}

func (v *versioned) restore(p adapter.Package) {
	v.t.Helper()
	if err := v.o.RestoreVersion(v.t.Context(), "op", "home", p); err != nil {
		v.t.Fatal(err)
	}
}

// class path of the process that runs.
func (v *versioned) classPath() []string {
	v.t.Helper()
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pidOf(v.t, v.dir)))
	if err != nil {
		v.t.Fatal(err)
	}
	args := strings.Split(string(line), "\x00")
	return strings.Split(args[slices.Index(args, "-cp")+1], ":")[1:]
}

// runs launches the environment anew and checks the contents that it runs from.
func (v *versioned) runs(want ...string) {
	v.t.Helper()
	if err := errors.Join(v.o.SetEnabled(v.t.Context(), "op", "home", false, nil), v.o.SetEnabled(v.t.Context(), "op", "home", true, nil)); err != nil {
		v.t.Fatal(err)
	}
	var got []string
	for _, file := range v.classPath() {
		content, err := os.ReadFile(file)
		if err != nil {
			v.t.Fatal(err)
		}
		got = append(got, string(content))
	}
	if !slices.Equal(got, want) {
		v.t.Errorf("it runs from %q, want %q", got, want)
	}
}

// left are the names in the version directory.
func (v *versioned) left() []string {
	v.t.Helper()
	entries, err := os.ReadDir(filepath.Join(v.dir, versionName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		v.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (v *versioned) write(name, content string) {
	v.t.Helper()
	path := filepath.Join(v.dir, versionName, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(content), 0o600)); err != nil {
		v.t.Fatal(err)
	}
}

func TestRestoredVersionRunsUntilOtherFilesAreConfigured(t *testing.T) {
	v := newVersioned(t)
	v.runs("framework 1", "lib 1")
	one := v.save()
	v.configure("framework 2", "lib 1")
	v.runs("framework 2", "lib 1")
	two := v.save()

	v.restore(one)
	v.runs("framework 1", "lib 1")
	if p := v.classPath()[0]; !strings.HasPrefix(p, filepath.Join(v.dir, versionName)) {
		t.Errorf("it runs from %s", p)
	}
	v.restart()
	v.runs("framework 1", "lib 1")

	// Other names and times, but the same content: the configuration names what it named.
	moved := filepath.Join(t.TempDir(), "other-name.jar")
	if err := os.Rename(v.framework, moved); err != nil {
		t.Fatal(err)
	}
	v.framework = moved
	v.restart()
	v.runs("framework 1", "lib 1")

	// The class path counts too.
	v.configure("framework 2", "lib 2")
	v.runs("framework 2", "lib 2")
	if left := v.left(); len(left) != 0 {
		t.Errorf("of the dropped version %q is left", left)
	}
	// The dropped one does not come back with the old configuration.
	v.configure("framework 2", "lib 1")
	v.runs("framework 2", "lib 1")

	// One restored version takes the place of another, and what is configured that of all.
	v.configure("framework 3", "lib 3")
	v.restore(one)
	v.restore(two)
	v.runs("framework 2", "lib 1")
	if left := v.left(); len(left) != 2 {
		t.Errorf("%q is left", left)
	}
	v.configure("framework 1", "lib 1")
	v.restore(one)
	v.runs("framework 1", "lib 1")
	if p := v.classPath()[0]; p != v.framework {
		t.Errorf("what is configured runs from %s", p)
	}
}

// The version of an environment is what runs, not what has been configured since.
func TestSavedIsWhatRuns(t *testing.T) {
	v := newVersioned(t)
	of := func(p adapter.Package) []string {
		t.Helper()
		a, err := openArchive(p.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		return a.sums
	}
	v.runs("framework 1", "lib 1")
	first, path := of(v.save()), v.framework
	v.framework = filepath.Join(filepath.Dir(v.framework), "next.jar")
	v.configure("framework 2", "lib 1")
	v.restart() // the framework goes on
	old := v.save()
	if got := of(old); !slices.Equal(got, first) {
		t.Errorf("saved is %v, what runs is %v", got, first)
	}
	v.runs("framework 2", "lib 1")
	if got := of(v.save()); slices.Equal(got, first) {
		t.Errorf("saved is still %v", got)
	}

	// The same for one that was restored.
	v.restore(old)
	v.runs("framework 1", "lib 1")
	v.framework = filepath.Join(filepath.Dir(v.framework), "third.jar")
	v.configure("framework 3", "lib 1")
	v.restart()
	if got := of(v.save()); !slices.Equal(got, first) {
		t.Errorf("saved is %v, what runs is %v", got, first)
	}
	if err := os.WriteFile(v.classPath()[0], []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := of(v.save())
	v.runs("framework 3", "lib 1")
	if got := of(v.save()); !slices.Equal(got, damaged) {
		t.Errorf("of damaged files %v was saved, what is configured is %v", damaged, got)
	}

	// A file that was removed is had as long as it is open, also when there is a record and what is configured is missing.
	want := of(v.save())
	remove(t, v.framework)
	v.framework = path
	remove(t, path)
	v.restart()
	v.write(recordName, `{"version":1}`)
	if got := of(v.save()); !slices.Equal(got, want) {
		t.Errorf("saved is %v, what runs is %v", got, want)
	}
}

// replaced puts another file in the place of one, as a package manager does.
func replaced(t *testing.T, path, by string) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", []byte(by), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// Files may be replaced under their paths while the framework runs.
func TestSavedIsWhatWasLaunched(t *testing.T) {
	saved := func(v *versioned) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "saved")
		if err := v.o.SaveVersion(t.Context(), "home", path); err != nil {
			if _, left := os.Stat(path); !os.IsNotExist(left) {
				t.Errorf("a file is left: %v", left)
			}
			return string(adapter.ReasonOf(err))
		}
		a, err := openArchive(path)
		if err != nil {
			t.Fatal(err)
		}
		defer a.close()
		dir := t.TempDir()
		if err := a.extract(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		var parts []string
		for i := range a.sums {
			content, err := os.ReadFile(filepath.Join(dir, memberName(i)))
			if err != nil {
				t.Fatal(err)
			}
			parts = append(parts, string(content))
		}
		return strings.Join(parts, ", ")
	}
	// What comes after the launch is to be seen as such.
	settled := func(v *versioned) {
		await(t, "the clock", func() bool { lived, err := age(pidOf(t, v.dir)); return err == nil && lived > 2*startSlack })
	}

	v := newVersioned(t)
	v.runs("framework 1", "lib 1")
	settled(v)
	const launched = "framework 1, lib 1"
	if got := saved(v); got != launched {
		t.Errorf("saved is %q", got)
	}
	if err := errors.Join(os.Chmod(v.framework, 0o644), os.Link(v.framework, v.framework+".backup")); err != nil {
		t.Fatal(err)
	}
	if got := saved(v); got != launched {
		t.Errorf("with another mode and name saved is %q", got)
	}
	remove(t, v.framework+".backup")
	replaced(t, v.framework, "framework 2")
	replaced(t, v.lib, "lib 2")
	if got := saved(v); got != launched {
		t.Errorf("of replaced files saved is %q", got)
	}
	v.runs("framework 2", "lib 2")
	settled(v)
	if err := os.WriteFile(v.framework, []byte("framework 3"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := saved(v); got != string(adapter.NotSupported) {
		t.Errorf("of a file that was written over saved is %q", got)
	}

	// A link that leads elsewhere.
	one, two := factoryJar(t, "org.example.One"), factoryJar(t, "org.example.Two")
	v = newVersioned(t)
	jar := func(file string) string {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	v.framework = link(t, one)
	v.restart()
	v.runs(jar(one), "lib 1")
	settled(v)
	next := v.framework + ".next"
	if err := errors.Join(os.Symlink(two, next), os.Rename(next, v.framework)); err != nil {
		t.Fatal(err)
	}
	if got := saved(v); got != jar(one)+", lib 1" {
		t.Errorf("of a link that leads elsewhere saved is %q", got)
	}
	next = v.lib + ".next"
	if err := errors.Join(os.Rename(v.lib, v.lib+".old"), os.Symlink(two, next), os.Rename(next, v.lib)); err != nil {
		t.Fatal(err)
	}
	if got := saved(v); got != string(adapter.NotSupported) {
		t.Errorf("of a class path that leads elsewhere saved is %q", got)
	}
}

func TestFilesOfARunningVersionStay(t *testing.T) {
	v := newVersioned(t)
	one := v.save()
	v.configure("framework 2", "lib 2")
	two := v.save()
	v.configure("framework 3", "lib 3")
	v.restore(one)
	v.runs("framework 1", "lib 1")
	running := v.classPath()
	v.restore(two)
	v.save()
	for _, file := range running {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("the framework that runs has lost a file: %v", err)
		}
	}
	v.runs("framework 2", "lib 2")
}

func TestVersionDirectoryAfterACrash(t *testing.T) {
	v := newVersioned(t)
	one := v.save()
	v.configure("framework 2", "lib 2")
	id := func() string {
		for _, name := range v.left() {
			if name != recordName {
				return name
			}
		}
		t.Fatal("there is no version")
		return ""
	}

	// Cut off before the record: nothing was restored.
	v.write("abc.new/framework.jar", "half")
	v.write("abc/framework.jar", "whole")
	v.write(recordName+".new", "{")
	v.runs("framework 2", "lib 2")
	if left := v.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}

	// The repeated call finishes it.
	v.write("abc.new/framework.jar", "half")
	v.restore(one)
	v.runs("framework 1", "lib 1")
	v.write(id()+".new/framework.jar", "half")
	v.write(id()+"/framework.jar", "half")
	v.restore(one)
	v.runs("framework 1", "lib 1")

	// What cannot be relied on is not run.
	for what, damage := range map[string]func(){
		"a file is another": func() { v.write(id()+"/framework.jar", "framework 0") },
		"a file is gone":    func() { remove(t, filepath.Join(v.dir, versionName, id(), "classpath-1.jar")) },
		"no JSON":           func() { v.write(recordName, "x") },
		"no files":          func() { v.write(recordName, `{"version":1}`) },
	} {
		v.restore(one)
		damage()
		v.runs("framework 2", "lib 2")
		if left := v.left(); len(left) != 0 {
			t.Errorf("%s: %q is left", what, left)
		}
	}

	// A record of tomorrow is nobody's to drop.
	v.write(recordName, `{"version":2}`)
	reasonIs(t, v.o.SetEnabled(t.Context(), "op", "home", false, nil), "")
	reasonIs(t, v.o.SetEnabled(t.Context(), "op", "home", true, nil), adapter.Unstartable)
	remove(t, filepath.Join(v.dir, versionName, recordName))

	// A configured file that is missing is told, and changes nothing.
	v.restore(one)
	remove(t, v.framework)
	err := v.o.SetEnabled(t.Context(), "op", "home", true, nil)
	reasonIs(t, err, adapter.Unstartable)
	if err == nil || !strings.Contains(err.Error(), v.framework) {
		t.Errorf("error %v", err)
	}
	reasonIs(t, v.o.RestoreVersion(t.Context(), "op", "home", one), adapter.Unstartable)
	v.configure("framework 2", "lib 2")
	v.runs("framework 1", "lib 1")
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func TestSavedVersion(t *testing.T) {
	v := newVersioned(t)
	read := func(p adapter.Package) []byte {
		t.Helper()
		data, err := os.ReadFile(p.Path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	one := read(v.save())
	v.configure("framework 1", "lib 1") // new times
	if again := read(v.save()); !bytes.Equal(one, again) {
		t.Error("the same content gives other bytes")
	}
	other := newVersioned(t)
	if elsewhere := read(other.save()); !bytes.Equal(one, elsewhere) {
		t.Error("the same content of another environment gives other bytes")
	}
	v.configure("framework 1", "lib 2")
	if next := read(v.save()); bytes.Equal(one, next) {
		t.Error("other content gives the same bytes")
	}

	path := filepath.Join(t.TempDir(), "saved")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	reasonIs(t, v.o.SaveVersion(ctx, "home", path), adapter.Canceled)
	reasonIs(t, v.o.SaveVersion(t.Context(), "away", path), adapter.NotFound)
	reasonIs(t, v.o.SaveVersion(t.Context(), "home", "saved"), adapter.InvalidArgument)
	reasonIs(t, v.o.SaveVersion(t.Context(), "home", filepath.Join(path, "below")), adapter.Internal)
	remove(t, v.lib)
	if err := os.Mkdir(v.lib, 0o700); err != nil {
		t.Fatal(err)
	}
	reasonIs(t, v.o.SaveVersion(t.Context(), "home", path), adapter.NotSupported)
	remove(t, v.lib)
	reasonIs(t, v.o.SaveVersion(t.Context(), "home", path), adapter.Internal)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("failures left a file: %v", err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	v := newVersioned(t)
	saved := v.save()
	v.configure("framework 2", "lib 2")
	whole, err := os.ReadFile(saved.Path)
	if err != nil {
		t.Fatal(err)
	}
	index := func(format string, files ...string) member {
		raw, err := json.Marshal(archiveIndex{format, files})
		if err != nil {
			t.Fatal(err)
		}
		return member{archiveManifest, string(raw)}
	}
	sum := strings.Repeat("a", 64)
	jar := member{memberName(0), "framework"}
	for name, tc := range map[string]struct {
		file string
		want adapter.Reason
	}{
		"a bundle":        {bundleJar(t, "b", "1"), adapter.Mismatch},
		"another format":  {writeJar(t, index("smmd-osgi-version-2", sum), jar), adapter.Mismatch},
		"no files":        {writeJar(t, index(archiveFormat)), adapter.Corrupt},
		"a file more":     {writeJar(t, index(archiveFormat, sum), jar, jar), adapter.Corrupt},
		"a file less":     {writeJar(t, index(archiveFormat, sum, sum), jar), adapter.Corrupt},
		"another name":    {writeJar(t, index(archiveFormat, sum), member{"../framework.jar", ""}), adapter.Corrupt},
		"no digest":       {writeJar(t, index(archiveFormat, sum[2:]), jar), adapter.Corrupt},
		"another digest":  {writeJar(t, index(archiveFormat, sum), jar), adapter.Corrupt},
		"index no JSON":   {writeJar(t, member{archiveManifest, "x"}, jar), adapter.Corrupt},
		"another content": {alter(t, writeFileOf(t, whole), func(b []byte) []byte { return bytes.Replace(b, []byte("framework 1"), []byte("framework 0"), 1) }), adapter.Corrupt},
		"cut off":         {writeFileOf(t, whole[:len(whole)-30]), adapter.Corrupt},
		"empty":           {writeFileOf(t, nil), adapter.Corrupt},
		"no file":         {"/nonexistent", adapter.Internal},
	} {
		err := v.o.RestoreVersion(t.Context(), "op", "home", adapter.Package{Path: tc.file})
		if adapter.ReasonOf(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	reasonIs(t, v.o.RestoreVersion(ctx, "op", "home", saved), adapter.Canceled)
	reasonIs(t, v.o.RestoreVersion(t.Context(), "op", "away", saved), adapter.NotFound)
	v.runs("framework 2", "lib 2")
	if left := v.left(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
}

func writeFileOf(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

package lxc

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// oddPath is a path in a container with characters that a table of mounts, a configuration file or a shell might read otherwise.
const oddPath = `/srv/a  b\040c"d'e#$HOME,ro%n:ü`

// sourceOf makes the directory of a volume as the agent does, with a name that is not easy either, on a file system that has set-user-ID programs and devices.
func sourceOf(t *testing.T, name string) string {
	t.Helper()
	machine.RequireInside(t)
	var file unix.Statfs_t
	if err := unix.Statfs("/var/lib", &file); err != nil || file.Flags&(unix.ST_NOSUID|unix.ST_NODEV) != 0 {
		t.Fatalf("/var/lib has the flags %#x: %v", file.Flags, err)
	}
	top, err := os.MkdirTemp("/var/lib", "test-")
	must(t, err)
	t.Cleanup(func() { must(t, removeTree(top)) })
	must(t, os.Chmod(top, 0o755))
	state := filepath.Join(top, `the state\134 of "it":`)
	dir := filepath.Join(state, "data", "home", name)
	must(t, os.MkdirAll(dir, 0o700), os.Chmod(dir, 0o777))
	return dir
}

// setVolumes gives a container volumes, told as pairs of source and path.
func (d *device) setVolumes(key string, pairs ...string) {
	d.t.Helper()
	var s adapter.UnitSettings
	for i := 0; i < len(pairs); i += 2 {
		s.Volumes = append(s.Volumes, adapter.Volume{Source: pairs[i], Path: pairs[i+1]})
	}
	must(d.t, d.a.SetUnit(d.t.Context(), "set", d.ref(key), s))
}

// mountsOf returns the mounts that a process sees at or below a directory, without their numbers.
func mountsOf(t *testing.T, pid, below string) []string {
	t.Helper()
	table, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	must(t, err)
	var all []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); within(written.Replace(f[4]), below) {
			all = append(all, strings.Join(f[4:], " "))
		}
	}
	return all
}

// samePeers tells mounts of the same peer group as a mount: what is mounted in one is mounted in the other.
func samePeers(m string) func(string) bool {
	group := regexp.MustCompile(`shared:[0-9]+ `).FindString(m)
	return func(other string) bool { return group != "" && strings.Contains(other, group) }
}

func linesOf(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return strings.Fields(string(data))
}

// TestVolumes shows that a container keeps data in its volumes over all that happens to it, and leaves them where they are.
func TestVolumes(t *testing.T) {
	machine.RequireInside(t)
	for name, c := range map[string]struct {
		s        starter
		set      map[string]any
		user     string
		uid, gid uint32
	}{
		"units": {units{}, nil, "web", 33, 34}, "units with ids": {units{}, withIDs(t), "root", 300000, 300000},
		"sessions": {sessions{}, nil, "root", 0, 0}, "sessions with ids": {sessions{}, withIDs(t), "web", 300033, 300034},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, c.s, c.set)
			one, two := sourceOf(t, "1"), sourceOf(t, "2 2")
			must(t, os.WriteFile(filepath.Join(two, "given"), []byte("by the device"), 0o644))
			script := "run() { if [ -d \"$1\" ]; then echo $WHO >> \"$1/log\"; echo \"sees $(cat \"$1/log\" \"$1/given\")\"; else echo \"no $1\"; fi; }\n" +
				"{ run /data/deep; run '" + strings.ReplaceAll(oddPath, "'", `'\''`) + "'; } > /tmp/out 2>&1; " + endless
			spec := imageSpec{title: "c", version: "1", layers: [][]entry{append(base(t), entry{name: "data/"}, entry{name: "data/kept", content: "of the image"})},
				config: v1Config("/bin/sh", "-c", script)}
			spec.config.Env, spec.config.User = []string{"WHO=first"}, c.user
			old := archiveOf(t, spec)
			spec.version, spec.config.Env = "2", []string{"WHO=second"}
			next := archiveOf(t, spec)
			check := func(when string, oneHas, twoHas []string) {
				t.Helper()
				d.file("c", "tmp/ready")
				if got := linesOf(t, filepath.Join(one, "log")); !slices.Equal(got, oneHas) {
					t.Errorf("%s: the volume /data/deep has %q, want %q. The container says\n%s", when, got, oneHas, d.file("c", "tmp/out"))
				}
				if got := linesOf(t, filepath.Join(two, "log")); !slices.Equal(got, twoHas) {
					t.Errorf("%s: the other volume has %q, want %q. The container says\n%s", when, got, twoHas, d.file("c", "tmp/out"))
				}
			}
			first := func(n int) []string { return slices.Repeat([]string{"first"}, n) }
			u := d.install("c", old)
			image := treeOf(t, d.rootfs("c", ""))
			host := mountsOf(t, "self", "/")
			d.setVolumes("c", one, "/data/deep", two, oddPath)
			d.start("c")
			check("started", first(1), first(1))
			if out := d.file("c", "tmp/out"); !strings.Contains(out, "by the device") {
				t.Errorf("it sees\n%s", out)
			}
			var st unix.Stat_t
			must(t, unix.Lstat(filepath.Join(one, "log"), &st))
			if st.Uid != c.uid || st.Gid != c.gid {
				t.Errorf("its file belongs to %d:%d, want %d:%d", st.Uid, st.Gid, c.uid, c.gid)
			}

			// What it sees is of no consequence to the device, and the other way round.
			pid := strconv.Itoa(d.first("c"))
			for _, at := range []string{"/data/deep", oddPath} {
				m := mountsOf(t, pid, at)
				if len(m) != 1 || !strings.Contains(m[0], " rw,nosuid,nodev") || strings.Contains(m[0], "master:") || slices.ContainsFunc(host, samePeers(m[0])) {
					t.Errorf("at %s is mounted %q, on the device %q", at, m, host)
				}
			}
			must(t, os.Mkdir(filepath.Join(one, "sub"), 0o755))
			tool(t, "nsenter", "-t", pid, "-m", "/bin/busybox", "mount", "-t", "tmpfs", "inside", "/data/deep/sub")
			if now := mountsOf(t, "self", "/"); !slices.Equal(host, now) {
				t.Errorf("the device sees other mounts (-before +now):\n%s", cmp.Diff(host, now))
			}

			d.setVolumes("c", two, "/data/deep")
			if now := d.first("c"); strconv.Itoa(now) != pid || len(mountsOf(t, pid, oddPath)) != 1 {
				t.Errorf("process %s that runs is %d now and sees %q", pid, now, mountsOf(t, pid, "/"))
			}
			d.setVolumes("c", one, "/data/deep", two, oddPath)
			if c.s == (units{}) {
				tool(t, "systemctl", "daemon-reload")
			}
			d.stop("c")
			if m := d.is("c", adapter.Idle); m.Reason != "" {
				t.Errorf("stopped it is %+v", m)
			}
			must(t, removeIfThere(d.rootfs("c", "tmp/ready")))

			again := newAdapter(quietLog(), c.s) // as one that follows after a crash
			defer again.end()
			e := again.newEnv("home", d.env.store.dir, d.env.set)
			must(t, e.start(t.Context(), e.container(d.name("c")), false))
			check("another adapter", first(2), first(2))

			_, err := d.a.Update(t.Context(), "update", d.ref("c"), packageOf(t, old), packageOf(t, next))
			must(t, err)
			d.start("c")
			check("updated", append(first(2), "second"), append(first(2), "second"))
			_, err = d.a.Revert(t.Context(), "update", d.ref("c"), packageOf(t, old))
			must(t, err, removeIfThere(d.rootfs("c", "tmp/ready")))

			// Taken away are the volumes, with the mount points; what the image has stays.
			d.setVolumes("c", one, "/data")
			must(t, os.Remove(filepath.Join(one, "log")), d.a.SetEnabled(t.Context(), "off", "home", false, nil), d.a.SetEnabled(t.Context(), "on", "home", true, nil))
			d.start("c")
			d.file("c", "tmp/ready")
			if out := d.file("c", "tmp/out"); out != "no /data/deep\nno "+oddPath+"\n" {
				t.Errorf("without its volumes it sees\n%s", out)
			}
			if m := mountsOf(t, strconv.Itoa(d.first("c")), "/data"); len(m) != 1 {
				t.Errorf("at /data is mounted %q", m)
			}
			now := treeOf(t, d.rootfs("c", ""))
			for _, name := range []string{"tmp/ready", "tmp/out"} {
				delete(now, name)
			}
			if diff := cmp.Diff(image, now); diff != "" {
				t.Errorf("its root file system is not that of its image any more (-image +now):\n%s", diff)
			}

			_, err = d.a.Uninstall(t.Context(), "uninstall", d.ref("c"))
			must(t, err)
			if got := linesOf(t, filepath.Join(two, "log")); len(got) != 3 {
				t.Errorf("%s is uninstalled, and its volume has %q", u.DUID, got)
			}
			if _, err := os.Stat(filepath.Join(one, "sub")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVolumePlaces shows where volumes are in an image that has something in their way, and that none leaves the container.
func TestVolumePlaces(t *testing.T) {
	d := newDevice(t, sessions{}, nil)
	outside := filepath.Join(t.TempDir(), "outside")
	links := []entry{{name: "file", content: "x"}, {name: "var/"}, {name: "var/lib/"}, {name: "var/lib/inside"}, {name: "abs", link: "/var/lib"}, {name: "dangling", link: outside + "/new"},
		{name: "loop", link: "loop"}, {name: "top", link: "/"}, {name: "kernel", link: "/proc/sys"}, {name: "devices", link: "/dev"}, {name: "hidden", link: "/sys/x"}, {name: "lines", link: "/a\nb"},
		{name: "latin", link: "/gr\xf6\xdfer"}}
	spec := imageSpec{title: "c", version: "1", layers: [][]entry{append(base(t), links...)}, config: v1Config("/bin/sh", "-c", endless)}
	d.install("c", archiveOf(t, spec))
	must(t, os.Symlink("../../../../../../../../../../../.."+outside, d.rootfs("c", "climbing"))) // as the container itself may make it; a package with that is refused
	source, other := sourceOf(t, "1"), sourceOf(t, "2")
	must(t, os.WriteFile(filepath.Join(source, "one"), nil, 0o644), os.WriteFile(filepath.Join(other, "two"), nil, 0o644))
	for _, c := range []struct {
		volumes []string
		at      string // where the first one is; empty: it cannot be started
		says    string
	}{
		{[]string{source, "/abs"}, "/var/lib", ""},
		{[]string{source, "/abs/data/x", other, "/var/lib/other"}, "/var/lib/data/x", ""},
		{[]string{source, "/dangling/x"}, outside + "/new/x", ""},
		{[]string{source, "/climbing"}, outside, ""},
		{[]string{source, "/climbing/a/b", other, "/dangling"}, outside + "/a/b", ""},
		{[]string{source, "/etc"}, "/etc", ""},
		{[]string{source, "/file"}, "", `"/file" is no directory`},
		{[]string{source, "/file/x"}, "", `in the image: not a directory`},
		{[]string{source, "/loop"}, "", "in the image: too many levels"},
		{[]string{source, "/top"}, "", `leads it to "/"`},
		{[]string{source, "/top/dev/x"}, "", `leads it to "/dev/x"`},
		{[]string{source, "/kernel"}, "", `leads it to "/proc/sys"`},
		{[]string{source, "/devices"}, "", `leads it to "/dev"`},
		{[]string{source, "/hidden/y"}, "", `leads it to "/sys/x/y"`},
		{[]string{source, "/lines"}, "", `leads it to "/a\nb"`},
		{[]string{source, "/latin/x"}, "", `leads it to "/gr\xf6\xdfer/x"`},
		{[]string{source, "/abs", other, "/var/lib"}, "", `"/abs" and "/var/lib"`},
		{[]string{source, "/abs", other, "/var/lib/x"}, "", `"/abs" and "/var/lib/x"`},
		{[]string{source, "/abs/x", other, "/var"}, "", `"/abs/x" and "/var"`},
		{[]string{source, "/" + strings.Repeat(strings.Repeat(" ", 200)+"x/", 6) + "x"}, "", "too long"},
		{[]string{source + "/none", "/data"}, "", source + "/none: no such file or directory"},
		{[]string{source + "/one", "/data"}, "", "is no directory"},
	} {
		d.setVolumes("c", c.volumes...)
		err := d.a.Start(t.Context(), "start", d.moduleOf("c"), adapter.StartOptions{Auto: true})
		if c.at == "" {
			reasonIs(t, err, adapter.AutoStartFailed)
			var why *adapter.Error
			if !errors.As(err, &why) || !strings.Contains(why.Cause, c.says) || !strings.Contains(why.Error(), why.Cause) {
				t.Fatalf("%q: want an error that says %s, got %v", c.volumes, c.says, err)
			}
			d.module("c", "with "+why.Cause, func(m adapter.Module) bool {
				return m.Status == adapter.Idle && m.Reason == adapter.AutoStartFailed && m.Message == clip(why.Cause, maxMessage)
			})
			continue
		}
		if err != nil {
			t.Errorf("%q: %v\nLXC logged:\n%s", c.volumes, err, d.logOf("c"))
			continue
		}
		pid := strconv.Itoa(d.first("c"))
		for i, name := range []string{"one", "two"}[:len(c.volumes)/2] {
			// As the container sees it: from its own root.
			if _, err := exec.Command("nsenter", "-t", pid, "-m", "/bin/busybox", "ls", c.volumes[2*i+1]+"/"+name).CombinedOutput(); err != nil {
				t.Errorf("%q: %s is not there: %v", c.volumes, c.volumes[2*i+1], err)
			}
		}
		if m := mountsOf(t, pid, c.at); len(m) != 1 {
			t.Errorf("%q: at %s is mounted %q; all is %q", c.volumes, c.at, m, mountsOf(t, pid, "/"))
		}
		if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %s is there: %v", c.volumes, outside, err)
		}
		d.stop("c")
	}
	d.setVolumes("c", source, "/data")
	d.start("c") // nothing of all that is left
	if m := d.is("c", adapter.Active); m.Reason != "" {
		t.Errorf("%+v", m)
	}
	if _, err := os.Lstat(d.rootfs("c", outside)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("mount points are left: %v", err)
	}
}

// TestVolumesWithoutPrograms shows that volumes are refused on a device that cannot mount them as they have to be.
func TestVolumesWithoutPrograms(t *testing.T) {
	e := newAdapter(quietLog(), sessions{}).newEnv("home", t.TempDir(), defaultSettings())
	settings := adapter.UnitSettings{Volumes: []adapter.Volume{{Source: "/a", Path: "/x"}}}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "mount"), nil, 0o755))
	t.Setenv("PATH", dir)
	_, err := e.giving(settings, "try it")
	reasonIs(t, err, adapter.NotSupported)
	if err == nil || !strings.Contains(err.Error(), "unshare is not installed") {
		t.Errorf("it does not say what is missing: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "unshare"), nil, 0o755))
	g, err := e.giving(settings, "try it")
	if err != nil || !slices.Equal(g.Volumes, []volume{{"/a", "/x"}}) {
		t.Errorf("kept is %+v: %v", g, err)
	}
}

// TestMountedIsKept shows that nothing is removed through a mount, whoever made it.
func TestMountedIsKept(t *testing.T) {
	d := newDevice(t, sessions{}, nil)
	data := archiveOf(t, imageSpec{title: "c", version: "1", layers: [][]entry{base(t)}, config: v1Config("/bin/sh", "-c", endless)})
	d.install("c", data)
	source := sourceOf(t, "1")
	kept := filepath.Join(source, "kept")
	left := filepath.Join(d.env.store.dir, trashName, "left", "a b#c")
	must(t, os.WriteFile(kept, nil, 0o644), os.MkdirAll(left, 0o755))
	for _, at := range []string{d.rootfs("c", "srv"), left} {
		tool(t, "mount", "--bind", source, at)
		defer exec.Command("umount", at).Run() // it was unmounted, unless the test failed
	}
	_, err := d.a.Uninstall(t.Context(), "uninstall", d.ref("c"))
	if err == nil || !strings.Contains(err.Error(), "is mounted at "+d.rootfs("c", "srv")) {
		t.Errorf("uninstalled with a mount in it: %v", err)
	}
	if err := d.env.store.sweep(); err == nil || !strings.Contains(err.Error(), "is mounted at "+left) {
		t.Errorf("swept with a mount in it: %v", err)
	}
	tool(t, "umount", d.rootfs("c", "srv"))
	tool(t, "umount", left)
	_, err = d.a.Uninstall(t.Context(), "uninstall", d.ref("c"))
	must(t, err, d.env.store.sweep())
	for path, want := range map[string]bool{kept: true, left: false, d.env.store.at(d.name("c")): false} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestMountIn(t *testing.T) {
	const table = "30 25 0:26 / /a/b\\040c\\134040\\043\\011 rw - tmpfs tmpfs rw\n31 25 0:27 / /d/e/f rw shared:4 - tmpfs tmpfs rw\n32 25 0:28 / /none rw - x\nodd\n"
	for dir, want := range map[string]string{"/a": `/a/b c\040#` + "\t", "/a/b": "", "/d/e": "/d/e/f", "/d/e/f": "/d/e/f", "/d/e/f/g": "", "/d/e/ff": "", "/non": ""} {
		if got := mountIn(table, dir); got != want {
			t.Errorf("in %s is %q, want %q", dir, got, want)
		}
	}
}

// TestMountPoints shows that mount points are there for as long as they are asked for, and that nothing else goes with them.
func TestMountPoints(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, rootfsName)
	must(t, os.MkdirAll(filepath.Join(root, "var"), 0o755))
	tree := func() []string {
		var all []string
		must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			all = append(all, strings.TrimPrefix(strings.TrimPrefix(path, root), "/"))
			return err
		}))
		return all[1:]
	}
	check := func(when string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, tree()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	at := func(paths ...string) (all []mount) {
		for _, p := range paths {
			all = append(all, mount{"/source", p})
		}
		return all
	}
	must(t, makePoints(dir, nil))
	check("none", "var")
	must(t, makePoints(dir, at("a/b/c", "a/b/d", "var", "var/e")))
	check("made", "a", "a/b", "a/b/c", "a/b/d", "var", "var/e")
	must(t, makePoints(dir, at("a/b/c")))
	check("fewer", "a", "a/b", "a/b/c", "var")
	must(t, os.WriteFile(filepath.Join(root, "a/own"), nil, 0o644), makePoints(dir, nil))
	check("something is in one", "a", "a/own", "var")
	must(t, makePoints(dir, at("x/y", "z/y")), os.RemoveAll(filepath.Join(root, "x")), os.Symlink("var", filepath.Join(root, "x")), os.Mkdir(filepath.Join(root, "var/y"), 0o755),
		os.Remove(filepath.Join(root, "z/y")), os.WriteFile(filepath.Join(root, "z/y"), nil, 0o644), makePoints(dir, nil))
	check("others are in their place", "a", "a/own", "var", "var/y", "x", "z", "z/y")
	if _, err := os.Lstat(filepath.Join(dir, pointsName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", pointsName, err)
	}
	// Whoever made some of them was ended meanwhile.
	must(t, writeJSON(filepath.Join(dir, pointsName), points{Format: format, Directories: []string{"m", "m/n", "m/n/o"}}), os.MkdirAll(filepath.Join(root, "m/n"), 0o755),
		makePoints(dir, at("m")))
	check("half made", "a", "a/own", "m", "var", "var/y", "x", "z", "z/y")
	must(t, os.WriteFile(filepath.Join(dir, pointsName), []byte("{"), 0o644))
	if err := makePoints(dir, nil); err == nil {
		t.Error("mount points that cannot be read are passed over")
	}
}

func TestMountEntry(t *testing.T) {
	m := mount{"/a b\\c", "d\te\nf"}
	if got, want := m.entry(), `/a\040b\134c d\011e\012f none bind,nosuid,nodev,private 0 0`; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

// TestClosed shows which directories are opened on the way to the store and to volumes.
func TestClosed(t *testing.T) {
	top := t.TempDir()
	for _, name := range []string{"open/env/store", "state/env/store", "state/data/1", "other/deep/1", "free/1"} {
		must(t, os.MkdirAll(filepath.Join(top, name), 0o755))
	}
	for _, name := range []string{"state", "state/data", "other/deep"} {
		must(t, os.Chmod(filepath.Join(top, name), 0o700))
	}
	must(t, os.Chmod(top, 0o755), os.Chmod(filepath.Dir(top), 0o755))
	in := func(name string) string { return filepath.Join(top, name) }
	for _, c := range []struct {
		store string
		dirs  []string
		want  map[string][]string
	}{
		{"open/env/store", []string{in("free/1")}, map[string][]string{}},
		{"state/env/store", nil, map[string][]string{in("state"): {in("state/env/store")}}},
		{"state/env/store", []string{in("state/data/1"), in("other/deep/1"), in("free/1")},
			map[string][]string{in("state"): {in("state/env/store"), in("state/data/1")}, in("other/deep"): {in("other/deep/1")}}},
	} {
		o := order{store: in(c.store), argv: []string{"true"}}
		o.open(append([]string{o.store}, c.dirs...)...)
		if diff := cmp.Diff(c.want, o.closed); diff != "" {
			t.Errorf("%s and %q (-want +got):\n%s", c.store, c.dirs, diff)
		}
		if command := o.command(); len(c.want) == 0 != (command[0] == "true") {
			t.Errorf("%s and %q: the command is %q", c.store, c.dirs, command)
		}
	}
}

// TestOpenStore shows what a command sees when several directories are closed.
func TestOpenStore(t *testing.T) {
	machine.RequireInside(t)
	top := t.TempDir()
	in := func(name string) string { return filepath.Join(top, name) }
	s := store{env: "home", dir: in("state x/env")}
	must(t, s.make(), s.writeScripts(), os.MkdirAll(in("state x/data/1"), 0o777), os.MkdirAll(in("other [a]*/2"), 0o755), os.WriteFile(in("state x/secret"), nil, 0o644),
		os.WriteFile(in("state x/data/1/one"), nil, 0o644), os.WriteFile(in("other [a]*/2/two"), nil, 0o644), os.WriteFile(in("other [a]*/secret"), nil, 0o644),
		os.Chmod(in("state x"), 0o700), os.Chmod(in("other [a]*"), 0o700))
	o := order{store: s.lxcPath(), argv: []string{"sh", "-c", `cd "$0" && find . | sort; find . -maxdepth 1 -perm 0755 | sort`, top}}
	o.open(o.store, in("state x/data/1"), in("other [a]*/2"))
	o.volumes = []string{in("state x/data/1"), in("other [a]*/2")}
	tools := t.TempDir() // of a small device
	for _, name := range []string{"find", "mkdir", "mount", "sh", "sort", "unshare"} {
		must(t, os.Symlink("/bin/busybox", filepath.Join(tools, name)))
	}
	argv := o.command()
	var want strings.Builder
	for _, name := range []string{".", "./other [a]*", "./other [a]*/2", "./other [a]*/2/two", "./state x", "./state x/data", "./state x/data/1", "./state x/data/1/one", "./state x/env", "./state x/env/store",
		"./state x/env/store/.smmd"} {
		fmt.Fprintln(&want, name)
	}
	for _, name := range slices.Sorted(maps.Keys(scripts)) {
		fmt.Fprintln(&want, "./state x/env/store/.smmd/"+name)
	}
	want.WriteString(".\n./other [a]*\n./state x\n")
	for _, search := range []string{os.Getenv("PATH"), tools} {
		t.Setenv("PATH", search)
		if diff := cmp.Diff(want.String(), tool(t, argv[0], argv[1:]...)); diff != "" {
			t.Errorf("with the programs of %s it sees (-want +got):\n%s", search, diff)
		}
	}
	if m := mountsOf(t, "self", top); len(m) != 0 {
		t.Errorf("the device sees %q", m)
	}
}

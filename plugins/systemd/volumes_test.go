package systemd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// makeVolume makes a directory as the agent does, below others that only root may enter.
func makeVolume(t *testing.T, base, name, path string) adapter.Volume {
	t.Helper()
	v := adapter.Volume{Source: filepath.Join(base, name), Path: path}
	if err := os.MkdirAll(v.Source, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(v.Source, 0o777); err != nil {
		t.Fatal(err)
	}
	return v
}

// filesIn are the files of a directory and their content.
func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name()] = string(data)
	}
	return all
}

// mounts are the mount points of the device that have to do with volumes: those of covers, and what a service alone may see.
func mounts(t *testing.T) (covers, others []string) {
	t.Helper()
	data, err := os.ReadFile("/proc/1/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		switch fields := strings.Fields(line); { // the fourth is what of its file system is mounted, the fifth where
		case strings.HasPrefix(fields[4], coversDir):
			covers = append(covers, fields[4])
		case strings.Contains(fields[3], "/TestVolumes"), strings.Contains(fields[4], "/unit-root"):
			others = append(others, fields[3]+" at "+fields[4])
		}
	}
	return covers, others
}

// covers are the files of covers.
func covers(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{coversDir + "/*", runtimeDir + "/*.mount"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// uncovered waits until no cover is mounted: the manager ends them some time after the services.
func uncovered(t *testing.T) {
	t.Helper()
	eventually(t, "no cover is mounted", func() (string, bool) {
		covers, _ := mounts(t)
		return fmt.Sprintf("%q", covers), len(covers) == 0
	})
}

// inside is a path as the main process of a service sees it.
func inside(t *testing.T, unit, path string) string {
	t.Helper()
	return "/proc/" + show(t, unit, "MainPID") + "/root" + path
}

// volumePaths are paths of all sorts: in the root of the image and deeper, where it has nothing, something and a file system of its own, and with what means
// something in unit files.
var volumePaths = []string{"/data", "/srv/not/there", "/etc/own", `/a:b c\d"e'f%n$HOME;#`, "/tmp/x", "/opt", "/var/lib/vols/below", "/home/vols", "/root", "/run/vols"}

// volumesImage is an image whose service copies the file in of each volume to the file out, and then tells what else it has found.
func volumesImage(settings string) *image {
	i := newImage("vols", "1").service("vols.service", ". /etc/look; exec sleep 100000", "Type=exec\nStateDirectory=vols\n"+settings)
	var b strings.Builder
	for _, p := range volumePaths {
		quoted := "'" + strings.ReplaceAll(p, "'", `'\''`)
		fmt.Fprintf(&b, "cat %s/in' > %s/out'\n", quoted, quoted)
	}
	b.WriteString("id -u > /data/user\nls /etc/own > /data/own\necho old > /data/.root\n(echo new > /opt/../new) 2> /data/.root\nmv /data/.root /data/root\n")
	i.files["etc/look"], i.files["etc/own/own"] = b.String(), "of the image"
	i.dirs = append(i.dirs, "var/lib/vols", "etc/own", "opt")
	return i
}

// fill makes a volume for each path, with the path in its file in.
func fill(t *testing.T, base string) []adapter.Volume {
	t.Helper()
	var vs []adapter.Volume
	for n, p := range volumePaths {
		v := makeVolume(t, base, fmt.Sprint("data/", n+1), p)
		if err := os.WriteFile(filepath.Join(v.Source, "in"), []byte(p), 0o644); err != nil {
			t.Fatal(err)
		}
		vs = append(vs, v)
	}
	return vs
}

// looked waits until the service of a volumesImage has seen everything, wants it to have written into each volume, and returns the files of the first.
func looked(t *testing.T, vs []adapter.Volume) map[string]string {
	t.Helper()
	eventually(t, "the service has looked at its volumes", func() (string, bool) {
		files := filesIn(t, vs[0].Source)
		_, done := files["root"]
		return fmt.Sprintf("%q\n%s", files, systemctl(t, "status", "--no-pager", "--full", "vols.service")), done
	})
	for _, v := range vs {
		if got := filesIn(t, v.Source); got["in"] != v.Path || got["out"] != v.Path {
			t.Errorf("the volume at %s has %q", v.Path, got)
		}
	}
	files := filesIn(t, vs[0].Source)
	err := os.Remove(filepath.Join(vs[0].Source, "root"))
	for _, v := range vs {
		err = errors.Join(err, os.Remove(filepath.Join(v.Source, "out")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestVolumesOfEachForm: a service that may do next to nothing, whatever form its image has, sees its volumes and writes into them, also where the image has nothing at
// the path; else its file system is as before, and the device's too.
func TestVolumesOfEachForm(t *testing.T) {
	settings := map[string]map[string]any{home: {"stop_timeout": "5s"}}
	d := newDevice(t, settings)
	for _, name := range []string{"tar", "squashfs", "ext4"} {
		t.Run(name, func(t *testing.T) {
			vs := fill(t, filepath.Join(t.TempDir(), `state dir:%n "x"\`))
			d.install(home, name, packageOf(t, packs[name](t, volumesImage(""))))
			m := ref(home, name, "vols.service")
			d.must(d.start(m))
			pid := show(t, m.Module, "MainPID")
			d.must(d.s.SetUnit(t.Context(), d.op(), m.UnitRef, adapter.UnitSettings{Volumes: vs}))
			if now := show(t, m.Module, "MainPID"); now != pid || len(filesIn(t, vs[0].Source)) != 1 {
				t.Errorf("SetUnit of a unit that runs: process %s is now %s, the volume has %q", pid, now, filesIn(t, vs[0].Source))
			}
			again := func() {
				t.Helper()
				d.must(d.stop(m))
				d.must(d.start(m))
			}
			check := func(when string) {
				t.Helper()
				files := looked(t, vs)
				if files["own"] != "in\nout\n" || files["user"] == "0\n" || !strings.Contains(files["root"], "Read-only file system") {
					t.Errorf("%s the service has found %q", when, files)
				}
				if covers, others := mounts(t); len(others) > 0 || len(covers) > 0 == (name == "tar") {
					t.Errorf("%s the device has the mounts %q and %q", when, covers, others)
				}
			}
			again()
			check("after a start")
			if name == "squashfs" { // the kit has trees
				// After a reboot nothing is in /run.
				d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
				uncovered(t)
				for _, c := range append(covers(t), runtimeDir+"/vols.service.d") {
					d.must(os.RemoveAll(c))
				}
				systemctl(t, "daemon-reload")
				d.must(d.s.SetEnabled(t.Context(), d.op(), home, true, nil))
				d.must(d.start(m))
				check("after a reboot")

				// A cover that cannot be mounted is what is wrong with a start.
				d.must(d.stop(m))
				uncovered(t)
				r, err := d.s.envs[home].store.load(name)
				d.must(err)
				d.must(os.RemoveAll(d.s.envs[home].coverOf(r.Current).upper()))
				if info, err := os.Stat(coversDir); err != nil || info.Mode().Perm() != 0o700 {
					t.Errorf("the directory of covers: %v, %v", info, err)
				}
				err = d.start(m)
				reasonIs(t, "a start without a cover", err, adapter.StartFailed)
				if !strings.Contains(fmt.Sprint(err), "root.mount") {
					t.Errorf("a start without a cover: %v", err)
				}
				d.must(d.s.SetUnit(t.Context(), d.op(), m.UnitRef, adapter.UnitSettings{Volumes: vs}))
				d.must(d.start(m))
				looked(t, vs)

				// What runs keeps its volumes, what starts has none.
				pid = show(t, m.Module, "MainPID")
				d.must(d.s.SetUnit(t.Context(), d.op(), m.UnitRef, adapter.UnitSettings{}))
				if now := show(t, m.Module, "MainPID"); now != pid {
					t.Errorf("SetUnit of a unit that runs: process %s is now %s", pid, now)
				}
				if got := filesIn(t, inside(t, m.Module, "/etc/own")); got["in"] != "/etc/own" {
					t.Errorf("what runs has lost a volume: %q is left", got)
				}
				again()
				d.status(m, adapter.Active)
				if got := filesIn(t, inside(t, m.Module, "/etc/own")); got["own"] != "of the image" || len(got) != 1 {
					t.Errorf("what has started without volumes has found %q", got)
				}

				d.must(d.s.SetUnit(t.Context(), d.op(), m.UnitRef, adapter.UnitSettings{Volumes: vs}))
				again()
				looked(t, vs)
			}
			_, err := d.s.Uninstall(t.Context(), d.op(), m.UnitRef)
			d.must(err)
			d.await("the uninstall", func() bool { _, there := d.seen[home][name]; return !there })
			covered, others := mounts(t)
			if left := covers(t); len(left)+len(covered)+len(others) > 0 {
				t.Errorf("after the uninstall there are %q and the mounts %q and %q", left, covered, others)
			}
			for n, v := range vs {
				if got := filesIn(t, v.Source); got["in"] != v.Path || n == 0 && got["user"] == "" {
					t.Errorf("after the uninstall the volume at %s has %q", v.Path, got)
				}
			}
		})
	}
	if loops := run(t, "losetup", "--all"); strings.Contains(loops, d.data) {
		t.Errorf("loop devices are left:\n%s", loops)
	}
}

// TestVolumesOfTrusted: a service that may write into its image, if that can be written, still may, and what it leaves there stays. Its own BindPaths= gives way to a volume.
func TestVolumesOfTrusted(t *testing.T) {
	d := one(t, map[string]any{"profile": "trusted"})
	for form, want := range map[string]struct {
		refused string
		kept    []string // after each start
	}{
		"ext4": {"Permission denied", []string{"kept\n", "kept\nkept\n"}}, "squashfs": {"Read-only file system", []string{"none\n"}},
	} {
		if form == "ext4" && os.Getenv(hardened) != "" {
			continue // what the adapter does for it, it does for the other one too
		}
		vs := fill(t, t.TempDir())
		i := volumesImage("User=65534\nBindPaths=/usr/share:/opt\nReadOnlyPaths=/srv\n").
			service("vols-root.service", "echo kept >> /kept; cp /kept /data/.kept || echo none > /data/.kept; mv /data/.kept /data/kept; exec sleep 100000", "Type=exec\n").
			service("vols-dynamic.service", sleeps, "Type=exec\nDynamicUser=yes\n")
		i.dirs = append(i.dirs, "srv")
		u := d.install(home, form, packageOf(t, packs[form](t, i)))
		d.must(d.s.SetUnit(t.Context(), d.op(), adapter.UnitRef{Env: home, Key: u.Key}, adapter.UnitSettings{Volumes: vs}))
		d.must(d.start(ref(home, form, "vols-dynamic.service"))) // whose root is read-only because of that
		d.must(d.start(ref(home, form, "vols.service")))
		if files := looked(t, vs); files["user"] != "65534\n" || !strings.Contains(files["root"], want.refused) {
			t.Errorf("%s: the service has found %q", form, files)
		}
		d.must(d.stop(ref(home, form, "vols.service")))
		m := ref(home, form, "vols-root.service")
		for _, kept := range want.kept {
			d.must(d.start(m))
			eventually(t, form+": the service has written into its image, or not", func() (string, bool) {
				data, err := os.ReadFile(filepath.Join(vs[0].Source, "kept"))
				return fmt.Sprintf("%q, want %q; %v", data, kept, err), string(data) == kept
			})
			d.must(os.Remove(filepath.Join(vs[0].Source, "kept")))
			d.must(d.stop(m))
		}
		_, err := d.s.Uninstall(t.Context(), d.op(), m.UnitRef)
		d.must(err)
		d.await("the uninstall", func() bool { _, there := d.seen[home][form]; return !there })
	}
}

// TestVolumesChecked: what cannot be bound is refused, by what is wrong with it.
func TestVolumesChecked(t *testing.T) {
	for path, want := range map[string]adapter.Reason{
		"/data": "", "/日本語 🚀": "", "data": adapter.InvalidArgument, "/dev/x": adapter.InvalidArgument, "/a\ufdd0": adapter.NotSupported, "/a\uffff": adapter.NotSupported,
	} {
		_, err := givenOf(adapter.UnitSettings{Volumes: []adapter.Volume{{Source: "/data/1", Path: path}}}, "try")
		if got := adapter.ReasonOf(err); got != want {
			t.Errorf("%q: %q, %v; want %q", path, got, err, want)
		}
	}
}

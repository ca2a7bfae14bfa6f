package adaptertest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// The paths at which cases have volumes. No package has anything there. The last one has what means something in configurations.
const (
	pathA   = "/smmd-kit-a"
	pathB   = "/srv/smmd-kit/b"
	oddPath = `/smmd-kit-c/a b:c,d=e%n$HOME#;'"\040{}[]*äö日🚀`
)

// The files in a volume: one that the kit has put there, and one that the module leaves.
const (
	fileIn  = "in"
	fileOut = "out"
)

// volume makes a directory as the agent does, and a file in it.
func (r *rig) volume(path string) adapter.Volume {
	r.t.Helper()
	parent := filepath.Join(r.dir, "kit volumes")
	r.mkdir(parent)
	v := adapter.Volume{Source: filepath.Join(parent, r.key()), Path: path}
	r.mkdir(v.Source)
	err := os.Chmod(v.Source, 0o777) // whatever the umask
	if err == nil {
		err = os.WriteFile(filepath.Join(v.Source, fileIn), []byte(v.Source), 0o644)
	}
	if err != nil {
		r.t.Fatalf("cannot make a volume: %v", err)
	}
	return v
}

// give gives a unit these volumes and nothing else.
func (r *rig) give(u adapter.UnitRef, vs ...adapter.Volume) {
	r.t.Helper()
	if err := r.trySet(r.op(), u, adapter.UnitSettings{Volumes: vs}); err != nil {
		r.t.Fatalf("SetUnit with volumes %+v: want success, got %s: %v", vs, adapter.ReasonOf(err), err)
	}
}

// sight is how the kit looks into the file system of a module.
type sight struct {
	dir      func(path string) string // where the device has it; empty: nothing can be there
	uid, gid int                      // of the module's process, -1 if it is not to be taken for one
}

// sights are the ways into the file systems of the processes of a module that is active.
func (r *rig) sights(m adapter.ModuleRef) []sight {
	r.t.Helper()
	if r.h.Volume != nil {
		x := r.waitStatus(m, adapter.Active)
		return []sight{{func(path string) string { return r.h.Volume(r.t, r.dir, m, x.PIDs, path) }, -1, -1}}
	}
	x := r.waitModule(m, "active with processes", func(x adapter.Module) bool { return x.Status == adapter.Active && len(x.PIDs) > 0 })
	var all []sight
	for _, pid := range x.PIDs {
		proc := fmt.Sprintf("/proc/%d", pid)
		uid, gid, err := owner(proc)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // it has ended
		}
		if err != nil {
			r.t.Fatalf("cannot see what a process of module %s is: %v", m.Module, err)
		}
		all = append(all, sight{func(path string) string { return proc + "/root" + path }, uid, gid})
	}
	return all
}

// owner are the user and the group with whose rights a process opens files.
func owner(proc string) (uid, gid int, err error) {
	data, err := os.ReadFile(proc + "/status")
	if err != nil {
		return 0, 0, err
	}
	ids := map[string]int{}
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) == 5 && (fields[0] == "Uid:" || fields[0] == "Gid:") {
			if ids[fields[0]], err = strconv.Atoi(fields[4]); err != nil {
				return 0, 0, err
			}
		}
	}
	return ids["Uid:"], ids["Gid:"], nil
}

// wrong says how what a process sees is not as it should be: these volumes, in which it can write, and nothing at the other paths of cases.
func (s sight) wrong(vs []adapter.Volume) string {
	text := ""
	for _, path := range []string{pathA, pathB, oddPath} {
		i := slices.IndexFunc(vs, func(v adapter.Volume) bool { return v.Path == path })
		dir := s.dir(path)
		var data []byte
		err := fs.ErrNotExist
		if dir != "" {
			data, err = os.ReadFile(filepath.Join(dir, fileIn))
		}
		switch {
		case i < 0 && err == nil:
			text += fmt.Sprintf("at %s is the volume %s, and should not be; ", path, data)
		case i >= 0 && err != nil:
			text += fmt.Sprintf("at %s is no volume: %v; ", path, err)
		case i >= 0 && string(data) != vs[i].Source:
			text += fmt.Sprintf("at %s is the volume %s, want %s; ", path, data, vs[i].Source)
		case i >= 0:
			text += s.writes(dir, vs[i])
		}
	}
	return text
}

// writes says what is wrong with a file that the process leaves in a volume.
func (s sight) writes(dir string, v adapter.Volume) string {
	want := time.Now().String()
	if err := s.write(filepath.Join(dir, fileOut), want); err != nil {
		return fmt.Sprintf("at %s the module, with user %d and group %d, cannot write: %v; ", v.Path, s.uid, s.gid, err)
	}
	if got, err := os.ReadFile(filepath.Join(v.Source, fileOut)); err != nil || string(got) != want {
		return fmt.Sprintf("of what the module writes at %s as %q, the directory %s has %q, %v; ", v.Path, want, v.Source, got, err)
	}
	return ""
}

// write makes a file anew, with the rights of the process.
func (s sight) write(path, text string) error {
	dir, err := os.Open(filepath.Dir(path)) // where only root may look
	if err != nil {
		return err
	}
	defer dir.Close()
	done := make(chan error)
	go func() {
		if s.uid >= 0 {
			runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			// Neither has an answer that tells a failure; the file says whose it is.
			_, _ = unix.SetfsgidRetGid(s.gid)
			_, _ = unix.SetfsuidRetUid(s.uid)
		}
		err := unix.Unlinkat(int(dir.Fd()), filepath.Base(path), 0)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err == nil {
			var fd int
			if fd, err = unix.Openat(int(dir.Fd()), filepath.Base(path), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600); err == nil {
				_, err = unix.Write(fd, []byte(text))
				err = errors.Join(err, unix.Close(fd))
			}
		}
		done <- err
	}()
	return <-done
}

// wantVolumes waits until each process of a module sees these volumes and no other one of those that a case sets: a process has the file system of its
// parent until it has become another program.
func (r *rig) wantVolumes(when string, m adapter.ModuleRef, vs ...adapter.Volume) {
	r.t.Helper()
	deadline := time.NewTimer(r.h.Timeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		all := r.sights(m)
		wrong := ""
		for _, s := range all {
			wrong += s.wrong(vs)
		}
		if len(all) > 0 && wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			if len(all) == 0 {
				wrong = "it has no process whose file system can be seen"
			}
			r.t.Fatalf("%s the volumes of module %s are not as set: %s", when, m.Module, wrong)
		}
	}
}

// wantKept checks that the directory of each volume has what was put there, and what a module has left.
func (r *rig) wantKept(when string, vs ...adapter.Volume) {
	r.t.Helper()
	for _, v := range vs {
		in, errIn := os.ReadFile(filepath.Join(v.Source, fileIn))
		_, errOut := os.Stat(filepath.Join(v.Source, fileOut))
		if err := errors.Join(errIn, errOut); err != nil || string(in) != v.Source {
			r.t.Errorf("%s the directory of the volume at %s has lost its content: %s is %q; %v", when, v.Path, fileIn, in, err)
		}
	}
}

// noVolumes checks that an adapter that does not announce volumes refuses them, and everything with them.
func (r *rig) noVolumes(u adapter.Unit) {
	r.t.Helper()
	r.set(ref(u), keyA, "kept")
	s := variables(keyA, "lost")
	s.Volumes = []adapter.Volume{r.volume(pathA)}
	r.want("SetUnit with a volume without "+string(adapter.CapVolumes), r.trySet(r.op(), ref(u), s), adapter.NotSupported)
	m := r.first(u)
	r.run(m)
	r.wantEnviron("after the failed call", m, keyA, "kept")
}

var volumeCases = []Case{
	{"SetUnit/volumes are in the file systems of modules from the next start on", func(r *rig) {
		u, m := r.settableUnit(adapter.CapVolumes)
		a, b, odd := r.volume(pathA), r.volume(pathB), r.volume(oddPath)
		r.run(m)
		r.wantVolumes("before SetUnit", m)
		goesOn := r.undisturbed(m)
		r.give(ref(u), a, b, odd)
		goesOn("after SetUnit")
		r.wantVolumes("before the next start", m)
		r.anew(m)
		r.wantVolumes("after the next start", m, a, b, odd)
		r.anew(m)
		r.wantKept("after another start", a, b, odd)
		r.wantVolumes("after another start", m, a, b, odd)
		other := r.first(r.install(r.h.Packages.Other.load(r, "Other")))
		r.run(other)
		r.wantVolumes("in another unit", other)
	}},
	{"SetUnit/volumes are replaced as a whole, none takes them away", func(r *rig) {
		u, m := r.settableUnit(adapter.CapVolumes)
		a, b, c := r.volume(pathA), r.volume(pathB), r.volume(pathB)
		r.give(ref(u), a, b)
		r.run(m)
		r.wantVolumes("after SetUnit", m, a, b)
		goesOn := r.undisturbed(m)
		r.give(ref(u), c)
		goesOn("after another SetUnit")
		r.wantVolumes("before the next start", m, a, b)
		r.anew(m)
		r.wantVolumes("after another SetUnit", m, c)
		r.give(ref(u))
		r.wantVolumes("before the start without any", m, c)
		r.anew(m)
		r.wantVolumes("after SetUnit without any", m)
		r.wantKept("after all", a, b, c)
	}},
	{"SetUnit/volumes hold for every module, over Update and Revert", func(r *rig) {
		before, after := r.h.Packages.Several, r.h.Packages.SeveralNext
		if before.Path == "" || after.Path == "" {
			before, after = r.h.Packages.V1, r.h.Packages.V2
		}
		old, next := before.load(r, "V1"), after.load(r, "V2")
		r.settable(adapter.CapVolumes)
		u := r.install(old)
		a := r.volume(pathA)
		r.give(ref(u), a)
		check := func(when string, u adapter.Unit) {
			r.t.Helper()
			seen := 0
			for _, x := range u.Modules {
				m := adapter.ModuleRef{UnitRef: ref(u), Module: x.ID}
				r.run(m)
				if x := r.told(m); r.h.Volume != nil || len(x.PIDs) > 0 {
					r.wantVolumes(when, m, a)
					seen++
				}
				r.mustStop(m)
				r.waitStatus(m, adapter.Idle)
			}
			if seen == 0 {
				r.t.Errorf("%s no module of %s has a process", when, u.Manifest.Name)
			}
		}
		check("after SetUnit", u)
		u = r.update(u, old, next)
		check("after Update", u)
		u = r.revert(r.op(), ref(u), old)
		check("after Revert", u)
	}},
	{"SetUnit/volumes hold over restarts of adapter and environment", func(r *rig) {
		u, m := r.settableUnit(adapter.CapVolumes)
		a := r.volume(pathA)
		r.give(ref(u), a)
		r.restart()
		r.waitEnv(r.env, "synced", func(s *seenEnv) bool { return s.synced })
		r.run(m)
		r.wantVolumes("after a restart of the adapter", m, a)
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		r.kill()
		r.start()
		r.launch(r.env)
		r.run(m)
		r.wantKept("after a launch by another adapter", a)
		r.wantVolumes("after a launch by another adapter", m, a)
	}},
	{"SetUnit/volumes go with Uninstall, their directories stay as they are", func(r *rig) {
		v1 := r.h.Packages.V1.load(r, "V1")
		r.settable(adapter.CapVolumes)
		var before []string
		if r.h.Left != nil {
			before = r.leavings()
		}
		u := r.install(v1)
		a := r.volume(pathA)
		r.give(ref(u), a)
		r.run(r.first(u))
		r.wantVolumes("after SetUnit", r.first(u), a)
		r.uninstall(r.op(), ref(u))
		r.waitGone(r.env, u.Key)
		r.wantKept("after Uninstall", a)
		if r.h.Left != nil {
			r.wantLeft("after Uninstall", r.leavings, before, func(now []string) bool { return slices.Equal(now, before) })
		}
		again, err := r.tryInstall(r.op(), r.env, u.Key, v1)
		if err != nil {
			r.t.Fatalf("Install at the same key: %s: %v", adapter.ReasonOf(err), err)
		}
		r.run(r.first(again))
		r.wantVolumes("in a new unit at the same key", r.first(again))
	}},
	{"SetUnit/malformed volumes are InvalidArgument and change nothing", func(r *rig) {
		u, m := r.settableUnit(adapter.CapVolumes)
		a, b := r.volume(pathA), r.volume(pathB)
		r.give(ref(u), a)
		at := func(path string) adapter.Volume { return adapter.Volume{Source: b.Source, Path: path} }
		for _, bad := range [][]adapter.Volume{
			{b, at("")}, {b, at("relative")}, {b, at("/smmd-kit-a/")}, {b, at("/smmd-kit-a//x")}, {b, at("/x/../smmd-kit-a")}, {b, at("/")}, {b, at("/x\x00y")},
			{b, b}, {b, at(pathB + "/below")}, {at(pathB + "/below"), b},
			{b, at("/dev")}, {b, at("/dev/x")}, {b, at("/proc")}, {b, at("/proc/x")}, {b, at("/run/systemd")}, {b, at("/run/systemd/x")}, {b, at("/sys")}, {b, at("/sys/x")},
			{{Source: "relative", Path: pathB}},
		} {
			r.want(fmt.Sprintf("SetUnit with volumes %+q", bad), r.trySet(r.op(), ref(u), adapter.UnitSettings{Volumes: bad}), adapter.InvalidArgument)
		}
		r.run(m)
		r.wantVolumes("after the failed calls", m, a)
	}},
}

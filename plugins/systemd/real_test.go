package systemd

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// patience is how long a test waits for what has to come.
const patience = 60 * time.Second

// device is an adapter with environments in the machine.
type device struct {
	t    *testing.T
	s    *systemd
	data string
	seen map[string]map[string]adapter.Unit // by environment and key
	envs map[string]adapter.Env
	ev   <-chan adapter.Event
	ops  int
}

// newDevice makes a device whose environments have these settings, and launches them.
func newDevice(t *testing.T, envs map[string]map[string]any) *device {
	t.Helper()
	machine.RequireInside(t)
	d := &device{t: t, data: t.TempDir()}
	d.open(envs)
	t.Cleanup(func() {
		for id := range envs {
			e := d.s.envs[id]
			l, err := e.link(context.Background())
			if err == nil {
				err = e.shutDown(context.Background())
			}
			records, _ := e.store.all()
			for _, r := range records {
				r.State = removing
				if err == nil {
					err = e.erase(context.Background(), l, r)
				}
			}
			if err != nil {
				t.Errorf("cannot clear the machine: %v", err)
			}
		}
		kill(t, d.s)
	})
	for id := range envs {
		d.must(d.s.SetEnabled(t.Context(), d.op(), id, true, nil))
	}
	return d
}

// open makes a new adapter on the device.
func (d *device) open(envs map[string]map[string]any) {
	d.t.Helper()
	d.s = newAdapter(quietLog(), defaultLimits())
	d.seen, d.envs = map[string]map[string]adapter.Unit{}, map[string]adapter.Env{}
	var configs []adapter.EnvConfig
	for id, settings := range envs {
		raw, err := json.Marshal(settings)
		d.must(err)
		dir := filepath.Join(d.data, id)
		d.must(os.MkdirAll(dir, 0o700))
		configs = append(configs, adapter.EnvConfig{ID: id, DataDir: dir, Settings: raw})
	}
	d.must(d.s.Configure(d.t.Context(), configs))
	ctx, cancel := context.WithCancel(context.Background())
	ev, err := d.s.Watch(ctx)
	d.must(err)
	d.ev = ev
	d.t.Cleanup(func() {
		cancel()
		for range ev { // until it is closed
		}
	})
}

func (d *device) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) op() adapter.OpID {
	d.ops++
	return adapter.OpID(fmt.Sprintf("op-%d", d.ops))
}

// await takes events until ok says that what was waited for is there.
func (d *device) await(what string, ok func() bool) {
	d.t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !ok() {
		select {
		case e := <-d.ev:
			switch e.Kind {
			case adapter.EventEnv:
				d.envs[e.EnvID] = *e.Env
				if !e.Env.Up || d.seen[e.EnvID] == nil {
					d.seen[e.EnvID] = map[string]adapter.Unit{}
				}
			case adapter.EventUnit:
				d.seen[e.EnvID][e.Unit.Key] = *e.Unit
			case adapter.EventUnitRemoved:
				delete(d.seen[e.EnvID], e.Key)
			}
		case <-timer.C:
			d.t.Fatalf("nobody told of %s; told were %+v", what, d.seen)
		}
	}
}

// install installs an image under its name as the key.
func (d *device) install(env, key string, p adapter.Package) adapter.Unit {
	d.t.Helper()
	u, err := d.s.Install(d.t.Context(), d.op(), adapter.InstallSpec{Env: env, Key: key, Package: p, RunLevel: -1})
	d.must(err)
	return u
}

func ref(env, key, module string) adapter.ModuleRef {
	return adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: env, Key: key}, Module: module}
}

// module is one as it was told last.
func (d *device) module(m adapter.ModuleRef) (adapter.Module, bool) {
	for _, x := range d.seen[m.Env][m.Key].Modules {
		if x.ID == m.Module {
			return x, true
		}
	}
	return adapter.Module{}, false
}

// until waits until a module is told as ok wants it.
func (d *device) until(m adapter.ModuleRef, what string, ok func(adapter.Module) bool) adapter.Module {
	d.t.Helper()
	var out adapter.Module
	d.await(m.Module+" "+what, func() bool {
		x, there := d.module(m)
		out = x
		return there && ok(x)
	})
	return out
}

func (d *device) status(m adapter.ModuleRef, s adapter.Status) adapter.Module {
	d.t.Helper()
	return d.until(m, string(s), func(x adapter.Module) bool { return x.Status == s })
}

func (d *device) start(m adapter.ModuleRef) error {
	return d.s.Start(d.t.Context(), d.op(), m, adapter.StartOptions{})
}

func (d *device) stop(m adapter.ModuleRef) error { return d.s.Stop(d.t.Context(), d.op(), m) }

func show(t *testing.T, unit, property string) string {
	t.Helper()
	return systemctl(t, "show", "--value", "--property="+property, unit)
}

func reasonIs(t *testing.T, what string, err error, want adapter.Reason) {
	t.Helper()
	if adapter.ReasonOf(err) != want {
		t.Errorf("%s: want %s, got %v", what, want, err)
	}
}

// one is a device with one environment, "home-x", whose name has a dash.
func one(t *testing.T, settings map[string]any) *device {
	t.Helper()
	if settings == nil {
		settings = map[string]any{}
	}
	settings["stop_timeout"] = "5s"
	return newDevice(t, map[string]map[string]any{"home-x": settings})
}

const home = "home-x"

// TestServiceTimerAndSocket: an image with five kinds of units has five modules that start and stop separately, in the slice and not enabled.
func TestServiceTimerAndSocket(t *testing.T) {
	d := one(t, map[string]any{"memory": "96MiB", "tasks": 200, "cpu": "80%"})
	i := newImage("trio", "1").service("trio.service", sleeps, "StateDirectory=trio\n").
		unit("trio.timer", "[Timer]\nOnActiveSec=1d\n").unit("trio.socket", "[Socket]\nListenStream=/run/trio.sock\n").
		unit("trio.path", "[Path]\nPathExists=/run/trio-never\n").unit("trio.target", "[Unit]\nDescription=Trio\n").
		service("trio@.service", sleeps, "").service("foreign.service", sleeps, "")
	u := d.install(home, "trio", i.pkg(t))
	if len(u.Modules) != 5 {
		t.Fatalf("modules: %+v", u.Modules)
	}
	if list := run(t, "portablectl", "list", "--no-legend"); !strings.Contains(list, u.DUID) || !strings.Contains(list, "attached-runtime") {
		t.Errorf("portablectl list says\n%s", list)
	}
	for at := range u.Modules {
		m := ref(home, "trio", u.Modules[at].ID)
		d.must(d.start(m))
		d.status(m, adapter.Active)
		for other := range u.Modules {
			if x := ref(home, "trio", u.Modules[other].ID); (show(t, x.Module, "ActiveState") == "active") != (other == at) {
				t.Errorf("with %s alone %s is %s", m.Module, x.Module, show(t, x.Module, "ActiveState"))
			}
		}
		if got := strings.ReplaceAll(show(t, m.Module, "PartOf"), `\\`, `\`); strings.Trim(got, `"`) != sliceOf(home) {
			t.Errorf("%s is part of %q", m.Module, got)
		}
		if state := show(t, m.Module, "UnitFileState"); state == "enabled" || state == "enabled-runtime" {
			t.Errorf("%s is %s", m.Module, state)
		}
		d.must(d.stop(m))
		d.status(m, adapter.Idle)
	}
	m := ref(home, "trio", "trio.service")
	d.must(d.start(m))
	x := d.status(m, adapter.Active)
	if pid := show(t, m.Module, "MainPID"); len(x.PIDs) != 1 || fmt.Sprint(x.PIDs[0]) != pid || x.Memory <= 0 || x.Disk < 1000 {
		t.Errorf("main process %s, told was %+v", pid, x)
	}
	if group := show(t, m.Module, "ControlGroup"); !strings.HasPrefix(group, "/smmd.slice/"+sliceOf(home)+"/") {
		t.Errorf("the service is in %s", group)
	}
	for property, want := range map[string]string{"MemoryMax": fmt.Sprint(96 << 20), "TasksMax": "200", "CPUQuotaPerSecUSec": "800ms"} {
		if got := show(t, sliceOf(home), property); got != want {
			t.Errorf("%s of the slice is %s, want %s", property, got, want)
		}
	}
	e := d.envs[home]
	if e.AllocatedMemory != 96<<10 || e.AvailableMemory <= 0 || e.AvailableMemory > 96<<10 || e.Launch != show(t, sliceOf(home), "InvocationID") ||
		e.Type != "Linux systemd portable" || e.Version == "" || e.AvailableDisk <= 0 {
		t.Errorf("%+v", e)
	}

	// What systemd refuses, it says why.
	err := d.start(ref(home, "trio", "trio.socket"))
	reasonIs(t, "start of a socket whose service runs", err, adapter.StartFailed)
	if err != nil && !strings.Contains(err.Error(), "active already") {
		t.Error(err)
	}

	// The end of the environment ends all of them and nothing else; a new launch has them again.
	d.must(d.stop(m))
	for at := range u.Modules { // the socket before its service
		d.must(d.start(ref(home, "trio", u.Modules[at].ID)))
	}
	others := systemctl(t, "list-units", "--state=active", "--type=service,socket,timer,path,target", "--no-legend", "--plain", "--quiet")
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
	d.await("the end", func() bool { return !d.envs[home].Up })
	now := systemctl(t, "list-units", "--state=active", "--type=service,socket,timer,path,target", "--no-legend", "--plain", "--quiet")
	for line := range strings.Lines(others) {
		name := strings.Fields(line)[0]
		if ours := strings.HasPrefix(name, "trio."); ours == strings.Contains(now, name+" ") && !strings.HasPrefix(name, "systemd-portabled") {
			t.Errorf("after the end of the environment %s is there or not as it should not be:\n%s", name, now)
		}
	}

	// Uninstalled, nothing is left.
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, true, nil))
	d.status(m, adapter.Idle)
	if _, err := d.s.Uninstall(t.Context(), d.op(), adapter.UnitRef{Env: home, Key: "trio"}); err != nil {
		t.Fatal(err)
	}
	d.await("the uninstall", func() bool { _, there := d.seen[home]["trio"]; return !there })
	for _, pattern := range []string{"/run/systemd/*/trio*", "/etc/systemd/*/trio*", "/run/portables/*", "/var/lib/trio", "/var/lib/private/trio", d.data + "/*/images/*", d.data + "/*/units/*"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			t.Errorf("left are %v", found)
		}
	}
}

// eventually waits until ok says so; it says what it sees.
func eventually(t *testing.T, what string, ok func() (string, bool)) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		now, done := ok()
		if done {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("%s: %s", what, now)
		}
	}
}

// run runs a command, which has to succeed, and returns what it prints.
func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestFullDisk: an image that does not fit is told as that, and leaves nothing.
func TestFullDisk(t *testing.T) {
	d := one(t, nil)
	e, err := d.s.env(home)
	if err != nil {
		t.Fatal(err)
	}
	d.must(os.MkdirAll(e.store.images(), 0o700))
	run(t, "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", e.store.images())
	defer run(t, "umount", e.store.images())
	i := newImage("large", "1").service("large.service", sleeps, "")
	for _, form := range []string{"squashfs", "tar.gz"} {
		_, err := d.s.Install(t.Context(), d.op(), adapter.InstallSpec{Env: home, Key: form, Package: packageOf(t, packs[form](t, i)), RunLevel: -1})
		if adapter.ReasonOf(err) != adapter.NoResources {
			t.Errorf("%s: %v", form, err)
		}
	}
	if left, err := os.ReadDir(e.store.images()); err != nil || len(left) > 0 {
		t.Errorf("there is %v: %v", left, err)
	}
}

// TestFormsOfPackages installs and runs every form of package.
func TestFormsOfPackages(t *testing.T) {
	d := one(t, nil)
	i := newImage("forms", "2.1").service("forms.service", sleeps, "StateDirectory=forms\n")
	i.dirs = append(i.dirs, "var/lib/forms")
	for name, pack := range packs {
		p := packageOf(t, pack(t, i))
		m, err := d.s.Inspect(t.Context(), home, p)
		if want := (adapter.Manifest{Name: "forms", Vendor: "example.com", Version: "2.1", Description: "Service forms.service"}); err != nil || m != want {
			t.Errorf("%s: %+v, %v", name, m, err)
			continue
		}
		u := d.install(home, name, p)
		if u.Manifest != m {
			t.Errorf("%s: inspected was %+v, installed is %+v", name, m, u.Manifest)
		}
		at := ref(home, name, "forms.service")
		d.must(d.start(at))
		d.status(at, adapter.Active)
		option := "RootDirectory"
		if strings.HasSuffix(show(t, "forms.service", "RootImage"), rawSuffix) {
			option = "RootImage"
		}
		if raw := name == "squashfs" || name == "ext4"; raw != (option == "RootImage") {
			t.Errorf("%s runs with %s", name, option)
		}
		if _, err := d.s.Uninstall(t.Context(), d.op(), at.UnitRef); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		d.await("the uninstall", func() bool { _, there := d.seen[home][name]; return !there })
	}
	if loops := run(t, "losetup", "--all"); strings.Contains(loops, d.data) {
		t.Errorf("loop devices are left:\n%s", loops)
	}
}

// TestPackagesRefused is about what is no package for this environment.
func TestPackagesRefused(t *testing.T) {
	d := one(t, nil)
	good := newImage("bad", "1").service("bad.service", sleeps, "StateDirectory=bad\n")
	bare := newImage("bad", "1").service("bad.service", sleeps, "StateDirectory=bad\n")
	bare.dirs = []string{"bin", "etc", "usr/lib/systemd/system", "var"}
	nameless := newImage("bad", "1").service("bad.service", sleeps, "")
	nameless.release = "PRETTY_NAME=nobody\n"
	squash, ext := packs["squashfs"](t, good), packs["ext4"](t, good)
	for _, c := range []struct {
		name  string
		data  []byte
		want  adapter.Reason
		words string
	}{
		{"jar", jar(t), adapter.Mismatch, "jar"},
		{"no such units", newImage("bad", "1").service("good.service", sleeps, "").tar(t), adapter.Mismatch, "bad"},
		{"no such units in a raw image", packs["squashfs"](t, newImage("bad", "1").service("good.service", sleeps, "")), adapter.Mismatch, "bad"},
		{"os-release without a name", nameless.tar(t), adapter.Corrupt, "IMAGE_ID"},
		{"cut off tar", good.tar(t)[:100_000], adapter.Corrupt, ""},
		{"cut off gzip", packs["tar.gz"](t, good)[:100_000], adapter.Corrupt, ""},
		{"cut off squashfs", squash[:len(squash)-10_000], adapter.Corrupt, "file system says"},
		{"cut off ext4", ext[:len(ext)-10_000], adapter.Corrupt, "file system says"},
		{"noise", []byte(strings.Repeat("noise", 1000)), adapter.Corrupt, ""},
		{"nothing", nil, adapter.Corrupt, ""},
		{"squashfs without mount points", packs["squashfs"](t, bare), adapter.Corrupt, "/var/lib/bad"},
		{"huge", huge(t), adapter.NoResources, ""},
	} {
		p := packageOf(t, c.data)
		_, err := d.s.Inspect(t.Context(), home, p)
		reasonIs(t, c.name+": Inspect", err, c.want)
		if err != nil && !strings.Contains(err.Error(), c.words) {
			t.Errorf("%s: the error does not say %q: %v", c.name, c.words, err)
		}
		_, err = d.s.Install(t.Context(), d.op(), adapter.InstallSpec{Env: home, Key: "bad", Package: p, RunLevel: -1})
		reasonIs(t, c.name+": Install", err, c.want)
	}
	for _, pattern := range []string{d.data + "/*/images/*", d.data + "/*/units/*", d.data + "/*/inspect/*", "/run/systemd/*/bad*"} {
		if found, err := filepath.Glob(pattern); err != nil || len(found) > 0 {
			t.Errorf("left are %v, %v", found, err)
		}
	}
	if _, err := os.Lstat("/var/lib/bad"); err == nil || !os.IsNotExist(err) && !strings.Contains(err.Error(), fs.ErrNotExist.Error()) {
		t.Errorf("/var/lib/bad: %v", err)
	}
}

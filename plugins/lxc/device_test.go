package lxc

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// patience is how long a test waits for something that has to come.
const patience = time.Minute

// device is an adapter with one environment that is up and watched.
type device struct {
	t   *testing.T
	a   *lxc
	env *env

	mu      sync.Mutex
	changed chan struct{}
	units   map[string]adapter.Unit
	history map[string][]adapter.Status // of each unit
	synced  bool
}

// starters are the ways to start containers that each test about running ones is made with.
var starters = map[string]starter{"units": units{}, "sessions": sessions{}}

// newDevice makes a device with the given settings of its environment "home".
func newDevice(t *testing.T, s starter, set map[string]any) *device {
	t.Helper()
	return deviceWith(t, "home", s, set)
}

// deviceWith makes a device with an environment of a name that no other device has at the time: control groups know containers by their names.
func deviceWith(t *testing.T, env string, s starter, set map[string]any) *device {
	t.Helper()
	machine.RequireInside(t)
	d := &device{t: t, a: newAdapter(quietLog(), s), changed: make(chan struct{}), units: map[string]adapter.Unit{},
		history: map[string][]adapter.Status{}}
	dir := filepath.Join(t.TempDir(), "env")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	all := map[string]any{"settle": "100ms", "stop_timeout": "10s"}
	for k, v := range set {
		all[k] = v
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.a.Configure(t.Context(), []adapter.EnvConfig{{ID: env, DataDir: dir, Settings: raw}}); err != nil {
		t.Fatal(err)
	}
	d.env = d.a.envs[env]
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := d.a.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for ev := range ch {
			d.take(ev)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		clearStore(t, d.env.store)
		d.a.end()
		d.a.tasks.end()
	})
	if err := d.a.SetEnabled(t.Context(), "up", env, true, nil); err != nil {
		t.Fatal(err)
	}
	d.wait("the sync", func() bool { return d.synced })
	return d
}

func (d *device) take(ev adapter.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch ev.Kind {
	case adapter.EventEnv:
		if !ev.Env.Up {
			d.units, d.synced = map[string]adapter.Unit{}, false
		}
	case adapter.EventUnit:
		d.units[ev.Unit.Key] = *ev.Unit
		d.history[ev.Unit.Key] = append(d.history[ev.Unit.Key], ev.Unit.Modules[0].Status)
	case adapter.EventUnitRemoved:
		delete(d.units, ev.Key)
	case adapter.EventSynced:
		d.synced = true
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// wait waits until ok, which looks at what was told.
func (d *device) wait(what string, ok func() bool) {
	d.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		d.mu.Lock()
		done, changed := ok(), d.changed
		d.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			d.t.Fatalf("%s did not come; told is %+v", what, d.units)
		}
	}
}

// module waits until the module of a unit is what ok asks for, and returns it.
func (d *device) module(key, what string, ok func(adapter.Module) bool) adapter.Module {
	d.t.Helper()
	var m adapter.Module
	d.wait(key+" "+what, func() bool {
		u, there := d.units[key]
		if !there || len(u.Modules) != 1 {
			return false
		}
		m = u.Modules[0]
		return ok(m)
	})
	return m
}

func (d *device) is(key string, s adapter.Status) adapter.Module {
	d.t.Helper()
	return d.module(key, string(s), func(m adapter.Module) bool { return m.Status == s })
}

func (d *device) ref(key string) adapter.UnitRef { return adapter.UnitRef{Env: d.env.id, Key: key} }

func (d *device) moduleOf(key string) adapter.ModuleRef {
	return adapter.ModuleRef{UnitRef: d.ref(key), Module: moduleID}
}

func (d *device) install(key string, data []byte) adapter.Unit {
	d.t.Helper()
	u, err := d.a.Install(d.t.Context(), adapter.OpID("install "+key), adapter.InstallSpec{Env: d.env.id, Key: key, Package: packageOf(d.t, data), RunLevel: -1})
	if err != nil {
		d.t.Fatal(err)
	}
	return u
}

func (d *device) start(key string) {
	d.t.Helper()
	if err := d.a.Start(d.t.Context(), "start", d.moduleOf(key), adapter.StartOptions{}); err != nil {
		d.t.Fatalf("%v\nLXC logged:\n%s", err, d.logOf(key))
	}
}

func (d *device) stop(key string) {
	d.t.Helper()
	if err := d.a.Stop(d.t.Context(), "stop", d.moduleOf(key)); err != nil {
		d.t.Fatal(err)
	}
	d.is(key, adapter.Idle)
}

// run installs an image with a shell that runs a script, and starts it. One that makes the file /tmp/ready, once it can be stopped, is waited for.
func (d *device) run(key, script string, change ...func(*imageSpec)) {
	d.t.Helper()
	spec := imageSpec{title: key, version: "1", layers: [][]entry{base(d.t)}, config: v1Config("/bin/sh", "-c", script)}
	for _, f := range change {
		f(&spec)
	}
	d.install(key, archiveOf(d.t, spec))
	d.start(key)
	if strings.Contains(script, "/tmp/ready") {
		d.file(key, "tmp/ready")
	}
}

func (d *device) name(key string) string { return d.env.store.nameFor(key) }

func (d *device) logOf(key string) string {
	data, _ := os.ReadFile(d.env.store.at(d.name(key), logName)) // for the message of a failure
	return string(data)
}

// rootfs is a path in the root file system of a container.
func (d *device) rootfs(key, path string) string {
	d.t.Helper()
	rec, err := d.env.store.record(d.name(key))
	if err != nil {
		d.t.Fatal(err)
	}
	return filepath.Join(d.env.store.generationDir(d.name(key), rec.Current), rootfsName, path)
}

// file waits for a file that a container writes, which it makes complete by its name, and returns its content.
func (d *device) file(key, path string) string {
	d.t.Helper()
	var data []byte
	d.eventually(path, func() bool {
		var err error
		data, err = os.ReadFile(d.rootfs(key, path))
		return err == nil
	})
	return string(data)
}

// eventually waits for a condition of the device that nobody tells.
func (d *device) eventually(what string, ok func() bool) {
	d.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			d.t.Fatalf("%s did not come", what)
		}
	}
}

// first returns the first process in a container.
func (d *device) first(key string) int {
	d.t.Helper()
	_, pid, err := d.env.tools.info(d.t.Context(), d.name(key))
	if err != nil || pid == 0 {
		d.t.Fatalf("container %s has no process: %v", key, err)
	}
	return pid
}

// tool runs a program and returns what it printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// must fails the test with an error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// reasonIs checks the class of an error.
func reasonIs(t *testing.T, err error, want adapter.Reason) {
	t.Helper()
	if got := adapter.ReasonOf(err); err == nil || got != want {
		t.Errorf("the error is %q: %v; want %q", got, err, want)
	}
}

// statusField is a line of /proc/PID/status.
func statusField(t *testing.T, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("/proc/%d/status has no %s", pid, name)
	return ""
}

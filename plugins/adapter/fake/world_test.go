package fake_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// device is an adapter on a World in which environment e is up.
type device struct {
	t  *testing.T
	w  *fake.World
	a  *fake.Adapter
	ch <-chan adapter.Event
}

func newDevice(t *testing.T, o fake.Options, settings string) *device {
	t.Helper()
	w := fake.NewWorld(o)
	d := &device{t: t, w: w}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	d.adapter(settings)
	d.ok(d.a.SetEnabled(t.Context(), "up", "e", true, nil))
	return d
}

// adapter makes another adapter on the World.
func (d *device) adapter(settings string) {
	d.t.Helper()
	d.a = fake.New(d.w)
	d.t.Cleanup(d.a.Kill)
	d.ok(d.a.Configure(d.t.Context(), []adapter.EnvConfig{{ID: "e", Settings: []byte(settings)}}))
	ch, err := d.a.Watch(d.t.Context())
	d.ok(err)
	d.ch = ch
}

func (d *device) ok(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *device) install(op adapter.OpID, key string, s fake.Spec) (adapter.Unit, error) {
	d.t.Helper()
	if s.Version == "" {
		s.Version = "1"
	}
	return d.a.Install(d.t.Context(), op, adapter.InstallSpec{Env: "e", Key: key, Package: fake.Package(d.t, s), RunLevel: -1})
}

func (d *device) console() fake.Console {
	d.t.Helper()
	c, err := d.w.Console("e")
	d.ok(err)
	return c
}

// event waits for an event that ok accepts, and returns it.
func (d *device) event(what string, ok func(adapter.Event) bool) adapter.Event {
	d.t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		select {
		case ev, open := <-d.ch:
			if !open {
				d.t.Fatalf("the watch was closed before %s", what)
			}
			if ok(ev) {
				return ev
			}
		case <-deadline.C:
			d.t.Fatalf("no event: %s", what)
		}
	}
}

// module waits until the only module of a unit is as ok says.
func (d *device) module(key, what string, ok func(adapter.Module) bool) adapter.Module {
	d.t.Helper()
	return d.event(what, func(ev adapter.Event) bool {
		return ev.Unit != nil && ev.Unit.Key == key && ok(ev.Unit.Modules[0])
	}).Unit.Modules[0]
}

func theModule(u adapter.Unit) adapter.ModuleRef {
	return adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: u.Env, Key: u.Key, Handle: u.Handle}, Module: fake.DefaultModule}
}

func wantReason(t *testing.T, err error, want adapter.Reason) {
	t.Helper()
	if got := adapter.ReasonOf(err); got != want {
		t.Errorf("want reason %q, got %q: %v", want, got, err)
	}
}

func TestFailCall(t *testing.T) {
	d := newDevice(t, fake.Options{}, "")
	d.w.FailCall("Install", 2, adapter.Errorf(adapter.NoResources, "full"))
	u, err := d.install("1", "k1", fake.Spec{Name: "a"})
	d.ok(err)
	_, err = d.install("2", "k2", fake.Spec{Name: "b"})
	wantReason(t, err, adapter.NoResources)
	_, err = d.install("2", "k2", fake.Spec{Name: "b"})
	d.ok(err)
	if all, two := d.w.Count("Install", ""), d.w.Count("Install", "2"); all != 3 || two != 2 {
		t.Errorf("counted %d calls, %d of them with OpID 2", all, two)
	}

	d.w.Fail("Start", adapter.Errorf(adapter.Unstartable, "no"))
	wantReason(t, d.a.Start(t.Context(), "3", theModule(u), adapter.StartOptions{}), adapter.Unstartable)
	wantReason(t, d.a.Start(t.Context(), "3", theModule(u), adapter.StartOptions{}), adapter.Unstartable)
	d.w.Fail("Start", nil)
	d.ok(d.a.Start(t.Context(), "3", theModule(u), adapter.StartOptions{}))
}

func TestHook(t *testing.T) {
	lost := errors.New("the answer is lost")
	d := newDevice(t, fake.Options{}, "")
	there := func() bool {
		s, err := d.w.State()
		d.ok(err)
		return s.Envs["e"].Units["k"] != nil
	}
	d.w.Hook("Install", fake.Before, func(c fake.Call) error {
		if c != (fake.Call{Method: "Install", OpID: "1", Env: "e"}) {
			t.Errorf("the hook is told %+v", c)
		}
		return lost
	})
	if _, err := d.install("1", "k", fake.Spec{Name: "a"}); !errors.Is(err, lost) || there() {
		t.Errorf("before: error %v, installed %v", err, there())
	}
	d.w.Hook("Install", fake.Before, nil)
	d.w.Hook("Install", fake.After, func(fake.Call) error { return lost })
	if _, err := d.install("1", "k", fake.Spec{Name: "a"}); !errors.Is(err, lost) || !there() {
		t.Errorf("after: error %v, installed %v", err, there())
	}
	d.w.Hook("Install", fake.After, func(fake.Call) error { panic("dead") })
	func() {
		defer func() {
			if p := recover(); p != "dead" {
				t.Errorf("recovered %v", p)
			}
		}()
		_, _ = d.install("1", "k", fake.Spec{Name: "a"})
	}()
	d.w.Hook("Install", fake.After, nil)
	_, err := d.install("1", "k", fake.Spec{Name: "a"})
	d.ok(err)
}

func TestBlock(t *testing.T) {
	d := newDevice(t, fake.Options{}, "")
	entered, release := d.w.Block("Discard")
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { first <- d.a.Discard(ctx, "1", adapter.UnitRef{Env: "e"}) }()
	<-entered
	cancel()
	wantReason(t, <-first, adapter.Canceled)
	go func() { second <- d.a.Discard(t.Context(), "1", adapter.UnitRef{Env: "e"}) }()
	release()
	release()
	d.ok(<-second)
}

func TestKill(t *testing.T) {
	d := newDevice(t, fake.Options{}, "")
	entered, release := d.w.Block("Install")
	defer release()
	done := make(chan error, 1)
	p := fake.Package(t, fake.Spec{Name: "a", Version: "1"})
	go func() {
		_, err := d.a.Install(t.Context(), "1", adapter.InstallSpec{Env: "e", Key: "k", Package: p})
		done <- err
	}()
	<-entered
	d.a.Kill()
	wantReason(t, <-done, adapter.Unavailable)
	for range d.ch { // it is closed
	}
	release()
	d.adapter("")
	_, err := d.install("1", "k", fake.Spec{Name: "a"})
	d.ok(err)
}

func TestDropWatch(t *testing.T) {
	d := newDevice(t, fake.Options{}, "")
	d.w.DropWatch()
	for range d.ch {
	}
	ch, err := d.a.Watch(t.Context())
	d.ok(err)
	d.ch = ch
	d.event("Synced", func(ev adapter.Event) bool { return ev.Kind == adapter.EventSynced })
}

func TestConsole(t *testing.T) {
	d := newDevice(t, fake.Options{AutoStart: true}, "")
	c := d.console()
	d.ok(c.Install("k", fake.Spec{Name: "a", Version: "1"}))
	d.ok(c.Start("k", fake.DefaultModule))
	d.module("k", "active", func(m adapter.Module) bool { return m.Status == adapter.Active })
	d.ok(c.Stop("k", fake.DefaultModule))
	d.module("k", "idle", func(m adapter.Module) bool { return m.Status == adapter.Idle })
	d.ok(c.SetAutoStart("k", fake.DefaultModule, true))
	d.module("k", "with AutoStart", func(m adapter.Module) bool { return *m.AutoStart })
	d.ok(c.Crash("k", fake.DefaultModule, "segfault", 139))
	m := d.module("k", "failed", func(m adapter.Module) bool { return m.Reason == adapter.FailedWhileActive })
	if m.Message != "segfault" || m.ExitCode == nil || *m.ExitCode != 139 {
		t.Errorf("the crashed module is %+v", m)
	}
	d.ok(c.Lose("power"))
	d.event("loss", func(ev adapter.Event) bool { return ev.Env != nil && !ev.Env.Up && ev.Env.Detail == "power" })
	d.ok(c.Launch())
	d.event("launch", func(ev adapter.Event) bool { return ev.Env != nil && ev.Env.Up && ev.Env.Launch == "e#2" })
	d.module("k", "started with the environment", func(m adapter.Module) bool { return m.Status == adapter.Active })
	d.ok(c.Remove("k"))
	d.event("removal", func(ev adapter.Event) bool { return ev.Kind == adapter.EventUnitRemoved && ev.Key == "k" })

	d.ok(c.InstallSystem("s", fake.Spec{Name: "system", Version: "1"}))
	_, err := d.a.Uninstall(t.Context(), "1", adapter.UnitRef{Env: "e", Key: "s"})
	wantReason(t, err, adapter.NotSupported)
	_, err = d.a.Revert(t.Context(), "2", adapter.UnitRef{Env: "e", Key: "s"}, adapter.Package{})
	wantReason(t, err, adapter.NotSupported)
	wantReason(t, c.Start("s", "other"), adapter.NotFound)
	wantReason(t, c.Remove("other"), adapter.NotFound)
}

func TestRequirements(t *testing.T) {
	d := newDevice(t, fake.Options{}, "")
	u, err := d.install("1", "user", fake.Spec{Name: "user", Requires: []string{"lib"}})
	d.ok(err)
	if u.Resolved {
		t.Error("the unit is resolved without what it requires")
	}
	wantReason(t, d.a.Start(t.Context(), "2", theModule(u), adapter.StartOptions{}), adapter.Unresolved)
	_, err = d.install("3", "lib", fake.Spec{Name: "lib"})
	d.ok(err)
	d.event("resolved", func(ev adapter.Event) bool { return ev.Unit != nil && ev.Unit.Key == "user" && ev.Unit.Resolved })
	d.ok(d.a.Start(t.Context(), "4", theModule(u), adapter.StartOptions{}))
	d.ok(d.console().Remove("lib"))
	d.module("user", "stopped", func(m adapter.Module) bool { return m.Status == adapter.Idle && m.Reason == adapter.Dependency })
}

func TestDiskAndTimeLimit(t *testing.T) {
	d := newDevice(t, fake.Options{}, `{"disk_kib":10,"time_limit":"1ms","name":"n"}`)
	_, err := d.install("1", "k", fake.Spec{Name: "large", SizeKiB: 11})
	wantReason(t, err, adapter.NoResources)
	u, err := d.install("2", "k", fake.Spec{Name: "a", SizeKiB: 10, Modules: []fake.ModuleSpec{{ID: fake.DefaultModule, StartHangs: true}}})
	d.ok(err)
	wantReason(t, d.a.Start(t.Context(), "3", theModule(u), adapter.StartOptions{}), adapter.StillRunning)
	d.module("k", "starting", func(m adapter.Module) bool { return m.Status == adapter.Starting })
	d.ok(d.w.Release("a"))
	d.module("k", "active", func(m adapter.Module) bool { return m.Status == adapter.Active })
}

func TestUninstallPending(t *testing.T) {
	d := newDevice(t, fake.Options{}, "")
	u, err := d.install("1", "k", fake.Spec{Name: "a", UninstallPending: true})
	d.ok(err)
	for range 2 {
		res, err := d.a.Uninstall(t.Context(), "2", theModule(u).UnitRef)
		d.ok(err)
		if !res.Pending {
			t.Error("the result is not Pending")
		}
	}
	d.ok(d.a.SetEnabled(t.Context(), "3", "e", false, nil))
	d.ok(d.a.SetEnabled(t.Context(), "4", "e", true, nil))
	if res, err := d.a.Uninstall(t.Context(), "2", theModule(u).UnitRef); err != nil || res.Pending {
		t.Errorf("after the restart: %+v, %v", res, err)
	}
}

func TestHandles(t *testing.T) {
	d := newDevice(t, fake.Options{}, "")
	u, err := d.install("1", "k", fake.Spec{Name: "a"})
	d.ok(err)
	v1, v2 := fake.Package(t, fake.Spec{Name: "a", Version: "1"}), fake.Package(t, fake.Spec{Name: "a", Version: "2"})
	next, err := d.a.Update(t.Context(), "2", theModule(u).UnitRef, v1, v2)
	d.ok(err)
	d.ok(d.a.Start(t.Context(), "3", theModule(u), adapter.StartOptions{}))
	d.ok(d.a.Discard(t.Context(), "4", theModule(next).UnitRef))
	wantReason(t, d.a.Stop(t.Context(), "5", theModule(u)), adapter.NotFound)
	foreign := theModule(next)
	foreign.Handle.Data = []byte("{}")
	wantReason(t, d.a.Stop(t.Context(), "5", foreign), adapter.InvalidArgument)
	foreign.Handle = adapter.Handle{}
	d.ok(d.a.Stop(t.Context(), "5", foreign))
}

func TestStored(t *testing.T) {
	dir := t.TempDir()
	w, err := fake.Open(fake.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.Console("e")
	if err = errors.Join(err, c.Launch(), c.Install("k", fake.Spec{Name: "a", Version: "1"}), c.Start("k", fake.DefaultModule), w.Close()); err != nil {
		t.Fatal(err)
	}
	s, err := fake.ReadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if e := s.Envs["e"]; e == nil || !e.Up || e.Units["k"].Modules[0].Status != adapter.Active {
		t.Errorf("the stored environment is %+v", e)
	}
	if err := os.WriteFile(filepath.Join(dir, "world.json"), []byte(`{"version":2}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if w, err := fake.Open(fake.Options{Dir: dir}); err == nil {
		t.Errorf("a newer version is opened: %v", w.Close())
	}
}

// TestStoredBreaks wants a World that cannot be stored to say so in every call from then on.
func TestStoredBreaks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "world")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w, err := fake.Open(fake.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err = w.Console("e")
	wantReason(t, err, adapter.Internal)
	_, err = w.Console("e")
	wantReason(t, err, adapter.Internal)
	if w.Close() == nil {
		t.Error("Close does not tell")
	}
}

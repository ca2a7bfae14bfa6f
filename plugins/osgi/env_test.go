package osgi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// shortLimits let the tests of failures end soon.
func shortLimits() limits {
	return limits{
		hello: 300 * time.Millisecond, slack: 200 * time.Millisecond, change: 400 * time.Millisecond, kill: 2 * time.Second,
		poll: 20 * time.Millisecond, ping: 100 * time.Millisecond, settle: 50 * time.Millisecond,
	}
}

// await polls until ok; what says what is waited for.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !poll(ok) {
		t.Fatalf("waited in vain for %s", what)
	}
}

// poll reports whether ok says true before the time is up.
func poll(ok func() bool) bool {
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			return false
		case <-tick.C:
		}
	}
	return true
}

// configured returns an adapter with one environment, "home".
func configured(t *testing.T, l limits, dir string, settings map[string]any) *osgi {
	t.Helper()
	if settings["framework"] == nil && settings["attach"] == nil {
		settings["framework"] = "/nonexistent/framework.jar"
	}
	raw, err := json.Marshal(settings)
	if err != nil {
		t.Fatal(err)
	}
	o := newAdapter(quietLog(), l)
	if err := o.Configure(t.Context(), []adapter.EnvConfig{{ID: "home", DataDir: dir, Settings: raw}}); err != nil {
		t.Fatal(err)
	}
	return o
}

// feed is a watch and what it sent so far.
type feed struct {
	t      testing.TB
	events <-chan adapter.Event
	end    func()
}

func watch(t *testing.T, o adapter.Adapter) *feed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	events, err := o.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f := &feed{t, events, func() {
		cancel()
		for range events {
		}
	}}
	t.Cleanup(f.end)
	return f
}

// until returns the events up to the first that is ok.
func (f *feed) until(what string, ok func(adapter.Event) bool) []adapter.Event {
	f.t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	var seen []adapter.Event
	for {
		select {
		case e, open := <-f.events:
			if !open {
				f.t.Fatalf("the watch ended before %s", what)
			}
			seen = append(seen, e)
			if ok(e) {
				return seen
			}
		case <-deadline.C:
			f.t.Fatalf("waited in vain for %s; seen: %s", what, describe(seen))
		}
	}
}

func describe(events []adapter.Event) string {
	var lines []string
	for _, e := range events {
		line := string(e.Kind)
		switch {
		case e.Env != nil:
			line += fmt.Sprintf(" up=%v %s", e.Env.Up, e.Env.Detail)
		case e.Unit != nil:
			line += " " + e.Unit.Key + " " + string(e.Unit.Modules[0].Status)
		default:
			line += " " + e.Key
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}

func synced(e adapter.Event) bool { return e.Kind == adapter.EventSynced }
func down(e adapter.Event) bool   { return e.Env != nil && !e.Env.Up }
func unit(key string, status adapter.Status) func(adapter.Event) bool {
	return func(e adapter.Event) bool {
		return e.Unit != nil && e.Unit.Key == key && e.Unit.Modules[0].Status == status
	}
}

func reasonIs(t testing.TB, err error, want adapter.Reason) {
	t.Helper()
	if got := adapter.ReasonOf(err); got != want {
		t.Errorf("reason %q (%v), want %q", got, err, want)
	}
	var e *adapter.Error
	if err != nil && want != adapter.Canceled && !errors.As(err, &e) {
		t.Errorf("%T is no *adapter.Error", err)
	}
}

func ref(key string) adapter.ModuleRef {
	return adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: "home", Key: key}, Module: moduleID}
}

func TestWatchTellsEverythingAndThenChanges(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	d.knob(func() { d.add("a") })
	o := configured(t, shortLimits(), dir, map[string]any{"memory": "1MiB"})
	f := watch(t, o)
	first := f.until("the first sync", synced)
	if got := describe(first); got != "env up=true\nunit a Idle\nsynced" {
		t.Fatalf("the first events are:\n%s", got)
	}
	want := adapter.Env{ID: "home", Name: "uuid-of-" + d.launch, Type: "OSGi 1.10", Vendor: "Double", Version: "1.2.3", Up: true, Launch: d.launch,
		RunLevel: 1, InitialModuleRunLevel: 4, AllocatedDisk: -1, AvailableDisk: 5000, AllocatedMemory: 1024, AvailableMemory: 600}
	if diff := cmp.Diff(want, *first[0].Env); diff != "" {
		t.Error(diff)
	}
	no := false
	wantUnit := adapter.Unit{Env: "home", Key: "a", DUID: "1", Handle: adapter.Handle{Version: 1, Data: []byte(`{"location":"a"}`)},
		Manifest: adapter.Manifest{Name: "test.a", Version: "1.0.0"}, Modules: []adapter.Module{{ID: "bundle", Name: "test.a", Label: "1",
			Version: "1.0.0", Status: adapter.Idle, AutoStart: &no, RunLevel: 1, Memory: -1, Disk: 2}}}
	if diff := cmp.Diff(wantUnit, *first[1].Unit); diff != "" {
		t.Error(diff)
	}

	p := adapter.Package{Path: bundleJar(t, "b", "1")}
	u, err := o.Install(t.Context(), "op1", adapter.InstallSpec{Env: "home", Key: "b", Package: p, RunLevel: -1})
	if err != nil {
		t.Fatal(err)
	}
	f.until("the new bundle", unit("b", adapter.Idle))
	m := adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: "home", Key: "b", Handle: u.Handle}, Module: moduleID}
	if err := o.Start(t.Context(), "op2", m, adapter.StartOptions{Persistent: true}); err != nil {
		t.Fatal(err)
	}
	f.until("the start", unit("b", adapter.Active))
	if err := o.Stop(t.Context(), "op3", m); err != nil {
		t.Fatal(err)
	}
	f.until("the stop", unit("b", adapter.Idle))
	if _, err := o.Uninstall(t.Context(), "op4", m.UnitRef); err != nil {
		t.Fatal(err)
	}
	f.until("the removal", func(e adapter.Event) bool { return e.Kind == adapter.EventUnitRemoved && e.Key == "b" })
	if err := o.SetRunLevel(t.Context(), "op5", "home", 7); err != nil {
		t.Fatal(err)
	}
	f.until("the run level", func(e adapter.Event) bool { return e.Env != nil && e.Env.RunLevel == 7 })

	// A second watch replaces the first.
	second := watch(t, o)
	for range f.events {
	}
	second.until("the sync of the second watch", synced)
}

func TestWatchOfAnEnvironmentThatIsDown(t *testing.T) {
	dir := t.TempDir()
	o := configured(t, shortLimits(), dir, map[string]any{"name": "configured"})
	f := watch(t, o)
	if e := f.until("down", down)[0].Env; e.Detail != "the framework is not running" || e.RunLevel != -1 || e.Name != "home" {
		t.Errorf("%+v", e)
	}
	inProcess(t, dir)
	if got := describe(f.until("the sync", synced)); got != "env up=true\nsynced" {
		t.Errorf("events are:\n%s", got)
	}
}

func TestLostConnectionIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	o := configured(t, shortLimits(), dir, map[string]any{})
	f := watch(t, o)
	f.until("the sync", synced)
	cut := time.AfterFunc(100*time.Millisecond, d.cut) // later than settle
	defer cut.Stop()
	if got := describe(f.until("the sync after the cut", synced)); !strings.HasSuffix(got, "\nenv up=true\nsynced") || strings.Count(got, "\n") != 2 {
		t.Errorf("a lost connection to a living environment is told as:\n%s", got)
	}
	d.close()
	f.until("the loss", down)
}

func TestDeafHostIsDownAndComesBack(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	o := configured(t, shortLimits(), dir, map[string]any{})
	f := watch(t, o)
	f.until("the sync", synced)
	d.knob(func() { d.on["hello"] = func(*peer) {} })
	f.until("the deafness", down)
	_, err := o.Install(t.Context(), "op", adapter.InstallSpec{Env: "home", Key: "x", Package: adapter.Package{Path: bundleJar(t, "x", "1")}})
	reasonIs(t, err, adapter.Unavailable)
	d.knob(func() { delete(d.on, "hello") })
	f.until("the return", synced)
}

func TestPingKeepsAQuietHostUp(t *testing.T) {
	dir := t.TempDir()
	inProcess(t, dir)
	l := shortLimits()
	o := configured(t, l, dir, map[string]any{})
	f := watch(t, o)
	f.until("the sync", synced)
	quiet := time.NewTimer(3 * (l.ping + l.hello))
	defer quiet.Stop()
	select {
	case e := <-f.events:
		t.Errorf("an idle environment sends %s", describe([]adapter.Event{e}))
	case <-quiet.C:
	}
}

func TestRequestsThatFail(t *testing.T) {
	answer := func(frame string) func(*peer) {
		return func(p *peer) { _, _ = io.WriteString(p.c, frame) }
	}
	tests := []struct {
		name string
		on   func(*peer)
		fail *hostError
		want adapter.Reason
	}{
		{"cut in the request", func(p *peer) { p.c.Close() }, nil, adapter.Unavailable},
		{"garbage", answer("\x00\x00\x00\x04garb"), nil, adapter.Unavailable},
		{"oversized frame", answer("\x7f\x00\x00\x00"), nil, adapter.Unavailable},
		{"empty frame", answer("\x00\x00\x00\x00"), nil, adapter.Unavailable},
		{"frame cut short", func(p *peer) { answer("\x00\x00\x00\x09{")(p); p.c.Close() }, nil, adapter.Unavailable},
		{"no answer, but alive", func(*peer) {}, nil, adapter.StillRunning},
		{"refused", nil, &hostError{Reason: "start-failed", Message: "cannot start bundle 1", Cause: "boom"}, adapter.StartFailed},
		{"refused for a reason of the future", nil, &hostError{Reason: "whim", Message: "no"}, adapter.Internal},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			d := inProcess(t, dir)
			d.knob(func() {
				d.add("a")
				if test.on != nil {
					d.on["start"] = test.on
				}
				if test.fail != nil {
					d.fail["start"] = test.fail
				}
			})
			o := configured(t, shortLimits(), dir, map[string]any{"call_timeout": "200ms"})
			err := o.Start(t.Context(), "op", ref("a"), adapter.StartOptions{})
			reasonIs(t, err, test.want)
			if test.fail != nil {
				var e *adapter.Error
				if !errors.As(err, &e) || e.Message != test.fail.Message || e.Cause != test.fail.Cause {
					t.Errorf("%#v", err)
				}
			}
			// The next request is not touched by it.
			if err := o.Stop(t.Context(), "op2", ref("a")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTooManyCalls(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	begun := make(chan struct{}, maxRequests)
	d.knob(func() { d.add("a"); d.on["start"] = func(*peer) { begun <- struct{}{} } })
	o := configured(t, shortLimits(), dir, map[string]any{"call_timeout": "1h"})
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range maxRequests {
		calls.Go(func() { reasonIs(t, o.Start(ctx, "op", ref("a"), adapter.StartOptions{}), adapter.Canceled) })
	}
	for range maxRequests {
		<-begun
	}
	// One more waits for its turn, no longer than it may take itself.
	_, err := o.Install(ctx, "op", adapter.InstallSpec{Env: "home", Key: "b", Package: adapter.Package{Path: bundleJar(t, "b", "1")}})
	reasonIs(t, err, adapter.Unavailable)
	f := watch(t, o) // which is no call
	f.until("the sync", synced)
	cancel()
	calls.Wait()
	if err := o.Stop(t.Context(), "op", ref("a")); err != nil {
		t.Error(err)
	}
}

func TestCallsEndWithTheirContext(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	reached := make(chan struct{}, 1)
	d.knob(func() { d.add("a"); d.on["start"] = func(*peer) { reached <- struct{}{} } })
	o := configured(t, defaultLimits(), dir, map[string]any{"call_timeout": "1h"})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	reasonIs(t, o.Start(ctx, "op", ref("a"), adapter.StartOptions{}), adapter.Canceled)
	d.knob(func() { d.on["hello"] = func(*peer) { reached <- struct{}{} } })
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	reasonIs(t, o.SetEnabled(ctx, "op", "home", true, nil), adapter.Canceled)
}

func TestAnotherVersionOfTheProtocol(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	d.knob(func() { d.version = 2 })
	o := configured(t, shortLimits(), dir, map[string]any{})
	f := watch(t, o)
	if e := f.until("down", down)[0].Env; !strings.Contains(e.Detail, "another version") {
		t.Errorf("detail %q", e.Detail)
	}
	reasonIs(t, o.Stop(t.Context(), "op", ref("a")), adapter.Unavailable)
	reasonIs(t, o.SetEnabled(t.Context(), "op", "home", true, nil), adapter.NotSupported)
	if calls := d.called(); len(calls) > 0 {
		t.Errorf("it was asked %v", calls)
	}
}

func TestUpdateAndUninstallLeaveAloneWhatDoesNotStop(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	d.knob(func() {
		d.add("a")
		d.fail["stop"] = &hostError{Reason: "still-running", Message: "it hangs"}
	})
	o := configured(t, shortLimits(), dir, map[string]any{})
	p := adapter.Package{Path: bundleJar(t, "a", "2")}
	_, err := o.Update(t.Context(), "op", ref("a").UnitRef, p, p)
	reasonIs(t, err, adapter.StillRunning)
	_, err = o.Uninstall(t.Context(), "op", ref("a").UnitRef)
	reasonIs(t, err, adapter.StillRunning)
	if calls := d.called(); !slices.Equal(calls, []string{"stop", "stop"}) {
		t.Errorf("the host was asked %v", calls)
	}
	// A stop that fails keeps nothing from being updated or removed.
	d.knob(func() { d.fail["stop"] = &hostError{Reason: "stop-failed", Message: "boom"} })
	if _, err := o.Update(t.Context(), "op", ref("a").UnitRef, p, p); err != nil {
		t.Error(err)
	}
	if _, err := o.Uninstall(t.Context(), "op", ref("a").UnitRef); err != nil {
		t.Error(err)
	}
}

func TestBadPackageReachesNoFramework(t *testing.T) {
	dir := t.TempDir()
	d := inProcess(t, dir)
	d.knob(func() { d.add("a") })
	o := configured(t, shortLimits(), dir, map[string]any{})
	bad := adapter.Package{Path: alter(t, bundleJar(t, "x", "1"), func(b []byte) []byte { return b[:20] })}
	_, err := o.Install(t.Context(), "op", adapter.InstallSpec{Env: "home", Key: "x", Package: bad})
	reasonIs(t, err, adapter.Corrupt)
	_, err = o.Update(t.Context(), "op", ref("a").UnitRef, bad, bad)
	reasonIs(t, err, adapter.Corrupt)
	if calls := d.called(); len(calls) > 0 {
		t.Errorf("the host was asked %v", calls)
	}
}

func TestArgumentsThatAreWrong(t *testing.T) {
	o := configured(t, shortLimits(), t.TempDir(), map[string]any{})
	ctx := t.Context()
	other := ref("a")
	other.Module = "x"
	reasonIs(t, o.Start(ctx, "op", other, adapter.StartOptions{}), adapter.NotFound)
	newer := ref("a")
	newer.Handle = adapter.Handle{Version: 2}
	reasonIs(t, o.Stop(ctx, "op", newer), adapter.InvalidArgument)
	newer.Handle = adapter.Handle{Version: 1, Data: []byte("x")}
	reasonIs(t, o.Discard(ctx, "op", newer.UnitRef), adapter.InvalidArgument)
	reasonIs(t, o.Discard(ctx, "op", ref("a").UnitRef), "")
	elsewhere := ref("a")
	elsewhere.Env = "away"
	reasonIs(t, o.Stop(ctx, "op", elsewhere), adapter.NotFound)
	reasonIs(t, o.SetEnabled(ctx, "op", "away", true, nil), adapter.NotFound)
	reasonIs(t, o.SetRunLevel(ctx, "op", "home", -1), adapter.InvalidArgument)
	reasonIs(t, o.SetModuleRunLevel(ctx, "op", ref("a"), 65536), adapter.InvalidArgument)
	reasonIs(t, o.SetRunLevel(ctx, "op", "home", 1), adapter.Unavailable)
	reasonIs(t, o.Configure(ctx, nil), adapter.BadState)
	_, err := New(quietLog()).Watch(ctx)
	reasonIs(t, err, adapter.BadState)
}

func TestSettingsOfAModuleThatIsNotThereAreWithoutEffect(t *testing.T) {
	on := true
	gone := ref("a")
	gone.Module = "x"
	options, err := firstOptions([]adapter.ModuleSetting{{ModuleRef: gone, RunLevel: 3, AutoStart: &on}, {ModuleRef: ref("b"), RunLevel: 4}})
	if err != nil || !slices.Equal(options, []string{"--bundle-level", "4 b"}) {
		t.Errorf("options %q, %v", options, err)
	}
	newer := ref("a")
	newer.Handle = adapter.Handle{Version: 2}
	_, err = firstOptions([]adapter.ModuleSetting{{ModuleRef: newer, RunLevel: 3}})
	reasonIs(t, err, adapter.InvalidArgument)
}

package adaptertest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// prompt is how long a method may take to return once its context is done, and Describe at all.
const prompt = time.Second

// rig is what one case works with: a new device, and the adapter that drives it at the moment.
type rig struct {
	t    TB
	h    Harness
	dir  string
	envs []adapter.EnvConfig
	env  string // the first one

	a        adapter.Adapter
	kill     func()
	desc     adapter.Description
	v        *view
	endWatch context.CancelFunc
}

func newRig(t TB, h Harness) *rig {
	t.Helper()
	if h.Timeout == 0 {
		h.Timeout = DefaultTimeout
	}
	if h.RunLevel == 0 {
		h.RunLevel = 5
	}
	r := &rig{t: t, h: h, dir: filepath.Join(t.TempDir(), "device")}
	r.mkdir(r.dir)
	r.envs = h.Environments(t, r.dir)
	if len(r.envs) == 0 {
		t.Fatalf("the harness has no environment")
	}
	for i := range r.envs {
		if r.envs[i].DataDir == "" {
			r.envs[i].DataDir = filepath.Join(r.dir, "data-"+r.envs[i].ID)
			r.mkdir(r.envs[i].DataDir)
		}
	}
	r.env = r.envs[0].ID
	return r
}

func (r *rig) mkdir(dir string) {
	r.t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		r.t.Fatalf("cannot make a directory: %v", err)
	}
}

// open makes an adapter and asks what it is.
func (r *rig) open() {
	r.t.Helper()
	a, kill := r.h.Open(r.t, r.dir)
	r.a, r.kill = a, kill
	r.t.Cleanup(kill)
	r.must("Describe", func(ctx context.Context) (err error) {
		r.desc, err = a.Describe(ctx)
		return err
	})
}

// start makes a configured adapter and watches it.
func (r *rig) start() {
	r.t.Helper()
	r.open()
	r.configure()
}

// configure configures the adapter and watches it.
func (r *rig) configure() {
	r.t.Helper()
	r.must("Configure", func(ctx context.Context) error { return r.a.Configure(ctx, slices.Clone(r.envs)) })
	r.watch()
}

// watch starts a Watch in place of the one before.
func (r *rig) watch() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ch, err := r.a.Watch(ctx)
	if err != nil {
		cancel()
		r.t.Fatalf("cannot Watch: %v", err)
	}
	if ch == nil {
		cancel()
		r.t.Fatalf("Watch returned no channel and no error")
	}
	v := newView(r, ch)
	r.v, r.endWatch = v, cancel
	r.t.Cleanup(func() {
		cancel()
		if !v.wait(r.h.Timeout, func() bool { return v.closed }) {
			r.t.Errorf("Watch: the channel is not closed %s after its context was done", r.h.Timeout)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		for _, w := range v.wrong {
			r.t.Errorf("Watch: %s", w)
		}
	})
}

// up is start, with the environments running at a level at which modules can run.
func (r *rig) up() {
	r.t.Helper()
	r.start()
	r.launch(r.env)
}

// launch brings an environment up, and to the level of the harness.
func (r *rig) launch(env string) {
	r.t.Helper()
	r.setEnabled(env, true)
	r.raise(env)
}

// launchWith launches the environment with settings that are to hold before a module is started.
func (r *rig) launchWith(first ...adapter.ModuleSetting) {
	r.t.Helper()
	r.must("SetEnabled", func(ctx context.Context) error { return r.a.SetEnabled(ctx, r.op(), r.env, true, first) })
	r.raise(r.env)
}

// raise brings an environment that was launched to the level of the harness.
func (r *rig) raise(env string) {
	r.t.Helper()
	if l, ok := r.levels(); ok {
		r.must("SetRunLevel", func(ctx context.Context) error { return l.SetRunLevel(ctx, r.op(), env, r.h.RunLevel) })
	}
	r.waitEnv(env, "up and synced", func(s *seenEnv) bool { return s.env.Up && s.synced })
}

// setEnabled launches or ends an environment: by the adapter, or by whoever it leaves that to.
func (r *rig) setEnabled(env string, on bool) {
	r.t.Helper()
	switch {
	case r.h.Attached != nil && on:
		r.h.Attached.Launch(r.t, r.dir, env)
		r.waitEnv(env, "up and synced", func(s *seenEnv) bool { return s.env.Up && s.synced })
		return
	case r.h.Attached != nil:
		r.h.Attached.End(r.t, r.dir, env)
		r.waitEnv(env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		return
	}
	r.must("SetEnabled", func(ctx context.Context) error { return r.a.SetEnabled(ctx, r.op(), env, on, nil) })
}

// restart kills the adapter and makes another one on the same device; the environment goes on.
func (r *rig) restart() {
	r.t.Helper()
	r.kill()
	r.start()
	if r.h.Dies != "" {
		r.launch(r.env)
	}
}

// lives skips the case where the environment ends with its adapter.
func (r *rig) lives() {
	r.t.Helper()
	if r.h.Dies != "" {
		r.t.Skipf("the environment ends with the adapter: %s", r.h.Dies)
	}
}

// launches skips the case where somebody else launches and ends the environment.
func (r *rig) launches() {
	r.t.Helper()
	if r.h.Attached != nil {
		r.t.Skipf("the environment is attached: the adapter neither launches nor ends it")
	}
}

// attached skips the case where the adapter launches and ends the environment.
func (r *rig) attached() {
	r.t.Helper()
	if r.h.Attached == nil {
		r.t.Skipf("the environment is not attached: the harness has no Attached")
	}
}

// second is another environment.
func (r *rig) second() string {
	r.t.Helper()
	if len(r.envs) < 2 {
		r.t.Skipf("the harness has one environment only")
	}
	return r.envs[1].ID
}

func (r *rig) levels() (adapter.RunLeveler, bool) {
	l, ok := r.a.(adapter.RunLeveler)
	return l, ok && r.desc.Has(adapter.CapRunLevels)
}

func (r *rig) needLevels() adapter.RunLeveler {
	r.t.Helper()
	l, ok := r.levels()
	if !ok {
		r.t.Skipf("the adapter does not announce %s", adapter.CapRunLevels)
	}
	return l
}

func (r *rig) needAutoStart() adapter.AutoStarter {
	r.t.Helper()
	s, ok := r.a.(adapter.AutoStarter)
	if !ok || !r.desc.Has(adapter.CapAutoStart) {
		r.t.Skipf("the adapter does not announce %s", adapter.CapAutoStart)
	}
	return s
}

// op is a new OpID.
func (r *rig) op() adapter.OpID { return adapter.OpID("op-" + r.key()) }

// key is a new key, of the form that the agent gives: a random UUID.
func (r *rig) key() string {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		r.t.Fatalf("cannot make a UUID: %v", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// call calls a method with the time limit of the harness and sees to it that it returns.
func (r *rig) call(method string, f func(ctx context.Context) error) error {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), r.h.Timeout)
	defer cancel()
	err, returned := r.bounded(f, ctx, r.h.Timeout+prompt)
	if !returned {
		r.t.Fatalf("%s: it did not return within %s of the end of its context (%s)", method, prompt, r.h.Timeout)
	}
	if err != nil && ctx.Err() != nil {
		r.t.Fatalf("%s: nothing came within %s: %v", method, r.h.Timeout, err)
	}
	return err
}

// bounded calls f and waits for at most limit.
func (r *rig) bounded(f func(ctx context.Context) error, ctx context.Context, limit time.Duration) (err error, returned bool) {
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err, true
	case <-timer.C:
		return nil, false
	}
}

func (r *rig) must(method string, f func(ctx context.Context) error) {
	r.t.Helper()
	if err := r.call(method, f); err != nil {
		r.t.Fatalf("%s: want success, got %s: %v", method, adapter.ReasonOf(err), err)
	}
}

// want checks that the error has one of the reasons.
func (r *rig) want(what string, err error, reasons ...adapter.Reason) {
	r.t.Helper()
	if err == nil {
		r.t.Errorf("%s: want an error with reason %v, got none", what, reasons)
	} else if got := adapter.ReasonOf(err); !slices.Contains(reasons, got) {
		r.t.Errorf("%s: want an error with reason %v, got %s: %v", what, reasons, got, err)
	}
}

// wantCause checks that the error has the environment's own words.
func (r *rig) wantCause(what string, err error, words string) {
	r.t.Helper()
	var e *adapter.Error
	if err == nil || words == "" {
		return
	}
	if !errors.As(err, &e) || !strings.Contains(e.Cause, words) {
		r.t.Errorf("%s: the Cause of the error is to contain %q: %#v", what, words, err)
	}
}

func (r *rig) tryInstall(op adapter.OpID, env, key string, p adapter.Package) (u adapter.Unit, err error) {
	r.t.Helper()
	err = r.call("Install", func(ctx context.Context) (err error) {
		u, err = r.a.Install(ctx, op, adapter.InstallSpec{Env: env, Key: key, Package: p, RunLevel: -1})
		return err
	})
	if err == nil {
		r.checkUnit("Install", env, u)
	}
	return u, err
}

// install installs a package in the first environment.
func (r *rig) install(p adapter.Package) adapter.Unit {
	r.t.Helper()
	return r.installIn(r.env, p)
}

func (r *rig) installIn(env string, p adapter.Package) adapter.Unit {
	r.t.Helper()
	u, err := r.tryInstall(r.op(), env, r.key(), p)
	if err != nil {
		r.t.Fatalf("Install: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
	return u
}

func (r *rig) tryUpdate(op adapter.OpID, ref adapter.UnitRef, old, next adapter.Package) (u adapter.Unit, err error) {
	r.t.Helper()
	err = r.call("Update", func(ctx context.Context) (err error) {
		u, err = r.a.Update(ctx, op, ref, old, next)
		return err
	})
	if err == nil {
		r.checkUnit("Update", ref.Env, u)
	}
	return u, err
}

func (r *rig) update(u adapter.Unit, old, next adapter.Package) adapter.Unit {
	r.t.Helper()
	out, err := r.tryUpdate(r.op(), ref(u), old, next)
	if err != nil {
		r.t.Fatalf("Update: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
	return out
}

func (r *rig) revert(op adapter.OpID, ref adapter.UnitRef, old adapter.Package) (u adapter.Unit) {
	r.t.Helper()
	r.must("Revert", func(ctx context.Context) (err error) {
		u, err = r.a.Revert(ctx, op, ref, old)
		return err
	})
	r.checkUnit("Revert", ref.Env, u)
	return u
}

func (r *rig) discard(op adapter.OpID, ref adapter.UnitRef) {
	r.t.Helper()
	r.must("Discard", func(ctx context.Context) error { return r.a.Discard(ctx, op, ref) })
}

func (r *rig) tryUninstall(op adapter.OpID, ref adapter.UnitRef) error {
	r.t.Helper()
	return r.call("Uninstall", func(ctx context.Context) error {
		_, err := r.a.Uninstall(ctx, op, ref)
		return err
	})
}

func (r *rig) uninstall(op adapter.OpID, ref adapter.UnitRef) {
	r.t.Helper()
	if err := r.tryUninstall(op, ref); err != nil {
		r.t.Fatalf("Uninstall: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
}

func (r *rig) tryStart(op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	r.t.Helper()
	return r.call("Start", func(ctx context.Context) error { return r.a.Start(ctx, op, m, o) })
}

// run starts a module and waits until Watch says that it is active.
func (r *rig) run(m adapter.ModuleRef) {
	r.t.Helper()
	if err := r.tryStart(r.op(), m, adapter.StartOptions{}); err != nil {
		r.t.Fatalf("Start: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
	r.waitStatus(m, adapter.Active)
}

func (r *rig) tryStop(op adapter.OpID, m adapter.ModuleRef) error {
	r.t.Helper()
	return r.call("Stop", func(ctx context.Context) error { return r.a.Stop(ctx, op, m) })
}

func (r *rig) mustStop(m adapter.ModuleRef) {
	r.t.Helper()
	if err := r.tryStop(r.op(), m); err != nil {
		r.t.Fatalf("Stop: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
}

func ref(u adapter.Unit) adapter.UnitRef {
	return adapter.UnitRef{Env: u.Env, Key: u.Key, Handle: u.Handle}
}

// first names the first module of a unit.
func (r *rig) first(u adapter.Unit) adapter.ModuleRef {
	r.t.Helper()
	if len(u.Modules) == 0 {
		r.t.Fatalf("unit %s of %s has no module", u.Key, u.Manifest.Name)
	}
	return adapter.ModuleRef{UnitRef: ref(u), Module: u.Modules[0].ID}
}

func (r *rig) checkUnit(what, env string, u adapter.Unit) {
	r.t.Helper()
	if err := r.v.checkUnit(env, u); err != nil {
		r.t.Errorf("%s: %v", what, err)
	}
}

// wantStopped checks that the unit is of package p and that none of its modules runs.
func (r *rig) wantStopped(what string, u adapter.Unit, p adapter.Package) {
	r.t.Helper()
	if m := r.inspect(p); u.Manifest != m {
		r.t.Errorf("%s: the unit's manifest is %+v, that of the package %+v", what, u.Manifest, m)
	}
	for _, m := range u.Modules {
		if m.Status != adapter.Idle {
			r.t.Errorf("%s: module %s is %s and not stopped", what, m.ID, m.Status)
		}
	}
}

func (r *rig) inspect(p adapter.Package) (m adapter.Manifest) {
	r.t.Helper()
	r.must("Inspect", func(ctx context.Context) (err error) {
		m, err = r.a.Inspect(ctx, r.env, p)
		return err
	})
	return m
}

// wantSame checks that two answers name the same unit.
func (r *rig) wantSame(what string, got, want adapter.Unit) {
	r.t.Helper()
	if got.Env != want.Env || got.Key != want.Key || got.DUID != want.DUID || got.Manifest != want.Manifest ||
		got.Handle.Version != want.Handle.Version || string(got.Handle.Data) != string(want.Handle.Data) || !slices.Equal(ids(got), ids(want)) {
		r.t.Errorf("%s: want the same unit\n\t%+v\ngot\n\t%+v", what, want, got)
	}
}

func ids(u adapter.Unit) []string {
	var out []string
	for _, m := range u.Modules {
		out = append(out, m.ID)
	}
	slices.Sort(out)
	return out
}

// waitEnv waits until Watch has told of an environment what ok asks for.
func (r *rig) waitEnv(env, what string, ok func(*seenEnv) bool) adapter.Env {
	r.t.Helper()
	if !r.v.wait(r.h.Timeout, func() bool { return ok(r.v.seen[env]) }) {
		r.t.Fatalf("Watch did not tell within %s that %s is %s; it told %s", r.h.Timeout, env, what, r.v.history())
	}
	r.v.mu.Lock()
	defer r.v.mu.Unlock()
	return r.v.seen[env].env
}

// waitUnit waits until Watch has told of a unit what ok asks for.
func (r *rig) waitUnit(env, key, what string, ok func(adapter.Unit) bool) adapter.Unit {
	r.t.Helper()
	var u adapter.Unit
	r.waitEnv(env, "with "+key+" "+what, func(s *seenEnv) bool {
		var found bool
		u, found = s.units[key]
		return found && ok(u)
	})
	return u
}

func (r *rig) waitGone(env, key string) {
	r.t.Helper()
	r.waitEnv(env, "without "+key, func(s *seenEnv) bool { _, there := s.units[key]; return !there })
}

func (r *rig) waitModule(m adapter.ModuleRef, what string, ok func(adapter.Module) bool) adapter.Module {
	r.t.Helper()
	var out adapter.Module
	r.waitUnit(m.Env, m.Key, "whose module "+m.Module+" is "+what, func(u adapter.Unit) bool {
		i := slices.IndexFunc(u.Modules, func(x adapter.Module) bool { return x.ID == m.Module })
		if i < 0 {
			return false
		}
		out = u.Modules[i]
		return ok(out)
	})
	return out
}

func (r *rig) waitStatus(m adapter.ModuleRef, s adapter.Status) adapter.Module {
	r.t.Helper()
	return r.waitModule(m, string(s), func(x adapter.Module) bool { return x.Status == s })
}

// look watches anew and returns the units that an environment has now.
func (r *rig) look(env string) map[string]adapter.Unit {
	r.t.Helper()
	r.watch()
	var units map[string]adapter.Unit
	r.waitEnv(env, "synced", func(s *seenEnv) bool {
		units = map[string]adapter.Unit{}
		for k, u := range s.units {
			units[k] = u
		}
		return s.synced
	})
	return units
}

// wantUnits checks that the environment has exactly these units.
func (r *rig) wantUnits(what string, got, want map[string]adapter.Unit) {
	r.t.Helper()
	for key, u := range got {
		if _, ok := want[key]; !ok {
			r.t.Errorf("%s: there is a unit more, %s (%s %s)", what, key, u.Manifest.Name, u.Manifest.Version)
		}
	}
	for key, u := range want {
		if _, ok := got[key]; !ok {
			r.t.Errorf("%s: unit %s (%s %s) is gone", what, key, u.Manifest.Name, u.Manifest.Version)
		}
	}
}

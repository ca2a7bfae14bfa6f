package adaptertest

import (
	"context"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// installed brings the environment up and installs a package.
func (r *rig) installed(p Package, what string) (adapter.Unit, adapter.ModuleRef) {
	r.t.Helper()
	loaded := p.load(r, what)
	r.up()
	u := r.install(loaded)
	return u, r.first(u)
}

var startCases = []Case{
	{"Start/makes the module Active", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.run(m)
		if got := r.waitStatus(m, adapter.Active); got.Reason != "" {
			r.t.Errorf("the active module has Reason %s: %s", got.Reason, got.Message)
		}
	}},
	{"Start/active module is no error", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.run(m)
		r.run(m)
		r.restart()
		r.run(m)
	}},
	{"Start/same OpID again is no error", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		op := r.op()
		for range 2 {
			if err := r.tryStart(op, m, adapter.StartOptions{}); err != nil {
				r.t.Errorf("Start: %s: %v", adapter.ReasonOf(err), err)
			}
		}
		r.waitStatus(m, adapter.Active)
	}},
	{"Start/inert module is no error", func(r *rig) {
		_, m := r.installed(r.h.Packages.Inert, "Inert")
		if err := r.tryStart(r.op(), m, adapter.StartOptions{}); err != nil {
			r.t.Errorf("Start: %s: %v", adapter.ReasonOf(err), err)
		}
	}},
	{"Start/failure is StartFailed with the environment's words", func(r *rig) { r.startFails(adapter.StartOptions{}, adapter.StartFailed) }},
	{"Start/failure with Auto is AutoStartFailed", func(r *rig) { r.startFails(adapter.StartOptions{Auto: true}, adapter.AutoStartFailed) }},
	{"Start/missing requirement is Unresolved", func(r *rig) {
		u, m := r.installed(r.h.Packages.Unresolved, "Unresolved")
		if told := r.waitUnit(r.env, u.Key, "there", func(adapter.Unit) bool { return true }); told.Resolved {
			r.t.Errorf("the unit is Resolved")
		}
		r.want("Start", r.tryStart(r.op(), m, adapter.StartOptions{}), adapter.Unresolved)
	}},
	{"Start/unknown unit or module is NotFound", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		m.Module = "no such module"
		r.want("Start of an unknown module", r.tryStart(r.op(), m, adapter.StartOptions{}), adapter.NotFound)
		m.UnitRef = adapter.UnitRef{Env: r.env, Key: r.key()}
		r.want("Start of an unknown unit", r.tryStart(r.op(), m, adapter.StartOptions{}), adapter.NotFound)
		m.Env = "no-such-env"
		r.want("Start in an unknown environment", r.tryStart(r.op(), m, adapter.StartOptions{}), adapter.NotFound)
	}},
	{"Start/environment that is not up is Unavailable", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.setEnabled(r.env, false)
		r.want("Start", r.tryStart(r.op(), m, adapter.StartOptions{}), adapter.Unavailable)
	}},
	{"Start/running modules do not notice a restart of the adapter", func(r *rig) {
		r.lives()
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.run(m)
		before := r.waitStatus(m, adapter.Active)
		r.restart()
		r.waitEnv(r.env, "synced", func(s *seenEnv) bool { return s.synced })
		after := r.waitModule(m, "told", func(adapter.Module) bool { return true })
		if after.Status != adapter.Active || len(before.PIDs) > 0 && len(after.PIDs) > 0 && before.PIDs[0] != after.PIDs[0] {
			r.t.Errorf("module %s is %s with processes %v, before the restart %s with %v", m.Module, after.Status, after.PIDs, before.Status, before.PIDs)
		}
	}},
}

func (r *rig) startFails(o adapter.StartOptions, want adapter.Reason) {
	r.t.Helper()
	_, m := r.installed(r.h.Packages.FailsStart, "FailsStart")
	words := r.h.Packages.FailsStart.Message
	err := r.tryStart(r.op(), m, o)
	r.want("Start", err, want)
	r.wantCause("Start", err, words)
	got := r.waitModule(m, "idle with a Reason", func(x adapter.Module) bool { return x.Status == adapter.Idle && x.Reason != "" })
	if got.Reason != want || !strings.Contains(got.Message, words) {
		r.t.Errorf("the module has Reason %s and Message %q, want %s and %q", got.Reason, got.Message, want, words)
	}
}

var stopCases = []Case{
	{"Stop/makes the module Idle", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.run(m)
		r.mustStop(m)
		if got := r.waitStatus(m, adapter.Idle); got.Reason != "" {
			r.t.Errorf("the stopped module has Reason %s: %s", got.Reason, got.Message)
		}
		r.run(m)
	}},
	{"Stop/idle module is no error", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.mustStop(m)
		r.run(m)
		r.mustStop(m)
		r.mustStop(m)
		r.restart()
		r.mustStop(m)
	}},
	{"Stop/inert module is no error", func(r *rig) {
		_, m := r.installed(r.h.Packages.Inert, "Inert")
		r.mustStop(m)
	}},
	{"Stop/unclean end is StopFailed", func(r *rig) {
		_, m := r.installed(r.h.Packages.FailsStop, "FailsStop")
		r.run(m)
		err := r.tryStop(r.op(), m)
		r.want("Stop", err, adapter.StopFailed)
		r.wantCause("Stop", err, r.h.Packages.FailsStop.Message)
	}},
	{"Stop/unknown module is NotFound", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		m.Module = "no such module"
		r.want("Stop", r.tryStop(r.op(), m), adapter.NotFound)
	}},
	{"Stop/other modules go on", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		other := r.first(r.install(r.h.Packages.Other.load(r, "Other")))
		r.run(m)
		r.run(other)
		r.mustStop(m)
		r.waitStatus(m, adapter.Idle)
		r.waitStatus(other, adapter.Active)
	}},
}

// pending is a call that goes on in the background.
type pending struct {
	cancel context.CancelFunc
	done   chan error
}

// hang starts the module of HangsStart in the background and waits until it is Starting.
func (r *rig) hang() (adapter.ModuleRef, adapter.OpID, pending) {
	r.t.Helper()
	_, m := r.installed(r.h.Packages.HangsStart, "HangsStart")
	if r.h.Packages.HangsStart.Release != nil {
		// So that nothing hangs when the device is cleared up.
		r.t.Cleanup(func() { r.h.Packages.HangsStart.Release(r.t, r.dir) })
	}
	op := r.op()
	p := r.background(func(ctx context.Context, a adapter.Adapter) error { return a.Start(ctx, op, m, adapter.StartOptions{}) })
	r.waitStatus(m, adapter.Starting)
	return m, op, p
}

// background calls f with the present adapter. It has no time limit but the end of the case, so that what waits for it
// runs into its own.
func (r *rig) background(f func(ctx context.Context, a adapter.Adapter) error) pending {
	ctx, cancel := context.WithCancel(context.Background())
	p, a := pending{cancel, make(chan error, 1)}, r.a
	go func() { p.done <- f(ctx, a) }()
	r.t.Cleanup(cancel)
	return p
}

// result waits for the end of the call.
func (r *rig) result(what string, p pending, limit time.Duration) error {
	r.t.Helper()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-p.done:
		return err
	case <-timer.C:
		r.t.Fatalf("%s did not return within %s", what, limit)
		return nil
	}
}

// hangStop is hang for the stop of HangsStop, whose module runs before.
func (r *rig) hangStop() (adapter.ModuleRef, pending) {
	r.t.Helper()
	_, m := r.installed(r.h.Packages.HangsStop, "HangsStop")
	if r.h.Packages.HangsStop.Release != nil {
		r.t.Cleanup(func() { r.h.Packages.HangsStop.Release(r.t, r.dir) })
	}
	r.run(m)
	op := r.op()
	p := r.background(func(ctx context.Context, a adapter.Adapter) error { return a.Stop(ctx, op, m) })
	r.waitStatus(m, adapter.Stopping)
	return m, p
}

// release lets the modules of HangsStart go on. The case has asked canRelease before.
func (r *rig) release() { r.h.Packages.HangsStart.Release(r.t, r.dir) }

// canRelease skips the case when a package has no Release.
func (r *rig) canRelease(p Package, what string) {
	r.t.Helper()
	if p.Path != "" && p.Release == nil {
		r.t.Skipf("package %s has no Release", what)
	}
}

var hangCases = []Case{
	{"Start/call that hangs returns promptly when its context is done", func(r *rig) {
		_, _, p := r.hang()
		p.cancel()
		err := r.result("Start", p, prompt)
		r.want("Start", err, adapter.Canceled, adapter.StillRunning)
	}},
	{"Start/outcome of a start that hangs comes by Watch", func(r *rig) {
		r.canRelease(r.h.Packages.HangsStart, "HangsStart")
		m, _, p := r.hang()
		r.release()
		r.waitStatus(m, adapter.Active)
		if err := r.result("Start", p, r.h.Timeout); err != nil {
			r.want("Start", err, adapter.StillRunning)
		}
	}},
	{"Start/starting module is no error", func(r *rig) {
		r.canRelease(r.h.Packages.HangsStart, "HangsStart")
		m, _, p := r.hang()
		second := r.op()
		again := r.background(func(ctx context.Context, a adapter.Adapter) error {
			return a.Start(ctx, second, m, adapter.StartOptions{})
		})
		r.release()
		for _, p := range []pending{p, again} {
			if err := r.result("Start", p, r.h.Timeout); err != nil {
				r.want("Start", err, adapter.StillRunning)
			}
		}
		r.waitStatus(m, adapter.Active)
	}},
	{"Start/same OpID finishes what was canceled", func(r *rig) {
		r.canRelease(r.h.Packages.HangsStart, "HangsStart")
		m, op, p := r.hang()
		p.cancel()
		_ = r.result("Start", p, prompt) // whatever it says: it was canceled
		r.release()
		if err := r.tryStart(op, m, adapter.StartOptions{}); err != nil {
			r.want("Start with the same OpID", err, adapter.StillRunning)
		}
		r.waitStatus(m, adapter.Active)
	}},
	{"Start/same OpID finishes what an adapter began that was killed", func(r *rig) {
		r.canRelease(r.h.Packages.HangsStart, "HangsStart")
		r.lives()
		m, op, p := r.hang()
		r.restart()
		if err := r.result("Start", p, r.h.Timeout); err == nil {
			r.t.Errorf("Start: want an error from a killed adapter, got none")
		}
		r.release()
		if err := r.tryStart(op, m, adapter.StartOptions{}); err != nil {
			r.want("Start with the same OpID", err, adapter.StillRunning)
		}
		r.waitStatus(m, adapter.Active)
	}},
	{"Start/what hangs delays nothing else in the environment", func(r *rig) {
		_, _, p := r.hang()
		other := r.install(r.h.Packages.Other.load(r, "Other"))
		r.run(r.first(other))
		r.mustStop(r.first(other))
		r.uninstall(r.op(), ref(other))
		select {
		case err := <-p.done:
			if adapter.ReasonOf(err) != adapter.StillRunning {
				r.t.Errorf("Start that hangs: want StillRunning, got %v", err)
			}
		default:
		}
	}},
	{"Start/what hangs delays no other environment", func(r *rig) {
		env := r.second()
		r.hang()
		r.launch(env)
		u := r.installIn(env, r.h.Packages.V1.load(r, "V1"))
		r.run(r.first(u))
		r.setEnabled(env, false)
	}},
	{"Stop/call that hangs returns promptly when its context is done", func(r *rig) {
		_, p := r.hangStop()
		p.cancel()
		r.want("Stop", r.result("Stop", p, prompt), adapter.Canceled, adapter.StillRunning)
	}},
	{"Stop/outcome of a stop that hangs comes by Watch", func(r *rig) {
		r.canRelease(r.h.Packages.HangsStop, "HangsStop")
		m, p := r.hangStop()
		r.h.Packages.HangsStop.Release(r.t, r.dir)
		r.waitStatus(m, adapter.Idle)
		if err := r.result("Stop", p, r.h.Timeout); err != nil {
			r.want("Stop", err, adapter.StillRunning)
		}
	}},
	{"Start/stopping module is BadState", func(r *rig) {
		m, _ := r.hangStop()
		r.want("Start", r.tryStart(r.op(), m, adapter.StartOptions{}), adapter.BadState)
	}},
	{"SetEnabled/ends a module that hangs", func(r *rig) {
		m, _, _ := r.hang()
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
		r.launch(r.env)
		r.waitStatus(m, adapter.Idle)
	}},
}

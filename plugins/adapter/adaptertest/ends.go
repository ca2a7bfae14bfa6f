package adaptertest

import (
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// running brings the environment up and runs the first module of a package, which ends it with [Package.End].
func (r *rig) running(p Package, what string) (adapter.ModuleRef, func()) {
	r.t.Helper()
	_, m := r.installed(p, what)
	if p.End == nil {
		r.t.Fatalf("package %s has no End", what)
	}
	r.run(m)
	return m, func() {
		r.t.Helper()
		p.End(r.t, r.dir, m)
	}
}

// afterEnd checks what is told of a module that has ended by itself: now, by a new Watch, and by a new adapter. Then the module is run
// again, as if nothing had happened.
func (r *rig) afterEnd(m adapter.ModuleRef, reason adapter.Reason, wrong func(adapter.Module) string) {
	r.t.Helper()
	check := func(when string, x adapter.Module) {
		r.t.Helper()
		why := wrong(x)
		if x.Status != adapter.Idle || x.Reason != reason || why != "" {
			r.t.Errorf("%s the module is %s with Reason %q, exit status %s: %s; want Idle with Reason %q; %s", when, x.Status, x.Reason, exitText(x), x.Message, reason, why)
		}
	}
	check("after its end", r.waitModule(m, "idle with Reason "+string(reason), func(x adapter.Module) bool {
		return x.Status == adapter.Idle && x.Reason == reason && wrong(x) == ""
	}))
	r.look(m.Env)
	check("by a new Watch", r.told(m))
	if r.h.Dies == "" {
		r.restart()
		check("after a restart of the adapter", r.told(m))
	}
	r.run(m)
	if x := r.waitStatus(m, adapter.Active); x.Reason != "" {
		r.t.Errorf("the module runs again and has Reason %s: %s", x.Reason, x.Message)
	}
}

// failedEnd is what is wrong with what is told of an end that was a failure.
func failedEnd(x adapter.Module) string {
	switch {
	case x.ExitCode != nil && *x.ExitCode == 0:
		return "an exit status of 0 is no failure"
	case x.Message == "":
		return "the Message is empty"
	}
	return ""
}

// cleanEnd is what is wrong with what is told of an end in good order.
func cleanEnd(x adapter.Module) string {
	if x.ExitCode != nil && *x.ExitCode != 0 {
		return "the exit status is to be 0 or unknown"
	}
	return ""
}

// statuses are the states of a module in the order in which Watch has told them, from the event number from on.
func (v *view) statuses(m adapter.ModuleRef, from int) (all []adapter.Module) {
	for _, ev := range v.events[from:] {
		if ev.Kind != adapter.EventUnit || ev.EnvID != m.Env || ev.Unit.Key != m.Key {
			continue
		}
		if i := slices.IndexFunc(ev.Unit.Modules, func(x adapter.Module) bool { return x.ID == m.Module }); i >= 0 {
			all = append(all, ev.Unit.Modules[i])
		}
	}
	return all
}

// endCases are those of modules that end by themselves, or cannot be ended.
var endCases = []Case{
	{"Watch/module that ends in good order is Idle without a Reason", func(r *rig) {
		m, end := r.running(r.h.Packages.Ends, "Ends")
		end()
		r.afterEnd(m, "", cleanEnd)
	}},
	{"Watch/module that ends with an exit status failed while it was active", func(r *rig) {
		p := r.h.Packages.Exits
		m, end := r.running(p, "Exits")
		end()
		r.afterEnd(m, adapter.FailedWhileActive, func(x adapter.Module) string {
			switch {
			case x.ExitCode == nil || *x.ExitCode != p.ExitCode:
				return "the exit status is another one"
			case !strings.Contains(x.Message, p.Message):
				return "the Message is to contain " + p.Message
			}
			return failedEnd(x)
		})
	}},
	{"Watch/module that a signal ends failed while it was active", func(r *rig) {
		m, end := r.running(r.h.Packages.Dies, "Dies")
		end()
		r.afterEnd(m, adapter.FailedWhileActive, failedEnd)
	}},
	{"Watch/module that the environment starts again is told as it is", func(r *rig) {
		m, end := r.running(r.h.Packages.Restarts, "Restarts")
		before := r.told(m)
		r.v.mu.Lock()
		from := len(r.v.events)
		r.v.mu.Unlock()
		end()
		var all []adapter.Module
		again := r.v.wait(r.h.Timeout, func() bool {
			all = r.v.statuses(m, from)
			down := slices.IndexFunc(all, func(x adapter.Module) bool { return x.Status != adapter.Active })
			return down >= 0 && all[len(all)-1].Status == adapter.Active
		})
		if !again {
			r.t.Fatalf("Watch did not tell within %s that the module ended and is Active again; it told %s", r.h.Timeout, r.v.history())
		}
		for _, x := range all {
			if x.Status == adapter.Idle && x.Reason == "" {
				r.t.Errorf("in between the module was told to be Idle without a Reason, as if that was its end")
			}
		}
		r.look(m.Env)
		now := r.told(m)
		if now.Status != adapter.Active || now.Reason != "" {
			r.t.Errorf("the module that was started again is %s, %s: %s", now.Status, now.Reason, now.Message)
		}
		if len(before.PIDs) > 0 && len(now.PIDs) > 0 && before.PIDs[0] == now.PIDs[0] {
			r.t.Errorf("the processes are still told to be %v", now.PIDs)
		}
		r.mustStop(m)
		r.waitStatus(m, adapter.Idle)
	}},
	{"Stop/module that waits to be started again is Idle", func(r *rig) {
		m, end := r.running(r.h.Packages.RestartsLater, "RestartsLater")
		end()
		r.waitStatus(m, adapter.Starting)
		if r.h.Dies == "" {
			r.restart()
			r.waitStatus(m, adapter.Starting)
		}
		r.mustStop(m)
		r.waitStatus(m, adapter.Idle)
		r.run(m)
	}},
	{"Start/module whose work is done at once is Idle without a Reason", func(r *rig) {
		_, m := r.installed(r.h.Packages.Completes, "Completes")
		for range 2 {
			if err := r.tryStart(r.op(), m, adapter.StartOptions{}); err != nil {
				r.t.Fatalf("Start: want success, got %s: %v", adapter.ReasonOf(err), err)
			}
			r.waitStatus(m, adapter.Idle)
			r.look(m.Env)
			if x := r.told(m); x.Status != adapter.Idle || x.Reason != "" || cleanEnd(x) != "" {
				r.t.Errorf("the module is %s, %q, with exit status %s: %s", x.Status, x.Reason, exitText(x), x.Message)
			}
		}
	}},
	{"Watch/module that exceeds the limits fails, the others go on", func(r *rig) {
		p := r.h.Packages.Greedy
		_, m := r.installed(p, "Greedy")
		other := r.first(r.install(r.h.Packages.Other.load(r, "Other")))
		r.run(other)
		goesOn := r.undisturbed(other)
		if p.End == nil {
			if err := r.tryStart(r.op(), m, adapter.StartOptions{}); err != nil {
				r.want("Start", err, adapter.StartFailed)
			}
		} else {
			r.run(m)
			p.End(r.t, r.dir, m)
		}
		x := r.waitModule(m, "idle with a Reason", func(x adapter.Module) bool { return x.Status == adapter.Idle && x.Reason != "" })
		if x.Reason != adapter.FailedWhileActive && (x.Reason != adapter.StartFailed || p.End != nil) || x.Message == "" {
			r.t.Errorf("the module has Reason %s and Message %q", x.Reason, x.Message)
		}
		goesOn("after another one exceeded the limits")
	}},
	{"Install/package that there is no room for is NoResources and leaves nothing", func(r *rig) {
		r.installFails(r.h.Packages.TooLarge.load(r, "TooLarge"), adapter.NoResources)
	}},
	{"Update/package that there is no room for is NoResources and leaves the unit as before", func(r *rig) {
		next := r.h.Packages.TooLarge.load(r, "TooLarge")
		r.up()
		v1 := r.h.Packages.V1.load(r, "V1")
		u := r.install(v1)
		_, err := r.tryUpdate(r.op(), ref(u), v1, next)
		r.want("Update", err, adapter.NoResources)
		r.wantSame("the unit after the failed Update", r.look(r.env)[u.Key], u)
		r.run(r.first(u))
	}},
	{"Install/module that can never be started says so, the unit is there", func(r *rig) {
		p := r.h.Packages.Unstartable
		u, m := r.installed(p, "Unstartable")
		check := func(when string) {
			r.t.Helper()
			r.look(r.env)
			if x := r.told(m); x.Status != adapter.Idle || x.Reason != adapter.Unstartable || x.Message == "" || !strings.Contains(x.Message, p.Message) {
				r.t.Errorf("%s the module is %s, %q: %s", when, x.Status, x.Reason, x.Message)
			}
		}
		check("after Install")
		err := r.tryStart(r.op(), m, adapter.StartOptions{})
		r.want("Start", err, adapter.Unstartable)
		r.wantCause("Start", err, p.Message)
		check("after Start")
		r.mustStop(m)
		r.uninstall(r.op(), ref(u))
		r.waitGone(r.env, u.Key)
	}},
	{"Stop/module that ignores it is ended by force", func(r *rig) {
		_, m := r.installed(r.h.Packages.IgnoresStop, "IgnoresStop")
		for range 2 {
			r.run(m)
			r.want("Stop", r.tryStop(r.op(), m), adapter.StopFailed)
			x := r.waitModule(m, "idle with a Reason", func(x adapter.Module) bool { return x.Status == adapter.Idle && x.Reason != "" })
			if x.Reason != adapter.StopFailed {
				r.t.Errorf("the module has Reason %s: %s", x.Reason, x.Message)
			}
		}
	}},
	{"SetEnabled/ends a module that ignores its stop", func(r *rig) {
		_, m := r.installed(r.h.Packages.IgnoresStop, "IgnoresStop")
		r.run(m)
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
		r.launch(r.env)
		r.waitStatus(m, adapter.Idle)
	}},
}

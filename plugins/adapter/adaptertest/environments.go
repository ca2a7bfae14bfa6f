package adaptertest

import (
	"context"
	"strconv"

	"github.com/smmd-project/smmd/plugins/adapter"
)

var setEnabledCases = []Case{
	{"SetEnabled/launches the environment", func(r *rig) {
		r.launches()
		r.start()
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		r.setEnabled(r.env, true)
		e := r.waitEnv(r.env, "up and synced", func(s *seenEnv) bool { return s.env.Up && s.synced })
		if e.Name == "" || e.Type == "" {
			r.t.Errorf("Name %q or Type %q of the environment is empty", e.Name, e.Type)
		}
	}},
	{"SetEnabled/running environment is not disturbed", func(r *rig) {
		r.launches()
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.run(m)
		launch := r.v.launch(r.env)
		r.setEnabled(r.env, true)
		r.wantRunning(m, launch)
	}},
	{"SetEnabled/running environment is found again by a new adapter", func(r *rig) {
		r.lives()
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.run(m)
		launch := r.v.launch(r.env)
		r.restart()
		r.wantRunning(m, launch)
		r.setEnabled(r.env, true)
		r.wantRunning(m, launch)
	}},
	{"SetEnabled/ends the environment with all its modules", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.run(m)
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
		r.launch(r.env)
		r.waitStatus(m, adapter.Idle)
	}},
	{"SetEnabled/what is so already succeeds", func(r *rig) {
		r.launches()
		r.start()
		r.setEnabled(r.env, false)
		op := r.op()
		for range 2 {
			r.must("SetEnabled", func(ctx context.Context) error { return r.a.SetEnabled(ctx, op, r.env, true, nil) })
		}
		r.setEnabled(r.env, false)
		r.setEnabled(r.env, false)
		r.kill()
		r.start()
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
	}},
	{"SetEnabled/each start of the environment is another Launch", func(r *rig) {
		r.up()
		seen := map[string]bool{}
		for range 3 {
			l := r.v.launch(r.env)
			if seen[l] {
				r.t.Errorf("Launch %q was there before", l)
			}
			seen[l] = true
			r.setEnabled(r.env, false)
			r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
			r.launch(r.env)
		}
	}},
	{"SetEnabled/leaves the other environments alone", func(r *rig) {
		env := r.second()
		r.up()
		r.launch(env)
		m := r.first(r.installIn(env, r.h.Packages.V1.load(r, "V1")))
		r.run(m)
		launch := r.v.launch(env)
		r.setEnabled(r.env, false)
		r.wantRunning(m, launch)
	}},
	{"SetEnabled/what is set first is without effect on an environment that runs", func(r *rig) {
		r.launches()
		_, m := r.installed(r.h.Packages.V1, "V1")
		s, flags := r.a.(adapter.AutoStarter)
		flags = flags && r.desc.Has(adapter.CapAutoStart)
		_, levels := r.levels()
		if !flags && !levels {
			r.t.Skipf("the adapter announces neither %s nor %s", adapter.CapAutoStart, adapter.CapRunLevels)
		}
		if flags {
			r.mustAutoStart(s, m, false)
		}
		r.look(m.Env)
		before := r.told(m)
		yes := true
		r.launchWith(adapter.ModuleSetting{ModuleRef: m, AutoStart: &yes, RunLevel: r.h.RunLevel - 1})
		unchanged := func(when string) {
			r.t.Helper()
			r.look(m.Env)
			if x := r.told(m); x.Status != adapter.Idle || x.RunLevel != before.RunLevel || flags && (x.AutoStart == nil || *x.AutoStart) {
				r.t.Errorf("%s the module is %s at level %d with AutoStart %s; before it was idle at %d without", when, x.Status, x.RunLevel, flagText(x.AutoStart), before.RunLevel)
			}
		}
		unchanged("after SetEnabled")
		r.setEnabled(r.env, false)
		r.launch(r.env)
		unchanged("after the next launch")
	}},
	{"SetEnabled/unknown environment is NotFound", func(r *rig) {
		r.start()
		r.want("SetEnabled", r.call("SetEnabled", func(ctx context.Context) error {
			return r.a.SetEnabled(ctx, r.op(), "no-such-env", true, nil)
		}), adapter.NotFound)
	}},
}

// wantRunning checks by a new Watch that the launch is the same and the module active.
func (r *rig) wantRunning(m adapter.ModuleRef, launch string) {
	r.t.Helper()
	r.look(m.Env)
	if got := r.v.launch(m.Env); got != launch {
		r.t.Errorf("Launch was %q and is %q", launch, got)
	}
	if got := r.waitModule(m, "told", func(adapter.Module) bool { return true }); got.Status != adapter.Active {
		r.t.Errorf("module %s was active and is %s: %s", m.Module, got.Status, got.Message)
	}
}

// told is a module as Watch has told it last.
func (r *rig) told(m adapter.ModuleRef) adapter.Module {
	r.t.Helper()
	return r.waitModule(m, "told", func(adapter.Module) bool { return true })
}

func flagText(on *bool) string {
	if on == nil {
		return "unknown"
	}
	return strconv.FormatBool(*on)
}

// exitText is the exit status of a module as text.
func exitText(m adapter.Module) string {
	if m.ExitCode == nil {
		return "unknown"
	}
	return strconv.Itoa(*m.ExitCode)
}

// setLevel brings the environment to a level and waits until Watch says so.
func (r *rig) setLevel(l adapter.RunLeveler, level int) {
	r.t.Helper()
	r.must("SetRunLevel", func(ctx context.Context) error { return l.SetRunLevel(ctx, r.op(), r.env, level) })
	r.waitEnv(r.env, "at the run level", func(s *seenEnv) bool { return s.env.RunLevel == level })
}

func (r *rig) setModuleLevel(l adapter.RunLeveler, m adapter.ModuleRef, level int) {
	r.t.Helper()
	r.must("SetModuleRunLevel", func(ctx context.Context) error { return l.SetModuleRunLevel(ctx, r.op(), m, level) })
	r.waitModule(m, "at its run level", func(x adapter.Module) bool { return x.RunLevel == level })
}

func (r *rig) autoStart(s adapter.AutoStarter, m adapter.ModuleRef, on bool) error {
	r.t.Helper()
	return r.call("SetAutoStart", func(ctx context.Context) error { return s.SetAutoStart(ctx, r.op(), m, on) })
}

func (r *rig) mustAutoStart(s adapter.AutoStarter, m adapter.ModuleRef, on bool) {
	r.t.Helper()
	if err := r.autoStart(s, m, on); err != nil {
		r.t.Fatalf("SetAutoStart: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
	r.waitAutoStart(m, on)
}

func (r *rig) waitAutoStart(m adapter.ModuleRef, on bool) adapter.Module {
	r.t.Helper()
	return r.waitModule(m, "with AutoStart as set", func(x adapter.Module) bool { return x.AutoStart != nil && *x.AutoStart == on })
}

var runLevelCases = []Case{
	{"SetRunLevel/is reached when it returns", func(r *rig) {
		r.up()
		l := r.needLevels()
		r.setLevel(l, r.h.RunLevel+2)
		r.setLevel(l, r.h.RunLevel)
		r.setLevel(l, r.h.RunLevel)
		r.restart()
		if r.h.Dies == "" {
			r.waitEnv(r.env, "at the level of before", func(s *seenEnv) bool { return s.env.RunLevel == r.h.RunLevel })
		}
	}},
	{"SetRunLevel/environment comes up at its lowest level", func(r *rig) {
		r.launches()
		r.start()
		r.setEnabled(r.env, true)
		first := r.waitEnv(r.env, "up and synced", func(s *seenEnv) bool { return s.env.Up && s.synced })
		l := r.needLevels()
		r.setLevel(l, r.h.RunLevel)
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
		r.setEnabled(r.env, true)
		e := r.waitEnv(r.env, "up and synced", func(s *seenEnv) bool { return s.env.Up && s.synced })
		if e.RunLevel != first.RunLevel || e.RunLevel >= r.h.RunLevel {
			r.t.Errorf("it came up at level %d first and at %d after it was at %d", first.RunLevel, e.RunLevel, r.h.RunLevel)
		}
	}},
	{"SetRunLevel/module above the level is stopped", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		l := r.needLevels()
		r.setModuleLevel(l, m, r.h.RunLevel)
		r.run(m)
		r.setLevel(l, r.h.RunLevel-1)
		r.waitStatus(m, adapter.Idle)
	}},
	{"SetRunLevel/module that fails on the way is no error", func(r *rig) {
		_, m := r.installed(r.h.Packages.FailsStart, "FailsStart")
		l := r.needLevels()
		s := r.needAutoStart()
		r.setModuleLevel(l, m, r.h.RunLevel+1)
		r.mustAutoStart(s, m, true)
		r.setLevel(l, r.h.RunLevel+1)
		r.waitModule(m, "idle with AutoStartFailed", func(x adapter.Module) bool { return x.Status == adapter.Idle && x.Reason == adapter.AutoStartFailed })
	}},
	{"SetInitialModuleRunLevel/is what new modules get", func(r *rig) {
		r.up()
		l := r.needLevels()
		r.must("SetInitialModuleRunLevel", func(ctx context.Context) error {
			return l.SetInitialModuleRunLevel(ctx, r.op(), r.env, r.h.RunLevel-1)
		})
		r.waitEnv(r.env, "with the initial level", func(s *seenEnv) bool { return s.env.InitialModuleRunLevel == r.h.RunLevel-1 })
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		if got := u.Modules[0].RunLevel; got != r.h.RunLevel-1 {
			r.t.Errorf("the new module has level %d, want %d", got, r.h.RunLevel-1)
		}
		r.setEnabled(r.env, false)
		r.launch(r.env)
		r.waitEnv(r.env, "with the initial level of before", func(s *seenEnv) bool { return s.env.InitialModuleRunLevel == r.h.RunLevel-1 })
	}},
	{"Install/run level of the spec is that of the modules", func(r *rig) {
		r.up()
		r.needLevels()
		p, key := r.h.Packages.V1.load(r, "V1"), r.key()
		r.must("Install", func(ctx context.Context) error {
			_, err := r.a.Install(ctx, r.op(), adapter.InstallSpec{Env: r.env, Key: key, Package: p, RunLevel: r.h.RunLevel - 2})
			return err
		})
		u := r.waitUnit(r.env, key, "there", func(adapter.Unit) bool { return true })
		r.waitModule(r.first(u), "at the level of the spec", func(x adapter.Module) bool { return x.RunLevel == r.h.RunLevel-2 })
	}},
	{"SetModuleRunLevel/starts and stops as follows from it", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		l := r.needLevels()
		s := r.needAutoStart()
		r.setModuleLevel(l, m, r.h.RunLevel+1)
		r.mustAutoStart(s, m, true)
		r.waitStatus(m, adapter.Idle)
		r.setModuleLevel(l, m, r.h.RunLevel)
		r.waitStatus(m, adapter.Active)
		r.setModuleLevel(l, m, r.h.RunLevel+1)
		r.waitStatus(m, adapter.Idle)
	}},
	{"SetEnabled/run level that was set first holds before a module is started", func(r *rig) {
		r.launches()
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.needLevels()
		s := r.needAutoStart()
		r.mustAutoStart(s, m, true)
		r.setEnabled(r.env, false)
		r.launchWith(adapter.ModuleSetting{ModuleRef: m, RunLevel: r.h.RunLevel + 1})
		x := r.waitModule(m, "at the level that was set", func(x adapter.Module) bool { return x.RunLevel == r.h.RunLevel+1 })
		if x.Status != adapter.Idle || x.AutoStart == nil || !*x.AutoStart {
			r.t.Errorf("the module is %s, its AutoStart was true and is %v", x.Status, x.AutoStart)
		}
		r.setEnabled(r.env, false)
		r.launch(r.env)
		r.waitModule(m, "idle at the level that was set", func(x adapter.Module) bool { return x.RunLevel == r.h.RunLevel+1 && x.Status == adapter.Idle })
	}},
	{"Update/run levels stay", func(r *rig) {
		r.up()
		l := r.needLevels()
		v1, v2 := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
		u := r.install(v1)
		r.setModuleLevel(l, r.first(u), r.h.RunLevel-1)
		m := r.first(r.update(u, v1, v2))
		r.look(r.env)
		if got := r.waitModule(m, "told", func(adapter.Module) bool { return true }); got.RunLevel != r.h.RunLevel-1 {
			r.t.Errorf("the level of module %s was %d and is %d after Update", m.Module, r.h.RunLevel-1, got.RunLevel)
		}
	}},
}

var autoStartCases = []Case{
	{"SetAutoStart/is told and stays over restarts", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		s := r.needAutoStart()
		r.mustAutoStart(s, m, true)
		r.mustAutoStart(s, m, true)
		r.restart()
		r.waitAutoStart(m, true)
		r.setEnabled(r.env, false)
		r.launch(r.env)
		r.waitAutoStart(m, true)
		r.waitStatus(m, adapter.Active)
		r.mustAutoStart(r.needAutoStart(), m, false)
		r.setEnabled(r.env, false)
		r.launch(r.env)
		r.waitAutoStart(m, false)
		r.waitStatus(m, adapter.Idle)
	}},
	{"SetAutoStart/flag is set even if the start failed", func(r *rig) {
		_, m := r.installed(r.h.Packages.FailsStart, "FailsStart")
		s := r.needAutoStart()
		if err := r.autoStart(s, m, true); err != nil { // an environment without the side effect does not start it
			r.want("SetAutoStart", err, adapter.StartFailed, adapter.AutoStartFailed)
		}
		r.waitAutoStart(m, true)
	}},
	{"SetEnabled/AutoStart that was set first holds before a module is started", func(r *rig) {
		r.launches()
		_, m := r.installed(r.h.Packages.FailsStart, "FailsStart")
		s := r.needAutoStart()
		if err := r.autoStart(s, m, true); err != nil {
			r.want("SetAutoStart", err, adapter.StartFailed, adapter.AutoStartFailed)
		}
		other := r.install(r.h.Packages.V1.load(r, "V1"))
		good := r.first(other)
		r.setEnabled(r.env, false)
		gone := adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: r.env, Key: r.key()}, Module: m.Module}
		no, yes := false, true
		r.launchWith(adapter.ModuleSetting{ModuleRef: m, AutoStart: &no, RunLevel: -1},
			adapter.ModuleSetting{ModuleRef: good, AutoStart: &yes, RunLevel: -1},
			adapter.ModuleSetting{ModuleRef: gone, AutoStart: &no, RunLevel: 1})
		if x := r.waitAutoStart(m, false); x.Status != adapter.Idle || x.Reason != "" {
			r.t.Errorf("the module was started: it is %s, %s", x.Status, x.Reason)
		}
		r.waitAutoStart(good, true)
		r.waitStatus(good, adapter.Active)
		r.waitUnit(r.env, other.Key, "there", func(adapter.Unit) bool { return true })
	}},
	{"SetAutoStart/failure at the environment's start is AutoStartFailed", func(r *rig) {
		_, m := r.installed(r.h.Packages.FailsStart, "FailsStart")
		s := r.needAutoStart()
		if err := r.autoStart(s, m, true); err != nil {
			r.want("SetAutoStart", err, adapter.StartFailed, adapter.AutoStartFailed)
		}
		r.setEnabled(r.env, false)
		r.launch(r.env)
		got := r.waitModule(m, "idle with a Reason", func(x adapter.Module) bool { return x.Status == adapter.Idle && x.Reason != "" })
		if got.Reason != adapter.AutoStartFailed {
			r.t.Errorf("the module has Reason %s", got.Reason)
		}
	}},
	{"Start/Persistent starts the module again with its environment", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		r.needAutoStart()
		if err := r.tryStart(r.op(), m, adapter.StartOptions{Persistent: true}); err != nil {
			r.t.Fatalf("Start: %s: %v", adapter.ReasonOf(err), err)
		}
		r.waitAutoStart(m, true)
		r.setEnabled(r.env, false)
		r.launch(r.env)
		r.waitStatus(m, adapter.Active)
	}},
	{"Start/without Persistent leaves AutoStart as it is", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		s := r.needAutoStart()
		r.mustAutoStart(s, m, false)
		r.run(m)
		r.look(r.env)
		r.waitAutoStart(m, false)
		r.setEnabled(r.env, false)
		r.launch(r.env)
		r.waitStatus(m, adapter.Idle)
	}},
	{"Stop/AutoStart stays as it is", func(r *rig) {
		_, m := r.installed(r.h.Packages.V1, "V1")
		s := r.needAutoStart()
		r.mustAutoStart(s, m, true)
		r.mustStop(m)
		r.waitStatus(m, adapter.Idle)
		r.look(r.env)
		if got := r.waitModule(m, "told", func(adapter.Module) bool { return true }); got.AutoStart == nil || !*got.AutoStart {
			r.t.Errorf("AutoStart is off after Stop")
		}
	}},
	{"Update/AutoStart stays", func(r *rig) {
		r.up()
		s := r.needAutoStart()
		v1, v2 := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
		u := r.install(v1)
		r.mustAutoStart(s, r.first(u), true)
		after := r.update(u, v1, v2)
		r.look(r.env)
		if got := r.waitModule(r.first(after), "told", func(adapter.Module) bool { return true }); got.AutoStart == nil || !*got.AutoStart {
			r.t.Errorf("AutoStart is off after Update")
		}
		back := r.revert(r.op(), ref(after), v1)
		r.waitAutoStart(r.first(back), true)
	}},
}

package adaptertest

import (
	"slices"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// modules names the modules of a unit, of which there have to be several.
func (r *rig) modules(u adapter.Unit, what string) []adapter.ModuleRef {
	r.t.Helper()
	if len(u.Modules) < 2 {
		r.t.Fatalf("package %s has %d modules, it is to have several", what, len(u.Modules))
	}
	var out []adapter.ModuleRef
	for _, m := range u.Modules {
		out = append(out, adapter.ModuleRef{UnitRef: ref(u), Module: m.ID})
	}
	return out
}

// several brings the environment up and installs the package Several.
func (r *rig) several() (adapter.Unit, []adapter.ModuleRef) {
	r.t.Helper()
	u, _ := r.installed(r.h.Packages.Several, "Several")
	return u, r.modules(u, "Several")
}

// runAll runs all modules of a unit.
func (r *rig) runAll(ms []adapter.ModuleRef) {
	r.t.Helper()
	for _, m := range ms {
		r.run(m)
	}
}

// wantActive checks by a new Watch which modules are active; all others are to be idle, and none is to have a Reason.
func (r *rig) wantActive(when string, all []adapter.ModuleRef, active ...adapter.ModuleRef) {
	r.t.Helper()
	r.look(r.env)
	for _, m := range all {
		want := adapter.Idle
		if slices.ContainsFunc(active, func(a adapter.ModuleRef) bool { return a.Module == m.Module }) {
			want = adapter.Active
		}
		if x := r.told(m); x.Status != want || x.Reason != "" {
			r.t.Errorf("%s module %s is %s, %s: %s; want %s without a Reason", when, m.Module, x.Status, x.Reason, x.Message, want)
		}
	}
}

// undisturbed returns a check that a module still runs as it does now.
func (r *rig) undisturbed(m adapter.ModuleRef) func(when string) {
	r.t.Helper()
	before, launch := r.waitStatus(m, adapter.Active), r.v.launch(m.Env)
	return func(when string) {
		r.t.Helper()
		r.look(m.Env)
		now := r.told(m)
		if now.Status != adapter.Active || now.Reason != "" || r.v.launch(m.Env) != launch ||
			len(before.PIDs) > 0 && len(now.PIDs) > 0 && before.PIDs[0] != now.PIDs[0] {
			r.t.Errorf("%s module %s, which has to go on, is %s with processes %v, %s: %s; before it had %v", when, m.Module, now.Status, now.PIDs, now.Reason,
				now.Message, before.PIDs)
		}
	}
}

// severalCases are those of units with more than one module.
var severalCases = []Case{
	{"Start/modules of one unit start and stop separately", func(r *rig) {
		_, all := r.several()
		r.run(all[0])
		r.wantActive("after the start of the first", all, all[0])
		r.run(all[1])
		r.wantActive("after the start of both", all, all[0], all[1])
		goesOn := r.undisturbed(all[1])
		r.mustStop(all[0])
		r.waitStatus(all[0], adapter.Idle)
		goesOn("after the stop of the first")
		r.wantActive("after the stop of the first", all, all[1])
		r.mustStop(all[1])
		r.waitStatus(all[1], adapter.Idle)
		r.wantActive("after the stop of both", all)
	}},
	{"Start/module that fails leaves the others of its unit alone", func(r *rig) {
		u, fails := r.installed(r.h.Packages.FailsOne, "FailsOne")
		good := r.modules(u, "FailsOne")[1]
		failed := func(when string) {
			r.t.Helper()
			if x := r.told(fails); x.Status != adapter.Idle || x.Reason != adapter.StartFailed {
				r.t.Errorf("%s the module that failed is %s, %q: %s", when, x.Status, x.Reason, x.Message)
			}
		}
		r.run(good)
		goesOn := r.undisturbed(good)
		err := r.tryStart(r.op(), fails, adapter.StartOptions{})
		r.want("Start", err, adapter.StartFailed)
		r.wantCause("Start", err, r.h.Packages.FailsOne.Message)
		r.waitModule(fails, "idle with a Reason", func(x adapter.Module) bool { return x.Status == adapter.Idle && x.Reason != "" })
		goesOn("after the other one failed to start")
		failed("while the other one runs")
		r.mustStop(good)
		r.waitStatus(good, adapter.Idle)
		r.look(r.env)
		failed("after a stop of the other one")
		if x := r.told(good); x.Reason != "" {
			r.t.Errorf("the other module has Reason %s: %s", x.Reason, x.Message)
		}
	}},
	{"Update/modules come and go, those that stay keep their IDs", func(r *rig) {
		next := r.h.Packages.SeveralNext.load(r, "SeveralNext")
		before, all := r.several()
		old := r.h.Packages.Several.load(r, "Several")
		r.runAll(all)
		after := r.update(before, old, next)
		stay, gone, come := compareModules(before, after)
		if len(stay) == 0 || len(gone) == 0 || len(come) == 0 {
			r.t.Fatalf("modules %v of Several became %v of SeveralNext: some are to stay, some to go and some to come", ids(before), ids(after))
		}
		r.wantStopped("Update", after, next)
		told := r.look(r.env)[before.Key]
		r.wantSame("the unit by Watch", told, after)
		r.wantStopped("Watch after Update", told, next)
		names := map[string]string{}
		for _, m := range before.Modules {
			names[m.ID] = m.Name
		}
		for _, m := range after.Modules {
			if was, stays := names[m.ID]; stays && was != m.Name {
				r.t.Errorf("module %s was %q and is %q", m.ID, was, m.Name)
			}
		}
		at := func(id string) adapter.ModuleRef { return adapter.ModuleRef{UnitRef: ref(after), Module: id} }
		r.want("Start of a module that went", r.tryStart(r.op(), at(gone[0]), adapter.StartOptions{}), adapter.NotFound)
		r.run(at(come[0]))
		r.run(at(stay[0]))
		back := r.revert(r.op(), ref(after), old)
		r.wantStopped("Revert", back, old)
		if !slices.Equal(ids(back), ids(before)) {
			r.t.Errorf("after Revert the modules are %v, before the Update they were %v", ids(back), ids(before))
		}
		r.wantSame("the unit by Watch after Revert", r.look(r.env)[before.Key], back)
		r.want("Start of a module that came and went", r.tryStart(r.op(), adapter.ModuleRef{UnitRef: ref(back), Module: come[0]}, adapter.StartOptions{}), adapter.NotFound)
		r.runAll(r.modules(back, "Several"))
	}},
	{"Uninstall/stops and removes a unit with several modules", func(r *rig) {
		u, all := r.several()
		r.runAll(all)
		r.uninstall(r.op(), ref(u))
		r.waitGone(r.env, u.Key)
		for _, m := range all {
			r.want("Start of what is gone", r.tryStart(r.op(), m, adapter.StartOptions{}), adapter.NotFound)
		}
	}},
	{"SetEnabled/ends all modules of a unit", func(r *rig) {
		_, all := r.several()
		r.runAll(all)
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
		r.launch(r.env)
		r.wantActive("after a new launch", all)
	}},
}

// compareModules says which modules of before are in after, which are not, and which are in after only.
func compareModules(before, after adapter.Unit) (stay, gone, come []string) {
	for _, id := range ids(before) {
		if slices.Contains(ids(after), id) {
			stay = append(stay, id)
		} else {
			gone = append(gone, id)
		}
	}
	for _, id := range ids(after) {
		if !slices.Contains(ids(before), id) {
			come = append(come, id)
		}
	}
	return stay, gone, come
}

package adaptertest

import (
	"context"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// permanent brings the environment up and returns a unit that is part of the device's firmware, with its first module.
func (r *rig) permanent() (adapter.Unit, adapter.ModuleRef) {
	r.t.Helper()
	if r.h.Permanent == nil {
		if r.h.SkipPermanent == "" {
			r.t.Fatalf("the harness has no Permanent and no reason for it")
		}
		r.t.Skipf("the harness has no unit that is part of the device's firmware: %s", r.h.SkipPermanent)
	}
	r.up()
	key := r.h.Permanent(r.t, r.dir, r.env)
	var u adapter.Unit
	r.waitEnv(r.env, "with a Permanent unit "+key, func(s *seenEnv) bool {
		for _, u = range s.units {
			if u.Permanent && !u.System && (key == "" || u.Key == key) && len(u.Modules) > 0 {
				return true
			}
		}
		return false
	})
	return u, r.first(u)
}

// permanentRunning is permanent, with the first module active.
func (r *rig) permanentRunning() (adapter.Unit, adapter.ModuleRef) {
	r.t.Helper()
	u, m := r.permanent()
	r.run(m)
	return r.waitUnit(u.Env, u.Key, "there", func(adapter.Unit) bool { return true }), m
}

// permanentCases are those of units that are started and stopped as any other, and neither updated nor removed.
var permanentCases = []Case{
	{"Watch/Permanent unit is the same over restarts of adapter and environment", func(r *rig) {
		u, _ := r.permanent()
		again := func(when string) {
			r.t.Helper()
			now := r.waitUnit(u.Env, u.Key, "there", func(adapter.Unit) bool { return true })
			if !now.Permanent {
				r.t.Errorf("after a restart of the %s the unit is not Permanent", when)
			}
			r.wantSame("the unit after a restart of the "+when, now, u)
		}
		r.restart()
		again("adapter")
		r.setEnabled(r.env, false)
		r.launch(r.env)
		again("environment")
	}},
	{"Start/module of a Permanent unit starts and stops", func(r *rig) {
		_, m := r.permanentRunning()
		r.mustStop(m)
		r.waitStatus(m, adapter.Idle)
		r.run(m)
	}},
	{"Update/Permanent unit is NotSupported and stays as it is", func(r *rig) { r.updateRefused(r.permanentRunning) }},
	{"Uninstall/Permanent unit is NotSupported and stays", func(r *rig) { r.uninstallRefused(r.permanentRunning) }},
	{"SetAutoStart/Permanent unit's is set", func(r *rig) {
		_, m := r.permanent()
		s := r.needAutoStart()
		r.mustAutoStart(s, m, true)
		r.mustAutoStart(s, m, false)
	}},
	{"SetModuleRunLevel/Permanent unit's is set", func(r *rig) {
		_, m := r.permanent()
		l := r.needLevels()
		r.must("SetModuleRunLevel", func(ctx context.Context) error { return l.SetModuleRunLevel(ctx, r.op(), m, r.h.RunLevel+1) })
		r.waitModule(m, "at the level that was set", func(x adapter.Module) bool { return x.RunLevel == r.h.RunLevel+1 })
	}},
}

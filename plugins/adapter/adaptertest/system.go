package adaptertest

import (
	"context"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// system brings the environment up and returns a unit that is part of it, with its first module.
func (r *rig) system() (adapter.Unit, adapter.ModuleRef) {
	r.t.Helper()
	if r.h.System == nil {
		if r.h.SkipSystem == "" {
			r.t.Fatalf("the harness has no System and no reason for it")
		}
		r.t.Skipf("the harness has no unit that is part of the environment: %s", r.h.SkipSystem)
	}
	r.up()
	key := r.h.System(r.t, r.dir, r.env)
	var u adapter.Unit
	r.waitEnv(r.env, "with a System unit "+key+" that runs", func(s *seenEnv) bool {
		for _, u = range s.units {
			if u.System && (key == "" || u.Key == key) && len(u.Modules) > 0 && u.Modules[0].Status == adapter.Active {
				return true
			}
		}
		return false
	})
	return u, r.first(u)
}

// refused checks that a call about a unit that is part of the environment or of the firmware was refused and changed nothing.
func (r *rig) refused(what string, err error, u adapter.Unit) {
	r.t.Helper()
	r.want(what+" of "+u.Key, err, adapter.NotSupported)
	now, there := r.look(u.Env)[u.Key]
	if !there {
		r.t.Fatalf("after %s the unit %s is gone", what, u.Key)
	}
	r.wantSame(u.Key+" after "+what, now, u)
	for i, m := range now.Modules {
		was := u.Modules[i]
		if m.Status != was.Status || m.RunLevel != was.RunLevel || flagText(m.AutoStart) != flagText(was.AutoStart) {
			r.t.Errorf("after %s the module %s is %s at level %d with AutoStart %s; it was %s at %d with %s", what, m.ID,
				m.Status, m.RunLevel, flagText(m.AutoStart), was.Status, was.RunLevel, flagText(was.AutoStart))
		}
	}
}

// updateRefused updates a unit that runs and cannot be updated.
func (r *rig) updateRefused(unit func() (adapter.Unit, adapter.ModuleRef)) {
	r.t.Helper()
	v1, v2 := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
	u, _ := unit()
	_, err := r.tryUpdate(r.op(), ref(u), v1, v2)
	r.refused("Update", err, u)
}

// uninstallRefused uninstalls a unit that runs and cannot be removed.
func (r *rig) uninstallRefused(unit func() (adapter.Unit, adapter.ModuleRef)) {
	r.t.Helper()
	u, _ := unit()
	r.refused("Uninstall", r.tryUninstall(r.op(), ref(u)), u)
}

// systemCases are those of units that are shown and not to be changed.
var systemCases = []Case{
	{"Start/module of a System unit is no error", func(r *rig) {
		_, m := r.system()
		r.run(m)
	}},
	{"Stop/System unit is NotSupported and goes on", func(r *rig) {
		u, m := r.system()
		r.refused("Stop", r.tryStop(r.op(), m), u)
	}},
	{"Update/System unit is NotSupported and stays as it is", func(r *rig) { r.updateRefused(r.system) }},
	{"Uninstall/System unit is NotSupported and stays", func(r *rig) { r.uninstallRefused(r.system) }},
	{"SetAutoStart/System unit is NotSupported and goes on", func(r *rig) {
		u, m := r.system()
		s := r.needAutoStart()
		r.refused("SetAutoStart", r.autoStart(s, m, false), u)
	}},
	{"SetModuleRunLevel/System unit is NotSupported and goes on", func(r *rig) {
		u, m := r.system()
		l := r.needLevels()
		err := r.call("SetModuleRunLevel", func(ctx context.Context) error { return l.SetModuleRunLevel(ctx, r.op(), m, r.h.RunLevel+1) })
		r.refused("SetModuleRunLevel", err, u)
	}},
}

package dbus

import (
	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// view answers questions about a snapshot that concern several tables. Whoever reads many objects gives it an index; without
// one each question walks through a table.
type view struct {
	snap  *model.Snapshot
	index *index
}

// index is what a view has been asked before it is asked.
type index struct {
	envs   map[string]dbus.ObjectPath
	units  map[model.RowID][]dbus.ObjectPath // by deployment unit
	active map[string][]dbus.ObjectPath      // by ID of the environment
	data   map[string][]*model.Volume        // likewise
}

// indexed returns a view for many questions.
func indexed(s *model.Snapshot) *view {
	x := &index{
		envs:   map[string]dbus.ObjectPath{},
		units:  map[model.RowID][]dbus.ObjectPath{},
		active: map[string][]dbus.ObjectPath{},
		data:   map[string][]*model.Volume{},
	}
	for e := range s.ExecEnvs() {
		x.envs[e.ID] = path(model.Ref{Kind: model.KindExecEnv, Instance: e.Instance})
	}
	for u := range s.ExecutionUnits() {
		p := path(model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID})
		x.units[u.DU] = append(x.units[u.DU], p)
		if u.Status == model.EUActive {
			x.active[u.Env] = append(x.active[u.Env], p)
		}
	}
	for d := range s.Volumes() {
		x.data[d.Env] = append(x.data[d.Env], d)
	}
	return &view{s, x}
}

// env returns the path of the environment with that ID, "/" when there is none.
func (v *view) env(id string) dbus.ObjectPath {
	if v.index != nil {
		if p, ok := v.index.envs[id]; ok {
			return p
		}
		return xml.NoObject
	}
	if e := v.snap.ExecEnvByID(id); e != nil {
		return path(model.Ref{Kind: model.KindExecEnv, Instance: e.Instance})
	}
	return xml.NoObject
}

// deploymentUnit returns the path of a deployment unit, "/" when there is none.
func (v *view) deploymentUnit(id model.RowID) dbus.ObjectPath {
	if v.snap.DeploymentUnit(id) == nil {
		return xml.NoObject
	}
	return path(model.Ref{Kind: model.KindDeploymentUnit, Instance: id})
}

// unitsOf returns the paths of the execution units of a deployment unit.
func (v *view) unitsOf(du model.RowID) []dbus.ObjectPath {
	if v.index != nil {
		return orEmpty(v.index.units[du])
	}
	return v.walk(func(u *model.ExecutionUnit) bool { return u.DU == du })
}

// active returns the paths of the active execution units of an environment.
func (v *view) active(env string) []dbus.ObjectPath {
	if v.index != nil {
		return orEmpty(v.index.active[env])
	}
	return v.walk(func(u *model.ExecutionUnit) bool { return u.Env == env && u.Status == model.EUActive })
}

// applicationData returns the application data of an environment.
func (v *view) applicationData(env string) []*model.Volume {
	if v.index != nil {
		return v.index.data[env]
	}
	var list []*model.Volume
	for d := range v.snap.Volumes() {
		if d.Env == env {
			list = append(list, d)
		}
	}
	return list
}

func (v *view) walk(fits func(*model.ExecutionUnit) bool) []dbus.ObjectPath {
	paths := []dbus.ObjectPath{}
	for u := range v.snap.ExecutionUnits() {
		if fits(u) {
			paths = append(paths, path(model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID}))
		}
	}
	return paths
}

func orEmpty(paths []dbus.ObjectPath) []dbus.ObjectPath {
	if paths == nil {
		return []dbus.ObjectPath{}
	}
	return paths
}

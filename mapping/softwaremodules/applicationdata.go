package softwaremodules

import (
	"iter"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// applicationDataTable is the application data of all deployment units of an environment, also of those that are gone and whose data is kept.
// The instance numbers are the agent's and belong to all environments, so no two tables have a number in common.
var applicationDataTable = &object{
	Name: "ApplicationData", Since: "2.16", UniqueKeys: [][]string{{"ApplicationUUID", "Name"}, {"Alias"}},
	Table: &table{Rows: applicationData, Row: applicationDatum, Alias: func(r Row) string { return r.volume.Alias }},
	Parameters: []*parameter{
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.16", Check: alias, Attribute: attribute(model.Alias), Text: func(r Row) string { return r.volume.Alias }},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.16", From: "2.18", Protocol: dm.USPOnly, Text: func(r Row) string { return r.volume.Alias }},
		{Name: "ApplicationUUID", Type: dm.String, Length: 36, Since: "2.16", Text: func(r Row) string { return r.volume.UUID }},
		{Name: "Name", Type: dm.String, Length: model.MaxVolumeName, Since: "2.16", Text: func(r Row) string { return r.volume.Name }},
		{Name: "Capacity", Type: dm.UnsignedInt, Unit: "MiB", Since: "2.16", Int: func(r Row) int64 { return r.volume.Capacity }},
		{Name: "Encrypted", Type: dm.Boolean, Since: "2.16", Bool: func(r Row) bool { return r.volume.Encrypted }},
		{Name: "Retain", Type: dm.String, Enum: retains, Since: "2.16", Text: func(r Row) string { return string(r.volume.Retain) }},
		{Name: "AccessPath", Type: dm.String, Length: model.MaxAccessPath, Since: "2.16", Text: func(r Row) string { return r.volume.AccessPath }},
		{Name: "Utilization", Type: dm.UnsignedInt, Unit: "MiB", Since: "2.16", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.volume.Utilization }},
	},
	Commands: []*command{{Name: "Remove()", Since: "2.16"}},
}

var retains = []string{string(model.UntilStopped), string(model.Forever)}

func applicationData(r Row) iter.Seq2[uint32, Row] {
	return func(yield func(uint32, Row) bool) {
		for _, v := range r.view.volumesOn(r.env.ID) {
			if !yield(v.ID, Row{view: r.view, volume: v}) {
				return
			}
		}
	}
}

func applicationDatum(r Row, instance uint32) (Row, bool) {
	v := r.view.Volume(instance)
	return Row{view: r.view, volume: v}, v != nil && v.Env == r.env.ID
}

// unit is what application data belongs to: a deployment unit on an environment, in any version.
type unit struct{ env, uuid string }

// scanVolumes fills what needs a look at all application data.
func (v *view) scanVolumes() {
	if v.volumes != nil {
		return
	}
	v.volumes, v.dataOf = map[string][]*model.Volume{}, map[unit][]byte{}
	for x := range v.Volumes() {
		v.volumes[x.Env] = append(v.volumes[x.Env], x)
		if env := v.execEnvRef(x.Env); env != "" {
			of := unit{x.Env, x.UUID}
			v.dataOf[of] = add(v.dataOf[of], rowPath(env+".ApplicationData", x.ID))
		}
	}
}

// volumesOn returns the application data of an environment.
func (v *view) volumesOn(env string) []*model.Volume {
	v.scanVolumes()
	return v.volumes[env]
}

// applicationDataOf returns the value of ApplicationDataList: all that the deployment unit of an execution unit has, which is what the execution
// unit can use.
func (v *view) applicationDataOf(u *model.ExecutionUnit) string {
	du := v.DeploymentUnit(u.DU)
	if du == nil {
		return ""
	}
	v.scanVolumes()
	return string(v.dataOf[unit{du.Env, du.UUID}])
}

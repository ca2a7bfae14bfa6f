package report

import (
	"slices"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// Chosen are rows that one element of a ChangeDUState is about and that go together: all of them or none. Refused says why that is not to be; what is
// refused without a row to name has none.
type Chosen struct {
	Rows    []*model.DeploymentUnit
	UUID    string
	Refused error
}

// ChooseUpdate says which rows an Update is about (TR-069 Table 72). With a UUID they are all rows of that unit at one version; with a URL alone those that
// came from it, a group for each unit; with neither, all that are installed, a group for each unit and version. fixed tells what cannot be updated at all,
// which the last of these leaves out. Errors are unknown-du, version-not-specified and invalid-arguments.
func ChooseUpdate(s *model.Snapshot, op model.UnitOperation, fixed func(*model.DeploymentUnit) bool) ([]Chosen, error) {
	all := op.UUID == "" && op.URL == ""
	if all && op.Version != "" {
		return nil, fault.Errorf(fault.InvalidArguments, "cannot update: a version is given and neither UUID nor URL")
	}
	type key struct{ uuid, version string }
	var order []key
	groups := map[key][]*model.DeploymentUnit{}
	for du := range s.DeploymentUnits() {
		switch {
		case op.UUID != "" && du.UUID != op.UUID, op.UUID == "" && op.URL != "" && du.URL != op.URL,
			op.Version != "" && du.Version != op.Version, all && (fixed(du) || du.Status == model.DUInstalling):
			continue
		}
		k := key{uuid: du.UUID}
		if all {
			k.version = du.Version
		}
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], du)
	}
	if len(order) == 0 {
		return nil, fault.Errorf(fault.UnknownDU, "cannot update: there is no such deployment unit")
	}
	var chosen []Chosen
	for _, k := range order {
		c := Chosen{Rows: groups[k], UUID: k.uuid}
		if versions(c.Rows) > 1 {
			c = Chosen{UUID: k.uuid, Refused: fault.Errorf(fault.VersionNotSpecified, "cannot update %s: it is there in several versions and none is given", k.uuid)}
		}
		chosen = append(chosen, c)
	}
	return chosen, nil
}

func versions(rows []*model.DeploymentUnit) int {
	seen := map[string]bool{}
	for _, du := range rows {
		seen[du.Version] = true
	}
	return len(seen)
}

// ChooseUninstall says which rows an Uninstall is about (TR-069 Table 73): those of the unit, at all versions or one, on all environments or one. The error
// is unknown-du.
func ChooseUninstall(s *model.Snapshot, op model.UnitOperation) ([]*model.DeploymentUnit, error) {
	rows := slices.DeleteFunc(slices.Collect(s.DeploymentUnits()), func(du *model.DeploymentUnit) bool {
		return du.UUID != op.UUID || op.Version != "" && du.Version != op.Version || op.ExecEnv != "" && du.Env != op.ExecEnv
	})
	if len(rows) == 0 {
		return nil, fault.Errorf(fault.UnknownDU, "cannot uninstall %s: there is no such deployment unit", op.UUID)
	}
	return rows, nil
}

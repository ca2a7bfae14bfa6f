package softwaremodules

import (
	"iter"
	"strconv"

	"github.com/smmd-project/smmd/agent/model"
)

// A Row is what a parameter of Device.SoftwareModules. is read from: a row of one of the tables, the policy, or none of
// them for the objects above, and always the snapshot around it.
type Row struct {
	view   *view
	env    *model.ExecEnv
	du     *model.DeploymentUnit
	eu     *model.ExecutionUnit
	volume *model.Volume
	policy bool // DUStateChangeComplPolicy.
	// variable is a row of ExecutionUnit.{i}.EnvVariable.; nothing else of its execution unit is read through it.
	variable *model.Variable
}

// view is the snapshot of one request, with what takes a scan of a table to know. It is filled as it is asked and belongs
// to the request's goroutine.
type view struct {
	*model.Snapshot
	unitsOf  map[model.RowID][]byte     // ExecutionUnitList by deployment unit
	activeOn map[string][]byte          // ActiveExecutionUnits by environment
	envRef   map[string]string          // path by ID of the environment
	volumes  map[string][]*model.Volume // by environment
	dataOf   map[unit][]byte            // ApplicationDataList
}

// NewRow returns the row that a request begins with. It must not be shared between goroutines.
func NewRow(s *model.Snapshot) Row { return Row{view: &view{Snapshot: s}} }

// Ref returns the row's place in the model; its Kind is empty for objects that the agent has no row for.
func (r Row) Ref() model.Ref {
	switch {
	case r.env != nil:
		return model.Ref{Kind: model.KindExecEnv, Instance: r.env.Instance}
	case r.du != nil:
		return model.Ref{Kind: model.KindDeploymentUnit, Instance: r.du.ID}
	case r.eu != nil:
		return model.Ref{Kind: model.KindExecutionUnit, Instance: r.eu.ID}
	case r.volume != nil:
		return model.Ref{Kind: model.KindVolume, Instance: r.volume.ID}
	case r.policy:
		return model.Ref{Kind: model.KindPolicy}
	}
	return model.Ref{}
}

// Path returns the data model's path of a row without a dot at its end, as references are written (TR-106, "Parameters that
// Reference Parameters or Objects"). The arguments and results of CWMP RPCs take one with a dot (TR-069 Tables 71, 73 and 80).
//
// It is for the tables of Device.SoftwareModules. itself. Application data is within its environment, and what changes there is a change of that.
func Path(r model.Ref) string {
	return rowPath("Device.SoftwareModules."+string(r.Kind), r.Instance)
}

// rowPath returns a reference to a row of a table, whose path is given without a dot at its end.
func rowPath(table string, instance uint32) string {
	return table + "." + strconv.FormatUint(uint64(instance), 10)
}

// scan fills what needs a look at all execution units.
func (v *view) scan() {
	if v.unitsOf != nil {
		return
	}
	v.unitsOf, v.activeOn = map[model.RowID][]byte{}, map[string][]byte{}
	for u := range v.ExecutionUnits() {
		path := Path(model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID})
		v.unitsOf[u.DU] = add(v.unitsOf[u.DU], path)
		if u.Status == model.EUActive {
			v.activeOn[u.Env] = add(v.activeOn[u.Env], path)
		}
	}
}

// add appends an item to a list as TR-106 writes it, separated by commas.
func add(list []byte, item string) []byte {
	if len(list) > 0 {
		list = append(list, ',')
	}
	return append(list, item...)
}

// executionUnitsOf returns the value of ExecutionUnitList.
func (v *view) executionUnitsOf(du model.RowID) string {
	v.scan()
	return string(v.unitsOf[du])
}

// activeUnitsOn returns the value of ActiveExecutionUnits.
func (v *view) activeUnitsOn(env string) string {
	v.scan()
	return string(v.activeOn[env])
}

// execEnvRef returns a reference to the environment with that ID. It is empty when there is none: references are strong.
func (v *view) execEnvRef(id string) string {
	if v.envRef == nil {
		v.envRef = map[string]string{}
		for e := range v.ExecEnvs() {
			v.envRef[e.ID] = Path(model.Ref{Kind: model.KindExecEnv, Instance: e.Instance})
		}
	}
	return v.envRef[id]
}

func execEnvs(r Row) iter.Seq2[uint32, Row] {
	return func(yield func(uint32, Row) bool) {
		for e := range r.view.ExecEnvs() {
			if !yield(e.Instance, Row{view: r.view, env: e}) {
				return
			}
		}
	}
}

func execEnv(r Row, instance uint32) (Row, bool) {
	e := r.view.ExecEnv(instance)
	return Row{view: r.view, env: e}, e != nil
}

func deploymentUnits(r Row) iter.Seq2[uint32, Row] {
	return func(yield func(uint32, Row) bool) {
		for u := range r.view.DeploymentUnits() {
			if !yield(u.ID, Row{view: r.view, du: u}) {
				return
			}
		}
	}
}

func deploymentUnit(r Row, instance uint32) (Row, bool) {
	u := r.view.DeploymentUnit(instance)
	return Row{view: r.view, du: u}, u != nil
}

func executionUnits(r Row) iter.Seq2[uint32, Row] {
	return func(yield func(uint32, Row) bool) {
		for u := range r.view.ExecutionUnits() {
			if !yield(u.ID, Row{view: r.view, eu: u}) {
				return
			}
		}
	}
}

func executionUnit(r Row, instance uint32) (Row, bool) {
	u := r.view.ExecutionUnit(instance)
	return Row{view: r.view, eu: u}, u != nil
}

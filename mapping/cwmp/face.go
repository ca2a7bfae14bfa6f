// Package cwmp says in the words of CWMP (TR-069 Issue 1 Amendment 6 Corrigendum 1) what the agent says in its own: the RPCs on
// parameters, ChangeDUState, the reports of it and of autonomous changes, and the numbers of faults.
//
// A [Face] answers for what this agent has of the data model only. It keeps nothing between two calls: each call reads one snapshot, so what it
// tells belongs to one moment.
package cwmp

import (
	"context"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// Face is the data model as CWMP sees it. Its methods may be called concurrently. Their errors are *[Fault].
type Face struct {
	agent Agent
	root  *dm.Object[softwaremodules.Row]
}

// New returns the face of agent a, with the data model in one of the versions of package softwaremodules; any other text is the newest.
func New(a Agent, version string) *Face {
	tree := softwaremodules.Tree(dm.CWMPOnly, version)
	if tree == nil {
		tree = softwaremodules.Tree(dm.CWMPOnly, softwaremodules.Version)
	}
	return &Face{a, tree}
}

// A ParameterName is one ParameterInfoStruct (TR-069 Table 17): an object, with a dot at its end, or a parameter. Writable of an
// object says whether rows can be added to a table or a row be deleted; nobody can.
type ParameterName struct {
	Name     string
	Writable bool
}

// A ParameterValue is one ParameterValueStruct (TR-069 Table 14). Type is the name of the XML Schema type: xsd:string,
// xsd:boolean, xsd:unsignedInt, xsd:int, xsd:dateTime.
type ParameterValue struct{ Name, Type, Value string }

type node = dm.Node[softwaremodules.Row]

// resolve returns the place that path names in the snapshot of row.
func (f *Face) resolve(row softwaremodules.Row, path string, purpose dm.Purpose) (node, error) {
	p, err := dm.ParsePath(path, dm.CWMP)
	if err != nil {
		return node{}, err
	}
	nodes, err := dm.Resolve(f.root, row, p, purpose)
	if err != nil {
		return node{}, err
	}
	return nodes[0], nil // a path of CWMP has no wildcards, so it is exactly one
}

// GetParameterNames answers the RPC of that name (TR-069 A.3.2.3). path is a full parameter name or a partial path, and empty for the
// root. With nextLevel it tells what is one level below path and not path itself; a full parameter name is then refused with 9003.
// Without, it tells path and everything below it. A path that names nothing is refused with 9005.
func (f *Face) GetParameterNames(path string, nextLevel bool) ([]ParameterName, error) {
	n, err := f.resolve(softwaremodules.NewRow(f.agent.Snapshot()), path, dm.ForGet)
	if err != nil {
		return nil, badName(err)
	}
	if nextLevel && n.Parameter != nil {
		return nil, &Fault{Code: InvalidArguments, Reason: fault.InvalidArguments, Message: "cannot tell the next level of " + path + ": it is a parameter"}
	}
	below := n.All()
	if nextLevel {
		below = n.Children()
	}
	var names []ParameterName
	for m := range below {
		if m.Path != "" { // the root above Device. has no name
			names = append(names, ParameterName{m.Path, m.Parameter != nil && m.Parameter.Writable()})
		}
	}
	return names, nil
}

// GetParameterValues answers the RPC of that name (TR-069 A.3.2.2). Each name is a full parameter name or a partial path for all
// parameters below it; the values come in the order of the names. A name that names nothing refuses the whole call with 9005.
func (f *Face) GetParameterValues(names []string) ([]ParameterValue, error) {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	var values []ParameterValue
	for _, name := range names {
		n, err := f.resolve(row, name, dm.ForGet)
		if err != nil {
			return nil, badName(err)
		}
		for m := range n.All() {
			if p := m.Parameter; p != nil {
				values = append(values, ParameterValue{m.Path, p.Type.XSD(), p.Value(m.Row)})
			}
		}
	}
	return values, nil
}

// AddObject answers the RPC of that name (TR-069 A.3.2.6). It always refuses with 9005, the code that Table 87 has for the name given to
// AddObject: the tables of software modules are read-only, their rows come with ChangeDUState.
func (f *Face) AddObject(path string) (uint32, error) {
	return 0, f.readOnly("cannot add a row to ", path)
}

// DeleteObject answers the RPC of that name (TR-069 A.3.2.7). It always refuses with 9005, as [Face.AddObject] does.
func (f *Face) DeleteObject(path string) error {
	return f.readOnly("cannot delete ", path)
}

func (f *Face) readOnly(what, path string) error {
	if _, err := f.resolve(softwaremodules.NewRow(f.agent.Snapshot()), path, dm.ForGet); err != nil {
		return badName(err)
	}
	return &Fault{Code: InvalidParameterName, Reason: fault.RequestDenied, Message: what + path + ": rows come and go with ChangeDUState"}
}

// SetParameterValues answers the RPC of that name (TR-069 A.3.2.1). The status is 0 when all values are applied and 1 when they are
// accepted and something is still moving: a unit starts, an environment stops. Either all values are set or none.
//
// A value may leave its Type empty: it is then taken for one of the parameter's own type. When names, types or values are wrong, the
// fault is 9003 around 9005 to 9008 for each wrong one; a parameter that is named twice is 9003 alone. When the agent refuses for
// a reason that is no matter of a value (its own failure, a policy, too many operations), the fault is the code of [RPC].
func (f *Face) SetParameterValues(ctx context.Context, values []ParameterValue, originator model.Origin) (int32, error) {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	type target struct {
		row       model.Ref
		attribute model.Attribute
	}
	var wrong []ParameterFault
	var as []model.Assignment
	seen := map[target]bool{}
	for _, v := range values {
		a, code, err := f.assignment(row, v)
		if err != nil {
			wrong = append(wrong, ParameterFault{v.Name, code, err.Error()})
			continue
		}
		key := target{a.Row, a.Attribute}
		if seen[key] {
			return 0, &Fault{Code: InvalidArguments, Reason: fault.InvalidArguments, Message: "cannot set " + v.Name + " twice in one call"}
		}
		seen[key] = true
		as = append(as, a)
	}
	if len(wrong) > 0 {
		return 0, &Fault{Code: InvalidArguments, Reason: fault.InvalidArguments, Message: summary(wrong), Parameters: wrong}
	}
	if len(as) == 0 {
		return 0, nil
	}
	jobs, err := f.agent.Set(ctx, as, originator)
	if err != nil {
		return 0, refused(values, err)
	}
	if len(jobs) > 0 {
		return 1, nil
	}
	return 0, nil
}

// assignment turns v into what the agent sets. With an error comes its code.
func (f *Face) assignment(row softwaremodules.Row, v ParameterValue) (model.Assignment, uint32, error) {
	n, err := f.resolve(row, v.Name, dm.ForSet)
	if err != nil {
		if dm.IsUnknown(err) {
			return model.Assignment{}, InvalidParameterName, err
		}
		return model.Assignment{}, NonWritableParameter, err
	}
	p := n.Parameter
	if v.Type != "" && !sameType(v.Type, p.Type) {
		return model.Assignment{}, InvalidParameterType, fault.Errorf(fault.InvalidArguments,
			"cannot set %s to a value of type %q: it is %s", v.Name, v.Type, p.Type.XSD())
	}
	value, err := p.Parse(v.Value)
	if err != nil {
		return model.Assignment{}, InvalidParameterValue, err
	}
	return model.Assignment{Row: n.Row.Ref(), Attribute: model.Attribute(p.Attribute), Value: value}, 0, nil
}

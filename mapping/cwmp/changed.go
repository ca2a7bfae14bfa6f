package cwmp

import (
	"iter"
	"strings"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// The objects that are no rows.
const (
	rootObject   = "Device.SoftwareModules."
	policyObject = "Device.ManagementServer.DUStateChangeComplPolicy."
)

// A Change is a parameter that has another value, and the object at which it was found.
type Change struct {
	Ref model.Ref
	ParameterValue
}

// Changed returns the parameters of the objects at refs that are to be notified of and have another value in next than in old, with the new one. The zero
// Ref is Device.SoftwareModules. itself, without the tables in it. A parameter that one of the two does not have is none of them:
// rows that come and go are told by the numbers of entries (TR-069 Table 8, 4 VALUE CHANGE). What takes a look at a whole table is looked at once
// in a call, so many objects belong into one.
func (f *Face) Changed(old, next *model.Snapshot, refs []model.Ref) []Change {
	before, after := softwaremodules.NewRow(old), softwaremodules.NewRow(next)
	var changed []Change
	for _, ref := range refs {
		path := ObjectPath(ref)
		n, ok := f.place(after, path)
		if !ok {
			continue
		}
		var was map[string]node // asked for once something is to be notified of
		for m := range below(n, ref) {
			p := m.Parameter
			if p == nil || notification(next, m.Path, p) == NotificationOff {
				continue
			}
			if was == nil {
				was = map[string]node{}
				if o, ok := f.place(before, path); ok {
					for m := range below(o, ref) {
						was[m.Path] = m
					}
				}
			}
			if o, ok := was[m.Path]; ok {
				if value := p.Value(m.Row); value != o.Parameter.Value(o.Row) {
					changed = append(changed, Change{ref, ParameterValue{m.Path, p.Type.XSD(), value}})
				}
			}
		}
	}
	return changed
}

// ObjectPath returns the path of an object, with its dot: of a row, of the policy, or for the zero Ref of the object above all tables.
func ObjectPath(r model.Ref) string {
	switch r.Kind {
	case "":
		return rootObject
	case model.KindPolicy:
		return policyObject
	}
	return softwaremodules.Path(r) + "."
}

func (f *Face) place(row softwaremodules.Row, path string) (node, bool) {
	n, err := f.resolve(row, path, dm.ForGet)
	return n, err == nil
}

// below ranges over an object with all that is in it; of the one above all tables, over what is right below it.
func below(n node, ref model.Ref) iter.Seq[node] {
	if ref == (model.Ref{}) {
		return n.Children()
	}
	return n.All()
}

// Values returns what the parameters have in a snapshot, as far as they are there and to be notified of.
func (f *Face) Values(s *model.Snapshot, names []string) []ParameterValue {
	row := softwaremodules.NewRow(s)
	var values []ParameterValue
	for _, name := range names {
		if n, ok := f.place(row, name); ok && n.Parameter != nil && notification(s, name, n.Parameter) != NotificationOff {
			values = append(values, ParameterValue{name, n.Parameter.Type.XSD(), n.Parameter.Value(n.Row)})
		}
	}
	return values
}

// Targets returns the paths, by instance numbers, of the parameters that a SetParameterValues is about.
func (f *Face) Targets(values []ParameterValue) []string {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	var paths []string
	for _, v := range values {
		if strings.HasSuffix(v.Name, ".") {
			continue // it is no parameter, and what names nothing is about nothing either; the call will say so
		}
		_ = f.parameters(row, v.Name, func(_ node, path string) { paths = append(paths, path) })
	}
	return paths
}

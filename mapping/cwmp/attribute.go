package cwmp

import (
	"context"
	"fmt"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// The notification attributes (TR-069 A.3.2.4, Notification). The lightweight ones, 3 to 6, are a matter of a protocol of their own and
// not kept.
const (
	NotificationOff     = 0
	NotificationPassive = 1 // changes are told in the next session
	NotificationActive  = 2 // changes begin a session
)

// A ParameterAttribute is one ParameterAttributeStruct (TR-069 Table 33). Subscriber says that its AccessList is Subscriber: that others than the
// ACS can write the parameter, as whoever may use the agent's bus can everything that is writable; else the list is empty. The agent keeps
// no access lists.
type ParameterAttribute struct {
	Name         string
	Notification uint32
	Subscriber   bool
}

// An AttributeSetting is one SetParameterAttributesStruct (TR-069 Table 31) with NotificationChange.
type AttributeSetting struct {
	Name         string // of a parameter, or a partial path for all parameters that are below it now
	Notification uint32 // 0 to 2
}

// GetParameterAttributes answers the RPC of that name (TR-069 A.3.2.5). Each name is a full parameter name or a partial path for all
// parameters below it, and answered as it was asked for. A name that names nothing refuses the whole call with 9005.
func (f *Face) GetParameterAttributes(names []string) ([]ParameterAttribute, error) {
	snap := f.agent.Snapshot()
	row := softwaremodules.NewRow(snap)
	var attributes []ParameterAttribute
	for _, name := range names {
		err := f.parameters(row, name, func(m node, path string) {
			attributes = append(attributes, ParameterAttribute{m.Path, uint32(notification(snap, path, m.Parameter)), m.Parameter.Writable()})
		})
		if err != nil {
			return nil, badName(err)
		}
	}
	return attributes, nil
}

// SetParameterAttributes answers the RPC of that name (TR-069 A.3.2.4) for notification attributes, in the order of the settings: all or none,
// durable when it returns. Active notification is denied to no parameter. A setting is of the parameters, so rows that come later have the
// attributes of the data model again.
//
// A name that names nothing is 9005, a notification that there is not 9003; more than the agent keeps 9004, and what it denies
// 9009; anything else has the code of [RPC].
func (f *Face) SetParameterAttributes(ctx context.Context, settings []AttributeSetting) error {
	snap := f.agent.Snapshot()
	row := softwaremodules.NewRow(snap)
	wanted := map[string]int{}
	for _, s := range settings {
		if s.Notification > NotificationActive {
			return &Fault{
				Code: InvalidArguments, Reason: fault.InvalidArguments,
				Message: fmt.Sprintf("cannot set the notification of %s to %d: it is 0 to 2", s.Name, s.Notification),
			}
		}
		err := f.parameters(row, s.Name, func(m node, path string) {
			delete(wanted, path)
			if n := int(s.Notification); n != notification(snap, path, m.Parameter) {
				if n == initial(m.Parameter) {
					n = model.AttributeDefault // nothing is kept then
				}
				wanted[path] = n
			}
		})
		if err != nil {
			return badName(err)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	if err := f.agent.SetAttributes(ctx, wanted); err != nil {
		f := refusedCall(err)
		switch f.Reason {
		case fault.RequestDenied:
			f.Code = NotificationRejected
		case fault.SystemResourcesExceeded: // it keeps no more of them
			f.Code = ResourcesExceeded
		}
		return f
	}
	return nil
}

// parameters calls do for each parameter that name stands for, with its path by instance numbers.
func (f *Face) parameters(row softwaremodules.Row, name string, do func(m node, path string)) error {
	p, err := dm.ParsePath(name, dm.CWMP)
	if err != nil {
		return err
	}
	nodes, err := dm.Resolve(f.root, row, p, dm.ForGet)
	if err != nil {
		return err
	}
	asked, numbered := len(p.String()), f.numbered(row, p).String()
	for m := range nodes[0].All() {
		if m.Parameter != nil {
			do(m, numbered+m.Path[asked:])
		}
	}
	return nil
}

// numbered returns a path that exists with instance numbers in the place of aliases.
func (f *Face) numbered(row softwaremodules.Row, p dm.Path) dm.Path {
	out := dm.Path{Partial: p.Partial}
	for _, seg := range p.Segments {
		if seg.Kind == dm.Alias {
			seg = f.instance(row, out, seg)
		}
		out.Segments = append(out.Segments, seg)
	}
	return out
}

// instance returns the number of the row that has an alias in the table at path.
func (f *Face) instance(row softwaremodules.Row, path dm.Path, alias dm.Segment) dm.Segment {
	nodes, err := dm.Resolve(f.root, row, dm.Path{Segments: path.Segments, Partial: true}, dm.ForGet)
	if err != nil || !nodes[0].Table {
		return alias
	}
	table := nodes[0].Object.Table
	for number, r := range table.Rows(nodes[0].Row) {
		if table.Alias != nil && table.Alias(r) == alias.Text {
			return dm.Segment{Kind: dm.Number, Number: number}
		}
	}
	return alias
}

// notification returns the notification attribute of the parameter at a path with instance numbers: what the ACS has set, or what the data
// model begins with.
func notification(s *model.Snapshot, path string, p *dm.Parameter[softwaremodules.Row]) int {
	if n, set := s.Attributes[path]; set {
		return n
	}
	return initial(p)
}

// initial returns the notification attribute that the data model begins with.
func initial(p *dm.Parameter[softwaremodules.Row]) int {
	if p.Notify == dm.NotifyForceDefaultEnabled {
		return NotificationActive
	}
	return NotificationOff
}

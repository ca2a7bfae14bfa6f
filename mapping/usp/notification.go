package usp

import (
	"slices"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/uuidname"
)

// Kind is the kind of a notification (TR-369, Notify).
type Kind string

// The kinds of notifications.
const (
	KindEvent             Kind = "Event"
	KindOperationComplete Kind = "OperationComplete"
	KindValueChange       Kind = "ValueChange"
	KindObjectCreation    Kind = "ObjectCreation"
	KindObjectDeletion    Kind = "ObjectDeletion"
)

// A Notification is what subscribed controllers are told. Which fields a Kind has is said with them.
type Notification struct {
	Kind Kind

	Object     string            // all but ValueChange: path, with a dot at its end
	Event      string            // Event
	Command    string            // OperationComplete: name of the command
	CommandKey string            // OperationComplete
	Originator string            // OperationComplete
	Job        uint32            // OperationComplete
	Status                       // OperationComplete; code 0: it succeeded
	Arguments  map[string]string // Event: its arguments; OperationComplete: the outputs; ObjectCreation: the unique keys
	Parameter  string            // ValueChange: path
	Value      string            // ValueChange
}

// prefix begins the path of everything that has to do with software modules.
const prefix = "Device.SoftwareModules."

// Notification says in the words of USP what the agent notes. It is false for what the version of the data model does not know, and for
// what happened to an environment that is not configured any more.
func (f *Face) Notification(n *model.Notification) (Notification, bool) {
	s := f.agent.Snapshot()
	switch {
	case n.Kind == model.NotifyDUStateChange && n.Result != nil:
		event := f.event(prefix, "DUStateChange!")
		if event == nil {
			return Notification{}, false
		}
		return Notification{Kind: KindEvent, Object: prefix, Event: event.Name, Arguments: arguments(event.Arguments, stateChange(s, event, n.Result))}, true
	case n.Kind == model.NotifyRestarted:
		event, env := f.event(prefix+"ExecEnv.{i}.", "Restarted!"), s.ExecEnvByID(n.Env)
		if event == nil || env == nil {
			return Notification{}, false
		}
		return Notification{
			Kind: KindEvent, Object: rowPath(model.KindExecEnv, env.Instance) + ".", Event: event.Name,
			Arguments: arguments(event.Arguments, map[string]string{"RestartTime": dm.FormatTime(n.Time), "RestartReason": n.Reason}),
		}, true
	case n.Kind == model.NotifyOperationComplete:
		return f.complete(s, n)
	}
	return Notification{}, false
}

// event returns an event of the data model, nil when the version has none.
func (f *Face) event(object, name string) *dm.Event {
	_, at, err := f.locate(object+name, dm.Supported)
	if err != nil {
		return nil
	}
	return at.Event
}

// arguments returns those that the event or command has in the version of the data model, bent to it as the parameters are: whoever
// looks for the row that they tell of finds it.
func arguments(known []*dm.Argument, values map[string]string) map[string]string {
	args := make(map[string]string, len(known))
	for _, a := range known {
		args[a.Name] = a.Bend(values[a.Name])
	}
	return args
}

// uuidOf returns the UUID of a result. One that somebody has made up, and that the operation was refused for, has no place in the data model.
func uuidOf(r *model.Result) string {
	if _, err := uuidname.Parse(r.UUID); err != nil {
		return ""
	}
	return r.UUID
}

// stateChange returns the arguments of DUStateChange! (TR-181 Issue 2, USP). StartTime is that of the transfer; Uninstall has none, so it is
// that of the operation.
func stateChange(s *model.Snapshot, e *dm.Event, r *model.Result) map[string]string {
	state := string(r.State)
	for _, a := range e.Arguments {
		// Until 2.18 the one spelling is UnInstalled.
		if a.Name == "CurrentState" && r.State == model.ResultUninstalled && slices.Contains(a.Enum, "UnInstalled") && !slices.Contains(a.Enum, state) {
			state = "UnInstalled"
		}
	}
	start := r.Transfer
	if r.Performed == model.PerformedUninstall {
		start = r.Start
	}
	units := make([]string, len(r.EUs))
	for i, eu := range r.EUs {
		units[i] = rowPath(model.KindExecutionUnit, eu)
	}
	du := ""
	if r.DU != 0 {
		du = rowPath(model.KindDeploymentUnit, r.DU)
	}
	return map[string]string{
		"UUID":                 uuidOf(r),
		"DeploymentUnitRef":    du,
		"Version":              r.Version,
		"CurrentState":         state,
		"Resolved":             strconv.FormatBool(r.Resolved),
		"ExecutionUnitRefList": strings.Join(units, ","),
		"StartTime":            dm.FormatTime(start),
		"CompleteTime":         dm.FormatTime(r.Complete),
		"OperationPerformed":   string(r.Performed),
		"Fault.FaultCode":      strconv.FormatUint(uint64(Event(r.Fault)), 10),
		"Fault.FaultString":    r.Message,
	}
}

// complete returns the OperationComplete of a command.
func (f *Face) complete(s *model.Snapshot, n *model.Notification) (Notification, bool) {
	end := strings.LastIndexByte(n.Origin.Command, '.') + 1
	c := Notification{
		Kind: KindOperationComplete, Object: n.Origin.Command[:end], Command: n.Origin.Command[end:], CommandKey: n.Origin.CommandKey,
		Originator: n.Origin.Name, Job: n.Job, Status: Status{OperationComplete(n.Fault), n.Message}, Arguments: map[string]string{},
	}
	if end == 0 {
		return Notification{}, false // it was not a command of USP
	}
	if c.Code != 0 {
		return c, true
	}
	c.Text = ""
	_, at, err := f.locate(n.Origin.Command, dm.USP)
	if err != nil || at.Command == nil || len(n.Outputs) == 0 {
		return c, true
	}
	r := n.Outputs[0]
	env := ""
	if e := s.ExecEnvByID(r.Env); e != nil {
		env = rowPath(model.KindExecEnv, e.Instance)
	}
	c.Arguments = arguments(at.Command.Outputs, map[string]string{"UUID": uuidOf(&r), "Version": r.Version, "ExecEnvRef": env})
	return c, true
}

// rowPath returns a reference to a row, without a dot.
func rowPath(k model.Kind, instance uint32) string {
	return softwaremodules.Path(model.Ref{Kind: k, Instance: instance})
}

// Differences returns what is different of some rows between two snapshots: objects that came, parents first, then parameters that have
// another value, then objects that went, parents last. The zero Ref stands for the parameters of Device.SoftwareModules. itself.
func (f *Face) Differences(before, after *model.Snapshot, refs []model.Ref) []Notification {
	old, now := softwaremodules.NewRow(before), softwaremodules.NewRow(after)
	var came, changed, went []Notification
	for _, ref := range refs {
		a, b := f.below(old, ref), f.below(now, ref)
		for _, n := range b.nodes {
			was, known := a.values[n.Path]
			switch is := b.values[n.Path]; {
			case n.Parameter == nil && !known:
				came = append(came, Notification{Kind: KindObjectCreation, Object: n.Path, Arguments: uniqueKeys(n)})
			case n.Parameter != nil && known && was != is:
				changed = append(changed, Notification{Kind: KindValueChange, Parameter: n.Path, Value: is})
			}
		}
		for _, n := range a.nodes {
			if _, known := b.values[n.Path]; n.Parameter == nil && !known {
				went = append(went, Notification{Kind: KindObjectDeletion, Object: n.Path})
			}
		}
	}
	slices.Reverse(went)
	return slices.Concat(came, changed, went)
}

// state is a row with what is below it: rows and parameters in their order, and the values of the parameters by path.
type state struct {
	nodes  []node
	values map[string]string
}

// below returns the state of a row; it is empty when the row does not exist or is not in the data model.
func (f *Face) below(row softwaremodules.Row, ref model.Ref) state {
	path := prefix
	if ref != (model.Ref{}) {
		path = rowPath(ref.Kind, ref.Instance) + "."
	}
	s := state{values: map[string]string{}}
	p, err := dm.ParsePath(path, dm.USP)
	if err != nil {
		return s
	}
	nodes, err := dm.Resolve(f.root, row, p, dm.ForGet)
	if err != nil {
		return s // the row does not exist
	}
	at := nodes[0].All()
	if ref == (model.Ref{}) {
		at = nodes[0].Children()
	}
	isRow := ref != (model.Ref{})
	for n := range at {
		switch {
		case n.Parameter != nil:
			s.values[n.Path] = n.Parameter.Value(n.Row)
			s.nodes = append(s.nodes, n)
		case n.Object.Table != nil && !n.Table && isRow:
			s.values[n.Path] = ""
			s.nodes = append(s.nodes, n)
		}
	}
	return s
}

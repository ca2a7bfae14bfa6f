package dbus

import (
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

// operation is one element of a(sa{sv}).
type operation struct {
	Kind   string
	Fields map[string]dbus.Variant
}

// pending is one element of a(tsa{sv}).
type pending struct {
	ID     uint64
	Kind   string
	Fields map[string]dbus.Variant
}

func changeDUState(c *call) ([]any, error) {
	var given []operation
	if err := dbus.Store(c.body[:1], &given); err != nil {
		return nil, invalid("cannot change deployment units: %v", err)
	}
	operations, err := readOperations(given)
	if err != nil {
		return nil, err
	}
	key := arg[string](c, 1)
	if len(key) > maxText {
		return nil, invalid("cannot change deployment units: the CommandKey is too long")
	}
	var token string
	if err := parse(options(c, 2), map[string]option{"request_token": intoString(&token)}); err != nil {
		return nil, err
	}
	id, err := c.cwmp.ChangeDUState(c.ctx, operations, key, token, c.originator())
	if err != nil {
		return nil, cwmpRefusal(err)
	}
	return []any{id}, nil
}

// readOperations takes the operations of a ChangeDUState. What is none, has a field that it does not have, or a value of another type is
// an error that says where; values are not looked at.
func readOperations(given []operation) ([]cwmp.Operation, error) {
	operations := make([]cwmp.Operation, len(given))
	for i, o := range given {
		if !cwmp.IsOperation(o.Kind) {
			return nil, invalid("cannot take operation %d: there is no kind %s", i+1, quote(o.Kind))
		}
		names := make([]string, 0, len(o.Fields))
		for name := range o.Fields {
			names = append(names, name)
		}
		slices.Sort(names) // of several that are wrong, the same one is told each time
		operations[i] = cwmp.Operation{Kind: o.Kind, Fields: make(map[string]string, len(names))}
		for _, name := range names {
			if !cwmp.IsField(o.Kind, name) {
				return nil, invalid("cannot take operation %d: an %s has no field %s", i+1, o.Kind, quote(name))
			}
			value, ok := o.Fields[name].Value().(string)
			if !ok {
				return nil, invalid("cannot take operation %d: its %s is not a string", i+1, name)
			}
			if len(value) > maxText {
				return nil, invalid("cannot take operation %d: its %s is too long", i+1, name)
			}
			operations[i].Fields[name] = value
		}
	}
	return operations, nil
}

func pendingReports(c *call) ([]any, error) {
	list := []pending{}
	for _, r := range c.cwmp.PendingReports() {
		list = append(list, pending{r.ID, r.Kind, reportFields(r)})
	}
	return []any{list}, nil
}

func reportFields(r cwmp.Report) map[string]dbus.Variant {
	results := make([]map[string]dbus.Variant, len(r.Results))
	for i, x := range r.Results {
		results[i] = map[string]dbus.Variant{
			"UUID":                 dbus.MakeVariant(text(x.UUID)),
			"DeploymentUnitRef":    dbus.MakeVariant(x.DeploymentUnitRef),
			"Version":              dbus.MakeVariant(text(x.Version)),
			"CurrentState":         dbus.MakeVariant(text(x.CurrentState)),
			"Resolved":             dbus.MakeVariant(x.Resolved),
			"ExecutionUnitRefList": dbus.MakeVariant(x.ExecutionUnitRefList),
			"StartTime":            dbus.MakeVariant(x.StartTime),
			"CompleteTime":         dbus.MakeVariant(x.CompleteTime),
			"Fault": dbus.MakeVariant(map[string]dbus.Variant{
				"FaultCode": dbus.MakeVariant(x.FaultCode), "FaultString": dbus.MakeVariant(text(x.FaultString)),
			}),
		}
		if r.Autonomous() {
			results[i]["OperationPerformed"] = dbus.MakeVariant(text(x.OperationPerformed))
		}
	}
	fields := map[string]dbus.Variant{"Results": dbus.MakeVariant(results)}
	if !r.Autonomous() {
		fields["CommandKey"] = dbus.MakeVariant(text(r.CommandKey))
	}
	return fields
}

func acknowledgeReport(c *call) ([]any, error) {
	id := arg[uint64](c, 0)
	c.log.Info("a report is delivered", "report", id, "originator", c.originator().Name)
	if err := c.cwmp.AcknowledgeReport(c.ctx, id); err != nil {
		return nil, cwmpRefusal(err)
	}
	return nil, nil
}

// reports tells of each report that has come, or holds more, between two snapshots. Reports are replaced, never changed in place.
func (g *signaler) reports(last, next *model.Snapshot) []error {
	known := make(map[*model.Report]bool, len(last.Reports))
	for _, r := range last.Reports {
		known[r] = true
	}
	var errs []error
	for _, r := range next.Reports {
		if !known[r] {
			errs = append(errs, g.emit(xml.Root, xml.CWMP+".ReportPending", r.ID, text(string(r.Kind)), text(r.CommandKey)))
		}
	}
	return errs
}

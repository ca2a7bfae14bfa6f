package dbus

import (
	"errors"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
	"github.com/smmd-project/smmd/mapping/usp"
)

// The structs of the answers, as the contract has them.
type (
	uspObject struct { // (sa{ss})
		Path       string
		Parameters map[string]string
	}
	uspGet struct { // (sa(sa{ss})us)
		Requested string
		Objects   []uspObject
		Code      uint32
		Text      string
	}
	uspUpdate struct { // (sa(ssb))
		Path     string
		Settings []usp.Setting
	}
	uspUpdated struct { // (sa{ss}a(sus))
		Path       string
		Parameters map[string]string
		Errors     []parameterFault
	}
	uspSet struct { // (sa(sa{ss}a(sus))us)
		Requested string
		Objects   []uspUpdated
		Code      uint32
		Text      string
	}
	uspAdd struct { // (ssa{ss}a(sus)us)
		Requested, Path string
		UniqueKeys      map[string]string
		Errors          []parameterFault
		Code            uint32
		Text            string
	}
	uspDelete struct { // (sasa(sus)us)
		Requested  string
		Affected   []string
		Unaffected []parameterFault
		Code       uint32
		Text       string
	}
	uspCommand struct { // (ssasas)
		Name, Kind      string
		Inputs, Outputs []string
	}
	uspEvent struct { // (sas)
		Name      string
		Arguments []string
	}
	uspSupportedObject struct { // (sbsa(ssss)a(ssasas)a(sas)aas)
		Path          string
		MultiInstance bool
		Access        string
		Parameters    []usp.SupportedParameter
		Commands      []uspCommand
		Events        []uspEvent
		UniqueKeySets [][]string
	}
	uspSupported struct { // (ssa(…)us)
		Requested, DataModelURI string
		Objects                 []uspSupportedObject
		Code                    uint32
		Text                    string
	}
	uspExecuted struct { // (soa{ss}us)
		Command string
		Job     dbus.ObjectPath
		Outputs map[string]string
		Code    uint32
		Text    string
	}
	uspRequest struct { // (osssss)
		Job                                              dbus.ObjectPath
		Command, CommandKey, Originator, Status, Started string
	}
)

// list turns every element of a slice into another; the result is never missing, as the wire wants it.
func list[A, B any](all []A, f func(A) B) []B {
	out := make([]B, len(all))
	for i, a := range all {
		out[i] = f(a)
	}
	return out
}

func same[T any](x T) T { return x }

// texts makes the keys and values of a map fit for the wire.
func texts(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[text(k)] = text(v)
	}
	return out
}

func uspFault(e usp.ParameterError) parameterFault {
	return parameterFault{text(e.Path), e.Code, message(e.Text)}
}

func uspGets(results []usp.GetResult) []any {
	return []any{list(results, func(r usp.GetResult) uspGet {
		objects := list(r.Objects, func(o usp.Object) uspObject { return uspObject{text(o.Path), texts(o.Parameters)} })
		return uspGet{text(r.Requested), objects, r.Code, message(r.Text)}
	})}
}

// paths returns an argument of type as whose elements are not out of proportion.
func paths(c *call, i int) ([]string, error) {
	given := arg[[]string](c, i)
	for _, p := range given {
		if len(p) > maxText {
			return nil, invalid("cannot find %s: the path is too long", quote(p))
		}
	}
	return given, nil
}

func uspGetValues(c *call) ([]any, error) {
	given, err := paths(c, 0)
	if err != nil {
		return nil, err
	}
	return uspGets(c.usp.Get(given, arg[uint32](c, 1))), nil
}

func uspGetInstances(c *call) ([]any, error) {
	given, err := paths(c, 0)
	if err != nil {
		return nil, err
	}
	return uspGets(c.usp.GetInstances(given, arg[bool](c, 1))), nil
}

// updates returns an argument of type a(sa(ssb)).
func updates(c *call) ([]usp.Update, error) {
	var given []uspUpdate
	if err := dbus.Store(c.body[:1], &given); err != nil {
		return nil, invalid("cannot set values: %v", err)
	}
	for _, u := range given {
		if len(u.Path) > maxText {
			return nil, invalid("cannot set values of %s: the path is too long", quote(u.Path))
		}
		for _, s := range u.Settings {
			if len(s.Parameter) > maxText || len(s.Value) > maxText {
				return nil, invalid("cannot set %s: it is too long", quote(s.Parameter))
			}
		}
	}
	return list(given, func(u uspUpdate) usp.Update { return usp.Update(u) }), nil
}

func uspSetValues(c *call) ([]any, error) {
	given, err := updates(c)
	if err != nil {
		return nil, err
	}
	results, err := c.usp.Set(c.ctx, given, arg[bool](c, 1), c.originator())
	if err != nil {
		return nil, uspRefusal(err)
	}
	return []any{list(results, func(r usp.SetResult) uspSet {
		objects := list(r.Objects, func(o usp.Updated) uspUpdated {
			return uspUpdated{text(o.Path), texts(o.Parameters), list(o.Errors, uspFault)}
		})
		return uspSet{text(r.Requested), objects, r.Code, message(r.Text)}
	})}, nil
}

func uspAddObjects(c *call) ([]any, error) {
	given, err := updates(c)
	if err != nil {
		return nil, err
	}
	results, err := c.usp.Add(given, arg[bool](c, 1))
	if err != nil {
		return nil, uspRefusal(err)
	}
	return []any{list(results, func(r usp.AddResult) uspAdd {
		return uspAdd{text(r.Requested), "", map[string]string{}, []parameterFault{}, r.Code, message(r.Text)}
	})}, nil
}

func uspDeleteObjects(c *call) ([]any, error) {
	given, err := paths(c, 0)
	if err != nil {
		return nil, err
	}
	results, err := c.usp.Delete(given, arg[bool](c, 1))
	if err != nil {
		return nil, uspRefusal(err)
	}
	return []any{list(results, func(r usp.DeleteResult) uspDelete {
		return uspDelete{text(r.Requested), []string{}, list(r.Unaffected, uspFault), r.Code, message(r.Text)}
	})}, nil
}

// intoFlag takes a boolean that is false when it is not given.
func intoFlag(p *bool) option {
	return func(key string, value any) error {
		var b *bool
		if err := intoBool(&b)(key, value); err != nil {
			return err
		}
		*p = *b
		return nil
	}
}

func uspSupportedModel(c *call) ([]any, error) {
	given, err := paths(c, 0)
	if err != nil {
		return nil, err
	}
	var o usp.Supported
	err = parse(options(c, 1), map[string]option{
		"first_level_only":       intoFlag(&o.FirstLevelOnly),
		"return_commands":        intoFlag(&o.Commands),
		"return_events":          intoFlag(&o.Events),
		"return_params":          intoFlag(&o.Parameters),
		"return_unique_key_sets": intoFlag(&o.UniqueKeySets),
	})
	if err != nil {
		return nil, err
	}
	return []any{list(c.usp.GetSupportedDM(given, o), func(r usp.SupportedResult) uspSupported {
		objects := list(r.Objects, func(x usp.SupportedObject) uspSupportedObject {
			return uspSupportedObject{
				x.Path, x.MultiInstance, x.Access, list(x.Parameters, same),
				list(x.Commands, func(k usp.SupportedCommand) uspCommand {
					return uspCommand{k.Name, k.Kind, list(k.Inputs, same), list(k.Outputs, same)}
				}),
				list(x.Events, func(e usp.SupportedEvent) uspEvent { return uspEvent{e.Name, list(e.Arguments, same)} }),
				list(x.UniqueKeySets, func(keys []string) []string { return list(keys, same) }),
			}
		})
		return uspSupported{text(r.Requested), r.DataModelURI, objects, r.Code, message(r.Text)}
	})}, nil
}

func uspOperate(c *call) ([]any, error) {
	o := usp.Call{Command: arg[string](c, 0), CommandKey: arg[string](c, 1), Input: arg[map[string]string](c, 2)}
	if len(o.Command) > maxText || len(o.CommandKey) > maxText {
		return nil, invalid("cannot execute %s: it or its key is too long", quote(o.Command))
	}
	for k, v := range o.Input {
		if len(k) > maxText || len(v) > maxText {
			return nil, invalid("cannot execute %s: the argument %s is too long", quote(o.Command), quote(k))
		}
	}
	if err := parse(options(c, 3), map[string]option{"originator": intoString(&o.Originator)}); err != nil {
		return nil, err
	}
	if o.Originator == "" {
		o.Originator = c.originator().Name
	}
	results, err := c.usp.Operate(c.ctx, o)
	if err != nil {
		return nil, uspRefusal(err)
	}
	return []any{list(results, func(r usp.Executed) uspExecuted {
		return uspExecuted{text(r.Command), jobPath(r.Job), map[string]string{}, r.Code, message(r.Text)}
	})}, nil
}

// jobPath returns the path of a job, "/" for none.
func jobPath(id uint32) dbus.ObjectPath { return path(model.Ref{Kind: model.KindJob, Instance: id}) }

func uspRequests(c *call) ([]any, error) {
	return []any{list(c.usp.Requests(), func(r usp.Request) uspRequest {
		return uspRequest{jobPath(r.Job), text(r.Command), text(r.CommandKey), text(r.Originator), r.Status, r.Started}
	})}, nil
}

// uspNotification is one element of a(tsa{sv}).
type uspNotification struct {
	ID     uint64
	Kind   string
	Fields map[string]dbus.Variant
}

func uspNotifications(c *call) ([]any, error) {
	posts, err := c.board.after(arg[uint64](c, 0))
	if err != nil {
		return nil, refusal(err, ofCall)
	}
	return []any{list(posts, func(p post) uspNotification {
		return uspNotification{p.id, string(p.Kind), uspFields(p.Notification)}
	})}, nil
}

func uspFields(n usp.Notification) map[string]dbus.Variant {
	fields := map[string]any{}
	switch n.Kind {
	case usp.KindEvent:
		fields = map[string]any{"obj_path": text(n.Object), "event_name": text(n.Event), "params": texts(n.Arguments)}
	case usp.KindOperationComplete:
		fields = map[string]any{
			"obj_path": text(n.Object), "command_name": text(n.Command), "command_key": text(n.CommandKey), "originator": text(n.Originator),
			"job": jobPath(n.Job), "err_code": n.Code, "err_msg": message(n.Text), "output_args": texts(n.Arguments),
		}
	case usp.KindValueChange:
		fields = map[string]any{"param_path": text(n.Parameter), "param_value": text(n.Value)}
	case usp.KindObjectCreation:
		fields = map[string]any{"obj_path": text(n.Object), "unique_keys": texts(n.Arguments)}
	case usp.KindObjectDeletion:
		fields = map[string]any{"obj_path": text(n.Object)}
	}
	variants := make(map[string]dbus.Variant, len(fields))
	for k, v := range fields {
		variants[k] = dbus.MakeVariant(v)
	}
	return variants
}

func uspAcknowledge(c *call) ([]any, error) {
	if err := c.board.forget(c.ctx, arg[uint64](c, 0)); err != nil {
		return nil, refusal(err, ofCall)
	}
	return nil, nil
}

// uspRefusal returns the D-Bus error for an error of the USP face: what its message would answer with an Error.
func uspRefusal(err error) *dbus.Error {
	var f *usp.Failure
	if !errors.As(err, &f) {
		return refusal(err, ofCall)
	}
	reason := f.Reason
	if reason == fault.None {
		reason = fault.Internal
	}
	var details map[string]dbus.Variant
	if len(f.Parameters) > 0 {
		details = map[string]dbus.Variant{"parameters": dbus.MakeVariant(list(f.Parameters, uspFault))}
	}
	return faultError(reason, f.Message, cwmp.RPC(reason), f.Code, details)
}

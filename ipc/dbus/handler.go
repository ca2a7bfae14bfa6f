package dbus

import (
	"errors"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// iface is what is behind an interface: a function for each method of its description.
type iface struct {
	desc    *xml.Interface
	methods map[string]*method
}

// method serves one method of one interface.
type method struct {
	serve  func(*call) ([]any, error)
	change bool // it is counted and may have to wait
	in     string
	full   string // interface.member
}

// call is one call of a method.
type call struct {
	*session
	object object
	sender string
	body   []any
	method *method
	conn   *dbus.Conn
	msg    *dbus.Message
}

// object is a place of the tree. It has no state: what exists is asked of the snapshot for every call.
type object struct {
	session *session
	path    dbus.ObjectPath
	ref     model.Ref // of a row
	ifaces  []string  // what it has; empty: it does not exist
}

// The interfaces of the places that are not rows.
var (
	rootInterfaces   = []string{xml.Agent, xml.CWMP, xml.USP, xml.ObjectManager, xml.Properties, xml.Introspectable, xml.Peer}
	branchInterfaces = []string{xml.Introspectable, xml.Peer}
)

// interfacesOf returns the interfaces of a row.
func interfacesOf(k model.Kind) []string {
	return []string{xml.Of(k), xml.Properties, xml.Introspectable, xml.Peer}
}

// LookupObject finds the object that a message is for.
func (s *session) LookupObject(path dbus.ObjectPath) (dbus.ServerObject, bool) {
	o := object{session: s, path: path}
	switch ref, ok := xml.ParsePath(string(path)); {
	case path == xml.Root:
		o.ifaces = rootInterfaces
	case ok:
		if row(s.agent.Snapshot(), ref) != nil {
			o.ref, o.ifaces = ref, interfacesOf(ref.Kind)
		}
	case isBranch(string(path)):
		o.ifaces = branchInterfaces
	}
	return o, true
}

// isBranch reports whether a path is on the way to an object: /, /org, /org/smmd, and the tables.
func isBranch(path string) bool {
	if path == "/" || strings.HasPrefix(xml.Root, path+"/") {
		return true
	}
	for _, k := range xml.Kinds {
		if path == xml.Root+"/"+string(k) {
			return true
		}
	}
	return false
}

// LookupInterface finds an interface; an empty name stands for all that the object has.
func (o object) LookupInterface(name string) (dbus.Interface, bool) {
	if len(o.ifaces) == 0 {
		return missing{o.path}, true
	}
	if name == "" {
		return o, true
	}
	for _, n := range o.ifaces {
		if n == name {
			return one{o, o.session.interfaces[n]}, true
		}
	}
	return nil, false
}

// LookupMethod finds a method in whatever interface of the object.
func (o object) LookupMethod(name string) (dbus.Method, bool) {
	for _, n := range o.ifaces {
		if m, ok := (one{o, o.session.interfaces[n]}).LookupMethod(name); ok {
			return m, true
		}
	}
	return nil, false
}

// one is one interface of an object.
type one struct {
	object object
	iface  *iface
}

func (o one) LookupMethod(name string) (dbus.Method, bool) {
	m, ok := o.iface.methods[name]
	if !ok {
		return nil, false
	}
	return &call{session: o.object.session, object: o.object, method: m}, true
}

// missing is every method of every interface of an object that does not exist.
type missing struct{ path dbus.ObjectPath }

func (m missing) LookupMethod(string) (dbus.Method, bool) { return m, true }

func (m missing) DecodeArguments(*dbus.Conn, string, *dbus.Message, []any) ([]any, error) {
	return nil, busError("UnknownObject", "cannot find the object %s", quote(string(m.path)))
}

// Call and the other methods are never reached: decoding has failed before.
func (m missing) Call(...any) ([]any, error) { return nil, nil }
func (m missing) NumArguments() int          { return 0 }
func (m missing) NumReturns() int            { return 0 }
func (m missing) ArgumentValue(int) any      { return nil }
func (m missing) ReturnValue(int) any        { return nil }

// DecodeArguments checks that the arguments have the very types that the contract says.
func (c *call) DecodeArguments(conn *dbus.Conn, sender string, msg *dbus.Message, body []any) ([]any, error) {
	var got string
	if v, ok := msg.Headers[dbus.FieldSignature]; ok {
		if s, ok := v.Value().(dbus.Signature); ok {
			got = s.String()
		}
	}
	if got != c.method.in {
		return nil, invalid("cannot call %s: its arguments are (%s), not (%s)", c.method.full, c.method.in, got)
	}
	c.sender, c.body, c.conn, c.msg = sender, body, conn, msg
	return nil, nil
}

// Call serves the call. It sends the answer itself, and keeps the library from doing it afterwards: the call is in progress until its answer is on
// its way, or the end of the server would overtake it.
func (c *call) Call(...any) ([]any, error) {
	if !c.calls.begin() {
		return nil, stopping()
	}
	defer c.calls.end()
	results, err := c.serve()
	if c.msg.Flags&dbus.FlagNoReplyExpected == 0 {
		c.msg.Flags |= dbus.FlagNoReplyExpected
		c.conn.Send(c.answer(results, err), nil)
	}
	return nil, nil
}

// answer is the message that answers the call.
func (c *call) answer(results []any, err error) *dbus.Message {
	headers := map[dbus.HeaderField]dbus.Variant{dbus.FieldReplySerial: dbus.MakeVariant(c.msg.Serial())}
	if c.sender != "" {
		headers[dbus.FieldDestination] = dbus.MakeVariant(c.sender)
	}
	m := &dbus.Message{Type: dbus.TypeMethodReply, Headers: headers, Body: results}
	if err != nil {
		var refused *dbus.Error
		if !errors.As(err, &refused) {
			refused = dbus.MakeFailedError(err)
		}
		m.Type, m.Body = dbus.TypeError, refused.Body
		headers[dbus.FieldErrorName] = dbus.MakeVariant(refused.Name)
	}
	if len(m.Body) > 0 {
		headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(m.Body...))
	}
	return m
}

func (c *call) serve() ([]any, error) {
	if c.method.change {
		if err := c.changes.enter(c.leaving); err != nil {
			return nil, err
		}
		defer c.changes.leave()
	}
	return c.method.serve(c)
}

// NumArguments and the following are for the library's own decoding, which is not used.
func (c *call) NumArguments() int     { return 0 }
func (c *call) NumReturns() int       { return 0 }
func (c *call) ArgumentValue(int) any { return nil }
func (c *call) ReturnValue(int) any   { return nil }

// arg returns an argument of a call whose signature has been checked.
func arg[T any](c *call, i int) T { return c.body[i].(T) }

// bind joins the descriptions with the functions that serve them. One without the other is a defect of this package.
func bind() map[string]*iface {
	served := map[string]map[string]method{
		xml.Agent: {
			"Install":        {serve: install, change: true},
			"RecordBaseline": {serve: recordBaseline, change: true},
			"Adapters":       {serve: adapters},
		},
		xml.ExecEnv: {
			"SetRunLevel":       {serve: setRunLevel, change: true},
			"Restart":           {serve: restartExecEnv, change: true},
			"ModifyConstraints": {serve: constrainExecEnv, change: true},
			"Reset":             {serve: resetExecEnv, change: true},

			"RemoveApplicationData": {serve: removeApplicationData, change: true},
		},
		xml.DeploymentUnit: {
			"Update":    {serve: update, change: true},
			"Uninstall": {serve: uninstall, change: true},
		},
		xml.ExecutionUnit: {
			"Start":   {serve: request(model.RequestActive), change: true},
			"Stop":    {serve: request(model.RequestIdle), change: true},
			"Restart": {serve: request(model.RequestRestart), change: true},
		},
		xml.Job: {
			"Cancel": {serve: cancelJob, change: true},
		},
		xml.CWMP: {
			"GetParameterNames":  {serve: parameterNames},
			"GetParameterValues": {serve: parameterValues},
			"SetParameterValues": {serve: setParameterValues, change: true},
			"AddObject":          {serve: addObject, change: true},
			"DeleteObject":       {serve: deleteObject, change: true},
			"ChangeDUState":      {serve: changeDUState, change: true},
			"PendingReports":     {serve: pendingReports},
			"AcknowledgeReport":  {serve: acknowledgeReport, change: true},

			"GetParameterAttributes":  {serve: parameterAttributes},
			"SetParameterAttributes":  {serve: setParameterAttributes, change: true},
			"PendingValueChanges":     {serve: pendingValueChanges},
			"AcknowledgeValueChanges": {serve: acknowledgeValueChanges, change: true},
		},
		xml.USP: {
			"Get":                      {serve: uspGetValues},
			"Set":                      {serve: uspSetValues, change: true},
			"Add":                      {serve: uspAddObjects, change: true},
			"Delete":                   {serve: uspDeleteObjects, change: true},
			"GetInstances":             {serve: uspGetInstances},
			"GetSupportedDM":           {serve: uspSupportedModel},
			"Operate":                  {serve: uspOperate, change: true},
			"Notifications":            {serve: uspNotifications},
			"AcknowledgeNotifications": {serve: uspAcknowledge, change: true},
			"Requests":                 {serve: uspRequests},
		},
		xml.Properties: {
			"Get":    {serve: getProperty},
			"GetAll": {serve: getAllProperties},
			"Set":    {serve: setProperty, change: true},
		},
		xml.Introspectable: {"Introspect": {serve: introspect}},
		xml.ObjectManager:  {"GetManagedObjects": {serve: managedObjects}},
		xml.Peer:           {}, // served by the library
	}
	all := map[string]*iface{}
	for name, methods := range served {
		desc := xml.Lookup(name)
		i := &iface{desc: desc, methods: map[string]*method{}}
		for member, m := range methods {
			m.in, m.full = desc.Method(member).In(), name+"."+member
			i.methods[member] = &m
		}
		all[name] = i
	}
	return all
}

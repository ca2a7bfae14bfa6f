package dbus_test

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
)

// script is bytes that say which methods are called with what. Every sequence of bytes is one; what is missing at its end is zero.
type script []byte

func (s *script) byte() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) flag() bool { return s.byte()%2 == 1 }

func (s *script) number() uint64 {
	var b [8]byte
	for i := range s.byte() % 9 {
		b[i] = s.byte()
	}
	return binary.LittleEndian.Uint64(b[:])
}

// The codes of a text that is none of the words.
const (
	twoWords = 0xFE
	anyBytes = 0xFF
)

// text is one of the words, two of them, or any bytes.
func (s *script) text(words ...string) string {
	word := func() string { return words[int(s.byte())%len(words)] }
	switch b := s.byte(); b {
	case twoWords:
		return word() + word()
	case anyBytes:
		n := min(int(s.byte()), len(*s))
		text := string((*s)[:n])
		*s = (*s)[n:]
		return text
	default:
		return words[int(b)%len(words)]
	}
}

// several are none to three of what one returns.
func several[T any](s *script, one func() T) []T {
	list := []T{}
	for range s.byte() % 4 {
		list = append(list, one())
	}
	return list
}

// The words that paths, values and keys are made of.
var (
	pathWords = []string{
		"Device.", "Device.SoftwareModules.", "Device.SoftwareModules.ExecEnv.", "Device.SoftwareModules.ExecEnv.1.", "Device.SoftwareModules.ExecEnv.1.Alias",
		"Device.SoftwareModules.ExecEnv.1.Enable", "Device.SoftwareModules.ExecEnv.1.Reset", "Device.SoftwareModules.ExecEnv.2.InitialRunLevel",
		"Device.SoftwareModules.ExecEnv.1.RequestedRunLevel", "Device.SoftwareModules.ExecEnv.[cpe-osgi].Status", "Device.SoftwareModules.ExecutionUnit.2.RequestedState",
		"Device.SoftwareModules.ExecutionUnit.2.AutoStart", "Device.SoftwareModules.ExecutionUnit.2.Status", "Device.SoftwareModules.DeploymentUnit.1.Alias",
		"Device.SoftwareModules.DeploymentUnit.1.", "Device.SoftwareModules.ExecutionUnit.2.", "Device.SoftwareModules.ExecutionUnit.*.", `[Status=="Active"].`,
		"Device.SoftwareModules.ExecEnvClass.", "Device.SoftwareModules.ExecEnv.{i}.", "Device.ManagementServer.DUStateChangeComplPolicy.Enable",
		"Device.ManagementServer.DUStateChangeComplPolicy.FaultCodeFilter", "Device.SoftwareModules.DUStateChange!", "", ".", "99", strings.Repeat("x", dbus.MaxText+1),
	}
	valueWords = []string{
		"", "true", "false", "1", "0", "-1", "65535", "65536", "Active", "Idle", "mine", "9001", "xsd:string", "xsd:boolean", "xsd:unsignedInt", "http://x/y.jar",
		"00000000-0000-5000-8000-000000000001", "Device.SoftwareModules.ExecEnv.1.", "osgi", "1.0.0", "http://u:p@x/y", strings.Repeat("é", 33), strings.Repeat("v", dbus.MaxText+1),
	}
	fieldWords = []string{"URL", "UUID", "ExecutionEnvRef", "Username", "Password", "Version", "RequestedState", "RequestedRunLevel", "Reason", "ModuleVersion",
		"AutoRestart.Enable", "Signature", "Alias", "Enable", "InitialRunLevel", "AutoStart", "request_token", "return_params", "return_commands", "originator", "first_level_only", "AllocatedMemory",
		"ApplicationData.1.Name", "ApplicationData.1.Capacity", "RetainData", ""}
	kindWords    = []string{"Install", "Update", "Uninstall", "install", ""}
	commandWords = []string{
		"Device.SoftwareModules.InstallDU()", "Device.SoftwareModules.DeploymentUnit.1.Update()", "Device.SoftwareModules.DeploymentUnit.*.Uninstall()",
		"Device.SoftwareModules.ExecEnv.1.SetRunLevel()", "Device.SoftwareModules.ExecEnv.*.Restart()", "Device.SoftwareModules.ExecEnv.1.Reset()",
		"Device.SoftwareModules.ExecEnv.1.ModifyConstraints()", "Device.SoftwareModules.ExecEnv.1.ApplicationData.1.Remove()",
		"Device.SoftwareModules.ExecutionUnit.2.SetRequestedState()", "Device.SoftwareModules.ExecutionUnit.*.Restart()", "Device.SoftwareModules.ExecEnv.9.Restart()",
		"Device.SoftwareModules.", "",
	}
)

func (s *script) path() string  { return s.text(pathWords...) }
func (s *script) value() string { return s.text(valueWords...) }
func (s *script) field() string { return s.text(fieldWords...) }

// options are values of any type by keys of any text.
func (s *script) options() options {
	given := options{}
	for range s.byte() % 3 {
		key := s.field()
		switch s.byte() % 5 {
		case 0:
			given[key] = v(s.value())
		case 1:
			given[key] = v(s.flag())
		case 2:
			given[key] = v(uint32(s.number()))
		case 3:
			given[key] = v(v(s.value()))
		case 4:
			given[key] = v([]string{s.value()})
		}
	}
	return given
}

// triples are an argument of type a(sss).
func (s *script) triples() [][]any {
	return several(s, func() []any { return []any{s.path(), s.value(), s.value()} })
}

// objects are an argument of type a(sa(ssb)).
func (s *script) objects() [][]any {
	return several(s, func() []any {
		return []any{s.path(), several(s, func() []any { return []any{s.field(), s.value(), s.flag()} })}
	})
}

// stage is an agent with a unit, called as a script says.
type stage struct {
	*testing.T
	agent  *ipctest.Agent
	caller *dbus.Caller
	iface  string
	jobs   uint32          // the last one that was given to end
	whole  *model.Snapshot // the last one whose tree was looked at
	// cursor is the last number that an answer had to acknowledge it with; number returns it now and then.
	cursor uint64
}

func newStage(t *testing.T, iface string) *stage {
	a := ipctest.New()
	a.Auto(true)
	if _, err := a.Install(t.Context(), model.InstallRequest{
		URL: "http://x/one.jar", Volumes: []model.VolumeRequest{{Name: "db", Capacity: 1, Retain: model.Forever, AccessPath: "/db"}},
	}); err != nil {
		t.Fatal(err)
	}
	a.Auto(false)
	a.Commit(func(d *model.Draft) {
		d.Reports = []*model.Report{{ID: 77, Kind: model.ReportAutonomous, Results: []model.Result{{Performed: model.PerformedUninstall, State: model.ResultUninstalled}}}}
	})
	return &stage{T: t, agent: a, caller: dbus.NewCaller(a), iface: iface}
}

// number is the last cursor, or any other.
func (g *stage) number(s *script) uint64 {
	if s.flag() {
		return g.cursor
	}
	return s.number()
}

// play makes calls and lets things happen between them, at most a dozen. arguments has for each method of the interface what makes its arguments;
// judge looks at an answer that is no error.
func (g *stage) play(s script, arguments map[string]func(*stage, *script) []any, judge func(method string, body, answer []any)) {
	g.Helper()
	methods := contract.Lookup(g.iface).Methods
	if len(arguments) != len(methods) {
		g.Fatalf("%s has %d methods, and %d are called", g.iface, len(methods), len(arguments))
	}
	for range 12 {
		if len(s) == 0 {
			return
		}
		n := int(s.byte())
		if n %= len(methods) + 3; n < len(methods) {
			m := methods[n]
			g.call(&m, arguments[m.Name](g, &s), judge)
		} else {
			g.happen(n-len(methods), &s)
		}
		g.caller.Learn()
	}
}

// happen is what goes on behind the back of the caller.
func (g *stage) happen(what int, s *script) {
	switch what {
	case 0: // what was begun ends
		for g.jobs+1 <= uint32(g.agent.Snapshot().Count(model.KindJob)) {
			g.jobs++
			g.agent.Finish(g.jobs)
		}
		for id := range uint64(13) {
			g.agent.EndRequest(id)
		}
	case 1: // the agent refuses everything from now on, or no more
		n, one := int(s.byte()), s.flag()
		if n >= len(fault.Reasons()) {
			g.agent.Refuse(nil)
			return
		}
		err := fault.Errorf(fault.Reasons()[n], "cannot do it: \x00\xff")
		if one {
			err = &model.SetError{Faults: map[int]error{0: err}}
		}
		g.agent.Refuse(err)
	case 2: // the unit changes by itself
		g.agent.Commit(func(d *model.Draft) {
			if u := d.ExecutionUnit(2); u != nil {
				next := *u
				next.Status = []model.EUStatus{model.EUIdle, model.EUActive, model.EUStarting}[s.byte()%3]
				if next.FaultCode, next.FaultMessage = model.NoFault, s.value(); next.FaultMessage != "" {
					next.FaultCode = model.FailureWhileActive
				}
				d.PutExecutionUnit(&next)
			}
		})
	}
}

// call makes one call. It is answered with what the contract says or refused with numbers of the protocols; what is refused, and what reads, changes
// nothing; and the tree is whole afterwards.
func (g *stage) call(m *contract.Method, body []any, judge func(method string, body, answer []any)) {
	g.Helper()
	before := g.agent.Snapshot()
	answer := g.exchange(m.Name, body...)
	if !dbus.Fits(answer.Body) {
		g.Fatalf("%s%.300q answers %.300q", m.Name, body, answer.Body)
	}
	if reads[m.Name] && g.agent.Snapshot() != before {
		g.Fatalf("%s%.300q changes something", m.Name, body)
	}
	if answer.Type == godbus.TypeError {
		if g.agent.Snapshot() != before {
			g.Fatalf("%s%.300q is refused with %v and changes something", m.Name, body, answer.Body)
		}
		g.refusal(m.Name, answer)
	} else {
		g.codes(m.Name, answer.Body)
		judge(m.Name, body, answer.Body)
	}
	if now := g.agent.Snapshot(); now != g.whole {
		g.look()
		g.whole = now
	}
}

// exchange makes a call and returns the answer as it comes over the bus.
func (g *stage) exchange(method string, body ...any) *godbus.Message {
	g.Helper()
	answer := g.caller.Call(g.iface, method, body...)
	if want := contract.Lookup(g.iface).Method(method).Out(); answer.Type != godbus.TypeError && godbus.SignatureOf(answer.Body...).String() != want {
		g.Fatalf("%s%.300q answers (%s), not (%s)", method, body, godbus.SignatureOf(answer.Body...), want)
	}
	var wire bytes.Buffer
	err := answer.EncodeTo(&wire, binary.LittleEndian)
	if err == nil {
		answer, err = godbus.DecodeMessage(&wire)
	}
	if err != nil {
		g.Fatalf("%s%.300q: the answer does not come over the bus: %v", method, body, err)
	}
	return answer
}

// reads are the methods that change nothing.
var reads = map[string]bool{
	"GetParameterNames": true, "GetParameterValues": true, "GetParameterAttributes": true, "PendingReports": true, "PendingValueChanges": true,
	"Get": true, "GetInstances": true, "GetSupportedDM": true, "Requests": true, "Notifications": true,
}

func ofCWMP(code uint32) bool { return 9000 <= code && code <= 9032 }
func ofUSP(code uint32) bool  { return 7000 <= code && code <= 7999 }

// refusal looks at an error: it is one of the arguments' form, or has a number of each protocol.
func (g *stage) refusal(method string, answer *godbus.Message) {
	g.Helper()
	name, _ := answer.Headers[godbus.FieldErrorName].Value().(string)
	said, ok := answer.Body[0].(string)
	if !ok || said == "" || len(said) > dbus.MaxMessage+len("…") {
		g.Fatalf("%s is refused with %q", method, answer.Body)
	}
	if name == "org.freedesktop.DBus.Error.InvalidArgs" && len(answer.Body) == 1 {
		return
	}
	if !strings.HasPrefix(name, contract.ErrorPrefix) || len(answer.Body) != 4 {
		g.Fatalf("%s is refused with %s %v", method, name, answer.Body)
	}
	cwmp, usp := answer.Body[1].(uint32), answer.Body[2].(uint32)
	if !ofCWMP(cwmp) || !ofUSP(usp) {
		g.Fatalf("%s is refused with the codes %d and %d: %s", method, cwmp, usp, said)
	}
	g.codes(method, []any{answer.Body[3]})
}

// codes looks at every number of type u of an answer: it is a code of the protocol or none, or in CWMP a notification attribute.
func (g *stage) codes(method string, body []any) {
	g.Helper()
	dbus.Numbers(body, func(n uint32) {
		g.Helper()
		switch {
		case n == 0, g.iface == contract.CWMP && (ofCWMP(n) || n <= 2), g.iface == contract.USP && ofUSP(n):
		default:
			g.Fatalf("%s answers with the number %d: %v", method, n, body)
		}
	})
}

// look reads the whole tree in the way of the interface: each count is that of its rows, each reference leads to a row, each value is of its type.
func (g *stage) look() {
	g.Helper()
	values, rows := g.tree()
	for _, table := range []string{"ExecEnv", "DeploymentUnit", "ExecutionUnit"} {
		n := 0
		for row := range rows {
			if rest, ok := strings.CutPrefix(row, sm+table+"."); ok && strings.Count(rest, ".") == 1 {
				n++
			}
		}
		if got := values[sm+table+"NumberOfEntries"].Value; got != strconv.Itoa(n) {
			g.Fatalf("%sNumberOfEntries is %q, and there are %d", table, got, n)
		}
	}
	for name, x := range values {
		var err error
		switch strings.TrimPrefix(x.Type, "xsd:") {
		case "boolean":
			_, err = strconv.ParseBool(x.Value)
		case "unsignedInt":
			_, err = strconv.ParseUint(x.Value, 10, 32)
		case "int":
			_, err = strconv.ParseInt(x.Value, 10, 32)
		case "dateTime":
			_, err = time.Parse(time.RFC3339Nano, x.Value)
		}
		if err != nil {
			g.Fatalf("%s: %v", name, err)
		}
		switch name[strings.LastIndex(name, ".")+1:] {
		case "ExecutionEnvRef", "ExecutionUnitList", "ActiveExecutionUnits", "ParentExecEnv", "ApplicationDataList":
			for item := range strings.SplitSeq(x.Value, ",") {
				if item != "" && !rows[strings.TrimSuffix(item, ".")+"."] {
					g.Fatalf("%s is %q, and there is no %s", name, x.Value, item)
				}
			}
		}
	}
}

// tree returns every value and every object of the data model.
func (g *stage) tree() (values map[string]value, objects map[string]bool) {
	g.Helper()
	values, objects = map[string]value{}, map[string]bool{}
	read := func(into any, method string, body ...any) {
		g.Helper()
		g.store(g.exchange(method, body...).Body, into)
	}
	if g.iface == contract.USP {
		var got, rows []gotten
		read(&got, "Get", []string{"Device."}, uint32(0))
		read(&rows, "GetInstances", []string{sm + "ExecEnv.", sm + "DeploymentUnit.", sm + "ExecutionUnit."}, false)
		for _, o := range got[0].Objects {
			for name, text := range o.Parameters {
				values[o.Path+name] = value{Value: text}
			}
		}
		for _, table := range rows {
			for _, o := range table.Objects {
				objects[o.Path] = true
			}
		}
		return values, objects
	}
	var all []value
	var names []struct {
		Name     string
		Writable bool
	}
	read(&all, "GetParameterValues", []string{"Device."})
	read(&names, "GetParameterNames", "Device.", false)
	for _, x := range all {
		values[x.Name] = x
	}
	parameters := 0
	for _, n := range names {
		if strings.HasSuffix(n.Name, ".") {
			objects[n.Name] = true
		} else if _, ok := values[n.Name]; ok {
			parameters++
		}
	}
	if parameters != len(values) || len(all) != parameters || len(names) != parameters+len(objects) {
		g.Fatalf("there are %d values of %d names, %d of them objects", len(all), len(names), len(objects))
	}
	return values, objects
}

// store reads the first element of a body.
func (g *stage) store(body []any, into any) {
	g.Helper()
	if err := godbus.Store(body[:1], into); err != nil {
		g.Fatal(err)
	}
}

// gotten is one element of the answers of Get and GetInstances.
type gotten struct {
	Requested string
	Objects   []struct {
		Path       string
		Parameters map[string]string
	}
	Code uint32
	Text string
}

// happens is a script of something that goes on behind the back of the caller.
func happens(iface string, what ...byte) script {
	return append(script{byte(len(contract.Lookup(iface).Methods)) + what[0]}, what[1:]...)
}

// say is a script of one call: the number of its method, and then bytes as they are and texts by their length.
func say(iface, method string, words ...any) script {
	methods := contract.Lookup(iface).Methods
	s := script{byte(slices.IndexFunc(methods, func(m contract.Method) bool { return m.Name == method }))}
	for _, w := range words {
		switch w := w.(type) {
		case int:
			s = append(s, byte(w))
		case string:
			s = append(append(s, anyBytes, byte(len(w))), w...)
		}
	}
	return s
}

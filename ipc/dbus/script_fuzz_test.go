package dbus_test

import (
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/ipc/dbus"
	contract "github.com/smmd-project/smmd/ipc/xml"
)

// FuzzCWMP makes any calls of the methods of CWMP1, one after the other, while things happen.
func FuzzCWMP(f *testing.F) {
	call := func(method string, words ...any) script { return say(contract.CWMP, method, words...) }
	happens := func(what ...byte) script { return happens(contract.CWMP, what...) }
	const (
		alias = sm + "ExecEnv.1.Alias"
		unit  = "00000000-0000-5000-8000-000000000001"
	)
	for _, s := range [][]script{
		{call("GetParameterNames", "Device.", 1), call("GetParameterNames", alias, 1), call("GetParameterNames", "Device..", 0)},
		{call("GetParameterValues", 2, alias, sm+"ExecEnv.[cpe-osgi]."), call("GetParameterAttributes", 1, sm+"ExecutionUnit.")},
		{call("SetParameterValues", 1, alias, "xsd:string", "mine", 0), call("SetParameterValues", 2, alias, "", "x", alias, "", "y", 0)},
		{call("SetParameterValues", 3, alias, "xsd:int", "mine", "Device.Nothing", "", "", sm+"ExecEnv.2.Alias", "", "other", 0)},
		{call("SetParameterValues", 1, alias, "", "mine", 1, "request_token", 1, 1), call("SetParameterValues", 1, sm+"ExecEnv.1.Enable", "", "0", 0)},
		{call("SetParameterAttributes", 2, alias, 2, sm+"ExecEnv.", 0), happens(2, 0, anyBytes, 2, 0xFF, 0), call("PendingValueChanges"), call("AcknowledgeValueChanges", 1)},
		{call("SetParameterAttributes", 1, alias, 3), call("AcknowledgeValueChanges", 0, 1, 9)},
		{happens(2, 0, anyBytes, 2, 0xFF, 0), call("GetParameterValues", 1, sm+"ExecutionUnit.2.")},
		{call("AddObject", sm+"ExecEnv."), call("DeleteObject", sm+"DeploymentUnit.1."), call("DeleteObject", "")},
		{call("ChangeDUState", 1, "Install", 2, "URL", 0, "http://x/y.jar", "UUID", 0, "no UUID", "key", 0), happens(0), call("PendingReports"), call("AcknowledgeReport", 1)},
		{call("ChangeDUState", 2, "Uninstall", 1, "UUID", 0, unit, "Update", 0, "key", 1, "request_token", 0, "again"), happens(0), call("PendingReports")},
		{call("ChangeDUState", 1, "Install", 1, "Nothing", 1, 1, "", 0), call("AcknowledgeReport", 0, 1, 77), call("AcknowledgeReport", 0, 1, 77)},
	} {
		f.Add([]byte(slices.Concat(s...)))
	}
	for i := range 2 * len(fault.Reasons()) {
		f.Add([]byte(slices.Concat(
			happens(1, byte(i/2), byte(i%2)), call("SetParameterValues", 1, alias, "", "mine", 0), call("ChangeDUState", 0, "", 0), call("AcknowledgeReport", 0, 1, 77),
			call("SetParameterAttributes", 1, alias, 2),
		)))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		g := newStage(t, contract.CWMP)
		g.play(s, cwmpArguments, g.judgeCWMP)
	})
}

// cwmpArguments makes the arguments of the methods of CWMP1.
var cwmpArguments = map[string]func(*stage, *script) []any{
	"GetParameterNames":      func(_ *stage, s *script) []any { return []any{s.path(), s.flag()} },
	"GetParameterValues":     func(_ *stage, s *script) []any { return []any{several(s, s.path)} },
	"SetParameterValues":     func(_ *stage, s *script) []any { return []any{s.triples(), s.options()} },
	"GetParameterAttributes": func(_ *stage, s *script) []any { return []any{several(s, s.path)} },
	"SetParameterAttributes": func(_ *stage, s *script) []any {
		return []any{several(s, func() []any { return []any{s.path(), uint32(s.byte())} })}
	},
	"PendingValueChanges":     func(*stage, *script) []any { return nil },
	"AcknowledgeValueChanges": func(g *stage, s *script) []any { return []any{g.number(s)} },
	"AddObject":               func(_ *stage, s *script) []any { return []any{s.path()} },
	"DeleteObject":            func(_ *stage, s *script) []any { return []any{s.path()} },
	"ChangeDUState": func(_ *stage, s *script) []any {
		return []any{several(s, func() []any { return []any{s.text(kindWords...), s.options()} }), s.value(), s.options()}
	},
	"PendingReports":    func(*stage, *script) []any { return nil },
	"AcknowledgeReport": func(g *stage, s *script) []any { return []any{g.number(s)} },
}

// judgeCWMP looks at what a method of CWMP1 has answered.
func (g *stage) judgeCWMP(method string, body, answer []any) {
	switch method {
	case "AddObject", "DeleteObject":
		g.Fatalf("%s%q has done it", method, body)
	case "SetParameterValues":
		for _, x := range body[0].([][]any) {
			name, want := x[0].(string), x[2].(string)
			if !strings.HasSuffix(name, ".Alias") || strings.Contains(name, "[") || !dbus.Fits(want) {
				continue
			}
			if values, _ := g.tree(); values[name].Value != want {
				g.Fatalf("%s is %q after it was set to %q", name, values[name].Value, want)
			}
		}
	case "SetParameterAttributes":
		list := body[0].([][]any)
		if len(list) == 0 {
			return
		}
		for _, x := range list {
			if x[1].(uint32) > 2 {
				g.Fatalf("the notification of %.300q is accepted", x)
			}
		}
		last := list[len(list)-1]
		var got []struct {
			Name         string
			Notification uint32
			Subscriber   bool
		}
		g.store(g.exchange("GetParameterAttributes", []string{last[0].(string)}).Body, &got)
		for _, a := range got {
			if a.Notification != last[1] {
				g.Fatalf("the notification of %s is %d after %v", a.Name, a.Notification, list)
			}
		}
	case "PendingValueChanges":
		g.cursor = answer[0].(uint64)
	case "AcknowledgeValueChanges":
		if body[0] != g.cursor {
			return
		}
		again := g.exchange("PendingValueChanges").Body
		if left := again[1].([][]any); again[0] == g.cursor && len(left) > 0 {
			g.Fatalf("after the acknowledgement of %d there is %v", g.cursor, left)
		}
	case "PendingReports":
		var all []report
		g.store(answer, &all)
		for _, r := range all {
			g.cursor = r.ID
			for _, x := range r.results() {
				if code := x["Fault"].Value().(options)["FaultCode"].Value(); code == uint32(0) && x["CurrentState"].Value() == "Failed" {
					g.Fatalf("%v failed without a code", x)
				}
			}
		}
	case "AcknowledgeReport":
		if g.exchange("AcknowledgeReport", body...).Type != godbus.TypeError {
			g.Fatalf("report %v is acknowledged twice", body[0])
		}
	}
}

// FuzzUSP makes any calls of the methods of USP1, one after the other, while things happen.
func FuzzUSP(f *testing.F) {
	call := func(method string, words ...any) script { return say(contract.USP, method, words...) }
	happens := func(what ...byte) script { return happens(contract.USP, what...) }
	const one = sm + "ExecEnv.1."
	for _, s := range [][]script{
		{call("Get", 1, sm, 0), call("Get", 2, one+"Alias", "\xff\x00[", 1), call("GetInstances", 1, sm+"ExecEnv.", 1), call("GetInstances", 1, "Device.", 0)},
		{call("GetSupportedDM", 1, sm, 2, "return_params", 1, 1, "return_commands", 1, 1), call("GetSupportedDM", 1, sm+"ExecEnv.{i}.Restart()", 0)},
		{call("Set", 1, one, 2, "InitialRunLevel", "7", 1, "Status", "Up", 0, 0), call("Set", 1, sm+"ExecEnv.*.", 1, "InitialRunLevel", "5", 1, 1)},
		{call("Set", 2, one, 1, "InitialRunLevel", "7", 1, sm+"ExecEnv.9.", 1, "InitialRunLevel", "7", 1, 0), call("Set", 1, sm+"ExecutionUnit.2.", 1, "Status", "Idle", 1, 1)},
		{call("Set", 1, sm+`ExecEnv.[Name=="f3a1"].`, 1, "Status", "Up", 1, 1), call("Set", 1, one, 1, "Alias\xff", "", 0, 1)},
		{call("Add", 1, sm+"DeploymentUnit.", 1, "InitialRunLevel", "7", 1, 1), call("Add", 1, one, 0, 0), call("Delete", 1, sm+"DeploymentUnit.1.", 1), call("Delete", 1, "", 1)},
		{call("Operate", sm+"InstallDU()", "key", 1, "URL", "http://x/y.jar", 0), call("Requests"), happens(0), call("Notifications", 0, 0), call("AcknowledgeNotifications", 1)},
		{call("Operate", sm+"DeploymentUnit.*.Uninstall()", "", 0, 1, "originator", 0, "me"), happens(0), call("Notifications", 0, 0), call("Requests")},
		{call("Operate", one+"SetRunLevel()", "", 1, "RequestedRunLevel", "3", 0), call("Operate", one+"Reset()", "key", 0, 0), happens(0), call("Notifications", 0, 0)},
		{call("Operate", sm+"ExecutionUnit.2.SetRequestedState()", "", 1, "RequestedState", "Idle", 0), happens(2, 1, 0), call("Notifications", 0, 1, 1)},
		{call("Operate", sm+"InstallDU()", "", 2, "URL", "http://x/y", "ExecutionEnvRef", "lxc", 0), happens(0), call("Notifications", 0, 0), call("Operate", one+"Restart()", "", 0, 0)},
		{call("Operate", sm+"InstallDU()", "", 3, "URL", "http://x/y", "ApplicationData.1.Name", "db", "ApplicationData.1.Capacity", "-1", 0), happens(0), call("Get", 1, one, 0)},
		{call("Operate", one+"ApplicationData.1.Remove()", "", 0, 0), call("Operate", sm+"DeploymentUnit.1.Uninstall()", "", 1, "RetainData", "true", 0), happens(0),
			call("Operate", one+"ApplicationData.*.Remove()", "", 0, 0)},
		{call("Operate", sm+"DeploymentUnit.1.Update()", "", 1, "RetainData", "perhaps", 0), call("Set", 1, one+"ApplicationData.1.", 1, "Alias", "mine", 1, 1)},
		{happens(2, 0, anyBytes, 2, 0xFF, 0), call("Notifications", 0, 0), call("AcknowledgeNotifications", 0, 8, 255, 255, 255, 255, 255, 255, 255, 255)},
	} {
		f.Add([]byte(slices.Concat(s...)))
	}
	for i := range 2 * len(fault.Reasons()) {
		f.Add([]byte(slices.Concat(
			happens(1, byte(i/2), byte(i%2)), call("Operate", one+"Restart()", "key", 1, "Reason", "\x00", 0), call("Set", 1, one, 1, "InitialRunLevel", "7", 1, 1),
			call("Set", 1, one, 1, "InitialRunLevel", "7", 1, 0), call("AcknowledgeNotifications", 0, 1, 9),
		)))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		g := newStage(t, contract.USP)
		g.play(s, uspArguments, g.judgeUSP)
	})
}

// uspArguments makes the arguments of the methods of USP1.
var uspArguments = map[string]func(*stage, *script) []any{
	"Get":            func(_ *stage, s *script) []any { return []any{several(s, s.path), uint32(s.byte())} },
	"Set":            func(_ *stage, s *script) []any { return []any{s.objects(), s.flag()} },
	"Add":            func(_ *stage, s *script) []any { return []any{s.objects(), s.flag()} },
	"Delete":         func(_ *stage, s *script) []any { return []any{several(s, s.path), s.flag()} },
	"GetInstances":   func(_ *stage, s *script) []any { return []any{several(s, s.path), s.flag()} },
	"GetSupportedDM": func(_ *stage, s *script) []any { return []any{several(s, s.path), s.options()} },
	"Operate": func(_ *stage, s *script) []any {
		command, key, input := s.text(commandWords...), s.value(), map[string]string{}
		for range s.byte() % 4 {
			input[s.field()] = s.value()
		}
		return []any{command, key, input, s.options()}
	},
	"Notifications":            func(g *stage, s *script) []any { return []any{g.number(s)} },
	"AcknowledgeNotifications": func(g *stage, s *script) []any { return []any{g.number(s)} },
	"Requests":                 func(*stage, *script) []any { return nil },
}

// judgeUSP looks at what a method of USP1 has answered.
func (g *stage) judgeUSP(method string, body, answer []any) {
	snap := g.agent.Snapshot()
	agrees := func(code uint32, text string) {
		g.Helper()
		if (code == 0) != (text == "") {
			g.Fatalf("%s%.300q answers %d %q", method, body, code, text)
		}
	}
	switch method {
	case "Get", "GetInstances":
		var all []gotten
		g.store(answer, &all)
		for _, r := range all {
			agrees(r.Code, r.Text)
		}
	case "Set":
		var all []struct {
			Requested string
			Objects   []updated
			Code      uint32
			Text      string
		}
		g.store(answer, &all)
		for _, r := range all {
			agrees(r.Code, r.Text)
			for _, o := range r.Objects {
				for name, want := range o.Parameters {
					if values, _ := g.tree(); values[o.Path+name].Value != want {
						g.Fatalf("%s%s is %q after %q was set to %q", o.Path, name, values[o.Path+name].Value, r.Requested, want)
					}
				}
				for _, e := range o.Errors {
					agrees(e.Code, e.Text)
				}
			}
		}
	case "Add":
		var all []struct {
			Requested, Path string
			UniqueKeys      map[string]string
			Errors          []faulty
			Code            uint32
			Text            string
		}
		g.store(answer, &all)
		for _, r := range all {
			if agrees(r.Code, r.Text); r.Code == 0 {
				g.Fatalf("%s is added", r.Path)
			}
		}
	case "Delete":
		var all []struct {
			Requested  string
			Affected   []string
			Unaffected []faulty
			Code       uint32
			Text       string
		}
		g.store(answer, &all)
		for _, r := range all {
			if agrees(r.Code, r.Text); len(r.Affected) > 0 {
				g.Fatalf("%v are deleted", r.Affected)
			}
		}
	case "Operate":
		var all []struct {
			Command string
			Job     godbus.ObjectPath
			Outputs map[string]string
			Code    uint32
			Text    string
		}
		g.store(answer, &all)
		for _, r := range all {
			agrees(r.Code, r.Text)
			if x, ok := contract.ParsePath(string(r.Job)); ok && (r.Code != 0 || snap.Job(x.Instance) == nil) || !ok && r.Job != contract.NoObject {
				g.Fatalf("%s has the job %s with the code %d", r.Command, r.Job, r.Code)
			}
		}
	case "Requests":
		var all []struct {
			Job                                              godbus.ObjectPath
			Command, CommandKey, Originator, Status, Started string
		}
		g.store(answer, &all)
		for _, r := range all {
			if x, _ := contract.ParsePath(string(r.Job)); snap.Job(x.Instance) == nil || snap.Job(x.Instance).State.Final() {
				g.Fatalf("%+v does not go on", r)
			}
		}
	case "Notifications":
		var all []report
		g.store(answer, &all)
		last := body[0].(uint64)
		for _, n := range all {
			if n.ID <= last {
				g.Fatalf("after notification %d comes %d", last, n.ID)
			}
			last = n.ID
			if params, ok := n.Fields["params"].Value().(map[string]string); ok {
				if code := params["Fault.FaultCode"]; code != "" && code != "0" && code[0] != '7' {
					g.Fatalf("an event has the code %s", code)
				}
			}
		}
		g.cursor = last
	case "AcknowledgeNotifications":
		var all []report
		g.store(g.exchange("Notifications", uint64(0)).Body, &all)
		for _, n := range all {
			if n.ID <= body[0].(uint64) {
				g.Fatalf("notification %d is there after the acknowledgement of %d", n.ID, body[0])
			}
		}
	}
}

// faulty is one element of a(sus).
type faulty struct {
	Name string
	Code uint32
	Text string
}

// updated is one object of the answer of Set.
type updated struct {
	Path       string
	Parameters map[string]string
	Errors     []faulty
}

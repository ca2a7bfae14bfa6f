package dbus_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

const (
	sm   = "Device.SoftwareModules."
	uuid = "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6"
)

type (
	operation struct {
		Kind   string
		Fields options
	}
	notified struct {
		Name         string
		Notification uint32
	}
	value  struct{ Name, Type, Value string }
	report struct {
		ID     uint64
		Kind   string
		Fields options
	}
)

func (c *client) reports() []report {
	c.Helper()
	var list []report
	if err := godbus.Store(c.call(contract.Root, contract.CWMP+".PendingReports"), &list); err != nil {
		c.Fatal(err)
	}
	return list
}

// results returns the results of a report.
func (r report) results() []options {
	list, _ := r.Fields["Results"].Value().([]map[string]godbus.Variant)
	return list
}

func TestChangeDUState(t *testing.T) {
	c := newClient(t)
	c.listen()
	change := contract.CWMP + ".ChangeDUState"
	operations := []operation{
		{"Install", options{"URL": v("http://x/one.jar"), "UUID": v(uuid), "ExecutionEnvRef": v(".SoftwareModules.ExecEnv.1."), "Username": v("u"), "Password": v("p")}},
		{"Install", options{"URL": v("http://x/two.jar"), "ExecutionEnvRef": v("Device.SoftwareModules.ExecEnv.7.")}},
		{"Uninstall", options{"UUID": v("nonsense")}},
		{"Update", options{"UUID": v(uuid), "Version": v("1.0.0")}},
	}
	id := c.call(contract.Root, change, operations, "key", options{"request_token": v("first")})[0].(uint64)
	if again := c.call(contract.Root, change, operations, "key", options{"request_token": v("first")})[0]; again != id {
		t.Errorf("the same token is %v and was %d", again, id)
	}
	asked := c.asked().(model.ChangeRequest)
	if len(c.agent.Asked()) != 1 || asked.Token != "first" || asked.CommandKey != "key" || asked.Operations[0].ExecEnv != "osgi" ||
		asked.Operations[0].Password != "p" || fault.ReasonOf(asked.Operations[1].Refused) != fault.UnknownExecEnv || !strings.HasPrefix(asked.Originator.Name, "dbus :") {
		t.Errorf("the agent was asked %+v", asked)
	}
	if got := c.reports(); len(got) != 0 {
		t.Errorf("before the end there is %v", got)
	}
	c.heard()
	c.agent.EndRequest(id)
	var wakes []string
	for _, s := range c.heard() {
		if s.Name == contract.CWMP+".ReportPending" {
			wakes = append(wakes, short(s))
		}
	}
	if want := []string{fmt.Sprintf("ReportPending  [%d DUStateChangeComplete key]", id)}; !slices.Equal(wakes, want) {
		t.Errorf("the wake-ups are %q, want %q", wakes, want)
	}
	got := c.reports()
	if len(got) != 1 || got[0].ID != id || got[0].Kind != "DUStateChangeComplete" || got[0].Fields["CommandKey"].Value() != "key" || len(got[0].Fields) != 2 {
		t.Fatalf("the reports are %v", got)
	}
	results := got[0].results()
	time := "2026-05-04T03:02:01Z"
	want := []options{
		{
			"UUID": v(uuid), "DeploymentUnitRef": v(sm + "DeploymentUnit.1."), "Version": v("1.0.0"), "CurrentState": v("Installed"), "Resolved": v(true),
			"ExecutionUnitRefList": v(sm + "ExecutionUnit.2."), "StartTime": v(time), "CompleteTime": v(time),
			"Fault": v(options{"FaultCode": v(uint32(0)), "FaultString": v("")}),
		},
		{
			"UUID": v(""), "DeploymentUnitRef": v(""), "Version": v(""), "CurrentState": v("Failed"), "Resolved": v(false), "ExecutionUnitRefList": v(""),
			"StartTime": v(time), "CompleteTime": v(time),
			"Fault": v(options{"FaultCode": v(uint32(9023)), "FaultString": v(`cannot install: there is no environment "Device.SoftwareModules.ExecEnv.7."`)}),
		},
	}
	if len(results) != 4 || !reflect.DeepEqual(results[:2], want) {
		t.Errorf("the results are %v, want %v and two more", results, want)
	}
	for i, want := range map[int]uint32{2: 9022, 3: 0} {
		if code := results[i]["Fault"].Value().(options)["FaultCode"].Value(); code != want {
			t.Errorf("the code of result %d is %v, want %d", i, code, want)
		}
	}
	c.call(contract.Root, contract.CWMP+".AcknowledgeReport", id)
	if got := c.reports(); len(got) != 0 {
		t.Errorf("after the acknowledgement there is %v", got)
	}
	if err := c.refused(contract.Root, contract.CWMP+".AcknowledgeReport", id); err.Name != "org.smmd.Error.InvalidArguments" {
		t.Errorf("a second acknowledgement: %s %v", err.Name, err)
	}
}

func TestAutonomousReport(t *testing.T) {
	c := newClient(t)
	c.listen()
	first := &model.Report{ID: 9, Kind: model.ReportAutonomous, Results: []model.Result{{Performed: model.PerformedUninstall, UUID: uuid, State: model.ResultUninstalled}}}
	c.agent.Report(first)
	c.expect("ReportPending  [9 AutonomousDUStateChangeComplete ]")
	more := *first
	more.Results = append(slices.Clone(first.Results), first.Results[0])
	c.agent.Report(&more)
	c.expect("ReportPending  [9 AutonomousDUStateChangeComplete ]")
	c.agent.Commit(func(*model.Draft) {})
	c.expect()
	got := c.reports()
	if len(got) != 1 || got[0].Kind != "AutonomousDUStateChangeComplete" || len(got[0].Fields) != 1 || len(got[0].results()) != 2 ||
		got[0].results()[0]["OperationPerformed"].Value() != "Uninstall" {
		t.Errorf("the reports are %v", got)
	}
}

func TestChangeDUStateRefuses(t *testing.T) {
	c := newClient(t)
	good := operation{"Uninstall", options{"UUID": v(uuid)}}
	for name, x := range map[string]struct {
		operations []operation
		key        string
		options    options
		want       string
	}{
		"kind":         {[]operation{good, {"install", options{}}}, "", options{}, "cannot take operation 2"},
		"field":        {[]operation{{"Update", options{"ExecutionEnvRef": v("")}}}, "", options{}, "ExecutionEnvRef"},
		"type":         {[]operation{{"Install", options{"URL": v([]string{"http://x"})}}}, "", options{}, "URL is not a string"},
		"path":         {[]operation{{"Uninstall", options{"ExecutionEnvRef": v(godbus.ObjectPath("/"))}}}, "", options{}, "not a string"},
		"too long":     {[]operation{{"Install", options{"Password": v(strings.Repeat("s", 1<<20))}}}, "", options{}, "Password is too long"},
		"option":       {[]operation{good}, "", options{"token": v("x")}, `"token"`},
		"option type":  {[]operation{good}, "", options{"request_token": v(1)}, "not a string"},
		"command key":  {[]operation{good}, strings.Repeat("k", 1<<20), options{}, "too long"},
		"first of two": {[]operation{{"Install", options{"Z": v(1), "A": v(1)}}}, "", options{}, `"A"`},
	} {
		err := c.refused(contract.Root, contract.CWMP+".ChangeDUState", x.operations, x.key, x.options)
		if err.Name != "org.freedesktop.DBus.Error.InvalidArgs" || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "sss") {
			t.Errorf("%s: %s %v", name, err.Name, err)
		}
	}
	for name, x := range map[string]struct {
		operations []operation
		key        string
		want       uint32
	}{
		"no operation": {[]operation{}, "", 9001},
		"key":          {[]operation{good}, strings.Repeat("k", 33), 9001},
		"too many":     {slices.Repeat([]operation{good}, 65), "", 9004},
	} {
		if err := c.refused(contract.Root, contract.CWMP+".ChangeDUState", x.operations, x.key, options{}); err.Body[1] != x.want {
			t.Errorf("%s: %s %v, want %d", name, err.Name, err.Body, x.want)
		}
	}
	if len(c.agent.Asked()) != 0 {
		t.Errorf("the agent was asked %v", c.agent.Asked())
	}
	c.call(contract.Root, contract.CWMP+".ChangeDUState", slices.Repeat([]operation{good}, 16), strings.Repeat("k", 32), options{})
	for _, r := range fault.Reasons() {
		c.agent.Refuse(fault.Errorf(r, "cannot do it"))
		want := cwmp.RPC(r)
		if r == fault.NotSupported {
			want = cwmp.MethodNotSupported
		}
		if err := c.refused(contract.Root, contract.CWMP+".ChangeDUState", []operation{good}, "", options{}); err.Name != "org.smmd.Error."+r.Name() || err.Body[1] != want {
			t.Errorf("%s: %s %v", r, err.Name, err.Body)
		}
	}
}

func (c *client) attributes(names ...string) string {
	c.Helper()
	var list []struct {
		Name         string
		Notification uint32
		Subscriber   bool
	}
	if err := godbus.Store(c.call(contract.Root, contract.CWMP+".GetParameterAttributes", names), &list); err != nil {
		c.Fatal(err)
	}
	return strings.ReplaceAll(fmt.Sprint(list), sm, "")
}

func TestAttributes(t *testing.T) {
	c := newClient(t)
	c.install()
	status, enable := sm+"ExecutionUnit.2.Status", sm+"ExecEnv.[cpe-osgi].Enable"
	if got := c.attributes(status, enable, status); got != "[{ExecutionUnit.2.Status 2 false} {ExecEnv.[cpe-osgi].Enable 0 true}]" {
		t.Errorf("at first they are %s", got)
	}
	set := contract.CWMP + ".SetParameterAttributes"
	c.call(contract.Root, set, []notified{{status, 0}, {enable, 1}})
	if got := c.asked(); !reflect.DeepEqual(got, ipctest.SetAttributes{status: 0, sm + "ExecEnv.1.Enable": 1}) {
		t.Errorf("the agent was asked %v", got)
	}
	if got := c.attributes(status, enable); got != "[{ExecutionUnit.2.Status 0 false} {ExecEnv.[cpe-osgi].Enable 1 true}]" {
		t.Errorf("then they are %s", got)
	}
	before := len(c.agent.Asked())
	for _, x := range []struct {
		list []notified
		want uint32
	}{
		{[]notified{{enable, 2}, {sm + "Nothing", 1}}, 9005},
		{[]notified{{enable, 2}, {status, 7}}, 9003},
	} {
		if err := c.refused(contract.Root, set, x.list); err.Body[1] != x.want {
			t.Errorf("%v: %s %v", x.list, err.Name, err.Body)
		}
	}
	if err := c.refused(contract.Root, set, []notified{{strings.Repeat("x", 1<<20), 1}}); err.Name != "org.freedesktop.DBus.Error.InvalidArgs" {
		t.Errorf("a long name: %s", err.Name)
	}
	if err := c.refused(contract.Root, contract.CWMP+".GetParameterAttributes", []string{"Device.Nothing"}); err.Body[1] != uint32(9005) {
		t.Errorf("an unknown name: %s %v", err.Name, err.Body)
	}
	if len(c.agent.Asked()) != before {
		t.Errorf("the agent was asked %v", c.agent.Asked()[before:])
	}
}

// changes returns what is pending, without the common beginning of the names, and the cursor.
func (c *client) changes() (uint64, string) {
	c.Helper()
	var cursor uint64
	var list []value
	if err := godbus.Store(c.call(contract.Root, contract.CWMP+".PendingValueChanges"), &cursor, &list); err != nil {
		c.Fatal(err)
	}
	return cursor, plain(list)
}

func plain(list []value) string { return strings.ReplaceAll(fmt.Sprint(list), sm, "") }

// valueSignals returns the values of the signals ValueChanged among those heard, one text for each signal.
func (c *client) valueSignals() []string {
	c.Helper()
	var texts []string
	for _, s := range c.heard() {
		if s.Name == contract.CWMP+".ValueChanged" {
			var list []value
			if err := godbus.Store(s.Body, &list); err != nil {
				c.Fatal(err)
			}
			texts = append(texts, plain(list))
		}
	}
	return texts
}

func (c *client) expectChanges(want string) uint64 {
	c.Helper()
	cursor, got := c.changes()
	if got != want {
		c.Errorf("pending are %s, want %s", got, want)
	}
	return cursor
}

func (c *client) status(eu uint32, s model.EUStatus) {
	c.agent.Commit(func(d *model.Draft) {
		u := *d.ExecutionUnit(eu)
		u.Status = s
		d.PutExecutionUnit(&u)
	})
}

func TestValueChanges(t *testing.T) {
	c := newClient(t)
	c.install()
	c.listen()
	c.expectChanges("[]")
	acknowledge := contract.CWMP + ".AcknowledgeValueChanges"

	// Status is notified of from the beginning, and told as it is when asked.
	c.status(2, model.EUStopping)
	if got := c.valueSignals(); !slices.Equal(got, []string{"[{ExecutionUnit.2.Status xsd:string Stopping}]"}) {
		t.Errorf("the signals are %q", got)
	}
	c.status(2, model.EUIdle)
	c.heard()
	cursor := c.expectChanges("[{ExecutionUnit.2.Status xsd:string Idle}]")
	c.status(2, model.EUStarting)
	c.heard()
	c.call(contract.Root, acknowledge, cursor) // of the earlier one
	cursor = c.expectChanges("[{ExecutionUnit.2.Status xsd:string Starting}]")
	c.call(contract.Root, acknowledge, cursor)
	c.expectChanges("[]")
	c.call(contract.Root, acknowledge, cursor) // again: nothing
	for _, foreign := range []uint64{0, 1, cursor + 1, cursor ^ 1<<41} {
		if err := c.refused(contract.Root, acknowledge, foreign); err.Name != "org.smmd.Error.InvalidArguments" {
			t.Errorf("the cursor %d: %s %v", foreign, err.Name, err)
		}
	}

	// Whatever else is switched on, also what follows from other rows; in the order of the changes.
	c.call(contract.Root, contract.CWMP+".SetParameterAttributes", []notified{
		{sm + "ExecEnv.1.ActiveExecutionUnits", 1}, {sm + "ExecEnv.1.Alias", 2}, {sm + "ExecutionUnitNumberOfEntries", 1},
		{sm + "ExecutionUnit.2.Status", 0}, {sm + "DeploymentUnit.1.ExecutionUnitList", 1},
	})
	c.call(row("ExecEnv", "1"), contract.Properties+".Set", contract.ExecEnv, "Alias", v("local"))
	c.heard()
	c.status(2, model.EUActive)
	c.heard()
	c.expectChanges("[{ExecEnv.1.Alias xsd:string local} {ExecEnv.1.ActiveExecutionUnits xsd:string ExecutionUnit.2}]")
	// What goes is not told any more; that it went is.
	c.agent.Commit(func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindExecutionUnit, Instance: 2}) })
	c.heard()
	got := strings.TrimPrefix(strings.TrimSuffix(func() string { _, s := c.changes(); return s }(), "]"), "[")
	for _, want := range []string{
		"{ExecEnv.1.Alias xsd:string local}", "{ExecEnv.1.ActiveExecutionUnits xsd:string }", "{ExecutionUnitNumberOfEntries xsd:unsignedInt 0}",
		"{DeploymentUnit.1.ExecutionUnitList xsd:string }",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not among %s", want, got)
		}
	}
	c.agent.Commit(func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindDeploymentUnit, Instance: 1}) })
	c.heard()
	if _, got := c.changes(); strings.Contains(got, "DeploymentUnit.1") {
		t.Errorf("what is gone is told: %s", got)
	}
}

// TestWritesOfTheACS: what the ACS has set is no news to it, what follows is.
func TestWritesOfTheACS(t *testing.T) {
	c := newClient(t)
	c.install()
	c.listen()
	c.call(contract.Root, contract.CWMP+".SetParameterAttributes", []notified{{sm + "ExecEnv.1.Alias", 2}, {sm + "ExecEnv.1.Enable", 2}, {sm + "ExecEnv.1.Status", 2}})
	set := func(refused bool, values ...value) {
		t.Helper()
		if refused {
			c.refused(contract.Root, contract.CWMP+".SetParameterValues", values, options{})
		} else {
			c.call(contract.Root, contract.CWMP+".SetParameterValues", values, options{})
		}
	}
	set(false, value{sm + "ExecEnv.[cpe-osgi].Enable", "", "0"}, value{sm + "ExecEnv.1.Alias", "", "acs"})
	c.heard()
	cursor := c.expectChanges("[{ExecEnv.1.Status xsd:string Disabled}]")
	c.call(contract.Root, contract.CWMP+".AcknowledgeValueChanges", cursor)
	// RequestedState is the ACS's, Status the unit's own.
	set(false, value{sm + "ExecutionUnit.2.RequestedState", "", "Idle"})
	c.heard()
	c.expectChanges("[{ExecutionUnit.2.Status xsd:string Idle}]")
	// A set that is refused hides nothing, and one that was applied nothing that comes later.
	set(true, value{sm + "ExecEnv.1.Alias", "", ""})
	c.call(row("ExecEnv", "1"), contract.Properties+".Set", contract.ExecEnv, "Alias", v("local"))
	c.heard()
	c.expectChanges("[{ExecutionUnit.2.Status xsd:string Idle} {ExecEnv.1.Alias xsd:string local}]")
}

// TestChangesWhileTheAgentLearns: what a start finds out is no change.
func TestChangesWhileTheAgentLearns(t *testing.T) {
	c := newClient(t)
	c.install()
	c.agent.Commit(func(d *model.Draft) {
		d.PutExecEnv(&model.ExecEnv{ID: "new", Instance: 3, Status: model.EEError, StatusDetail: "not started yet"})
		d.PutExecutionUnit(&model.ExecutionUnit{ID: 30, Env: "new", Status: model.EUIdle})
	})
	c.listen()
	learn := func(s model.EUStatus, synced bool) {
		c.agent.Commit(func(d *model.Draft) {
			e, u := *d.ExecEnv(3), *d.ExecutionUnit(30)
			e.Status, e.Synced, u.Status = model.EEUp, synced, s
			d.PutExecEnv(&e)
			d.PutExecutionUnit(&u)
		})
		c.heard()
	}
	learn(model.EUStarting, false)
	learn(model.EUActive, true)
	c.expectChanges("[]")
	learn(model.EUIdle, true)
	c.expectChanges("[{ExecutionUnit.30.Status xsd:string Idle}]")
	learn(model.EUActive, false) // it goes through a restart
	c.expectChanges("[{ExecutionUnit.30.Status xsd:string Active}]")
}

func TestAFaceThatIsNotInUseCollectsNothing(t *testing.T) {
	a := ipctest.New()
	address := ipctest.Bus(t)
	ipctest.Serve(t, address, a, dbus.Options{Version: "1", DataModel: "Device:2.15", Faces: []string{"usp"}})
	c := &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
	c.install()
	c.listen()
	c.status(2, model.EUIdle)
	if got := c.valueSignals(); len(got) != 0 {
		t.Errorf("the signals are %q", got)
	}
	cursor := c.expectChanges("[]")
	c.call(contract.Root, contract.CWMP+".AcknowledgeValueChanges", cursor)
	// The version of the data model is that of the tree.
	if err := c.refused(contract.Root, contract.CWMP+".GetParameterValues", []string{sm + "DeploymentUnit.1.Installed"}); err.Body[1] != uint32(9005) {
		t.Errorf("a parameter of 2.16: %s %v", err.Name, err.Body)
	}
}

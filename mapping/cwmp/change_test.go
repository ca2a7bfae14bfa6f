package cwmp_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

type fields = map[string]string

const uuid = "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6"

// change asks for one operation and returns it as the agent gets it.
func change(t *testing.T, kind string, f fields) model.UnitOperation {
	t.Helper()
	c := newAgent()
	if _, err := cwmp.New(c, "").ChangeDUState(t.Context(), []cwmp.Operation{{Kind: kind, Fields: f}}, "", "", model.Origin{}); err != nil {
		t.Fatalf("%s %v: %v", kind, f, err)
	}
	return c.requests[0].Operations[0]
}

func TestChangeDUState(t *testing.T) {
	c := newAgent()
	long := strings.Repeat("é", 32)
	id, err := cwmp.New(c, "").ChangeDUState(t.Context(), []cwmp.Operation{
		{Kind: "Install", Fields: fields{"URL": "https://x/a.jar", "UUID": strings.ToUpper(uuid), "Username": "u", "Password": "p", "ExecutionEnvRef": "Device.SoftwareModules.ExecEnv.1."}},
		{Kind: "Update", Fields: fields{"UUID": uuid, "Version": "1", "URL": "http://x/b", "Username": "v", "Password": "q"}},
		{Kind: "Update", Fields: fields{}},
		{Kind: "Uninstall", Fields: fields{"UUID": uuid, "Version": "2", "ExecutionEnvRef": ""}},
		{Kind: "Install", Fields: fields{"URL": ""}},
		{Kind: "Install", Fields: fields{"URL": "file:///a b.jar", "UUID": ""}},
	}, long, "token", model.Origin{Name: "acs"})
	if err != nil || id != 41 {
		t.Fatalf("%d, %v", id, err)
	}
	want := model.ChangeRequest{CommandKey: long, Token: "token", Originator: model.Origin{Name: "acs"}, Operations: []model.UnitOperation{
		{Performed: model.PerformedInstall, URL: "https://x/a.jar", UUID: uuid, Username: "u", Password: "p", ExecEnv: "osgi"},
		{Performed: model.PerformedUpdate, UUID: uuid, Version: "1", URL: "http://x/b", Username: "v", Password: "q"},
		{Performed: model.PerformedUpdate},
		{Performed: model.PerformedUninstall, UUID: uuid, Version: "2"},
		{Performed: model.PerformedInstall},
		{Performed: model.PerformedInstall, URL: "file:///a b.jar"},
	}}
	got := c.requests[0]
	if r := fault.ReasonOf(got.Operations[4].Refused); r != fault.InvalidArguments {
		t.Errorf("an install without a URL is %q", r)
	}
	got.Operations[4].Refused = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestRefusedOperations holds what is wrong with the values of one operation, with the code that its result will have.
func TestRefusedOperations(t *testing.T) {
	url := "https://x/a.jar"
	for _, tc := range []struct {
		kind   string
		fields fields
		code   uint32
	}{
		{"Install", fields{}, 9003},
		{"Install", fields{"UUID": uuid}, 9003},
		{"Install", fields{"URL": "https://me:secret@x/a.jar"}, 9003},
		{"Install", fields{"URL": "https://me@x/a.jar"}, 9003},
		{"Install", fields{"URL": "a.jar"}, 9003},
		{"Install", fields{"URL": "http:a.jar"}, 9003},
		{"Install", fields{"URL": "http://x/%zz"}, 9003},
		{"Install", fields{"URL": "http://x/" + strings.Repeat("a", 1024)}, 9003},
		{"Install", fields{"URL": url, "Username": strings.Repeat("a", 257)}, 9003},
		{"Install", fields{"URL": url, "Password": strings.Repeat("a", 257)}, 9003},
		{"Install", fields{"URL": url, "ExecutionEnvRef": strings.Repeat("a", 257)}, 9003},
		{"Install", fields{"URL": url, "UUID": "not-a-uuid"}, 9022},
		{"Install", fields{"URL": url, "UUID": uuid + "0"}, 9022},
		{"Install", fields{"URL": url, "UUID": "{" + uuid + "}"}, 9022},
		{"Update", fields{"UUID": uuid, "URL": "https://me:secret@x/a.jar"}, 9003},
		{"Update", fields{"Version": "1"}, 9003},
		{"Update", fields{"UUID": uuid, "Version": strings.Repeat("1", 33)}, 9003},
		{"Update", fields{"UUID": "x"}, 9022},
		{"Uninstall", fields{}, 9022},
		{"Uninstall", fields{"UUID": ""}, 9022},
		{"Uninstall", fields{"UUID": "x"}, 9022},
		{"Uninstall", fields{"UUID": uuid, "Version": strings.Repeat("1", 33)}, 9003},
		{"Install", fields{"URL": url, "ExecutionEnvRef": "Device.SoftwareModules.ExecEnv.2."}, 9023},
		{"Uninstall", fields{"UUID": uuid, "ExecutionEnvRef": "Device.SoftwareModules.ExecEnv.2."}, 9028},
	} {
		u := change(t, tc.kind, tc.fields)
		if u.Refused == nil {
			t.Errorf("%s %v is not refused", tc.kind, tc.fields)
			continue
		}
		if got := cwmp.ResultCode(u.Performed, fault.ReasonOf(u.Refused)); got != tc.code {
			t.Errorf("%s %v: %d (%v), want %d", tc.kind, tc.fields, got, u.Refused, tc.code)
		}
		if m := u.Refused.Error(); strings.Contains(m, "secret") || !strings.HasPrefix(m, "cannot ") {
			t.Errorf("%s %v: the message is %q", tc.kind, tc.fields, m)
		}
	}
}

// What is wrong elsewhere does not keep a reference from becoming the ID of its environment, or nothing.
func TestExecutionEnvRefOfARefusedOperation(t *testing.T) {
	for ref, want := range map[string]string{"Device.SoftwareModules.ExecEnv.1.": "osgi", "Device.SoftwareModules.ExecEnv.2.": "", "osgi": "", strings.Repeat("a", 257): ""} {
		for kind, f := range map[string]fields{"Install": {"URL": "a.jar"}, "Uninstall": {"UUID": "x"}} {
			f["ExecutionEnvRef"] = ref
			u := change(t, kind, f)
			if r := fault.ReasonOf(u.Refused); u.ExecEnv != want || r != fault.InvalidArguments && r != fault.InvalidUUID {
				t.Errorf("%s on %.40q: %.40q, %v", kind, ref, u.ExecEnv, u.Refused)
			}
		}
	}
}

func TestExecutionEnvRef(t *testing.T) {
	for _, ref := range []string{
		"Device.SoftwareModules.ExecEnv.1.", "Device.SoftwareModules.ExecEnv.1", ".SoftwareModules.ExecEnv.1.", ".SoftwareModules.ExecEnv.1",
		"SoftwareModules.ExecEnv.1.", "SoftwareModules.ExecEnv.1", "Device.SoftwareModules.ExecEnv.[cpe-osgi].", ".SoftwareModules.ExecEnv.[cpe-osgi]",
	} {
		for kind, f := range map[string]fields{"Install": {"URL": "http://x/y"}, "Uninstall": {"UUID": uuid}} {
			f = maps.Clone(f)
			f["ExecutionEnvRef"] = ref
			if u := change(t, kind, f); u.ExecEnv != "osgi" || u.Refused != nil {
				t.Errorf("%s on %q: %q, %v", kind, ref, u.ExecEnv, u.Refused)
			}
		}
	}
	for _, ref := range []string{
		".", "Device.", "osgi", "Device.SoftwareModules.ExecEnv.", "Device.SoftwareModules.ExecEnv.01.", "Device.SoftwareModules.ExecEnv.1..",
		"..SoftwareModules.ExecEnv.1.", ".Device.SoftwareModules.ExecEnv.1.", "Device.SoftwareModules.ExecEnv.1.Enable", "Device.SoftwareModules.ExecutionUnit.3.",
		"Device.SoftwareModules.ExecEnv.[osgi].", "Device.SoftwareModules.ExecEnv.*.", "Device.SoftwareModules.ExecEnv.1.ApplicationData.",
		"InternetGatewayDevice.SoftwareModules.ExecEnv.1.", " Device.SoftwareModules.ExecEnv.1.", "Device.SoftwareModules.ExecEnv.[cpe-osgi",
	} {
		u := change(t, "Install", fields{"URL": "http://x/y", "ExecutionEnvRef": ref})
		if r := fault.ReasonOf(u.Refused); r != fault.UnknownExecEnv || u.ExecEnv != "" {
			t.Errorf("%q: %q, %v", ref, u.ExecEnv, u.Refused)
		}
	}
}

// TestChangeDUStateRefuses: the call is refused as a whole with one of the four codes of A.4.1.10, and the agent is asked nothing.
func TestChangeDUStateRefuses(t *testing.T) {
	good := cwmp.Operation{Kind: "Uninstall", Fields: fields{"UUID": uuid}}
	for name, tc := range map[string]struct {
		operations []cwmp.Operation
		key        string
	}{
		"no operation":      {nil, ""},
		"kind":              {[]cwmp.Operation{good, {Kind: "install"}}, ""},
		"field":             {[]cwmp.Operation{good, {Kind: "Update", Fields: fields{"ExecutionEnvRef": ""}}}, ""},
		"long command key":  {[]cwmp.Operation{good}, strings.Repeat("é", 33)},
		"field of Install":  {[]cwmp.Operation{{Kind: "Install", Fields: fields{"URL": "http://x", "Version": "1"}}}, ""},
		"field of no table": {[]cwmp.Operation{{Kind: "Uninstall", Fields: fields{"uuid": uuid}}}, ""},
	} {
		c := newAgent()
		if id, err := cwmp.New(c, "").ChangeDUState(t.Context(), tc.operations, tc.key, "", model.Origin{}); id != 0 || code(err) != 9001 || len(c.requests) != 0 {
			t.Errorf("%s: %d, %v with code %d", name, id, err, code(err))
		}
	}
	for _, r := range fault.Reasons() {
		c := newAgent()
		c.refusal = fault.Errorf(r, "cannot")
		_, err := cwmp.New(c, "").ChangeDUState(t.Context(), []cwmp.Operation{good}, "", "", model.Origin{})
		want := cwmp.RPC(r)
		if r == fault.NotSupported {
			want = 9000
		}
		if got := code(err); got != want || got != 9000 && got != 9001 && got != 9002 && got != 9004 {
			t.Errorf("%s: code %d", r, got)
		}
	}
}

func TestPendingReports(t *testing.T) {
	start := time.Date(2026, time.May, 4, 5, 2, 1, 500, time.FixedZone("", 7200))
	c := newAgent()
	c.snapshot.Reports = []*model.Report{
		{ID: 3, Kind: model.ReportRequested, CommandKey: "key", Results: []model.Result{
			{
				Performed: model.PerformedInstall, UUID: uuid, DU: 7, Version: "1.0", State: model.ResultInstalled, Resolved: true, EUs: []model.RowID{8, 10},
				Start: start, Complete: start.Add(time.Minute), Message: "a remark",
			},
			{Performed: model.PerformedInstall, UUID: "malformed", DU: 9, EUs: []model.RowID{1}, State: model.ResultFailed, Fault: fault.InvalidUUID, Message: strings.Repeat("é", 300) + "\x01"},
			{Performed: model.PerformedUninstall, UUID: uuid, DU: 7, Version: "1.0", State: model.ResultUninstalled, Resolved: true, EUs: []model.RowID{8}},
			{Performed: model.PerformedUpdate, UUID: uuid, DU: 7, State: model.ResultInstalled, Fault: fault.UnknownExecEnv, Message: "cannot\x02"},
		}},
		{ID: 5, Kind: model.ReportAutonomous, Results: []model.Result{{Performed: model.PerformedUninstall, UUID: uuid, State: model.ResultUninstalled, Resolved: true}}},
	}
	const unknown = "0001-01-01T00:00:00Z"
	want := []cwmp.Report{
		{ID: 3, Kind: "DUStateChangeComplete", CommandKey: "key", Results: []cwmp.Result{
			{
				UUID: uuid, DeploymentUnitRef: sm + "DeploymentUnit.7.", Version: "1.0", CurrentState: "Installed", Resolved: true,
				ExecutionUnitRefList: sm + "ExecutionUnit.8.," + sm + "ExecutionUnit.10.", StartTime: "2026-05-04T03:02:01Z", CompleteTime: "2026-05-04T03:03:01Z",
			},
			{CurrentState: "Failed", StartTime: unknown, CompleteTime: unknown, FaultCode: 9022, FaultString: strings.Repeat("é", 256)},
			{
				UUID: uuid, DeploymentUnitRef: sm + "DeploymentUnit.7.", Version: "1.0", CurrentState: "Uninstalled", Resolved: true,
				ExecutionUnitRefList: sm + "ExecutionUnit.8.", StartTime: unknown, CompleteTime: unknown,
			},
			{
				UUID: uuid, DeploymentUnitRef: sm + "DeploymentUnit.7.", CurrentState: "Installed", StartTime: unknown, CompleteTime: unknown,
				FaultCode: 9028, FaultString: "cannot\uFFFD",
			},
		}},
		{ID: 5, Kind: "AutonomousDUStateChangeComplete", Results: []cwmp.Result{{
			UUID: uuid, CurrentState: "Uninstalled", Resolved: true, StartTime: unknown, CompleteTime: unknown, OperationPerformed: "Uninstall",
		}}},
	}
	face := cwmp.New(c, "")
	if diff := cmp.Diff(want, face.PendingReports()); diff != "" {
		t.Error(diff)
	}
	if err := face.AcknowledgeReport(t.Context(), 3); err != nil || len(c.acknowledged) != 1 || c.acknowledged[0] != 3 {
		t.Errorf("%v, %v", c.acknowledged, err)
	}
	c.refusal = fault.Errorf(fault.InvalidArguments, "cannot")
	if err := face.AcknowledgeReport(t.Context(), 4); code(err) != 9001 {
		t.Errorf("an unknown number: %v", err)
	}
}

// TestResultCodes holds the codes of results against the columns of TR-069 Table 87.
func TestResultCodes(t *testing.T) {
	all := map[uint32]string{ // the operations that a code belongs to
		9001: "IUX", 9003: "IUX", 9012: "IU", 9013: "IU", 9015: "IU", 9016: "IU", 9017: "IU", 9018: "IU", 9022: "IUX", 9023: "I", 9024: "IUX", 9025: "IU",
		9026: "I", 9027: "IU", 9028: "UX", 9029: "IUX", 9030: "U", 9031: "U", 9032: "U",
	}
	for letter, p := range map[string]model.Performed{"I": model.PerformedInstall, "U": model.PerformedUpdate, "X": model.PerformedUninstall} {
		for _, r := range fault.Reasons() {
			got := cwmp.ResultCode(p, r)
			if !strings.Contains(all[got], letter) {
				t.Errorf("%s after %s is %d, which does not belong to it", r, p, got)
			}
			if plain := cwmp.DUResult(r); strings.Contains(all[plain], letter) && got != plain {
				t.Errorf("%s after %s is %d, want %d", r, p, got, plain)
			}
		}
		if got := cwmp.ResultCode(p, fault.None); got != 0 {
			t.Errorf("no fault after %s is %d", p, got)
		}
	}
}

func TestParameterAttributes(t *testing.T) {
	c := newAgent()
	c.snapshot.Attributes = map[string]int{sm + "ExecutionUnit.4.Status": 0, sm + "ExecEnv.1.Enable": 1, sm + "ExecEnv.1.Status": 2}
	face := cwmp.New(c, "")
	get := func(names ...string) string {
		t.Helper()
		list, err := face.GetParameterAttributes(names)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, a := range list {
			out = append(out, fmt.Sprintf("%s %d %t", strings.TrimPrefix(a.Name, sm), a.Notification, a.Subscriber))
		}
		return strings.Join(out, ", ")
	}
	for _, tc := range []struct{ name, want string }{
		{sm + "ExecutionUnit.3.Status", "ExecutionUnit.3.Status 2 false"},
		{sm + "ExecutionUnit.4.Status", "ExecutionUnit.4.Status 0 false"},
		{sm + "ExecutionUnit.[cpe-3].Status", "ExecutionUnit.[cpe-3].Status 2 false"},
		{sm + "ExecutionUnit.[cpe-4].Status", "ExecutionUnit.[cpe-4].Status 0 false"},
		{sm + "ExecEnv.[cpe-osgi].Enable", "ExecEnv.[cpe-osgi].Enable 1 true"},
		{sm + "ExecEnv.1.AvailableMemory", "ExecEnv.1.AvailableMemory 0 false"},
		{policy + "Enable", policy + "Enable 0 true"},
	} {
		if got := get(tc.name); got != tc.want {
			t.Errorf("%s: %s", tc.name, got)
		}
	}
	all := get("")
	if n := strings.Count(all, " 2 "); n != 2 || strings.Count(all, ",") < 80 {
		t.Errorf("of all: %d active ones in %d characters", n, len(all))
	}
	if got := get(sm + "ExecEnv.[cpe-osgi]."); !strings.Contains(got, "ExecEnv.[cpe-osgi].Status 2 false") {
		t.Errorf("of a row: %s", got)
	}
	if _, err := face.GetParameterAttributes([]string{sm, sm + "Nothing"}); code(err) != 9005 {
		t.Errorf("an unknown name: %v", err)
	}
}

// A parameter that has the attribute of the data model again takes no room.
func TestAttributeBackToTheDefault(t *testing.T) {
	c := newAgent()
	const on, off = sm + "ExecutionUnit.3.Status", policy + "Enable" // active and off in the data model
	c.snapshot.Attributes = map[string]int{on: 0, off: 2}
	if err := cwmp.New(c, "").SetParameterAttributes(t.Context(), []cwmp.AttributeSetting{{on, 2}, {off, 0}}); err != nil {
		t.Fatal(err)
	}
	if want := map[string]int{on: model.AttributeDefault, off: model.AttributeDefault}; !maps.Equal(c.attributes, want) {
		t.Errorf("the agent is to keep %v, not %v", c.attributes, want)
	}
}

func TestSetParameterAttributes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		settings []cwmp.AttributeSetting
		want     map[string]int // nil: the agent is not asked
		code     uint32
	}{
		{"nothing", nil, nil, 0},
		{"as it is", []cwmp.AttributeSetting{{sm + "ExecutionUnit.3.Status", 2}, {sm + "ExecEnv.1.Name", 0}}, nil, 0},
		{"off", []cwmp.AttributeSetting{{sm + "ExecutionUnit.[cpe-3].Status", 0}}, map[string]int{sm + "ExecutionUnit.3.Status": 0}, 0},
		{"canDeny", []cwmp.AttributeSetting{{sm + "ExecEnv.1.AvailableMemory", 2}}, map[string]int{sm + "ExecEnv.1.AvailableMemory": 2}, 0},
		{"policy", []cwmp.AttributeSetting{{policy + "Enable", 1}}, map[string]int{policy + "Enable": 1}, 0},
		{"the last counts", []cwmp.AttributeSetting{{policy, 1}, {policy + "FaultCodeFilter", 2}, {policy + "Enable", 0}}, map[string]int{
			policy + "OperationTypeFilter": 1, policy + "ResultTypeFilter": 1, policy + "FaultCodeFilter": 2,
		}, 0},
		{"unknown", []cwmp.AttributeSetting{{policy, 1}, {sm + "ExecEnv.2.", 1}}, nil, 9005},
		{"no such notification", []cwmp.AttributeSetting{{policy, 1}, {sm, 3}}, nil, 9003},
	} {
		c := newAgent()
		err := cwmp.New(c, "").SetParameterAttributes(t.Context(), tc.settings)
		if diff := cmp.Diff(tc.want, c.attributes); code(err) != tc.code || (err == nil) != (tc.code == 0) || diff != "" {
			t.Errorf("%s: %v, difference:\n%s", tc.name, err, diff)
		}
	}
	for r, want := range map[fault.Reason]uint32{fault.RequestDenied: 9009, fault.SystemResourcesExceeded: 9004, fault.Internal: 9002, fault.TooManyOperations: 9004} {
		c := newAgent()
		c.refusal = fault.Errorf(r, "cannot")
		if err := cwmp.New(c, "").SetParameterAttributes(t.Context(), []cwmp.AttributeSetting{{policy, 1}}); code(err) != want {
			t.Errorf("%s: %v, want %d", r, err, want)
		}
	}
}

// TestSetOverBothObjects: the policy and software modules are one data model and set at once.
func TestSetOverBothObjects(t *testing.T) {
	a := newAgent()
	face := cwmp.New(a, "")
	status, err := face.SetParameterValues(t.Context(), []cwmp.ParameterValue{
		{Name: policy + "Enable", Type: "xsd:boolean", Value: "true"},
		{Name: sm + "ExecEnv.1.Enable", Type: "xsd:boolean", Value: "false"},
		{Name: policy + "FaultCodeFilter", Type: "xsd:string", Value: "9001,9017"},
	}, model.Origin{})
	want := []model.Assignment{
		{Row: model.Ref{Kind: model.KindPolicy}, Attribute: model.PolicyEnable, Value: true},
		{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.Enable, Value: false},
		{Row: model.Ref{Kind: model.KindPolicy}, Attribute: model.PolicyFaultCodeFilter, Value: "9001,9017"},
	}
	if diff := cmp.Diff(want, a.set); status != 0 || err != nil || diff != "" {
		t.Errorf("%d, %v, difference:\n%s", status, err, diff)
	}
	for _, v := range []cwmp.ParameterValue{
		{Name: policy + "OperationTypeFilter", Value: "Install,Start"}, {Name: policy + "ResultTypeFilter", Value: "All"},
		{Name: policy + "FaultCodeFilter", Value: "9002"}, {Name: policy + "Enable", Value: "on"},
	} {
		a := newAgent()
		_, err := cwmp.New(a, "").SetParameterValues(t.Context(), []cwmp.ParameterValue{{Name: sm + "ExecEnv.1.Enable", Value: "0"}, v}, model.Origin{})
		var f *cwmp.Fault
		if !errors.As(err, &f) || f.Code != 9003 || len(f.Parameters) != 1 || f.Parameters[0].Code != 9007 || a.calls != 0 {
			t.Errorf("%v: %+v", v, f)
		}
	}
}

// TestChanged compares two moments.
func TestChanged(t *testing.T) {
	env := func(memory int64, alias string) []*model.ExecEnv {
		return []*model.ExecEnv{{ID: "osgi", Instance: 1, Alias: alias, AvailableMemory: memory, Status: model.EEUp}}
	}
	eu := func(id uint32, s model.EUStatus) *model.ExecutionUnit {
		return &model.ExecutionUnit{ID: id, Alias: fmt.Sprintf("cpe-%d", id), Env: "osgi", DU: 2, Status: s}
	}
	dus := []*model.DeploymentUnit{{ID: 2, Env: "osgi"}}
	old := model.NewSnapshot(env(1, "a"), dus, []*model.ExecutionUnit{eu(3, model.EUIdle), eu(4, model.EUIdle)}, nil)
	next := model.NewSnapshot(env(2, "b"), dus, []*model.ExecutionUnit{eu(3, model.EUActive), eu(5, model.EUActive)}, nil)
	next.Policy.Enable = true
	refs := []model.Ref{
		{}, {Kind: model.KindExecEnv, Instance: 1}, {Kind: model.KindDeploymentUnit, Instance: 2}, {Kind: model.KindExecutionUnit, Instance: 3},
		{Kind: model.KindExecutionUnit, Instance: 4}, {Kind: model.KindExecutionUnit, Instance: 5}, {Kind: model.KindPolicy},
	}
	face := cwmp.New(newAgent(), "")
	changed := func(ref int, name, xsd, value string) cwmp.Change {
		return cwmp.Change{Ref: refs[ref], ParameterValue: cwmp.ParameterValue{Name: name, Type: xsd, Value: value}}
	}
	status := changed(3, sm+"ExecutionUnit.3.Status", "xsd:string", "Active")
	if diff := cmp.Diff([]cwmp.Change{status}, face.Changed(old, next, refs)); diff != "" {
		t.Error(diff)
	}
	next.Attributes = map[string]int{
		sm + "ExecutionUnit.3.Status": 0, sm + "ExecEnv.1.AvailableMemory": 2, sm + "ExecEnv.1.ActiveExecutionUnits": 1, sm + "ExecEnv.1.Name": 1,
		sm + "DeploymentUnit.2.ExecutionUnitList": 1, sm + "ExecutionUnitNumberOfEntries": 1, policy + "Enable": 1,
	}
	want := []cwmp.Change{
		changed(1, sm+"ExecEnv.1.AvailableMemory", "xsd:int", "2"),
		changed(1, sm+"ExecEnv.1.ActiveExecutionUnits", "xsd:string", sm+"ExecutionUnit.3,"+sm+"ExecutionUnit.5"),
		changed(2, sm+"DeploymentUnit.2.ExecutionUnitList", "xsd:string", sm+"ExecutionUnit.3,"+sm+"ExecutionUnit.5"),
		changed(6, policy+"Enable", "xsd:boolean", "true"),
	}
	if diff := cmp.Diff(want, face.Changed(old, next, refs)); diff != "" {
		t.Error(diff) // the number of entries is the same
	}
	if got := face.Changed(old, next, []model.Ref{{Kind: model.KindExecutionUnit, Instance: 3}}); len(got) != 0 {
		t.Errorf("what is not to be notified of: %v", got)
	}
}

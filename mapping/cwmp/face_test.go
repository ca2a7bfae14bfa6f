package cwmp_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

// agent is an agent of one snapshot that writes down what it is asked to set.
type agent struct {
	snapshot   *model.Snapshot
	set        []model.Assignment
	originator model.Origin
	calls      int
	jobs       []uint32
	err        error

	requests     []model.ChangeRequest
	acknowledged []uint64
	attributes   map[string]int
	refusal      error // of all but Set
}

func (a *agent) Snapshot() *model.Snapshot { return a.snapshot }

func (a *agent) Set(_ context.Context, as []model.Assignment, originator model.Origin) ([]uint32, error) {
	a.set, a.originator = as, originator
	a.calls++
	return a.jobs, a.err
}

func (a *agent) ChangeDUState(_ context.Context, r model.ChangeRequest) (uint64, error) {
	if a.refusal != nil {
		return 0, a.refusal
	}
	a.requests = append(a.requests, r)
	return 40 + uint64(len(a.requests)), nil
}

func (a *agent) AcknowledgeReport(_ context.Context, id uint64) error {
	if a.refusal == nil {
		a.acknowledged = append(a.acknowledged, id)
	}
	return a.refusal
}

func (a *agent) SetAttributes(_ context.Context, attributes map[string]int) error {
	if a.refusal == nil {
		a.attributes = attributes
	}
	return a.refusal
}

func newAgent() *agent {
	return &agent{snapshot: model.NewSnapshot(
		[]*model.ExecEnv{{ID: "osgi", Instance: 1, Alias: "cpe-osgi", Enable: true, Status: model.EEUp, CurrentRunLevel: -1}},
		nil,
		[]*model.ExecutionUnit{
			{ID: 3, Alias: "cpe-3", Env: "osgi", Status: model.EUActive},
			{ID: 4, Alias: "cpe-4", Env: "osgi", Status: model.EUIdle},
		}, nil)}
}

const (
	sm     = "Device.SoftwareModules."
	policy = "Device.ManagementServer.DUStateChangeComplPolicy."
)

func code(err error) uint32 {
	var f *cwmp.Fault
	if errors.As(err, &f) {
		return f.Code
	}
	return 0
}

func TestGetParameterNames(t *testing.T) {
	face := cwmp.New(newAgent(), "")
	for _, tc := range []struct {
		path string
		next bool
		want []string // a star marks what can be written
	}{
		{"", true, []string{"Device."}},
		{"Device.", true, []string{sm, "Device.ManagementServer."}},
		{"Device.ManagementServer.", true, []string{policy}},
		{policy, true, []string{policy + "Enable*", policy + "OperationTypeFilter*", policy + "ResultTypeFilter*", policy + "FaultCodeFilter*"}},
		{sm, true, []string{
			sm + "ExecEnvClassNumberOfEntries", sm + "ExecEnvNumberOfEntries", sm + "DeploymentUnitNumberOfEntries", sm + "ExecutionUnitNumberOfEntries",
			sm + "ExecEnvClass.", sm + "ExecEnv.", sm + "DeploymentUnit.", sm + "ExecutionUnit.",
		}},
		{sm + "ExecEnv.", true, []string{sm + "ExecEnv.1."}},
		{sm + "DeploymentUnit.", true, nil},
		{sm + "DeploymentUnit.", false, []string{sm + "DeploymentUnit."}},
		{sm + "ExecutionUnit.", true, []string{sm + "ExecutionUnit.3.", sm + "ExecutionUnit.4."}},
		{sm + "ExecutionUnit.3.Extensions.", false, []string{sm + "ExecutionUnit.3.Extensions."}},
		{sm + "ExecutionUnit.3.Extensions.", true, nil},
		{sm + "ExecEnv.1.Enable", false, []string{sm + "ExecEnv.1.Enable*"}},
		{sm + "ExecEnv.1.Reset", false, []string{sm + "ExecEnv.1.Reset*"}},
		{sm + "ExecEnv.1.Status", false, []string{sm + "ExecEnv.1.Status"}},
		{sm + "ExecEnv.[cpe-osgi].Alias", false, []string{sm + "ExecEnv.[cpe-osgi].Alias*"}},
	} {
		names, err := face.GetParameterNames(tc.path, tc.next)
		if err != nil {
			t.Errorf("%q: %v", tc.path, err)
			continue
		}
		var got []string
		for _, n := range names {
			if n.Writable {
				n.Name += "*"
			}
			got = append(got, n.Name)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("GetParameterNames(%q, %t) = %q, want %q", tc.path, tc.next, got, tc.want)
		}
	}

	all, err := face.GetParameterNames("", false)
	if err != nil {
		t.Fatal(err)
	}
	if device, err := face.GetParameterNames("Device.", false); err != nil || !slices.Equal(device, all) {
		t.Errorf("the tree of Device. is not that of the root: %v", err)
	}
	if objects := slices.DeleteFunc(slices.Clone(all), func(n cwmp.ParameterName) bool { return !strings.HasSuffix(n.Name, ".") }); len(objects) < 10 || len(all) < 100 {
		t.Errorf("%d names in all, %d objects", len(all), len(objects))
	}
	if all[0] != (cwmp.ParameterName{Name: "Device."}) || all[1] != (cwmp.ParameterName{Name: sm}) {
		t.Errorf("the first names are %v", all[:2])
	}
	for _, n := range all { // every name can be asked for again
		if _, err := face.GetParameterValues([]string{n.Name}); err != nil {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
}

func TestBadNames(t *testing.T) {
	a := newAgent()
	face := cwmp.New(a, "")
	for _, path := range []string{
		"Device", "Device.SoftwareModules", "InternetGatewayDevice.", "Device.DeviceInfo.", "Device..", sm + "ExecEnv", sm + "ExecEnv.1",
		sm + "ExecEnv.2.", sm + "ExecEnv.01.", sm + "ExecEnv.[nobody].", sm + "ExecEnv.*.", sm + "ExecEnv.1.Nothing", sm + "ExecEnv.1.Enable.",
		sm + "ExecEnv.1.RestartCount", sm + "execenv.", sm + "Config.", sm + "ExecutionUnit.3.USP.", " Device.",
	} {
		_, names := face.GetParameterNames(path, false)
		_, next := face.GetParameterNames(path, true)
		_, values := face.GetParameterValues([]string{sm, path})
		_, add := face.AddObject(path)
		for what, err := range map[string]error{
			"GetParameterNames": names, "GetParameterNames with NextLevel": next, "GetParameterValues": values, "AddObject": add, "DeleteObject": face.DeleteObject(path),
		} {
			if code(err) != 9005 || !strings.HasPrefix(err.Error(), "cannot ") {
				t.Errorf("%s of %q: %v with code %d, want 9005", what, path, err, code(err))
			}
		}
	}
	if _, err := face.GetParameterNames(sm+"ExecEnv.1.Enable", true); code(err) != 9003 {
		t.Errorf("the next level of a parameter: code %d, want 9003", code(err))
	}
}

func TestTablesAreReadOnly(t *testing.T) {
	face := cwmp.New(newAgent(), "")
	for _, table := range []string{"ExecEnv.", "DeploymentUnit.", "ExecutionUnit."} {
		if n, err := face.AddObject(sm + table); n != 0 || code(err) != 9005 {
			t.Errorf("AddObject(%s) = %d, %v", table, n, err)
		}
	}
	for _, row := range []string{"ExecEnv.1.", "ExecutionUnit.3.", "ExecutionUnit.[cpe-4]."} {
		if err := face.DeleteObject(sm + row); code(err) != 9005 {
			t.Errorf("DeleteObject(%s) = %v", row, err)
		}
	}
}

func TestGetParameterValues(t *testing.T) {
	face := cwmp.New(newAgent(), "")
	got, err := face.GetParameterValues([]string{
		sm + "ExecutionUnit.4.Status", sm + "ExecEnv.[cpe-osgi].Enable", sm + "ExecutionUnitNumberOfEntries", sm + "ExecEnv.1.CurrentRunLevel",
		sm + "ExecutionUnit.3.Extensions.", sm + "DeploymentUnit.", sm + "ExecutionUnit.4.Status",
	})
	want := []cwmp.ParameterValue{
		{Name: sm + "ExecutionUnit.4.Status", Type: "xsd:string", Value: "Idle"},
		{Name: sm + "ExecEnv.[cpe-osgi].Enable", Type: "xsd:boolean", Value: "true"},
		{Name: sm + "ExecutionUnitNumberOfEntries", Type: "xsd:unsignedInt", Value: "2"},
		{Name: sm + "ExecEnv.1.CurrentRunLevel", Type: "xsd:int", Value: "-1"},
		{Name: sm + "ExecutionUnit.4.Status", Type: "xsd:string", Value: "Idle"},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, difference:\n%s", err, diff)
	}
	all, err := face.GetParameterValues([]string{""})
	names, namesErr := face.GetParameterNames("", false)
	names = slices.DeleteFunc(names, func(n cwmp.ParameterName) bool { return strings.HasSuffix(n.Name, ".") })
	if err != nil || namesErr != nil || len(all) != len(names) || len(all) < 80 {
		t.Errorf("the whole tree: %d values, %v; %d names of parameters, %v", len(all), err, len(names), namesErr)
	}
	if none, err := face.GetParameterValues(nil); err != nil || len(none) != 0 {
		t.Errorf("of nothing: %v, %v", none, err)
	}
}

func TestSetParameterValues(t *testing.T) {
	a := newAgent()
	face := cwmp.New(a, "")
	values := []cwmp.ParameterValue{
		{Name: sm + "ExecEnv.[cpe-osgi].InitialRunLevel", Type: "xsd:unsignedInt", Value: "10"},
		{Name: sm + "ExecutionUnit.3.RequestedState", Type: "xs:string", Value: "Idle"},
		{Name: sm + "ExecutionUnit.3.AutoStart", Value: "0"},
		{Name: sm + "ExecEnv.1.Alias", Type: "string", Value: "home"},
	}
	want := []model.Assignment{
		{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.InitialRunLevel, Value: 10},
		{Row: model.Ref{Kind: model.KindExecutionUnit, Instance: 3}, Attribute: model.RequestedState, Value: "Idle"},
		{Row: model.Ref{Kind: model.KindExecutionUnit, Instance: 3}, Attribute: model.AutoStart, Value: false},
		{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.Alias, Value: "home"},
	}
	status, err := face.SetParameterValues(t.Context(), values, model.Origin{Name: "acs"})
	if diff := cmp.Diff(want, a.set); status != 0 || err != nil || diff != "" || a.originator.Name != "acs" {
		t.Errorf("status %d, %v, originator %q, difference:\n%s", status, err, a.originator, diff)
	}
	a.jobs = []uint32{1}
	if status, err := face.SetParameterValues(t.Context(), values, model.Origin{Name: "acs"}); status != 1 || err != nil {
		t.Errorf("with a job that is under way: status %d, %v", status, err)
	}
	a.calls = 0
	if status, err := face.SetParameterValues(t.Context(), nil, model.Origin{Name: "acs"}); status != 0 || err != nil || a.calls != 0 {
		t.Errorf("of nothing: status %d, %v, %d calls", status, err, a.calls)
	}
}

// TestReset: the command is passed on as it is written, and reads false at any time.
func TestReset(t *testing.T) {
	name := sm + "ExecEnv.1.Reset"
	for _, tc := range []struct {
		value string
		want  bool
		jobs  []uint32
	}{
		{"true", true, []uint32{1}},
		{"1", true, nil},
		{"false", false, nil}, // the agent accepts it without effect
	} {
		a := newAgent()
		a.jobs = tc.jobs
		face := cwmp.New(a, "")
		status, err := face.SetParameterValues(t.Context(), []cwmp.ParameterValue{{Name: name, Type: "xsd:boolean", Value: tc.value}}, model.Origin{Name: "acs"})
		want := []model.Assignment{{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.Reset, Value: tc.want}}
		if diff := cmp.Diff(want, a.set); status != int32(len(tc.jobs)) || err != nil || diff != "" {
			t.Errorf("%s: status %d, %v, difference:\n%s", tc.value, status, err, diff)
		}
		got, err := face.GetParameterValues([]string{name})
		if err != nil || len(got) != 1 || got[0] != (cwmp.ParameterValue{Name: name, Type: "xsd:boolean", Value: "false"}) {
			t.Errorf("it reads %v, %v", got, err)
		}
	}
}

func TestSetParameterValuesRefuses(t *testing.T) {
	good := cwmp.ParameterValue{Name: sm + "ExecEnv.1.Enable", Type: "xsd:boolean", Value: "false"}
	for _, tc := range []struct {
		name  string
		value cwmp.ParameterValue
		want  uint32
	}{
		{"unknown", cwmp.ParameterValue{Name: sm + "ExecEnv.1.Nothing", Type: "xsd:string"}, 9005},
		{"no such row", cwmp.ParameterValue{Name: sm + "ExecEnv.2.Enable", Type: "xsd:boolean", Value: "1"}, 9005},
		{"partial path", cwmp.ParameterValue{Name: sm + "ExecEnv.1.", Type: "xsd:string"}, 9005},
		{"root", cwmp.ParameterValue{Name: "", Type: "xsd:string"}, 9005},
		{"malformed", cwmp.ParameterValue{Name: sm + "ExecEnv..Enable", Type: "xsd:boolean", Value: "1"}, 9005},
		{"type", cwmp.ParameterValue{Name: sm + "ExecEnv.1.InitialRunLevel", Type: "xsd:int", Value: "1"}, 9006},
		{"not a type", cwmp.ParameterValue{Name: sm + "ExecEnv.1.InitialRunLevel", Type: "xsd:", Value: "1"}, 9006},
		{"value", cwmp.ParameterValue{Name: sm + "ExecEnv.1.InitialRunLevel", Type: "xsd:unsignedInt", Value: "-1"}, 9007},
		{"reset", cwmp.ParameterValue{Name: sm + "ExecEnv.1.Reset", Type: "xsd:boolean", Value: "perhaps"}, 9007},
		{"enum", cwmp.ParameterValue{Name: sm + "ExecutionUnit.3.RequestedState", Type: "xsd:string", Value: "Starting"}, 9007},
		{"alias", cwmp.ParameterValue{Name: sm + "ExecutionUnit.3.Alias", Type: "xsd:string", Value: ""}, 9007},
		{"read-only", cwmp.ParameterValue{Name: sm + "ExecEnv.1.Status", Type: "xsd:string", Value: "Up"}, 9008},
	} {
		a := newAgent()
		status, err := cwmp.New(a, "").SetParameterValues(t.Context(), []cwmp.ParameterValue{good, tc.value}, model.Origin{Name: "acs"})
		var f *cwmp.Fault
		if !errors.As(err, &f) || f.Code != 9003 || f.Reason != fault.InvalidArguments || status != 0 || a.calls != 0 {
			t.Errorf("%s: %v after %d calls, want a fault 9003 before anything is set", tc.name, err, a.calls)
			continue
		}
		if len(f.Parameters) != 1 || f.Parameters[0].Name != tc.value.Name || f.Parameters[0].Code != tc.want {
			t.Errorf("%s: %+v, want %d for %s alone", tc.name, f.Parameters, tc.want, tc.value.Name)
		}
	}
}

func TestSetParameterValuesTellsEveryFault(t *testing.T) {
	a := newAgent()
	_, err := cwmp.New(a, "").SetParameterValues(t.Context(), []cwmp.ParameterValue{
		{Name: sm + "ExecEnv.1.Status", Value: "Up"},
		{Name: sm + "ExecEnv.1.Enable", Value: "1"},
		{Name: sm + "ExecEnv.1.Nothing"},
		{Name: sm + "ExecEnv.1.Alias", Type: "xsd:int", Value: "1"},
		{Name: sm + "ExecEnv.1.InitialRunLevel", Value: "x"},
	}, model.Origin{Name: "acs"})
	var f *cwmp.Fault
	if !errors.As(err, &f) {
		t.Fatal(err)
	}
	var got []uint32
	for _, p := range f.Parameters {
		got = append(got, p.Code)
	}
	if want := []uint32{9008, 9005, 9006, 9007}; !slices.Equal(got, want) || a.calls != 0 {
		t.Errorf("codes %v after %d calls, want %v", got, a.calls, want)
	}
}

func TestSetParameterValuesRefusesDuplicates(t *testing.T) {
	a := newAgent()
	_, err := cwmp.New(a, "").SetParameterValues(t.Context(), []cwmp.ParameterValue{
		{Name: sm + "ExecEnv.1.Enable", Value: "1"},
		{Name: sm + "ExecEnv.[cpe-osgi].Enable", Value: "1"}, // the same by another name
	}, model.Origin{Name: "acs"})
	var f *cwmp.Fault
	if !errors.As(err, &f) || f.Code != 9003 || len(f.Parameters) != 0 || a.calls != 0 {
		t.Errorf("%+v after %d calls, want 9003 alone", f, a.calls)
	}
}

// TestRefusalsOfTheAgent holds what becomes of what the agent says about a set.
func TestRefusalsOfTheAgent(t *testing.T) {
	values := []cwmp.ParameterValue{{Name: sm + "ExecEnv.1.Enable", Value: "0"}, {Name: sm + "ExecutionUnit.3.RequestedState", Value: "Active"}}
	err := func(r fault.Reason) error { return fault.Errorf(r, "cannot: %s", r) }
	for _, tc := range []struct {
		name   string
		err    error
		code   uint32
		reason fault.Reason
		params string
	}{
		{"disabled", &model.SetError{Faults: map[int]error{1: err(fault.DisabledExecEnv)}}, 9003, fault.DisabledExecEnv, "1:9007"},
		{"gone", &model.SetError{Faults: map[int]error{1: err(fault.UnknownDU)}}, 9003, fault.UnknownDU, "1:9005"},
		{
			"both", fmt.Errorf("cannot set: %w", &model.SetError{Faults: map[int]error{0: err(fault.InvalidDUState), 1: err(fault.DisabledExecEnv)}}),
			9003, fault.InvalidArguments, "0:9007 1:9007",
		},
		{"same", &model.SetError{Faults: map[int]error{0: err(fault.DisabledExecEnv), 1: err(fault.DisabledExecEnv)}}, 9003, fault.DisabledExecEnv, "0:9007 1:9007"},
		{"protected", &model.SetError{Faults: map[int]error{0: err(fault.RequestDenied)}}, 9001, fault.RequestDenied, ""},
		{"defect", &model.SetError{Faults: map[int]error{0: errors.New("cannot")}}, 9002, fault.Internal, ""},
		{"whole", err(fault.Internal), 9002, fault.Internal, ""},
		{"too many", err(fault.TooManyOperations), 9004, fault.TooManyOperations, ""},
		{"unclassified", errors.New("cannot write"), 9002, fault.Internal, ""},
		{"empty", &model.SetError{}, 9002, fault.Internal, ""},
		{"out of range", &model.SetError{Faults: map[int]error{9: err(fault.DisabledExecEnv)}}, 9002, fault.Internal, ""},
	} {
		a := newAgent()
		a.err = tc.err
		_, err := cwmp.New(a, "").SetParameterValues(t.Context(), values, model.Origin{Name: "acs"})
		var f *cwmp.Fault
		if !errors.As(err, &f) {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var params []string
		for _, p := range f.Parameters {
			i := slices.IndexFunc(values, func(v cwmp.ParameterValue) bool { return v.Name == p.Name })
			params = append(params, fmt.Sprintf("%d:%d", i, p.Code))
		}
		if got := strings.Join(params, " "); f.Code != tc.code || f.Reason != tc.reason || got != tc.params {
			t.Errorf("%s: %d %s %q, want %d %s %q", tc.name, f.Code, f.Reason, got, tc.code, tc.reason, tc.params)
		}
		if f.Message == "" {
			t.Errorf("%s: no message", tc.name)
		}
	}
}

// large is a gateway with n units of one execution unit each, all of them running.
func large(n int) *agent {
	envs := []*model.ExecEnv{{ID: "osgi", Instance: 1, Alias: "cpe-osgi", Enable: true, Status: model.EEUp, Name: "5b7a0c4e-framework"}}
	var dus []*model.DeploymentUnit
	var eus []*model.ExecutionUnit
	for i := range uint32(n) {
		id := i + 1
		dus = append(dus, &model.DeploymentUnit{
			ID: id, Alias: fmt.Sprintf("cpe-%d", id), Env: "osgi", UUID: "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", Version: "1.0.0", Name: "org.example.bundle",
			Vendor: "example.org", URL: "https://server.example.org/bundles/bundle.jar", Status: model.DUInstalled, Resolved: true,
		})
		eus = append(eus, &model.ExecutionUnit{
			ID: id, Alias: fmt.Sprintf("cpe-%d", id), DU: id, Env: "osgi", EUID: fmt.Sprintf("osgi/fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6#%d", id),
			Name: "org.example.bundle", Status: model.EUActive, AutoStart: true, Memory: -1, Disk: 100,
		})
	}
	return &agent{snapshot: model.NewSnapshot(envs, dus, eus, nil)}
}

func BenchmarkGetParameterValues(b *testing.B) {
	face := cwmp.New(large(300), "")
	b.ReportAllocs()
	for b.Loop() {
		values, err := face.GetParameterValues([]string{sm})
		if err != nil || len(values) != 3+19+300*(16+21) {
			b.Fatal(len(values), err)
		}
	}
}

func BenchmarkGetOneParameter(b *testing.B) {
	face := cwmp.New(large(300), "")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := face.GetParameterValues([]string{sm + "ExecutionUnit.150.Status"}); err != nil {
			b.Fatal(err)
		}
	}
}

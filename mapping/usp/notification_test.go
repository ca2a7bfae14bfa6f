package usp_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/usp"
)

const uuid = "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6"

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func TestDUStateChange(t *testing.T) {
	installed := model.Result{
		Performed: model.PerformedInstall, UUID: uuid, DU: 5, Env: "osgi", Version: "1.0", State: model.ResultInstalled, Resolved: true, EUs: []model.RowID{3, 8},
		Start: noon.Add(-time.Hour), Transfer: noon, Complete: noon.Add(time.Minute),
	}
	arguments := map[string]string{
		"UUID": uuid, "DeploymentUnitRef": sm + "DeploymentUnit.5", "Version": "1.0", "CurrentState": "Installed", "Resolved": "true",
		"ExecutionUnitRefList": sm + "ExecutionUnit.3," + sm + "ExecutionUnit.8", "StartTime": "2026-05-04T12:00:00Z",
		"CompleteTime": "2026-05-04T12:01:00Z", "OperationPerformed": "Install", "Fault.FaultCode": "0", "Fault.FaultString": "",
	}
	for _, tc := range []struct {
		name    string
		version string
		change  func(*model.Result)
		want    map[string]string // what is different
	}{
		{"installed", "2.19", func(*model.Result) {}, nil},
		{"installed, older", "2.15", func(*model.Result) {}, nil},
		{"uninstalled", "2.19", func(r *model.Result) {
			r.Performed, r.State, r.Transfer = model.PerformedUninstall, model.ResultUninstalled, time.Time{}
		}, map[string]string{"OperationPerformed": "Uninstall", "CurrentState": "Uninstalled", "StartTime": "2026-05-04T11:00:00Z"}},
		{"uninstalled, older", "2.15", func(r *model.Result) {
			r.Performed, r.State, r.Transfer = model.PerformedUninstall, model.ResultUninstalled, time.Time{}
		}, map[string]string{"OperationPerformed": "Uninstall", "CurrentState": "UnInstalled", "StartTime": "2026-05-04T11:00:00Z"}},
		{"failed", "2.19", func(r *model.Result) {
			*r = model.Result{Performed: model.PerformedInstall, Env: "osgi", State: model.ResultFailed, Start: noon, Fault: fault.PackageCorrupt, Message: "cannot read it"}
		}, map[string]string{
			"UUID": "", "DeploymentUnitRef": "", "Version": "", "CurrentState": "Failed", "Resolved": "false", "ExecutionUnitRefList": "",
			"StartTime": "0001-01-01T00:00:00Z", "CompleteTime": "0001-01-01T00:00:00Z", "Fault.FaultCode": "7035", "Fault.FaultString": "cannot read it",
		}},
		{"more than there is room for", "2.19", func(r *model.Result) {
			r.UUID, r.Version, r.Message = strings.Repeat("u", 36), strings.Repeat("1", 33), strings.Repeat("ä", 257)+"\x00"
			r.EUs = slices.Repeat([]model.RowID{3}, 100)
		}, map[string]string{
			"UUID": "", "Version": strings.Repeat("1", 32), "Fault.FaultString": strings.Repeat("ä", 256),
			"ExecutionUnitRefList": sm + "ExecutionUnit.3" + strings.Repeat(","+sm+"ExecutionUnit.3", 99),
		}},
		{"a UUID in upper case", "2.19", func(r *model.Result) { r.UUID = strings.ToUpper(uuid) }, map[string]string{"UUID": strings.ToUpper(uuid)}},
	} {
		r := installed
		tc.change(&r)
		want := map[string]string{}
		for k, v := range arguments {
			want[k] = v
		}
		for k, v := range tc.want {
			want[k] = v
		}
		n, ok := usp.New(newAgent(), tc.version).Notification(&model.Notification{Kind: model.NotifyDUStateChange, Result: &r})
		if !ok || n.Kind != usp.KindEvent || n.Object != sm || n.Event != "DUStateChange!" || !cmp.Equal(n.Arguments, want) {
			t.Errorf("%s: %+v, %t\n%s", tc.name, n, ok, cmp.Diff(want, n.Arguments))
		}
	}
	// Each fault has its number of the event.
	for _, reason := range fault.Reasons() {
		r := model.Result{Performed: model.PerformedUpdate, State: model.ResultInstalled, Fault: reason}
		n, _ := usp.New(newAgent(), "").Notification(&model.Notification{Kind: model.NotifyDUStateChange, Result: &r})
		if got := n.Arguments["Fault.FaultCode"]; got != fmt.Sprint(usp.Event(reason)) {
			t.Errorf("%s is %s", reason, got)
		}
	}
}

func TestRestarted(t *testing.T) {
	note := &model.Notification{Kind: model.NotifyRestarted, Env: "lxc", Reason: "why", Time: noon}
	n, ok := usp.New(newAgent(), "").Notification(note)
	want := usp.Notification{
		Kind: usp.KindEvent, Object: sm + "ExecEnv.2.", Event: "Restarted!",
		Arguments: map[string]string{"RestartTime": "2026-05-04T12:00:00Z", "RestartReason": "why"},
	}
	if !ok || !cmp.Equal(n, want) {
		t.Errorf("%t, %s", ok, cmp.Diff(n, want))
	}
	if n, ok := usp.New(newAgent(), softwaremodules.OlderVersion).Notification(note); ok {
		t.Errorf("before 2.16: %+v", n)
	}
	if n, ok := usp.New(newAgent(), "").Notification(&model.Notification{Kind: model.NotifyRestarted, Env: "gone"}); ok {
		t.Errorf("of an environment that is gone: %+v", n)
	}
}

func TestOperationComplete(t *testing.T) {
	origin := model.Origin{Name: "proto::c", Command: sm + "InstallDU()", CommandKey: "key"}
	result := model.Result{UUID: uuid, Version: "1.0", Env: "lxc"}
	of := func(version string, n model.Notification) (usp.Notification, bool) {
		n.Kind, n.Job = model.NotifyOperationComplete, 7
		return usp.New(newAgent(), version).Notification(&n)
	}
	complete := usp.Notification{
		Kind: usp.KindOperationComplete, Object: sm, Command: "InstallDU()", CommandKey: "key", Originator: "proto::c", Job: 7,
		Arguments: map[string]string{"UUID": uuid, "Version": "1.0", "ExecEnvRef": sm + "ExecEnv.2"},
	}
	if n, ok := of("", model.Notification{Origin: origin, Outputs: []model.Result{result}, Message: "a remark"}); !ok || !cmp.Equal(n, complete) {
		t.Errorf("a success: %t, %s", ok, cmp.Diff(n, complete))
	}
	long := complete
	long.Arguments = map[string]string{"UUID": "", "Version": strings.Repeat("1", 32), "ExecEnvRef": sm + "ExecEnv.2"}
	n, ok := of("", model.Notification{Origin: origin, Outputs: []model.Result{{UUID: "u5", Version: strings.Repeat("1", 33), Env: "lxc"}}})
	if !ok || !cmp.Equal(n, long) {
		t.Errorf("outputs that are too long: %t, %s", ok, cmp.Diff(n, long))
	}
	older := complete
	older.Arguments = map[string]string{}
	if n, ok := of("2.15", model.Notification{Origin: origin, Outputs: []model.Result{result}}); !ok || !cmp.Equal(n, older) {
		t.Errorf("a success before 2.18: %t, %s", ok, cmp.Diff(n, older))
	}
	for _, r := range fault.Reasons() {
		want := older
		want.Status = usp.Status{Code: usp.OperationComplete(r), Text: "no"}
		if n, ok := of("", model.Notification{Origin: origin, Fault: r, Message: "no", Outputs: []model.Result{result}}); !ok || !cmp.Equal(n, want) {
			t.Errorf("%s: %t, %s", r, ok, cmp.Diff(n, want))
		}
	}
	want := older
	want.Object, want.Command = sm+"DeploymentUnit.9.", "Uninstall()" // the row is gone by now
	o := origin
	o.Command = sm + "DeploymentUnit.9.Uninstall()"
	if n, ok := of("", model.Notification{Origin: o, Outputs: []model.Result{result}}); !ok || !cmp.Equal(n, want) {
		t.Errorf("an uninstall: %t, %s", ok, cmp.Diff(n, want))
	}
	for _, n := range []model.Notification{{Origin: model.Origin{Name: "x"}}, {Origin: model.Origin{Command: "x"}}} {
		if n, ok := of("", n); ok {
			t.Errorf("of no command: %+v", n)
		}
	}
	if n, ok := usp.New(newAgent(), "").Notification(&model.Notification{Kind: "Rain"}); ok {
		t.Errorf("of an unknown kind: %+v", n)
	}
}

// told writes notifications as lines.
func told(all []usp.Notification) (lines []string) {
	for _, n := range all {
		line := string(n.Kind) + " " + strings.TrimPrefix(n.Object+n.Parameter, sm)
		if n.Kind == usp.KindValueChange {
			line += "=" + n.Value
		}
		if n.Kind == usp.KindObjectCreation {
			line += " " + n.Arguments["Alias"]
		}
		lines = append(lines, line)
	}
	return lines
}

func TestDifferences(t *testing.T) {
	a := newAgent()
	face := usp.New(a, "")
	before := a.snapshot
	d := model.NewDraft()
	for e := range before.ExecEnvs() {
		d.PutExecEnv(e)
	}
	for u := range before.DeploymentUnits() {
		d.PutDeploymentUnit(u)
	}
	for u := range before.ExecutionUnits() {
		d.PutExecutionUnit(u)
	}
	// Unit 6 goes with its execution unit 4, unit 7 comes, execution unit 3 is stopped.
	d.Delete(model.Ref{Kind: model.KindDeploymentUnit, Instance: 6})
	d.Delete(model.Ref{Kind: model.KindExecutionUnit, Instance: 4})
	d.PutDeploymentUnit(&model.DeploymentUnit{ID: 7, Alias: "cpe-7", Env: "osgi"})
	d.PutDeploymentUnit(&model.DeploymentUnit{ID: 8, Alias: "cpe-8", Env: "osgi"})
	stopped := *before.ExecutionUnit(3)
	stopped.Status = model.EUIdle
	d.PutExecutionUnit(&stopped)
	after := d.Freeze()
	refs := []model.Ref{
		{}, {Kind: model.KindExecEnv, Instance: 1}, {Kind: model.KindDeploymentUnit, Instance: 5}, {Kind: model.KindDeploymentUnit, Instance: 6},
		{Kind: model.KindDeploymentUnit, Instance: 7}, {Kind: model.KindDeploymentUnit, Instance: 8},
		{Kind: model.KindExecutionUnit, Instance: 3}, {Kind: model.KindExecutionUnit, Instance: 4}, {Kind: model.KindJob, Instance: 1}, {Kind: model.KindPolicy},
	}
	want := []string{
		"ObjectCreation DeploymentUnit.7. cpe-7", "ObjectCreation DeploymentUnit.8. cpe-8",
		"ValueChange DeploymentUnitNumberOfEntries=3", "ValueChange ExecutionUnitNumberOfEntries=1",
		"ValueChange ExecEnv.1.ActiveExecutionUnits=", "ValueChange ExecutionUnit.3.Status=Idle",
		"ObjectDeletion ExecutionUnit.4.", "ObjectDeletion DeploymentUnit.6.",
	}
	if got := told(face.Differences(before, after, refs)); !slices.Equal(got, want) {
		t.Errorf("the differences are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got := face.Differences(after, after, refs); len(got) != 0 {
		t.Errorf("of the same state is told %q", told(got))
	}
	created := face.Differences(before, after, refs[4:5])
	if want := map[string]string{"Alias": "cpe-7", "UUID": "", "Version": "", "ExecutionEnvRef": sm + "ExecEnv.1"}; len(created) != 1 || !cmp.Equal(created[0].Arguments, want) {
		t.Errorf("the creation is %+v", created)
	}
}

// An update that replaces the variables of a unit takes their rows away in each of its execution units and makes others.
func TestDifferencesOfVariables(t *testing.T) {
	with := func(s model.UnitSettings) *model.Snapshot {
		return model.NewSnapshot(nil,
			[]*model.DeploymentUnit{{ID: 5, Settings: s}},
			[]*model.ExecutionUnit{{ID: 3, DU: 5}, {ID: 4, DU: 5}, {ID: 6}}, nil)
	}
	before := with(model.UnitSettings{Variables: []model.Variable{{Number: 1, Key: "A", Value: "1"}, {Number: 2, Key: "B", Value: "1"}}, Limits: model.Limits{Memory: 8}})
	after := with(model.UnitSettings{Variables: []model.Variable{{Number: 2, Key: "B", Value: "2"}, {Number: 3, Key: "C"}, {Number: 4, Key: "D"}}})
	var refs []model.Ref
	for _, eu := range []uint32{3, 4, 6} {
		refs = append(refs, model.Ref{Kind: model.KindExecutionUnit, Instance: eu})
	}
	var want []string
	for _, line := range []string{
		"ObjectCreation EnvVariable.3. cpe-3", "ObjectCreation EnvVariable.4. cpe-4",
		"ValueChange AllocatedMemory=-1", "ValueChange EnvVariableNumberOfEntries=3", "ValueChange EnvVariable.2.Value=2", "ObjectDeletion EnvVariable.1.",
	} {
		kind, rest, _ := strings.Cut(line, " ")
		want = append(want, kind+" ExecutionUnit.3."+rest, kind+" ExecutionUnit.4."+rest)
	}
	face := usp.New(newAgent(), "")
	got := face.Differences(before, after, refs)
	if lines := told(got); !slices.Equal(slices.Sorted(slices.Values(lines)), slices.Sorted(slices.Values(want))) {
		t.Errorf("the differences are\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if want := map[string]string{"Alias": "cpe-3", "Key": "C"}; !cmp.Equal(got[0].Arguments, want) {
		t.Errorf("the unique keys of %s are %v, want %v", got[0].Object, got[0].Arguments, want)
	}
}

// Application data is within its environment and told with it; the execution units that can use it name it.
func TestDifferencesOfApplicationData(t *testing.T) {
	a := newAgentWithData()
	before := a.snapshot
	d := (&model.Draft{Snapshot: *before}).Copy()
	d.Delete(model.Ref{Kind: model.KindVolume, Instance: 3}) // somebody has removed what was kept
	full := *before.Volume(2)
	full.Utilization, full.Alias = 64, "home"
	d.PutVolume(&full)
	d.PutVolume(&model.Volume{ID: 11, Alias: "cpe-11", Env: "osgi", UUID: "u6", Name: "new", Retain: model.Forever}) // an update of unit 6 made it
	d.PutVolume(&model.Volume{ID: 12, Alias: "cpe-12", Env: "osgi", UUID: "u6", Name: "other", Retain: model.Forever})
	after := d.Freeze()
	refs := []model.Ref{
		{Kind: model.KindExecEnv, Instance: 1}, {Kind: model.KindExecEnv, Instance: 2}, {Kind: model.KindExecutionUnit, Instance: 3}, {Kind: model.KindExecutionUnit, Instance: 4},
	}
	const osgi = "ExecEnv.1.ApplicationData."
	want := []string{
		"ObjectCreation " + osgi + "11. cpe-11", "ObjectCreation " + osgi + "12. cpe-12",
		"ValueChange ExecEnv.1.ApplicationDataNumberOfEntries=4",
		"ValueChange " + osgi + "2.Alias=home", "ValueChange " + osgi + "2.Utilization=64",
		"ValueChange ExecutionUnit.4.ApplicationDataList=" + sm + osgi + "11," + sm + osgi + "12",
		"ObjectDeletion " + osgi + "3.",
	}
	face := usp.New(a, "")
	got := face.Differences(before, after, refs)
	if lines := told(got); !slices.Equal(lines, want) {
		t.Errorf("the differences are\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if want := map[string]string{"Alias": "cpe-11", "ApplicationUUID": "u6", "Name": "new"}; len(got) == 0 || !cmp.Equal(got[0].Arguments, want) {
		t.Errorf("the creation is told as %+v, want the unique keys %v", got, want)
	}
	if got := usp.New(a, softwaremodules.OlderVersion).Differences(before, after, refs); len(got) != 0 {
		t.Errorf("before 2.16 is told %q", told(got))
	}
}

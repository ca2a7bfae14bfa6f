package cwmp_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

const data = sm + "ExecEnv.1.ApplicationData."

// newAgentWithData returns the agent of newAgent with application data of a unit that its execution unit 4 belongs to.
func newAgentWithData() *agent {
	a := newAgent()
	d := (&model.Draft{Snapshot: *a.snapshot}).Copy()
	d.PutDeploymentUnit(&model.DeploymentUnit{ID: 5, Env: "osgi", UUID: "u5"})
	u := *a.snapshot.ExecutionUnit(4)
	u.DU = 5
	d.PutExecutionUnit(&u)
	d.PutVolume(&model.Volume{ID: 2, Alias: "cpe-2", Env: "osgi", UUID: "u5", Name: "db", Capacity: 64, Encrypted: true, Retain: model.Forever, AccessPath: "/db"})
	d.PutVolume(&model.Volume{ID: 6, Alias: "cpe-6", Env: "osgi", UUID: "u5", Name: "cache", Capacity: 1, Retain: model.UntilStopped, AccessPath: "/c"})
	a.snapshot = d.Freeze()
	return a
}

// An ACS sees application data and can name its rows; rows are made and removed by others (TR-181, CWMP, Device.SoftwareModules.).
func TestApplicationData(t *testing.T) {
	a := newAgentWithData()
	face := cwmp.New(a, "")
	names, err := face.GetParameterNames(data+"[cpe-2].", true)
	var writable []string
	for _, n := range names {
		if n.Writable {
			writable = append(writable, n.Name)
		}
	}
	if err != nil || len(names) != 8 || !slices.Equal(writable, []string{data + "[cpe-2].Alias"}) {
		t.Errorf("the row has %v, %v; want 8 parameters, of which its Alias can be written", names, err)
	}
	if rows, err := face.GetParameterNames(data, true); err != nil || !slices.Equal(rows, []cwmp.ParameterName{{Name: data + "2."}, {Name: data + "6."}}) {
		t.Errorf("the table has %v, %v", rows, err)
	}
	values, err := face.GetParameterValues([]string{data + "[cpe-2].", sm + "ExecEnv.1.ApplicationDataNumberOfEntries", sm + "ExecutionUnit.4.ApplicationDataList"})
	row := data + "[cpe-2]."
	want := []cwmp.ParameterValue{
		{Name: row + "Alias", Type: "xsd:string", Value: "cpe-2"}, {Name: row + "ApplicationUUID", Type: "xsd:string", Value: "u5"},
		{Name: row + "Name", Type: "xsd:string", Value: "db"}, {Name: row + "Capacity", Type: "xsd:unsignedInt", Value: "64"},
		{Name: row + "Encrypted", Type: "xsd:boolean", Value: "true"}, {Name: row + "Retain", Type: "xsd:string", Value: "Forever"},
		{Name: row + "AccessPath", Type: "xsd:string", Value: "/db"}, {Name: row + "Utilization", Type: "xsd:unsignedInt", Value: "0"},
		{Name: sm + "ExecEnv.1.ApplicationDataNumberOfEntries", Type: "xsd:unsignedInt", Value: "2"},
		{Name: sm + "ExecutionUnit.4.ApplicationDataList", Type: "xsd:string", Value: data + "2," + data + "6"},
	}
	if diff := cmp.Diff(want, values); err != nil || diff != "" {
		t.Errorf("%v, the values differ by\n%s", err, diff)
	}
	if _, err := face.SetParameterValues(t.Context(), []cwmp.ParameterValue{{Name: row + "Alias", Value: "home"}}, model.Origin{}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]model.Assignment{{Row: model.Ref{Kind: model.KindVolume, Instance: 2}, Attribute: model.Alias, Value: "home"}}, a.set); diff != "" {
		t.Errorf("what is set differs by\n%s", diff)
	}
	if got := face.Targets([]cwmp.ParameterValue{{Name: row + "Alias", Value: "home"}}); !slices.Equal(got, []string{data + "2.Alias"}) {
		t.Errorf("the write is about %q", got)
	}
	for name, want := range map[string]uint32{row + "Name": 9008, row + "Utilization": 9008, data + "9.Alias": 9005, data + "Alias": 9005} {
		_, err := face.SetParameterValues(t.Context(), []cwmp.ParameterValue{{Name: name, Value: "1"}}, model.Origin{})
		if f, ok := err.(*cwmp.Fault); !ok || f.Code != 9003 || len(f.Parameters) != 1 || f.Parameters[0].Code != want {
			t.Errorf("a write of %s: %+v, want %d", name, err, want)
		}
	}
	if _, err := face.AddObject(data); code(err) != 9005 {
		t.Errorf("AddObject: %v", err)
	}
	if err := face.DeleteObject(data + "2."); code(err) != 9005 {
		t.Errorf("DeleteObject: %v", err)
	}
	if _, err := cwmp.New(a, softwaremodules.OlderVersion).GetParameterNames(data, true); code(err) != 9005 {
		t.Errorf("before 2.16: %v", err)
	}
}

// Rows that come and go are told by their number, those that stay by what has changed in them: all of it belongs to the environment, and the list of
// them to the execution units.
func TestChangedApplicationData(t *testing.T) {
	a := newAgentWithData()
	old := a.snapshot
	d := (&model.Draft{Snapshot: *old}).Copy()
	more := *old.Volume(2)
	more.Utilization, more.Capacity = 3, 128
	d.PutVolume(&more)
	d.Delete(model.Ref{Kind: model.KindVolume, Instance: 6})
	next := d.Freeze()
	env, unit := model.Ref{Kind: model.KindExecEnv, Instance: 1}, model.Ref{Kind: model.KindExecutionUnit, Instance: 4}
	face := cwmp.New(a, "")
	if got := face.Changed(old, next, []model.Ref{env, unit}); len(got) != 0 {
		t.Errorf("of what is not to be notified of is told %v", got)
	}
	next.Attributes = map[string]int{
		data + "2.Utilization": 2, data + "6.Utilization": 2, sm + "ExecEnv.1.ApplicationDataNumberOfEntries": 1, sm + "ExecutionUnit.4.ApplicationDataList": 1,
	}
	want := []cwmp.Change{
		{Ref: env, ParameterValue: cwmp.ParameterValue{Name: sm + "ExecEnv.1.ApplicationDataNumberOfEntries", Type: "xsd:unsignedInt", Value: "1"}},
		{Ref: env, ParameterValue: cwmp.ParameterValue{Name: data + "2.Utilization", Type: "xsd:unsignedInt", Value: "3"}},
		{Ref: unit, ParameterValue: cwmp.ParameterValue{Name: sm + "ExecutionUnit.4.ApplicationDataList", Type: "xsd:string", Value: data + "2"}},
	}
	if diff := cmp.Diff(want, face.Changed(old, next, []model.Ref{env, unit})); diff != "" {
		t.Errorf("the changes differ by\n%s", diff)
	}
	// A change that waits for the ACS is not told any more once its row is gone.
	if got := face.Values(next, []string{data + "2.Utilization", data + "6.Utilization"}); len(got) != 1 || got[0].Name != data+"2.Utilization" {
		t.Errorf("the values are %v", got)
	}
}

// Attributes are kept by the path with instance numbers.
func TestAttributesOfApplicationData(t *testing.T) {
	a := newAgentWithData()
	face := cwmp.New(a, "")
	if err := face.SetParameterAttributes(t.Context(), []cwmp.AttributeSetting{{data + "[cpe-6].Utilization", 2}}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{data + "6.Utilization": 2}, a.attributes); diff != "" {
		t.Errorf("what is kept differs by\n%s", diff)
	}
	a.snapshot.Attributes = a.attributes
	want := []cwmp.ParameterAttribute{{data + "[cpe-6].Utilization", 2, false}, {data + "2.Alias", 0, true}}
	got, err := face.GetParameterAttributes([]string{data + "[cpe-6].Utilization", data + "2.Alias"})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, the attributes differ by\n%s", err, diff)
	}
}

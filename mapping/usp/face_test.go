package usp_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/usp"
)

const sm = "Device.SoftwareModules."

// agent is an agent of one snapshot that writes down what it is asked.
type agent struct {
	snapshot *model.Snapshot
	asked    []any
	origin   model.Origin
	err      error
	// refuse is asked for each assignment; nil: none is refused.
	refuse func(model.Assignment) error
}

func (a *agent) Snapshot() *model.Snapshot { return a.snapshot }

func (a *agent) Set(_ context.Context, as []model.Assignment, o model.Origin) ([]uint32, error) {
	faults := map[int]error{}
	for i, s := range as {
		if a.refuse != nil {
			if err := a.refuse(s); err != nil {
				faults[i] = err
			}
		}
	}
	if len(faults) > 0 {
		return nil, &model.SetError{Faults: faults}
	}
	_, err := a.ask(as, o)
	return nil, err
}

func (a *agent) ask(what any, o model.Origin) (uint32, error) {
	if a.err != nil {
		return 0, a.err
	}
	a.asked, a.origin = append(a.asked, what), o
	return uint32(len(a.asked)), nil
}

func (a *agent) Install(_ context.Context, r model.InstallRequest) (uint32, error) {
	if r.ExecEnv != "" && a.snapshot.ExecEnvByID(r.ExecEnv) == nil {
		return 0, fault.Errorf(fault.UnknownExecEnv, "cannot find the environment %s", r.ExecEnv)
	}
	o := r.Originator
	r.Originator = model.Origin{}
	return a.ask(r, o)
}

func (a *agent) Update(_ context.Context, r model.UpdateRequest) (uint32, error) {
	o := r.Originator
	r.Originator = model.Origin{}
	return a.ask(r, o)
}

func (a *agent) Uninstall(_ context.Context, r model.UninstallRequest) (uint32, error) {
	what := fmt.Sprint("uninstall ", r.DU)
	if r.RetainData {
		what += " and retain data"
	}
	return a.ask(what, r.Originator)
}

func (a *agent) RemoveVolume(_ context.Context, instance uint32, o model.Origin) error {
	_, err := a.ask(fmt.Sprint("remove volume ", instance), o)
	return err
}

func (a *agent) Request(_ context.Context, eu model.RowID, r model.Request, o model.Origin) (uint32, error) {
	return a.ask(fmt.Sprint(r, " ", eu), o)
}

func (a *agent) RestartExecEnv(_ context.Context, instance uint32, reason string, o model.Origin) (uint32, error) {
	return a.ask(fmt.Sprintf("restart %d %q", instance, reason), o)
}

func (a *agent) Constrain(_ context.Context, r model.ConstrainRequest) (uint32, error) {
	o := r.Originator
	r.Originator = model.Origin{}
	return a.ask(r, o)
}

func (a *agent) ResetExecEnv(_ context.Context, instance uint32, kind string, o model.Origin) (uint32, error) {
	return a.ask(fmt.Sprintf("reset %d %s", instance, kind), o)
}

func newAgent() *agent {
	return &agent{snapshot: model.NewSnapshot(
		[]*model.ExecEnv{
			{ID: "osgi", Instance: 1, Alias: "cpe-osgi", Name: "f3a1", Enable: true, Status: model.EEUp, CurrentRunLevel: 1, AllocatedDisk: -1},
			{ID: "lxc", Instance: 2, Alias: "cpe-lxc", Name: "lxc", Parent: "osgi", Status: model.EEDisabled, CurrentRunLevel: -1},
		},
		[]*model.DeploymentUnit{
			{ID: 5, Alias: "cpe-5", UUID: "u5", Version: "1.0", Env: "osgi", Status: model.DUInstalled, Resolved: true},
			{ID: 6, Alias: "cpe-6", UUID: "u6", Version: "1.0", Env: "osgi", Status: model.DUInstalled},
		},
		[]*model.ExecutionUnit{
			{ID: 3, Alias: "cpe-3", DU: 5, Env: "osgi", EUID: "osgi/u5", Status: model.EUActive, RunLevel: 3},
			{ID: 4, Alias: "cpe-4", DU: 6, Env: "osgi", EUID: "osgi/u6", Status: model.EUIdle, RunLevel: 1},
		}, nil)}
}

// newAgentWithData returns the agent of newAgent with application data: of unit 5, of a unit that is gone, and on the other environment.
func newAgentWithData() *agent {
	a := newAgent()
	d := (&model.Draft{Snapshot: *a.snapshot}).Copy()
	for _, v := range []model.Volume{
		{ID: 2, Alias: "cpe-2", Env: "osgi", UUID: "u5", Name: "db", Capacity: 64, Retain: model.Forever, AccessPath: "/db"},
		{ID: 3, Alias: "cpe-3", Env: "osgi", UUID: "u7", Name: "db", Capacity: 8, Retain: model.Forever, AccessPath: "/db", Utilization: 8},
		{ID: 9, Alias: "cpe-9", Env: "lxc", UUID: "u5", Name: "cache", Capacity: 1, Retain: model.UntilStopped, AccessPath: "/c"},
		{ID: 10, Alias: "cpe-10", Env: "osgi", UUID: "u5", Name: "cache", Capacity: 1, Retain: model.UntilStopped, AccessPath: "/c"},
	} {
		d.PutVolume(&v)
	}
	a.snapshot = d.Freeze()
	return a
}

// get returns the answer to one path as lines: object, parameter and value.
func get(r usp.GetResult) (lines []string) {
	for _, o := range r.Objects {
		for _, k := range slices.Sorted(maps.Keys(o.Parameters)) {
			lines = append(lines, o.Path+k+"="+o.Parameters[k])
		}
	}
	return lines
}

func TestGet(t *testing.T) {
	face := usp.New(newAgent(), "")
	for _, tc := range []struct {
		path string
		code uint32
		want []string
	}{
		{sm + "ExecEnv.1.Enable", 0, []string{sm + "ExecEnv.1.Enable=true"}},
		{sm + "ExecEnv.*.Enable", 0, []string{sm + "ExecEnv.1.Enable=true", sm + "ExecEnv.2.Enable=false"}},
		{sm + `ExecEnv.[Alias=="cpe-lxc"].Name`, 0, []string{sm + "ExecEnv.2.Name=lxc"}},
		{sm + `DeploymentUnit.[UUID=="u6"&&ExecutionEnvRef=="Device.SoftwareModules.ExecEnv.1"&&Version=="1.0"].Alias`, 0, []string{sm + "DeploymentUnit.6.Alias=cpe-6"}},
		{sm + "DeploymentUnit.*.ExecutionEnvRef+.Name", 0, []string{sm + "ExecEnv.1.Name=f3a1"}},
		{sm + "ExecEnv.1.ActiveExecutionUnits#*+.EUID", 0, []string{sm + "ExecutionUnit.3.EUID=osgi/u5"}},
		{sm + "ExecEnv.2.ParentExecEnv+.ActiveExecutionUnits+.RunLevel", 0, []string{sm + "ExecutionUnit.3.RunLevel=3"}},
		{sm + "ExecutionUnit.[RunLevel>1].RunLevel", 0, []string{sm + "ExecutionUnit.3.RunLevel=3"}},
		{sm + `ExecutionUnit.[Status=="Stopping"].`, 0, nil},
		{sm + "ExecEnvClass.", 0, nil},
		{sm + "ExecutionUnit.3.Extensions.", 0, nil},

		{sm + "ExecEnv.9.Enable", 7026, nil},
		{sm + `ExecEnv.[Alias=="x"].Enable`, 7026, nil}, // an address and no search
		{sm + "ExecEnv.1.ParentExecEnv+.Name", 7026, nil},
		{sm + "ExecEnv.1.Reset", 7026, nil}, // of CWMP
		{sm + "ExecEnv.*.Nothing", 7026, nil},
		{sm + "ExecEnv.1", 7026, nil},
		{sm + "InstallDU()", 7026, nil},
		{sm + "DUStateChange!", 7026, nil},
		{"Device.DeviceInfo.", 7026, nil},
		{"", 7008, nil},
		{"Device..", 7008, nil},
		{sm + "ExecEnv.[Alias==cpe].", 7008, nil},
		{sm + "ExecEnv.[].", 7008, nil},
		{sm + "ExecEnv.{i}.Name", 7008, nil},
	} {
		r := face.Get([]string{tc.path}, 0)
		if len(r) != 1 || r[0].Requested != tc.path || r[0].Code != tc.code || (r[0].Text == "") != (tc.code == 0) || !slices.Equal(get(r[0]), tc.want) {
			t.Errorf("Get(%s) = %+v, want code %d and %q", tc.path, r, tc.code, tc.want)
		}
	}
}

func TestGetOfApplicationData(t *testing.T) {
	a := newAgentWithData()
	d := (&model.Draft{Snapshot: *a.snapshot}).Copy()
	d.PutDeploymentUnit(&model.DeploymentUnit{ID: 20, UUID: "u5", Env: "lxc"}) // the same unit on the other environment
	d.PutExecutionUnit(&model.ExecutionUnit{ID: 21, DU: 20, Env: "lxc"})
	a.snapshot = d.Freeze()
	face := usp.New(a, "")
	const osgi, lxc = sm + "ExecEnv.1.ApplicationData.", sm + "ExecEnv.2.ApplicationData."
	for _, tc := range []struct {
		path string
		code uint32
		want []string
	}{
		{sm + "ExecEnv.*.ApplicationDataNumberOfEntries", 0, []string{sm + "ExecEnv.1.ApplicationDataNumberOfEntries=3", sm + "ExecEnv.2.ApplicationDataNumberOfEntries=1"}},
		{sm + "ExecutionUnit.3.ApplicationDataList", 0, []string{sm + "ExecutionUnit.3.ApplicationDataList=" + osgi + "2," + osgi + "10"}},
		{sm + "ExecutionUnit.21.ApplicationDataList", 0, []string{sm + "ExecutionUnit.21.ApplicationDataList=" + lxc + "9"}},
		{sm + "ExecutionUnit.4.ApplicationDataList", 0, []string{sm + "ExecutionUnit.4.ApplicationDataList="}},
		{sm + "ExecutionUnit.3.ApplicationDataList#*+.Name", 0, []string{osgi + "2.Name=db", osgi + "10.Name=cache"}},
		{sm + "ExecutionUnit.3.ApplicationDataList#2+.Name", 0, []string{osgi + "10.Name=cache"}},
		{sm + "ExecEnv.*.ApplicationData.*.Name", 0, []string{osgi + "2.Name=db", osgi + "3.Name=db", osgi + "10.Name=cache", lxc + "9.Name=cache"}},
		{osgi + `[ApplicationUUID=="u7"&&Name=="db"].Utilization`, 0, []string{osgi + "3.Utilization=8"}},
		{osgi + `[Name=="db"&&ApplicationUUID=="u5"].Capacity`, 0, []string{osgi + "2.Capacity=64"}},
		{osgi + `[Alias=="cpe-10"].Retain`, 0, []string{osgi + "10.Retain=UntilStopped"}},
		{osgi + `[Retain=="Forever"&&Utilization>0].Name`, 0, []string{osgi + "3.Name=db"}},
		{osgi + `[Retain=="Forever"&&Utilization>8].Name`, 0, nil},
		{osgi + `[ApplicationUUID=="u7"&&Name=="cache"].Utilization`, 7026, nil}, // an address and no search
		{osgi + "9.Name", 7026, nil}, // it is on the other environment
		{osgi + "Remove()", 7026, nil},
	} {
		r := face.Get([]string{tc.path}, 0)
		if len(r) != 1 || r[0].Code != tc.code || !slices.Equal(get(r[0]), tc.want) {
			t.Errorf("Get(%s) = %+v, want code %d and %q", tc.path, r, tc.code, tc.want)
		}
	}
	keys := []string{osgi + "2.Alias=cpe-2", osgi + "2.ApplicationUUID=u5", osgi + "2.Name=db"}
	if r := face.GetInstances([]string{osgi}, true)[0]; r.Code != 0 || len(r.Objects) != 3 || !slices.Equal(get(r)[:3], keys) {
		t.Errorf("the instances are %+v, the first one should have %q", r, keys)
	}
	older := usp.New(newAgentWithData(), softwaremodules.OlderVersion)
	for _, path := range []string{osgi, sm + "ExecutionUnit.3.ApplicationDataList"} {
		if r := older.Get([]string{path}, 0)[0]; r.Code != 7026 {
			t.Errorf("before 2.16: Get(%s) = %+v", path, r)
		}
	}
}

func TestGetMaxDepth(t *testing.T) {
	face := usp.New(newAgent(), "")
	objects := func(path string, depth uint32) (list []string) {
		for _, o := range face.Get([]string{path}, depth)[0].Objects {
			list = append(list, strings.TrimPrefix(o.Path, sm))
		}
		return list
	}
	rows := []string{"", "ExecEnv.1.", "ExecEnv.2.", "DeploymentUnit.5.", "DeploymentUnit.6.", "ExecutionUnit.3.", "ExecutionUnit.4."}
	below := slices.Concat(rows[:6], []string{"ExecutionUnit.3.NetworkConfig."}, rows[6:], []string{"ExecutionUnit.4.NetworkConfig."})
	for _, tc := range []struct {
		path  string
		depth uint32
		want  []string
	}{
		{sm, 1, rows[:1]}, {sm, 2, rows}, {"Device.", 2, rows[:1]}, {"Device.", 1, nil},
		{sm + "ExecEnv.", 1, rows[1:3]}, {sm + "ExecEnv.*.", 1, rows[1:3]}, {sm + "ExecutionUnit.3.", 1, rows[5:6]},
		{sm + "ExecEnv.1.Name", 1, rows[1:2]},
	} {
		if got := objects(tc.path, tc.depth); !slices.Equal(got, tc.want) {
			t.Errorf("Get(%s, %d) tells %q, want %q", tc.path, tc.depth, got, tc.want)
		}
	}
	for _, depth := range []uint32{0, 3, 100} {
		got := slices.DeleteFunc(objects(sm, depth), func(p string) bool { return strings.HasSuffix(p, "AutoRestart.") })
		if !slices.Equal(got, below) {
			t.Errorf("Get(%s, %d) tells %q, want %q", sm, depth, got, below)
		}
	}
}

// readable is an agent for CWMP that can be read and nothing else.
type readable struct {
	cwmp.Agent
	snapshot *model.Snapshot
}

func (r readable) Snapshot() *model.Snapshot { return r.snapshot }

// TestGetAgreesWithCWMP compares what both protocols know of the same rows.
func TestGetAgreesWithCWMP(t *testing.T) {
	a := newAgentWithData()
	for _, version := range []string{softwaremodules.Version, softwaremodules.OlderVersion} {
		values, err := cwmp.New(readable{snapshot: a.snapshot}, version).GetParameterValues([]string{sm})
		if err != nil {
			t.Fatal(err)
		}
		there := map[string]string{}
		for _, v := range values {
			there[v.Name] = v.Value
		}
		common := 0
		for _, o := range usp.New(a, version).Get([]string{sm}, 0)[0].Objects {
			for name, value := range o.Parameters {
				if want, known := there[o.Path+name]; known {
					common++
					if value != want {
						t.Errorf("%s%s is %q, in CWMP %q", o.Path, name, value, want)
					}
				}
			}
		}
		if common < 50 {
			t.Errorf("only %d parameters are common", common)
		}
	}
}

func TestGetAnswersOnlySoMuch(t *testing.T) {
	a := newAgent()
	var units []*model.DeploymentUnit
	for i := range uint32(100) {
		units = append(units, &model.DeploymentUnit{ID: i + 1, URL: strings.Repeat("u", 2048), Description: strings.Repeat("d", 256)})
	}
	a.snapshot = model.NewSnapshot(nil, units, nil, nil)
	paths := slices.Repeat([]string{sm + "DeploymentUnit."}, 1000)
	results := usp.New(a, "").Get(paths, 0)
	last := results[len(results)-1]
	if results[0].Code != 0 || len(results[0].Objects) != 100 || last.Code != 7005 || last.Objects != nil {
		t.Errorf("the first of %d has code %d, the last %d", len(results), results[0].Code, last.Code)
	}
}

func TestMessagesAreBounded(t *testing.T) {
	a := newAgent()
	face := usp.New(a, "")
	paths := slices.Repeat([]string{sm + "ExecEnvClass."}, 5000)
	get, rows, dm := face.Get(paths, 0), face.GetInstances(paths, true), face.GetSupportedDM(paths, usp.Supported{})
	deleted, err := face.Delete(slices.Repeat([]string{sm + "DeploymentUnit.9."}, 5000), true)
	for i, code := range map[int]uint32{0: 0, 4095: 0, 4096: 7005, 4999: 7005} {
		if get[i].Code != code || rows[i].Code != code || dm[i].Code != code || err != nil || deleted[i].Code != code {
			t.Errorf("path %d: %+v, %+v, %+v, %+v, %v, want code %d", i, get[i], rows[i], dm[i], deleted[i], err, code)
		}
	}
	update := usp.Update{Path: sm + "ExecutionUnit.*.", Settings: slices.Repeat([]usp.Setting{{Parameter: "RunLevel", Value: "1"}}, 20000)}
	results, err := face.Set(t.Context(), []usp.Update{update, {Path: sm + "ExecEnv.1."}}, true, model.Origin{})
	if err != nil || results[0].Code != 7005 || results[1].Code != 7005 || len(a.asked) != 0 {
		t.Errorf("a big update: %d, %d, %v, asked %d", results[0].Code, results[1].Code, err, len(a.asked))
	}
}

func TestGetInstances(t *testing.T) {
	face := usp.New(newAgent(), "")
	du := sm + "DeploymentUnit."
	for _, tc := range []struct {
		path string
		code uint32
		want []string
	}{
		{du, 0, []string{
			du + "5.Alias=cpe-5", du + "5.ExecutionEnvRef=" + sm + "ExecEnv.1", du + "5.UUID=u5", du + "5.Version=1.0",
			du + "6.Alias=cpe-6", du + "6.ExecutionEnvRef=" + sm + "ExecEnv.1", du + "6.UUID=u6", du + "6.Version=1.0",
		}},
		{sm + "ExecEnvClass.", 0, nil},
		{sm + `ExecutionUnit.[Status=="Stopping"].HostObject.`, 0, nil},
		{sm + "ExecutionUnit.3.HostObject.", 0, nil},
		{sm + "ExecutionUnit.9.HostObject.", 7016, nil},
		{du + "5.", 7018, nil},
		{sm, 7018, nil},
		{sm + "ExecEnv.1.Name", 7018, nil},
		{sm + "Nothing.", 7026, nil},
		{"Device.[", 7008, nil},
	} {
		for _, first := range []bool{false, true} {
			r := face.GetInstances([]string{tc.path}, first)
			if len(r) != 1 || r[0].Requested != tc.path || r[0].Code != tc.code || !slices.Equal(get(r[0]), tc.want) {
				t.Errorf("GetInstances(%s, %t) = %+v, want code %d and %q", tc.path, first, r, tc.code, tc.want)
			}
		}
	}
}

// failed returns the code of an error and what is wrong with which path.
func failed(err error) string {
	var f *usp.Failure
	if !errors.As(err, &f) {
		return fmt.Sprint(err)
	}
	s := fmt.Sprint(f.Code)
	for _, p := range f.Parameters {
		s += fmt.Sprintf(" %s:%d", strings.TrimPrefix(p.Path, sm), p.Code)
	}
	return s
}

// Every reference of the data model can be followed to the table that it names.
func TestReferencesLeadToTables(t *testing.T) {
	root := softwaremodules.Tree(dm.USPOnly, softwaremodules.Version)
	found := 0
	var walk func(path string, o *dm.Object[softwaremodules.Row])
	walk = func(path string, o *dm.Object[softwaremodules.Row]) {
		for _, p := range o.Parameters {
			if p.Reference == "" {
				continue
			}
			found++
			parsed, err := dm.ParsePath(path+p.Name+"+.", dm.USP)
			if err != nil {
				t.Fatal(err)
			}
			if at, err := dm.Locate(root, parsed); err != nil || at.Path != p.Reference+"{i}." {
				t.Errorf("%s%s leads to %q, %v, want %s", path, p.Name, at.Path, err, p.Reference)
			}
		}
		for _, c := range o.Objects {
			below := path + c.Name + "."
			if c.Table != nil {
				below += "1."
			}
			walk(below, c)
		}
	}
	walk("", root)
	if found < 5 {
		t.Errorf("there are only %d references", found)
	}
}

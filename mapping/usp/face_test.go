package usp_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
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

func (a *agent) Uninstall(_ context.Context, du model.RowID, o model.Origin) (uint32, error) {
	return a.ask(fmt.Sprint("uninstall ", du), o)
}

func (a *agent) Request(_ context.Context, eu model.RowID, r model.Request, o model.Origin) (uint32, error) {
	return a.ask(fmt.Sprint(r, " ", eu), o)
}

func (a *agent) RestartExecEnv(_ context.Context, instance uint32, reason string, o model.Origin) (uint32, error) {
	return a.ask(fmt.Sprintf("restart %d %q", instance, reason), o)
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
	a := newAgent()
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

// became writes the answer to an update as one line.
func became(r usp.SetResult) string {
	s := fmt.Sprint(r.Code)
	for _, o := range r.Objects {
		s += " " + strings.TrimPrefix(o.Path, sm)
		for _, k := range slices.Sorted(maps.Keys(o.Parameters)) {
			s += fmt.Sprintf(" %s=%s", k, o.Parameters[k])
		}
		for _, e := range o.Errors {
			s += fmt.Sprintf(" %s:%d", e.Path, e.Code)
		}
	}
	return s
}

func TestSet(t *testing.T) {
	// An update is its path and settings name=value, with a star for those that are not required.
	update := func(text string) usp.Update {
		words := strings.Split(text, " ")
		u := usp.Update{Path: sm + words[0]}
		for _, w := range words[1:] {
			name, value, _ := strings.Cut(w, "=")
			free := strings.HasPrefix(name, "*")
			u.Settings = append(u.Settings, usp.Setting{Parameter: strings.TrimPrefix(name, "*"), Value: value, Required: !free})
		}
		return u
	}
	for _, tc := range []struct {
		name    string
		partial string // one answer for each update, separated by |
		whole   string // the same, or the failure
		sets    int    // assignments that reach the agent with allow_partial=true
		all     int    // and with false
		updates []string
	}{
		{"one", "0 ExecEnv.1. Enable=true", "0 ExecEnv.1. Enable=true", 1, 1, []string{"ExecEnv.1. Enable=false"}},
		{"spelling", "0 ExecEnv.1. Enable=true", "0 ExecEnv.1. Enable=true", 1, 1, []string{"ExecEnv.1. Enable=1"}},
		{"search", "0 ExecutionUnit.3. AutoStart=false ExecutionUnit.4. AutoStart=false", "0 ExecutionUnit.3. AutoStart=false ExecutionUnit.4. AutoStart=false", 2, 2, []string{"ExecutionUnit.*. AutoStart=true"}},
		{"nothing found", "0", "0", 0, 0, []string{"ExecutionUnit.[RunLevel>9]. AutoStart=true"}},
		{"nothing set", "0 ExecEnv.1.", "0 ExecEnv.1.", 0, 0, []string{"ExecEnv.1."}},
		{"key", "0 ExecEnv.2. InitialRunLevel=0", "0 ExecEnv.2. InitialRunLevel=0", 1, 1, []string{`ExecEnv.[Alias=="cpe-lxc"]. InitialRunLevel=7`}},
		{"reference", "0 ExecEnv.1. InitialRunLevel=0", "0 ExecEnv.1. InitialRunLevel=0", 1, 1, []string{"DeploymentUnit.*.ExecutionEnvRef+. InitialRunLevel=7"}},

		{"unsupported", "7021 ExecEnv.1. Bogus:7010", "7004 ExecEnv.1.Bogus:7010", 0, 0, []string{"ExecEnv.1. Bogus=1"}},
		{"of CWMP", "7021 ExecutionUnit.3. RequestedState:7010", "7004 ExecutionUnit.3.RequestedState:7010", 0, 0, []string{"ExecutionUnit.3. RequestedState=Idle"}},
		{"name", "7021 ExecEnv.1. a b:7008", "", 0, 0, nil},
		{"type", "7021 ExecEnv.1. Enable:7011", "7004 ExecEnv.1.Enable:7011", 0, 0, []string{"ExecEnv.1. Enable=perhaps"}},
		{"number", "7021 ExecEnv.1. InitialRunLevel:7011", "7004 ExecEnv.1.InitialRunLevel:7011", 0, 0, []string{"ExecEnv.1. InitialRunLevel=high"}},
		{"unsigned", "7021 ExecEnv.1. InitialRunLevel:7011", "7004 ExecEnv.1.InitialRunLevel:7011", 0, 0, []string{"ExecEnv.1. InitialRunLevel=-1"}},
		{"range", "7021 ExecEnv.1. InitialRunLevel:7012", "7004 ExecEnv.1.InitialRunLevel:7012", 0, 0, []string{"ExecEnv.1. InitialRunLevel=65536"}},
		{"read-only", "7021 ExecEnv.1. Name:7013", "7004 ExecEnv.1.Name:7013", 0, 0, []string{"ExecEnv.1. Name=x"}},
		{"twice", "7021 ExecEnv.1. Enable:7014", "7004 ExecEnv.1.Enable:7014", 0, 0, []string{"ExecEnv.1. Enable=true Enable=false"}},
		{"no row", "7016", "7004 ExecEnv.9.:7016", 0, 0, []string{"ExecEnv.9. Enable=true"}},
		{"no object", "7026", "7004 Nothing.:7026", 0, 0, []string{"Nothing. Enable=true"}},
		{"no path", "7008", "7004 ..:7008", 0, 0, []string{".. Enable=true"}},
		{"a parameter", "7026", "7004 ExecEnv.1.Enable:7026", 0, 0, []string{"ExecEnv.1.Enable Enable=true"}},
		{"a table", "7020", "7004 ExecEnv.:7020", 0, 0, []string{"ExecEnv. Enable=true"}},

		{"not required", "0 ExecEnv.1. InitialRunLevel=0 Name:7013", "0 ExecEnv.1. InitialRunLevel=0 Name:7013", 1, 1, []string{"ExecEnv.1. InitialRunLevel=2 *Name=x"}},
		{"only not required", "0 ExecEnv.1. Name:7013", "0 ExecEnv.1. Name:7013", 0, 0, []string{"ExecEnv.1. *Name=x"}},
		{"required among others", "7021 ExecEnv.1. Name:7013", "7004 ExecEnv.1.Name:7013", 0, 0, []string{"ExecEnv.1. *InitialRunLevel=2 Name=x"}},
		{"one of two", "0 ExecEnv.1. Enable=true|7016", "7004 ExecEnv.9.:7016", 1, 0, []string{"ExecEnv.1. Enable=true", "ExecEnv.9. Enable=true"}},
		{"two of three", "7021 ExecEnv.1. Name:7013|0 ExecEnv.2. Enable=false|7020", "7004 ExecEnv.1.Name:7013 DeploymentUnit.:7020", 1, 0, []string{"ExecEnv.1. Name=x", "ExecEnv.2. Enable=true", "DeploymentUnit. Alias=x"}},
		{"the same in two", "0 ExecEnv.1. Enable=true|0 ExecEnv.1. Enable=true", "7004 ExecEnv.1.Enable:7014", 2, 0, []string{"ExecEnv.1. Enable=true", "ExecEnv.1. Enable=false"}},

		// The agent refuses run level 13 anywhere, and anything of unit 4.
		{"refused", "7021 ExecEnv.1. InitialRunLevel:7012", "7004 ExecEnv.1.InitialRunLevel:7012", 0, 0, []string{"ExecEnv.1. InitialRunLevel=13 *Enable=true"}},
		{"refused, not required", "0 ExecEnv.1. Enable=true InitialRunLevel:7012", "0 ExecEnv.1. Enable=true InitialRunLevel:7012", 1, 1, []string{"ExecEnv.1. *InitialRunLevel=13 Enable=true"}},
		{"refused for one row of a search", "7021 ExecutionUnit.4. AutoStart:7016", "7004 ExecutionUnit.4.AutoStart:7016", 0, 0, []string{"ExecutionUnit.*. AutoStart=true"}},
		{"refused in one of two", "7021 ExecutionUnit.4. AutoStart:7016|0 ExecutionUnit.3. AutoStart=false", "7004 ExecutionUnit.4.AutoStart:7016", 1, 0, []string{"ExecutionUnit.4. AutoStart=true", "ExecutionUnit.3. AutoStart=true"}},
	} {
		var updates []usp.Update
		for _, u := range tc.updates {
			updates = append(updates, update(u))
		}
		if tc.name == "name" {
			updates = []usp.Update{{Path: sm + "ExecEnv.1.", Settings: []usp.Setting{{Parameter: "a b", Required: true}}}}
			tc.whole = "7004 ExecEnv.1.a b:7008"
		}
		for _, partial := range []bool{true, false} {
			a := newAgent()
			a.refuse = func(s model.Assignment) error {
				switch {
				case s.Value == 13:
					return fault.Errorf(fault.InvalidArguments, "cannot set 13")
				case s.Row.Instance == 4 && strings.HasPrefix(tc.name, "refused"):
					return fault.Errorf(fault.UnknownDU, "cannot find unit 4")
				}
				return nil
			}
			results, err := usp.New(a, "").Set(t.Context(), updates, partial, model.Origin{Name: "me"})
			var got []string
			for i, r := range results {
				got = append(got, became(r))
				if r.Requested != updates[i].Path || (r.Code != 0) != (r.Text != "") {
					t.Errorf("%s: the answer is %+v", tc.name, r)
				}
			}
			text := strings.Join(got, "|")
			if err != nil {
				text = failed(err)
			}
			want, n := tc.whole, tc.all
			if partial {
				want, n = tc.partial, tc.sets
			}
			set := 0
			for _, x := range a.asked {
				set += len(x.([]model.Assignment))
			}
			if text != want || set != n || set > 0 && a.origin != (model.Origin{Name: "me"}) {
				t.Errorf("%s, allow_partial %t: %s with %d assignments, want %s with %d", tc.name, partial, text, set, want, n)
			}
		}
	}
}

func TestSetThatTheAgentRefuses(t *testing.T) {
	enable := []usp.Update{{Path: sm + "ExecEnv.1.", Settings: []usp.Setting{{Parameter: "Enable", Value: "true", Required: true}}}}
	for reason, code := range map[fault.Reason]uint32{
		fault.Internal: 7003, fault.RequestDenied: 7002, fault.TooManyOperations: 7005, fault.DisabledExecEnv: 7012, fault.NotSupported: 7009,
	} {
		a := newAgent()
		a.err = fault.Errorf(reason, "cannot")
		if _, err := usp.New(a, "").Set(t.Context(), enable, false, model.Origin{}); failed(err) != fmt.Sprint(code) {
			t.Errorf("%s: %s, want %d", reason, failed(err), code)
		}
		results, err := usp.New(a, "").Set(t.Context(), enable, true, model.Origin{})
		if err != nil || len(results) != 1 || results[0].Code != code {
			t.Errorf("%s: %+v, %v, want code %d", reason, results, err, code)
		}
	}
	a := newAgent()
	a.err = &model.SetError{Faults: map[int]error{7: errors.New("of nobody's")}}
	if _, err := usp.New(a, "").Set(t.Context(), enable, false, model.Origin{}); failed(err) != "7003" {
		t.Errorf("a refusal of something else: %v", err)
	}
}

func TestAddAndDelete(t *testing.T) {
	face := usp.New(newAgent(), "")
	for path, code := range map[string]uint32{
		sm + "DeploymentUnit.": 7019, sm + "ExecutionUnit.3.EnvVariable.": 7019, sm + "ExecEnv.1.": 7018, sm: 7018, sm + "X.": 7026, "[": 7008,
	} {
		r, err := face.Add([]usp.Update{{Path: path}}, true)
		if err != nil || len(r) != 1 || r[0].Requested != path || r[0].Code != code || r[0].Text == "" {
			t.Errorf("Add(%s) = %+v, %v, want %d", path, r, err, code)
		}
		if r, err := face.Add([]usp.Update{{Path: path}}, false); r != nil || failed(err) != fmt.Sprintf("%d %s:%d", code, strings.TrimPrefix(path, sm), code) {
			t.Errorf("Add(%s), all or nothing = %+v, %s, want %d", path, r, failed(err), code)
		}
	}
	for _, tc := range []struct {
		path   string
		code   uint32
		rows   string // that could not be deleted
		wholly string // the failure when all or nothing
	}{
		{"DeploymentUnit.5.", 0, "DeploymentUnit.5.", "7024 DeploymentUnit.5.:7024"},
		{"DeploymentUnit.*.", 0, "DeploymentUnit.5. DeploymentUnit.6.", "7024 DeploymentUnit.5.:7024 DeploymentUnit.6.:7024"},
		{"DeploymentUnit.9.", 0, "", "7016 DeploymentUnit.9.:7016"},
		{`DeploymentUnit.[Status=="Updating"].`, 0, "", "<nil>"},
		{"DeploymentUnit.", 7024, "", "7024 DeploymentUnit.:7024"},
		{"DeploymentUnit.5.Name", 7024, "", "7024 DeploymentUnit.5.Name:7024"},
		{"ExecutionUnit.3.Extensions.", 7024, "", "7024 ExecutionUnit.3.Extensions.:7024"},
		{"X.5.", 7026, "", "7026 X.5.:7026"},
		{"..", 7008, "", "7008 ..:7008"},
	} {
		r, err := face.Delete([]string{sm + tc.path}, true)
		if err != nil || len(r) != 1 || r[0].Requested != sm+tc.path || r[0].Code != tc.code {
			t.Errorf("Delete(%s) = %+v, %v, want %d", tc.path, r, err, tc.code)
			continue
		}
		var rows []string
		for _, u := range r[0].Unaffected {
			rows = append(rows, strings.TrimPrefix(u.Path, sm))
			if u.Code != 7024 {
				t.Errorf("Delete(%s) = %+v", tc.path, r)
			}
		}
		if strings.Join(rows, " ") != tc.rows {
			t.Errorf("Delete(%s) cannot delete %q, want %q", tc.path, rows, tc.rows)
		}
		if _, err := face.Delete([]string{sm + tc.path}, false); failed(err) != tc.wholly {
			t.Errorf("Delete(%s), all or nothing: %s, want %s", tc.path, failed(err), tc.wholly)
		}
	}
}

func TestGetSupportedDM(t *testing.T) {
	all := usp.Supported{Commands: true, Events: true, Parameters: true, UniqueKeySets: true}
	face := usp.New(newAgent(), softwaremodules.Version)
	one := func(path string, o usp.Supported) usp.SupportedResult {
		return face.GetSupportedDM([]string{path}, o)[0]
	}
	for _, tc := range []struct {
		path string
		code uint32
		want string // the objects
	}{
		{sm + "DeploymentUnit.", 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.{i}.", 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.5.", 0, "DeploymentUnit.{i}."},
		{sm + `DeploymentUnit.[Alias=="cpe-5"].`, 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.{i}.Update()", 0, "DeploymentUnit.{i}."},
		{sm + "DUStateChange!", 0, ""},
		{sm + "DeploymentUnit.{i}.UUID", 0, "DeploymentUnit.{i}."},
		{sm + "DeploymentUnit.9.", 7016, ""},
		{sm + "X.", 7026, ""},
		{sm + "DeploymentUnit.{i}.X()", 7026, ""},
		{sm + "{i}.", 7026, ""},
		{sm + "ExecutionUnit.{i}.HostObject.3.", 7008, ""},
	} {
		r := one(tc.path, all)
		var paths []string
		for _, o := range r.Objects {
			paths = append(paths, strings.TrimPrefix(o.Path, sm))
		}
		if r.Requested != tc.path || r.Code != tc.code || strings.Join(paths, " ") != tc.want || (r.DataModelURI == "") != (tc.code != 0) {
			t.Errorf("GetSupportedDM(%s) = %+v, want code %d and %s", tc.path, r, tc.code, tc.want)
		}
	}
	r := one(sm+"DeploymentUnit.{i}.Uninstall()", all)
	want := []usp.SupportedObject{{
		Path: sm + "DeploymentUnit.{i}.", MultiInstance: true, Access: "OBJ_READ_ONLY",
		Commands: []usp.SupportedCommand{{Name: "Uninstall()", Kind: "CMD_ASYNC", Inputs: []string{"RetainData"}}},
	}}
	if r.DataModelURI != "urn:broadband-forum-org:tr-181-2-19-0" || !cmp.Equal(r.Objects, want) {
		t.Errorf("of Uninstall() is told %s", cmp.Diff(r.Objects, want))
	}
	tree := one("Device.", all)
	table := map[string]usp.SupportedObject{}
	for _, o := range tree.Objects {
		table[strings.TrimPrefix(o.Path, sm)] = o
	}
	eu := table["ExecutionUnit.{i}."]
	if i := slices.IndexFunc(eu.Parameters, func(p usp.SupportedParameter) bool { return p.Name == "RunLevel" }); i < 0 ||
		eu.Parameters[i] != (usp.SupportedParameter{Name: "RunLevel", Access: "PARAM_READ_WRITE", Type: "PARAM_UNSIGNED_INT", ValueChange: "VALUE_CHANGE_ALLOWED"}) {
		t.Errorf("execution units have %+v", eu)
	}
	kinds := map[string]string{}
	for path, o := range table {
		for _, c := range o.Commands {
			kinds[path+c.Name] = c.Kind
		}
	}
	for name, kind := range map[string]string{ // U-11
		"ExecutionUnit.{i}.SetRequestedState()": "CMD_SYNC", "ExecEnv.{i}.SetRunLevel()": "CMD_SYNC", "ExecEnv.{i}.Reset()": "CMD_ASYNC", "InstallDU()": "CMD_ASYNC",
		"ExecutionUnit.{i}.Restart()": "CMD_SYNC", "ExecEnv.{i}.Restart()": "CMD_ASYNC",
	} {
		if kinds[name] != kind {
			t.Errorf("%s is %q, want %s", name, kinds[name], kind)
		}
	}
	if e := table[""].Events; len(e) != 1 || e[0].Name != "DUStateChange!" || !slices.Contains(e[0].Arguments, "Fault.FaultCode") {
		t.Errorf("the events are %+v", e)
	}
	if !cmp.Equal(table["DeploymentUnit.{i}."].UniqueKeySets, [][]string{{"UUID", "Version", "ExecutionEnvRef"}, {"Alias"}}) {
		t.Errorf("the unique keys are %q", table["DeploymentUnit.{i}."].UniqueKeySets)
	}
	for _, o := range one(sm, usp.Supported{}).Objects {
		if o.Parameters != nil || o.Commands != nil || o.Events != nil || o.UniqueKeySets != nil {
			t.Errorf("nothing was asked of %+v", o)
		}
	}
	first := one(sm, usp.Supported{FirstLevelOnly: true, Parameters: true})
	if len(first.Objects) != 5 || first.Objects[0].Parameters == nil || first.Objects[1].Parameters != nil || !first.Objects[1].MultiInstance {
		t.Errorf("of the first level is told %+v", first)
	}
	if old := usp.New(newAgent(), softwaremodules.OlderVersion).GetSupportedDM([]string{sm + "ExecEnv.{i}.Restart()", sm}, all); old[0].Code != 7026 || old[1].DataModelURI != "urn:broadband-forum-org:tr-181-2-15-0" {
		t.Errorf("of the older version is told %+v", old)
	}
}

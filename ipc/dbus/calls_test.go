package dbus_test

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
	"github.com/smmd-project/smmd/mapping/usp"
)

func setState(s string) func(*model.Draft) { return func(d *model.Draft) { d.State = s } }

func v(x any) godbus.Variant { return godbus.MakeVariant(x) }

// TestEveryPropertyHasItsType compares what is sent with what the contract says.
func TestEveryPropertyHasItsType(t *testing.T) {
	c := newClient(t)
	c.install()
	objects := map[string]string{
		contract.Root: contract.Agent, row("ExecEnv", "1"): contract.ExecEnv, row("DeploymentUnit", "1"): contract.DeploymentUnit,
		row("ExecutionUnit", "2"): contract.ExecutionUnit, row("Job", "1"): contract.Job,
	}
	for path, iface := range objects {
		all := c.call(path, contract.Properties+".GetAll", iface)[0].(options)
		if any := c.call(path, contract.Properties+".GetAll", "")[0]; !reflect.DeepEqual(any, all) {
			t.Errorf("%s: GetAll of no interface is %v", path, any)
		}
		if none := c.call(path, contract.Properties+".GetAll", contract.Properties)[0].(options); len(none) != 0 {
			t.Errorf("%s: GetAll of Properties is %v", path, none)
		}
		desc := contract.Lookup(iface)
		if len(all) != len(desc.Properties) {
			t.Errorf("%s tells %d properties, its description %d", path, len(all), len(desc.Properties))
		}
		for _, p := range desc.Properties {
			value, ok := all[p.Name]
			if !ok || value.Signature().String() != p.Type {
				t.Errorf("%s.%s is %v, want type %s", iface, p.Name, value, p.Type)
			}
			if one := c.get(path, iface, p.Name); !reflect.DeepEqual(one, value.Value()) {
				t.Errorf("%s.%s is %v alone and %v with the others", iface, p.Name, one, value)
			}
			err, refused := c.try(path, contract.Properties+".Set", iface, p.Name, v(byte(1))).Err.(godbus.Error)
			want := "org.freedesktop.DBus.Error.PropertyReadOnly"
			if p.Writable() {
				want = "org.freedesktop.DBus.Error.InvalidArgs"
			}
			if !refused || err.Name != want {
				t.Errorf("setting %s.%s to a byte: %s %v", iface, p.Name, err.Name, err)
			}
		}
	}
	var managed map[godbus.ObjectPath]map[string]options
	if err := godbus.Store(c.call(contract.Root, contract.ObjectManager+".GetManagedObjects"), &managed); err != nil {
		t.Fatal(err)
	}
	if len(managed) != 5 { // two environments
		t.Errorf("%d objects are managed", len(managed))
	}
	for path, iface := range objects {
		if path == contract.Root {
			continue
		}
		if all := c.call(path, contract.Properties+".GetAll", iface)[0].(options); !reflect.DeepEqual(managed[godbus.ObjectPath(path)], map[string]options{iface: all}) {
			t.Errorf("GetManagedObjects has for %s %v", path, managed[godbus.ObjectPath(path)])
		}
	}
}

func TestValues(t *testing.T) {
	c := newClient(t)
	c.install()
	ee, du, eu, job := row("ExecEnv", "1"), row("DeploymentUnit", "1"), row("ExecutionUnit", "2"), row("Job", "1")
	for _, x := range []struct {
		path, iface, name string
		want              any
	}{
		{contract.Root, contract.Agent, "Version", "1.2.3"},
		{contract.Root, contract.Agent, "DataModel", "Device:2.19"},
		{contract.Root, contract.Agent, "State", "running"},
		{contract.Root, contract.Agent, "ExecEnvNumberOfEntries", uint32(2)},
		{ee, contract.ExecEnv, "ID", "osgi"},
		{ee, contract.ExecEnv, "ParentExecEnv", godbus.ObjectPath("/")},
		{row("ExecEnv", "2"), contract.ExecEnv, "ParentExecEnv", godbus.ObjectPath(ee)},
		{row("ExecEnv", "2"), contract.ExecEnv, "CurrentRunLevel", int32(-1)},
		{ee, contract.ExecEnv, "AvailableDiskSpace", int32(math.MaxInt32)},
		{ee, contract.ExecEnv, "AllocatedDiskSpace", int32(-1)},
		{ee, contract.ExecEnv, "LastRestarted", "0001-01-01T00:00:00Z"},
		{ee, contract.ExecEnv, "ActiveExecutionUnits", []godbus.ObjectPath{godbus.ObjectPath(eu)}},
		{du, contract.DeploymentUnit, "Installed", "2026-05-04T03:02:01Z"},
		{du, contract.DeploymentUnit, "ExecutionUnitList", []godbus.ObjectPath{godbus.ObjectPath(eu)}},
		{du, contract.DeploymentUnit, "ExecutionEnvRef", godbus.ObjectPath(ee)},
		{eu, contract.ExecutionUnit, "DeploymentUnit", godbus.ObjectPath(du)},
		{eu, contract.ExecutionUnit, "Status", "Active"},
		{eu, contract.ExecutionUnit, "PIDs", []uint32{}},
		{eu, contract.ExecutionUnit, "ExitCode", int32(-1)},
		{job, contract.Job, "State", "done"},
		{job, contract.Job, "Progress", 1.0},
		{job, contract.Job, "StartTime", uint64(ipctest.Epoch.UnixMicro())},
		{job, contract.Job, "Objects", []godbus.ObjectPath{godbus.ObjectPath(du), godbus.ObjectPath(eu)}},
		{job, contract.Job, "FaultName", ""},
		{job, contract.Job, "FaultCWMP", uint32(0)},
	} {
		if got := c.get(x.path, x.iface, x.name); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s of %s is %#v, want %#v", x.name, x.path, got, x.want)
		}
	}
}

func TestFaultOfAJob(t *testing.T) {
	c := newClient(t)
	c.call(contract.Root, contract.Agent+".Install", "http://example.com/one.jar", options{"exec_env": v("lxc")})
	c.agent.Finish(1)
	r := fault.DisabledExecEnv
	for name, want := range map[string]any{
		"State": "failed", "FaultName": "DisabledExecEnv", "FaultCWMP": cwmp.DUResult(r), "FaultUSP": usp.Event(r),
		"FaultUSPComplete": usp.OperationComplete(r), "FaultString": "cannot install on lxc: it is disabled",
	} {
		if got := c.get(row("Job", "1"), contract.Job, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// asked returns the last request of the agent.
func (c *client) asked() any {
	c.Helper()
	all := c.agent.Asked()
	if len(all) == 0 {
		c.Fatal("the agent is asked nothing")
	}
	return all[len(all)-1]
}

func TestMethodsReachTheAgent(t *testing.T) {
	c := newClient(t)
	c.install()
	origin := c.asked().(model.InstallRequest).Originator
	if !strings.HasPrefix(origin.Name, "dbus "+c.conn.Names()[0]+" uid=") || !strings.Contains(origin.Name, " pid=") {
		t.Errorf("the originator is %q", origin)
	}
	no := false
	for _, x := range []struct {
		path, method string
		args         []any
		want         any
	}{
		{contract.Root, contract.Agent + ".Install", []any{"file:///x", options{
			"uuid": v("u"), "exec_env": v(godbus.ObjectPath(row("ExecEnv", "2"))), "username": v("n"), "password": v("p"), "auto_start": v(false),
			"module_version": v("blue"), "variables": v(map[string]string{"B": "2", "A": ""}), "memory_limit": v(int32(64)), "cpu_limit": v(int32(100)),
		}}, model.InstallRequest{
			URL: "file:///x", UUID: "u", ExecEnv: "lxc", Username: "n", Password: "p", AutoStart: &no, ModuleVersion: "blue", Originator: origin,
			Variables: []model.VariableRequest{{Key: "A"}, {Key: "B", Value: "2"}}, Limits: model.LimitsRequest{Memory: kib(64), CPU: percent(100)},
		}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", []any{options{"url": v("u"), "username": v("n"), "password": v("p")}},
			model.UpdateRequest{DU: 1, URL: "u", Username: "n", Password: "p", Originator: origin}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", []any{options{"module_version": v("")}},
			model.UpdateRequest{DU: 1, ModuleVersion: new(string), Originator: origin}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", []any{options{"variables": v(map[string]string{}), "disk_limit": v(int32(-1))}},
			model.UpdateRequest{DU: 1, Variables: []model.VariableRequest{}, Limits: model.LimitsRequest{Disk: kib(0)}, Originator: origin}},
		{contract.Root, contract.Agent + ".Install", []any{"file:///x", options{"application_data": v([]options{volume("b", "Forever", "/b", 1), volume("", "no", "x", -1)})}},
			model.InstallRequest{URL: "file:///x", Originator: origin, Volumes: []model.VolumeRequest{
				{Name: "b", Capacity: 1, Retain: model.Forever, AccessPath: "/b"}, {Capacity: -1, Retain: "no", AccessPath: "x"}}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", []any{options{"application_data": v([]options{{"Encrypted": v(true)}}), "retain_data": v(false)}},
			model.UpdateRequest{DU: 1, Volumes: []model.VolumeRequest{{Encrypted: true}}, RetainData: &no, Originator: origin}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Uninstall", []any{options{}}, model.UninstallRequest{DU: 1, Originator: origin}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Uninstall", []any{options{"retain_data": v(true)}}, model.UninstallRequest{DU: 1, RetainData: true, Originator: origin}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Uninstall", []any{options{"retain_data": v(false)}}, model.UninstallRequest{DU: 1, Originator: origin}},
		{row("ExecutionUnit", "2"), contract.ExecutionUnit + ".Start", []any{options{}}, ipctest.Request{EU: 2, Request: model.RequestActive, Originator: origin}},
		{row("ExecutionUnit", "2"), contract.ExecutionUnit + ".Stop", []any{options{}}, ipctest.Request{EU: 2, Request: model.RequestIdle, Originator: origin}},
		{row("ExecutionUnit", "2"), contract.ExecutionUnit + ".Restart", []any{options{}}, ipctest.Request{EU: 2, Request: model.RequestRestart, Originator: origin}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Restart", []any{options{"reason": v("why")}}, ipctest.Restart{Instance: 1, Reason: "why", Originator: origin}},
		{row("ExecEnv", "2"), contract.ExecEnv + ".ModifyConstraints", []any{options{"memory_limit": v(int32(64)), "cpu_limit": v(int32(-1)), "force": v(true)}},
			model.ConstrainRequest{Instance: 2, Limits: model.LimitsRequest{Memory: kib(64), CPU: percent(0)}, Force: true, Originator: origin}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".ModifyConstraints", []any{options{}}, model.ConstrainRequest{Instance: 1, Originator: origin}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Reset", []any{options{}}, ipctest.Reset{Instance: 1, Kind: "cwmp", Originator: origin}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Reset", []any{options{"baseline": v("usp")}}, ipctest.Reset{Instance: 1, Kind: "usp", Originator: origin}},
		{contract.Root, contract.Agent + ".RecordBaseline", []any{"usp", "boot 7"}, ipctest.Baseline{Kind: "usp", Token: "boot 7"}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".SetRunLevel", []any{int32(3), options{}}, ipctest.Set{Originator: origin, Assignments: []model.Assignment{
			{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.RequestedRunLevel, Value: 3}}}},
		{row("ExecEnv", "1"), contract.Properties + ".Set", []any{contract.ExecEnv, "InitialRunLevel", v(uint32(9))}, ipctest.Set{Originator: origin, Assignments: []model.Assignment{
			{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.InitialRunLevel, Value: 9}}}},
		{row("ExecEnv", "1"), contract.Properties + ".Set", []any{"", "Alias", v("mine")}, ipctest.Set{Originator: origin, Assignments: []model.Assignment{
			{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.Alias, Value: "mine"}}}},
		{row("Job", "2"), contract.Job + ".Cancel", []any{options{}}, ipctest.Cancel{Job: 2}},
		{contract.Root, contract.CWMP + ".SetParameterValues", []any{[]struct{ N, T, V string }{{"Device.SoftwareModules.ExecEnv.1.Alias", "", "acs"}}, options{}},
			ipctest.Set{Originator: origin, Assignments: []model.Assignment{{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.Alias, Value: "acs"}}}},
	} {
		body := c.call(x.path, x.method, x.args...)
		if got := c.asked(); !reflect.DeepEqual(got, x.want) {
			t.Errorf("%s asks %+v, want %+v", x.method, got, x.want)
		}
		if m := strings.LastIndex(x.method, "."); contract.Lookup(x.method[:m]).Method(x.method[m+1:]).Out() == "o" {
			if ref, ok := contract.ParsePath(string(body[0].(godbus.ObjectPath))); !ok || ref.Kind != model.KindJob || c.agent.Snapshot().Job(ref.Instance) == nil {
				t.Errorf("%s answers %v", x.method, body)
			}
		}
	}
	if _, ok := c.agent.Asked()[0].(model.InstallRequest); !ok || c.get(row("ExecEnv", "1"), contract.ExecEnv, "CurrentRunLevel") != int32(3) {
		t.Error("the run level is not set")
	}
}

func kib(n int64) *int64 { return &n }

func percent(n int) *int { return &n }

func TestOptionsOfUnits(t *testing.T) {
	c := newClient(t)
	c.install()
	before := len(c.agent.Asked())
	for _, x := range []struct {
		name, key string
		value     any
	}{
		{"org.freedesktop.DBus.Error.InvalidArgs", "variables", []string{"A=1"}},
		{"org.freedesktop.DBus.Error.InvalidArgs", "variables", options{"A": v("1")}},
		{"org.freedesktop.DBus.Error.InvalidArgs", "variables", map[string]string{"A": strings.Repeat("x", 1<<16)}},
		{"org.freedesktop.DBus.Error.InvalidArgs", "memory_limit", uint32(1)},
		{"org.freedesktop.DBus.Error.InvalidArgs", "cpu_limit", "25"},
		{"org.smmd.Error.UnsupportedArgument", "disk_limit", int32(0)},
		{"org.smmd.Error.InvalidArguments", "disk_limit", int32(-2)},
	} {
		for _, m := range []struct {
			path, method string
			args         []any
		}{
			{contract.Root, contract.Agent + ".Install", []any{"file:///x"}},
			{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", nil},
			{row("ExecEnv", "1"), contract.ExecEnv + ".ModifyConstraints", nil},
		} {
			want := x.name
			if x.key == "variables" && strings.HasPrefix(m.path, row("ExecEnv", "")) {
				want = "org.freedesktop.DBus.Error.InvalidArgs" // unknown there
			}
			if err := c.refused(m.path, m.method, append(m.args, options{x.key: v(x.value)})...); err.Name != want || !strings.Contains(err.Error(), x.key) {
				t.Errorf("%s of %s as %T: %s %v, want %s", x.key, m.method, x.value, err.Name, err, want)
			}
		}
	}
	if asked := c.agent.Asked()[before:]; len(asked) != 0 {
		t.Errorf("the agent was asked %+v", asked)
	}
}

// What a deployment unit was given is told of its execution units, when it changes too.
func TestSettingsOfUnits(t *testing.T) {
	c := newClient(t)
	c.install()
	c.listen()
	c.agent.Commit(func(d *model.Draft) {
		u := *d.DeploymentUnit(1)
		u.Settings = model.UnitSettings{
			Variables: []model.Variable{{Number: 1, Key: "A", Value: "1\x00"}}, LastVariable: 1, Limits: model.Limits{Disk: 7, Memory: 1 << 40, CPU: 25},
		}
		d.PutDeploymentUnit(&u)
		e := *d.ExecEnv(1)
		e.AllocatedCPU = 75
		d.PutExecEnv(&e)
	})
	c.expect("PropertiesChanged /ExecEnv/1 AllocatedCPUPercent",
		"PropertiesChanged /ExecutionUnit/2 AllocatedCPUPercent AllocatedDiskSpace AllocatedMemory EnvVariables")
	for name, want := range map[string]any{
		"AllocatedDiskSpace": int32(7), "AllocatedMemory": int32(math.MaxInt32), "AllocatedCPUPercent": int32(25), "EnvVariables": map[string]string{"A": "1\uFFFD"},
	} {
		if got := c.get(row("ExecutionUnit", "2"), contract.ExecutionUnit, name); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, want %#v", name, got, want)
		}
	}
	if got := c.get(row("ExecEnv", "1"), contract.ExecEnv, "AllocatedCPUPercent"); got != int32(75) {
		t.Errorf("AllocatedCPUPercent of the environment is %v", got)
	}
}

func TestAdapters(t *testing.T) {
	c := newClient(t)
	var got []options
	if err := godbus.Store(c.call(contract.Root, contract.Agent+".Adapters"), &got); err != nil {
		t.Fatal(err)
	}
	want := []options{
		{"name": v("lxc"), "version": v("0.1"), "capabilities": v([]string{}), "state": v("broken"), "detail": v("five failures in ten minutes"), "pid": v(uint32(0)), "restarts": v(uint32(5))},
		{"name": v("osgi"), "version": v("0.1"), "capabilities": v([]string{"auto-start", "run-level"}), "state": v("running"), "detail": v(""), "pid": v(uint32(4711)), "restarts": v(uint32(0))},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the adapters are %v", got)
	}
	c.agent.SetAdapters(nil)
	if got := c.call(contract.Root, contract.Agent+".Adapters")[0].([]map[string]godbus.Variant); len(got) != 0 {
		t.Errorf("no adapters are %v", got)
	}
}

func TestExecEnvOption(t *testing.T) {
	c := newClient(t)
	for given, want := range map[any]string{
		"":                           "",
		"osgi":                       "osgi",
		"lxc":                        "lxc",
		"/org/smmd/Agent1/ExecEnv/2": "lxc",
		godbus.ObjectPath("/org/smmd/Agent1/ExecEnv/1"): "osgi",
		"Device.SoftwareModules.ExecEnv.2":              "lxc",
		"Device.SoftwareModules.ExecEnv.2.":             "lxc",
		"SoftwareModules.ExecEnv.1.":                    "osgi",
		"SoftwareModules.ExecEnv.1":                     "osgi",
	} {
		c.call(contract.Root, contract.Agent+".Install", "http://x", options{"exec_env": v(given)})
		if got := c.asked().(model.InstallRequest).ExecEnv; got != want {
			t.Errorf("exec_env %v is %q, want %q", given, got, want)
		}
	}
	for _, given := range []any{
		"none", "/", "/org/smmd/Agent1/ExecEnv/3", "/org/smmd/Agent1/Job/1", "Device.SoftwareModules.ExecEnv.3", "Device.SoftwareModules.ExecEnv.01",
		"Device.SoftwareModules.ExecEnv.1..", "Device.SoftwareModules.ExecEnv.", "Device.SoftwareModules.ExecutionUnit.1.", godbus.ObjectPath("/"), "Device.osgi",
	} {
		err := c.refused(contract.Root, contract.Agent+".Install", "http://x", options{"exec_env": v(given)})
		if err.Name != "org.smmd.Error.UnknownExecEnv" || err.Body[1] != cwmp.DUResult(fault.UnknownExecEnv) || err.Body[2] != usp.Event(fault.UnknownExecEnv) {
			t.Errorf("exec_env %v: %s %v", given, err.Name, err.Body)
		}
	}
}

func TestRefusals(t *testing.T) {
	c := newClient(t)
	c.install()
	c.agent.Commit(func(d *model.Draft) { d.PutVolume(orphan(9, "osgi")) })
	for _, x := range []struct {
		path, method string
		cwmp, usp    func(fault.Reason) uint32
		args         []any
	}{
		{contract.Root, contract.Agent + ".Install", cwmp.DUResult, usp.Event, []any{"http://x", options{}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", cwmp.DUResult, usp.Event, []any{options{}}},
		{row("ExecutionUnit", "2"), contract.ExecutionUnit + ".Stop", cwmp.ParameterCode, usp.Operate, []any{options{}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".ModifyConstraints", cwmp.RPC, usp.Operate, []any{options{}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Reset", cwmp.ParameterCode, usp.Operate, []any{options{}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".RemoveApplicationData", cwmp.RPC, usp.Operate, []any{uint32(9), options{}}},
		{contract.Root, contract.Agent + ".RecordBaseline", cwmp.RPC, usp.Operate, []any{"cwmp", "x"}},
		{row("ExecEnv", "1"), contract.Properties + ".Set", cwmp.ParameterCode, usp.Operate, []any{contract.ExecEnv, "Enable", v(false)}},
	} {
		for _, r := range fault.Reasons() {
			c.agent.Refuse(fault.Errorf(r, "cannot do it: \x00 \xff"))
			err := c.refused(x.path, x.method, x.args...)
			want := []any{"cannot do it: \uFFFD \uFFFD", x.cwmp(r), x.usp(r), options{}}
			if err.Name != "org.smmd.Error."+r.Name() || !reflect.DeepEqual(err.Body, want) {
				t.Errorf("%s, %s: %s %v, want %v", x.method, r, err.Name, err.Body, want)
			}
		}
		c.agent.Refuse(errors.New("nobody classified this"))
		if err := c.refused(x.path, x.method, x.args...); err.Name != "org.smmd.Error.Internal" {
			t.Errorf("an unclassified error is %s", err.Name)
		}
	}
	c.agent.Refuse(nil)
	err := c.refused(row("ExecEnv", "1"), contract.Properties+".Set", contract.ExecEnv, "InitialRunLevel", v(uint32(70000)))
	if err.Name != "org.smmd.Error.InvalidArguments" || !strings.Contains(err.Error(), "out of range") {
		t.Errorf("out of range: %s %v", err.Name, err)
	}
	if err := c.refused(row("Job", "1"), contract.Job+".Cancel", options{}); err.Name != "org.smmd.Error.InvalidDUState" {
		t.Errorf("canceling what has ended: %s", err.Name)
	}
}

func TestCWMP(t *testing.T) {
	c := newClient(t)
	c.install()
	names := c.call(contract.Root, contract.CWMP+".GetParameterNames", "Device.SoftwareModules.ExecEnv.1.", true)[0].([][]any)
	found := false
	for _, n := range names {
		found = found || n[0] == "Device.SoftwareModules.ExecEnv.1.Enable" && n[1] == true
	}
	if !found {
		t.Errorf("the names are %v", names)
	}
	name := "Device.SoftwareModules.ExecEnv.1.Status"
	got := c.call(contract.Root, contract.CWMP+".GetParameterValues", []string{name, name})[0]
	if !reflect.DeepEqual(got, [][]any{{name, "xsd:string", "Up"}}) {
		t.Errorf("the values are %v", got)
	}
	if got := c.call(contract.Root, contract.CWMP+".GetParameterValues", []string{})[0].([][]any); len(got) != 0 {
		t.Errorf("no values are %v", got)
	}
	err := c.refused(contract.Root, contract.CWMP+".GetParameterValues", []string{"Device.Nothing"})
	if err.Name != "org.smmd.Error.InvalidArguments" || err.Body[1] != uint32(9005) {
		t.Errorf("an unknown name: %s %v", err.Name, err.Body)
	}
	type value struct{ Name, Type, Value string }
	err = c.refused(contract.Root, contract.CWMP+".SetParameterValues", []value{{name, "", "Down"}, {"Device.Nothing", "", ""}}, options{})
	details, ok := err.Body[3].(options)["parameters"]
	if !ok || err.Body[1] != uint32(9003) || details.Signature().String() != "a(sus)" {
		t.Fatalf("wrong parameters: %s %v", err.Name, err.Body)
	}
	list := details.Value().([][]any)
	if len(list) != 2 || list[0][0] != name || list[0][1] != uint32(9008) || list[1][1] != uint32(9005) {
		t.Errorf("the faults are %v", list)
	}
	for _, m := range []string{".AddObject", ".DeleteObject"} {
		if err := c.refused(contract.Root, contract.CWMP+m, "Device.SoftwareModules.ExecEnv."); err.Body[1] == uint32(0) {
			t.Errorf("%s: %v", m, err.Body)
		}
	}
	if err := c.refused(contract.Root, contract.CWMP+".SetParameterValues", []value{}, options{"x": v(1)}); !strings.Contains(err.Error(), `"x"`) {
		t.Errorf("an unknown option: %v", err)
	}
}

func TestPropertyErrors(t *testing.T) {
	c := newClient(t)
	ee := row("ExecEnv", "1")
	set := contract.Properties + ".Set"
	for _, x := range []struct {
		want, path, method string
		args               []any
	}{
		{"UnknownInterface", ee, contract.Properties + ".Get", []any{"org.smmd.Job1", "State"}},
		{"UnknownInterface", ee, contract.Properties + ".GetAll", []any{"org.smmd.Job1"}},
		{"UnknownInterface", contract.Root, set, []any{"no.such", "State", v("x")}},
		{"UnknownProperty", ee, contract.Properties + ".Get", []any{contract.ExecEnv, "Nothing"}},
		{"UnknownProperty", ee, contract.Properties + ".Get", []any{contract.Peer, "Status"}},
		{"UnknownProperty", ee, set, []any{contract.ExecEnv, "Reset", v(true)}},
		{"PropertyReadOnly", ee, set, []any{contract.ExecEnv, "Status", v("Up")}},
		{"PropertyReadOnly", contract.Root, set, []any{contract.Agent, "State", v("x")}},
		{"InvalidArgs", ee, set, []any{contract.ExecEnv, "Enable", v("true")}},
		{"InvalidArgs", ee, set, []any{contract.ExecEnv, "Enable", v(v(true))}},
		{"InvalidArgs", ee, set, []any{contract.ExecEnv, "InitialRunLevel", v(int32(1))}},
		{"InvalidArgs", ee, set, []any{contract.ExecEnv, "InitialRunLevel", v(uint32(math.MaxUint32))}},
		{"InvalidArgs", ee, set, []any{contract.ExecEnv, "Alias", v(strings.Repeat("x", 1<<20))}},
		{"InvalidArgs", ee, set, []any{contract.ExecEnv, "Alias"}},
	} {
		if err := c.refused(x.path, x.method, x.args...); err.Name != "org.freedesktop.DBus.Error."+x.want || len(err.Error()) > 1100 {
			t.Errorf("%s %.60v: %s %v, want %s", x.method, fmt.Sprint(x.args), err.Name, err, x.want)
		}
	}
	if len(c.agent.Asked()) != 0 {
		t.Errorf("the agent was asked %v", c.agent.Asked())
	}
}

package dbus_test

import (
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

// volume is an element of the option application_data.
func volume(name, retain, path string, capacity int64) options {
	return options{"Name": v(name), "Capacity": v(capacity), "Retain": v(retain), "AccessPath": v(path)}
}

const unit1 = "00000000-0000-5000-8000-000000000001"

// orphan is application data whose unit is not there.
func orphan(id uint32, env string) *model.Volume {
	return &model.Volume{ID: id, Alias: "cpe", Env: env, UUID: "gone", Name: "db", Capacity: 1, Retain: model.Forever, AccessPath: "/db"}
}

// TestApplicationDataIsTold follows application data over the life of a unit: it is told as a property of its environment and has no object.
func TestApplicationDataIsTold(t *testing.T) {
	c := newClient(t)
	c.agent.Auto(true)
	ee, du := row("ExecEnv", "1"), row("DeploymentUnit", "1")
	told := func() any { return c.get(ee, contract.ExecEnv, "ApplicationData") }
	if got := told(); !reflect.DeepEqual(got, []options{}) {
		t.Errorf("of nothing there is %v", got)
	}
	db := volume("db", "Forever", "/var/lib/db", 1<<32-1)
	db["Encrypted"] = v(true)
	c.call(contract.Root, contract.Agent+".Install", "http://x/one.jar", options{"application_data": v([]options{db, volume("tmp", "UntilStopped", "/tmp/x", 1)})})
	first := options{
		"Number": v(uint32(1)), "Alias": v("cpe-1"), "ApplicationUUID": v(unit1), "Name": v("db"), "Capacity": v(int64(1<<32 - 1)),
		"Encrypted": v(true), "Retain": v("Forever"), "AccessPath": v("/var/lib/db"), "Utilization": v(int64(0)),
	}
	second := options{
		"Number": v(uint32(2)), "Alias": v("cpe-2"), "ApplicationUUID": v(unit1), "Name": v("tmp"), "Capacity": v(int64(1)),
		"Encrypted": v(false), "Retain": v("UntilStopped"), "AccessPath": v("/tmp/x"), "Utilization": v(int64(0)),
	}
	if got, want := told(), []options{first, second}; !reflect.DeepEqual(got, want) {
		t.Errorf("after the installation there is %v, want %v", got, want)
	}
	if got := c.get(row("ExecEnv", "2"), contract.ExecEnv, "ApplicationData"); !reflect.DeepEqual(got, []options{}) {
		t.Errorf("the other environment has %v", got)
	}

	c.listen()
	c.agent.Commit(func(d *model.Draft) {
		x := *d.Volume(1)
		x.Utilization = 3
		d.PutVolume(&x)
	})
	first["Utilization"] = v(int64(3))
	got := c.heard()
	if want := []any{contract.ExecEnv, options{"ApplicationData": v([]options{first, second})}, []string{}}; len(got) != 1 || short(got[0]) != "PropertiesChanged /ExecEnv/1 ApplicationData" ||
		!reflect.DeepEqual(got[0].Body, want) {
		t.Errorf("the signals are %v, want one of ExecEnv/1 with %v", got, want)
	}
	c.agent.Commit(func(d *model.Draft) { d.PutVolume(orphan(9, "osgi")); d.PutVolume(orphan(10, "lxc")) })
	c.expect("PropertiesChanged /ExecEnv/1 ApplicationData", "PropertiesChanged /ExecEnv/2 ApplicationData")
	c.agent.Commit(func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindVolume, Instance: 9}) })
	c.expect("PropertiesChanged /ExecEnv/1 ApplicationData")

	c.agent.Auto(false)
	c.call(du, contract.DeploymentUnit+".Uninstall", options{"retain_data": v(true)})
	c.agent.Step(2)
	c.heard()
	c.agent.Step(2)
	c.expect("PropertiesChanged  DeploymentUnitNumberOfEntries ExecutionUnitNumberOfEntries",
		"PropertiesChanged /ExecEnv/1 ActiveExecutionUnits ApplicationData", "PropertiesChanged /Job/2 Progress State",
		"InterfacesRemoved /ExecutionUnit/2", "InterfacesRemoved /DeploymentUnit/1")
	c.agent.Finish(2)
	c.heard()
	if got, want := told(), []options{first}; !reflect.DeepEqual(got, want) {
		t.Errorf("after the removal there is %v, want %v", got, want)
	}
	for path := range c.call(contract.Root, contract.ObjectManager+".GetManagedObjects")[0].(map[godbus.ObjectPath]map[string]options) {
		if strings.Contains(string(path), "ApplicationData") {
			t.Errorf("there is an object %s", path)
		}
	}
	c.call(ee, contract.ExecEnv+".RemoveApplicationData", uint32(1), options{})
	c.expect("PropertiesChanged /ExecEnv/1 ApplicationData")
}

func TestRemoveApplicationData(t *testing.T) {
	c := newClient(t)
	c.agent.Auto(true)
	ee, remove := row("ExecEnv", "1"), contract.ExecEnv+".RemoveApplicationData"
	c.call(contract.Root, contract.Agent+".Install", "http://x/one.jar", options{"application_data": v([]options{volume("db", "Forever", "/db", 1)})})
	c.agent.Commit(func(d *model.Draft) { d.PutVolume(orphan(8, "osgi")); d.PutVolume(orphan(9, "lxc")) })
	before := len(c.agent.Asked())
	for _, x := range []struct {
		number uint32
		reason fault.Reason
	}{{1, fault.VolumeInUse}, {9, fault.InvalidArguments}, {7, fault.InvalidArguments}, {0, fault.InvalidArguments}, {1<<32 - 1, fault.InvalidArguments}} {
		err := c.refused(ee, remove, x.number, options{})
		if err.Name != "org.smmd.Error."+x.reason.Name() || err.Body[1] != cwmp.RPC(x.reason) || err.Body[2] != usp.Operate(x.reason) {
			t.Errorf("removing %d: %s %v, want %s", x.number, err.Name, err.Body, x.reason)
		}
	}
	if err := c.refused(ee, remove, uint32(9), options{}); !strings.Contains(err.Error(), "cannot remove application data 9: osgi has none with that number") {
		t.Errorf("of one that another environment has: %v", err)
	}
	if err := c.refused(ee, remove, uint32(8), options{"force": v(true)}); err.Name != "org.freedesktop.DBus.Error.InvalidArgs" || !strings.Contains(err.Error(), "force") {
		t.Errorf("an unknown option: %s %v", err.Name, err)
	}
	if asked := c.agent.Asked()[before:]; len(asked) != 0 {
		t.Errorf("the agent was asked %+v", asked)
	}
	if got := c.call(ee, remove, uint32(8), options{}); len(got) != 0 {
		t.Errorf("the answer is %v", got)
	}
	if got, ok := c.asked().(ipctest.RemoveVolume); !ok || got.Instance != 8 || !strings.HasPrefix(got.Originator.Name, "dbus ") || c.agent.Snapshot().Volume(8) != nil {
		t.Errorf("the agent was asked %+v", c.asked())
	}
}

// TestOptionsOfApplicationData gives what is no application data. What is only out of bounds is the agent's to judge.
func TestOptionsOfApplicationData(t *testing.T) {
	c := newClient(t)
	c.install()
	before := len(c.agent.Asked())
	good := volume("db", "Forever", "/db", 1)
	with := func(key string, value any) []options {
		bad := options{key: v(value)}
		for k, x := range good {
			if k != key {
				bad[k] = x
			}
		}
		return []options{good, bad}
	}
	for _, x := range []struct {
		names string
		value any
	}{
		{"application_data", "db"},
		{"application_data", good},
		{"application_data", []string{"db"}},
		{"application_data", []map[string]string{{"Name": "db"}}},
		{"application_data", []any{v(good)}},
		{"application_data.2.Capacity", with("Capacity", int32(1))},
		{"application_data.2.Capacity", with("Capacity", uint64(1))},
		{"application_data.2.Capacity", with("Capacity", "1")},
		{"application_data.2.Encrypted", with("Encrypted", "true")},
		{"application_data.2.Name", with("Name", true)},
		{"application_data.2.Name", with("Name", v("db"))},
		{"application_data.2.Name", with("Name", strings.Repeat("x", 1<<20))},
		{"application_data.2.Retain", with("Retain", int32(1))},
		{"application_data.2.AccessPath", with("AccessPath", strings.Repeat("/x", 1<<20))},
		{`"application_data.2.Path"`, with("Path", "/db")},
		{`"application_data.2.name"`, with("name", "db")},
		{"application_data.2.kkk", with(strings.Repeat("k", 1<<20), true)},
	} {
		for _, m := range []struct {
			path, method string
			args         []any
		}{
			{contract.Root, contract.Agent + ".Install", []any{"file:///x"}},
			{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", nil},
		} {
			err := c.refused(m.path, m.method, append(m.args, options{"application_data": v(x.value)})...)
			if err.Name != "org.freedesktop.DBus.Error.InvalidArgs" || !strings.Contains(err.Error(), x.names) || len(err.Error()) > 1100 {
				t.Errorf("%s, %s: %s %.200v", m.method, x.names, err.Name, err)
			}
		}
	}
	for _, x := range []struct {
		path, method string
		args         []any
	}{
		{contract.Root, contract.Agent + ".Install", []any{"file:///x", options{"retain_data": v(true)}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", []any{options{"retain_data": v("true")}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Uninstall", []any{options{"retain_data": v(int32(1))}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Uninstall", []any{options{"application_data": v([]options{good})}}},
	} {
		if err := c.refused(x.path, x.method, x.args...); err.Name != "org.freedesktop.DBus.Error.InvalidArgs" {
			t.Errorf("%s%v: %s %v", x.method, x.args, err.Name, err)
		}
	}
	if asked := c.agent.Asked()[before:]; len(asked) != 0 {
		t.Errorf("the agent was asked %+v", asked)
	}
}

// TestLostApplicationData has a reader of the feed that misses what happens to application data.
func TestLostApplicationData(t *testing.T) {
	a := ipctest.New()
	address := ipctest.Run(t, lossy{a})
	c := &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
	c.listen()
	for _, change := range []func(*model.Draft){
		func(d *model.Draft) { d.PutVolume(orphan(3, "osgi")) },
		func(d *model.Draft) {
			x := *d.Volume(3)
			x.Utilization = 1
			d.PutVolume(&x)
		},
		func(d *model.Draft) { d.Delete(model.Ref{Kind: model.KindVolume, Instance: 3}) },
	} {
		c.agent.Commit(change)
		c.expect("PropertiesChanged /ExecEnv/1 ApplicationData")
	}
}

package dbus_test

import (
	"encoding/xml"
	"maps"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"
	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a caller on a bus of its own with the agent.
type client struct {
	*testing.T
	agent   *ipctest.Agent
	address string
	conn    *godbus.Conn
	signals chan *godbus.Signal
	wakes   []uint64 // numbers of the wake-ups of USP, which are not among the signals that heard returns
}

func newClient(t *testing.T) *client {
	t.Helper()
	a := ipctest.New()
	address := ipctest.Run(t, a)
	return &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
}

// install brings a unit onto the environment osgi: deployment unit 1, execution unit 2, job 1.
func (c *client) install() {
	c.Helper()
	c.agent.Auto(true)
	c.call(contract.Root, contract.Agent+".Install", "http://example.com/one.jar", options{})
	c.agent.Auto(false)
}

type options = map[string]godbus.Variant

func (c *client) try(path, method string, args ...any) *godbus.Call {
	return c.conn.Object(contract.BusName, godbus.ObjectPath(path)).Call(method, 0, args...)
}

// call makes a call that must succeed.
func (c *client) call(path, method string, args ...any) []any {
	c.Helper()
	r := c.try(path, method, args...)
	if r.Err != nil {
		c.Fatalf("%s at %s: %v", method, path, r.Err)
	}
	return r.Body
}

// refused makes a call that must fail and returns the error.
func (c *client) refused(path, method string, args ...any) godbus.Error {
	c.Helper()
	err, ok := c.try(path, method, args...).Err.(godbus.Error)
	if !ok {
		c.Fatalf("%s at %s is not refused", method, path)
	}
	return err
}

func (c *client) get(path, iface, name string) any {
	c.Helper()
	return c.call(path, contract.Properties+".Get", iface, name)[0].(godbus.Variant).Value()
}

// listen begins to collect signals, of what is committed from now on.
func (c *client) listen() {
	c.Helper()
	c.signals = make(chan *godbus.Signal, 1000)
	c.conn.Signal(c.signals)
	if err := c.conn.AddMatchSignal(godbus.WithMatchSender(contract.BusName)); err != nil {
		c.Fatal(err)
	}
	c.heard()
}

// heard returns the signals that have come after a change of State which marks the end.
func (c *client) heard() []*godbus.Signal {
	c.Helper()
	mark := c.agent.Snapshot().State + "+"
	c.agent.Commit(setState(mark))
	var list []*godbus.Signal
	late := time.After(20 * time.Second)
	for {
		select {
		case s := <-c.signals:
			if s.Path == contract.Root && s.Name == contract.Properties+".PropertiesChanged" {
				if v, ok := s.Body[1].(options)["State"]; ok && v.Value() == mark {
					return list
				}
			}
			if s.Name == contract.USP+".Notification" {
				c.wakes = append(c.wakes, s.Body[0].(uint64))
				continue
			}
			list = append(list, s)
		case <-late:
			c.Fatalf("the signals do not come; so far %v", list)
		}
	}
}

func row(kind string, n string) string { return contract.Root + "/" + kind + "/" + n }

type node struct {
	Interfaces []contract.Interface `xml:"interface"`
	Children   []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
}

func (c *client) introspect(path string) node {
	c.Helper()
	var n node
	if err := xml.Unmarshal([]byte(c.call(path, contract.Introspectable+".Introspect")[0].(string)), &n); err != nil {
		c.Fatal(err)
	}
	return n
}

func TestIntrospectIsTheContract(t *testing.T) {
	c := newClient(t)
	c.install()
	standard := []string{contract.Properties, contract.Introspectable, contract.Peer}
	for path, want := range map[string][]string{
		contract.Root:              append([]string{contract.Agent, contract.CWMP, contract.USP, contract.ObjectManager}, standard...),
		row("ExecEnv", "1"):        append([]string{contract.ExecEnv}, standard...),
		row("DeploymentUnit", "1"): append([]string{contract.DeploymentUnit}, standard...),
		row("ExecutionUnit", "2"):  append([]string{contract.ExecutionUnit}, standard...),
		row("Job", "1"):            append([]string{contract.Job}, standard...),
		"/":                        {contract.Introspectable, contract.Peer},
		"/org/smmd":                {contract.Introspectable, contract.Peer},
		contract.Root + "/ExecEnv": {contract.Introspectable, contract.Peer},
	} {
		got := map[string]contract.Interface{}
		for _, i := range c.introspect(path).Interfaces {
			got[i.Name] = i
		}
		if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s has the interfaces %v", path, names)
		}
		for name, i := range got {
			if !reflect.DeepEqual(i, *contract.Lookup(name)) {
				t.Errorf("%s at %s is not as its XML says", name, path)
			}
		}
	}
	for path, want := range map[string]string{
		"/": "org", "/org": "smmd", "/org/smmd": "Agent1", contract.Root: "ExecEnv DeploymentUnit ExecutionUnit Job",
		contract.Root + "/ExecEnv": "1 2", contract.Root + "/ExecutionUnit": "2", row("Job", "1"): "",
	} {
		var names []string
		for _, k := range c.introspect(path).Children {
			names = append(names, k.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("below %s is %q, want %q", path, got, want)
		}
	}
}

// TestEveryMethodIsServed calls each method of the contract with wrong arguments: whoever answers InvalidArgs is there.
func TestEveryMethodIsServed(t *testing.T) {
	c := newClient(t)
	c.install()
	for iface, path := range map[string]string{
		contract.Agent: contract.Root, contract.CWMP: contract.Root, contract.USP: contract.Root, contract.ObjectManager: contract.Root, contract.Properties: contract.Root,
		contract.Introspectable: contract.Root, contract.ExecEnv: row("ExecEnv", "1"), contract.DeploymentUnit: row("DeploymentUnit", "1"),
		contract.ExecutionUnit: row("ExecutionUnit", "2"), contract.Job: row("Job", "1"),
	} {
		for _, m := range contract.Lookup(iface).Methods {
			err := c.refused(path, iface+"."+m.Name, byte(1), "x", []string{})
			if err.Name != "org.freedesktop.DBus.Error.InvalidArgs" || !strings.Contains(err.Error(), iface+"."+m.Name) {
				t.Errorf("%s.%s: %s %v", iface, m.Name, err.Name, err)
			}
		}
	}
	if err := c.refused(contract.Root, contract.Agent+".Uninstall", options{}); err.Name != "org.freedesktop.DBus.Error.UnknownMethod" {
		t.Errorf("a method that is not offered: %s", err.Name)
	}
	if err := c.refused(contract.Root, "org.smmd.USP2.Get"); err.Name != "org.freedesktop.DBus.Error.UnknownInterface" {
		t.Errorf("an interface that is not offered: %s", err.Name)
	}
	c.call(row("Job", "1"), contract.Peer+".Ping")
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		ipctest.Missing(t, name+" is not installed")
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func TestBusctl(t *testing.T) {
	c := newClient(t)
	c.install()
	busctl := func(args ...string) string {
		t.Helper()
		return run(t, "busctl", append([]string{"--address=" + c.address, "--no-pager"}, args...)...)
	}
	for _, x := range []struct{ want, args string }{
		{"/org/smmd/Agent1/ExecutionUnit/2", "tree org.smmd.Agent1"},
		{".AutoStart property b true emits-change writable", "introspect org.smmd.Agent1 /org/smmd/Agent1/ExecutionUnit/2"},
		{".Completed signal bs - -", "introspect org.smmd.Agent1 /org/smmd/Agent1/Job/1"},
		{`s "Up"`, "get-property org.smmd.Agent1 /org/smmd/Agent1/ExecEnv/1 org.smmd.ExecEnv1 Status"},
		{`ao 1 "/org/smmd/Agent1/ExecutionUnit/2"`, "get-property org.smmd.Agent1 /org/smmd/Agent1/ExecEnv/1 org.smmd.ExecEnv1 ActiveExecutionUnits"},
		{"", "set-property org.smmd.Agent1 /org/smmd/Agent1/ExecutionUnit/2 org.smmd.ExecutionUnit1 RunLevel u 7"},
		{"u 7", "get-property org.smmd.Agent1 /org/smmd/Agent1/ExecutionUnit/2 org.smmd.ExecutionUnit1 RunLevel"},
		{`o "/org/smmd/Agent1/Job/2"`, "call org.smmd.Agent1 /org/smmd/Agent1 org.smmd.Agent1 Install sa{sv} http://x/y.jar 1 exec_env s osgi"},
		{`o "/org/smmd/Agent1/Job/3"`, "call org.smmd.Agent1 /org/smmd/Agent1 org.smmd.Agent1 Install sa{sv} http://x/z.jar 1 " +
			"application_data aa{sv} 1 4 Name s db Capacity x 64 Retain s Forever AccessPath s /var/lib/app"},
		{"aa{sv} 0", "get-property org.smmd.Agent1 /org/smmd/Agent1/ExecEnv/1 org.smmd.ExecEnv1 ApplicationData"},
	} {
		got := strings.Join(strings.Fields(busctl(strings.Fields(x.args)...)), " ")
		if !strings.Contains(got, x.want) {
			t.Errorf("busctl %s: %s", x.args, got)
		}
	}
}

func TestGdbus(t *testing.T) {
	c := newClient(t)
	c.install()
	gdbus := func(args ...string) string {
		t.Helper()
		return run(t, "gdbus", args...)
	}
	at := []string{"--address", c.address, "--dest", "org.smmd.Agent1", "--object-path"}
	if out := gdbus(append(append([]string{"introspect"}, at...), contract.Root, "--recurse")...); !strings.Contains(out, "readwrite u RunLevel = 1;") {
		t.Errorf("introspect: %s", out)
	}
	out := gdbus(append(append([]string{"call"}, at...), contract.Root, "--method", contract.ObjectManager+".GetManagedObjects")...)
	if !strings.Contains(out, "'EUID': <'osgi/00000000-0000-5000-8000-000000000001'>") {
		t.Errorf("GetManagedObjects: %s", out)
	}
	out = gdbus(append(append([]string{"call"}, at...), row("ExecutionUnit", "2"), "--method", contract.ExecutionUnit+".Stop", "{}")...)
	if !strings.Contains(out, "objectpath '/org/smmd/Agent1/Job/2'") {
		t.Errorf("Stop: %s", out)
	}
}

package e2e

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// The tools of systemd and GLib see what our client sees.
func TestBusctlAndGdbus(t *testing.T) {
	parallel(t)
	support.Program(t, "busctl")
	support.Program(t, "gdbus")
	d := boot(t, support.Env{})
	u := d.Install("sample-1.0.0.jar", "felix")
	const name, env, du, eu = client.BusName, client.Root + "/ExecEnv/1", client.Root + "/DeploymentUnit/1", client.Root + "/ExecutionUnit/1"
	busctl := func(args ...string) (string, error) {
		out, stderr, status := d.Run("busctl", append([]string{"--address=" + d.Bus}, args...)...)
		if status != 0 {
			return out, errors.New(stderr)
		}
		return out, nil
	}
	gdbus := func(verb string, args ...string) (string, error) {
		out, stderr, status := d.Run("gdbus", append([]string{verb, "--address", d.Bus, "--dest", name}, args...)...)
		if status != 0 {
			return out, errors.New(stderr)
		}
		return out, nil
	}
	for _, test := range []struct {
		tool func() (string, error)
		want []string // parts of the output
		fail string   // part of the error, empty: it succeeds
	}{
		{tool: func() (string, error) { return busctl("tree", "--list", name) }, want: []string{client.Root + "\n", env + "\n", du + "\n", eu + "\n", client.Root + "/Job/1\n"}},
		{tool: func() (string, error) { return busctl("introspect", name, client.Root) }, want: []string{".Install", ".GetParameterValues", ".GetManagedObjects", ".Version"}},
		{tool: func() (string, error) { return busctl("introspect", name, eu) }, want: []string{".Start", ".ExecutionFaultCode", `"NoFault"`, `"Active"`}},
		{tool: func() (string, error) { return busctl("get-property", name, eu, "org.smmd.ExecutionUnit1", "Status") }, want: []string{`s "Active"`}},
		{tool: func() (string, error) {
			return busctl("set-property", name, du, "org.smmd.DeploymentUnit1", "Alias", "s", "by-busctl")
		}},
		{tool: func() (string, error) { return busctl("get-property", name, du, "org.smmd.DeploymentUnit1", "Alias") }, want: []string{`s "by-busctl"`}},
		{tool: func() (string, error) {
			return busctl("set-property", name, du, "org.smmd.DeploymentUnit1", "UUID", "s", "x")
		}, fail: "read-only"},
		{tool: func() (string, error) {
			return busctl("set-property", name, env, "org.smmd.ExecEnv1", "InitialRunLevel", "u", "70000")
		}, fail: "70000"},
		{tool: func() (string, error) {
			return busctl("call", name, client.Root, "org.smmd.CWMP1", "GetParameterValues", "as", "1", u.EU.Path+".Name")
		}, want: []string{`a(sss) 1 "Device.SoftwareModules.ExecutionUnit.1.Name" "xsd:string" "org.smmd.sample"`}},
		{tool: func() (string, error) {
			return busctl("call", name, client.Root, "org.smmd.CWMP1", "SetParameterValues", "a(sss)a{sv}", "1", u.EU.Path+".Alias", "xsd:string", "cwmp-name", "0")
		}, want: []string{"i 0"}},
		{tool: func() (string, error) {
			return busctl("call", name, eu, "org.smmd.ExecutionUnit1", "Stop", "a{sv}", "0")
		}, want: []string{`o "/org/smmd/Agent1/Job/`}},
		{tool: func() (string, error) {
			return busctl("call", name, client.Root, name, "Install", "sa{sv}", d.URL("sample2-1.0.0.jar"), "2", "exec_env", "s", "felix", "auto_start", "b", "false")
		}, want: []string{`o "/org/smmd/Agent1/Job/`}},
		{tool: func() (string, error) {
			return gdbus("introspect", "--object-path", client.Root, "--recurse")
		}, want: []string{"interface org.smmd.Agent1", "node " + eu}},
		{tool: func() (string, error) {
			return gdbus("call", "--object-path", env, "--method", "org.freedesktop.DBus.Properties.Get", "org.smmd.ExecEnv1", "Status")
		}, want: []string{"(<'Up'>,)"}},
		{tool: func() (string, error) {
			return gdbus("call", "--object-path", client.Root, "--method", "org.smmd.CWMP1.GetParameterNames", "Device.SoftwareModules.", "true")
		}, want: []string{"('Device.SoftwareModules.ExecEnv.', false)"}},
		{tool: func() (string, error) {
			return gdbus("call", "--object-path", client.Root, "--method", "org.smmd.Agent1.Install", "http://127.0.0.1/x.jar", "{'colour': <'red'>}")
		}, fail: "colour"},
		{tool: func() (string, error) {
			return gdbus("call", "--object-path", client.Root+"/DeploymentUnit/4000", "--method", "org.smmd.DeploymentUnit1.Uninstall", "{}")
		}, fail: "UnknownObject"},
	} {
		out, err := test.tool()
		if (err == nil) != (test.fail == "") || err != nil && !strings.Contains(err.Error(), test.fail) {
			t.Errorf("the tool ended with %v, want %q\n%s", err, test.fail, out)
		}
		for _, want := range test.want {
			if !strings.Contains(out, want) {
				t.Errorf("the tool does not show %q:\n%s", want, out)
			}
		}
	}

	// Every value of every object, in the types of the introspection.
	out, err := busctl("--json=short", "call", name, client.Root, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects")
	if err != nil {
		t.Fatal(err)
	}
	var answer struct {
		Data []map[string]map[string]map[string]struct{ Type string } `json:"data"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Data) != 1 {
		t.Fatalf("%v of %s", err, out)
	}
	for path, ifaces := range answer.Data[0] {
		declared := introspect(t, d, dbus.ObjectPath(path))
		for iface, properties := range ifaces {
			if strings.HasPrefix(iface, "org.freedesktop.") {
				continue
			}
			if len(declared[iface]) != len(properties) {
				t.Errorf("%s %s has %d properties and declares %d", path, iface, len(properties), len(declared[iface]))
			}
			for property, v := range properties {
				if declared[iface][property] != v.Type {
					t.Errorf("%s %s.%s is a %s and declared as %q", path, iface, property, v.Type, declared[iface][property])
				}
			}
		}
	}
}

// introspect returns the types of the properties of an object as its introspection declares them, by interface and name.
func introspect(t *testing.T, d *support.Device, path dbus.ObjectPath) map[string]map[string]string {
	t.Helper()
	conn := raw(t, d)
	defer func() { _ = conn.Close() }() // nothing is under way
	var text string
	if err := conn.Object(client.BusName, path).CallWithContext(t.Context(), "org.freedesktop.DBus.Introspectable.Introspect", 0).Store(&text); err != nil {
		t.Fatal(err)
	}
	var node struct {
		Interfaces []struct {
			Name       string `xml:"name,attr"`
			Properties []struct {
				Name string `xml:"name,attr"`
				Type string `xml:"type,attr"`
			} `xml:"property"`
		} `xml:"interface"`
	}
	if err := xml.Unmarshal([]byte(text), &node); err != nil {
		t.Fatalf("cannot read the introspection of %s: %v", path, err)
	}
	all := map[string]map[string]string{}
	for _, i := range node.Interfaces {
		all[i.Name] = map[string]string{}
		for _, p := range i.Properties {
			all[i.Name][p.Name] = p.Type
		}
	}
	return all
}

// What strangers may send is refused with an error for each, and does nothing.
func TestHostileCalls(t *testing.T) {
	parallel(t)
	d := boot(t, support.Env{})
	u := d.Install("sample-1.0.0.jar", "felix")
	before := rows(t, d)
	jobs := len(d.Tree().Jobs)
	conn := raw(t, d)
	defer func() { _ = conn.Close() }() // all answers are in

	const root = client.Root
	huge := strings.Repeat("x", 1<<20)
	none := map[string]dbus.Variant{}
	with := func(key string, value any) map[string]dbus.Variant {
		return map[string]dbus.Variant{key: dbus.MakeVariant(value)}
	}
	type triple struct{ Name, Type, Value string }
	for _, test := range []struct {
		path   dbus.ObjectPath
		method string
		args   []any
	}{
		{root, "org.smmd.Agent1.Install", nil},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar"}},
		{root, "org.smmd.Agent1.Install", []any{uint32(7), none}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", "none"}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", none, "more"}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", with("colour", "red")}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", with("uuid", uint32(7))}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", with("uuid", dbus.MakeVariant("x"))}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", with("exec_env", dbus.ObjectPath("/org/smmd/Agent1/DeploymentUnit/1"))}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", with("exec_env", "Device.SoftwareModules.ExecEnv.00000001.")}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", with("password", huge)}},
		{root, "org.smmd.Agent1.Install", []any{huge, none}},
		{root, "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", with(huge, "x")}},
		{root, "org.smmd.Agent1.Install", []any{"http://[::1/x.jar", none}},
		{root, "org.smmd.Agent1.Nothing", nil},
		{root, "org.smmd.Nothing1.Install", []any{"http://127.0.0.1/x.jar", none}},
		{root + "/ExecutionUnit/1", "org.smmd.Agent1.Install", []any{"http://127.0.0.1/x.jar", none}},
		{root + "/ExecutionUnit/01", "org.smmd.ExecutionUnit1.Stop", []any{none}},
		{root + "/ExecutionUnit/4294967297", "org.smmd.ExecutionUnit1.Stop", []any{none}},
		{root + "/ExecutionUnit/1/x", "org.smmd.ExecutionUnit1.Stop", []any{none}},
		{dbus.ObjectPath(root + "/" + strings.Repeat("x/", 10_000) + "x"), "org.smmd.ExecutionUnit1.Stop", []any{none}},
		{"/", "org.smmd.ExecutionUnit1.Stop", []any{none}},
		{root + "/ExecutionUnit/1", "org.smmd.ExecutionUnit1.Stop", []any{with("now", true)}},
		{root + "/ExecEnv/1", "org.smmd.ExecEnv1.SetRunLevel", []any{int32(-2), none}},
		{root + "/ExecEnv/1", "org.smmd.ExecEnv1.SetRunLevel", []any{int32(1 << 30), none}},
		{root + "/ExecEnv/1", "org.smmd.ExecEnv1.Restart", []any{with("reason", huge)}},
		{root + "/Job/1", "org.smmd.Job1.Cancel", []any{none}},
		{root, "org.freedesktop.DBus.Properties.Get", []any{"org.smmd.Nothing1", "Version"}},
		{root, "org.freedesktop.DBus.Properties.Get", []any{huge, huge}},
		{root, "org.freedesktop.DBus.Properties.Set", []any{"org.smmd.Agent1", "Version", dbus.MakeVariant("2")}},
		{root + "/DeploymentUnit/1", "org.freedesktop.DBus.Properties.Set", []any{"org.smmd.DeploymentUnit1", "Alias", dbus.MakeVariant(uint32(1))}},
		{root + "/DeploymentUnit/1", "org.freedesktop.DBus.Properties.Set", []any{"org.smmd.DeploymentUnit1", "Alias", dbus.MakeVariant(huge)}},
		{root + "/DeploymentUnit/1", "org.freedesktop.DBus.Properties.Set", []any{"org.smmd.DeploymentUnit1", "Alias", dbus.MakeVariant("1st")}},
		{root, "org.smmd.CWMP1.GetParameterValues", []any{"Device."}},
		{root, "org.smmd.CWMP1.GetParameterValues", []any{[]string{"Device..SoftwareModules."}}},
		{root, "org.smmd.CWMP1.GetParameterValues", []any{[]string{huge}}},
		{root, "org.smmd.CWMP1.GetParameterValues", []any{[]string{"Device.SoftwareModules.ExecEnv.99999999999999999999."}}},
		{root, "org.smmd.CWMP1.GetParameterNames", []any{"Device", false}},
		{root, "org.smmd.CWMP1.SetParameterValues", []any{[]triple{{u.Path + ".Alias", "xsd:boolean", "fine"}}, none}},
		{root, "org.smmd.CWMP1.SetParameterValues", []any{[]triple{{u.Path + ".Alias", "xsd:string", "fine"}, {u.Path + ".UUID", "xsd:string", "x"}}, none}},
		{root, "org.smmd.CWMP1.SetParameterValues", []any{[]triple{{u.Path + ".Alias", "xsd:string", "fine"}, {u.Path + ".Alias", "xsd:string", "too"}}, none}},
		{root, "org.smmd.CWMP1.SetParameterValues", []any{[]triple{{u.Path + ".Alias", "xsd:string", "fine"}}, with("force", true)}},
		{root, "org.smmd.CWMP1.AddObject", []any{"Device.SoftwareModules.DeploymentUnit."}},
		{root, "org.smmd.CWMP1.DeleteObject", []any{u.Path + "."}},
	} {
		call := conn.Object(client.BusName, test.path).CallWithContext(t.Context(), test.method, 0, test.args...)
		var e dbus.Error
		if !errors.As(call.Err, &e) || !strings.HasPrefix(e.Name, "org.smmd.Error.") && !strings.HasPrefix(e.Name, "org.freedesktop.DBus.Error.") ||
			strings.HasSuffix(e.Name, ".Internal") || len(fmt.Sprint(e.Body)) > 4096 {
			t.Errorf("%s of %.60s with %.80s is answered with %.200v %.200v", test.method, test.path, fmt.Sprint(test.args), call.Err, call.Body)
		}
	}
	if after := rows(t, d); fmt.Sprint(plain(before)) != fmt.Sprint(plain(after)) {
		t.Errorf("the tree was %v and is %v", plain(before), plain(after))
	}
	if now := len(d.Tree().Jobs); now != jobs {
		t.Errorf("there were %d jobs and are %d", jobs, now)
	}
	if err := faces(t, d); err != nil {
		t.Error(err)
	}
}

// Thousands of calls at once are all answered, the agent's memory stays within bounds, and so do its jobs.
func TestManyCallsAtOnce(t *testing.T) {
	parallel(t)
	d := boot(t, support.Env{})
	u := d.Install("sample-1.0.0.jar", "felix")
	before := rows(t, d)
	conn := raw(t, d)
	defer func() { _ = conn.Close() }() // all answers are in

	const calls = 10_000
	answers := make(chan *dbus.Call, calls)
	agent := func(path dbus.ObjectPath) dbus.BusObject { return conn.Object(client.BusName, path) }
	for i := range calls {
		switch i % 5 {
		case 0:
			agent(client.Root).Go("org.smmd.CWMP1.GetParameterValues", 0, answers, []string{"Device.SoftwareModules."})
		case 1:
			agent(client.Root).Go("org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0, answers)
		case 2:
			agent(u.EU.Object).Go("org.smmd.ExecutionUnit1.Start", 0, answers, "wrong")
		case 3:
			agent(client.Root).Go("org.smmd.Agent1.Install", 0, answers, "http://user@127.0.0.1/x.jar", map[string]dbus.Variant{})
		case 4:
			agent(client.Root).Go("org.smmd.CWMP1.SetParameterValues", 0, answers, []client.Parameter{{Path: u.Path + ".Alias", Value: u.Alias}}, map[string]dbus.Variant{})
		}
	}
	refused := map[string]int{}
	for range calls {
		var e dbus.Error
		switch call := <-answers; {
		case errors.As(call.Err, &e):
			refused[e.Name]++
		case call.Err != nil:
			t.Fatal(call.Err)
		}
	}
	for name := range refused {
		switch name {
		case "org.smmd.Error.InvalidArguments", "org.freedesktop.DBus.Error.InvalidArgs", "org.freedesktop.DBus.Error.LimitsExceeded":
		default:
			t.Errorf("%d calls were refused with %s", refused[name], name)
		}
	}
	for _, name := range []string{"org.smmd.Error.InvalidArguments", "org.freedesktop.DBus.Error.InvalidArgs"} {
		if refused[name] == 0 {
			t.Errorf("no call was refused with %s", name)
		}
	}
	if n := len(d.Tree().Jobs); n != 1 {
		t.Errorf("there are %d jobs", n)
	}
	if after := rows(t, d); fmt.Sprint(plain(before)) != fmt.Sprint(plain(after)) {
		t.Errorf("the tree was %v and is %v", plain(before), plain(after))
	}
	const sane = 150 << 20
	if rss := d.Memory(); rss > sane {
		t.Errorf("the agent has %d MiB", rss>>20)
	} else {
		t.Logf("the agent has %d MiB after %d calls, refused were %v", rss>>20, calls, refused)
	}
	d.Install("sample2-1.0.0.jar", "felix")
}

package dbus_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
)

func isError(err error, name string) bool {
	var e godbus.Error
	return errors.As(err, &e) && e.Name == name
}

func TestObjectsThatDoNotExist(t *testing.T) {
	c := newClient(t)
	c.install()
	for _, path := range []string{
		row("Job", "99999999999999"), row("Job", "_1"), row("Job", "1/x"), row("Job", "0"), row("Job", "01"), row("Job", "2"), row("Job", "4294967297"),
		row("ExecEnv", "3"), row("DeploymentUnit", "2"), row("ExecutionUnit", "1"), row("Nothing", "1"), contract.Root + "/job/1", contract.Root + "/Job/1/1",
		contract.Root + "/" + strings.Repeat("x", 1<<20), contract.Root + strings.Repeat("/Job/1", 1000), "/org/smmd/Agent2", "/com", "/org/smmd/Agent1x",
	} {
		for method, args := range map[string][]any{
			contract.Introspectable + ".Introspect": nil, contract.Properties + ".GetAll": {""}, contract.Job + ".Cancel": {options{}}, "no.such.Method": {1},
		} {
			if err := c.refused(path, method, args...); err.Name != "org.freedesktop.DBus.Error.UnknownObject" || len(err.Error()) > 200 {
				t.Errorf("%s at %.60s: %s %v", method, path, err.Name, err)
			}
		}
	}
	// The places between are no objects.
	for _, path := range []string{"/", "/org", "/org/smmd", contract.Root + "/Job"} {
		if err := c.refused(path, contract.Properties+".GetAll", ""); err.Name != "org.freedesktop.DBus.Error.UnknownInterface" {
			t.Errorf("GetAll at %s: %s", path, err.Name)
		}
	}
	// A path that is none does not reach the agent; it is the library of the caller that refuses it.
	if err := c.try(row("Job", "-1"), contract.Peer+".Ping").Err; err == nil {
		t.Error("Job/-1 answers")
	}
}

func TestOptions(t *testing.T) {
	c := newClient(t)
	c.install()
	before := len(c.agent.Asked())
	big := strings.Repeat("k", 1<<20)
	for _, x := range []struct {
		path, method, names string
		args                []any
	}{
		{contract.Root, contract.Agent + ".Install", "nonsense", []any{"http://x", options{"uuid": v("u"), "nonsense": v(1)}}},
		{contract.Root, contract.Agent + ".Install", "signature_url", []any{"http://x", options{"signature_url": v("http://y")}}},
		{contract.Root, contract.Agent + ".Install", "uuid", []any{"http://x", options{"uuid": v(1)}}},
		{contract.Root, contract.Agent + ".Install", "auto_start", []any{"http://x", options{"auto_start": v("yes")}}},
		{contract.Root, contract.Agent + ".Install", "exec_env", []any{"http://x", options{"exec_env": v(uint32(1))}}},
		{contract.Root, contract.Agent + ".Install", "exec_env", []any{"http://x", options{"exec_env": v([]string{"osgi"})}}},
		{contract.Root, contract.Agent + ".Install", "password", []any{"http://x", options{"password": v(v("nested"))}}},
		{contract.Root, contract.Agent + ".Install", "username", []any{"http://x", options{"username": v(big)}}},
		{contract.Root, contract.Agent + ".Install", "URL", []any{"http://" + big, options{}}},
		{contract.Root, contract.Agent + ".Install", "kkk", []any{"http://x", options{big: v(big)}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", "exec_env", []any{options{"exec_env": v("osgi")}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Uninstall", "force", []any{options{"force": v(true)}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Uninstall", "retain_data", []any{options{"retain_data": v(v(true))}}},
		{row("DeploymentUnit", "1"), contract.DeploymentUnit + ".Update", "application_data", []any{options{"application_data": v([][]options{})}}},
		{contract.Root, contract.Agent + ".Install", "application_data.1.kkk", []any{"http://x", options{"application_data": v([]options{{big: v(big)}})}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".RemoveApplicationData", "kkk", []any{uint32(1), options{big: v(big)}}},
		{row("ExecutionUnit", "2"), contract.ExecutionUnit + ".Stop", "now", []any{options{"now": v(true)}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Restart", "reason", []any{options{"reason": v(true)}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Reset", "baseline", []any{options{"baseline": v(1)}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Reset", "baseline", []any{options{"baseline": v(big)}}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".Reset", "reason", []any{options{"reason": v("why")}}},
		{contract.Root, contract.Agent + ".RecordBaseline", "token", []any{"cwmp", big}},
		{row("ExecEnv", "1"), contract.ExecEnv + ".SetRunLevel", "x", []any{int32(1), options{"x": v(true)}}},
		{row("Job", "1"), contract.Job + ".Cancel", "x", []any{options{"x": v(true)}}},
	} {
		err := c.refused(x.path, x.method, x.args...)
		if err.Name != "org.freedesktop.DBus.Error.InvalidArgs" || !strings.Contains(err.Error(), x.names) || len(err.Error()) > 1100 {
			t.Errorf("%s, %s: %s %.200v", x.method, x.names, err.Name, err)
		}
		if strings.Contains(err.Error(), "nested") {
			t.Errorf("the password is in %v", err)
		}
	}
	if n := len(c.agent.Asked()); n != before {
		t.Errorf("the agent is asked %v", c.agent.Asked()[before:])
	}
}

func TestWrongSignatures(t *testing.T) {
	c := newClient(t)
	for _, args := range [][]any{
		nil, {"http://x"}, {options{}}, {"http://x", options{}, options{}}, {"http://x", map[string]string{}}, {godbus.ObjectPath("/x"), options{}},
		{[]string{"http://x"}, options{}}, {"http://x", []any{v(1)}}, {int64(1), options{}}, {v("http://x"), options{}},
	} {
		err := c.refused(contract.Root, contract.Agent+".Install", args...)
		if err.Name != "org.freedesktop.DBus.Error.InvalidArgs" || !strings.Contains(err.Error(), "(sa{sv})") {
			t.Errorf("%v: %s %v", args, err.Name, err)
		}
	}
	// Without an interface the member is looked for in all that the object has.
	if err := c.try(row("ExecEnv", "1"), ".Restart", options{}).Err; err != nil && !strings.Contains(err.Error(), "invalid") {
		t.Errorf("a call without an interface: %v", err)
	}
}

// TestNoInterface sends a call without an interface, which means whatever interface of that very object has the member.
func TestNoInterface(t *testing.T) {
	c := newClient(t)
	c.install()
	for path, want := range map[string]any{
		row("ExecEnv", "1"):       ipctest.Restart{Instance: 1},
		row("ExecutionUnit", "2"): ipctest.Request{EU: 2, Request: model.RequestRestart},
	} {
		msg := &godbus.Message{Type: godbus.TypeMethodCall, Body: []any{options{}}, Headers: map[godbus.HeaderField]godbus.Variant{
			godbus.FieldDestination: v(contract.BusName), godbus.FieldPath: v(godbus.ObjectPath(path)),
			godbus.FieldMember: v("Restart"), godbus.FieldSignature: v(godbus.SignatureOf(options{})),
		}}
		if err := within(t, "the answer", c.conn.Send(msg, make(chan *godbus.Call, 1)).Done).Err; err != nil {
			t.Fatal(err)
		}
		switch got := c.asked().(type) {
		case ipctest.Restart:
			got.Originator = model.Origin{}
			if got != want {
				t.Errorf("%s asks %v", path, got)
			}
		case ipctest.Request:
			got.Originator = model.Origin{}
			if got != want {
				t.Errorf("%s asks %v", path, got)
			}
		default:
			t.Errorf("%s asks %v", path, got)
		}
	}
}

func TestNobodyWantsTheAnswer(t *testing.T) {
	c := newClient(t)
	agent := c.conn.Object(contract.BusName, contract.Root)
	for range 100 {
		agent.Go(contract.Agent+".Install", godbus.FlagNoReplyExpected, nil, "http://x", options{})
		agent.Go(contract.Agent+".Install", godbus.FlagNoReplyExpected, nil, 1)
		agent.Go("no.such.Method", godbus.FlagNoReplyExpected, nil)
	}
	for len(c.agent.Asked()) < 100 {
		c.get(contract.Root, contract.Agent, "State")
	}
}

// TestManyCallsAtOnce sends ten thousand calls, a tenth of them changes, from several callers, some of whom are gone before
// the answer.
func TestManyCallsAtOnce(t *testing.T) {
	a := ipctest.New()
	address := ipctest.Run(t, a)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			conn := ipctest.Connect(t, address)
			root := conn.Object(contract.BusName, contract.Root)
			var calls []*godbus.Call
			for k := range 1000 {
				if k%10 == 0 {
					calls = append(calls, root.Go(contract.Agent+".Install", 0, make(chan *godbus.Call, 1), "http://x", options{}))
				} else {
					calls = append(calls, root.Go(contract.Properties+".GetAll", 0, make(chan *godbus.Call, 1), contract.Agent))
				}
				if i > 7 && k > 500 {
					conn.Close()
					return
				}
				if len(calls) == 100 {
					for _, call := range calls {
						if err := (<-call.Done).Err; err != nil && !isError(err, "org.freedesktop.DBus.Error.LimitsExceeded") {
							t.Error(err)
						}
					}
					calls = nil
				}
			}
		})
	}
	wg.Wait()
	c := &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
	if c.get(contract.Root, contract.Agent, "State") != "running" {
		t.Error("the agent does not answer any more")
	}
}

// TestFileDescriptors sends file descriptors, which nobody would close, from a connection that may.
func TestFileDescriptors(t *testing.T) {
	a := ipctest.New()
	address := ipctest.Run(t, a)
	c := &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
	sender, err := godbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	err = sender.Object(contract.BusName, contract.Root).Call(contract.Agent+".Install", 0, "http://x", options{"uuid": v(godbus.UnixFD(f.Fd()))}).Err
	if err == nil {
		t.Error("a file descriptor is taken")
	}
	c.get(contract.Root, contract.Agent, "State")
}

// TestGarbageOnTheSocket speaks to the bus what is not D-Bus: that is the bus's to judge, and the agent goes on.
func TestGarbageOnTheSocket(t *testing.T) {
	c := newClient(t)
	raw, err := net.Dial("unix", strings.TrimPrefix(c.address, "unix:path="))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if _, err := raw.Write([]byte(strings.Repeat("\x00\xff garbage\r\n", 1000))); err != nil {
		t.Log(err) // the bus may have closed it already
	}
	c.get(contract.Root, contract.Agent, "State")
}

// TestTextThatDoesNotFitTheWire puts zero bytes, broken UTF-8 and noncharacters into everything that is sent: the bus would end the
// connection of whoever sends the former, and not everybody reads the latter.
func TestTextThatDoesNotFitTheWire(t *testing.T) {
	bad := "a\x00b\xffc\U0001FFFFd\uFDD0"
	a := ipctest.New()
	address := ipctest.Bus(t)
	ipctest.Serve(t, address, a, dbus.Options{Version: bad, DataModel: bad})
	c := &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
	c.listen()
	a.SetAdapters([]model.AdapterInfo{{Name: bad, Version: bad, Capabilities: []string{bad}, State: bad, Detail: bad, PID: -1}})
	a.Commit(func(d *model.Draft) {
		d.PutExecEnv(&model.ExecEnv{ID: bad, Instance: 1, Alias: bad, Adapter: bad, Parent: bad, Name: bad, Type: bad, Vendor: bad, Version: bad,
			RestartReason: bad, Status: model.EEStatus(bad), StatusDetail: bad})
		d.PutDeploymentUnit(&model.DeploymentUnit{ID: 1, Alias: bad, Env: bad, UUID: bad, Version: bad, DUID: bad, Name: bad, Vendor: bad, Description: bad,
			URL: bad, Status: model.DUStatus(bad)})
		d.PutExecutionUnit(&model.ExecutionUnit{ID: 2, Alias: bad, DU: 1, Env: bad, EUID: bad, Name: bad, Label: bad, Vendor: bad, Version: bad,
			Description: bad, Status: model.EUActive, FaultCode: model.FaultCode(bad), FaultMessage: bad, LogPath: bad})
		d.PutVolume(&model.Volume{ID: 1, Alias: bad, Env: bad, UUID: bad, Name: bad, Retain: model.Retain(bad), AccessPath: bad})
		d.PutJob(&model.Job{ID: 1, Operation: bad, State: model.JobState(bad), Message: bad, Originator: model.Origin{Name: bad}, Fault: "internal"})
	})
	a.Commit(func(d *model.Draft) {
		d.PutJob(&model.Job{ID: 1, Operation: bad, State: model.JobFailed, Message: bad, Originator: model.Origin{Name: bad}, Fault: "internal"})
	})
	if got := c.heard(); len(got) == 0 {
		t.Error("no signal comes")
	}
	c.call(contract.Root, contract.ObjectManager+".GetManagedObjects")
	c.call(contract.Root, contract.Agent+".Adapters")
	c.call(contract.Root, contract.CWMP+".GetParameterValues", []string{"Device."})
	if got := c.get(row("DeploymentUnit", "1"), contract.DeploymentUnit, "Name"); got != "a\uFFFDb\uFFFDc\uFFFDd\uFFFD" {
		t.Errorf("the name is %q", got)
	}
}

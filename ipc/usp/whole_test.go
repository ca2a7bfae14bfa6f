package usp_test

import (
	"context"
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

// device is an agent in memory behind its real face on a bus of its own, and the real bridge to the double of a broker.
type device struct {
	*ipctest.Agent
	*usptest.Broker
	address string
	stop    func() // of the agent
}

func newDevice(t *testing.T) *device {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		ipctest.Missing(t, "dbus-daemon is missing")
	}
	d := &device{Agent: ipctest.New(), Broker: usptest.NewBroker(t), address: ipctest.Bus(t)}
	d.start(t)
	s, err := usp.New(usp.Options{Broker: d.Path, Dial: func(ctx context.Context) (usp.Agent, error) {
		c, err := client.Dial(ctx, d.address)
		if err != nil {
			return nil, err
		}
		return c, nil
	}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.Hurry()
	run(t, s)
	return d
}

// start puts the agent on the bus.
func (d *device) start(t *testing.T) {
	t.Helper()
	d.stop = ipctest.Serve(t, d.address, d.Agent, dbus.Options{Version: "1.2.3", DataModel: "Device:2.19"})
}

// join returns the link of the bridge, registered.
func (d *device) join(t *testing.T) *usptest.Link {
	t.Helper()
	l := d.Accept()
	l.Register()
	return l
}

// news returns what is told of a notification, in short.
func news(n *usppb.Notify) string {
	switch x := n.GetNotification().(type) {
	case *usppb.Notify_Event_:
		return fmt.Sprintf("%s: %s%s %s %s", n.GetSubscriptionId(), x.Event.GetObjPath(), x.Event.GetEventName(), x.Event.GetParams()["OperationPerformed"], x.Event.GetParams()["CurrentState"])
	case *usppb.Notify_OperComplete:
		return fmt.Sprintf("%s: %s%s %s %d", n.GetSubscriptionId(), x.OperComplete.GetObjPath(), x.OperComplete.GetCommandName(), x.OperComplete.GetCommandKey(), x.OperComplete.GetCmdFailure().GetErrCode())
	case *usppb.Notify_ObjCreation:
		return fmt.Sprintf("%s: %s", n.GetSubscriptionId(), x.ObjCreation.GetObjPath())
	case *usppb.Notify_ObjDeletion:
		return fmt.Sprintf("%s: %s", n.GetSubscriptionId(), x.ObjDeletion.GetObjPath())
	case *usppb.Notify_ValueChange_:
		return fmt.Sprintf("%s: %s = %s", n.GetSubscriptionId(), x.ValueChange.GetParamPath(), x.ValueChange.GetParamValue())
	}
	return n.String()
}

// jobs returns the numbers of the jobs that go on.
func (d *device) jobs() []uint32 {
	var list []uint32
	for j := range d.Snapshot().Jobs() {
		if !j.State.Final() {
			list = append(list, j.ID)
		}
	}
	return list
}

// install begins an installation and returns the path of its Request.
func install(t *testing.T, l *usptest.Link, id, key string) string {
	t.Helper()
	m := l.Call(usptest.Operate(id, sm+"InstallDU()", key, map[string]string{"URL": "http://files/" + key + ".jar", "ExecutionEnvRef": sm + "ExecEnv.1", "Bogus": "1"}))
	r := m.GetBody().GetResponse().GetOperateResp().GetOperationResults()
	if len(r) != 1 || r[0].GetExecutedCommand() != sm+"InstallDU()" || !strings.HasPrefix(r[0].GetReqObjPath(), "Device.LocalAgent.Request.") {
		t.Fatalf("the installation %s is answered with %v", key, m)
	}
	return r[0].GetReqObjPath()
}

// TestWhole is a Broker's day: from the registration to the end of two commands at once, with everything in between real.
func TestWhole(t *testing.T) {
	d := newDevice(t)
	l := d.join(t)
	dm := l.Call(usptest.GetSupportedDM("BROKER-1", sm)).GetBody().GetResponse().GetGetSupportedDmResp().GetReqObjResults()
	if len(dm) != 1 || dm[0].GetErrCode() != 0 || len(dm[0].GetSupportedObjs()) < 4 {
		t.Fatalf("the data model is %v", dm)
	}
	for _, o := range dm[0].GetSupportedObjs() {
		for _, p := range o.GetSupportedParams() {
			if p.GetValueType() == usppb.GetSupportedDMResp_PARAM_UNKNOWN || p.GetValueChange() == usppb.GetSupportedDMResp_VALUE_CHANGE_UNKNOWN {
				t.Errorf("the type of %s%s is not known: %v", o.GetSupportedObjPath(), p.GetParamName(), p)
			}
		}
		for _, c := range o.GetSupportedCommands() {
			if c.GetCommandType() == usppb.GetSupportedDMResp_CMD_UNKNOWN {
				t.Errorf("the kind of %s%s is not known", o.GetSupportedObjPath(), c.GetCommandName())
			}
		}
	}
	if got := told(l.Call(usptest.Get("BROKER-2", subs))); len(got) != 0 {
		t.Errorf("the subscriptions are %q", got)
	}
	l.Subscribe("ev", "Event", sm+"DUStateChange!")
	l.Subscribe("oc", "OperationComplete", sm+"InstallDU()")
	l.Subscribe("cr", "ObjectCreation", sm+"DeploymentUnit.")
	for _, path := range []string{sm + "DeploymentUnit.", sm + "ExecEnv.", sm + "ExecutionUnit."} {
		r := l.Call(usptest.GetInstances("BROKER "+path, path)).GetBody().GetResponse().GetGetInstancesResp().GetReqPathResults()
		want := map[string]int{sm + "ExecEnv.": 2}[path]
		if len(r) != 1 || r[0].GetErrCode() != 0 || len(r[0].GetCurrInsts()) != want {
			t.Errorf("the instances of %s are %v", path, r)
		}
	}
	for path, want := range map[string][]string{
		sm + `ExecEnv.[Alias=="cpe-lxc"].Status`:   {sm + "ExecEnv.2.Status=Disabled"},
		sm + "ExecEnv.*.Status":                    {sm + "ExecEnv.1.Status=Up", sm + "ExecEnv.2.Status=Disabled"},
		sm + "ExecEnv.1.Nothing":                   {sm + "ExecEnv.1.Nothing: 7026"},
		sm + "DeploymentUnit.*.Name":               {},
		sm + `ExecEnv.[Status=="Up"].Type`:         {sm + "ExecEnv.1.Type=OSGi 1.10"},
		sm + "ExecEnvNumberOfEntries":              {sm + "ExecEnvNumberOfEntries=2"},
		sm + "ExecEnv.[Alias==":                    {sm + "ExecEnv.[Alias==: 7008"},
		"Device.LocalAgent.RequestNumberOfEntries": {"Device.LocalAgent.RequestNumberOfEntries=0"},
	} {
		if got := told(l.Call(usptest.Get("PBROKER "+path, path))); !cmp.Equal(got, want) {
			t.Errorf("%s is %q, wanted %q", path, got, want)
		}
	}
	ok := l.Call(usptest.Set("set", sm+"ExecEnv.1.", "InitialRunLevel", "7", false)).GetBody().GetResponse().GetSetResp().GetUpdatedObjResults()
	if len(ok) != 1 || ok[0].GetOperStatus().GetOperSuccess().GetUpdatedInstResults()[0].GetUpdatedParams()["InitialRunLevel"] != "7" {
		t.Errorf("a Set is answered with %v", ok)
	}
	e := l.Call(usptest.Set("bad", sm+"ExecEnv.1.", "InitialRunLevel", "99999999", false)).GetBody().GetError()
	if e.GetErrCode() != 7004 || len(e.GetParamErrs()) != 1 || e.GetParamErrs()[0].GetParamPath() != sm+"ExecEnv.1.InitialRunLevel" || e.GetParamErrs()[0].GetErrCode() != 7012 {
		t.Errorf("a Set that is refused is answered with %v", e)
	}
	if r := l.Call(usptest.Operate("none", sm+"InstallDU()", "k", nil)).GetBody().GetResponse().GetOperateResp().GetOperationResults(); len(r) != 1 || r[0].GetCmdFailure().GetErrCode() != 7027 {
		t.Errorf("InstallDU() without URL is answered with %v", r)
	}

	first, second := install(t, l, "i1", "k1"), install(t, l, "i2", "k2")
	if got := told(l.Call(usptest.Get("requests", "Device.LocalAgent.Request.*.CommandKey"))); !cmp.Equal(got, []string{first + "CommandKey=k1", second + "CommandKey=k2"}) {
		t.Errorf("the requests are %q", got)
	}
	if got := told(l.Call(usptest.Get("originator", first+"Originator"))); !cmp.Equal(got, []string{first + "Originator=" + them}) {
		t.Errorf("the originator is %q", got)
	}
	if r := l.Call(usptest.Operate("cancel", second+"Cancel()", "c", nil)).GetBody().GetResponse().GetOperateResp().GetOperationResults(); len(r) != 1 || r[0].GetReqOutputArgs() == nil {
		t.Errorf("Cancel() is answered with %v", r)
	}
	l.Await("the end of the second command", func() bool {
		return slices.ContainsFunc(l.Asked, func(m *usppb.Msg) bool {
			return m.GetBody().GetRequest().GetNotify().GetOperComplete().GetCmdFailure().GetErrCode() == 7023
		})
	})
	for _, job := range d.jobs() {
		d.Finish(job)
	}
	var got []string
	l.Await("the end of the first command", func() bool {
		got = nil
		for _, m := range l.Asked {
			if n := m.GetBody().GetRequest().GetNotify(); n != nil && n.GetSubscriptionId() != "cr" {
				got = append(got, news(n))
			}
		}
		return slices.Contains(got, "oc: "+sm+"InstallDU() k1 0")
	})
	if want := []string{
		"ev: " + sm + "DUStateChange! Install Failed", "oc: " + sm + "InstallDU() k2 7023",
		"ev: " + sm + "DUStateChange! Install Installed", "oc: " + sm + "InstallDU() k1 0",
	}; !cmp.Equal(got, want) {
		t.Errorf("told %q, wanted %q", got, want)
	}
	if got := told(l.Call(usptest.Get("after", "Device.LocalAgent.RequestNumberOfEntries"))); !cmp.Equal(got, []string{"Device.LocalAgent.RequestNumberOfEntries=0"}) {
		t.Errorf("after the end %q", got)
	}
	l.Await("the creation", func() bool {
		return slices.ContainsFunc(l.Asked, func(m *usppb.Msg) bool { return m.GetBody().GetRequest().GetNotify().GetObjCreation() != nil })
	})
}

// TestRemove: application data comes and goes. A synchronous command with a search path succeeds for one row and fails for another, in one answer, and what has become of
// them is told.
func TestRemove(t *testing.T) {
	d := newDevice(t)
	l := d.join(t)
	const data = sm + "ExecEnv.1.ApplicationData."
	l.Subscribe("came", "ObjectCreation", data)
	l.Subscribe("gone", "ObjectDeletion", sm+"ExecEnv.*.ApplicationData.")
	l.Subscribe("count", "ValueChange", sm+"ExecEnv.1.ApplicationDataNumberOfEntries")
	d.Commit(func(x *model.Draft) {
		x.PutDeploymentUnit(&model.DeploymentUnit{ID: 5, Alias: "cpe-5", Env: "osgi", UUID: "u5", Version: "1", Status: model.DUInstalled})
		x.PutVolume(&model.Volume{ID: 2, Alias: "cpe-2", Env: "osgi", UUID: "u5", Name: "db", Capacity: 1, Retain: model.Forever, AccessPath: "/db"})
		x.PutVolume(&model.Volume{ID: 3, Alias: "cpe-3", Env: "osgi", UUID: "u7", Name: "db", Capacity: 1, Retain: model.Forever, AccessPath: "/db"})
	})
	m := l.Call(usptest.Operate("remove", data+"*.Remove()", "k", nil))
	r := m.GetBody().GetResponse().GetOperateResp().GetOperationResults()
	if len(r) != 2 || r[0].GetExecutedCommand() != data+"2.Remove()" || r[0].GetCmdFailure().GetErrCode() != 7229 ||
		r[1].GetExecutedCommand() != data+"3.Remove()" || r[1].GetReqOutputArgs() == nil {
		t.Errorf("Remove() is answered with %v", m)
	}
	if got := told(l.Call(usptest.Get("rest", data+"*.ApplicationUUID"))); !cmp.Equal(got, []string{data + "2.ApplicationUUID=u5"}) {
		t.Errorf("what is left is %q", got)
	}
	var got []string
	for _, n := range l.Notifies(5) {
		got = append(got, news(n))
	}
	count := "count: " + sm + "ExecEnv.1.ApplicationDataNumberOfEntries = "
	if want := []string{"came: " + data + "2.", "came: " + data + "3.", count + "2", count + "1", "gone: " + data + "3."}; !cmp.Equal(got, want) {
		t.Errorf("told %q, wanted %q", got, want)
	}
}

// TestRestarts: what an agent has to tell survives its own restart and that of the broker, over a real bus.
func TestRestarts(t *testing.T) {
	d := newDevice(t)
	l := d.join(t)
	l.Subscribe("ev", "Event", "Device.")
	d.Notify(model.Notification{Kind: model.NotifyRestarted, Env: "osgi", Reason: "one"})
	l.Notifies(1)
	d.stop()
	if code, text := errorOf(l.Call(usptest.Get("away", sm))); code != 7003 {
		t.Errorf("without an agent a Get is answered with %d %s", code, text)
	}
	d.Notify(model.Notification{Kind: model.NotifyRestarted, Env: "osgi", Reason: "two"})
	d.start(t)
	if n := l.Notifies(2)[1]; news(n) != "ev: "+sm+"ExecEnv.1.Restarted!  " {
		t.Errorf("after the restart %s, %v", news(n), n)
	}
	works(t, l, "back")

	l.Conn.Close()
	l = d.join(t)
	l.Subscribe("again", "ValueChange", sm+"ExecEnv.*.Enable")
	l.Call(usptest.Set("set", sm+"ExecEnv.2.", "Enable", "true", false))
	if n := l.Notifies(1)[0]; news(n) != "again: "+sm+"ExecEnv.2.Enable = true" {
		t.Errorf("after the broker's restart %s", news(n))
	}
}

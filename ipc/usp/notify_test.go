package usp_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

// complete is the end of a command.
func complete(id uint64, object, command, key string) client.USPNotification {
	return client.USPNotification{ID: id, Kind: client.USPOperationComplete, Object: object, Command: command, CommandKey: key,
		Job: "/org/smmd/Agent1/Job/7", Outputs: map[string]string{"UUID": "u"}}
}

const sm = "Device.SoftwareModules."

// TestReferences: which news a subscription is told, by its type and its ReferenceList.
func TestReferences(t *testing.T) {
	value := func(path string) client.USPNotification {
		return client.USPNotification{Kind: client.USPValueChange, Parameter: sm + path, Value: "v"}
	}
	created := func(path string) client.USPNotification {
		return client.USPNotification{Kind: client.USPObjectCreation, Object: sm + path, UniqueKeys: map[string]string{"Alias": "a"}}
	}
	deleted := func(path string) client.USPNotification {
		return client.USPNotification{Kind: client.USPObjectDeletion, Object: sm + path}
	}
	named := func(object, name string) client.USPNotification {
		return client.USPNotification{Kind: client.USPEvent, Object: sm + object, Event: name}
	}
	for _, c := range []struct {
		kind, references string
		news             client.USPNotification
		want             bool
	}{
		{"Event", "Device.", named("", "DUStateChange!"), true},
		{"Event", sm, named("", "DUStateChange!"), true},
		{"Event", sm + "DUStateChange!", named("", "DUStateChange!"), true},
		{"Event", sm + "DUStateChange!", named("ExecEnv.1.", "Restarted!"), false},
		{"Event", "Device.X., " + sm + "ExecEnv.*.Restarted!", named("ExecEnv.2.", "Restarted!"), true},
		{"Event", sm + "ExecEnv.1.", named("ExecEnv.2.", "Restarted!"), false},
		{"Event", "Device.SoftwareModulesX.", named("", "DUStateChange!"), false},
		{"ValueChange", sm, named("", "DUStateChange!"), false},
		{"OperationComplete", sm + "InstallDU()", complete(0, sm, "InstallDU()", "k"), true},
		{"OperationComplete", sm + "InstallDU()", complete(0, sm+"DeploymentUnit.1.", "Update()", "k"), false},
		{"OperationComplete", sm + "DeploymentUnit.*.Update()", complete(0, sm+"DeploymentUnit.1.", "Update()", "k"), true},
		{"OperationComplete", sm + "DeploymentUnit.", complete(0, sm+"DeploymentUnit.1.", "Update()", "k"), true},
		{"Event", sm + "InstallDU()", complete(0, sm, "InstallDU()", "k"), false},
		{"ValueChange", sm + "ExecutionUnit.*.Status", value("ExecutionUnit.3.Status"), true},
		{"ValueChange", sm + "ExecutionUnit.*.Status", value("ExecutionUnit.3.Name"), false},
		{"ValueChange", sm + "ExecutionUnit.*.", value("ExecutionUnit.3.Name"), true},
		{"ValueChange", sm + "ExecutionUnit.3", value("ExecutionUnit.3.Name"), false},
		{"ValueChange", sm + `ExecutionUnit.[Name=="a"].Status`, value("ExecutionUnit.3.Status"), true},
		{"ValueChange", sm + `ExecutionUnit.[Name=="a"].Status`, value("ExecutionUnit.4.Status"), false},
		{"ValueChange", sm + `ExecutionUnit.[Name=="a"].Status`, value("ExecutionUnit.3.Name"), false},
		{"ValueChange", sm + `ExecutionUnit.[Name=="a"].`, value("ExecutionUnit.3.Extensions.X"), true},
		{"ValueChange", sm + "DeploymentUnit.1.ExecutionUnitList#*+.Status", value("ExecutionUnit.3.Status"), true},
		{"ObjectCreation", sm + "DeploymentUnit.", created("DeploymentUnit.9."), true},
		{"ObjectCreation", sm + "DeploymentUnit", created("DeploymentUnit.9."), true},
		{"ObjectCreation", sm + "ExecEnv.", created("DeploymentUnit.9."), false},
		{"ObjectDeletion", sm + "DeploymentUnit.", created("DeploymentUnit.9."), false},
		{"ObjectDeletion", sm + "DeploymentUnit.*.", deleted("DeploymentUnit.9."), true},
		{"ObjectDeletion", sm + "DeploymentUnit.8.", deleted("DeploymentUnit.9."), false},
	} {
		t.Run(c.kind+" "+c.references, func(t *testing.T) {
			a := newAgent()
			a.get = func(_ context.Context, paths []string) ([]client.USPGetResult, error) {
				var list []client.USPGetResult
				for _, p := range paths {
					r := client.USPGetResult{Requested: p}
					if strings.Contains(p, `[Name=="a"]`) || strings.Contains(p, "ExecutionUnitList#*+") {
						r.Objects = []client.USPObject{{Path: sm + "ExecutionUnit.3.", Parameters: map[string]string{"Name": "a"}}}
					}
					list = append(list, r)
				}
				return list, nil
			}
			_, l := joined(t, a)
			l.Subscribe("one", c.kind, c.references)
			l.Subscribe("fence", "Event", sm+"Fence!")
			c.news.ID = 1 << 20
			a.tell(c.news, client.USPNotification{ID: 2 << 20, Kind: client.USPEvent, Object: sm, Event: "Fence!"})
			a.await(t, "the acknowledgement", func() bool { return a.acked == 2<<20 })
			l.Await("the fence", func() bool {
				return slices.ContainsFunc(l.Asked, func(m *usppb.Msg) bool {
					return m.GetBody().GetRequest().GetNotify().GetEvent().GetEventName() == "Fence!"
				})
			})
			got := false
			for _, n := range l.Notifies(1) {
				got = got || n.GetSubscriptionId() == "one" && n.GetEvent().GetEventName() != "Fence!"
			}
			if got != c.want {
				t.Errorf("told: %t, wanted %t", got, c.want)
			}
		})
	}
}

func FuzzReferences(f *testing.F) {
	f.Add("Event", "Device.X., "+sm+"DUStateChange!", sm+"DUStateChange!")
	f.Add("ValueChange", sm+`ExecutionUnit.[Name=="a"].Status`, sm+"ExecutionUnit.3.Status")
	f.Add("ValueChange", sm+"DeploymentUnit.1.ExecutionUnitList#*+.", sm+"ExecutionUnit.3.Name")
	f.Add("ObjectDeletion", sm+"DeploymentUnit.*", sm+"DeploymentUnit.1.")
	f.Add("OperationComplete", "Device.", sm+"InstallDU()")
	f.Fuzz(func(t *testing.T, kind, list, path string) {
		if usp.Covers(kind, list, path, []string{sm + "ExecutionUnit.3."}) {
			if !usp.Covers(kind, "Device.", path, nil) {
				t.Errorf("%q covers %q, and Device. does not", list, path)
			}
		}
	})
}

// TestGone: what a search stood for counts for what is told of its end.
func TestGone(t *testing.T) {
	a := newAgent()
	there := true
	a.get = func(_ context.Context, paths []string) ([]client.USPGetResult, error) {
		r := client.USPGetResult{Requested: paths[0]}
		a.mu.Lock()
		defer a.mu.Unlock()
		if there {
			r.Objects = []client.USPObject{{Path: sm + "DeploymentUnit.3."}}
		}
		return []client.USPGetResult{r}, nil
	}
	_, l := joined(t, a)
	l.Subscribe("gone", "ObjectDeletion", sm+`DeploymentUnit.[Name=="a"].`)
	l.Subscribe("done", "OperationComplete", sm+`DeploymentUnit.[Name=="a"].Uninstall()`)
	a.change(func() {
		there = false
		a.news = append(a.news, client.USPNotification{ID: 1<<20 + 1, Kind: client.USPObjectDeletion, Object: sm + "DeploymentUnit.3."},
			complete(2<<20, sm+"DeploymentUnit.3.", "Uninstall()", "k"))
	})
	n := l.Notifies(2)
	if n[0].GetSubscriptionId() != "gone" || n[1].GetSubscriptionId() != "done" {
		t.Errorf("told %v", n)
	}
}

// TestNotify: what is told, in which words and order, and that it is acknowledged.
func TestNotify(t *testing.T) {
	a := newAgent()
	_, l := joined(t, a)
	l.Subscribe("ev", "Event", sm+"DUStateChange!")
	l.Subscribe("oc", "OperationComplete", sm+"InstallDU()")
	l.Subscribe("vc", "ValueChange", sm)
	l.Subscribe("cr", "ObjectCreation", sm+"DeploymentUnit.")
	l.Subscribe("de", "ObjectDeletion", sm+"DeploymentUnit.")
	failed := complete(4<<20, sm, "InstallDU()", "k2")
	failed.Outputs, failed.USPError = nil, client.USPError{Code: 7022, Text: "no"}
	a.tell(
		client.USPNotification{ID: 1, Kind: client.USPObjectCreation, Object: sm + "DeploymentUnit.1.", UniqueKeys: map[string]string{"UUID": "u"}},
		client.USPNotification{ID: 2, Kind: client.USPValueChange, Parameter: sm + "DeploymentUnit.1.Status", Value: "Installed"},
		event(1<<20, "u"), complete(2<<20, sm, "InstallDU()", "k1"), event(3<<20, "v"), failed,
		client.USPNotification{ID: 4<<20 + 1, Kind: client.USPObjectDeletion, Object: sm + "DeploymentUnit.1."},
	)
	var got []string
	for _, n := range l.Notifies(7) {
		got = append(got, oneLine(n))
	}
	want := []string{
		`subscription_id:"cr" obj_creation:{obj_path:"Device.SoftwareModules.DeploymentUnit.1." unique_keys:{key:"UUID" value:"u"}}`,
		`subscription_id:"vc" value_change:{param_path:"Device.SoftwareModules.DeploymentUnit.1.Status" param_value:"Installed"}`,
		`subscription_id:"ev" event:{obj_path:"Device.SoftwareModules." event_name:"DUStateChange!" params:{key:"UUID" value:"u"}}`,
		`subscription_id:"oc" oper_complete:{obj_path:"Device.SoftwareModules." command_name:"InstallDU()" command_key:"k1" req_output_args:{output_args:{key:"UUID" value:"u"}}}`,
		`subscription_id:"ev" event:{obj_path:"Device.SoftwareModules." event_name:"DUStateChange!" params:{key:"UUID" value:"v"}}`,
		`subscription_id:"oc" oper_complete:{obj_path:"Device.SoftwareModules." command_name:"InstallDU()" command_key:"k2" cmd_failure:{err_code:7022 err_msg:"no"}}`,
		`subscription_id:"de" obj_deletion:{obj_path:"Device.SoftwareModules.DeploymentUnit.1."}`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("told (-wanted +got):\n%s", d)
	}
	a.await(t, "the acknowledgement", func() bool { return a.acked >= 4<<20 })
}

// TestKept: what the agent keeps is told after a restart of either side, to the subscriptions that the Broker makes then; the rest is not.
func TestKept(t *testing.T) {
	a := newAgent()
	a.tell(event(1<<20, "early"), client.USPNotification{ID: 1<<20 + 1, Kind: client.USPValueChange, Parameter: sm + "X", Value: "early"})
	b := usptest.NewBroker(t)
	serve(t, b, a)
	l := b.Accept()
	l.Await("the Register", func() bool { return len(l.Asked) == 2 })
	a.tell(event(2<<20, "before the answer"))
	l.Subscribe("s", "Event", sm) // a Broker does not do so yet, which makes no difference
	l.Subscribe("v", "ValueChange", sm)
	l.Register()
	if n := l.Notifies(2); n[0].GetEvent().GetParams()["UUID"] != "early" || n[1].GetEvent().GetParams()["UUID"] != "before the answer" {
		t.Errorf("after the registration %v", n)
	}
	a.await(t, "the acknowledgement", func() bool { return a.acked == 2<<20 })
	l.Conn.Close()
	a.tell(event(3<<20, "meanwhile"))
	l = b.Accept()
	l.Register()
	if rows := told(l.Call(usptest.Get("1", "Device.LocalAgent.Subscription."))); len(rows) != 0 {
		t.Errorf("a new connection begins with the subscriptions %q", rows)
	}
	l.Subscribe("s", "Event", sm)
	a.tell(event(4<<20, "afterwards"))
	// Whether the first one is told depends on when the Broker makes its subscription; it is never told after the second one.
	var got []string
	l.Await("the last event", func() bool {
		got = nil
		for _, m := range l.Asked {
			if e := m.GetBody().GetRequest().GetNotify().GetEvent(); e != nil {
				got = append(got, e.GetParams()["UUID"])
			}
		}
		return slices.Contains(got, "afterwards")
	})
	if !cmp.Equal(got, []string{"meanwhile", "afterwards"}) && !cmp.Equal(got, []string{"afterwards"}) {
		t.Errorf("told %q", got)
	}
}

// TestNoAnswerIsAskedFor: to be told again is between a controller and the Broker, whatever the subscription says.
func TestNoAnswerIsAskedFor(t *testing.T) {
	a := newAgent()
	_, l := joined(t, a)
	path := l.Subscribe("s", "Event", sm)
	set := l.Call(usptest.Set("retry", path, "NotifRetry", "true", false)).GetBody().GetResponse().GetSetResp()
	if set.GetUpdatedObjResults()[0].GetOperStatus().GetOperSuccess() == nil {
		t.Fatalf("NotifRetry is answered with %v", set)
	}
	a.tell(event(1<<20, "u"))
	if n := l.Notifies(1); n[0].GetSendResp() || n[0].GetSubscriptionId() != "s" {
		t.Errorf("told %v", n)
	}
}

// TestLostState: an agent that has lost its state counts anew. What it has to tell is told, in a session that begins again.
func TestLostState(t *testing.T) {
	a := newAgent()
	b, l := joined(t, a)
	l.Subscribe("s", "Event", sm)
	a.tell(event(7<<20, "before"))
	l.Notifies(1)
	a.await(t, "the acknowledgement", func() bool { return a.acked == 7<<20 })
	a.change(func() {
		a.boots++
		a.news, a.given, a.acked = []client.USPNotification{event(2<<20, "afterwards")}, 0, 0
	})
	l = b.Accept()
	l.Register()
	l.Subscribe("s", "Event", sm)
	if n := l.Notifies(1); n[0].GetEvent().GetParams()["UUID"] != "afterwards" {
		t.Errorf("told %v", n)
	}
	a.await(t, "the acknowledgement", func() bool { return a.acked == 2<<20 })
}

// TestOperate: the answer to an Operate comes before the news of its end, whatever the agent does first.
func TestOperate(t *testing.T) {
	a := newAgent()
	var l *usptest.Link
	a.operate = func(_ context.Context, command, key string) ([]client.USPOperateResult, error) {
		switch key {
		case "fails":
			return []client.USPOperateResult{{Command: command, USPError: client.USPError{Code: 7027, Text: "cannot install: URL is missing"}}}, nil
		case "sync":
			return []client.USPOperateResult{{Command: command, Outputs: map[string]string{"A": "b"}}}, nil
		case "unknown":
			return nil, &client.Error{Name: "InvalidArguments", Message: "cannot find it", USP: 7026}
		case "many":
			return []client.USPOperateResult{{Command: sm + "DeploymentUnit.1.Uninstall()", Job: "/org/smmd/Agent1/Job/11"},
				{Command: sm + "DeploymentUnit.2.Uninstall()", Job: "/org/smmd/Agent1/Job/12"}}, nil
		}
		a.tell(complete(1<<20, sm, "InstallDU()", key)) // it has ended before the answer is made
		select {                                        // time for what should not come now
		case <-l.Next():
		case <-time.After(50 * time.Millisecond):
		}
		return []client.USPOperateResult{{Command: command, Job: "/org/smmd/Agent1/Job/7"}}, nil
	}
	_, l = joined(t, a)
	l.Subscribe("oc", "OperationComplete", sm+"InstallDU()")
	for key, want := range map[string]string{
		"fails": `operation_results:{executed_command:"Device.SoftwareModules.InstallDU()" cmd_failure:{err_code:7027 err_msg:"cannot install: URL is missing"}}`,
		"sync":  `operation_results:{executed_command:"Device.SoftwareModules.InstallDU()" req_output_args:{output_args:{key:"A" value:"b"}}}`,
		"many": `operation_results:{executed_command:"Device.SoftwareModules.DeploymentUnit.1.Uninstall()" req_obj_path:"Device.LocalAgent.Request.11."} ` +
			`operation_results:{executed_command:"Device.SoftwareModules.DeploymentUnit.2.Uninstall()" req_obj_path:"Device.LocalAgent.Request.12."}`,
	} {
		if got := oneLine(l.Call(usptest.Operate(key, sm+"InstallDU()", key, nil)).GetBody().GetResponse().GetOperateResp()); got != want {
			t.Errorf("%s is answered with %s, wanted %s", key, got, want)
		}
	}
	if code, text := errorOf(l.Call(usptest.Operate("unknown", sm+"X()", "unknown", nil))); code != 7026 {
		t.Errorf("an unknown command is answered with %d %s", code, text)
	}
	quiet := usptest.Operate("quiet", sm+"InstallDU()", "sync", nil)
	quiet.GetBody().GetRequest().GetOperate().SendResp = false
	l.Send(quiet)
	l.Send(usptest.Operate("quick", sm+"InstallDU()", "k", map[string]string{"URL": "u"}))
	l.Notifies(1)
	l.Look(func() {
		if l.Answers["quiet"] != nil {
			t.Errorf("an Operate that wants no answer is answered with %v", l.Answers["quiet"])
		}
		answer := slices.IndexFunc(l.All, func(m *usppb.Msg) bool { return m.GetHeader().GetMsgId() == "quick" })
		end := slices.IndexFunc(l.All, func(m *usppb.Msg) bool { return m.GetBody().GetRequest().GetNotify() != nil })
		if answer < 0 || end < answer {
			t.Fatalf("the answer is message %d, the end of the command message %d", answer, end)
		}
		if got := l.All[answer].GetBody().GetResponse().GetOperateResp().GetOperationResults()[0].GetReqObjPath(); got != "Device.LocalAgent.Request.7." {
			t.Errorf("the request is %s", got)
		}
	})
	if !a.seen("operate Device.SoftwareModules.InstallDU() k map[URL:u] " + them) {
		t.Errorf("the agent was asked %q", a.calls)
	}
}

// TestCancel: the requests of the session are the jobs of the agent.
func TestCancel(t *testing.T) {
	a := newAgent()
	for _, n := range []int{12, 9} {
		a.requests = append(a.requests, client.USPRequest{Job: dbusPath("/org/smmd/Agent1/Job/", n), Command: sm + "InstallDU()", CommandKey: fmt.Sprint("k", n), Originator: "self::c", Status: "Active"})
	}
	_, l := joined(t, a)
	if got := told(l.Call(usptest.Get("1", "Device.LocalAgent.Request."))); !cmp.Equal(got, []string{
		"Device.LocalAgent.Request.12.Command=" + sm + "InstallDU()", "Device.LocalAgent.Request.12.CommandKey=k12", "Device.LocalAgent.Request.12.Originator=self::c", "Device.LocalAgent.Request.12.Status=Active",
		"Device.LocalAgent.Request.9.Command=" + sm + "InstallDU()", "Device.LocalAgent.Request.9.CommandKey=k9", "Device.LocalAgent.Request.9.Originator=self::c", "Device.LocalAgent.Request.9.Status=Active",
	}) {
		t.Errorf("the requests are %q", got)
	}
	for command, want := range map[string]string{
		"Device.LocalAgent.Request.12.Cancel()":                  `operation_results:{executed_command:"Device.LocalAgent.Request.12.Cancel()" req_output_args:{}}`,
		"Device.LocalAgent.Request.9.Cancel()":                   `operation_results:{executed_command:"Device.LocalAgent.Request.9.Cancel()" cmd_failure:{err_code:7022 err_msg:"cannot cancel: it is past the point of no return"}}`,
		"Device.LocalAgent.Request.8.Cancel()":                   `operation_results:{executed_command:"Device.LocalAgent.Request.8.Cancel()" cmd_failure:{err_code:7016 err_msg:"cannot find Device.LocalAgent.Request.8.Cancel(): no such instance"}}`,
		`Device.LocalAgent.Request.[CommandKey=="k12"].Cancel()`: `operation_results:{executed_command:"Device.LocalAgent.Request.12.Cancel()" req_output_args:{}}`,
		`Device.LocalAgent.Request.[CommandKey=="k"].Cancel()`:   ``,
	} {
		if got := oneLine(l.Call(usptest.Operate(command, command, "c", nil)).GetBody().GetResponse().GetOperateResp()); got != want {
			t.Errorf("%s is answered with %s, wanted %s", command, got, want)
		}
	}
	for command, want := range map[string]uint32{
		"Device.LocalAgent.Request.12.Reboot()": 7026, "Device.LocalAgent.Request.12.": 7026, "Device.LocalAgent.Request.[.Cancel()": 7008,
	} {
		if code, text := errorOf(l.Call(usptest.Operate(command, command, "c", nil))); code != want {
			t.Errorf("%s is answered with %d %s, wanted %d", command, code, text, want)
		}
	}
	if !a.seen("cancel /org/smmd/Agent1/Job/12") {
		t.Errorf("the agent was asked %q", a.calls)
	}
}

package client_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

const sm = "Device.SoftwareModules."

func TestUSPReads(t *testing.T) {
	agent, c := start(t)
	installed(t, agent, c)
	ctx := limited(t)
	got, err := c.USPGet(ctx, 0, sm+`ExecEnv.[Name=="f3a1"].Type`, sm+"ExecEnv.9.", sm+`ExecEnv.[Type=="none"].`)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if want := []client.USPObject{{Path: sm + "ExecEnv.1.", Parameters: map[string]string{"Type": "OSGi 1.10"}}}; !cmp.Equal(got[0].Objects, want) || got[0].Code != 0 {
		t.Errorf("an address: %+v", got[0])
	}
	if got[1].Requested != sm+"ExecEnv.9." || got[1].Code != 7026 || got[1].Text == "" || len(got[1].Objects) != 0 {
		t.Errorf("nothing there: %+v", got[1])
	}
	if got[2].Code != 0 || len(got[2].Objects) != 0 {
		t.Errorf("nothing found: %+v", got[2])
	}
	if got, err = c.USPGet(ctx, 1, sm); err != nil || len(got) != 1 || len(got[0].Objects) != 1 || got[0].Objects[0].Parameters["DeploymentUnitNumberOfEntries"] != "1" {
		t.Errorf("one level: %+v, %v", got, err)
	}
	rows, err := c.USPGetInstances(ctx, true, sm+"ExecutionUnit.", sm)
	if err != nil || len(rows) != 2 || rows[1].Code != 7018 || len(rows[0].Objects) != 1 || rows[0].Objects[0].Path != sm+"ExecutionUnit.2." ||
		rows[0].Objects[0].Parameters["Alias"] != "cpe-2" || !strings.HasPrefix(rows[0].Objects[0].Parameters["EUID"], "osgi/") {
		t.Errorf("the instances are %+v, %v", rows, err)
	}
	if got, err := c.USPGet(ctx, 0); err != nil || len(got) != 0 {
		t.Errorf("no path: %+v, %v", got, err)
	}
}

func TestUSPSupportedDM(t *testing.T) {
	_, c := start(t)
	ctx := limited(t)
	got, err := c.USPGetSupportedDM(ctx, client.USPSupportedOptions{Commands: true, Events: true, Params: true, UniqueKeySets: true},
		sm+"DeploymentUnit.{i}.", sm+"InstallDU()", sm+"DUStateChange!", "Device.X.")
	if err != nil || len(got) != 4 {
		t.Fatalf("%+v, %v", got, err)
	}
	du := got[0].Objects[0]
	if got[0].DataModelURI != "urn:broadband-forum-org:tr-181-2-19-0" || du.Path != sm+"DeploymentUnit.{i}." || !du.MultiInstance || du.Access != "OBJ_READ_ONLY" ||
		!cmp.Equal(du.UniqueKeySets, [][]string{{"UUID", "Version", "ExecutionEnvRef"}, {"Alias"}}) ||
		!slices.Contains(du.Params, client.USPSupportedParam{Name: "Resolved", Access: "PARAM_READ_ONLY", Type: "PARAM_BOOLEAN", ValueChange: "VALUE_CHANGE_ALLOWED"}) {
		t.Errorf("of deployment units is told %+v", got[0])
	}
	if x := got[1].Objects[0]; len(x.Commands) != 1 || x.Commands[0].Kind != "CMD_ASYNC" || !slices.Contains(x.Commands[0].Inputs, "ApplicationData.{i}.Name") ||
		!slices.Equal(x.Commands[0].Outputs, []string{"UUID", "Version", "ExecEnvRef"}) || len(x.Params) != 0 {
		t.Errorf("of InstallDU() is told %+v", got[1])
	}
	if x := got[2].Objects[0]; len(x.Events) != 1 || !slices.Contains(x.Events[0].Arguments, "Fault.FaultCode") {
		t.Errorf("of DUStateChange! is told %+v", got[2])
	}
	if got[3].Code != 7026 {
		t.Errorf("of nothing is told %+v", got[3])
	}
}

func TestUSPSet(t *testing.T) {
	agent, c := start(t)
	installed(t, agent, c)
	ctx := limited(t)
	updates := []client.USPUpdate{
		{Path: sm + "ExecutionUnit.*.", Settings: []client.USPSetting{{Parameter: "AutoStart", Value: "0", Required: true}, {Parameter: "Name", Value: "x"}}},
		{Path: sm + "ExecEnv.1.", Settings: []client.USPSetting{{Parameter: "InitialRunLevel", Value: "99999", Required: true}}},
		{Path: sm + "ExecEnv.2."},
	}
	got, err := c.USPSet(ctx, true, updates...)
	if err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if eu := got[0].Objects[0]; got[0].Code != 0 || eu.Path != sm+"ExecutionUnit.2." || !cmp.Equal(eu.Updated, map[string]string{"AutoStart": "false"}) ||
		len(eu.Errors) != 1 || eu.Errors[0].Path != "Name" || eu.Errors[0].Code != 7013 {
		t.Errorf("the first update: %+v", got[0])
	}
	if env := got[1].Objects[0]; got[1].Code != 7021 || env.Path != sm+"ExecEnv.1." || len(env.Updated) != 0 || env.Errors[0].Code != 7012 {
		t.Errorf("the second update: %+v", got[1])
	}
	if agent.Snapshot().ExecutionUnit(2).AutoStart || agent.Snapshot().ExecEnv(1).InitialRunLevel != 1 {
		t.Error("the agent has something else")
	}
	_, err = c.USPSet(ctx, false, updates...)
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Name != "InvalidArguments" || refused.USP != 7004 || refused.CWMP == 0 {
		t.Fatalf("all or nothing: %v", err)
	}
	if p := refused.USPParameters(); len(p) != 2 || p[0].Path != sm+"ExecutionUnit.2.Name" || p[1].Path != sm+"ExecEnv.1.InitialRunLevel" || p[1].Code != 7012 {
		t.Errorf("the parameters are %+v", p)
	}
}

func TestUSPAddDelete(t *testing.T) {
	agent, c := start(t)
	installed(t, agent, c)
	ctx := limited(t)
	added, err := c.USPAdd(ctx, true, client.USPUpdate{Path: sm + "DeploymentUnit."})
	if err != nil || len(added) != 1 || added[0].Code != 7019 || added[0].Path != "" {
		t.Errorf("%+v, %v", added, err)
	}
	deleted, err := c.USPDelete(ctx, true, sm+"DeploymentUnit.*.")
	if err != nil || len(deleted) != 1 || deleted[0].Code != 0 || len(deleted[0].Affected) != 0 || len(deleted[0].Unaffected) != 1 || deleted[0].Unaffected[0].Code != 7024 {
		t.Errorf("%+v, %v", deleted, err)
	}
	var refused *client.Error
	if _, err := c.USPAdd(ctx, false, client.USPUpdate{Path: sm + "DeploymentUnit."}); !errors.As(err, &refused) || refused.USP != 7019 {
		t.Errorf("all or nothing: %v", err)
	}
	if _, err := c.USPDelete(ctx, false, sm+"DeploymentUnit.1."); !errors.As(err, &refused) || refused.USP != 7024 || refused.USPParameters()[0].Path != sm+"DeploymentUnit.1." {
		t.Errorf("all or nothing: %v", err)
	}
}

// kinds writes notifications as words.
func kinds(all []client.USPNotification) (words []string) {
	for _, n := range all {
		words = append(words, n.Kind+" "+strings.TrimPrefix(n.Object+n.Parameter, sm)+n.Event+n.Command)
	}
	return words
}

// until reads notifications until the last one is of that kind.
func until(t *testing.T, c *client.Client, kind string) []client.USPNotification {
	t.Helper()
	var all []client.USPNotification
	done := errors.New("done")
	err := c.WatchUSPNotifications(limited(t), func(uint64) error {
		var err error
		if all, err = c.USPNotifications(limited(t), 0); err != nil {
			return err
		}
		if len(all) > 0 && all[len(all)-1].Kind == kind {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Fatalf("%v; so far there are %q", err, kinds(all))
	}
	return all
}

// A controller's story: install, be told, acknowledge, uninstall.
func TestUSPOperateAndNotifications(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	got, err := c.USPOperate(ctx, sm+"InstallDU()", "key", map[string]string{"URL": "http://files/sample.jar", "Bogus": "1"}, "proto::controller")
	if err != nil || len(got) != 1 || got[0].Command != sm+"InstallDU()" || got[0].Code != 0 || got[0].Job != client.ObjectPath(client.KindJob, 1) {
		t.Fatalf("%+v, %v", got, err)
	}
	requests, err := c.USPRequests(ctx)
	want := []client.USPRequest{{Job: got[0].Job, Command: sm + "InstallDU()", CommandKey: "key", Originator: "proto::controller", Status: "Requested", Started: "2026-05-04T03:02:01Z"}}
	if err != nil || !cmp.Equal(requests, want) {
		t.Errorf("the requests are %+v, %v", requests, err)
	}
	agent.Finish(1)
	all := until(t, c, client.USPOperationComplete)
	if words := kinds(all); !slices.Equal(words[len(words)-2:], []string{"Event DUStateChange!", "OperationComplete InstallDU()"}) ||
		!slices.Contains(words, "ObjectCreation DeploymentUnit.1.") || !slices.Contains(words, "ObjectCreation ExecutionUnit.2.") ||
		!slices.Contains(words, "ValueChange DeploymentUnitNumberOfEntries") || !slices.Contains(words, "ValueChange DeploymentUnit.1.Status") {
		t.Errorf("the notifications are %q", words)
	}
	for i := range all[1:] {
		if all[i].ID >= all[i+1].ID {
			t.Errorf("number %d comes before %d", all[i].ID, all[i+1].ID)
		}
	}
	event, complete := all[len(all)-2], all[len(all)-1]
	if event.Object != sm || event.Arguments["CurrentState"] != "Installed" || event.Arguments["DeploymentUnitRef"] != sm+"DeploymentUnit.1" || event.Arguments["Fault.FaultCode"] != "0" {
		t.Errorf("the event is %+v", event)
	}
	if complete.Object != sm || complete.CommandKey != "key" || complete.Originator != "proto::controller" || complete.Job != got[0].Job || complete.Code != 0 ||
		complete.Outputs["ExecEnvRef"] != sm+"ExecEnv.1" || complete.Outputs["Version"] != "1.0.0" || complete.Outputs["UUID"] != event.Arguments["UUID"] {
		t.Errorf("the end is %+v", complete)
	}
	if requests, err := c.USPRequests(ctx); err != nil || len(requests) != 0 {
		t.Errorf("the requests are %+v, %v", requests, err)
	}
	if err := c.USPAcknowledgeNotifications(ctx, complete.ID); err != nil {
		t.Fatal(err)
	}
	if rest, err := c.USPNotifications(ctx, 0); err != nil || len(rest) != 0 {
		t.Errorf("after the acknowledgement there is %q, %v", kinds(rest), err)
	}
	if n := len(agent.Snapshot().Notifications); n != 0 {
		t.Errorf("the agent still has %d", n)
	}

	got, err = c.USPOperate(ctx, sm+"DeploymentUnit.*.Uninstall()", "", nil, "")
	if err != nil || len(got) != 1 || got[0].Command != sm+"DeploymentUnit.1.Uninstall()" || got[0].Job == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	agent.Finish(2)
	all = until(t, c, client.USPOperationComplete)
	if words := kinds(all); !slices.Contains(words, "ObjectDeletion DeploymentUnit.1.") || !slices.Contains(words, "ObjectDeletion ExecutionUnit.2.") {
		t.Errorf("the notifications are %q", words)
	}
	if end := all[len(all)-1]; end.Object != sm+"DeploymentUnit.1." || end.Command != "Uninstall()" || !strings.HasPrefix(end.Originator, "dbus ") || end.ID <= complete.ID {
		t.Errorf("the end is %+v", end)
	}
}

func TestUSPOperateRefused(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	for command, code := range map[string]uint32{sm + "InstallDU()": 7027, sm + "DeploymentUnit.7.Uninstall()": 7016} {
		got, err := c.USPOperate(ctx, command, "", nil, "")
		if err != nil || len(got) != 1 || got[0].Code != code || got[0].Job != "" || got[0].Command != command {
			t.Errorf("%s: %+v, %v", command, got, err)
		}
	}
	var refused *client.Error
	if _, err := c.USPOperate(ctx, sm+"Nothing()", "", nil, ""); !errors.As(err, &refused) || refused.USP != 7026 {
		t.Errorf("no command: %v", err)
	}
	// A canceled command has its own code.
	got, err := c.USPOperate(ctx, sm+"InstallDU()", "", map[string]string{"URL": "http://files/x"}, "")
	if err != nil || got[0].Job == "" {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := c.Cancel(ctx, got[0].Job); err != nil {
		t.Fatal(err)
	}
	all := until(t, c, client.USPOperationComplete)
	if end := all[len(all)-1]; end.Code != 7023 || end.Text == "" || len(end.Outputs) != 0 {
		t.Errorf("the end is %+v", end)
	}
	if len(agent.Asked()) != 2 {
		t.Errorf("the agent was asked %+v", agent.Asked())
	}
}

// What the agent keeps comes again from the next one that serves, and whoever watches learns that he has to look.
func TestUSPNotificationsOverARestart(t *testing.T) {
	needBus(t)
	address := ipctest.Bus(t)
	agent := ipctest.New()
	stop := ipctest.Serve(t, address, agent, dbus.Options{})
	c := dial(t, address)
	agent.Notify(model.Notification{Kind: model.NotifyRestarted, Env: "osgi", Reason: "why"})
	before := until(t, c, client.USPEvent)
	looks := make(chan uint64, 100)
	ctx, cancel := context.WithCancel(limited(t))
	watched := make(chan error, 1)
	go func() {
		watched <- c.WatchUSPNotifications(ctx, func(id uint64) error { looks <- id; return nil })
	}()
	look := func(want uint64) { // a wake-up of what was before may come in between
		t.Helper()
		for {
			select {
			case id := <-looks:
				if id == want {
					return
				}
			case err := <-watched:
				t.Fatalf("the watch ends without %d: %v", want, err)
			}
		}
	}
	look(0)
	stop()
	ipctest.Serve(t, address, agent, dbus.Options{})
	look(0)
	after, err := c.USPNotifications(ctx, 0)
	if err != nil || !cmp.Equal(after, before) || after[0].Object != sm+"ExecEnv.1." || after[0].Arguments["RestartReason"] != "why" {
		t.Errorf("%+v, %v, before it was %+v", after, err, before)
	}
	id := agent.Notify(model.Notification{Kind: model.NotifyOperationComplete, Origin: model.Origin{Command: sm + "InstallDU()"}, Fault: fault.PackageCorrupt})
	look(id << 32)
	cancel()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

package client_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

const (
	cwmpUUID   = "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6"
	unitStatus = "Device.SoftwareModules.ExecutionUnit.2.Status"
)

func TestReports(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	agent.Auto(true)
	id, err := c.ChangeDUState(ctx, []client.Operation{
		{Kind: "Install", URL: "http://x/one.jar", UUID: cwmpUUID, Username: "u", Password: "p", ExecutionEnvRef: "Device.SoftwareModules.ExecEnv.1."},
		{Kind: "Uninstall", UUID: "none"},
	}, "key", "token")
	if err != nil {
		t.Fatal(err)
	}
	want := model.UnitOperation{Performed: model.PerformedInstall, URL: "http://x/one.jar", UUID: cwmpUUID, Username: "u", Password: "p", ExecEnv: "osgi"}
	if r := agent.Asked()[0].(model.ChangeRequest); r.CommandKey != "key" || r.Token != "token" || cmp.Diff(want, r.Operations[0]) != "" {
		t.Errorf("the agent is asked %+v", r)
	}
	if again, err := c.ChangeDUState(ctx, []client.Operation{{Kind: "Update"}}, "", "token"); again != id || err != nil {
		t.Errorf("the same token is %d, %v", again, err)
	}
	agent.Report(&model.Report{ID: 99, Kind: model.ReportAutonomous, Results: []model.Result{{Performed: model.PerformedUpdate, UUID: cwmpUUID, State: model.ResultInstalled}}})
	const at, unknown = "2026-05-04T03:02:01Z", "0001-01-01T00:00:00Z"
	got, err := c.PendingReports(ctx)
	if diff := cmp.Diff([]client.Report{
		{ID: id, Kind: client.ReportRequested, CommandKey: "key", Results: []client.ReportResult{
			{
				UUID: cwmpUUID, DeploymentUnitRef: "Device.SoftwareModules.DeploymentUnit.1.", Version: "1.0.0", CurrentState: "Installed", Resolved: true,
				ExecutionUnitRefList: "Device.SoftwareModules.ExecutionUnit.2.", StartTime: at, CompleteTime: at,
			},
			{
				CurrentState: "Installed", StartTime: at, CompleteTime: at, FaultCode: 9022,
				FaultString: `cannot use "none" as a UUID: it is not of the form 8-4-4-4-12 hexadecimal digits`,
			},
		}},
		{ID: 99, Kind: client.ReportAutonomous, Results: []client.ReportResult{
			{UUID: cwmpUUID, CurrentState: "Installed", StartTime: unknown, CompleteTime: unknown, OperationPerformed: "Update"},
		}},
	}, got); err != nil || diff != "" {
		t.Errorf("%v, difference:\n%s", err, diff)
	}
	for _, r := range got {
		if err := c.AcknowledgeReport(ctx, r.ID); err != nil {
			t.Error(err)
		}
	}
	if got, err := c.PendingReports(ctx); len(got) != 0 || err != nil {
		t.Errorf("after the acknowledgements: %v, %v", got, err)
	}
	var refused *client.Error
	if err := c.AcknowledgeReport(ctx, 99); !errors.As(err, &refused) || refused.Name != "InvalidArguments" || refused.CWMP != 9001 {
		t.Errorf("an unknown number: %v", err)
	}
}

func TestAttributesAndValueChanges(t *testing.T) {
	agent, c := start(t)
	ctx := limited(t)
	installed(t, agent, c)
	get := func(want ...client.Attribute) {
		t.Helper()
		got, err := c.GetParameterAttributes(ctx, unitStatus)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v, difference:\n%s", err, diff)
		}
	}
	get(client.Attribute{Path: unitStatus, Notification: client.NotificationActive})
	if err := c.SetParameterAttributes(ctx, client.Notification{Path: unitStatus, Notification: client.NotificationPassive}); err != nil {
		t.Fatal(err)
	}
	get(client.Attribute{Path: unitStatus, Notification: client.NotificationPassive})

	values := []client.Parameter{{Path: unitStatus, Type: "xsd:string", Value: "Stopping"}}
	enough := errors.New("enough")
	var events []client.CWMPEvent
	err := c.WatchCWMP(ctx, func(e client.CWMPEvent) error {
		events = append(events, e)
		switch len(events) {
		case 1:
			agent.Commit(func(d *model.Draft) {
				u := *d.ExecutionUnit(2)
				u.Status = model.EUStopping
				d.PutExecutionUnit(&u)
			})
		case 2:
			agent.Report(&model.Report{ID: 7, Kind: model.ReportRequested, CommandKey: "key"})
		default:
			return enough
		}
		return nil
	})
	want := []client.CWMPEvent{{}, {Values: values}, {Report: 7, Kind: client.ReportRequested, CommandKey: "key"}}
	if diff := cmp.Diff(want, events); !errors.Is(err, enough) || diff != "" {
		t.Errorf("%v, difference:\n%s", err, diff)
	}
	cursor, got, err := c.PendingValueChanges(ctx)
	if diff := cmp.Diff(values, got); err != nil || diff != "" {
		t.Errorf("%v, difference:\n%s", err, diff)
	}
	if err := c.AcknowledgeValueChanges(ctx, cursor); err != nil {
		t.Error(err)
	}
	if _, got, err := c.PendingValueChanges(ctx); len(got) != 0 || err != nil {
		t.Errorf("after the acknowledgement: %v, %v", got, err)
	}
	if err := c.AcknowledgeValueChanges(ctx, cursor+1); err == nil {
		t.Error("a cursor that was never given is taken")
	}
}

// TestWatchCWMPOverARestart: the agent that came back may have something that no event has told.
func TestWatchCWMPOverARestart(t *testing.T) {
	needBus(t)
	address := ipctest.Bus(t)
	agent := ipctest.New()
	stop := ipctest.Serve(t, address, agent, dbus.Options{})
	c := dial(t, address)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	enough := errors.New("enough")
	n := 0
	err := c.WatchCWMP(ctx, func(e client.CWMPEvent) error {
		if n++; e.Report != 0 || e.Values != nil {
			t.Errorf("event %d is %+v", n, e)
		}
		if n == 2 {
			return enough
		}
		stop()
		ipctest.Serve(t, address, ipctest.New(), dbus.Options{})
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("after %d events: %v", n, err)
	}
}

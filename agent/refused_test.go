package agent_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// A command of USP that is refused at once has no job, but what became of its unit is told as that of every other failure.
func TestRefusedCommandsAreTold(t *testing.T) {
	d := start(t, plain, two)
	du := d.installed(fake.Spec{Name: "a"})
	off := d.installed(fake.Spec{Name: "b"})
	d.report(d.change(d.installOp(off.UUID, "f", fake.Spec{Name: "b"})))
	d.enable("f", false)
	d.until("f is disabled", func(s *model.Snapshot) error {
		if e := s.ExecEnvByID("f"); e.Status != model.EEDisabled {
			return fmt.Errorf("it is %s", e.Status)
		}
		return nil
	})
	var there model.RowID // the unit on f
	for row := range d.agent.Snapshot().DeploymentUnits() {
		if row.Env == "f" {
			there = row.ID
		}
	}
	d.ok(d.agent.AcknowledgeNotifications(t.Context(), d.agent.Snapshot().LastNotification))
	usp := model.Origin{Name: "usp", Command: "Device.SoftwareModules.X()", CommandKey: "k"}
	install := func(r model.InstallRequest) error {
		r.Originator = usp
		_, err := d.agent.Install(t.Context(), r)
		return err
	}
	update := func(r model.UpdateRequest) error {
		r.Originator = usp
		_, err := d.agent.Update(t.Context(), r)
		return err
	}
	uninstall := func(id model.RowID) error {
		_, err := d.agent.Uninstall(t.Context(), model.UninstallRequest{DU: id, Originator: usp})
		return err
	}
	const good = "file:///somewhere"
	entered, release := d.worlds["fake"].Block("Inspect") // from here a is busy
	job, err := d.update(du.ID, fake.Spec{Name: "a", Version: "2"})
	d.ok(err)
	<-entered
	disabled := fmt.Sprintf(`du=%d %s@f "1" true eus=[%d]`, there, off.UUID, d.eu(there).ID)
	busy := fmt.Sprintf(`du=%d %s@e "1" true eus=[%d]`, du.ID, du.UUID, d.eu(du.ID).ID)
	d.policy()
	cases := []struct {
		err    error
		reason fault.Reason
		told   string // "": nothing
	}{
		{install(model.InstallRequest{URL: "http://user:secret@host/x", ExecEnv: "e"}), fault.InvalidArguments, `Install Failed du=0 @e "" false eus=[]`},
		{install(model.InstallRequest{URL: good, ExecEnv: "nowhere", UUID: uuidB}), fault.UnknownExecEnv, `Install Failed du=0 ` + uuidB + `@ "" false eus=[]`},
		{install(model.InstallRequest{URL: good, ExecEnv: "f", UUID: uuidB}), fault.DisabledExecEnv, `Install Failed du=0 ` + uuidB + `@f "" false eus=[]`},
		{install(model.InstallRequest{URL: good, UUID: "x"}), fault.InvalidUUID, `Install Failed du=0 @ "" false eus=[]`},
		{update(model.UpdateRequest{DU: there, URL: good}), fault.DisabledExecEnv, "Update Installed " + disabled},
		{update(model.UpdateRequest{DU: there, URL: "http://user:secret@host/x"}), fault.InvalidArguments, "Update Installed " + disabled},
		{uninstall(there), fault.DisabledExecEnv, "Uninstall Installed " + disabled},
		{update(model.UpdateRequest{DU: du.ID, URL: good}), fault.InvalidDUState, "Update Installed " + busy},
		{uninstall(du.ID), fault.InvalidDUState, "Uninstall Installed " + busy},
		{update(model.UpdateRequest{DU: 99, URL: good}), fault.UnknownDU, ""},
		{uninstall(99), fault.UnknownDU, ""},
	}
	s := d.agent.Snapshot()
	release()
	d.done(job, nil)
	var want, events []string
	for _, x := range cases {
		wantReason(t, x.reason, x.err)
		if x.told != "" {
			want = append(want, x.told+" "+string(x.reason))
		}
	}
	for _, n := range s.Notifications {
		if n.Kind != model.NotifyDUStateChange || n.Result.Start.IsZero() || n.Result.Complete.IsZero() || strings.Contains(n.Result.Message, "secret") {
			t.Errorf("a notification is %+v of %+v", *n, n.Result)
			continue
		}
		events = append(events, told([]model.Result{*n.Result})...)
	}
	if !slices.Equal(events, want) {
		t.Errorf("the events are\n\t%s\nnot\n\t%s", strings.Join(events, "\n\t"), strings.Join(want, "\n\t"))
	}
	// No ChangeDUState asked for them, so they are autonomous failures, as far as the policy wants to hear of such.
	wantTold(t, "the autonomous report", autonomous(s).Results, want...)
}

// What is refused for the sake of the agent, and what no command of USP asked for, has its answer and nothing else.
func TestRefusalsThatAreNotTold(t *testing.T) {
	d := start(t, plain, func(d *device) { d.cfg.Operations.MaxOpen = 1 })
	d.policy()
	usp := model.Origin{Name: "usp", Command: "Device.SoftwareModules.InstallDU()"}
	entered, release := d.worlds["fake"].Block("Install")
	url := d.pkg(fake.Spec{Name: "a"})
	job, err := d.agent.Install(t.Context(), model.InstallRequest{URL: url})
	d.ok(err)
	<-entered
	_, err = d.agent.Install(t.Context(), model.InstallRequest{URL: url, Originator: usp})
	wantReason(t, fault.TooManyOperations, err)
	_, err = d.agent.Install(t.Context(), model.InstallRequest{URL: url, ExecEnv: "nowhere"})
	wantReason(t, fault.UnknownExecEnv, err)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.agent.Install(over, model.InstallRequest{URL: url, Originator: usp})
	wantReason(t, fault.Canceled, err)
	if s := d.agent.Snapshot(); len(s.Notifications)+len(s.Reports) != 0 {
		t.Errorf("there are the notifications %q, the results %q", notified(s), told(autonomous(s).Results))
	}
	release()
	d.done(job, nil)
}

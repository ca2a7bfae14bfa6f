package agent_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// policy sets attributes of the policy; without any it is enabled.
func (d *device) policy(as ...model.Assignment) {
	d.t.Helper()
	if as == nil {
		as = []model.Assignment{{Attribute: model.PolicyEnable, Value: true}}
	}
	for i := range as {
		as[i].Row = model.Ref{Kind: model.KindPolicy}
	}
	_, err := d.agent.Set(d.t.Context(), as, model.Origin{Name: "acs"})
	d.ok(err)
}

// autonomous returns the autonomous report that waits, or an empty one.
func autonomous(s *model.Snapshot) *model.Report {
	for _, r := range s.Reports {
		if r.Kind == model.ReportAutonomous {
			return r
		}
	}
	return &model.Report{}
}

// autonomously waits until the autonomous report has n results.
func (d *device) autonomously(n int) *model.Report {
	d.t.Helper()
	s := d.until(fmt.Sprintf("%d autonomous results wait", n), func(s *model.Snapshot) error {
		if r := autonomous(s); len(r.Results) != n {
			return fmt.Errorf("there are %q", told(r.Results))
		}
		return nil
	})
	return autonomous(s)
}

// Changes that no ChangeDUState asked for are one report, which grows until it is acknowledged.
func TestAutonomousReport(t *testing.T) {
	d := start(t, plain)
	d.installed(fake.Spec{Name: "before"}) // nobody wants to know yet
	d.policy()
	du := d.installed(fake.Spec{Name: "a"})
	read := d.autonomously(1)
	d.done(d.update(du.ID, fake.Spec{Name: "a", Version: "2"}))
	d.failed(fault.TransferFileUnavailable)(d.agent.Install(t.Context(), model.InstallRequest{URL: "file:///nothing/here"}))
	d.report(d.change(d.installOp(uuidB, "e", fake.Spec{Name: "b"}))) // is no autonomous change
	d.restart()
	d.up()
	d.done(d.uninstall(du.ID))
	r := d.autonomously(4)
	eus := r.Results[0].EUs
	row := func(what, version, fault string) string {
		return fmt.Sprintf("%s du=%d %s@e %q true eus=%v%s", what, du.ID, du.UUID, version, eus, fault)
	}
	want := []string{row("Install Installed", "1", ""), row("Update Installed", "2", ""),
		`Install Failed du=0 @ "" false eus=[] transfer-file-unavailable`, row("Uninstall Uninstalled", "2", "")}
	wantTold(t, "the report", r.Results, want...)
	// What has been read is acknowledged, and nothing else.
	d.ok(d.agent.AcknowledgeReport(t.Context(), read.ID))
	wantTold(t, "the rest", d.autonomously(3).Results, want[1:]...)
	wantReason(t, fault.InvalidArguments, d.agent.AcknowledgeReport(t.Context(), read.ID))
	d.restart()
	wantTold(t, "the rest after a restart", d.autonomously(3).Results, want[1:]...)
	d.ok(d.agent.AcknowledgeReport(t.Context(), r.ID))
	d.autonomously(0)
}

// The policy is set all or nothing with everything else, and kept.
func TestPolicyIsSet(t *testing.T) {
	d := start(t, plain)
	env := ref(model.KindExecEnv, d.ee("e").Instance)
	policy := model.Ref{Kind: model.KindPolicy}
	_, err := d.agent.Set(t.Context(), []model.Assignment{
		{Row: policy, Attribute: model.PolicyEnable, Value: true}, {Row: env, Attribute: model.Alias, Value: ""},
	}, model.Origin{})
	wantReasonOf(t, err, 1)
	for _, x := range []model.Assignment{
		{Attribute: model.PolicyEnable, Value: "true"}, {Attribute: model.PolicyOperationTypeFilter, Value: "Install,Remove"},
		{Attribute: model.PolicyResultTypeFilter, Value: ""}, {Attribute: model.PolicyFaultCodeFilter, Value: "9001,,9002"},
		{Attribute: model.PolicyFaultCodeFilter, Value: true}, {Attribute: model.Alias, Value: "x"},
	} {
		x.Row = policy
		_, err := d.agent.Set(t.Context(), []model.Assignment{{Row: env, Attribute: model.Alias, Value: "changed"}, x}, model.Origin{})
		wantReasonOf(t, err, 1)
	}
	if p := d.agent.Snapshot().Policy; p.Enable || p.Results != "Both" || len(p.Operations) != 3 || d.ee("e").Alias == "changed" {
		t.Errorf("a set that was refused made the policy %+v, the environment %+v", p, *d.ee("e"))
	}
	_, err = d.agent.Set(t.Context(), []model.Assignment{
		{Row: env, Attribute: model.Alias, Value: "other"}, {Row: policy, Attribute: model.PolicyEnable, Value: true},
		{Row: policy, Attribute: model.PolicyOperationTypeFilter, Value: " Update , Install"},
		{Row: policy, Attribute: model.PolicyResultTypeFilter, Value: "Failure"}, {Row: policy, Attribute: model.PolicyFaultCodeFilter, Value: "9001,9015"},
	}, model.Origin{})
	d.ok(err)
	d.restart()
	want := model.Policy{Enable: true, Operations: []model.Performed{"Update", "Install"}, Results: "Failure", FaultCodes: []uint32{9001, 9015}}
	if p := d.agent.Snapshot().Policy; fmt.Sprint(p) != fmt.Sprint(want) || d.ee("e").Alias != "other" {
		t.Errorf("the policy is %+v, the environment %+v", p, *d.ee("e"))
	}
}

// wantReasonOf wants a set to be refused for one of its assignments.
func wantReasonOf(t *testing.T, err error, i int) {
	t.Helper()
	var refused *model.SetError
	if !errors.As(err, &refused) || len(refused.Faults) != 1 || fault.ReasonOf(refused.Faults[i]) != fault.InvalidArguments {
		t.Errorf("the set ends with %v", err)
	}
}

func TestAttributesAreSet(t *testing.T) {
	d := start(t, plain)
	for _, set := range []map[string]int{{"Device.X": 1, "Device.Y": 3}, {"Device.X": 1, "": 1}} {
		wantReason(t, fault.InvalidArguments, d.agent.SetAttributes(t.Context(), set))
	}
	if a := d.agent.Snapshot().Attributes; len(a) != 0 {
		t.Errorf("a set that was refused left %v", a)
	}
	d.ok(d.agent.SetAttributes(t.Context(), map[string]int{"Device.X": 1, "Device.Y": 2}))
	d.ok(d.agent.SetAttributes(t.Context(), map[string]int{"Device.X": 0}))
	d.restart()
	if a := d.agent.Snapshot().Attributes; !maps.Equal(a, map[string]int{"Device.X": 0, "Device.Y": 2}) {
		t.Errorf("the attributes are %v", a)
	}
	d.ok(d.agent.SetAttributes(t.Context(), map[string]int{"Device.X": model.AttributeDefault, "Device.Z": model.AttributeDefault}))
	wantReason(t, fault.InvalidArguments, d.agent.SetAttributes(t.Context(), map[string]int{"Device.X": -2}))
	d.restart()
	if a := d.agent.Snapshot().Attributes; !maps.Equal(a, map[string]int{"Device.Y": 2}) {
		t.Errorf("after one is the default again the attributes are %v", a)
	}
}

// An ACS may set every parameter of a device with hundreds of units; there is a limit.
func TestManyAttributes(t *testing.T) {
	d := start(t, plain)
	all := map[string]int{}
	for i := range 5_000 {
		all[fmt.Sprint("Device.X", i)] = 1
	}
	d.ok(d.agent.SetAttributes(t.Context(), all))
	for i := range 65_000 {
		all[fmt.Sprint("Device.Y", i)] = 1
	}
	wantReason(t, fault.SystemResourcesExceeded, d.agent.SetAttributes(t.Context(), all))
	if n := len(d.agent.Snapshot().Attributes); n != 5_000 {
		t.Errorf("there are %d attributes", n)
	}
}

// What was set for a row that is gone is forgotten with the next set: it would only take the room of others.
func TestAttributesOfRowsThatWent(t *testing.T) {
	d := start(t, plain)
	du := d.installed(fake.Spec{Name: "a"})
	path := fmt.Sprintf("Device.SoftwareModules.DeploymentUnit.%d.Status", du.ID)
	const env = "Device.SoftwareModules.ExecEnv.1.Status"
	d.ok(d.agent.SetAttributes(t.Context(), map[string]int{path: 2, env: 1}))
	d.ok(d.agent.SetAttributes(t.Context(), map[string]int{env: 2}))
	if a := d.agent.Snapshot().Attributes; !maps.Equal(a, map[string]int{path: 2, env: 2}) {
		t.Errorf("the attributes are %v", a)
	}
	d.done(d.agent.Uninstall(t.Context(), model.UninstallRequest{DU: du.ID}))
	d.ok(d.agent.SetAttributes(t.Context(), map[string]int{env: 0}))
	d.restart()
	if a := d.agent.Snapshot().Attributes; !maps.Equal(a, map[string]int{env: 0}) {
		t.Errorf("after the unit has gone the attributes are %v", a)
	}
}

// A baseline of CWMP drops what waits and what is to come of earlier requests; the same one again does not, and one of USP neither.
func TestBaselineDropsReports(t *testing.T) {
	d := start(t, plain)
	d.policy()
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "boot-1"))
	d.report(d.change(uninstallOp(uuidA)))
	d.installed(fake.Spec{Name: "a"})
	d.autonomously(1)
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "boot-1"))
	d.ok(d.agent.RecordBaseline(t.Context(), "usp", "boot-2"))
	if n := len(d.agent.Snapshot().Reports); n != 2 {
		t.Fatalf("%d reports wait", n)
	}
	entered, release := d.worlds["fake"].Block("Install")
	d.change(d.installOp(uuidA, "e", fake.Spec{Name: "b"}), d.updateOp(uuidA, fake.Spec{Name: "b", Version: "2"}))
	<-entered
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "boot-2"))
	if n := len(d.agent.Snapshot().Reports); n != 0 {
		t.Errorf("after the baseline %d reports wait", n)
	}
	release()
	d.until("what was accepted is done", func(s *model.Snapshot) error {
		for du := range s.DeploymentUnits() {
			if du.UUID == uuidA && du.Version == "2" && du.Status == model.DUInstalled {
				return nil
			}
		}
		return errors.New(dump(s))
	})
	d.restart()
	if n := len(d.agent.Snapshot().Reports); n != 0 {
		t.Errorf("what was dropped is told: %d reports wait", n)
	}
}

// What somebody else does with an environment is told; what the first sync finds is not.
func TestOthersChangesAreTold(t *testing.T) {
	d := prepare(t, plain)
	d.env("f", "fake").Enable = false
	d.start()
	d.up()
	d.policy()
	c := d.console("e")
	d.ok(c.Install("there", fake.Spec{Name: "x", Version: "1"}))
	d.autonomously(1)
	d.ok(c.Update("there", fake.Spec{Name: "x", Version: "2"}))
	d.autonomously(2)
	d.ok(c.Remove("there"))
	d.autonomously(3)
	d.restart() // the row stays, and is not told again
	d.up()
	d.ok(c.Install("there", fake.Spec{Name: "x", Version: "2"}))
	r := d.autonomously(4)
	row := func(what, version string) string {
		return fmt.Sprintf("%s du=%d %s@e %q true eus=%v", what, r.Results[0].DU, r.Results[0].UUID, version, r.Results[0].EUs)
	}
	wantTold(t, "the report", r.Results, row("Install Installed", "1"), row("Update Installed", "2"), row("Uninstall Uninstalled", "2"), row("Install Installed", "2"))
}

func TestFactoryStateIsNotTold(t *testing.T) {
	d := prepare(t, plain)
	d.held = true
	d.start()
	d.policy()
	c := d.console("e")
	d.ok(c.Launch())
	d.ok(c.Install("factory", fake.Spec{Name: "factory", Version: "1"}))
	d.doubles["fake"].resume()
	d.up()
	if s := d.agent.Snapshot(); s.Count(model.KindDeploymentUnit) != 1 || len(s.Reports)+len(s.Notifications) != 0 {
		t.Errorf("%d reports, %d notifications\n%s", len(s.Reports), len(s.Notifications), dump(s))
	}
}

// The steps of a Reset are changes that nobody asked for by ChangeDUState.
func TestResetIsTold(t *testing.T) {
	d := start(t, plain)
	gone, changed := d.installed(fake.Spec{Name: "gone"}), d.installed(fake.Spec{Name: "changed"})
	d.ok(d.agent.RecordBaseline(t.Context(), "usp", ""))
	d.done(d.uninstall(gone.ID))
	d.done(d.update(changed.ID, fake.Spec{Name: "changed", Version: "2"}))
	since := d.installed(fake.Spec{Name: "since"})
	d.policy()
	d.done(d.agent.ResetExecEnv(t.Context(), d.ee("e").Instance, "usp", model.Origin{}))
	var got []string
	for _, r := range d.autonomously(3).Results {
		got = append(got, strings.TrimSpace(fmt.Sprint(r.Performed, " ", r.State, " ", r.UUID, " ", r.Version, " ", r.Fault)))
	}
	want := []string{"Uninstall Uninstalled " + since.UUID + " 1", "Update Installed " + changed.UUID + " 1", "Install Installed " + gone.UUID + " 1"}
	if !slices.Equal(got, want) {
		t.Errorf("told is %q, not %q", got, want)
	}
}

// A unit that somebody else has removed since the baseline is told as removed then; that the Reset removes its row is no news.
func TestResetOfAUnitThatIsGone(t *testing.T) {
	d := start(t, plain)
	d.ok(d.agent.RecordBaseline(t.Context(), "usp", ""))
	d.policy()
	c := d.console("e")
	d.ok(c.Install("there", fake.Spec{Name: "x", Version: "1"}))
	d.autonomously(1)
	d.ok(c.Remove("there"))
	want := told(d.autonomously(2).Results)
	d.done(d.agent.ResetExecEnv(t.Context(), d.ee("e").Instance, "usp", model.Origin{}))
	if n := d.agent.Snapshot().Count(model.KindDeploymentUnit); n != 0 {
		t.Errorf("%d units are left", n)
	}
	wantTold(t, "the report", autonomous(d.agent.Snapshot()).Results, want...)
}

// The news of a unit may come later than its Reset waits for it. What is older than the removal makes no new row then, and nothing is told of it.
func TestResetBeforeTheNews(t *testing.T) {
	d := start(t, plain)
	d.ok(d.agent.RecordBaseline(t.Context(), "usp", ""))
	du := d.installed(fake.Spec{Name: "since"})
	eu := d.rest(du.ID, model.EUActive)
	d.policy()
	double := d.doubles["fake"]
	double.delay()
	d.ok(d.console("e").Crash(du.Key, "main", "a test", 1)) // it is there
	job, err := d.agent.ResetExecEnv(t.Context(), d.ee("e").Instance, "usp", model.Origin{})
	d.ok(err)
	d.until("the row is gone", func(s *model.Snapshot) error {
		if row := s.DeploymentUnit(du.ID); row != nil {
			return fmt.Errorf("it is %+v", *row)
		}
		return nil
	})
	older := 0
	d.eventually("the removal is news", func() error {
		news := double.delayed()
		older = slices.IndexFunc(news, func(ev adapter.Event) bool { return ev.Kind == adapter.EventUnitRemoved })
		if older < 1 || news[older-1].Kind != adapter.EventUnit {
			return fmt.Errorf("what is late is %+v", news)
		}
		return nil
	})
	// What is older than the removal is taken over for itself; that the memory changes says that it has been.
	env := adapter.Env{ID: "e", Name: "e", Up: true, Launch: d.ee("e").Launch, RunLevel: -1, AvailableMemory: 4711}
	double.tell(older)
	double.o.Handler.AdapterEvent("fake", adapter.Event{Kind: adapter.EventEnv, EnvID: "e", Env: &env})
	d.until("older news is taken over", func(s *model.Snapshot) error {
		if m := s.ExecEnvByID("e").AvailableMemory; m != env.AvailableMemory {
			return fmt.Errorf("the memory is %d", m)
		}
		return nil
	})
	double.tell(len(double.delayed()) + 1)
	d.done(job, nil)
	d.up()
	s := d.agent.Snapshot()
	if n := s.Count(model.KindDeploymentUnit); n != 0 {
		t.Errorf("%d units are left\n%s", n, dump(s))
	}
	wantTold(t, "the report", autonomous(s).Results, fmt.Sprintf(`Uninstall Uninstalled du=%d %s@e "1" true eus=[%d]`, du.ID, du.UUID, eu.ID))
}

// The result of an Install or Update says Resolved although the environment tells it later than the operation ends: from what the adapter answered.
func TestResolvedBeforeTheNews(t *testing.T) {
	d := start(t, plain)
	d.policy()
	double := d.doubles["fake"]
	off := false
	// As in OSGi: what nobody has started is not resolved, and the news of that a start changes it is late.
	unresolved := func(ev adapter.Event) {
		unit := *ev.Unit
		unit.Resolved = false
		double.o.Handler.AdapterEvent("fake", adapter.Event{Kind: adapter.EventUnit, EnvID: "e", Unit: &unit})
	}
	late := func(fake.Call) error {
		d.eventually("the unit is news", func() error {
			news := double.delayed()
			for _, ev := range news {
				if ev.Kind == adapter.EventUnit {
					unresolved(ev)
					return nil
				}
			}
			return fmt.Errorf("there is %+v", news)
		})
		return nil
	}
	for _, c := range []struct {
		what string
		auto *bool // whether it is started
		says bool  // the answer says that it is resolved
		do   func(auto *bool) (uint32, error)
	}{
		{"an install that is answered resolved", &off, true, func(auto *bool) (uint32, error) {
			return d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a"}), ExecEnv: "e", UUID: uuidA, AutoStart: auto})
		}},
		{"an install that is started", nil, false, func(*bool) (uint32, error) {
			return d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "b"}), ExecEnv: "e", UUID: uuidB})
		}},
		{"an install that is neither", &off, false, func(auto *bool) (uint32, error) {
			return d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "c"}), ExecEnv: "e", AutoStart: auto})
		}},
		{"an update that is answered resolved", nil, true, func(*bool) (uint32, error) {
			return d.update(1, fake.Spec{Name: "a", Version: "2"})
		}},
		{"an update that is started again", nil, false, func(*bool) (uint32, error) {
			return d.update(2, fake.Spec{Name: "b", Version: "2"})
		}},
		{"an update that is neither", nil, false, func(*bool) (uint32, error) {
			return d.update(1, fake.Spec{Name: "a", Version: "3"})
		}},
	} {
		before := len(autonomous(d.agent.Snapshot()).Results)
		double.delay()
		d.worlds["fake"].Hook("Install", fake.After, late)
		d.worlds["fake"].Hook("Update", fake.After, late)
		double.resolves(c.says)
		d.done(c.do(c.auto))
		r := d.autonomously(before + 1).Results[before]
		if want := !strings.Contains(c.what, "neither"); r.Fault != "" || r.Resolved != want {
			t.Errorf("%s is told as resolved: %v, and not %v: %+v", c.what, r.Resolved, want, r)
		}
		double.tell(len(double.delayed()) + 1)
		d.until("the rows are resolved", func(s *model.Snapshot) error {
			for u := range s.DeploymentUnits() {
				if !u.Resolved {
					return fmt.Errorf("%+v", *u)
				}
			}
			return nil
		})
	}
}

// notified is the notifications that wait, as text.
func notified(s *model.Snapshot) (all []string) {
	for _, n := range s.Notifications {
		text := string(n.Kind)
		switch n.Kind {
		case model.NotifyDUStateChange:
			text += " " + told([]model.Result{*n.Result})[0]
		case model.NotifyRestarted:
			text += " " + n.Env + " " + n.Reason
		case model.NotifyOperationComplete:
			text += fmt.Sprint(" ", n.Job, " ", n.Origin.Command, " ", n.Origin.CommandKey, " ", n.Fault, " outputs=", len(n.Outputs))
		}
		all = append(all, text)
	}
	return all
}

func TestNotifications(t *testing.T) {
	d := start(t, plain)
	origin := func(command string) model.Origin {
		return model.Origin{Name: "usp", Command: "Device." + command, CommandKey: "k"}
	}
	first := d.agent.Snapshot().LastNotification
	job, err := d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a"}), ExecEnv: "e", UUID: uuidA, Originator: origin("InstallDU()")})
	d.done(job, err)
	d.report(d.change(uninstallOp(uuidA)))
	restart, err := d.agent.RestartExecEnv(t.Context(), d.ee("e").Instance, "because", origin("Restart()"))
	d.done(restart, err)
	failed, err := d.agent.Install(t.Context(), model.InstallRequest{URL: "file:///nothing", Originator: origin("InstallDU()")})
	d.failed(fault.TransferFileUnavailable)(failed, err)
	d.done(d.install(fake.Spec{Name: "nobody asked by a command"}))
	s := d.agent.Snapshot()
	other := s.Notifications[len(s.Notifications)-1].Result
	want := []string{
		`DUStateChange Install Installed du=1 ` + uuidA + `@e "1" true eus=[1]`,
		fmt.Sprint("OperationComplete ", job, " Device.InstallDU() k  outputs=1"),
		`DUStateChange Uninstall Uninstalled du=1 ` + uuidA + `@e "1" true eus=[1]`,
		"Restarted e because",
		fmt.Sprint("OperationComplete ", restart, " Device.Restart() k  outputs=0"),
		`DUStateChange Install Failed du=0 @ "" false eus=[] transfer-file-unavailable`,
		fmt.Sprint("OperationComplete ", failed, " Device.InstallDU() k transfer-file-unavailable outputs=1"),
		`DUStateChange Install Installed du=2 ` + other.UUID + `@e "1" true eus=[2]`,
	}
	check := func(what string, want []string) {
		t.Helper()
		s := d.agent.Snapshot()
		if got := notified(s); !slices.Equal(got, want) {
			t.Errorf("%s:\n\t%s\nnot\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
		}
		for i, n := range s.Notifications {
			if n.ID <= first || i > 0 && n.ID <= s.Notifications[i-1].ID || n.ID > s.LastNotification || n.Time.IsZero() {
				t.Errorf("%s: notification %d is %+v, the first number was %d, the last %d", what, i, *n, first, s.LastNotification)
			}
		}
	}
	check("what waits", want)
	last := s.LastNotification
	d.restart()
	check("what waits after a restart", want)
	if now := d.agent.Snapshot().LastNotification; now != last+1 {
		t.Errorf("the start took number %d after %d", now, last)
	}
	d.ok(d.agent.AcknowledgeNotifications(t.Context(), s.Notifications[2].ID))
	d.ok(d.agent.AcknowledgeNotifications(t.Context(), s.Notifications[0].ID)) // once more does nothing
	check("what waits after an acknowledgement", want[3:])
	d.ok(d.agent.AcknowledgeNotifications(t.Context(), 1<<60))
	d.restart()
	check("what waits in the end", nil)
}

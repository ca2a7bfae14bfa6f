package agent_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// uuidA and uuidB are UUIDs as a controller gives them.
const (
	uuidA = "00000000-0000-5000-b000-00000000000a"
	uuidB = "00000000-0000-5000-b000-00000000000b"
)

// two is a device with the environments e and f.
func two(d *device) { d.env("f", "fake") }

func (d *device) installOp(uuid, env string, s fake.Spec) model.UnitOperation {
	d.t.Helper()
	return model.UnitOperation{Performed: model.PerformedInstall, UUID: uuid, ExecEnv: env, URL: d.pkg(s)}
}

func (d *device) updateOp(uuid string, s fake.Spec) model.UnitOperation {
	d.t.Helper()
	return model.UnitOperation{Performed: model.PerformedUpdate, UUID: uuid, URL: d.pkg(s)}
}

func uninstallOp(uuid string) model.UnitOperation {
	return model.UnitOperation{Performed: model.PerformedUninstall, UUID: uuid}
}

// change asks for a ChangeDUState and returns its number.
func (d *device) change(ops ...model.UnitOperation) uint64 {
	d.t.Helper()
	id, err := d.agent.ChangeDUState(d.t.Context(), model.ChangeRequest{Operations: ops, CommandKey: "key", Originator: model.Origin{Name: "acs"}})
	d.ok(err)
	return id
}

// report waits for the report of a request.
func (d *device) report(id uint64) *model.Report {
	d.t.Helper()
	var found *model.Report
	d.until(fmt.Sprintf("report %d waits", id), func(s *model.Snapshot) error {
		for _, r := range s.Reports {
			if r.ID == id {
				found = r
				return nil
			}
		}
		return fmt.Errorf("there are %d others", len(s.Reports))
	})
	return found
}

// told is results as text, without what differs from one run to another.
func told(results []model.Result) (lines []string) {
	for _, r := range results {
		line := fmt.Sprintf("%s %s du=%d %s@%s %q %v eus=%v", r.Performed, r.State, r.DU, r.UUID, r.Env, r.Version, r.Resolved, r.EUs)
		if r.Fault != "" {
			line += " " + string(r.Fault)
		}
		lines = append(lines, line)
	}
	return lines
}

func wantTold(t *testing.T, what string, got []model.Result, want ...string) {
	t.Helper()
	if text := told(got); !slices.Equal(text, want) {
		t.Errorf("%s tells\n\t%s\nnot\n\t%s", what, strings.Join(text, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func TestChangeDUState(t *testing.T) {
	d := start(t, plain)
	bad := errors.New("a test")
	before := time.Now()
	id := d.change(
		d.installOp(uuidA, "e", fake.Spec{Name: "a", Modules: []fake.ModuleSpec{{ID: "x"}, {ID: "y"}}}),
		model.UnitOperation{Performed: model.PerformedInstall, URL: "file:///nothing/here", UUID: uuidB, ExecEnv: "e"},
		model.UnitOperation{Performed: model.PerformedInstall, URL: "file://user@host/x"},
		model.UnitOperation{Performed: model.PerformedInstall, URL: "file:///x", ExecEnv: "nowhere"},
		model.UnitOperation{Performed: model.PerformedInstall, URL: "file:///x", Refused: fault.As(fault.UnknownExecEnv, bad)},
		d.installOp("", "e", fake.Spec{Name: "fails", Version: "3", InstallFails: "boom"}),
		model.UnitOperation{Performed: model.PerformedUpdate, UUID: uuidB},
		model.UnitOperation{Performed: model.PerformedUpdate, URL: "file:///unknown"},
		model.UnitOperation{Performed: model.PerformedUpdate, Version: "1"},
		uninstallOp("not a UUID"),
		uninstallOp(uuidB),
	)
	r := d.report(id)
	if r.Kind != model.ReportRequested || r.CommandKey != "key" {
		t.Errorf("the report is %+v", *r)
	}
	failing := r.Results[5].UUID
	if failing == "" {
		t.Error("the UUID of a package that was read is not told")
	}
	a := r.Results[0]
	if a.DU == 0 || len(a.EUs) != 2 {
		t.Errorf("the first result names no rows: %+v", a)
	}
	wantTold(t, "the report", r.Results,
		fmt.Sprintf(`Install Installed du=%d %s@e "1" true eus=%v`, a.DU, uuidA, a.EUs), // which number it has depends on what runs in parallel
		`Install Failed du=0 `+uuidB+`@e "" false eus=[] transfer-file-unavailable`,
		`Install Failed du=0 @ "" false eus=[] invalid-arguments`,
		`Install Failed du=0 @nowhere "" false eus=[] unknown-exec-env`,
		`Install Failed du=0 @ "" false eus=[] unknown-exec-env`,
		`Install Failed du=0 `+failing+`@e "3" false eus=[] internal`,
		`Update Installed du=0 `+uuidB+`@ "" false eus=[] unknown-du`,
		`Update Installed du=0 @ "" false eus=[] unknown-du`,
		`Update Installed du=0 @ "1" false eus=[] invalid-arguments`,
		`Uninstall Installed du=0 not a UUID@ "" false eus=[] invalid-uuid`,
		`Uninstall Installed du=0 `+uuidB+`@ "" false eus=[] unknown-du`,
	)
	for _, res := range r.Results {
		if res.Start.Before(before.Add(-time.Second)) || res.Complete.Before(res.Start) || (res.Message == "") != (res.Fault == "") {
			t.Errorf("a result is %+v", res)
		}
	}
	if tr := r.Results[0].Transfer; tr.Before(r.Results[0].Start) || tr.After(r.Results[0].Complete) {
		t.Errorf("the transfer began %s: %+v", tr, r.Results[0])
	}
	// It stays until it is acknowledged.
	d.restart()
	wantTold(t, "the report after a restart", d.report(id).Results, told(r.Results)...)
	d.ok(d.agent.AcknowledgeReport(t.Context(), id))
	d.restart()
	if n := len(d.agent.Snapshot().Reports); n != 0 {
		t.Errorf("after the acknowledgement %d reports wait", n)
	}
	wantReason(t, fault.InvalidArguments, d.agent.AcknowledgeReport(t.Context(), id))
}

// One element is about a unit on every environment that holds it: all of them are changed or none.
func TestChangeOverEnvironments(t *testing.T) {
	d := start(t, plain, two)
	v1, v2 := fake.Spec{Name: "a"}, fake.Spec{Name: "a", Version: "2"}
	r := d.report(d.change(d.installOp(uuidA, "e", v1), d.installOp(uuidA, "f", v1)))
	eus := fmt.Sprintf("%v %v", r.Results[0].EUs, r.Results[1].EUs)
	one, other := r.Results[0], r.Results[1]
	row := func(r model.Result, what string) string {
		return fmt.Sprintf(`%s du=%d %s@%s `, what, r.DU, uuidA, r.Env)
	}
	rest := func(r model.Result) string { return fmt.Sprintf(" true eus=%v", r.EUs) }
	if one.DU > other.DU {
		one, other = other, one // the two run in parallel; results of one element are in the order of the rows
	}
	d.enable("f", false)
	wantTold(t, "an update with one environment disabled", d.report(d.change(d.updateOp(uuidA, v2))).Results,
		row(one, "Update Installed")+`"1"`+rest(one)+" disabled-exec-env", row(other, "Update Installed")+`"1"`+rest(other)+" disabled-exec-env")
	wantTold(t, "an uninstall with one environment disabled", d.report(d.change(uninstallOp(uuidA))).Results,
		row(one, "Uninstall Installed")+`"1"`+rest(one)+" disabled-exec-env", row(other, "Uninstall Installed")+`"1"`+rest(other)+" disabled-exec-env")
	if n := len(d.units("e")) + d.agent.Snapshot().Count(model.KindDeploymentUnit); n != 3 {
		t.Errorf("something was removed: %v\n%s", d.units("e"), dump(d.agent.Snapshot()))
	}
	d.enable("f", true)
	d.up()
	failing := d.report(d.change(d.updateOp(uuidA, fake.Spec{Name: "a", Version: "2", UpdateFails: "boom"}))).Results
	wantTold(t, "an update that fails", failing,
		row(one, "Update Installed")+`"1"`+rest(one)+" internal", row(other, "Update Installed")+`"1"`+rest(other)+" internal")
	if failing[0].Message != failing[1].Message {
		t.Errorf("the messages differ: %q and %q", failing[0].Message, failing[1].Message)
	}
	wantTold(t, "an update", d.report(d.change(d.updateOp(uuidA, v2))).Results,
		row(one, "Update Installed")+`"2"`+rest(one), row(other, "Update Installed")+`"2"`+rest(other))
	// Without a URL each comes from where it came from; that is the version that is there.
	again := d.report(d.change(model.UnitOperation{Performed: model.PerformedUpdate})).Results
	wantTold(t, "an update of everything", again,
		row(one, "Update Installed")+`"2"`+rest(one)+" version-exists", row(other, "Update Installed")+`"2"`+rest(other)+" version-exists")
	only := uninstallOp(uuidA)
	only.ExecEnv = other.Env
	wantTold(t, "an uninstall on one environment", d.report(d.change(only)).Results, row(other, "Uninstall Uninstalled")+`"2"`+rest(other))
	wantTold(t, "an uninstall of the rest", d.report(d.change(uninstallOp(uuidA))).Results, row(one, "Uninstall Uninstalled")+`"2"`+rest(one))
	if n := d.agent.Snapshot().Count(model.KindDeploymentUnit); n != 0 {
		t.Errorf("%d units are left, after %s", n, eus)
	}
}

// What names the same unit runs in the order of the request, and is about what there is when its turn comes.
func TestChangeInOrder(t *testing.T) {
	d := start(t, plain)
	url := d.pkg(fake.Spec{Name: "a", Version: "3"})
	r := d.report(d.change(
		d.installOp(strings.ToUpper(uuidA), "e", fake.Spec{Name: "a"}),
		d.updateOp(uuidA, fake.Spec{Name: "a", Version: "2"}),
		d.installOp(uuidB, "e", fake.Spec{Name: "b"}),
		model.UnitOperation{Performed: model.PerformedUpdate, UUID: uuidA, URL: url, Version: "1"},
		model.UnitOperation{Performed: model.PerformedUpdate, UUID: uuidA, URL: url, Version: "2"},
		uninstallOp(uuidA),
		model.UnitOperation{Performed: model.PerformedUpdate}, // everything: after all before it
		uninstallOp(uuidB),
		d.installOp(uuidA, "e", fake.Spec{Name: "a"}),
	)).Results
	if len(r) != 9 {
		t.Fatalf("there are %d results: %v", len(r), told(r))
	}
	for i, want := range []string{"Install Installed 1", "Update Installed 2", "Install Installed 1", "Update Installed 1 unknown-du", "Update Installed 3",
		"Uninstall Uninstalled 3", "Update Installed 1 version-exists", "Uninstall Uninstalled 1", "Install Installed 1"} {
		if got := strings.TrimSpace(fmt.Sprint(r[i].Performed, " ", r[i].State, " ", r[i].Version, " ", r[i].Fault)); got != want {
			t.Errorf("result %d is %s, not %s: %s", i, got, want, r[i].Message)
		}
	}
	if r[0].DU == r[8].DU || r[5].DU != r[0].DU || r[1].DU != r[0].DU {
		t.Errorf("the rows are %v", told(r))
	}
}

func TestChangeRefused(t *testing.T) {
	d := start(t, plain)
	many := func(n int) model.ChangeRequest {
		return model.ChangeRequest{Operations: slices.Repeat([]model.UnitOperation{uninstallOp(uuidA)}, n)}
	}
	for what, c := range map[string]struct {
		r    model.ChangeRequest
		want fault.Reason
	}{
		"nothing":   {many(0), fault.InvalidArguments},
		"too many":  {many(65), fault.TooManyOperations},
		"long key":  {model.ChangeRequest{Operations: many(1).Operations, CommandKey: strings.Repeat("é", 33)}, fault.InvalidArguments},
		"a mistake": {model.ChangeRequest{Operations: []model.UnitOperation{{Performed: "Remove"}}}, fault.InvalidArguments},
	} {
		_, err := d.agent.ChangeDUState(t.Context(), c.r)
		if fault.ReasonOf(err) != c.want {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := len(d.agent.Snapshot().Reports); n != 0 {
		t.Errorf("%d reports wait", n)
	}
	r := many(64)
	r.Token, r.CommandKey = "token", strings.Repeat("é", 32)
	id, err := d.agent.ChangeDUState(t.Context(), r)
	d.ok(err)
	if got := d.report(id); len(got.Results) != 64 || got.CommandKey != r.CommandKey {
		t.Errorf("the report is %+v", *got)
	}
	// The same token is the same request, also when its report is gone.
	for range 2 {
		if again, err := d.agent.ChangeDUState(t.Context(), r); err != nil || again != id {
			t.Errorf("the token gives %d, %v", again, err)
		}
		d.restart()
		d.ok(d.agent.AcknowledgeReport(t.Context(), id))
		if again, err := d.agent.ChangeDUState(t.Context(), r); err != nil || again != id {
			t.Errorf("the token gives %d, %v", again, err)
		}
		if n := len(d.agent.Snapshot().Reports); n != 0 {
			t.Errorf("%d reports wait", n)
		}
		r.Token += "'"
		id, err = d.agent.ChangeDUState(t.Context(), r)
		d.ok(err)
		d.report(id)
	}
}

// More elements than there may be open operations begin as others end.
func TestChangeAboveMaxOpen(t *testing.T) {
	d := start(t, plain, func(d *device) { d.cfg.Operations.MaxOpen = 2 })
	var ops []model.UnitOperation
	for i := range 6 {
		ops = append(ops, d.installOp("", "e", fake.Spec{Name: fmt.Sprint("unit", i)}))
	}
	for i, r := range d.report(d.change(ops...)).Results {
		if r.State != model.ResultInstalled {
			t.Errorf("result %d is %+v", i, r)
		}
	}
	// An element about many units is one request: it begins as a whole, whatever else is open.
	entered, release := d.worlds["fake"].Block("Inspect")
	other, err := d.install(fake.Spec{Name: "other"})
	d.ok(err)
	<-entered
	id := d.change(model.UnitOperation{Performed: model.PerformedUpdate})
	d.until("the element has begun", func(s *model.Snapshot) error {
		if n := s.Count(model.KindJob); n != 13 { // 6 installs, the other one, 6 updates
			return fmt.Errorf("there are %d jobs", n)
		}
		return nil
	})
	release()
	d.done(other, nil)
	results := d.report(id).Results
	if len(results) != 6 || slices.ContainsFunc(results, func(r model.Result) bool { return r.DU == 0 || r.Fault == fault.TooManyOperations }) {
		t.Errorf("an update of everything gives %q", told(results))
	}
}

// A unit that another operation is at is busy, and with it the element wherever that is about it.
func TestChangeOfABusyUnit(t *testing.T) {
	d := start(t, plain, two)
	du := d.installed(fake.Spec{Name: "a"})
	d.report(d.change(d.installOp(du.UUID, "f", fake.Spec{Name: "a"})))
	entered, release := d.worlds["fake"].Block("Inspect") // the row does not tell yet that it is busy
	job, err := d.update(du.ID, fake.Spec{Name: "a", Version: "2"})
	d.ok(err)
	<-entered
	r := d.report(d.change(uninstallOp(du.UUID), d.updateOp(du.UUID, fake.Spec{Name: "a", Version: "3"}))).Results
	release()
	d.done(job, nil)
	if len(r) != 4 || r[0].DU != du.ID || r[2].DU != du.ID || slices.ContainsFunc(r, func(r model.Result) bool { return r.Fault != fault.InvalidDUState }) {
		t.Errorf("the results are %q", told(r))
	}
	if n := len(d.units("f")); n != 1 {
		t.Errorf("there are %d units on f", n)
	}
}

// When its time is over a request is told as it is: what has not ended has failed, and what becomes of it later is no autonomous change.
func TestChangeDeadline(t *testing.T) {
	d := start(t, plain, func(d *device) { d.cfg.Operations.TotalDeadline = 2 * time.Second })
	d.policy()
	_, release := d.worlds["fake"].Block("Install")
	id := d.change(d.installOp(uuidA, "e", fake.Spec{Name: "a"}), uninstallOp(uuidA), d.installOp("", "e", fake.Spec{Name: "b"}))
	r := d.report(id).Results
	release()
	for i, want := range []string{"Install Failed", "Uninstall Installed", "Install Failed"} {
		if got := fmt.Sprint(r[i].Performed, " ", r[i].State); got != want || r[i].Fault != fault.DeadlineExceeded && r[i].Fault != fault.UnknownDU {
			t.Errorf("result %d is %+v", i, r[i])
		}
	}
	d.until("everything has ended", func(s *model.Snapshot) error {
		for j := range s.Jobs() {
			if !j.State.Final() {
				return fmt.Errorf("job %+v", *j)
			}
		}
		return nil
	})
	d.ok(d.agent.AcknowledgeReport(t.Context(), id))
	if s := d.agent.Snapshot(); len(s.Reports) != 0 {
		t.Errorf("%+v waits", *s.Reports[0])
	}
}

func TestChangeWithoutCWMP(t *testing.T) {
	d := start(t, plain)
	d.policy()
	d.report(d.change(d.installOp(uuidA, "e", fake.Spec{Name: "a"})))
	d.cfg.DataModel.Faces = nil
	d.restart()
	d.up()
	_, err := d.agent.ChangeDUState(t.Context(), model.ChangeRequest{Operations: []model.UnitOperation{uninstallOp(uuidA)}})
	wantReason(t, fault.NotSupported, err)
	d.installed(fake.Spec{Name: "b"})
	if s := d.agent.Snapshot(); len(s.Reports)+len(s.Notifications) != 0 {
		t.Errorf("%d reports and %d notifications wait for nobody", len(s.Reports), len(s.Notifications))
	}
}

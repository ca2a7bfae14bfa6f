package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/agent"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/supervisor"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// restorable is a World whose environments give back packages and versions, and give settings to units.
var restorable = fake.Options{RunLevels: true, AutoStart: true, Export: true, Versions: true, Settings: true}

// giving is a double that hands on what gives back packages and versions, too.
type giving struct{ *double }

func (g giving) Export(ctx context.Context, u adapter.UnitRef, path string) error {
	return g.do(ctx, func(a *fake.Adapter) error { return a.Export(ctx, u, path) })
}

func (g giving) SaveVersion(ctx context.Context, env, path string) error {
	return g.do(ctx, func(a *fake.Adapter) error { return a.SaveVersion(ctx, env, path) })
}

func (g giving) RestoreVersion(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
	return g.do(ctx, func(a *fake.Adapter) error { return a.RestoreVersion(ctx, op, env, p) })
}

// keeping is a device whose agent keeps baselines that can be gone back to.
type keeping struct{ *device }

// completions is a log that sends when baselines have been completed.
type completions struct {
	slog.Handler
	seen chan struct{}
}

func (completions) Enabled(context.Context, slog.Level) bool { return true }

func (c completions) WithAttrs([]slog.Attr) slog.Handler { return c }

func (c completions) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "baselines are complete") {
		select {
		case c.seen <- struct{}{}:
		default:
		}
	}
	return nil
}

// keep makes a running device, on a World that is restorable unless o says another. Before its first start, before changes what the
// environment has.
func keep(t *testing.T, before func(keeping), o ...fake.Options) keeping {
	t.Helper()
	k := keeping{prepare(t, append(o, restorable)[0])}
	if before != nil {
		before(k)
	}
	k.start()
	k.up()
	return k
}

func (k keeping) start() {
	k.t.Helper()
	k.doubles = map[string]*double{}
	a, err := agent.New(k.cfg, agent.Options{Log: k.log, Supervise: func(o supervisor.Options) agent.Adapter {
		k.doubles[o.Name] = newDouble(o, k.worlds[o.Name])
		k.doubles[o.Name].held = k.held
		return giving{k.doubles[o.Name]}
	}})
	k.ok(err)
	ctx, cancel := context.WithCancel(context.Background())
	k.agent, k.cancel, k.ended = a, cancel, make(chan error, 1)
	ready, ended := make(chan struct{}), k.ended
	go func() { ended <- a.Run(ctx, func() { close(ready) }) }()
	select {
	case <-ready:
	case err := <-ended:
		k.t.Fatalf("the agent ended: %v", err)
	}
}

func (k keeping) restart() {
	k.t.Helper()
	k.kill()
	k.start()
	k.up()
}

func (k keeping) in(t *testing.T) keeping { return keeping{k.device.in(t)} }

func (k keeping) world() *fake.World { return k.worlds["fake"] }

func (k keeping) record(kind, token string) {
	k.t.Helper()
	k.ok(k.agent.RecordBaseline(k.t.Context(), kind, token))
}

func (k keeping) reset(kind string) (uint32, error) {
	return k.agent.ResetExecEnv(k.t.Context(), k.ee("e").Instance, kind, model.Origin{Name: "test"})
}

// whole waits until the package store has n files: what baselines lack has been brought.
func (k keeping) whole(n int) {
	k.t.Helper()
	k.stored(n)
}

// row returns the unit of that name.
func (k keeping) row(name string) *model.DeploymentUnit {
	k.t.Helper()
	for du := range k.agent.Snapshot().DeploymentUnits() {
		if du.Name == name {
			return du
		}
	}
	k.t.Fatalf("there is no unit %s\n%s", name, dump(k.agent.Snapshot()))
	return nil
}

// configuration is everything that a Reset restores: what the World has, and what the rows say of it.
func (k keeping) configuration() string {
	k.t.Helper()
	var text string
	k.until("rows and world agree", func(s *model.Snapshot) error {
		state, err := k.world().State()
		if err != nil {
			return err
		}
		e, row := state.Envs["e"], s.ExecEnvByID("e")
		lines := []string{fmt.Sprintf("env up=%t %s level %d of %d, modules %d=%d", e.Up, e.Running, e.RunLevel, row.InitialRunLevel,
			e.InitialModuleRunLevel, row.InitialExecutionUnitRunLevel)}
		rows := 0
		for du := range s.DeploymentUnits() {
			rows++
			u := e.Units[du.Key]
			if u == nil || du.Missing || du.Status != model.DUInstalled || du.Version != u.Present.Spec.Version {
				return fmt.Errorf("the environment does not have what the row says: %+v", *du)
			}
			settings, err := sameSettings(du, u)
			if err != nil {
				return err
			}
			line := fmt.Sprintf("%s %s %s %s %q resolved=%t kept=%d %s", du.Name, du.Version, du.UUID, du.Alias, du.ModuleVersion, du.Resolved, len(u.Kept), settings)
			modules := map[string]*fake.ModuleState{}
			for _, m := range u.Modules {
				modules[m.ID] = m
			}
			for eu := range s.ExecutionUnitsOf(du.ID) {
				m := modules[eu.Module]
				if m == nil || eu.AutoStartPending || eu.RunLevelPending || eu.AutoStart != m.AutoStart || eu.RunLevel != m.RunLevel ||
					string(eu.Status) != string(m.Status) {
					return fmt.Errorf("the environment has %+v, the row is %+v", m, *eu)
				}
				line += fmt.Sprintf("; %s %s %t %d %s %+v", eu.Module, eu.EUID, eu.AutoStart, eu.RunLevel, eu.Status, eu.Restart.Settings())
				delete(modules, eu.Module)
			}
			if len(modules) > 0 {
				return fmt.Errorf("modules have no rows: %v", modules)
			}
			lines = append(lines, line)
		}
		if rows != len(e.Units) {
			return fmt.Errorf("the environment has %v", slices.Collect(maps.Keys(e.Units)))
		}
		slices.Sort(lines[1:])
		text = strings.Join(lines, "\n")
		return nil
	})
	return text
}

// calls returns the methods that were called since the n-th call and that change something.
func (k keeping) since(n int) (methods []string) {
	for _, c := range k.world().Calls()[n:] {
		if c.OpID != "" {
			methods = append(methods, c.Method)
		}
	}
	return methods
}

// diverged is a device with a CWMP baseline, and everything that can come since. want is what a Reset has to end in.
func diverged(t *testing.T) (k keeping, want string) {
	t.Helper()
	k = keep(t, nil)
	for _, name := range []string{"stays", "updated", "removed", "taken"} {
		k.rest(k.installedWith(fake.Spec{Name: name, Vendor: "v"}, memory(1000), "NAME", name, "THEN", "yes").ID, model.EUActive)
	}
	k.whole(5)
	k.record("cwmp", "1")
	k.whole(5)
	want = k.configuration()
	// It has the package of the baseline again, and other settings.
	k.done(k.update(k.row("stays").ID, fake.Spec{Name: "stays", Vendor: "v", Version: "2"}))
	k.done(k.agent.Update(t.Context(), model.UpdateRequest{
		DU: k.row("stays").ID, URL: k.pkg(fake.Spec{Name: "stays", Vendor: "v"}), Variables: pairs("SINCE", "stays"), Limits: memory(0),
	}))
	stays := k.eu(k.row("stays").ID)
	k.set(ref(model.KindExecutionUnit, stays.ID), model.AutoStart, false)
	k.set(ref(model.KindExecutionUnit, stays.ID), model.RunLevel, 2)
	k.set(ref(model.KindExecutionUnit, stays.ID), model.AutoRestartRetries, 77)
	k.ok(k.console("e").Upgrade("2.0"))
	e := k.ee("e")
	k.done(k.agent.RestartExecEnv(t.Context(), e.Instance, "", model.Origin{Name: "test"}))
	k.set(ref(model.KindExecEnv, e.Instance), model.InitialRunLevel, 2)
	k.set(ref(model.KindExecEnv, e.Instance), model.InitialExecutionUnitRunLevel, 3)
	label := "newer"
	k.done(k.agent.Update(t.Context(), model.UpdateRequest{
		DU: k.row("updated").ID, URL: k.pkg(fake.Spec{Name: "updated", Vendor: "v", Version: "2"}), ModuleVersion: &label,
		Variables: pairs("THEN", "no", "SINCE", "updated"),
	}))
	k.done(k.uninstall(k.row("removed").ID))
	k.installed(fake.Spec{Name: "new"})
	taken := k.row("taken")
	k.ok(k.console("e").Remove(taken.Key))
	k.until("the unit is missing", func(s *model.Snapshot) error {
		if !s.DeploymentUnit(taken.ID).Missing {
			return errors.New("it is not")
		}
		return nil
	})
	return k, want
}

func TestReset(t *testing.T) {
	k, want := diverged(t)
	n := len(k.world().Calls())
	job, err := k.reset("cwmp")
	j := k.done(job, err)
	if len(j.Objects) != 1 || j.Objects[0] != ref(model.KindExecEnv, k.ee("e").Instance) {
		t.Errorf("the job is %+v", *j)
	}
	if got := k.configuration(); got != want {
		t.Errorf("after the Reset there is\n%s\nnot\n%s", got, want)
	}
	calls := k.since(n)
	last := slices.Index(calls, "SetEnabled")
	if last < 0 || calls[last+1] != "SetEnabled" {
		t.Fatalf("no restart is in %q", calls)
	}
	if slices.Contains(calls[:last], "SetRunLevel") || !restartOnly(calls[last:]) {
		t.Errorf("the restart is not the last: %q", calls)
	}
	for _, m := range []string{"Uninstall", "Update", "Discard", "Install", "SetUnit", "SetInitialModuleRunLevel", "SetAutoStart", "RestoreVersion"} {
		if !slices.Contains(calls[:last], m) {
			t.Errorf("%s is not before the restart: %q", m, calls)
		}
	}
	// It is repeatable: nothing but the restart is left to do.
	n = len(k.world().Calls())
	k.done(k.reset("cwmp"))
	if calls := k.since(n); slices.ContainsFunc(calls, func(m string) bool {
		return m == "Install" || m == "Update" || m == "Uninstall" || m == "SetAutoStart" || m == "SetUnit"
	}) {
		t.Errorf("the second Reset calls %q", calls)
	}
	if got := k.configuration(); got != want {
		t.Errorf("after the second Reset there is\n%s\nnot\n%s", got, want)
	}
	// USP's baseline is that of the first sync: nothing.
	k.done(k.reset("usp"))
	if s := k.agent.Snapshot(); s.Count(model.KindDeploymentUnit) != 0 || len(k.units("e")) != 0 {
		t.Errorf("after the Reset to the first baseline there is\n%s", dump(s))
	}
}

// restartOnly reports whether calls are those of a restart and of what is told after a launch.
func restartOnly(calls []string) bool {
	return !slices.ContainsFunc(calls, func(m string) bool {
		return m != "SetEnabled" && m != "SetRunLevel" && m != "SetInitialModuleRunLevel"
	})
}

func TestResetPartFails(t *testing.T) {
	for method, c := range map[string]struct{ names, wrong string }{
		"Uninstall":                {"new 1", "new 1 "},
		"Update":                   {"updated", "updated 2 "},
		"Install":                  {"cannot install removed 1 again", ""},
		"SetInitialModuleRunLevel": {"InitialExecutionUnitRunLevel", "env "},
		"SetAutoStart":             {"AutoStart", "stays 1 "},
		"SetUnit":                  {"cannot restore the settings of stays", "stays 1 "},
		"RestoreVersion":           {"version", "env "},
		"SetEnabled":               {"restart", "updated 1 "}, // which is not started again
	} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			k, want := diverged(t)
			n := len(k.world().Calls())
			k.world().FailCall(method, 1, adapter.Errorf(adapter.Internal, "cannot: a test"))
			j := k.failed(fault.RequestDenied)(k.reset("cwmp"))
			if !strings.Contains(j.Message, c.names) || !strings.Contains(j.Message, "a test") {
				t.Errorf("the message does not name %q: %s", c.names, j.Message)
			}
			calls := k.since(n)
			if i := slices.Index(calls, "SetEnabled"); i < 0 || !restartOnly(calls[i:]) {
				t.Errorf("the restart is not the last: %q", calls)
			}
			got := k.configuration() // wants that no row is in between
			for line := range strings.Lines(want) {
				line = strings.TrimSpace(line)
				if method == "Install" && strings.HasPrefix(line, "removed ") || method == "SetEnabled" && strings.HasPrefix(line, "env ") || c.wrong != "" && strings.HasPrefix(line, strings.Fields(c.wrong)[0]+" ") {
					continue
				}
				if !strings.Contains(got, line) {
					t.Errorf("%s is not restored:\n%s", line, got)
				}
			}
			if c.wrong != "" && !strings.Contains(got, c.wrong) {
				t.Errorf("%q is not there: the failure had no effect\n%s", c.wrong, got)
			}
			// The next one restores the rest.
			k.done(k.reset("cwmp"))
			if got := k.configuration(); got != want {
				t.Errorf("after the second Reset there is\n%s\nnot\n%s", got, want)
			}
		})
	}
}

// TestResetOfAnOutgrownUnit resets to settings that a running unit has outgrown: it runs with them after the restart.
func TestResetOfAnOutgrownUnit(t *testing.T) {
	k, want := diverged(t)
	stays := k.row("stays").ID
	k.set(ref(model.KindExecutionUnit, k.eu(stays).ID), model.RunLevel, 1)
	k.set(ref(model.KindExecutionUnit, k.eu(stays).ID), model.AutoStart, true)
	k.rest(stays, model.EUActive)
	growing(k.world(), "-settings-"+k.row("stays").Key)
	k.done(k.reset("cwmp"))
	if got := k.configuration(); got != want {
		t.Errorf("after the Reset there is\n%s\nnot\n%s", got, want)
	}
	// What is not taken then either fails it, and is told when it can be.
	k.done(k.update(k.row("stays").ID, fake.Spec{Name: "stays", Vendor: "v", Version: "2"}))
	k.done(k.agent.Update(t.Context(), model.UpdateRequest{
		DU: k.row("stays").ID, URL: k.pkg(fake.Spec{Name: "stays", Vendor: "v"}), Limits: memory(0),
	}))
	k.world().Fail("SetUnit", adapter.Errorf(adapter.InUse, "cannot: a test"))
	if j := k.failed(fault.RequestDenied)(k.reset("cwmp")); !strings.Contains(j.Message, "cannot restore the settings of stays") {
		t.Errorf("the message is %s", j.Message)
	}
	k.world().Fail("SetUnit", nil)
	k.wantMemory(k.row("stays"), 1000)
}

func TestResetAgentKilled(t *testing.T) {
	for _, method := range []string{
		"Uninstall", "Update", "Discard", "Install", "SetUnit", "SetInitialModuleRunLevel", "SetAutoStart", "RestoreVersion", "SetEnabled", "SetRunLevel",
	} {
		for _, p := range []fake.Point{fake.Before, fake.After} {
			t.Run(fmt.Sprintf("%s %s", p, method), func(t *testing.T) {
				t.Parallel()
				k, want := diverged(t)
				hit := make(chan struct{})
				var once sync.Once
				k.world().Hook(method, p, func(fake.Call) (err error) {
					once.Do(func() {
						k.cancel()
						err = context.Canceled
						close(hit)
					})
					return err
				})
				job, err := k.reset("cwmp")
				k.ok(err)
				<-hit
				k.restart()
				k.done(job, nil)
				if got := k.configuration(); got != want {
					t.Errorf("the end is\n%s\nnot\n%s", got, want)
				}
			})
		}
	}
}

// TestResetOfARenewedUnit ends the agent while a unit is installed again that was updated before it went.
func TestResetOfARenewedUnit(t *testing.T) {
	k := keep(t, nil)
	du := k.installed(fake.Spec{Name: "a"})
	k.record("usp", "1")
	k.whole(2)
	want := k.configuration()
	k.done(k.update(du.ID, fake.Spec{Name: "a", Version: "2"}))
	k.ok(k.console("e").Remove(du.Key))
	k.until("the unit is missing", func(s *model.Snapshot) error {
		if !s.DeploymentUnit(du.ID).Missing {
			return errors.New("it is not")
		}
		return nil
	})
	hit := make(chan struct{})
	k.world().Hook("Install", fake.After, func(fake.Call) error {
		k.world().Hook("Install", fake.After, nil)
		k.cancel()
		close(hit)
		return context.Canceled
	})
	job, err := k.reset("usp")
	k.ok(err)
	<-hit
	k.restart()
	k.done(job, nil)
	after := k.row("a")
	if after.ID != du.ID {
		t.Errorf("the row is %+v", *after)
	}
	// The environment knows nothing of AutoStart in the new unit before the Reset tells it.
	if got := k.configuration(); got != want {
		t.Errorf("the end is\n%s\nnot\n%s", got, want)
	}
	k.done(k.update(du.ID, fake.Spec{Name: "a", Version: "2"})) // its package and its handle are known
}

func TestRecordBaseline(t *testing.T) {
	k := keep(t, nil)
	k.installed(fake.Spec{Name: "a"})
	k.record("cwmp", "1")
	k.installed(fake.Spec{Name: "b"})
	names := func(kind string, want ...string) {
		t.Helper()
		k.done(k.reset(kind))
		var got []string
		for du := range k.agent.Snapshot().DeploymentUnits() {
			got = append(got, du.Name)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("after the Reset there are %q, not %q", got, want)
		}
	}
	k.record("cwmp", "1") // the same request again
	k.restart()
	k.record("cwmp", "1")
	names("cwmp", "a")
	k.installed(fake.Spec{Name: "b"})
	k.record("cwmp", "2")
	k.installed(fake.Spec{Name: "c"})
	names("cwmp", "a", "b")
	names("usp") // not moved by CWMP's
	names("cwmp", "a", "b")
	_, err := k.reset("tr-64")
	wantReason(t, fault.InvalidArguments, err)
	wantReason(t, fault.InvalidArguments, k.agent.RecordBaseline(t.Context(), "tr-64", ""))
}

func TestFoundUnitsAreRestorable(t *testing.T) {
	log := completions{slog.DiscardHandler, make(chan struct{}, 1)}
	k := keep(t, func(k keeping) {
		k.log = slog.New(log)
		c := k.console("e")
		k.ok(errors.Join(c.Install("good", fake.Spec{Name: "good", Version: "1"}), c.Install("bad", fake.Spec{Name: "bad", Version: "1", ExportFails: "no bundle"}),
			c.InstallSystem("system", fake.Spec{Name: "system", Version: "1"})))
	})
	k.whole(2) // the version, and what could be exported
	<-log.seen
	want := k.row("good").UUID
	k.done(k.uninstall(k.row("good").ID))
	k.restart()
	k.done(k.reset("cwmp"))
	if du := k.row("good"); du.UUID != want || du.Status != model.DUInstalled {
		t.Errorf("the row is %+v", *du)
	}
	k.done(k.uninstall(k.row("good").ID))
	k.done(k.uninstall(k.row("bad").ID))
	j := k.failed(fault.RequestDenied)(k.reset("usp"))
	if !strings.Contains(j.Message, "bad") || !strings.Contains(j.Message, "not restorable") || strings.Contains(j.Message, "good") {
		t.Errorf("the message is %q", j.Message)
	}
	k.row("good")
	k.row("system")
}

// TestBaselineIsCompletedLater is about what could not be had when the baseline was taken.
func TestBaselineIsCompletedLater(t *testing.T) {
	k := keep(t, func(k keeping) {
		k.ok(k.console("e").Install("a", fake.Spec{Name: "a", Version: "1"}))
		k.world().Hook("Export", fake.Before, func(fake.Call) error { return errors.New("a test") })
		k.world().Hook("SaveVersion", fake.Before, func(fake.Call) error { return errors.New("a test") })
	})
	k.eventually("the adapter is asked", func() error {
		if k.world().Count("Export", "") < 2 {
			return errors.New("it is not")
		}
		return nil
	})
	k.kill()
	k.world().Hook("Export", fake.Before, nil)
	k.world().Hook("SaveVersion", fake.Before, nil)
	k.stored(0)
	k.held = true // nothing is known of the adapter when the agent looks
	k.start()
	k.eventually("the environment is looked at", func() error {
		if k.ee("e").Status == model.EEUp {
			return errors.New("it is still shown as before")
		}
		return nil
	})
	k.doubles["fake"].resume()
	k.whole(2)
}

func TestPackagesOfABaselineStay(t *testing.T) {
	k := keep(t, nil)
	k.whole(1) // the version
	du := k.installed(fake.Spec{Name: "a"})
	k.record("cwmp", "1")
	k.whole(2)
	k.done(k.update(du.ID, fake.Spec{Name: "a", Version: "2"}))
	k.whole(3)
	k.done(k.uninstall(du.ID))
	k.whole(2)
	k.restart()
	k.done(k.install(fake.Spec{Name: "b"})) // its end collects
	k.whole(3)
	k.record("cwmp", "2")
	k.done(k.uninstall(k.row("b").ID))
	k.whole(2) // the version and b
	k.record("cwmp", "3")
	k.restart()
	k.whole(1)
}

func TestResetRefused(t *testing.T) {
	k := keep(t, nil)
	du := k.installed(fake.Spec{Name: "a"})
	k.rest(du.ID, model.EUActive)
	t.Run("busy unit", func(t *testing.T) {
		k := k.in(t)
		entered, release := k.world().Block("Uninstall")
		defer release()
		job, err := k.uninstall(du.ID)
		k.ok(err)
		<-entered
		_, err = k.reset("cwmp")
		wantReason(t, fault.InvalidDUState, err)
		release()
		k.done(job, nil)
	})
	t.Run("canceled", func(t *testing.T) {
		k := k.in(t)
		du := k.installed(fake.Spec{Name: "b"})
		before := k.configuration()
		entered, release := k.world().Block("SetEnabled")
		defer release()
		restart, err := k.agent.RestartExecEnv(t.Context(), k.ee("e").Instance, "", model.Origin{Name: "test"})
		k.ok(err)
		<-entered
		job, err := k.reset("cwmp")
		k.ok(err)
		k.ok(k.agent.Cancel(t.Context(), job))
		if j := k.end(job); j.State != model.JobCancelled || j.Fault != fault.Canceled {
			t.Errorf("the job is %+v", *j)
		}
		release()
		k.done(restart, nil)
		if got := k.configuration(); got != before {
			t.Errorf("after it there is\n%s\nnot\n%s", got, before)
		}
		k.done(k.uninstall(du.ID)) // it is not locked
	})
	t.Run("not canceled once it changes something", func(t *testing.T) {
		k := k.in(t)
		k.installed(fake.Spec{Name: "c"})
		entered, release := k.world().Block("Uninstall")
		defer release()
		job, err := k.reset("cwmp")
		k.ok(err)
		<-entered
		wantReason(t, fault.InvalidDUState, k.agent.Cancel(t.Context(), job))
		release()
		k.done(job, nil)
	})
	t.Run("disabled", func(t *testing.T) {
		k := k.in(t)
		k.enable("e", false)
		_, err := k.reset("cwmp")
		wantReason(t, fault.DisabledExecEnv, err)
	})
	t.Run("unknown", func(t *testing.T) {
		_, err := k.agent.ResetExecEnv(t.Context(), 99, "cwmp", model.Origin{Name: "test"})
		wantReason(t, fault.UnknownExecEnv, err)
	})
}

// A baseline that is asked for before an environment has told what it has is that of its first sync: the same token asks for the same.
func TestBaselineBeforeTheFirstSync(t *testing.T) {
	t.Parallel()
	d := prepare(t, levels)
	d.held = true
	d.start()
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "boot 1"))
	_, err := d.agent.ResetExecEnv(t.Context(), d.ee("e").Instance, "cwmp", model.Origin{Name: "test"})
	wantReason(t, fault.RequestDenied, err)
	d.doubles["fake"].resume()
	d.up()
	du := d.installed(fake.Spec{Name: "a"}).ID
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "boot 1"))
	d.done(d.agent.ResetExecEnv(t.Context(), d.ee("e").Instance, "cwmp", model.Origin{Name: "test"}))
	if d.agent.Snapshot().DeploymentUnit(du) != nil {
		t.Error("the same token recorded another baseline")
	}
}

package agent_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

func TestLifeOfAUnit(t *testing.T) {
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			d := start(t, o)
			du := d.installed(fake.Spec{Name: "a", Vendor: "v"})
			if du.Status != model.DUInstalled || du.Version != "1" || !du.Resolved || du.URL == "" || du.Installed.IsZero() || du.DUID == "" {
				t.Errorf("after the install the row is %+v", *du)
			}
			eu := d.rest(du.ID, model.EUActive)
			if !eu.AutoStart || eu.AutoStartPending || eu.EUID != "e/"+du.UUID {
				t.Errorf("after the install the execution unit is %+v", *eu)
			}
			d.stored(1)

			d.done(d.update(du.ID, fake.Spec{Name: "a", Vendor: "v", Version: "2"}))
			after := d.agent.Snapshot().DeploymentUnit(du.ID)
			if after.Version != "2" || after.UUID != du.UUID || after.Alias != du.Alias || after.URL == du.URL || after.Status != model.DUInstalled {
				t.Errorf("after the update the row is %+v", *after)
			}
			again := d.rest(du.ID, model.EUActive)
			if again.ID != eu.ID || again.EUID != eu.EUID || again.Alias != eu.Alias {
				t.Errorf("after the update the execution unit is %+v", *again)
			}
			d.stored(1)

			d.restart()
			d.up()
			d.rest(du.ID, model.EUActive)
			d.done(d.uninstall(du.ID))
			s := d.agent.Snapshot()
			if s.Count(model.KindDeploymentUnit)+s.Count(model.KindExecutionUnit) != 0 || len(d.units("e")) != 0 {
				t.Errorf("after the uninstall there is\n%s%v", dump(s), d.units("e"))
			}
			d.stored(0)
		})
	}
}

// identity is what must not change over updates, restarts and failures.
func identity(s *model.Snapshot, id model.RowID) string {
	du := s.DeploymentUnit(id)
	if du == nil {
		return "gone"
	}
	text := fmt.Sprintf("DU %d %s %s %s %s %s %s missing=%t", du.ID, du.Alias, du.UUID, du.Env, du.Version, du.URL, du.Status, du.Missing)
	for u := range s.ExecutionUnitsOf(id) {
		text += fmt.Sprintf("; EU %d %s %s %s %t %t %s %d", u.ID, u.Alias, u.EUID, u.Module, u.AutoStart, u.AutoStartPending, u.Status, u.RunLevel)
	}
	return text
}

// clean wants that nothing is left of a failed install.
func (d *device) clean() {
	d.t.Helper()
	s := d.until("no row is left", func(s *model.Snapshot) error {
		if n := s.Count(model.KindDeploymentUnit) + s.Count(model.KindExecutionUnit); n > 0 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	if u := d.units("e"); len(u) != 0 {
		d.t.Errorf("the environment has %v\n%s", u, dump(s))
	}
	d.stored(0)
}

func TestInstallFails(t *testing.T) {
	definite := map[adapter.Reason]fault.Reason{
		adapter.Mismatch: fault.DUExecEnvMismatch, adapter.Corrupt: fault.PackageCorrupt, adapter.NoResources: fault.SystemResourcesExceeded,
		adapter.Exists: fault.DuplicateDU, adapter.Unresolved: fault.DependencyUnresolved, adapter.NotSupported: fault.NotSupported,
		adapter.Internal: fault.Internal, adapter.Canceled: fault.DeadlineExceeded, adapter.NotFound: fault.UnknownDU,
		adapter.BadState: fault.InvalidDUState, adapter.InvalidArgument: fault.InvalidArguments, adapter.StillRunning: fault.DeadlineExceeded,
	}
	d := start(t, levels)
	for reason, want := range definite {
		for _, method := range []string{"Inspect", "Install"} {
			t.Run(method+" "+string(reason), func(t *testing.T) {
				d := d.in(t)
				d.worlds["fake"].FailCall(method, 1, adapter.Errorf(reason, "cannot: a test"))
				j := d.failed(want)(d.install(fake.Spec{Name: "a"}))
				if len(j.Objects) != 0 || j.Message == "" {
					t.Errorf("the job is %+v", *j)
				}
				d.clean()
			})
		}
	}
	t.Run("effect done, answer lost", func(t *testing.T) {
		d := d.in(t)
		w := d.worlds["fake"]
		w.Hook("Install", fake.After, func(fake.Call) error { return errors.New("a test") })
		defer w.Hook("Install", fake.After, nil)
		d.failed(fault.Internal)(d.install(fake.Spec{Name: "a"}))
		d.clean()
	})
	t.Run("no name", func(t *testing.T) {
		d := d.in(t)
		p, err := fake.WriteBytes(t.TempDir(), "x", []byte("no package"))
		d.ok(err)
		d.failed(fault.PackageCorrupt)(d.agent.Install(t.Context(), model.InstallRequest{URL: "file://" + p.Path, ExecEnv: "e"}))
		d.clean()
	})
	t.Run("no file", func(t *testing.T) {
		d := d.in(t)
		d.failed(fault.TransferFileUnavailable)(d.agent.Install(t.Context(), model.InstallRequest{URL: "file:///nothing/here"}))
		d.clean()
	})
	t.Run("canceled", func(t *testing.T) {
		d := d.in(t)
		entered, release := d.worlds["fake"].Block("Install")
		defer release()
		job, err := d.install(fake.Spec{Name: "a"})
		d.ok(err)
		<-entered
		d.ok(d.agent.Cancel(t.Context(), job))
		if j := d.end(job); j.State != model.JobCancelled || j.Fault != fault.Canceled {
			t.Errorf("the job is %+v", *j)
		}
		d.clean()
	})
	t.Run("start", func(t *testing.T) { // is no failure of the install
		d := d.in(t)
		j := d.done(d.install(fake.Spec{Name: "a", Modules: []fake.ModuleSpec{{ID: "main", StartFails: "no luck"}}}))
		if !strings.Contains(j.Message, "no luck") {
			t.Errorf("the remark is %q", j.Message)
		}
		du := j.Objects[0].Instance
		if u := d.eu(du); u.Status != model.EUIdle || u.FaultCode != model.FailureOnAutoStart || u.FaultMessage != "no luck" || !u.AutoStart {
			t.Errorf("the execution unit is %+v", *u)
		}
		d.done(d.uninstall(du))
		d.clean()
	})
	t.Run("twice", func(t *testing.T) {
		d := d.in(t)
		du := d.installed(fake.Spec{Name: "a"})
		d.failed(fault.DuplicateDU)(d.install(fake.Spec{Name: "a"}))
		second := d.installed(fake.Spec{Name: "a", Version: "2"})
		if second.UUID != du.UUID || second.Key != du.UUID+"#2" || d.eu(second.ID).EUID != "e/"+du.UUID+"#2" {
			t.Errorf("the second version is %+v", *second)
		}
		d.failed(fault.VersionExists)(d.update(du.ID, fake.Spec{Name: "a", Version: "2"}))
		d.done(d.uninstall(du.ID))
		d.done(d.uninstall(second.ID))
		d.clean()
	})
}

// in returns d for a subtest.
func (d *device) in(t *testing.T) *device {
	x := *d
	x.t = t
	return &x
}

func TestUpdateFails(t *testing.T) {
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a", Modules: []fake.ModuleSpec{{ID: "main"}}})
	d.rest(du.ID, model.EUActive)
	before, world := identity(d.agent.Snapshot(), du.ID), fmt.Sprint(d.units("e"))
	updated := d.agent.Snapshot().DeploymentUnit(du.ID).LastUpdate
	asBefore := func(t *testing.T) {
		t.Helper()
		d := d.in(t)
		d.until("the row is as before", func(s *model.Snapshot) error {
			if now := identity(s, du.ID); now != before {
				return errors.New(now)
			}
			return nil
		})
		if got := d.agent.Snapshot().DeploymentUnit(du.ID).LastUpdate; got != updated {
			t.Errorf("LastUpdate went from %s to %s", updated, got)
		}
		if now := fmt.Sprint(d.units("e")); now != world {
			t.Errorf("the environment has %s, not %s", now, world)
		}
		d.stored(1)
	}
	v2 := fake.Spec{Name: "a", Version: "2"}
	for _, method := range []string{"Inspect", "Update"} {
		for _, reason := range []adapter.Reason{adapter.Mismatch, adapter.Corrupt, adapter.NoResources, adapter.Internal, adapter.Canceled} {
			t.Run(method+" "+string(reason), func(t *testing.T) {
				d := d.in(t)
				d.worlds["fake"].FailCall(method, 1, adapter.Errorf(reason, "cannot: a test"))
				if j := d.end(first(d.update(du.ID, v2))); j.State != model.JobFailed {
					t.Errorf("the job is %+v", *j)
				}
				asBefore(t)
			})
		}
	}
	t.Run("package of another unit", func(t *testing.T) {
		d := d.in(t)
		d.failed(fault.InvalidArguments)(d.update(du.ID, fake.Spec{Name: "b", Version: "2"}))
		asBefore(t)
		// Whoever gave the unit a UUID of his own may call it as he likes.
		own := d.done(d.agent.Install(t.Context(), model.InstallRequest{
			URL: d.pkg(fake.Spec{Name: "mine"}), ExecEnv: "e", UUID: "00000000-0000-4000-8000-000000000001",
		})).Objects[0].Instance
		d.done(d.update(own, fake.Spec{Name: "theirs", Version: "2"}))
		d.done(d.uninstall(own))
		asBefore(t)
	})
	t.Run("inert modules", func(t *testing.T) {
		d := d.in(t)
		lib := d.installed(fake.Spec{Name: "lib", Modules: []fake.ModuleSpec{{ID: "main", Inert: true}}}).ID
		if u := d.eu(lib); u.AutoStart || u.AutoStartPending || u.Status != model.EUIdle {
			t.Errorf("the execution unit is %+v", *u)
		}
		d.done(d.uninstall(lib))
	})
	t.Run("modules stopped", func(t *testing.T) {
		d := d.in(t)
		d.failed(fault.Internal)(d.update(du.ID, fake.Spec{Name: "a", Version: "2", UpdateFails: "no luck"}))
		asBefore(t)
	})
	t.Run("effect done, answer lost", func(t *testing.T) {
		d := d.in(t)
		w := d.worlds["fake"]
		w.Hook("Update", fake.After, func(fake.Call) error { return errors.New("a test") })
		defer w.Hook("Update", fake.After, nil)
		d.failed(fault.Internal)(d.update(du.ID, v2))
		asBefore(t)
	})
	t.Run("revert fails at first", func(t *testing.T) {
		d := d.in(t)
		w := d.worlds["fake"]
		w.Hook("Update", fake.After, func(fake.Call) error { return errors.New("a test") })
		defer w.Hook("Update", fake.After, nil)
		w.FailCall("Revert", 1, adapter.Errorf(adapter.Internal, "cannot: a test"))
		d.failed(fault.Internal)(d.update(du.ID, v2))
		asBefore(t)
	})
	t.Run("gone in the middle", func(t *testing.T) {
		d := d.in(t)
		w := d.worlds["fake"]
		other := d.installed(fake.Spec{Name: "b"})
		c := d.console("e")
		w.Hook("Update", fake.Before, func(fake.Call) error { return c.Remove(other.Key) })
		defer w.Hook("Update", fake.Before, nil)
		d.failed(fault.UnknownDU)(d.update(other.ID, fake.Spec{Name: "b", Version: "2"}))
		if now := d.row("b", gone); now.Status != model.DUInstalled {
			t.Errorf("the row is %+v", *now)
		}
		_, err := d.update(other.ID, fake.Spec{Name: "b", Version: "2"})
		wantReason(t, fault.InvalidDUState, err)
		d.done(d.uninstall(other.ID))
		asBefore(t)
	})
	t.Run("discard", func(t *testing.T) { // is no failure of the update
		d := d.in(t)
		d.worlds["fake"].FailCall("Discard", 1, adapter.Errorf(adapter.Internal, "cannot: a test"))
		d.done(d.update(du.ID, v2))
		d.rest(du.ID, model.EUActive)
		d.stored(1)
	})
}

func first[T any](v T, _ error) T { return v }

func TestUninstallFails(t *testing.T) {
	d := start(t, levels)
	du := d.installed(fake.Spec{Name: "a"})
	d.rest(du.ID, model.EUActive)
	before, world := identity(d.agent.Snapshot(), du.ID), fmt.Sprint(d.units("e"))
	for _, reason := range []adapter.Reason{adapter.BadState, adapter.NotSupported, adapter.Internal, adapter.Canceled} {
		t.Run(string(reason), func(t *testing.T) {
			d := d.in(t)
			d.worlds["fake"].FailCall("Uninstall", 1, adapter.Errorf(reason, "cannot: a test"))
			if j := d.end(first(d.uninstall(du.ID))); j.State != model.JobFailed {
				t.Errorf("the job is %+v", *j)
			}
			if now := identity(d.agent.Snapshot(), du.ID); now != before {
				t.Errorf("the row is %s, not %s", now, before)
			}
			if now := fmt.Sprint(d.units("e")); now != world {
				t.Errorf("the environment has %s, not %s", now, world)
			}
		})
	}
	t.Run("stopped by it", func(t *testing.T) {
		d := d.in(t)
		c := d.console("e")
		w := d.worlds["fake"]
		w.Hook("Uninstall", fake.Before, func(fake.Call) error {
			return errors.Join(c.Stop(du.Key, "main"), errors.New("a test"))
		})
		defer w.Hook("Uninstall", fake.Before, nil)
		d.failed(fault.Internal)(d.uninstall(du.ID))
		d.rest(du.ID, model.EUActive)
		if now := identity(d.agent.Snapshot(), du.ID); now != before {
			t.Errorf("the row is %s, not %s", now, before)
		}
	})
	t.Run("effect done, answer lost", func(t *testing.T) {
		d := d.in(t)
		w := d.worlds["fake"]
		w.Hook("Uninstall", fake.After, func(fake.Call) error { return errors.New("a test") })
		d.failed(fault.Internal)(d.uninstall(du.ID))
		w.Hook("Uninstall", fake.After, nil)
		if now := d.row("a", gone); now.Status != model.DUInstalled || now.Resolved {
			t.Errorf("the row is %+v", *now)
		}
		d.done(d.uninstall(du.ID))
		d.clean()
	})
	t.Run("too late to cancel", func(t *testing.T) { // the environment goes on with what it has begun
		d := d.in(t)
		du := d.installed(fake.Spec{Name: "c"})
		entered, release := d.worlds["fake"].Block("Uninstall")
		defer release()
		job, err := d.uninstall(du.ID)
		d.ok(err)
		<-entered
		wantReason(t, fault.InvalidDUState, d.agent.Cancel(t.Context(), job))
		release()
		d.done(job, nil)
		d.clean()
	})
	t.Run("canceled before its turn", func(t *testing.T) {
		d := d.in(t)
		du := d.installed(fake.Spec{Name: "c"})
		d.rest(du.ID, model.EUActive)
		entered, release := d.worlds["fake"].Block("Stop")
		defer release()
		stop, err := d.request(d.eu(du.ID).ID, model.RequestIdle)
		d.ok(err)
		<-entered
		job, err := d.uninstall(du.ID)
		d.ok(err)
		d.ok(d.agent.Cancel(t.Context(), job))
		if j := d.end(job); j.State != model.JobCancelled || j.Fault != fault.Canceled {
			t.Errorf("the job is %+v", *j)
		}
		release()
		d.done(stop, nil)
		d.done(d.uninstall(du.ID))
		d.clean()
	})
	t.Run("pending", func(t *testing.T) {
		d := d.in(t)
		du := d.installed(fake.Spec{Name: "p", UninstallPending: true})
		if j := d.done(d.uninstall(du.ID)); !strings.Contains(j.Message, "restart") {
			t.Errorf("the remark is %q", j.Message)
		}
		d.clean()
	})
	t.Run("part of the environment", func(t *testing.T) {
		d := prepare(t, levels)
		d.ok(d.console("e").InstallSystem("system", fake.Spec{Name: "s", Version: "1"}))
		d.start()
		s := d.up()
		for du := range s.DeploymentUnits() {
			_, err := d.uninstall(du.ID)
			wantReason(t, fault.RequestDenied, err)
			_, err = d.update(du.ID, fake.Spec{Name: "s", Version: "2"})
			wantReason(t, fault.NotSupported, err)
		}
	})
}

// TestModuleVersion: what a controller calls the version stays until it is called something else.
func TestModuleVersion(t *testing.T) {
	d := start(t, plain)
	label := func(id model.RowID) string { return d.agent.Snapshot().DeploymentUnit(id).ModuleVersion }
	j := d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a", Vendor: "v"}), ExecEnv: "e", ModuleVersion: "blue"}))
	du := j.Objects[0].Instance
	eu := d.eu(du)
	if got := label(du); got != "blue" || eu.Created.IsZero() {
		t.Errorf("after the install: ModuleVersion %q, the execution unit made at %v", got, eu.Created)
	}
	d.done(d.update(du, fake.Spec{Name: "a", Vendor: "v", Version: "2"}))
	if got := label(du); got != "blue" || !d.eu(du).Created.Equal(eu.Created) {
		t.Errorf("after an update without one: %q; the execution unit was made at %v, and now at %v", got, eu.Created, d.eu(du).Created)
	}
	green, long := "green", strings.Repeat("x", 33)
	d.done(d.agent.Update(t.Context(), model.UpdateRequest{DU: du, URL: d.pkg(fake.Spec{Name: "a", Vendor: "v", Version: "3"}), ModuleVersion: &green}))
	d.restart()
	if got := label(du); got != "green" {
		t.Errorf("after an update and a restart of the agent: %q", got)
	}
	_, err := d.agent.Install(t.Context(), model.InstallRequest{URL: "http://h/x", ModuleVersion: long})
	wantReason(t, fault.InvalidArguments, err)
	_, err = d.agent.Update(t.Context(), model.UpdateRequest{DU: du, ModuleVersion: &long})
	wantReason(t, fault.InvalidArguments, err)
}

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// factory is a unit that somebody else installs at the place factoryKey.
var factory = fake.Spec{Name: "factory", Vendor: "v", Version: "1", Description: "as delivered"}

const factoryKey = "some/place"

// next is the version to which it is updated.
func next(change func(*fake.Spec)) fake.Spec {
	s := fake.Spec{Name: factory.Name, Vendor: factory.Vendor, Version: "2"}
	if change != nil {
		change(&s)
	}
	return s
}

// found returns a device on which factory runs. It came after the first baselines, so nobody has exported it yet.
func found(t *testing.T) (keeping, *model.DeploymentUnit) {
	t.Helper()
	k := keep(t, nil)
	k.whole(1) // the version of the environment
	c := k.console("e")
	k.ok(c.Install(factoryKey, factory))
	du := k.device.row(factory.Name, there)
	k.ok(c.Start(factoryKey, "main"))
	k.rest(du.ID, model.EUActive)
	return k, du
}

// has waits until the World has factory at a version, Active, and the row says the same. It returns what the World has of it.
func (k keeping) has(id model.RowID, version string) fake.Spec {
	k.t.Helper()
	var spec fake.Spec
	k.until("factory "+version+" runs", func(s *model.Snapshot) error {
		state, err := k.world().State()
		if err != nil {
			return err
		}
		u := state.Envs["e"].Units[factoryKey]
		if u == nil || u.Present.Spec.Version != version || u.Modules[0].Status != adapter.Active {
			return fmt.Errorf("the environment has %+v", u)
		}
		spec = u.Present.Spec
		du := s.DeploymentUnit(id)
		if du == nil || du.Version != version || du.Status != model.DUInstalled || du.Key != factoryKey {
			return fmt.Errorf("the row is %+v", du)
		}
		return nil
	})
	k.eventually("adapters leave nothing", func() error { // the keeper of baselines may be at it again after a restart
		left, err := os.ReadDir(filepath.Join(k.cfg.Agent.StateDir, "exports"))
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("there is %v", left)
		}
		return err
	})
	return spec
}

// spec returns what the World has of factory.
func (k keeping) spec() fake.Spec {
	k.t.Helper()
	state, err := k.world().State()
	k.ok(err)
	return state.Envs["e"].Units[factoryKey].Present.Spec
}

func (k keeping) exports() int { return k.world().Count("Export", "") }

func TestFoundUnitIsUpdated(t *testing.T) {
	k, du := found(t)
	_, err := k.agent.Update(t.Context(), model.UpdateRequest{DU: du.ID})
	wantReason(t, fault.InvalidArguments, err) // it never had a URL
	k.done(k.update(du.ID, next(nil)))
	k.has(du.ID, "2")
	after := k.agent.Snapshot().DeploymentUnit(du.ID)
	if after.UUID != du.UUID || after.Alias != du.Alias || after.URL == "" || after.Installed != du.Installed {
		t.Errorf("after the update the row is %+v, was %+v", *after, *du)
	}
	k.stored(2) // the version of the environment and the new package: the old one is of no use any more
	k.done(k.update(du.ID, next(func(s *fake.Spec) { s.Version = "3" })))
	k.has(du.ID, "3")
	if n := k.exports(); n != 1 {
		t.Errorf("it was exported %d times", n)
	}
	k.stored(2)
	k.done(k.uninstall(du.ID))
	k.stored(1)
}

func TestFoundUnitUpdateFails(t *testing.T) {
	k, du := found(t)
	before, spec := identity(k.agent.Snapshot(), du.ID), k.spec()
	asBefore := func(t *testing.T, k keeping) {
		t.Helper()
		if now := k.has(du.ID, "1"); !reflect.DeepEqual(now, spec) {
			t.Errorf("the environment has %+v, not %+v", now, spec)
		}
		if now := identity(k.agent.Snapshot(), du.ID); now != before {
			t.Errorf("the row is %s, not %s", now, before)
		}
		if n := k.exports(); n != 1 {
			t.Errorf("it was exported %d times", n)
		}
		k.stored(2) // the version of the environment and the package that was exported
	}
	t.Run("with modules stopped", func(t *testing.T) {
		k := k.in(t)
		k.failed(fault.Internal)(k.update(du.ID, next(func(s *fake.Spec) { s.UpdateFails = "no luck" })))
		asBefore(t, k)
	})
	t.Run("effect done, answer lost", func(t *testing.T) {
		k := k.in(t)
		k.world().Hook("Update", fake.After, func(fake.Call) error { return errors.New("a test") })
		defer k.world().Hook("Update", fake.After, nil)
		k.failed(fault.Internal)(k.update(du.ID, next(nil)))
		asBefore(t, k)
	})
	t.Run("packages collected meanwhile", func(t *testing.T) {
		k := k.in(t)
		entered, release := k.world().Block("Update")
		defer release()
		job, err := k.update(du.ID, next(func(s *fake.Spec) { s.UpdateFails = "no luck" }))
		k.ok(err)
		<-entered
		k.failed(fault.TransferFileUnavailable)(k.agent.Install(t.Context(), model.InstallRequest{URL: "file:///nothing/here"}))
		release()
		k.failed(fault.Internal)(job, nil)
		asBefore(t, k)
	})
	k.restart() // the package is known to the next agent
	k.done(k.update(du.ID, next(nil)))
	k.has(du.ID, "2")
	if n := k.exports(); n != 1 {
		t.Errorf("it was exported %d times", n)
	}
}

func TestFoundUnitCannotBeExported(t *testing.T) {
	t.Run("not this one", func(t *testing.T) {
		k := keep(t, nil)
		s := factory
		s.ExportFails = "it was installed by reference"
		k.ok(k.console("e").Install(factoryKey, s))
		du := k.device.row(s.Name, there)
		k.ok(k.console("e").Start(factoryKey, "main"))
		k.rest(du.ID, model.EUActive)
		before, n := identity(k.agent.Snapshot(), du.ID), len(k.world().Calls())
		j := k.failed(fault.NotSupported)(k.update(du.ID, next(nil)))
		if !strings.Contains(j.Message, s.ExportFails) {
			t.Errorf("the message does not say why: %s", j.Message)
		}
		if calls := k.since(n); len(calls) > 0 {
			t.Errorf("the environment was touched: %q", calls)
		}
		if now := identity(k.agent.Snapshot(), du.ID); now != before {
			t.Errorf("the row is %s, not %s", now, before)
		}
		k.stored(1)
	})
	t.Run("none", func(t *testing.T) {
		d := start(t, levels)
		d.ok(d.console("e").Install(factoryKey, factory))
		du := d.row(factory.Name, there)
		_, err := d.update(du.ID, next(nil))
		wantReason(t, fault.NotSupported, err)

		// The same when nothing is known of the adapter yet.
		d.kill()
		d.held = true
		d.start()
		job, err := d.update(du.ID, next(nil))
		d.ok(err)
		d.doubles["fake"].resume()
		d.failed(fault.NotSupported)(job, nil)
		d.row(factory.Name, there)
	})
	t.Run("for a while", func(t *testing.T) {
		k, du := found(t)
		k.world().FailCall("Export", 1, adapter.Errorf(adapter.NoResources, "cannot: a test"))
		k.failed(fault.SystemResourcesExceeded)(k.update(du.ID, next(nil)))
		k.has(du.ID, "1")
		k.stored(1)
		k.done(k.update(du.ID, next(nil)))
		k.has(du.ID, "2")
	})
	t.Run("changed in the middle", func(t *testing.T) {
		k, du := found(t)
		k.world().Hook("Export", fake.After, func(fake.Call) error {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			feed := k.agent.Feed(ctx)
			if err := k.console("e").Update(factoryKey, next(func(s *fake.Spec) { s.Version = "1.5" })); err != nil {
				return err
			}
			for c := range feed {
				for u := range c.Snapshot.ExecutionUnitsOf(du.ID) {
					if u.Status == model.EUIdle {
						return nil // the news is there
					}
				}
			}
			return ctx.Err()
		})
		k.failed(fault.InvalidDUState)(k.update(du.ID, next(nil)))
		k.world().Hook("Export", fake.After, nil)
		k.ok(k.console("e").Start(factoryKey, "main"))
		k.has(du.ID, "1.5")
		k.done(k.update(du.ID, next(nil)))
		k.has(du.ID, "2")
	})
}

// updateOfFound runs an update of factory in which the agent, or its adapter, ends at a call, and wants the end of an undisturbed one.
func updateOfFound(t *testing.T, calls []string, to fake.Spec, version string, happens func(keeping) error, after func(keeping)) {
	for _, method := range calls {
		for _, p := range []fake.Point{fake.Before, fake.After} {
			t.Run(fmt.Sprintf("%s %s", p, method), func(t *testing.T) {
				t.Parallel()
				k, du := found(t)
				hit := make(chan struct{})
				var once sync.Once
				k.world().Hook(method, p, func(fake.Call) (err error) {
					once.Do(func() {
						err = happens(k)
						close(hit)
					})
					return err
				})
				job, err := k.update(du.ID, to)
				k.ok(err)
				<-hit
				after(k)
				j := k.end(job)
				if want := map[string]model.JobState{"1": model.JobFailed, "2": model.JobDone}[version]; j.State != want {
					t.Errorf("the job is %+v", *j)
				}
				k.has(du.ID, version)
				k.stored(2) // the version of the environment and the present package
				k.done(k.update(du.ID, next(func(s *fake.Spec) { s.Version = "3" })))
				k.has(du.ID, "3")
			})
		}
	}
}

func TestFoundUnitUpdateDisturbed(t *testing.T) {
	for name, c := range map[string]struct {
		to      fake.Spec
		version string
		calls   []string
	}{
		"done":   {next(nil), "2", []string{"Inspect", "Export", "Update", "Start", "Discard"}},
		"failed": {next(func(s *fake.Spec) { s.UpdateFails = "a test" }), "1", []string{"Export", "Update", "Revert", "Start"}},
	} {
		t.Run(name+", agent killed", func(t *testing.T) {
			updateOfFound(t, c.calls, c.to, c.version, func(k keeping) error {
				k.cancel()
				return context.Canceled
			}, keeping.restart)
		})
		t.Run(name+", adapter killed", func(t *testing.T) {
			updateOfFound(t, c.calls, c.to, c.version, func(k keeping) error {
				k.doubles["fake"].crash(false)
				return adapter.Errorf(adapter.Unavailable, "cannot: the adapter is gone")
			}, func(keeping) {})
		})
	}
}

func TestFoundUnitCanceled(t *testing.T) {
	k, du := found(t)
	entered, release := k.world().Block("Export")
	defer release()
	job, err := k.update(du.ID, next(nil))
	k.ok(err)
	<-entered
	k.ok(k.agent.Cancel(t.Context(), job))
	if j := k.end(job); j.State != model.JobCancelled || j.Fault != fault.Canceled {
		t.Errorf("the job is %+v", *j)
	}
	release()
	k.has(du.ID, "1")
	k.stored(1)
}

// TestFoundUnitReset is about a unit that was there before the agent: its baseline and its update share one export.
func TestFoundUnitReset(t *testing.T) {
	k := keep(t, func(k keeping) { k.ok(k.console("e").Install(factoryKey, factory)) })
	k.whole(2) // the version and the unit
	du := k.row(factory.Name)
	want, spec := k.configuration(), k.spec()
	k.done(k.update(du.ID, next(nil)))
	k.whole(3)
	k.done(k.reset("cwmp"))
	if got := k.configuration(); got != want {
		t.Errorf("after the Reset there is\n%s\nnot\n%s", got, want)
	}
	if got := k.spec(); !reflect.DeepEqual(got, spec) {
		t.Errorf("after the Reset the environment has %+v, not %+v", got, spec)
	}
	if now := k.row(factory.Name); now.URL != "" || now.ID != du.ID {
		t.Errorf("after the Reset the row is %+v", *now)
	}
	k.done(k.update(du.ID, next(nil)))
	k.record("usp", "1")
	k.done(k.update(du.ID, next(func(s *fake.Spec) { s.Version = "3" })))
	k.done(k.reset("usp"))
	if now := k.spec(); now.Version != "2" {
		t.Errorf("after the Reset to a later baseline the environment has %+v", now)
	}
	k.done(k.reset("cwmp"))
	if got := k.configuration(); got != want {
		t.Errorf("after the second Reset there is\n%s\nnot\n%s", got, want)
	}
	if n := k.exports(); n != 1 {
		t.Errorf("it was exported %d times", n)
	}
}

// changed returns a device with a unit that the agent installed at version 1 and somebody else updated to 1.5 at the console.
func changed(t *testing.T) (keeping, *model.DeploymentUnit, fake.Spec) {
	t.Helper()
	k := keep(t, nil)
	k.whole(1)
	du := k.installed(factory)
	k.rest(du.ID, model.EUActive)
	k.record("cwmp", "1")
	theirs := next(func(s *fake.Spec) { s.Version, s.Description = "1.5", "somebody else's" })
	k.ok(k.console("e").Update(du.Key, theirs))
	du = k.device.row(factory.Name, func(du *model.DeploymentUnit) error {
		if du.Version != "1.5" {
			return fmt.Errorf("it is %+v", *du)
		}
		return nil
	})
	return k, du, theirs
}

func (k keeping) version(key string) string {
	k.t.Helper()
	state, err := k.world().State()
	k.ok(err)
	return state.Envs["e"].Units[key].Present.Spec.Version
}

func TestUnitChangedAtTheConsole(t *testing.T) {
	t.Run("a failed update goes back to it", func(t *testing.T) {
		k, du, _ := changed(t)
		url := du.URL
		k.world().Hook("Update", fake.After, func(fake.Call) error { return errors.New("a test") })
		k.failed(fault.Internal)(k.update(du.ID, next(nil)))
		k.world().Hook("Update", fake.After, nil)
		if got := k.version(du.Key); got != "1.5" {
			t.Errorf("after the failed update the environment has version %s", got)
		}
		now := k.device.row(factory.Name, there)
		if now.Version != "1.5" || now.URL != url || now.URL == "" {
			t.Errorf("after the failed update the row is %+v", *now)
		}
		// An update without a URL brings what the last one brought.
		k.done(k.agent.Update(t.Context(), model.UpdateRequest{DU: du.ID}))
		if got := k.version(du.Key); got != "1" {
			t.Errorf("after the update the environment has version %s", got)
		}
	})
	t.Run("while the agent is away", func(t *testing.T) {
		k := keep(t, nil)
		du := k.installed(factory)
		k.kill()
		k.ok(k.console("e").Update(du.Key, next(func(s *fake.Spec) { s.Version = "1.5" })))
		k.start()
		k.up()
		k.failed(fault.Internal)(k.update(du.ID, next(func(s *fake.Spec) { s.UpdateFails = "no luck" })))
		if got := k.version(du.Key); got != "1.5" {
			t.Errorf("after the failed update the environment has version %s", got)
		}
	})
	t.Run("during the download", func(t *testing.T) {
		k := keep(t, nil)
		du := k.installed(factory)
		k.world().Hook("Inspect", fake.After, func(fake.Call) error {
			if err := k.console("e").Update(du.Key, next(func(s *fake.Spec) { s.Version = "1.5" })); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			for c := range k.agent.Feed(ctx) { // what comes after the download knows of it
				if c.Snapshot.DeploymentUnit(du.ID).Version == "1.5" {
					return nil
				}
			}
			return errors.New("the agent was not told")
		})
		k.failed(fault.Internal)(k.update(du.ID, next(func(s *fake.Spec) { s.UpdateFails = "no luck" })))
		k.until("the row tells what is there", func(s *model.Snapshot) error {
			if now := s.DeploymentUnit(du.ID); k.version(du.Key) != "1.5" || now.Version != "1.5" || now.Status != model.DUInstalled {
				return fmt.Errorf("it is %+v, the environment has %s", *now, k.version(du.Key))
			}
			return nil
		})
	})
	t.Run("Reset", func(t *testing.T) {
		k, du, _ := changed(t)
		k.done(k.reset("cwmp"))
		if now := k.row(factory.Name); k.version(du.Key) != "1" || now.Version != "1" || now.ID != du.ID || now.Alias != du.Alias {
			t.Errorf("after the Reset the row is %+v, the environment has version %s", *now, k.version(du.Key))
		}
		k.done(k.update(du.ID, next(nil)))
	})
	t.Run("baseline of it", func(t *testing.T) {
		k, du, theirs := changed(t)
		k.record("cwmp", "2")
		k.whole(3) // the version, their package, and ours, which goes after the next operation
		k.done(k.update(du.ID, next(nil)))
		k.done(k.reset("cwmp"))
		state, err := k.world().State()
		k.ok(err)
		if got := state.Envs["e"].Units[du.Key].Present.Spec; got.Version != theirs.Version || got.Description != theirs.Description {
			t.Errorf("after the Reset the environment has %+v, not %+v", got, theirs)
		}
		if now := k.row(factory.Name); now.Version != "1.5" || now.ID != du.ID {
			t.Errorf("after the Reset the row is %+v", *now)
		}
	})
	t.Run("no export", func(t *testing.T) {
		d := start(t, levels)
		du := d.installed(factory)
		d.rest(du.ID, model.EUActive)
		is := func(version string) {
			t.Helper()
			d.row(factory.Name, func(du *model.DeploymentUnit) error {
				if du.Version != version {
					return fmt.Errorf("it is %+v", *du)
				}
				return nil
			})
		}
		d.ok(d.console("e").Update(du.Key, next(func(s *fake.Spec) { s.Version = "1.5" })))
		is("1.5")
		_, err := d.update(du.ID, next(nil))
		wantReason(t, fault.NotSupported, err)
		d.ok(d.console("e").Update(du.Key, factory)) // what the agent has brought is there again
		is("1")
		d.done(d.update(du.ID, next(nil)))
	})
}

// TestLeftExports is about what an agent leaves that was killed while an adapter wrote a file.
func TestLeftExports(t *testing.T) {
	k := keep(t, nil)
	k.kill()
	dir := filepath.Join(k.cfg.Agent.StateDir, "exports", "export-1")
	k.ok(os.MkdirAll(dir, 0o700))
	k.ok(os.WriteFile(filepath.Join(dir, "package"), []byte("half a pack"), 0o600))
	spool := filepath.Join(k.cfg.Agent.StateDir, "packages", "spool", "export-1.part")
	k.ok(os.WriteFile(spool, []byte("half a pack"), 0o600))
	k.start()
	k.up()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
	k.stored(1)
	// Not the whole spool is looked at: the export for the other baseline may be at work.
	if _, err := os.Stat(spool); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file in the spool is left: %v", err)
	}
}

package fake_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// modulesWhen changes what Watch tells of every module.
func modulesWhen(f func(key string, m *adapter.Module)) func(adapter.Event) []adapter.Event {
	return func(ev adapter.Event) []adapter.Event {
		if ev.Unit != nil {
			for i := range ev.Unit.Modules {
				f(ev.Unit.Key, &ev.Unit.Modules[i])
			}
		}
		return []adapter.Event{ev}
	}
}

// others calls f for the other modules of the unit of m.
func (w *wrong) others(m adapter.ModuleRef, f func(key, module string) error) error {
	s, err := w.w.State()
	if err != nil {
		return err
	}
	for _, x := range s.Envs[m.Env].Units[m.Key].Modules {
		if x.ID != m.Module {
			err = errors.Join(err, f(m.Key, x.ID))
		}
	}
	return err
}

// litter leaves something in an environment that no Watch tells of.
func (w *wrong) litter(env string) error {
	c := w.console(env)
	return errors.Join(c.Install("litter", fake.Spec{Name: "litter", Version: "1", UninstallPending: true}), c.Remove("litter"))
}

// generations makes the IDs of modules those of the generation of their unit.
func generations(w *wrong) {
	number := func(env, key string) string {
		s, err := w.w.State()
		if err != nil || s.Envs[env].Units[key] == nil {
			return "@?"
		}
		return "@" + s.Envs[env].Units[key].Present.Spec.Version
	}
	rename := func(u *adapter.Unit) {
		for i := range u.Modules {
			u.Modules[i].ID += number(u.Env, u.Key)
		}
	}
	renamed := func(u adapter.Unit, err error) (adapter.Unit, error) {
		rename(&u)
		return u, err
	}
	present := func(m adapter.ModuleRef) adapter.ModuleRef {
		if id, is := strings.CutSuffix(m.Module, number(m.Env, m.Key)); is {
			m.Module = id
		}
		return m
	}
	w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
		if ev.Unit != nil {
			rename(ev.Unit)
		}
		return []adapter.Event{ev}
	})
	w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
		return renamed(w.Adapter.Install(ctx, op, s))
	}
	w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
		return renamed(w.Adapter.Update(ctx, op, u, old, next))
	}
	w.revert = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
		return renamed(w.Adapter.Revert(ctx, op, u, old))
	}
	w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
		return w.Adapter.Start(ctx, op, present(m), o)
	}
	w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
		return w.Adapter.Stop(ctx, op, present(m))
	}
}

// TestKitFindsWrongModules is [TestKitFindsWrongAdapters] for several modules in a unit.
func TestKitFindsWrongModules(t *testing.T) {
	const (
		separately = "Start/modules of one unit start and stop separately"
		alone      = "Start/module that fails leaves the others of its unit alone"
		comeAndGo  = "Update/modules come and go, those that stay keep their IDs"
	)
	findsWrong(t, variants["everything"], []wrongAdapter{
		{"Start starts the unit", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				return errors.Join(w.Adapter.Start(ctx, op, m, o), w.others(m, w.console(m.Env).Start))
			}
		}, []string{separately}},
		{"Stop stops the unit", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				return errors.Join(w.Adapter.Stop(ctx, op, m), w.others(m, w.console(m.Env).Stop))
			}
		}, []string{separately}},
		{"Stop restarts the others", func(w *wrong) {
			// The processes are not told by the fake: the launch is.
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				c, err := w.console(m.Env), w.Adapter.Stop(ctx, op, m)
				return errors.Join(err, c.Lose("restarted"), c.Launch(), w.others(m, c.Start))
			}
		}, []string{separately}},
		{"a start that fails stops the unit", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				err := w.Adapter.Start(ctx, op, m, o)
				if err != nil {
					_ = w.others(m, w.console(m.Env).Stop)
				}
				return err
			}
		}, []string{alone}},
		{"a start that fails is that of the unit", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Unit != nil && slices.ContainsFunc(ev.Unit.Modules, func(m adapter.Module) bool { return m.Reason != "" }) {
					for i := range ev.Unit.Modules {
						ev.Unit.Modules[i].Reason = adapter.StartFailed
					}
				}
				return []adapter.Event{ev}
			})
		}, []string{alone}},
		{"a stop ends the fault of the unit", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				err := w.Adapter.Stop(ctx, op, m)
				s, e := w.w.State()
				if e == nil {
					e = w.console(m.Env).Update(m.Key, s.Envs[m.Env].Units[m.Key].Present.Spec)
				}
				return errors.Join(err, e)
			}
		}, []string{alone}},
		{"the IDs of modules are those of a generation", generations, []string{comeAndGo, "Update/same module keeps its ID"}},
		{"Watch keeps modules that went", func(w *wrong) {
			var mu sync.Mutex // the watch of before may not have ended yet
			kept := map[string]adapter.Module{}
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				mu.Lock()
				defer mu.Unlock()
				if ev.Unit != nil {
					for _, m := range ev.Unit.Modules {
						kept[m.ID] = m
					}
					ev.Unit.Modules = nil
					for _, m := range kept {
						ev.Unit.Modules = append(ev.Unit.Modules, m)
					}
				}
				return []adapter.Event{ev}
			})
		}, []string{comeAndGo}},
		{"modules that went can be started", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				if err := w.Adapter.Start(ctx, op, m, o); adapter.ReasonOf(err) != adapter.NotFound {
					return err
				}
				return nil
			}
		}, []string{comeAndGo, "Uninstall/stops and removes a unit with several modules"}},
		{"Uninstall takes what runs for removed", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				if s, err := w.w.State(); err == nil && len(s.Envs[u.Env].Units[u.Key].Modules) > 1 {
					return adapter.UninstallResult{Pending: true}, nil
				}
				return w.Adapter.Uninstall(ctx, op, u)
			}
		}, []string{"Uninstall/stops and removes a unit with several modules"}},
		{"SetEnabled ends the first module of a unit", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				before, err := w.w.State()
				if err = errors.Join(err, w.Adapter.SetEnabled(ctx, op, env, on, first)); err != nil || on {
					return err
				}
				for key, u := range before.Envs[env].Units {
					for _, m := range u.Modules[1:] {
						if m.Status == adapter.Active {
							err = errors.Join(err, w.console(env).SetAutoStart(key, m.ID, true))
						}
					}
				}
				return err
			}
		}, []string{"SetEnabled/ends all modules of a unit"}},
	})
}

// TestKitFindsWrongEnds is [TestKitFindsWrongAdapters] for modules that end by themselves, or cannot be ended.
func TestKitFindsWrongEnds(t *testing.T) {
	const (
		good     = "Watch/module that ends in good order is Idle without a Reason"
		status   = "Watch/module that ends with an exit status failed while it was active"
		signal   = "Watch/module that a signal ends failed while it was active"
		restarts = "Watch/module that the environment starts again is told as it is"
		later    = "Stop/module that waits to be started again is Idle"
		done     = "Start/module whose work is done at once is Idle without a Reason"
		limits   = "Watch/module that exceeds the limits fails, the others go on"
		noRoom   = "Install/package that there is no room for is NoResources and leaves nothing"
		noRoomUp = "Update/package that there is no room for is NoResources and leaves the unit as before"
		never    = "Install/module that can never be started says so, the unit is there"
		force    = "Stop/module that ignores it is ended by force"
		forceAll = "SetEnabled/ends a module that ignores its stop"
	)
	told := func(f func(key string, m *adapter.Module)) func(w *wrong) {
		return func(w *wrong) { w.watch = w.filtered(modulesWhen(f)) }
	}
	noResources := func(err error) error {
		if adapter.ReasonOf(err) == adapter.NoResources {
			return adapter.Errorf(adapter.Internal, "%v", err)
		}
		return err
	}
	findsWrong(t, variants["everything"], []wrongAdapter{
		{"an end is not told", told(func(_ string, m *adapter.Module) {
			if m.ExitCode != nil {
				m.Status, m.Reason, m.Message, m.ExitCode = adapter.Active, "", "", nil
			}
		}), []string{good, status, signal, restarts, later, limits}},
		{"an end has no reason", told(func(_ string, m *adapter.Module) {
			if m.Reason == adapter.FailedWhileActive {
				m.Reason, m.Message = "", ""
			}
		}), []string{status, signal, limits}},
		{"an end is a failed start", told(func(_ string, m *adapter.Module) {
			if m.Reason == adapter.FailedWhileActive {
				m.Reason = adapter.StartFailed
			}
		}), []string{status, signal, limits}},
		{"an end has no words", told(func(_ string, m *adapter.Module) { m.Message = "" }), []string{status, signal, limits}},
		{"exit statuses are not told", told(func(_ string, m *adapter.Module) { m.ExitCode = nil }), []string{status}},
		{"exit statuses are 0", told(func(_ string, m *adapter.Module) {
			if m.ExitCode != nil {
				m.ExitCode = new(int)
			}
		}), []string{status, signal}},
		{"exit statuses are 1", told(func(_ string, m *adapter.Module) {
			if m.ExitCode != nil {
				one := 1
				m.ExitCode = &one
			}
		}), []string{good, status, done}},
		{"an end in good order is a failure", told(func(_ string, m *adapter.Module) {
			if m.ExitCode != nil && *m.ExitCode == 0 {
				m.Reason, m.Message = adapter.FailedWhileActive, "it ended"
			}
		}), []string{good, done}},
		{"a new adapter knows nothing of ends", func(w *wrong) {
			first := len(w.w.Calls()) == 0
			w.watch = w.filtered(modulesWhen(func(_ string, m *adapter.Module) {
				if !first {
					m.Reason, m.Message, m.ExitCode = "", "", nil
				}
			}))
		}, []string{status, signal}},
		{"a failure outlives the next start", func(w *wrong) {
			var last atomic.Value
			w.watch = w.filtered(modulesWhen(func(_ string, m *adapter.Module) {
				if m.Reason != "" {
					last.Store(m.Message)
				} else if text := last.Load(); text != nil {
					m.Reason, m.Message = adapter.FailedWhileActive, text.(string)
				}
			}))
		}, []string{status, signal}},
		{"the wait for a restart is not told", told(func(_ string, m *adapter.Module) {
			if m.Status == adapter.Starting {
				m.Status = adapter.Active
			}
		}), []string{restarts, later}},
		{"the wait for a restart is an end", told(func(_ string, m *adapter.Module) {
			if m.Status == adapter.Starting {
				m.Status = adapter.Idle
			}
		}), []string{restarts, later}},
		{"a restart is told with the failure of before", told(func(_ string, m *adapter.Module) {
			if m.ExitCode != nil {
				m.Reason, m.Message = adapter.FailedWhileActive, "it ended"
			}
		}), []string{restarts, good, done}},
		{"a module that waits cannot be stopped", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				if s, err := w.w.State(); err == nil && s.Envs[m.Env].Units[m.Key].Modules[0].Status == adapter.Starting {
					return adapter.Errorf(adapter.BadState, "cannot stop %s: it is starting", m.Module)
				}
				return w.Adapter.Stop(ctx, op, m)
			}
		}, []string{later}},
		{"a module that waits goes on waiting", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				if s, err := w.w.State(); err == nil && s.Envs[m.Env].Units[m.Key].Modules[0].Status == adapter.Starting {
					return nil
				}
				return w.Adapter.Stop(ctx, op, m)
			}
		}, []string{later}},
		{"a start that is over at once failed", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				err := w.Adapter.Start(ctx, op, m, o)
				if s, e := w.w.State(); err == nil && e == nil && s.Envs[m.Env].Units[m.Key].Modules[0].Status != adapter.Active {
					return adapter.Errorf(adapter.StartFailed, "cannot start %s: it is not active", m.Module)
				}
				return err
			}
		}, []string{done}},
		{"what exceeds the limits takes another one with it", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Unit != nil && ev.Unit.Manifest.Name == "greedy" && ev.Unit.Modules[0].ExitCode != nil {
					s, err := w.w.State()
					if err != nil {
						panic(err)
					}
					for key, u := range s.Envs[ev.EnvID].Units {
						if u.Modules[0].Status == adapter.Active {
							if err := w.console(ev.EnvID).Crash(key, u.Modules[0].ID, "boom", 137); err != nil {
								panic(err)
							}
						}
					}
				}
				return []adapter.Event{ev}
			})
		}, []string{limits}},
		{"no room is an internal error", func(w *wrong) {
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				u, err := w.Adapter.Install(ctx, op, s)
				return u, noResources(err)
			}
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				return out, noResources(err)
			}
		}, []string{noRoom, noRoomUp}},
		{"an Update without room takes the unit away", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err != nil {
					_ = w.console(u.Env).Remove(u.Key)
				}
				return out, err
			}
		}, []string{noRoomUp}},
		{"what can never be started says so when it is tried", told(func(_ string, m *adapter.Module) {
			if m.Reason == adapter.Unstartable {
				m.Reason, m.Message = "", ""
			}
		}), []string{never}},
		{"what can never be started is a failed start", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				err := w.Adapter.Start(ctx, op, m, o)
				if adapter.ReasonOf(err) == adapter.Unstartable {
					err = adapter.Errorf(adapter.StartFailed, "%v", err)
				}
				return err
			}
		}, []string{never}},
		{"what can never be started is not installed", func(w *wrong) {
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				u, err := w.Adapter.Install(ctx, op, s)
				if err == nil && u.Modules[0].Reason != "" {
					return u, adapter.Errorf(adapter.Corrupt, "cannot install %s", s.Key)
				}
				return u, err
			}
		}, []string{never}},
		{"an end by force is a stop as any other", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				if err := w.Adapter.Stop(ctx, op, m); adapter.ReasonOf(err) != adapter.StopFailed {
					return err
				}
				return nil
			}
		}, []string{force}},
		{"what ignores its stop goes on", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				err := w.Adapter.Stop(ctx, op, m)
				if adapter.ReasonOf(err) == adapter.StopFailed {
					_ = w.console(m.Env).Start(m.Key, m.Module)
				}
				return err
			}
		}, []string{force}},
		{"what ignores its stop keeps the environment up", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				s, err := w.w.State()
				if err != nil {
					return err
				}
				for _, u := range s.Envs[env].Units {
					if !on && u.Modules[0].Status == adapter.Active {
						return adapter.Errorf(adapter.StopFailed, "cannot end %s: a module runs", env)
					}
				}
				return w.Adapter.SetEnabled(ctx, op, env, on, first)
			}
		}, []string{forceAll}},
		{"Launch is that of the adapter", func(w *wrong) {
			mine := string(rune('a' + len(w.w.Calls())))
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Env != nil && ev.Env.Up {
					ev.Env.Launch += mine
				}
				return []adapter.Event{ev}
			})
		}, []string{"SetEnabled/running environment is found again by a new adapter"}},
	})
}

// TestKitFindsLeavings is [TestKitFindsWrongAdapters] for what units leave behind.
func TestKitFindsLeavings(t *testing.T) {
	findsWrong(t, variants["everything"], []wrongAdapter{
		{"Uninstall leaves something", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				out, err := w.Adapter.Uninstall(ctx, op, u)
				return out, errors.Join(err, w.litter(u.Env))
			}
		}, []string{"Uninstall/leaves nothing behind"}},
		{"an Install that fails leaves something", func(w *wrong) {
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				u, err := w.Adapter.Install(ctx, op, s)
				if err != nil {
					err = errors.Join(err, w.litter(s.Env))
				}
				return u, err
			}
		}, []string{"Install/failure leaves nothing behind"}},
		{"an Update that fails leaves something", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err != nil {
					err = errors.Join(err, w.litter(u.Env))
				}
				return out, err
			}
		}, []string{"Update/failure leaves nothing behind"}},
		{"an Update that fails takes the unit away", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err != nil {
					err = errors.Join(err, w.console(u.Env).Remove(u.Key))
				}
				return out, err
			}
		}, []string{"Update/failure leaves nothing behind"}},
		{"Discard does nothing", func(w *wrong) {
			w.discard = func(context.Context, adapter.OpID, adapter.UnitRef) error { return nil }
		}, []string{"Discard/old generations do not pile up"}},
	})
}

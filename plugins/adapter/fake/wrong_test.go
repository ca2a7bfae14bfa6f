package fake_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// wrong is the fake with one broken promise: whichever function is set replaces the method.
type wrong struct {
	*fake.Adapter
	w         *fake.World
	configure func(ctx context.Context, envs []adapter.EnvConfig) error
	watch     func(ctx context.Context) (<-chan adapter.Event, error)
	install   func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error)
	update    func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error)
	revert    func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error)
	discard   func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) error
	uninstall func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error)
	start     func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error
	stop      func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error
	enable    func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error
	export    func(ctx context.Context, u adapter.UnitRef, path string) error
	save      func(ctx context.Context, env string, path string) error
	restore   func(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error
	autoStart func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, on bool) error
	runLevel  func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, level int) error
	setUnit   func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error
	constrain func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error
}

func (w *wrong) SetUnit(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
	if w.setUnit != nil {
		return w.setUnit(ctx, op, u, s)
	}
	return w.Adapter.SetUnit(ctx, op, u, s)
}

func (w *wrong) Constrain(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
	if w.constrain != nil {
		return w.constrain(ctx, op, env, c, force)
	}
	return w.Adapter.Constrain(ctx, op, env, c, force)
}

func (w *wrong) SetAutoStart(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, on bool) error {
	if w.autoStart != nil {
		return w.autoStart(ctx, op, m, on)
	}
	return w.Adapter.SetAutoStart(ctx, op, m, on)
}

func (w *wrong) SetModuleRunLevel(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, level int) error {
	if w.runLevel != nil {
		return w.runLevel(ctx, op, m, level)
	}
	return w.Adapter.SetModuleRunLevel(ctx, op, m, level)
}

func (w *wrong) Export(ctx context.Context, u adapter.UnitRef, path string) error {
	if w.export != nil {
		return w.export(ctx, u, path)
	}
	return w.Adapter.Export(ctx, u, path)
}

func (w *wrong) SaveVersion(ctx context.Context, env, path string) error {
	if w.save != nil {
		return w.save(ctx, env, path)
	}
	return w.Adapter.SaveVersion(ctx, env, path)
}

func (w *wrong) RestoreVersion(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
	if w.restore != nil {
		return w.restore(ctx, op, env, p)
	}
	return w.Adapter.RestoreVersion(ctx, op, env, p)
}

func (w *wrong) Configure(ctx context.Context, envs []adapter.EnvConfig) error {
	if w.configure != nil {
		return w.configure(ctx, envs)
	}
	return w.Adapter.Configure(ctx, envs)
}

func (w *wrong) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	if w.watch != nil {
		return w.watch(ctx)
	}
	return w.Adapter.Watch(ctx)
}

func (w *wrong) Install(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
	if w.install != nil {
		return w.install(ctx, op, s)
	}
	return w.Adapter.Install(ctx, op, s)
}

func (w *wrong) Update(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
	if w.update != nil {
		return w.update(ctx, op, u, old, next)
	}
	return w.Adapter.Update(ctx, op, u, old, next)
}

func (w *wrong) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	if w.revert != nil {
		return w.revert(ctx, op, u, old)
	}
	return w.Adapter.Revert(ctx, op, u, old)
}

func (w *wrong) Discard(ctx context.Context, op adapter.OpID, u adapter.UnitRef) error {
	if w.discard != nil {
		return w.discard(ctx, op, u)
	}
	return w.Adapter.Discard(ctx, op, u)
}

func (w *wrong) Uninstall(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	if w.uninstall != nil {
		return w.uninstall(ctx, op, u)
	}
	return w.Adapter.Uninstall(ctx, op, u)
}

func (w *wrong) Start(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	if w.start != nil {
		return w.start(ctx, op, m, o)
	}
	return w.Adapter.Start(ctx, op, m, o)
}

func (w *wrong) Stop(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
	if w.stop != nil {
		return w.stop(ctx, op, m)
	}
	return w.Adapter.Stop(ctx, op, m)
}

func (w *wrong) SetEnabled(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
	if w.enable != nil {
		return w.enable(ctx, op, env, on, first)
	}
	return w.Adapter.SetEnabled(ctx, op, env, on, first)
}

// console is the console of an environment that exists.
func (w *wrong) console(env string) fake.Console {
	c, err := w.w.Console(env)
	if err != nil {
		panic(err)
	}
	return c
}

// filtered is a Watch whose events go through f, which returns what to send instead.
func (w *wrong) filtered(f func(adapter.Event) []adapter.Event) func(context.Context) (<-chan adapter.Event, error) {
	return func(ctx context.Context) (<-chan adapter.Event, error) {
		in, err := w.Adapter.Watch(ctx)
		if err != nil {
			return nil, err
		}
		out := make(chan adapter.Event)
		go func() {
			defer close(out)
			for ev := range in {
				for _, ev := range f(ev) {
					select {
					case out <- ev:
					case <-ctx.Done():
					}
				}
			}
		}()
		return out, nil
	}
}

// TestKitFindsWrongAdapters breaks one sentence of the contract at a time and wants the cases of that sentence to fail.
func TestKitFindsWrongAdapters(t *testing.T) {
	findsWrong(t, variants["everything"], []wrongAdapter{
		{"Install forgets the OpID", func(w *wrong) {
			n := 0
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				n++
				return w.Adapter.Install(ctx, op+adapter.OpID(rune('a'+n)), s)
			}
		}, []string{"Install/same OpID again returns the same unit"}},
		{"Install knows OpIDs by heart only", func(w *wrong) {
			mine := map[adapter.OpID]bool{}
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				if st, err := w.w.State(); err == nil && st.Envs[s.Env].Units[s.Key] != nil && !mine[op] {
					return adapter.Unit{}, adapter.Errorf(adapter.Exists, "cannot install %s", s.Key)
				}
				mine[op] = true
				return w.Adapter.Install(ctx, op, s)
			}
		}, []string{"Install/same OpID after a restart of the adapter returns the same unit"}},
		{"Install returns what is there for any OpID", func(w *wrong) {
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				if st, err := w.w.State(); err == nil && st.Envs[s.Env] != nil && st.Envs[s.Env].Units[s.Key] != nil {
					op = st.Envs[s.Env].Units[s.Key].InstallOp
				}
				return w.Adapter.Install(ctx, op, s)
			}
		}, []string{"Install/key that is taken is Exists for another OpID"}},
		{"Install leaves something when it fails", func(w *wrong) {
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				u, err := w.Adapter.Install(ctx, op, s)
				if err != nil {
					err = errors.Join(err, w.console(s.Env).Install(s.Key, fake.Spec{Name: "rest", Version: "0"}))
				}
				return u, err
			}
		}, []string{"Install/damaged package leaves nothing", "Install/failure in the environment leaves nothing"}},
		{"Install starts the unit", func(w *wrong) {
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				u, err := w.Adapter.Install(ctx, op, s)
				if err == nil {
					err = w.console(s.Env).Start(s.Key, fake.DefaultModule)
				}
				return u, err
			}
		}, []string{"Install/makes the unit present and stopped"}},
		{"Install moves the package", func(w *wrong) {
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				u, err := w.Adapter.Install(ctx, op, s)
				return u, errors.Join(err, os.Remove(s.Package.Path))
			}
		}, []string{"Install/package file is read and left alone"}},
		{"Watch says Synced before the units", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				switch {
				case ev.Kind == adapter.EventEnv && ev.Env.Up:
					return []adapter.Event{ev, {Kind: adapter.EventSynced, EnvID: ev.EnvID}}
				case ev.Kind == adapter.EventSynced:
					return nil
				}
				return []adapter.Event{ev}
			})
		}, []string{"Watch/environment that comes up later is sent as Env, units, Synced"}},
		{"Watch does not tell of removals", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Kind == adapter.EventUnitRemoved {
					return nil
				}
				return []adapter.Event{ev}
			})
		}, []string{"Watch/change made by a call is sent", "Uninstall/stops and removes the unit"}},
		{"Watch forgets who asked first", func(w *wrong) {
			w.watch = func(ctx context.Context) (<-chan adapter.Event, error) {
				a := fake.New(w.w)
				context.AfterFunc(ctx, a.Kill)
				if err := a.Configure(ctx, environments(nil, "")); err != nil {
					return nil, err
				}
				return a.Watch(ctx)
			}
		}, []string{"Watch/second Watch closes the first"}},
		{"Watch ends with the adapter only", func(w *wrong) {
			w.watch = func(ctx context.Context) (<-chan adapter.Event, error) {
				return w.Adapter.Watch(context.WithoutCancel(ctx))
			}
		}, []string{"Watch/channel is closed when the context is done"}},
		{"Watch says one Launch for all", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Kind == adapter.EventEnv && ev.Env.Up {
					ev.Env.Launch = "always the same"
				}
				return []adapter.Event{ev}
			})
		}, []string{"SetEnabled/each start of the environment is another Launch"}},
		{"Watch sends units of an environment that is down", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Kind == adapter.EventEnv && !ev.Env.Up {
					return []adapter.Event{ev, {Kind: adapter.EventUnit, EnvID: ev.EnvID, Unit: &adapter.Unit{Env: ev.EnvID, Key: "k"}}}
				}
				return []adapter.Event{ev}
			})
		}, []string{"Configure/launches nothing"}},
		{"Configure takes any setting", func(w *wrong) {
			w.configure = func(ctx context.Context, envs []adapter.EnvConfig) error {
				envs = slices.Clone(envs)
				for i := range envs {
					envs[i].Settings = nil
				}
				return w.Adapter.Configure(ctx, envs)
			}
		}, []string{"Configure/unknown setting names environment and key", "Configure/malformed settings are InvalidArgument"}},
		{"Configure launches", func(w *wrong) {
			w.configure = func(ctx context.Context, envs []adapter.EnvConfig) error {
				return errors.Join(w.Adapter.Configure(ctx, envs), w.console(envs[0].ID).Launch())
			}
		}, []string{"Configure/launches nothing"}},
		{"Update keeps nothing of before", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err == nil {
					err = w.Discard(ctx, op, u)
				}
				return out, err
			}
		}, []string{"Update/handle of before is valid until Discard", "Update/same OpID again returns the same unit"}},
		{"Update resets AutoStart", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err == nil {
					err = w.console(u.Env).SetAutoStart(u.Key, fake.DefaultModule, false)
				}
				return out, err
			}
		}, []string{"Update/AutoStart stays"}},
		{"Update resets run levels", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err == nil {
					err = w.SetModuleRunLevel(ctx, op, theModule(out), 1)
				}
				return out, err
			}
		}, []string{"Update/run levels stay"}},
		{"Revert wants an Update", func(w *wrong) {
			w.revert = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
				if s, err := w.w.State(); err == nil && s.Envs[u.Env].Units[u.Key].UpdateOp == "" {
					return adapter.Unit{}, adapter.Errorf(adapter.BadState, "cannot revert %s: it was not updated", u.Key)
				}
				return w.Adapter.Revert(ctx, op, u, old)
			}
		}, []string{"Revert/succeeds when the Update never happened", "Revert/same OpID again returns the same unit"}},
		{"Uninstall wants a unit", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				if s, err := w.w.State(); err == nil && s.Envs[u.Env].Units[u.Key] == nil {
					return adapter.UninstallResult{}, adapter.Errorf(adapter.NotFound, "cannot find %s", u.Key)
				}
				return w.Adapter.Uninstall(ctx, op, u)
			}
		}, []string{"Uninstall/what is gone succeeds", "Uninstall/what never was there succeeds", "Uninstall/same OpID again succeeds"}},
		{"Uninstall removes what it says it cannot", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				out, err := w.Adapter.Uninstall(ctx, op, u)
				if err != nil {
					err = errors.Join(err, w.console(u.Env).Remove(u.Key))
				}
				return out, err
			}
		}, []string{"Uninstall/failure removes nothing"}},
		{"Start refuses the active", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				if s, err := w.w.State(); err == nil && s.Envs[m.Env].Units[m.Key].Modules[0].Status == adapter.Active {
					return adapter.Errorf(adapter.BadState, "cannot start %s: it is active", m.Key)
				}
				return w.Adapter.Start(ctx, op, m, o)
			}
		}, []string{"Start/active module is no error", "Start/same OpID again is no error"}},
		{"Start does not know Auto", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, _ adapter.StartOptions) error {
				return w.Adapter.Start(ctx, op, m, adapter.StartOptions{})
			}
		}, []string{"Start/failure with Auto is AutoStartFailed", "Start/Persistent starts the module again with its environment"}},
		{"Start loses the reason", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				if err := w.Adapter.Start(ctx, op, m, o); err != nil {
					return errors.New(err.Error())
				}
				return nil
			}
		}, []string{"Start/failure is StartFailed with the environment's words", "Start/missing requirement is Unresolved", "Start/unknown unit or module is NotFound"}},
		{"Start ignores its context", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				return w.Adapter.Start(context.WithoutCancel(ctx), op, m, o)
			}
		}, []string{"Start/call that hangs returns promptly when its context is done"}},
		{"one lock for all environments", func(w *wrong) {
			var mu sync.Mutex
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				mu.Lock()
				defer mu.Unlock()
				return w.Adapter.Start(ctx, op, m, o)
			}
		}, []string{"Start/what hangs delays no other environment", "Start/what hangs delays nothing else in the environment"}},
		{"Stop clears AutoStart", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				return errors.Join(w.Adapter.Stop(ctx, op, m), w.console(m.Env).SetAutoStart(m.Key, m.Module, false))
			}
		}, []string{"Stop/AutoStart stays as it is"}},
		{"Start takes what is stopping for active", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				if err := w.Adapter.Start(ctx, op, m, o); adapter.ReasonOf(err) != adapter.BadState {
					return err
				}
				return nil
			}
		}, []string{"Start/stopping module is BadState"}},
		{"Watch tells the past after the present", func(w *wrong) {
			var held []adapter.Event // the first of two events waits for the next one
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Kind != adapter.EventUnit || len(ev.Unit.Modules) == 0 || ev.Unit.Modules[0].Status != adapter.Active {
					out := append([]adapter.Event{ev}, held...)
					held = nil
					return out
				}
				held = append(held, ev)
				return nil
			})
		}, []string{"Watch/events of an environment keep their order"}},
		{"Stop hides an unclean end", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				if err := w.Adapter.Stop(ctx, op, m); adapter.ReasonOf(err) != adapter.StopFailed {
					return err
				}
				return nil
			}
		}, []string{"Stop/unclean end is StopFailed"}},
		{"SetEnabled launches what runs", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				return errors.Join(w.Adapter.SetEnabled(ctx, op, env, false, nil), w.Adapter.SetEnabled(ctx, op, env, on, first))
			}
		}, []string{"SetEnabled/running environment is not disturbed", "SetEnabled/running environment is found again by a new adapter"}},
		{"SetEnabled forgets what was set first", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, _ []adapter.ModuleSetting) error {
				return w.Adapter.SetEnabled(ctx, op, env, on, nil)
			}
		}, []string{
			"SetEnabled/run level that was set first holds before a module is started", "SetEnabled/AutoStart that was set first holds before a module is started",
		}},
		{"SetEnabled leaves the modules running", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				before, err := w.w.State()
				if err = errors.Join(err, w.Adapter.SetEnabled(ctx, op, env, on, first)); err != nil || on {
					return err
				}
				for key, u := range before.Envs[env].Units {
					if u.Modules[0].Status == adapter.Active {
						err = errors.Join(err, w.console(env).Start(key, u.Modules[0].ID), w.console(env).SetAutoStart(key, u.Modules[0].ID, true))
					}
				}
				return err
			}
		}, []string{"SetEnabled/ends the environment with all its modules"}},
		{"Export gives another generation", func(w *wrong) {
			w.export = func(ctx context.Context, u adapter.UnitRef, path string) error {
				err := w.Adapter.Export(ctx, u, path)
				if s, e := w.w.State(); err == nil && e == nil && len(s.Envs[u.Env].Units[u.Key].Kept) > 0 {
					_, err = fake.WriteBytes(filepath.Dir(path), filepath.Base(path), encoded(s.Envs[u.Env].Units[u.Key].Kept[0].Spec))
				}
				return err
			}
		}, []string{"Export/is the present generation"}},
		{"Export gives another package", func(w *wrong) {
			w.export = func(ctx context.Context, u adapter.UnitRef, path string) error {
				err := w.Adapter.Export(ctx, u, path)
				if err == nil {
					_, err = fake.WriteBytes(filepath.Dir(path), filepath.Base(path), encoded(fake.Spec{Name: "another", Version: "1"}))
				}
				return err
			}
		}, []string{"Export/installing it gives the same unit", "Export/unit that another adapter installed"}},
		{"Export begins with a file", func(w *wrong) {
			w.export = func(ctx context.Context, u adapter.UnitRef, path string) error {
				return errors.Join(os.WriteFile(path, nil, 0o600), w.Adapter.Export(ctx, u, path))
			}
		}, []string{"Export/unknown unit is NotFound", "Export/canceled context leaves no file", "Export/environment that is not up gives it or is Unavailable"}},
		{"Export refuses a path that is taken", func(w *wrong) {
			w.export = func(ctx context.Context, u adapter.UnitRef, path string) error {
				if _, err := os.Stat(path); err == nil {
					return adapter.Errorf(adapter.Exists, "cannot write %s", path)
				}
				return w.Adapter.Export(ctx, u, path)
			}
		}, []string{"Export/replaces what is at the path"}},
		{"Export stops the unit", func(w *wrong) {
			w.export = func(ctx context.Context, u adapter.UnitRef, path string) error {
				return errors.Join(w.console(u.Env).Stop(u.Key, fake.DefaultModule), w.Adapter.Export(ctx, u, path))
			}
		}, []string{"Export/changes nothing in the environment"}},
		{"SaveVersion needs a running environment", func(w *wrong) {
			w.save = func(ctx context.Context, env, path string) error {
				if s, err := w.w.State(); err == nil && s.Envs[env] != nil && !s.Envs[env].Up {
					return adapter.Errorf(adapter.Unavailable, "cannot save the version of %s", env)
				}
				return w.Adapter.SaveVersion(ctx, env, path)
			}
		}, []string{"SaveVersion/needs no running environment, the same content gives the same bytes"}},
		{"SaveVersion writes another file each time", func(w *wrong) {
			w.save = func(ctx context.Context, env, path string) error {
				err := w.Adapter.SaveVersion(ctx, env, path)
				f, e := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil || e != nil {
					return err
				}
				_, err = f.WriteString(strings.Repeat(" ", len(w.w.Calls())))
				return errors.Join(err, f.Close())
			}
		}, []string{"SaveVersion/needs no running environment, the same content gives the same bytes", "SaveVersion/replaces what is at the path"}},
		{"SaveVersion writes the same file each time", func(w *wrong) {
			w.save = func(_ context.Context, env, path string) error {
				if env != "one" {
					return adapter.Errorf(adapter.NotFound, "cannot find %s", env)
				}
				return os.WriteFile(path, []byte(`{"format":"fake-version-1","kind":"fake","version":"1.0"}`), 0o600)
			}
		}, []string{"SaveVersion/other content gives other bytes", "RestoreVersion/configuration that names other content ends it"}},
		{"RestoreVersion does nothing", func(w *wrong) {
			w.restore = func(context.Context, adapter.OpID, string, adapter.Package) error { return nil }
		}, []string{"RestoreVersion/restored version runs from the next launch on", "RestoreVersion/needs no running environment and survives a restart of the adapter",
			"RestoreVersion/file that is no saved version changes nothing", "RestoreVersion/unknown environment is NotFound", "RestoreVersion/same OpID again is no error"}},
		{"RestoreVersion configures", func(w *wrong) {
			w.restore = func(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
				err := w.Adapter.RestoreVersion(ctx, op, env, p)
				if s, e := w.w.State(); err == nil && e == nil && s.Envs[env].Restored != nil {
					w.pin(env, s.Envs[env].Restored.Version)
				}
				return err
			}
		}, []string{"RestoreVersion/configuration that names other content ends it"}},
		{"RestoreVersion remembers what is configured anyway", func(w *wrong) {
			w.restore = func(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
				err := w.Adapter.RestoreVersion(ctx, op, env, p)
				if s, e := w.w.State(); err == nil && e == nil && s.Envs[env].Restored == nil {
					w.pin(env, s.Envs[env].Configured)
				}
				return err
			}
		}, []string{"RestoreVersion/restoring what runs anyway changes nothing"}},
		{"RestoreVersion launches anew", func(w *wrong) {
			w.restore = func(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
				c := w.console(env)
				return errors.Join(w.Adapter.RestoreVersion(ctx, op, env, p), c.Lose("restored"), c.Launch())
			}
		}, []string{"RestoreVersion/restored version runs from the next launch on"}},
		{"RestoreVersion moves the file", func(w *wrong) {
			w.restore = func(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
				return errors.Join(w.Adapter.RestoreVersion(ctx, op, env, p), os.Remove(p.Path))
			}
		}, []string{"RestoreVersion/package file is read and left alone"}},
		{"RestoreVersion restores everywhere", func(w *wrong) {
			w.restore = func(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
				return errors.Join(w.Adapter.RestoreVersion(ctx, op, env, p), w.console("two").Upgrade("another"))
			}
		}, []string{"RestoreVersion/leaves the other environments alone"}},
	})
}

// wrongAdapter is an adapter that breaks one sentence, and the names of the cases that are to notice.
type wrongAdapter struct {
	name   string
	broken func(w *wrong)
	fails  []string
}

func findsWrong(t *testing.T, opts fake.Options, adapters []wrongAdapter) {
	t.Helper()
	for _, tc := range adapters {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // most of them wait for what does not come
			worlds := &worlds{opts: opts}
			h := inProcess(t, worlds)
			h.Timeout = time.Second // what fails by waiting fails soon
			h.Open = func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
				w := &wrong{Adapter: fake.New(worlds.world(t, dir)), w: worlds.world(t, dir)}
				tc.broken(w)
				return w, w.Kill
			}
			h.Skip = allBut(t, tc.fails)
			results, err := adaptertest.Check(t.Context(), h, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				if !r.Skipped && !r.Failed {
					t.Errorf("case %q does not notice", r.Name)
				}
			}
		})
	}
}

// pin keeps an environment at a version, whatever is configured: each launch is preceded by its configuration.
func (w *wrong) pin(env, version string) {
	w.w.Hook("SetEnabled", fake.Before, func(c fake.Call) error {
		if c.Env != env {
			return nil
		}
		return w.console(env).Upgrade(version)
	})
}

// encoded is the package file of s.
func encoded(s fake.Spec) []byte {
	dir, err := os.MkdirTemp("", "fake-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	p, err := fake.Write(dir, s)
	if err != nil {
		panic(err)
	}
	data, err := os.ReadFile(p.Path)
	if err != nil {
		panic(err)
	}
	return data
}

// allBut skips all cases but these, which have to exist.
func allBut(t *testing.T, names []string) map[string]string {
	t.Helper()
	skip := map[string]string{}
	for _, c := range adaptertest.Cases() {
		skip[c.Name] = "another case is tested"
	}
	for _, name := range names {
		if skip[name] == "" {
			t.Fatalf("there is no case %q", name)
		}
		delete(skip, name)
	}
	return skip
}

// TestKitPassesFake is the counterpart: the recorder that finds the wrong ones finds nothing here, and leaves out no more than it has to.
func TestKitPassesFake(t *testing.T) {
	for variant, skipped := range map[string][]string{
		"everything": {
			"Describe/what is announced is implemented, what is not is NotSupported",
			"SetEnabled/attached environment is NotSupported, up or down, and stays as it is",
			"RestoreVersion/attached environment is NotSupported, up or down",
			"Constrain/limit that it does not have is NotSupported and changes nothing",
		},
		"attached": {
			"Describe/what is announced is implemented, what is not is NotSupported",
			"SetEnabled/launches the environment",
			"SetEnabled/running environment is not disturbed",
			"SetEnabled/what is so already succeeds",
			"SetEnabled/what is set first is without effect on an environment that runs",
			"SetEnabled/run level that was set first holds before a module is started",
			"SetEnabled/AutoStart that was set first holds before a module is started",
			"SetRunLevel/environment comes up at its lowest level",
			"RestoreVersion/restored version runs from the next launch on",
			"RestoreVersion/needs no running environment and survives a restart of the adapter",
			"RestoreVersion/configuration that names other content ends it",
			"RestoreVersion/restoring what runs anyway changes nothing",
			"RestoreVersion/same OpID again is no error",
			"RestoreVersion/file that is no saved version changes nothing",
			"RestoreVersion/package file is read and left alone",
			"RestoreVersion/leaves the other environments alone",
			"Constrain/limit that it does not have is NotSupported and changes nothing",
		},
	} {
		t.Run(variant, func(t *testing.T) {
			n := 0
			results, err := adaptertest.Check(t.Context(), inProcess(t, &worlds{opts: variants[variant]}), func(adaptertest.Result) { n++ })
			if err != nil {
				t.Fatal(err)
			}
			if n != len(results) || n != len(adaptertest.Cases()) {
				t.Errorf("%d results and %d reports for %d cases", len(results), n, len(adaptertest.Cases()))
			}
			for _, r := range results {
				if r.Failed || r.Skipped && !slices.Contains(skipped, r.Name) {
					t.Errorf("%s: %v", r.Name, r.Log)
				}
			}
		})
	}
}

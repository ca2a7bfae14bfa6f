package fake_test

import (
	"context"
	"errors"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// unlessSystem is the answer of a call that has done what it was to refuse.
func unlessSystem(err error) error {
	if adapter.ReasonOf(err) == adapter.NotSupported {
		return nil
	}
	return err
}

// TestKitFindsWrongEnvironments is [TestKitFindsWrongAdapters] for what an environment is launched with and consists of.
func TestKitFindsWrongEnvironments(t *testing.T) {
	findsWrong(t, variants["everything"], []wrongAdapter{
		{"a system unit is not started", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				if m.Key == "system" {
					return adapter.Errorf(adapter.NotSupported, "cannot start %s: it is part of the environment", m.Key)
				}
				return w.Adapter.Start(ctx, op, m, o)
			}
		}, []string{"Start/module of a System unit is no error"}},
		{"a system unit is stopped", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				return errors.Join(unlessSystem(w.Adapter.Stop(ctx, op, m)), w.console(m.Env).Stop(m.Key, m.Module))
			}
		}, []string{"Stop/System unit is NotSupported and goes on"}},
		{"a system unit is stopped and then it is refused", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				if err := w.console(m.Env).Stop(m.Key, m.Module); err != nil {
					return err
				}
				return w.Adapter.Stop(ctx, op, m)
			}
		}, []string{"Stop/System unit is NotSupported and goes on"}},
		{"a system unit is updated", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err == nil {
					return out, nil
				}
				return adapter.Unit{Env: u.Env, Key: u.Key}, w.console(u.Env).Update(u.Key, fake.Spec{Name: "system", Version: "2"})
			}
		}, []string{"Update/System unit is NotSupported and stays as it is"}},
		{"a system unit is removed", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				if out, err := w.Adapter.Uninstall(ctx, op, u); err == nil {
					return out, nil
				}
				return adapter.UninstallResult{}, w.console(u.Env).Remove(u.Key)
			}
		}, []string{"Uninstall/System unit is NotSupported and stays"}},
		{"the removal of a system unit is a wrong state", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				out, err := w.Adapter.Uninstall(ctx, op, u)
				if adapter.ReasonOf(err) == adapter.NotSupported {
					err = adapter.Errorf(adapter.BadState, "%v", err)
				}
				return out, err
			}
		}, []string{"Uninstall/System unit is NotSupported and stays"}},
		{"AutoStart of a system unit is set", func(w *wrong) {
			w.autoStart = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, on bool) error {
				return errors.Join(unlessSystem(w.Adapter.SetAutoStart(ctx, op, m, on)), w.console(m.Env).SetAutoStart(m.Key, m.Module, on))
			}
		}, []string{"SetAutoStart/System unit is NotSupported and goes on"}},
		{"a system unit is stopped by its run level", func(w *wrong) {
			w.runLevel = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, level int) error {
				return errors.Join(unlessSystem(w.Adapter.SetModuleRunLevel(ctx, op, m, level)), w.console(m.Env).Stop(m.Key, m.Module))
			}
		}, []string{"SetModuleRunLevel/System unit is NotSupported and goes on"}},
		{"a system unit is not told to be one", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Unit != nil {
					ev.Unit.System = false
				}
				return []adapter.Event{ev}
			})
		}, []string{"Start/module of a System unit is no error", "Stop/System unit is NotSupported and goes on"}},
		{"a permanent unit is not started", func(w *wrong) {
			w.start = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
				if m.Key == "permanent" {
					return nil
				}
				return w.Adapter.Start(ctx, op, m, o)
			}
		}, []string{"Start/module of a Permanent unit starts and stops"}},
		{"a permanent unit is not stopped", func(w *wrong) {
			w.stop = func(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
				if m.Key == "permanent" {
					return adapter.Errorf(adapter.NotSupported, "cannot stop %s: it is part of the firmware", m.Key)
				}
				return w.Adapter.Stop(ctx, op, m)
			}
		}, []string{"Start/module of a Permanent unit starts and stops"}},
		{"a permanent unit is updated", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				if err == nil {
					return out, nil
				}
				return adapter.Unit{Env: u.Env, Key: u.Key}, w.console(u.Env).Update(u.Key, fake.Spec{Name: "permanent", Version: "2"})
			}
		}, []string{"Update/Permanent unit is NotSupported and stays as it is"}},
		{"a permanent unit is stopped for an update that is refused", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				if err := w.console(u.Env).Stop(u.Key, fake.DefaultModule); err != nil {
					return adapter.Unit{}, err
				}
				return w.Adapter.Update(ctx, op, u, old, next)
			}
		}, []string{"Update/Permanent unit is NotSupported and stays as it is"}},
		{"a permanent unit is removed", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				if out, err := w.Adapter.Uninstall(ctx, op, u); err == nil {
					return out, nil
				}
				return adapter.UninstallResult{}, w.console(u.Env).Remove(u.Key)
			}
		}, []string{"Uninstall/Permanent unit is NotSupported and stays"}},
		{"AutoStart of a permanent unit is refused", func(w *wrong) {
			w.autoStart = func(context.Context, adapter.OpID, adapter.ModuleRef, bool) error {
				return adapter.Errorf(adapter.NotSupported, "cannot set AutoStart of what is part of the firmware")
			}
		}, []string{"SetAutoStart/Permanent unit's is set"}},
		{"the run level of a permanent unit is refused", func(w *wrong) {
			w.runLevel = func(context.Context, adapter.OpID, adapter.ModuleRef, int) error {
				return adapter.Errorf(adapter.NotSupported, "cannot set the run level of what is part of the firmware")
			}
		}, []string{"SetModuleRunLevel/Permanent unit's is set"}},
		{"a permanent unit is not told to be one", func(w *wrong) {
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Unit != nil {
					ev.Unit.Permanent = false
				}
				return []adapter.Event{ev}
			})
		}, []string{"Watch/Permanent unit is the same over restarts of adapter and environment", "Start/module of a Permanent unit starts and stops"}},
		{"a permanent unit is one until the adapter is restarted", func(w *wrong) {
			first := len(w.w.Calls()) == 0
			w.watch = w.filtered(func(ev adapter.Event) []adapter.Event {
				if ev.Unit != nil {
					ev.Unit.Permanent = ev.Unit.Permanent && first
				}
				return []adapter.Event{ev}
			})
		}, []string{"Watch/Permanent unit is the same over restarts of adapter and environment"}},
		{"what is set first is set of a running environment too", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				err := w.Adapter.SetEnabled(ctx, op, env, on, first)
				for _, s := range first {
					err = errors.Join(err, w.Adapter.SetModuleRunLevel(ctx, op, s.ModuleRef, s.RunLevel), w.Adapter.SetAutoStart(ctx, op, s.ModuleRef, *s.AutoStart))
				}
				return err
			}
		}, []string{"SetEnabled/what is set first is without effect on an environment that runs"}},
		{"what is set first of a running environment is kept for the next launch", func(w *wrong) {
			var kept []adapter.ModuleSetting
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				kept = append(kept, first...)
				return w.Adapter.SetEnabled(ctx, op, env, on, kept)
			}
		}, []string{"SetEnabled/what is set first is without effect on an environment that runs"}},
		{"an environment of the adapter's own is told to be attached", func(w *wrong) {
			w.watch = w.filtered(attachedWhen(func(adapter.Env) bool { return true }))
		}, []string{"Watch/Attached is told also while the environment is not up and never changes"}},
	})
}

// attachedWhen changes what Watch tells of Attached.
func attachedWhen(f func(adapter.Env) bool) func(adapter.Event) []adapter.Event {
	return func(ev adapter.Event) []adapter.Event {
		if ev.Env != nil {
			ev.Env.Attached = f(*ev.Env)
		}
		return []adapter.Event{ev}
	}
}

// TestKitFindsWrongAttachedAdapters is [TestKitFindsWrongAdapters] for environments that somebody else launches.
func TestKitFindsWrongAttachedAdapters(t *testing.T) {
	const refusal = "SetEnabled/attached environment is NotSupported, up or down, and stays as it is"
	// launches and ends are what an adapter does that does not leave it to somebody else.
	launches := func(w *wrong, env string) error { return w.console(env).Launch() }
	ends := func(w *wrong, env string) error { return w.console(env).Lose("ended") }
	findsWrong(t, variants["attached"], []wrongAdapter{
		{"Attached is told only while it is up", func(w *wrong) {
			w.watch = w.filtered(attachedWhen(func(e adapter.Env) bool { return e.Up }))
		}, []string{"Watch/Attached is told also while the environment is not up and never changes", "Configure/launches nothing"}},
		{"Attached is told only while it is down", func(w *wrong) {
			w.watch = w.filtered(attachedWhen(func(e adapter.Env) bool { return !e.Up }))
		}, []string{"Watch/Attached is told also while the environment is not up and never changes"}},
		{"SetEnabled launches", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				if on {
					return launches(w, env)
				}
				return w.Adapter.SetEnabled(ctx, op, env, on, first)
			}
		}, []string{refusal}},
		{"SetEnabled launches and refuses", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				return errors.Join(w.Adapter.SetEnabled(ctx, op, env, on, first), launches(w, env))
			}
		}, []string{refusal}},
		{"SetEnabled ends", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				if !on {
					return ends(w, env)
				}
				return w.Adapter.SetEnabled(ctx, op, env, on, first)
			}
		}, []string{refusal}},
		{"SetEnabled ends, launches and refuses", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				err := w.Adapter.SetEnabled(ctx, op, env, on, first)
				if s, e := w.w.State(); e == nil && s.Envs[env].Up {
					err = errors.Join(err, ends(w, env), launches(w, env))
				}
				return err
			}
		}, []string{refusal}},
		{"SetEnabled takes what is so already for a success", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				if s, err := w.w.State(); err == nil && s.Envs[env].Up == on {
					return nil
				}
				return w.Adapter.SetEnabled(ctx, op, env, on, first)
			}
		}, []string{refusal}},
		{"RestoreVersion restores", func(w *wrong) {
			w.restore = func(context.Context, adapter.OpID, string, adapter.Package) error { return nil }
		}, []string{"RestoreVersion/attached environment is NotSupported, up or down"}},
		{"RestoreVersion launches anew", func(w *wrong) {
			w.restore = func(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
				err := w.Adapter.RestoreVersion(ctx, op, env, p)
				if s, e := w.w.State(); e == nil && s.Envs[env].Up {
					err = errors.Join(err, ends(w, env), launches(w, env))
				}
				return err
			}
		}, []string{"RestoreVersion/attached environment is NotSupported, up or down"}},
	})
}

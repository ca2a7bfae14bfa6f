package fake_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// units calls f for each unit of an environment.
func (w *wrong) units(env string, f func(adapter.UnitRef) error) (err error) {
	s, err := w.w.State()
	if err != nil {
		return err
	}
	for key := range s.Envs[env].Units {
		err = errors.Join(err, f(adapter.UnitRef{Env: env, Key: key}))
	}
	return err
}

// TestKitFindsWrongSettings is [TestKitFindsWrongAdapters] for the settings of units.
func TestKitFindsWrongSettings(t *testing.T) {
	with := func(w *wrong, f func(adapter.UnitSettings) adapter.UnitSettings) {
		w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
			return w.Adapter.SetUnit(ctx, op, u, f(s))
		}
	}
	drop := func(ctx context.Context, w *wrong, u adapter.UnitRef) error {
		return w.Adapter.SetUnit(ctx, "drop", u, adapter.UnitSettings{})
	}
	findsWrong(t, everything, []wrongAdapter{
		{"settings are not made", func(w *wrong) {
			w.setUnit = func(context.Context, adapter.OpID, adapter.UnitRef, adapter.UnitSettings) error { return nil }
		}, []string{"SetUnit/variables are in the processes from the next start on"}},
		{"what runs is started again", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				m := adapter.ModuleRef{UnitRef: u, Module: "main"}
				return errors.Join(w.Adapter.SetUnit(ctx, op, u, s), w.Stop(ctx, op, m), w.Start(ctx, op, m, adapter.StartOptions{}))
			}
		}, []string{"SetUnit/variables are in the processes from the next start on"}},
		{"settings are added to those that there are", func(w *wrong) {
			var mu sync.Mutex
			all := map[string]string{}
			with(w, func(s adapter.UnitSettings) adapter.UnitSettings {
				mu.Lock()
				defer mu.Unlock()
				for _, v := range s.Variables {
					all[v.Key] = v.Value
				}
				s.Variables = nil
				for key, value := range all {
					s.Variables = append(s.Variables, adapter.Variable{Key: key, Value: value})
				}
				return s
			})
		}, []string{"SetUnit/replaces the settings as a whole, none takes them away"}},
		{"settings cannot be taken away", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				if len(s.Variables) == 0 {
					return nil
				}
				return w.Adapter.SetUnit(ctx, op, u, s)
			}
		}, []string{"SetUnit/replaces the settings as a whole, none takes them away"}},
		{"blanks go", func(w *wrong) {
			with(w, func(s adapter.UnitSettings) adapter.UnitSettings {
				s.Variables = slices.Clone(s.Variables)
				for i := range s.Variables {
					s.Variables[i].Value = strings.TrimSpace(s.Variables[i].Value)
				}
				return s
			})
		}, []string{"SetUnit/values arrive byte for byte, the longest and the most of them"}},
		{"Update drops the settings", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				return out, errors.Join(err, drop(ctx, w, u))
			}
		}, []string{"SetUnit/holds for every module, over Update, Revert and Discard"}},
		{"Revert drops the settings", func(w *wrong) {
			w.revert = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Revert(ctx, op, u, old)
				return out, errors.Join(err, drop(ctx, w, adapter.UnitRef{Env: u.Env, Key: u.Key}))
			}
		}, []string{"SetUnit/holds for every module, over Update, Revert and Discard"}},
		{"Discard drops the settings", func(w *wrong) {
			w.discard = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) error {
				return errors.Join(w.Adapter.Discard(ctx, op, u), drop(ctx, w, adapter.UnitRef{Env: u.Env, Key: u.Key}))
			}
		}, []string{"SetUnit/holds for every module, over Update, Revert and Discard"}},
		{"a launch drops the settings", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				err := w.Adapter.SetEnabled(ctx, op, env, on, first)
				if err != nil || !on {
					return err
				}
				return w.units(env, func(u adapter.UnitRef) error { return drop(ctx, w, u) })
			}
		}, []string{"SetUnit/holds over restarts of adapter and environment"}},
		{"a unit inherits the settings of the one before", func(w *wrong) {
			var mu sync.Mutex
			last := map[string]adapter.UnitSettings{}
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				mu.Lock()
				defer mu.Unlock()
				last[u.Key] = s
				return w.Adapter.SetUnit(ctx, op, u, s)
			}
			w.install = func(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
				mu.Lock()
				defer mu.Unlock()
				out, err := w.Adapter.Install(ctx, op, s)
				return out, errors.Join(err, w.Adapter.SetUnit(ctx, op, adapter.UnitRef{Env: s.Env, Key: s.Key}, last[s.Key]))
			}
		}, []string{"SetUnit/goes with Uninstall"}},
		{"what is malformed is left out", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				err := w.Adapter.SetUnit(ctx, op, u, s)
				if adapter.ReasonOf(err) == adapter.InvalidArgument {
					return nil
				}
				return err
			}
		}, []string{"SetUnit/what is malformed is InvalidArgument and changes nothing"}},
		{"what is well formed is set before the rest is refused", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				err := w.Adapter.SetUnit(ctx, op, u, s)
				if adapter.ReasonOf(err) != adapter.InvalidArgument {
					return err
				}
				return errors.Join(err, w.Adapter.SetUnit(ctx, op, u, adapter.UnitSettings{Variables: s.Variables[:1]}))
			}
		}, []string{"SetUnit/what is malformed is InvalidArgument and changes nothing"}},
		{"a limit that there is not is refused after the rest is set", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				if s.Limits.Memory > 0 {
					s.Limits = adapter.Limits{}
					return errors.Join(w.Adapter.SetUnit(ctx, op, u, s), adapter.Errorf(adapter.NotSupported, "cannot limit the memory"))
				}
				return w.Adapter.SetUnit(ctx, op, u, s)
			}
		}, []string{"SetUnit/limit is taken or NotSupported, which changes nothing"}},
		{"the same OpID again is an error", func(w *wrong) {
			var mu sync.Mutex
			seen := map[adapter.OpID]bool{}
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				mu.Lock()
				defer mu.Unlock()
				if seen[op] {
					return adapter.Errorf(adapter.BadState, "cannot set the settings of %s twice", u.Key)
				}
				seen[op] = true
				return w.Adapter.SetUnit(ctx, op, u, s)
			}
		}, []string{"SetUnit/same OpID again is no error"}},
		{"an unknown unit is set", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				err := w.Adapter.SetUnit(ctx, op, u, s)
				if adapter.ReasonOf(err) == adapter.NotFound {
					return nil
				}
				return err
			}
		}, []string{"SetUnit/unknown unit is NotFound"}},
		{"settings are lost while the environment is down", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				err := w.Adapter.SetUnit(ctx, op, u, s)
				if adapter.ReasonOf(err) == adapter.Unavailable {
					return nil
				}
				return err
			}
		}, []string{"SetUnit/environment that is not up takes it or is Unavailable"}},
	})
	findsWrong(t, variants["plain"], []wrongAdapter{
		{"settings are taken that are not announced", func(w *wrong) {
			w.setUnit = func(context.Context, adapter.OpID, adapter.UnitRef, adapter.UnitSettings) error { return nil }
		}, []string{"Describe/what is announced is implemented, what is not is NotSupported"}},
		{"constraints are taken that are not announced", func(w *wrong) {
			w.constrain = func(context.Context, adapter.OpID, string, adapter.Constraints, bool) error { return nil }
		}, []string{"Describe/what is announced is implemented, what is not is NotSupported"}},
	})
}

// TestKitFindsWrongConstraints is [TestKitFindsWrongAdapters] for the limits of environments.
func TestKitFindsWrongConstraints(t *testing.T) {
	none := func() adapter.Constraints {
		var size int64
		var percent int
		return adapter.Constraints{Disk: &size, Memory: &size, CPU: &percent}
	}
	after := func(w *wrong, f func(ctx context.Context, env string, c adapter.Constraints, err error) error) {
		w.constrain = func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
			return f(ctx, env, c, w.Adapter.Constrain(ctx, op, env, c, force))
		}
	}
	findsWrong(t, everything, []wrongAdapter{
		{"nil takes away", func(w *wrong) {
			w.constrain = func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
				all := none()
				if c.Disk != nil {
					all.Disk = c.Disk
				}
				if c.Memory != nil {
					all.Memory = c.Memory
				}
				if c.CPU != nil {
					all.CPU = c.CPU
				}
				return w.Adapter.Constrain(ctx, op, env, all, force)
			}
		}, []string{"Constrain/limits are told at once, nil stays, 0 takes away"}},
		{"0 stays", func(w *wrong) {
			w.constrain = func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
				if c.Memory != nil && *c.Memory == 0 {
					return nil
				}
				return w.Adapter.Constrain(ctx, op, env, c, force)
			}
		}, []string{"Constrain/limits are told at once, nil stays, 0 takes away"}},
		{"a restart of the adapter takes them away", func(w *wrong) {
			w.configure = func(ctx context.Context, envs []adapter.EnvConfig) error {
				err := w.Adapter.Configure(ctx, envs)
				for _, e := range envs {
					err = errors.Join(err, w.Adapter.Constrain(ctx, "forget", e.ID, none(), true))
				}
				return err
			}
		}, []string{"Constrain/holds over restarts of adapter and environment"}},
		{"a running environment is needed", func(w *wrong) {
			w.constrain = func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
				if s, err := w.w.State(); err == nil && !s.Envs[env].Up {
					return adapter.Errorf(adapter.Unavailable, "cannot constrain %s: it is not up", env)
				}
				return w.Adapter.Constrain(ctx, op, env, c, force)
			}
		}, []string{"Constrain/needs no running environment and leaves the others alone"}},
		{"the other environment is constrained too", func(w *wrong) {
			after(w, func(ctx context.Context, env string, c adapter.Constraints, err error) error {
				if env == "one" {
					return errors.Join(err, w.Adapter.Constrain(ctx, "other", "two", c, true))
				}
				return err
			})
		}, []string{"Constrain/needs no running environment and leaves the others alone"}},
		{"what is in use does not count", func(w *wrong) {
			w.constrain = func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, _ bool) error {
				return w.Adapter.Constrain(ctx, op, env, c, true)
			}
		}, []string{"Constrain/below what is in use is InUse, and holds with force"}},
		{"force does not count", func(w *wrong) {
			w.constrain = func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, _ bool) error {
				return w.Adapter.Constrain(ctx, op, env, c, false)
			}
		}, []string{"Constrain/below what is in use is InUse, and holds with force"}},
		{"what is InUse is set all the same", func(w *wrong) {
			after(w, func(ctx context.Context, env string, c adapter.Constraints, err error) error {
				if adapter.ReasonOf(err) == adapter.InUse {
					return errors.Join(err, w.Adapter.Constrain(ctx, "all the same", env, c, true))
				}
				return err
			})
		}, []string{"Constrain/below what is in use is InUse, and holds with force"}},
		{"it holds whatever is configured", func(w *wrong) {
			w.configure = func(ctx context.Context, envs []adapter.EnvConfig) error {
				if s, err := w.w.State(); err == nil && s.Envs["one"] != nil {
					for i, e := range envs {
						if e.ID == "one" && s.Envs["one"].Constraints.Memory != nil {
							envs[i].Settings = []byte(`{"disk_kib": 1000}`)
						}
					}
				}
				return w.Adapter.Configure(ctx, envs)
			}
		}, []string{"Constrain/configuration that names another value ends it"}},
		{"the same OpID again is an error", func(w *wrong) {
			var mu sync.Mutex
			seen := map[adapter.OpID]bool{}
			w.constrain = func(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
				mu.Lock()
				defer mu.Unlock()
				if seen[op] {
					return adapter.Errorf(adapter.BadState, "cannot constrain %s twice", env)
				}
				seen[op] = true
				return w.Adapter.Constrain(ctx, op, env, c, force)
			}
		}, []string{"Constrain/same OpID again is no error"}},
		{"an unknown environment is constrained", func(w *wrong) {
			after(w, func(_ context.Context, _ string, _ adapter.Constraints, err error) error {
				if adapter.ReasonOf(err) == adapter.NotFound {
					return nil
				}
				return err
			})
		}, []string{"Constrain/unknown environment is NotFound"}},
	})
	findsWrong(t, variants["no limits of disk space"], []wrongAdapter{
		{"the limits that there are are set", func(w *wrong) {
			after(w, func(ctx context.Context, env string, c adapter.Constraints, err error) error {
				if adapter.ReasonOf(err) == adapter.NotSupported {
					c.Disk = nil
					return errors.Join(err, w.Adapter.Constrain(ctx, "the rest", env, c, true))
				}
				return err
			})
		}, []string{"Constrain/limit that it does not have is NotSupported and changes nothing"}},
	})
}

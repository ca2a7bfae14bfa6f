package fake_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestKitFindsWrongVolumes is [TestKitFindsWrongAdapters] for the volumes of units.
func TestKitFindsWrongVolumes(t *testing.T) {
	const (
		seen     = "SetUnit/volumes are in the file systems of modules from the next start on"
		replaced = "SetUnit/volumes are replaced as a whole, none takes them away"
		updates  = "SetUnit/volumes hold for every module, over Update and Revert"
		restarts = "SetUnit/volumes hold over restarts of adapter and environment"
		gone     = "SetUnit/volumes go with Uninstall, their directories stay as they are"
		refused  = "SetUnit/malformed volumes are InvalidArgument and change nothing"
	)
	with := func(w *wrong, f func(u adapter.UnitRef, vs []adapter.Volume) []adapter.Volume) {
		w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
			s.Volumes = f(u, s.Volumes)
			return w.Adapter.SetUnit(ctx, op, u, s)
		}
	}
	drop := func(ctx context.Context, w *wrong, u adapter.UnitRef) error {
		return w.Adapter.SetUnit(ctx, "drop", adapter.UnitRef{Env: u.Env, Key: u.Key}, adapter.UnitSettings{})
	}
	findsWrong(t, everything, []wrongAdapter{
		{"volumes are not bound", func(w *wrong) {
			with(w, func(adapter.UnitRef, []adapter.Volume) []adapter.Volume { return nil })
		}, []string{seen}},
		{"only one volume is bound", func(w *wrong) {
			with(w, func(_ adapter.UnitRef, vs []adapter.Volume) []adapter.Volume { return vs[:min(len(vs), 1)] })
		}, []string{seen}},
		{"volumes are taken for one another", func(w *wrong) {
			with(w, func(_ adapter.UnitRef, vs []adapter.Volume) []adapter.Volume {
				vs = slices.Clone(vs)
				for i := range len(vs) / 2 {
					vs[i].Source, vs[len(vs)-1-i].Source = vs[len(vs)-1-i].Source, vs[i].Source
				}
				return vs
			})
		}, []string{seen}},
		{"paths end at what means something elsewhere", func(w *wrong) {
			with(w, func(_ adapter.UnitRef, vs []adapter.Volume) []adapter.Volume {
				return slices.DeleteFunc(slices.Clone(vs), func(v adapter.Volume) bool {
					return filepath.Base(v.Path) != "smmd-kit-a" && filepath.Base(v.Path) != "b"
				})
			})
		}, []string{seen}},
		{"modules work on a copy", func(w *wrong) {
			with(w, func(_ adapter.UnitRef, vs []adapter.Volume) []adapter.Volume {
				vs = slices.Clone(vs)
				for i, v := range vs {
					vs[i].Source = v.Source + "-copy"
					if err := os.CopyFS(vs[i].Source, os.DirFS(v.Source)); err != nil {
						return nil
					}
				}
				return vs
			})
		}, []string{seen}},
		{"modules may not write", func(w *wrong) {
			with(w, func(_ adapter.UnitRef, vs []adapter.Volume) []adapter.Volume {
				for _, v := range vs {
					_ = os.Mkdir(filepath.Join(v.Source, "out"), 0o700) // a file of that name cannot be made
				}
				return vs
			})
		}, []string{seen}},
		{"what runs is started again", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				m := adapter.ModuleRef{UnitRef: u, Module: "main"}
				return errors.Join(w.Adapter.SetUnit(ctx, op, u, s), w.Stop(ctx, op, m), w.Start(ctx, op, m, adapter.StartOptions{}))
			}
		}, []string{seen}},
		{"all units see the volumes of one", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				w.install = func(ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
					out, err := w.Adapter.Install(ctx, op, spec)
					return out, errors.Join(err, w.Adapter.SetUnit(ctx, op, adapter.UnitRef{Env: spec.Env, Key: spec.Key}, s))
				}
				return w.Adapter.SetUnit(ctx, op, u, s)
			}
		}, []string{seen}},
		{"volumes are added to those that there are", func(w *wrong) {
			var mu sync.Mutex
			all := map[string]adapter.Volume{}
			with(w, func(_ adapter.UnitRef, vs []adapter.Volume) []adapter.Volume {
				mu.Lock()
				defer mu.Unlock()
				for _, v := range vs {
					all[v.Path] = v
				}
				vs = nil
				for _, v := range all {
					vs = append(vs, v)
				}
				return vs
			})
		}, []string{replaced}},
		{"volumes cannot be taken away", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				if len(s.Volumes) == 0 {
					return nil
				}
				return w.Adapter.SetUnit(ctx, op, u, s)
			}
		}, []string{replaced}},
		{"what is taken away is emptied", func(w *wrong) {
			var mu sync.Mutex
			var before []adapter.Volume
			with(w, func(_ adapter.UnitRef, vs []adapter.Volume) []adapter.Volume {
				mu.Lock()
				defer mu.Unlock()
				for _, v := range before {
					_ = os.Remove(filepath.Join(v.Source, "in")) // it may be gone already
				}
				if len(vs) == 0 {
					before = nil
				} else if before == nil {
					before = vs
				}
				return vs
			})
		}, []string{replaced}},
		{"Update drops the volumes", func(w *wrong) {
			w.update = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Update(ctx, op, u, old, next)
				return out, errors.Join(err, drop(ctx, w, u))
			}
		}, []string{updates}},
		{"Revert drops the volumes", func(w *wrong) {
			w.revert = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
				out, err := w.Adapter.Revert(ctx, op, u, old)
				return out, errors.Join(err, drop(ctx, w, u))
			}
		}, []string{updates}},
		{"a restart of the adapter drops the volumes", func(w *wrong) {
			w.configure = func(ctx context.Context, envs []adapter.EnvConfig) error {
				err := w.Adapter.Configure(ctx, envs)
				if s, stateErr := w.w.State(); err != nil || stateErr != nil || !s.Envs["one"].Up {
					return errors.Join(err, stateErr)
				}
				return w.units("one", func(u adapter.UnitRef) error { return drop(ctx, w, u) })
			}
		}, []string{restarts}},
		{"a launch drops the volumes", func(w *wrong) {
			w.enable = func(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
				err := w.Adapter.SetEnabled(ctx, op, env, on, first)
				if err != nil || !on {
					return err
				}
				return w.units(env, func(u adapter.UnitRef) error { return drop(ctx, w, u) })
			}
		}, []string{restarts}},
		{"Uninstall empties the volumes", func(w *wrong) {
			w.uninstall = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
				s, err := w.w.State()
				if err == nil {
					for _, v := range s.Envs[u.Env].Units[u.Key].Settings.Volumes {
						err = errors.Join(err, os.RemoveAll(v.Source))
					}
				}
				out, uninstallErr := w.Adapter.Uninstall(ctx, op, u)
				return out, errors.Join(err, uninstallErr)
			}
		}, []string{gone}},
		{"a unit inherits the volumes of the one before", func(w *wrong) {
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
		}, []string{gone}},
		{"what is malformed is left out", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				err := w.Adapter.SetUnit(ctx, op, u, s)
				if adapter.ReasonOf(err) == adapter.InvalidArgument {
					return nil
				}
				return err
			}
		}, []string{refused}},
		{"what is well formed is bound before the rest is refused", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				err := w.Adapter.SetUnit(ctx, op, u, s)
				if adapter.ReasonOf(err) != adapter.InvalidArgument {
					return err
				}
				return errors.Join(err, w.Adapter.SetUnit(ctx, op, u, adapter.UnitSettings{Volumes: slices.DeleteFunc(s.Volumes[:1], func(v adapter.Volume) bool { return v.Path != "/srv/smmd-kit/b" })}))
			}
		}, []string{refused}},
	})
	findsWrong(t, variants["no limits of disk space"], []wrongAdapter{
		{"volumes are left out that are not announced", func(w *wrong) {
			with(w, func(adapter.UnitRef, []adapter.Volume) []adapter.Volume { return nil })
		}, []string{"Describe/what is announced is implemented, what is not is NotSupported"}},
		{"volumes that are not announced are refused after the rest is set", func(w *wrong) {
			w.setUnit = func(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
				err := w.Adapter.SetUnit(ctx, op, u, s)
				if adapter.ReasonOf(err) == adapter.NotSupported {
					s.Volumes = nil
					return errors.Join(err, w.Adapter.SetUnit(ctx, op, u, s))
				}
				return err
			}
		}, []string{"Describe/what is announced is implemented, what is not is NotSupported"}},
	})
}

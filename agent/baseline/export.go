package baseline

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// complete brings the packages that baselines lack into the package store: those of units that were found in their environments, and
// what the environments themselves run from. What an adapter cannot give stays away; a Reset says so.
func (k *Keeper) complete(ctx context.Context) error {
	all, err := k.all()
	if err != nil {
		return err
	}
	var failures []error
	silent := map[string]bool{} // environments that were found to be away: each has a baseline of every kind
	for name, r := range all {
		if silent[r.Env] || whole(r) {
			continue
		}
		desc, err := k.Envs.Describe(ctx, r.Env) // of an adapter that is not there yet nothing is known
		if err != nil {
			silent[r.Env], err = true, fmt.Errorf("cannot complete the baselines of %s: %w", r.Env, err)
		} else {
			err = k.completeOne(ctx, desc, name, r)
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	if len(all) > 0 && len(failures) == 0 {
		k.Log.Debug("baselines are complete, as far as packages can be had", "baselines", len(all))
	}
	return errors.Join(failures...)
}

func (k *Keeper) all() (map[string]Record, error) {
	all := map[string]Record{}
	err := k.Inventory.View(func(st *store.Tx) error {
		return records.Load(st, func(name string, r Record) error {
			if r.taken() {
				all[name] = r
			}
			return nil
		})
	})
	return all, err
}

func (k *Keeper) completeOne(ctx context.Context, desc adapter.Description, name string, r Record) error {
	var failures []error
	if r.Version == (File{}) && desc.Has(adapter.CapVersions) && !k.Envs.State(r.Env).Attached {
		err := k.DUs.Bring(ctx, r.Env,
			func(ctx context.Context, a environment.Adapter, path string) error {
				return a.SaveVersion(ctx, r.Env, path)
			},
			func(p adapter.Package) error {
				return k.Inventory.Update(func(tx *inventory.Tx) error {
					return amend(tx, name, r, func(now *Record) { now.Version = File{p.SHA256, p.Size} })
				})
			})
		if fault.ReasonOf(err) == fault.NotSupported {
			k.Log.Warn("the version of an environment cannot be had: a Reset leaves it as it is", "env", r.Env, "err", err)
		} else if err != nil {
			failures = append(failures, err)
		}
	}
	for _, u := range r.Units {
		if !u.lacks() || !desc.Has(adapter.CapExport) {
			continue
		}
		err := k.keep(ctx, name, r, u)
		if environment.Away(err) {
			failures = append(failures, err)
		} else if err != nil {
			k.Log.Warn("the package of a unit cannot be had: a Reset cannot restore it", "env", r.Env, "du", u.UUID, "err", err)
		}
	}
	return errors.Join(failures...)
}

// whole reports whether a baseline lacks nothing that an adapter could give.
func whole(r Record) bool {
	return r.Version != (File{}) && !slices.ContainsFunc(r.Units, Unit.lacks)
}

// keep brings the package of one unit, if the unit is still as it is in the baseline.
func (k *Keeper) keep(ctx context.Context, name string, r Record, u Unit) error {
	du := k.unchanged(r.Env, u)
	if du == nil {
		return nil
	}
	_, err := k.DUs.Keep(ctx, du, func(tx *inventory.Tx, p adapter.Package) error {
		return amend(tx, name, r, func(now *Record) {
			for i := range now.Units {
				if now.Units[i].Key == u.Key {
					now.Units[i].Package = File{p.SHA256, p.Size}
				}
			}
		})
	})
	return err
}

// unchanged returns the row of a unit that is still as it is in a baseline, or nil.
func (k *Keeper) unchanged(env string, u Unit) *model.DeploymentUnit {
	for du := range k.Inventory.Snapshot().DeploymentUnits() {
		if du.Env == env && du.Key == u.Key && du.Version == u.Version && du.Status == model.DUInstalled && !du.Missing {
			return du
		}
	}
	return nil
}

// amend changes a baseline that is still the one that was looked at.
func amend(tx *inventory.Tx, name string, seen Record, f func(*Record)) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	now, there, err := records.Get(st, name)
	if err != nil || !there || !now.Taken.Equal(seen.Taken) || now.Token != seen.Token {
		return err
	}
	f(&now)
	return records.Put(st, name, now)
}

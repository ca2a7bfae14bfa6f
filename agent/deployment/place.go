package deployment

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Wanted is a unit as it is to be again. Its package is in the package store.
type Wanted struct {
	Env, Key, UUID, Version, Alias, URL string
	SHA256                              string
	Size                                int64
	Credentials                         []byte // sealed
	ModuleVersion                       string
}

// The methods below are steps of larger operations (package baseline). Each leaves a state that the data model tells truthfully,
// whatever ends it, and may be repeated with the same OpID. Their callers have the turn in the environment.

// TakeOut uninstalls a unit. Its application data goes with it, unless it is to be put back.
func (us *Units) TakeOut(ctx context.Context, op adapter.OpID, row *model.DeploymentUnit, back bool) error {
	start := us.Clock.Wall()
	p, err := us.kept(row.ID)
	if err != nil {
		return err
	}
	if err := us.status(row.ID, model.DUUninstalling); err != nil {
		return err
	}
	err = us.Envs.Call(ctx, row.Env, func(ctx context.Context, a environment.Adapter) error {
		_, err := a.Uninstall(ctx, op, us.ref(row, p))
		return err
	})
	if err != nil {
		return us.failed(ctx, row.ID, model.PerformedUninstall, start, err)
	}
	told := us.Envs.Arrived(ctx, row.Env, row.Key, func(_ adapter.Unit, there bool) bool { return !there })
	return us.Inventory.Update(func(tx *inventory.Tx) error {
		if !told {
			us.outdate(tx, row)
		}
		if last := tx.DeploymentUnit(row.ID); last != nil && !last.Missing { // that one is gone was told when it was seen
			if err := us.tell(tx, asRemoved(Describe(tx, us.place(model.PerformedUninstall, start), last))); err != nil {
				return err
			}
		}
		if err := tx.DeleteDeploymentUnit(row.ID); err != nil || back {
			return err
		}
		return us.Volumes.Release(tx, volume.Unit{Env: row.Env, UUID: row.UUID}, false)
	})
}

// failed makes the row of a call that failed tell what its environment has, unless the step is to be entered again.
func (us *Units) failed(ctx context.Context, id model.RowID, what model.Performed, start time.Time, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err = environment.Classify(err)
	put := us.Inventory.Update(func(tx *inventory.Tx) error {
		res := us.place(what, start)
		if was := tx.DeploymentUnit(id); was != nil {
			res.UUID, res.Env, res.Version = was.UUID, was.Env, was.Version
		}
		if err := us.putRight(tx, id); err != nil {
			return err
		}
		switch row := tx.DeploymentUnit(id); {
		case what == model.PerformedInstall:
			res.State = model.ResultFailed
		case row != nil:
			res = Describe(tx, res, row)
		}
		return us.tell(tx, failedBy(res, err))
	})
	return errors.Join(err, put)
}

// PutRight ends the transitory states of units that a larger operation has left on its way.
func (us *Units) PutRight(tx *inventory.Tx, env string, keys []string) error {
	for _, du := range slices.Collect(tx.DeploymentUnits()) {
		if du.Env == env && slices.Contains(keys, du.Key) {
			if err := us.putRight(tx, du.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

// status moves a row to a state in a transaction of its own.
func (us *Units) status(id model.RowID, next model.DUStatus) error {
	return us.Inventory.Update(func(tx *inventory.Tx) error { return setStatus(tx, id, next) })
}

// PutBack installs a unit from the package store. A row that is there without its unit is kept.
func (us *Units) PutBack(ctx context.Context, op adapter.OpID, w Wanted) error {
	start := us.Clock.Wall()
	p, err := us.Package(w.SHA256, w.Size)
	if err != nil {
		return err
	}
	id, err := us.rowFor(w)
	if err != nil {
		return err
	}
	var unit adapter.Unit
	err = us.Envs.Call(ctx, w.Env, func(ctx context.Context, a environment.Adapter) (err error) {
		unit, err = a.Install(ctx, op, adapter.InstallSpec{Env: w.Env, Key: w.Key, Package: p, RunLevel: -1})
		return err
	})
	if err != nil {
		return us.failed(ctx, id, model.PerformedInstall, start, err)
	}
	return us.settle(id, w, unit, model.PerformedInstall, start)
}

// rowFor returns the row of a unit that is put back, making it when there is none. What is known of the unit that was there before
// does not hold for the one that comes, whoever sees it first.
func (us *Units) rowFor(w Wanted) (id model.RowID, err error) {
	err = us.Inventory.Update(func(tx *inventory.Tx) error {
		for du := range tx.DeploymentUnits() {
			if du.Env == w.Env && du.Key == w.Key {
				id = du.ID
				if err := forgetSettings(tx, du); err != nil {
					return err
				}
				return private(tx, id, store.Private{Version: w.Version, SHA256: w.SHA256, Size: w.Size, Credentials: w.Credentials})
			}
		}
		if id, err = tx.NextNumber(model.KindDeploymentUnit); err != nil {
			return err
		}
		row := &model.DeploymentUnit{
			ID: id, Alias: us.freeAlias(tx, w.Alias, id), Env: w.Env, Key: w.Key, UUID: w.UUID, Version: w.Version,
			URL: w.URL, Status: model.DUInstalling,
		}
		row.SettingsPending = hasVolumes(tx, row)
		return tx.PutDeploymentUnit(row)
	})
	return id, err
}

// freeAlias returns the Alias that a unit had, unless another one has it now.
func (us *Units) freeAlias(tx *inventory.Tx, alias string, id model.RowID) string {
	for du := range tx.DeploymentUnits() {
		if du.Alias == alias {
			return defaultAlias(id)
		}
	}
	return alias
}

// settle records a unit that is what is wanted again.
func (us *Units) settle(id model.RowID, w Wanted, unit adapter.Unit, what model.Performed, start time.Time) error {
	return us.Inventory.Update(func(tx *inventory.Tx) error {
		old := tx.DeploymentUnit(id)
		if old == nil {
			return fault.Errorf(fault.Internal, "cannot record %s: row %d is gone", w.UUID, id)
		}
		row := *old
		row.Status, row.Version, row.URL, row.LastUpdate = model.DUInstalled, w.Version, w.URL, now()
		row.ModuleVersion = w.ModuleVersion
		if row.Installed.IsZero() {
			row.Installed = now()
		}
		if err := tx.PutDeploymentUnit(&row); err != nil {
			return err
		}
		if err := us.take(tx, &row, unit, newUnits{}); err != nil {
			return err
		}
		// A row that was Missing and is not any more has been seen before, and that was told.
		if old.Status != model.DUInstalled || old.Missing {
			if err := us.tell(tx, Describe(tx, us.place(what, start), tx.DeploymentUnit(id))); err != nil {
				return err
			}
		}
		return private(tx, id, store.Private{
			Handle: unit.Handle, Version: unit.Manifest.Version, SHA256: w.SHA256, Size: w.Size, Credentials: w.Credentials,
		})
	})
}

// RollBack makes the wanted package the present generation of a unit that is there with another one. What is kept of that stays until
// [Units.Discard] with the same OpID. A generation that somebody else has brought and that cannot be exported is replaced as a whole.
func (us *Units) RollBack(ctx context.Context, op adapter.OpID, row *model.DeploymentUnit, w Wanted) error {
	start := us.Clock.Wall()
	next, err := us.Package(w.SHA256, w.Size)
	if err != nil {
		return err
	}
	p, err := us.kept(row.ID)
	if err != nil {
		return err
	}
	var old adapter.Package
	if row.Status == model.DUUpdating {
		// An earlier process may have made the call: what is there now need not be what was there before.
		p = p.Of(row.Version)
		old, err = us.Package(p.SHA256, p.Size)
	} else {
		old, err = us.Keep(ctx, row, nil)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case environment.Away(err):
		return err
	case err != nil:
		if err := us.TakeOut(ctx, op+"-out", row, true); err != nil {
			return err
		}
		return us.PutBack(ctx, op, w)
	}
	if err := us.status(row.ID, model.DUUpdating); err != nil {
		return err
	}
	var unit adapter.Unit
	err = us.Envs.Call(ctx, row.Env, func(ctx context.Context, a environment.Adapter) (err error) {
		unit, err = a.Update(ctx, op, us.ref(row, p), old, next)
		return err
	})
	if err != nil {
		return us.failed(ctx, row.ID, model.PerformedUpdate, start, err)
	}
	us.arrived(ctx, row.Env, row.Key, unit) // calls that follow are about this generation
	return us.settle(row.ID, w, unit, model.PerformedUpdate, start)
}

// Discard lets go of the generation that RollBack has replaced.
func (us *Units) Discard(ctx context.Context, op adapter.OpID, row *model.DeploymentUnit) error {
	p, err := us.kept(row.ID)
	if err != nil {
		return err
	}
	return us.Envs.Call(ctx, row.Env, func(ctx context.Context, a environment.Adapter) error { return a.Discard(ctx, op, us.ref(row, p)) })
}

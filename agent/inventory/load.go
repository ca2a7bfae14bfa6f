package inventory

import (
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// load reads the rows into the draft. A record that cannot be read has been set aside by the store; what belonged to it goes, so
// that the unit can be installed or found again.
func (inv *Inventory) load(tx *store.Tx) error {
	err := store.ExecEnvs.Load(tx, func(_ string, e model.ExecEnv) error {
		e.Status = model.EEError
		e.AllocatedDisk, e.AvailableDisk = model.UnknownSize, model.UnknownSize
		e.AllocatedMemory, e.AvailableMemory = model.UnknownSize, model.UnknownSize
		inv.draft.PutExecEnv(&e)
		return nil
	})
	if err != nil {
		return err
	}
	err = store.DeploymentUnits.Load(tx, func(_ model.RowID, u model.DeploymentUnit) error {
		inv.draft.PutDeploymentUnit(&u)
		return nil
	})
	if err != nil {
		return err
	}
	if err := inv.mendIndex(tx); err != nil {
		return err
	}
	if err := inv.mendPrivates(tx); err != nil {
		return err
	}
	if err := inv.loadExecutionUnits(tx); err != nil {
		return err
	}
	return store.Volumes.Load(tx, func(_ model.RowID, v model.Volume) error {
		inv.draft.PutVolume(&v)
		return nil
	})
}

// mendIndex makes the unique index agree with the rows.
func (inv *Inventory) mendIndex(tx *store.Tx) error {
	var stale []string
	indexed := map[model.RowID]bool{}
	err := store.UnitIndex.Load(tx, func(key string, id model.RowID) error {
		if u := inv.draft.DeploymentUnit(id); u != nil && store.IndexKey(u.UUID, u.Version, u.Env) == key {
			indexed[id] = true
		} else {
			stale = append(stale, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range stale {
		inv.log.Warn("the index of units named a row that is not there", "key", key)
		if err := store.UnitIndex.Delete(tx, key); err != nil {
			return err
		}
	}
	for u := range inv.draft.DeploymentUnits() {
		if indexed[u.ID] {
			continue
		}
		inv.log.Warn("a unit was missing in the index", "du", u.UUID)
		if err := store.UnitIndex.Put(tx, store.IndexKey(u.UUID, u.Version, u.Env), u.ID); err != nil {
			return err
		}
	}
	return nil
}

// mendPrivates removes what is kept for rows that are not there: it would pin packages for ever.
func (inv *Inventory) mendPrivates(tx *store.Tx) error {
	var orphans []model.RowID
	err := store.Privates.Load(tx, func(id model.RowID, _ store.Private) error {
		if inv.draft.DeploymentUnit(id) == nil {
			orphans = append(orphans, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range orphans {
		if err := store.Privates.Delete(tx, id); err != nil {
			return err
		}
	}
	return nil
}

// loadExecutionUnits reads the execution units; those of a row that is not there go.
func (inv *Inventory) loadExecutionUnits(tx *store.Tx) error {
	var orphans []model.RowID
	err := store.ExecutionUnits.Load(tx, func(id model.RowID, u model.ExecutionUnit) error {
		if inv.draft.DeploymentUnit(u.DU) == nil {
			inv.log.Warn("an execution unit belonged to a row that is not there", "eu", u.EUID)
			orphans = append(orphans, id)
			return nil
		}
		u.Status, u.FaultCode, u.FaultMessage = model.EUIdle, model.UnStartable, "the environment has not been seen yet"
		u.Memory, u.Disk, u.ExitCode = model.UnknownSize, model.UnknownSize, -1
		if u.Restart == (model.AutoRestart{}) { // of a row that is older than that
			u.Restart = model.DefaultAutoRestart
		}
		inv.draft.PutExecutionUnit(&u)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range orphans {
		if err := store.ExecutionUnits.Delete(tx, id); err != nil {
			return err
		}
	}
	return nil
}

package deployment

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/mapping/uuidname"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// missing is what an execution unit shows when its environment does not have its deployment unit any more.
const missing = "the environment no longer has the deployment unit"

// Observe implements [environment.Observer]: a unit with a row brings the row up to date; a unit without one becomes a new row with a
// generated UUID; a row without a unit is told as missing and stays. A unit of an open operation is that
// operation's: only the state of its modules is taken over.
func (us *Units) Observe(tx *inventory.Tx, o environment.Observation) error {
	rows := map[string]*model.DeploymentUnit{}
	for du := range tx.DeploymentUnits() {
		if du.Env == o.Env {
			rows[du.Key] = du
		}
	}
	env := tx.ExecEnvByID(o.Env)
	told := env != nil && env.Seen // what the first sync finds is factory state
	for _, unit := range o.Units {
		row := rows[unit.Key]
		before, found := row, row == nil
		if row == nil && us.outdated(unit) {
			continue
		}
		if row == nil {
			var err error
			if row, err = us.adopt(tx, unit); err != nil {
				return err
			}
			if row == nil {
				continue
			}
		}
		if slices.Contains(o.Back, unit.Key) && !row.Missing {
			was := *row
			was.SettingsPending = was.SettingsPending || hasSettings(tx, row)
			row = &was
		}
		if err := us.take(tx, row, unit, newUnits{}); err != nil {
			return err
		}
		switch {
		case !told:
		case found:
			if err := us.tell(tx, Describe(tx, noticed(model.PerformedInstall), tx.DeploymentUnit(row.ID))); err != nil {
				return err
			}
		default:
			if err := us.observed(tx, before); err != nil {
				return err
			}
		}
	}
	for _, key := range o.Removed {
		delete(us.removed, unitName{o.Env, key})
	}
	gone := o.Removed
	if o.Synced {
		gone = nil
		for key := range rows {
			if _, there := o.All[key]; !there {
				gone = append(gone, key)
			}
		}
	}
	for _, key := range slices.Sorted(slices.Values(gone)) {
		if row := rows[key]; row != nil && row.Status == model.DUInstalled {
			if told {
				if err := us.gone(tx, row); err != nil {
					return err
				}
			}
			if err := us.miss(tx, row); err != nil {
				return err
			}
		}
	}
	return nil
}

// Orphans ends the transitory states of rows whose operation is not in the journal any more, because its record could not be read:
// what was there is Installed again, and what was being installed is found anew if it is there. It is called once, after the journal is loaded.
func (us *Units) Orphans(engine *operation.Engine) error {
	return us.Inventory.Update(func(tx *inventory.Tx) error {
		for _, du := range slices.Collect(tx.DeploymentUnits()) {
			env := model.Ref{Kind: model.KindExecEnv, Instance: tx.ExecEnvByID(du.Env).Instance}
			unit := model.Ref{Kind: model.KindDeploymentUnit, Instance: du.ID}
			if du.Status == model.DUInstalled || engine.Concerned(unit) || engine.Concerned(env) {
				continue
			}
			us.Log.Warn("a unit was left by an operation that is lost", "env", du.Env, "du", du.UUID, "status", du.Status)
			end := func() error { return setStatus(tx, du.ID, model.DUInstalled) }
			if du.Status == model.DUInstalling {
				end = func() error { return tx.DeleteDeploymentUnit(du.ID) }
			}
			if err := end(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Down implements [environment.Observer].
func (us *Units) Down(tx *inventory.Tx, env string, asked bool, why string) error {
	return execution.Down(tx, env, asked, why)
}

// Forgotten implements [environment.Observer]. To whoever manages the device the units are removed, though nothing in the environment is touched. What an
// operation is at tells the end of that.
func (us *Units) Forgotten(tx *inventory.Tx, env string) error {
	for _, du := range slices.Collect(tx.DeploymentUnits()) {
		if du.Env != env || du.Status != model.DUInstalled {
			continue
		}
		if err := us.gone(tx, du); err != nil {
			return err
		}
	}
	return nil
}

// newsAge is how old the news of a unit can be at most.
const newsAge = time.Minute

// outdate notes that an operation removes a unit and that its environment has not told that yet: what comes of the unit may be older.
func (us *Units) outdate(tx *inventory.Tx, row *model.DeploymentUnit) {
	name := unitName{row.Env, row.Key}
	tx.AfterCommit(func() { us.removed[name] = time.Now() })
}

// outdated reports whether the news of a unit is older than its removal by an operation.
func (us *Units) outdated(unit adapter.Unit) bool {
	for name, at := range us.removed {
		if time.Since(at) > newsAge {
			delete(us.removed, name)
		}
	}
	_, recent := us.removed[unitName{unit.Env, unit.Key}]
	return recent
}

// adopt makes a row for a unit that somebody else installed. Its key tells the UUID if it was once given by this agent; else
// it is generated (TR-181 Annex C).
func (us *Units) adopt(tx *inventory.Tx, unit adapter.Unit) (*model.DeploymentUnit, error) {
	base, _, _ := strings.Cut(unit.Key, "#")
	uuid, err := uuidname.Parse(base)
	if err != nil {
		if uuid, err = uuidname.New(us.UUIDVersion, unit.Manifest.Name, unit.Manifest.Vendor); err != nil {
			return nil, err
		}
	}
	if id, err := taken(tx, uuid, unit.Manifest.Version, unit.Env); err != nil {
		return nil, err
	} else if id != 0 {
		us.Log.Warn("a unit was found that is another one with the same UUID and version; it is not shown",
			"env", unit.Env, "du", unit.Key, "uuid", uuid, "version", unit.Manifest.Version)
		return nil, nil
	}
	id, err := tx.NextNumber(model.KindDeploymentUnit)
	if err != nil {
		return nil, err
	}
	row := &model.DeploymentUnit{
		ID: id, Alias: defaultAlias(id), Env: unit.Env, Key: unit.Key, UUID: uuid,
		Version: unit.Manifest.Version, Status: model.DUInstalled, Installed: now(), LastUpdate: now(),
	}
	// Its environment may have settings for it that this agent, or another one, has forgotten, and there may be application data that was kept. Whether it has
	// settings at all may not be known yet.
	row.SettingsPending = !unit.System && !unit.Permanent
	us.Log.Info("a unit was found that was not installed through this agent", "env", unit.Env, "du", uuid, "name", unit.Manifest.Name)
	return row, tx.PutDeploymentUnit(row)
}

// miss tells that a unit is gone from its environment.
func (us *Units) miss(tx *inventory.Tx, old *model.DeploymentUnit) error {
	if !old.Missing {
		us.Log.Warn("a unit is gone from its environment", "env", old.Env, "du", old.UUID, "name", old.Name)
	}
	row := *old
	row.Missing, row.Resolved = true, false
	if err := tx.PutDeploymentUnit(&row); err != nil {
		return err
	}
	for _, u := range slices.Collect(tx.ExecutionUnitsOf(row.ID)) {
		changed := *u
		changed.Status, changed.PIDs, changed.Memory = model.EUIdle, nil, model.UnknownSize
		execution.SetFault(&changed, model.UnStartable, missing)
		if err := tx.PutExecutionUnit(&changed); err != nil {
			return err
		}
	}
	return nil
}

// newUnits says how execution units begin that a deployment unit did not have before.
type newUnits struct {
	autoStart bool
	pending   bool // the environment is to be told of autoStart
	restart   *model.AutoRestart
}

// take brings the rows of a unit up to date with what its environment says.
func (us *Units) take(tx *inventory.Tx, old *model.DeploymentUnit, unit adapter.Unit, fresh newUnits) error {
	_, desc := us.Envs.Adapter(unit.Env)
	levels := desc.Has(adapter.CapRunLevels)
	settled := old.Status == model.DUInstalled
	if settled {
		row := *old
		row.DUID, row.Resolved, row.Missing = unit.DUID, unit.Resolved, false
		// What somebody has put back has no settings.
		row.SettingsPending = row.SettingsPending || old.Missing && hasSettings(tx, &row)
		row.Name, row.Vendor, row.Description = unit.Manifest.Name, unit.Manifest.Vendor, unit.Manifest.Description
		if row.Version != unit.Manifest.Version {
			id, err := taken(tx, row.UUID, unit.Manifest.Version, row.Env)
			if err != nil {
				return err
			}
			if id == 0 {
				row.Version, row.LastUpdate = unit.Manifest.Version, now()
			}
		}
		if err := tx.PutDeploymentUnit(&row); err != nil {
			return err
		}
		old = &row
	}
	rows := map[string]*model.ExecutionUnit{}
	for u := range tx.ExecutionUnitsOf(old.ID) {
		rows[u.Module] = u
	}
	for _, m := range unit.Modules {
		var row model.ExecutionUnit
		switch was := rows[m.ID]; {
		case was != nil:
			row = *was
		case !settled:
			continue // rows come and go when the operation records its end
		default:
			begin := fresh
			if m.Inert {
				begin = newUnits{restart: fresh.restart} // there is nothing to start
			}
			if unit.Permanent {
				// Whether it runs when it is seen first tells whether the firmware starts it.
				begin = newUnits{autoStart: m.Status == adapter.Active || m.Status == adapter.Starting}
			}
			var err error
			if row, err = us.newRow(tx, old, m.ID, begin); err != nil {
				return err
			}
		}
		delete(rows, m.ID)
		execution.Observe(&row, m, levels)
		if err := tx.PutExecutionUnit(&row); err != nil {
			return err
		}
	}
	if !settled {
		return nil
	}
	for _, module := range slices.Sorted(maps.Keys(rows)) {
		if err := keepEUID(tx, rows[module]); err != nil {
			return err
		}
		if err := tx.DeleteExecutionUnit(rows[module].ID); err != nil {
			return err
		}
	}
	return nil
}

// hasSettings reports whether a unit has something that its environment has to know.
func hasSettings(tx *inventory.Tx, row *model.DeploymentUnit) bool {
	return !noSettings(row.Settings) || hasVolumes(tx, row)
}

// hasVolumes reports whether a unit has application data.
func hasVolumes(tx *inventory.Tx, row *model.DeploymentUnit) bool {
	for range tx.VolumesOf(row.Env, row.UUID) {
		return true
	}
	return false
}

// newRow returns the beginning of a new execution unit.
func (us *Units) newRow(tx *inventory.Tx, du *model.DeploymentUnit, module string, fresh newUnits) (model.ExecutionUnit, error) {
	id, err := tx.NextNumber(model.KindExecutionUnit)
	if err != nil {
		return model.ExecutionUnit{}, err
	}
	euid, err := freeEUID(tx, du, module)
	if err != nil {
		return model.ExecutionUnit{}, err
	}
	env := tx.ExecEnvByID(du.Env)
	restart := model.DefaultAutoRestart
	if fresh.restart != nil {
		restart = *fresh.restart
	}
	return model.ExecutionUnit{
		ID: id, Alias: defaultAlias(id), DU: du.ID, Env: du.Env, Module: module, EUID: euid,
		Created: now(), Restart: restart, AutoStart: fresh.autoStart, AutoStartPending: fresh.pending, RunLevel: max(env.InitialExecutionUnitRunLevel, 0),
		FaultCode: model.NoFault, ExitCode: -1, Memory: model.UnknownSize, Disk: model.UnknownSize,
	}, nil
}

// maxEUIDs is how many EUIDs there are for the execution units of one UUID on one environment, so that each has at most 64 characters: 24 of the
// environment, 36 of the UUID and #99.
const maxEUIDs = 99

// freeEUID returns the EUID of a module that has none: the one that it had in an earlier version of its unit, or <env>/<UUID>, with #k behind it where that
// is or was another one's. Only when all are used up it is one of a module that is gone.
func freeEUID(tx *inventory.Tx, du *model.DeploymentUnit, module string) (string, error) {
	st, err := tx.Store()
	if err != nil {
		return "", err
	}
	base := du.Env + "/" + du.UUID
	used, known := map[string]bool{}, map[string]bool{}
	for u := range tx.ExecutionUnits() {
		if strings.HasPrefix(u.EUID, base) {
			used[u.EUID] = true
		}
	}
	for x := range tx.DeploymentUnits() {
		if x.Env != du.Env || x.UUID != du.UUID {
			continue
		}
		p, _, err := store.Privates.Get(st, x.ID)
		if err != nil {
			return "", err
		}
		if was := p.EUIDs[module]; x.ID == du.ID && was != "" && !used[was] {
			return was, nil
		}
		for _, id := range p.EUIDs {
			known[id] = true
		}
	}
	name := func(k int) string {
		if k == 1 {
			return base
		}
		return base + "#" + strconv.Itoa(k)
	}
	for k := 1; k <= maxEUIDs; k++ {
		if id := name(k); !used[id] && !known[id] {
			return id, nil
		}
	}
	for k := 1; ; k++ {
		if id := name(k); !used[id] {
			return id, nil
		}
	}
}

// keepEUID keeps the name of an execution unit that goes, while its deployment unit stays.
func keepEUID(tx *inventory.Tx, u *model.ExecutionUnit) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	p, _, err := store.Privates.Get(st, u.DU)
	if err != nil {
		return err
	}
	p.EUIDs = maps.Clone(p.EUIDs)
	if p.EUIDs == nil {
		p.EUIDs = map[string]string{}
	}
	p.EUIDs[u.Module] = u.EUID
	return store.Privates.Put(st, u.DU, p)
}

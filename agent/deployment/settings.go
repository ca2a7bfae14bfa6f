package deployment

import (
	"cmp"
	"context"
	"slices"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Settings are what a controller gives to the execution units of a deployment unit: variables and limits (TR-181, InstallDU(), Update()). The row of a unit that is Installed has those
// that its environment has been told, whose own they are from then on; only a unit that was gone and is there again has to be told them once more.
// Volumes are told with them, but have rows of their own (package volume).

// combine returns the settings that come of old ones by what is asked for: variables replace all that there are, nil leaves them; a limit replaces the one that there
// is. A variable whose key is there keeps its number.
func combine(old model.UnitSettings, variables []model.VariableRequest, limits model.LimitsRequest) model.UnitSettings {
	now := old
	if variables != nil {
		now.Variables = nil
		numbers := map[string]uint32{}
		for _, v := range old.Variables {
			numbers[v.Key] = v.Number
		}
		for _, v := range variables {
			number, there := numbers[v.Key]
			if !there {
				now.LastVariable++
				number = now.LastVariable
			}
			now.Variables = append(now.Variables, model.Variable{Number: number, Key: v.Key, Value: v.Value})
		}
		slices.SortFunc(now.Variables, func(a, b model.Variable) int { return cmp.Compare(a.Number, b.Number) })
	}
	for _, l := range []struct{ to, from *int64 }{{&now.Limits.Disk, limits.Disk}, {&now.Limits.Memory, limits.Memory}} {
		if l.from != nil {
			*l.to = *l.from
		}
	}
	if limits.CPU != nil {
		now.Limits.CPU = *limits.CPU
	}
	return now
}

// requested are the settings of a new unit.
func requested(r model.InstallRequest) model.UnitSettings {
	return combine(model.UnitSettings{}, r.Variables, r.Limits)
}

// noSettings reports whether there is nothing that an environment has to know.
func noSettings(s model.UnitSettings) bool {
	return len(s.Variables) == 0 && s.Limits == model.Limits{}
}

// sameSettings reports whether settings are the same to an environment.
func sameSettings(a, b model.UnitSettings) bool {
	if a.Limits != b.Limits || len(a.Variables) != len(b.Variables) {
		return false
	}
	values := map[string]string{}
	for _, v := range a.Variables {
		values[v.Key] = v.Value
	}
	return !slices.ContainsFunc(b.Variables, func(v model.Variable) bool {
		value, there := values[v.Key]
		return !there || value != v.Value
	})
}

// settingsOf are settings as an adapter is told of them, with the volumes of the unit.
func (us *Units) settingsOf(s model.UnitSettings, volumes []model.Volume) adapter.UnitSettings {
	out := adapter.UnitSettings{Limits: adapter.Limits(s.Limits), Volumes: us.Volumes.Told(volumes)}
	for _, v := range s.Variables {
		out.Variables = append(out.Variables, adapter.Variable{Key: v.Key, Value: v.Value})
	}
	return out
}

// honors returns why an environment cannot give what is asked for to its units, as far as its adapter is known (unsupported-argument).
func (us *Units) honors(env string, r model.InstallRequest) error {
	return us.able(env, !noSettings(requested(r)), len(r.Volumes) > 0)
}

func (us *Units) able(env string, settings, volumes bool) error {
	_, desc := us.Envs.Adapter(env)
	switch {
	case desc.Kind == "":
	case settings && !desc.Has(adapter.CapUnitSettings):
		return fault.Errorf(fault.UnsupportedArgument, "cannot set variables or limits on %s: its environment has none for a unit", env)
	case volumes && !desc.Has(adapter.CapVolumes):
		return fault.Errorf(fault.UnsupportedArgument, "cannot have application data on %s: environments of its kind give none to their units", env)
	}
	return nil
}

// unsupported makes the refusal of a setting by an adapter one of the argument.
func unsupported(err error) error {
	if adapter.ReasonOf(err) == adapter.NotSupported {
		return fault.As(fault.UnsupportedArgument, err)
	}
	return environment.Classify(err)
}

// installConfigure tells the environment the settings of the new unit. What is left of a failure goes with the unit.
func (us *Units) installConfigure(ctx context.Context, r *installRun) (operation.Apply, error) {
	s := r.State
	settings := requested(s.Request)
	if noSettings(settings) && s.Data.IsZero() {
		return nil, nil
	}
	if err := us.Volumes.Make(ctx, s.Data); err != nil {
		return nil, err
	}
	ref := adapter.UnitRef{Env: s.Env, Key: s.Key, Handle: s.Unit.Handle}
	return nil, unsupported(us.Envs.Call(ctx, s.Env, func(ctx context.Context, a environment.Adapter) error {
		return a.SetUnit(ctx, r.OpID(), ref, us.settingsOf(settings, s.Data.After))
	}))
}

// settingsChange is what an update makes of the settings of a unit.
type settingsChange struct {
	Before model.UnitSettings `json:"before,omitzero"`
	After  model.UnitSettings `json:"after,omitzero"`
	Data   volume.Change      `json:"data,omitzero"`
	// Entered: the step that tells After has been entered. Told: After was taken.
	Entered bool `json:"entered,omitempty"`
	Told    bool `json:"told,omitempty"`
	Back    bool `json:"back,omitempty"`    // Before is there again, or still
	Refused bool `json:"refused,omitempty"` // Before was refused

	attempt attempt // of the adapter's SetUnit
}

// IsZero reports whether nothing is there before or after.
func (n settingsChange) IsZero() bool {
	return n.Before.IsZero() && n.After.IsZero() && n.Data.IsZero()
}

// differs reports whether variables or limits change.
func (n settingsChange) differs() bool { return !sameSettings(n.Before, n.After) }

// tells reports whether the environment is to be told what comes after.
func (n settingsChange) tells() bool { return n.differs() || n.Data.Seen() }

// changeOf returns what an update makes of the settings of a row. What it makes of its volumes is planned when its turn has come.
func changeOf(row *model.DeploymentUnit, r model.UpdateRequest) settingsChange {
	return settingsChange{Before: row.Settings, After: combine(row.Settings, r.Variables, r.Limits)}
}

// withoutSettings is a request whose variables and limits are in the targets of its update.
func withoutSettings(r model.UpdateRequest) model.UpdateRequest {
	r.Variables, r.Limits = nil, model.LimitsRequest{}
	return r
}

// honorsChange is honors for an update. Taking settings away asks for the same ability as giving them.
func (us *Units) honorsChange(env string, n settingsChange, r model.UpdateRequest) error {
	return us.able(env, n.differs(), len(r.Volumes) > 0)
}

// record writes the settings into the row of the unit.
func (n settingsChange) record(row *model.DeploymentUnit) {
	if n.tells() {
		row.Settings, row.SettingsPending = n.After, false
	}
}

// settingsAtFailure makes the row of a unit whose update has failed tell what its environment has when the settings could not be set back: those that it was given if it
// refuses Before for good; else it is told Before again.
func (us *Units) settingsAtFailure(tx *inventory.Tx, t *updateTarget) error {
	n, old := t.Settings, tx.DeploymentUnit(t.Row)
	if !n.tells() || !n.Entered || n.Back || !n.attempt.open() || old == nil || !sameSettings(old.Settings, n.Before) {
		return nil
	}
	row := *old
	if n.Told && n.Refused && !n.Data.Seen() {
		n.record(&row)
	} else {
		row.SettingsPending = true
		us.Envs.Untold(tx, row.Env)
	}
	return tx.PutDeploymentUnit(&row)
}

// updateConfigure tells the environments the settings that change, while the modules run as before. After the Update it would be too late: an environment
// that is launched again starts them itself.
func (us *Units) updateConfigure(ctx context.Context, r *updateRun) (operation.Apply, error) {
	for i := range r.State.Targets {
		t := &r.State.Targets[i]
		if err := us.Volumes.Make(ctx, t.Settings.Data); err != nil {
			return nil, operation.Unsettled(err)
		}
		if !t.Settings.tells() {
			continue
		}
		err := us.Envs.Call(ctx, t.Env, func(ctx context.Context, a environment.Adapter) error {
			t.Settings.attempt.made = true
			return a.SetUnit(ctx, r.OpID(), t.OldRef, us.settingsOf(t.Settings.After, t.Settings.Data.After))
		})
		if err != nil {
			// Environments that were told before are told the settings of before again, so this counts as begun.
			t.Settings.Back = t.Settings.attempt.own && refused(err)
			return nil, operation.Unsettled(unsupported(err))
		}
		t.Settings.Told = true
	}
	return nil, nil
}

// updateSetBack tells the environments the settings of before again, wherever the update broke off.
func (us *Units) updateSetBack(ctx context.Context, r *updateRun) (operation.Apply, error) {
	for i := range slices.Backward(r.State.Targets) {
		if err := us.setBack(ctx, r, &r.State.Targets[i]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// setBack tells one environment the settings of before again. That comes before a Revert, which ends what was started with others. A unit that has taken more
// meanwhile than they allow is stopped for it; the undo of the step before starts again what ran.
func (us *Units) setBack(ctx context.Context, r *updateRun, t *updateTarget) error {
	if !t.Settings.tells() || t.Settings.Back || t.Settings.Refused || !t.Settings.attempt.open() {
		return nil
	}
	tell := func() error {
		return us.Envs.Undo(ctx, t.Env, func(ctx context.Context, a environment.Adapter) error {
			return a.SetUnit(ctx, r.OpID()+"-back", t.OldRef, us.settingsOf(t.Settings.Before, t.Settings.Data.Before))
		})
	}
	err := tell()
	if adapter.ReasonOf(err) == adapter.InUse {
		if err := us.halt(ctx, r.OpID()+"-halt", t.Row); err != nil {
			return err
		}
		err = tell()
	}
	if refused(err) {
		r.Log.Warn("the settings of a unit whose update failed could not be set back", "env", t.Env, "du", t.OldRef.Key, "err", err)
		t.Settings.Refused = never(err)
		return nil
	}
	t.Settings.Back = err == nil
	return err
}

// halt stops all of a unit, whatever its rows have heard. What does not stop is only logged: its environment judges what that means. The error says that it could not be
// asked.
func (us *Units) halt(ctx context.Context, op adapter.OpID, du model.RowID) error {
	all := execution.Ascending(slices.Collect(us.Inventory.Snapshot().ExecutionUnitsOf(du)))
	for _, u := range slices.Backward(all) {
		if u.Inert {
			continue
		}
		ref, err := us.EUs.Ref(u)
		if err != nil {
			return err
		}
		err = us.Envs.Undo(ctx, u.Env, func(ctx context.Context, a environment.Adapter) error { return a.Stop(ctx, op, ref) })
		if ctx.Err() != nil || environment.Away(err) {
			return cmp.Or(context.Cause(ctx), err)
		}
		if err != nil {
			us.Log.Warn("an execution unit whose settings are set back did not stop", "env", u.Env, "eu", u.EUID, "err", err)
		}
	}
	return nil
}

// refused reports whether nothing was changed and asking again at once would change nothing either.
func refused(err error) bool {
	r := adapter.ReasonOf(err)
	return never(err) || r == adapter.NotFound || r == adapter.InUse
}

// never reports whether the environment cannot have the settings.
func never(err error) bool {
	r := adapter.ReasonOf(err)
	return r == adapter.NotSupported || r == adapter.InvalidArgument
}

// forgetSettings takes the settings off the row of a unit that is gone and is being installed again: it comes without any. Its application data stays, and is to be told.
func forgetSettings(tx *inventory.Tx, old *model.DeploymentUnit) error {
	row := *old
	row.Settings, row.SettingsPending = model.UnitSettings{LastVariable: old.Settings.LastVariable}, hasVolumes(tx, old)
	return tx.PutDeploymentUnit(&row)
}

// Configure gives a unit the variables, limits and volumes that it is to have again; the volumes are those of all its versions. A unit that uses more than they allow is
// stopped for it, and not started again: its caller restarts the environment. If that is not enough they are pending, which is no error. It may be repeated with the same
// OpID; its caller has the turn.
func (us *Units) Configure(ctx context.Context, op adapter.OpID, id model.RowID, wanted model.UnitSettings, data []model.VolumeRequest) error {
	row, c, err := us.planAgain(ctx, id, data)
	if err != nil {
		return err
	}
	variables := []model.VariableRequest{}
	for _, v := range wanted.Variables {
		variables = append(variables, model.VariableRequest{Key: v.Key, Value: v.Value})
	}
	l := wanted.Limits
	after := combine(row.Settings, variables, model.LimitsRequest{Disk: &l.Disk, Memory: &l.Memory, CPU: &l.CPU})
	if sameSettings(row.Settings, after) && !c.Any() && !row.SettingsPending {
		return nil
	}
	err = us.setUnit(ctx, op, row, after, c.After)
	if adapter.ReasonOf(err) == adapter.InUse {
		if err := us.halt(ctx, op+"-halt", row.ID); err != nil {
			return err
		}
		err = us.setUnit(ctx, op, row, after, c.After)
	}
	later := adapter.ReasonOf(err) == adapter.InUse
	if err != nil && !later {
		return unsupported(err)
	}
	if err := us.settled(row.ID, row.Settings, after, later); err != nil {
		return err
	}
	return us.Inventory.Update(func(tx *inventory.Tx) error { return us.Volumes.Record(tx, c) })
}

// planAgain plans the volumes that a unit is to have again, and returns its row as it was then. Those that lack are made at once, as there is no way back from here: when
// there is room for them the rows, and then the directories. All versions of the unit are to be told, also by a process that comes after this one.
func (us *Units) planAgain(ctx context.Context, id model.RowID, data []model.VolumeRequest) (row *model.DeploymentUnit, c volume.Change, err error) {
	err = us.Inventory.Update(func(tx *inventory.Tx) (err error) {
		if row = tx.DeploymentUnit(id); row == nil {
			return fault.Errorf(fault.UnknownDU, "cannot configure deployment unit %d: it does not exist any more", id)
		}
		c, err = us.Volumes.Plan(tx, volume.Unit{Env: row.Env, UUID: row.UUID, Row: id}, data, volume.KeepNamed)
		return err
	})
	if err == nil {
		err = us.Volumes.Room(ctx, c)
	}
	if err != nil {
		return row, c, err
	}
	err = us.Inventory.Update(func(tx *inventory.Tx) error {
		if err := us.Volumes.Begin(tx, c); err != nil || !c.Seen() {
			return err
		}
		return us.untold(tx, row.Env, row.UUID)
	})
	if err == nil {
		err = us.Volumes.Ensure(ctx, row.Env, row.UUID)
	}
	return row, c, err
}

// untold marks all versions of a unit: their environment is to be told what they see. One that is only to be installed is told by its install.
func (us *Units) untold(tx *inventory.Tx, env, uuid string) error {
	for _, du := range slices.Collect(tx.DeploymentUnits()) {
		if du.Env != env || du.UUID != uuid || du.Status == model.DUInstalling || us.Envs.System(env, du.Key) || us.Envs.Permanent(env, du.Key) {
			continue
		}
		row := *du
		row.SettingsPending = true
		if err := tx.PutDeploymentUnit(&row); err != nil {
			return err
		}
	}
	us.Envs.Untold(tx, env)
	return nil
}

// setUnit tells the environment of a row settings of the unit, with these volumes, whose directories are there.
func (us *Units) setUnit(ctx context.Context, op adapter.OpID, row *model.DeploymentUnit, s model.UnitSettings, volumes []model.Volume) error {
	p, err := us.kept(row.ID)
	if err != nil {
		return err
	}
	return us.Envs.Call(ctx, row.Env, func(ctx context.Context, a environment.Adapter) error {
		return a.SetUnit(ctx, op, us.ref(row, p), us.settingsOf(s, volumes))
	})
}

// settled records settings that the environment has been told, or is to be told later, unless others have come since it was looked which.
func (us *Units) settled(id model.RowID, before, after model.UnitSettings, later bool) error {
	return us.Inventory.Update(func(tx *inventory.Tx) error {
		old := tx.DeploymentUnit(id)
		if old == nil || !sameSettings(old.Settings, before) {
			return nil
		}
		row := *old
		row.Settings, row.SettingsPending = after, later
		return tx.PutDeploymentUnit(&row)
	})
}

// TellSettings tells an environment the settings that are pending. What it cannot have goes from the row; what could not be done stays pending, and the keeper of the
// environment tries again. An error says that the environment could not be asked. The caller has the turn.
func (us *Units) TellSettings(ctx context.Context, op adapter.OpID, env string) error {
	for du := range us.Inventory.Snapshot().DeploymentUnits() {
		if du.Env != env || !du.Pending() {
			continue
		}
		volumes := us.Volumes.Of(du.Env, du.UUID)
		if _, desc := us.Envs.Adapter(env); !desc.Has(adapter.CapUnitSettings) && noSettings(du.Settings) && len(volumes) == 0 {
			if err := us.settled(du.ID, du.Settings, du.Settings, false); err != nil {
				return err
			}
			continue // there is nothing to tell, and nothing that could be there
		}
		err := us.Volumes.Ensure(ctx, du.Env, du.UUID)
		if err == nil {
			err = us.setUnit(ctx, op, du, du.Settings, volumes)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if environment.Away(err) {
			return environment.Classify(err)
		}
		after := du.Settings
		if err != nil {
			us.Log.Warn("a unit does not have its settings", "env", env, "du", du.UUID, "err", err)
			switch {
			case never(err):
				after = model.UnitSettings{LastVariable: after.LastVariable}
			case adapter.ReasonOf(err) != adapter.NotFound: // else it is gone again, and may come back
				continue
			}
		}
		if err := us.settled(du.ID, du.Settings, after, false); err != nil {
			return err
		}
	}
	return nil
}

package deployment

import (
	"cmp"
	"context"
	"slices"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/mapping/uuidname"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// UpdateState is the state of the operation update. It may have several targets, the same unit on several environments: all
// get a new version or none (TR-069 VI.5.1.2).
type UpdateState struct {
	download
	Request  model.UpdateRequest `json:"request"`
	Targets  []updateTarget      `json:"targets"`
	Recorded bool                `json:"recorded,omitempty"` // the rows are Installed at the new version
}

type updateTarget struct {
	Row      model.RowID      `json:"row"`
	Env      string           `json:"env"`
	UUID     string           `json:"uuid"`
	Place    int              `json:"place,omitempty"` // which of the downloads it gets, from 0
	Manifest adapter.Manifest `json:"manifest"`
	Active   []string         `json:"active"` // modules that ran before
	Old      adapter.Package  `json:"old"`    // the package of the present generation
	OldRef   adapter.UnitRef  `json:"old_ref"`
	Unit     adapter.Unit     `json:"unit"`               // the new generation
	Complete bool             `json:"complete,omitempty"` // it lacks nothing, as its starts have shown
	Settings settingsChange   `json:"settings,omitzero"`

	attempt attempt // of the adapter's Update
}

type updateRun = operation.Run[UpdateState]

// from returns the download that a target gets.
func (s *UpdateState) from(t *updateTarget) *download { return s.all()[t.Place] }

// NewUpdate returns the state of an update of these rows that has been asked for; tx is the transaction that accepts it.
// Without a URL in the request each row's package comes from where the last one came from, with the credentials of that (TR-369 I.2.1, TR-069 A.4.1.10): see places.
func (us *Units) NewUpdate(tx *inventory.Tx, r model.UpdateRequest, rows ...*model.DeploymentUnit) (*UpdateState, error) {
	st, err := tx.Store()
	if err != nil {
		return nil, err
	}
	s := &UpdateState{Request: withoutSettings(r)}
	var known []store.Private
	for _, row := range rows {
		p, _, err := store.Privates.Get(st, row.ID)
		if err != nil {
			return nil, err
		}
		known = append(known, p)
	}
	all, of := places(r.URL, rows, known)
	if len(all) == 0 {
		return nil, fault.Errorf(fault.InvalidArguments, "cannot update %s: no URL is given and none is known", rows[0].UUID)
	}
	for i, row := range rows {
		if err := us.updatable(row, known[i]); err != nil {
			return nil, err
		}
		settings := changeOf(row, r)
		if err := us.honorsChange(row.Env, settings, r); err != nil {
			return nil, err
		}
		s.Targets = append(s.Targets, updateTarget{Row: row.ID, Env: row.Env, UUID: row.UUID, Place: of[i], Settings: settings})
	}
	if r.URL != "" || r.Username != "" || r.Password != "" {
		sealed, err := us.Sealer.Seal(store.Credentials{Username: r.Username, Password: r.Password})
		if err != nil {
			return nil, err
		}
		for i := range all {
			all[i].Credentials = sealed
		}
	}
	s.download, s.Others = all[0], all[1:]
	return s, nil
}

// places returns where the packages of rows come from, each place once, and which one is whose: the URL that was asked for, or else the row's own. Rows with the
// same URL share the credentials of the one that was updated last; a row that has none goes with the one of all that was.
func places(asked string, rows []*model.DeploymentUnit, known []store.Private) (all []download, of []int) {
	newest := make([]int, len(rows))
	for i := range rows {
		newest[i] = i
	}
	slices.SortStableFunc(newest, func(a, b int) int { return rows[b].LastUpdate.Compare(rows[a].LastUpdate) })
	of = make([]int, len(rows))
	for _, i := range newest {
		url := cmp.Or(asked, rows[i].URL)
		if url == "" {
			continue // the first place
		}
		of[i] = slices.IndexFunc(all, func(d download) bool { return d.URL == url })
		if of[i] < 0 {
			of[i] = len(all)
			all = append(all, download{URL: url, Credentials: known[i].Credentials, For: rows[i].Env})
		}
	}
	return all, of
}

// updatable refuses at once what cannot be updated, as far as that is known already.
func (us *Units) updatable(row *model.DeploymentUnit, p store.Private) error {
	if why := us.Envs.Fixed(row.Env, row.Key); why != "" {
		return fault.Errorf(fault.NotSupported, "cannot update %s: it is %s", row.UUID, why)
	}
	_, desc := us.Envs.Adapter(row.Env)
	if p.Of(row.Version).SHA256 == "" && desc.Kind != "" && !desc.Has(adapter.CapExport) {
		return unknownPackage(row)
	}
	return nil
}

// Update returns the kind of operation update.
func (us *Units) Update() *operation.Definition[UpdateState] {
	steps := append(downloadSteps(us, func(s *UpdateState) *download { return &s.download }), []operation.Step[UpdateState]{
		{Name: "inspect", State: model.JobInspecting, Do: us.updateInspect, Undo: us.updateForget},
		{Name: "keep", State: model.JobUpdating, Turn: true, Do: us.updateKeep},
		{Name: "prepare", State: model.JobUpdating, Turn: true, Do: us.updatePrepare, Undo: us.updateRestore},
		{Name: "configure", State: model.JobConfiguring, Turn: true, Do: us.updateConfigure, Undo: us.updateSetBack},
		{Name: "update", State: model.JobUpdating, Weight: 4, Turn: true, Do: us.updateUpdate, Undo: us.updateRevert},
		{Name: "record", State: model.JobRecording, Turn: true, Final: true, Do: us.updateRecord},
		{Name: "start", State: model.JobStarting, Weight: 4, Turn: true, Do: us.updateStart},
		{Name: "discard", State: model.JobRecording, Turn: true, Do: us.updateDiscard},
	}...)
	return &operation.Definition[UpdateState]{Kind: "update", Finish: us.updateFinish, Results: us.updateResults, Steps: steps}
}

// updateInspect asks every environment before one is touched, and makes the rows Updating.
func (us *Units) updateInspect(ctx context.Context, r *updateRun) (operation.Apply, error) {
	s := r.State
	for i := range s.Targets {
		t := &s.Targets[i]
		got := s.from(t).Fetched
		p, err := us.Package(got.SHA256, got.Size)
		if err != nil {
			return nil, err
		}
		if _, err := us.Envs.Ready(ctx, t.Env); err != nil {
			return nil, err
		}
		if t.Manifest, err = us.inspect(ctx, t.Env, p); err != nil {
			return nil, err
		}
		if err := us.honorsChange(t.Env, t.Settings, s.Request); err != nil {
			return nil, err
		}
	}
	return func(tx *inventory.Tx) error {
		s.NewVolumes = nil
		for i := range s.Targets {
			t := &s.Targets[i]
			row := tx.DeploymentUnit(t.Row)
			if row == nil {
				return fault.Errorf(fault.UnknownDU, "cannot update deployment unit %d: it is gone", t.Row)
			}
			if err := environment.Check(&tx.Snapshot, t.Env); err != nil {
				return err
			}
			if t.Manifest.Name != row.Name && generated(row) {
				return fault.Errorf(fault.InvalidArguments, "cannot update %s on %s: the package is %s and not %s, which is another unit",
					row.UUID, t.Env, t.Manifest.Name, row.Name)
			}
			if id, err := taken(tx, row.UUID, t.Manifest.Version, t.Env); err != nil {
				return err
			} else if id != 0 {
				return fault.Errorf(fault.VersionExists, "cannot update %s on %s: version %s is there already", row.UUID, t.Env, t.Manifest.Version)
			}
			if err := us.updateData(tx, s, t, us.Volumes.Plan); err != nil {
				return err
			}
			if err := setStatus(tx, t.Row, model.DUUpdating); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// planner is [volume.Keeper.Plan], or again with a plan that is there.
type planner func(*inventory.Tx, volume.Unit, []model.VolumeRequest, volume.Keep) (volume.Change, error)

// updateData plans what becomes of the application data of a target.
func (us *Units) updateData(tx *inventory.Tx, s *UpdateState, t *updateTarget, plan planner) (err error) {
	keep := volume.KeepAll
	if r := s.Request.RetainData; r != nil && !*r {
		keep = volume.KeepNone
	}
	t.Settings.Data, err = plan(tx, volume.Unit{Env: t.Env, UUID: t.UUID, Row: t.Row}, s.Request.Volumes, keep)
	s.NewVolumes = append(s.NewVolumes, t.Settings.Data.New()...)
	return err
}

// generated reports whether the UUID of a unit comes from its name: a package of another name has another UUID (TR-181 Annex C).
func generated(row *model.DeploymentUnit) bool {
	for _, version := range []int{3, 5} {
		if uuid, err := uuidname.New(version, row.Name, row.Vendor); err == nil && uuid == row.UUID {
			return true
		}
	}
	return false
}

// updateForget makes the rows Installed again, at the old version.
func (us *Units) updateForget(_ context.Context, r *updateRun) (operation.Apply, error) {
	return func(tx *inventory.Tx) error {
		for _, t := range r.State.Targets {
			row := tx.DeploymentUnit(t.Row)
			if row == nil || row.Status != model.DUUpdating {
				continue
			}
			if err := us.installedAgain(tx, t.Row); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// updateFinish puts rows right that a failed update could not.
func (us *Units) updateFinish(tx *inventory.Tx, r *updateRun, failure error) error {
	if failure == nil {
		return nil
	}
	for _, t := range r.State.Targets {
		if err := us.putRight(tx, t.Row); err != nil {
			return err
		}
		if err := us.settingsAtFailure(tx, &t); err != nil {
			return err
		}
	}
	return nil
}

// updateKeep sees to it that the present package of every unit is in the package store before one unit is touched, so that the update can
// be undone. What becomes of application data is judged again, now that no other operation on the unit comes in between.
func (us *Units) updateKeep(ctx context.Context, r *updateRun) (operation.Apply, error) {
	s := r.State
	for i := range s.Targets {
		t := &s.Targets[i]
		du, err := us.lookup(t.Row)
		if err != nil {
			return nil, err
		}
		if t.Old, err = us.Keep(ctx, du, nil); err != nil {
			return nil, err
		}
		p, err := us.kept(t.Row)
		if err != nil {
			return nil, err
		}
		t.OldRef = us.ref(du, p)
		s.Pins = append(s.Pins, t.Old.SHA256)
	}
	return func(tx *inventory.Tx) error {
		s.NewVolumes = nil
		for i := range s.Targets {
			t := &s.Targets[i]
			err := us.updateData(tx, s, t, func(tx *inventory.Tx, u volume.Unit, asked []model.VolumeRequest, keep volume.Keep) (volume.Change, error) {
				return us.Volumes.PlanAgain(tx, t.Settings.Data, u, asked, keep)
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// updatePrepare notes what runs, so that it can be started again.
func (us *Units) updatePrepare(ctx context.Context, r *updateRun) (operation.Apply, error) {
	for i := range r.State.Targets {
		t := &r.State.Targets[i]
		if _, err := us.Envs.Ready(ctx, t.Env); err != nil {
			return nil, err
		}
		t.Active = wasActive(us.Inventory.Snapshot(), t.Row)
		t.attempt, t.Settings.attempt, t.Settings.Entered = attempt{own: true}, attempt{own: true}, true
	}
	return nil, nil
}

// updateRestore starts again what ran before.
func (us *Units) updateRestore(ctx context.Context, r *updateRun) (operation.Apply, error) {
	for _, t := range r.State.Targets {
		if environment.Check(us.Inventory.Snapshot(), t.Env) != nil {
			continue // what it has is started when it is enabled
		}
		if _, err := us.startAgain(ctx, r.OpID()+"-again", t.Row, t.Active); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// updateUpdate makes the new package the present generation everywhere.
func (us *Units) updateUpdate(ctx context.Context, r *updateRun) (operation.Apply, error) {
	for i := range r.State.Targets {
		t := &r.State.Targets[i]
		got := r.State.from(t).Fetched
		next, err := us.Package(got.SHA256, got.Size)
		if err != nil {
			return nil, err
		}
		old, err := us.Package(t.Old.SHA256, t.Old.Size)
		if err != nil {
			return nil, err
		}
		err = us.Envs.Call(ctx, t.Env, func(ctx context.Context, a environment.Adapter) (err error) {
			t.attempt.made = true
			t.Unit, err = a.Update(ctx, r.OpID(), t.OldRef, old, next)
			return err
		})
		if adapter.ReasonOf(err) == adapter.Exists {
			err = fault.As(fault.VersionExists, err)
		}
		if err != nil {
			// An environment whose update was begun is reverted, so this counts as begun.
			return nil, operation.Unsettled(environment.Classify(err))
		}
		us.arrived(ctx, t.Env, t.OldRef.Key, t.Unit)
	}
	return nil, nil
}

// updateRevert makes the old package the present generation again, wherever the update broke off.
func (us *Units) updateRevert(ctx context.Context, r *updateRun) (operation.Apply, error) {
	for i := range slices.Backward(r.State.Targets) {
		t := &r.State.Targets[i]
		if !t.attempt.open() {
			continue
		}
		if err := us.setBack(ctx, r, t); err != nil {
			return nil, err
		}
		old, err := us.Package(t.Old.SHA256, t.Old.Size)
		if err != nil {
			return nil, err
		}
		var unit adapter.Unit
		err = us.Envs.Undo(ctx, t.Env, func(ctx context.Context, a environment.Adapter) (err error) {
			unit, err = a.Revert(ctx, r.OpID(), t.OldRef, old)
			return err
		})
		if adapter.ReasonOf(err) == adapter.NotFound {
			r.Log.Warn("a unit whose update failed is gone from its environment", "env", t.Env, "du", t.OldRef.Key)
			continue
		}
		if err != nil {
			return nil, err
		}
		us.arrived(ctx, t.Env, t.OldRef.Key, unit)
	}
	return nil, nil
}

// updateRecord makes the rows Installed at the new version.
func (us *Units) updateRecord(_ context.Context, r *updateRun) (operation.Apply, error) {
	return func(tx *inventory.Tx) error {
		s := r.State
		s.Recorded = true
		for i := range s.Targets {
			t := &s.Targets[i]
			d := s.from(t)
			old := tx.DeploymentUnit(t.Row)
			if old == nil {
				return fault.Errorf(fault.Internal, "cannot record the update: row %d is gone", t.Row)
			}
			row := *old
			row.Status, row.LastUpdate, row.URL, row.Version = model.DUInstalled, now(), d.URL, t.Manifest.Version
			if s.Request.ModuleVersion != nil {
				row.ModuleVersion = *s.Request.ModuleVersion
			}
			t.Settings.record(&row)
			if err := tx.PutDeploymentUnit(&row); err != nil {
				return err
			}
			if err := us.Volumes.Record(tx, t.Settings.Data); err != nil {
				return err
			}
			unit := t.Unit
			if seen, ok := us.Envs.Seen(t.Env, row.Key); ok && seen.Manifest.Version == unit.Manifest.Version {
				unit = seen
			}
			start := us.autoStart[t.Env]
			if err := us.take(tx, &row, unit, newUnits{autoStart: start, pending: start}); err != nil {
				return err
			}
			err := private(tx, row.ID, store.Private{
				Handle: t.Unit.Handle, Version: t.Unit.Manifest.Version, SHA256: d.Fetched.SHA256, Size: d.Fetched.Size, Credentials: d.Credentials,
			})
			if err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// updateStart brings the execution units back to the states they had (TR-181, Update()); new ones start by their AutoStart.
func (us *Units) updateStart(ctx context.Context, r *updateRun) (operation.Apply, error) {
	var applies []operation.Apply
	for i := range r.State.Targets {
		t := &r.State.Targets[i]
		started, apply, err := us.autoStartNew(ctx, r.OpID(), t.Row, r.Remark)
		if err != nil {
			return nil, err
		}
		applies = append(applies, apply)
		again, err := us.startAgain(ctx, r.OpID(), t.Row, t.Active)
		if err != nil {
			return nil, err
		}
		t.Complete = us.lacksNothing(t.Row, append(started, again...))
	}
	return func(tx *inventory.Tx) error {
		for _, apply := range applies {
			if err := apply(tx); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// updateDiscard lets go of the old generation. A failure of that is logged only: the new version is there.
func (us *Units) updateDiscard(ctx context.Context, r *updateRun) (operation.Apply, error) {
	for _, t := range r.State.Targets {
		err := us.Envs.Call(ctx, t.Env, func(ctx context.Context, a environment.Adapter) error {
			return a.Discard(ctx, r.OpID(), t.OldRef)
		})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			r.Log.Warn("the old generation of a unit could not be discarded", "env", t.Env, "du", t.OldRef.Key, "err", err)
		}
	}
	return nil, nil
}

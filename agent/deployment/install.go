package deployment

import (
	"context"
	"fmt"
	"slices"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/mapping/uuidname"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// InstallState is the state of the operation install.
type InstallState struct {
	download
	Request  model.InstallRequest `json:"request"`
	Env      string               `json:"env,omitempty"`
	UUID     string               `json:"uuid,omitempty"` // as requested or generated; empty: not known yet
	Manifest adapter.Manifest     `json:"manifest"`
	Row      model.RowID          `json:"row,omitempty"`
	Key      string               `json:"unit_key,omitempty"`
	Unit     adapter.Unit         `json:"unit"`
	Data     volume.Change        `json:"data,omitzero"`
	Recorded bool                 `json:"recorded,omitempty"` // the unit is Installed
	Complete bool                 `json:"complete,omitempty"` // it lacks nothing, as its starts have shown

	attempt attempt // of the adapter's Install
}

type installRun = operation.Run[InstallState]

// NewInstall returns the state of an install that has been asked for.
func (us *Units) NewInstall(r model.InstallRequest) (*InstallState, error) {
	if r.ExecEnv != "" {
		if err := us.honors(r.ExecEnv, r); err != nil {
			return nil, err
		}
	}
	sealed, err := us.Sealer.Seal(store.Credentials{Username: r.Username, Password: r.Password})
	return &InstallState{download: download{URL: r.URL, Credentials: sealed, For: r.ExecEnv}, Request: r}, err
}

// Install returns the kind of operation install.
func (us *Units) Install() *operation.Definition[InstallState] {
	finish := func(tx *inventory.Tx, r *installRun, failure error) error {
		if failure == nil {
			return nil
		}
		return us.putRight(tx, r.State.Row)
	}
	steps := append(downloadSteps(us, func(s *InstallState) *download { return &s.download }), []operation.Step[InstallState]{
		{Name: "inspect", State: model.JobInspecting, Do: us.installInspect, Undo: us.installForget},
		{Name: "install", State: model.JobInstalling, Weight: 4, Turn: true, Do: us.installInstall, Undo: us.installRemove},
		{Name: "configure", State: model.JobConfiguring, Turn: true, Do: us.installConfigure},
		{Name: "record", State: model.JobRecording, Turn: true, Final: true, Do: us.installRecord},
		{Name: "start", State: model.JobStarting, Weight: 4, Turn: true, Do: us.installStart},
	}...)
	return &operation.Definition[InstallState]{Kind: "install", Finish: finish, Results: us.installResults, Steps: steps}
}

// installInspect chooses the environment, reads the package, and makes the row.
func (us *Units) installInspect(ctx context.Context, r *installRun) (operation.Apply, error) {
	s := r.State
	p, err := us.Package(s.Fetched.SHA256, s.Fetched.Size)
	if err != nil {
		return nil, err
	}
	if s.Request.ExecEnv != "" {
		if _, err := us.Envs.Ready(ctx, s.Request.ExecEnv); err != nil {
			return nil, err
		}
		s.Env = s.Request.ExecEnv
		if s.Manifest, err = us.inspect(ctx, s.Env, p); err == nil {
			err = us.honors(s.Env, s.Request)
		}
	} else {
		s.Env, s.Manifest, err = us.choose(ctx, p, s.Request)
	}
	if err != nil {
		return nil, err
	}
	uuid := s.Request.UUID
	if uuid == "" {
		if uuid, err = uuidname.New(us.UUIDVersion, s.Manifest.Name, s.Manifest.Vendor); err != nil {
			return nil, err
		}
	}
	s.UUID = uuid
	r.UseEnvs(s.Env)
	return func(tx *inventory.Tx) error { return us.installRow(tx, r, uuid) }, nil
}

// choose returns the first environment that takes the package and gives its execution units the settings: one that is up before one that is not, and a
// disabled one never (TR-069 VI.5.1.1).
func (us *Units) choose(ctx context.Context, p adapter.Package, r model.InstallRequest) (string, adapter.Manifest, error) {
	snapshot := us.Inventory.Snapshot()
	rows := slices.Collect(snapshot.ExecEnvs())
	slices.SortStableFunc(rows, func(a, b *model.ExecEnv) int { return rank(a) - rank(b) })
	failure := fault.Errorf(fault.DUExecEnvMismatch, "cannot install the package: no environment takes it")
	passedOver := true // every environment so far
	for _, row := range rows {
		m, err := us.inspect(ctx, row.ID, p)
		switch {
		case ctx.Err() != nil:
			return "", m, context.Cause(ctx)
		case fault.ReasonOf(err) == fault.DUExecEnvMismatch:
			continue
		case err == nil:
			if unable := us.honors(row.ID, r); unable != nil {
				if passedOver {
					failure = unable
				}
				continue
			}
			err = environment.Check(snapshot, row.ID)
		}
		if err == nil {
			_, err = us.Envs.Ready(ctx, row.ID)
		}
		if err == nil {
			return row.ID, m, nil
		}
		if passedOver {
			failure, passedOver = err, false
		}
	}
	return "", adapter.Manifest{}, failure
}

func rank(e *model.ExecEnv) int {
	switch e.Status {
	case model.EEUp:
		return 0
	case model.EEDisabled:
		return 2
	}
	return 1
}

// installRow makes the row Installing, with everything that must be judged before it exists.
func (us *Units) installRow(tx *inventory.Tx, r *installRun, uuid string) error {
	s := r.State
	if err := environment.Check(&tx.Snapshot, s.Env); err != nil {
		return err
	}
	if id, err := taken(tx, uuid, s.Manifest.Version, s.Env); err != nil {
		return err
	} else if id != 0 {
		return fault.Errorf(fault.DuplicateDU, "cannot install %s %s (%s) on %s: it is there already", s.Manifest.Name, s.Manifest.Version, uuid, s.Env)
	}
	id, err := tx.NextNumber(model.KindDeploymentUnit)
	if err != nil {
		return err
	}
	s.Row, s.Key = id, us.freeKey(tx, uuid, s.Env)
	row := &model.DeploymentUnit{
		ID: id, Alias: defaultAlias(id), Env: s.Env, Key: s.Key, UUID: uuid,
		Version: s.Manifest.Version, Name: s.Manifest.Name, Vendor: s.Manifest.Vendor, Description: s.Manifest.Description,
		URL: s.Request.URL, Status: model.DUInstalling, ModuleVersion: s.Request.ModuleVersion, Settings: requested(s.Request),
	}
	if s.Data, err = us.Volumes.Plan(tx, volume.Unit{Env: s.Env, UUID: uuid, Row: id}, s.Request.Volumes, volume.KeepAll); err != nil {
		return err
	}
	s.NewVolumes = s.Data.New()
	s.attempt = attempt{own: true}
	r.SetObjects(model.Ref{Kind: model.KindDeploymentUnit, Instance: id})
	return tx.PutDeploymentUnit(row)
}

// installForget removes the row again.
func (us *Units) installForget(_ context.Context, r *installRun) (operation.Apply, error) {
	return func(tx *inventory.Tx) error {
		row := tx.DeploymentUnit(r.State.Row)
		if row == nil {
			return nil
		}
		if !row.Status.CanBecome(model.DUUninstalled) {
			return fmt.Errorf("cannot remove %s: it is %s", row.UUID, row.Status)
		}
		r.SetObjects()
		if r.State.attempt.open() {
			us.outdate(tx, row)
		}
		return tx.DeleteDeploymentUnit(row.ID)
	}, nil
}

// installInstall puts the unit into its environment.
func (us *Units) installInstall(ctx context.Context, r *installRun) (operation.Apply, error) {
	s := r.State
	p, err := us.Package(s.Fetched.SHA256, s.Fetched.Size)
	if err != nil {
		return nil, err
	}
	if err := us.installPlanAgain(s); err != nil {
		return nil, err
	}
	spec := adapter.InstallSpec{Env: s.Env, Key: s.Key, Package: p, RunLevel: -1}
	err = us.Envs.Call(ctx, s.Env, func(ctx context.Context, a environment.Adapter) (err error) {
		s.attempt.made = true
		s.Unit, err = a.Install(ctx, r.OpID(), spec)
		return err
	})
	if adapter.ReasonOf(err) == adapter.Exists {
		s.attempt = attempt{own: true} // what is there is not ours to remove
	}
	if err != nil {
		return nil, environment.Classify(err)
	}
	us.Envs.Arrived(ctx, s.Env, s.Key, func(_ adapter.Unit, there bool) bool { return there })
	return nil, nil
}

// installPlanAgain judges again what becomes of application data, now that no other operation on a version of the unit comes in between.
func (us *Units) installPlanAgain(s *InstallState) error {
	return us.Inventory.Update(func(tx *inventory.Tx) (err error) {
		row := tx.DeploymentUnit(s.Row)
		if row == nil {
			return nil // the environment is gone, as the call will say
		}
		s.Data, err = us.Volumes.PlanAgain(tx, s.Data, volume.Unit{Env: s.Env, UUID: row.UUID, Row: s.Row}, s.Request.Volumes, volume.KeepAll)
		s.NewVolumes = s.Data.New()
		return err
	})
}

// installRemove takes the unit out of its environment again, wherever the install broke off.
func (us *Units) installRemove(ctx context.Context, r *installRun) (operation.Apply, error) {
	s := r.State
	if !s.attempt.open() {
		return nil, nil
	}
	err := us.Envs.Undo(ctx, s.Env, func(ctx context.Context, a environment.Adapter) error {
		_, err := a.Uninstall(ctx, r.OpID(), adapter.UnitRef{Env: s.Env, Key: s.Key, Handle: s.Unit.Handle})
		return err
	})
	if err == nil {
		us.Envs.Arrived(ctx, s.Env, s.Key, func(_ adapter.Unit, there bool) bool { return !there })
	}
	return nil, err
}

// installRecord makes the unit Installed and its execution units known.
func (us *Units) installRecord(_ context.Context, r *installRun) (operation.Apply, error) {
	return func(tx *inventory.Tx) error {
		s := r.State
		old := tx.DeploymentUnit(s.Row)
		if old == nil {
			return fault.Errorf(fault.Internal, "cannot record the install: row %d is gone", s.Row)
		}
		s.Recorded = true
		row := *old
		row.Status, row.Installed, row.LastUpdate = model.DUInstalled, now(), now()
		unit := s.Unit
		if seen, ok := us.Envs.Seen(s.Env, s.Key); ok {
			unit = seen
		}
		if err := tx.PutDeploymentUnit(&row); err != nil {
			return err
		}
		start := us.autoStart[s.Env]
		if s.Request.AutoStart != nil {
			start = *s.Request.AutoStart
		}
		if err := us.take(tx, &row, unit, newUnits{autoStart: start, pending: start, restart: s.Request.AutoRestart}); err != nil {
			return err
		}
		if err := us.Volumes.Record(tx, s.Data); err != nil {
			return err
		}
		return private(tx, row.ID, store.Private{
			Handle: s.Unit.Handle, Version: s.Unit.Manifest.Version, SHA256: s.Fetched.SHA256, Size: s.Fetched.Size, Credentials: s.Credentials,
		})
	}, nil
}

// installStart starts what has AutoStart. A failure is a fault of the execution unit and never one of the install.
func (us *Units) installStart(ctx context.Context, r *installRun) (operation.Apply, error) {
	started, apply, err := us.autoStartNew(ctx, r.OpID(), r.State.Row, r.Remark)
	r.State.Complete = us.lacksNothing(r.State.Row, started)
	return apply, err
}

// autoStartNew starts the execution units of a deployment unit whose AutoStart is new, as far as the run level is met. An environment
// with run levels of its own knows that itself; one that is away starts them when it comes up. It returns those that were started.
func (us *Units) autoStartNew(
	ctx context.Context, op adapter.OpID, row model.RowID, remark func(string, ...any),
) (started []model.RowID, _ operation.Apply, _ error) {
	du, err := us.lookup(row)
	if err != nil {
		return nil, nil, err
	}
	desc, err := us.Envs.Describe(ctx, du.Env)
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err != nil {
		remark("installed, but not started: %s", err)
		return nil, nil, nil
	}
	told := map[model.RowID]bool{}
	snapshot := us.Inventory.Snapshot()
	for _, u := range execution.Ascending(slices.Collect(snapshot.ExecutionUnitsOf(row))) {
		if !u.AutoStartPending || !u.AutoStart {
			continue
		}
		if !execution.Starts(snapshot.ExecEnvByID(du.Env), desc, u) {
			told[u.ID] = !desc.Has(adapter.CapAutoStart) // the agent knows
			continue
		}
		told[u.ID] = true
		if err := us.EUs.Start(ctx, op, u, true); err != nil {
			if ctx.Err() != nil {
				return nil, nil, context.Cause(ctx)
			}
			remark("installed, but %s did not start: %s", u.EUID, err)
			told[u.ID] = !environment.Away(err)
			continue
		}
		started = append(started, u.ID)
	}
	return started, func(tx *inventory.Tx) error {
		for _, u := range slices.Collect(tx.ExecutionUnitsOf(row)) {
			if !told[u.ID] || !u.AutoStart {
				continue
			}
			changed := *u
			changed.AutoStartPending = false // it was started as what it is: persistently
			if err := tx.PutExecutionUnit(&changed); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

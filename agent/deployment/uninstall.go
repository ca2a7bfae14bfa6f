package deployment

import (
	"context"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// UninstallState is the state of the operation uninstall.
type UninstallState struct {
	Row    model.RowID     `json:"row"`
	Env    string          `json:"env"`
	Active []string        `json:"active"` // modules that ran before
	Ref    adapter.UnitRef `json:"ref"`
	Former model.Result    `json:"former"` // what is told of the row once it is gone
	// RetainData keeps the volumes that are [model.Forever].
	RetainData bool `json:"retain_data,omitempty"`

	told bool // the environment has told that the unit is gone
}

type uninstallRun = operation.Run[UninstallState]

// Uninstall returns the kind of operation uninstall.
func (us *Units) Uninstall() *operation.Definition[UninstallState] {
	finish := func(tx *inventory.Tx, r *uninstallRun, failure error) error {
		if failure == nil {
			return nil
		}
		return us.putRight(tx, r.State.Row)
	}
	return &operation.Definition[UninstallState]{Kind: "uninstall", Finish: finish, Results: us.uninstallResults, Steps: []operation.Step[UninstallState]{
		{Name: "prepare", State: model.JobUninstalling, Turn: true, Do: us.uninstallPrepare, Undo: us.uninstallRestore},
		{Name: "remove", State: model.JobUninstalling, Turn: true, Weight: 4, Sealed: true, Do: us.uninstallRemove},
		{Name: "record", State: model.JobRecording, Turn: true, Final: true, Do: us.uninstallRecord},
	}}
}

// uninstallPrepare makes the row Uninstalling. On a disabled environment it fails before anything is touched (TR-069 VI.5.1.3).
func (us *Units) uninstallPrepare(ctx context.Context, r *uninstallRun) (operation.Apply, error) {
	s := r.State
	du, err := us.lookup(s.Row)
	if err != nil {
		return nil, err
	}
	if _, err := us.Envs.Ready(ctx, s.Env); err != nil {
		return nil, err
	}
	p, err := us.kept(du.ID)
	if err != nil {
		return nil, err
	}
	s.Ref = us.ref(du, p)
	s.Active = wasActive(us.Inventory.Snapshot(), s.Row)
	return func(tx *inventory.Tx) error {
		if row := tx.DeploymentUnit(s.Row); row != nil {
			s.Former = Describe(tx, model.Result{}, row)
		}
		return setStatus(tx, s.Row, model.DUUninstalling)
	}, nil
}

// uninstallRestore makes the row Installed again and starts what ran.
func (us *Units) uninstallRestore(ctx context.Context, r *uninstallRun) (operation.Apply, error) {
	s := r.State
	if environment.Check(us.Inventory.Snapshot(), s.Env) == nil {
		if _, err := us.startAgain(ctx, r.OpID()+"-again", s.Row, s.Active); err != nil {
			return nil, err
		}
	}
	return func(tx *inventory.Tx) error {
		row := tx.DeploymentUnit(s.Row)
		if row == nil || row.Status != model.DUUninstalling {
			return nil
		}
		return us.installedAgain(tx, s.Row)
	}, nil
}

// uninstallRemove takes the unit out of its environment. There is no way back from a success, and none that is sure from the call: the environment goes
// on with it when nobody waits for it any more. So the operation is not canceled then: a unit that goes must not be told to stay.
func (us *Units) uninstallRemove(ctx context.Context, r *uninstallRun) (operation.Apply, error) {
	s := r.State
	var result adapter.UninstallResult
	err := us.Envs.Call(ctx, s.Env, func(ctx context.Context, a environment.Adapter) (err error) {
		result, err = a.Uninstall(ctx, r.OpID(), s.Ref)
		return err
	})
	if err != nil {
		return nil, environment.Classify(err)
	}
	if result.Pending {
		r.Remark("what is left goes at the next restart of %s", s.Env)
	}
	s.told = us.Envs.Arrived(ctx, s.Env, s.Ref.Key, func(_ adapter.Unit, there bool) bool { return !there })
	return nil, nil
}

// uninstallRecord removes the rows, also those of volumes that are not kept; their directories go when the operation has ended ([Units.Collect]).
func (us *Units) uninstallRecord(_ context.Context, r *uninstallRun) (operation.Apply, error) {
	return func(tx *inventory.Tx) error {
		row := tx.DeploymentUnit(r.State.Row)
		if row == nil {
			return nil
		}
		if !row.Status.CanBecome(model.DUUninstalled) {
			return fault.Errorf(fault.Internal, "cannot remove %s: it is %s", row.UUID, row.Status)
		}
		r.State.Former = Describe(tx, model.Result{}, row)
		if !r.State.told {
			us.outdate(tx, row)
		}
		if err := tx.DeleteDeploymentUnit(row.ID); err != nil {
			return err
		}
		return us.Volumes.Release(tx, volume.Unit{Env: row.Env, UUID: row.UUID}, r.State.RetainData)
	}, nil
}

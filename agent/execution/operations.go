package execution

import (
	"cmp"
	"context"
	"errors"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// RequestState is the state of the operations start, stop and restart.
type RequestState struct {
	EU model.RowID `json:"eu"`
}

// ConfigureState is the state of the operation configure, which tells an environment what has been set in rows.
type ConfigureState struct {
	Env string        `json:"env"`
	EUs []model.RowID `json:"eus"`
	// InitialLevel is the run level for new modules, nil when that has not been set.
	InitialLevel *int `json:"initial_level"`
}

// Operations are the kinds of operations on execution units.
type Operations struct {
	Requests  map[model.Request]*operation.Definition[RequestState]
	Configure *operation.Definition[ConfigureState]
}

// Operations returns the kinds of operations that us carries out.
func (us *Units) Operations() Operations {
	kind := func(name string, r model.Request, shown model.JobState) *operation.Definition[RequestState] {
		do := func(ctx context.Context, run *operation.Run[RequestState]) (operation.Apply, error) {
			return nil, us.request(ctx, run, r)
		}
		return &operation.Definition[RequestState]{Kind: name, Steps: []operation.Step[RequestState]{
			{Name: name, State: shown, Turn: true, Do: do},
		}}
	}
	return Operations{
		Requests: map[model.Request]*operation.Definition[RequestState]{
			model.RequestActive:  kind("start", model.RequestActive, model.JobStarting),
			model.RequestIdle:    kind("stop", model.RequestIdle, model.JobStopping),
			model.RequestRestart: kind("restart", model.RequestRestart, model.JobRestarting),
		},
		Configure: &operation.Definition[ConfigureState]{Kind: "configure", Steps: []operation.Step[ConfigureState]{
			{Name: "tell", State: model.JobConfiguring, Turn: true, Do: us.configure},
		}},
	}
}

// Judge says what becomes of a request to a unit as it is now; the error of a refusal says why.
func Judge(s *model.Snapshot, id model.RowID, r model.Request) (model.Answer, error) {
	u := s.ExecutionUnit(id)
	if u == nil {
		return model.Refuse, fault.Errorf(fault.UnknownDU, "cannot %s execution unit %d: it does not exist", verbs[r], id)
	}
	if err := environment.Check(s, u.Env); err != nil {
		return model.Refuse, err
	}
	a := u.Status.Answer(r)
	if a == model.Refuse {
		return a, fault.Errorf(fault.InvalidDUState, "cannot %s %s: it is %s", verbs[r], u.EUID, u.Status)
	}
	return a, nil
}

var verbs = map[model.Request]string{model.RequestActive: "start", model.RequestIdle: "stop", model.RequestRestart: "restart"}

// request carries out a start, stop or restart. The state decides when the turn has come: what has become needless succeeds.
func (us *Units) request(ctx context.Context, r *operation.Run[RequestState], what model.Request) error {
	u := us.inv.Snapshot().ExecutionUnit(r.State.EU)
	if u == nil {
		return fault.Errorf(fault.UnknownDU, "cannot %s execution unit %d: it does not exist any more", verbs[what], r.State.EU)
	}
	// What the state of a unit is nobody knows before its environment has told.
	if _, err := us.envs.Ready(ctx, u.Env); err != nil {
		return err
	}
	// A launch that waits for the turn to be brought up is at no level yet.
	if _, desc := us.envs.Adapter(u.Env); what != model.RequestIdle && !desc.Has(adapter.CapRunLevels) && !us.envs.BroughtUp(u.Env) {
		if err := us.envs.BringUp(ctx, u.Env, r.OpID()+"-up"); err != nil {
			return err
		}
	}
	s := us.inv.Snapshot()
	answer, err := Judge(s, r.State.EU, what)
	if err != nil || answer == model.Ignore {
		return err
	}
	u = s.ExecutionUnit(r.State.EU)
	if what != model.RequestIdle && u.Status == model.EUIdle {
		if above, err := us.above(r, s.ExecEnvByID(u.Env), u); above || err != nil {
			return err
		}
	}
	switch {
	case what == model.RequestIdle:
		err = us.Stop(ctx, r.OpID(), u)
	case what == model.RequestRestart && u.Status != model.EUIdle:
		err = us.restart(ctx, r.OpID(), u)
	default:
		err = us.Start(ctx, r.OpID(), u, false)
	}
	if adapter.ReasonOf(err) == adapter.StillRunning {
		r.Remark("%s", err)
		return nil
	}
	return err
}

// configure tells an environment what has been set. One that is away is told when it comes up again.
func (us *Units) configure(ctx context.Context, r *operation.Run[ConfigureState]) (operation.Apply, error) {
	var failures []error
	note := func(err error) {
		switch {
		case environment.Away(err):
			r.Remark("it is told when the environment is up: %s", err)
		case adapter.ReasonOf(err) == adapter.StillRunning:
			r.Remark("%s", err)
		case err != nil:
			failures = append(failures, err)
		}
	}
	if l := r.State.InitialLevel; l != nil {
		note(us.InitialLevel(ctx, r.OpID(), r.State.Env, *l))
	}
	for _, id := range r.State.EUs {
		note(us.Settle(ctx, r.OpID(), id))
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, errors.Join(failures...)
}

// InitialLevel tells an environment with run levels of its own which one new units get. What it refuses goes back to what it has.
func (us *Units) InitialLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	desc, err := us.envs.Describe(ctx, env)
	if err != nil {
		return err
	}
	if !desc.Has(adapter.CapRunLevels) {
		return us.initialLevelTold(env, level)
	}
	err = us.envs.Call(ctx, env, func(ctx context.Context, a environment.Adapter) error {
		return a.SetInitialModuleRunLevel(ctx, op, env, level)
	})
	if environment.Away(err) || ctx.Err() != nil {
		return cmp.Or(context.Cause(ctx), environment.Classify(err))
	}
	if err == nil {
		us.envs.InitialLevelTold(env, level)
	}
	told := us.initialLevelTold(env, level)
	if err != nil {
		us.envs.Show(env)
	}
	return errors.Join(environment.Classify(err), told)
}

// initialLevelTold ends the mark of a level that is told, or need not be. What has been set again since is still to be told.
func (us *Units) initialLevelTold(env string, level int) error {
	return us.inv.Update(func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(env)
		row.InitialLevelPending = row.InitialLevelPending && row.InitialExecutionUnitRunLevel != level
		return tx.PutExecEnv(&row)
	})
}

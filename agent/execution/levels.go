package execution

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// What follows keeps the laws of run levels where the environment does not (OSGi chapter 155, and the start levels of the framework, for all that TR-181
// leaves open): nothing runs above the level of its environment; a unit whose RunLevel is set above it is stopped, and one with AutoStart whose
// RunLevel is set to it or below is started. AutoStart alone is for the next start of the environment or the next change of levels.

// reached returns the level at which an environment is: its own, or the one that the agent keeps for it.
func reached(row *model.ExecEnv, desc adapter.Description) int {
	if desc.Has(adapter.CapRunLevels) {
		return row.CurrentRunLevel
	}
	return row.Level
}

// Starts reports whether the agent starts a unit with AutoStart now: its run level is met, or the environment sees to that itself.
func Starts(row *model.ExecEnv, desc adapter.Description, u *model.ExecutionUnit) bool {
	return desc.Has(adapter.CapRunLevels) && desc.Has(adapter.CapAutoStart) || u.RunLevel <= reached(row, desc)
}

// Ascending sorts units in the order in which they are started.
func Ascending(us []*model.ExecutionUnit) []*model.ExecutionUnit {
	slices.SortStableFunc(us, func(a, b *model.ExecutionUnit) int {
		return cmp.Or(cmp.Compare(a.RunLevel, b.RunLevel), cmp.Compare(a.ID, b.ID))
	})
	return us
}

// above refuses the start of a unit above the run level that the agent keeps for its environment. One with AutoStart needs none: it is started when that
// level is reached.
func (us *Units) above(r *operation.Run[RequestState], row *model.ExecEnv, u *model.ExecutionUnit) (bool, error) {
	_, desc := us.envs.Adapter(u.Env)
	if desc.Has(adapter.CapRunLevels) || u.Inert || u.RunLevel <= row.Level {
		return false, nil
	}
	if u.AutoStart {
		r.Remark("it is started when %s reaches run level %d", u.Env, u.RunLevel)
		return true, nil
	}
	why := fmt.Sprintf("its run level is %d, that of the environment %d", u.RunLevel, row.Level)
	if err := us.setFault(u.ID, model.FailureOnStart, why, true); err != nil { // the environment knows nothing of it
		return true, err
	}
	return true, fault.Errorf(fault.StartFailed, "cannot start %s: %s", u.EUID, why)
}

// follow makes a unit follow what was set of it, as far as its environment does not. A failure of that is a fault of the unit and not of
// what was set; the error says that the environment was away.
func (us *Units) follow(ctx context.Context, op adapter.OpID, set *model.ExecutionUnit, desc adapter.Description) error {
	levels, auto := desc.Has(adapter.CapRunLevels), desc.Has(adapter.CapAutoStart)
	if levels && auto || !us.envs.BroughtUp(set.Env) {
		return nil // the launch is going to do it
	}
	s := us.inv.Snapshot()
	u := s.ExecutionUnit(set.ID)
	if u == nil || u.Inert {
		return nil
	}
	var err error
	switch now := reached(s.ExecEnvByID(u.Env), desc); {
	case !levels && u.RunLevel > now && (set.RunLevelPending || set.AutoStartPending && auto) && u.Status.AtWork():
		err = us.Stop(ctx, op, u)
	case u.RunLevel <= now && set.RunLevelPending && u.AutoStart && u.Status == model.EUIdle:
		err = us.Start(ctx, op, u, true)
	}
	if environment.Away(err) || ctx.Err() != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	if err != nil {
		us.log.Info("an execution unit did not follow its run level", "env", u.Env, "eu", u.EUID, "level", u.RunLevel, "err", err)
	}
	return nil
}

// Quiet stops a unit whose environment is about to be ended. One that does not stop ends with the environment.
func (us *Units) Quiet(ctx context.Context, op adapter.OpID, u *model.ExecutionUnit) error {
	ref, err := us.Ref(u)
	if err != nil {
		return err
	}
	return us.envs.Undo(ctx, u.Env, func(ctx context.Context, a environment.Adapter) error { return a.Stop(ctx, op, ref) })
}

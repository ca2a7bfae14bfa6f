// Package runlevel moves environments between run levels and keeps what the levels and AutoStart of their units ask for.
//
// An environment with run levels of its own (OSGi start levels) does the moving itself: it is told the level, the level of each
// unit and its AutoStart, and it starts and stops level by level. For any other the agent does it: execution units with
// AutoStart and a RunLevel not above the level are started in ascending order when it rises, and active ones above it are stopped in
// descending order when it sinks (TR-181, ExecEnv.{i}.CurrentRunLevel, ExecutionUnit.{i}.RunLevel; OSGi chapter 155). Before it is ended, all
// that runs in it is stopped in descending order. One that keeps levels and no AutoStart is moved from level to level, and the agent starts what
// has AutoStart at each.
package runlevel

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Controller moves the environments of one manager.
type Controller struct {
	inv  *inventory.Inventory
	envs *environment.Manager
	eus  *execution.Units
	log  *slog.Logger
}

// New returns a controller.
func New(inv *inventory.Inventory, envs *environment.Manager, eus *execution.Units, log *slog.Logger) *Controller {
	return &Controller{inv, envs, eus, log}
}

// Raise tells an environment that was down or out of sight what was set meanwhile and, when it has been launched, brings it to
// its InitialRunLevel. A unit that does not start shows that in its own row; it is no error here.
func (c *Controller) Raise(ctx context.Context, op adapter.OpID, row *model.ExecEnv, launched bool) error {
	_, desc := c.envs.Adapter(row.ID)
	levels := desc.Has(adapter.CapRunLevels)
	if row.InitialExecutionUnitRunLevel >= 0 && (row.InitialLevelPending || launched && row.Launch != "") {
		if err := c.eus.InitialLevel(ctx, op, row.ID, row.InitialExecutionUnitRunLevel); err != nil {
			return err
		}
	}
	for u := range c.inv.Snapshot().ExecutionUnits() {
		if u.Env == row.ID && u.Pending() {
			if err := c.eus.Settle(ctx, op, u.ID); environment.Away(err) || ctx.Err() != nil {
				return cmp.Or(context.Cause(ctx), err)
			} else if err != nil {
				c.log.Warn("what was set while the environment was out of sight could not be done", "env", row.ID, "eu", u.EUID, "err", err)
			}
		}
	}
	if !launched {
		return nil
	}
	if !levels {
		if err := c.level(row.ID, 0); err != nil {
			return err
		}
	}
	err := c.To(ctx, op, row.ID, row.InitialRunLevel)
	if r := fault.ReasonOf(err); r == fault.NotSupported || r == fault.InvalidArguments { // it would be refused another time too
		c.log.Warn("the environment refuses its InitialRunLevel and stays where it is", "env", row.ID, "level", row.InitialRunLevel, "err", err)
		return nil
	}
	return err
}

// To brings an environment to a level and returns when it is there. [adapter.StillRunning] is no error: the environment goes on by
// itself, CurrentRunLevel tells.
func (c *Controller) To(ctx context.Context, op adapter.OpID, env string, level int) error {
	desc, err := c.envs.Describe(ctx, env)
	if err != nil {
		return err
	}
	if !desc.Has(adapter.CapRunLevels) {
		return c.move(ctx, op, env, level)
	}
	if !desc.Has(adapter.CapAutoStart) {
		_, start := c.affected(env, c.inv.Snapshot().ExecEnvByID(env).CurrentRunLevel, level)
		for _, u := range start {
			if u.RunLevel > c.inv.Snapshot().ExecEnvByID(env).CurrentRunLevel {
				if err := c.tell(ctx, op, env, u.RunLevel); err != nil {
					return err
				}
			}
			if err := c.follow(ctx, env, level, u, c.eus.Start(ctx, op, u, true)); err != nil {
				return err
			}
		}
	}
	return c.tell(ctx, op, env, level)
}

// tell moves an environment with levels of its own.
func (c *Controller) tell(ctx context.Context, op adapter.OpID, env string, level int) error {
	err := c.envs.Call(ctx, env, func(ctx context.Context, a environment.Adapter) error {
		return a.SetRunLevel(ctx, op, env, level)
	})
	if adapter.ReasonOf(err) == adapter.StillRunning {
		c.log.Warn("the run level is not reached yet", "env", env, "level", level, "err", err)
		return nil
	}
	if err == nil {
		c.arrive(ctx, env, level)
	}
	return environment.Classify(err)
}

// arrival is how long the news of a move is waited for after the call that made it.
const arrival = 500 * time.Millisecond

// arrive waits a moment for what the environment tells after a move, so that whoever asked for it finds CurrentRunLevel as it is.
func (c *Controller) arrive(ctx context.Context, env string, level int) {
	wctx, stop := context.WithTimeout(ctx, arrival)
	defer stop()
	for commit := range c.inv.Feed(wctx) {
		if row := commit.Snapshot.ExecEnvByID(env); row == nil || row.CurrentRunLevel == level {
			return
		}
	}
}

// move is To for an environment without levels of its own.
func (c *Controller) move(ctx context.Context, op adapter.OpID, env string, level int) error {
	stop, start := c.affected(env, c.inv.Snapshot().ExecEnvByID(env).Level, level)
	for _, u := range stop {
		if err := c.follow(ctx, env, level, u, c.eus.Stop(ctx, op, u)); err != nil {
			return err
		}
	}
	for _, u := range start {
		if err := c.follow(ctx, env, level, u, c.eus.Start(ctx, op, u, true)); err != nil {
			return err
		}
	}
	return c.level(env, level)
}

// follow judges how a unit has followed a move. What it could not do shows in its own row; the error ends the move.
func (c *Controller) follow(ctx context.Context, env string, level int, u *model.ExecutionUnit, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case environment.Away(err):
		return err
	case err != nil:
		c.log.Info("an execution unit did not follow the run level", "env", env, "eu", u.EUID, "level", level, "err", err)
	}
	return nil
}

// Lower stops what runs in an environment without levels of its own, which is about to be ended: in descending order. What does not stop ends with
// the environment.
func (c *Controller) Lower(ctx context.Context, op adapter.OpID, env string) {
	if _, desc := c.envs.Adapter(env); desc.Has(adapter.CapRunLevels) {
		return
	}
	stop, _ := c.affected(env, 0, -1)
	for _, u := range stop {
		err := c.eus.Quiet(ctx, op, u)
		if err != nil {
			c.log.Info("an execution unit did not stop before its environment", "env", env, "eu", u.EUID, "err", err)
		}
		if environment.Away(err) || ctx.Err() != nil {
			return
		}
	}
}

// affected returns the units that follow a move from level now to level next, in the order in which they do: what runs above the next level is
// stopped, and when the level does not sink what has AutoStart is started.
func (c *Controller) affected(env string, now, next int) (stop, start []*model.ExecutionUnit) {
	for u := range c.inv.Snapshot().ExecutionUnits() {
		switch {
		case u.Env != env || u.Inert:
		case u.RunLevel > next && u.Status.AtWork():
			stop = append(stop, u)
		case u.RunLevel <= next && next >= now && u.AutoStart && u.Status == model.EUIdle:
			start = append(start, u)
		}
	}
	slices.Reverse(execution.Ascending(stop))
	return stop, execution.Ascending(start)
}

// level records the level of an environment without levels of its own.
func (c *Controller) level(env string, level int) error {
	return c.inv.Update(func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(env)
		row.Level, row.CurrentRunLevel = level, level
		return tx.PutExecEnv(&row)
	})
}

// State is the state of the operation run-level.
type State struct {
	Env   string `json:"env"`
	Level int    `json:"level"`
}

// Operation returns the kind of operation that moves an environment (RequestedRunLevel, SetRunLevel()).
func (c *Controller) Operation() *operation.Definition[State] {
	do := func(ctx context.Context, r *operation.Run[State]) (operation.Apply, error) {
		if err := environment.Check(c.inv.Snapshot(), r.State.Env); err != nil {
			return nil, err
		}
		return nil, c.To(ctx, r.OpID(), r.State.Env, r.State.Level)
	}
	return &operation.Definition[State]{Kind: "run-level", Steps: []operation.Step[State]{
		{Name: "move", State: model.JobConfiguring, Turn: true, Do: do},
	}}
}

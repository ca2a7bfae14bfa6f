package execution

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Units carries out what is asked of execution units. Its methods make calls into environments; their callers have the turn.
type Units struct {
	inv     *inventory.Inventory
	envs    *environment.Manager
	volumes *volume.Keeper
	log     *slog.Logger
	// unheard are units that were started, by the row as it was, as long as nothing else has been heard of them since.
	unheard sync.Map
}

// NewUnits returns the units of an inventory, whose application data is in volumes.
func NewUnits(inv *inventory.Inventory, envs *environment.Manager, volumes *volume.Keeper, log *slog.Logger) *Units {
	return &Units{inv: inv, envs: envs, volumes: volumes, log: log}
}

// Ref returns how an adapter knows a unit.
func (us *Units) Ref(u *model.ExecutionUnit) (adapter.ModuleRef, error) {
	du := us.inv.Snapshot().DeploymentUnit(u.DU)
	if du == nil {
		return adapter.ModuleRef{}, fault.Errorf(fault.UnknownDU, "cannot find the deployment unit of %s: it is gone", u.EUID)
	}
	var p store.Private
	err := us.inv.View(func(st *store.Tx) (err error) {
		p, _, err = store.Privates.Get(st, du.ID)
		return err
	})
	return adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: du.Env, Key: du.Key, Handle: p.Handle}, Module: u.Module}, err
}

// outcome is what a call about a unit may lead to.
type outcome struct {
	want model.EUStatus  // the status after a success; empty: that cannot be said
	lost model.FaultCode // what it is when the environment goes away in the middle of it; empty: no fault of the unit
}

// reached reports whether a unit is as it is wanted. One that is stopped in order to be started again is Restarting then.
func (o outcome) reached(u *model.ExecutionUnit) bool {
	return u.Status == o.want || o.want == model.EUIdle && u.Status == model.EURestarting
}

// call makes a call about one unit and writes its failure into the row at once; the environment's own news follows.
func (us *Units) call(
	ctx context.Context, u *model.ExecutionUnit, o outcome, f func(context.Context, environment.Adapter, adapter.ModuleRef) error,
) error {
	ref, err := us.Ref(u)
	if err != nil {
		return err
	}
	before := us.inv.Snapshot().ExecutionUnit(u.ID)
	made := false
	err = us.envs.Call(ctx, u.Env, func(ctx context.Context, a environment.Adapter) error {
		made = true
		return f(ctx, a, ref)
	})
	if err == nil {
		// At once: the news that is waited for below need not come.
		if before, err = us.letGo(u.ID, before); err != nil {
			return err
		}
	}
	var ae *adapter.Error
	switch {
	case environment.Away(err): // in its chain may be why the environment could not be launched, which is no fault of the unit
		if made && o.lost != "" && ctx.Err() == nil && fault.ReasonOf(environment.Classify(err)) == fault.ExecEnvUnavailable {
			if err := us.setFault(u.ID, o.lost, err.Error(), true); err != nil {
				return err
			}
		}
	case errors.As(err, &ae) && shows(ae.Reason):
		if err := us.setFault(u.ID, FaultCode(ae.Reason), cmp.Or(ae.Cause, ae.Message), false); err != nil {
			return err
		}
		us.settled(ctx, u.ID, outcome{want: model.EUIdle}.reached)
	case err == nil && !u.Inert, adapter.ReasonOf(err) == adapter.StillRunning:
		us.settled(ctx, u.ID, func(now *model.ExecutionUnit) bool {
			if err != nil { // it goes on
				return now != before
			}
			if now == before { // there need not be any news of what was so already
				return o.reached(now) && now.FaultCode == model.NoFault
			}
			if o.reached(now) {
				return true
			}
			// A unit may be idle when its start is over. It may also be the news of a stop before that, of which the row had not heard.
			stale := o.want == model.EUActive && before.Status != model.EUIdle && now.FaultCode == model.NoFault
			return now.Status == model.EUActive || now.Status == model.EUIdle && !stale
		})
	}
	return environment.Classify(err)
}

// letGo ends a fault that was held: what was asked for since has succeeded. That is no news of the environment: if the row has been before
// until now, the one that it returns has taken its place.
func (us *Units) letGo(id model.RowID, before *model.ExecutionUnit) (*model.ExecutionUnit, error) {
	if u := us.inv.Snapshot().ExecutionUnit(id); u == nil || !u.FaultHeld {
		return before, nil
	}
	err := us.inv.Update(func(tx *inventory.Tx) error {
		old := tx.ExecutionUnit(id)
		if old == nil {
			return nil
		}
		row := *old
		SetFault(&row, model.NoFault, "")
		if old == before {
			before = &row
		}
		return tx.PutExecutionUnit(&row)
	})
	return before, err
}

// shows reports whether an error of a call is a fault of the unit, and not one of the request or the road to the environment.
func shows(r adapter.Reason) bool {
	switch r {
	case adapter.StartFailed, adapter.AutoStartFailed, adapter.StopFailed, adapter.Unresolved, adapter.Dependency, adapter.Unstartable:
		return true
	}
	return false
}

// setFault sets a fault of a unit: held, or that of an answer of its environment.
func (us *Units) setFault(id model.RowID, code model.FaultCode, message string, held bool) error {
	return us.inv.Update(func(tx *inventory.Tx) error {
		old := tx.ExecutionUnit(id)
		if old == nil {
			return nil
		}
		row := *old
		if held { // nobody will tell it
			SetFault(&row, code, message)
			row.FaultHeld = true
		} else {
			answered(&row, code, message)
		}
		return tx.PutExecutionUnit(&row)
	})
}

// arrival is how long the news of a change is waited for after the call that made it.
const arrival = 500 * time.Millisecond

// settled waits a moment for what the environment tells after a call, so that whoever asked finds the row as it is: until cond holds for
// the row, the row is gone, or the time has passed.
func (us *Units) settled(ctx context.Context, id model.RowID, cond func(*model.ExecutionUnit) bool) {
	over := func(s *model.Snapshot) bool {
		u := s.ExecutionUnit(id)
		return u == nil || cond(u)
	}
	if over(us.inv.Snapshot()) {
		return
	}
	wctx, stop := context.WithTimeout(ctx, arrival)
	defer stop()
	for c := range us.inv.Feed(wctx) {
		if over(c.Snapshot) {
			return
		}
	}
}

// Start starts a unit: persistently when its AutoStart is set (OSGi chapter 155, RequestedState). auto says that the agent does it
// because of AutoStart.
func (us *Units) Start(ctx context.Context, op adapter.OpID, u *model.ExecutionUnit, auto bool) error {
	o := adapter.StartOptions{Persistent: u.AutoStart, Auto: auto}
	out := outcome{model.EUActive, model.FailureOnStart}
	if auto {
		out.lost = model.FailureOnAutoStart
	}
	return us.withData(ctx, u, out.lost, func() error {
		return us.call(ctx, u, out, func(ctx context.Context, a environment.Adapter, ref adapter.ModuleRef) error {
			return a.Start(ctx, op, ref, o)
		})
	})
}

// Stop stops a unit; its AutoStart stays as it is.
func (us *Units) Stop(ctx context.Context, op adapter.OpID, u *model.ExecutionUnit) error {
	return us.call(ctx, u, outcome{model.EUIdle, model.FailureOnStop}, func(ctx context.Context, a environment.Adapter, ref adapter.ModuleRef) error {
		return a.Stop(ctx, op, ref)
	})
}

// restart stops a unit that is at work and starts it again; in between it is Restarting.
func (us *Units) restart(ctx context.Context, op adapter.OpID, u *model.ExecutionUnit) error {
	if err := us.setRestarting(u.ID, true); err != nil {
		return err
	}
	err := us.Stop(ctx, op+"-stop", u)
	if err == nil {
		err = us.Start(ctx, op, u, false)
	}
	return cmp.Or(err, us.setRestarting(u.ID, false))
}

func (us *Units) setRestarting(id model.RowID, on bool) error {
	return us.inv.Update(func(tx *inventory.Tx) error {
		old := tx.ExecutionUnit(id)
		if old == nil {
			return nil
		}
		row := *old
		row.Restarting = on
		if !on && row.Status == model.EURestarting {
			row.Status = model.EUIdle
		}
		return tx.PutExecutionUnit(&row)
	})
}

// Pending returns what was set of the units of an environment and could not be told to it yet, as far as it keeps that itself.
func (us *Units) Pending(env string) ([]adapter.ModuleSetting, error) {
	_, desc := us.envs.Adapter(env)
	var all []adapter.ModuleSetting
	for u := range us.inv.Snapshot().ExecutionUnits() {
		s := adapter.ModuleSetting{RunLevel: -1}
		if u.RunLevelPending && desc.Has(adapter.CapRunLevels) {
			s.RunLevel = u.RunLevel
		}
		if u.AutoStartPending && desc.Has(adapter.CapAutoStart) {
			s.AutoStart = &u.AutoStart
		}
		if u.Env != env || s.RunLevel < 0 && s.AutoStart == nil {
			continue
		}
		var err error
		if s.ModuleRef, err = us.Ref(u); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Settle tells the environment the AutoStart and RunLevel of a unit that are pending, as far as it keeps them itself; for the rest the unit is
// started or stopped as follows from them. What the environment refuses, or makes something else of, goes to what it has; what it could not be told stays pending ([environment.Away]).
func (us *Units) Settle(ctx context.Context, op adapter.OpID, id model.RowID) error {
	u := us.inv.Snapshot().ExecutionUnit(id)
	if u == nil {
		return nil
	}
	desc, err := us.envs.Describe(ctx, u.Env)
	if err != nil {
		return err
	}
	var level, auto error
	if u.RunLevelPending && desc.Has(adapter.CapRunLevels) {
		level = us.call(ctx, u, outcome{}, func(ctx context.Context, a environment.Adapter, ref adapter.ModuleRef) error {
			return a.SetModuleRunLevel(ctx, op, ref, u.RunLevel)
		})
	}
	if u.AutoStartPending && desc.Has(adapter.CapAutoStart) {
		out := outcome{model.EUIdle, model.FailureOnStop}
		if u.AutoStart {
			out = outcome{model.EUActive, model.FailureOnStart}
		}
		set := func() error {
			return us.call(ctx, u, out, func(ctx context.Context, a environment.Adapter, ref adapter.ModuleRef) error {
				return a.SetAutoStart(ctx, op, ref, u.AutoStart)
			})
		}
		if u.AutoStart {
			auto = us.withData(ctx, u, out.lost, set)
		} else {
			auto = set()
		}
	}
	if level == nil && auto == nil {
		level = us.follow(ctx, op, u, desc)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	asIs := level != nil || auto != nil || !us.agrees(ctx, u, desc)
	err = us.inv.Update(func(tx *inventory.Tx) error {
		old := tx.ExecutionUnit(id)
		if old == nil {
			return nil
		}
		row := *old
		// What has been set again since is still to be told.
		row.RunLevelPending = row.RunLevelPending && (row.RunLevel != u.RunLevel || environment.Away(level))
		row.AutoStartPending = row.AutoStartPending && (row.AutoStart != u.AutoStart || environment.Away(auto))
		if asIs {
			us.observeAgain(tx, &row, desc.Has(adapter.CapRunLevels))
		}
		return tx.PutExecutionUnit(&row)
	})
	return errors.Join(level, auto, err)
}

// agrees waits a moment until the environment tells what it was told of a unit. It may have made something else of it: a framework has no run
// level 0, and no AutoStart of a fragment.
func (us *Units) agrees(ctx context.Context, u *model.ExecutionUnit, desc adapter.Description) bool {
	du := us.inv.Snapshot().DeploymentUnit(u.DU)
	if du == nil {
		return false
	}
	wctx, stop := context.WithTimeout(ctx, arrival)
	defer stop()
	return us.envs.Arrived(wctx, u.Env, du.Key, func(seen adapter.Unit, _ bool) bool {
		for _, m := range seen.Modules {
			if m.ID != u.Module {
				continue
			}
			level := !u.RunLevelPending || !desc.Has(adapter.CapRunLevels) || m.RunLevel == u.RunLevel
			auto := !u.AutoStartPending || !desc.Has(adapter.CapAutoStart) || m.AutoStart == nil || *m.AutoStart == u.AutoStart
			return level && auto
		}
		return false
	})
}

// observeAgain takes over what the environment last told of a unit.
func (us *Units) observeAgain(tx *inventory.Tx, row *model.ExecutionUnit, levels bool) {
	du := tx.DeploymentUnit(row.DU)
	if du == nil {
		return
	}
	seen, _ := us.envs.Seen(row.Env, du.Key)
	for _, m := range seen.Modules {
		if m.ID == row.Module {
			Observe(row, m, levels)
		}
	}
}

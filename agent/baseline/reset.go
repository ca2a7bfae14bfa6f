package baseline

import (
	"context"
	"fmt"
	"strings"

	"github.com/smmd-project/smmd/agent/deployment"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// State is the state of the operation reset-exec-env.
type State struct {
	Env    string   `json:"env"`
	Kind   Kind     `json:"baseline"`
	Record Record   `json:"record"` // the baseline as it was when the Reset began
	Pins   []string `json:"pins"`   // its packages: they stay while the operation is open
	Back   []string `json:"back"`   // keys of units that are rolled back
	Failed []string `json:"failed"` // what could not be restored, for the operator
}

type run = operation.Run[State]

// Operation returns the kind of operation that resets an environment. Every step may be entered again: it looks at what is
// there and does what is left. From its first change on it can neither be canceled nor undone: half a Reset helps nobody. A unit
// that cannot be brought back is noted and fails the job at its end, when all the rest is restored.
func (k *Keeper) Operation() *operation.Definition[State] {
	step := func(name string, shown model.JobState, do func(context.Context, *run) error) operation.Step[State] {
		return operation.Step[State]{Name: name, State: shown, Turn: true,
			Do: func(ctx context.Context, r *run) (operation.Apply, error) {
				if _, err := k.Envs.Ready(ctx, r.State.Env); err != nil {
					return nil, err
				}
				return nil, do(ctx, r)
			}}
	}
	return &operation.Definition[State]{Kind: "reset-exec-env", Finish: k.finish, Steps: []operation.Step[State]{
		{Name: "begin", State: model.JobConfiguring, Turn: true, Final: true, Do: k.begin},
		step("remove", model.JobUninstalling, k.remove), step("roll-back", model.JobUpdating, k.rollBack),
		step("discard", model.JobUpdating, k.discard), step("install", model.JobInstalling, k.install),
		step("configure", model.JobConfiguring, k.configure), step("version", model.JobConfiguring, k.version),
		step("restart", model.JobRestarting, k.restart),
	}}
}

// Begin returns the operation's first state; unknown baselines are an error at once.
func (k *Keeper) Begin(tx *inventory.Tx, kind Kind, env string) (*State, error) {
	if err := kind.check(); err != nil {
		return nil, err
	}
	st, err := tx.Store()
	if err != nil {
		return nil, err
	}
	if r, there, err := records.Get(st, key(kind, env)); err != nil {
		return nil, err
	} else if !there || !r.taken() {
		return nil, fault.Errorf(fault.RequestDenied, "cannot reset environment %s: it has no baseline yet, because it has never been up", env)
	}
	return &State{Env: env, Kind: kind}, nil
}

// begin fixes the baseline that this Reset goes to.
func (k *Keeper) begin(ctx context.Context, r *run) (operation.Apply, error) {
	if _, err := k.Envs.Ready(ctx, r.State.Env); err != nil {
		return nil, err
	}
	return func(tx *inventory.Tx) error {
		st, err := tx.Store()
		if err != nil {
			return err
		}
		r.State.Record, _, err = records.Get(st, key(r.State.Kind, r.State.Env))
		for _, u := range r.State.Record.Units {
			r.State.Pins = append(r.State.Pins, u.Package.SHA256)
		}
		r.State.Pins = append(r.State.Pins, r.State.Record.Version.SHA256)
		return err
	}, nil
}

// plan compares the baseline with what is there now.
func (k *Keeper) plan(s *State) (plan, error) {
	var now []present
	err := k.Inventory.View(func(st *store.Tx) error {
		for du := range k.Inventory.Snapshot().DeploymentUnits() {
			if du.Env != s.Env {
				continue
			}
			p, _, err := store.Privates.Get(st, du.ID)
			if err != nil {
				return err
			}
			now = append(now, present{du, p.Of(du.Version).SHA256, k.Envs.System(s.Env, du.Key), k.Envs.Permanent(s.Env, du.Key)})
		}
		return nil
	})
	return compare(s.Record, now), err
}

// note keeps a failure for the end. Only the end of the agent, or of the operation's time, stops a Reset on its way.
func note(ctx context.Context, r *run, what string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r.Log.Warn("a part of a Reset failed", "env", r.State.Env, "what", what, "err", err)
	r.State.Failed = append(r.State.Failed, fmt.Sprintf("%s: %v", what, err))
	return nil
}

func (k *Keeper) remove(ctx context.Context, r *run) error {
	p, err := k.plan(r.State)
	if err != nil {
		return err
	}
	for _, row := range p.remove {
		err := k.DUs.TakeOut(ctx, opID(r, "remove", row.Key), row, false)
		if err := note(ctx, r, "cannot remove "+row.Name+" "+row.Version, err); err != nil {
			return err
		}
	}
	if p, err = k.plan(r.State); err != nil {
		return err
	}
	// It is known before the first is rolled back: a process that ends in between leaves old generations to the next one.
	for _, c := range p.rollBack {
		r.State.Back = append(r.State.Back, c.to.Key)
	}
	return nil
}

func opID(r *run, step, key string) adapter.OpID { return r.OpID() + adapter.OpID("-"+step+"-"+key) }

func (k *Keeper) rollBack(ctx context.Context, r *run) error {
	p, err := k.plan(r.State)
	if err != nil {
		return err
	}
	for _, c := range p.rollBack {
		err := restorable(c.to)
		if err == nil {
			err = k.DUs.RollBack(ctx, opID(r, "back", c.to.Key), c.row, wanted(r.State.Env, c.to))
		}
		if err := note(ctx, r, "cannot bring "+c.to.Name+" back to "+c.to.Version, err); err != nil {
			return err
		}
	}
	return nil
}

// discard lets go of the generations that were rolled back. A failure of that is logged only: the baseline's version is there.
func (k *Keeper) discard(ctx context.Context, r *run) error {
	for _, key := range r.State.Back {
		for du := range k.Inventory.Snapshot().DeploymentUnits() {
			if du.Env != r.State.Env || du.Key != key || du.Missing {
				continue
			}
			err := k.DUs.Discard(ctx, opID(r, "back", key), du)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				r.Log.Warn("the generation that was rolled back could not be discarded", "env", du.Env, "du", du.UUID, "err", err)
			}
		}
	}
	return nil
}

func (k *Keeper) install(ctx context.Context, r *run) error {
	p, err := k.plan(r.State)
	if err != nil {
		return err
	}
	for _, u := range p.install {
		err := restorable(u)
		if err == nil {
			err = k.DUs.PutBack(ctx, opID(r, "install", u.Key), wanted(r.State.Env, u))
		}
		if err := note(ctx, r, "cannot install "+u.Name+" "+u.Version+" again", err); err != nil {
			return err
		}
	}
	return nil
}

func restorable(u Unit) error {
	if u.lacks() {
		return fault.Errorf(fault.NotSupported, "it is not restorable: its package could not be had")
	}
	return nil
}

func wanted(env string, u Unit) deployment.Wanted {
	return deployment.Wanted{
		Env: env, Key: u.Key, UUID: u.UUID, Version: u.Version, Alias: u.Alias, URL: u.URL,
		SHA256: u.Package.SHA256, Size: u.Package.Size, Credentials: u.Credentials, ModuleVersion: u.ModuleVersion,
	}
}

// configure restores levels, AutoStart, AutoRestart, and the settings and volumes of units: also of those that were rolled back or installed again, which run only after that.
func (k *Keeper) configure(ctx context.Context, r *run) error {
	s := r.State
	err := k.Inventory.Update(func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(s.Env)
		row.InitialRunLevel, row.InitialExecutionUnitRunLevel = s.Record.InitialRunLevel, s.Record.InitialExecutionUnitRunLevel
		row.InitialLevelPending = s.Record.InitialExecutionUnitRunLevel >= 0 // older news of the environment does not overwrite it
		return tx.PutExecEnv(&row)
	})
	if err != nil {
		return err
	}
	if s.Record.InitialExecutionUnitRunLevel >= 0 {
		err := k.EUs.InitialLevel(ctx, r.OpID(), s.Env, s.Record.InitialExecutionUnitRunLevel)
		if err := note(ctx, r, "cannot restore InitialExecutionUnitRunLevel", err); err != nil {
			return err
		}
	}
	p, err := k.plan(s)
	if err != nil {
		return err
	}
	for _, c := range p.keep {
		if err := k.configureUnit(ctx, r, c); err != nil {
			return err
		}
	}
	return nil
}

// configureUnit restores one unit's settings, levels, AutoStart and AutoRestart; the restart at the end makes the rest of it. The settings come first: a module that
// AutoStart starts has them. A unit that uses more than they allow is stopped for them.
func (k *Keeper) configureUnit(ctx context.Context, r *run, c change) error {
	if !c.to.Permanent {
		err := k.DUs.Configure(ctx, opID(r, "settings", c.to.Key), c.row.ID, c.to.Settings, r.State.Record.volumes(c.to.UUID))
		if err := note(ctx, r, "cannot restore the settings of "+c.to.Name, err); err != nil {
			return err
		}
	}
	for _, m := range c.to.Modules {
		for eu := range k.Inventory.Snapshot().ExecutionUnitsOf(c.row.ID) {
			restart := eu.Restart
			if m.Restart != nil && *m.Restart != eu.Restart.Settings() {
				restart = *m.Restart
			}
			if eu.Module != m.ID || eu.AutoStart == m.AutoStart && eu.RunLevel == m.RunLevel && restart == eu.Restart {
				continue
			}
			err := k.Inventory.Update(func(tx *inventory.Tx) error {
				row := *tx.ExecutionUnit(eu.ID)
				row.Restart = restart
				row.AutoStartPending, row.RunLevelPending = row.AutoStart != m.AutoStart, row.RunLevel != m.RunLevel
				row.AutoStart, row.RunLevel = m.AutoStart, m.RunLevel
				return tx.PutExecutionUnit(&row)
			})
			if err != nil {
				return err
			}
			err = k.EUs.Settle(ctx, opID(r, "configure", eu.EUID), eu.ID)
			if fault.ReasonOf(err) == fault.StartFailed || fault.ReasonOf(err) == fault.DependencyUnresolved {
				err = nil // the flag is set; the restart shows whether it starts
			}
			if err := note(ctx, r, "cannot restore AutoStart and RunLevel of "+eu.Name, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// version makes the environment run from what it ran from.
func (k *Keeper) version(ctx context.Context, r *run) error {
	s := r.State
	_, desc := k.Envs.Adapter(s.Env)
	if !desc.Has(adapter.CapVersions) || s.Record.Version == (File{}) || k.Envs.State(s.Env).Attached {
		return nil
	}
	p, err := k.DUs.Package(s.Record.Version.SHA256, s.Record.Version.Size)
	if err == nil {
		err = k.Envs.Call(ctx, s.Env, func(ctx context.Context, a environment.Adapter) error {
			return a.RestoreVersion(ctx, r.OpID(), s.Env, p)
		})
	}
	return note(ctx, r, "cannot restore the version of the environment", err)
}

// restart is the last step: TR-181, Reset() (6). An environment that somebody else launches is brought to its levels as it runs.
func (k *Keeper) restart(ctx context.Context, r *run) error {
	again, what := k.Envs.Restart, "cannot restart the environment"
	if k.Envs.State(r.State.Env).Attached {
		again, what = k.Envs.Raise, "cannot bring the environment to its run level"
		r.Remark("the environment was neither put back to an earlier version nor restarted: somebody else launches it")
	}
	err := again(ctx, r.State.Env, r.OpID())
	if err := note(ctx, r, what, err); err != nil {
		return err
	}
	if err == nil {
		for du := range k.Inventory.Snapshot().DeploymentUnits() {
			if du.Env == r.State.Env && du.Pending() {
				r.State.Failed = append(r.State.Failed, "cannot restore the settings of "+du.Name+": its environment does not take them yet")
			}
		}
	}
	if len(r.State.Failed) > 0 {
		return fault.Errorf(fault.RequestDenied, "cannot restore everything: %s", strings.Join(r.State.Failed, "; "))
	}
	return nil
}

// finish ends the transitory states of units that a Reset which broke off has left. The Reset has the turn, and its units are
// locked: no other operation is at work in them. A unit that is being installed may be another operation's, unless the baseline has it.
func (k *Keeper) finish(tx *inventory.Tx, r *run, failure error) error {
	if failure == nil || r.State.Record.Env == "" {
		return nil // nothing is left, or it never began
	}
	var keys []string
	for _, u := range r.State.Record.Units {
		keys = append(keys, u.Key)
	}
	for du := range tx.DeploymentUnits() {
		if du.Env == r.State.Env && du.Status != model.DUInstalling {
			keys = append(keys, du.Key)
		}
	}
	return k.DUs.PutRight(tx, r.State.Env, keys)
}

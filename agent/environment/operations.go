package environment

import (
	"context"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
)

// SwitchState is the state of the operations enable and disable.
type SwitchState struct {
	Env string `json:"env"`
	On  bool   `json:"on"`
}

// RestartState is the state of the operation restart-exec-env.
type RestartState struct {
	Env    string `json:"env"`
	Reason string `json:"reason"`
}

// Operations are the kinds of operations on environments.
type Operations struct {
	Enable, Disable *operation.Definition[SwitchState]
	Restart         *operation.Definition[RestartState]
	Constrain       *operation.Definition[ConstrainState]
}

// Operations returns the kinds of operations that m carries out.
func (m *Manager) Operations() Operations {
	steps := []operation.Step[SwitchState]{{Name: "switch", State: model.JobConfiguring, Turn: true, Do: m.doSwitch}}
	return Operations{
		Enable:  &operation.Definition[SwitchState]{Kind: "enable", Steps: steps},
		Disable: &operation.Definition[SwitchState]{Kind: "disable", Steps: steps},
		Restart: &operation.Definition[RestartState]{Kind: "restart-exec-env", Steps: []operation.Step[RestartState]{
			{Name: "restart", State: model.JobRestarting, Turn: true, Do: m.doRestart},
		}},
		Constrain: &operation.Definition[ConstrainState]{Kind: "constrain", Steps: []operation.Step[ConstrainState]{
			{Name: "constrain", State: model.JobConfiguring, Turn: true, Do: m.doConstrain},
		}},
	}
}

// doSwitch makes the environment what Enable asks for. If that has been set again meanwhile, a later operation does it.
func (m *Manager) doSwitch(ctx context.Context, r *operation.Run[SwitchState]) (operation.Apply, error) {
	s := r.State
	row := m.State(s.Env)
	if row == nil {
		return nil, fault.Errorf(fault.UnknownExecEnv, "cannot use environment %q: it is no longer configured", s.Env)
	}
	if row.Enable != s.On {
		r.Remark("Enable has been set again since")
		return nil, nil
	}
	if s.On {
		if err := Check(m.opts.Inventory.Snapshot(), s.Env); err != nil {
			return nil, err
		}
	}
	if row.Attached {
		return nil, nil // Enable says whether it may be changed; it runs or not
	}
	if err := m.Switch(ctx, s.Env, r.OpID(), s.On); err != nil {
		if s.On {
			m.fail(m.envs[s.Env], err)
		}
		return nil, err
	}
	if s.On {
		return nil, m.BringUp(ctx, s.Env, r.OpID())
	}
	return func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(s.Env)
		// TR-181: the reason is cleared when it is disabled for any other reason than a restart, and restarts are counted since then.
		row.RestartReason, row.RestartCount = "", 0
		return tx.PutExecEnv(&row)
	}, nil
}

func (m *Manager) doRestart(ctx context.Context, r *operation.Run[RestartState]) (operation.Apply, error) {
	s := r.State
	if err := Check(m.opts.Inventory.Snapshot(), s.Env); err != nil {
		return nil, err
	}
	if err := m.Restart(ctx, s.Env, r.OpID()); err != nil {
		return nil, err
	}
	return func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(s.Env)
		row.RestartReason, row.LastRestarted = s.Reason, time.Now().UTC().Round(0)
		row.RestartCount++
		return tx.PutExecEnv(&row)
	}, nil
}

// CheckSwitch judges whether Enable may be set: neither a protected environment may be disabled, nor one in which a protected one is nested, nor one
// that the agent cannot end.
func CheckSwitch(s *model.Snapshot, row *model.ExecEnv, on bool, protected []string) error {
	if on {
		return nil
	}
	for _, id := range protected {
		if within(s, id, row.ID) {
			return fault.Errorf(fault.RequestDenied, "cannot disable environment %s: %s is protected by the configuration", row.ID, id)
		}
	}
	return CheckOwn(row, "disable")
}

// within reports whether the environment id is the one named outer, or nested in it.
func within(s *model.Snapshot, id, outer string) bool {
	for range s.Count(model.KindExecEnv) {
		if id == outer {
			return true
		}
		row := s.ExecEnvByID(id)
		if row == nil {
			return false
		}
		id = row.Parent
	}
	return false
}

// CheckOwn judges whether an environment is the agent's to launch and to end; verb says what is being refused.
func CheckOwn(row *model.ExecEnv, verb string) error {
	if row.Attached {
		return fault.Errorf(fault.RequestDenied, "cannot %s environment %s: somebody else launches and ends it", verb, row.ID)
	}
	return nil
}

package environment

import (
	"context"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// ConstrainState is the state of the operation constrain.
type ConstrainState struct {
	Env    string              `json:"env"`
	Limits model.LimitsRequest `json:"limits"`
	Force  bool                `json:"force"`
}

// CheckConstraints judges whether the limits of an environment can be changed, as far as its adapter is known (unsupported-argument).
func (m *Manager) CheckConstraints(id string) error {
	if _, desc := m.Adapter(id); desc.Kind != "" && !desc.Has(adapter.CapConstraints) {
		return fault.Errorf(fault.UnsupportedArgument, "cannot constrain environment %s: its limits cannot be changed", id)
	}
	return nil
}

// doConstrain sets limits of an environment, whether it runs or not (TR-181, ModifyConstraints()).
func (m *Manager) doConstrain(ctx context.Context, r *operation.Run[ConstrainState]) (operation.Apply, error) {
	s := r.State
	if s.Limits == (model.LimitsRequest{}) {
		return nil, nil
	}
	var before adapter.Env
	err := m.ask(ctx, s.Env, "for other limits", func(ctx context.Context, a Adapter) error {
		if err := m.CheckConstraints(s.Env); err != nil {
			return err
		}
		before = m.state(s.Env)
		return a.Constrain(ctx, r.OpID(), s.Env, adapter.Constraints(s.Limits), s.Force)
	})
	if adapter.ReasonOf(err) == adapter.NotSupported {
		return nil, fault.As(fault.UnsupportedArgument, err)
	}
	if err != nil {
		return nil, Classify(err)
	}
	m.constrained(ctx, s.Env, before, s.Limits)
	return nil, nil
}

// state is what the environment last told of itself.
func (m *Manager) state(id string) adapter.Env {
	e := m.envs[id]
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now.state
}

// constrained waits a moment for what an environment that runs tells after its limits were set, so that whoever asked finds the row as it is. An environment may
// round what it was asked for.
func (m *Manager) constrained(ctx context.Context, id string, before adapter.Env, asked model.LimitsRequest) {
	is := func(now int64, asked *int64) bool { return asked == nil || *asked == now || *asked == 0 && now < 0 }
	e := m.envs[id]
	// Its error says that the moment has passed: the news is taken over when it comes.
	_ = e.await(ctx, arrival, func() bool {
		now := e.now.state
		changed := now.AllocatedDisk != before.AllocatedDisk || now.AllocatedMemory != before.AllocatedMemory || now.AllocatedCPU != before.AllocatedCPU
		cpu := asked.CPU == nil || *asked.CPU == now.AllocatedCPU
		return !e.now.up || changed || is(now.AllocatedDisk, asked.Disk) && is(now.AllocatedMemory, asked.Memory) && cpu
	})
}

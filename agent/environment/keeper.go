package environment

import (
	"context"
	"fmt"
	"time"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// settled is how long an environment must have run to be launched again at once when it ends.
const settled = time.Minute

// keep launches the environment whenever it should run and does not.
func (m *Manager) keep(ctx context.Context, e *env) {
	raised := make(chan struct{})
	go func() {
		defer close(raised)
		m.raise(ctx, e)
	}()
	defer func() { <-raised }()
	pause, launched := m.opts.MinPause, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for m.shouldLaunch(e) {
			if since := time.Since(launched); since < settled {
				m.opts.Log.Info("the environment is launched again after a pause", "env", e.id, "pause", pause)
				select {
				case <-ctx.Done():
					return
				case <-time.After(pause):
				}
				pause = min(2*pause, m.opts.MaxPause)
				if !m.shouldLaunch(e) {
					break
				}
			} else {
				pause = m.opts.MinPause
			}
			launched = time.Now()
			err := m.Switch(ctx, e.id, "keeper-"+adapter.OpID(e.id), true)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				m.opts.Log.Warn("an environment could not be launched", "env", e.id, "err", err)
				m.fail(e, fmt.Errorf("cannot launch it: %w", err))
			}
		}
	}
}

// shouldLaunch reports whether the environment should run, does not, and nobody else is at it.
func (m *Manager) shouldLaunch(e *env) bool {
	if Check(m.opts.Inventory.Snapshot(), e.id) != nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ready && !e.up && !e.resting
}

// fail tells that the environment could not be launched.
func (m *Manager) fail(e *env, why error) {
	e.update(func() { e.broken, e.detail = why, why.Error() })
	m.show(e)
}

// show writes the state of the environment into its row.
func (m *Manager) show(e *env) {
	e.mu.Lock()
	state, up, levels, resting, detail := e.state, e.up, e.desc.Has(adapter.CapRunLevels), e.resting, e.detail
	e.mu.Unlock()
	err := m.opts.Inventory.Update(func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(e.id)
		describe(tx, &row, state, up, levels, resting, detail)
		return tx.PutExecEnv(&row)
	})
	if err != nil {
		m.opts.Log.Error("the state of an environment could not be told", "env", e.id, "err", err)
	}
}

// Switch launches or ends an environment and returns when its adapter says that it is done. What is so already succeeds.
func (m *Manager) Switch(ctx context.Context, id string, op adapter.OpID, on bool) error {
	e := m.envs[id]
	e.switching.Lock()
	defer e.switching.Unlock()
	return m.switchLocked(ctx, e, op, on)
}

func (m *Manager) switchLocked(ctx context.Context, e *env, op adapter.OpID, on bool) error {
	cctx, stop := context.WithTimeout(ctx, m.opts.CallDeadline)
	defer stop()
	if err := m.opts.Adapters[e.adapterName].SetEnabled(cctx, op, e.id, on); err != nil {
		return Classify(err)
	}
	e.update(func() { e.broken = nil })
	// The adapter has told by now, or tells in a moment.
	err := e.await(cctx, 10*time.Second, func() bool { return e.up == on && (!on || e.synced) })
	if err != nil && ctx.Err() == nil && on {
		return adapterSilent(e.id)
	}
	return context.Cause(ctx)
}

func adapterSilent(id string) error {
	return Classify(adapter.Errorf(adapter.Unavailable, "environment %s went away right after its launch", id))
}

// raise brings the environment up after each launch, and ends it when it runs and should not. Both take their turn among the operations of the environment.
func (m *Manager) raise(ctx context.Context, e *env) {
	pause := m.opts.MinPause
	for {
		err := e.await(ctx, time.Hour, func() bool { return m.needsRaise(e) || m.needsEnd(e) })
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			continue
		}
		if err = m.settle(ctx, e); ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = m.opts.MinPause
			continue
		}
		m.opts.Log.Warn("an environment could not be brought to what is asked of it", "env", e.id, "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, m.opts.MaxPause)
	}
}

// settle does what raise found to be needed, if it still is once the turn has come.
func (m *Manager) settle(ctx context.Context, e *env) error {
	release, err := m.engine.Turn(ctx, e.id)
	if err != nil {
		return err
	}
	defer release()
	e.mu.Lock()
	raise, end := m.needsRaise(e), m.needsEnd(e)
	e.mu.Unlock()
	switch {
	case end:
		return m.Switch(ctx, e.id, "keeper-"+adapter.OpID(e.id), false)
	case raise:
		return m.BringUp(ctx, e.id, "keeper-"+adapter.OpID(e.id))
	}
	return nil
}

// needsRaise reports whether the environment runs a launch that has not been brought up, or was out of sight. The caller
// holds mu.
func (m *Manager) needsRaise(e *env) bool {
	row := m.opts.Inventory.Snapshot().ExecEnvByID(e.id)
	return e.ready && e.up && e.synced && !e.resting && (e.due || row.Launch != e.state.Launch)
}

// needsEnd reports whether the environment runs and should not. The caller holds mu.
func (m *Manager) needsEnd(e *env) bool {
	return e.ready && e.up && e.synced && !e.resting && Check(m.opts.Inventory.Snapshot(), e.id) != nil
}

// BringUp does what is due after a launch: levels and AutoStart that were set while the environment could not be told, and its
// InitialRunLevel, which starts what is to be started level by level. For a launch that has been brought up it is only the former. The
// caller has the turn.
func (m *Manager) BringUp(ctx context.Context, id string, op adapter.OpID) error {
	e := m.envs[id]
	e.mu.Lock()
	launch := e.state.Launch
	e.due = false
	e.mu.Unlock()
	row := m.opts.Inventory.Snapshot().ExecEnvByID(id)
	if err := m.opts.Raise(ctx, op, row, row.Launch != launch); err != nil {
		return err
	}
	if row.Launch == launch {
		return nil
	}
	err := m.opts.Inventory.Update(func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(id)
		row.Launch = launch
		return tx.PutExecEnv(&row)
	})
	e.update(func() {})
	return err
}

// Restart ends an environment, launches it again and brings it up. The caller has the turn.
func (m *Manager) Restart(ctx context.Context, id string, op adapter.OpID) error {
	e := m.envs[id]
	e.switching.Lock()
	defer e.switching.Unlock()
	e.update(func() { e.resting, e.detail = true, "it is being restarted" })
	m.show(e)
	defer func() {
		e.update(func() { e.resting = false })
		m.show(e)
		notify(e.wake)
	}()
	if err := m.switchLocked(ctx, e, op, false); err != nil {
		return err
	}
	if err := m.switchLocked(ctx, e, op, true); err != nil {
		return err
	}
	return m.BringUp(ctx, id, op)
}

// State returns the present row of an environment.
func (m *Manager) State(id string) *model.ExecEnv { return m.opts.Inventory.Snapshot().ExecEnvByID(id) }

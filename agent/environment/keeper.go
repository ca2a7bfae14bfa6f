package environment

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
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
			before := e.launch()
			launched = time.Now()
			err := m.launch(ctx, e)
			if ctx.Err() != nil {
				return
			}
			if err == nil && e.launch() == before {
				launched = time.Time{} // it ran, and was only found again
			}
			if err != nil {
				m.opts.Log.Warn("an environment could not be launched", "env", e.id, "err", err)
				m.fail(e, fmt.Errorf("cannot launch it: %w", err))
			}
		}
	}
}

// launch launches the environment, if it still should be once nobody else is at it.
func (m *Manager) launch(ctx context.Context, e *env) error {
	e.switching.Lock()
	defer e.switching.Unlock()
	if !m.shouldLaunch(e) {
		return nil
	}
	return m.switchLocked(ctx, e, m.ownOp(e), true)
}

// ownOp returns the key of something that the keeper does by itself. Each time it is another thing.
func (m *Manager) ownOp(e *env) adapter.OpID {
	return adapter.OpID("keeper-" + e.id + "-" + rand.Text())
}

// shouldLaunch reports whether the environment should run, does not, and nobody else is at it.
func (m *Manager) shouldLaunch(e *env) bool {
	if Check(m.opts.Inventory.Snapshot(), e.id) != nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now.ready && !e.now.up && !e.resting && !e.now.attached
}

// fail tells that the environment could not be launched.
func (m *Manager) fail(e *env, why error) {
	e.update(func() {
		if !e.usable() && !e.now.attached {
			e.broken = why
		}
	})
	m.show(e)
}

// show brings the row up to date with what is known of the environment.
func (m *Manager) show(e *env) {
	if err := m.opts.Inventory.Update(func(tx *inventory.Tx) error { return m.showIn(tx, e) }); err != nil {
		m.opts.Log.Error("the state of an environment could not be told", "env", e.id, "err", err)
	}
}

// Show brings the row of an environment back to what the environment has, after something that was set there could not be told.
func (m *Manager) Show(id string) {
	if e := m.envs[id]; e != nil {
		m.show(e)
	}
}

// InitialLevelTold takes over that an environment has been told the run level of new modules: its own news of that may come later, and what is shown
// before must not be older.
func (m *Manager) InitialLevelTold(id string, level int) {
	if e := m.envs[id]; e != nil {
		e.update(func() { e.now.state.InitialModuleRunLevel, e.told.state.InitialModuleRunLevel = level, level })
	}
}

func (m *Manager) showIn(tx *inventory.Tx, e *env) error {
	e.mu.Lock()
	v := e.told
	e.mu.Unlock()
	row := *tx.ExecEnvByID(e.id)
	e.describe(tx, &row, v)
	if err := tx.PutExecEnv(&row); err != nil {
		return err
	}
	if v.up || !v.ready || !e.asked(tx) {
		return nil
	}
	return m.opts.Observer.Down(tx, e.id, true, row.StatusDetail)
}

// Enabled takes over that Enable of environments has been set in tx: rows of environments that do not run say at once why, and
// with the commit the keepers look again.
func (m *Manager) Enabled(tx *inventory.Tx) error {
	for _, id := range slices.Sorted(maps.Keys(m.envs)) {
		if err := m.showIn(tx, m.envs[id]); err != nil {
			return err
		}
	}
	tx.AfterCommit(func() {
		s := m.opts.Inventory.Snapshot()
		for id, e := range m.envs {
			e.update(func() {
				if Check(s, id) != nil {
					e.broken = nil // the next launch is another matter
				}
			})
			notify(e.wake)
		}
	})
	return nil
}

// Untold takes over that something is pending in tx that an environment is to be told: its keeper looks again with the commit.
func (m *Manager) Untold(tx *inventory.Tx, id string) {
	if e := m.envs[id]; e != nil {
		tx.AfterCommit(func() { e.update(func() {}) })
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
	var first []adapter.ModuleSetting
	if on {
		var err error
		if first, err = m.opts.Pending(e.id); err != nil {
			return err
		}
	} else {
		m.opts.Lower(ctx, op, e.id)
	}
	e.mu.Lock()
	came := e.came
	e.mu.Unlock()
	cctx, stop := context.WithTimeout(ctx, m.opts.CallDeadline)
	defer stop()
	if err := m.opts.Adapters[e.adapterName].SetEnabled(cctx, op, e.id, on, first); err != nil {
		return Classify(err)
	}
	// The adapter has told by now, or tells in a moment. An environment may be down again before anybody has seen it up: whoever waits for that
	// here keeps it from being launched once more.
	err := e.await(cctx, 10*time.Second, func() bool { return e.now.up == on && (!on || e.now.synced) || on && e.came != came })
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
		return m.Switch(ctx, e.id, m.ownOp(e), false)
	case raise:
		if err := m.BringUp(ctx, e.id, m.ownOp(e)); err != nil {
			return err
		}
		if u := untold(m.opts.Inventory.Snapshot(), e.id); u != nil {
			return fault.Errorf(fault.Internal, "cannot tell %s the settings of %s yet", e.id, u.UUID)
		}
	}
	return nil
}

// untold returns a unit whose settings the environment has not been told yet, or nil.
func untold(s *model.Snapshot, id string) *model.DeploymentUnit {
	for du := range s.DeploymentUnits() {
		if du.Env == id && du.Pending() {
			return du
		}
	}
	return nil
}

// needsRaise reports whether the environment runs a launch that has not been brought up, was out of sight, or has not been told what was set while
// it was being restarted. The caller holds mu.
func (m *Manager) needsRaise(e *env) bool {
	if !e.usable() || e.resting {
		return false
	}
	s := m.opts.Inventory.Snapshot()
	row := s.ExecEnvByID(e.id)
	return Check(s, e.id) == nil && (e.due || row.Launch != e.now.state.Launch || pending(s, row))
}

// pending reports whether something was set that the environment has not been told.
func pending(s *model.Snapshot, row *model.ExecEnv) bool {
	if row.InitialLevelPending {
		return true
	}
	if untold(s, row.ID) != nil {
		return true
	}
	for u := range s.ExecutionUnits() {
		if u.Env == row.ID && u.Pending() {
			return true
		}
	}
	return false
}

// needsEnd reports whether the environment runs and should not. The caller holds mu.
func (m *Manager) needsEnd(e *env) bool {
	return e.usable() && !e.resting && !e.now.attached && Check(m.opts.Inventory.Snapshot(), e.id) != nil
}

// BringUp does what is due after a launch: levels and AutoStart that were set while the environment could not be told, and its
// InitialRunLevel, which starts what is to be started level by level. For a launch that has been brought up it is only the former. The
// caller has the turn.
func (m *Manager) BringUp(ctx context.Context, id string, op adapter.OpID) error {
	e := m.envs[id]
	e.mu.Lock()
	launch := e.now.state.Launch
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

// Raise brings an environment that runs to what a launch would bring it to, as far as that goes without one. The caller has the turn.
func (m *Manager) Raise(ctx context.Context, id string, op adapter.OpID) error {
	return m.opts.Raise(ctx, op, m.State(id), true)
}

// Restart ends an environment, launches it again and brings it up. The caller has the turn.
func (m *Manager) Restart(ctx context.Context, id string, op adapter.OpID) error {
	e := m.envs[id]
	e.switching.Lock()
	defer e.switching.Unlock()
	e.update(func() { e.resting = true })
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

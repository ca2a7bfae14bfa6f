package environment

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// AdapterEvent implements the handler of package supervisor.
func (m *Manager) AdapterEvent(name string, ev adapter.Event) {
	e := m.envs[ev.EnvID]
	if e == nil || e.adapterName != name {
		m.opts.Log.Warn("an adapter told of an environment that is not its own", "adapter", name, "env", ev.EnvID)
		return
	}
	e.add(news{event: ev})
}

// AdapterLost implements the handler of package supervisor.
func (m *Manager) AdapterLost(name string, err error) {
	for _, e := range m.envs {
		if e.adapterName == name {
			e.add(news{lost: err})
		}
	}
}

// AdapterReady implements the handler of package supervisor.
func (m *Manager) AdapterReady(name string, d adapter.Description) {
	for _, e := range m.envs {
		if e.adapterName != name {
			continue
		}
		e.add(news{ready: &d})
	}
}

// pump takes over what the adapter tells, as much at once as has come in.
func (m *Manager) pump(ctx context.Context, e *env) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.queued:
		}
		if batch := e.take(); len(batch) > 0 {
			m.digest(e, batch)
		}
	}
}

// lesson is what a batch of news comes to.
type lesson struct {
	next        view
	ended       string      // why it did not run for a while or does not now; empty: it ran all the time
	before      Observation // what it told before it first ended; empty: it did not run
	came        bool        // it was up with all its units, and may be down again
	fresh       bool        // it has told all its units
	observation Observation
}

// learn takes note of a batch of news. What was seen of the units is in place when it returns, before their rows are, so that
// an operation that ends at the same time finds it.
func (e *env) learn(batch []news) lesson {
	e.mu.Lock()
	defer e.mu.Unlock()
	l := lesson{next: e.now}
	n := &l.next
	changed, removed, back := map[string]adapter.Unit{}, map[string]bool{}, map[string]bool{}
	for _, x := range batch {
		switch {
		case x.lost != nil:
			n.up, n.synced, n.ready, l.fresh = false, false, false, false
			n.detail, e.broken = "its adapter is not running: "+x.lost.Error(), nil
			var says interface{ Broken() bool }
			if errors.As(x.lost, &says) && says.Broken() {
				e.broken = errors.New(n.detail) // nobody needs to wait for it
			}
			continue
		case x.ready != nil:
			n.ready, n.desc, e.broken = true, *x.ready, nil
			continue
		}
		switch ev := x.event; ev.Kind {
		case adapter.EventEnv:
			relaunched := n.up && ev.Env.Launch != n.state.Launch
			if n.up && l.ended == "" && (!ev.Env.Up || relaunched) {
				l.before = e.observation(n, changed, removed, back)
			}
			if !ev.Env.Up || !n.up || relaunched {
				clear(e.seen)
				clear(changed)
				clear(removed)
				clear(back)
				n.synced, l.fresh = false, false
			}
			switch {
			case !ev.Env.Up:
				l.ended = cmp.Or(ev.Env.Detail, "the environment does not run")
			case relaunched:
				l.ended = "the environment was launched again"
			}
			n.state, n.up, n.detail, n.attached = *ev.Env, ev.Env.Up, ev.Env.Detail, ev.Env.Attached
		case adapter.EventUnit:
			e.seen[ev.Unit.Key], changed[ev.Unit.Key] = *ev.Unit, *ev.Unit
			back[ev.Unit.Key] = back[ev.Unit.Key] || removed[ev.Unit.Key]
			delete(removed, ev.Unit.Key)
		case adapter.EventUnitRemoved:
			delete(e.seen, ev.Key)
			delete(changed, ev.Key)
			delete(back, ev.Key)
			removed[ev.Key] = true
		case adapter.EventSynced:
			n.synced, l.fresh, l.came = n.up, n.up, l.came || n.up
		}
	}
	l.observation = e.observation(n, changed, removed, back)
	if l.fresh {
		l.observation.Synced, l.observation.All = true, maps.Clone(e.seen)
	}
	if n.ready && n.up && n.synced {
		e.broken = nil // before the row says that it is up: whoever has read that only has to wait a moment
	}
	return l
}

func (e *env) observation(n *view, changed map[string]adapter.Unit, removed, back map[string]bool) Observation {
	maps.DeleteFunc(back, func(_ string, was bool) bool { return !was })
	return Observation{
		Env: e.id, Units: slices.SortedFunc(maps.Values(changed), compareUnits), Removed: slices.Sorted(maps.Keys(removed)),
		Back: slices.Sorted(maps.Keys(back)), Levels: n.desc.Has(adapter.CapRunLevels),
	}
}

// digest makes a batch of news known. That the environment is up and synced is told after the transaction, so that whoever waits
// for that finds the rows.
func (m *Manager) digest(e *env, batch []news) {
	l := e.learn(batch)
	e.mu.Lock()
	wasUp, appears := e.now.up, l.next.up && (!e.now.up || e.now.state.Launch != l.next.state.Launch)
	e.mu.Unlock()
	err := m.opts.Inventory.Update(func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(e.id)
		if appears && row.Launch != l.next.state.Launch {
			row.Level = 0 // it is still to be brought up
		}
		e.describe(tx, &row, l.next)
		if l.ended != "" {
			// A unit that was stopped before the end was not at work then.
			if l.before.Env != "" {
				if err := m.opts.Observer.Observe(tx, l.before); err != nil {
					return err
				}
			}
			if err := m.opts.Observer.Down(tx, e.id, e.asked(tx), cmp.Or(row.StatusDetail, l.ended)); err != nil {
				return err
			}
		}
		if l.next.up {
			if err := m.opts.Observer.Observe(tx, l.observation); err != nil {
				return err
			}
			row.Seen = row.Seen || l.fresh
		}
		tx.AfterCommit(func() { e.update(func() { e.told = l.next }) })
		return tx.PutExecEnv(&row)
	})
	if err != nil {
		m.opts.Log.Error("what an environment told could not be taken over", "env", e.id, "err", err)
	}
	e.update(func() {
		e.now = l.next
		e.due = e.due || l.fresh
		if l.came {
			e.came++
		}
		if e.usable() || e.now.ready && e.now.attached {
			e.broken = nil // in the latter case a launch was tried before it was known that there is none
		}
	})
	if l.next.up != wasUp {
		m.opts.Log.Info("environment", "env", e.id, "up", l.next.up, "detail", l.next.detail)
	}
	notify(e.wake)
}

func compareUnits(a, b adapter.Unit) int {
	// Numbers come in their order.
	return cmp.Or(cmp.Compare(len(a.DUID), len(b.DUID)), cmp.Compare(a.DUID, b.DUID), cmp.Compare(a.Key, b.Key))
}

// asked reports whether somebody wants that the environment does not run now.
func (e *env) asked(tx *inventory.Tx) bool {
	e.mu.Lock()
	resting := e.resting
	e.mu.Unlock()
	return resting || disabledBy(&tx.Snapshot, tx.ExecEnvByID(e.id)) != ""
}

// describe writes what is known of the environment into its row.
func (e *env) describe(tx *inventory.Tx, row *model.ExecEnv, v view) {
	e.mu.Lock()
	resting, broken := e.resting, e.broken
	e.mu.Unlock()
	by := disabledBy(&tx.Snapshot, row)
	switch {
	case resting:
		row.Status, row.StatusDetail = model.EERestarting, "it is being restarted"
	case v.up && (by == "" || !v.attached):
		row.Status, row.StatusDetail = model.EEUp, ""
	case by == row.ID:
		row.Status, row.StatusDetail = model.EEDisabled, "the environment is disabled"
	case by != "":
		row.Status, row.StatusDetail = model.EEError, "parent disabled: "+by
	case broken != nil && !v.attached: // a launch may have been tried before it was known that there is none
		row.Status, row.StatusDetail = model.EEError, broken.Error()
	default:
		row.Status, row.StatusDetail = model.EEError, cmp.Or(v.detail, "the environment does not run")
	}
	row.Attached, row.Synced = v.attached, v.synced
	levels := v.desc.Has(adapter.CapRunLevels)
	if !v.up {
		if v.ready || !v.state.Up {
			row.CurrentRunLevel = 0
		} // else it may go on without its adapter: the last known
		row.AvailableMemory, row.AvailableDisk = model.UnknownSize, model.UnknownSize
		return
	}
	s := v.state
	row.Name, row.Type, row.Vendor, row.Version = s.Name, s.Type, s.Vendor, s.Version
	row.AllocatedDisk, row.AvailableDisk = s.AllocatedDisk, s.AvailableDisk
	row.AllocatedMemory, row.AvailableMemory, row.AllocatedCPU = s.AllocatedMemory, s.AvailableMemory, s.AllocatedCPU
	row.CurrentRunLevel = row.Level
	if levels {
		row.CurrentRunLevel = s.RunLevel
		// What is asked for rules until the launch has been brought up; a change at the framework's console is followed.
		if s.InitialModuleRunLevel >= 0 && !row.InitialLevelPending && (row.Launch == "" || row.Launch == s.Launch) {
			row.InitialExecutionUnitRunLevel = s.InitialModuleRunLevel
		}
	}
}

package environment

import (
	"context"
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

// Wake makes the keepers look again: somebody enabled or disabled an environment.
func (m *Manager) Wake() {
	for _, e := range m.envs {
		e.update(func() { e.broken = nil })
		notify(e.wake)
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

// digest makes a batch of news known. What was seen of the units is in place before the transaction, so that an operation
// that ends at the same time finds it; that the environment is up and synced is told after it, so that whoever waits for that
// finds the rows.
func (m *Manager) digest(e *env, batch []news) {
	e.mu.Lock()
	state, up, synced, detail := e.state, e.up, e.synced, e.detail
	ready, desc, broken, fresh, adapterLost := e.ready, e.desc, e.broken, false, false
	changed, removed := map[string]adapter.Unit{}, map[string]bool{}
	for _, n := range batch {
		if n.lost != nil {
			up, synced, ready, adapterLost = false, false, false, true
			detail = "its adapter is not running: " + n.lost.Error()
			continue
		}
		if n.ready != nil {
			ready, desc, broken = true, *n.ready, nil
			continue
		}
		switch ev := n.event; ev.Kind {
		case adapter.EventEnv:
			if !ev.Env.Up || !up || ev.Env.Launch != state.Launch {
				clear(e.seen)
				clear(changed)
				clear(removed)
				synced, fresh = false, false
			}
			state, up, adapterLost = *ev.Env, ev.Env.Up, false
			detail = ev.Env.Detail
		case adapter.EventUnit:
			e.seen[ev.Unit.Key], changed[ev.Unit.Key] = *ev.Unit, *ev.Unit
			delete(removed, ev.Unit.Key)
		case adapter.EventUnitRemoved:
			delete(e.seen, ev.Key)
			delete(changed, ev.Key)
			removed[ev.Key] = true
		case adapter.EventSynced:
			synced, fresh = up, up
		}
	}
	levels := desc.Has(adapter.CapRunLevels)
	resting, wasUp := e.resting, e.up
	e.mu.Unlock()

	o := Observation{
		Env: e.id, Units: slices.Collect(maps.Values(changed)), Removed: slices.Sorted(maps.Keys(removed)),
		Synced: fresh, All: e.all(), Levels: levels,
	}
	slices.SortFunc(o.Units, func(a, b adapter.Unit) int { return compareUnits(a, b) })
	err := m.opts.Inventory.Update(func(tx *inventory.Tx) error {
		row := *tx.ExecEnvByID(e.id)
		describe(tx, &row, state, up, levels, resting, detail)
		if up {
			if err := m.opts.Observer.Observe(tx, o); err != nil {
				return err
			}
			row.Seen = row.Seen || fresh
		} else if !adapterLost {
			if err := m.opts.Observer.Down(tx, e.id, resting || disabledBy(&tx.Snapshot, &row) != "", row.StatusDetail); err != nil {
				return err
			}
		}
		return tx.PutExecEnv(&row)
	})
	if err != nil {
		m.opts.Log.Error("what an environment told could not be taken over", "env", e.id, "err", err)
	}
	e.update(func() {
		e.state, e.up, e.synced, e.detail = state, up, synced, detail
		e.ready, e.desc, e.broken = ready, desc, broken
		e.due = e.due || fresh
	})
	if up != wasUp {
		m.opts.Log.Info("environment", "env", e.id, "up", up, "detail", detail)
	}
	notify(e.wake)
}

func compareUnits(a, b adapter.Unit) int {
	if len(a.DUID) != len(b.DUID) { // numbers in their order
		return len(a.DUID) - len(b.DUID)
	}
	if a.DUID < b.DUID {
		return -1
	}
	return 1
}

// describe writes what is known of an environment into its row.
func describe(tx *inventory.Tx, row *model.ExecEnv, s adapter.Env, up, levels, resting bool, detail string) {
	by := disabledBy(&tx.Snapshot, row)
	switch {
	case resting:
		row.Status, row.StatusDetail = model.EERestarting, detail
	case up:
		row.Status, row.StatusDetail = model.EEUp, ""
	case by == row.ID:
		row.Status, row.StatusDetail = model.EEDisabled, "the environment is disabled"
	case by != "":
		row.Status, row.StatusDetail = model.EEError, "parent disabled: "+by
	default:
		row.Status, row.StatusDetail = model.EEError, detail
	}
	if !up {
		row.CurrentRunLevel = -1
		if levels {
			row.CurrentRunLevel = 0
		}
		row.AvailableMemory, row.AvailableDisk = model.UnknownSize, model.UnknownSize
		return
	}
	row.Name, row.Type, row.Vendor, row.Version = s.Name, s.Type, s.Vendor, s.Version
	row.AllocatedDisk, row.AvailableDisk = s.AllocatedDisk, s.AvailableDisk
	row.AllocatedMemory, row.AvailableMemory = s.AllocatedMemory, s.AvailableMemory
	row.CurrentRunLevel = row.Level
	if levels {
		row.CurrentRunLevel = s.RunLevel
		// What is asked for rules until the launch has been brought up; a change at the framework's console is followed.
		if s.InitialModuleRunLevel >= 0 && (row.Launch == "" || row.Launch == s.Launch) {
			row.InitialExecutionUnitRunLevel = s.InitialModuleRunLevel
		}
	}
}

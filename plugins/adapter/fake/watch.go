package fake

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// feed is one watch: an unbounded queue that the World fills and one goroutine empties into the channel, which it owns. The
// World never waits for a reader, and the order of events is that of the changes.
type feed struct {
	envs []environment // as configured
	out  chan adapter.Event
	stop context.CancelFunc
	done <-chan struct{}

	mu    sync.Mutex
	queue []adapter.Event
	wake  chan struct{} // holds one token when the queue has something new
}

// environment is what the adapter was told of an environment.
type environment struct {
	id string
	settings
}

// watch starts a feed with what there is now. It ends when ctx is done or the feed's stop is called.
func (w *World) watch(ctx context.Context, envs []environment, wg *sync.WaitGroup) *feed {
	ctx, cancel := context.WithCancel(ctx)
	f := &feed{envs: envs, out: make(chan adapter.Event), stop: cancel, done: ctx.Done(), wake: make(chan struct{}, 1)}
	w.mu.Lock()
	w.feeds[f] = struct{}{}
	for _, e := range envs {
		f.push(f.env(w, e))
		if w.state.Envs[e.id].Up {
			f.everything(w, e)
		}
	}
	w.mu.Unlock()
	wg.Go(func() {
		defer cancel()
		defer close(f.out)
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.feeds, f)
		}()
		f.pump()
	})
	return f
}

func (f *feed) pump() {
	for {
		f.mu.Lock()
		queue := f.queue
		f.queue = nil
		f.mu.Unlock()
		for _, ev := range queue {
			select {
			case f.out <- ev:
			case <-f.done:
				return
			}
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-f.wake:
		case <-f.done:
			return
		}
	}
}

func (f *feed) push(evs ...adapter.Event) {
	f.mu.Lock()
	f.queue = append(f.queue, evs...)
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// tell sends what c changed. The World is locked.
func (f *feed) tell(w *World, c *change) {
	for _, e := range f.envs {
		state := w.state.Envs[e.id]
		if c.up[e.id] || c.envs[e.id] {
			f.push(f.env(w, e))
		}
		if !state.Up {
			continue
		}
		if c.up[e.id] {
			f.everything(w, e)
			continue
		}
		keys := make([]string, 0, len(c.units[e.id]))
		for key := range c.units[e.id] {
			keys = append(keys, key)
		}
		slices.Sort(keys)
		for _, key := range keys {
			if u := state.Units[key]; u != nil {
				unit := w.unit(e.id, key, u)
				f.push(adapter.Event{Kind: adapter.EventUnit, EnvID: e.id, Unit: &unit})
			} else {
				f.push(adapter.Event{Kind: adapter.EventUnitRemoved, EnvID: e.id, Key: key})
			}
		}
	}
}

// everything sends the units of an environment that is up, and Synced. The World is locked.
func (f *feed) everything(w *World, e environment) {
	state := w.state.Envs[e.id]
	for _, key := range state.sortedKeys() {
		unit := w.unit(e.id, key, state.Units[key])
		f.push(adapter.Event{Kind: adapter.EventUnit, EnvID: e.id, Unit: &unit})
	}
	f.push(adapter.Event{Kind: adapter.EventSynced, EnvID: e.id})
}

func (f *feed) env(w *World, e environment) adapter.Event {
	s := w.state.Envs[e.id]
	out := adapter.Env{
		ID: e.id, Name: e.Name, Type: "Fake 1.0", Vendor: "smmd", Version: s.effective(), Up: s.Up, Detail: s.Detail,
		RunLevel: s.RunLevel, InitialModuleRunLevel: s.InitialModuleRunLevel,
		AllocatedDisk: -1, AvailableDisk: -1, AllocatedMemory: -1, AvailableMemory: -1,
		Attached: w.opts.Attached,
	}
	if out.Name == "" {
		out.Name = e.id
	}
	if s.Up {
		out.Version = s.Running
		out.Launch = e.id + "#" + strconv.Itoa(s.Launches)
	}
	limits := s.limits(e)
	if limits.Disk > 0 {
		out.AllocatedDisk, out.AvailableDisk = limits.Disk, max(0, limits.Disk-s.usedKiB())
	}
	if limits.Memory > 0 {
		out.AllocatedMemory, out.AvailableMemory = limits.Memory, max(0, limits.Memory-s.memoryKiB())
	}
	out.AllocatedCPU = limits.CPU
	return adapter.Event{Kind: adapter.EventEnv, EnvID: e.id, Env: &out}
}

// unit is u in the words of the contract. The World is locked.
func (w *World) unit(env, key string, u *UnitState) adapter.Unit {
	resolved, _ := w.state.Envs[env].resolved(u)
	spec := u.Present.Spec
	out := adapter.Unit{
		Env: env, Key: key, DUID: u.DUID, Handle: handle(key, u.Present.Number), Manifest: spec.manifest(),
		Resolved: resolved, System: u.System, Permanent: u.Permanent,
	}
	for _, m := range u.Modules {
		s := u.spec(m)
		mod := adapter.Module{
			ID: m.ID, Name: s.Name, Label: key + "/" + m.ID, Vendor: spec.Vendor, Version: spec.Version, Description: spec.Description,
			Status: m.Status, Reason: m.Reason, Message: m.Message, Inert: s.Inert, RunLevel: m.RunLevel,
			Memory: -1, Disk: spec.SizeKiB,
		}
		if m.ExitCode != nil {
			code := *m.ExitCode
			mod.ExitCode = &code
		}
		if w.opts.AutoStart {
			on := m.AutoStart
			mod.AutoStart = &on
		}
		if m.Status == adapter.Active {
			mod.PIDs = slices.Clone(s.PIDs)
			if s.MemoryKiB > 0 {
				mod.Memory = s.MemoryKiB
			}
		}
		out.Modules = append(out.Modules, mod)
	}
	return out
}

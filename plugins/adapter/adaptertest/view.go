package adaptertest

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// view is what one Watch has told so far. It checks every event against what Watch promises, in every case.
type view struct {
	desc     adapter.Description
	attached bool // the harness launches and ends the environments

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every event
	events  []adapter.Event
	seen    map[string]*seenEnv
	closed  bool
	wrong   []string // broken promises
}

// seenEnv is an environment as the events tell it.
type seenEnv struct {
	told   bool
	env    adapter.Env
	synced bool
	units  map[string]adapter.Unit
}

func newView(r *rig, ch <-chan adapter.Event) *view {
	v := &view{desc: r.desc, attached: r.h.Attached != nil, changed: make(chan struct{}), seen: map[string]*seenEnv{}}
	for _, e := range r.envs {
		v.seen[e.ID] = &seenEnv{units: map[string]adapter.Unit{}}
	}
	go func() {
		for ev := range ch {
			v.take(ev)
		}
		v.mu.Lock()
		defer v.mu.Unlock()
		v.closed = true
		v.broadcast()
	}()
	return v
}

func (v *view) broadcast() {
	close(v.changed)
	v.changed = make(chan struct{})
}

func (v *view) take(ev adapter.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.events = append(v.events, ev)
	if err := v.apply(ev); err != nil {
		v.wrong = append(v.wrong, fmt.Sprintf("event %d, %s: %v", len(v.events), eventText(ev), err))
	}
	v.broadcast()
}

// apply follows the event and says what is wrong with it.
func (v *view) apply(ev adapter.Event) error {
	s := v.seen[ev.EnvID]
	if s == nil {
		return fmt.Errorf("environment %q is not configured", ev.EnvID)
	}
	switch {
	case ev.Kind == adapter.EventEnv && ev.Env == nil, ev.Kind == adapter.EventUnit && ev.Unit == nil:
		return fmt.Errorf("it carries nothing")
	case ev.Kind != adapter.EventEnv && !s.told:
		return fmt.Errorf("the state of the environment has to come first")
	case ev.Kind != adapter.EventEnv && !s.env.Up:
		return fmt.Errorf("the environment is not up")
	}
	switch ev.Kind {
	case adapter.EventEnv:
		return v.applyEnv(s, ev)
	case adapter.EventUnit:
		s.units[ev.Unit.Key] = *ev.Unit
		return v.checkUnit(ev.EnvID, *ev.Unit)
	case adapter.EventUnitRemoved:
		delete(s.units, ev.Key)
		if ev.Key == "" {
			return fmt.Errorf("the key is missing")
		}
	case adapter.EventSynced:
		if s.synced {
			return fmt.Errorf("it came already for launch %s", s.env.Launch)
		}
		s.synced = true
	default:
		return fmt.Errorf("there is no such kind")
	}
	return nil
}

func (v *view) applyEnv(s *seenEnv, ev adapter.Event) error {
	e := *ev.Env
	if !e.Up || !s.env.Up || e.Launch != s.env.Launch {
		s.synced, s.units = false, map[string]adapter.Unit{}
	}
	s.told, s.env = true, e
	switch {
	case e.ID != ev.EnvID:
		return fmt.Errorf("Env.ID is %q", e.ID)
	case e.Attached != v.attached:
		return fmt.Errorf("Attached is %v while Up is %v; whether the harness has Attached: %v", e.Attached, e.Up, v.attached)
	case e.Up && e.Launch == "":
		return fmt.Errorf("its Launch is empty though the environment is up")
	case !v.desc.Has(adapter.CapRunLevels) && (e.RunLevel != -1 || e.InitialModuleRunLevel != -1):
		return fmt.Errorf("RunLevel %d and InitialModuleRunLevel %d are to be -1 without %s", e.RunLevel, e.InitialModuleRunLevel, adapter.CapRunLevels)
	case v.desc.Has(adapter.CapRunLevels) && e.Up && e.RunLevel < 0:
		return fmt.Errorf("RunLevel is %d in spite of %s", e.RunLevel, adapter.CapRunLevels)
	}
	for _, n := range []int64{e.AllocatedDisk, e.AvailableDisk, e.AllocatedMemory, e.AvailableMemory} {
		if n < -1 {
			return fmt.Errorf("a size is %d KiB", n)
		}
	}
	return nil
}

// checkUnit says what is wrong with a unit, wherever it came from.
func (v *view) checkUnit(env string, u adapter.Unit) error {
	if u.Env != env || u.Key == "" {
		return fmt.Errorf("the unit has Env %q and Key %q; they are to be %q and not empty", u.Env, u.Key, env)
	}
	ids := map[string]bool{}
	for _, m := range u.Modules {
		switch {
		case m.ID == "" || ids[m.ID]:
			return fmt.Errorf("module ID %q is empty or twice", m.ID)
		case !slices.Contains([]adapter.Status{adapter.Idle, adapter.Starting, adapter.Active, adapter.Stopping}, m.Status):
			return fmt.Errorf("module %s has Status %q", m.ID, m.Status)
		case (m.AutoStart != nil) != v.desc.Has(adapter.CapAutoStart) && !m.Inert && !u.System:
			return fmt.Errorf("AutoStart of module %s does not fit the capabilities %v: it is to be nil exactly without %s", m.ID, v.desc.Capabilities, adapter.CapAutoStart)
		case !v.desc.Has(adapter.CapRunLevels) && m.RunLevel != -1:
			return fmt.Errorf("RunLevel of module %s is %d without %s", m.ID, m.RunLevel, adapter.CapRunLevels)
		case m.Memory < -1 || m.Disk < -1:
			return fmt.Errorf("module %s uses %d KiB of memory and %d KiB of disk", m.ID, m.Memory, m.Disk)
		}
		ids[m.ID] = true
	}
	return nil
}

// wait waits until ok, which runs alone, says true. It reports whether it did before the time was up.
func (v *view) wait(limit time.Duration, ok func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		v.mu.Lock()
		done, changed := ok(), v.changed
		v.mu.Unlock()
		if done {
			return true
		}
		select {
		case <-changed:
		case <-timer.C:
			return false
		}
	}
}

// history are the last events, for a failure's message.
func (v *view) history() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := fmt.Sprintf("%d events", len(v.events))
	for _, ev := range v.events[max(0, len(v.events)-12):] {
		out += "\n\t" + eventText(ev)
	}
	if v.closed {
		out += "\n\t(closed)"
	}
	return out
}

func eventText(ev adapter.Event) string {
	switch {
	case ev.Env != nil:
		return fmt.Sprintf("%s %s up=%v launch=%q level=%d %s", ev.Kind, ev.EnvID, ev.Env.Up, ev.Env.Launch, ev.Env.RunLevel, ev.Env.Detail)
	case ev.Unit != nil:
		mods := map[string]string{}
		for _, m := range ev.Unit.Modules {
			mods[m.ID] = string(m.Status)
			if m.Reason != "" {
				mods[m.ID] += " " + string(m.Reason) + ": " + m.Message
			}
		}
		text := ""
		for _, id := range slices.Sorted(maps.Keys(mods)) {
			text += " [" + id + " " + mods[id] + "]"
		}
		return fmt.Sprintf("%s %s %s %s %s%s", ev.Kind, ev.EnvID, ev.Unit.Key, ev.Unit.Manifest.Name, ev.Unit.Manifest.Version, text)
	}
	return fmt.Sprintf("%s %s %s", ev.Kind, ev.EnvID, ev.Key)
}

package fake

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// lowestRunLevel is the level at which an environment with levels comes up.
const lowestRunLevel = 1

// place is an environment during one change of the World. Its methods are the laws of the environment, whoever uses it: the
// adapter or the console.
type place struct {
	w  *World
	c  *change
	id string
	*EnvState
}

// at returns the environment id, whether it is up or not.
func (w *World) at(c *change, id string) (place, error) {
	e := w.state.Envs[id]
	if e == nil {
		return place{}, adapter.Errorf(adapter.NotFound, "cannot find environment %q", id)
	}
	return place{w, c, id, e}, nil
}

// atUp is at for what needs a running environment.
func (w *World) atUp(c *change, id string) (place, error) {
	p, err := w.at(c, id)
	if err == nil && !p.Up {
		return place{}, adapter.Errorf(adapter.Unavailable, "cannot use environment %q: it is not up", id)
	}
	return p, err
}

// create makes the environment id, down, if there is none.
func (w *World) create(id string) {
	if w.state.Envs[id] != nil {
		return
	}
	e := &EnvState{RunLevel: -1, InitialModuleRunLevel: -1, Units: map[string]*UnitState{}, Configured: firstVersion}
	if w.opts.RunLevels {
		e.RunLevel, e.InitialModuleRunLevel = 0, lowestRunLevel
	}
	w.state.Envs[id] = e
}

// launch brings the environment up at its lowest level and starts what is to be started there.
func (p place) launch(first []adapter.ModuleSetting) {
	if p.Up {
		return
	}
	p.take(first)
	p.Up, p.Detail, p.Leftovers = true, "", nil
	p.Launches++
	p.Running = p.effective()
	if p.Running == p.Configured {
		p.Restored = nil
	}
	p.c.up[p.id] = true
	if p.w.opts.RunLevels {
		p.RunLevel = lowestRunLevel
	}
	p.autoStart(p.RunLevel)
}

// own reports whether the environments are the adapter's to launch and to end.
func (w *World) own(env string) error {
	if w.opts.Attached {
		return adapter.Errorf(adapter.NotSupported, "cannot launch or end environment %q: somebody else does", env)
	}
	return nil
}

// changeable refuses an agent what would stop, change or remove a part of the environment itself.
func (p place) changeable(what, key string, u *UnitState) error {
	if u.System {
		return adapter.Errorf(adapter.NotSupported, "cannot %s %s: it is part of environment %q", what, key, p.id)
	}
	return nil
}

// replaceable refuses an agent what would change or remove a part of the environment itself or of the device's firmware.
func (p place) replaceable(what, key string, u *UnitState) error {
	if u.Permanent {
		return adapter.Errorf(adapter.NotSupported, "cannot %s %s: it is part of the device's firmware", what, key)
	}
	return p.changeable(what, key, u)
}

// take takes over what was set of modules while the environment was down.
func (p place) take(first []adapter.ModuleSetting) {
	for _, s := range first {
		u := p.Units[s.Key]
		if u == nil || u.System || u.module(s.Module) == nil {
			continue
		}
		m := u.module(s.Module)
		if p.w.opts.AutoStart && s.AutoStart != nil {
			m.AutoStart = *s.AutoStart
		}
		if p.w.opts.RunLevels && s.RunLevel >= 0 {
			m.RunLevel = s.RunLevel
		}
	}
}

// end takes the environment down with all its modules; detail says why it is down when nobody asked for it.
func (p place) end(detail string) {
	if !p.Up && p.Detail == detail {
		return
	}
	p.Up, p.Detail = false, detail
	p.c.envs[p.id] = true
	if p.w.opts.RunLevels {
		p.RunLevel = 0
	}
	for _, u := range p.Units {
		for _, m := range u.Modules {
			u.rest(m)
		}
	}
}

// autoStart starts the modules of one level that are to be started; without levels, of all.
func (p place) autoStart(level int) {
	for _, key := range p.sortedKeys() {
		u := p.Units[key]
		for _, m := range u.Modules {
			if m.AutoStart && m.RunLevel == level && m.Status == adapter.Idle {
				// The module tells of a failure itself.
				_ = p.start(key, u, m, adapter.StartOptions{Auto: true})
			}
		}
	}
}

// setRunLevel goes to a level step by step.
func (p place) setRunLevel(level int) {
	for p.RunLevel < level {
		p.RunLevel++
		p.autoStart(p.RunLevel)
	}
	for p.RunLevel > level {
		for _, key := range p.sortedKeys() {
			u := p.Units[key]
			for _, m := range u.Modules {
				if m.RunLevel == p.RunLevel {
					_ = p.stop(key, u, m) // the module tells of a failure itself
				}
			}
		}
		p.RunLevel--
	}
	p.c.envs[p.id] = true
}

// add installs a unit. runLevel is that of its modules, -1 for the environment's choice.
func (p place) add(op adapter.OpID, key string, s Spec, sha256 string, runLevel int) (*UnitState, error) {
	if p.Units[key] != nil {
		return nil, adapter.Errorf(adapter.Exists, "cannot install %s: there is a unit with key %q in %s", s.Name, key, p.id)
	}
	if other := p.same(s, ""); other != "" {
		return nil, adapter.Errorf(adapter.Exists, "cannot install %s %s: it is in %s with key %q", s.Name, s.Version, p.id, other)
	}
	u := &UnitState{DUID: "fake-" + strconv.Itoa(p.NextDUID+1), InstallOp: op, LastGen: 1, Present: Generation{1, sha256, s}}
	u.Modules = p.modules(nil, s, runLevel)
	p.NextDUID++
	p.Units[key] = u
	p.c.unit(p.id, key)
	p.requirements()
	return u, nil
}

// same returns the key of a unit, other than but, that the environment holds to be the same as s: name and version are.
func (p place) same(s Spec, but string) string {
	for _, key := range p.sortedKeys() {
		if x := p.Units[key].Present.Spec; key != but && x.Name == s.Name && x.Version == s.Version {
			return key
		}
	}
	return ""
}

// modules are those of s, idle, with the settings of the modules before that have the same ID.
func (p place) modules(before []*ModuleState, s Spec, runLevel int) []*ModuleState {
	if !p.w.opts.RunLevels {
		runLevel = -1
	} else if runLevel < 0 {
		runLevel = p.InitialModuleRunLevel
	}
	var out []*ModuleState
	for _, spec := range s.Modules {
		m := &ModuleState{ID: spec.ID, RunLevel: runLevel}
		spec.rest(m)
		if i := slices.IndexFunc(before, func(b *ModuleState) bool { return b.ID == spec.ID }); i >= 0 {
			m.AutoStart, m.RunLevel = before[i].AutoStart, before[i].RunLevel
		}
		out = append(out, m)
	}
	return out
}

// remove takes a unit away, whatever its modules do.
func (p place) remove(key string) {
	if u := p.Units[key]; u != nil && u.Present.Spec.UninstallPending {
		p.Leftovers = append(p.Leftovers, key)
	}
	delete(p.Units, key)
	p.c.unit(p.id, key)
	p.requirements()
}

// put makes g the present generation of a unit, idle.
func (p place) put(key string, u *UnitState, g Generation) {
	u.Present = g
	u.Modules = p.modules(u.Modules, g.Spec, -1)
	p.c.unit(p.id, key)
	p.requirements()
}

// requirements stops what runs and misses a package, and tells of every unit whose requirements may have changed.
func (p place) requirements() {
	for key, u := range p.Units {
		if len(u.Present.Spec.Requires) == 0 {
			continue
		}
		p.c.unit(p.id, key)
		ok, missing := p.resolved(u)
		for _, m := range u.Modules {
			if !ok && m.Status != adapter.Idle {
				m.Status, m.Reason, m.Message = adapter.Idle, adapter.Dependency, missing+" went away"
			}
		}
	}
}

// start starts a module. One that hangs is Starting afterwards.
func (p place) start(key string, u *UnitState, m *ModuleState, o adapter.StartOptions) error {
	s := u.spec(m)
	reason := adapter.StartFailed
	if o.Auto {
		reason = adapter.AutoStartFailed
	}
	switch {
	case s.Inert, m.Status == adapter.Active, m.Status == adapter.Starting:
		return nil
	case m.Status == adapter.Stopping:
		return adapter.Errorf(adapter.BadState, "cannot start %s of %s: it is stopping", m.ID, key)
	}
	p.c.unit(p.id, key)
	if s.Unstartable != "" {
		return fails(m, adapter.Unstartable, "cannot start "+m.ID+" of "+key, s.Unstartable)
	}
	if ok, missing := p.resolved(u); !ok {
		return fails(m, adapter.Unresolved, "cannot start "+m.ID+" of "+key, "requires "+missing)
	}
	if p.w.opts.RunLevels && m.RunLevel > p.RunLevel {
		return fails(m, reason, "cannot start "+m.ID+" of "+key,
			"its run level is "+strconv.Itoa(m.RunLevel)+", that of the environment "+strconv.Itoa(p.RunLevel))
	}
	if s.StartHangs && !p.w.state.Released[u.Present.Spec.Name] {
		m.Status, m.Reason, m.Message, m.Settings = adapter.Starting, "", "", u.Settings
		return nil
	}
	if msg := cmp.Or(s.StartFails, autoOnly(s, o)); msg != "" {
		return fails(m, reason, "cannot start "+m.ID+" of "+key, msg)
	}
	m.Status, m.Reason, m.Message, m.ExitCode = adapter.Active, "", "", nil
	m.Settings = u.Settings
	if s.Completes {
		m.Status, m.ExitCode = adapter.Idle, new(int)
	}
	return nil
}

// forced is what a module shows that had to be ended by force.
const forced = "it did not end when it was asked to, and was killed"

// ended takes note of a module that has ended by itself: in good order with exit status 0, else it failed while it was active.
func (p place) ended(key string, u *UnitState, m *ModuleState, message string, exit int) {
	p.c.unit(p.id, key)
	m.ExitCode = &exit
	switch s := u.spec(m); {
	case s.Restarts || s.RestartsLater:
		m.Status, m.Reason, m.Message = adapter.Starting, "", ""
	case exit == 0:
		m.Status, m.Reason, m.Message = adapter.Idle, "", ""
	default:
		m.Status, m.Reason, m.Message = adapter.Idle, adapter.FailedWhileActive, message
	}
}

func autoOnly(s ModuleSpec, o adapter.StartOptions) string {
	if o.Auto {
		return s.AutoStartFails
	}
	return ""
}

// stop stops a module. One that hangs is Stopping afterwards, one that hangs in its start is ended by force.
func (p place) stop(key string, u *UnitState, m *ModuleState) error {
	s := u.spec(m)
	if s.Inert || m.Status == adapter.Idle {
		return nil
	}
	p.c.unit(p.id, key)
	if m.Status != adapter.Starting && s.StopHangs && !p.w.state.Released[u.Present.Spec.Name] {
		m.Status, m.Reason, m.Message = adapter.Stopping, "", ""
		return nil
	}
	if m.Status != adapter.Starting && s.IgnoresStop {
		return fails(m, adapter.StopFailed, "cannot stop "+m.ID+" of "+key+" in good order", forced)
	}
	if s.StopFails != "" {
		return fails(m, adapter.StopFailed, "cannot stop "+m.ID+" of "+key+" cleanly", s.StopFails)
	}
	m.Status, m.Reason, m.Message = adapter.Idle, "", ""
	return nil
}

// stopAll ends all modules of a unit, by force if need be.
func (p place) stopAll(key string, u *UnitState) {
	for _, m := range u.Modules {
		if m.Status != adapter.Idle {
			u.rest(m)
			p.c.unit(p.id, key)
		}
	}
}

// settle ends the start or stop in which a module hung.
func settle(s ModuleSpec, m *ModuleState) {
	was := m.Status
	m.Status, m.Reason, m.Message = adapter.Idle, "", ""
	switch {
	case was == adapter.Starting && s.StartFails != "":
		m.Reason, m.Message = adapter.StartFailed, s.StartFails
	case was == adapter.Starting:
		m.Status = adapter.Active
	case s.StopFails != "":
		m.Reason, m.Message = adapter.StopFailed, s.StopFails
	}
}

// fails leaves the module idle with a reason and returns the error that says the same.
func fails(m *ModuleState, r adapter.Reason, what, cause string) error {
	m.Status, m.Reason, m.Message = adapter.Idle, r, cause
	return &adapter.Error{Reason: r, Message: what + ": " + cause, Cause: cause}
}

package fake

import (
	"github.com/smmd-project/smmd/plugins/adapter"
)

// A Console is the way into an environment that does not pass the adapter: what a person does at the device, or what happens
// by itself. Watchers are told of everything.
type Console struct {
	w   *World
	env string
}

// Console returns the console of an environment, which is made, down, if it does not exist yet.
func (w *World) Console(env string) (Console, error) {
	return Console{w, env}, w.do(func(*change) error {
		w.create(env)
		return nil
	})
}

// Launch starts the environment, with a new [adapter.Env.Launch].
func (c Console) Launch() error {
	return c.do(func(p place) error {
		p.launch(nil)
		return nil
	})
}

// Lose ends the environment as if it had died; detail says why. The adapter does not launch it again by itself.
func (c Console) Lose(detail string) error {
	return c.do(func(p place) error {
		p.end(detail)
		return nil
	})
}

// Install installs s as a unit that no agent asked for, with the identity key.
func (c Console) Install(key string, s Spec) error {
	s, err := c.content(key, s)
	if err != nil {
		return err
	}
	return c.do(func(p place) error {
		_, err := p.add("", key, s, "", -1)
		return err
	})
}

// InstallSystem installs s as a part of the environment itself: an adapter starts its modules and refuses every other change.
func (c Console) InstallSystem(key string, s Spec) error {
	if err := c.Install(key, s); err != nil {
		return err
	}
	return c.unit(key, func(p place, u *UnitState) error {
		u.System = true
		p.c.unit(p.id, key)
		return nil
	})
}

// InstallPermanent installs s as a part of the device's firmware: an adapter starts and stops its modules, and refuses to update and to remove
// it.
func (c Console) InstallPermanent(key string, s Spec) error {
	if err := c.Install(key, s); err != nil {
		return err
	}
	return c.unit(key, func(p place, u *UnitState) error {
		u.Permanent = true
		p.c.unit(p.id, key)
		return nil
	})
}

// Update makes s the present generation of a unit, idle. No agent asked for it and nothing is kept of the one before.
func (c Console) Update(key string, s Spec) error {
	s, err := c.content(key, s)
	if err != nil {
		return err
	}
	return c.unit(key, func(p place, u *UnitState) error {
		u.LastGen++
		p.put(key, u, Generation{Number: u.LastGen, Spec: s})
		return nil
	})
}

// Remove takes a unit away.
func (c Console) Remove(key string) error {
	return c.unit(key, func(p place, _ *UnitState) error {
		p.remove(key)
		return nil
	})
}

// Start starts a module. Its error is that of the environment.
func (c Console) Start(key, module string) error {
	return c.module(key, module, func(p place, u *UnitState, m *ModuleState) error {
		return p.start(key, u, m, adapter.StartOptions{})
	})
}

// Stop stops a module. Its error is that of the environment.
func (c Console) Stop(key, module string) error {
	return c.module(key, module, func(p place, u *UnitState, m *ModuleState) error { return p.stop(key, u, m) })
}

// Crash ends an active module with a message and an exit status: with 0 in good order, else it failed while it was active. One that the
// environment starts again is told to be Starting in between.
func (c Console) Crash(key, module, message string, exit int) error {
	err := c.module(key, module, func(p place, u *UnitState, m *ModuleState) error {
		p.ended(key, u, m, message, exit)
		return nil
	})
	if err != nil {
		return err
	}
	return c.module(key, module, func(p place, u *UnitState, m *ModuleState) error {
		if s := u.spec(m); m.Status == adapter.Starting && s.Restarts {
			settle(s, m)
			p.c.unit(p.id, key)
		}
		return nil
	})
}

// SetAutoStart changes the flag and nothing else.
func (c Console) SetAutoStart(key, module string, on bool) error {
	return c.module(key, module, func(p place, _ *UnitState, m *ModuleState) error {
		m.AutoStart = on
		p.c.unit(p.id, key)
		return nil
	})
}

// Upgrade makes version what the configuration of the environment names, as when its package is upgraded: it runs from the next
// launch on.
func (c Console) Upgrade(version string) error {
	return c.do(func(p place) error {
		p.Configured = version
		p.c.envs[p.id] = true
		return nil
	})
}

// content is s as an environment reads it from a package.
func (c Console) content(key string, s Spec) (Spec, error) {
	data, err := encode(s)
	if err != nil {
		return Spec{}, err
	}
	return parse(data, key, c.w.opts.Kind)
}

func (c Console) do(f func(place) error) error {
	return c.w.do(func(ch *change) error {
		p, err := c.w.at(ch, c.env)
		if err != nil {
			return err
		}
		return f(p)
	})
}

func (c Console) unit(key string, f func(place, *UnitState) error) error {
	return c.do(func(p place) error {
		u := p.Units[key]
		if u == nil {
			return adapter.Errorf(adapter.NotFound, "cannot find unit %q in %s", key, c.env)
		}
		return f(p, u)
	})
}

func (c Console) module(key, module string, f func(place, *UnitState, *ModuleState) error) error {
	return c.unit(key, func(p place, u *UnitState) error {
		m := u.module(module)
		if m == nil {
			return adapter.Errorf(adapter.NotFound, "cannot find module %q of %q in %s", module, key, c.env)
		}
		return f(p, u, m)
	})
}

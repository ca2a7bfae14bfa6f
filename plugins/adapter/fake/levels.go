package fake

import (
	"context"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// highestRunLevel bounds the levels of the data model (TR-181, ExecEnv.{i}.CurrentRunLevel).
const highestRunLevel = 65535

// SetRunLevel brings the environment to a run level.
func (a *Adapter) SetRunLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	return a.level(ctx, Call{Method: "SetRunLevel", OpID: op, Env: env}, level, func(p place) error {
		if !p.Up {
			return adapter.Errorf(adapter.Unavailable, "cannot use environment %q: it is not up", env)
		}
		p.setRunLevel(max(level, lowestRunLevel))
		return nil
	})
}

// SetInitialModuleRunLevel sets the level that new modules get.
func (a *Adapter) SetInitialModuleRunLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	return a.level(ctx, Call{Method: "SetInitialModuleRunLevel", OpID: op, Env: env}, level, func(p place) error {
		p.InitialModuleRunLevel = level
		p.c.envs[env] = true
		return nil
	})
}

// SetModuleRunLevel sets the level of one module. An auto-started module starts when its level is met, any module stops when
// it no longer is.
func (a *Adapter) SetModuleRunLevel(ctx context.Context, op adapter.OpID, ref adapter.ModuleRef, level int) error {
	return a.level(ctx, Call{"SetModuleRunLevel", op, ref.Env, ref.Module}, level, func(p place) error {
		_, u, err := a.unit(p.c, ref.UnitRef)
		if err != nil {
			return err
		}
		m := u.module(ref.Module)
		if m == nil {
			return adapter.Errorf(adapter.NotFound, "cannot find module %q of %q in %s", ref.Module, ref.Key, ref.Env)
		}
		if err := p.changeable("set the run level of", ref.Key, u); err != nil {
			return err
		}
		m.RunLevel = level
		p.c.unit(p.id, ref.Key)
		switch {
		case level > p.RunLevel:
			return p.stop(ref.Key, u, m)
		case m.AutoStart:
			return p.start(ref.Key, u, m, adapter.StartOptions{Auto: true})
		}
		return nil
	})
}

func (a *Adapter) level(ctx context.Context, c Call, level int, f func(place) error) error {
	return a.change(ctx, c, func(ch *change, _ environment) error {
		if !a.w.opts.RunLevels {
			return adapter.Errorf(adapter.NotSupported, "cannot %s: environment %q has no run levels", c.Method, c.Env)
		}
		if level < 0 || level > highestRunLevel {
			return adapter.Errorf(adapter.InvalidArgument, "cannot set run level %d in %s: it is not in 0 … %d", level, c.Env, highestRunLevel)
		}
		p, err := a.w.at(ch, c.Env)
		if err != nil {
			return err
		}
		return f(p)
	})
}

// SetAutoStart sets whether the module is started with its environment, and starts or stops it now.
func (a *Adapter) SetAutoStart(ctx context.Context, op adapter.OpID, ref adapter.ModuleRef, on bool) error {
	meanwhile := adapter.Stopping
	if on {
		meanwhile = adapter.Starting
	}
	return a.drive(ctx, Call{"SetAutoStart", op, ref.Env, ref.Module}, ref, meanwhile, func(p place, u *UnitState, m *ModuleState) error {
		if !a.w.opts.AutoStart {
			return adapter.Errorf(adapter.NotSupported, "cannot set AutoStart of %s: environment %q keeps none", ref.Key, ref.Env)
		}
		if err := p.changeable("set AutoStart of", ref.Key, u); err != nil {
			return err
		}
		m.AutoStart = on
		p.c.unit(p.id, ref.Key)
		switch {
		case !on:
			return p.stop(ref.Key, u, m)
		case a.w.opts.RunLevels && m.RunLevel > p.RunLevel:
			return nil // it starts when the environment gets there
		}
		return p.start(ref.Key, u, m, adapter.StartOptions{Auto: true})
	})
}

package fake

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Version is the version that the fake adapter says it has.
const Version = "1.0.0"

// handleVersion is the version of the handles that the fake gives out.
const handleVersion = 1

// Adapter is an adapter on a [World]. It keeps nothing of its own but the configuration: after [Adapter.Kill], another one on
// the same World goes on.
type Adapter struct {
	w    *World
	ctx  context.Context // done when killed
	kill context.CancelFunc

	mu    sync.Mutex
	envs  []environment // nil before Configure
	watch *feed
	wg    sync.WaitGroup
}

var (
	_ adapter.Adapter     = (*Adapter)(nil)
	_ adapter.RunLeveler  = (*Adapter)(nil)
	_ adapter.AutoStarter = (*Adapter)(nil)
	_ adapter.Exporter    = (*Adapter)(nil)
	_ adapter.Versioner   = (*Adapter)(nil)
	_ adapter.UnitSetter  = (*Adapter)(nil)
	_ adapter.Constrainer = (*Adapter)(nil)
)

// New returns an adapter on w that is not yet configured. Kill it in the end.
func New(w *World) *Adapter {
	ctx, cancel := context.WithCancel(context.Background())
	return &Adapter{w: w, ctx: ctx, kill: cancel}
}

// Kill ends the adapter as the end of its process does: calls in progress return with what they have done so far, all later
// ones are refused, the watch is closed. It waits for the goroutine of the watch and may be called more than once.
func (a *Adapter) Kill() {
	a.kill()
	a.wg.Wait()
}

// call is the frame of every method: it counts, applies the knobs and obeys ctx and Kill. f is the effect.
func (a *Adapter) call(ctx context.Context, c Call, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	err := a.w.knobs.enter(ctx, c)
	if err == nil {
		if err = ctx.Err(); err == nil {
			err = f(ctx)
			if e := a.w.knobs.hook(c, After); e != nil {
				err = e
			}
		}
	}
	switch {
	case a.ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		return adapter.Errorf(adapter.Unavailable, "cannot call %s: the adapter is gone", c.Method)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return adapter.Errorf(adapter.Canceled, "cannot finish %s: %v", c.Method, err)
	}
	return err
}

// change is call for a method whose effect is one change of an environment that the adapter was configured for.
func (a *Adapter) change(ctx context.Context, c Call, f func(*change, environment) error) error {
	return a.call(ctx, c, func(context.Context) error {
		e, err := a.environment(c.Env)
		if err != nil {
			return err
		}
		return a.w.do(func(ch *change) error { return f(ch, e) })
	})
}

func (a *Adapter) environment(id string) (environment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.envs == nil {
		return environment{}, adapter.Errorf(adapter.BadState, "cannot use environment %q: Configure was not called", id)
	}
	for _, e := range a.envs {
		if e.id == id {
			return e, nil
		}
	}
	return environment{}, adapter.Errorf(adapter.NotFound, "cannot find environment %q", id)
}

// Describe says what the adapter is.
func (a *Adapter) Describe(ctx context.Context) (adapter.Description, error) {
	d := adapter.Description{Kind: a.w.opts.Kind, Version: Version}
	if a.w.opts.RunLevels {
		d.Capabilities = append(d.Capabilities, adapter.CapRunLevels)
	}
	if a.w.opts.AutoStart {
		d.Capabilities = append(d.Capabilities, adapter.CapAutoStart)
	}
	if a.w.opts.Export {
		d.Capabilities = append(d.Capabilities, adapter.CapExport)
	}
	if a.w.opts.Versions {
		d.Capabilities = append(d.Capabilities, adapter.CapVersions)
	}
	if a.w.opts.Settings {
		d.Capabilities = append(d.Capabilities, adapter.CapUnitSettings)
	}
	if a.w.opts.Settings && a.w.opts.Volumes {
		d.Capabilities = append(d.Capabilities, adapter.CapVolumes)
	}
	if a.w.opts.Constraints {
		d.Capabilities = append(d.Capabilities, adapter.CapConstraints)
	}
	return d, a.call(ctx, Call{Method: "Describe"}, func(context.Context) error { return nil })
}

// Configure names the environments. One that the World does not have is made, down.
func (a *Adapter) Configure(ctx context.Context, envs []adapter.EnvConfig) error {
	return a.call(ctx, Call{Method: "Configure"}, func(context.Context) error {
		parsed := []environment{}
		for _, c := range envs {
			s, err := parseSettings(c.ID, c.Settings)
			if err != nil {
				return err
			}
			parsed = append(parsed, environment{c.ID, s})
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.envs != nil {
			return adapter.Errorf(adapter.BadState, "cannot configure the adapter twice")
		}
		a.envs = parsed
		return a.w.do(func(*change) error {
			for _, e := range parsed {
				a.w.create(e.id)
			}
			return nil
		})
	})
}

// Watch tells of everything and of every change.
func (a *Adapter) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	var out <-chan adapter.Event
	err := a.call(ctx, Call{Method: "Watch"}, func(context.Context) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.envs == nil {
			return adapter.Errorf(adapter.BadState, "cannot watch: Configure was not called")
		}
		if a.watch != nil {
			a.watch.stop()
		}
		a.watch = a.w.watch(ctx, a.envs, &a.wg)
		context.AfterFunc(a.ctx, a.watch.stop)
		out = a.watch.out
		return nil
	})
	return out, err
}

// Inspect reads what the package says of itself.
func (a *Adapter) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	var m adapter.Manifest
	err := a.call(ctx, Call{Method: "Inspect", Env: env}, func(context.Context) error {
		if _, err := a.environment(env); err != nil {
			return err
		}
		s, err := read(p, a.w.opts.Kind)
		m = s.manifest()
		return err
	})
	return m, err
}

// Install makes the unit present and stopped. The OpID is written into the unit, so the same one finds it again.
func (a *Adapter) Install(ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
	var out adapter.Unit
	err := a.change(ctx, Call{Method: "Install", OpID: op, Env: spec.Env}, func(c *change, e environment) error {
		p, err := a.w.atUp(c, spec.Env)
		if err != nil {
			return err
		}
		if u := p.Units[spec.Key]; u != nil && u.InstallOp == op && op != "" {
			out = a.w.unit(spec.Env, spec.Key, u)
			return nil
		}
		s, err := read(spec.Package, a.w.opts.Kind)
		if err != nil {
			return err
		}
		if s.InstallFails != "" {
			return &adapter.Error{Reason: adapter.Internal, Message: "cannot install " + s.Name + ": " + s.InstallFails, Cause: s.InstallFails}
		}
		if err := e.space(p, s); err != nil {
			return err
		}
		u, err := p.add(op, spec.Key, s, spec.Package.SHA256, spec.RunLevel)
		if err == nil {
			out = a.w.unit(spec.Env, spec.Key, u)
		}
		return err
	})
	return out, err
}

// space refuses what the environment's disk has no room for.
func (e environment) space(p place, s Spec) error {
	if disk := p.limits(e).Disk; disk > 0 && p.usedKiB()+s.SizeKiB > disk {
		return adapter.Errorf(adapter.NoResources, "cannot install %s: it needs %d KiB and environment %q has %d left",
			s.Name, s.SizeKiB, e.id, disk-p.usedKiB())
	}
	return nil
}

// Update makes next the present generation and keeps the one of before.
func (a *Adapter) Update(ctx context.Context, op adapter.OpID, ref adapter.UnitRef, _, next adapter.Package) (adapter.Unit, error) {
	var out adapter.Unit
	err := a.change(ctx, Call{Method: "Update", OpID: op, Env: ref.Env}, func(c *change, e environment) error {
		p, u, err := a.unit(c, ref)
		if err != nil {
			return err
		}
		if err := p.replaceable("update", ref.Key, u); err != nil {
			return err
		}
		if u.UpdateOp == op && op != "" {
			out = a.w.unit(ref.Env, ref.Key, u)
			return nil
		}
		s, err := read(next, a.w.opts.Kind)
		if err != nil {
			return err
		}
		if err := e.space(p, s); err != nil {
			return err
		}
		if other := p.same(s, ref.Key); other != "" {
			return adapter.Errorf(adapter.Exists, "cannot update %s to %s: it is in %s with key %q", ref.Key, s.Version, p.id, other)
		}
		p.stopAll(ref.Key, u)
		if s.UpdateFails != "" {
			return &adapter.Error{Reason: adapter.Internal, Message: "cannot update " + ref.Key + ": " + s.UpdateFails, Cause: s.UpdateFails}
		}
		u.Kept = append(u.Kept, u.Present)
		u.LastGen++
		u.UpdateOp = op
		p.put(ref.Key, u, Generation{u.LastGen, next.SHA256, s})
		out = a.w.unit(ref.Env, ref.Key, u)
		return nil
	})
	return out, err
}

// Revert makes the package old the present generation again.
func (a *Adapter) Revert(ctx context.Context, op adapter.OpID, ref adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	var out adapter.Unit
	err := a.change(ctx, Call{Method: "Revert", OpID: op, Env: ref.Env}, func(c *change, _ environment) error {
		p, err := a.w.atUp(c, ref.Env)
		if err != nil {
			return err
		}
		// The handle is not asked for: it may be that of either generation.
		u := p.Units[ref.Key]
		if u == nil {
			return adapter.Errorf(adapter.NotFound, "cannot find unit %q in %s", ref.Key, ref.Env)
		}
		if err := p.replaceable("revert", ref.Key, u); err != nil {
			return err
		}
		p.stopAll(ref.Key, u)
		if u.Present.SHA256 != old.SHA256 {
			if err := a.restore(p, ref.Key, u, old); err != nil {
				return err
			}
		}
		u.UpdateOp = ""
		out = a.w.unit(ref.Env, ref.Key, u)
		return nil
	})
	return out, err
}

// restore puts back the kept generation of the package old, or reads the package where none was kept.
func (a *Adapter) restore(p place, key string, u *UnitState, old adapter.Package) error {
	i := slices.IndexFunc(u.Kept, func(g Generation) bool { return g.SHA256 == old.SHA256 })
	if i >= 0 {
		g := u.Kept[i]
		u.Kept = u.Kept[:i]
		p.put(key, u, g)
		return nil
	}
	s, err := read(old, a.w.opts.Kind)
	if err != nil {
		return err
	}
	u.LastGen++
	p.put(key, u, Generation{u.LastGen, old.SHA256, s})
	return nil
}

// Discard drops what was kept of the old generation.
func (a *Adapter) Discard(ctx context.Context, op adapter.OpID, ref adapter.UnitRef) error {
	return a.change(ctx, Call{Method: "Discard", OpID: op, Env: ref.Env}, func(c *change, _ environment) error {
		p, err := a.w.at(c, ref.Env)
		if err != nil {
			return err
		}
		if u := p.Units[ref.Key]; u != nil {
			u.Kept, u.UpdateOp = nil, ""
		}
		return nil
	})
}

// Uninstall stops and removes the unit.
func (a *Adapter) Uninstall(ctx context.Context, op adapter.OpID, ref adapter.UnitRef) (adapter.UninstallResult, error) {
	var out adapter.UninstallResult
	err := a.change(ctx, Call{Method: "Uninstall", OpID: op, Env: ref.Env}, func(c *change, _ environment) error {
		p, err := a.w.at(c, ref.Env)
		if err != nil {
			return err
		}
		u := p.Units[ref.Key]
		if u == nil {
			out.Pending = slices.Contains(p.Leftovers, ref.Key)
			return nil
		}
		if _, err := a.w.atUp(c, ref.Env); err != nil {
			return err
		}
		if err := p.replaceable("uninstall", ref.Key, u); err != nil {
			return err
		}
		s := u.Present.Spec
		if s.UninstallFails != "" {
			return &adapter.Error{Reason: adapter.Internal, Message: "cannot uninstall " + ref.Key + ": " + s.UninstallFails, Cause: s.UninstallFails}
		}
		p.remove(ref.Key)
		out.Pending = s.UninstallPending
		return nil
	})
	return out, err
}

// Start starts a module and waits for one that hangs.
func (a *Adapter) Start(ctx context.Context, op adapter.OpID, ref adapter.ModuleRef, o adapter.StartOptions) error {
	return a.drive(ctx, Call{"Start", op, ref.Env, ref.Module}, ref, adapter.Starting, func(p place, u *UnitState, m *ModuleState) error {
		if a.w.opts.AutoStart && o.Persistent && !m.AutoStart {
			m.AutoStart = true
			p.c.unit(p.id, ref.Key)
		}
		return p.start(ref.Key, u, m, o)
	})
}

// Stop stops a module and waits for one that hangs.
func (a *Adapter) Stop(ctx context.Context, op adapter.OpID, ref adapter.ModuleRef) error {
	return a.drive(ctx, Call{"Stop", op, ref.Env, ref.Module}, ref, adapter.Stopping, func(p place, u *UnitState, m *ModuleState) error {
		if err := p.changeable("stop", ref.Key, u); err != nil {
			return err
		}
		return p.stop(ref.Key, u, m)
	})
}

// SetEnabled launches the environment or ends it.
func (a *Adapter) SetEnabled(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
	return a.change(ctx, Call{Method: "SetEnabled", OpID: op, Env: env}, func(c *change, _ environment) error {
		p, err := a.w.at(c, env)
		if err != nil {
			return err
		}
		if err := a.w.own(env); err != nil {
			return err
		}
		if on {
			p.launch(first)
		} else {
			p.end("")
		}
		return nil
	})
}

// drive changes a module with f and, if it is in the state meanwhile afterwards, waits until it has left it: at most for the
// time limit of the environment, which is answered with StillRunning.
func (a *Adapter) drive(ctx context.Context, c Call, ref adapter.ModuleRef, meanwhile adapter.Status, f func(place, *UnitState, *ModuleState) error) error {
	return a.call(ctx, c, func(ctx context.Context) error {
		e, err := a.environment(ref.Env)
		if err != nil {
			return err
		}
		waits := false
		err = a.w.do(func(ch *change) error {
			p, u, err := a.unit(ch, ref.UnitRef)
			if err != nil {
				return err
			}
			m := u.module(ref.Module)
			if m == nil {
				return adapter.Errorf(adapter.NotFound, "cannot find module %q of %q in %s", ref.Module, ref.Key, ref.Env)
			}
			err = f(p, u, m)
			waits = m.Status == meanwhile
			return err
		})
		if err != nil || !waits {
			return err
		}
		return a.settled(ctx, e, ref, meanwhile)
	})
}

// settled waits until the module has left the state meanwhile and says how that went.
func (a *Adapter) settled(ctx context.Context, e environment, ref adapter.ModuleRef, meanwhile adapter.Status) error {
	limited := ctx
	if e.TimeLimit > 0 {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, e.TimeLimit)
		defer cancel()
	}
	var outcome error
	err := a.w.await(limited, func() bool {
		var m *ModuleState
		if u := a.w.state.Envs[ref.Env].Units[ref.Key]; u != nil {
			m = u.module(ref.Module)
		}
		switch {
		case m == nil:
			outcome = adapter.Errorf(adapter.NotFound, "cannot finish with %s of %s: it was removed", ref.Module, ref.Key)
		case m.Status == meanwhile:
			return false
		case m.Reason != "":
			outcome = &adapter.Error{Reason: m.Reason, Message: "cannot finish with " + ref.Module + " of " + ref.Key + ": " + m.Message, Cause: m.Message}
		case meanwhile == adapter.Starting && m.Status != adapter.Active:
			outcome = adapter.Errorf(adapter.StartFailed, "cannot start %s of %s: it was stopped", ref.Module, ref.Key)
		}
		return true
	})
	switch {
	case err == nil:
		return outcome
	case ctx.Err() == nil:
		return adapter.Errorf(adapter.StillRunning, "cannot say how %s of %s ends: it is %s for more than %s",
			ref.Module, ref.Key, meanwhile, e.TimeLimit.Round(time.Millisecond))
	}
	return err
}

// unit finds an installed unit by its key and a handle that is still valid. The empty handle is: the agent has none for a
// unit whose installation it could not record.
func (a *Adapter) unit(c *change, ref adapter.UnitRef) (place, *UnitState, error) {
	p, err := a.w.atUp(c, ref.Env)
	if err != nil {
		return place{}, nil, err
	}
	u := p.Units[ref.Key]
	if u == nil {
		return place{}, nil, adapter.Errorf(adapter.NotFound, "cannot find unit %q in %s", ref.Key, ref.Env)
	}
	if ref.Handle.Version == 0 && len(ref.Handle.Data) == 0 {
		return p, u, nil
	}
	var h handleData
	if err := json.Unmarshal(ref.Handle.Data, &h); err != nil || ref.Handle.Version != handleVersion || h.Key != ref.Key {
		return place{}, nil, adapter.Errorf(adapter.InvalidArgument, "cannot use the handle of %q in %s: it is not of this unit", ref.Key, ref.Env)
	}
	if h.Generation != u.Present.Number && !slices.ContainsFunc(u.Kept, func(g Generation) bool { return g.Number == h.Generation }) {
		return place{}, nil, adapter.Errorf(adapter.NotFound, "cannot find unit %q in %s: its handle is of a generation that is gone", ref.Key, ref.Env)
	}
	return p, u, nil
}

type handleData struct {
	Key        string `json:"key"`
	Generation int    `json:"generation"`
}

func handle(key string, generation int) adapter.Handle {
	data, err := json.Marshal(handleData{key, generation})
	if err != nil {
		panic(err) // a string and a number can always be encoded
	}
	return adapter.Handle{Version: handleVersion, Data: data}
}

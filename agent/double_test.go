package agent_test

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/supervisor"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// double is a supervisor of fake adapters on one World: what a supervisor does with processes, it does with them.
type double struct {
	o     supervisor.Options
	world *fake.World

	mu      sync.Mutex
	current *fake.Adapter // nil while none runs
	held    bool          // no other one is started
	late    bool          // what the adapter tells is kept back
	kept    []adapter.Event
	says    *bool // what the answers to Install and Update say of Resolved; nil: what is so
	changed chan struct{}
}

func newDouble(o supervisor.Options, w *fake.World) *double {
	return &double{o: o, world: w, changed: make(chan struct{})}
}

func (d *double) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	close(d.changed)
	d.changed = make(chan struct{})
}

// crash ends the adapter as if its process had been killed. With hold no other one is started before resume.
func (d *double) crash(hold bool) {
	d.mu.Lock()
	a := d.current
	d.mu.Unlock()
	d.change(func() { d.held = hold })
	if a != nil {
		a.Kill()
	}
}

func (d *double) resume() { d.change(func() { d.held = false }) }

// delay keeps back what the adapter tells from now on.
func (d *double) delay() { d.change(func() { d.late = true }) }

// tell hands on the n oldest events that are kept back; with more than there are, all of them and whatever follows.
func (d *double) tell(n int) {
	d.change(func() {
		if d.late = n <= len(d.kept); !d.late {
			n = len(d.kept)
		}
		for _, ev := range d.kept[:n] {
			d.o.Handler.AdapterEvent(d.o.Name, ev)
		}
		d.kept = d.kept[n:]
	})
}

// resolves makes the answers to Install and Update say that a unit is resolved, or that it is not.
func (d *double) resolves(says bool) { d.change(func() { d.says = &says }) }

// amended is a unit as the answer says it.
func (d *double) amended(u adapter.Unit, err error) (adapter.Unit, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.says != nil {
		u.Resolved = *d.says
	}
	return u, err
}

// hear takes over what the adapter tells.
func (d *double) hear(ev adapter.Event) {
	d.change(func() {
		if d.late {
			d.kept = append(d.kept, ev)
			return
		}
		d.o.Handler.AdapterEvent(d.o.Name, ev)
	})
}

// delayed returns what is kept back.
func (d *double) delayed() []adapter.Event {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.kept)
}

func (d *double) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		d.mu.Lock()
		held, changed := d.held, d.changed
		d.mu.Unlock()
		if held {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if err := d.once(ctx); ctx.Err() == nil {
			d.o.Handler.AdapterLost(d.o.Name, err)
		}
	}
	return nil
}

func (d *double) once(ctx context.Context) error {
	a := fake.New(d.world)
	defer a.Kill()
	desc, err := a.Describe(ctx)
	if err != nil {
		return err
	}
	if err := a.Configure(ctx, d.o.Envs); err != nil {
		return err
	}
	events, err := a.Watch(ctx)
	if err != nil {
		return err
	}
	d.o.Handler.AdapterReady(d.o.Name, desc)
	d.change(func() { d.current = a })
	defer d.change(func() { d.current = nil })
	for ev := range events {
		d.hear(ev)
	}
	return errors.New("the adapter was killed")
}

func (d *double) Info() model.AdapterInfo { return model.AdapterInfo{Name: d.o.Name} }

// next waits for an adapter that is not last.
func (d *double) next(ctx context.Context, last *fake.Adapter) (*fake.Adapter, error) {
	for {
		d.mu.Lock()
		a, changed := d.current, d.changed
		d.mu.Unlock()
		if a != nil && a != last {
			return a, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (d *double) do(ctx context.Context, f func(*fake.Adapter) error) error {
	var last *fake.Adapter
	for {
		a, err := d.next(ctx, last)
		if err != nil {
			return err
		}
		if err = f(a); adapter.ReasonOf(err) != adapter.Unavailable || d.is(a) {
			return err
		}
		last = a
	}
}

func answer[T any](ctx context.Context, d *double, f func(*fake.Adapter) (T, error)) (out T, err error) {
	err = d.do(ctx, func(a *fake.Adapter) (err error) {
		out, err = f(a)
		return err
	})
	return out, err
}

func (d *double) Describe(ctx context.Context) (adapter.Description, error) {
	return answer(ctx, d, func(a *fake.Adapter) (adapter.Description, error) { return a.Describe(ctx) })
}

func (d *double) Configure(context.Context, []adapter.EnvConfig) error {
	return adapter.Errorf(adapter.NotSupported, "cannot configure again")
}

func (d *double) Watch(context.Context) (<-chan adapter.Event, error) {
	return nil, adapter.Errorf(adapter.NotSupported, "cannot watch")
}

func (d *double) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	return answer(ctx, d, func(a *fake.Adapter) (adapter.Manifest, error) { return a.Inspect(ctx, env, p) })
}

func (d *double) Install(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
	return d.amended(answer(ctx, d, func(a *fake.Adapter) (adapter.Unit, error) { return a.Install(ctx, op, s) }))
}

func (d *double) Update(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
	return d.amended(answer(ctx, d, func(a *fake.Adapter) (adapter.Unit, error) { return a.Update(ctx, op, u, old, next) }))
}

func (d *double) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	return answer(ctx, d, func(a *fake.Adapter) (adapter.Unit, error) { return a.Revert(ctx, op, u, old) })
}

func (d *double) Discard(ctx context.Context, op adapter.OpID, u adapter.UnitRef) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.Discard(ctx, op, u) })
}

func (d *double) Uninstall(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	return answer(ctx, d, func(a *fake.Adapter) (adapter.UninstallResult, error) { return a.Uninstall(ctx, op, u) })
}

func (d *double) Start(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.Start(ctx, op, m, o) })
}

func (d *double) Stop(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.Stop(ctx, op, m) })
}

func (d *double) SetEnabled(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.SetEnabled(ctx, op, env, on, first) })
}

func (d *double) SetRunLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.SetRunLevel(ctx, op, env, level) })
}

func (d *double) SetInitialModuleRunLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.SetInitialModuleRunLevel(ctx, op, env, level) })
}

func (d *double) SetModuleRunLevel(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, level int) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.SetModuleRunLevel(ctx, op, m, level) })
}

func (d *double) SetAutoStart(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, on bool) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.SetAutoStart(ctx, op, m, on) })
}

func (d *double) Export(context.Context, adapter.UnitRef, string) error {
	return adapter.Errorf(adapter.NotSupported, "cannot export")
}

func (d *double) SaveVersion(context.Context, string, string) error {
	return adapter.Errorf(adapter.NotSupported, "cannot save the version")
}

func (d *double) RestoreVersion(context.Context, adapter.OpID, string, adapter.Package) error {
	return adapter.Errorf(adapter.NotSupported, "cannot restore the version")
}

func (d *double) SetUnit(ctx context.Context, op adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.SetUnit(ctx, op, u, s) })
}

func (d *double) Constrain(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
	return d.do(ctx, func(a *fake.Adapter) error { return a.Constrain(ctx, op, env, c, force) })
}

// is reports whether a still runs; one that was killed is let go of first.
func (d *double) is(a *fake.Adapter) bool {
	_, err := a.Describe(context.Background())
	return adapter.ReasonOf(err) != adapter.Unavailable
}

package adaptertest

import (
	"context"
	"fmt"
	"sync"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// step is one call of a unit's life.
type step struct {
	name string
	call func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error
}

// life is a unit's whole life as a list of calls: each works on what the one before left, and is the same when it is repeated. An
// environment that is attached is launched before and ended by [rig.over].
func (r *rig) life() []step {
	v1, v2 := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
	spec := adapter.InstallSpec{Env: r.env, Key: r.key(), Package: v1, RunLevel: -1}
	var base, next, now adapter.Unit // of V1, of V2, and the present one
	keep := func(into *adapter.Unit, u adapter.Unit, err error) error {
		if err == nil && len(u.Modules) == 0 {
			return fmt.Errorf("unit %s has no module", u.Key)
		}
		if err == nil {
			*into, now = u, u
		}
		return err
	}
	module := func() adapter.ModuleRef { return adapter.ModuleRef{UnitRef: ref(now), Module: now.Modules[0].ID} }
	start := step{"Start", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
		return a.Start(ctx, op, module(), adapter.StartOptions{})
	}}
	stop := step{"Stop", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error { return a.Stop(ctx, op, module()) }}
	update := step{"Update", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
		u, err := a.Update(ctx, op, ref(base), v1, v2)
		return keep(&next, u, err)
	}}
	exported, saved := r.newPath(), r.newPath()
	export := step{"Export", func(ctx context.Context, a adapter.Adapter, _ adapter.OpID) error {
		x, ok := a.(adapter.Exporter)
		if !ok || !r.desc.Has(adapter.CapExport) {
			return nil
		}
		return x.Export(ctx, ref(now), exported)
	}}
	save := step{"SaveVersion", func(ctx context.Context, a adapter.Adapter, _ adapter.OpID) error {
		v, ok := a.(adapter.Versioner)
		if !ok || !r.desc.Has(adapter.CapVersions) {
			return nil
		}
		err := v.SaveVersion(ctx, r.env, saved)
		if r.h.Attached != nil && adapter.ReasonOf(err) == adapter.NotSupported {
			return nil // it is somebody else's
		}
		return err
	}}
	restore := step{"RestoreVersion", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
		v, ok := a.(adapter.Versioner)
		if !ok || !r.desc.Has(adapter.CapVersions) {
			return nil
		}
		p, _, err := handedOver(saved)
		if err != nil {
			return fmt.Errorf("cannot use what SaveVersion wrote: %w", err)
		}
		return v.RestoreVersion(ctx, op, r.env, p)
	}}
	enable := func(on bool) step {
		return step{"SetEnabled", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
			return a.SetEnabled(ctx, op, r.env, on, nil)
		}}
	}
	steps := []step{
		{"SetRunLevel", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
			if l, ok := a.(adapter.RunLeveler); ok && r.desc.Has(adapter.CapRunLevels) {
				return l.SetRunLevel(ctx, op, r.env, r.h.RunLevel)
			}
			return nil
		}},
		{"Install", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
			u, err := a.Install(ctx, op, spec)
			return keep(&base, u, err)
		}},
		start, stop, export, start, update, export, start,
		{"Revert", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
			u, err := a.Revert(ctx, op, ref(next), v1)
			return keep(&base, u, err)
		}},
		start, update,
		{"Discard", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
			return a.Discard(ctx, op, ref(next))
		}},
		start,
		{"Uninstall", func(ctx context.Context, a adapter.Adapter, op adapter.OpID) error {
			_, err := a.Uninstall(ctx, op, ref(next))
			return err
		}},
	}
	if r.h.Attached != nil {
		r.setEnabled(r.env, true)
		return append([]step{save}, steps...)
	}
	return append(append([]step{save, restore, enable(true)}, steps...), enable(false))
}

// over checks that the environment is down after the life of a unit, when whoever launches it has ended it.
func (r *rig) over() {
	r.t.Helper()
	if r.h.Attached != nil {
		r.setEnabled(r.env, false)
	}
	r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
}

var callCases = []Case{
	{"Calls/adapter is restarted between any two calls and each call is made twice", func(r *rig) {
		r.lives()
		r.start()
		for i, s := range r.life() {
			op := r.op()
			for _, turn := range []string{"first", "second"} {
				if err := r.call(s.name, func(ctx context.Context) error { return s.call(ctx, r.a, op) }); err != nil {
					r.t.Fatalf("call %d, %s, for the %s time: %s: %v", i+1, s.name, turn, adapter.ReasonOf(err), err)
				}
				r.kill()
				r.start()
			}
		}
		r.over()
	}},
	{"Calls/adapter is killed in the middle of any call", func(r *rig) {
		r.lives()
		r.start()
		for i, s := range r.life() {
			op := r.op()
			p := r.background(func(ctx context.Context, a adapter.Adapter) error { return s.call(ctx, a, op) })
			r.kill()
			if err := r.result(s.name, p, r.h.Timeout); err != nil {
				r.t.Logf("call %d, %s, ended with %v", i+1, s.name, err)
			}
			r.start()
			if err := r.call(s.name, func(ctx context.Context) error { return s.call(ctx, r.a, op) }); err != nil {
				r.t.Fatalf("call %d, %s, repeated after the adapter was killed: %s: %v", i+1, s.name, adapter.ReasonOf(err), err)
			}
		}
		r.over()
	}},
	{"Calls/canceled context returns promptly, the same OpID goes on", func(r *rig) {
		r.start()
		done, cancel := context.WithCancel(context.Background())
		cancel()
		for i, s := range r.life() {
			op := r.op()
			err, returned := r.bounded(func(ctx context.Context) error { return s.call(ctx, r.a, op) }, done, prompt)
			if !returned {
				r.t.Fatalf("call %d, %s, with a context that is done did not return within %s", i+1, s.name, prompt)
			}
			if err != nil {
				r.want(fmt.Sprintf("call %d, %s, with a context that is done", i+1, s.name), err, adapter.Canceled)
			}
			if err := r.call(s.name, func(ctx context.Context) error { return s.call(ctx, r.a, op) }); err != nil {
				r.t.Fatalf("call %d, %s, repeated: %s: %v", i+1, s.name, adapter.ReasonOf(err), err)
			}
		}
	}},
	{"Calls/two environments at the same time", func(r *rig) {
		env := r.second()
		v1, other := r.h.Packages.V1.load(r, "V1"), r.h.Packages.Other.load(r, "Other")
		r.up()
		r.launch(env)
		keys := map[string][2]string{r.env: {r.key(), r.key()}, env: {r.key(), r.key()}}
		var jobs []pending
		for _, e := range []string{r.env, env} {
			for i, p := range []adapter.Package{v1, other} {
				spec := adapter.InstallSpec{Env: e, Key: keys[e][i], Package: p, RunLevel: -1}
				op, start, stop, out := r.op(), r.op(), r.op(), r.op()
				jobs = append(jobs, r.background(func(ctx context.Context, a adapter.Adapter) error {
					u, err := a.Install(ctx, op, spec)
					if err != nil {
						return err
					}
					if len(u.Modules) == 0 {
						return fmt.Errorf("unit %s has no module", u.Key)
					}
					m := adapter.ModuleRef{UnitRef: ref(u), Module: u.Modules[0].ID}
					if err := a.Start(ctx, start, m, adapter.StartOptions{}); err != nil {
						return err
					}
					if err := a.Stop(ctx, stop, m); err != nil || i == 0 {
						return err
					}
					_, err = a.Uninstall(ctx, out, m.UnitRef)
					return err
				}))
			}
		}
		for _, j := range jobs {
			if err := r.result("the concurrent calls", j, r.h.Timeout); err != nil {
				r.t.Errorf("concurrent calls: %s: %v", adapter.ReasonOf(err), err)
			}
		}
		for _, e := range []string{r.env, env} {
			r.waitUnit(e, keys[e][0], "there", func(adapter.Unit) bool { return true })
			r.waitGone(e, keys[e][1])
		}
	}},
	{"Calls/same call twice at the same time", func(r *rig) {
		p := r.h.Packages.V1.load(r, "V1")
		r.up()
		before, op := r.look(r.env), r.op()
		spec := adapter.InstallSpec{Env: r.env, Key: r.key(), Package: p, RunLevel: -1}
		var mu sync.Mutex
		var units []adapter.Unit
		var jobs []pending
		for range 2 {
			jobs = append(jobs, r.background(func(ctx context.Context, a adapter.Adapter) error {
				u, err := a.Install(ctx, op, spec)
				mu.Lock()
				defer mu.Unlock()
				units = append(units, u)
				return err
			}))
		}
		for _, j := range jobs {
			if err := r.result("Install", j, r.h.Timeout); err != nil {
				r.t.Fatalf("Install: %s: %v", adapter.ReasonOf(err), err)
			}
		}
		r.wantSame("both answers", units[0], units[1])
		before[spec.Key] = units[0]
		r.wantUnits("after both", r.look(r.env), before)
	}},
}

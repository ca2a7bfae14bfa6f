package adaptertest

import (
	"context"
	"fmt"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func (r *rig) constrainer() (adapter.Constrainer, bool) {
	c, ok := r.a.(adapter.Constrainer)
	return c, ok && r.desc.Has(adapter.CapConstraints)
}

// constrainable is start, of an adapter that changes limits of environments.
func (r *rig) constrainable() {
	r.t.Helper()
	r.open()
	if _, ok := r.constrainer(); !ok {
		r.t.Skipf("the adapter does not announce %s", adapter.CapConstraints)
	}
	r.configure()
}

// A constraint is one of the limits of an environment.
type constraint struct {
	name   string
	values [2]int64 // that any environment can have
	none   int64    // how Env tells that there is no limit
	of     func(v int64) adapter.Constraints
	told   func(e adapter.Env) int64
	free   func(e adapter.Env) int64 // of it, nil when the environment does not tell
}

var constraints = []constraint{
	{
		"disk", [2]int64{512 << 10, 256 << 10}, -1, func(v int64) adapter.Constraints { return adapter.Constraints{Disk: &v} },
		func(e adapter.Env) int64 { return e.AllocatedDisk }, func(e adapter.Env) int64 { return e.AvailableDisk },
	},
	{
		"memory", [2]int64{256 << 10, 128 << 10}, -1, func(v int64) adapter.Constraints { return adapter.Constraints{Memory: &v} },
		func(e adapter.Env) int64 { return e.AllocatedMemory }, func(e adapter.Env) int64 { return e.AvailableMemory },
	},
	{
		"CPU", [2]int64{60, 35}, 0, func(v int64) adapter.Constraints { n := int(v); return adapter.Constraints{CPU: &n} },
		func(e adapter.Env) int64 { return int64(e.AllocatedCPU) }, nil,
	},
}

func (r *rig) tryConstrain(op adapter.OpID, env string, c adapter.Constraints, force bool) error {
	r.t.Helper()
	x, _ := r.constrainer()
	return r.call("Constrain", func(ctx context.Context) error { return x.Constrain(ctx, op, env, c, force) })
}

// constrain sets one limit of the environment.
func (r *rig) constrain(c constraint, v int64) {
	r.t.Helper()
	if err := r.tryConstrain(r.op(), r.env, c.of(v), false); err != nil {
		r.t.Fatalf("Constrain, %s to %d: want success, got %s: %v", c.name, v, adapter.ReasonOf(err), err)
	}
}

// constrainAll sets the limits that the environment has to the i-th of their values, and returns them.
func (r *rig) constrainAll(i int) (has []constraint) {
	r.t.Helper()
	for _, c := range constraints {
		err := r.tryConstrain(r.op(), r.env, c.of(c.values[i]), false)
		switch {
		case err == nil:
			has = append(has, c)
		case adapter.ReasonOf(err) != adapter.NotSupported:
			r.t.Fatalf("Constrain, %s to %d: want success or NotSupported, got %s: %v", c.name, c.values[i], adapter.ReasonOf(err), err)
		}
	}
	if len(has) == 0 {
		r.t.Fatalf("the adapter announces %s, and each limit is NotSupported", adapter.CapConstraints)
	}
	return has
}

// wantLimit waits until Watch has told a limit.
func (r *rig) wantLimit(when, env string, c constraint, want int64) {
	r.t.Helper()
	var got int64
	if !r.v.wait(r.h.Timeout, func() bool { got = c.told(r.v.seen[env].env); return r.v.seen[env].told && got == want }) {
		r.t.Fatalf("%s the limit of %s of environment %s is told to be %d, want %d", when, c.name, env, got, want)
	}
}

func (r *rig) wantLimits(when string, has []constraint, i int) {
	r.t.Helper()
	for _, c := range has {
		r.wantLimit(when, r.env, c, c.values[i])
	}
}

// envNow watches anew and returns the state of an environment.
func (r *rig) envNow(env string) adapter.Env {
	r.t.Helper()
	r.watch()
	return r.waitEnv(env, "told", func(s *seenEnv) bool { return s.told && (s.synced || !s.env.Up) })
}

var constraintCases = []Case{
	{"Constrain/limits are told at once, nil stays, 0 takes away", func(r *rig) {
		r.constrainable()
		r.launch(r.env)
		m := r.first(r.install(r.h.Packages.V1.load(r, "V1")))
		r.run(m)
		goesOn := r.undisturbed(m)
		has := r.constrainAll(0)
		r.wantLimits("after Constrain", has, 0)
		for i, c := range has {
			r.constrain(c, c.values[1])
			for j, x := range has {
				now := x.values[0]
				if j <= i {
					now = x.values[1]
				}
				r.wantLimit("after another Constrain of "+c.name, r.env, x, now)
			}
		}
		goesOn("after Constrain")
		for _, c := range has {
			r.constrain(c, 0)
			r.wantLimit("after it was taken away", r.env, c, c.none)
		}
		goesOn("after the limits were taken away")
	}},
	{"Constrain/holds over restarts of adapter and environment", func(r *rig) {
		r.constrainable()
		r.launch(r.env)
		has := r.constrainAll(0)
		r.restart()
		r.wantLimits("after a restart of the adapter", has, 0)
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		r.kill()
		r.start()
		r.launch(r.env)
		r.wantLimits("after a launch by another adapter", has, 0)
		for _, c := range has {
			r.constrain(c, 0)
		}
		r.restart()
		for _, c := range has {
			r.wantLimit("after it was taken away and a restart of the adapter", r.env, c, c.none)
		}
	}},
	{"Constrain/needs no running environment and leaves the others alone", func(r *rig) {
		r.constrainable()
		has := r.constrainAll(0)
		r.launch(r.env)
		r.wantLimits("after a launch", has, 0)
		if len(r.envs) < 2 {
			return
		}
		other := r.envs[1].ID
		r.launch(other)
		before := r.envNow(other)
		r.constrainAll(1)
		r.wantLimits("after another Constrain", has, 1)
		after := r.envNow(other)
		for _, c := range has {
			if c.told(before) != c.told(after) {
				r.t.Errorf("the limit of %s of the other environment was %d and is %d", c.name, c.told(before), c.told(after))
			}
		}
	}},
	{"Constrain/below what is in use is InUse, and holds with force", func(r *rig) {
		r.constrainable()
		r.launch(r.env)
		r.run(r.first(r.install(r.h.Packages.V1.load(r, "V1"))))
		known := false
		for _, c := range r.constrainAll(0) {
			if c.free == nil {
				continue
			}
			r.wantLimit("after Constrain", r.env, c, c.values[0])
			// An environment that does not tell what is free does not know what is in use.
			e := r.waitEnv(r.env, "with some of its "+c.name+" in use", func(s *seenEnv) bool { return c.free(s.env) == -1 || c.free(s.env) < c.values[0] })
			if c.free(e) == -1 {
				continue
			}
			known = true
			low := max(1, (c.values[0]-c.free(e))/16) // the kernel takes back some of what it has charged
			r.want(fmt.Sprintf("Constrain of %s to %d KiB with %d in use", c.name, low, c.values[0]-c.free(e)), r.tryConstrain(r.op(), r.env, c.of(low), false), adapter.InUse)
			if got := c.told(r.envNow(r.env)); got != c.values[0] {
				r.t.Errorf("after a Constrain that failed the limit of %s is %d, want %d", c.name, got, c.values[0])
			}
			if err := r.tryConstrain(r.op(), r.env, c.of(low), true); err != nil {
				r.t.Fatalf("Constrain of %s with force: want success, got %s: %v", c.name, adapter.ReasonOf(err), err)
			}
			r.wantLimit("after Constrain with force", r.env, c, low)
			r.constrain(c, 0)
		}
		if !known {
			r.t.Skipf("the environment does not tell what is in use of that which it limits")
		}
	}},
	{"Constrain/limit that it does not have is NotSupported and changes nothing", func(r *rig) {
		r.constrainable()
		r.launch(r.env)
		has := r.constrainAll(0)
		if len(has) == len(constraints) {
			r.t.Skipf("the environment has all limits")
		}
		for _, c := range constraints {
			if err := r.tryConstrain(r.op(), r.env, c.of(c.values[1]), false); err == nil {
				r.constrain(c, c.values[0])
				continue
			}
			all := adapter.Constraints{}
			for _, x := range append([]constraint{c}, has...) {
				y := x.of(x.values[1])
				if y.Disk != nil {
					all.Disk = y.Disk
				}
				if y.Memory != nil {
					all.Memory = y.Memory
				}
				if y.CPU != nil {
					all.CPU = y.CPU
				}
			}
			r.want("Constrain of "+c.name+" with those that the environment has", r.tryConstrain(r.op(), r.env, all, true), adapter.NotSupported)
			r.envNow(r.env)
			r.wantLimits("after a Constrain that failed", has, 0)
		}
	}},
	{"Constrain/configuration that names another value ends it", func(r *rig) {
		r.constrainable()
		if r.h.Limited == nil {
			if r.h.SkipLimited == "" {
				r.t.Fatalf("the harness has no Limited and no reason for it")
			}
			r.t.Skipf("the harness does not configure limits: %s", r.h.SkipLimited)
		}
		set := r.constrainAll(0)
		was := r.envs[0]
		relaunch := func() {
			r.t.Helper()
			r.setEnabled(r.env, false)
			r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
			r.launch(r.env)
		}
		for i, c := range set {
			configured, ok := r.h.Limited(r.t, was, c.of(c.values[1]))
			if !ok {
				continue
			}
			r.envs[0] = configured
			r.restart()
			relaunch()
			r.wantLimit("after another one was configured", r.env, c, c.values[1])
			for _, x := range set[i+1:] {
				r.wantLimit("after one of "+c.name+" was configured", r.env, x, x.values[0])
			}
			r.constrain(c, c.values[0])
			r.restart()
			r.wantLimit("after a Constrain since", r.env, c, c.values[0])
			r.envs[0] = was
			r.restart()
			relaunch()
			if got := c.told(r.envNow(r.env)); got == c.values[0] {
				r.t.Errorf("the limit of %s is %d still, though the configuration is another one again", c.name, got)
			}
		}
	}},
	{"Constrain/same OpID again is no error", func(r *rig) {
		r.constrainable()
		r.launch(r.env)
		c, op := r.constrainAll(0)[0], r.op()
		for _, when := range []string{"first", "again", "after a restart"} {
			if when == "after a restart" {
				r.restart()
			}
			if err := r.tryConstrain(op, r.env, c.of(c.values[1]), false); err != nil {
				r.t.Errorf("Constrain %s: want success, got %s: %v", when, adapter.ReasonOf(err), err)
			}
		}
		r.wantLimit("after all", r.env, c, c.values[1])
	}},
	{"Constrain/unknown environment is NotFound", func(r *rig) {
		r.constrainable()
		r.want("Constrain", r.tryConstrain(r.op(), "no-such-env", adapter.Constraints{}, false), adapter.NotFound)
	}},
}

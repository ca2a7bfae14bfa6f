package adaptertest

import (
	"slices"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// left brings the environment up and returns what lists the leavings of units.
func (r *rig) left() func() []string {
	r.t.Helper()
	if r.h.Left == nil {
		if r.h.SkipLeft == "" {
			r.t.Fatalf("the harness has no Left and no reason for it")
		}
		r.t.Skipf("the harness does not say what units leave: %s", r.h.SkipLeft)
	}
	r.up()
	return r.leavings
}

// leavings lists what units have left on the device, of a harness that can.
func (r *rig) leavings() []string {
	r.t.Helper()
	l := slices.Clone(r.h.Left(r.t, r.dir, r.env))
	slices.Sort(l)
	return l
}

// wantLeft waits until what is left is as ok asks for: some of it goes a moment after the call.
func (r *rig) wantLeft(when string, left func() []string, want []string, ok func(now []string) bool) {
	r.t.Helper()
	deadline := time.NewTimer(r.h.Timeout)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		now := left()
		if ok(now) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			r.t.Fatalf("%s there are %d things left, and were %d before; new are %q, gone are %q", when, len(now), len(want), without(now, want), without(want, now))
		}
	}
}

// without returns what of one list is not in the other.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(x string) bool { return slices.Contains(other, x) })
}

// leftCases look at what units leave behind on the device.
var leftCases = []Case{
	{"Uninstall/leaves nothing behind", func(r *rig) {
		left := r.left()
		before := left()
		same := func(now []string) bool { return slices.Equal(now, before) }
		v1, v2 := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
		u := r.install(v1)
		r.run(r.first(u))
		r.uninstall(r.op(), ref(u))
		r.wantLeft("after Uninstall", left, before, same)
		u = r.install(v1)
		next := r.update(u, v1, v2)
		r.run(r.first(next))
		r.uninstall(r.op(), ref(next))
		r.wantLeft("after Uninstall of a unit whose Update was not discarded", left, before, same)
	}},
	{"Install/failure leaves nothing behind", func(r *rig) {
		left := r.left()
		before := left()
		bad, what := r.h.Packages.FailsInstall, "FailsInstall"
		if bad.Path == "" {
			bad, what = r.h.Packages.Corrupt, "Corrupt"
		}
		if _, err := r.tryInstall(r.op(), r.env, r.key(), bad.load(r, what)); err == nil {
			r.t.Fatalf("Install of package %s: want an error, got none", what)
		}
		r.wantLeft("after the failed Install", left, before, func(now []string) bool { return slices.Equal(now, before) })
	}},
	{"Update/failure leaves nothing behind", func(r *rig) {
		left := r.left()
		v1 := r.h.Packages.V1.load(r, "V1")
		u := r.install(v1)
		before := left()
		if _, err := r.tryUpdate(r.op(), ref(u), v1, r.h.Packages.Corrupt.load(r, "Corrupt")); err == nil {
			r.t.Fatalf("Update to Corrupt: want an error, got none")
		}
		r.wantLeft("after the failed Update", left, before, func(now []string) bool { return slices.Equal(now, before) })
	}},
	{"Discard/old generations do not pile up", func(r *rig) {
		left := r.left()
		v1, v2 := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
		u := r.install(v1)
		before := left()
		for range 2 {
			for _, p := range [][2]adapter.Package{{v1, v2}, {v2, v1}} {
				u = r.update(u, p[0], p[1])
				r.discard(r.op(), ref(u))
			}
		}
		r.wantLeft("after updates there and back", left, before, func(now []string) bool { return len(now) == len(before) })
	}},
}

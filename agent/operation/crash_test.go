package operation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// scenarios are plans that end in different ways.
var scenarios = map[string]map[string]failure{
	"done":                  {},
	"fetch refused":         {"do fetch": {err: refused}},
	"install refused":       {"do install": {err: refused}},
	"install broken":        {"do install": {err: broken, acted: true}},
	"install panics":        {"do install": {panic: true, acted: true}},
	"inspect not recorded":  {"apply inspect": {err: refused}},
	"install not recorded":  {"apply record": {err: refused}},
	"start fails":           {"do start": {err: broken, acted: true}},
	"undo fails for a time": {"do install": {err: broken, acted: true}, "undo install": {err: broken, times: 3}},
	"finish fails":          {"finish": {err: broken}},
}

// setUp begins a run of a scenario.
func setUp(t *testing.T, name string) *device {
	w := newWorld()
	for call, f := range scenarios[name] {
		w.fail[call] = f
	}
	return newDevice(t, w)
}

// undisturbed runs a scenario to its end and tells it, with the numbers of commits and calls.
func undisturbed(t *testing.T, name string) (state string, commits, calls int) {
	synctest.Test(t, func(t *testing.T) {
		d := setUp(t, name)
		d.load()
		before := d.count
		id := d.mustSubmit(Request{})
		d.run()
		d.await(id)
		commits = d.count - before
		d.eng.waitIdle()
		state, calls = d.state(), len(d.world.log())
	})
	return state, commits, calls
}

// waitIdle waits until no operation is at work.
func (e *Engine) waitIdle() { e.wg.Wait() }

// The agent dies before every commit and before and after every call into the world; the next one ends as the undisturbed run does.
func TestKilledAnywhere(t *testing.T) {
	for name := range scenarios {
		t.Run(name, func(t *testing.T) {
			want, commits, calls := undisturbed(t, name)
			whole := "world: 1 fetch, 1 inspect, 1 install, 1 record, 1 start\nrow: uuid-1 Installed\njob: 1 "
			if !strings.HasPrefix(want, whole) && !strings.HasPrefix(want, "world: \njob: 1 failed ") {
				t.Fatalf("neither done nor undone:\n%s", want)
			}
			check := func(point string, arm func(*device), reboot bool) {
				synctest.Test(t, func(t *testing.T) {
					d := setUp(t, name)
					d.load()
					id := d.mustSubmit(Request{})
					arm(d)
					d.run()
					d.await(id)
					d.eng.waitIdle()
					if !d.gone {
						t.Fatalf("%s: the agent was not killed", point)
					}
					d.world.at, d.commits = nil, nil
					if reboot {
						d.clock.reboot()
					}
					d.restart()
					d.await(id)
					d.eng.waitIdle()
					if d := cmp.Diff(want, d.state()); d != "" {
						t.Errorf("%s: it ends otherwise (-undisturbed +killed):\n%s", point, d)
					}
					if r := d.record(id); string(r.State) != "{}" {
						t.Errorf("%s: the request is kept: %s", point, r.State)
					}
				})
			}
			for n := 2; n <= commits; n++ { // the first is the acceptance
				check(fmt.Sprintf("commit %d", n), func(d *device) {
					seen := 1
					d.commits = func() error {
						if seen++; seen == n {
							d.kill()
							return errKilled
						}
						return nil
					}
				}, n%2 == 0)
			}
			for n := 1; n <= calls; n++ {
				for _, acted := range []bool{false, true} {
					if slices.Contains([]string{"fetch refused", "install refused"}, name) && acted {
						continue // a refusal is said after the call
					}
					check(fmt.Sprintf("call %d, after it %v", n, acted), func(d *device) {
						seen := 0
						d.world.at = func(_ string, after bool) {
							if after != acted {
								return
							}
							if seen++; seen == n {
								d.kill()
							}
						}
					}, n%2 == 1)
				}
			}
		})
	}
}

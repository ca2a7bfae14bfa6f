package operation

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/model"
)

// fate is what happens to an operation: calls that fail, and moments at which the agent dies or is told to cancel.
type fate struct {
	fail   map[string]failure
	kills  map[int]bool // by number of a moment: a commit, or before or after a call
	cancel int          // the moment at which it is canceled; 0: never
	reboot bool
}

var calls = []string{
	"do fetch", "do verify", "do inspect", "do install", "do record", "do start", "apply inspect", "apply record",
	"undo fetch", "undo inspect", "undo install", "undo record",
}

// Whatever fails, dies or is canceled, in any order: the operation ends as done, with everything in place, or as failed or canceled
// with nothing left; what was accepted as canceled is not done; and the journal holds nothing of the request.
func TestAnyFate(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := fate{fail: map[string]failure{}, kills: map[int]bool{}}
		for _, call := range rapid.SliceOfNDistinct(rapid.SampledFrom(calls), 0, 2, rapid.ID[string]).Draw(rt, "failing calls") {
			x := failure{err: rapid.SampledFrom([]error{refused, broken}).Draw(rt, "how"), times: rapid.IntRange(1, 2).Draw(rt, "times")}
			x.acted = x.err == broken && rapid.Bool().Draw(rt, "acted") // a refusal has no effect
			if call[:5] == "apply" {
				x.times = 0
			}
			f.fail[call] = x
		}
		for _, n := range rapid.SliceOfNDistinct(rapid.IntRange(1, 40), 0, 2, rapid.ID[int]).Draw(rt, "kills") {
			f.kills[n] = true
		}
		f.cancel = rapid.IntRange(0, 40).Draw(rt, "cancel")
		f.reboot = rapid.Bool().Draw(rt, "reboot")
		if problem := live(t, f); problem != "" {
			rt.Fatal(problem)
		}
	})
}

// live carries one operation through its fate, and returns what is wrong in the end.
func live(t *testing.T, f fate) (problem string) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.fail = f.fail
		d := newDevice(t, w)
		d.load()
		id := d.mustSubmit(Request{Envs: []string{"osgi"}, Locks: []model.RowID{99}})
		moment, accepted := 0, false
		d.commits = func() error {
			if moment++; f.kills[moment] {
				d.kill()
				return errKilled
			}
			return nil
		}
		w.at = func(string, bool) {
			if moment++; moment == f.cancel {
				accepted = d.eng.Cancel(id) == nil || accepted
			}
			if f.kills[moment] {
				d.kill()
			}
		}
		d.run()
		d.await(id)
		for range 5 {
			d.eng.waitIdle()
			if !d.gone {
				break
			}
			if f.reboot {
				d.clock.reboot()
			}
			for _, n := range []int{moment + 1, moment + 2, moment + 3} {
				delete(f.kills, n) // the commits of a start: what dies there has done nothing
			}
			d.restart()
			d.await(id)
		}
		j := d.inv.Snapshot().Job(id)
		things, rows := w.contents(), slices.Collect(d.inv.Snapshot().DeploymentUnits())
		inPlace := slices.Equal(things[:min(4, len(things))], []string{"1 fetch", "1 inspect", "1 install", "1 record"}) &&
			len(rows) == 1 && rows[0].Status == model.DUInstalled
		nothing := len(things) == 0 && len(rows) == 0
		switch {
		case j.State == model.JobDone && (!inPlace || len(things) != 5):
			problem = "done, but not in place"
		case j.State == model.JobCancelled && !nothing:
			problem = "canceled, but not undone"
		case j.State == model.JobFailed && !nothing && !inPlace:
			problem = "failed and in between"
		case accepted && j.State == model.JobDone:
			problem = "done, although a cancel was accepted"
		case !j.State.Final():
			problem = "not ended"
		case string(d.record(id).State) != "{}":
			problem = "the request is kept"
		case len(d.eng.open) != 0 || len(d.eng.turns.queues) != 0:
			problem = "locks or turns are kept"
		}
		if problem != "" {
			problem = fmt.Sprintf("%s: %+v\n%s%q", problem, f, d.state(), w.log())
		}
	})
	return problem
}

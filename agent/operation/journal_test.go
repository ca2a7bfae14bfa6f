package operation

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

func TestJournalThatCannotBeCarriedOn(t *testing.T) {
	for name, spoil := range map[string]func(*record){
		"unknown kind":     func(r *record) { r.Kind = "brew" },
		"unknown step":     func(r *record) { r.Entry = "boil" },
		"step too high":    func(r *record) { r.Step = 17 },
		"step too low":     func(r *record) { r.Step = -1 },
		"undoing too high": func(r *record) { r.Step, r.Entry, r.Undoing = 6, "", true },
		"unreadable state": func(r *record) { r.State = []byte(`{"row":"one"}`) },
		"no state":         func(r *record) { r.State = []byte(`[]`) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice(t, newWorld())
				d.load()
				id := d.mustSubmit(Request{Locks: []model.RowID{5}, Envs: []string{"osgi"}})
				err := d.inv.Update(func(tx *inventory.Tx) error {
					st, err := tx.Store()
					if err != nil {
						return err
					}
					r, _, err := journal.Get(st, id)
					if err != nil {
						return err
					}
					spoil(&r)
					return journal.Put(st, id, r)
				})
				if err != nil {
					t.Fatal(err)
				}
				d.stop()
				d.start()
				j := d.await(id)
				if j.State != model.JobFailed || j.Fault != fault.Internal || !strings.Contains(j.Message, "cannot resume operation 1") {
					t.Errorf("job %+v", j)
				}
				if calls := d.world.log(); len(calls) != 0 {
					t.Errorf("calls %q", calls)
				}
				d.mustSubmit(Request{Locks: []model.RowID{5}}) // its locks are free
			})
		})
	}
}

// TestJournalOfFewerSteps carries on an operation that a version of the agent has begun which had fewer steps.
func TestJournalOfFewerSteps(t *testing.T) {
	for entry, step := range map[string]int{
		"start": 0, // which is the last one now
		"":      1, // all that it had are done
	} {
		t.Run("at "+entry, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { journalOfFewerSteps(t, step, entry) })
		})
	}
}

func journalOfFewerSteps(t *testing.T, step int, entry string) {
	d := newDevice(t, newWorld())
	d.load()
	id := d.mustSubmit(Request{Locks: []model.RowID{5}, Envs: []string{"osgi"}})
	err := d.inv.Update(func(tx *inventory.Tx) error {
		st, err := tx.Store()
		if err != nil {
			return err
		}
		r, _, err := journal.Get(st, id)
		if err != nil {
			return err
		}
		r.Step, r.Entry = step, entry
		return journal.Put(st, id, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	d.stop()
	d.start()
	if j := d.await(id); j.State != model.JobDone {
		t.Errorf("job %+v", j)
	}
	for _, call := range d.world.log() {
		if entry == "" || !strings.HasPrefix(call, "do "+entry) {
			t.Errorf("the calls are %q", d.world.log())
		}
	}
}

func TestFinishedJobsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, newWorld())
		d.start()
		id := d.mustSubmit(Request{})
		want := d.await(id)
		time.Sleep(30 * time.Minute) // of the bubble
		d.restart()
		if diff := cmp.Diff(want, d.inv.Snapshot().Job(id), cmp.FilterPath(func(p cmp.Path) bool {
			return strings.HasPrefix(p.Last().String(), ".Bytes")
		}, cmp.Ignore())); diff != "" {
			t.Errorf("after a restart (-before +after):\n%s", diff)
		}
		if r := d.record(id); string(r.State) != "{}" {
			t.Errorf("the request is kept: %s", r.State)
		}
		time.Sleep(29 * time.Minute)
		if d.inv.Snapshot().Job(id) == nil {
			t.Error("it is gone before its hour is over")
		}
		d.stop()
		d.clock.reboot() // nobody knows how long that took: the hour begins anew
		d.start()
		time.Sleep(59 * time.Minute)
		if d.inv.Snapshot().Job(id) == nil {
			t.Error("it is gone before its hour is over, after a reboot")
		}
		time.Sleep(3 * time.Minute)
		if j := d.inv.Snapshot().Job(id); j != nil {
			t.Errorf("it is kept: %+v", j)
		}
		d.restart()
		if j := d.inv.Snapshot().Job(id); j != nil {
			t.Errorf("it comes back: %+v", j)
		}
		if next := d.mustSubmit(Request{}); next != 2 {
			t.Errorf("the next number is %d", next)
		}
	})
}

func TestJobsReappear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, newWorld())
		d.load()
		for want := uint32(1); want <= 3; want++ {
			if id := d.mustSubmit(Request{Originator: model.Origin{Name: fmt.Sprint(want)}}); id != want {
				t.Errorf("number %d, want %d", id, want)
			}
		}
		keys := map[string]bool{}
		for range 2 {
			d.stop()
			d.load()
			for id := uint32(1); id <= 3; id++ {
				if j := d.inv.Snapshot().Job(id); j == nil || j.Originator.Name != fmt.Sprint(id) || j.State != model.JobQueued {
					t.Errorf("job %d: %+v", id, j)
				}
			}
			err := d.inv.View(func(st *store.Tx) error {
				open, err := d.eng.OpenOperations(st)
				for _, o := range open {
					keys[o.Key] = true
					if !strings.Contains(string(o.State), "s3cret") || o.Kind != "install" {
						t.Errorf("open %+v", o)
					}
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(keys) != 3 {
			t.Errorf("operation ids %v", keys)
		}
		d.run()
		for id := uint32(1); id <= 3; id++ {
			d.await(id)
		}
	})
}

// A disk that is full for a while, at the n-th commit and after, holds an operation up or turns it back; it never leaves it between.
func TestCommitsThatFail(t *testing.T) {
	full := errors.New("no space left on device")
	for n := 1; n <= 8; n++ {
		for _, howMany := range []int{1, 8, 40, 200} {
			synctest.Test(t, func(t *testing.T) {
				d := newDevice(t, newWorld())
				d.load()
				id := d.mustSubmit(Request{})
				seen := 0
				d.commits = func() error {
					if seen++; seen >= n && seen < n+howMany {
						return full
					}
					return nil
				}
				d.run()
				j := d.await(id)
				d.eng.waitIdle()
				done := j.State == model.JobDone && len(d.world.contents()) == 5 && d.inv.Snapshot().Count(model.KindDeploymentUnit) == 1
				undone := j.State == model.JobFailed && j.Fault == fault.SystemResourcesExceeded &&
					len(d.world.contents()) == 0 && d.inv.Snapshot().Count(model.KindDeploymentUnit) == 0
				if !done && !undone {
					t.Errorf("commits %d to %d failed:\n%s", n, n+howMany-1, d.state())
				}
				if howMany == 1 && !done {
					t.Errorf("one failed commit, the %d., turned it back:\n%s", n, d.state())
				}
				before := d.state()
				d.commits = nil
				d.restart()
				if diff := cmp.Diff(before, d.state()); diff != "" {
					t.Errorf("on the disk is something else:\n%s", diff)
				}
			})
		}
	}
}

// A number that was taken in a transaction that failed belongs to somebody else then: undoing leaves that one alone.
func TestUndoLeavesOthersAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.fail["apply inspect"] = failure{err: refused}
		d := newDevice(t, w)
		d.start()
		w.at = func(call string, after bool) {
			if call != "undo inspect" || after {
				return
			}
			err := d.inv.Update(func(tx *inventory.Tx) error {
				id, err := tx.NextNumber(model.KindDeploymentUnit)
				if err != nil {
					return err
				}
				return tx.PutDeploymentUnit(&model.DeploymentUnit{ID: id, UUID: "another", Status: model.DUInstalling})
			})
			if err != nil {
				t.Error(err)
			}
		}
		j := d.await(d.mustSubmit(Request{}))
		if n := d.inv.Snapshot().Count(model.KindDeploymentUnit); n != 1 {
			t.Errorf("%d rows are left, want that of somebody else", n)
		}
		if len(j.Objects) != 0 {
			t.Errorf("the job shows %v", j.Objects)
		}
	})
}

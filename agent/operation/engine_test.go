package operation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

func TestOrderOfSteps(t *testing.T) {
	forward := []string{"do fetch", "do verify", "do inspect", "do install", "do record", "do start"}
	for _, c := range []struct {
		name  string
		fail  map[string]failure
		calls []string
		state model.JobState
		fault fault.Reason
	}{
		{"done", nil, forward, model.JobDone, fault.None},
		{"refused", map[string]failure{"do install": {err: refused}},
			append(slices.Clone(forward[:4]), "undo inspect", "undo fetch"), model.JobFailed, fault.PackageCorrupt},
		{"broken", map[string]failure{"do install": {err: broken}},
			append(slices.Clone(forward[:4]), "undo install", "undo inspect", "undo fetch"), model.JobFailed, fault.Internal},
		{"says that it has begun", map[string]failure{"do install": {err: begun{refused}}},
			append(slices.Clone(forward[:4]), "undo install", "undo inspect", "undo fetch"), model.JobFailed, fault.PackageCorrupt},
		{"the first refused", map[string]failure{"do fetch": {err: refused}}, forward[:1], model.JobFailed, fault.PackageCorrupt},
		{"a panic", map[string]failure{"do verify": {panic: true}},
			append(slices.Clone(forward[:2]), "undo fetch"), model.JobFailed, fault.Internal},
		{"not recorded", map[string]failure{"apply record": {err: refused}},
			append(slices.Clone(forward[:5]), "undo record", "undo install", "undo inspect", "undo fetch"), model.JobFailed, fault.PackageCorrupt},
		{"after the point of no return", map[string]failure{"do start": {err: broken}}, forward, model.JobFailed, fault.Internal},
		{"undo fails for a time", map[string]failure{"do verify": {err: refused}, "undo fetch": {err: broken, times: 2}},
			append(slices.Clone(forward[:2]), "undo fetch", "undo fetch", "undo fetch"), model.JobFailed, fault.PackageCorrupt},
		{"undo has a defect", map[string]failure{"do install": {err: broken}, "undo install": {panic: true}},
			append(slices.Clone(forward[:4]), "undo install", "undo install", "undo install", "undo inspect", "undo fetch"), model.JobFailed, fault.Internal},
		{"finish fails", map[string]failure{"finish": {err: refused}}, forward, model.JobFailed, fault.PackageCorrupt},
		{"finish has a defect", map[string]failure{"finish": {panic: true}}, forward, model.JobFailed, fault.Internal},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				if c.fail != nil {
					w.fail = c.fail
				}
				d := newDevice(t, w)
				d.start()
				j := d.await(d.mustSubmit(Request{Originator: model.Origin{Name: "me"}}))
				if diff := cmp.Diff(c.calls, w.log()); diff != "" {
					t.Errorf("calls (-want +got):\n%s", diff)
				}
				if j.State != c.state || j.Fault != c.fault || j.Progress != 1 || j.Originator.Name != "me" || (j.Message == "") != (c.fault == "") {
					t.Errorf("job %+v", j)
				}
				if strings.Contains(j.Message, "boom") || strings.Contains(j.Message, "s3cret") {
					t.Errorf("the message tells too much: %q", j.Message)
				}
			})
		})
	}
}

type begun struct{ error }

func (b begun) Unwrap() error    { return b.error }
func (b begun) Indefinite() bool { return true }

// While an undo is tried again and again, others get their turn in the environment.
func TestUndoGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.fail["do install"], w.fail["undo install"] = failure{err: broken, acted: true}, failure{err: refused}
		other := &Definition[toy]{Kind: "disable", Steps: []Step[toy]{
			{Name: "switch", State: model.JobConfiguring, Turn: true, Do: func(context.Context, *Run[toy]) (Apply, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				delete(w.fail, "undo install")
				return nil, nil
			}},
		}}
		d := newDevice(t, w, w.install(), other)
		d.start()
		first := d.mustSubmit(Request{})
		d.awaitJob(first, func(j *model.Job) bool { return j.State == model.JobUndoing })
		began := time.Now()
		second, err := d.submit(other, Request{Envs: []string{"osgi"}})
		if err != nil {
			t.Fatal(err)
		}
		if j := d.await(second); j.State != model.JobDone {
			t.Errorf("job %+v", j)
		}
		if j := d.await(first); j.State != model.JobFailed || strings.Contains(j.Message, "could not be undone") {
			t.Errorf("job %+v", j)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		if got := w.contents(); len(got) != 0 {
			t.Errorf("left %q", got)
		}
	})
}

// An undo that fails until the deadline does not keep the steps before it from being undone.
func TestUndoThatNeverSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.fail["do install"], w.fail["undo install"] = failure{err: broken, acted: true}, failure{err: refused}
		d := newDevice(t, w)
		d.start()
		began := time.Now()
		j := d.await(d.mustSubmit(Request{}))
		if j.State != model.JobFailed || j.Fault != fault.Internal || !strings.Contains(j.Message, "step install could not be undone") {
			t.Errorf("job %+v", j)
		}
		if took := time.Since(began); took < 24*time.Hour || took > 25*time.Hour {
			t.Errorf("tried for %v", took)
		}
		if want, got := []string{"1 install"}, w.contents(); !slices.Equal(got, want) {
			t.Errorf("left %q, want %q", got, want)
		}
		if n := d.inv.Snapshot().Count(model.KindDeploymentUnit); n != 0 {
			t.Errorf("%d rows are left", n)
		}
	})
}

func TestCancel(t *testing.T) {
	for _, c := range []struct {
		when  string // a call; empty: before the engine runs
		after bool
		want  model.JobState
	}{
		{"", false, model.JobCancelled},
		{"do fetch", false, model.JobCancelled},
		{"do fetch", true, model.JobCancelled},
		{"do verify", true, model.JobCancelled},
		{"do inspect", false, model.JobCancelled},
		{"do inspect", true, model.JobCancelled},
		{"do install", false, model.JobCancelled},
		{"do install", true, model.JobCancelled},
		{"do record", false, model.JobCancelled},
		{"do record", true, model.JobCancelled}, // done, but not yet recorded
		{"do start", false, model.JobDone},
		{"do start", true, model.JobDone},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(c.when, " ", c.after, " ", restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := newDevice(t, newWorld())
					d.load()
					id := d.mustSubmit(Request{})
					var err error
					canceling := func() {
						if j := d.inv.Snapshot().Job(id); j.Canceling != (err == nil) || j.State.Final() {
							t.Errorf("cancel said %v, and the job is %+v", err, j)
						}
					}
					d.world.at = func(call string, after bool) {
						if call == c.when && after == c.after {
							err = d.eng.Cancel(id)
							canceling()
							if restart {
								d.kill() // the answer is durable
							}
						}
					}
					if c.when == "" {
						err = d.eng.Cancel(id)
					}
					d.run()
					d.await(id)
					d.eng.waitIdle()
					if d.gone {
						d.world.at = nil
						d.stop()
						d.load()
						canceling()
						d.run()
						d.await(id)
						d.eng.waitIdle()
					}
					j := d.inv.Snapshot().Job(id)
					if j.State != c.want || (err == nil) != (c.want == model.JobCancelled) || j.Canceling {
						t.Errorf("job %+v, cancel said %v", j, err)
					}
					if err != nil && fault.ReasonOf(err) != fault.InvalidDUState {
						t.Errorf("cancel said %s", fault.ReasonOf(err))
					}
					if c.want == model.JobCancelled && (j.Fault != fault.Canceled || len(d.world.contents()) != 0 ||
						d.inv.Snapshot().Count(model.KindDeploymentUnit) != 0) {
						t.Errorf("left:\n%s", d.state())
					}
					if err := d.eng.Cancel(id); fault.ReasonOf(err) != fault.InvalidDUState {
						t.Errorf("cancel of what has ended: %v", err)
					}
					if err := d.eng.Cancel(99); fault.ReasonOf(err) != fault.UnknownDU {
						t.Errorf("cancel of what is not there: %v", err)
					}
				})
			})
		}
	}
}

// An operation without a step marked Final passes its point of no return with the last one.
func TestCancelOfTheLastStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		def := &Definition[toy]{Kind: "start", Steps: []Step[toy]{{Name: "start", Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
			return nil, w.call(ctx, "do start", "1 start", true)
		}}}}
		d := newDevice(t, w, def)
		d.start()
		w.at = func(_ string, after bool) {
			if after {
				if err := d.eng.Cancel(1); err != nil {
					t.Error(err)
				}
			}
		}
		if j := d.await(d.mustSubmit(Request{})); j.State != model.JobCancelled {
			t.Errorf("cancel was accepted, and the job is %+v", j)
		}
		w.at = nil
		between := make(chan struct{}) // the step is recorded, the end is not
		d.commits = func() error {
			if d.record(2).Step != 1 {
				return nil
			}
			d.commits = nil
			close(between)
			return errors.New("no space left on device")
		}
		id := d.mustSubmit(Request{})
		<-between
		synctest.Wait() // it pauses before it tries again
		if err := d.eng.Cancel(id); fault.ReasonOf(err) != fault.InvalidDUState {
			t.Errorf("a cancel after the last step: %v", err)
		}
		if j := d.await(id); j.State != model.JobDone {
			t.Errorf("job %+v", j)
		}
	})
}

// A sealed step forbids to cancel from the moment it is entered; what fails in it is undone all the same.
func TestCancelOfASealedStep(t *testing.T) {
	for _, c := range []struct {
		when string // a call
		want model.JobState
		left string // in the world
	}{
		{"do prepare", model.JobCancelled, "[]"},
		{"do remove", model.JobDone, "[1 prepare 1 record 1 remove]"},
		{"do record", model.JobDone, "[1 prepare 1 record 1 remove]"},
		{"failing", model.JobFailed, "[]"},
	} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprint(c.when, " ", after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld()
					do := func(step string) func(context.Context, *Run[toy]) (Apply, error) {
						return func(ctx context.Context, r *Run[toy]) (Apply, error) {
							return nil, w.call(ctx, "do "+step, fmt.Sprint(r.ID(), " ", step), true)
						}
					}
					undo := func(ctx context.Context, r *Run[toy]) (Apply, error) {
						return nil, w.call(ctx, "undo prepare", fmt.Sprint(r.ID(), " prepare"), false)
					}
					d := newDevice(t, w, &Definition[toy]{Kind: "remove", Steps: []Step[toy]{
						{Name: "prepare", Turn: true, Do: do("prepare"), Undo: undo},
						{Name: "remove", Turn: true, Sealed: true, Do: do("remove")},
						{Name: "record", Turn: true, Final: true, Do: do("record")},
					}})
					when := c.when
					if when == "failing" {
						when = "do remove"
						w.fail[when] = failure{err: fault.Errorf(fault.RequestDenied, "a test"), times: 1}
					}
					var err error
					w.at = func(call string, is bool) {
						if call == when && is == after {
							err = d.eng.Cancel(1)
						}
					}
					d.start()
					j := d.await(d.mustSubmit(Request{}))
					reason := fault.InvalidDUState
					if c.want == model.JobCancelled {
						reason = fault.None
					}
					if fault.ReasonOf(err) != reason {
						t.Errorf("cancel said %v", err)
					}
					if left := fmt.Sprint(w.contents()); j.State != c.want || left != c.left {
						t.Errorf("the job is %+v, left is %s", *j, left)
					}
				})
			})
		}
	}
}

func TestLocksAndLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := newDevice(t, w)
		d.opts.MaxOpen = 3
		d.load()
		def := d.defs[0].(*Definition[toy])
		first := d.mustSubmit(Request{Locks: []model.RowID{7, 8}})
		if _, err := d.submit(def, Request{Locks: []model.RowID{1, 8}}); fault.ReasonOf(err) != fault.InvalidDUState {
			t.Errorf("a locked unit: %v", err)
		}
		// Within one transaction too: of two on the same unit the second is refused.
		err := d.inv.Update(func(tx *inventory.Tx) error {
			if _, err := Submit(d.eng, tx, def, &toy{}, Request{Locks: []model.RowID{9}}); err != nil {
				return err
			}
			_, err := Submit(d.eng, tx, def, &toy{}, Request{Locks: []model.RowID{9}})
			return err
		})
		if fault.ReasonOf(err) != fault.InvalidDUState {
			t.Errorf("twice in a transaction: %v", err)
		}
		second := d.mustSubmit(Request{Locks: []model.RowID{9}}) // nothing of the refused transaction holds it
		err = d.inv.Update(func(tx *inventory.Tx) error {
			if _, err := Submit(d.eng, tx, def, &toy{}, Request{}); err != nil {
				return err
			}
			_, err := Submit(d.eng, tx, def, &toy{}, Request{})
			return err
		})
		if fault.ReasonOf(err) != fault.TooManyOperations {
			t.Errorf("the fourth: %v", err)
		}
		d.stop()
		d.load() // locks are held after a restart
		if _, err := d.submit(def, Request{Locks: []model.RowID{7}}); fault.ReasonOf(err) != fault.InvalidDUState {
			t.Errorf("a locked unit after a restart: %v", err)
		}
		d.run()
		d.await(first)
		d.await(second)
		third := d.mustSubmit(Request{Locks: []model.RowID{7, 9}}) // whoever sees the end finds the locks free
		if third != 3 {
			t.Errorf("number %d", third)
		}
		d.await(third)
	})
}

// Operations of a request that is accepted as a whole neither need places nor take them from others, over a restart too.
func TestPartsTakeNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, newWorld())
		d.opts.MaxOpen = 1
		d.load()
		def := d.defs[0].(*Definition[toy])
		all := []uint32{d.mustSubmit(Request{Locks: []model.RowID{1}, Part: true}), d.mustSubmit(Request{}), d.mustSubmit(Request{Locks: []model.RowID{2}, Part: true})}
		if _, err := d.submit(def, Request{}); fault.ReasonOf(err) != fault.TooManyOperations {
			t.Errorf("the second with a place: %v", err)
		}
		d.stop()
		d.load()
		d.run()
		for _, id := range all {
			d.await(id)
		}
		d.stop()
		d.load()
		d.mustSubmit(Request{Locks: []model.RowID{1}, Part: true})
		d.stop()
		d.load()
		last := d.mustSubmit(Request{})
		d.run()
		d.await(last)
	})
}

func TestQueueKeepsTheOrderOfAcceptance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var order []uint32
		hold := make(chan struct{})
		def := &Definition[toy]{Kind: "start", Steps: []Step[toy]{{Name: "start", Turn: true, Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
			order = append(order, r.ID()) // the turn is the lock
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return nil, ctx.Err()
		}}}}
		d := newDevice(t, w, def)
		d.start()
		var want []uint32
		for range 4 { // several in a transaction, as a Set makes them
			err := d.inv.Update(func(tx *inventory.Tx) error {
				for range 3 {
					id, err := Submit(d.eng, tx, def, &toy{}, Request{Envs: []string{"osgi"}})
					if err != nil {
						return err
					}
					want = append(want, id)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if !slices.Equal(order, want[:1]) {
			t.Fatalf("at work: %v", order)
		}
		// Whoever waits has not entered its step, however often the agent ends meanwhile and however it does.
		for range 2 * maxEntries {
			d.kill()
			d.restart()
			synctest.Wait()
			d.restart()
			synctest.Wait()
		}
		for _, id := range want[1:] {
			if r := d.record(id); !r.Waiting || r.Again || r.Entries > 1 {
				t.Errorf("job %d waits: %+v", id, r)
			}
		}
		order = nil
		close(hold)
		for _, id := range want {
			if j := d.await(id); j.State != model.JobDone {
				t.Errorf("job %+v", j)
			}
		}
		if !slices.Equal(order, want[1:]) {
			t.Errorf("order %v, want %v", order, want[1:])
		}
	})
}

func TestLoopBreaker(t *testing.T) {
	for _, c := range []struct {
		call  string
		fail  map[string]failure
		times int
	}{
		{"do install", nil, maxEntries},
		{"undo install", map[string]failure{"do install": {err: broken, acted: true}}, maxEntries},
		{"do start", nil, maxEntries},
	} {
		t.Run(c.call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				if c.fail != nil {
					w.fail = c.fail
				}
				w.at = nil
				d := newDevice(t, w)
				d.load()
				id := d.mustSubmit(Request{})
				w.at = func(call string, after bool) {
					if call == c.call {
						d.kill()
					}
				}
				d.run()
				d.await(id)
				for range 10 {
					if !d.gone {
						break
					}
					d.restart()
					d.await(id)
					synctest.Wait()
				}
				entered := 0
				for _, call := range w.log() {
					if call == c.call {
						entered++
					}
				}
				j := d.inv.Snapshot().Job(id)
				if entered != c.times || j.State != model.JobFailed || j.Fault != fault.Internal {
					t.Errorf("entered %d times, job %+v", entered, j)
				}
				if c.call == "do install" && len(w.contents()) != 0 {
					t.Errorf("left %q", w.contents())
				}
			})
		})
	}
}

// An orderly end does not count for the loop breaker.
func TestOrderlyEndsAreNoLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		hang := true
		def := &Definition[toy]{Kind: "fetch", Steps: []Step[toy]{{Name: "fetch", Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
			if hang {
				<-ctx.Done()
			}
			return nil, context.Cause(ctx)
		}}}}
		d := newDevice(t, w, def)
		d.start()
		id := d.mustSubmit(Request{})
		synctest.Wait()
		for range 3 * maxEntries {
			d.restart()
			synctest.Wait()
		}
		hang = false
		d.restart()
		if j := d.await(id); j.State != model.JobDone {
			t.Errorf("job %+v", j)
		}
	})
}

// What an earlier process may have done is undone, also when this one refuses at once.
func TestRefusedAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := newDevice(t, w)
		d.load()
		id := d.mustSubmit(Request{})
		w.at = func(call string, after bool) {
			if call == "do install" && after {
				d.kill()
			}
		}
		d.run()
		d.await(id)
		w.at = nil
		w.fail["do install"] = failure{err: refused}
		d.restart()
		if j := d.await(id); j.Fault != fault.PackageCorrupt {
			t.Errorf("job %+v", j)
		}
		if got := w.contents(); len(got) != 0 {
			t.Errorf("left %q", got)
		}
	})
}

func TestRebooted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		hang := true
		do := func(ctx context.Context, r *Run[toy]) (Apply, error) {
			told = append(told, r.Rebooted)
			if hang {
				<-ctx.Done()
			}
			return nil, context.Cause(ctx)
		}
		def := &Definition[toy]{Kind: "fetch", Steps: []Step[toy]{{Name: "one", Do: do}, {Name: "two", Do: do}}}
		d := newDevice(t, newWorld(), def)
		d.start()
		id := d.mustSubmit(Request{})
		synctest.Wait()
		d.restart()
		synctest.Wait()
		d.stop()
		d.clock.reboot()
		d.start()
		synctest.Wait()
		d.restart() // once more in the same boot: the device has restarted since all the same
		synctest.Wait()
		hang = false
		d.restart()
		d.await(id)
		if want := []bool{false, false, true, true, true, false}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
	})
}

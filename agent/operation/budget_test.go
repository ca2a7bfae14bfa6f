package operation

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// slow is an operation whose step takes its time, if it is given it.
func slow(takes *time.Duration, turn bool) *Definition[toy] {
	return &Definition[toy]{Kind: "slow", Steps: []Step[toy]{{Name: "slow", Turn: turn, Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
		select {
		case <-time.After(*takes):
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}}}
}

func TestDeadlines(t *testing.T) {
	const minute = time.Minute
	for _, c := range []struct {
		name string
		// what happens between acceptance and the last start of the agent
		meanwhile func(d *device)
		left      time.Duration // what the step may take then
	}{
		{"undisturbed", func(d *device) { d.run() }, 60 * minute},
		{"accepted before the engine runs", func(d *device) {
			time.Sleep(20 * minute)
			d.run()
		}, 40 * minute},
		{"over a restart", func(d *device) {
			d.run()
			time.Sleep(20 * minute)
			d.stop()
			time.Sleep(15 * minute) // the agent is down: that counts too
			d.start()
		}, 25 * minute},
		{"over a kill", func(d *device) {
			d.run()
			time.Sleep(20 * minute)
			d.kill()
			d.restart()
		}, 40 * minute},
		{"over a reboot", func(d *device) {
			d.run()
			time.Sleep(20 * minute)
			d.stop()
			time.Sleep(600 * minute) // nobody knows of that
			d.clock.reboot()
			time.Sleep(5 * minute)
			d.start()
		}, 35 * minute},
		{"used up while the agent is down", func(d *device) {
			d.run()
			synctest.Wait()
			d.stop()
			time.Sleep(61 * minute)
			d.start()
		}, 0},
	} {
		for _, over := range []bool{false, true} {
			if c.left == 0 && !over {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					takes := c.left - time.Second
					if over {
						takes = c.left + time.Second
					}
					hang := 1000 * time.Hour
					d := newDevice(t, newWorld(), slow(&hang, false))
					d.load()
					id := d.mustSubmit(Request{})
					if c.name == "undisturbed" || c.name == "accepted before the engine runs" {
						hang = takes
					}
					c.meanwhile(d)
					if hang != takes { // the step is entered anew by the last start
						d.stop()
						hang = takes
						d.start()
					}
					j := d.await(id)
					if want := fault.DeadlineExceeded; over && j.Fault != want || !over && j.State != model.JobDone {
						t.Errorf("the step takes %v: job %+v", takes, j)
					}
				})
			})
		}
	}
}

// The time in the queue counts for the total budget only.
func TestQueueingIsNotRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := 50 * time.Minute
		d := newDevice(t, newWorld(), slow(&takes, true))
		d.opts.TotalDeadline = 4 * time.Hour
		d.start()
		var ids []uint32
		for range 6 {
			ids = append(ids, d.mustSubmit(Request{Envs: []string{"osgi"}}))
		}
		for i, id := range ids {
			j := d.await(id)
			if i < 4 && j.State != model.JobDone || i >= 4 && j.Fault != fault.DeadlineExceeded {
				t.Errorf("the %d. in the queue: %+v", i+1, j)
			}
		}
	})
}

// When the deadline is over there is still time to undo, also when the agent was down that long.
func TestUndoAfterTheDeadline(t *testing.T) {
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
		d.stop()
		time.Sleep(30 * time.Hour)
		d.start()
		if j := d.await(id); j.Fault != fault.DeadlineExceeded {
			t.Errorf("job %+v", j)
		}
		if got := w.contents(); len(got) != 0 {
			t.Errorf("left %q", got)
		}
	})
}

// After the point of no return not even a deadline in the queue undoes anything.
func TestDeadlineAfterThePointOfNoReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		d := newDevice(t, w)
		d.load()
		id := d.mustSubmit(Request{})
		w.at = func(call string, after bool) {
			if call == "do start" && !after {
				d.kill()
			}
		}
		d.run()
		d.await(id)
		w.at = nil
		d.stop()
		d.load()
		release, err := d.eng.Turn(t.Context(), "osgi") // somebody else has the environment
		if err != nil {
			t.Fatal(err)
		}
		d.run()
		j := d.await(id)
		release()
		if j.State != model.JobFailed || j.Fault != fault.DeadlineExceeded {
			t.Errorf("job %+v", j)
		}
		row := d.inv.Snapshot().DeploymentUnit(1)
		if row == nil || row.Status != model.DUInstalled || len(w.contents()) != 4 {
			t.Errorf("undone:\n%s", d.state())
		}
	})
}

func TestTurnGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(t, newWorld())
		d.start()
		release, err := d.eng.Turn(t.Context(), "osgi")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := d.eng.Turn(ctx, "osgi"); err == nil {
			t.Error("two have the turn")
		}
		release()
		if len(d.eng.turns.queues) != 0 {
			t.Error("who gave up is still in the queue")
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		def := &Definition[toy]{Kind: "fetch", Steps: []Step[toy]{
			{Name: "fetch", Weight: 3, State: model.JobFetching, Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
				for n := range int64(1001) {
					r.Progress(n, 1000)
					r.Progress(0, 0) // of nothing known
					r.Progress(n, 1000)
					time.Sleep(time.Millisecond)
				}
				return nil, nil
			}},
			{Name: "rest", State: model.JobRecording, Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
				r.Remark("all %s", "well")
				return nil, nil
			}},
		}}
		d := newDevice(t, newWorld(), def)
		d.start()
		feed := d.inv.Feed(t.Context())
		id := d.mustSubmit(Request{})
		seen, last := 0, 0.0
		for c := range feed {
			j := c.Snapshot.Job(id)
			if j == nil {
				continue
			}
			seen++
			if j.BytesTotal > 0 && j.Progress < last || (j.Progress == 1) != j.State.Final() || c.Lost {
				t.Errorf("after %v: %+v", last, j)
			}
			last = max(last, j.Progress)
			if j.State.Final() {
				if j.Message != "all well" || j.BytesDone != 1000 {
					t.Errorf("job %+v", j)
				}
				break
			}
		}
		if seen < 10 || seen > 25 {
			t.Errorf("told %d times in a second", seen)
		}
	})
}

// TestProgressOfACanceledJob: what waits to be told when the job is canceled, and its undo, do not take that back.
func TestProgressOfACanceledJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d *device
		def := &Definition[toy]{Kind: "fetch", Steps: []Step[toy]{{
			Name: "fetch", State: model.JobFetching,
			Do: func(ctx context.Context, r *Run[toy]) (Apply, error) {
				r.Progress(1, 1000)
				r.Progress(500, 1000)
				if err := d.eng.Cancel(1); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * progressPause)
				return nil, ctx.Err()
			},
			Undo: func(context.Context, *Run[toy]) (Apply, error) { return nil, nil },
		}}}
		d = newDevice(t, newWorld(), def)
		d.start()
		feed := d.inv.Feed(t.Context())
		id := d.mustSubmit(Request{})
		canceling, half := false, false
		for c := range feed {
			j := c.Snapshot.Job(id)
			if j == nil {
				continue
			}
			if canceling = canceling || j.Canceling; j.Canceling != (canceling && !j.State.Final()) {
				t.Errorf("after the cancel: %+v", j)
			}
			half = half || j.Canceling && j.BytesDone == 500
			if j.State.Final() {
				break
			}
		}
		if !canceling || !half {
			t.Errorf("told that it is canceling %t, and how far it was then %t", canceling, half)
		}
	})
}

func TestDeviceClock(t *testing.T) {
	c, err := NewDeviceClock()
	if err != nil {
		t.Fatal(err)
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	boot, began, _ := strings.Cut(c.Boot(), ".")
	if boot+"\n" != string(id) {
		t.Errorf("boot %q, want %q", c.Boot(), id)
	}
	if _, err := strconv.ParseUint(began, 10, 64); err != nil {
		t.Errorf("process 1 began at %q", began)
	}
	if again, err := NewDeviceClock(); err != nil || again.Boot() != c.Boot() {
		t.Errorf("boot %q, then %q: %v", c.Boot(), again.Boot(), err)
	}
	if a, b := c.SinceBoot(), c.SinceBoot(); a <= 0 || b < a {
		t.Errorf("since boot %v, then %v", a, b)
	}
	later := c
	later.began += time.Minute
	if d := c.SinceBoot() - later.SinceBoot(); (d - time.Minute).Abs() > 10*time.Second {
		t.Errorf("a device that began a minute later is up %v less", d)
	}
	if w := c.Wall(); w.IsZero() || time.Since(w).Abs() > time.Minute || w.Location() != time.UTC {
		t.Errorf("wall %v", w)
	}
	synctest.Test(t, func(t *testing.T) {
		// The bubble begins at the start of 2000: a clock that has not been set.
		if w := c.Wall(); !w.IsZero() {
			t.Errorf("a clock that is not set says %v", w)
		}
	})
}

package autorestart

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// box is one execution unit with its keeper, in time that passes only while everybody waits.
type box struct {
	*inventory.Inventory
	t      *testing.T
	path   string // of the state
	starts atomic.Uint32
	refuse atomic.Bool
	stop   func()
}

const unitID, startJob = 7, 1000

var settings = model.AutoRestart{Enable: true, Minimum: 4, Maximum: 60, Multiplier: 2000, Retries: 3}

// run runs f beside a keeper of a unit that is Active with these settings.
func run(t *testing.T, a model.AutoRestart, f func(b *box)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	synctest.Test(t, func(t *testing.T) {
		b := &box{t: t, path: path}
		b.open()
		b.update(func(tx *inventory.Tx) error {
			return errors.Join(
				tx.PutExecEnv(&model.ExecEnv{ID: "e", Instance: 1, Enable: true}),
				tx.PutDeploymentUnit(&model.DeploymentUnit{ID: 3, Env: "e", Key: "k", UUID: "u", Status: model.DUInstalled}),
				tx.PutExecutionUnit(&model.ExecutionUnit{ID: unitID, DU: 3, Env: "e", EUID: "e/u", Restart: a}),
			)
		})
		b.seen(model.EUActive, model.NoFault)
		f(b)
		b.stop()
	})
}

// open begins a keeper on the state.
func (b *box) open() {
	b.t.Helper()
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(b.path, log)
	if err != nil {
		b.t.Fatal(err)
	}
	if b.Inventory, err = inventory.New(st, log); err != nil {
		b.t.Fatal(err)
	}
	k := New(Options{Inventory: b.Inventory, Log: log, Start: b.start})
	k.between = func() float64 { return 0.5 }
	ctx, stop := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	b.stop = func() {
		stop()
		if err := errors.Join(<-done, st.Close()); err != nil {
			b.t.Error(err)
		}
	}
	synctest.Wait()
}

// reopen is the end of the agent and its next start. It finds the unit in this state.
func (b *box) reopen(status model.EUStatus, code model.FaultCode) {
	b.t.Helper()
	b.stop()
	b.open()
	b.seen(status, code)
}

// seen is the environment that comes up with the unit in this state.
func (b *box) seen(status model.EUStatus, code model.FaultCode) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		e := *tx.ExecEnvByID("e")
		e.Status, e.CurrentRunLevel = model.EEUp, 1
		return tx.PutExecEnv(&e)
	})
	b.becomes(status, code)
}

func (b *box) update(f func(*inventory.Tx) error) {
	b.t.Helper()
	if err := b.Update(f); err != nil {
		b.t.Fatal(err)
	}
}

// start is the agent's: it accepts the start of the unit.
func (b *box) start(tx *inventory.Tx, eu model.RowID) (uint32, error) {
	if eu != unitID {
		b.t.Errorf("unit %d is started", eu)
	}
	if b.refuse.Load() {
		return 0, errors.New("cannot start: no")
	}
	id := startJob + b.starts.Add(1)
	tx.PutJob(&model.Job{ID: id, State: model.JobQueued})
	return id, nil
}

// becomes changes the unit, and whoever follows takes notice.
func (b *box) becomes(status model.EUStatus, code model.FaultCode) {
	b.t.Helper()
	b.change(func(u *model.ExecutionUnit) { u.Status, u.FaultCode = status, code })
}

func (b *box) change(f func(*model.ExecutionUnit)) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		row := *tx.ExecutionUnit(unitID)
		f(&row)
		return tx.PutExecutionUnit(&row)
	})
	synctest.Wait()
}

// ends ends the last start: the unit is in this state then.
func (b *box) ends(status model.EUStatus, code model.FaultCode) {
	b.t.Helper()
	b.update(func(tx *inventory.Tx) error {
		row := *tx.ExecutionUnit(unitID)
		row.Status, row.FaultCode = status, code
		tx.PutJob(&model.Job{ID: startJob + b.starts.Load(), State: model.JobDone})
		return tx.PutExecutionUnit(&row)
	})
	synctest.Wait()
}

func (b *box) pass(d time.Duration) {
	time.Sleep(d) // of the bubble: nothing else happens meanwhile
	synctest.Wait()
}

// want compares how often the unit was started, RetryCount, and how long it is to the next restart; 0: none is planned.
func (b *box) want(starts uint32, count uint32, next time.Duration) {
	b.t.Helper()
	a := b.Snapshot().ExecutionUnit(unitID).Restart
	var in time.Duration
	if !a.Next.IsZero() {
		in = time.Until(a.Next)
	}
	if b.starts.Load() != starts || a.Count != count || in != next {
		b.t.Fatalf("%d starts, count %d, the next in %s; want %d, %d, %s", b.starts.Load(), a.Count, in, starts, count, next)
	}
}

func TestAUnitThatEndsIsStartedAgain(t *testing.T) {
	run(t, settings, func(b *box) {
		b.want(0, 0, 0)
		b.becomes(model.EUIdle, model.FailureWhileActive)
		b.want(0, 0, 6*time.Second) // from 4 to 8
		b.pass(6*time.Second - 1)
		b.want(0, 0, 1)
		b.pass(1)
		b.want(1, 1, 0)
		if last := b.Snapshot().ExecutionUnit(unitID).Restart.Last; !last.Equal(time.Now()) {
			t.Errorf("LastRestarted is %v, it is %v", last, time.Now())
		}
		b.pass(time.Hour) // the start waits for its turn
		b.want(1, 1, 0)
		b.ends(model.EUActive, model.NoFault)
		b.want(1, 1, 0)
		b.becomes(model.EUIdle, model.FailureWhileActive)
		b.want(1, 1, 12*time.Second)
		b.pass(12 * time.Second)
		b.ends(model.EUIdle, model.FailureOnStart) // a restart that fails is one more abnormal end
		b.want(2, 2, 24*time.Second)
		b.pass(24 * time.Second)
		b.ends(model.EUIdle, model.FailureOnStart)
		b.want(3, 3, 0) // as often as permitted
		b.change(func(u *model.ExecutionUnit) { u.Restart.Count = 0 })
		b.want(3, 0, 6*time.Second)
	})
}

// What the keeper knows of its own starts outlives the agent.
func TestTheAgentEndsBetweenRestarts(t *testing.T) {
	run(t, settings, func(b *box) {
		b.becomes(model.EUIdle, model.FailureWhileActive)
		b.pass(6 * time.Second)
		b.ends(model.EUIdle, model.FailureOnStart)
		b.reopen(model.EUIdle, model.FailureOnStart)
		b.want(1, 1, 12*time.Second) // the wait begins anew
		b.pass(12 * time.Second)
		b.want(2, 2, 0)
		b.reopen(model.EUActive, model.NoFault) // the start has succeeded meanwhile
		b.becomes(model.EUIdle, model.NoFault)
		b.becomes(model.EUIdle, model.FailureOnStart) // that was somebody else's
		b.pass(time.Hour)
		b.want(2, 2, 0)
		b.reopen(model.EUIdle, model.FailureOnStart)
		b.pass(time.Hour)
		b.want(2, 2, 0)
	})
}

// What was begun before it was switched off is not gone on with when it is switched on again.
func TestSwitchedOffBetweenRestarts(t *testing.T) {
	run(t, settings, func(b *box) {
		b.becomes(model.EUIdle, model.FailureWhileActive)
		b.pass(6 * time.Second)
		b.ends(model.EUIdle, model.FailureOnStart)
		b.change(func(u *model.ExecutionUnit) { u.Restart.Enable = false })
		b.change(func(u *model.ExecutionUnit) { u.Restart.Enable = true })
		b.pass(time.Hour)
		b.want(1, 1, 0)
	})
}

func TestWhatIsNotRestarted(t *testing.T) {
	for name, f := range map[string]func(b *box){
		"stopped":         func(b *box) { b.becomes(model.EUIdle, model.NoFault) },
		"failed to start": func(b *box) { b.becomes(model.EUIdle, model.FailureOnStart) },
		"unresolved":      func(b *box) { b.becomes(model.EUIdle, model.DependencyFailure) },
		"disabled": func(b *box) {
			b.change(func(u *model.ExecutionUnit) { u.Restart.Enable = false })
			b.becomes(model.EUIdle, model.FailureWhileActive)
		},
		"disabled while it waits": func(b *box) {
			b.becomes(model.EUIdle, model.FailureWhileActive)
			b.change(func(u *model.ExecutionUnit) { u.Restart.Enable = false })
		},
		"runs again": func(b *box) {
			b.becomes(model.EUIdle, model.FailureWhileActive)
			b.becomes(model.EUActive, model.NoFault)
		},
		"above the run level": func(b *box) {
			b.change(func(u *model.ExecutionUnit) { u.RunLevel = 2 })
			b.becomes(model.EUIdle, model.FailureWhileActive)
		},
		"an update began": func(b *box) {
			b.becomes(model.EUIdle, model.FailureWhileActive)
			b.update(func(tx *inventory.Tx) error {
				du := *tx.DeploymentUnit(3)
				du.Status = model.DUUpdating
				return tx.PutDeploymentUnit(&du)
			})
		},
		"gone": func(b *box) {
			b.becomes(model.EUIdle, model.FailureWhileActive)
			b.update(func(tx *inventory.Tx) error { return tx.DeleteExecutionUnit(unitID) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, settings, func(b *box) {
				f(b)
				b.pass(time.Hour)
				if u := b.Snapshot().ExecutionUnit(unitID); b.starts.Load() != 0 || u != nil && !u.Restart.Next.IsZero() {
					t.Errorf("%d starts, the unit is %+v", b.starts.Load(), u)
				}
			})
		})
	}
}

func TestAnEnvironmentThatIsAway(t *testing.T) {
	run(t, settings, func(b *box) {
		put := func(s model.EEStatus) {
			b.update(func(tx *inventory.Tx) error {
				e := *tx.ExecEnvByID("e")
				e.Status = s
				return tx.PutExecEnv(&e)
			})
			synctest.Wait()
		}
		put(model.EEError)
		b.becomes(model.EUIdle, model.FailureWhileActive)
		b.want(0, 0, 0)
		put(model.EEUp)
		b.want(0, 0, 6*time.Second)
		put(model.EEError)
		b.want(0, 0, 0)
		b.pass(time.Hour)
		b.want(0, 0, 0)
	})
}

func TestTheCountGoesBack(t *testing.T) {
	a := settings
	a.Reset = 100
	run(t, a, func(b *box) {
		b.becomes(model.EUIdle, model.FailureWhileActive)
		b.pass(6 * time.Second)
		b.ends(model.EUActive, model.NoFault)
		b.pass(99 * time.Second)
		b.want(1, 1, 0)
		b.pass(time.Second)
		b.want(1, 0, 0)
	})
}

func TestARefusedStartIsNotCounted(t *testing.T) {
	run(t, settings, func(b *box) {
		b.refuse.Store(true)
		b.becomes(model.EUIdle, model.FailureWhileActive)
		b.pass(6 * time.Second)
		b.want(0, 0, 6*time.Second)
		b.refuse.Store(false)
		b.pass(6 * time.Second)
		b.want(1, 1, 0)
	})
}

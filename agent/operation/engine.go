package operation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// Options configure an engine.
type Options struct {
	RunDeadline   time.Duration // from the moment an operation begins to run
	TotalDeadline time.Duration // from its acceptance
	MaxOpen       int           // unfinished operations; more are refused
	KeepFinished  time.Duration // how long a finished job stays readable
	Clock         Clock
	Log           *slog.Logger
	// Ended is called after an operation has ended, without a lock.
	Ended func()
}

// maxJobs bounds the jobs that are kept, finished ones included.
const maxJobs = 8192

// maxEntries is how often a step is entered before it is held to be what takes the agent down.
const maxEntries = 3

// Engine runs operations.
type Engine struct {
	inv   *inventory.Inventory
	opts  Options
	defs  map[string]definition
	turns turns
	wg    sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context // of Run; nil before it
	open    map[uint32]*op
	waiting []*op             // accepted before Run
	ended   map[uint32]record // finished ones that are kept
}

// op is an operation in memory.
type op struct {
	rec   record
	def   definition
	state any

	cancel context.CancelCauseFunc // of the present step; guarded by Engine.mu
	final  bool                    // the present step cannot be canceled; guarded by Engine.mu

	bytesDone, bytesTotal int64
	fraction              float64
	meter                 meter
	resumed               bool // the present step was entered by an earlier process
	rebooted              bool
}

var (
	errCanceled = fault.Errorf(fault.Canceled, "the operation was canceled")
	errDeadline = fault.Errorf(fault.DeadlineExceeded, "the operation took longer than its deadline")
)

// New returns an engine that knows the given kinds of operations.
func New(inv *inventory.Inventory, opts Options, defs ...definition) *Engine {
	e := &Engine{inv: inv, opts: opts, defs: map[string]definition{}, open: map[uint32]*op{}, ended: map[uint32]record{}}
	for _, d := range defs {
		if _, dup := e.defs[d.kind()]; dup {
			panic("operation: two kinds " + d.kind())
		}
		e.defs[d.kind()] = d
	}
	return e
}

// Load reads the journal: jobs are in the snapshot and locks are held from then on. It is called once, before Run and before anything is
// submitted.
func (e *Engine) Load() error {
	return e.inv.Update(func(tx *inventory.Tx) error {
		st, err := tx.Store()
		if err != nil {
			return err
		}
		boot, now := e.opts.Clock.Boot(), e.opts.Clock.SinceBoot()
		var finished []record
		err = journal.Load(st, func(_ uint32, r record) error {
			if !r.Finished.IsZero() || r.JobState.Final() {
				if r.Boot != boot {
					r.Boot, r.Stamp = boot, now
					finished = append(finished, r)
				}
				e.ended[r.ID] = r
				tx.PutJob(r.job(1, 0, 0))
				return nil
			}
			o := &op{rec: r, resumed: true, rebooted: r.Boot != boot}
			e.open[r.ID] = o
			e.waiting = append(e.waiting, o)
			tx.PutJob(r.job(0, 0, 0))
			return nil
		})
		if err != nil {
			return err
		}
		for _, r := range finished {
			if err := journal.Put(st, r.ID, r); err != nil {
				return err
			}
		}
		for _, o := range e.waiting {
			e.revive(o)
			o.rec.advance(boot, now)
			o.rec.Entries++
			if err := journal.Put(st, o.rec.ID, o.rec); err != nil {
				return err
			}
		}
		return nil
	})
}

// revive finds the definition and state of a record of an earlier process. What it cannot read gets a definition that only
// fails.
func (e *Engine) revive(o *op) {
	def, known := e.defs[o.rec.Kind]
	switch {
	case !known:
		o.def = unreadable{fmt.Errorf("cannot resume operation %d: unknown kind %q", o.rec.ID, o.rec.Kind)}
	case o.rec.Undoing && o.rec.Step < 0:
		o.def, o.state = def, def.newState() // everything is undone: only the end is to be recorded
	case o.rec.Step < 0 || o.rec.Step >= def.count() || def.info(o.rec.Step).name != o.rec.Entry:
		o.def = unreadable{fmt.Errorf("cannot resume operation %d: unknown step %q of %s", o.rec.ID, o.rec.Entry, o.rec.Kind)}
	default:
		o.def, o.state = def, def.newState()
		if err := json.Unmarshal(o.rec.State, o.state); err != nil {
			o.def, o.state = unreadable{fmt.Errorf("cannot resume operation %d: %w", o.rec.ID, err)}, nil
		}
	}
	if _, bad := o.def.(unreadable); bad {
		o.state, o.rec.Step, o.rec.Undoing = struct{}{}, 0, false
	}
}

// Run resumes what was open and runs operations until ctx is done; then it waits for their steps to return. What is open then is
// resumed by the next process.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	e.ctx = ctx
	for _, o := range e.waiting {
		e.launch(o)
	}
	e.waiting = nil
	e.mu.Unlock()
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := e.forget(); err != nil {
				e.opts.Log.Error("finished jobs could not be removed", "err", err)
			}
		case <-ctx.Done():
			e.wg.Wait()
			return nil
		}
	}
}

// forget removes finished jobs whose time is over.
func (e *Engine) forget() error {
	now := e.opts.Clock.SinceBoot()
	return e.inv.Update(func(tx *inventory.Tx) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		var old []uint32
		for id, r := range e.ended {
			if now-r.Stamp > e.opts.KeepFinished {
				old = append(old, id)
			}
		}
		if len(old) == 0 {
			return nil
		}
		st, err := tx.Store()
		if err != nil {
			return err
		}
		for _, id := range old {
			if err := journal.Delete(st, id); err != nil {
				return err
			}
			tx.DeleteJob(id)
		}
		tx.AfterCommit(func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, id := range old {
				delete(e.ended, id)
			}
		})
		return nil
	})
}

func (e *Engine) submit(tx *inventory.Tx, d definition, state any, r Request) (uint32, error) {
	e.mu.Lock()
	open, all := len(e.open), len(e.open)+len(e.ended)
	busy := e.lockedBy(r.Locks)
	e.mu.Unlock()
	switch {
	case open >= e.opts.MaxOpen:
		return 0, fault.Errorf(fault.TooManyOperations, "cannot accept the operation: %d are open already", open)
	case all >= maxJobs:
		return 0, fault.Errorf(fault.TooManyOperations, "cannot accept the operation: %d jobs are kept already", all)
	case busy != 0:
		return 0, fault.Errorf(fault.InvalidDUState, "cannot accept the operation: the deployment unit is busy with job %d", busy)
	}
	id, err := tx.NextNumber(model.KindJob)
	if err != nil {
		return 0, err
	}
	raw, err := json.Marshal(state)
	if err != nil {
		return 0, fmt.Errorf("cannot write operation %d to the journal: %w", id, err)
	}
	key := make([]byte, 6)
	rand.Read(key)
	c := e.opts.Clock
	o := &op{def: d, state: state, rec: record{
		ID: id, Kind: d.kind(), Key: fmt.Sprintf("%d-%s", id, hex.EncodeToString(key)), Originator: r.Originator,
		State: raw, Envs: r.Envs, Locks: r.Locks, Objects: r.Objects,
		Entry: d.info(0).name, Entries: 1, Accepted: c.Wall(), Boot: c.Boot(), Stamp: c.SinceBoot(), JobState: model.JobQueued,
	}}
	st, err := tx.Store()
	if err != nil {
		return 0, err
	}
	if err := journal.Put(st, id, o.rec); err != nil {
		return 0, err
	}
	tx.PutJob(o.rec.job(0, 0, 0))
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.open[id] = o
		if e.ctx == nil {
			e.waiting = append(e.waiting, o)
			return
		}
		e.launch(o)
	})
	return id, nil
}

// lockedBy returns the open operation that has locked one of the rows, or 0. The caller holds mu.
func (e *Engine) lockedBy(rows []model.RowID) uint32 {
	for _, row := range rows {
		for id, o := range e.open {
			for _, locked := range o.rec.Locks {
				if locked == row {
					return id
				}
			}
		}
	}
	return 0
}

// launch starts the goroutine of an operation. The caller holds mu.
func (e *Engine) launch(o *op) {
	if e.ctx.Err() != nil {
		return // the next process resumes it
	}
	ctx := e.ctx
	e.wg.Add(1)
	go func() {
		defer e.wg.Done()
		e.run(ctx, o)
	}()
}

// Turn waits for the turn in an environment, for work that is not an operation.
func (e *Engine) Turn(ctx context.Context, env string) (release func(), err error) {
	return e.turns.take(ctx, []string{env})
}

// Cancel ends an operation that is open and not past its point of no return. It is durable when Cancel returns; the job ends as soon
// as what has been done is undone.
func (e *Engine) Cancel(id uint32) error {
	return e.inv.Update(func(tx *inventory.Tx) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		o := e.open[id]
		switch {
		case o == nil && tx.Job(id) == nil:
			return fault.Errorf(fault.UnknownDU, "cannot cancel job %d: there is no such job", id)
		case o == nil:
			return fault.Errorf(fault.InvalidDUState, "cannot cancel job %d: it has ended", id)
		case o.rec.Passed || o.rec.Undoing || o.final:
			return fault.Errorf(fault.InvalidDUState, "cannot cancel job %d: it is past the point of no return", id)
		}
		rec := o.rec
		rec.Cancel = true
		st, err := tx.Store()
		if err != nil {
			return err
		}
		if err := journal.Put(st, id, rec); err != nil {
			return err
		}
		tx.AfterCommit(func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			o.rec.Cancel = true
			if o.cancel != nil {
				o.cancel(errCanceled)
			}
		})
		return nil
	})
}

// OpenOperations returns the unfinished operations as the journal has them in tx.
func (e *Engine) OpenOperations(st *store.Tx) ([]Open, error) {
	var all []Open
	err := journal.Load(st, func(id uint32, r record) error {
		if !r.JobState.Final() {
			all = append(all, Open{id, r.Key, r.Kind, r.State})
		}
		return nil
	})
	return all, err
}

// unreadable stands for a record that this program cannot carry on: it fails at once.
type unreadable struct{ err error }

func (u unreadable) kind() string      { return "" }
func (u unreadable) count() int        { return 1 }
func (u unreadable) info(int) stepInfo { return stepInfo{name: "unreadable", weight: 1} }
func (u unreadable) newState() any     { return &struct{}{} }
func (u unreadable) do(context.Context, *common, int) (Apply, error) {
	return nil, fault.As(fault.Internal, u.err)
}
func (u unreadable) undo(context.Context, *common, int) (Apply, error) {
	return nil, errors.New("cannot undo what cannot be read")
}
func (u unreadable) finish(*inventory.Tx, *common, error) error { return nil }

package operation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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
	MaxOpen       int           // unfinished operations, those with Request.Part not counted; more are refused
	KeepFinished  time.Duration // how long a finished job stays readable
	Clock         Clock
	Log           *slog.Logger
	// Ended is called after an operation has ended, without a lock.
	Ended func()
	// Concluded takes over how an operation has ended, in the transaction that ends it. It may be called again for the same operation when that
	// is not committed. It must not fail for reasons of its own: then the operation ends without it. nil: nobody needs to know.
	Concluded func(*inventory.Tx, Conclusion) error
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

	// mu comes after the writer's lock of the inventory: nobody who holds it begins a transaction.
	mu       sync.Mutex
	ctx      context.Context // of Run; nil before it
	stopping bool            // Run waits for what is at work
	open     map[uint32]*op
	waiting  []*op             // accepted before Run
	ended    map[uint32]record // finished ones that are kept
	present  acceptance
}

// acceptance is what has been accepted in a transaction that is not committed yet. There is one writer at a time: another
// transaction means that the one before has ended.
type acceptance struct {
	tx  *inventory.Tx
	ops []*op
}

// op is an operation in memory. Its own goroutine alone writes the record, holding Engine.mu, and may read it without; but for Cancel,
// which belongs to Engine.mu.
type op struct {
	rec    record
	def    definition
	state  any
	ticket *ticket // its place in the queues of its environments

	cancel context.CancelCauseFunc // of the present step; guarded by Engine.mu

	bytesDone, bytesTotal int64
	fraction              float64
	meter                 meter
}

var (
	errCanceled = fault.Errorf(fault.Canceled, "the operation was canceled")
	errDeadline = fault.Errorf(fault.DeadlineExceeded, "the operation took longer than its deadline")
)

// New returns an engine that knows the given kinds of operations.
func New(inv *inventory.Inventory, opts Options, defs ...definition) *Engine {
	e := &Engine{inv: inv, opts: opts, defs: map[string]definition{}, open: map[uint32]*op{}, ended: map[uint32]record{}}
	for _, d := range defs {
		if d.count() == 0 {
			panic("operation: no steps in " + d.kind())
		}
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
			o := &op{rec: r}
			e.open[r.ID] = o
			e.waiting = append(e.waiting, o)
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
			if !o.rec.Waiting {
				o.rec.Entries++
				o.rec.Again = true
				o.rec.Rebooted = o.rec.Rebooted || o.rec.Boot != boot
			}
			o.rec.Crossed = o.rec.Crossed || o.rec.Boot != boot
			o.rec.advance(boot, now)
			j := e.job(o)
			j.Canceling = o.rec.Cancel
			tx.PutJob(j)
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
	rec := &o.rec
	def, known := e.defs[rec.Kind]
	var err error
	switch {
	case !known:
		err = fmt.Errorf("cannot resume operation %d: unknown kind %q", rec.ID, rec.Kind)
	case rec.Undoing && rec.Step == -1 && rec.Entry == "": // everything is undone: only the end is to be recorded
	case !rec.Undoing && rec.Entry == "": // everything is done, in however many steps: likewise
		rec.Step = def.count()
	case rec.Step < 0 || rec.Step >= def.count() || index(def, rec.Entry) < 0:
		err = fmt.Errorf("cannot resume operation %d: unknown step %q of %s", rec.ID, rec.Entry, rec.Kind)
	default:
		rec.Step = index(def, rec.Entry) // the version of the agent that wrote the record may have had fewer steps before it
	}
	if err == nil {
		o.def, o.state = def, def.newState()
		if err = def.restore(o.state, rec.State); err == nil {
			return
		}
		err = fmt.Errorf("cannot resume operation %d: %w", rec.ID, err)
	}
	o.def, o.state = unreadable{err}, &struct{}{}
	rec.Undoing = false
	rec.enter(0, o.def.info(0).name)
}

// index returns the place of the step with that name, or -1.
func index(d definition, name string) int {
	for i := range d.count() {
		if d.info(i).name == name {
			return i
		}
	}
	return -1
}

// Run resumes what was open and runs operations until ctx is done; then it waits for their steps to return. What is open then is
// resumed by the next process.
func (e *Engine) Run(ctx context.Context) error {
	e.mu.Lock()
	e.ctx = ctx
	// Those that had the turn when the process before ended have it first; the others keep the order of their acceptance.
	slices.SortStableFunc(e.waiting, func(a, b *op) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.rec.ID, b.rec.ID))
	})
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
			e.mu.Lock()
			e.stopping = true
			e.mu.Unlock()
			e.wg.Wait()
			return e.rest()
		}
	}
}

func rank(o *op) int {
	if needsTurn(o) && !o.rec.Waiting {
		return 0
	}
	return 1
}

// rest notes that what is open has not taken the agent down, and what it has used of its budgets.
func (e *Engine) rest() error {
	err := e.inv.Update(func(tx *inventory.Tx) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, o := range e.open {
			rec := o.rec
			rec.Entries = 0
			rec.advance(e.opts.Clock.Boot(), e.opts.Clock.SinceBoot())
			st, err := tx.Store()
			if err != nil {
				return err
			}
			if err := journal.Put(st, rec.ID, rec); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot record that the agent ends in good order: %w", err)
	}
	return nil
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

// Concerned reports whether an open operation has locked a deployment unit or is about the row.
func (e *Engine) Concerned(row model.Ref) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, o := range e.open {
		if slices.Contains(o.rec.Objects, row) || row.Kind == model.KindDeploymentUnit && slices.Contains(o.rec.Locks, row.Instance) {
			return true
		}
	}
	return false
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

func (u unreadable) kind() string                       { return "" }
func (u unreadable) count() int                         { return 1 }
func (u unreadable) info(int) stepInfo                  { return stepInfo{name: "unreadable", weight: 1} }
func (u unreadable) newState() any                      { return &struct{}{} }
func (u unreadable) restore(any, json.RawMessage) error { return nil }
func (u unreadable) do(context.Context, *common, int) (Apply, error) {
	return nil, fault.As(fault.Internal, u.err)
}
func (u unreadable) undo(context.Context, *common, int) (Apply, error) {
	return nil, errors.New("cannot undo what cannot be read")
}
func (u unreadable) finish(*inventory.Tx, *common, error) error { return nil }
func (u unreadable) results(*inventory.Tx, *common, error) []model.Result {
	return nil
}

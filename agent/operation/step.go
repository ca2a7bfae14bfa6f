package operation

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Apply is what a step changes in the agent's own state. It runs in the transaction that marks the step as done, or undone;
// its error fails the step, which is then undone itself. What it changes in Run.State counts only if the transaction is committed. It may
// run several times and must not block. It may be nil.
type Apply func(*inventory.Tx) error

// Step is one step of operations with state S.
type Step[S any] struct {
	Name   string         // stored in the journal; never changes
	State  model.JobState // shown while the step runs
	Weight int            // share of the progress; 0 counts as 1
	// Turn makes the operation take its turn in its environments before this step.
	Turn bool
	// Final marks the point of no return: once the step is done, the operation cannot be canceled and nothing is undone. The
	// last step of an operation is always one.
	Final bool
	// Sealed forbids to cancel the operation once the step is entered: what Do begins cannot be called back, and goes on when nobody waits for it
	// any more. A failure is undone as any other.
	Sealed bool
	// Do carries the step out. What it learns it leaves in Run.State, which is stored with the step's end. It is entered
	// again after a crash. A panic of it is logged and fails the step as internal.
	Do func(context.Context, *Run[S]) (Apply, error)
	// Undo takes back what Do did, wholly or in part or not at all; nil: there is nothing to take back. It is repeated until
	// it succeeds or the total deadline has passed, at least for ten minutes; then the steps before it are undone all the same.
	Undo func(context.Context, *Run[S]) (Apply, error)
}

// Definition describes one kind of operation.
type Definition[S any] struct {
	Kind  string // stored in the journal and shown as Job.Operation; never changes
	Steps []Step[S]
	// Finish runs in the transaction that ends the operation, with the error of a failed one. It must not fail for reasons of its own:
	// then the operation ends as failed, without what Finish wrote.
	Finish func(tx *inventory.Tx, r *Run[S], err error) error
	// Results tells what became of deployment units, in the same transaction as Finish and after it, also when that has failed. It may be nil.
	Results func(tx *inventory.Tx, r *Run[S], err error) []model.Result
}

// A Conclusion is how an operation has ended, as what waits to be told outside needs it.
type Conclusion struct {
	Job     uint32
	Kind    string
	Origin  model.Origin
	Results []model.Result // of deployment units
	Fault   fault.Reason   // none: it succeeded
	Message string
	// Rebooted: the device has restarted since the operation was accepted.
	Rebooted bool
}

// Run is an operation at work, as its steps see it.
type Run[S any] struct {
	*common
	State *S // stored with each commit
}

// common is the part of a run that does not depend on its state.
type common struct {
	engine   *Engine
	op       *op
	Log      *slog.Logger
	Rebooted bool // the device has restarted since this step, a Do, was entered first
}

// ID returns the number of the job.
func (r *common) ID() uint32 { return r.op.rec.ID }

// OpID returns the key under which adapters recognize this operation.
func (r *common) OpID() adapter.OpID { return adapter.OpID(r.op.rec.Key) }

// Originator says who asked.
func (r *common) Originator() model.Origin { return r.op.rec.origin() }

// Accepted returns the wall time of the acceptance; zero while the clock of the device is not set.
func (r *common) Accepted() time.Time { return r.op.rec.Accepted }

// Began returns the wall time at which the operation began to run, after its wait for the turn; zero while the clock of the device is not set.
func (r *common) Began() time.Time { return r.op.rec.Started }

// Wall returns the wall time; zero while the clock of the device is not set.
func (r *common) Wall() time.Time { return r.engine.opts.Clock.Wall() }

// UseEnvs names the environments in which the operation takes its turn, once they are known.
func (r *common) UseEnvs(ids ...string) { r.edit(func(rec *record) { rec.Envs = ids }) }

// SetObjects names the rows that the job shows.
func (r *common) SetObjects(rows ...model.Ref) { r.edit(func(rec *record) { rec.Objects = rows }) }

// Remark sets the message of a job that succeeds.
func (r *common) Remark(format string, args ...any) {
	r.edit(func(rec *record) { rec.Message = fmt.Sprintf(format, args...) })
}

// edit changes the record; the journal has it with the step's end.
func (r *common) edit(f func(*record)) {
	r.engine.mu.Lock()
	defer r.engine.mu.Unlock()
	f(&r.op.rec)
}

// Progress tells how far the present step is: bytes of a transfer. total 0 is unknown. It may be called often, from the goroutine of
// the step.
func (r *common) Progress(done, total int64) { r.engine.progress(r.op, done, total) }

// definition is a Definition without its type parameter.
type definition interface {
	kind() string
	count() int
	info(i int) stepInfo
	newState() any
	restore(state any, from json.RawMessage) error
	do(context.Context, *common, int) (Apply, error)
	undo(context.Context, *common, int) (Apply, error)
	finish(*inventory.Tx, *common, error) error
	results(*inventory.Tx, *common, error) []model.Result
}

type stepInfo struct {
	name    string
	state   model.JobState
	weight  int
	turn    bool
	final   bool
	sealed  bool
	hasUndo bool
}

func (d *Definition[S]) kind() string  { return d.Kind }
func (d *Definition[S]) count() int    { return len(d.Steps) }
func (d *Definition[S]) newState() any { return new(S) }

// restore makes state what it was when it was stored.
func (d *Definition[S]) restore(state any, from json.RawMessage) error {
	var s S
	if err := json.Unmarshal(from, &s); err != nil {
		return err
	}
	*state.(*S) = s
	return nil
}

func (d *Definition[S]) info(i int) stepInfo {
	s := &d.Steps[i]
	return stepInfo{s.Name, s.State, max(s.Weight, 1), s.Turn, s.Final, s.Sealed, s.Undo != nil}
}

func (d *Definition[S]) run(c *common) *Run[S] { return &Run[S]{c, c.op.state.(*S)} }

func (d *Definition[S]) do(ctx context.Context, c *common, i int) (Apply, error) {
	return d.Steps[i].Do(ctx, d.run(c))
}

func (d *Definition[S]) undo(ctx context.Context, c *common, i int) (Apply, error) {
	return d.Steps[i].Undo(ctx, d.run(c))
}

func (d *Definition[S]) finish(tx *inventory.Tx, c *common, err error) error {
	if d.Finish == nil {
		return nil
	}
	return d.Finish(tx, d.run(c), err)
}

func (d *Definition[S]) results(tx *inventory.Tx, c *common, err error) []model.Result {
	if d.Results == nil {
		return nil
	}
	return d.Results(tx, d.run(c), err)
}

// Request is an operation to be accepted.
type Request struct {
	Originator model.Origin
	Envs       []string      // environments in which it takes its turn, as far as known
	Locks      []model.RowID // deployment units it changes
	Objects    []model.Ref   // what the job shows
	// Part says that it is one of the operations of a request that is accepted as a whole: it takes no place of Options.MaxOpen. It must lock units, and so
	// there are no more of such operations than units.
	Part bool
}

// Submit accepts an operation: with the commit of tx it is in the journal and begins to run. Errors are too-many-operations and, for
// a unit that another operation has locked, invalid-du-state.
func Submit[S any](e *Engine, tx *inventory.Tx, d *Definition[S], state *S, r Request) (uint32, error) {
	return e.submit(tx, d, state, r)
}

// Open is an unfinished operation as the journal has it.
type Open struct {
	ID    uint32
	Key   string // its OpID
	Kind  string
	State json.RawMessage
}

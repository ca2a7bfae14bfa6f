package operation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// panicked is the error of a function that broke off with a panic. What the panic says is in the log only: it may hold anything.
type panicked struct{ step string }

func (p *panicked) Error() string {
	return fmt.Sprintf("cannot carry on: step %s has a defect and broke off; the log tells where", p.step)
}

// guard calls f and turns a panic of it into an error: one step with a defect does not take everything else down.
func guard(log *slog.Logger, step string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a step broke off with a panic", "step", step, "panic", p, "stack", string(debug.Stack()))
			err = &panicked{step}
		}
	}()
	return f()
}

// unwritten is the error of a commit that the store refused.
type unwritten struct{ error }

func (u *unwritten) Unwrap() error { return u.error }

// commit makes a change of the record durable, and with it what apply changes. A commit that fails is tried a few times: the disk may
// be full for a moment. An error of apply or change ends it at once; whatever the error, the state and the record are as before.
func (e *Engine) commit(ctx context.Context, r *common, o *op, apply Apply, change func(*record) error) error {
	before, rec := json.RawMessage(nil), o.rec
	if apply != nil {
		var err error
		if before, err = json.Marshal(o.state); err != nil {
			return fmt.Errorf("cannot write operation %d to the journal: %w", o.rec.ID, err)
		}
	}
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		var refused error
		write := func() error {
			return e.inv.Update(func(tx *inventory.Tx) error {
				refused = e.write(tx, o, apply, change)
				return refused
			})
		}
		var err error
		if apply == nil {
			err = write()
		} else if err = guard(r.Log, cmp.Or(o.rec.Entry, "end"), write); refused == nil {
			if p := (*panicked)(nil); errors.As(err, &p) {
				refused = p
			}
		}
		if err == nil {
			return nil
		}
		e.putBack(o, rec, before)
		if refused != nil {
			return refused
		}
		if wait > 3*time.Second {
			return fault.As(fault.SystemResourcesExceeded, &unwritten{err})
		}
		e.opts.Log.Warn("a commit failed and is tried again", "op", o.rec.ID, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return &unwritten{err}
		}
	}
}

// write is one attempt of commit.
func (e *Engine) write(tx *inventory.Tx, o *op, apply Apply, change func(*record) error) error {
	if apply != nil {
		if err := apply(tx); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(o.state)
	if err != nil {
		return fmt.Errorf("cannot write operation %d to the journal: %w", o.rec.ID, err)
	}
	e.mu.Lock()
	rec := o.rec
	e.mu.Unlock()
	rec.State = raw
	rec.advance(e.opts.Clock.Boot(), e.opts.Clock.SinceBoot())
	if err := change(&rec); err != nil {
		return err
	}
	st, err := tx.Store()
	if err != nil {
		return err
	}
	if err := journal.Put(st, rec.ID, rec); err != nil {
		return err
	}
	shown := op{rec: rec, def: o.def, bytesDone: o.bytesDone, bytesTotal: o.bytesTotal}
	show(tx, e.job(&shown))
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		o.rec = rec // Cancel included: it is set under the writer's lock
		if rec.JobState.Final() {
			delete(e.open, rec.ID)
			e.ended[rec.ID] = rec
		}
	})
	return nil
}

// putBack makes the state and the record what they were before an attempt to commit that failed: a number that was taken in it may
// belong to somebody else next time.
func (e *Engine) putBack(o *op, rec record, state json.RawMessage) {
	e.mu.Lock()
	rec.Cancel = o.rec.Cancel
	o.rec = rec
	e.mu.Unlock()
	if state == nil {
		return
	}
	if err := o.def.restore(o.state, state); err != nil {
		e.opts.Log.Error("the state of an operation cannot be put back", "op", rec.ID, "err", err)
	}
}

// insist makes a change of the record durable, however long that takes. Its error means that ctx is done.
func (e *Engine) insist(ctx context.Context, r *common, o *op, change func(*record)) error {
	for {
		err := e.commit(ctx, r, o, nil, func(rec *record) error {
			change(rec)
			return nil
		})
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		r.Log.Error("the journal cannot be written; trying on", "err", err)
	}
}

// tell puts the present state of the job into the snapshot.
func (e *Engine) tell(o *op) error {
	o.fraction = 0 // of this step; the bytes of the transfer stay
	return e.inv.Update(func(tx *inventory.Tx) error {
		show(tx, e.job(o))
		return nil
	})
}

// show puts a job into the snapshot. One that is canceled stays so until it ends: what is shown may be from before.
func show(tx *inventory.Tx, j *model.Job) {
	if was := tx.Job(j.ID); was != nil {
		j.Canceling = was.Canceling && !j.State.Final()
	}
	tx.PutJob(j)
}

func (e *Engine) job(o *op) *model.Job {
	var before, all, present int
	for i := range o.def.count() {
		w := o.def.info(i).weight
		all += w
		switch {
		case i < o.rec.Step:
			before += w
		case i == o.rec.Step:
			present = w
		}
	}
	progress := 1.0
	if !o.rec.JobState.Final() {
		progress = min((float64(before)+float64(present)*o.fraction)/float64(all), 0.99)
	}
	return o.rec.job(progress, uint64(max(o.bytesDone, 0)), uint64(max(o.bytesTotal, 0)))
}

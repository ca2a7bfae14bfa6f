package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// run carries an operation from its present step to its end, or until ctx is done.
func (e *Engine) run(ctx context.Context, o *op) {
	r := &common{engine: e, op: o, Log: e.opts.Log.With("op", o.rec.ID, "kind", o.rec.Kind)}
	var release func()
	defer func() {
		if release != nil {
			release()
		}
	}()
	var failure error
	if o.rec.Undoing {
		failure = fault.Errorf(o.rec.Fault, "%s", o.rec.Message)
	}
	for !o.rec.Undoing && o.rec.Step < o.def.count() {
		step := o.def.info(o.rec.Step)
		if release == nil && needsTurn(o) {
			rel, err := e.takeTurn(ctx, o)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				failure = err
				if e.turnBack(ctx, r, o, err) != nil {
					return
				}
				break
			}
			release = rel
		}
		err := e.step(ctx, r, o, step)
		if ctx.Err() != nil && err != nil {
			return // the next process enters the step again
		}
		if err == nil {
			continue
		}
		failure = err
		r.Log.Info("a step failed", "step", step.name, "reason", fault.ReasonOf(err), "err", err)
		if o.rec.Passed {
			break
		}
		if e.turnBack(ctx, r, o, err) != nil {
			return
		}
	}
	for o.rec.Undoing && o.rec.Step >= 0 {
		if release == nil && needsTurn(o) {
			rel, err := e.turns.take(ctx, o.rec.Envs)
			if err != nil {
				return
			}
			release = rel
		}
		if err := e.undo(ctx, r, o); err != nil {
			if ctx.Err() != nil {
				return
			}
			failure = fmt.Errorf("%w; and what had been done could not be undone: %w", failure, err)
			break
		}
	}
	e.end(ctx, r, o, failure)
}

// needsTurn reports whether the present step works in the environments of the operation.
func needsTurn(o *op) bool {
	for i := 0; i <= o.rec.Step && i < o.def.count(); i++ {
		if o.def.info(i).turn {
			return true
		}
	}
	return false
}

// takeTurn waits for the environments of the operation.
func (e *Engine) takeTurn(ctx context.Context, o *op) (func(), error) {
	sctx, done := e.stepContext(ctx, o, false)
	defer done()
	rel, err := e.turns.take(sctx, o.rec.Envs)
	if err != nil {
		return nil, cause(sctx, err)
	}
	return rel, nil
}

// stepContext bounds a step by what is left of the budgets and makes it cancelable.
func (e *Engine) stepContext(ctx context.Context, o *op, final bool) (context.Context, func()) {
	c := e.opts.Clock
	total, running := o.rec.Total, o.rec.Running
	if o.rec.Begun {
		running += c.SinceBoot() - o.rec.Stamp
	}
	total += c.SinceBoot() - o.rec.Stamp
	left := min(e.opts.TotalDeadline-total, e.opts.RunDeadline-running)
	tctx, stop := context.WithTimeoutCause(ctx, left, errDeadline)
	sctx, cancel := context.WithCancelCause(tctx)
	e.mu.Lock()
	o.cancel, o.final = cancel, final
	if o.rec.Cancel && !final {
		cancel(errCanceled)
	}
	e.mu.Unlock()
	return sctx, func() {
		e.mu.Lock()
		o.cancel = nil
		e.mu.Unlock()
		cancel(nil)
		stop()
	}
}

// cause replaces the error of a step whose context was done by why it was done.
func cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if why := context.Cause(ctx); why == errCanceled || why == errDeadline {
		return why
	}
	return err
}

// step enters the present step and records its end.
func (e *Engine) step(ctx context.Context, r *common, o *op, step stepInfo) error {
	if o.rec.Entries > maxEntries {
		return fault.Errorf(fault.Internal, "cannot carry on: step %s has ended the agent %d times", step.name, maxEntries)
	}
	r.edit(func(rec *record) {
		if !rec.Begun {
			rec.advance(e.opts.Clock.Boot(), e.opts.Clock.SinceBoot())
			rec.Begun = true
		}
		rec.JobState = step.state
	})
	sctx, done := e.stepContext(ctx, o, o.rec.Passed)
	defer done()
	if err := sctx.Err(); err != nil {
		return cause(sctx, err)
	}
	r.Rebooted = o.resumed && o.rebooted
	if err := e.tell(o); err != nil {
		return err
	}
	apply, err := o.def.do(sctx, r, o.rec.Step)
	o.meter.stop()
	if err != nil {
		return cause(sctx, err)
	}
	return e.commit(ctx, o, apply, func(rec *record) {
		rec.Step++
		rec.Entries = 1
		rec.Passed = rec.Passed || step.final
		if rec.Step < o.def.count() {
			rec.Entry = o.def.info(rec.Step).name
		}
	})
}

// tell puts the present state of the job into the snapshot.
func (e *Engine) tell(o *op) error {
	o.fraction = 0 // of this step; the bytes of the transfer stay
	return e.inv.Update(func(tx *inventory.Tx) error {
		tx.PutJob(e.job(o))
		return nil
	})
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

// commit makes the end of a step durable together with its changes. A commit that fails is tried a few times: the disk may
// be full for a moment. An error of apply is the step's.
func (e *Engine) commit(ctx context.Context, o *op, apply Apply, change func(*record)) error {
	for wait := 100 * time.Millisecond; ; wait *= 2 {
		var applyErr error
		err := e.inv.Update(func(tx *inventory.Tx) error {
			if apply != nil {
				if applyErr = apply(tx); applyErr != nil {
					return applyErr
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
			change(&rec)
			st, err := tx.Store()
			if err != nil {
				return err
			}
			if err := journal.Put(st, rec.ID, rec); err != nil {
				return err
			}
			shown := op{rec: rec, def: o.def, bytesDone: o.bytesDone, bytesTotal: o.bytesTotal}
			tx.PutJob(e.job(&shown))
			tx.AfterCommit(func() {
				e.mu.Lock()
				defer e.mu.Unlock()
				cancel := o.rec.Cancel
				o.rec = rec
				o.rec.Cancel = cancel
				o.resumed = false
				if rec.JobState.Final() { // whoever sees the end finds the locks free
					delete(e.open, rec.ID)
					e.ended[rec.ID] = o.rec
				}
			})
			return nil
		})
		if err == nil || applyErr != nil {
			return err
		}
		if wait > 3*time.Second {
			return fault.As(fault.SystemResourcesExceeded, err)
		}
		e.opts.Log.Warn("a commit failed and is tried again", "op", o.rec.ID, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// indefinite reports whether a failed step may have had an effect, so that it is undone itself. An error can say so with a method
// Indefinite() bool.
func indefinite(err error) bool {
	var says interface{ Indefinite() bool }
	if errors.As(err, &says) {
		return says.Indefinite()
	}
	switch fault.ReasonOf(err) {
	case fault.Internal, fault.Canceled, fault.DeadlineExceeded, fault.ExecEnvUnavailable, fault.SystemResourcesExceeded:
		return true
	}
	return false
}

// turnBack begins the undoing. Its error means that ctx is done.
func (e *Engine) turnBack(ctx context.Context, r *common, o *op, failure error) error {
	first := o.rec.Step - 1
	if indefinite(failure) {
		first = o.rec.Step
	}
	for {
		err := e.commit(ctx, o, nil, func(rec *record) {
			rec.Undoing, rec.Step, rec.Entries = true, first, 1
			rec.Fault, rec.Message = fault.ReasonOf(failure), failure.Error()
			rec.JobState = model.JobUndoing
			if first >= 0 {
				rec.Entry = o.def.info(first).name
			} else {
				rec.Step, rec.Entry = -1, ""
			}
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

// undo takes back the present step, trying again until the total deadline.
func (e *Engine) undo(ctx context.Context, r *common, o *op) error {
	step := o.def.info(o.rec.Step)
	back := func(rec *record) {
		rec.Step--
		rec.Entries = 1
		if rec.Step >= 0 {
			rec.Entry = o.def.info(rec.Step).name
		}
	}
	if !step.hasUndo {
		return e.commit(ctx, o, nil, back)
	}
	left := e.opts.TotalDeadline - o.rec.Total
	uctx, stop := context.WithTimeoutCause(ctx, left, errDeadline)
	defer stop()
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		apply, err := o.def.undo(uctx, r, o.rec.Step)
		if err == nil {
			err = e.commit(ctx, o, apply, back)
		}
		if err == nil {
			return nil
		}
		if uctx.Err() != nil || o.rec.Entries > maxEntries {
			return err
		}
		r.Log.Warn("a step could not be undone; trying again", "step", step.name, "err", err)
		select {
		case <-time.After(wait):
		case <-uctx.Done():
			return errors.Join(err, context.Cause(uctx))
		}
	}
}

// end records the outcome and lets go of the locks.
func (e *Engine) end(ctx context.Context, r *common, o *op, failure error) {
	state := model.JobDone
	switch {
	case failure != nil && fault.ReasonOf(failure) == fault.Canceled:
		state = model.JobCancelled
	case failure != nil:
		state = model.JobFailed
	}
	for {
		err := e.commit(ctx, o, func(tx *inventory.Tx) error { return o.def.finish(tx, r, failure) }, func(rec *record) {
			rec.JobState = state
			rec.Fault = fault.ReasonOf(failure)
			if failure != nil {
				rec.Message = failure.Error()
			}
			rec.Step, rec.Undoing = max(rec.Step, 0), false
			rec.Finished = e.opts.Clock.Wall()
			rec.State = json.RawMessage("{}") // nothing of the request is needed any more, credentials least of all
		})
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		r.Log.Error("the end of an operation cannot be recorded; trying on", "err", err)
	}
	if failure != nil {
		r.Log.Info("operation failed", "reason", fault.ReasonOf(failure), "err", failure)
	} else {
		r.Log.Info("operation done")
	}
	if e.opts.Ended != nil {
		e.opts.Ended()
	}
}

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

// undoAtLeast is how long the undoing of a step is tried when the total deadline is near or over.
const undoAtLeast = 10 * time.Minute

// undoOnce is what the last attempt gets.
const undoOnce = 10 * time.Second

// run carries an operation from its present step to its end, or until ctx is done.
func (e *Engine) run(ctx context.Context, o *op) {
	r := &common{engine: e, op: o, Log: e.opts.Log.With("op", o.rec.ID, "kind", o.rec.Kind)}
	defer func() {
		if o.ticket != nil {
			o.ticket.leave()
		}
	}()
	var failure error
	if o.rec.Undoing {
		failure = fault.Errorf(o.rec.Fault, "%s", o.rec.Message)
	}
	for !o.rec.Undoing && o.rec.Step < o.def.count() {
		step := o.def.info(o.rec.Step)
		acted, err := e.step(ctx, r, o, step)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return // the next process enters the step again
		}
		failure = err
		r.Log.Info("a step failed", "step", step.name, "reason", fault.ReasonOf(err), "err", err)
		if o.rec.Passed {
			break
		}
		if e.turnBack(ctx, r, o, err, acted) != nil {
			return
		}
	}
	for o.rec.Undoing && o.rec.Step >= 0 {
		if needsTurn(o) && e.turn(ctx, o) != nil {
			return
		}
		err := e.undo(ctx, r, o)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		step := o.def.info(o.rec.Step)
		failure = fmt.Errorf("%w; and step %s could not be undone: %w", failure, step.name, err)
		r.Log.Error("a step could not be undone", "step", step.name, "err", err)
		err = e.insist(ctx, r, o, func(rec *record) {
			rec.Message = failure.Error()
			o.back(rec)
		})
		if err != nil {
			return
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

// sealed reports whether a step that is [Step.Sealed] is entered or done.
func sealed(o *op) bool {
	for i := 0; i <= o.rec.Step && i < o.def.count(); i++ {
		if o.def.info(i).sealed && (i < o.rec.Step || !o.rec.Waiting) {
			return true
		}
	}
	return false
}

// turn waits for the environments of the operation.
func (e *Engine) turn(ctx context.Context, o *op) error {
	if o.ticket == nil {
		o.ticket = e.turns.join(o.rec.Envs)
	}
	return o.ticket.wait(ctx)
}

// stepContext bounds a step by what is left of the budgets and makes it cancelable.
func (e *Engine) stepContext(ctx context.Context, o *op) (context.Context, func()) {
	since := e.opts.Clock.SinceBoot() - o.rec.Stamp
	left := e.opts.TotalDeadline - o.rec.Total - since
	if o.rec.Begun {
		left = min(left, e.opts.RunDeadline-o.rec.Running-since)
	}
	tctx, stop := context.WithTimeoutCause(ctx, left, errDeadline)
	sctx, cancel := context.WithCancelCause(tctx)
	e.mu.Lock()
	o.cancel = cancel
	if o.rec.Cancel && !o.rec.Passed {
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
	if why := context.Cause(ctx); errors.Is(why, errCanceled) || errors.Is(why, errDeadline) {
		return why
	}
	return err
}

// step takes the turn if that is needed, enters the present step and records its end. acted says that a failed step may have had an
// effect, so that it is undone itself.
func (e *Engine) step(ctx context.Context, r *common, o *op, step stepInfo) (acted bool, err error) {
	acted = o.rec.Again // whatever this process finds: the one before may have acted
	if o.rec.Entries > maxEntries {
		return acted, fault.Errorf(fault.Internal, "cannot carry on: step %s has ended the agent %d times", step.name, maxEntries)
	}
	if o.rec.Crossed && o.rec.Command != "" && o.rec.Step == 0 {
		// TR-369: a command that runs when the device restarts counts as failed. What has not got far is not carried on behind the controller's back.
		return acted, fault.Errorf(fault.RequestDenied, "cannot carry on: the device restarted")
	}
	if needsTurn(o) {
		if err := e.takeTurn(ctx, o); err != nil {
			return acted, err
		}
	}
	r.edit(func(rec *record) {
		rec.begin(e.opts.Clock)
		rec.JobState = step.state
	})
	sctx, done := e.stepContext(ctx, o)
	defer done()
	if sctx.Err() != nil {
		return acted, context.Cause(sctx)
	}
	r.Rebooted = o.rec.Rebooted
	if err := e.tell(o); err != nil {
		return acted, err
	}
	var apply Apply
	err = guard(r.Log, step.name, func() (err error) {
		apply, err = o.def.do(sctx, r, o.rec.Step)
		return err
	})
	o.meter.stop()
	if err != nil {
		err = cause(sctx, err)
		return acted || indefinite(err), err
	}
	return true, e.done(ctx, r, o, step, apply)
}

// takeTurn waits for the turn. Whoever had to wait has not entered the step before, and the journal says so.
func (e *Engine) takeTurn(ctx context.Context, o *op) error {
	sctx, done := e.stepContext(ctx, o)
	defer done()
	if err := e.turn(sctx, o); err != nil {
		return err
	}
	if !o.rec.Waiting {
		return nil
	}
	return e.commit(ctx, nil, o, nil, func(rec *record) error {
		rec.Waiting = false
		rec.begin(e.opts.Clock)
		return nil
	})
}

// done records that the present step is done and the next one entered.
func (e *Engine) done(ctx context.Context, r *common, o *op, step stepInfo, apply Apply) error {
	next := o.rec.Step + 1
	last := next == o.def.count()
	joined := false
	if !last && o.ticket == nil && o.def.info(next).turn {
		o.ticket, joined = e.turns.join(o.rec.Envs), true
	}
	record := func(rec *record) error {
		if (step.final || last) && rec.Cancel && !rec.Passed {
			return errCanceled // it came before the point of no return
		}
		rec.Passed = rec.Passed || step.final || last
		if last {
			rec.enter(next, "")
			return nil
		}
		rec.enter(next, o.def.info(next).name)
		rec.Waiting = joined && !o.ticket.had()
		return nil
	}
	err := e.commit(ctx, r, o, apply, record)
	for o.rec.Passed && errors.As(err, new(*unwritten)) && ctx.Err() == nil { // it cannot be turned back, so it is not failed either
		r.Log.Error("the journal cannot be written; trying on", "err", err)
		err = e.commit(ctx, r, o, apply, record)
	}
	if err != nil && joined {
		o.ticket.leave()
		o.ticket = nil
	}
	return err
}

// Unsettled marks the error of a step whose call may have had its effect, so that the engine undoes the step itself.
func Unsettled(err error) error { return &openError{err} }

type openError struct{ error }

func (e *openError) Unwrap() error { return e.error }

// Indefinite implements what indefinite asks for.
func (e *openError) Indefinite() bool { return true }

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

// turnBack begins the undoing, with the failed step if that acted. Its error means that ctx is done.
func (e *Engine) turnBack(ctx context.Context, r *common, o *op, failure error, acted bool) error {
	return e.insist(ctx, r, o, func(rec *record) {
		rec.Undoing, rec.JobState = true, model.JobUndoing
		rec.Fault, rec.Message = fault.ReasonOf(failure), failure.Error()
		if acted {
			rec.enter(rec.Step, rec.Entry)
		} else {
			o.back(rec)
		}
	})
}

// back makes the step before the present one the one to be undone.
func (o *op) back(rec *record) {
	if rec.Step > 0 {
		rec.enter(rec.Step-1, o.def.info(rec.Step-1).name)
	} else {
		rec.enter(-1, "")
	}
}

// undo takes back the present step. It tries again until the total deadline, and lets others go first between two attempts: what the undoing
// waits for may be just what the next in the queue does, ending the environment for one. The units stay locked. Time in the queue does not
// count.
func (e *Engine) undo(ctx context.Context, r *common, o *op) error {
	step := o.def.info(o.rec.Step)
	used := o.rec.Total + e.opts.Clock.SinceBoot() - o.rec.Stamp
	left := max(e.opts.TotalDeadline-used, undoAtLeast)
	entries := o.rec.Entries
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 30*time.Second) {
		if entries > maxEntries {
			return fault.Errorf(fault.Internal, "cannot carry on: the undoing has broken off %d times", maxEntries)
		}
		began := time.Now()
		err := e.tryUndo(ctx, r, o, step, max(left, undoOnce))
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return errors.Join(err, context.Cause(ctx))
		}
		if left -= time.Since(began); left <= 0 {
			return errors.Join(err, errDeadline)
		}
		if errors.As(err, new(*panicked)) {
			entries++
		}
		r.Log.Warn("a step could not be undone; trying again", "step", step.name, "err", err)
		pause := min(wait, left)
		if err := e.giveWay(ctx, o, pause); err != nil {
			return err
		}
		left -= pause // whoever has waited tries once more
	}
}

// tryUndo takes back the present step once, within limit.
func (e *Engine) tryUndo(ctx context.Context, r *common, o *op, step stepInfo, limit time.Duration) error {
	uctx, stop := context.WithTimeoutCause(ctx, limit, errDeadline)
	defer stop()
	defer o.meter.stop()
	return guard(r.Log, step.name, func() error {
		if !step.hasUndo {
			return e.commit(ctx, r, o, nil, o.undone)
		}
		apply, err := o.def.undo(uctx, r, o.rec.Step)
		o.meter.stop()
		if err != nil {
			return err
		}
		return e.commit(ctx, r, o, apply, o.undone)
	})
}

// giveWay waits, and lets go of the turn meanwhile. Its error is the cause of ctx.
func (e *Engine) giveWay(ctx context.Context, o *op, wait time.Duration) error {
	had := o.ticket != nil
	if had {
		o.ticket.leave()
		o.ticket = nil
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !had {
		return nil
	}
	return e.turn(ctx, o)
}

func (o *op) undone(rec *record) error {
	o.back(rec)
	return nil
}

// end records the outcome and lets go of the locks.
func (e *Engine) end(ctx context.Context, r *common, o *op, failure error) {
	finish, conclude, concluding := true, e.opts.Concluded != nil, false
	apply := func(tx *inventory.Tx) error {
		concluding = false
		if finish {
			if err := o.def.finish(tx, r, failure); err != nil {
				return err
			}
		}
		if !conclude {
			return nil
		}
		concluding = true
		c := Conclusion{
			Job: o.rec.ID, Kind: o.rec.Kind, Origin: o.rec.origin(), Results: o.def.results(tx, r, failure),
			Fault: fault.ReasonOf(failure), Rebooted: o.rec.Crossed,
		}
		if failure != nil {
			c.Message = failure.Error()
		}
		return e.opts.Concluded(tx, c)
	}
	for {
		err := e.commit(ctx, r, o, apply, func(rec *record) error {
			rec.JobState, rec.Fault = outcome(failure), fault.ReasonOf(failure)
			if failure != nil {
				rec.Message = failure.Error()
			}
			rec.Undoing = false
			rec.Finished = e.opts.Clock.Wall()
			rec.State = json.RawMessage("{}") // nothing of the request is needed any more, credentials least of all
			return nil
		})
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		switch {
		case errors.As(err, new(*unwritten)):
		case concluding: // the operation ends all the same, and nobody is told
			conclude = false
		default: // Finish refused: likewise, as failed
			failure = errors.Join(failure, fmt.Errorf("cannot record the end: %w", err))
			finish = false
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

func outcome(failure error) model.JobState {
	switch {
	case failure == nil:
		return model.JobDone
	case fault.ReasonOf(failure) == fault.Canceled:
		return model.JobCancelled
	}
	return model.JobFailed
}

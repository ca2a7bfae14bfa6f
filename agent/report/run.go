package report

import (
	"context"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// The pauses of [Keeper.Run]: after something that could not be written, while there is no room for the operations of an element, and between two notes
// of what a request has used of its time.
const (
	retryPause = time.Second
	roomPause  = time.Minute
	notePause  = time.Hour
)

// errLost is what is told of an operation that has ended without anybody being told, because its record could not be read.
var errLost = fault.Errorf(fault.Internal, "cannot say what became of it: its record was lost")

var errLimit = fault.Errorf(fault.DeadlineExceeded, "the operation had not ended when the report was due")

// Run begins the elements of requests when their turn comes, and completes reports that are due, until ctx is done. What is open then is carried on by
// the next process.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		wait := k.work(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return k.note()
		case <-k.wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// work does what can be done now and returns when to look again.
func (k *Keeper) work(ctx context.Context) time.Duration {
	wait := notePause
	for _, id := range k.known() {
		for more := true; more && ctx.Err() == nil; {
			var next time.Duration
			var alone bool // no job is kept that has to go first
			err := k.Inventory.Update(func(tx *inventory.Tx) (err error) {
				alone = tx.Count(model.KindJob) == 0
				more, next, err = k.advance(tx, id)
				return err
			})
			if fault.ReasonOf(err) == fault.TooManyOperations {
				// Whoever ends wakes this; nobody tells that a finished job has been forgotten.
				more, next, err = alone, roomPause, k.tooMany(id, alone, err)
			}
			if err != nil {
				k.Log.Error("a ChangeDUState cannot be carried on; trying again", "report", id, "err", err)
				more, next = false, retryPause
			}
			wait = min(wait, next)
		}
	}
	return max(wait, 0)
}

// advance does one thing for a request. It reports whether there may be more to do now, and else when.
func (k *Keeper) advance(tx *inventory.Tx, id uint32) (more bool, next time.Duration, err error) {
	r := k.request(tx, id)
	if r == nil {
		return false, notePause, nil
	}
	used := k.used(r)
	if r.Reported {
		return k.outlive(tx, r, used)
	}
	if used >= k.Limit {
		return false, notePause, k.expire(tx, r.copied())
	}
	next = k.Limit - used
	for _, e := range r.Elements {
		for _, p := range e.Parts {
			if len(p.Results) == 0 && over(tx, p.Job) {
				return true, 0, k.concludePart(tx, r, nil, p.Job, errLost)
			}
		}
	}
	if i := r.ready(); i >= 0 {
		return true, 0, k.begin(tx, r.copied(), i)
	}
	if r.Boot != k.Clock.Boot() || k.Clock.SinceBoot()-r.Stamp >= notePause {
		return false, next, k.put(tx, r.copied())
	}
	return false, next, nil
}

// over reports whether an operation has ended.
func over(tx *inventory.Tx, job uint32) bool {
	j := tx.Job(job)
	return j == nil || j.State.Final()
}

// outlive forgets a request whose report is gone, when its time is over.
func (k *Keeper) outlive(tx *inventory.Tx, r *Request, used time.Duration) (more bool, next time.Duration, err error) {
	if late := slices.DeleteFunc(slices.Clone(r.Late), func(job uint32) bool { return over(tx, job) }); len(late) < len(r.Late) {
		changed := r.copied()
		changed.Late = late
		return true, 0, k.put(tx, changed)
	}
	left := r.ToldAt + remembered - used
	switch {
	case !r.Told || len(r.Late) > 0:
		return false, notePause, nil
	case r.Token == "" || left <= 0:
		return false, notePause, k.forget(tx, r.ID)
	case r.Boot != k.Clock.Boot() || k.Clock.SinceBoot()-r.Stamp >= notePause:
		return false, left, k.put(tx, r.copied())
	}
	return false, left, nil
}

// begin begins an element.
func (k *Keeper) begin(tx *inventory.Tx, r *Request, i int) error {
	e := &r.Elements[i]
	op := model.UnitOperation{Performed: e.Performed, URL: e.URL, UUID: e.UUID, Version: e.Version, ExecEnv: e.ExecEnv}
	var parts []Part
	var err error
	if len(e.Credentials) > 0 {
		c, err := k.Sealer.Open(e.Credentials)
		if err != nil {
			parts = []Part{{Results: []model.Result{k.refuse(e, err)}}}
		}
		op.Username, op.Password = c.Username, c.Password
	}
	if parts == nil {
		if parts, err = k.Begin(tx, op, r.Originator); err != nil {
			return err
		}
	}
	if err := k.begun(tx, r, i, parts); err != nil {
		return err
	}
	return k.settle(tx, r)
}

// tooMany leaves an element for later while jobs are kept whose end, or whose removal, makes room; alone says that there was none in the transaction that
// found no room. Then there will never be any, and the element is refused.
func (k *Keeper) tooMany(id uint32, alone bool, why error) error {
	if !alone {
		return nil
	}
	return k.Inventory.Update(func(tx *inventory.Tx) error {
		r := k.request(tx, id).copied()
		i := r.ready()
		if err := k.begun(tx, r, i, []Part{{Results: []model.Result{k.refuse(&r.Elements[i], why)}}}); err != nil {
			return err
		}
		return k.settle(tx, r)
	})
}

// expire completes the report of a request that is due: what has not ended is told as failed. What is at work goes on until its own deadline.
func (k *Keeper) expire(tx *inventory.Tx, r *Request) error {
	var results []model.Result
	for i := range r.Elements {
		e := &r.Elements[i]
		if !e.Begun {
			if err := k.begun(tx, r, i, []Part{{Results: []model.Result{k.refuse(e, errLimit)}}}); err != nil {
				return err
			}
		}
		for j := range e.Parts {
			p := &e.Parts[j]
			if len(p.Results) == 0 {
				r.Late = append(r.Late, p.Job)
				p.Results = k.without(tx, p, errLimit)
			}
			results = append(results, p.Results...)
		}
	}
	k.Log.Warn("a ChangeDUState is reported before it has ended: its time is over", "report", r.ID, "open", len(r.Late))
	return k.complete(tx, r, results)
}

// note writes what the requests have used of their time, for the next process.
func (k *Keeper) note() error {
	return k.Inventory.Update(func(tx *inventory.Tx) error {
		for _, id := range k.known() {
			r := k.request(tx, id)
			if r == nil || r.Reported && !r.Told {
				continue
			}
			if err := k.put(tx, r.copied()); err != nil {
				return err
			}
		}
		return nil
	})
}

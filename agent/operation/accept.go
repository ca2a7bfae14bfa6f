package operation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

func (e *Engine) submit(tx *inventory.Tx, d definition, state any, r Request) (uint32, error) {
	e.mu.Lock()
	if e.present.tx != tx {
		e.present = acceptance{tx: tx}
	}
	open := e.places()
	all := len(e.open) + len(e.present.ops) + len(e.ended)
	busy := e.lockedBy(r.Locks)
	waits := d.info(0).turn && (e.ctx == nil || e.turns.busy(r.Envs) || slices.ContainsFunc(e.present.ops, func(o *op) bool {
		return slices.ContainsFunc(o.rec.Envs, func(env string) bool { return slices.Contains(r.Envs, env) })
	}))
	e.mu.Unlock()
	switch {
	case open >= e.opts.MaxOpen && !r.Part:
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
		ID: id, Kind: d.kind(), Key: fmt.Sprintf("%d-%s", id, hex.EncodeToString(key)), Originator: r.Originator.Name,
		Command: r.Originator.Command, CommandKey: r.Originator.CommandKey,
		State: raw, Envs: r.Envs, Locks: r.Locks, Objects: r.Objects, Part: r.Part,
		Entry: d.info(0).name, Entries: 1, Waiting: waits, Begun: !waits,
		Accepted: c.Wall(), Boot: c.Boot(), Stamp: c.SinceBoot(), JobState: model.JobQueued,
	}}
	if o.rec.Begun {
		o.rec.Started = o.rec.Accepted
	}
	st, err := tx.Store()
	if err != nil {
		return 0, err
	}
	if err := journal.Put(st, id, o.rec); err != nil {
		return 0, err
	}
	tx.PutJob(o.rec.job(0, 0, 0))
	e.mu.Lock()
	e.present.ops = append(e.present.ops, o)
	e.mu.Unlock()
	tx.AfterCommit(func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.present = acceptance{}
		e.open[id] = o
		if e.ctx == nil {
			e.waiting = append(e.waiting, o)
			return
		}
		e.launch(o)
	})
	return id, nil
}

// places returns how many operations have a place of Options.MaxOpen. The caller holds mu.
func (e *Engine) places() (n int) {
	for _, o := range e.open {
		if !o.rec.Part {
			n++
		}
	}
	for _, o := range e.present.ops {
		if !o.rec.Part {
			n++
		}
	}
	return n
}

// lockedBy returns the open operation that has locked one of the rows, or 0. The caller holds mu.
func (e *Engine) lockedBy(rows []model.RowID) uint32 {
	locks := func(o *op) bool {
		return slices.ContainsFunc(rows, func(row model.RowID) bool { return slices.Contains(o.rec.Locks, row) })
	}
	for id, o := range e.open {
		if locks(o) {
			return id
		}
	}
	if i := slices.IndexFunc(e.present.ops, locks); i >= 0 {
		return e.present.ops[i].rec.ID
	}
	return 0
}

// launch starts the goroutine of an operation. It joins the queues of its environments here, in the order of the acceptance: the
// goroutines come in any order. The caller holds mu.
func (e *Engine) launch(o *op) {
	if e.stopping || e.ctx.Err() != nil {
		return // the next process resumes it
	}
	if needsTurn(o) {
		o.ticket = e.turns.join(o.rec.Envs)
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
	k := e.turns.join([]string{env})
	if err := k.wait(ctx); err != nil {
		k.leave()
		return nil, err
	}
	return k.leave, nil
}

// Cancel ends an operation that is open, not past its point of no return, and has not entered a step that is sealed. It is durable when Cancel returns; the
// job ends as soon as what has been done is undone.
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
		case o.rec.Passed || o.rec.Undoing || sealed(o):
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
		j := *tx.Job(id)
		j.Canceling = true
		tx.PutJob(&j)
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

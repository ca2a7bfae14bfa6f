// Package inventory holds what exists: an immutable snapshot for readers, one writer at a time, and a change feed.
//
// Readers take the snapshot from an atomic pointer; they wait for nobody. A writer runs in [Inventory.Update]: its changes of rows and
// its durable records are one transaction. When the store has committed, the next snapshot replaces the present one and
// every feed is told what changed. A transaction without durable changes does not touch the disk: the status of an execution
// unit, sizes and progress are of that kind.
package inventory

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// Inventory is the state of the agent.
type Inventory struct {
	store *store.Store
	log   *slog.Logger

	current atomic.Pointer[model.Snapshot]

	writing sync.Mutex // held by the one writer
	draft   *model.Draft
	before  func(*Tx, []model.Change) error

	feeds feeds
}

// New loads the rows of the store. Execution units start as [model.EUIdle] and [model.UnStartable], because nobody has seen
// their environment yet.
func New(s *store.Store, log *slog.Logger) (*Inventory, error) {
	inv := &Inventory{store: s, log: log, draft: model.NewDraft()}
	inv.draft.State = "starting"
	tx, err := s.Begin()
	if err != nil {
		return nil, err
	}
	if err := inv.load(tx); err != nil {
		_ = tx.Rollback() // the error of the load is the one to tell
		return nil, fmt.Errorf("cannot load the inventory: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("cannot load the inventory: %w", err)
	}
	inv.current.Store(inv.draft.Freeze())
	return inv, nil
}

// Snapshot returns the present state without waiting.
func (inv *Inventory) Snapshot() *model.Snapshot { return inv.current.Load() }

// BeforeCommit makes f part of every transaction that changes rows: it is told what changes and may write what is no row. It is set once, before
// anything else uses the inventory.
func (inv *Inventory) BeforeCommit(f func(tx *Tx, changes []model.Change) error) { inv.before = f }

// View calls f with a consistent view of the store, for records that are not in the snapshot. Nothing in f may block or call
// Update, and nothing in Update may call it: the two can wait for each other.
func (inv *Inventory) View(f func(*store.Tx) error) error { return inv.store.View(f) }

// Update runs f as one transaction: if f returns nil, all it put and deleted is durable and in the next snapshot; otherwise
// nothing of it is; a panic of f goes on after that. Nothing in f may block or call Update.
func (inv *Inventory) Update(f func(*Tx) error) error {
	inv.writing.Lock()
	defer inv.writing.Unlock()
	tx := &Tx{Draft: inv.draft.Copy(), inv: inv, before: map[model.Ref]any{}}
	ended := false
	defer func() {
		if !ended { // f failed or panicked: the transaction of the store would lock out every later one
			tx.rollback()
		}
	}()
	if err := f(tx); err != nil {
		return err
	}
	changes := tx.changes()
	if inv.before != nil && len(changes) > 0 {
		if err := inv.before(tx, changes); err != nil {
			return err
		}
	}
	ended = true
	if tx.store != nil {
		if err := tx.store.Commit(); err != nil {
			return err
		}
	}
	if len(changes) > 0 || tx.told || tx.State != inv.draft.State {
		tx.Seq++
		inv.draft = tx.Draft
		next := inv.draft.Freeze()
		inv.current.Store(next)
		inv.feeds.send(model.Commit{Snapshot: next, Changes: changes})
	}
	for _, f := range tx.after {
		f()
	}
	return nil
}

// Feed sends the present state first and then every commit until ctx is done; then it closes the channel. A reader that is
// more than 256 commits behind gets one entry with Lost set instead of those it missed.
func (inv *Inventory) Feed(ctx context.Context) <-chan model.Commit {
	inv.writing.Lock()
	defer inv.writing.Unlock()
	return inv.feeds.add(ctx, inv.current.Load())
}

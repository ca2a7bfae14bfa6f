package inventory

import (
	"context"
	"errors"
	"testing"

	"github.com/smmd-project/smmd/agent/model"
)

// What waits to be told is part of a transaction like a row: it is in the next snapshot, the feed tells it, and a transaction that fails leaves
// none of it.
func TestWhatIsNoRow(t *testing.T) {
	b := newBox(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	feed := b.Feed(ctx)
	<-feed
	set := func(tx *Tx) {
		tx.SetReports([]*model.Report{{ID: 1}})
		tx.SetNotifications([]*model.Notification{{ID: 2}}, 3)
		tx.SetPolicy(model.Policy{Enable: true})
		tx.SetAttributes(map[string]int{"Device.X": 2})
	}
	failure := errors.New("a test")
	if err := b.Update(func(tx *Tx) error { set(tx); return failure }); !errors.Is(err, failure) {
		t.Fatal(err)
	}
	if s := b.Snapshot(); len(s.Reports)+len(s.Notifications)+len(s.Attributes) != 0 || s.Policy.Enable || s.LastNotification != 0 {
		t.Errorf("a transaction that failed left %+v", *s)
	}
	if err := b.Update(func(tx *Tx) error { set(tx); return nil }); err != nil {
		t.Fatal(err)
	}
	s := (<-feed).Snapshot
	if len(s.Reports) != 1 || len(s.Notifications) != 1 || s.LastNotification != 3 || !s.Policy.Enable || s.Attributes["Device.X"] != 2 || s != b.Snapshot() {
		t.Errorf("the feed tells %+v", *s)
	}
}

// What is part of every transaction is told each change of a row, and can fail the transaction.
func TestBeforeCommit(t *testing.T) {
	b := newBox(t)
	var seen []model.Change
	var failure error
	b.BeforeCommit(func(_ *Tx, changes []model.Change) error {
		seen = changes
		return failure
	})
	put := func() error {
		return b.Update(func(tx *Tx) error {
			tx.PutJob(&model.Job{ID: 7})
			return nil
		})
	}
	failure = errors.New("a test")
	if err := put(); !errors.Is(err, failure) || b.Snapshot().Job(7) != nil {
		t.Errorf("it ends with %v and the job is %+v", err, b.Snapshot().Job(7))
	}
	failure = nil
	if err := put(); err != nil || len(seen) != 1 || seen[0].Row.Instance != 7 || b.Snapshot().Job(7) == nil {
		t.Errorf("it ends with %v, and was told %+v", err, seen)
	}
}

package inventory

import (
	"context"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/agent/model"
)

// job commits the job 1 with the number n as its bytes.
func (b *box) job(n uint64) {
	b.t.Helper()
	b.update(func(tx *Tx) error {
		tx.PutJob(&model.Job{ID: 1, BytesDone: n})
		return nil
	})
}

func TestFeedTellsEveryCommitInOrder(t *testing.T) {
	b := newBox(t)
	b.job(1)
	var readers sync.WaitGroup
	for range 3 {
		feed := b.Feed(t.Context())
		readers.Go(func() {
			first := <-feed
			if first.Changes != nil || first.Lost || first.Snapshot.Job(1).BytesDone != 1 {
				t.Errorf("the feed begins with %+v", first)
			}
			for want := uint64(2); want <= 200; want++ {
				c := <-feed
				if c.Lost || len(c.Changes) != 1 {
					t.Errorf("commit %d: %+v", want, c)
					return
				}
				old, now := c.Changes[0].Old.(*model.Job), c.Changes[0].New.(*model.Job)
				if old.BytesDone != want-1 || now.BytesDone != want || c.Snapshot.Job(1) != now {
					t.Errorf("commit %d tells %d -> %d", want, old.BytesDone, now.BytesDone)
				}
			}
		})
	}
	for n := uint64(2); n <= 200; n++ {
		b.job(n)
	}
	readers.Wait()
}

func TestSlowReaderIsToldOfTheLoss(t *testing.T) {
	b := newBox(t)
	feed := b.Feed(t.Context())
	if c := <-feed; c.Lost {
		t.Fatalf("the feed begins with %+v", c)
	}
	const commits = 3*behind + 10
	for n := uint64(1); n <= commits; n++ {
		b.job(n) // waits for nobody
	}
	// One entry may be on its way already, a loss as well. From there every entry is the next commit or tells of a loss, and the last
	// one is the present state.
	now, seq, lost, read := b.Snapshot(), uint64(0), 0, 0
	for seq < now.Seq {
		c := <-feed
		switch {
		case c.Lost && c.Changes != nil:
			t.Errorf("a loss tells %d changes", len(c.Changes))
		case c.Lost:
			lost++
		case len(c.Changes) != 1 || c.Snapshot.Seq != seq+1:
			t.Errorf("commit %d with %d changes after commit %d", c.Snapshot.Seq, len(c.Changes), seq)
		}
		if c.Snapshot.Seq <= seq {
			t.Fatalf("commit %d after commit %d", c.Snapshot.Seq, seq)
		}
		seq = c.Snapshot.Seq
		read++
	}
	if lost == 0 || read > behind+1 {
		t.Errorf("%d entries kept for a slow reader, %d of them losses", read, lost)
	}
	b.job(commits + 1)
	if c := <-feed; c.Lost || len(c.Changes) != 1 || c.Snapshot != b.Snapshot() {
		t.Errorf("after the loss: %+v", c)
	}
}

func TestReaderThatKeepsUpLosesNothing(t *testing.T) {
	b := newBox(t)
	feed := b.Feed(t.Context())
	<-feed
	n := uint64(0)
	for range 3 {
		for range behind {
			n++
			b.job(n)
		}
		for want := n - behind + 1; want <= n; want++ {
			if c := <-feed; c.Lost || c.Snapshot.Job(1).BytesDone != want {
				t.Fatalf("commit %d: lost %v, tells %d", want, c.Lost, c.Snapshot.Job(1).BytesDone)
			}
		}
	}
}

func TestFeedEnds(t *testing.T) {
	b := newBox(t)
	ctx, cancel := context.WithCancel(t.Context())
	read, unread := b.Feed(ctx), b.Feed(ctx)
	<-read
	b.job(1)
	cancel()
	for _, feed := range []<-chan model.Commit{read, unread} {
		for range feed { // what was under way may still come; then it is closed
		}
	}
	b.feeds.mu.Lock()
	defer b.feeds.mu.Unlock()
	if len(b.feeds.all) != 0 {
		t.Errorf("%d feeds are left", len(b.feeds.all))
	}
}

// A feed that begins while a writer is at work misses nothing and sees nothing twice.
func TestFeedBeginsBetweenCommits(t *testing.T) {
	b := newBox(t)
	b.job(0)
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := uint64(1); n <= 300; n++ {
			b.job(n)
		}
	})
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		feed := b.Feed(ctx)
		seq := (<-feed).Snapshot.Seq
		for range 3 {
			select {
			case c := <-feed:
				if !c.Lost && c.Snapshot.Seq != seq+1 {
					t.Errorf("commit %d after %d", c.Snapshot.Seq, seq)
				}
				seq = c.Snapshot.Seq
			default:
			}
		}
		cancel()
		for range feed {
		}
	}
	writer.Wait()
}

package dbus

import (
	"context"
	"slices"
	"sync"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/usp"
)

// board is where the notifications of USP are read. What the agent keeps is told from its snapshot; what is best effort (values, rows that came and
// went) is made here from the commits, and the last of it is kept in memory.
//
// The number of a notification that the agent keeps is its own one, N, in the upper half. What is best effort has the number of the last one
// before it there, and counts in the lower half. The agent takes a new N at each start, so no number ever repeats.
type board struct {
	face  *usp.Face
	agent Agent
	makes bool // false: USP is not in use, nothing is made

	mu    sync.Mutex
	last  *model.Snapshot // up to which all is told; nil: nothing yet
	known settled         // the environments whose rows count
	count uint32          // of what was made since last.LastNotification
	posts []post          // what is best effort, in the order of the numbers
	size  int             // of posts, in bytes
	told  uint64          // the greatest number that a signal has told
}

func newBoard(face *usp.Face, agent Agent, makes bool) *board {
	return &board{face: face, agent: agent, makes: makes, known: settled{}}
}

// post is a notification with its number.
type post struct {
	id uint64
	usp.Notification
}

// What is kept of what is best effort. The oldest go first.
const (
	maxPosts     = 4096
	maxPostBytes = 4 << 20
)

// maxCount is where counting ends until the agent has taken its next number.
const maxCount = 1<<32 - 1

// numbered returns the number of a notification that the agent keeps.
func numbered(id uint64) uint64 { return id << 32 }

// bytes is about how much memory a post takes.
func (p post) bytes() int {
	n := 256 + len(p.Object) + len(p.Parameter) + len(p.Value)
	for k, v := range p.Arguments {
		n += len(k) + len(v) + 64
	}
	return n
}

// commit takes one entry of the feed and returns the greatest number when it is one that no
// signal has told. What is made of a commit has numbers below those of what the agent notes with it: the row comes before the event that tells of it.
func (b *board) commit(c model.Commit) (greatest uint64, news bool) {
	next := c.Snapshot
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.last
	var made []usp.Notification
	if last != nil && b.makes {
		made = b.differences(last, c)
	}
	b.known.learn(next)
	if last == nil {
		b.told = numbered(next.LastNotification) // whoever comes reads what there is
	} else {
		for _, n := range made {
			b.add(last.LastNotification, n)
		}
		if next.LastNotification != last.LastNotification {
			b.count = 0
		}
	}
	b.last = next
	greatest = numbered(next.LastNotification)
	if len(b.posts) > 0 {
		greatest = max(greatest, b.posts[len(b.posts)-1].id)
	}
	news = greatest > b.told
	b.told = max(b.told, greatest)
	return greatest, news
}

// differences returns what a commit has changed, as far as it counts.
func (b *board) differences(last *model.Snapshot, c model.Commit) []usp.Notification {
	changes := c.Changes
	if changes == nil {
		changes = difference(last, c.Snapshot)
	}
	refs := slices.DeleteFunc(affected(&view{snap: last}, &view{snap: c.Snapshot}, changes), func(r model.Ref) bool {
		return r.Kind == model.KindJob || !b.known.counts(last, c.Snapshot, r)
	})
	return b.face.Differences(last, c.Snapshot, refs)
}

func (b *board) add(after uint64, n usp.Notification) {
	if b.count == maxCount {
		return
	}
	b.count++
	p := post{numbered(after) | uint64(b.count), n}
	b.posts = append(b.posts, p)
	b.size += p.bytes()
	drop := 0
	for len(b.posts)-drop > maxPosts || b.size > maxPostBytes && drop < len(b.posts)-1 {
		b.size -= b.posts[drop].bytes()
		drop++
	}
	b.posts = b.posts[drop:]
}

// given returns an error of the class InvalidArguments for a number that is greater than the last one given. Whoever has such a number has it
// from an agent whose state is lost: it must not make us forget what nobody has read, nor wait for numbers to reach it.
func (b *board) given(now *model.Snapshot, what string, id uint64) error {
	greatest := numbered(now.LastNotification)
	b.mu.Lock()
	if b.last != nil {
		greatest = max(greatest, numbered(b.last.LastNotification)|uint64(b.count))
	}
	b.mu.Unlock()
	if id > greatest {
		return fault.Errorf(fault.InvalidArguments, "cannot %s %d: the last one that was given has the number %d; begin again with 0", what, id, greatest)
	}
	return nil
}

// after returns what has a greater number than id, in the order of the numbers. The error is for a number that was never given.
func (b *board) after(id uint64) ([]post, error) {
	now := b.agent.Snapshot()
	if err := b.given(now, "tell the notifications after", id); err != nil {
		return nil, err
	}
	b.mu.Lock()
	last, made := b.last, b.posts[:len(b.posts):len(b.posts)]
	b.mu.Unlock()
	if last == nil {
		last = now
	}
	waits := map[uint64]bool{}
	for _, n := range now.Notifications {
		waits[n.ID] = true
	}
	var all []post
	take := func(p post) {
		if p.id > id {
			all = append(all, p)
		}
	}
	// What is newer than the last commit that came is not told yet: what is made of the same commit comes before it.
	for _, n := range last.Notifications {
		for len(made) > 0 && made[0].id < numbered(n.ID) {
			take(made[0])
			made = made[1:]
		}
		if !waits[n.ID] {
			continue // acknowledged
		}
		if told, ok := b.face.Notification(n); ok {
			take(post{numbered(n.ID), told})
		}
	}
	for _, p := range made {
		take(p)
	}
	return all, nil
}

// forget removes what has that number or a lower one. The error is for a number that was never given, too.
func (b *board) forget(ctx context.Context, upTo uint64) error {
	now := b.agent.Snapshot()
	if err := b.given(now, "acknowledge the notifications up to", upTo); err != nil {
		return err
	}
	if waiting := now.Notifications; len(waiting) > 0 && numbered(waiting[0].ID) <= upTo {
		if err := b.agent.AcknowledgeNotifications(ctx, upTo>>32); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	drop := 0
	for drop < len(b.posts) && b.posts[drop].id <= upTo {
		b.size -= b.posts[drop].bytes()
		drop++
	}
	b.posts = b.posts[drop:]
	return nil
}

package dbus

import (
	"context"
	"sync/atomic"

	"github.com/godbus/dbus/v5"
)

// turnstile bounds what goes on at once. Every call has a goroutine of its own, so without it ten thousand calls would be
// ten thousand commits that compete.
type turnstile struct {
	slots   chan struct{}
	waiting atomic.Int64
	limit   int64
}

func newTurnstile(inside, waiting int) *turnstile {
	return &turnstile{slots: make(chan struct{}, inside), limit: int64(waiting)}
}

// enter waits for a slot. The caller leaves when the error is nil.
func (t *turnstile) enter(ctx context.Context) error {
	select {
	case t.slots <- struct{}{}:
		return nil
	default:
	}
	if t.waiting.Add(1) > t.limit {
		t.waiting.Add(-1)
		return busError("LimitsExceeded", "cannot take another call that changes something: %d are waiting already", t.limit)
	}
	defer t.waiting.Add(-1)
	select {
	case t.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return stopping()
	}
}

func (t *turnstile) leave() { <-t.slots }

// stopping is the answer to a call that comes when the agent is about to leave the bus.
func stopping() *dbus.Error {
	return busError("NoReply", "cannot serve the call: the agent leaves the bus")
}

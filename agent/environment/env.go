package environment

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// view is what is known of an environment.
type view struct {
	desc  adapter.Description
	ready bool // the adapter runs and is configured
	state adapter.Env
	// attached: somebody else launches and ends it. What was told of that in an earlier run of the agent is in its row.
	attached bool
	up       bool
	synced   bool
	detail   string // why it is not up, in the words of the adapter or about it
}

// env is one environment in memory.
type env struct {
	id, adapterName string
	// switching is held while the environment is launched or ended, so that keeper and operations do not do it both.
	switching sync.Mutex
	wake      chan struct{} // buffered 1: the keeper looks again
	queued    chan struct{} // buffered 1: there is news for the pump

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change of what follows
	news    []news
	now     view // what those who wait for something see
	// told is what the row shows: that of now, and in the transaction that changes now what comes after it.
	told    view
	came    int   // how often it has come up with all its units
	due     bool  // it has come into sight again: what it could not be told is to be told now
	broken  error // of the last attempt to launch it, until it is seen up
	resting bool  // it is being restarted: the keeper leaves it alone, Status says so
	seen    map[string]adapter.Unit
}

// news is something the adapter or its supervisor told.
type news struct {
	event adapter.Event
	lost  error                // the adapter is lost
	ready *adapter.Description // the adapter is there and configured
}

func newEnv(id, adapterName string) *env {
	first := view{detail: "not started yet"}
	return &env{
		id: id, adapterName: adapterName, wake: make(chan struct{}, 1), queued: make(chan struct{}, 1),
		changed: make(chan struct{}), now: first, told: first, seen: map[string]adapter.Unit{},
	}
}

// attach takes over what was told in an earlier run of the agent.
func (e *env) attach(attached bool) { e.now.attached, e.told.attached = attached, attached }

// usable reports whether calls can be made: the environment is up and has told all its units. The caller holds mu.
func (e *env) usable() bool { return e.now.ready && e.now.up && e.now.synced }

// update changes the state and tells those who wait for it.
func (e *env) update(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
	close(e.changed)
	e.changed = make(chan struct{})
}

var errTimeLimit = errors.New("the time limit has passed")

// await waits until cond, which is called with mu held, is true. Its error is that of ctx or errTimeLimit.
func (e *env) await(ctx context.Context, limit time.Duration, cond func() bool) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		e.mu.Lock()
		ok, changed := cond(), e.changed
		e.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return errTimeLimit
		}
	}
}

// launch names the last launch that was seen.
func (e *env) launch() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now.state.Launch
}

// why says why the environment is not up.
func (e *env) why() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken != nil {
		return e.broken.Error()
	}
	return e.now.detail
}

// add queues news for the pump.
func (e *env) add(n news) {
	e.mu.Lock()
	e.news = append(e.news, n)
	e.mu.Unlock()
	notify(e.queued)
}

func (e *env) take() []news {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.news
	e.news = nil
	return n
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

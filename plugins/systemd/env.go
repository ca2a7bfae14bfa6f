package systemd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// shortTime bounds what is asked of the manager for the sake of order when nobody waits for it any more.
const shortTime = 5 * time.Second

// limits are the time limits that are no settings.
type limits struct {
	change  time.Duration // for an install, update or uninstall from its beginning
	kill    time.Duration // for the end of units after SIGKILL
	connect time.Duration // for a connection to the bus
	retry   time.Duration // between two attempts to reach the bus
	sample  time.Duration // between two looks at sizes, and thorough ones at everything else
}

func defaultLimits() limits {
	return limits{change: 10 * time.Minute, kill: 10 * time.Second, connect: 10 * time.Second, retry: time.Second, sample: 30 * time.Second}
}

// env is one configured environment.
type env struct {
	id    string
	own   *systemd
	set   settings
	slice string
	store store
	log   *slog.Logger
	wake  chan struct{} // tells the watcher to read everything again
	keys  locks         // one for each unit, and one for the environment's launch and end

	dialing sync.Mutex // so that one connection is made
	mu      sync.Mutex
	conn    *link
	tries   map[string]attempt // by unit
	logs    map[string]excerpt // by unit
	skips   map[string]skip    // by unit
	sizes   map[string]sizes   // by unit
	ended   bool               // on request

	constrained constraints
}

func newEnv(own *systemd, c adapter.EnvConfig, set settings) *env {
	e := &env{
		id: c.ID, own: own, set: set, slice: sliceOf(c.ID), store: store{c.DataDir}, log: own.log.With("env", c.ID),
		wake: make(chan struct{}, 1), tries: map[string]attempt{}, logs: map[string]excerpt{}, skips: map[string]skip{}, sizes: map[string]sizes{},
	}
	e.readConstraints()
	return e
}

// link returns the environment's connection, and makes one if there is none that works.
func (e *env) link(ctx context.Context) (*link, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.dialing.Lock()
	defer e.dialing.Unlock()
	e.mu.Lock()
	l := e.conn
	e.mu.Unlock()
	if l != nil && l.works() {
		return l, nil
	}
	if l != nil {
		l.close()
	} else {
		e.sweepInspections()
	}
	l, err := newLink(e.own.life, e.own.limits.connect)
	if err != nil {
		return nil, &adapter.Error{Reason: adapter.Unavailable, Message: err.Error(), Cause: err.Error()}
	}
	if err := l.sweepProbes(e.probes()); err != nil {
		e.log.Warn("what is left of reading a package cannot be removed", "err", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conn = l
	return l, nil
}

// changed tells the watcher to read everything again.
func (e *env) changed() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *env) tried(unit string) attempt {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tries[unit]
}

func (e *env) try(unit string, a attempt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tries[unit] = a
}

// finish runs f, which goes on when ctx is done: half a step is worse than a whole one that nobody waits for. The next call about the same unit
// waits for its end.
func finish[T any](ctx context.Context, e *env, f func(work context.Context) (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	var none T
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("cannot begin: %w", err)
	}
	work, cancel := context.WithTimeout(e.own.life, e.own.limits.change)
	done := make(chan outcome, 1)
	go func() { // ends with the limit at the latest
		defer cancel()
		v, err := f(work)
		e.changed()
		done <- outcome{v, err}
	}()
	select {
	case o := <-done:
		if o.err != nil && work.Err() != nil && e.own.life.Err() == nil && adapter.ReasonOf(o.err) == adapter.Canceled {
			o.err = adapter.Errorf(adapter.Internal, "%v: it took longer than %v", o.err, e.own.limits.change)
		}
		return o.value, noRoom(o.err)
	case <-ctx.Done():
		return none, fmt.Errorf("cannot wait for the end, which comes by itself: %w", ctx.Err())
	}
}

// noRoom gives the error of a file system that is full its reason.
func noRoom(err error) error {
	var known *adapter.Error
	if !errors.As(err, &known) && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) {
		return adapter.Errorf(adapter.NoResources, "%v", err)
	}
	return err
}

// locks are mutexes by name that can be waited for with a context. The zero value is usable.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when it is free again
}

// take locks a name.
func (l *locks) take(ctx context.Context, name string) error {
	for {
		busy := l.try(name)
		if busy == nil {
			return nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for another call: %w", ctx.Err())
		}
	}
}

// try locks a name, or returns what is closed when it is free again.
func (l *locks) try(name string) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if busy := l.held[name]; busy != nil {
		return busy
	}
	if l.held == nil {
		l.held = map[string]chan struct{}{}
	}
	l.held[name] = make(chan struct{})
	return nil
}

func (l *locks) release(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held[name])
	delete(l.held, name)
}

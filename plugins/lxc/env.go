package lxc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// env is one configured environment.
type env struct {
	id    string
	set   settings
	log   *slog.Logger
	store store
	tools tools

	starter    starter
	cgroupView string // whose mounts containers are started with: a process, or "self"

	life  context.Context // of the adapter: what goes on without a caller ends with it
	tasks *tasks          // of the adapter

	turn chan struct{} // holds one token: who takes it may launch or end the environment
	wake chan struct{} // tells the watcher to look at the environment at once

	mu         sync.Mutex
	down       string // why it is not up, as far as this adapter knows
	ending     bool   // all containers are being stopped: none may be started
	containers map[string]*container
	teller     *teller // of the present watch, nil without

	sweeping sync.Once // of what an adapter before this one has left

	observing sync.Mutex // held while a container is looked at and told of, so that news keep their order
}

// container is a container while the adapter lives: what is being done with it.
type container struct {
	name, key string
	turn      chan struct{} // holds one token: who takes it may change what is installed

	// guarded by env.mu
	doing  *action
	shows  adapter.Status // instead of what LXC says, while it is being started or stopped; else empty
	sample sample
	seen   adapter.Status // last
	since  time.Time      // when it was seen stopped for the first time without a note of its end
}

// action is something that is being done with a container and goes on when nobody waits for it any more.
type action struct {
	kind string
	done chan struct{} // closed at the end
	err  error         // valid then
}

// The kinds of actions.
const (
	doStart  = "start"
	doStop   = "stop"
	doChange = "change" // of what is installed
)

// takeTurn waits for the right to launch or end the environment; the function that it returns gives it back.
func (e *env) takeTurn(ctx context.Context) (func(), error) { return take(ctx, e.turn) }

func take(ctx context.Context, turn chan struct{}) (func(), error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case <-turn:
		return func() { turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// takeChange waits for the right to change what is installed of a container. A change goes on when its caller has gone, and the record says only at its
// end what came of it: so its end is waited for, too.
func (e *env) takeChange(ctx context.Context, c *container) (func(), error) {
	done, err := take(ctx, c.turn)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	a := c.doing
	e.mu.Unlock()
	if a == nil || a.kind != doChange {
		return done, nil // whoever begins one has the right to it
	}
	select {
	case <-a.done:
		return done, nil
	case <-ctx.Done():
		done()
		return nil, ctx.Err()
	}
}

func newTurn() chan struct{} {
	t := make(chan struct{}, 1)
	t <- struct{}{}
	return t
}

// sweep removes, once, what an adapter before this one was doing when it ended.
func (e *env) sweep() {
	e.sweeping.Do(func() {
		if err := e.store.sweep(); err != nil {
			e.log.Warn("what an adapter has left cannot be removed", "err", err)
		}
	})
}

func (e *env) wakeWatcher() {
	select {
	case e.wake <- struct{}{}:
	default: // it will look already
	}
}

func (e *env) setDown(why string, ending bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down, e.ending = why, ending
}

// up returns an error unless the environment is up.
func (e *env) up(what string) error {
	e.mu.Lock()
	down, ending := e.down, e.ending
	e.mu.Unlock()
	if !ending && e.launched() != "" {
		return nil
	}
	return adapter.Errorf(adapter.Unavailable, "cannot %s: environment %q is not up: %s", what, e.id, cmp.Or(down, notLaunched))
}

const notLaunched = "it was not launched since the device was started"

// container returns the container of a name; whether there is one is another matter.
func (e *env) container(name string) *container {
	find := func() *container {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.containers[name]
	}
	if c := find(); c != nil {
		return c
	}
	fresh := &container{name: name, key: name, turn: newTurn(), sample: noSample}
	if r, err := e.store.record(name); err == nil {
		fresh.key = r.Key
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.containers[name]; c != nil {
		return c
	}
	e.containers[name] = fresh
	return fresh
}

// forget drops what is known of a container that is no more, so that one that comes later begins anew.
func (e *env) forget(c *container) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c.sample, c.seen, c.since = noSample, "", time.Time{}
}

// do carries out an action with a container and waits for it, as long as ctx allows: the action itself goes on. An action of the
// kind that is going on already is that one.
func (e *env) do(ctx context.Context, c *container, kind string, f func(ctx context.Context) error) error {
	what := kind + " " + containerName(e.id, c.key)
	for {
		if ctx.Err() != nil {
			return fmt.Errorf("cannot %s: %w", what, ctx.Err())
		}
		e.mu.Lock()
		a := c.doing
		mine := a == nil
		if mine {
			a = &action{kind: kind, done: make(chan struct{})}
			if !e.tasks.begin(func() { e.carryOut(c, a, f) }) {
				e.mu.Unlock()
				return fmt.Errorf("cannot %s: %w", what, context.Canceled)
			}
			c.doing = a
		}
		e.mu.Unlock()
		if !mine && a.kind == doStop && kind == doStart {
			return adapter.Errorf(adapter.BadState, "cannot %s: it is being stopped", what)
		}
		select {
		case <-a.done:
			if mine || a.kind == kind && kind != doChange {
				return a.err
			}
		case <-ctx.Done():
			return fmt.Errorf("cannot %s: %w", what, ctx.Err())
		}
	}
}

func (e *env) carryOut(c *container, a *action, f func(context.Context) error) {
	a.err = f(e.life)
	e.mu.Lock()
	c.doing, c.shows = nil, ""
	c.sample.first = 0 // its processes are others than at the first moment
	e.mu.Unlock()
	e.refresh(e.life, c.name)
	close(a.done)
}

// showing sets what is shown of a container from now to the end of the action.
func (e *env) showing(c *container, s adapter.Status) {
	e.mu.Lock()
	c.shows = s
	e.mu.Unlock()
	e.refresh(e.life, c.name)
}

// start is [adapter.Adapter] Start.
func (e *env) start(ctx context.Context, c *container, auto bool) error {
	return e.do(ctx, c, doStart, func(ctx context.Context) error {
		if err := e.up("start " + containerName(e.id, c.key)); err != nil {
			return err
		}
		return e.startContainer(ctx, c, auto)
	})
}

// stop is [adapter.Adapter] Stop.
func (e *env) stop(ctx context.Context, c *container, grace time.Duration) error {
	return e.do(ctx, c, doStop, func(ctx context.Context) error { return e.stopContainer(ctx, c, grace) })
}

// stopAll stops all containers, the one that was started last first. Who does not end cleanly does not keep the others running.
func (e *env) stopAll(ctx context.Context) error {
	names, err := e.store.list()
	if err != nil {
		return err
	}
	began := map[string]int64{}
	for _, name := range names {
		if r, err := e.store.readRun(name); err == nil {
			began[name] = r.Began
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(began[b], began[a]) })
	// All of them together get the grace of three: who has a device to end does not wait for each of many.
	deadline := time.Now().Add(3 * e.set.stopTimeout)
	var errs []error
	for _, name := range names {
		grace := max(min(e.set.stopTimeout, time.Until(deadline)), 0)
		err := e.stop(ctx, e.container(name), grace)
		switch reason := adapter.ReasonOf(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case reason == "":
		case reason == adapter.StopFailed && e.isStopped(ctx, name):
			e.log.Warn("container did not end cleanly", "du", e.container(name).key, "err", err)
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (e *env) isStopped(ctx context.Context, name string) bool {
	s, _, err := e.tools.info(ctx, name)
	return err == nil && s == stopped
}

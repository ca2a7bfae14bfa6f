package lxc

import (
	"context"
	"reflect"
	"slices"
	"sync"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// teller is what one watch was told of one environment, and what it is still to be told. Who has news never waits for who reads them.
type teller struct {
	// guarded by env.observing
	units map[string]adapter.Unit // by the name of the container
	on    bool                    // the environment is up, and all units were told

	mu     sync.Mutex
	queue  []adapter.Event
	signal chan struct{} // there is something in queue
}

func newTeller() *teller {
	return &teller{units: map[string]adapter.Unit{}, signal: make(chan struct{}, 1)}
}

func (t *teller) add(ev adapter.Event) {
	t.mu.Lock()
	t.queue = append(t.queue, ev)
	t.mu.Unlock()
	select {
	case t.signal <- struct{}{}:
	default:
	}
}

// send passes the news on until ctx is done.
func (t *teller) send(ctx context.Context, events chan<- adapter.Event) {
	for {
		t.mu.Lock()
		queue := t.queue
		t.queue = nil
		t.mu.Unlock()
		for _, ev := range queue {
			select {
			case events <- ev:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-t.signal:
		case <-ctx.Done():
			return
		}
	}
}

// refresh looks at a container and tells the watch what has changed.
func (e *env) refresh(ctx context.Context, name string) {
	e.observing.Lock()
	defer e.observing.Unlock()
	e.refreshLocked(ctx, name)
}

func (e *env) refreshLocked(ctx context.Context, name string) {
	e.mu.Lock()
	t := e.teller
	e.mu.Unlock()
	if t == nil || !t.on {
		return
	}
	u, there, err := e.observe(ctx, name)
	if err != nil && !e.store.exists(name) {
		there, err = false, nil // it went away while it was looked at
	}
	if err != nil {
		if ctx.Err() == nil {
			e.log.Warn("a container cannot be looked at", "container", name, "err", err)
		}
		return
	}
	before, known := t.units[name]
	switch {
	case there && known && reflect.DeepEqual(before, u):
	case there:
		if known && before.Key != u.Key {
			t.add(adapter.Event{Kind: adapter.EventUnitRemoved, EnvID: e.id, Key: before.Key})
		}
		t.units[name] = u
		copied := u
		t.add(adapter.Event{Kind: adapter.EventUnit, EnvID: e.id, Unit: &copied})
	case known:
		delete(t.units, name)
		e.forget(e.container(name))
		t.add(adapter.Event{Kind: adapter.EventUnitRemoved, EnvID: e.id, Key: before.Key})
	}
}

// tellAll tells everything that exists, and then that this was all.
func (e *env) tellAll(ctx context.Context, t *teller, up adapter.Env) error {
	e.observing.Lock()
	defer e.observing.Unlock()
	names, err := e.store.list()
	if err != nil {
		return err
	}
	t.add(adapter.Event{Kind: adapter.EventEnv, EnvID: e.id, Env: &up})
	t.units, t.on = map[string]adapter.Unit{}, true
	for _, name := range names {
		e.refreshLocked(ctx, name)
	}
	t.add(adapter.Event{Kind: adapter.EventSynced, EnvID: e.id})
	return nil
}

// tellDown ends what is told of the environment until it is up again.
func (e *env) tellDown(t *teller, down adapter.Env) {
	e.observing.Lock()
	defer e.observing.Unlock()
	t.units, t.on = map[string]adapter.Unit{}, false
	t.add(adapter.Event{Kind: adapter.EventEnv, EnvID: e.id, Env: &down})
}

// toldNames are the containers that the watch knows.
func (e *env) toldNames(t *teller) []string {
	e.observing.Lock()
	defer e.observing.Unlock()
	var names []string
	for name := range t.units {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

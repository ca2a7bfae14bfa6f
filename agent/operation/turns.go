package operation

import (
	"context"
	"slices"
	"sync"
)

// turns are the first-in first-out queues of the environments.
type turns struct {
	mu     sync.Mutex
	queues map[string][]chan struct{} // the first one has the turn
}

// take waits for the turn in all environments, in the order of their names, and returns what gives it back.
func (t *turns) take(ctx context.Context, envs []string) (release func(), err error) {
	envs = slices.Compact(slices.Sorted(slices.Values(envs)))
	var held []string
	release = func() {
		for _, env := range held {
			t.leave(env)
		}
		held = nil
	}
	for _, env := range envs {
		if err := t.enter(ctx, env); err != nil {
			release()
			return nil, err
		}
		held = append(held, env)
	}
	return release, nil
}

func (t *turns) enter(ctx context.Context, env string) error {
	ready := make(chan struct{})
	t.mu.Lock()
	if t.queues == nil {
		t.queues = map[string][]chan struct{}{}
	}
	t.queues[env] = append(t.queues[env], ready)
	if len(t.queues[env]) == 1 {
		close(ready)
	}
	t.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.queues[env], ready)
	t.remove(env, i)
	return context.Cause(ctx)
}

func (t *turns) leave(env string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.remove(env, 0)
}

// remove takes one out of the queue and wakes the next if it was the first.
func (t *turns) remove(env string, i int) {
	q := slices.Delete(t.queues[env], i, i+1)
	if len(q) == 0 {
		delete(t.queues, env)
		return
	}
	t.queues[env] = q
	if i == 0 {
		close(q[0])
	}
}

package operation

import (
	"context"
	"slices"
	"sync"
)

// turns are the first-in first-out queues of the environments. Whoever needs several joins all their queues at once: so two can
// never wait for each other, and who came first goes first everywhere. Who lets go of his turn comes in again at the end (giveWay).
type turns struct {
	mu     sync.Mutex
	queues map[string][]*ticket // the first one has the turn
}

// ticket is a place in the queues of some environments.
type ticket struct {
	turns *turns
	envs  []string
	ready chan struct{} // closed when it is the first one everywhere

	ahead int // queues in which it is not the first one; guarded by turns.mu
}

// join returns a place at the end of the queues of envs.
func (t *turns) join(envs []string) *ticket {
	k := &ticket{turns: t, envs: slices.Compact(slices.Sorted(slices.Values(envs))), ready: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.queues == nil {
		t.queues = map[string][]*ticket{}
	}
	for _, env := range k.envs {
		if len(t.queues[env]) > 0 {
			k.ahead++
		}
		t.queues[env] = append(t.queues[env], k)
	}
	if k.ahead == 0 {
		close(k.ready)
	}
	return k
}

// busy reports whether somebody would have to wait for one of envs.
func (t *turns) busy(envs []string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.ContainsFunc(envs, func(env string) bool { return len(t.queues[env]) > 0 })
}

// had reports whether the turn has come.
func (k *ticket) had() bool {
	select {
	case <-k.ready:
		return true
	default:
		return false
	}
}

// wait waits until the turn has come in all environments. Its error is the cause of ctx; the place is kept.
func (k *ticket) wait(ctx context.Context) error {
	if k.had() {
		return nil
	}
	select {
	case <-k.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave gives back the turn, or the place. Once more does nothing.
func (k *ticket) leave() {
	k.turns.mu.Lock()
	defer k.turns.mu.Unlock()
	for _, env := range k.envs {
		k.turns.remove(env, k)
	}
	k.envs = nil
}

// remove takes one out of the queue of env and wakes the next if it was the first. The caller holds mu.
func (t *turns) remove(env string, k *ticket) {
	i := slices.Index(t.queues[env], k)
	q := slices.Delete(t.queues[env], i, i+1)
	if len(q) == 0 {
		delete(t.queues, env)
		return
	}
	t.queues[env] = q
	if i > 0 {
		return
	}
	if q[0].ahead--; q[0].ahead == 0 {
		close(q[0].ready)
	}
}

package lxc

import "sync"

// tasks are what goes on without a caller. A WaitGroup alone does not do: calls that come while it is waited for would begin something after all.
type tasks struct {
	mu   sync.Mutex
	over bool
	wg   sync.WaitGroup
}

// begin runs f on its own, unless it is over.
func (t *tasks) begin(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return false
	}
	t.wg.Go(f)
	return true
}

// end waits for what goes on. Nothing begins any more.
func (t *tasks) end() {
	t.mu.Lock()
	t.over = true
	t.mu.Unlock()
	t.wg.Wait()
}

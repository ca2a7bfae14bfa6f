package inventory

import (
	"context"
	"sync"

	"github.com/smmd-project/smmd/agent/model"
)

// behind is how many commits a feed keeps for a slow reader.
const behind = 256

// feeds are the readers of the change feed. A send never waits for one of them.
type feeds struct {
	mu  sync.Mutex
	all map[*feed]bool
}

type feed struct {
	mu    sync.Mutex
	queue []model.Commit
	wake  chan struct{} // buffered 1
}

// add returns a feed that begins with the snapshot now. The caller sees to it that no send is under way.
func (fs *feeds) add(ctx context.Context, now *model.Snapshot) <-chan model.Commit {
	f := &feed{queue: []model.Commit{{Snapshot: now}}, wake: make(chan struct{}, 1)}
	f.wake <- struct{}{}
	fs.mu.Lock()
	if fs.all == nil {
		fs.all = map[*feed]bool{}
	}
	fs.all[f] = true
	fs.mu.Unlock()
	out := make(chan model.Commit)
	go func() {
		defer close(out)
		defer func() {
			fs.mu.Lock()
			delete(fs.all, f)
			fs.mu.Unlock()
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case <-f.wake:
			}
			for c, ok := f.take(); ok; c, ok = f.take() {
				select {
				case out <- c:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}

func (fs *feeds) send(c model.Commit) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.all {
		f.put(c)
	}
}

func (f *feed) put(c model.Commit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case len(f.queue) == 1 && f.queue[0].Lost:
		f.queue[0].Snapshot = c.Snapshot
	case len(f.queue) >= behind:
		f.queue = []model.Commit{{Snapshot: c.Snapshot, Lost: true}}
	default:
		f.queue = append(f.queue, c)
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns the oldest entry. The others stay where a loss drops them.
func (f *feed) take() (c model.Commit, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == 0 {
		return c, false
	}
	c = f.queue[0]
	f.queue[0] = model.Commit{} // its snapshot is held by the reader only
	f.queue = f.queue[1:]
	return c, true
}

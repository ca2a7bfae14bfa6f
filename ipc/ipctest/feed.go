package ipctest

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/smmd-project/smmd/agent/model"
)

// maxPending is how many commits a reader of the feed may be behind.
const maxPending = 256

// feed is one reader of the change feed.
type feed struct {
	mu      sync.Mutex
	pending []model.Commit
	wake    chan struct{} // one element: there is something
}

func (f *feed) put(c model.Commit) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) >= maxPending {
		f.pending = nil
		c = model.Commit{Snapshot: c.Snapshot, Lost: true}
	} else if n := len(f.pending); n > 0 && f.pending[n-1].Lost {
		f.pending = nil
		c = model.Commit{Snapshot: c.Snapshot, Lost: true}
	}
	f.pending = append(f.pending, c)
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *feed) take() (model.Commit, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.pending) == 0 {
		return model.Commit{}, false
	}
	c := f.pending[0]
	f.pending = f.pending[1:]
	return c, true
}

// Feed sends the current state and then every commit, until ctx is done.
func (a *Agent) Feed(ctx context.Context) <-chan model.Commit {
	f := &feed{wake: make(chan struct{}, 1)}
	a.mu.Lock()
	a.feeds[f] = true
	f.put(model.Commit{Snapshot: a.snap})
	a.mu.Unlock()
	out := make(chan model.Commit)
	go func() {
		defer close(out)
		defer func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.feeds, f)
		}()
		for {
			c, ok := f.take()
			if !ok {
				select {
				case <-f.wake:
					continue
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// changes returns what is different between two snapshots.
func changes(old, next *model.Snapshot) []model.Change {
	var list []model.Change
	list = diff(list, model.KindExecEnv, old.ExecEnvs(), next.ExecEnvs(), func(e *model.ExecEnv) uint32 { return e.Instance })
	list = diff(list, model.KindDeploymentUnit, old.DeploymentUnits(), next.DeploymentUnits(), func(u *model.DeploymentUnit) uint32 { return u.ID })
	list = diff(list, model.KindExecutionUnit, old.ExecutionUnits(), next.ExecutionUnits(), func(u *model.ExecutionUnit) uint32 { return u.ID })
	list = diff(list, model.KindVolume, old.Volumes(), next.Volumes(), func(v *model.Volume) uint32 { return v.ID })
	return diff(list, model.KindJob, old.Jobs(), next.Jobs(), func(j *model.Job) uint32 { return j.ID })
}

// diff walks through both tables, which are in the order of their keys, side by side.
func diff[R any](list []model.Change, k model.Kind, oldRows, newRows iter.Seq[*R], key func(*R) uint32) []model.Change {
	old, next := slices.Collect(oldRows), slices.Collect(newRows)
	for len(old) > 0 || len(next) > 0 {
		switch {
		case len(next) == 0 || len(old) > 0 && key(old[0]) < key(next[0]):
			list = append(list, model.Change{Row: model.Ref{Kind: k, Instance: key(old[0])}, Old: old[0]})
			old = old[1:]
		case len(old) == 0 || key(next[0]) < key(old[0]):
			list = append(list, model.Change{Row: model.Ref{Kind: k, Instance: key(next[0])}, New: next[0]})
			next = next[1:]
		default:
			if old[0] != next[0] {
				list = append(list, model.Change{Row: model.Ref{Kind: k, Instance: key(next[0])}, Old: old[0], New: next[0]})
			}
			old, next = old[1:], next[1:]
		}
	}
	return list
}

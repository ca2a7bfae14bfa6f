package lxc

import (
	"cmp"
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	// glance is how often it is looked for what nobody tells: containers that were made or removed, the end of the environment.
	glance = 2 * time.Second
	// connectTime is how long lxc-monitor may take to connect: what happened before that is looked for then.
	connectTime = 200 * time.Millisecond
	// monitorAgain is how long after its end lxc-monitor is started again.
	monitorAgain = time.Second
)

// watcher tells one watch of one environment.
type watcher struct {
	env    *env
	ctx    context.Context // of the watch
	teller *teller
	told   *adapter.Env // last
}

// run follows the environment until the watch is over.
func (w *watcher) run(ctx context.Context, events chan<- adapter.Event) {
	w.ctx, w.teller = ctx, newTeller()
	e := w.env
	e.mu.Lock()
	e.teller = w.teller
	e.mu.Unlock()
	var sender sync.WaitGroup
	sender.Go(func() { w.teller.send(ctx, events) })
	defer sender.Wait()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.teller == w.teller {
			e.teller = nil
		}
	}()
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for ctx.Err() == nil {
		launch := e.launched()
		if launch != "" && !e.isEnding() {
			if err := w.follow(launch); err != nil && ctx.Err() == nil {
				e.log.Warn("the environment cannot be watched", "err", err)
			} else {
				continue // it ended, or was launched anew
			}
		} else if now := w.downEnv(); w.told == nil || *w.told != now {
			w.told = &now
			e.tellDown(w.teller, now)
		}
		select {
		case <-ctx.Done():
		case <-e.wake:
		case <-tick.C:
		}
	}
}

func (e *env) isEnding() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ending
}

// follow tells of one launch of the environment until that is over.
func (w *watcher) follow(launch string) error {
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	e := w.env
	e.sweep()
	version, err := e.tools.version(ctx)
	if err != nil {
		return err
	}
	now := w.upEnv(launch, version)
	if err := e.tellAll(ctx, w.teller, now); err != nil {
		return err
	}
	w.told = &now
	e.log.Info("environment is up", "launch", launch)

	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel() // before the wait
	connected := make(chan struct{}, 1)
	helpers.Go(func() { w.monitor(ctx, connected) })
	helpers.Go(func() { w.sampler(ctx) })

	tick := time.NewTicker(glance)
	defer tick.Stop()
	all := time.NewTimer(connectTime)
	defer all.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-connected:
			all.Reset(connectTime)
		case <-all.C:
			w.look(ctx, true)
		case <-e.wake:
		case <-tick.C:
			w.look(ctx, false)
		}
		if e.launched() != launch {
			return nil // while it is being ended its containers are still told of
		}
	}
}

// monitor keeps lxc-monitor running.
func (w *watcher) monitor(ctx context.Context, connected chan<- struct{}) {
	e := w.env
	for {
		err := e.tools.monitor(ctx, func() {
			select {
			case connected <- struct{}{}:
			default:
			}
		}, func(name string) { e.refresh(ctx, name) })
		if ctx.Err() != nil {
			return
		}
		e.log.Info("lxc-monitor is started again", "err", err)
		timer := time.NewTimer(monitorAgain)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (w *watcher) sampler(ctx context.Context) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		w.sampleAll()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look looks for what nobody tells: at all containers, or only at those that have come, have gone, or run without their monitor.
func (w *watcher) look(ctx context.Context, all bool) {
	e := w.env
	names, err := e.store.list()
	if err != nil {
		e.log.Warn("containers cannot be listed", "err", err)
		return
	}
	known := e.toldNames(w.teller)
	for _, name := range names {
		if all || !slices.Contains(known, name) || e.mayHaveEnded(name) {
			e.refresh(ctx, name)
		}
	}
	for _, name := range known {
		if !slices.Contains(names, name) {
			e.refresh(ctx, name)
		}
	}
}

// mayHaveEnded reports whether a container that was seen running has lost its first process, or its monitor: that one tells nothing when it is
// killed.
func (e *env) mayHaveEnded(name string) bool {
	c := e.container(name)
	e.mu.Lock()
	seen, first := c.seen, c.sample.first
	e.mu.Unlock()
	if seen != adapter.Active {
		return seen == adapter.Stopping || seen == adapter.Starting
	}
	if _, _, ok := parentOf(first); !ok {
		return true
	}
	_, err := os.Lstat(e.store.at(name, endedName))
	return err == nil && e.store.ours(name)
}

// upEnv is the state of the environment that is up.
func (w *watcher) upEnv(launch, version string) adapter.Env {
	now := w.plainEnv()
	now.Up, now.Launch, now.Version = true, launch, version
	now.AvailableDisk, now.AvailableMemory = available(w.env.store.dir)
	return now
}

func (w *watcher) plainEnv() adapter.Env {
	return adapter.Env{ID: w.env.id, Name: w.env.id, Type: "LXC", Vendor: "linuxcontainers.org", RunLevel: -1, InitialModuleRunLevel: -1,
		AllocatedDisk: -1, AvailableDisk: -1, AllocatedMemory: -1, AvailableMemory: -1}
}

func (w *watcher) downEnv() adapter.Env {
	now := w.plainEnv()
	w.env.mu.Lock()
	defer w.env.mu.Unlock()
	now.Detail = cmp.Or(w.env.down, notLaunched)
	return now
}

// tellEnv tells what the environment has left, when that has changed noticeably.
func (w *watcher) tellEnv() {
	e := w.env
	e.observing.Lock()
	defer e.observing.Unlock()
	if w.told == nil || !w.teller.on {
		return
	}
	now := *w.told
	disk, memory := available(e.store.dir)
	if noticeable(now.AvailableDisk, disk) {
		now.AvailableDisk = disk
	}
	if noticeable(now.AvailableMemory, memory) {
		now.AvailableMemory = memory
	}
	if now != *w.told {
		w.told = &now
		copied := now
		w.teller.add(adapter.Event{Kind: adapter.EventEnv, EnvID: e.id, Env: &copied})
	}
}

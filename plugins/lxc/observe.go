package lxc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// moduleID is the ID of the one module of a container.
const moduleID = "container"

// handleVersion is the version of [handle].
const handleVersion = 1

// handle is the content of an [adapter.Handle].
type handle struct {
	Name string `json:"name"` // of the container
}

// observe looks at a container. ok is false when there is none of that name.
func (e *env) observe(ctx context.Context, name string) (u adapter.Unit, ok bool, err error) {
	if !e.store.exists(name) {
		return u, false, nil
	}
	c := e.container(name)
	data, err := json.Marshal(handle{Name: name})
	if err != nil {
		return u, false, err
	}
	u = adapter.Unit{Env: e.id, Key: c.key, DUID: name, Handle: adapter.Handle{Version: handleVersion, Data: data}, Resolved: true,
		Manifest: adapter.Manifest{Name: name}}
	var problem string
	present := 0
	if e.store.ours(name) {
		rec, err := e.store.record(name)
		if err != nil {
			return u, false, err
		}
		g, err := e.store.generation(name, rec.Current)
		if err != nil {
			return u, false, err
		}
		u.Key, u.Manifest, problem, present = rec.Key, g.Manifest, e.unstartable(g), rec.Current
	}
	m := adapter.Module{ID: moduleID, Name: u.Manifest.Name, Label: name, Vendor: u.Manifest.Vendor, Version: u.Manifest.Version,
		Description: u.Manifest.Description, RunLevel: -1, LogPath: e.starter.logPath(e.store.at(name))}
	if err := e.observeRun(ctx, c, present, &m); err != nil {
		return u, false, err
	}
	if problem != "" && m.Status == adapter.Idle {
		m.Reason, m.Message = adapter.Unstartable, clip(problem, maxMessage)
	}
	u.Modules = []adapter.Module{m}
	return u, true, nil
}

// observeRun says what a container is doing whose present generation has that number.
func (e *env) observeRun(ctx context.Context, c *container, present int, m *adapter.Module) error {
	s, first, err := e.tools.info(ctx, c.name)
	if err != nil {
		return err
	}
	e.mu.Lock()
	shows, taken := c.shows, c.sample
	e.mu.Unlock()
	m.Memory, m.Disk = -1, taken.disk
	r, err := e.store.readRun(c.name)
	if err != nil {
		return err
	}
	if r.Generation != present {
		r = run{} // how another generation ended is not shown of this one
	}
	switch s {
	case stopped:
		if m.Status = e.observeEnd(ctx, c, r, m); m.Status == adapter.Idle {
			m.Memory = 0
		}
	case starting:
		m.Status = adapter.Starting
	case stopping, aborting:
		m.Status = adapter.Stopping
	default: // frozen ones exist and hold what they have
		m.Status = adapter.Active
		if taken.first != first {
			taken = e.sampleRun(c, first)
		}
		m.PIDs, m.Memory = taken.pids, taken.memory
		e.mu.Lock()
		c.since = time.Time{}
		e.mu.Unlock()
	}
	if shows != "" {
		m.Status, m.Reason, m.Message = shows, "", ""
	}
	e.mu.Lock()
	c.seen = m.Status
	e.mu.Unlock()
	return nil
}

// observeEnd says what a container shows that LXC calls stopped.
func (e *env) observeEnd(ctx context.Context, c *container, r run, m *adapter.Module) adapter.Status {
	launch := e.launched()
	x := e.store.readEnd(c.name, r.Token)
	e.mu.Lock()
	busy := c.doing != nil
	switch {
	case x.known:
		c.since = time.Time{}
	case c.since.IsZero():
		c.since = time.Now()
	}
	// The note of its end comes a moment after the end; but not when the device went down with it, or when it never began.
	open := !x.known && r.Token != "" && r.Launch == launch && r.Words == "" && time.Since(c.since) < noteTime
	e.mu.Unlock()
	if busy {
		return adapter.Idle
	}
	if open {
		e.lookAgain(c)
		return adapter.Stopping
	}
	if r.Token != "" && (!x.known || x.by != 0) {
		switch left, err := e.endOrphans(c); {
		case err != nil:
			e.log.Warn("processes of a container whose monitor is gone cannot be ended", "du", c.key, "count", left, "err", err)
		case left > 0:
			e.log.Warn("processes of a container whose monitor is gone are ended", "du", c.key, "count", left)
		}
	}
	f := verdict(r, x, launch)
	m.Reason, m.ExitCode = f.reason, f.exit
	if r.Phase == isStarting && e.store.firstError(c.name) != "" {
		m.ExitCode = nil // it is that of lxc-execute
	}
	if m.Reason != "" {
		m.Message = e.judge(ctx, c, &r, f)
	}
	return adapter.Idle
}

// lookAgain looks at a container again in a moment.
func (e *env) lookAgain(c *container) {
	e.tasks.begin(func() {
		timer := time.NewTimer(ask)
		defer timer.Stop()
		select {
		case <-timer.C:
			e.refresh(e.life, c.name)
		case <-e.life.Done():
		}
	})
}

// endOrphans ends what goes on of a container that LXC calls stopped, because its monitor was killed: nothing else would ever end
// it. It returns how many processes there were. A group is known by the name of its container alone, so this is for those whose names nobody else gives.
func (e *env) endOrphans(c *container) (int, error) {
	if !e.store.ours(c.name) {
		return 0, nil
	}
	groups, err := readCgroups("self")
	if err != nil {
		return 0, err
	}
	left := groups.orphans(c.name)
	for _, pid := range left {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return len(left), fmt.Errorf("cannot end process %d that is left of a container: %w", pid, err)
		}
	}
	return len(left), nil
}

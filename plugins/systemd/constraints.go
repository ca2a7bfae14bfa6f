package systemd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/processors"
)

// bounds are limits of all units of an environment together; 0: none.
type bounds struct {
	memory int64 // KiB
	cpu    int   // percent of one processor
}

// constraintsVersion is the version of the form of [constraints]; a newer one is refused.
const constraintsVersion = 1

// constraints are the limits that were set of an environment in place of the configured ones, in the file constraints.json of its directory. Nil: none
// was set. Each one ends when another value is configured than there was when it was set.
type constraints struct {
	Version int                `json:"version"`
	Memory  *constraint[int64] `json:"memory,omitempty"`
	CPU     *constraint[int]   `json:"cpu,omitempty"`
}

type constraint[T comparable] struct {
	Configured T `json:"configured"` // memory in KiB, cpu in percent of one processor
	Limit      T `json:"limit"`      // memory in KiB, cpu in percent of all processors
}

func (s store) constraintsFile() string { return filepath.Join(s.dir, "constraints.json") }

func (s store) loadConstraints() (c constraints, err error) {
	data, err := os.ReadFile(s.constraintsFile())
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the constraints: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return constraints{}, fmt.Errorf("cannot read %s: %w", s.constraintsFile(), err)
	}
	if c.Version != constraintsVersion {
		return constraints{}, fmt.Errorf("cannot read %s: it is of version %d, this adapter knows %d", s.constraintsFile(), c.Version, constraintsVersion)
	}
	return c, nil
}

func (s store) saveConstraints(c constraints) error {
	c.Version = constraintsVersion
	data, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("cannot encode the constraints: %w", err)
	}
	if err := writeFile(s.constraintsFile(), data, 0o600); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// readConstraints takes over what was set before, as far as the configuration is still the one of then. What has ended is forgotten for good:
// it does not come back with the configuration of then.
func (e *env) readConstraints() {
	c, err := e.store.loadConstraints()
	if err != nil {
		e.log.Error("limits that were set of the environment are lost; the configured ones hold", "err", err)
		return
	}
	ended := false
	if c.Memory != nil && c.Memory.Configured != e.set.memory {
		c.Memory, ended = nil, true
	}
	if c.CPU != nil && c.CPU.Configured != e.set.cpu {
		c.CPU, ended = nil, true
	}
	e.constrained = c
	if !ended {
		return
	}
	if err := e.store.saveConstraints(c); err != nil {
		e.log.Error("limits that no longer hold, because others are configured, cannot be forgotten", "err", err)
	}
}

// bounds are the limits that hold from the next launch on, or since the last Constrain.
func (e *env) bounds() bounds {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := bounds{e.set.memory, e.set.cpu}
	if e.constrained.Memory != nil {
		b.memory = e.constrained.Memory.Limit
	}
	if e.constrained.CPU != nil {
		b.cpu = e.constrained.CPU.Limit * processors.Online()
	}
	return b
}

// tell puts the limits into what is told of the environment.
func (b bounds) tell(out *adapter.Env) {
	if b.memory > 0 {
		out.AllocatedMemory = b.memory
	}
	if n := processors.Online(); b.cpu > 0 {
		out.AllocatedCPU = min(max((b.cpu+n/2)/n, 1), 100)
	}
}

// constrain sets limits, of a slice that is active at once.
func (e *env) constrain(ctx context.Context, c adapter.Constraints, force bool) error {
	what := fmt.Sprintf("set limits of environment %q", e.id)
	switch {
	case c.Disk != nil && *c.Disk != 0:
		return adapter.Errorf(adapter.NotSupported, "cannot %s: it has no limit of disk space", what)
	case c.Memory != nil && (*c.Memory < 0 || *c.Memory > maxMemory):
		return adapter.Errorf(adapter.InvalidArgument, "cannot %s: a limit of memory of %d KiB is none", what, *c.Memory)
	case c.CPU != nil && (*c.CPU < 0 || *c.CPU > 100):
		return adapter.Errorf(adapter.InvalidArgument, "cannot %s: a limit of %d percent of the processors is none", what, *c.CPU)
	}
	if err := e.keys.take(ctx, launchLock); err != nil {
		return err
	}
	defer e.keys.release(launchLock)
	l, err := e.link(ctx)
	if err != nil {
		return err
	}
	s, err := e.sliceState(ctx, l)
	if err != nil {
		return err
	}
	if c.Memory != nil && *c.Memory > 0 && s.up && s.memory > *c.Memory && !force {
		return adapter.Errorf(adapter.InUse, "cannot %s: its units use %d KiB of memory, more than the limit of %d KiB", what, s.memory, *c.Memory)
	}
	e.mu.Lock()
	before := e.constrained
	e.mu.Unlock()
	next := before
	if c.Memory != nil {
		next.Memory = &constraint[int64]{e.set.memory, *c.Memory}
	}
	if c.CPU != nil {
		next.CPU = &constraint[int]{e.set.cpu, *c.CPU}
	}
	err = e.hold(ctx, l, next, s.up)
	if err != nil && ctx.Err() == nil {
		if undo := e.hold(ctx, l, before, s.up); undo != nil {
			e.log.Error("limits that could not be set could not be taken back; the next call or launch does it", "err", undo)
		}
	}
	return err
}

// hold keeps constraints, and makes them hold if the slice is active. A reload of the manager applies them to what runs; there is one in any case, since an
// adapter that was killed may have written the files and not come to that.
func (e *env) hold(ctx context.Context, l *link, c constraints, up bool) error {
	if err := e.store.saveConstraints(c); err != nil {
		return err
	}
	e.mu.Lock()
	e.constrained = c
	e.mu.Unlock()
	if !up {
		return nil
	}
	if _, err := writeRuntime(e.slice, e.sliceFile()); err != nil {
		return err
	}
	if err := e.shareAnew(ctx); err != nil {
		return err
	}
	return l.reload(ctx)
}

// shareAnew writes the drop-ins of units that have a share of the environment's processors.
func (e *env) shareAnew(ctx context.Context) error {
	records, err := e.store.all()
	if err != nil {
		e.log.Error("records of units cannot be read", "err", err) // the others get theirs
	}
	for _, r := range records {
		if r.Given == nil || r.Given.CPU == 0 {
			continue
		}
		if err := e.shareOneAnew(ctx, r.Key); err != nil {
			return err
		}
	}
	return nil
}

func (e *env) shareOneAnew(ctx context.Context, key string) error {
	if err := e.keys.take(ctx, key); err != nil {
		return err
	}
	defer e.keys.release(key)
	r, err := e.store.load(key) // as it is now
	if err != nil || r == nil || r.State != installed {
		return err // what is open is settled by a call, which writes them
	}
	_, err = e.writeDropIns(r, r.Current)
	return err
}

package fake

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Options are the properties of a [World].
type Options struct {
	// Kind is what the adapter says it drives; empty means [Kind].
	Kind string
	// RunLevels gives the environments run levels of their own, announced as [adapter.CapRunLevels].
	RunLevels bool
	// AutoStart lets the environments keep AutoStart themselves, announced as [adapter.CapAutoStart].
	AutoStart bool
	// Export lets the environments give back the packages of their units, announced as [adapter.CapExport].
	Export bool
	// Versions lets the environments be put back to what they ran from, announced as [adapter.CapVersions].
	Versions bool
	// Settings lets the environments give settings to the modules of units, announced as [adapter.CapUnitSettings].
	Settings bool
	// Volumes lets Settings have volumes, announced as [adapter.CapVolumes]; without Settings there are none. A module that was started has those of
	// [ModuleState.Settings]; nothing is read or written in their directories.
	Volumes bool
	// Constraints lets the limits of the environments be changed, announced as [adapter.CapConstraints].
	Constraints bool
	// NoDiskLimit says that what Settings and Constraints allow does not include limits of disk space.
	NoDiskLimit bool
	// Attached says that somebody else launches and ends the environments ([adapter.Env.Attached]): [Console.Launch] and [Console.Lose] do.
	Attached bool
	// Dir is where the World is stored; empty keeps it in memory. Only one World at a time has a directory.
	Dir string
}

// A World is the outside of the fake adapter: environments and what is in them. Its methods may be called concurrently.
type World struct {
	opts Options
	lock *os.File // of Dir

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed and replaced at every change
	feeds   map[*feed]struct{}
	broken  error // storing failed: every call answers it

	knobs knobs

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// takeTimeout is how long [Open] waits for another process to leave the directory: one that was killed has it for a moment.
const takeTimeout = 10 * time.Second

// pollInterval is how often a stored World looks for what [ReleaseIn] wrote.
const pollInterval = 10 * time.Millisecond

// NewWorld makes a World in memory. Close it in the end.
func NewWorld(o Options) *World {
	o.Dir = ""
	return newWorld(o, State{Version: stateVersion, Envs: map[string]*EnvState{}, Released: map[string]bool{}})
}

// Open opens the World in o.Dir, an existing directory, and takes it: a second Open of the same directory waits for up to ten
// seconds that the first is closed or its process gone. Modules that ran are found running.
func Open(o Options) (*World, error) {
	if o.Dir == "" {
		return NewWorld(o), nil
	}
	lock, err := take(o.Dir)
	if err != nil {
		return nil, err
	}
	s, err := ReadState(o.Dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	w := newWorld(o, s)
	w.lock = lock
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	w.wg.Go(func() { w.pollReleases(ctx) })
	return w, nil
}

func newWorld(o Options, s State) *World {
	if o.Kind == "" {
		o.Kind = Kind
	}
	w := &World{opts: o, state: s, changed: make(chan struct{}), feeds: map[*feed]struct{}{}, stop: func() {}}
	w.knobs.init()
	return w
}

// take locks dir. The lock goes with the process, however it ends.
func take(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the world: %w", err)
	}
	deadline := time.Now().Add(takeTimeout)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("cannot take the world in %s: %w", dir, err), f.Close())
		}
		<-tick.C
	}
}

// Close gives the directory back and reports whether everything could be stored. Adapters of the World have to be closed
// before.
func (w *World) Close() error {
	w.stop()
	w.wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.broken
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
		w.lock = nil
	}
	return err
}

// State returns a copy of everything.
func (w *World) State() (State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.clone()
}

// Release lets the modules of the package with this name go on that hang in start or stop, and all later ones.
func (w *World) Release(name string) error {
	return w.do(func(c *change) error {
		w.state.Released[name] = true
		for id, e := range w.state.Envs {
			for key, u := range e.Units {
				if u.Present.Spec.Name != name {
					continue
				}
				for _, m := range u.Modules {
					if m.Status == adapter.Starting || m.Status == adapter.Stopping {
						settle(u.spec(m), m)
						c.unit(id, key)
					}
				}
			}
		}
		return nil
	})
}

// ReleaseIn is [World.Release] for a World in dir that another process has. It is asynchronous.
func ReleaseIn(dir, name string) error {
	d := filepath.Join(dir, "release")
	if err := os.MkdirAll(d, 0o700); err != nil {
		return fmt.Errorf("cannot release %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(d, name), nil, 0o600); err != nil {
		return fmt.Errorf("cannot release %s: %w", name, err)
	}
	return nil
}

func (w *World) pollReleases(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		entries, err := os.ReadDir(filepath.Join(w.opts.Dir, "release"))
		if err != nil {
			continue // nobody has released anything yet
		}
		for _, e := range entries {
			err := w.Release(e.Name())
			if err == nil {
				err = os.Remove(filepath.Join(w.opts.Dir, "release", e.Name()))
			}
			if err != nil {
				w.breaks(err)
				return
			}
		}
	}
}

func (w *World) breaks(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = errors.Join(w.broken, err)
}

// do changes the World: f runs alone, then the state is stored and the watchers are told. The error is that of f; what f
// changed before it failed counts.
func (w *World) do(f func(*change) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken != nil {
		return adapter.Errorf(adapter.Internal, "cannot go on: %v", w.broken)
	}
	c := change{up: map[string]bool{}, envs: map[string]bool{}, units: map[string]map[string]bool{}}
	err := f(&c)
	if w.lock != nil {
		if e := writeState(w.opts.Dir, &w.state); e != nil {
			w.broken = e
			return adapter.Errorf(adapter.Internal, "cannot go on: %v", e)
		}
	}
	for f := range w.feeds {
		f.tell(w, &c)
	}
	close(w.changed)
	w.changed = make(chan struct{})
	return err
}

// await waits until ready says true, which runs alone and is asked again after every change, or ctx is done.
func (w *World) await(ctx context.Context, ready func() bool) error {
	for {
		w.mu.Lock()
		ok, changed := ready(), w.changed
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// change collects what watchers have to be told.
type change struct {
	up    map[string]bool            // environments that were launched
	envs  map[string]bool            // environments that are otherwise changed
	units map[string]map[string]bool // keys of changed or removed units, by environment
}

func (c *change) unit(env, key string) {
	if c.units[env] == nil {
		c.units[env] = map[string]bool{}
	}
	c.units[env][key] = true
}

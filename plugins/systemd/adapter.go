// Package systemd is the adapter for portable services of systemd: the service manager of the device is the environment, and each configured
// environment is a part of it, contained in one slice.
//
// A deployment unit is a portable service image (https://systemd.io/PORTABLE_SERVICES), which systemd-portabled attaches: a directory that the
// adapter unpacks from a tar archive, or a file with a file system. Its execution units are the services, sockets, timers, paths and
// targets that the image brings; the ID of a module is the unit's name. Units are never enabled: the agent starts what has AutoStart.
//
// The adapter keeps no database. What belongs to an environment is in its directory: the images, and a record of each deployment unit, which is
// written before and after each step ([record]). Everything in /run follows from that: attachments, drop-ins, and the slice, all of
// which a reboot clears away and the next launch makes anew. So nothing of an environment is there before it is launched, nothing but the
// adapter's own directory has to survive a power cut, and /etc is never written.
//
// An environment is up while its slice is active. The invocation of the slice names the launch.
//
// What is in which file, from the calls down to the bus:
//
//	adapter.go     the methods of the contract
//	settings.go    the settings of an environment
//	env.go         an environment: its link, its locks, and calls that go on when nobody waits any more
//	slice.go       its slice, and the drop-ins that bind units to it
//	launch.go      its launch and end
//	deploy.go      install, update, revert, discard, uninstall
//	settle.go      what is open of them after a failure, and the removal of a unit
//	given.go       the settings that a controller gives to a deployment unit
//	constraints.go the limits that it sets of an environment
//	record.go      the records
//	package.go     what a package says of itself
//	tarball.go     the same of archives
//	raw.go         the same of images of file systems
//	probe.go       whether a read-only image has its mount points
//	osrelease.go   os-release
//	run.go         start and stop of a module
//	watch.go       what is told, and when
//	module.go      a deployment unit and its modules as they are told
//	fault.go       what is wrong with a unit of systemd
//	journal.go     the last lines of its log
//	usage.go       what it uses of memory and disk
//	unit.go        its state, as the manager has it
//	unitname.go    its name
//	job.go         jobs of the manager
//	portable.go    portabled: which images are attached
//	link.go        the connection to both
package systemd

import (
	"context"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Kind is the name that environments use to refer to this adapter.
const Kind = "systemd"

// Version is the adapter's version.
const Version = "1.0.0"

// New returns the adapter.
func New(log *slog.Logger) adapter.Adapter { return newAdapter(log, defaultLimits()) }

func newAdapter(log *slog.Logger, l limits) *systemd {
	life, end := context.WithCancel(context.Background())
	return &systemd{log: log, limits: l, life: life, end: end}
}

type systemd struct {
	log    *slog.Logger
	limits limits
	life   context.Context // of what calls have begun
	end    context.CancelFunc
	locks  locks // on what environments share

	mu        sync.Mutex
	envs      map[string]*env // nil: not configured
	endWatch  context.CancelFunc
	watchOver chan struct{} // closed when the present watch has ended
}

func (s *systemd) Describe(context.Context) (adapter.Description, error) {
	return adapter.Description{Kind: Kind, Version: Version, Capabilities: []adapter.Capability{adapter.CapUnitSettings, adapter.CapConstraints, adapter.CapVolumes}}, nil
}

func (s *systemd) Configure(_ context.Context, configs []adapter.EnvConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.envs != nil {
		return adapter.Errorf(adapter.BadState, "cannot configure the adapter: it is configured already")
	}
	envs := map[string]*env{}
	owners := map[string]string{} // of the device's own units
	for _, c := range configs {
		set, err := parseSettings(c.ID, c.Settings)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(c.DataDir) {
			return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: data directory %q is not absolute", c.ID, c.DataDir)
		}
		if envs[c.ID] != nil {
			return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: there are two of that name", c.ID)
		}
		for _, u := range set.units {
			if owners[u] != "" {
				return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: systemd.units: environment %q has %s already", c.ID, owners[u], u)
			}
			owners[u] = c.ID
		}
		c.DataDir = filepath.Clean(c.DataDir)
		envs[c.ID] = newEnv(s, c, set)
	}
	s.envs = envs
	return nil
}

func (s *systemd) env(id string) (*env, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.envs[id]; e != nil {
		return e, nil
	}
	return nil, adapter.Errorf(adapter.NotFound, "cannot find environment %q", id)
}

// others returns the environments besides e, in order.
func (s *systemd) others(e *env) []*env {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*env
	for _, id := range slices.Sorted(maps.Keys(s.envs)) {
		if id != e.id {
			all = append(all, s.envs[id])
		}
	}
	return all
}

func (s *systemd) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	s.mu.Lock()
	if s.envs == nil {
		s.mu.Unlock()
		cancel()
		return nil, adapter.Errorf(adapter.BadState, "cannot watch: the adapter is not configured")
	}
	envs := slices.SortedFunc(maps.Values(s.envs), func(a, b *env) int { return strings.Compare(a.id, b.id) })
	endBefore, beforeOver := s.endWatch, s.watchOver
	s.endWatch, s.watchOver = cancel, over
	s.mu.Unlock()
	if endBefore != nil {
		endBefore()
		<-beforeOver
	}

	events := make(chan adapter.Event)
	send := func(e adapter.Event) bool {
		select {
		case events <- e:
			return true
		case <-ctx.Done():
			return false
		}
	}
	var watchers sync.WaitGroup
	for _, e := range envs {
		w := newWatcher(e, send)
		watchers.Go(func() { w.run(ctx) })
	}
	go func() { // ends with the watchers, which end with ctx
		<-ctx.Done()
		watchers.Wait()
		cancel()
		close(events)
		close(over)
	}()
	return events, nil
}

func (s *systemd) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	e, err := s.env(env)
	if err != nil {
		return adapter.Manifest{}, err
	}
	c, err := e.inspect(ctx, p)
	return c.Manifest, err
}

func (s *systemd) Install(ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
	e, err := s.env(spec.Env)
	if err != nil {
		return adapter.Unit{}, err
	}
	return finish(ctx, e, func(work context.Context) (adapter.Unit, error) { return e.install(ctx, work, op, spec) })
}

func (s *systemd) Update(ctx context.Context, op adapter.OpID, u adapter.UnitRef, _, next adapter.Package) (adapter.Unit, error) {
	e, err := s.env(u.Env)
	if err != nil {
		return adapter.Unit{}, err
	}
	return finish(ctx, e, func(work context.Context) (adapter.Unit, error) { return e.update(ctx, work, op, u, next) })
}

func (s *systemd) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	e, err := s.env(u.Env)
	if err != nil {
		return adapter.Unit{}, err
	}
	return finish(ctx, e, func(work context.Context) (adapter.Unit, error) { return e.revert(ctx, work, op, u, old) })
}

func (s *systemd) Discard(ctx context.Context, _ adapter.OpID, u adapter.UnitRef) error {
	e, err := s.env(u.Env)
	if err != nil {
		return err
	}
	_, err = finish(ctx, e, func(work context.Context) (struct{}, error) { return struct{}{}, e.discard(work, u) })
	return err
}

func (s *systemd) Uninstall(ctx context.Context, _ adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	e, err := s.env(u.Env)
	if err != nil {
		return adapter.UninstallResult{}, err
	}
	return finish(ctx, e, func(work context.Context) (adapter.UninstallResult, error) { return e.uninstall(work, u) })
}

func (s *systemd) Start(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	e, err := s.env(m.Env)
	if err != nil {
		return err
	}
	return e.start(ctx, m, o)
}

func (s *systemd) Stop(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef) error {
	e, err := s.env(m.Env)
	if err != nil {
		return err
	}
	return e.stop(ctx, m)
}

// SetEnabled has no use for settings of modules: the environment keeps none.
func (s *systemd) SetEnabled(ctx context.Context, _ adapter.OpID, id string, on bool, _ []adapter.ModuleSetting) error {
	e, err := s.env(id)
	if err != nil {
		return err
	}
	_, err = finish(ctx, e, func(work context.Context) (struct{}, error) {
		if on {
			return struct{}{}, e.launch(work)
		}
		return struct{}{}, e.shutDown(work)
	})
	return err
}

func (s *systemd) SetUnit(ctx context.Context, _ adapter.OpID, u adapter.UnitRef, set adapter.UnitSettings) error {
	e, err := s.env(u.Env)
	if err != nil {
		return err
	}
	_, err = finish(ctx, e, func(work context.Context) (struct{}, error) { return struct{}{}, e.setUnit(work, u, set) })
	return err
}

func (s *systemd) Constrain(ctx context.Context, _ adapter.OpID, id string, c adapter.Constraints, force bool) error {
	e, err := s.env(id)
	if err != nil {
		return err
	}
	_, err = finish(ctx, e, func(work context.Context) (struct{}, error) { return struct{}{}, e.constrain(work, c, force) })
	return err
}

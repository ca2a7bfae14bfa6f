package lxc

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Kind is the name that environments use to refer to this adapter.
const Kind = "lxc"

// Version is the adapter's version.
const Version = "1.0.0"

// New returns the adapter. Of the optional interfaces it implements [adapter.UnitSetter]: containers keep neither run levels nor AutoStart.
func New(log *slog.Logger) adapter.Adapter { return newAdapter(log, newStarter()) }

func newAdapter(log *slog.Logger, s starter) *lxc {
	life, end := context.WithCancel(context.Background())
	return &lxc{log: log, starter: s, life: life, end: end}
}

type lxc struct {
	log     *slog.Logger
	starter starter

	life  context.Context // ends with the adapter
	end   context.CancelFunc
	tasks tasks

	mu        sync.Mutex
	envs      map[string]*env // nil: not configured
	endWatch  context.CancelFunc
	watchOver chan struct{} // closed when the present watch has ended
}

func (l *lxc) Describe(context.Context) (adapter.Description, error) {
	return adapter.Description{Kind: Kind, Version: Version, Capabilities: []adapter.Capability{adapter.CapUnitSettings, adapter.CapVolumes}}, nil
}

func (l *lxc) Configure(_ context.Context, configs []adapter.EnvConfig) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.envs != nil {
		return adapter.Errorf(adapter.BadState, "cannot configure the adapter: it is configured already")
	}
	envs := map[string]*env{}
	for _, c := range configs {
		set, err := parseSettings(c.ID, c.Settings)
		if err != nil {
			return err
		}
		// Lines of LXC's configuration name files in it.
		if !filepath.IsAbs(c.DataDir) || strings.ContainsAny(c.DataDir, "\n\r") {
			return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: data directory %q is no absolute path in one line", c.ID, c.DataDir)
		}
		if envs[c.ID] != nil {
			return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: there are two of that name", c.ID)
		}
		envs[c.ID] = l.newEnv(c.ID, filepath.Clean(c.DataDir), set)
	}
	l.envs = envs
	return nil
}

func (l *lxc) newEnv(id, dir string, set settings) *env {
	s := store{env: id, dir: dir}
	e := &env{
		id: id, set: set, log: l.log.With("env", id), store: s, tools: tools{path: s.lxcPath()}, starter: l.starter, cgroupView: "self",
		life: l.life, tasks: &l.tasks, turn: newTurn(), wake: make(chan struct{}, 1), containers: map[string]*container{},
	}
	if _, ok := l.starter.(units); ok {
		e.cgroupView = "1" // units are started with the mounts of systemd, the adapter may have others
	}
	return e
}

func (l *lxc) env(id string) (*env, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.envs[id]; e != nil {
		return e, nil
	}
	return nil, adapter.Errorf(adapter.NotFound, "cannot find environment %q", id)
}

// unit returns the container that u names; whether it is there is another matter.
func (l *lxc) unit(u adapter.UnitRef) (*env, *container, error) {
	e, err := l.env(u.Env)
	if err != nil {
		return nil, nil, err
	}
	name := ""
	switch {
	case u.Handle.Version == 0 && u.Key != "": // it was named by its key alone
		if name = e.store.nameFor(u.Key); !e.store.exists(name) && e.store.foreign(u.Key) {
			name = u.Key
		}
	case u.Handle.Version == handleVersion:
		var h handle
		if err := json.Unmarshal(u.Handle.Data, &h); err == nil && isName(h.Name) {
			name = h.Name
		}
	case u.Handle.Version > handleVersion:
		return nil, nil, adapter.Errorf(adapter.InvalidArgument, "cannot find unit %q in environment %q: its handle is of version %d, newer than %d",
			u.Key, u.Env, u.Handle.Version, handleVersion)
	}
	if name == "" {
		return nil, nil, adapter.Errorf(adapter.InvalidArgument, "cannot find unit %q in environment %q: its handle is malformed", u.Key, u.Env)
	}
	return e, e.container(name), nil
}

// isName reports whether a text can be the name of a container: it is one part of a path.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// foreign reports whether there is a container of that name that somebody else made.
func (s store) foreign(name string) bool { return isName(name) && s.exists(name) && !s.ours(name) }

// module returns the container whose module m names, which is there and in an environment that is up.
func (l *lxc) module(verb string, m adapter.ModuleRef) (*env, *container, error) {
	e, c, err := l.unit(m.UnitRef)
	if err != nil {
		return nil, nil, err
	}
	what := verb + " " + containerName(e.id, m.Key)
	if err := e.up(what); err != nil {
		return nil, nil, err
	}
	if !e.store.exists(c.name) {
		return nil, nil, adapter.Errorf(adapter.NotFound, "cannot %s: there is none", what)
	}
	if m.Module != moduleID {
		return nil, nil, adapter.Errorf(adapter.NotFound, "cannot %s: its only module is %q, and not %q", what, moduleID, m.Module)
	}
	return e, c, nil
}

func (l *lxc) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	l.mu.Lock()
	if l.envs == nil {
		l.mu.Unlock()
		cancel()
		return nil, adapter.Errorf(adapter.BadState, "cannot watch: the adapter is not configured")
	}
	envs := slices.SortedFunc(maps.Values(l.envs), func(a, b *env) int { return strings.Compare(a.id, b.id) })
	endBefore, beforeOver := l.endWatch, l.watchOver
	l.endWatch, l.watchOver = cancel, over
	l.mu.Unlock()
	if endBefore != nil {
		endBefore()
		<-beforeOver
	}

	events := make(chan adapter.Event)
	var watchers sync.WaitGroup
	for _, e := range envs {
		watchers.Go(func() { (&watcher{env: e}).run(ctx, events) })
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

func (l *lxc) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	e, err := l.env(env)
	if err != nil {
		return adapter.Manifest{}, err
	}
	tmp, err := e.stageDir()
	if err != nil {
		return adapter.Manifest{}, err
	}
	defer e.unstage(tmp)
	return inspect(ctx, e.set, p, tmp)
}

func (l *lxc) Install(ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (adapter.Unit, error) {
	e, err := l.env(spec.Env)
	if err != nil {
		return adapter.Unit{}, err
	}
	if spec.Key == "" {
		return adapter.Unit{}, adapter.Errorf(adapter.InvalidArgument, "cannot install into environment %q: the unit has no key", spec.Env)
	}
	if e.store.foreign(spec.Key) {
		return adapter.Unit{}, adapter.Errorf(adapter.Exists, "cannot install %s: there is one already", containerName(spec.Env, spec.Key))
	}
	return e.install(ctx, op, spec.Key, spec.Package)
}

func (l *lxc) Update(ctx context.Context, op adapter.OpID, u adapter.UnitRef, _, next adapter.Package) (adapter.Unit, error) {
	e, c, err := l.unit(u)
	if err != nil {
		return adapter.Unit{}, err
	}
	return e.update(ctx, op, c, next)
}

func (l *lxc) Revert(ctx context.Context, _ adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	e, c, err := l.unit(u)
	if err != nil {
		return adapter.Unit{}, err
	}
	return e.revert(ctx, c, old)
}

func (l *lxc) Discard(ctx context.Context, _ adapter.OpID, u adapter.UnitRef) error {
	e, c, err := l.unit(u)
	if err != nil {
		return err
	}
	return e.discardOld(ctx, c)
}

func (l *lxc) Uninstall(ctx context.Context, _ adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	e, c, err := l.unit(u)
	if err != nil {
		return adapter.UninstallResult{}, err
	}
	return adapter.UninstallResult{}, e.uninstall(ctx, c)
}

func (l *lxc) Start(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	e, c, err := l.module(doStart, m)
	if err != nil {
		return err
	}
	return e.start(ctx, c, o.Auto)
}

func (l *lxc) Stop(ctx context.Context, _ adapter.OpID, m adapter.ModuleRef) error {
	e, c, err := l.module(doStop, m)
	if err != nil {
		return err
	}
	return e.stop(ctx, c, e.set.stopTimeout)
}

// SetUnit is [adapter.UnitSetter].
func (l *lxc) SetUnit(ctx context.Context, _ adapter.OpID, u adapter.UnitRef, s adapter.UnitSettings) error {
	e, c, err := l.unit(u)
	if err != nil {
		return err
	}
	return e.setUnit(ctx, c, s)
}

// SetEnabled does without the settings of modules: a container keeps none.
func (l *lxc) SetEnabled(ctx context.Context, _ adapter.OpID, id string, on bool, _ []adapter.ModuleSetting) error {
	e, err := l.env(id)
	if err != nil {
		return err
	}
	if on {
		return e.enable(ctx)
	}
	return e.disable(ctx)
}

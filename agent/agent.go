// Package agent is the management agent: [New] wires its parts, [Agent.Run] orders their start and stop.
//
// The order of a start: the store and its journal, with the locks of open operations; the snapshot, so that the tree can be
// read; the faces, which claim their names; the adapters, all at once; then what they report is merged, open operations are
// resumed, and each enabled environment is brought up. Nothing waits for an environment that is missing or broken: it says so
// in its row.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/smmd-project/smmd/agent/autorestart"
	"github.com/smmd-project/smmd/agent/baseline"
	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/agent/deployment"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/packages"
	"github.com/smmd-project/smmd/agent/report"
	"github.com/smmd-project/smmd/agent/runlevel"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/agent/supervisor"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Options are what an agent needs besides its configuration.
type Options struct {
	Log *slog.Logger
	// BuiltIn are the commands of the adapters that belong to this program, by their kind.
	BuiltIn map[string][]string
	// Clock is the clock of the device; nil: the real one.
	Clock operation.Clock
	// ResultCode is the number that the result of an operation has in CWMP for a fault, by which the policy of reports filters; nil: 0 for each.
	ResultCode func(model.Performed, fault.Reason) uint32
	// Supervise returns the adapter that o describes, to be kept running; nil: that of [supervisor.New], a process.
	Supervise func(o supervisor.Options) Adapter
}

// Adapter is an adapter that is kept running: calls wait until it can take them.
type Adapter interface {
	environment.Adapter
	// Run keeps the adapter running until ctx is done, and tells the handler of its options what happens to it.
	Run(ctx context.Context) error
	// Info says how the adapter is. It never waits.
	Info() model.AdapterInfo
}

// Agent is the management agent.
type Agent struct {
	cfg   config.Config
	opts  Options
	store *store.Store
	inv   *inventory.Inventory
	eng   *operation.Engine
	envs  *environment.Manager
	eus   *execution.Units
	vols  *volume.Keeper
	dus   *deployment.Units
	base  *baseline.Keeper
	rep   *report.Keeper
	again *autorestart.Keeper

	adapters []Adapter // by name
	envOps   environment.Operations
	euOps    execution.Operations
	levelOp  *operation.Definition[runlevel.State]
	install  *operation.Definition[deployment.InstallState]
	update   *operation.Definition[deployment.UpdateState]
	remove   *operation.Definition[deployment.UninstallState]
	reset    *operation.Definition[baseline.State]
	collect  chan struct{} // buffered 1: packages or application data may have become useless
}

// New opens the state and wires the parts. What it opened is closed by [Agent.Run], or by [Agent.Close] if that is never
// called.
func New(cfg config.Config, o Options) (_ *Agent, err error) {
	a := &Agent{cfg: cfg, opts: o, collect: make(chan struct{}, 1)}
	for _, dir := range []string{cfg.Agent.StateDir, cfg.Agent.RuntimeDir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make directory %s: %w", dir, err)
		}
	}
	if o.Supervise == nil {
		a.opts.Supervise = func(o supervisor.Options) Adapter { return supervisor.New(o) }
	}
	if o.ResultCode == nil {
		a.opts.ResultCode = func(model.Performed, fault.Reason) uint32 { return 0 }
	}
	if o.Clock == nil {
		if a.opts.Clock, err = operation.NewDeviceClock(); err != nil {
			return nil, err
		}
	}
	if a.store, err = store.Open(filepath.Join(cfg.Agent.StateDir, "state.db"), o.Log); err != nil {
		return nil, err
	}
	if err := a.wire(); err != nil {
		return nil, errors.Join(err, a.store.Close())
	}
	return a, nil
}

func (a *Agent) wire() (err error) {
	cfg, log := a.cfg, a.opts.Log
	if a.inv, err = inventory.New(a.store, log); err != nil {
		return err
	}
	sealer, err := store.OpenSealer(filepath.Join(cfg.Agent.StateDir, "credentials.key"))
	if err != nil {
		return err
	}
	a.rep = report.New(report.Options{
		Inventory: a.inv, Sealer: sealer, Clock: a.opts.Clock, CWMP: cfg.DataModel.Has("cwmp"), USP: cfg.DataModel.Has("usp"),
		Limit: cfg.Operations.TotalDeadline, Code: a.opts.ResultCode, Begin: a.beginElement, Log: log,
	})
	if err := a.rep.Load(); err != nil {
		return err
	}
	limits := packages.Limits{MaxSize: cfg.Packages.MaxSize, Quota: cfg.Packages.Quota, Reserve: cfg.Packages.Reserve}
	pkgs, err := packages.OpenStore(filepath.Join(cfg.Agent.StateDir, "packages"), limits)
	if err != nil {
		return err
	}
	fetcher, err := packages.NewFetcher(pkgs, packages.FetchOptions{
		Schemes: cfg.Packages.Schemes, Idle: cfg.Packages.Idle, CAFile: cfg.Packages.CAFile,
	})
	if err != nil {
		return err
	}
	var levels *runlevel.Controller
	adapters := map[string]environment.Adapter{}
	a.envs = environment.New(environment.Options{
		Inventory: a.inv, Adapters: adapters, Observer: observer{a}, Log: log, CallDeadline: cfg.Operations.CallDeadline,
		Raise: func(ctx context.Context, op adapter.OpID, row *model.ExecEnv, launched bool) error {
			if err := a.dus.TellSettings(ctx, op, row.ID); err != nil {
				return err
			}
			return levels.Raise(ctx, op, row, launched)
		},
		Lower:   func(ctx context.Context, op adapter.OpID, id string) { levels.Lower(ctx, op, id) },
		Pending: func(env string) ([]adapter.ModuleSetting, error) { return a.eus.Pending(env) },
	})
	a.vols, err = volume.New(volume.Options{
		Inventory: a.inv, Dir: cfg.VolumeDir(), Encrypted: cfg.Data.Encrypted, Reserve: cfg.Packages.Reserve, Log: log,
	})
	if err != nil {
		return err
	}
	a.eus = execution.NewUnits(a.inv, a.envs, a.vols, log)
	levels = runlevel.New(a.inv, a.envs, a.eus, log)
	a.dus, err = deployment.New(deployment.Options{
		Inventory: a.inv, Envs: a.envs, EUs: a.eus, Volumes: a.vols, Packages: pkgs, Fetcher: fetcher, Sealer: sealer,
		Exports:     filepath.Join(cfg.Agent.StateDir, "exports"),
		UUIDVersion: cfg.DataModel.UUIDVersion, ExecEnvs: cfg.ExecEnvs, Parallel: cfg.Operations.Parallel, Log: log,
		Pins: func(st *store.Tx) (map[string]bool, error) { return a.base.Pins(st) },
		Tell: a.rep.Tell, Clock: a.opts.Clock,
	})
	if err != nil {
		return err
	}
	a.base = baseline.New(baseline.Options{
		Inventory: a.inv, Envs: a.envs, EUs: a.eus, DUs: a.dus, Recorded: a.baselineRecorded, Log: log,
	})
	if err := a.superviseAdapters(adapters); err != nil {
		return err
	}
	if err := a.envs.Configure(cfg.ExecEnvs); err != nil {
		return err
	}
	if err := a.base.Forget(); err != nil {
		return err
	}
	a.envOps, a.euOps, a.levelOp = a.envs.Operations(), a.eus.Operations(), levels.Operation()
	a.install, a.update, a.remove = a.dus.Install(), a.dus.Update(), a.dus.Uninstall()
	a.reset = a.base.Operation()
	a.eng = operation.New(a.inv, operation.Options{
		RunDeadline: cfg.Operations.RunDeadline, TotalDeadline: cfg.Operations.TotalDeadline, MaxOpen: cfg.Operations.MaxOpen,
		KeepFinished: cfg.Operations.KeepFinished, Clock: a.opts.Clock, Log: log, Ended: a.ended,
		Concluded: a.rep.Conclude,
	},
		a.install, a.update, a.remove, a.reset, a.envOps.Enable, a.envOps.Disable, a.envOps.Restart, a.envOps.Constrain, a.levelOp, a.euOps.Configure,
		a.euOps.Requests[model.RequestActive], a.euOps.Requests[model.RequestIdle], a.euOps.Requests[model.RequestRestart])
	if err := a.eng.Load(); err != nil {
		return err
	}
	a.again = autorestart.New(autorestart.Options{Inventory: a.inv, Log: log, Start: func(tx *inventory.Tx, eu model.RowID) (uint32, error) {
		return a.request(tx, eu, model.RequestActive, model.Origin{Name: "AutoRestart"})
	}})
	return a.dus.Orphans(a.eng)
}

// observer breaks the circle between environments and their units, which are made after them.
type observer struct{ a *Agent }

func (o observer) Observe(tx *inventory.Tx, ob environment.Observation) error {
	if err := o.a.dus.Observe(tx, ob); err != nil {
		return err
	}
	if env := tx.ExecEnvByID(ob.Env); ob.Synced && !env.Seen {
		return o.a.base.First(tx, env)
	}
	return nil
}
func (o observer) Down(tx *inventory.Tx, env string, asked bool, why string) error {
	return o.a.dus.Down(tx, env, asked, why)
}
func (o observer) Forgotten(tx *inventory.Tx, env string) error { return o.a.dus.Forgotten(tx, env) }

// superviseAdapters makes a supervisor for each adapter that an environment uses, and for those of vendors that none uses.
func (a *Agent) superviseAdapters(into map[string]environment.Adapter) error {
	for _, kind := range a.adapterNames() {
		o := supervisor.Options{
			Name: kind, AutoMTLS: true, Command: a.opts.BuiltIn[kind], Log: a.opts.Log, Handler: a.envs,
			RuntimeDir: a.cfg.Agent.RuntimeDir, CallDeadline: a.cfg.Operations.CallDeadline,
		}
		for _, c := range a.cfg.Adapters {
			if c.Name == kind {
				o.Command, o.SHA256, o.AutoMTLS = append([]string{c.Command}, c.Args...), c.SHA256, c.AutoMTLS
			}
		}
		for _, e := range a.cfg.ExecEnvs {
			if e.Adapter != kind {
				continue
			}
			dir := a.cfg.EnvDir(e.Name)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return fmt.Errorf("cannot make directory %s: %w", dir, err)
			}
			o.Envs = append(o.Envs, adapter.EnvConfig{ID: e.Name, DataDir: dir, Settings: e.Settings})
		}
		s := a.opts.Supervise(o)
		a.adapters = append(a.adapters, s)
		into[kind] = s
	}
	return nil
}

// adapterNames returns the adapters that environments use, and those of vendors, ordered.
func (a *Agent) adapterNames() []string {
	var names []string
	for _, e := range a.cfg.ExecEnvs {
		names = append(names, e.Adapter)
	}
	for _, c := range a.cfg.Adapters {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ended is told by the engine that an operation has ended.
func (a *Agent) ended() {
	a.vols.MeasureSoon()
	select {
	case a.collect <- struct{}{}:
	default:
	}
}

// Close closes the state of an agent that was never run.
func (a *Agent) Close() error { return a.store.Close() }

// A Face makes the agent reachable: it runs until ctx is done, and calls ready once it can be reached.
type Face func(ctx context.Context, ready func()) error

// Run runs the agent until ctx is done, or until a part of it fails. ready is called once, when every face can be reached. Environments and what runs
// in them are left as they are.
func (a *Agent) Run(ctx context.Context, ready func(), faces ...Face) error {
	defer func() {
		if err := a.store.Close(); err != nil {
			a.opts.Log.Error("the state could not be closed", "err", err)
		}
	}()
	if err := a.state("starting"); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	reachable := make(chan struct{}, len(faces))
	for _, face := range faces {
		g.Go(func() error { return face(gctx, func() { reachable <- struct{}{} }) })
	}
	g.Go(func() error {
		for range faces {
			select {
			case <-reachable:
			case <-gctx.Done():
				return nil
			}
		}
		return a.work(gctx, ready)
	})
	err := g.Wait()
	if ctx.Err() != nil {
		a.opts.Log.Info("stopped")
		return nil
	}
	return err
}

// work is Run once the tree can be read.
func (a *Agent) work(ctx context.Context, ready func()) error {
	g, ctx := errgroup.WithContext(ctx)
	// The parts stop in the order in which they use each other: what an operation has begun can still be ended.
	adapters, stopAdapters := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAdapters()
	var ag errgroup.Group
	for _, s := range a.adapters {
		ag.Go(func() error { return s.Run(adapters) })
	}
	g.Go(func() error { return a.envs.Run(ctx, a.eng) })
	g.Go(func() error { return a.eng.Run(ctx) })
	g.Go(func() error { return a.collectUseless(ctx) })
	g.Go(func() error { return a.vols.Run(ctx) })
	g.Go(func() error { return a.base.Run(ctx) })
	g.Go(func() error { return a.rep.Run(ctx) })
	g.Go(func() error { return a.again.Run(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		return a.state("stopping")
	})
	if err := a.state("running"); err != nil {
		return err
	}
	ready()
	err := g.Wait()
	stopAdapters()
	return errors.Join(err, ag.Wait())
}

// collectUseless removes packages and application data that no operation and no unit needs, at the start and after each operation.
func (a *Agent) collectUseless(ctx context.Context) error {
	a.ended()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.collect:
		}
		if err := a.dus.Collect(ctx, a.eng); err != nil && ctx.Err() == nil {
			a.opts.Log.Error("what nobody needs could not be removed", "err", err)
		}
	}
}

func (a *Agent) state(s string) error {
	return a.inv.Update(func(tx *inventory.Tx) error {
		tx.State = s
		return nil
	})
}

// Snapshot returns the present state without waiting.
func (a *Agent) Snapshot() *model.Snapshot { return a.inv.Snapshot() }

// Feed sends the present state and then every commit until ctx is done.
func (a *Agent) Feed(ctx context.Context) <-chan model.Commit { return a.inv.Feed(ctx) }

// Adapters tells the adapter processes, ordered by name.
func (a *Agent) Adapters() []model.AdapterInfo {
	var all []model.AdapterInfo
	for _, s := range a.adapters {
		all = append(all, s.Info())
	}
	return all
}

package environment

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Adapter is an adapter process as the agent uses it: calls wait for the process and are repeated when it dies.
type Adapter interface {
	adapter.Adapter
	adapter.RunLeveler
	adapter.AutoStarter
	adapter.Exporter
	adapter.Versioner
	adapter.UnitSetter
	adapter.Constrainer
}

// Observer takes over what is seen of units. It runs in the transaction that makes it known.
type Observer interface {
	Observe(tx *inventory.Tx, o Observation) error
	// Down takes over that the environment does not run. asked: somebody wanted that.
	Down(tx *inventory.Tx, env string, asked bool, why string) error
	// Forgotten takes over that the environment is not configured any more. Its rows are still there, and go next.
	Forgotten(tx *inventory.Tx, env string) error
}

// Observation is news of one environment that is up.
type Observation struct {
	Env     string
	Units   []adapter.Unit // new or changed
	Removed []string       // keys of those that are gone
	Back    []string       // keys of those in Units that were gone in between
	// Synced is set when the environment has told everything: what is not in All is not there.
	Synced bool
	All    map[string]adapter.Unit
	Levels bool // the environment has run levels of its own
}

// Options configure a manager.
type Options struct {
	Inventory *inventory.Inventory
	Adapters  map[string]Adapter // by the name environments use
	Observer  Observer
	Log       *slog.Logger
	// CallDeadline bounds one call into an adapter and the wait for an environment to come back.
	CallDeadline time.Duration
	// Raise brings an environment that was down or out of sight to what its row asks for (package runlevel). launched says
	// that this is a new launch of it.
	Raise func(ctx context.Context, op adapter.OpID, row *model.ExecEnv, launched bool) error
	// Lower stops what runs in an environment before it is ended, where it does not do that level by level itself (package runlevel).
	Lower func(ctx context.Context, op adapter.OpID, id string)
	// Pending returns what a launch of an environment has to take over before it starts a module (package execution).
	Pending func(env string) ([]adapter.ModuleSetting, error)
	// MinPause and MaxPause bound the pause between attempts to launch an environment; 0: 1 s and 2 min.
	MinPause, MaxPause time.Duration
}

// Manager looks after all environments.
type Manager struct {
	opts   Options
	engine *operation.Engine
	envs   map[string]*env
}

// New returns a manager. [Manager.Configure] tells it the environments.
func New(o Options) *Manager {
	if o.MinPause == 0 {
		o.MinPause = time.Second
	}
	if o.MaxPause == 0 {
		o.MaxPause = 2 * time.Minute
	}
	return &Manager{opts: o, envs: map[string]*env{}}
}

// Configure makes the rows of the inventory agree with the configuration: new environments get a row, those that are not
// configured any more lose it, with their units. It is called once, before anything runs.
func (m *Manager) Configure(envs []config.ExecEnv) error {
	return m.opts.Inventory.Update(func(tx *inventory.Tx) error {
		for _, c := range envs {
			m.envs[c.Name] = newEnv(c.Name, c.Adapter)
			row := model.ExecEnv{
				ID: c.Name, Alias: "cpe-" + c.Name, Enable: c.Enable, InitialRunLevel: c.InitialRunLevel,
				InitialExecutionUnitRunLevel: 1, Name: c.Name,
				AllocatedDisk: model.UnknownSize, AvailableDisk: model.UnknownSize,
				AllocatedMemory: model.UnknownSize, AvailableMemory: model.UnknownSize,
			}
			if old := tx.ExecEnvByID(c.Name); old != nil {
				row = *old
				m.envs[c.Name].attach(old.Attached)
			} else {
				var err error
				if row.Instance, err = tx.NextNumber(model.KindExecEnv); err != nil {
					return err
				}
			}
			row.Adapter, row.Parent = c.Adapter, c.Parent
			row.Status, row.StatusDetail = model.EEError, "not started yet"
			if !row.Enable {
				row.Status, row.StatusDetail = model.EEDisabled, ""
			}
			if err := tx.PutExecEnv(&row); err != nil {
				return err
			}
		}
		for _, row := range slices.Collect(tx.ExecEnvs()) {
			if m.envs[row.ID] == nil {
				m.opts.Log.Warn("an environment is no longer configured; its rows go", "env", row.ID)
				if err := m.opts.Observer.Forgotten(tx, row.ID); err != nil {
					return err
				}
				if err := tx.DeleteExecEnv(row); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Run keeps the environments until ctx is done; it does not stop them: what runs in them goes on.
func (m *Manager) Run(ctx context.Context, engine *operation.Engine) error {
	m.engine = engine
	var wg sync.WaitGroup
	for _, e := range m.envs {
		wg.Go(func() { m.pump(ctx, e) })
		wg.Go(func() { m.keep(ctx, e) })
	}
	wg.Wait()
	return nil
}

// Adapter returns the adapter of an environment and what it said of itself.
func (m *Manager) Adapter(id string) (Adapter, adapter.Description) {
	e := m.envs[id]
	if e == nil {
		return nil, adapter.Description{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return m.opts.Adapters[e.adapterName], e.now.desc
}

// Seen returns what the environment last told of a unit.
func (m *Manager) Seen(id, key string) (adapter.Unit, bool) {
	e := m.envs[id]
	if e == nil {
		return adapter.Unit{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	u, ok := e.seen[key]
	return u, ok
}

// System reports whether a unit is part of its environment itself, which cannot be changed.
func (m *Manager) System(id, key string) bool {
	u, there := m.Seen(id, key)
	return there && u.System
}

// Permanent reports whether a unit is part of the device's firmware, which is neither updated nor removed.
func (m *Manager) Permanent(id, key string) bool {
	u, there := m.Seen(id, key)
	return there && u.Permanent
}

// Fixed says why a unit can be neither updated nor removed: what it is part of; empty when it can.
func (m *Manager) Fixed(id, key string) string {
	switch u, _ := m.Seen(id, key); {
	case u.System:
		return "part of the environment " + id
	case u.Permanent:
		return "part of the device's firmware"
	}
	return ""
}

// Check judges from the present state whether an environment takes changes: unknown-exec-env, disabled-exec-env.
func Check(s *model.Snapshot, id string) error {
	row := s.ExecEnvByID(id)
	if row == nil {
		return fault.Errorf(fault.UnknownExecEnv, "cannot use environment %q: it does not exist", id)
	}
	switch by := disabledBy(s, row); by {
	case "":
		return nil
	case id:
		return fault.Errorf(fault.DisabledExecEnv, "cannot change environment %s: it is disabled", id)
	default:
		return fault.Errorf(fault.DisabledExecEnv, "cannot change environment %s: its parent %s is disabled", id, by)
	}
}

// disabledBy returns the environment that keeps this one from running: itself or a parent, or "".
func disabledBy(s *model.Snapshot, row *model.ExecEnv) string {
	for range s.Count(model.KindExecEnv) {
		if !row.Enable {
			return row.ID
		}
		parent := s.ExecEnvByID(row.Parent)
		if parent == nil {
			return ""
		}
		row = parent
	}
	return ""
}

// Ready waits until an environment is up and has told all its units. It gives up at once when the environment is disabled
// or is known to be broken, and after the call deadline in any case (exec-env-unavailable).
func (m *Manager) Ready(ctx context.Context, id string) (Adapter, error) {
	e := m.envs[id]
	if e == nil {
		return nil, fault.Errorf(fault.UnknownExecEnv, "cannot use environment %q: it does not exist", id)
	}
	var verdict error
	err := e.await(ctx, m.opts.CallDeadline, func() bool {
		verdict = Check(m.opts.Inventory.Snapshot(), id)
		if verdict == nil && !e.usable() && e.broken != nil {
			verdict = fault.Errorf(fault.ExecEnvUnavailable, "cannot use environment %s: %w", id, e.broken)
		}
		return verdict != nil || e.usable()
	})
	switch {
	case verdict != nil:
		return nil, verdict
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, fault.Errorf(fault.ExecEnvUnavailable, "cannot use environment %s: it is not up: %s", id, e.why())
	}
	return m.opts.Adapters[e.adapterName], nil
}

// Describe waits like [Manager.Ready] and returns what the adapter of the environment says of itself.
func (m *Manager) Describe(ctx context.Context, id string) (adapter.Description, error) {
	if _, err := m.Ready(ctx, id); err != nil {
		return adapter.Description{}, err
	}
	_, desc := m.Adapter(id)
	return desc, nil
}

// Inspect asks the adapter of an environment what a package is. That needs no environment that is up, but an adapter that runs: one that does not is waited
// for until the call deadline (exec-env-unavailable).
func (m *Manager) Inspect(ctx context.Context, id string, p adapter.Package) (adapter.Manifest, error) {
	var out adapter.Manifest
	err := m.ask(ctx, id, "about the package", func(ctx context.Context, a Adapter) (err error) {
		out, err = a.Inspect(ctx, id, p)
		return err
	})
	return out, Classify(err)
}

// ask makes a call that needs no environment that is up, but an adapter that runs: one that does not is waited for until the call deadline
// (exec-env-unavailable). what completes the sentence of that error. Its error is otherwise the adapter's.
func (m *Manager) ask(ctx context.Context, id, what string, f func(context.Context, Adapter) error) error {
	e := m.envs[id]
	if e == nil {
		return fault.Errorf(fault.UnknownExecEnv, "cannot use environment %q: it does not exist", id)
	}
	cctx, stop := context.WithTimeout(ctx, m.opts.CallDeadline)
	defer stop()
	ready := false
	err := e.await(cctx, m.opts.CallDeadline, func() bool {
		ready = e.now.ready
		return ready || e.broken != nil
	})
	if ready {
		err = f(cctx, m.opts.Adapters[e.adapterName])
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !ready, adapter.ReasonOf(err) == adapter.Canceled && cctx.Err() != nil:
		return fault.Errorf(fault.ExecEnvUnavailable, "cannot ask the adapter of environment %s %s: %s", id, what, e.why())
	}
	return err
}

// Away reports whether an error says that the environment could not be asked, so that it may be another time.
func Away(err error) bool {
	r := fault.ReasonOf(Classify(err))
	return r == fault.DisabledExecEnv || r == fault.ExecEnvUnavailable
}

// maxCalls is how often a call is made in whose middle the environment goes away: as often as a step that takes the agent down (package
// operation). It may be the call that does it, and each time everything else in the environment goes down too.
const maxCalls = 3

// Call makes a call into the adapter of an environment, and makes it again, with the same OpID, when the environment went away
// in the middle of it: after it is back. Its error is the adapter's; [Classify] gives it a neutral reason. One that keeps the call from
// being made again says that the outcome is unknown.
func (m *Manager) Call(ctx context.Context, id string, f func(context.Context, Adapter) error) error {
	for tries := range maxCalls {
		a, err := m.Ready(ctx, id)
		if err != nil && tries > 0 {
			return operation.Unsettled(err)
		}
		if err != nil {
			return err
		}
		cctx, stop := context.WithTimeout(ctx, m.opts.CallDeadline)
		err = f(cctx, a)
		stop()
		if adapter.ReasonOf(err) != adapter.Unavailable {
			return err
		}
		m.opts.Log.Warn("the environment went away in a call; it is made again when the environment is back", "env", id, "err", err)
		// The news that it went away may come a moment later than the answer.
		e := m.envs[id]
		if err := e.await(ctx, time.Second, func() bool { return !e.now.up }); err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return adapter.Errorf(adapter.Unavailable, "environment %s went away again and again", id)
}

// arrival is how long the news of a change is waited for after the call that made it.
const arrival = 2 * time.Second

// Arrived waits a moment until the environment is up, has told all its units, and what it has told of one is as cond says: the news
// of a change comes before or shortly after the answer of the call that made it. It reports whether that has come; no older
// news of the unit follows then.
func (m *Manager) Arrived(ctx context.Context, id, key string, cond func(u adapter.Unit, there bool) bool) bool {
	e := m.envs[id]
	if e == nil {
		return false
	}
	err := e.await(ctx, arrival, func() bool {
		u, there := e.seen[key]
		return e.usable() && cond(u, there)
	})
	return err == nil
}

// Synced reports whether the environment is up and has told all its units: what was not seen is not there.
func (m *Manager) Synced(id string) bool {
	e := m.envs[id]
	if e == nil {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.usable()
}

// BroughtUp reports whether the present launch of an environment has been brought to its InitialRunLevel.
func (m *Manager) BroughtUp(id string) bool {
	e, row := m.envs[id], m.State(id)
	return e != nil && row != nil && row.Launch != "" && row.Launch == e.launch()
}

// Undo makes a call that takes back an earlier one, or ends what runs before the environment is ended. Unlike [Manager.Call] it is made in a disabled
// environment too, as long as that still runs; the caller repeats it until it succeeds.
func (m *Manager) Undo(ctx context.Context, id string, f func(context.Context, Adapter) error) error {
	e := m.envs[id]
	if e == nil {
		m.opts.Log.Warn("what was done in an environment cannot be undone: it is no longer configured", "env", id)
		return nil
	}
	var ended error
	err := e.await(ctx, m.opts.CallDeadline, func() bool {
		if ended = nil; !e.now.up && e.now.ready {
			ended = Check(m.opts.Inventory.Snapshot(), id) // nobody needs to wait for it
		}
		return ended != nil || e.usable()
	})
	switch {
	case ended != nil:
		return ended
	case err != nil:
		return fault.Errorf(fault.ExecEnvUnavailable, "cannot use environment %s: %w", id, err)
	}
	cctx, stop := context.WithTimeout(ctx, m.opts.CallDeadline)
	defer stop()
	return Classify(f(cctx, m.opts.Adapters[e.adapterName]))
}

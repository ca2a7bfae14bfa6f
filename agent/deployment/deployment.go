// Package deployment installs, updates and uninstalls deployment units, and merges what environments report with what the
// agent knows.
//
// Install, update and uninstall are operations (package operation); each has a file with its steps, do and undo side by
// side. A row exists from the moment its package has been inspected: before that the job is the only trace. What the data model says of a unit
// is what its environment last said ([Units.Observe]).
package deployment

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/packages"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Options configure the deployment of units.
type Options struct {
	Inventory   *inventory.Inventory
	Envs        *environment.Manager
	EUs         *execution.Units
	Volumes     *volume.Keeper
	Packages    *packages.Store
	Fetcher     *packages.Fetcher
	Exports     string // directory for files on their way from adapters into the package store; on the same file system, nobody else's
	Sealer      *store.Sealer
	UUIDVersion int
	ExecEnvs    []config.ExecEnv
	Parallel    int // downloads at once for an environment
	// Pins returns the digests of packages that others need (package baseline); nil: nobody does.
	Pins func(*store.Tx) (map[string]bool, error)
	// Tell takes over what became of a unit without an operation on it, in the transaction that makes it known; nil: nobody needs to know.
	Tell  func(*inventory.Tx, ...model.Result) error
	Clock operation.Clock // of the device, for results
	Log   *slog.Logger
}

// Units carries out operations on deployment units.
type Units struct {
	Options
	autoStart map[string]bool // by environment
	// downloads bounds how many run at once, by environment: a server that stalls holds up one only. The name is empty for those that are for any.
	downloads map[string]chan struct{}
	exported  *packages.Fetcher
	// coming are the packages that adapters give back and that have no pin yet: by the key in the spool, the digest once it is known.
	coming sync.Map
	// removed are units that operations have removed while older news of them may still be on its way. It is used in transactions
	// only.
	removed map[unitName]time.Time
}

// New returns the deployment units of an inventory.
func New(o Options) (*Units, error) {
	us := &Units{
		Options: o, autoStart: map[string]bool{}, downloads: map[string]chan struct{}{}, removed: map[unitName]time.Time{},
	}
	us.downloads[""] = make(chan struct{}, max(o.Parallel, 1))
	for _, e := range o.ExecEnvs {
		us.autoStart[e.Name] = e.AutoStart
		us.downloads[e.Name] = make(chan struct{}, max(o.Parallel, 1))
	}
	return us, us.openExports()
}

// unitName is how an environment calls a unit.
type unitName struct{ env, key string }

// attempt tells whether an adapter call of a step may have had an effect. It is not stored: what an earlier process has done is not
// known.
type attempt struct {
	own  bool // this process has entered the step for the first time
	made bool // and has made the call
}

// open reports whether the call may have had an effect.
func (a attempt) open() bool { return !a.own || a.made }

// inspect asks the adapter of an environment what the package is.
func (us *Units) inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	m, err := us.Envs.Inspect(ctx, env, p)
	switch {
	case err != nil:
		return m, err
	case m.Name == "":
		return m, fault.Errorf(fault.PackageCorrupt, "cannot use the package: it has no name")
	}
	return m, nil
}

// kept returns what is kept of a unit besides its row.
func (us *Units) kept(id model.RowID) (p store.Private, err error) {
	err = us.Inventory.View(func(st *store.Tx) (err error) {
		p, _, err = store.Privates.Get(st, id)
		return err
	})
	return p, err
}

// ref returns how an adapter knows a unit. The handle is that which the environment last told: somebody else may have updated the unit
// since an operation got one.
func (us *Units) ref(du *model.DeploymentUnit, p store.Private) adapter.UnitRef {
	r := adapter.UnitRef{Env: du.Env, Key: du.Key, Handle: p.Handle}
	if seen, there := us.Envs.Seen(du.Env, du.Key); there {
		r.Handle = seen.Handle
	}
	return r
}

// arrived waits until the environment has told of this generation of a unit, as long as that may take. The version alone does not tell generations apart: after
// a Revert it is that of before the Update.
func (us *Units) arrived(ctx context.Context, env, key string, want adapter.Unit) {
	us.Envs.Arrived(ctx, env, key, func(u adapter.Unit, there bool) bool {
		return there && u.Manifest.Version == want.Manifest.Version &&
			u.Handle.Version == want.Handle.Version && bytes.Equal(u.Handle.Data, want.Handle.Data)
	})
}

// lookup returns a row that must be there.
func (us *Units) lookup(id model.RowID) (*model.DeploymentUnit, error) {
	du := us.Inventory.Snapshot().DeploymentUnit(id)
	if du == nil {
		return nil, fault.Errorf(fault.UnknownDU, "cannot find deployment unit %d: it does not exist", id)
	}
	return du, nil
}

// setStatus moves a deployment unit to a state that its state machine allows.
func setStatus(tx *inventory.Tx, id model.RowID, next model.DUStatus) error {
	old := tx.DeploymentUnit(id)
	if old == nil {
		return fault.Errorf(fault.UnknownDU, "cannot find deployment unit %d: it does not exist", id)
	}
	if old.Status == next {
		return nil // the step is entered again
	}
	if !old.Status.CanBecome(next) {
		return fault.Errorf(fault.InvalidDUState, "cannot go on: %s is %s", old.UUID, old.Status)
	}
	row := *old
	row.Status = next
	return tx.PutDeploymentUnit(&row)
}

// taken returns the row that has this version of a unit on an environment, or 0.
func taken(tx *inventory.Tx, uuid, version, env string) (model.RowID, error) {
	st, err := tx.Store()
	if err != nil {
		return 0, err
	}
	id, _, err := store.UnitIndex.Get(st, store.IndexKey(uuid, version, env))
	return id, err
}

// freeKey returns the key for a new unit: its UUID, or UUID#k when other versions of it are there already. A key that the
// environment has for a unit of its own is not free either.
func (us *Units) freeKey(tx *inventory.Tx, uuid, env string) string {
	used := map[string]bool{}
	for du := range tx.DeploymentUnits() {
		if du.Env == env {
			used[du.Key] = true
		}
	}
	for k := 1; ; k++ {
		key := uuid
		if k > 1 {
			key += "#" + strconv.Itoa(k)
		}
		if _, seen := us.Envs.Seen(env, key); !seen && !used[key] {
			return key
		}
	}
}

// defaultAlias is the Alias of a new row.
func defaultAlias(id model.RowID) string { return "cpe-" + strconv.FormatUint(uint64(id), 10) }

// private writes what is kept of a unit besides its row. The names of modules that went stay.
func private(tx *inventory.Tx, id model.RowID, p store.Private) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	old, _, err := store.Privates.Get(st, id)
	if err != nil {
		return err
	}
	p.EUIDs = old.EUIDs
	return store.Privates.Put(st, id, p)
}

// wasActive returns the modules of a unit that run or are about to.
func wasActive(s *model.Snapshot, du model.RowID) []string {
	var active []string
	for u := range s.ExecutionUnitsOf(du) {
		if u.Status.AtWork() {
			active = append(active, u.Module)
		}
	}
	return active
}

// startAgain starts those modules that are named, in the order of their run levels, and returns the units that were. What does not start shows that in its own
// row. The rows are not asked what runs: they may not have heard yet. What does run is not disturbed.
func (us *Units) startAgain(ctx context.Context, op adapter.OpID, du model.RowID, modules []string) (started []model.RowID, _ error) {
	for _, u := range execution.Ascending(slices.Collect(us.Inventory.Snapshot().ExecutionUnitsOf(du))) {
		if !slices.Contains(modules, u.Module) {
			continue
		}
		err := us.EUs.Start(ctx, op, u, u.AutoStart)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			us.Log.Info("an execution unit did not start again", "eu", u.EUID, "err", err)
		} else {
			started = append(started, u.ID)
		}
		if environment.Away(err) {
			break // when it comes back, it starts what is to be started
		}
	}
	return started, nil
}

// lacksNothing reports whether every execution unit of a deployment unit was started that can be: then all that it needs is there, also where its environment
// says so only later.
func (us *Units) lacksNothing(du model.RowID, started []model.RowID) bool {
	for u := range us.Inventory.Snapshot().ExecutionUnitsOf(du) {
		if !u.Inert && !slices.Contains(started, u.ID) {
			return false
		}
	}
	return len(started) > 0
}

// putRight ends the transitory status of a row whose operation has failed and could not be undone: the row tells what its
// environment has.
func (us *Units) putRight(tx *inventory.Tx, id model.RowID) error {
	row := tx.DeploymentUnit(id)
	if row == nil || row.Status == model.DUInstalled {
		return nil
	}
	if _, there := us.Envs.Seen(row.Env, row.Key); !there && row.Status == model.DUInstalling {
		return tx.DeleteDeploymentUnit(id)
	}
	return us.installedAgain(tx, id)
}

// installedAgain makes a row Installed that an operation has not changed after all, and shows what its environment says of it.
func (us *Units) installedAgain(tx *inventory.Tx, id model.RowID) error {
	if err := setStatus(tx, id, model.DUInstalled); err != nil {
		return err
	}
	row := tx.DeploymentUnit(id)
	if seen, there := us.Envs.Seen(row.Env, row.Key); there {
		return us.take(tx, row, seen, newUnits{})
	}
	if us.Envs.Synced(row.Env) {
		return us.miss(tx, row)
	}
	return nil
}

// Collect removes packages and application data that no unit and no open operation needs, and files in the spool that no open operation has begun. What is
// needed is read after the store has listed what is there, so that a package that comes in between is not taken for useless.
func (us *Units) Collect(ctx context.Context, engine *operation.Engine) error {
	return errors.Join(us.collectPackages(engine), us.Volumes.RemoveUseless(ctx, func() (map[model.RowID]bool, error) {
		n, err := us.needs(engine)
		return n.volumes, err
	}))
}

func (us *Units) collectPackages(engine *operation.Engine) error {
	keep := func(pick func(needs) map[string]bool) func(string) bool {
		read := sync.OnceValues(func() (needs, error) { return us.needs(engine) })
		return func(name string) bool {
			n, err := read()
			return err != nil || pick(n)[name]
		}
	}
	if _, err := us.needs(engine); err != nil {
		return err
	}
	removed, err := us.Packages.Collect(keep(func(n needs) map[string]bool { return n.packages }))
	if len(removed) > 0 {
		us.Log.Info("packages nobody needs any more were removed", "packages", len(removed))
	}
	return errors.Join(err, us.Packages.CleanSpool(keep(func(n needs) map[string]bool { return n.spool })))
}

// needs is what units and open operations need: digests of packages, keys of files in the spool, and numbers of volumes.
type needs struct {
	packages, spool map[string]bool
	volumes         map[model.RowID]bool
}

func (us *Units) needs(engine *operation.Engine) (needs, error) {
	n := needs{map[string]bool{}, map[string]bool{}, map[model.RowID]bool{}}
	// These first: what gets its pin meanwhile is seen in one place at least.
	us.coming.Range(func(key, digest any) bool {
		n.spool[key.(string)], n.packages[digest.(string)] = true, true
		return true
	})
	err := us.Inventory.View(func(st *store.Tx) error {
		err := store.Privates.Load(st, func(_ model.RowID, p store.Private) error {
			n.packages[p.SHA256] = true
			return nil
		})
		if err != nil {
			return err
		}
		store.Volumes.SetAside(st, func(id model.RowID) { n.volumes[id] = true }) // a record that cannot be read is no reason to lose data
		err = store.Volumes.Load(st, func(id model.RowID, _ model.Volume) error {
			n.volumes[id] = true
			return nil
		})
		if err != nil {
			return err
		}
		if us.Pins != nil {
			others, err := us.Pins(st)
			if err != nil {
				return err
			}
			maps.Copy(n.packages, others)
		}
		open, err := engine.OpenOperations(st)
		for _, o := range open {
			var d download
			if err := json.Unmarshal(o.State, &d); err != nil {
				return fmt.Errorf("cannot read operation %d: %w", o.ID, err)
			}
			for i := range d.all() {
				n.spool[spoolKey(o.Key, i)] = true
			}
			for _, p := range d.Pins {
				n.packages[p] = true
			}
			for _, id := range d.NewVolumes {
				n.volumes[id] = true
			}
		}
		return err
	})
	if err != nil {
		return n, fmt.Errorf("cannot collect packages: %w", err)
	}
	return n, nil
}

func now() time.Time { return time.Now().UTC().Round(0) }

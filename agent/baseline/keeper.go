package baseline

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/deployment"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// Options configure a keeper.
type Options struct {
	Inventory *inventory.Inventory
	Envs      *environment.Manager
	EUs       *execution.Units
	DUs       *deployment.Units
	// Recorded is told of a baseline that is recorded, in the transaction that does it, but not of the same one again; nil: nobody needs to know.
	Recorded func(*inventory.Tx, Kind) error
	Log      *slog.Logger
}

// Keeper keeps the baselines.
type Keeper struct {
	Options
	missing chan struct{} // buffered 1: a baseline may lack packages
}

// New returns a keeper.
func New(o Options) *Keeper { return &Keeper{Options: o, missing: make(chan struct{}, 1)} }

// Record takes the present state of every environment that has been seen as the baseline of a kind. It is durable when Record
// returns. The same token as that of the present baseline changes nothing: it is the same request again.
func (k *Keeper) Record(kind Kind, token string) error {
	if err := kind.check(); err != nil {
		return err
	}
	return k.Inventory.Update(func(tx *inventory.Tx) error {
		again, err := k.known(tx, kind, token)
		if err != nil {
			return err
		}
		for env := range tx.ExecEnvs() {
			if !env.Seen {
				if err := k.await(tx, kind, env, token); err != nil {
					return err
				}
				continue
			}
			if err := k.record(tx, kind, env, token); err != nil {
				return err
			}
		}
		if again || k.Recorded == nil {
			return nil
		}
		return k.Recorded(tx, kind)
	})
}

// known reports whether a baseline of this kind has been recorded with the token.
func (k *Keeper) known(tx *inventory.Tx, kind Kind, token string) (bool, error) {
	if token == "" {
		return false, nil
	}
	st, err := tx.Store()
	if err != nil {
		return false, err
	}
	for env := range tx.ExecEnvs() {
		if r, _, err := records.Get(st, key(kind, env.ID)); err != nil || r.Token == token {
			return err == nil, err
		}
	}
	return false, nil
}

// await keeps the token for the baseline that the first sync of an environment takes: the same token then is the same request again.
func (k *Keeper) await(tx *inventory.Tx, kind Kind, env *model.ExecEnv, token string) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	return records.Put(st, key(kind, env.ID), Record{Env: env.ID, Token: token})
}

// First takes the baselines of an environment that has just been seen for the first time. It runs in the transaction of that sync.
func (k *Keeper) First(tx *inventory.Tx, env *model.ExecEnv) error {
	for _, kind := range []Kind{CWMP, USP} {
		if err := k.record(tx, kind, env, ""); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) record(tx *inventory.Tx, kind Kind, env *model.ExecEnv, token string) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	old, _, err := records.Get(st, key(kind, env.ID))
	switch {
	case err != nil:
		return err
	case old.taken() && token != "" && old.Token == token:
		return nil
	case !old.taken() && token == "":
		token = old.Token // which came before the first sync
	}
	r := Record{
		Env: env.ID, Token: token, Taken: time.Now().UTC().Round(0),
		InitialRunLevel: env.InitialRunLevel, InitialExecutionUnitRunLevel: env.InitialExecutionUnitRunLevel,
	}
	for du := range tx.DeploymentUnits() {
		if du.Env != env.ID || du.Missing || du.Status == model.DUInstalling || k.Envs.System(env.ID, du.Key) {
			continue // what is being installed has not been part of any state yet, and parts of the environment go with its version
		}
		p, _, err := store.Privates.Get(st, du.ID)
		if err != nil {
			return err
		}
		u := unit(tx, du, p.Of(du.Version))
		u.Permanent = k.Envs.Permanent(env.ID, du.Key)
		r.Units = append(r.Units, u)
	}
	tx.AfterCommit(k.look)
	return records.Put(st, key(kind, env.ID), r)
}

func unit(tx *inventory.Tx, du *model.DeploymentUnit, p store.Private) Unit {
	u := Unit{
		Key: du.Key, UUID: du.UUID, Version: du.Version, Name: du.Name, Alias: du.Alias, URL: du.URL,
		Package: File{p.SHA256, p.Size}, Credentials: p.Credentials, ModuleVersion: du.ModuleVersion, Settings: du.Settings,
	}
	for eu := range tx.ExecutionUnitsOf(du.ID) {
		restart := eu.Restart.Settings()
		u.Modules = append(u.Modules, Module{eu.Module, eu.AutoStart, eu.RunLevel, &restart})
	}
	for v := range tx.VolumesOf(du.Env, du.UUID) {
		u.Volumes = append(u.Volumes, model.VolumeRequest{Name: v.Name, Capacity: v.Capacity, Retain: v.Retain, AccessPath: v.AccessPath})
	}
	return u
}

// Forget removes the baselines of environments that are not configured any more, and with them the need for their packages: one that comes back is new, and
// its first sync takes its baselines. It is called once, when the environments are known.
func (k *Keeper) Forget() error {
	return k.Inventory.Update(func(tx *inventory.Tx) error {
		st, err := tx.Store()
		if err != nil {
			return err
		}
		stale := map[string]string{} // the environment of each
		err = records.Load(st, func(name string, r Record) error {
			if tx.ExecEnvByID(r.Env) == nil {
				stale[name] = r.Env
			}
			return nil
		})
		if err != nil {
			return err
		}
		for name := range stale {
			if err := records.Delete(st, name); err != nil {
				return err
			}
		}
		for _, env := range slices.Compact(slices.Sorted(maps.Values(stale))) {
			tx.AfterCommit(func() {
				k.Log.Info("the baselines of an environment that is no longer configured are removed", "env", env)
			})
		}
		return nil
	})
}

// Pins returns the digests of the packages that the baselines need.
func (k *Keeper) Pins(st *store.Tx) (map[string]bool, error) {
	pins := map[string]bool{}
	err := records.Load(st, func(_ string, r Record) error {
		pins[r.Version.SHA256] = true
		for _, u := range r.Units {
			pins[u.Package.SHA256] = true
		}
		return nil
	})
	return pins, err
}

func (k *Keeper) look() {
	select {
	case k.missing <- struct{}{}:
	default:
	}
}

// After a failure the environments are asked again for packages that baselines lack, as they may have been away: after firstPause, which
// doubles up to longestPause.
const (
	firstPause   = time.Minute
	longestPause = time.Hour
)

// Run fetches, in the background, the packages that baselines lack from the environments, until ctx is done.
func (k *Keeper) Run(ctx context.Context) error {
	k.look()
	var retry <-chan time.Time
	pause := firstPause
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-k.missing:
			pause = firstPause
		case <-retry:
		}
		retry = nil
		if err := k.complete(ctx); err != nil && ctx.Err() == nil {
			k.Log.Warn("baselines could not be completed; trying again later", "err", err)
			retry = time.After(pause)
			pause = min(2*pause, longestPause)
		}
	}
}

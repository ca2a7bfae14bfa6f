package deployment

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/packages"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// exportPrefix begins the names of what lies in the directory of exported files.
const exportPrefix = "export-"

// openExports makes the directory in which adapters write files. What is in it was left by an earlier process.
func (us *Units) openExports() (err error) {
	if err := os.MkdirAll(us.Exports, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory of exported files: %w", err)
	}
	left, err := os.ReadDir(us.Exports)
	if err != nil {
		return fmt.Errorf("cannot read the directory of exported files: %w", err)
	}
	for _, e := range left {
		if !strings.HasPrefix(e.Name(), exportPrefix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(us.Exports, e.Name())); err != nil {
			return fmt.Errorf("cannot empty the directory of exported files: %w", err)
		}
	}
	us.exported, err = packages.NewFetcher(us.Packages, packages.FetchOptions{Schemes: []string{"file"}, Idle: time.Minute})
	return err
}

// Package returns a package of the package store as an adapter takes it. Its errors are those of [packages.Store.Get].
func (us *Units) Package(sha256 string, size int64) (adapter.Package, error) {
	p, err := us.Packages.Get(sha256, size)
	return adapter.Package(p), err
}

// Bring lets the adapter of an environment write a file and takes that into the package store. The package is not collected before
// record returns, which gives it a pin. Nothing else is left of a Bring that failed or was cut off.
func (us *Units) Bring(ctx context.Context, env string, write func(context.Context, environment.Adapter, string) error, record func(adapter.Package) error) error {
	dir, err := os.MkdirTemp(us.Exports, exportPrefix)
	if err != nil {
		return fmt.Errorf("cannot make a directory for a package: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			us.Log.Warn("a directory could not be removed", "path", dir, "err", err)
		}
	}()
	path := filepath.Join(dir, "package")
	err = us.Envs.Call(ctx, env, func(ctx context.Context, a environment.Adapter) error { return write(ctx, a, path) })
	if err != nil {
		return environment.Classify(err)
	}
	key := filepath.Base(dir)
	us.coming.Store(key, "")
	defer us.coming.Delete(key)
	got, err := us.exported.Fetch(ctx, packages.Request{Key: key, URL: (&url.URL{Scheme: "file", Path: path}).String()}, nil)
	if err != nil {
		return err
	}
	us.coming.Store(key, got.SHA256)
	p, err := us.Packages.Put(ctx, got)
	if err != nil {
		return err
	}
	return record(adapter.Package(p))
}

// Keep returns the package of a unit's present generation. One that is not in the package store, because somebody else has installed or
// updated the unit, is exported by the adapter and is the unit's stored package from then on. not-supported: the adapter cannot
// export it, for the reason that the error tells. Nothing is changed in the environment. A Keep that was cut off is repeated.
//
// The package stays while it is the unit's. Who needs it for longer gives it a pin in also, which runs in the transaction in which that is so,
// or holds the lock of the unit.
func (us *Units) Keep(ctx context.Context, du *model.DeploymentUnit, also func(*inventory.Tx, adapter.Package) error) (adapter.Package, error) {
	desc, err := us.Envs.Describe(ctx, du.Env)
	if err != nil {
		return adapter.Package{}, err
	}
	was, err := us.kept(du.ID)
	if err != nil {
		return adapter.Package{}, err
	}
	version := us.version(du)
	stored := was.Of(version)
	record := func(p adapter.Package) error {
		return us.Inventory.Update(func(tx *inventory.Tx) error {
			if err := us.keep(tx, du, version, was, p); err != nil || also == nil {
				return err
			}
			return also(tx, p)
		})
	}
	switch p, err := us.Package(stored.SHA256, stored.Size); {
	case err == nil:
		if err := record(p); err != nil {
			return adapter.Package{}, fmt.Errorf("cannot keep the present package of %s %s: %w", du.UUID, version, err)
		}
		return p, nil
	case desc.Has(adapter.CapExport):
	case stored.SHA256 != "":
		return adapter.Package{}, err // it is lost
	default:
		return adapter.Package{}, unknownPackage(du)
	}
	var kept adapter.Package
	err = us.Bring(ctx, du.Env,
		func(ctx context.Context, a environment.Adapter, path string) error {
			return a.Export(ctx, us.ref(du, was), path)
		},
		func(p adapter.Package) error {
			kept = p
			return record(p)
		})
	if err != nil {
		return adapter.Package{}, fmt.Errorf("cannot keep the present package of %s %s: %w", du.UUID, version, err)
	}
	us.Log.Info("the package of a unit was exported", "env", du.Env, "du", du.UUID, "version", version)
	return kept, nil
}

// keep records the package of a unit, unless another generation has come since the unit was looked at.
func (us *Units) keep(tx *inventory.Tx, du *model.DeploymentUnit, version string, was store.Private, p adapter.Package) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	now, _, err := store.Privates.Get(st, du.ID)
	if err != nil {
		return err
	}
	row := tx.DeploymentUnit(du.ID)
	changed := row == nil || us.version(row) != version || now.SHA256 != was.SHA256 || now.Version != was.Version
	if changed || row.Status == model.DUInstalled && row.Version != version {
		return fault.Errorf(fault.InvalidDUState, "it has changed meanwhile")
	}
	now.Version, now.SHA256, now.Size = version, p.SHA256, p.Size
	return private(tx, du.ID, now)
}

// unknownPackage is the error for a unit whose present package neither the agent nor the environment has.
func unknownPackage(du *model.DeploymentUnit) error {
	return fault.Errorf(fault.NotSupported, "cannot go back to the present package of %s: it did not come through this agent, and environment %s gives back no packages",
		du.UUID, du.Env)
}

// version returns the version of a unit's present generation: as its environment says, which may be ahead of the row.
func (us *Units) version(du *model.DeploymentUnit) string {
	if seen, there := us.Envs.Seen(du.Env, du.Key); there {
		return seen.Manifest.Version
	}
	return du.Version
}

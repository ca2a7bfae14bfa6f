package baseline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/packages"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// complete brings the packages that baselines lack into the package store: those of units that were found in their environments, and
// what the environments themselves run from. What an adapter cannot give stays away; a Reset says so.
func (k *Keeper) complete(ctx context.Context) error {
	all, err := k.all()
	if err != nil {
		return err
	}
	var failures []error
	for name, r := range all {
		if err := k.completeOne(ctx, name, r); err != nil {
			failures = append(failures, err)
		}
	}
	if len(all) > 0 && len(failures) == 0 {
		k.Log.Debug("baselines are complete, as far as packages can be had", "baselines", len(all))
	}
	return errors.Join(failures...)
}

func (k *Keeper) all() (map[string]Record, error) {
	all := map[string]Record{}
	err := k.Inventory.View(func(st *store.Tx) error {
		return records.Load(st, func(name string, r Record) error {
			all[name] = r
			return nil
		})
	})
	return all, err
}

func (k *Keeper) completeOne(ctx context.Context, name string, r Record) error {
	if whole(r) {
		return nil
	}
	desc, err := k.Envs.Describe(ctx, r.Env) // of an adapter that is not there yet nothing is known
	if err != nil {
		return fmt.Errorf("cannot complete the baseline of %s: %w", r.Env, err)
	}
	var failures []error
	if r.Version == (File{}) && desc.Has(adapter.CapVersions) {
		f, done, err := k.bring(ctx, r.Env, name, func(ctx context.Context, a environment.Adapter, path string) error {
			return a.SaveVersion(ctx, r.Env, path)
		})
		if err == nil {
			err = k.amend(name, r, func(now *Record) { now.Version = f })
			done()
		}
		failures = append(failures, err)
	}
	for _, u := range r.Units {
		if u.Package != (File{}) || !desc.Has(adapter.CapExport) || !k.unchanged(r.Env, u) {
			continue
		}
		err := k.export(ctx, name, r, u)
		if environment.Away(err) {
			failures = append(failures, err)
		} else if err != nil {
			k.Log.Warn("the package of a unit cannot be had: a Reset cannot restore it", "env", r.Env, "du", u.UUID, "err", err)
		}
	}
	return errors.Join(failures...)
}

// whole reports whether a baseline lacks nothing that an adapter could give.
func whole(r Record) bool {
	return r.Version != (File{}) && !slices.ContainsFunc(r.Units, func(u Unit) bool { return u.Package == (File{}) })
}

// export brings the package of one unit.
func (k *Keeper) export(ctx context.Context, name string, r Record, u Unit) error {
	f, done, err := k.bring(ctx, r.Env, name+"|"+u.Key, func(ctx context.Context, a environment.Adapter, path string) error {
		return a.Export(ctx, adapter.UnitRef{Env: r.Env, Key: u.Key}, path)
	})
	if err != nil {
		return err
	}
	defer done()
	if !k.unchanged(r.Env, u) {
		return nil // what was exported may be another version
	}
	return k.amend(name, r, func(now *Record) {
		for i := range now.Units {
			if now.Units[i].Key == u.Key {
				now.Units[i].Package = f
			}
		}
	})
}

// unchanged reports whether a unit is still as it is in a baseline.
func (k *Keeper) unchanged(env string, u Unit) bool {
	for du := range k.Inventory.Snapshot().DeploymentUnits() {
		if du.Env == env && du.Key == u.Key && du.Version == u.Version && du.Status == model.DUInstalled && !du.Missing {
			return true
		}
	}
	return false
}

// bring lets an adapter write a file and takes it into the package store, where it stays until the baseline has its pin: done is
// called after that.
func (k *Keeper) bring(ctx context.Context, env, name string, write func(context.Context, environment.Adapter, string) error) (f File, done func(), err error) {
	dir, err := os.MkdirTemp(k.Dir, "export-")
	if err != nil {
		return f, nil, fmt.Errorf("cannot make a directory for a package: %w", err)
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			k.Log.Warn("a directory could not be removed", "path", dir, "err", err)
		}
	}()
	path := filepath.Join(dir, "package")
	err = k.Envs.Call(ctx, env, func(ctx context.Context, a environment.Adapter) error { return write(ctx, a, path) })
	if err != nil {
		return f, nil, environment.Classify(err)
	}
	sum := sha256.Sum256([]byte(name))
	req := packages.Request{Key: "baseline-" + hex.EncodeToString(sum[:8]), URL: (&url.URL{Scheme: "file", Path: path}).String()}
	got, err := k.files.Fetch(ctx, req, func(int64, int64) {})
	if err != nil {
		return f, nil, err
	}
	k.coming.Store(got.SHA256, true)
	done = func() { k.coming.Delete(got.SHA256) }
	if _, err := k.Packages.Put(ctx, got); err != nil {
		done()
		return f, nil, err
	}
	return File{got.SHA256, got.Size}, done, nil
}

// amend changes a baseline that is still the one that was looked at.
func (k *Keeper) amend(name string, seen Record, f func(*Record)) error {
	return k.Inventory.Update(func(tx *inventory.Tx) error {
		st, err := tx.Store()
		if err != nil {
			return err
		}
		now, there, err := records.Get(st, name)
		if err != nil || !there || !now.Taken.Equal(seen.Taken) || now.Token != seen.Token {
			return err
		}
		f(&now)
		return records.Put(st, name, now)
	})
}

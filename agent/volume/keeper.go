package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/packages"
	"github.com/smmd-project/smmd/agent/store"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Options are what a keeper needs.
type Options struct {
	Inventory *inventory.Inventory
	Dir       string // of all directories
	Encrypted bool   // Dir is on an encrypted medium
	Reserve   int64  // free space to leave on the file system, bytes
	Log       *slog.Logger
}

// Keeper keeps the volumes of all environments. Its methods may be called concurrently, those for one unit by whoever has the turn in its environment.
type Keeper struct {
	Options
	kick chan struct{} // buffered 1: something may have been written
}

// New returns the keeper of the volumes of an inventory, whose rows tell from then on what the medium is.
func New(o Options) (*Keeper, error) {
	k := &Keeper{Options: o, kick: make(chan struct{}, 1)}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of application data: %w", err)
	}
	return k, o.Inventory.Update(func(tx *inventory.Tx) error {
		for _, v := range slices.Collect(tx.Volumes()) {
			row := *v
			row.Encrypted = o.Encrypted
			if err := tx.PutVolume(&row); err != nil {
				return err
			}
		}
		return nil
	})
}

// dir is the directory of a volume.
func (k *Keeper) dir(v model.Volume) string {
	return filepath.Join(k.Dir, v.Env, strconv.FormatUint(uint64(v.ID), 10))
}

// Told are volumes as an adapter is told of them.
func (k *Keeper) Told(all []model.Volume) []adapter.Volume {
	var out []adapter.Volume
	for _, v := range all {
		out = append(out, adapter.Volume{Source: k.dir(v), Path: v.AccessPath})
	}
	return out
}

// Of returns the volumes of a unit.
func (k *Keeper) Of(env, uuid string) []model.Volume { return of(k.Inventory.Snapshot(), env, uuid) }

// Room wants that there is room for what is new in a plan, and that what is given another capacity does not hold more than that (system-resources-exceeded). Capacity is not
// enforced otherwise: a unit that has stored more than was thought is still updated.
func (k *Keeper) Room(ctx context.Context, c Change) error {
	var needed int64
	for _, v := range c.After {
		if c.sized(v) {
			continue
		}
		size, err := measure(ctx, k.dir(v))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			needed += v.Capacity
		case err != nil:
			return err
		case size > v.Capacity:
			return fault.Errorf(fault.SystemResourcesExceeded, "cannot keep application data %q of %s on %s: it holds %d MiB, more than the %d MiB that are asked for",
				v.Name, v.UUID, v.Env, size, v.Capacity)
		}
	}
	if needed > 0 {
		free, err := packages.Available(k.Dir)
		if err != nil {
			return fmt.Errorf("cannot tell the free space for application data: %w", err)
		}
		if room := max(free-k.Reserve, 0) / mebi; needed > room {
			return fault.Errorf(fault.SystemResourcesExceeded, "cannot make application data of %d MiB: there is room for %d MiB", needed, room)
		}
	}
	return nil
}

// Make makes the directories of what is planned, when there is room. It may be repeated.
func (k *Keeper) Make(ctx context.Context, c Change) error {
	if err := k.Room(ctx, c); err != nil {
		return err
	}
	for _, v := range c.After {
		if err := k.ensure(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// Ensure makes the directories of a unit that are not there, as after a power cut.
func (k *Keeper) Ensure(ctx context.Context, env, uuid string) error {
	for _, v := range k.Of(env, uuid) {
		if err := k.ensure(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) ensure(ctx context.Context, v model.Volume) error {
	dir := k.dir(v)
	if info, err := os.Lstat(dir); err == nil && info.IsDir() {
		return nil
	}
	// The directory above may be collected as one that nothing is in, as long as that is so.
	var err error
	for range patience {
		if err = makeOpen(ctx, dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err == nil {
		err = errors.Join(store.SyncDir(filepath.Dir(dir)), store.SyncDir(k.Dir))
	}
	if err != nil {
		return fmt.Errorf("cannot make application data %q of %s on %s: %w", v.Name, v.UUID, v.Env, err)
	}
	return nil
}

// makeOpen makes a directory that is open to all. It gets its name when it is so, for which the mask of the process does not hold. What its users make of that later is their own.
func makeOpen(ctx context.Context, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	half := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir))
	if err := removeDir(ctx, half); err != nil {
		return err
	}
	if err := os.Mkdir(half, 0o700); err != nil {
		return err
	}
	if err := os.Chmod(half, 0o777); err != nil {
		return err
	}
	return os.Rename(half, dir)
}

// Ready makes the volumes of a unit ready for one of its execution units to start. stopped says that none is at work: what was kept until then goes. Without them it cannot start
// (start-failed). Its caller has the turn.
func (k *Keeper) Ready(ctx context.Context, env, uuid string, stopped func() bool) error {
	for _, v := range k.Of(env, uuid) {
		var err error
		if v.Retain == model.UntilStopped && stopped() {
			err = k.empty(ctx, v)
		}
		if err == nil {
			err = k.ensure(ctx, v)
		}
		if err != nil && ctx.Err() == nil {
			err = fault.As(fault.StartFailed, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// empty removes the content of a volume. The directory itself stays: an environment may know it by more than its name.
func (k *Keeper) empty(ctx context.Context, v model.Volume) error {
	dir, err := openDir(unix.AT_FDCWD, k.dir(v), k.dir(v))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(removeContent(ctx, dir, k.dir(v)), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot remove what application data %q of %s on %s held until it was stopped: %w", v.Name, v.UUID, v.Env, err)
	}
	return nil
}

// RemoveUseless removes every directory that no row and no open operation needs, also one that was only begun, and those of environments that are gone when nothing is left in them. needed
// is asked once, after the directories were listed, so that one that comes in between is not taken for useless.
func (k *Keeper) RemoveUseless(ctx context.Context, needed func() (map[model.RowID]bool, error)) error {
	envs, err := subdirectories(k.Dir)
	if err != nil {
		return err
	}
	listed := map[string]model.RowID{}
	for _, env := range envs {
		volumes, err := subdirectories(filepath.Join(k.Dir, env))
		if err != nil {
			return err
		}
		for _, name := range volumes {
			digits := strings.TrimPrefix(name, ".")
			if n, err := strconv.ParseUint(digits, 10, 32); err == nil && strconv.FormatUint(n, 10) == digits {
				listed[filepath.Join(k.Dir, env, name)] = model.RowID(n)
			}
		}
	}
	var errs []error
	if len(listed) > 0 {
		keep, err := needed()
		if err != nil {
			return err
		}
		for dir, id := range listed {
			if keep[id] {
				continue
			}
			err := removeDir(ctx, dir)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("cannot remove application data: %w", err))
				continue
			}
			k.Log.Info("application data nobody needs any more was removed", "dir", dir)
		}
	}
	s := k.Inventory.Snapshot()
	for _, env := range envs {
		if s.ExecEnvByID(env) != nil || !named(env) {
			continue
		}
		// Only what is empty goes: whoever needs a directory in it makes both again.
		dir := filepath.Join(k.Dir, env)
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("cannot remove application data: %w", &fs.PathError{Op: "remove", Path: dir, Err: err}))
		}
	}
	return errors.Join(errs...)
}

// named reports whether an environment can have that name; lost+found, say, is somebody else's.
func named(env string) bool { return strings.Trim(env, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" }

// subdirectories returns the names of the directories in a directory of the agent. Other files there are somebody else's.
func subdirectories(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list application data: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

const mebi = 1 << 20

// The times of measuring: at least every period, at most every pause, and never for more than a part of the time.
const (
	period = 5 * time.Minute
	pause  = time.Second
	part   = 20
)

// countedLevels is how many levels of directories are measured.
const countedLevels = 64

// MeasureSoon has the volumes measured soon: something may have been written.
func (k *Keeper) MeasureSoon() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// Run measures what the volumes hold, at the start, after each MeasureSoon, and every five minutes, until ctx is done.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		start := time.Now()
		k.measureAll(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(pause, part*time.Since(start))):
		}
		select {
		case <-ctx.Done():
			return nil
		case <-k.kick:
		case <-time.After(period):
		}
	}
}

// measureAll brings Utilization of every row up to date.
func (k *Keeper) measureAll(ctx context.Context) {
	for v := range k.Inventory.Snapshot().Volumes() {
		size, err := measure(ctx, k.dir(*v))
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, fs.ErrNotExist) {
			size, err = 0, nil // it is made when it is used
		}
		if err == nil {
			err = k.measured(v.ID, size)
		}
		if err != nil {
			k.Log.Error("application data could not be measured", "env", v.Env, "du", v.UUID, "name", v.Name, "err", err)
		}
	}
}

func (k *Keeper) measured(id model.RowID, size int64) error {
	if v := k.Inventory.Snapshot().Volume(id); v == nil || v.Utilization == size {
		return nil
	}
	return k.Inventory.Update(func(tx *inventory.Tx) error {
		v := tx.Volume(id)
		if v == nil {
			return nil
		}
		row := *v
		row.Utilization = size
		return tx.PutVolume(&row)
	})
}

// measure returns what a directory holds in MiB, rounded up: the blocks of all that is in it, and of a file with several names the share of each. What goes while it is being measured is
// not counted, nor what is mounted in it, nor what lies below so many levels of directories: whoever makes that must not keep all else from being measured.
func measure(ctx context.Context, path string) (int64, error) {
	dir, err := openDir(unix.AT_FDCWD, path, path)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	top, err := mountOf(dir)
	if err != nil {
		return 0, err
	}
	bytes, err := measureLevel(ctx, dir, top, 1)
	return (bytes + mebi - 1) / mebi, err
}

func measureLevel(ctx context.Context, dir *os.File, top mount, depth int) (int64, error) {
	var bytes int64
	err := eachName(ctx, dir, func(name string) error {
		var st unix.Stat_t
		err := restarted(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
		if changed(err) {
			return nil
		}
		if err != nil {
			return &fs.PathError{Op: "stat", Path: filepath.Join(dir.Name(), name), Err: err}
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			links := max(int64(st.Nlink), 1)
			bytes += (st.Blocks*512 + links - 1) / links
			return nil
		}
		child, err := openDir(int(dir.Fd()), name, filepath.Join(dir.Name(), name))
		if changed(err) {
			return nil
		}
		if err != nil {
			return err
		}
		defer child.Close()
		if m, err := mountOf(child); err != nil || m != top {
			return err
		}
		bytes += st.Blocks * 512
		if depth == countedLevels {
			return nil
		}
		below, err := measureLevel(ctx, child, top, depth+1)
		bytes += below
		return err
	})
	return bytes, err
}

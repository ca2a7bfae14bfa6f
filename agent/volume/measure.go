package volume

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

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
		if ctx.Err() != nil {
			return
		}
		size, err := measure(k.dir(*v))
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

// measure returns what a directory holds in MiB, rounded up: the blocks of all that is in it. What goes while it is being measured is not counted, nor what lies deeper than a path
// can be long: whoever makes that must not keep all else from being measured.
func measure(dir string) (int64, error) {
	var bytes int64
	linked := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if path != dir && uncounted(err) {
				return nil
			}
			return err
		}
		if path == dir {
			return nil
		}
		info, err := d.Info()
		if uncounted(err) {
			return nil
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if st.Nlink > 1 && !info.IsDir() {
			if linked[st.Ino] {
				return nil
			}
			linked[st.Ino] = true
		}
		bytes += st.Blocks * 512
		return nil
	})
	return (bytes + mebi - 1) / mebi, err
}

// uncounted reports whether an error is of a file that is gone or too deep.
func uncounted(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENAMETOOLONG)
}

package support

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A StoredBundle is one as Felix keeps it on disk, in bundle.info of its archive.
type StoredBundle struct {
	ID       int
	Location string
	State    int // persistent, in the numbers of org.osgi.framework.Bundle
	Level    int // start level
}

// AutoStart reports whether the framework starts the bundle, once its start level is reached.
func (b StoredBundle) AutoStart() bool { return b.State == storedStarting || b.State == storedActive }

// The persistent states that are of interest.
const (
	storedUninstalled = 1
	storedStarting    = 8  // to be started with its activation policy
	storedActive      = 32 // to be started
)

// Stored returns the bundles of a Felix environment as they are on disk, in the order of their ids. The framework may run or
// not.
func (d *Device) Stored(env string) []StoredBundle {
	d.t.Helper()
	var all []StoredBundle
	storage := filepath.Join(d.State, "env", env, "storage")
	err := filepath.WalkDir(storage, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Felix has removed it meanwhile
		}
		if err != nil || e.Name() != "bundle.info" {
			return err
		}
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		if len(lines) < 4 {
			d.t.Fatalf("cannot read %s: it has %d lines", path, len(lines))
		}
		b := StoredBundle{Location: lines[1]}
		for i, field := range map[int]*int{0: &b.ID, 2: &b.State, 3: &b.Level} {
			if *field, err = strconv.Atoi(lines[i]); err != nil {
				d.t.Fatalf("cannot read %s: %v", path, err)
			}
		}
		if b.State != storedUninstalled {
			all = append(all, b)
		}
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b StoredBundle) int { return a.ID - b.ID })
	return all
}

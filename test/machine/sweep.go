package machine

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed warden.sh
var wardenScript string

//go:embed boot.sh
var bootScript string

// prefix begins the names of directories and control groups of machines.
const prefix = "smmd-machine-"

// newDir makes the directory of a machine and returns it with its lock, which is held for as long as this file or one that was inherited
// from it is open. Until it is locked it has a name that [sweep] does not look for.
func newDir() (dir string, lock *os.File, err error) {
	unlocked, err := os.MkdirTemp("", "smmd-new-machine-")
	if err != nil {
		return "", nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(unlocked))
		}
	}()
	if err := os.Mkdir(filepath.Join(unlocked, "disk"), 0o755); err != nil {
		return "", nil, err
	}
	lock, err = os.OpenFile(filepath.Join(unlocked, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	dir = filepath.Join(filepath.Dir(unlocked), prefix+strings.TrimPrefix(filepath.Base(unlocked), "smmd-new-machine-"))
	if err := os.Rename(unlocked, dir); err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	return dir, lock, nil
}

// sweep removes what is left of machines whose warden was killed: the lock of their directory is free. Their processes and mounts have
// gone with the warden.
func sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, sweepDir(dir))
	}
	return errors.Join(errs...)
}

func sweepDir(dir string) error {
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else was quicker, or it is being removed
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil // it lives
	}
	if _, err := os.Stat(filepath.Join(dir, "lock")); err != nil {
		return nil // removed by who had the lock before
	}
	out, err := exec.Command("/bin/sh", "-c", wardenScript, "warden.sh", "sweep", filepath.Base(dir), dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot clear away the machine that was %s: %w\n%s", dir, err, out)
	}
	return nil
}

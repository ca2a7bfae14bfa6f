package adapter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// lockRetry is how often a lock that another process holds is tried again.
const lockRetry = 50 * time.Millisecond

// envLocks holds a file lock for each environment, so that two processes never drive one: not the successor of a process that
// takes its time to die, and not the adapters of two agents. The kernel releases them when the process is gone; processes
// started by this one do not inherit them, since every file that Go opens is closed on exec.
type envLocks struct {
	dir  string
	mu   sync.Mutex
	held map[string]*os.File
}

// take takes the lock of an environment, or returns [Unavailable] when ctx is done and another process still has it.
func (l *envLocks) take(ctx context.Context, env string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[env] != nil {
		return nil
	}
	if filepath.Base(env) != env {
		return Errorf(InvalidArgument, "cannot drive environment %q: the name is not fit for a file", env)
	}
	f, err := os.OpenFile(filepath.Join(l.dir, env+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock environment %q: %w", env, err)
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			if l.held == nil {
				l.held = make(map[string]*os.File)
			}
			l.held[env] = f
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close() // nothing was written
			return fmt.Errorf("cannot lock environment %q: %w", env, err)
		}
		select {
		case <-time.After(lockRetry):
		case <-ctx.Done():
			_ = f.Close() // nothing was written
			return Errorf(Unavailable, "cannot drive environment %q: another process does (%s)", env, f.Name())
		}
	}
}

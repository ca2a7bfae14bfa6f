package lxc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// monitor runs lxc-monitor until it ends or ctx is done, and calls changed with the name of each container that it tells of. started is
// called once it runs: it says nothing when it has connected, which takes milliseconds.
func (t tools) monitor(ctx context.Context, started func(), changed func(name string)) error {
	out, in := io.Pipe()
	ended := make(chan error, 1)
	begun := make(chan error, 1)
	go func() {
		// The signal comes when this thread ends, and not only when the process does: so the thread is kept.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd := t.command(ctx, "lxc-monitor", "-n", ".*")
		cmd.Stdout = in
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		begun <- err
		if err == nil {
			err = cmd.Wait()
		}
		_ = in.CloseWithError(io.EOF) // always nil
		ended <- err
	}()
	if err := <-begun; err != nil {
		return fmt.Errorf("cannot run lxc-monitor: %w", err)
	}
	started()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if name, ok := parseMonitor(lines.Text()); ok {
			changed(name)
		}
	}
	_ = out.Close() // always nil
	err := <-ended
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil || errors.As(err, &exit):
		return errors.New("lxc-monitor has ended")
	}
	return fmt.Errorf("cannot run lxc-monitor: %w", err)
}

// parseMonitor returns the name in a line such as 'one.web' changed state to [RUNNING].
func parseMonitor(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "'")
	if !ok {
		return "", false
	}
	for _, news := range []string{"' changed state to [", "' exited with status ["} {
		if i := strings.LastIndex(rest, news); i > 0 {
			return rest[:i], true
		}
	}
	return "", false
}

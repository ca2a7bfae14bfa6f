package bus

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// maxSocketPath is the greatest length of the path of a Unix socket on Linux (unix(7): 108 with the final zero).
const maxSocketPath = 107

// restartDelay is the pause before a private bus that has ended by itself is started again.
const restartDelay = time.Second

// startTimeout is how long a bus may take until it listens.
const startTimeout = 10 * time.Second

// Private runs a message bus of our own in the directory dir, which is made if need be and must be ours alone (mode 0700).
// It returns when the bus listens. The address stays the same for the life of the bus; a bus that ends by itself is started
// again. The bus ends when stop is called, when ctx is done, or when this process ends, in whatever way. stop waits for
// the end and may be called more than once.
func Private(ctx context.Context, dir string) (address string, stop func(), err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", nil, fmt.Errorf("cannot start a private bus: %w", err)
	}
	if err := ownDir(dir); err != nil {
		return "", nil, fmt.Errorf("cannot start a private bus: %w", err)
	}
	socket := filepath.Join(dir, "bus")
	if len(socket) > maxSocketPath {
		return "", nil, fmt.Errorf("cannot start a private bus: the path of its socket %s is longer than %d bytes", socket, maxSocketPath)
	}
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		return "", nil, fmt.Errorf("cannot start a private bus: %w", err)
	}
	address = "unix:path=" + dbus.EscapeBusAddressValue(socket)
	conf := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(conf, configuration(address), 0o600); err != nil {
		return "", nil, fmt.Errorf("cannot start a private bus: %w", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	first := make(chan error, 1)
	var done sync.WaitGroup
	done.Go(func() { keep(ctx, program, conf, first) })
	stop = func() {
		cancel()
		done.Wait()
		os.Remove(socket)
		os.Remove(conf)
	}
	if err := <-first; err != nil {
		stop()
		return "", nil, fmt.Errorf("cannot start a private bus: %w", err)
	}
	return address, stop, nil
}

// ownDir makes dir, or sees to it that nobody else can enter it.
func ownDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != uint32(os.Geteuid()) {
		return fmt.Errorf("%s belongs to user %d", dir, s.Uid)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is open to others (mode %#o instead of 0700)", dir, info.Mode().Perm())
	}
	return nil
}

// configuration returns the configuration of a bus that everybody who reaches its socket may use, which the mode of the
// directory leaves to the user who runs it and to root.
func configuration(address string) []byte {
	var a bytes.Buffer
	if err := xml.EscapeText(&a, []byte(address)); err != nil {
		panic(err) // a bytes.Buffer takes everything
	}
	return []byte(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>` + a.String() + `</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
  <limit name="max_replies_per_connection">50000</limit>
  <limit name="max_message_size">67108864</limit>
  <limit name="max_message_unix_fds">0</limit>
</busconfig>
`)
}

// keep runs the bus until ctx is done. It tells on first how the first start went, and ends when that failed.
func keep(ctx context.Context, program, conf string, first chan<- error) {
	// The kernel sends the death signal when the thread that started the child ends. Locking the goroutine to its thread
	// makes that the end of the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	for started := false; ; {
		err := run(ctx, program, conf, func() {
			if !started {
				started = true
				first <- nil
			}
		})
		if !started {
			first <- err
			return
		}
		if ctx.Err() != nil {
			return
		}
		slog.Error("private bus ended, starting it again", "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(restartDelay):
		}
	}
}

// run runs the bus once, calls listening when it takes connections, and returns when it has ended.
func run(ctx context.Context, program, conf string, listening func()) error {
	ready, tell, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var stderr tail
	cmd := exec.CommandContext(ctx, program, "--config-file="+conf, "--nofork", "--nopidfile", "--nosyslog", "--print-address=3")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stderr = &stderr
	cmd.ExtraFiles = []*os.File{tell}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 3 * time.Second
	err = cmd.Start()
	tell.Close()
	if err != nil {
		return err
	}
	// The address is printed when the socket listens. A bus that ends or hangs before closes the pipe or is given up.
	up := false
	err = ready.SetReadDeadline(time.Now().Add(startTimeout))
	if err == nil {
		_, err = bufio.NewReader(ready).ReadString('\n')
		up = err == nil
	}
	if up {
		listening()
	} else {
		cancel()
	}
	end := cmd.Wait()
	switch {
	case up && end == nil:
		return errors.New("dbus-daemon ended")
	case up:
		return fmt.Errorf("dbus-daemon: %w%s", end, stderr.suffix())
	}
	return fmt.Errorf("dbus-daemon does not listen: %w%s", errors.Join(err, end), stderr.suffix())
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	const limit = 1024
	t.text = append(t.text, p...)
	if len(t.text) > limit {
		t.text = t.text[len(t.text)-limit:]
	}
	return len(p), nil
}

func (t *tail) suffix() string {
	s := strings.TrimSpace(string(t.text))
	if s == "" {
		return ""
	}
	return ": " + s
}

package osgi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	socketName  = "host.sock"
	storageName = "storage"
	logName     = "host.log"
	lockName    = "host.lock" // in the storage: locked by the host as long as it lives
	// maxLog bounds host.log, in bytes; it is looked at before each launch and while the environment is watched. One old part
	// of the same size is kept.
	maxLog = 1 << 20
	// launchMark begins the line that each launch writes to host.log.
	launchMark = "=== launch "
	// tailLines and tailBytes bound what a message shows of host.log.
	tailLines, tailBytes = 5, 1024
	// processPoll is how often a process is looked at that is expected to begin or to end.
	processPoll = 20 * time.Millisecond
)

// host is the process that carries the framework of one environment: a JVM. Unless it is attached it is a process of its own session and outlives
// the adapter. It is found through its socket, and through the process table by its --storage argument, which no other
// process has.
type host struct {
	env string
	dir string // the environment's DataDir
	set settings
	log *slog.Logger

	mu    sync.Mutex
	child *child // the last one that this adapter launched

	marking sync.Mutex // held while the storage is marked
}

// child is a host process that this adapter launched.
type child struct {
	pid   int
	done  chan struct{} // closed when it has ended
	state *os.ProcessState
}

func (h *host) storage() string { return filepath.Join(h.dir, storageName) }

// configured are the files that the configuration names to run from.
func (h *host) configured() []string { return append([]string{h.set.framework}, h.set.classPath...) }

func (h *host) versions() *versionDir {
	return &versionDir{dir: filepath.Join(h.dir, versionName), log: h.log}
}

// socket is the path of the host's socket.
func (h *host) socket() string {
	if h.set.socket != "" {
		return h.set.socket
	}
	return filepath.Join(h.dir, socketName)
}

// dial connects to the host's socket. The name of a Unix socket has at most 107 bytes, a state directory may have more: it is
// reached through a descriptor of its directory.
func (h *host) dial(ctx context.Context) (net.Conn, error) {
	if h.set.attach {
		if err := h.trusted(); err != nil {
			return nil, err
		}
	}
	path := h.socket()
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // nothing was written
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
	var op *net.OpError
	if errors.As(err, &op) { // which names the descriptor
		return nil, fmt.Errorf("cannot connect to %s: %w", path, op.Err)
	}
	return c, err
}

// find returns the id of the host's process, 0 if there is none.
func (h *host) find() (int, error) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, p := range processes {
		if pid, err := strconv.Atoi(p.Name()); err == nil && h.is(pid) {
			return pid, nil
		}
	}
	return 0, nil
}

// is reports whether pid is the host: a process whose arguments name the environment's storage. A zombie has none.
func (h *host) is(pid int) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && bytes.Contains(line, []byte("\x00--storage\x00"+h.storage()+"\x00"))
}

// runsFrom returns the running process and the files that its framework was launched with, as [host.launch] gives them; none when there is
// no process.
func (h *host) runsFrom() (int, []string, error) {
	pid, err := h.find()
	if err != nil || pid == 0 {
		return 0, nil, err
	}
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return 0, nil, nil // it has ended
	}
	return pid, classPathOf(strings.Split(string(line), "\x00")), nil
}

// classPathOf returns the files that [host.arguments] were made of; none when args are none: a zombie has none.
func classPathOf(args []string) []string {
	// The JVM's own options, which are the operator's, may have a -cp too: the last one before the main class, which --socket follows, holds.
	socket := slices.Index(args, "--socket")
	if socket < 3 || args[socket-3] != "-cp" {
		return nil
	}
	return strings.Split(args[socket-2], ":")[1:] // the first is the host's
}

// age returns for how long pid has been running.
func age(pid int) (time.Duration, error) {
	// The directory's time is no measure: it is made when it is looked at. Field 22 of stat is the start in ticks after boot,
	// of which Linux shows 100 a second on every architecture.
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0, fmt.Errorf("cannot read /proc/%d/stat", pid)
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0, err
	}
	up, _, _ := strings.Cut(string(uptime), " ")
	seconds, err := strconv.ParseFloat(up, 64)
	if err != nil {
		return 0, err
	}
	return time.Duration(seconds*float64(time.Second)) - time.Duration(ticks)*(time.Second/100), nil
}

// launch starts the process, with a framework that runs from files and with further options of the host, and returns; it does not
// wait until the host answers.
func (h *host) launch(files, options []string) (*child, error) {
	fail := func(err error) error {
		return adapter.Errorf(adapter.Unstartable, "cannot launch environment %q: %v", h.env, err)
	}
	for _, jar := range files {
		if _, err := os.Stat(jar); err != nil {
			return nil, fail(err) // the JVM would skip it in silence
		}
	}
	class, err := mainClass(h.set.hostJar)
	if err != nil {
		return nil, fail(fmt.Errorf("%s: %w", h.set.hostJar, err))
	}
	if err := os.MkdirAll(h.storage(), 0o700); err != nil {
		return nil, fail(err)
	}
	if err := h.boundLog(); err != nil {
		return nil, fail(err)
	}
	out, err := os.OpenFile(filepath.Join(h.dir, logName), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fail(err)
	}
	defer func() { _ = out.Close() }() // the child has its own
	if _, err := fmt.Fprintf(out, "%s%s\n", launchMark, time.Now().UTC().Format(time.RFC3339)); err != nil {
		return nil, fail(err)
	}

	cmd := exec.Command(h.set.java, append(h.arguments(class, files), options...)...)
	cmd.Dir = h.dir
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a signal to the adapter's group or terminal is not for it
	if err := cmd.Start(); err != nil {
		return nil, fail(err)
	}
	c := &child{pid: cmd.Process.Pid, done: make(chan struct{})}
	go func() { // ends with the JVM; without it an ended one stays as a zombie
		_ = cmd.Wait() // the status says it all
		c.state = cmd.ProcessState
		close(c.done)
	}()
	h.mu.Lock()
	h.child = c
	h.mu.Unlock()
	h.log.Info("host process launched", "pid", c.pid)
	return c, nil
}

func (h *host) arguments(class string, files []string) []string {
	args := slices.Clone(h.set.jvmOptions)
	if h.set.memory > 0 {
		args = append(args, fmt.Sprintf("-Xmx%dk", h.set.memory))
	}
	args = append(args, "-XX:+ExitOnOutOfMemoryError",
		"-cp", strings.Join(append([]string{h.set.hostJar}, files...), ":"), class,
		"--socket", "/proc/self/cwd/"+socketName, // a short name for it, as in dial
		"--storage", h.storage(), "--start-level", "1",
		"--stop-timeout", strconv.FormatInt(h.set.stopTimeout.Milliseconds(), 10))
	keys := make([]string, 0, len(h.set.properties))
	for key := range h.set.properties {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		args = append(args, "--property", key+"="+h.set.properties[key])
	}
	return args
}

// environment is the JVM's: what a Java program may need of ours, and none of what the agent passed to its adapter.
func environment() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TZ", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME", "LD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// signal sends sig to the host's process if there is one. The process is held before it is checked, so that the signal cannot
// go to another one that got its number.
func (h *host) signal(sig syscall.Signal) error {
	pid, err := h.find()
	if err != nil || pid == 0 {
		return err
	}
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }() // only ends our hold of it
	if !h.is(pid) {
		return nil
	}
	if err := p.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// held reports whether a process has the storage locked. One that ends has lost its arguments, by which find knows it, a moment before
// its files are closed: what is launched in between would be turned away.
func (h *host) held() (bool, error) {
	file, err := os.Open(filepath.Join(h.storage(), lockName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // never launched, or attached
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	lock := syscall.Flock_t{Type: syscall.F_WRLCK}
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &lock); err != nil {
		return false, fmt.Errorf("cannot ask who has locked %s: %w", file.Name(), err)
	}
	return lock.Type != syscall.F_UNLCK, nil
}

// gone reports whether no process and no socket of the host is left, and its storage is free for another one.
func (h *host) gone(ctx context.Context) (bool, error) {
	pid, err := h.find()
	if err != nil || pid != 0 {
		return false, err
	}
	if held, err := h.held(); err != nil || held {
		return false, err
	}
	c, err := h.dial(ctx)
	if err == nil {
		_ = c.Close() // nothing was written
		return false, nil
	}
	return ctx.Err() == nil, ctx.Err()
}

// awaitGone waits at most limit until the host is gone; false: it is not.
func (h *host) awaitGone(ctx context.Context, limit time.Duration) (bool, error) {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	poll := time.NewTicker(processPoll)
	defer poll.Stop()
	for {
		if gone, err := h.gone(ctx); gone || err != nil {
			return gone, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-timeout.C:
			return false, nil
		case <-poll.C:
		}
	}
}

// exit tells how the process ended that this adapter launched last; empty if it runs, or if there is none.
func (h *host) exit() string {
	h.mu.Lock()
	c := h.child
	h.mu.Unlock()
	if c == nil {
		return ""
	}
	select {
	case <-c.done:
		return c.describe()
	default:
		return ""
	}
}

// describe tells how the process ended. It may be called when done is closed.
func (c *child) describe() string {
	status, ok := c.state.Sys().(syscall.WaitStatus)
	if ok && status.Signaled() {
		return fmt.Sprintf("process %d was killed by signal %d (%v)", c.pid, int(status.Signal()), status.Signal())
	}
	return fmt.Sprintf("process %d ended with status %d", c.pid, c.state.ExitCode())
}

// boundLog keeps host.log within its bound: its last part becomes host.log.1. The file is emptied in place, because the
// host has it open; it is open for appending, so it goes on at the beginning.
func (h *host) boundLog() error {
	path := filepath.Join(h.dir, logName)
	log, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // nothing is written through it
	info, err := log.Stat()
	if err != nil || info.Size() <= maxLog {
		return err
	}
	old, err := os.OpenFile(path+".1", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(old, io.NewSectionReader(log, info.Size()-maxLog, maxLog))
	if err := errors.Join(err, old.Close()); err != nil {
		return err
	}
	return log.Truncate(0)
}

// tail returns the last lines of host.log, joined, for a message; empty if there are none.
func (h *host) tail() string {
	log, err := os.Open(filepath.Join(h.dir, logName))
	if err != nil {
		return ""
	}
	defer func() { _ = log.Close() }() // nothing was written
	info, err := log.Stat()
	if err != nil {
		return ""
	}
	data, err := io.ReadAll(io.NewSectionReader(log, max(info.Size()-tailBytes, 0), tailBytes))
	if err != nil {
		return ""
	}
	if i := bytes.LastIndex(data, []byte(launchMark)); i >= 0 {
		data = data[i:]
		data = data[bytes.IndexByte(append(data, '\n'), '\n'):] // what was said in an earlier launch explains nothing
	}
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(string(data), "")) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(len(lines)-tailLines, 0):], " | ")
}

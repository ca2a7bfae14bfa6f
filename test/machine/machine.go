// Package machine boots disposable machines for tests: a real systemd as PID 1 with a real system bus, portabled, LXC, a JVM and
// whatever else is installed on the host, in half a second.
//
// The disk of a [Machine] is an overlay over the host's root: it has all that the host has, and what it writes is in memory and its own.
// It stays over [Machine.Reboot] and [Machine.PowerCut], and is gone when the test ends. The machine sees no other process, no other
// control group, and no network but its own loopback interface.
//
// A package whose tests need such a machine around them calls [Main] in its TestMain: then the test binary itself runs in one. Tests that
// look at a machine from outside, reboot it and cut its power call [Boot].
//
// A machine needs root, systemd-nspawn and a kernel with overlayfs; without them a test is skipped, or failed where CI=true says that
// everything has to be there.
//
// Nothing of it is left behind, also when the test is killed: a process of its own, the warden (warden.sh), holds the namespaces that the
// machine lives in, and ends them when the test is gone. Should somebody kill the warden too, so that it cannot remove its
// directory and its control groups, the next machine does.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a machine may take for something that takes it less than a second: hosts of tests are busy.
const patience = 2 * time.Minute

// poll is the pause between two looks.
const poll = 10 * time.Millisecond

// Options say what machine it is.
type Options struct {
	// Loops gives it loop devices, which file system images are mounted by. They are shared with the host, and those whose file is on the
	// machine's disk are detached with it.
	Loops bool
	// Controllers makes cgroup v1 controllers writable, so that limits hold and usage is counted.
	Controllers bool
	// Binds are directories and files of the host that the machine has too.
	Binds []Bind
	// Prepare changes the disk before the machine boots for the first time.
	Prepare func(disk *os.Root) error
	// Beside is called when the disk is prepared and the machine is not booted yet. It may start what belongs to the machine and runs on the
	// host, such as a server of a file system, and returns what the machine has of it.
	Beside func(Beside) ([]Bind, error)
}

// Beside is the host, as what belongs to a machine sees it.
type Beside struct {
	// Dir is an empty directory in memory that is gone with the machine.
	Dir string
	// Command returns a command of the host that ends with the machine at the latest. What it mounts only those commands and the machine see.
	Command func(ctx context.Context, args ...string) *exec.Cmd
}

// A Bind is a file or directory of the host that a machine has at the path Target, or at the same path.
type Bind struct {
	Source, Target string // absolute paths
	ReadOnly       bool
}

// A Machine is one that was booted. Methods that take a test end it when something goes wrong. They are for one goroutine at a
// time, but those that run commands.
type Machine struct {
	name   string
	dir    string // of the host; the disk is mounted below it in the warden's namespace only
	opts   Options
	warden *exec.Cmd
	hold   io.Closer // the warden's standard input

	mu  sync.Mutex
	run *run // the last one, nil before the first
}

// A run is the time between power on and power off.
type run struct {
	cmd    *exec.Cmd
	done   chan struct{} // closed when the machine is off
	leader *os.Process   // its PID 1
}

// Boot boots a machine that is there until the test ends. When the test fails, the journal is in its log.
func Boot(t testing.TB, o Options) *Machine {
	t.Helper()
	Require(t)
	m, err := build(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the journal of the machine:\n%s", tail(m.Journal()))
		}
		if err := m.close(); err != nil {
			t.Error(err)
		}
	})
	m.Start(t)
	return m
}

// build makes a machine that is switched off.
func build(o Options) (_ *Machine, err error) {
	if err := sweep(); err != nil {
		return nil, err
	}
	dir, lock, err := newDir()
	if err != nil {
		return nil, err
	}
	m := &Machine{name: filepath.Base(dir), dir: dir, opts: o}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	m.warden = exec.Command("/bin/sh", "-c", wardenScript, "warden.sh", "hold", m.name, dir)
	m.warden.Stderr = &bytes.Buffer{}
	m.warden.ExtraFiles = []*os.File{lock}
	// A session of its own: what a terminal sends to the test is not for it.
	m.warden.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setsid: true}
	if m.hold, err = m.warden.StdinPipe(); err != nil {
		return m, err
	}
	said, err := m.warden.StdoutPipe()
	if err != nil {
		return m, err
	}
	err = m.warden.Start()
	_ = lock.Close() // the warden has it now
	if err != nil {
		m.warden = nil
		return m, fmt.Errorf("cannot start the warden of a machine: %w", err)
	}
	if _, err := io.ReadFull(said, make([]byte, len("ready\n"))); err != nil {
		return m, fmt.Errorf("cannot set up a machine: %w", err)
	}
	disk, err := m.Disk()
	if err != nil {
		return m, err
	}
	defer disk.Close()
	if err := prepare(disk, o); err != nil {
		return m, fmt.Errorf("cannot prepare the disk of a machine: %w", err)
	}
	if o.Prepare != nil {
		if err := o.Prepare(disk); err != nil {
			return m, err
		}
	}
	if o.Beside != nil {
		binds, err := o.Beside(Beside{Dir: filepath.Join(m.dir, "disk/beside"), Command: m.beside})
		if err != nil {
			return m, err
		}
		m.opts.Binds = append(slices.Clone(o.Binds), binds...)
	}
	return m, nil
}

// Start switches the machine on and waits until it has booted. Units that failed are in the log of the test.
func (m *Machine) Start(t testing.TB) {
	t.Helper()
	state, err := m.start()
	if err != nil {
		t.Fatal(err)
	}
	if state != "running" {
		t.Logf("the machine is %s:\n%s", state, m.Run(t, "systemctl", "--no-pager", "--plain", "--no-legend", "--failed"))
	}
}

func (m *Machine) start() (state string, err error) {
	console, err := os.OpenFile(filepath.Join(m.dir, "console"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	defer console.Close() // the machine has it
	args := []string{"/bin/sh", "-c", bootScript, "boot.sh", m.name, m.root(), strconv.FormatBool(m.opts.Controllers)}
	for _, b := range m.opts.Binds {
		option, target := "--bind=", b.Target
		if b.ReadOnly {
			option = "--bind-ro="
		}
		if target == "" {
			target = b.Source
		}
		args = append(args, option+escape(b.Source)+":"+escape(target))
	}
	r := &run{cmd: m.beside(context.Background(), args...), done: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = console, console
	if err := r.cmd.Start(); err != nil {
		return "", fmt.Errorf("cannot boot a machine: %w", err)
	}
	go func() {
		_ = r.cmd.Wait() // the state says it all
		close(r.done)
	}()
	m.mu.Lock()
	m.run = r
	m.mu.Unlock()
	if err := r.within(func() (err error) {
		r.leader, err = r.findLeader()
		return err
	}); err != nil {
		return "", fmt.Errorf("cannot boot a machine: %w\n%s", err, tail(m.Console()))
	}
	err = r.within(func() (err error) {
		up := false
		if state, up = m.up(); up {
			return nil
		}
		return fmt.Errorf("it is %q", state)
	})
	if err != nil {
		return "", fmt.Errorf("cannot boot a machine: %w\n%s", err, tail(m.Console()))
	}
	return state, nil
}

// up returns what systemd says of the state of the machine, once it has booted, and whether that means that it can be used.
func (m *Machine) up() (state string, ok bool) {
	out, _ := m.Command(context.Background(), "systemctl", "is-system-running", "--wait").Output() // it fails for all but running
	state = strings.TrimSpace(string(out))
	return state, state == "running" || state == "degraded"
}

// escape writes a path as systemd-nspawn's options take it.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(path)
}

// within calls check until it returns nil, the machine ends, or [patience] is over.
func (r *run) within(check func() error) error {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-r.done:
			return fmt.Errorf("the machine has ended: %v (%w)", r.cmd.ProcessState, err)
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

// findLeader returns PID 1 of the machine: the child of systemd-nspawn that has become systemd. systemd-nspawn is the child of nsenter.
func (r *run) findLeader() (*os.Process, error) {
	for _, nspawn := range children(r.cmd.Process.Pid) {
		for _, pid := range children(nspawn) {
			if comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil && string(comm) == "systemd\n" {
				return os.FindProcess(pid) // by a handle: the number may be another's later
			}
		}
	}
	return nil, errors.New("it has no PID 1 yet")
}

// children returns the children of a process, none when it is gone.
func children(pid int) (all []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is right
	for _, path := range lists {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone
		}
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// now returns the present run of the machine, nil while it is off.
func (m *Machine) now() *run {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.run != nil {
		select {
		case <-m.run.done:
			return nil
		default:
		}
	}
	return m.run
}

// must returns the present run of the machine, which has to be on.
func (m *Machine) must(t testing.TB) *run {
	t.Helper()
	r := m.now()
	if r == nil {
		t.Fatal("the machine is off")
	}
	return r
}

// Reboot reboots the machine in good order, on the same disk, and waits until it has booted.
func (m *Machine) Reboot(t testing.TB) {
	t.Helper()
	// systemd-nspawn tells a reboot by this status, for whoever has started it to do so again.
	m.leave(t, "reboot", 133)
	m.Start(t)
}

// PowerOff switches the machine off in good order. [Machine.Start] switches it on again.
func (m *Machine) PowerOff(t testing.TB) {
	t.Helper()
	m.leave(t, "poweroff", 0)
}

// leave makes systemd end the machine with a status.
func (m *Machine) leave(t testing.TB, verb string, status int) {
	t.Helper()
	r := m.must(t)
	_ = m.Command(t.Context(), "systemctl", verb).Run() // it may be ended with the machine
	if err := r.wait(); err != nil {
		t.Fatalf("systemctl %s: %v", verb, err)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != status {
		t.Fatalf("the machine ended by systemctl %s with %d instead of %d", verb, got, status)
	}
}

// PowerCut ends everything in the machine at once and without warning. What was written to its disk is there afterwards, synced or
// not: see package [github.com/smmd-project/smmd/test/forgetful] for one that forgets. [Machine.Start] switches it on again.
func (m *Machine) PowerCut(t testing.TB) {
	t.Helper()
	if err := m.must(t).cut(); err != nil {
		t.Fatal(err)
	}
}

// cut kills PID 1, with which the kernel ends the rest of its namespace. systemd-nspawn, which would leave it running if it were killed
// itself, then ends alone.
func (r *run) cut() error {
	if r.leader == nil {
		_ = r.cmd.Process.Kill() // it did not get so far; the warden ends what is left of it
	} else if err := r.leader.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("cannot cut the power of a machine: %w", err)
	}
	return r.wait()
}

// wait waits until the machine is off.
func (r *run) wait() error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-r.done:
		return nil
	case <-limit.C:
		return errors.New("the machine does not end")
	}
}

// close ends the machine and all that belongs to it.
func (m *Machine) close() error {
	var errs []error
	if r := m.now(); r != nil {
		errs = append(errs, r.cut())
	}
	if m.warden == nil {
		return errors.Join(append(errs, os.RemoveAll(m.dir))...)
	}
	_ = m.hold.Close() // the warden may have ended
	if err := m.warden.Wait(); err != nil {
		errs = append(errs, fmt.Errorf("the warden of the machine failed: %w\n%s", err, m.warden.Stderr), sweepDir(m.dir))
	}
	return errors.Join(errs...)
}

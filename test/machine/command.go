package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// environment is that of commands in a machine.
var environment = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}

// Command returns a command that runs in the machine as root, with its own small environment, outside every unit. Input, output and exit
// status pass through. When the context is done it is killed. The machine must be on, and stay on.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	r := m.now()
	if r == nil {
		return &exec.Cmd{Path: args[0], Args: args, Err: errors.New("the machine is off")}
	}
	return m.command(ctx, r, args...)
}

func (m *Machine) command(ctx context.Context, r *run, args ...string) *exec.Cmd {
	cmd := enter(ctx, append([]string{"-t", strconv.Itoa(r.leader.Pid), "-a", "--"}, args...)...)
	cmd.Env = environment
	return cmd
}

// beside returns a command of the host that sees the disk of the machine, switched off or on, and ends with it at the latest.
func (m *Machine) beside(ctx context.Context, args ...string) *exec.Cmd {
	return enter(ctx, append([]string{"-t", strconv.Itoa(m.warden.Process.Pid), "-m", "-p", "--"}, args...)...)
}

// enter returns a command of nsenter, which has the command proper as its child.
func enter(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", args...)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// Try runs a command in the machine to its end and returns its standard output. An error has the standard error in it.
func (m *Machine) Try(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return output(m.Command(ctx, args...), args)
}

// Run runs a command in the machine to its end, which has to be a good one, and returns its standard output.
func (m *Machine) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := m.Try(context.WithoutCancel(t.Context()), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// RunUnit runs a command as a service of the machine's systemd, in a control group of its own. Otherwise it is as [Machine.Run].
// Properties are those of the unit, such as User=nobody.
func (m *Machine) RunUnit(t testing.TB, properties []string, args ...string) string {
	t.Helper()
	full := []string{"systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--service-type=exec"}
	for _, p := range properties {
		full = append(full, "--property="+p)
	}
	return m.Run(t, append(append(full, "--"), literal(args)...)...)
}

// literal writes arguments such that systemd-run does not take them for names of variables.
func literal(args []string) []string {
	all := make([]string, len(args))
	for i, arg := range args {
		all[i] = strings.ReplaceAll(arg, "$", "$$")
	}
	return all
}

func output(cmd *exec.Cmd, args []string) (string, error) {
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s%s", strings.Join(args, " "), err, out, complaint.Bytes())
	}
	return string(out), err
}

// Bus returns the address of the machine's system bus, as seen from outside. It is another one after each start of the machine.
func (m *Machine) Bus() string {
	return "unix:path=" + filepath.Join(m.Root(), "run/dbus/system_bus_socket")
}

// Leader returns the process id of the machine's PID 1, as seen from outside; 0 while it is off.
func (m *Machine) Leader() int {
	if r := m.now(); r != nil && r.leader != nil {
		return r.leader.Pid
	}
	return 0
}

// Root returns the root directory of the machine, as seen from outside: with all that it has mounted while it is on, and only its disk
// while it is off. An absolute symbolic link in it leads into the host; [Machine.ReadFile] and [Machine.WriteFile] follow none.
func (m *Machine) Root() string {
	if pid := m.Leader(); pid != 0 {
		return fmt.Sprintf("/proc/%d/root", pid)
	}
	return fmt.Sprintf("/proc/%d/root%s", m.warden.Process.Pid, m.root())
}

// root returns the directory of the disk in the warden's namespace.
func (m *Machine) root() string { return filepath.Join(m.dir, "disk/root") }

// Disk returns the disk of the machine, without what it has mounted. Nothing outside the disk is reached through it.
func (m *Machine) Disk() (*os.Root, error) {
	return os.OpenRoot(fmt.Sprintf("/proc/%d/root%s", m.warden.Process.Pid, m.root()))
}

// within calls f with the root directory of the machine.
func (m *Machine) within(t testing.TB, f func(root *os.Root) error) {
	t.Helper()
	root, err := os.OpenRoot(m.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := f(root); err != nil {
		t.Fatal(err)
	}
}

// ReadFile returns the content of a file of the machine.
func (m *Machine) ReadFile(t testing.TB, path string) (content []byte) {
	t.Helper()
	m.within(t, func(root *os.Root) (err error) {
		content, err = root.ReadFile(strings.TrimPrefix(path, "/"))
		return err
	})
	return content
}

// WriteFile writes a file of the machine, in place of whatever was there, with the directories above it.
func (m *Machine) WriteFile(t testing.TB, path string, content []byte, mode fs.FileMode) {
	t.Helper()
	m.within(t, func(root *os.Root) error { return put(root, path, content, mode) })
}

// CopyIn copies a file of the host into the machine, with its mode.
func (m *Machine) CopyIn(t testing.TB, source, path string) {
	t.Helper()
	content, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(source)
	if err != nil {
		t.Fatal(err)
	}
	m.WriteFile(t, path, content, info.Mode().Perm())
}

// Journal returns what is in the journal of the machine, over all its boots, or why it cannot be read.
func (m *Machine) Journal() string {
	if m.now() != nil {
		_, _ = m.Try(context.Background(), "journalctl", "--sync") // a machine that is about to end has what it has
	}
	args := []string{"journalctl", "--no-pager", "--quiet", "--output=short-monotonic", "--directory"}
	out, err := output(m.beside(context.Background(), append(args, filepath.Join(m.root(), journalDir))...), args)
	if err != nil {
		return err.Error()
	}
	return out
}

// Console returns what the machine has written to its console, over all its boots.
func (m *Machine) Console() string {
	text, err := os.ReadFile(filepath.Join(m.dir, "console"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// maxTail is how much of a log a failed test shows, in bytes.
const maxTail = 64 << 10

func tail(text string) string { return text[max(0, len(text)-maxTail):] }

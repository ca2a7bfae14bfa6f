package machine

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// killedVariable makes this test binary boot a machine, say so, and wait to be killed.
const killedVariable = "SMMD_TEST_MACHINE_HOLD"

func TestMain(m *testing.M) {
	if os.Getenv(mainVariable) != "" {
		Main(m)
	}
	goleak.VerifyTestMain(m)
}

// TestLife: what is written stays over a reboot, a power cut and a time of being off, what is in memory does not, and the machine
// remains who it is.
func TestLife(t *testing.T) {
	t.Parallel()
	m := Boot(t, Options{Prepare: func(disk *os.Root) error { return disk.WriteFile("etc/prepared", []byte("before\n"), 0o600) }})
	if got := m.Run(t, "cat", "/proc/1/comm", "/etc/prepared"); got != "systemd\nbefore\n" {
		t.Errorf("the machine says %q", got)
	}
	identity := m.Run(t, "cat", "/etc/machine-id")
	boots := map[string]bool{}
	for i, again := range []func(testing.TB){
		m.Reboot,
		func(t testing.TB) { m.PowerCut(t); m.Start(t) },
		func(t testing.TB) { m.PowerOff(t); m.Start(t) },
	} {
		disk, memory := fmt.Sprintf("/var/lib/file-%d", i), fmt.Sprintf("/run/file-%d", i)
		m.Run(t, "sh", "-c", "echo content >"+disk+" && echo content >"+memory)
		boots[m.Run(t, "cat", "/run/systemd/../../proc/1/stat")] = true
		again(t)
		if got := string(m.ReadFile(t, disk)); got != "content\n" {
			t.Errorf("%s holds %q after the next start", disk, got)
		}
		if out, err := m.Try(t.Context(), "cat", memory); err == nil {
			t.Errorf("%s still holds %q", memory, out)
		}
		if got := m.Run(t, "cat", "/etc/machine-id"); got != identity {
			t.Errorf("the machine is %q, was %q", got, identity)
		}
	}
	if len(boots) != 3 {
		t.Errorf("it was booted %d times", len(boots))
	}
	if n := strings.Count(m.Journal(), "Reached target multi-user.target"); n < 4 {
		t.Errorf("the journal knows of %d boots, wanted 4:\n%s", n, m.Journal())
	}
}

// TestCommands: status, output, input and the unit of what runs in a machine, and its files.
func TestCommands(t *testing.T) {
	t.Parallel()
	m := Boot(t, Options{})
	var exit *exec.ExitError
	if out, err := m.Try(t.Context(), "sh", "-c", "echo out; echo complaint >&2; exit 7"); !errors.As(err, &exit) || exit.ExitCode() != 7 ||
		out != "out\n" || !strings.Contains(err.Error(), "complaint") {
		t.Errorf("a command that fails: %q, %v", out, err)
	}
	cmd := m.Command(t.Context(), "cat")
	cmd.Stdin = strings.NewReader("through")
	if out, err := cmd.Output(); err != nil || string(out) != "through" {
		t.Errorf("cat says %q, %v", out, err)
	}
	if got := m.RunUnit(t, []string{"User=nobody", "Slice=mine.slice"}, "sh", "-c", "id -un; grep name=systemd: /proc/self/cgroup || cat /proc/self/cgroup"); !strings.HasPrefix(got, "nobody\n") || !strings.Contains(got, "/mine.slice/run-u") {
		t.Errorf("a unit says %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd = m.Command(ctx, "sleep", "12345")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	until(t, "it sleeps", func() error { _, err := m.Try(t.Context(), "pgrep", "-f", "^sleep 12345"); return err })
	cancel()
	_ = cmd.Wait()
	until(t, "the command is gone with its context", func() error {
		if out, err := m.Try(t.Context(), "pgrep", "-f", "^sleep 12345"); err == nil {
			return errors.New(out)
		}
		return nil
	})
	source := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(source, []byte("#!/bin/sh\necho ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	m.CopyIn(t, source, "/opt/deep/er/script")
	m.WriteFile(t, "/opt/deep/er/data", []byte("data"), 0o640)
	if got := m.Run(t, "sh", "-c", "/opt/deep/er/script; stat -c %a /opt/deep/er/data; cat /opt/deep/er/data"); got != "ran\n640\ndata" {
		t.Errorf("the files say %q", got)
	}
	if got := m.Run(t, "busctl", "get-property", "org.freedesktop.portable1", "/org/freedesktop/portable1", "org.freedesktop.portable1.Manager", "Profiles"); !strings.Contains(got, "strict") {
		t.Errorf("portabled says %q", got)
	}
	out, err := exec.Command("busctl", "--address="+m.Bus(), "get-property", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "Virtualization").Output()
	if err != nil || !strings.Contains(string(out), "systemd-nspawn") {
		t.Errorf("the bus says from outside: %q, %v", out, err)
	}
}

// TestEscape: what a machine writes cannot reach the host, whatever links there are.
func TestEscape(t *testing.T) {
	t.Parallel()
	m := Boot(t, Options{})
	outside := filepath.Join(t.TempDir(), "outside")
	m.Run(t, "ln", "-s", filepath.Dir(outside), "/opt/link")
	root, err := os.OpenRoot(m.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := put(root, "/opt/link/outside", nil, 0o600); err == nil {
		t.Error("a link of the machine was followed")
	}
	if _, err := os.Stat(outside); err == nil {
		t.Error("it led to the host")
	}
}

// TestTwo: machines that run at once do not see each other.
func TestTwo(t *testing.T) {
	t.Parallel()
	one, two := Boot(t, Options{}), Boot(t, Options{})
	one.WriteFile(t, "/etc/systemd/system/only-here.service", []byte("[Service]\nExecStart=/bin/sleep infinity\n"), 0o644)
	one.Run(t, "systemctl", "start", "only-here.service")
	one.Run(t, "systemctl", "is-active", "only-here.service")
	if out, err := two.Try(t.Context(), "systemctl", "status", "only-here.service"); err == nil {
		t.Errorf("the other machine knows %s", out)
	}
	if out := two.Run(t, "sh", "-c", "find /sys/fs/cgroup/ -name 'only-he[r]e*'; ps ax"); strings.Contains(out, "only-here") || strings.Contains(out, "sleep infinity") {
		t.Errorf("the other machine sees %s", out)
	}
	if a, b := one.Run(t, "cat", "/etc/machine-id"), two.Run(t, "cat", "/etc/machine-id"); a == b {
		t.Errorf("both are %s", a)
	}
	one.PowerCut(t)
	two.Run(t, "systemctl", "is-system-running")
}

// TestAbilities: an image is mounted by a loop device, and a limit holds.
func TestAbilities(t *testing.T) {
	t.Parallel()
	m := Boot(t, Options{Loops: true, Controllers: true})
	m.Run(t, "sh", "-c", "mkdir /opt/tree /opt/mnt && echo in the image >/opt/tree/file && mksquashfs /opt/tree /opt/image.raw -quiet -no-progress && mount -o loop,ro /opt/image.raw /opt/mnt")
	if got := string(m.ReadFile(t, "/opt/mnt/file")); got != "in the image\n" {
		t.Errorf("the image holds %q", got)
	}
	const script = `echo $$; grep -h '' $(
		g=$(sed -n 's/^[0-9]*:memory://p' /proc/self/cgroup); [ -n "$g" ] && echo /sys/fs/cgroup/memory$g/memory.limit_in_bytes ||
		echo /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)/memory.max)`
	if got := m.RunUnit(t, []string{"MemoryMax=64M", "TasksMax=50"}, "sh", "-c", script); !strings.HasSuffix(got, "\n67108864\n") {
		t.Errorf("the limit is %q", got)
	}
}

// TestBinds: a directory of the host is in the machine.
func TestBinds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := Boot(t, Options{Binds: []Bind{{Source: dir, Target: "/opt/a:b"}, {Source: dir, ReadOnly: true}}})
	m.Run(t, "sh", "-c", "echo written >/opt/a:b/file")
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(got) != "written\n" {
		t.Errorf("the file holds %q, %v", got, err)
	}
	if _, err := m.Try(t.Context(), "touch", filepath.Join(dir, "other")); err == nil {
		t.Error("it can be written through the read-only one")
	}
}

// TestBroken: a machine that does not boot says why.
func TestBroken(t *testing.T) {
	t.Parallel()
	Require(t)
	m, err := build(Options{Binds: []Bind{{Source: "/no/such/directory"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.start(); err == nil || !strings.Contains(err.Error(), "/no/such/directory") {
		t.Errorf("it says %v", err)
	}
	if err := m.close(); err != nil {
		t.Error(err)
	}
	if _, err := build(Options{Prepare: func(*os.Root) error { return errors.New("not this time") }}); err == nil || err.Error() != "not this time" {
		t.Errorf("a machine that cannot be prepared: %v", err)
	}
}

// TestNoWarden: a machine that cannot be set up says why and leaves nothing.
func TestNoWarden(t *testing.T) {
	Require(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mount"), []byte("#!/bin/sh\necho no mounts today >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := build(Options{}); err == nil || !strings.Contains(err.Error(), "no mounts today") {
		t.Errorf("it says %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}

// TestKilled: a machine whose test is killed goes away, and what remains when its warden is killed as well goes with the next.
func TestKilled(t *testing.T) {
	Require(t)
	if os.Getenv(killedVariable) != "" {
		m := Boot(t, Options{Loops: true})
		if os.Getenv(killedVariable) == "loop" {
			m.Run(t, "sh", "-c", "truncate -s 1M $0 && losetup --find $0", "/opt/"+m.name)
		}
		fmt.Println("MACHINE", m.name, m.dir, m.warden.Process.Pid, m.Leader())
		select {}
	}
	for _, c := range []struct {
		name, variable string
		warden         bool
	}{{"the test", "loop", false}, {"the test and the warden", "no loop", true}} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
			cmd.Env = append(os.Environ(), killedVariable+"="+c.variable)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			var name, dir string
			var warden, leader int
			for s := bufio.NewScanner(out); leader == 0 && s.Scan(); {
				fmt.Sscanf(s.Text(), "MACHINE %s %s %d %d", &name, &dir, &warden, &leader)
			}
			if leader == 0 {
				t.Fatal("it does not boot")
			}
			if c.warden {
				p, err := os.FindProcess(warden)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Kill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			until(t, "its processes are gone", func() error {
				for _, pid := range []int{warden, leader} {
					if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(text) > 0 {
						return fmt.Errorf("process %d is %q", pid, text)
					}
				}
				return nil
			})
			if c.warden {
				if err := sweep(); err != nil { // as the next machine does
					t.Fatal(err)
				}
			}
			if left := leftovers(t, name, dir); len(left) > 0 {
				t.Errorf("it left %q", left)
			}
		})
	}
}

// TestNothingLeft: a machine that was used leaves nothing.
func TestNothingLeft(t *testing.T) {
	Require(t)
	var name, dir string
	var pids []string
	t.Run("life", func(t *testing.T) {
		m := Boot(t, Options{Loops: true, Controllers: true})
		name, dir = m.name, m.dir
		m.Run(t, "sh", "-c", "truncate -s 1M $0 && losetup --find $0", "/opt/"+m.name)
		m.Run(t, "systemd-run", "--quiet", "--property=MemoryMax=50M", "sleep", "infinity")
		sleep := m.Command(t.Context(), "sleep", "23456")
		if err := sleep.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sleep.Wait() }) // ended with the test
		for _, h := range []string{"systemd", ""} {
			text, _ := os.ReadFile(filepath.Join("/sys/fs/cgroup", h, name, "cgroup.procs"))
			pids = append(pids, strings.Fields(string(text))...)
		}
		if found := leftovers(t, name, dir); len(found) < 3 {
			t.Errorf("while it runs there is only %q: this test would not see what it leaves", found)
		}
	})
	if left := leftovers(t, name, dir); len(left) > 0 {
		t.Errorf("it left %q", left)
	}
	for _, pid := range pids {
		if text, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && strings.Contains(string(text), name) {
			t.Errorf("process %s is left: %q", pid, text)
		}
	}
}

// leftovers returns what there is of a machine: files, mounts of any process, control groups, loop devices, processes.
func leftovers(t *testing.T, name, dir string) (found []string) {
	t.Helper()
	if _, err := os.Lstat(dir); err == nil {
		found = append(found, dir)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/" + name, "/sys/fs/cgroup/" + name, "/run/systemd/nspawn/*/" + name} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, paths...)
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		mounts, _ := os.ReadFile(filepath.Join("/proc", p.Name(), "mountinfo")) // it may be gone
		if bytes.Contains(mounts, []byte(dir+"/")) {
			found = append(found, "mounts of process "+p.Name())
		}
		args, _ := os.ReadFile(filepath.Join("/proc", p.Name(), "cmdline"))
		if pid != os.Getpid() && bytes.Contains(args, []byte(name)) {
			found = append(found, "process "+p.Name())
		}
	}
	loops, err := exec.Command("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(loops), "\n") {
		if strings.Contains(line, name) {
			found = append(found, "loop device "+line)
		}
	}
	return found
}

// until waits until check returns nil.
func until(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("waited in vain until %s: %v", what, err)
		case <-tick.C:
		}
	}
}

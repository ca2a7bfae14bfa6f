package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestCalls(t *testing.T) {
	for _, mtls := range []bool{true, false} {
		t.Run(fmt.Sprintf("mTLS %v", mtls), func(t *testing.T) {
			s, w, _ := run(t, "good", func(o *Options) { o.AutoMTLS = mtls })
			ctx := testContext(t)
			d, err := s.Describe(ctx) // waits for the process
			if err != nil || d.Kind != "test" {
				t.Fatalf("Describe: %v, %v", d, err)
			}
			w.expect(fresh...)
			if i := s.Info(); i.State != StateRunning || i.PID == 0 || i.Version != "1.0" || i.Restarts != 0 ||
				!cmp.Equal(i.Capabilities, []string{"run-levels"}) {
				t.Errorf("Info: %+v", i)
			}
			ref := adapter.UnitRef{Env: "e1", Key: "k"}
			if m, err := s.Inspect(ctx, "e1", adapter.Package{}); err != nil || m.Name != "inspected" {
				t.Errorf("Inspect: %v, %v", m, err)
			}
			if u, err := s.Install(ctx, "o", adapter.InstallSpec{Env: "e1", Key: "new"}); err != nil || u.Key != "new" {
				t.Errorf("Install: %v, %v", u, err)
			}
			if u, err := s.Update(ctx, "o", ref, adapter.Package{}, adapter.Package{}); err != nil || u.Key != "updated" {
				t.Errorf("Update: %v, %v", u, err)
			}
			if u, err := s.Revert(ctx, "o", ref, adapter.Package{}); err != nil || u.Key != "reverted" {
				t.Errorf("Revert: %v, %v", u, err)
			}
			if r, err := s.Uninstall(ctx, "o", ref); err != nil || !r.Pending {
				t.Errorf("Uninstall: %v, %v", r, err)
			}
			for want, err := range map[adapter.Reason]error{
				adapter.NotFound:     s.Discard(ctx, "o", ref),
				adapter.StopFailed:   s.Stop(ctx, "o", module("m")),
				adapter.Unavailable:  s.SetEnabled(ctx, "o", "e1", true, nil),
				adapter.StillRunning: s.SetRunLevel(ctx, "o", "e1", 1),
				adapter.NotSupported: s.SetAutoStart(ctx, "o", module("m"), true),
				"":                   s.SetInitialModuleRunLevel(ctx, "o", "e1", 1),
			} {
				if adapter.ReasonOf(err) != want {
					t.Errorf("got %v, want %s", err, want)
				}
			}
			if err := errors.Join(s.SetModuleRunLevel(ctx, "o", module("m"), 1), s.Start(ctx, "o", module("m"), adapter.StartOptions{})); err != nil {
				t.Error(err)
			}
			_, watch := s.Watch(ctx)
			for _, err := range []error{watch, s.Configure(ctx, nil)} {
				if adapter.ReasonOf(err) != adapter.NotSupported {
					t.Errorf("got %v", err)
				}
			}
			if n := s.Info().Restarts; n != 0 {
				t.Errorf("%d restarts", n)
			}
		})
	}
}

func TestCrashInCallIsRepeated(t *testing.T) {
	s, w, _ := run(t, "good", nil)
	if err := s.Start(testContext(t), "op7", module("crash-once"), adapter.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := starts(t, s), "op7 crash-once\nop7 crash-once\n"; got != want {
		t.Errorf("the adapters saw %q, want %q", got, want)
	}
	w.until("lost")
	w.expect(fresh...)
	if err := w.losses()[0]; !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("lost for %v", err)
	}
	if n := s.Info().Restarts; n != 1 {
		t.Errorf("%d restarts", n)
	}
}

// TestHeirOfPipesHoldsNothingUp lets an adapter start a process that keeps its stdout and stderr open, as a careless one may.
func TestHeirOfPipesHoldsNothingUp(t *testing.T) {
	s, w, _ := run(t, "good", nil)
	if err := s.Start(testContext(t), "o", module("leave-heir"), adapter.StartOptions{}); err != nil {
		t.Error(err)
	}
	_, dir, _ := strings.Cut(s.o.Env[1], "=")
	b, err := os.ReadFile(filepath.Join(dir, "heir"))
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Errorf("the heir is gone, so nothing was shown: %v", err)
	}
	w.until("lost")
	if err := w.losses()[0]; !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("lost for %v", err)
	}
}

func TestCallThatAlwaysCrashesEnds(t *testing.T) {
	s, w, log := run(t, "good", nil)
	err := s.Start(testContext(t), "o", module("crash"), adapter.StartOptions{})
	if adapter.ReasonOf(err) != adapter.Unavailable {
		t.Fatalf("got %v", err)
	}
	if got := strings.Count(starts(t, s), "\n"); got != maxLosses {
		t.Errorf("%d attempts, want %d", got, maxLosses)
	}
	for range maxLosses {
		w.until("lost")
	}
	if err := w.losses()[0]; !strings.Contains(err.Error(), "panic: out of luck") {
		t.Errorf("lost for %v", err)
	}
	if err := s.Start(testContext(t), "o", module("well"), adapter.StartOptions{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
	if !strings.Contains(log.String(), "level=ERROR msg=\"panic: out of luck") {
		t.Errorf("the panic is not in the log")
	}
}

func TestKilledProcessIsReplaced(t *testing.T) {
	s, w, _ := run(t, "good", nil)
	w.expect(fresh...)
	first := s.waitPID()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.expect("lost")
	w.expect(fresh...)
	if second := s.waitPID(); second == first || second == 0 {
		t.Errorf("process %d after %d", second, first)
	}
	if err := w.losses()[0]; !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("lost for %v", err)
	}
}

func TestCrashLoopBreaks(t *testing.T) {
	s, w, _ := run(t, "exit", nil)
	for range 5 {
		w.expect("lost")
	}
	eventually(t, "broken", func() bool { return s.Info().State == StateBroken })
	for i, err := range w.losses()[:5] {
		var says interface{ Broken() bool }
		if broken := errors.As(err, &says) && says.Broken(); broken != (i == 4) {
			t.Errorf("loss %d, %v, says broken=%v", i, err, broken)
		}
	}
	begin := time.Now()
	err := s.Stop(testContext(t), "o", module("m"))
	if adapter.ReasonOf(err) != adapter.Unavailable || !strings.Contains(err.Error(), "no license found") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("the refusal took %v", took)
	}
	w.expect("lost", "lost") // it is tried again all the same
}

func TestHangMeetsDeadline(t *testing.T) {
	s, w, _ := run(t, "good", func(o *Options) { o.CallDeadline = 300 * time.Millisecond })
	w.expect(fresh...)
	for _, m := range []string{"hang", "stuck"} {
		if err := s.Start(testContext(t), "o", module(m), adapter.StartOptions{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", m, err)
		}
	}
	ctx, cancel := context.WithCancel(testContext(t))
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := s.Start(ctx, "o", module("stuck"), adapter.StartOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v", err)
	}
	if n := s.Info().Restarts; n != 0 {
		t.Errorf("%d restarts", n)
	}
}

func TestFrozenProcessIsReplaced(t *testing.T) {
	s, w, _ := run(t, "good", func(o *Options) { o.PingInterval, o.PingMisses = 100*time.Millisecond, 2 })
	w.expect(fresh...)
	if err := s.Start(testContext(t), "o", module("freeze-once"), adapter.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	w.expect("lost")
	w.expect(fresh...)
	if err := w.losses()[0]; !strings.Contains(err.Error(), "pings") {
		t.Errorf("lost for %v", err)
	}
}

func TestFrozenProcessDoesNotHoldUpTheEnd(t *testing.T) {
	s, w, _ := run(t, "good", func(o *Options) { o.StopTimeout = 100 * time.Millisecond })
	w.expect(fresh...)
	pid := s.waitPID()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every thread stands still", func() bool {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("no threads: %v", err)
		}
		for _, file := range threads {
			if b, err := os.ReadFile(file); err == nil && !strings.Contains(string(b), "\nState:\tT") {
				return false
			}
		}
		return true
	})
	// The end of the test ends the supervisor.
}

func TestOrderlyEnd(t *testing.T) {
	dir := t.TempDir()
	t.Run("run", func(t *testing.T) {
		_, w, _ := run(t, "good", func(o *Options) { o.Env[1] = envDir + "=" + dir })
		w.expect(fresh...)
	})
	if _, err := os.Stat(filepath.Join(dir, "served")); err != nil {
		t.Errorf("the process did not end in order: %v", err)
	}
}

func TestEndDuringHandshake(t *testing.T) {
	s, _, _ := run(t, "silent", func(o *Options) { o.StartTimeout = time.Hour })
	eventually(t, "starting", func() bool { return s.Info().State == StateStarting })
	// The end of the test ends the supervisor.
}

func TestMisconfiguredIsBroken(t *testing.T) {
	s, w, _ := run(t, "misconfigured", func(o *Options) { o.BackoffMax = time.Hour })
	w.expect("lost")
	const want = "environment e1: cannot use setting color"
	if err := w.losses()[0]; err.Error() != want || adapter.ReasonOf(err) != adapter.InvalidArgument {
		t.Errorf("lost for %v", err)
	}
	if i := s.Info(); i.State != StateBroken || i.Detail != want {
		t.Errorf("Info: %+v", i)
	}
	if _, err := s.Describe(testContext(t)); adapter.ReasonOf(err) != adapter.Unavailable || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
}

func TestEnvironmentIsExplicit(t *testing.T) {
	t.Setenv("SMMD_TEST_SECRET", "of the agent")
	s, _, _ := run(t, "good", func(o *Options) { o.Env = append(o.Env, "LANG=C.UTF-8") })
	err := s.Start(testContext(t), "o", module("environment"), adapter.StartOptions{})
	var e *adapter.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	for _, want := range []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", adapter.EnvLogLevel + "=info", adapter.EnvWatchStdin + "=1"} {
		if !strings.Contains("\n"+e.Cause+"\n", "\n"+want+"\n") {
			t.Errorf("%s is not in\n%s", want, e.Cause)
		}
	}
	for _, no := range []string{"SMMD_TEST_SECRET", "HOME="} {
		if strings.Contains(e.Cause, no) {
			t.Errorf("%s is inherited", no)
		}
	}
}

func TestChildLogsJoin(t *testing.T) {
	s, _, log := run(t, "good", nil)
	if err := s.Start(testContext(t), "o", module("talk"), adapter.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`level=WARN msg=structured adapter=t du=d1 list=[1,2] n=7`,
		`level=INFO msg="over the connection" adapter=t`,
		`level=INFO msg="on stdout" adapter=t`,
	} {
		eventually(t, want, func() bool { return strings.Contains(log.String(), want+"\n") })
	}
	if strings.Contains(log.String(), "too small") {
		t.Error("a line below the level was sent")
	}
}

// TestChildDiesWithItsAgent kills an agent with SIGKILL and looks for its adapter.
func TestChildDiesWithItsAgent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "smmd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	agent := exec.Command(self)
	agent.Env = []string{envRole + "=agent", envDir + "=" + dir}
	agent.Stderr = os.Stderr
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	_, scanErr := fmt.Fscan(out, &pid)
	var fd int
	if scanErr == nil {
		fd, err = unix.PidfdOpen(pid, 0)
	}
	if kerr := agent.Process.Kill(); kerr != nil {
		t.Fatal(kerr)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = agent.Wait() // killed, as it must be
	if scanErr != nil || err != nil {
		t.Fatalf("no adapter: %v, %v", scanErr, err)
	}
	defer func() { _ = unix.Close(fd) }()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	}
	if err != nil || n != 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		t.Fatalf("the adapter outlived its agent: %d, %v", n, err)
	}
}

// TestTwoNeverDriveOneEnvironment lets two agents have the same environment.
func TestTwoNeverDriveOneEnvironment(t *testing.T) {
	first, w1, _ := run(t, "good", nil)
	w1.expect(fresh...)
	locks := filepath.Join(first.o.RuntimeDir, "locks")
	_, w2, _ := run(t, "good", func(o *Options) {
		o.StartTimeout, o.BackoffMax = 3*time.Second, time.Hour // the handshake has to come within it too
		o.BackoffMin = time.Hour
		o.Envs = []adapter.EnvConfig{{ID: "e2"}}
		if err := os.Symlink(locks, filepath.Join(o.RuntimeDir, "locks")); err != nil {
			t.Fatal(err)
		}
	})
	w2.expect("lost")
	if err := w2.losses()[0]; !strings.Contains(err.Error(), "another process does") && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lost for %v", err)
	}
}

func TestFailures(t *testing.T) {
	f := failures{window: 10 * time.Minute, limit: 5, first: time.Second, longest: 2 * time.Minute}
	now := time.Now()
	for i, want := range []time.Duration{1, 2, 4, 8} {
		if wait, broken := f.add(now); wait != want*time.Second || broken {
			t.Errorf("failure %d: %v, %v", i+1, wait, broken)
		}
		now = now.Add(time.Minute)
	}
	for range 2 {
		if wait, broken := f.add(now); wait != 2*time.Minute || !broken {
			t.Errorf("at the limit: %v, %v", wait, broken)
		}
	}
	if wait, broken := f.add(now.Add(10 * time.Minute)); wait != time.Second || broken {
		t.Errorf("after the window: %v, %v", wait, broken)
	}
	f = failures{window: time.Hour, limit: 100, first: time.Second, longest: 2 * time.Minute}
	for range 60 {
		if wait, _ := f.add(now); wait > f.longest {
			t.Fatalf("a wait of %v", wait)
		}
	}
}

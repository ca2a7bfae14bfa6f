package osgi

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// launchable returns the settings that make the test executable the host process, in the given mode.
func launchable(t *testing.T, mode string) map[string]any {
	t.Helper()
	java, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"framework": bundleJar(t, "framework", "1"), "java": java, "properties": map[string]string{"mode": mode},
		"host_jar": writeJar(t, member{manifestName, "Main-Class: org.example.Main\n"}), "stop_timeout": "300ms", "start_timeout": "10s",
	}
}

// longDir returns a directory whose name is too long for the name of a socket.
func longDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// cleaner is what endHost needs of a test.
type cleaner interface {
	Cleanup(func())
	Errorf(string, ...any)
}

// endHost kills what is left of the environment's host process when the test ends.
func endHost(t cleaner, dir string) {
	h := &host{dir: dir}
	t.Cleanup(func() {
		if err := h.signal(syscall.SIGKILL); err != nil {
			t.Errorf("cannot kill the host: %v", err)
		}
		if !poll(func() bool { pid, err := h.find(); return err == nil && pid == 0 }) {
			t.Errorf("the host in %s does not end", dir)
		}
	})
}

func pidOf(t *testing.T, dir string) int {
	t.Helper()
	pid, err := (&host{dir: dir}).find()
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// holdLock as the first argument makes the test executable a process that locks the file named second, as the host does, until its input
// ends.
const holdLock = "--hold-lock"

func holdMain(path string) int {
	file, err := os.Create(path)
	if err == nil {
		err = syscall.FcntlFlock(file.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK})
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("held")
	_, _ = io.Copy(io.Discard, os.Stdin) // its end is all that matters
	return 0
}

// A process that ends has no arguments any more while it still has its files.
func TestTheStorageIsFreeBeforeALaunch(t *testing.T) {
	dir := t.TempDir()
	endHost(t, dir)
	o := configured(t, shortLimits(), dir, launchable(t, ""))
	h := &host{dir: dir}
	if err := os.Mkdir(h.storage(), 0o700); err != nil {
		t.Fatal(err)
	}
	if held, err := h.held(); err != nil || held {
		t.Fatalf("a storage that nobody had yet is held: %t, %v", held, err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(exe, holdLock, filepath.Join(h.storage(), lockName))
	release, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = release.Close(); _ = holder.Wait() }() // for a test that fails
	if word, err := bufio.NewReader(out).ReadString('\n'); err != nil || word != "held\n" {
		t.Fatalf("the lock is not held: %q, %v", word, err)
	}
	if gone, err := h.gone(t.Context()); err != nil || gone {
		t.Errorf("a host that has its storage is gone: %t, %v", gone, err)
	}
	enabled := make(chan error, 1)
	go func() { enabled <- o.SetEnabled(t.Context(), "op", "home", true, nil) }()
	select {
	case err := <-enabled:
		t.Fatalf("the host was launched on a storage that another one has: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if pid := pidOf(t, dir); pid != 0 {
		t.Errorf("process %d was launched on a storage that another one has", pid)
	}
	if err := release.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-enabled; err != nil {
		t.Errorf("the storage is free and the launch fails: %v", err)
	}
}

func TestHostProcessLivesOn(t *testing.T) {
	t.Setenv("SMMD_SECRET", "secret")
	dir := longDir(t)
	endHost(t, dir)
	o := configured(t, shortLimits(), dir, launchable(t, ""))
	f := watch(t, o)
	f.until("down", down)
	if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
		t.Fatal(err)
	}
	f.until("the sync", synced)
	pid := pidOf(t, dir)
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("process %d is in session %d: %v", pid, sid, err)
	}
	log, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil || !strings.Contains(string(log), "double begins") || strings.Contains(string(log), "secret") {
		t.Errorf("log %q, %v", log, err)
	}

	// A new adapter finds it and does not disturb it.
	f.end()
	o = configured(t, shortLimits(), dir, launchable(t, ""))
	f = watch(t, o)
	f.until("the sync of the new adapter", synced)
	if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
		t.Fatal(err)
	}
	if now := pidOf(t, dir); now != pid {
		t.Errorf("process %d became %d", pid, now)
	}
	for range 2 {
		if err := o.SetEnabled(t.Context(), "op", "home", false, nil); err != nil {
			t.Fatal(err)
		}
		if now := pidOf(t, dir); now != 0 {
			t.Errorf("process %d is left", now)
		}
	}
	lost := f.until("the end", down)
	if e := lost[len(lost)-1].Env; !strings.Contains(e.Detail, "on request") {
		t.Errorf("detail %q", e.Detail)
	}
}

func TestKilledHostIsToldWithItsLastWords(t *testing.T) {
	dir := t.TempDir()
	endHost(t, dir)
	o := configured(t, shortLimits(), dir, launchable(t, ""))
	f := watch(t, o)
	if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
		t.Fatal(err)
	}
	f.until("the sync", synced)
	pid := pidOf(t, dir)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	lost := f.until("the loss", down)
	detail := lost[len(lost)-1].Env.Detail
	for _, part := range []string{fmt.Sprint(pid), "signal 9", "double begins"} {
		if !strings.Contains(detail, part) {
			t.Errorf("detail %q has no %q", detail, part)
		}
	}
	// The adapter launches nothing by itself; it is launched when it is asked to be.
	if now := pidOf(t, dir); now != 0 {
		t.Errorf("process %d came up by itself", now)
	}
	if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
		t.Fatal(err)
	}
	f.until("the sync of the new launch", synced)
}

func TestLaunchThatFails(t *testing.T) {
	dir := t.TempDir()
	endHost(t, dir)
	o := configured(t, shortLimits(), dir, launchable(t, "exit"))
	f := watch(t, o)
	f.until("down", down)
	err := o.SetEnabled(t.Context(), "op", "home", true, nil)
	reasonIs(t, err, adapter.StartFailed)
	for _, part := range []string{"status 7", "no framework here"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("error %v has no %q", err, part)
		}
	}

	f.until("why", func(e adapter.Event) bool { return down(e) && strings.Contains(e.Env.Detail, "status 7") })
	f.end()

	set := launchable(t, "deaf")
	set["start_timeout"] = "500ms"
	dir = t.TempDir()
	endHost(t, dir)
	o = configured(t, shortLimits(), dir, set)
	reasonIs(t, o.SetEnabled(t.Context(), "op", "home", true, nil), adapter.StartFailed)
	if pid := pidOf(t, dir); pid != 0 {
		t.Errorf("process %d is left", pid)
	}

	for key, path := range map[string]any{"framework": "/nonexistent.jar", "host_jar": "/nonexistent.jar", "java": "/nonexistent/java", "class_path": []string{"/nonexistent.jar"}} {
		set := launchable(t, "")
		set[key] = path
		o := configured(t, shortLimits(), t.TempDir(), set)
		err := o.SetEnabled(t.Context(), "op", "home", true, nil)
		reasonIs(t, err, adapter.Unstartable)
		if err == nil || !strings.Contains(err.Error(), "/nonexistent") {
			t.Errorf("%s: error %v", key, err)
		}
	}
}

func TestDeafHostProcessIsReplaced(t *testing.T) {
	dir := t.TempDir()
	endHost(t, dir)
	set := launchable(t, "")
	set["start_timeout"] = "2s"
	o := configured(t, shortLimits(), dir, set)
	if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
		t.Fatal(err)
	}
	pid := pidOf(t, dir)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	await(t, "the process to be stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
	if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
		t.Fatal(err)
	}
	if now := pidOf(t, dir); now == pid || now == 0 {
		t.Errorf("process %d became %d", pid, now)
	}
}

func TestHostProcessThatDoesNotEndIsKilled(t *testing.T) {
	dir := t.TempDir()
	endHost(t, dir)
	l := shortLimits()
	l.kill = 200 * time.Millisecond
	o := configured(t, l, dir, launchable(t, "immortal"))
	if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
		t.Fatal(err)
	}
	if err := o.SetEnabled(t.Context(), "op", "home", false, nil); err != nil {
		t.Fatal(err)
	}
	if pid := pidOf(t, dir); pid != 0 {
		t.Errorf("process %d is left", pid)
	}
}

func TestHostProcessOfAnotherVersion(t *testing.T) {
	dir := t.TempDir()
	endHost(t, dir)
	o := configured(t, shortLimits(), dir, launchable(t, "version"))
	reasonIs(t, o.SetEnabled(t.Context(), "op", "home", true, nil), adapter.StartFailed)
	if pid := pidOf(t, dir); pid != 0 {
		t.Errorf("process %d is left of the launch that failed", pid)
	}
	// One that runs is left alone until it is to end.
	child, err := o.envs["home"].host.launch(o.envs["home"].host.configured(), nil)
	if err != nil {
		t.Fatal(err)
	}
	await(t, "the socket", func() bool {
		c, err := o.envs["home"].host.dial(t.Context())
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	reasonIs(t, o.SetEnabled(t.Context(), "op", "home", true, nil), adapter.NotSupported)
	if pid := pidOf(t, dir); pid != child.pid {
		t.Errorf("process %d became %d", child.pid, pid)
	}
	reasonIs(t, o.SetEnabled(t.Context(), "op", "home", false, nil), "")
	if pid := pidOf(t, dir); pid != 0 {
		t.Errorf("process %d is left", pid)
	}
}

func TestLogIsBounded(t *testing.T) {
	dir := t.TempDir()
	h := &host{dir: dir}
	path := filepath.Join(dir, logName)
	if err := os.WriteFile(path, []byte(strings.Repeat("a line\n", maxLog/7)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0) // the host's
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for _, line := range []string{launchMark + "now\n", "last line\n"} {
		if _, err := io.WriteString(out, line); err != nil {
			t.Fatal(err)
		}
	}
	if got := h.tail(); got != "last line" {
		t.Errorf("tail %q", got)
	}
	if err := h.boundLog(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(out, "first line\n"); err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(path)
	if err != nil || string(now) != "first line\n" {
		t.Errorf("log %q, %v", now, err)
	}
	old, err := os.ReadFile(path + ".1")
	if err != nil || len(old) != maxLog || !strings.HasSuffix(string(old), "last line\n") {
		t.Errorf("the old part has %d bytes: %v", len(old), err)
	}
}

// What it runs from is read from the arguments that a launch makes, whatever the operator puts before them.
func TestClassPathOfTheArguments(t *testing.T) {
	files := []string{"/framework.jar", "/lib.jar"}
	h := &host{dir: "/data", set: settings{hostJar: "/host.jar", jvmOptions: []string{"-cp", "/else/a.jar:/else/b.jar", "-ea"},
		properties: map[string]string{"-cp": "x"}}}
	args := append(append([]string{"java"}, h.arguments("org.example.Main", files)...), "--auto-start", "true -cp")
	if got := classPathOf(args); !slices.Equal(got, files) {
		t.Errorf("it runs from %q, want %q", got, files)
	}
	for _, none := range [][]string{nil, {""}, {"--socket", "-cp"}, {"java", "-cp", "/a:/b"}} {
		if got := classPathOf(none); got != nil {
			t.Errorf("%q runs from %q", none, got)
		}
	}
}

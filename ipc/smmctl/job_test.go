package smmctl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
)

func TestJobs(t *testing.T) {
	s := newShell(t)
	s.agent.Auto(false)
	equal(t, "--no-wait", s.ok("install", "http://files/app.jar", "--no-wait"), "job 1\n")
	if got := s.ok("jobs"); !strings.HasPrefix(got, "JOB  OPERATION  STATE   PROGRESS  STARTED") || !strings.Contains(got, "\n1    install    queued  0%") {
		t.Errorf("jobs:\n%s", got)
	}
	s.agent.Step(1)
	if got := s.ok("job", "1"); !strings.Contains(got, "State      fetching\n") || !strings.Contains(got, "Bytes      400 B of 1000 B\n") {
		t.Errorf("job:\n%s", got)
	}
	equal(t, "cancel", s.ok("cancel", "1"), "Canceled job 1 (install)\n")
	if got := s.ok("job", "/org/smmd/Agent1/Job/1"); !strings.Contains(got, "State      cancelled\n") || !strings.Contains(got, "Canceled") {
		t.Errorf("job:\n%s", got)
	}
	v := s.object("job", "1")
	for _, name := range []string{"object", "instance", "operation", "state", "progress", "bytes_done", "bytes_total", "start_time", "objects",
		"fault_name", "fault_cwmp", "fault_usp", "fault_usp_complete", "fault_string", "message", "originator"} {
		if _, ok := v[name]; !ok {
			t.Errorf("job --json has no %s: %v", name, v)
		}
	}
}

// TestJSONOfFailure: a job that failed is told on both channels.
func TestJSONOfFailure(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar", "--uuid", uuid1)
	stdout, stderr, status := s.run(t.Context(), "install", "http://files/app.jar", "--uuid", uuid1, "--json")
	var v jobResult
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || v.Job.FaultName != "DuplicateDU" || v.Job.FaultCWMP != 9026 {
		t.Errorf("stdout %s: %v", stdout, err)
	}
	if status != statusFailed || !strings.Contains(stderr, "(DuplicateDU, CWMP 9026, USP 7226)") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

func TestJSONOfTree(t *testing.T) {
	s := newShell(t)
	v := s.object("install", "http://files/app.jar")
	du, eu := v["deployment_units"].([]any)[0].(map[string]any), v["execution_units"].([]any)[0].(map[string]any)
	want := map[string][]string{
		"du": {"alias", "description", "duid", "exec_env", "execution_units", "installed", "instance", "missing", "name", "object", "path", "resolved",
			"status", "url", "uuid", "vendor", "version"}, // last_update is left out until there was one
		"eu": {"alias", "allocated_cpu_percent", "allocated_disk_kib", "allocated_memory_kib", "auto_start", "deployment_unit", "description", "disk_in_use_kib", "euid", "exec_env", "exit_code", "fault_code",
			"fault_message", "instance", "label", "log_path", "memory_in_use_kib", "name", "object", "path", "pids", "run_level", "status", "variables", "vendor", "version"},
		"tree": {"deployment_units", "exec_envs", "execution_units", "jobs"},
		"ee": {"active_execution_units", "adapter", "alias", "allocated_cpu_percent", "allocated_disk_kib", "allocated_memory_kib", "application_data", "available_disk_kib",
			"available_memory_kib", "current_run_level", "enable", "id", "initial_execution_unit_run_level", "initial_run_level", "instance",
			"name", "object", "parent", "path", "restart_count", "restart_reason", "status", "status_detail", "type", "vendor", "version"},
	}
	tree := s.object("tree")
	for name, row := range map[string]map[string]any{"du": du, "eu": eu, "tree": tree, "ee": tree["exec_envs"].([]any)[0].(map[string]any)} {
		var got []string
		for field := range row {
			got = append(got, field)
		}
		if diff := cmp.Diff(want[name], sorted(got)); diff != "" {
			t.Errorf("fields of %s (-want +got):\n%s", name, diff)
		}
	}
	if du["path"] != "Device.SoftwareModules.DeploymentUnit.1" || eu["deployment_unit"] != du["object"] {
		t.Errorf("du %v, eu %v", du, eu)
	}
}

// signalWriter tells what is written to it.
type signalWriter struct {
	mu  sync.Mutex
	buf bytes.Buffer
	f   func(all string)
}

func (w *signalWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.buf.Write(p)
	all := w.buf.String()
	w.mu.Unlock()
	w.f(all)
	return len(p), nil
}

// TestProgress looks at the moving line, and lets the job go on whenever it has moved.
func TestProgress(t *testing.T) {
	s := newShell(t)
	s.agent.Auto(false)
	shown := &signalWriter{}
	shown.f = func(string) { s.agent.Step(1) }
	s.app = func(a *app) { a.progress, a.err = true, shown }
	stdout, _, status := s.run(t.Context(), "install", "http://files/app.jar")
	if status != statusDone || !strings.HasPrefix(stdout, "Installed app 1.0.0 as DeploymentUnit.1") {
		t.Errorf("status %d, stdout %q", status, stdout)
	}
	got := shown.buf.String()
	if !strings.HasPrefix(got, "\rqueued       [........................]   0%\rfetching     [######..................]  25%  400 B of 1000 B") {
		t.Errorf("the line: %q", got)
	}
	if !strings.HasSuffix(got, " \r") || strings.Contains(got, "\n") {
		t.Errorf("the line is not cleared: %q", got)
	}
}

// TestInterrupt interrupts a command that waits: the job goes on.
func TestInterrupt(t *testing.T) {
	s := newShell(t)
	s.agent.Auto(false)
	ctx, interrupt := context.WithCancel(t.Context())
	shown := &signalWriter{f: func(string) { interrupt() }}
	s.app = func(a *app) { a.progress, a.err = true, shown }
	stdout, _, status := s.run(ctx, "install", "http://files/app.jar")
	got := shown.buf.String()
	if status != statusFailed || stdout != "" || !strings.Contains(got, "job 1 goes on") || !strings.Contains(got, "smmctl cancel 1") {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, got)
	}
	s.app = nil
	if got := s.ok("job", "1"); !strings.Contains(got, "State      queued") {
		t.Errorf("the job:\n%s", got)
	}
}

func TestWatch(t *testing.T) {
	s := newShell(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var once sync.Once
	out := &signalWriter{f: func(all string) {
		if strings.Contains(all, "what happens from now on follows") {
			once.Do(func() { s.ok2("install", "http://files/app.jar") })
		}
		if strings.Contains(all, "completed job 1 install: done") {
			interrupt()
		}
	}}
	s.app = func(a *app) { a.out = out }
	_, stderr, status := s.run(ctx, "watch")
	if status != statusDone || stderr != "" {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
	for _, want := range []string{" added     ExecEnv.1 osgi: Up, run level 1\n", " added     DeploymentUnit.1 app 1.0.0 on osgi: ", " changed   ExecEnv.1 osgi: Up, run level 1 (ActiveExecutionUnits)\n"} {
		if !strings.Contains(out.buf.String(), want) {
			t.Errorf("no %q in\n%s", want, out.buf.String())
		}
	}
}

// ok2 runs a command line beside another one.
func (s *shell) ok2(args ...string) {
	other := *s
	other.app = nil
	other.ok(args...)
}

func TestWatchJSON(t *testing.T) {
	s := newShell(t)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	r, w := io.Pipe()
	done := make(chan struct{})
	var events []map[string]any
	go func() {
		defer close(done)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			var v map[string]any
			if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			events = append(events, v)
			if v["event"] == string(client.Synced) {
				interrupt()
			}
		}
	}()
	s.app = func(a *app) { a.out = w }
	if _, _, status := s.run(ctx, "watch", "--json"); status != statusDone {
		t.Errorf("status %d", status)
	}
	w.Close()
	<-done
	if len(events) != 3 {
		t.Fatalf("events: %v", events)
	}
	first := events[0]
	if first["event"] != "added" || first["kind"] != "ExecEnv" || first["initial"] != true || first["value"].(map[string]any)["id"] != "osgi" || first["time"] == "" {
		t.Errorf("the first event: %v", first)
	}
}

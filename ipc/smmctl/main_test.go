package smmctl

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A shell runs command lines against an agent on a bus of its own.
type shell struct {
	t       *testing.T
	agent   *ipctest.Agent
	address string
	stdin   io.Reader
	app     func(*app) // changes what a command is connected to
}

func newShell(t *testing.T) *shell {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		ipctest.Missing(t, "dbus-daemon is missing")
	}
	agent := ipctest.New()
	agent.Auto(true)
	return &shell{t: t, agent: agent, address: ipctest.Run(t, agent), stdin: strings.NewReader("")}
}

// run runs a command line and returns what it printed and its exit status.
func (s *shell) run(ctx context.Context, args ...string) (stdout, stderr string, status int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var out, err bytes.Buffer
	a := newApp(s.stdin, &out, &err)
	if s.app != nil {
		s.app(a)
	}
	status = run(ctx, a, append([]string{"--bus", s.address}, args...))
	return out.String(), err.String(), status
}

// ok runs a command line that must succeed and returns what it printed.
func (s *shell) ok(args ...string) string {
	s.t.Helper()
	stdout, stderr, status := s.run(s.t.Context(), args...)
	if status != statusDone || stderr != "" {
		s.t.Fatalf("smmctl %s: status %d, stderr %q", strings.Join(args, " "), status, stderr)
	}
	return stdout
}

// fails runs a command line that must fail so, with want in what it says.
func (s *shell) fails(status int, want string, args ...string) {
	s.t.Helper()
	stdout, stderr, got := s.run(s.t.Context(), args...)
	if got != status || !strings.Contains(stderr, want) {
		s.t.Errorf("smmctl %s: status %d, want %d; stderr %q, want %q; stdout %q", strings.Join(args, " "), got, status, stderr, want, stdout)
	}
}

// object runs a command line with --json and returns what it printed.
func (s *shell) object(args ...string) map[string]any {
	s.t.Helper()
	var v map[string]any
	out := s.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		s.t.Fatalf("smmctl %s --json: %v in %s", strings.Join(args, " "), err, out)
	}
	return v
}

const uuid1 = "00000000-0000-5000-8000-000000000001"

func TestUnits(t *testing.T) {
	s := newShell(t)
	equal(t, "install", s.ok("install", "http://files/org.example.app.jar", "--ee", "osgi"),
		"Installed org.example.app 1.0.0 as DeploymentUnit.1 (UUID "+uuid1+") on osgi\n")
	equal(t, "stop", s.ok("stop", "org.example.app"), "Stopped org.example.app (ExecutionUnit.2) on osgi: Idle\n")
	equal(t, "start", s.ok("start", "osgi/"+uuid1), "Started org.example.app (ExecutionUnit.2) on osgi: Active\n")
	equal(t, "restart", s.ok("restart", "EU.2"), "Restarted org.example.app (ExecutionUnit.2) on osgi: Active\n")
	equal(t, "update", s.ok("update", uuid1+"@1.0.0", "--url", "http://files/new.jar"), "Updated org.example.app to 2.0.0 (DeploymentUnit.1) on osgi\n")
	if got := s.ok("tree"); !strings.Contains(got, "└─ org.example.app 2.0.0  DU.1  Installed  "+uuid1) || !strings.Contains(got, "autostart, level 1") {
		t.Errorf("tree:\n%s", got)
	}
	equal(t, "uninstall", s.ok("uninstall", "Device.SoftwareModules.DeploymentUnit.1."), "Uninstalled org.example.app 2.0.0 from osgi\n")
	if got := s.ok("tree"); strings.Contains(got, "org.example.app") {
		t.Errorf("tree after uninstall:\n%s", got)
	}
}

func TestInstallOptions(t *testing.T) {
	s := newShell(t)
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file\nsecond line\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("install", "http://files/a.jar", "--ee", "cpe-osgi", "--uuid", "00000000-0000-5000-8000-00000000000a",
		"--username", "me", "--password-file", file, "--auto-start=false")
	s.stdin = strings.NewReader("from stdin")
	s.ok("install", "http://files/b.jar", "--username", "me", "--password-file", "-")
	asked := s.agent.Asked()
	a, b := asked[0].(model.InstallRequest), asked[1].(model.InstallRequest)
	if a.ExecEnv != "osgi" || a.UUID != "00000000-0000-5000-8000-00000000000a" || a.Username != "me" || a.Password != "from a file" || a.AutoStart == nil || *a.AutoStart {
		t.Errorf("asked %+v", a)
	}
	if b.Password != "from stdin" || b.AutoStart != nil || b.ExecEnv != "" {
		t.Errorf("asked %+v", b)
	}
	s.fails(statusFailed, "cannot read the password: ", "install", "http://files/c.jar", "--password-file", file+".none")
	s.stdin = strings.NewReader("\n")
	s.fails(statusFailed, "cannot read the password: the first line is empty", "install", "http://files/c.jar", "--password-file", "-")
	s.fails(statusUsage, "unknown flag: --password", "install", "http://files/c.jar", "--password", "secret")
	if n := len(s.agent.Asked()); n != 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestExitStatus(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar", "--uuid", uuid1)
	for _, tt := range []struct {
		status int
		want   string
		args   []string
	}{
		{statusFailed, "smmctl: cannot install " + uuid1 + " on osgi: it is there already (DuplicateDU, CWMP 9026, USP 7226)\n", []string{"install", "http://files/app.jar", "--uuid", uuid1, "--ee", "osgi"}},
		{statusFailed, `there is no execution environment "felix"; known: lxc, osgi`, []string{"install", "http://files/app.jar", "--ee", "felix"}},
		{statusFailed, `there is no deployment unit "x"; known: app`, []string{"uninstall", "x"}},
		{statusFailed, `there is no deployment unit ""`, []string{"uninstall", ""}},
		{statusFailed, `there is no execution unit "x"; known: app`, []string{"start", "x"}},
		{statusFailed, "there is no job 99", []string{"job", "99"}},
		{statusFailed, "InvalidDUState", []string{"cancel", "1"}},
		{statusFailed, "cannot restart", []string{"ee", "restart", "lxc"}},
		{statusFailed, "smmctl: cannot reset environment 2: it is disabled (DisabledExecEnv, CWMP 9007, USP ", []string{"ee", "reset", "lxc"}},
		{statusFailed, `there is no execution environment "x"`, []string{"ee", "reset", "x"}},
		{statusFailed, "CWMP 9005", []string{"get", "Device.SoftwareModules.Nothing"}},
		{statusFailed, "CWMP 9005", []string{"set", "Device.SoftwareModules.Nothing=1"}},
		{statusFailed, "CWMP 9008", []string{"set", "Device.SoftwareModules.ExecEnv.1.Alias=x", "Device.SoftwareModules.ExecEnv.1.Status=Up"}},
		{statusUsage, "is not PATH=VALUE", []string{"set", "Device.SoftwareModules.ExecEnv.1.Alias"}},
		{statusUsage, "is not PATH=VALUE", []string{"set", "Device.SoftwareModules.ExecEnv.1.=x"}},
		{statusUsage, `smmctl has no command "tre"; did you mean tree or ee?`, []string{"tre"}},
		{statusUsage, `smmctl ee has no command "lst"`, []string{"ee", "lst"}},
		{statusUsage, "which command of smmctl ee?", []string{"ee"}},
		{statusUsage, "which command of smmctl?", nil},
		{statusUsage, "unknown flag: --nothing", []string{"tree", "--nothing"}},
		{statusUsage, "accepts 1 arg(s), received 0", []string{"install"}},
		{statusUsage, "unknown command \"x\" for \"smmctl tree\"", []string{"tree", "x"}},
		{statusUsage, "requires at least 1 arg(s)", []string{"get"}},
		{statusUsage, `"seven" is no job`, []string{"job", "seven"}},
		{statusUsage, `"0" is no job`, []string{"cancel", "0"}},
		{statusUsage, `"65536" is no run level`, []string{"ee", "run-level", "osgi", "65536"}},
		{statusUsage, `"-1" is no run level`, []string{"ee", "run-level", "osgi", "--", "-1"}},
		{statusUsage, `"tr069" is no baseline: give cwmp or usp`, []string{"baseline", "tr069"}},
		{statusUsage, `"" is no baseline`, []string{"ee", "reset", "osgi", "--baseline", ""}},
		{statusUsage, "accepts at most 1 arg(s)", []string{"baseline", "cwmp", "usp"}},
		{statusUsage, `smmctl reports has no command "ak"; did you mean ack?`, []string{"reports", "ak"}},
		{statusUsage, `"seven" is no report`, []string{"reports", "ack", "seven"}},
		{statusUsage, "accepts 1 arg(s), received 0", []string{"reports", "ack"}},
		{statusFailed, "there is none with that number (InvalidArguments, CWMP ", []string{"reports", "ack", "7"}},
		{statusFailed, "USP 7", []string{"get", "Device.SoftwareModules.ExecEnv.*.Nothing"}},
		{statusFailed, "USP 7", []string{"set", "Device.SoftwareModules.ExecEnv.*.Status=Up"}},
		{statusUsage, "set them one after the other", []string{"set", "Device.SoftwareModules.ExecEnv.*.Alias=x", "Device.SoftwareModules.ExecEnv.[cpe-osgi].Enable=true"}},
		{statusUsage, "accepts 1 arg(s), received 0", []string{"ee", "reset"}},
		{statusUsage, "invalid argument", []string{"install", "http://files/a.jar", "--auto-start=perhaps"}},
	} {
		s.fails(tt.status, tt.want, tt.args...)
	}
	s.agent.Refuse(fault.Errorf(fault.DisabledExecEnv, "cannot install http://files/app.jar: osgi is disabled"))
	s.fails(statusFailed, "smmctl: cannot install http://files/app.jar: osgi is disabled (DisabledExecEnv, CWMP ", "install", "http://files/app.jar")

	for _, args := range [][]string{{"tree"}, {"get", "Device."}, {"install", "http://x/y"}, {"ee", "list"}, {"watch"}, {"adapters"}, {"job", "1"}, {"baseline"}, {"reports"}, {"ee", "reset", "osgi"}} {
		other := &shell{t: t, address: ipctest.Bus(t), stdin: s.stdin}
		other.fails(statusUnreachable, "agent not reachable", args...)
		other.address = "unix:path=/nonexistent/bus"
		other.fails(statusUnreachable, "agent not reachable", args...)
	}
}

func TestHelp(t *testing.T) {
	s := &shell{t: t, stdin: strings.NewReader("")}
	for _, args := range [][]string{nil, {"tree"}, {"get"}, {"set"}, {"install"}, {"update"}, {"uninstall"}, {"start"}, {"stop"}, {"restart"},
		{"ee", "list"}, {"ee", "enable"}, {"ee", "disable"}, {"ee", "run-level"}, {"ee", "restart"}, {"ee", "constrain"}, {"ee", "reset"}, {"ee", "volumes"}, {"ee", "remove-volume"}, {"baseline"}, {"reports"}, {"reports", "ack"}, {"jobs"}, {"job"}, {"cancel"}, {"watch"}, {"adapters"}} {
		if got := s.ok(append(args, "--help")...); !strings.Contains(got, "Examples:\n") || !strings.Contains(got, "--json") {
			t.Errorf("smmctl %v --help:\n%s", args, got)
		}
	}
	if got := s.ok("completion", "bash"); !strings.Contains(got, "smmctl") {
		t.Error("there is no completion for bash")
	}
	if Command().Name() != "smmctl" {
		t.Error("Command() is not smmctl")
	}
}

func TestCompletion(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar")
	t.Setenv("SMMD_BUS", s.address)
	for want, args := range map[string][]string{
		"osgi\nlxc\n": {"install", "http://x/y", "--ee", ""},
		"app\n":       {"uninstall", ""},
		"osgi\nlxc":   {"ee", "reset", ""},
		"cwmp\nusp\n": {"baseline", ""},
		"none\n":      {"ee", "constrain", "osgi", "--cpu-limit", ""},
	} {
		var out, err bytes.Buffer
		if status := run(t.Context(), newApp(s.stdin, &out, &err), append([]string{"__complete"}, args...)); status != statusDone || !strings.HasPrefix(out.String(), want) {
			t.Errorf("completion of %q: status %d, %q, %q", args, status, out.String(), err.String())
		}
	}
}

func TestAmbiguity(t *testing.T) {
	s := newShell(t)
	const uuid = "0000abcd-0000-5000-8000-000000000001"
	s.ok("install", "http://files/app.jar", "--uuid", uuid)
	s.ok("install", "http://other/app.jar")
	s.fails(statusFailed, `"app" is ambiguous; give one of: DeploymentUnit.1 (app 1.0.0, UUID `+uuid+`, on osgi); DeploymentUnit.3 (app 1.0.0, UUID `, "uninstall", "app")
	s.fails(statusFailed, `"app" is ambiguous; give one of: ExecutionUnit.2 (app, EUID osgi/`, "stop", "app")
	s.ok("update", uuid)
	for _, arg := range []string{"app@2.0.0", uuid + "@2.0.0", strings.ToUpper(uuid), "1", "DU.1", "DeploymentUnit.1", "cpe-1",
		"Device.SoftwareModules.DeploymentUnit.1", "/org/smmd/Agent1/DeploymentUnit/1"} {
		j := s.object("update", arg, "--no-wait")["job"].(map[string]any)
		if fmt.Sprint(j["objects"]) != "[/org/smmd/Agent1/DeploymentUnit/1]" {
			t.Errorf("%s is %v", arg, j["objects"])
		}
	}
}

func TestParameters(t *testing.T) {
	s := newShell(t)
	if got := s.ok("get", "Device.SoftwareModules.ExecEnv.1."); !strings.Contains(got, "Device.SoftwareModules.ExecEnv.1.Status ") || !strings.Contains(got, " Up\n") {
		t.Errorf("get:\n%s", got)
	}
	equal(t, "get -q", s.ok("get", "-q", "Device.SoftwareModules.ExecEnv.1.Status"), "Up\n")
	equal(t, "set", s.ok("set", "Device.SoftwareModules.ExecEnv.1.Alias=a=b", "Device.SoftwareModules.ExecEnv.1.InitialRunLevel=4"), "")
	equal(t, "get -q", s.ok("get", "-q", "Device.SoftwareModules.ExecEnv.1.Alias", "Device.SoftwareModules.ExecEnv.1.InitialRunLevel"), "a=b\n4\n")
	var values []client.Parameter
	if err := json.Unmarshal([]byte(s.ok("get", "--json", "Device.SoftwareModules.ExecEnv.1.InitialRunLevel")), &values); err != nil || len(values) != 1 ||
		values[0] != (client.Parameter{Path: "Device.SoftwareModules.ExecEnv.1.InitialRunLevel", Type: "xsd:unsignedInt", Value: "4"}) {
		t.Errorf("get --json: %+v, %v", values, err)
	}
	if v := s.object("set", "Device.SoftwareModules.ExecEnv.1.Alias=c"); v["moving"] != false || len(v["parameters"].([]any)) != 1 {
		t.Errorf("set --json: %v", v)
	}
}

func TestExecEnvs(t *testing.T) {
	s := newShell(t)
	s.agent.Commit(func(d *model.Draft) { // of the past: none of the following may take it for its own
		d.PutJob(&model.Job{ID: 90, Operation: "enable", State: model.JobFailed, Fault: fault.Internal, Progress: 1, Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: 2}}})
	})
	equal(t, "enable", s.ok("ee", "enable", "lxc"), "Enabled lxc: Up\n")
	equal(t, "disable", s.ok("ee", "disable", "lxc"), "Disabled lxc: Disabled\n")
	equal(t, "run-level", s.ok("ee", "run-level", "osgi", "5"), "Asked osgi for run level 5: Up, run level 5\n")
	equal(t, "restart", s.ok("ee", "restart", "EE.1", "--reason", "why not"), "Restarted osgi: Up, run level 5\n")
	s.ok("ee", "enable", "lxc")
	s.fails(statusFailed, "cannot set the run level of lxc: it has no run levels", "ee", "run-level", "lxc", "5")
	if got := s.ok("ee", "list"); !strings.HasPrefix(got, "NO  NAME  ADAPTER  STATUS  LEVEL/INITIAL  TYPE") || !strings.Contains(got, "\n1   osgi  osgi     Up      5/1            OSGi 1.10") {
		t.Errorf("ee list:\n%s", got)
	}
	v := s.object("ee", "restart", "osgi")
	if v["job"].(map[string]any)["operation"] != "restart-exec-env" || v["exec_env"].(map[string]any)["restart_count"] != 2.0 {
		t.Errorf("ee restart --json: %v", v)
	}
	if v := s.object("ee", "disable", "lxc"); v["job"] != nil || v["exec_env"].(map[string]any)["status"] != "Disabled" {
		t.Errorf("ee disable --json: %v", v)
	}
}

func TestAdapters(t *testing.T) {
	s := newShell(t)
	want := "NAME  VERSION  STATE    PID   RESTARTS  CAPABILITIES          DETAIL\n" +
		"lxc   0.1      broken   -     5                               five failures in ten minutes\n" +
		"osgi  0.1      running  4711  0         auto-start,run-level\n"
	equal(t, "adapters", s.ok("adapters"), want)
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
	}
}

// TestMainIsInterrupted sends this process a SIGINT while a command follows events.
func TestMainIsInterrupted(t *testing.T) {
	s := newShell(t)
	t.Setenv("SMMD_BUS", s.address)
	var stderr bytes.Buffer
	var once sync.Once
	out := &signalWriter{f: func(all string) {
		if strings.Contains(all, "what happens from now on follows") {
			once.Do(func() {
				if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
					t.Error(err)
				}
			})
		}
	}}
	if status := Main([]string{"watch"}, s.stdin, out, &stderr); status != statusDone || stderr.Len() != 0 {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
	if status := Main([]string{"wtch"}, s.stdin, out, &stderr); status != statusUsage {
		t.Errorf("status %d for wrong usage", status)
	}
}

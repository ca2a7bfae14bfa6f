package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// The command line through the real executable, by the name it is installed as.
func TestSmmctl(t *testing.T) {
	parallel(t)
	d := boot(t, support.Env{InitialRunLevel: 2})
	url := d.URL("sample-1.0.0.jar")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret-0815\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args           []string
		status         int
		stdout, stderr string // parts of it; empty: nothing is written
	}{
		{[]string{"install", url, "--ee", "felix", "--username", "field", "--password-file", password}, 0, "Installed org.smmd.sample 1.0.0 as DeploymentUnit.1", ""},
		{[]string{"install", url, "--ee", "felix"}, 1, "", "DuplicateDU, CWMP 9026, USP 7226"},
		{[]string{"install", d.Files.URL + "/nothing.jar", "--ee", "felix"}, 1, "", "TransferFileUnavailable, CWMP 9016, USP 7033"},
		{[]string{"install", url, "--ee", "nowhere"}, 1, "", "nowhere"},
		{[]string{"install"}, 2, "", "arg"},
		{[]string{"no-such-command"}, 2, "", "no-such-command"},
		{[]string{"ee", "run-level", "felix", "much"}, 2, "", "much"},
		{[]string{"--bus", "unix:path=" + d.Dir + "/nothing", "tree"}, 3, "", "not reachable"},
		{[]string{"tree"}, 0, "org.smmd.sample", ""},
		{[]string{"get", "-q", "Device.SoftwareModules.ExecutionUnit.1.Status"}, 0, "Active\n", ""},
		{[]string{"get", "Device.SoftwareModules.Nothing"}, 1, "", "9005"},
		{[]string{"set", "Device.SoftwareModules.DeploymentUnit.1.Alias=mine"}, 0, "", ""},
		{[]string{"set", "Device.SoftwareModules.DeploymentUnit.1.UUID=x"}, 1, "", "9008"},
		{[]string{"stop", "org.smmd.sample"}, 0, "Idle", ""},
		{[]string{"start", "ExecutionUnit.1"}, 0, "Active", ""},
		{[]string{"restart", "ExecutionUnit.1"}, 0, "Active", ""},
		{[]string{"update", "org.smmd.nothing"}, 1, "", "org.smmd.nothing"},
		{[]string{"update", "mine", "--url", d.URL("sample-2.0.0.jar")}, 0, "Updated org.smmd.sample to 2.0.0", ""},
		{[]string{"ee", "list"}, 0, "felix", ""},
		{[]string{"ee", "run-level", "felix", "4"}, 0, "run level 4", ""},
		{[]string{"ee", "restart", "felix", "--reason", "to see it"}, 0, "run level 2", ""},
		{[]string{"ee", "disable", "felix"}, 0, "Disabled", ""},
		{[]string{"start", "ExecutionUnit.1"}, 1, "", "DisabledExecEnv"},
		{[]string{"ee", "enable", "felix"}, 0, "Up", ""},
		{[]string{"jobs"}, 0, "install", ""},
		{[]string{"job", "2"}, 0, "DuplicateDU", ""},
		{[]string{"job", "4000"}, 1, "", "4000"},
		{[]string{"cancel", "2"}, 1, "", "InvalidDUState"},
		{[]string{"adapters"}, 0, "osgi", ""},
		{[]string{"uninstall", "org.smmd.sample"}, 0, "Uninstalled org.smmd.sample 2.0.0", ""},
	} {
		stdout, stderr, status := d.Smmctl(test.args...)
		line := "smmctl " + strings.Join(test.args, " ")
		if status != test.status {
			t.Errorf("%s ended with %d, want %d\n%s%s", line, status, test.status, stdout, stderr)
		}
		for _, out := range []struct{ name, got, want string }{{"stdout", stdout, test.stdout}, {"stderr", stderr, test.stderr}} {
			if out.want == "" && out.got != "" || !strings.Contains(out.got, out.want) {
				t.Errorf("%s wrote %q to %s, want %q", line, out.got, out.name, out.want)
			}
			if strings.ContainsAny(out.got, "\r\x1b") || strings.Contains(out.got, "secret-0815") {
				t.Errorf("%s wrote to %s what is for a terminal, or the password: %q", line, out.name, out.got)
			}
		}
	}
}

// What scripts read is JSON and nothing else, also when a job fails.
func TestSmmctlJSON(t *testing.T) {
	parallel(t)
	d := boot(t, support.Env{})
	read := func(into any, status int, args ...string) {
		t.Helper()
		stdout, stderr, got := d.Smmctl(append([]string{"--json"}, args...)...)
		if got != status || (status == 0) != (stderr == "") {
			t.Errorf("%v ended with %d and %q, want %d", args, got, stderr, status)
		}
		if err := json.Unmarshal([]byte(stdout), into); err != nil {
			t.Errorf("%v wrote %q: %v", args, stdout, err)
		}
	}
	var result struct {
		Job             client.Job               `json:"job"`
		DeploymentUnits []*client.DeploymentUnit `json:"deployment_units"`
	}
	read(&result, 0, "install", d.URL("sample-1.0.0.jar"), "--ee", "felix")
	if result.Job.State != client.JobDone || len(result.DeploymentUnits) != 1 || result.DeploymentUnits[0].Name != "org.smmd.sample" {
		t.Errorf("the result of install is %+v", result)
	}
	read(&result, 1, "install", d.URL("truncated.jar"), "--ee", "felix")
	if result.Job.State != client.JobFailed || result.Job.FaultName != "PackageCorrupt" || result.Job.FaultCWMP != 9018 || result.Job.FaultUSP != 7035 {
		t.Errorf("the job of a failed install is %+v", result.Job)
	}
	var values []client.Parameter
	read(&values, 0, "get", "Device.SoftwareModules.ExecEnv.1.Status")
	if len(values) != 1 || values[0].Value != "Up" {
		t.Errorf("the values are %+v", values)
	}
	var tree client.Tree
	read(&tree, 0, "tree")
	if len(tree.ExecEnvs) != 1 || len(tree.ExecutionUnits) != 1 || tree.ExecutionUnits[0].Status != "Active" {
		t.Errorf("the tree is %s", support.Show(tree))
	}
}

package e2e

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/support"
)

// wantFault checks how a job failed.
func wantFault(t *testing.T, j *client.Job, name string, cwmp, usp uint32) {
	t.Helper()
	if j.State != client.JobFailed || j.FaultName != name || j.FaultCWMP != cwmp || j.FaultUSP != usp || !strings.HasPrefix(j.FaultString, "cannot ") {
		t.Errorf("%s is %s with %s %d %d %q, want %s %d %d", j, j.State, j.FaultName, j.FaultCWMP, j.FaultUSP, j.FaultString, name, cwmp, usp)
	}
}

// wantRefusal checks how a call was refused.
func wantRefusal(t *testing.T, err error, name string, cwmp, usp uint32) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.DBus != "org.smmd.Error."+name || e.CWMP != cwmp || e.USP != usp || !strings.HasPrefix(e.Message, "cannot ") {
		t.Errorf("the call ended with %v, want %s %d %d", err, name, cwmp, usp)
	}
}

// traces is what a failed operation must leave as it was.
type traces struct {
	Rows     objects
	Packages []string
	Bundles  []support.Bundle
	Stored   []support.StoredBundle
}

func tracesOf(t *testing.T, d *support.Device, c *support.Console) traces {
	t.Helper()
	return traces{rows(t, d), d.Packages(), c.Bundles(), d.Stored(c.Env)}
}

// Every install that cannot be done fails with its own fault and leaves nothing: no row, no file, no bundle.
func TestInstallFaults(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := support.Boot(t, support.Options{
			Programs: programs, Envs: []support.Env{{Framework: framework}, {Name: "off", Disabled: true}},
			Config: "[packages]\nmax_size = \"4MiB\"\nquota = \"4MiB\"\n",
		})
		c := d.InstallConsole(framework)
		there := d.Install("sample-1.0.0.jar", framework)
		agree(t, d, framework, c)
		sample := d.Content("sample-2.0.0.jar")
		locked := fileserver.Auth{Username: "field", Password: "correct", Schemes: []string{"basic"}}

		before := tracesOf(t, d, c)
		for _, test := range []struct {
			name, url string
			options   client.InstallOptions
			fault     string
			cwmp, usp uint32
			atOnce    bool // as an error of the call and not in a job
		}{
			{name: "a jar that is no bundle", url: d.URL("plain.jar"), fault: "DUExecEnvMismatch", cwmp: 9025, usp: 7225},
			{name: "a truncated jar", url: d.URL("truncated.jar"), fault: "PackageCorrupt", cwmp: 9018, usp: 7035},
			{name: "a manifest that is damaged", url: d.URL("bad-version.jar"), fault: "PackageCorrupt", cwmp: 9018, usp: 7035},
			{name: "the same bundle again", url: d.URL("sample-1.0.0.jar"), fault: "DuplicateDU", cwmp: 9026, usp: 7226},
			{name: "the same bundle by its UUID", url: d.URL("sample-1.0.0.jar"), options: client.InstallOptions{UUID: there.UUID}, fault: "DuplicateDU", cwmp: 9026, usp: 7226},
			{name: "the same bundle by another UUID, which the framework refuses", url: d.URL("sample-1.0.0.jar"), options: client.InstallOptions{UUID: "11111111-2222-3333-4444-555555555555"}, fault: "DuplicateDU", cwmp: 9026, usp: 7226},
			{name: "a malformed UUID", url: d.URL("sample-2.0.0.jar"), options: client.InstallOptions{UUID: "not-a-uuid"}, fault: "InvalidUUID", cwmp: 9022, usp: 7004, atOnce: true},
			{name: "an unknown environment", url: d.URL("sample-2.0.0.jar"), options: client.InstallOptions{ExecEnv: "nowhere"}, fault: "UnknownExecEnv", cwmp: 9023, usp: 7223, atOnce: true},
			{name: "a disabled environment", url: d.URL("sample-2.0.0.jar"), options: client.InstallOptions{ExecEnv: "off"}, fault: "DisabledExecEnv", cwmp: 9024, usp: 7012, atOnce: true},
			{name: "no credentials", url: d.Serve("/locked.jar", fileserver.File{Content: sample, Auth: locked}), fault: "TransferAuthentication", cwmp: 9012, usp: 7002},
			{name: "wrong credentials", url: d.Files.URL + "/locked.jar", options: client.InstallOptions{Username: "field", Password: "wrong"}, fault: "TransferAuthentication", cwmp: 9012, usp: 7002},
			{name: "a file that is not there", url: d.Files.URL + "/nothing.jar", fault: "TransferFileUnavailable", cwmp: 9016, usp: 7033},
			{name: "a refused connection", url: "http://" + closedPort(t) + "/x.jar", fault: "TransferServerUnreachable", cwmp: 9015, usp: 7033},
			{name: "a server that nobody vouches for", url: stranger(t) + "/x.jar", fault: "TransferInsecure", cwmp: 9015, usp: 7034},
			{name: "a cut in the body", url: d.Serve("/cut.jar", fileserver.File{Content: sample, Cut: fileserver.Bytes(200), Range: fileserver.RangeIgnored}), fault: "TransferIncomplete", cwmp: 9017, usp: 7033},
			{name: "an unsupported scheme", url: "gopher://127.0.0.1/x.jar", fault: "TransferProtocolUnsupported", cwmp: 9013, usp: 7004},
			{name: "user information in the URL", url: "http://field:secret@127.0.0.1/x.jar", fault: "InvalidArguments", cwmp: 9003, usp: 7004, atOnce: true},
			{name: "no URL", url: "", fault: "InvalidArguments", cwmp: 9003, usp: 7004, atOnce: true},
			{name: "larger than the limit, as it says", url: d.Serve("/large.jar", fileserver.File{Content: d.Content("large-1.0.0.jar")}), fault: "SystemResourcesExceeded", cwmp: 9027, usp: 7227},
			{name: "larger than the limit, without saying so", url: d.Serve("/larger.jar", fileserver.File{Content: d.Content("large-1.0.0.jar"), Length: fileserver.Bytes(-1)}), fault: "SystemResourcesExceeded", cwmp: 9027, usp: 7227},
			{name: "larger than what the quota leaves", url: d.Serve("/quota.jar", fileserver.File{Content: make([]byte, 4<<20-1000)}), fault: "SystemResourcesExceeded", cwmp: 9027, usp: 7227},
		} {
			t.Run(test.name, func(t *testing.T) {
				if test.options.ExecEnv == "" {
					test.options.ExecEnv = framework
				}
				path, err := d.Client.Install(t.Context(), test.url, test.options)
				if test.atOnce {
					wantRefusal(t, err, test.fault, test.cwmp, test.usp)
				} else {
					j := d.Job(path, err)
					wantFault(t, j, test.fault, test.cwmp, test.usp)
					if len(j.Objects) > 0 {
						t.Errorf("the job of a failed install names %v", j.Objects)
					}
				}
				unchanged(t, before, d, c)
			})
		}
		agree(t, d, framework, c)
	})
}

// unchanged checks that nothing is left of an operation that failed. Packages are collected a moment after it.
func unchanged(t *testing.T, before traces, d *support.Device, c *support.Console) {
	t.Helper()
	support.Until(t, "nothing is left", func() error {
		if after := tracesOf(t, d, c); !reflect.DeepEqual(before, after) {
			return errors.New(cmp.Diff(before.Packages, after.Packages) + cmp.Diff(before.Bundles, after.Bundles) + cmp.Diff(before.Stored, after.Stored) +
				cmp.Diff(plain(before.Rows), plain(after.Rows)))
		}
		return nil
	})
}

// plain returns rows in a form that can be compared and shown.
func plain(all objects) map[string]any {
	out := map[string]any{}
	for path, ifaces := range all {
		for _, properties := range ifaces {
			for name, v := range properties {
				out[string(path)+" "+name] = v.Value()
			}
		}
	}
	return out
}

// stranger returns the URL of a server whose certificate no known authority has signed.
func stranger(t *testing.T) string {
	t.Helper()
	s, err := fileserver.Start(fileserver.Options{TLS: fileserver.Good})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s.URL
}

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nobody has connected
	return l.Addr().String()
}

// An update that cannot be done leaves the old version as it was, running.
func TestUpdateAndUninstallFaults(t *testing.T) {
	either(t, "equinox", func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		u := d.Install("sample-1.5.0.jar", framework)
		agree(t, d, framework, c)
		before := tracesOf(t, d, c)
		for _, test := range []struct {
			name, url, fault string
			cwmp, usp        uint32
		}{
			{"a truncated jar", d.URL("truncated.jar"), "PackageCorrupt", 9018, 7035},
			{"a jar that is no bundle", d.URL("plain.jar"), "DUExecEnvMismatch", 9025, 7225},
			{"a file that is not there", d.Files.URL + "/nothing.jar", "TransferFileUnavailable", 9016, 7033},
			{"the version that it has", d.URL("sample-1.5.0.jar"), "VersionExists", 9032, 7226},
		} {
			t.Run(test.name, func(t *testing.T) {
				wantFault(t, d.Job(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: test.url})), test.fault, test.cwmp, test.usp)
				unchanged(t, before, d, c)
			})
		}
		_, err := d.Client.Uninstall(t.Context(), client.ObjectPath(client.KindDeploymentUnit, 4000))
		if !client.IsName(err, "UnknownObject") {
			t.Errorf("the removal of what is not there ended with %v", err)
		}
		unchanged(t, before, d, c)
	})
}

// A bundle that ends the whole framework does no lasting harm: its start is tried three times and fails, and the environment comes back
// with everything else.
func TestABundleThatEndsTheFramework(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		d := boot(t, support.Env{Framework: framework})
		c := d.InstallConsole(framework)
		sample := d.Install("sample-1.0.0.jar", framework)
		no := false
		u := d.InstallWith(d.URL("exit-1.0.0.jar"), client.InstallOptions{ExecEnv: framework, AutoStart: &no})
		agree(t, d, framework, c)
		j := d.Job(d.Client.Start(t.Context(), u.EU.Object))
		if j.State != client.JobFailed || j.FaultName == "" {
			t.Error(show(j))
		}
		d.Up()
		log, err := os.ReadFile(filepath.Join(d.State, "env", framework, "host.log"))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(log), "=== launch"); n != 1+3 {
			t.Errorf("the framework was launched %d times", n)
		}
		c = d.Console(framework)
		agree(t, d, framework, c)
		wantUnit(t, d, sample, "1.0.0", "Active", true)
		if eu := d.Unit(u.Object).EU; eu.AutoStart {
			t.Error("its AutoStart is true")
		}
		wantExecution(t, d, u, "FailureOnStart", "")
		d.Done(d.Client.Uninstall(t.Context(), u.Object))
		agree(t, d, framework, c)
	})
}

// What an execution unit cannot do is a fault of its own and none of its deployment unit.
func TestExecutionFaults(t *testing.T) {
	each(t, func(t *testing.T, framework string) {
		release := filepath.Join(t.TempDir(), "fail")
		if err := os.WriteFile(release, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		d := boot(t, support.Env{Framework: framework, Properties: map[string]string{"smmd.test.fail": release}})
		c := d.InstallConsole(framework)
		for _, test := range []struct {
			bundle, message string
			auto, explicit  string // ExecutionFaultCode
			job             string // fault of an explicit start
		}{
			{"throws-in-start-1.0.0.jar", "boom on purpose", "FailureOnAutoStart", "FailureOnStart", "StartFailed"},
			{"throws-null-1.0.0.jar", "java.lang.UnsupportedOperationException", "FailureOnAutoStart", "FailureOnStart", "StartFailed"},
			{"throws-huge-1.0.0.jar", strings.Repeat("x", 255) + "…", "FailureOnAutoStart", "FailureOnStart", "StartFailed"},
			{"fails-on-file-1.0.0.jar", "refused by " + release, "FailureOnAutoStart", "FailureOnStart", "StartFailed"},
			{"missing-import-1.0.0.jar", "", "DependencyFailure", "DependencyFailure", "DependencyUnresolved"},
			{"missing-activator-1.0.0.jar", "", "FailureOnAutoStart", "FailureOnStart", "StartFailed"},
		} {
			t.Run(test.bundle, func(t *testing.T) {
				u := d.Install(test.bundle, framework)
				wantExecution(t, d, u, test.auto, test.message)
				agree(t, d, framework, c)
				j := d.Job(d.Client.Start(t.Context(), u.EU.Object))
				wantFault(t, j, test.job, 9001, 7002)
				wantExecution(t, d, u, test.explicit, test.message)
				agree(t, d, framework, c)
			})
		}

		t.Run("once the reason is gone it starts", func(t *testing.T) {
			if err := os.Remove(release); err != nil {
				t.Fatal(err)
			}
			u := unitNamed(t, d, "org.smmd.fails-on-file")
			d.Done(d.Client.Start(t.Context(), u.EU.Object))
			agree(t, d, framework, c)
			wantUnit(t, d, u, "1.0.0", "Active", true)
		})
		t.Run("an update to a version that is well", func(t *testing.T) {
			u := unitNamed(t, d, "org.smmd.throws-in-start")
			d.Done(d.Client.Update(t.Context(), u.Object, client.UpdateOptions{URL: d.URL("throws-in-start-1.0.1.jar")}))
			d.Done(d.Client.Start(t.Context(), u.EU.Object))
			agree(t, d, framework, c)
			wantUnit(t, d, u, "1.0.1", "Active", true)
		})
		t.Run("throws in stop", func(t *testing.T) {
			u := d.Install("throws-in-stop-1.0.0.jar", framework)
			wantUnit(t, d, u, "1.0.0", "Active", true)
			wantFault(t, d.Job(d.Client.Stop(t.Context(), u.EU.Object)), "StopFailed", 9001, 7002)
			wantExecution(t, d, u, "FailureOnStop", "stuck on purpose")
			agree(t, d, framework, c)
			d.Done(d.Client.Uninstall(t.Context(), u.Object))
			agree(t, d, framework, c)
		})
	})
}

// wantExecution waits until an execution unit is idle with a fault while its deployment unit is as it should be.
func wantExecution(t *testing.T, d control, u support.Unit, code, message string) {
	t.Helper()
	untilUnit(t, d, u, fmt.Sprintf("%s is installed, Idle with %s %q", u.Name, code, message), func(u support.Unit) bool {
		return u.Status == "Installed" && u.EU.Status == "Idle" && u.EU.FaultCode == code && u.EU.FaultMessage != "" && (message == "" || u.EU.FaultMessage == message)
	})
}

// unitNamed returns the one deployment unit of that name.
func unitNamed(t *testing.T, d *support.Device, name string) support.Unit {
	t.Helper()
	for _, u := range d.Tree().DeploymentUnits {
		if u.Name == name {
			return d.Unit(u.Object)
		}
	}
	t.Fatalf("there is no unit %s", name)
	return support.Unit{}
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// needBus skips a test where no bus can be run.
func needBus(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		ipctest.Missing(t, "dbus-daemon is missing")
	}
}

// start returns an agent on a bus of its own and a client of it.
func start(t *testing.T) (*ipctest.Agent, *client.Client) {
	t.Helper()
	needBus(t)
	agent := ipctest.New()
	return agent, dial(t, ipctest.Run(t, agent))
}

func dial(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// limited returns a context that ends long after everything should have happened.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// installed installs a unit and returns the tree after that.
func installed(t *testing.T, agent *ipctest.Agent, c *client.Client) *client.Tree {
	t.Helper()
	agent.Auto(true)
	defer agent.Auto(false)
	if _, err := c.Install(t.Context(), "http://files/sample.jar", client.InstallOptions{}); err != nil {
		t.Fatal(err)
	}
	tree, err := c.Tree(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func TestTree(t *testing.T) {
	agent, c := start(t)
	tree := installed(t, agent, c)
	if len(tree.ExecEnvs) != 2 || len(tree.DeploymentUnits) != 1 || len(tree.ExecutionUnits) != 1 || len(tree.Jobs) != 1 {
		t.Fatalf("the tree has %d, %d, %d, %d rows", len(tree.ExecEnvs), len(tree.DeploymentUnits), len(tree.ExecutionUnits), len(tree.Jobs))
	}
	osgi, lxc, du, eu, job := tree.ExecEnvs[0], tree.ExecEnvs[1], tree.DeploymentUnits[0], tree.ExecutionUnits[0], tree.Jobs[0]
	if osgi.ID != "osgi" || osgi.Status != "Up" || osgi.CurrentRunLevel != 1 || osgi.AllocatedDisk != -1 || osgi.AllocatedMemory != 65536 {
		t.Errorf("osgi = %+v", osgi)
	}
	if lxc.Parent != osgi.Object || osgi.Parent != "" || lxc.Status != "Disabled" || lxc.CurrentRunLevel != -1 {
		t.Errorf("lxc = %+v", lxc)
	}
	if du.Name != "sample" || du.ExecEnv != osgi.Object || !du.Resolved || !du.Installed.Equal(ipctest.Epoch) || !du.LastUpdate.IsZero() {
		t.Errorf("deployment unit = %+v", du)
	}
	if eu.DeploymentUnit != du.Object || eu.Status != "Active" || !cmp.Equal(osgi.ActiveExecutionUnits, du.ExecutionUnits) || du.ExecutionUnits[0] != eu.Object {
		t.Errorf("execution unit = %+v", eu)
	}
	if !job.Final() || job.Err() != nil || job.Progress != 1 || !job.StartTime.Equal(ipctest.Epoch) || job.BytesTotal != 1000 {
		t.Errorf("job = %+v", job)
	}
	if tree.ExecEnv(osgi.Object) != osgi || tree.DeploymentUnit(du.Object) != du || tree.ExecutionUnit(eu.Object) != eu || tree.Job(job.Object) != job {
		t.Error("rows are not found by their paths")
	}
	if tree.ExecEnv("") != nil || tree.Job(osgi.Object) != nil {
		t.Error("rows are found where there are none")
	}
}

func TestMethods(t *testing.T) {
	agent, c := start(t)
	tree := installed(t, agent, c)
	du, eu, env := tree.DeploymentUnits[0].Object, tree.ExecutionUnits[0].Object, tree.ExecEnvs[0].Object
	before := len(agent.Asked())
	agent.Auto(true)
	no, mebibyte, noLimit := false, int32(1024), int32(client.NoLimit)
	ctx := t.Context()
	for _, call := range []func() error{
		func() error {
			_, err := c.Install(ctx, "http://files/b.jar", client.InstallOptions{
				UUID: "00000000-0000-5000-8000-00000000000b", ExecEnv: string(env), Username: "u", Password: "p", AutoStart: &no})
			return err
		},
		func() error {
			_, err := c.Update(ctx, du, client.UpdateOptions{URL: "http://files/c.jar", Username: "u", Password: "p"})
			return err
		},
		func() error { _, err := c.Stop(ctx, eu); return err },
		func() error { _, err := c.Start(ctx, eu); return err },
		func() error { _, err := c.Restart(ctx, eu); return err },
		func() error { _, err := c.RestartExecEnv(ctx, env, "because"); return err },
		func() error {
			_, err := c.ModifyConstraints(ctx, env, client.Limits{Memory: &mebibyte, CPU: &noLimit}, true)
			return err
		},
		func() error {
			_, err := c.Update(ctx, du, client.UpdateOptions{Variables: map[string]string{}, Limits: client.Limits{Disk: &mebibyte}})
			return err
		},
		func() error {
			_, err := c.Update(ctx, du, client.UpdateOptions{RetainData: &no, Volumes: []client.VolumeOptions{
				{Name: "a", Capacity: 1 << 31, Encrypted: true, Retain: client.RetainForever, AccessPath: "/a"},
				{Name: "b", Capacity: 1, Retain: client.RetainUntilStopped, AccessPath: "/b"},
			}})
			return err
		},
		func() error { return c.SetRunLevel(ctx, env, 7) },
		func() error { return c.SetProperty(ctx, env, "Alias", "home") },
		func() error { return c.RecordBaseline(ctx, client.BaselineUSP, "boot 7") },
		func() error { _, err := c.ResetExecEnv(ctx, env, client.BaselineUSP); return err },
		func() error { _, err := c.Uninstall(ctx, du); return err },
		func() error { _, err := c.ResetExecEnv(ctx, env, ""); return err },
	} {
		if err := call(); err != nil {
			t.Error(err)
		}
	}
	install := agent.Asked()[before].(model.InstallRequest)
	if install.ExecEnv != "osgi" || install.Username != "u" || install.Password != "p" || install.UUID == "" || install.AutoStart == nil || *install.AutoStart {
		t.Errorf("installation asked: %+v", install)
	}
	var got []string
	for _, a := range agent.Asked()[before+1:] {
		switch a := a.(type) {
		case model.UpdateRequest:
			line := fmt.Sprint("update ", a.DU, a.URL, a.Username, a.Password)
			if a.RetainData != nil {
				line += fmt.Sprint(" ", *a.RetainData, a.Volumes)
			}
			if a.Variables != nil {
				line += fmt.Sprint(" ", a.Variables, *a.Limits.Disk, a.Limits.Memory, a.Limits.CPU)
			}
			got = append(got, line)
		case model.ConstrainRequest:
			got = append(got, fmt.Sprint("constrain ", a.Instance, a.Limits.Disk, *a.Limits.Memory, *a.Limits.CPU, a.Force))
		case ipctest.Request:
			got = append(got, fmt.Sprint("request ", a.EU, a.Request))
		case ipctest.Restart:
			got = append(got, fmt.Sprint("restart ", a.Instance, a.Reason))
		case ipctest.Baseline:
			got = append(got, fmt.Sprint("baseline ", a.Kind, a.Token))
		case ipctest.Reset:
			got = append(got, fmt.Sprint("reset ", a.Instance, a.Kind))
		case ipctest.Set:
			got = append(got, fmt.Sprint("set ", a.Assignments[0].Attribute, a.Assignments[0].Value))
		case model.UninstallRequest:
			got = append(got, fmt.Sprint("uninstall ", a.DU))
		}
	}
	want := []string{"update 1http://files/c.jarup", "request 2Idle", "request 2Active", "request 2Restart", "restart 1because",
		"constrain 1 <nil> 1024 0 true", "update 1 [] 1024 <nil> <nil>",
		"update 1 false [{a 2147483648 true Forever /a} {b 1 false UntilStopped /b}]",
		"set RequestedRunLevel7", "set Aliashome", "baseline uspboot 7", "reset 1usp", "uninstall 1", "reset 1cwmp"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}

	info, err := c.Info(ctx)
	if err != nil || info != (client.Info{Version: "1.2.3", DataModel: "Device:2.19", State: "running"}) {
		t.Errorf("Info() = %+v, %v", info, err)
	}
	adapters, err := c.Adapters(ctx)
	if err != nil || len(adapters) != 2 || !cmp.Equal(adapters[1], client.Adapter{
		Name: "osgi", Version: "0.1", Capabilities: []string{"auto-start", "run-level"}, State: "running", PID: 4711}) || adapters[0].Restarts != 5 {
		t.Errorf("Adapters() = %+v, %v", adapters, err)
	}
}

func TestErrors(t *testing.T) {
	agent, c := start(t)
	agent.Refuse(fault.Errorf(fault.DuplicateDU, "cannot install x: it is there"))
	_, err := c.Install(t.Context(), "http://files/x.jar", client.InstallOptions{})
	var e *client.Error
	if !errors.As(err, &e) || e.Name != "DuplicateDU" || e.Message != "cannot install x: it is there" || e.CWMP == 0 || e.USP == 0 {
		t.Errorf("a refusal is %+v", err)
	}
	_, err = c.Job(t.Context(), client.ObjectPath(client.KindJob, 99))
	if !client.IsName(err, "UnknownObject") {
		t.Errorf("a job that does not exist is %v", err)
	}
	if err := c.RecordBaseline(t.Context(), "tr069", ""); !client.IsName(err, "InvalidArguments") {
		t.Errorf("an unknown baseline is %v", err)
	}
	if _, err := c.ResetExecEnv(t.Context(), client.ObjectPath(client.KindExecEnv, 1), "tr069"); !client.IsName(err, "InvalidArguments") {
		t.Errorf("a Reset to an unknown baseline is %v", err)
	}
	if err := c.SetProperty(t.Context(), client.ObjectPath(client.KindExecEnv, 1), "Enable", "yes"); !client.IsName(err, "InvalidArgs") {
		t.Errorf("a value of the wrong type is %v", err)
	}
	for _, path := range []string{"", "/elsewhere", "no path"} {
		if _, err := c.WaitJob(t.Context(), "/elsewhere", nil); err == nil {
			t.Errorf("WaitJob(%q) is no error", path)
		}
	}
	if _, err := c.Start(t.Context(), "no path"); err == nil {
		t.Error("a path that is none is no error")
	}
}

func TestParameters(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	values, err := c.GetParameterValues(ctx, "Device.SoftwareModules.ExecEnv.1.Enable", "Device.SoftwareModules.ExecEnv.1.CurrentRunLevel")
	want := []client.Parameter{
		{Path: "Device.SoftwareModules.ExecEnv.1.Enable", Type: "xsd:boolean", Value: "1"},
		{Path: "Device.SoftwareModules.ExecEnv.1.CurrentRunLevel", Type: "xsd:int", Value: "1"},
	}
	if err == nil && len(values) == 2 && values[0].Value == "true" {
		want[0].Value = "true"
	}
	if diff := cmp.Diff(want, values); diff != "" || err != nil {
		t.Errorf("values: %v\n%s", err, diff)
	}
	names, err := c.GetParameterNames(ctx, "Device.SoftwareModules.ExecEnv.", true)
	if err != nil || len(names) != 2 || names[0].Path != "Device.SoftwareModules.ExecEnv.1." || names[0].Writable {
		t.Errorf("names = %+v, %v", names, err)
	}
	if _, err := c.SetParameterValues(ctx, client.Parameter{Path: "Device.SoftwareModules.ExecEnv.1.Alias", Type: "xsd:string", Value: "home"}); err != nil {
		t.Error(err)
	}
	if values, err := c.GetParameterValues(ctx, "Device.SoftwareModules.ExecEnv.1.Alias"); err != nil || values[0].Value != "home" {
		t.Errorf("Alias = %+v, %v", values, err)
	}
	_, err = c.SetParameterValues(ctx,
		client.Parameter{Path: "Device.SoftwareModules.ExecEnv.1.Alias", Value: "other"},
		client.Parameter{Path: "Device.SoftwareModules.ExecEnv.1.Status", Value: "Up"})
	var e *client.Error
	if !errors.As(err, &e) || e.CWMP == 0 {
		t.Fatalf("writing what cannot be written is %v", err)
	}
	if f := e.Parameters(); len(f) != 1 || f[0].Path != "Device.SoftwareModules.ExecEnv.1.Status" || f[0].CWMP != 9008 || f[0].Message == "" {
		t.Errorf("faults of the parameters: %+v", f)
	}
}

func TestUnreachable(t *testing.T) {
	needBus(t)
	_, err := client.Dial(t.Context(), "unix:path="+filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("without a bus: %v", err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := client.Dial(canceled, "unix:path=/nowhere"); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}

	address := ipctest.Bus(t)
	c := dial(t, address)
	ctx := limited(t)
	for name, call := range map[string]func() error{
		"Tree":    func() error { _, err := c.Tree(ctx); return err },
		"WaitJob": func() error { _, err := c.WaitJob(ctx, client.ObjectPath(client.KindJob, 1), nil); return err },
		"Watch":   func() error { return c.Watch(ctx, func(client.Event) error { return nil }) },
	} {
		if err := call(); !errors.Is(err, client.ErrUnreachable) {
			t.Errorf("%s without an agent: %v", name, err)
		}
	}
	if _, err := c.Tree(canceled); !errors.Is(err, context.Canceled) || errors.Is(err, client.ErrUnreachable) {
		t.Errorf("interrupted: %v", err)
	}

	// The agent comes later: the same client finds it.
	ipctest.Serve(t, address, ipctest.New(), dbus.Options{})
	if _, err := c.Tree(ctx); err != nil {
		t.Error(err)
	}
	c.Close()
	if _, err := c.Tree(ctx); !errors.Is(err, client.ErrUnreachable) {
		t.Errorf("after Close: %v", err)
	}
}

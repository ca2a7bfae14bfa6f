package usp_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/usp"
)

// input reads arguments name=value, separated by blanks.
func input(text string) map[string]string {
	args := map[string]string{}
	for _, w := range strings.Fields(text) {
		k, v, _ := strings.Cut(w, "=")
		args[k] = v
	}
	return args
}

// executed writes an answer as lines: command, and its job or code.
func executed(results []usp.Executed) string {
	var lines []string
	for _, r := range results {
		line := strings.TrimPrefix(r.Command, sm)
		switch {
		case r.Code != 0:
			line += fmt.Sprintf(" %d", r.Code)
		case r.Job != 0:
			line += fmt.Sprintf(" job %d", r.Job)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, ", ")
}

func kib(n int64) *int64 { return &n }

func percent(n int) *int { return &n }

func boolean(b bool) *bool { return &b }

func TestOperate(t *testing.T) {
	install := func(env string) model.InstallRequest { return model.InstallRequest{URL: "http://h/x", ExecEnv: env} }
	// Data is not retained where nothing is said.
	update := func(r model.UpdateRequest) model.UpdateRequest { r.DU, r.RetainData = 5, boolean(false); return r }
	for _, tc := range []struct {
		command string
		input   string
		want    string // "!code" is a failure of the message
		asked   []any
	}{
		{"InstallDU()", "URL=http://h/x", "InstallDU() job 1", []any{install("")}},
		{"InstallDU()", "URL=http://h/x UUID=u Username=n Password=p ExecutionEnvRef=lxc", "InstallDU() job 1",
			[]any{model.InstallRequest{URL: "http://h/x", UUID: "u", ExecEnv: "lxc", Username: "n", Password: "p"}}},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=f3a1", "InstallDU() job 1", []any{install("osgi")}},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=Device.SoftwareModules.ExecEnv.2", "InstallDU() job 1", []any{install("lxc")}},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=Device.SoftwareModules.ExecEnv.2.", "InstallDU() job 1", []any{install("lxc")}},
		{"InstallDU()", `URL=http://h/x ExecutionEnvRef=Device.SoftwareModules.ExecEnv.[Alias=="cpe-lxc"]`, "InstallDU() job 1", []any{install("lxc")}},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=", "InstallDU() job 1", []any{install("")}},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=nowhere", "InstallDU() 7016", nil},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=Device.SoftwareModules.ExecEnv.", "InstallDU() 7016", nil},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=Device.SoftwareModules.ExecEnv.*.", "InstallDU() 7016", nil},
		{"InstallDU()", "URL=http://h/x ExecutionEnvRef=Device.SoftwareModules.DeploymentUnit.5", "InstallDU() 7016", nil},
		{"InstallDU()", "URL=http://h/x Bogus=1 Bo.1.gus=2 RetainData=true", "InstallDU() job 1", []any{install("")}}, // unknown here
		{"InstallDU()", "URL=http://h/x ModuleVersion=blue AutoRestart.Enable=true AutoRestart.RetryMinimumWaitInterval=1 " +
			"AutoRestart.RetryMaximumWaitInterval=4294967295 AutoRestart.RetryIntervalMultiplier=3 AutoRestart.ResetPeriod=5", "InstallDU() job 1",
			[]any{model.InstallRequest{URL: "http://h/x", ModuleVersion: "blue", AutoRestart: &model.AutoRestart{
				Enable: true, Minimum: 1, Maximum: 4294967295, Multiplier: 3, Retries: 10, Reset: 5,
			}}}},
		{"InstallDU()", "URL=http://h/x AutoRestart.Enable=true", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.10.Key=LAST EnvVariable.10.Value=a=b EnvVariable.2.Key=FIRST EnvVariable.2.Value=", "InstallDU() job 1",
			[]any{model.InstallRequest{URL: "http://h/x", Variables: []model.VariableRequest{{Key: "FIRST"}, {Key: "LAST", Value: "a=b"}}}}},
		{"InstallDU()", "URL=http://h/x EnvVariable.1.Key=A EnvVariable.1.Value=1 EnvVariable.2.Key=A EnvVariable.2.Value=1", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.1.Key=A", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.1.Value=1", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.1.Key= EnvVariable.1.Value=1", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.1.Key=A=B EnvVariable.1.Value=1", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.1.Key=A EnvVariable.1.Value=" + strings.Repeat("v", 2049), "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.1.Key=A EnvVariable.1.Value=" + "\x01", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x EnvVariable.0.Key=A EnvVariable.x.Key=B", "InstallDU() job 1", []any{install("")}}, // unknown here
		{"InstallDU()", "URL=http://h/x Resources.AllocatedMemory=65536 Resources.AllocatedCPUPercent=25", "InstallDU() job 1",
			[]any{model.InstallRequest{URL: "http://h/x", Limits: model.LimitsRequest{Disk: kib(0), Memory: kib(65536), CPU: percent(25)}}}},
		{"InstallDU()", "URL=http://h/x Resources.AllocatedDiskSpace=-1 Resources.AllocatedMemory=-1 Resources.AllocatedCPUPercent=-1", "InstallDU() job 1",
			[]any{model.InstallRequest{URL: "http://h/x", Limits: model.LimitsRequest{Disk: kib(0), Memory: kib(0), CPU: percent(0)}}}},
		{"InstallDU()", "URL=http://h/x Resources.AllocatedDiskSpace=0", "InstallDU() 7004", nil},
		{"InstallDU()", "URL=http://h/x Resources.AllocatedDiskSpace=-2", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x Resources.AllocatedCPUPercent=101", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x ApplicationData.12.Name=db ApplicationData.12.Capacity=4294967295 ApplicationData.12.Retain=Forever ApplicationData.12.AccessPath=/var/lib/db " +
			"ApplicationData.3.Name=cache ApplicationData.3.Capacity=16 ApplicationData.3.Encrypted=false ApplicationData.3.Retain=UntilStopped ApplicationData.3.AccessPath=/cache", "InstallDU() job 1",
			[]any{model.InstallRequest{URL: "http://h/x", Volumes: []model.VolumeRequest{
				{Name: "cache", Capacity: 16, Retain: model.UntilStopped, AccessPath: "/cache"},
				{Name: "db", Capacity: model.MaxCapacity, Encrypted: true, Retain: model.Forever, AccessPath: "/var/lib/db"},
			}}}},
		// What the agent has a rule for is its own to refuse.
		{"InstallDU()", "URL=http://h/x ApplicationData.1.Name= ApplicationData.1.Capacity=0 ApplicationData.1.Encrypted=0 ApplicationData.1.Retain=Forever ApplicationData.1.AccessPath=a/..", "InstallDU() job 1",
			[]any{model.InstallRequest{URL: "http://h/x", Volumes: []model.VolumeRequest{{Retain: model.Forever, AccessPath: "a/.."}}}}},
		{"InstallDU()", "URL=http://h/x ApplicationData.1.Name=db ApplicationData.1.Capacity=1 ApplicationData.1.Retain=Forever", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x ApplicationData.1.Encrypted=false", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x ApplicationData.1.Name=db ApplicationData.1.Capacity=4294967296 ApplicationData.1.Retain=Forever ApplicationData.1.AccessPath=/d", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x ApplicationData.1.Name=db ApplicationData.1.Capacity=1 ApplicationData.1.Retain=Always ApplicationData.1.AccessPath=/d", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x ApplicationData.1.Name=" + strings.Repeat("n", 65) + " ApplicationData.1.Capacity=1 ApplicationData.1.Retain=Forever ApplicationData.1.AccessPath=/d", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x ApplicationData.0.Name=db ApplicationData.x.Name=db", "InstallDU() job 1", []any{install("")}}, // unknown here
		{"InstallDU()", "UUID=u", "InstallDU() 7027", nil},
		{"InstallDU()", "UUID=u Signature=x", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x Privileged=perhaps", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x UUID=" + strings.Repeat("u", 37), "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x RequiredRoles=Admin", "InstallDU() 7004", nil},
		{"InstallDU()", "URL=http://h/x HostObject.1.Source=/a HostObject.1.Destination=/b", "InstallDU() 7004", nil},
		{"InstallDU()", "URL=http://h/x HostObject.1.Source=/a", "InstallDU() 7027", nil},
		{"InstallDU()", "URL=http://h/x NetworkConfig.AccessInterfaces=lan", "InstallDU() 7004", nil},
		{"DeploymentUnit.5.Update()", "URL=http://h/y Username=n Password=p", "DeploymentUnit.5.Update() job 1",
			[]any{update(model.UpdateRequest{URL: "http://h/y", Username: "n", Password: "p"})}},
		{"DeploymentUnit.5.Update()", "ModuleVersion=", "DeploymentUnit.5.Update() job 1", []any{update(model.UpdateRequest{ModuleVersion: new(string)})}},
		{"DeploymentUnit.5.Update()", "EnvVariable.3.Key=A EnvVariable.3.Value=1 Resources.AllocatedDiskSpace=7 Resources.AllocatedMemory=-1", "DeploymentUnit.5.Update() job 1",
			[]any{update(model.UpdateRequest{Variables: []model.VariableRequest{{Key: "A", Value: "1"}}, Limits: model.LimitsRequest{Disk: kib(7), Memory: kib(0)}})}},
		{"DeploymentUnit.5.Update()", "Resources.AllocatedCPUPercent=0", "DeploymentUnit.5.Update() 7004", nil},
		{"DeploymentUnit.5.Update()", "EnvVariable.1.Key=A", "DeploymentUnit.5.Update() 7027", nil},
		{"DeploymentUnit.5.Update()", "", "DeploymentUnit.5.Update() job 1", []any{update(model.UpdateRequest{})}},
		{"DeploymentUnit.5.Update()", "RetainData=0 ApplicationData.3.Name=db ApplicationData.3.Capacity=1 ApplicationData.3.Encrypted=true ApplicationData.3.Retain=UntilStopped " +
			"ApplicationData.3.AccessPath=/d", "DeploymentUnit.5.Update() job 1",
			[]any{update(model.UpdateRequest{Volumes: []model.VolumeRequest{{Name: "db", Capacity: 1, Encrypted: true, Retain: model.UntilStopped, AccessPath: "/d"}}})}},
		{"DeploymentUnit.5.Update()", "RetainData=true", "DeploymentUnit.5.Update() job 1", []any{model.UpdateRequest{DU: 5, RetainData: boolean(true)}}},
		{"DeploymentUnit.5.Update()", "RetainData=", "DeploymentUnit.5.Update() 7027", nil},
		{"DeploymentUnit.5.Update()", "ApplicationData.3.Name=db", "DeploymentUnit.5.Update() 7027", nil},
		{"DeploymentUnit.*.Uninstall()", "", "DeploymentUnit.5.Uninstall() job 1, DeploymentUnit.6.Uninstall() job 2", []any{"uninstall 5", "uninstall 6"}},
		{"DeploymentUnit.*.Uninstall()", "RetainData=true", "DeploymentUnit.5.Uninstall() job 1, DeploymentUnit.6.Uninstall() job 2",
			[]any{"uninstall 5 and retain data", "uninstall 6 and retain data"}},
		{"DeploymentUnit.5.Uninstall()", "RetainData=maybe", "DeploymentUnit.5.Uninstall() 7027", nil},
		{`DeploymentUnit.[Resolved==true].Uninstall()`, "RetainData=false", "DeploymentUnit.5.Uninstall() job 1", []any{"uninstall 5"}},
		{`DeploymentUnit.[Status=="Updating"].Uninstall()`, "", "", nil},
		{"DeploymentUnit.9.Uninstall()", "", "DeploymentUnit.9.Uninstall() 7016", nil},
		{`DeploymentUnit.[Alias=="x"].Uninstall()`, "", `DeploymentUnit.[Alias=="x"].Uninstall() 7016`, nil},
		{"ExecEnv.1.Restart()", "Reason=why", `ExecEnv.1.Restart() job 1`, []any{`restart 1 "why"`}},
		{"DeploymentUnit.*.ExecutionEnvRef+.Restart()", "", `ExecEnv.1.Restart() job 1`, []any{`restart 1 ""`}},
		{"ExecEnv.1.ModifyConstraints()", "AllocatedMemory=1024", "ExecEnv.1.ModifyConstraints() job 1",
			[]any{model.ConstrainRequest{Instance: 1, Limits: model.LimitsRequest{Memory: kib(1024)}}}},
		{"ExecEnv.2.ModifyConstraints()", "Force=true AllocatedDiskSpace=-1 AllocatedCPUPercent=100", "ExecEnv.2.ModifyConstraints() job 1",
			[]any{model.ConstrainRequest{Instance: 2, Force: true, Limits: model.LimitsRequest{Disk: kib(0), CPU: percent(100)}}}},
		{"ExecEnv.1.ModifyConstraints()", "", "ExecEnv.1.ModifyConstraints() job 1", []any{model.ConstrainRequest{Instance: 1}}},
		{"ExecEnv.1.ModifyConstraints()", "AllocatedMemory=0", "ExecEnv.1.ModifyConstraints() 7004", nil},
		{"ExecEnv.1.ModifyConstraints()", "AllocatedMemory=much", "ExecEnv.1.ModifyConstraints() 7027", nil},
		{"ExecEnv.1.ModifyConstraints()", "Force=perhaps", "ExecEnv.1.ModifyConstraints() 7027", nil},
		{"ExecEnv.1.Reset()", "", "ExecEnv.1.Reset() job 1", []any{"reset 1 usp"}},
		{"ExecEnv.1.SetRunLevel()", "RequestedRunLevel=4", "ExecEnv.1.SetRunLevel()",
			[]any{[]model.Assignment{{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.RequestedRunLevel, Value: 4}}}},
		{"ExecEnv.1.SetRunLevel()", "RequestedRunLevel=70000", "ExecEnv.1.SetRunLevel() 7027", nil},
		{"ExecEnv.*.SetRunLevel()", "", "ExecEnv.1.SetRunLevel() 7027, ExecEnv.2.SetRunLevel() 7027", nil},
		{"ExecutionUnit.3.SetRequestedState()", "RequestedState=Idle", "ExecutionUnit.3.SetRequestedState()", []any{"Idle 3"}},
		{"ExecutionUnit.3.SetRequestedState()", "RequestedState=Dance", "ExecutionUnit.3.SetRequestedState() 7027", nil},
		{"ExecEnv.1.ActiveExecutionUnits#*+.Restart()", "", "ExecutionUnit.3.Restart()", []any{"Restart 3"}},
		{"ExecEnv.1.ApplicationData.3.Remove()", "", "ExecEnv.1.ApplicationData.3.Remove()", []any{"remove volume 3"}},
		{`ExecEnv.[Name=="lxc"].ApplicationData.*.Remove()`, "Force=true", "ExecEnv.2.ApplicationData.9.Remove()", []any{"remove volume 9"}},
		{`ExecEnv.1.ApplicationData.[ApplicationUUID=="u7"&&Name=="db"].Remove()`, "", "ExecEnv.1.ApplicationData.3.Remove()", []any{"remove volume 3"}},
		{`ExecEnv.1.ApplicationData.[ApplicationUUID=="u5"].Remove()`, "", "ExecEnv.1.ApplicationData.2.Remove(), ExecEnv.1.ApplicationData.10.Remove()",
			[]any{"remove volume 2", "remove volume 10"}},
		{"ExecutionUnit.3.ApplicationDataList#2+.Remove()", "", "ExecEnv.1.ApplicationData.10.Remove()", []any{"remove volume 10"}},
		{`ExecEnv.1.ApplicationData.[Utilization>8].Remove()`, "", "", nil},
		{"ExecEnv.1.ApplicationData.9.Remove()", "", "ExecEnv.1.ApplicationData.9.Remove() 7016", nil}, // it is on the other environment
		{`ExecEnv.1.ApplicationData.[ApplicationUUID=="u7"&&Name=="x"].Remove()`, "", `ExecEnv.1.ApplicationData.[ApplicationUUID=="u7"&&Name=="x"].Remove() 7016`, nil},

		{"RemoveDU()", "", "!7026", nil},
		{"DeploymentUnit.*.Start()", "", "!7026", nil},
		{"DeploymentUnit.5.UUID", "", "!7026", nil},
		{"DUStateChange!", "", "!7026", nil},
		{"InstallDU(URL)", "", "!7008", nil},
		{"DeploymentUnit.[Resolved==maybe].Uninstall()", "", "!7008", nil},
	} {
		a := newAgentWithData()
		got, err := usp.New(a, "").Operate(t.Context(), usp.Call{Command: sm + tc.command, CommandKey: "key", Input: input(tc.input), Originator: "proto::c"})
		text := executed(got)
		if err != nil {
			text = "!" + failed(err)
		}
		if text != tc.want || !cmp.Equal(a.asked, tc.asked) {
			t.Errorf("%s(%s): %s, want %s; what the agent is asked differs by\n%s", tc.command, tc.input, text, tc.want, cmp.Diff(tc.asked, a.asked))
		}
		if len(a.asked) == 0 {
			continue
		}
		want := model.Origin{Name: "proto::c"}
		if last := got[len(got)-1]; last.Job != 0 {
			want.Command, want.CommandKey = last.Command, "key"
		}
		if a.origin != want {
			t.Errorf("%s: the originator is %+v, want %+v", tc.command, a.origin, want)
		}
	}
}

// Each refusal of the agent is told for the execution, in the numbers of Operate; none makes the message fail.
func TestOperateThatTheAgentRefuses(t *testing.T) {
	for _, r := range fault.Reasons() {
		for command, args := range map[string]string{
			"InstallDU()": "URL=http://h/x", "DeploymentUnit.*.Update()": "", "DeploymentUnit.5.Uninstall()": "", "ExecEnv.1.Restart()": "", "ExecEnv.1.Reset()": "", "ExecEnv.1.ModifyConstraints()": "Force=true",
			"ExecEnv.1.SetRunLevel()": "RequestedRunLevel=1", "ExecutionUnit.3.SetRequestedState()": "RequestedState=Active", "ExecutionUnit.3.Restart()": "",
			"ExecEnv.1.ApplicationData.*.Remove()": "",
		} {
			a := newAgentWithData()
			a.err = fault.Errorf(r, "cannot do it")
			if command == "ExecEnv.1.SetRunLevel()" {
				a.refuse = func(model.Assignment) error { return a.err }
			}
			got, err := usp.New(a, "").Operate(t.Context(), usp.Call{Command: sm + command, Input: input(args)})
			if err != nil || len(got) == 0 {
				t.Fatalf("%s, %s: %+v, %v", command, r, got, err)
			}
			for _, x := range got {
				if x.Code != usp.Operate(r) || x.Text != "cannot do it" || x.Job != 0 {
					t.Errorf("%s, %s: %+v, want code %d", command, r, x, usp.Operate(r))
				}
			}
		}
	}
}

// A command for more objects than one answer can wait for is executed for none of them.
func TestOperateIsBounded(t *testing.T) {
	for _, tc := range []struct {
		units, asked int
		failure      string
	}{{256, 256, "<nil>"}, {257, 0, "7005"}} {
		a := newAgent()
		var units []*model.DeploymentUnit
		for i := range tc.units {
			units = append(units, &model.DeploymentUnit{ID: uint32(i + 1), Env: "osgi"})
		}
		a.snapshot = model.NewSnapshot([]*model.ExecEnv{{ID: "osgi", Instance: 1}}, units, nil, nil)
		got, err := usp.New(a, "").Operate(t.Context(), usp.Call{Command: sm + "DeploymentUnit.*.Uninstall()"})
		if text := failed(err); text != tc.failure || len(got) != tc.asked || len(a.asked) != tc.asked {
			t.Errorf("%d units: %s, %d results, the agent was asked %d times", tc.units, text, len(got), len(a.asked))
		}
	}
}

// Before 2.16 Reset() has no Request and there is no Restart().
func TestOperateInOlderVersion(t *testing.T) {
	a := newAgent()
	face := usp.New(a, softwaremodules.OlderVersion)
	got, err := face.Operate(t.Context(), usp.Call{Command: sm + "ExecEnv.1.Reset()", CommandKey: "key"})
	if err != nil || executed(got) != "ExecEnv.1.Reset()" || a.origin.Command != "" {
		t.Errorf("Reset(): %+v, %v, by %+v", got, err, a.origin)
	}
	for _, command := range []string{"ExecEnv.1.Restart()", "ExecEnv.1.ApplicationData.2.Remove()"} {
		if _, err := face.Operate(t.Context(), usp.Call{Command: sm + command}); failed(err) != "7026" {
			t.Errorf("%s: %v", command, err)
		}
	}
}

// Before 2.16 nothing is known of application data: who updates a unit cannot say that it is to be retained, so it is not lost.
func TestDataInOlderVersion(t *testing.T) {
	a := newAgentWithData()
	face := usp.New(a, softwaremodules.OlderVersion)
	args := input("URL=http://h/x RetainData=true ApplicationData.1.Name=db ApplicationData.1.Capacity=1 ApplicationData.1.Retain=Forever ApplicationData.1.AccessPath=/d")
	for _, command := range []string{"InstallDU()", "DeploymentUnit.5.Update()", "DeploymentUnit.5.Uninstall()"} {
		if got, err := face.Operate(t.Context(), usp.Call{Command: sm + command, Input: args}); err != nil || got[0].Code != 0 {
			t.Errorf("%s: %+v, %v", command, got, err)
		}
	}
	want := []any{model.InstallRequest{URL: "http://h/x"}, model.UpdateRequest{DU: 5, URL: "http://h/x"}, "uninstall 5"}
	if diff := cmp.Diff(want, a.asked); diff != "" {
		t.Errorf("what the agent is asked differs by\n%s", diff)
	}
}

// Every command of the data model is executed or said not to be supported: none is forgotten.
func TestEveryCommandIsKnown(t *testing.T) {
	a := newAgentWithData()
	face := usp.New(a, "")
	for _, o := range face.GetSupportedDM([]string{"Device."}, usp.Supported{Commands: true})[0].Objects {
		for _, c := range o.Commands {
			a.asked = nil
			path := strings.ReplaceAll(o.Path, "{i}", "*") + c.Name
			got, err := face.Operate(t.Context(), usp.Call{Command: path, Input: input("URL=http://h/x RequestedRunLevel=1 RequestedState=Idle")})
			if err != nil || len(got) == 0 || got[0].Code != 0 || len(a.asked) != len(got) {
				t.Errorf("%s: %+v, %v, the agent was asked %+v", path, got, err, a.asked)
			}
		}
	}
}

func TestRequests(t *testing.T) {
	a := newAgent()
	command := sm + "InstallDU()"
	a.snapshot = model.NewSnapshot(nil, nil, nil, []*model.Job{
		{ID: 1, State: model.JobQueued, Originator: model.Origin{Name: "c", Command: command, CommandKey: "k"}},
		{ID: 2, State: model.JobFetching, Originator: model.Origin{Name: "c", Command: command}},
		{ID: 3, State: model.JobDone, Originator: model.Origin{Name: "c", Command: command}},
		{ID: 4, State: model.JobQueued, Originator: model.Origin{Name: "somebody else"}},
		{ID: 5, State: model.JobQueued, Canceling: true, Originator: model.Origin{Name: "c", Command: command}},
	})
	want := []usp.Request{
		{1, command, "k", "c", "Requested", "0001-01-01T00:00:00Z"},
		{2, command, "", "c", "Active", "0001-01-01T00:00:00Z"},
		{5, command, "", "c", "Canceling", "0001-01-01T00:00:00Z"},
	}
	if got := usp.New(a, "").Requests(); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(got, want))
	}
}

func FuzzOperate(f *testing.F) {
	f.Add("Device.SoftwareModules.InstallDU()", "URL", "http://h/x", "HostObject.1.Source", "/a")
	f.Add("Device.SoftwareModules.DeploymentUnit.*.Update()", "EnvVariable.4294967295.Key", "A", "EnvVariable.4294967295.Value", "\x00")
	f.Add("Device.SoftwareModules.ExecEnv.1.ModifyConstraints()", "AllocatedMemory", "0", "Force", "1")
	f.Add("Device.SoftwareModules.DeploymentUnit.*.Uninstall()", "RetainData", "true", "", "")
	f.Add(`Device.SoftwareModules.ExecEnv.[Name=="lxc"].SetRunLevel()`, "RequestedRunLevel", "-1", "\xff", "{i}")
	f.Add(`Device.SoftwareModules.ExecEnv.1.ApplicationData.[ApplicationUUID=="u7"&&Name=="db"].Remove()`, "RetainData", "1", "", "")
	f.Add("Device.SoftwareModules.InstallDU()", "URL", "http://h/x", "ApplicationData.1.Capacity", "-1")
	f.Add("Device.SoftwareModules.ExecEnv.1.ActiveExecutionUnits#*+.SetRequestedState()", "RequestedState", "Idle", "RequestedState.", ".")
	f.Fuzz(func(t *testing.T, command, k1, v1, k2, v2 string) {
		got, err := usp.New(newAgentWithData(), "").Operate(t.Context(), usp.Call{Command: command, Input: map[string]string{k1: v1, k2: v2}})
		if err != nil {
			if text := failed(err); text != "7008" && text != "7026" {
				t.Fatalf("%q: %v", command, err)
			}
		}
		for _, r := range got {
			if r.Command == "" || r.Code >= 8000 || r.Code != 0 && (r.Code < 7002 || r.Text == "" || r.Job != 0) {
				t.Fatalf("%q: %+v", command, r)
			}
		}
	})
}

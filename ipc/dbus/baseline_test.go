package dbus_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
	"github.com/smmd-project/smmd/mapping/usp"
)

const resetMethod, recordMethod = contract.ExecEnv + ".Reset", contract.Agent + ".RecordBaseline"

// units returns how many deployment units there are.
func (c *client) units() uint32 {
	c.Helper()
	return c.get(contract.Root, contract.Agent, "DeploymentUnitNumberOfEntries").(uint32)
}

// TestReset resets to the baselines of both kinds, of which one holds a unit.
func TestReset(t *testing.T) {
	c := newClient(t)
	c.install()
	c.call(contract.Root, recordMethod, "usp", "boot")
	c.agent.Auto(true)
	c.call(row("ExecEnv", "1"), resetMethod, options{"baseline": v("usp")})
	if n := c.units(); n != 1 {
		t.Errorf("%d units after a Reset to the baseline that has one", n)
	}
	c.call(row("ExecEnv", "1"), resetMethod, options{})
	if n := c.units(); n != 0 {
		t.Errorf("%d units after a Reset to the baseline that has none", n)
	}
	job := row("Job", "3")
	if op, state := c.get(job, contract.Job, "Operation"), c.get(job, contract.Job, "State"); op != "reset-exec-env" || state != "done" {
		t.Errorf("the job is %v, %v", op, state)
	}
	// The same token again changes nothing, an empty one always.
	c.call(contract.Root, recordMethod, "usp", "boot")
	c.call(row("ExecEnv", "1"), resetMethod, options{"baseline": v("usp")})
	if n := c.units(); n != 1 {
		t.Errorf("%d units: the same request has moved the baseline", n)
	}
	c.call(contract.Root, recordMethod, "cwmp", "")
	c.call(row("ExecEnv", "1"), resetMethod, options{"baseline": v("cwmp")})
	if n := c.units(); n != 1 {
		t.Errorf("%d units: the baseline has not moved", n)
	}
}

// TestResetFails holds how a unit that cannot be restored is told.
func TestResetFails(t *testing.T) {
	c := newClient(t)
	c.call(row("ExecEnv", "1"), resetMethod, options{})
	const message = "cannot restore everything: org.example.app 1.0.0: it has no package"
	c.agent.Fail(1, fault.RequestDenied, message)
	for name, want := range map[string]any{"State": "failed", "FaultName": "RequestDenied", "FaultString": message} {
		if got := c.get(row("Job", "1"), contract.Job, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

func TestUnknownBaselines(t *testing.T) {
	c := newClient(t)
	for _, kind := range []string{"", "CWMP", "tr069", "cwmp\n", strings.Repeat("u", 1<<10)} {
		err := c.refused(contract.Root, recordMethod, kind, "x")
		if err.Name != "org.smmd.Error.InvalidArguments" || err.Body[1] != cwmp.RPC(fault.InvalidArguments) || len(err.Error()) > 200 {
			t.Errorf("recording %.20q: %s %v", kind, err.Name, err.Body)
		}
		err = c.refused(row("ExecEnv", "1"), resetMethod, options{"baseline": v(kind)})
		if err.Name != "org.smmd.Error.InvalidArguments" || err.Body[1] != cwmp.ParameterCode(fault.InvalidArguments) || err.Body[2] != usp.Operate(fault.InvalidArguments) {
			t.Errorf("resetting to %.20q: %s %v", kind, err.Name, err.Body)
		}
	}
	if err := c.refused(row("ExecEnv", "2"), resetMethod, options{}); err.Name != "org.smmd.Error.DisabledExecEnv" {
		t.Errorf("resetting what is disabled: %s", err.Name)
	}
	if asked := c.agent.Asked(); len(asked) != 0 {
		t.Errorf("the agent was asked %v", asked)
	}
}

// TestResetByCWMP sets the parameter.
func TestResetByCWMP(t *testing.T) {
	c := newClient(t)
	c.install()
	const name = "Device.SoftwareModules.ExecEnv.1.Reset"
	set := func(value string) int32 {
		t.Helper()
		type parameter struct{ N, T, V string }
		return c.call(contract.Root, contract.CWMP+".SetParameterValues", []parameter{{name, "xsd:boolean", value}}, options{})[0].(int32)
	}
	if status := set("false"); status != 0 || c.agent.Snapshot().Job(2) != nil {
		t.Errorf("false: status %d, and something is done", status)
	}
	if status := set("true"); status != 1 {
		t.Errorf("true: status %d", status)
	}
	want := []model.Assignment{{Row: model.Ref{Kind: model.KindExecEnv, Instance: 1}, Attribute: model.Reset, Value: true}}
	if got := c.asked().(ipctest.Set).Assignments; !reflect.DeepEqual(got, want) {
		t.Errorf("the agent is asked %+v", got)
	}
	c.agent.Finish(2)
	if n := c.units(); n != 0 {
		t.Errorf("%d units after the Reset", n)
	}
	got := c.call(contract.Root, contract.CWMP+".GetParameterValues", []string{name})[0].([][]any)
	if len(got) != 1 || got[0][1] != "xsd:boolean" || got[0][2] != "false" {
		t.Errorf("it reads %v", got)
	}
}

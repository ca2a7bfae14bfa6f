package smmctl

import (
	"context"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

func TestBaseline(t *testing.T) {
	s := newShell(t)
	equal(t, "baseline", s.ok("baseline"), "Recorded the baseline cwmp\n")
	equal(t, "baseline usp", s.ok("baseline", "usp", "--token", "boot 7"), "Recorded the baseline usp\n")
	if asked := s.agent.Asked(); len(asked) != 2 || asked[0] != (ipctest.Baseline{Kind: "cwmp"}) || asked[1] != (ipctest.Baseline{Kind: "usp", Token: "boot 7"}) {
		t.Errorf("asked %v", asked)
	}
	if v := s.object("baseline", "usp", "--token", "x"); len(v) != 2 || v["baseline"] != "usp" || v["token"] != "x" {
		t.Errorf("baseline --json: %v", v)
	}
	s.agent.Refuse(fault.Errorf(fault.Internal, "cannot record the baseline: the disk is full"))
	s.fails(statusFailed, "smmctl: cannot record the baseline: the disk is full (Internal, CWMP ", "baseline")
}

func TestReset(t *testing.T) {
	s := newShell(t)
	s.ok("install", "http://files/app.jar")
	s.ok("baseline", "usp")
	s.ok("ee", "run-level", "osgi", "5")
	equal(t, "reset --baseline", s.ok("ee", "reset", "osgi", "--baseline", "usp"), "Reset osgi: Up, run level 1\n")
	if got := s.ok("tree"); !strings.Contains(got, "app 1.0.0") {
		t.Errorf("after a reset to the baseline that has it:\n%s", got)
	}
	equal(t, "reset", s.ok("ee", "reset", "EE.1"), "Reset osgi: Up, run level 1\n")
	if got := s.ok("tree"); strings.Contains(got, "app") {
		t.Errorf("after a reset to the baseline that does not have it:\n%s", got)
	}
	v := s.object("ee", "reset", "osgi")
	if v["job"].(map[string]any)["operation"] != "reset-exec-env" || v["exec_env"].(map[string]any)["current_run_level"] != 1.0 {
		t.Errorf("ee reset --json: %v", v)
	}
	equal(t, "--no-wait", s.ok("ee", "reset", "osgi", "--no-wait"), "job 5\n")
	s.agent.Auto(false)
	if v := s.object("set", "Device.SoftwareModules.ExecEnv.1.Reset=true"); v["moving"] != true {
		t.Errorf("set --json: %v", v)
	}
	if v := s.object("set", "Device.SoftwareModules.ExecEnv.1.Reset=false"); v["moving"] != false {
		t.Errorf("set --json: %v", v)
	}
}

// A partialAgent is one whose resets cannot restore a unit.
type partialAgent struct{ *ipctest.Agent }

const partial = "cannot restore everything: org.example.app 1.0.0: its package is not kept"

func (a partialAgent) ResetExecEnv(ctx context.Context, instance uint32, kind string, originator model.Origin) (uint32, error) {
	job, err := a.Agent.ResetExecEnv(ctx, instance, kind, originator)
	if err == nil {
		a.Commit(func(d *model.Draft) {
			j := *d.Job(job)
			j.State, j.Progress, j.Fault, j.Message = model.JobFailed, 1, fault.RequestDenied, partial
			d.PutJob(&j)
		})
	}
	return job, err
}

func TestResetOfAPart(t *testing.T) {
	s := newShell(t)
	s.address = ipctest.Run(t, partialAgent{ipctest.New()})
	s.fails(statusFailed, "smmctl: "+partial+" (RequestDenied, CWMP ", "ee", "reset", "osgi")
}

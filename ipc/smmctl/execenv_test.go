package smmctl

import (
	"context"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/ipctest"
)

// A slowAgent is one whose environments take a job to be enabled; the job is theirs that ends it.
type slowAgent struct {
	*ipctest.Agent
	job uint32
}

func (a *slowAgent) Set(ctx context.Context, as []model.Assignment, originator model.Origin) ([]uint32, error) {
	if _, err := a.Agent.Set(ctx, as, originator); err != nil {
		return nil, err
	}
	a.job++
	// Besides, two that are not ours.
	a.Commit(func(d *model.Draft) {
		d.PutJob(&model.Job{ID: a.job, Operation: "enable", State: model.JobConfiguring, Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: 2}}})
		d.PutJob(&model.Job{ID: a.job + 100, Operation: "enable", State: model.JobDone, Progress: 1, Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: 1}}})
		d.PutJob(&model.Job{ID: a.job + 200, Operation: "configure", State: model.JobDone, Progress: 1, Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: 2}}})
	})
	return []uint32{a.job}, nil
}

// end ends the job.
func (a *slowAgent) end(state model.JobState, r fault.Reason, message string) {
	a.Commit(func(d *model.Draft) {
		j := *d.Job(a.job)
		j.State, j.Progress, j.Fault, j.Message = state, 1, r, message
		d.PutJob(&j)
	})
}

func TestExecEnvWaits(t *testing.T) {
	s := newShell(t)
	agent := &slowAgent{Agent: ipctest.New()}
	s.address = ipctest.Run(t, agent)

	if got := s.ok("ee", "enable", "lxc", "--no-wait"); got != "job 1\n" {
		t.Errorf("--no-wait: %q", got)
	}
	shown := &signalWriter{}
	s.app = func(a *app) { a.progress, a.err = true, shown }
	shown.f = func(string) { agent.end(model.JobDone, fault.None, "it was slow") }
	stdout, _, status := s.run(t.Context(), "ee", "enable", "lxc")
	if status != statusDone || stdout != "Enabled lxc: Up; it was slow\n" {
		t.Errorf("status %d, stdout %q", status, stdout)
	}
	shown.f = func(string) {
		agent.end(model.JobFailed, fault.ExecEnvUnavailable, "it does not start")
	}
	stdout, _, status = s.run(t.Context(), "ee", "enable", "lxc")
	if got := shown.buf.String(); status != statusFailed || stdout != "" || !strings.Contains(got, "smmctl: cannot enable lxc: it does not start (ExecEnvUnavailable, CWMP ") {
		t.Errorf("status %d, stdout %q, stderr %q", status, stdout, got)
	}

	s.app = nil
	if got := s.ok("set", "Device.SoftwareModules.ExecEnv.2.Enable=false"); got != "Accepted, and still under way; see smmctl jobs.\n" {
		t.Errorf("set: %q", got)
	}
	if v := s.object("set", "Device.SoftwareModules.ExecEnv.2.Enable=true"); v["moving"] != true {
		t.Errorf("set --json: %v", v)
	}
}

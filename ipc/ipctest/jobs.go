package ipctest

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// step is one commit of a job: the state it goes to and what it does then. An error ends the job.
type step struct {
	state model.JobState
	do    func(d *model.Draft, j *model.Job) error
}

// begin makes a job. Without steps it has ended already.
func (a *Agent) begin(operation string, originator model.Origin, objects []model.Ref, steps ...step) uint32 {
	a.job++
	id := a.job
	j := &model.Job{ID: id, Operation: operation, State: model.JobQueued, StartTime: Epoch, Objects: objects, Originator: originator}
	if len(steps) == 0 {
		j.State, j.Progress = model.JobDone, 1
	} else {
		a.plans[id] = append(steps, step{state: model.JobDone})
	}
	a.commit(func(d *model.Draft) {
		d.PutJob(j)
		a.remember(d, j)
		if j.State.Final() {
			a.conclude(d, j)
		}
	})
	for a.auto && a.plans[id] != nil {
		a.step(id)
	}
	return id
}

func (a *Agent) step(id uint32) bool {
	plan := a.plans[id]
	if len(plan) == 0 {
		return false
	}
	a.commit(func(d *model.Draft) {
		j := *d.Job(id)
		j.State = plan[0].state
		j.Progress += (1 - j.Progress) / 4
		var err error
		if plan[0].do != nil {
			err = plan[0].do(d, &j)
		}
		a.plans[id] = plan[1:]
		if err != nil {
			j.State, j.Fault, j.Message = model.JobFailed, fault.ReasonOf(err), err.Error()
		}
		if j.State.Final() {
			j.Progress = 1
			delete(a.plans, id)
			a.conclude(d, &j)
		}
		d.PutJob(&j)
	})
	return a.plans[id] != nil
}

// Step brings a job to its next state in one commit, and reports whether it is still open.
func (a *Agent) Step(job uint32) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.step(job)
}

// Finish brings a job to its end.
func (a *Agent) Finish(job uint32) {
	for a.Step(job) {
	}
}

// Fail ends a job with a fault. Its rows stay as they are.
func (a *Agent) Fail(job uint32, r fault.Reason, message string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.fail(job, model.JobFailed, r, message)
}

func (a *Agent) fail(id uint32, state model.JobState, r fault.Reason, message string) {
	delete(a.plans, id)
	a.commit(func(d *model.Draft) {
		j := *d.Job(id)
		j.State, j.Progress, j.Fault, j.Message = state, 1, r, message
		a.conclude(d, &j)
		d.PutJob(&j)
	})
}

// ask records a request that is not refused.
func (a *Agent) ask(request any) error {
	if a.refusal != nil {
		return a.refusal
	}
	a.asked = append(a.asked, request)
	return nil
}

// Install begins an installation: fetching, verifying, inspecting, installing (the row appears), recording, done (with its one
// execution unit, which is Active when it starts by itself). The name is that of the file, the version 1.0.0.
func (a *Agent) Install(_ context.Context, r model.InstallRequest) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refusal == nil && r.URL == "" {
		return 0, fault.Errorf(fault.InvalidArguments, "cannot install: there is no URL")
	}
	if err := a.ask(r); err != nil {
		return 0, err
	}
	if r.ExecEnv == "" {
		r.ExecEnv = "osgi"
	}
	var du, eu uint32
	transfer := func(done uint64) func(*model.Draft, *model.Job) error {
		return func(_ *model.Draft, j *model.Job) error { j.BytesDone, j.BytesTotal = done, 1000; return nil }
	}
	return a.begin("install", r.Originator, nil,
		step{model.JobFetching, transfer(400)},
		step{model.JobVerifying, transfer(1000)},
		step{model.JobInspecting, func(d *model.Draft, _ *model.Job) error {
			e := d.ExecEnvByID(r.ExecEnv)
			if e == nil {
				return fault.Errorf(fault.UnknownExecEnv, "cannot find the environment %s", r.ExecEnv)
			}
			if !e.Enable {
				return fault.Errorf(fault.DisabledExecEnv, "cannot install on %s: it is disabled", e.ID)
			}
			for u := range d.DeploymentUnits() {
				if r.UUID != "" && u.UUID == r.UUID && u.Env == e.ID {
					return fault.Errorf(fault.DuplicateDU, "cannot install %s on %s: it is there already", u.UUID, e.ID)
				}
			}
			return nil
		}},
		step{model.JobInstalling, func(d *model.Draft, j *model.Job) error {
			a.row++
			du = a.row
			uuid := r.UUID
			if uuid == "" {
				uuid = fmt.Sprintf("00000000-0000-5000-8000-%012d", du)
			}
			d.PutDeploymentUnit(&model.DeploymentUnit{
				ID: du, Alias: fmt.Sprintf("cpe-%d", du), Env: r.ExecEnv, UUID: uuid, Version: "1.0.0", DUID: fmt.Sprint(du),
				Name: unitName(r.URL), Vendor: "example.com", URL: r.URL, Status: model.DUInstalling,
				Settings: settle(model.UnitSettings{}, r.Variables, r.Limits),
			})
			a.keepVolumes(d, r.ExecEnv, uuid, r.Volumes, true)
			j.Objects = []model.Ref{{Kind: model.KindDeploymentUnit, Instance: du}}
			return nil
		}},
		step{model.JobRecording, func(d *model.Draft, j *model.Job) error {
			u := *d.DeploymentUnit(du)
			u.Status, u.Resolved, u.Installed = model.DUInstalled, true, Epoch
			d.PutDeploymentUnit(&u)
			a.row++
			eu = a.row
			auto := r.AutoStart == nil || *r.AutoStart
			status := model.EUIdle
			if auto {
				status = model.EUActive
			}
			d.PutExecutionUnit(&model.ExecutionUnit{
				ID: eu, Alias: fmt.Sprintf("cpe-%d", eu), DU: du, Env: r.ExecEnv, EUID: r.ExecEnv + "/" + u.UUID, Name: u.Name,
				Label: u.DUID, Vendor: u.Vendor, Version: u.Version, AutoStart: auto, RunLevel: 1, Status: status,
				FaultCode: model.NoFault, Memory: -1, Disk: 12, ExitCode: -1,
			})
			j.Objects = append(j.Objects[:1:1], model.Ref{Kind: model.KindExecutionUnit, Instance: eu})
			return nil
		}},
	), nil
}

func unitName(url string) string {
	name := path.Base(url)
	return strings.TrimSuffix(name, path.Ext(name))
}

// Update begins an update: fetching, updating, done with the version 2.0.0.
func (a *Agent) Update(_ context.Context, r model.UpdateRequest) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u, err := a.unit(r.DU)
	if err != nil {
		return 0, err
	}
	if err := a.ask(r); err != nil {
		return 0, err
	}
	put := func(s model.DUStatus, change func(*model.Draft, *model.DeploymentUnit)) func(*model.Draft, *model.Job) error {
		return func(d *model.Draft, _ *model.Job) error {
			n := *d.DeploymentUnit(u.ID)
			n.Status = s
			change(d, &n)
			d.PutDeploymentUnit(&n)
			return nil
		}
	}
	return a.begin("update", r.Originator, []model.Ref{{Kind: model.KindDeploymentUnit, Instance: u.ID}},
		step{model.JobFetching, nil},
		step{model.JobUpdating, put(model.DUUpdating, func(*model.Draft, *model.DeploymentUnit) {})},
		step{model.JobRecording, put(model.DUInstalled, func(d *model.Draft, n *model.DeploymentUnit) {
			a.keepVolumes(d, n.Env, n.UUID, r.Volumes, r.RetainData == nil || *r.RetainData)
			n.Version, n.LastUpdate = "2.0.0", Epoch
			n.Settings = settle(n.Settings, r.Variables, r.Limits)
			if r.URL != "" {
				n.URL = r.URL
			}
		})},
	), nil
}

// unit returns a deployment unit that takes an operation.
func (a *Agent) unit(id model.RowID) (*model.DeploymentUnit, error) {
	u := a.snap.DeploymentUnit(id)
	if u == nil {
		return nil, fault.Errorf(fault.UnknownDU, "cannot find deployment unit %d", id)
	}
	if r := model.FaultOf(u.Status); r != fault.None {
		return nil, fault.Errorf(r, "cannot change deployment unit %d: it is %s", id, u.Status)
	}
	return u, nil
}

// Uninstall begins a removal: uninstalling, done (the rows are gone).
func (a *Agent) Uninstall(_ context.Context, r model.UninstallRequest) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	du := r.DU
	if _, err := a.unit(du); err != nil {
		return 0, err
	}
	if err := a.ask(r); err != nil {
		return 0, err
	}
	return a.begin("uninstall", r.Originator, []model.Ref{{Kind: model.KindDeploymentUnit, Instance: du}},
		step{model.JobUninstalling, func(d *model.Draft, _ *model.Job) error {
			u := *d.DeploymentUnit(du)
			u.Status = model.DUUninstalling
			d.PutDeploymentUnit(&u)
			return nil
		}},
		step{model.JobRecording, func(d *model.Draft, _ *model.Job) error {
			unit := d.DeploymentUnit(du)
			var gone []model.Ref
			for u := range d.ExecutionUnitsOf(du) {
				gone = append(gone, model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID})
			}
			for _, ref := range append(gone, model.Ref{Kind: model.KindDeploymentUnit, Instance: du}) {
				d.Delete(ref)
			}
			if unitOf(&d.Snapshot, unit.Env, unit.UUID) == nil { // it was the last version
				dropVolumes(d, unit.Env, unit.UUID, r.RetainData)
			}
			return nil
		}},
	), nil
}

// Request begins the start, stop or restart of an execution unit.
func (a *Agent) Request(_ context.Context, eu model.RowID, r model.Request, originator model.Origin) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u := a.snap.ExecutionUnit(eu)
	if u == nil {
		return 0, fault.Errorf(fault.UnknownDU, "cannot find execution unit %d", eu)
	}
	answer := u.Status.Answer(r)
	if answer == model.Refuse {
		return 0, fault.Errorf(fault.InvalidDUState, "cannot bring execution unit %d to %s: it is %s", eu, r, u.Status)
	}
	if err := a.ask(Request{eu, r, originator}); err != nil {
		return 0, err
	}
	objects := []model.Ref{{Kind: model.KindExecutionUnit, Instance: eu}}
	operation, moving, middle, end := "start", model.JobStarting, model.EUStarting, model.EUActive
	switch r {
	case model.RequestIdle:
		operation, moving, middle, end = "stop", model.JobStopping, model.EUStopping, model.EUIdle
	case model.RequestRestart:
		operation, moving, middle = "restart", model.JobRestarting, model.EURestarting
	}
	if answer == model.Ignore {
		return a.begin(operation, originator, objects), nil
	}
	put := func(s model.EUStatus) func(*model.Draft, *model.Job) error {
		return func(d *model.Draft, _ *model.Job) error {
			n := *d.ExecutionUnit(eu)
			n.Status = s
			d.PutExecutionUnit(&n)
			return nil
		}
	}
	return a.begin(operation, originator, objects, step{moving, put(middle)}, step{model.JobRecording, put(end)}), nil
}

// RestartExecEnv begins the restart of an environment.
func (a *Agent) RestartExecEnv(_ context.Context, instance uint32, reason string, originator model.Origin) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e := a.snap.ExecEnv(instance); e == nil || !e.Enable {
		return 0, fault.Errorf(fault.DisabledExecEnv, "cannot restart environment %d: it is disabled", instance)
	}
	if err := a.ask(Restart{instance, reason, originator}); err != nil {
		return 0, err
	}
	put := func(change func(*model.ExecEnv)) func(*model.Draft, *model.Job) error {
		return func(d *model.Draft, _ *model.Job) error {
			n := *d.ExecEnv(instance)
			change(&n)
			if n.RestartCount > d.ExecEnv(instance).RestartCount {
				notify(d, model.Notification{Kind: model.NotifyRestarted, Env: n.ID, Reason: n.RestartReason})
			}
			d.PutExecEnv(&n)
			return nil
		}
	}
	return a.begin("restart-exec-env", originator, []model.Ref{{Kind: model.KindExecEnv, Instance: instance}},
		step{model.JobRestarting, put(func(e *model.ExecEnv) { e.Status = model.EERestarting })},
		step{model.JobRecording, put(func(e *model.ExecEnv) {
			e.Status, e.RestartReason, e.LastRestarted = model.EEUp, reason, Epoch
			e.RestartCount++
		})},
	), nil
}

// Cancel ends an open job.
func (a *Agent) Cancel(_ context.Context, job uint32) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.plans[job] == nil {
		return fault.Errorf(fault.InvalidDUState, "cannot cancel job %d: it has ended", job)
	}
	if err := a.ask(Cancel{job}); err != nil {
		return err
	}
	a.fail(job, model.JobCancelled, fault.Canceled, "canceled")
	return nil
}

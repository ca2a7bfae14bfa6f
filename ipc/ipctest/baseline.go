package ipctest

import (
	"context"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// baseline is a state that a Reset goes back to.
type baseline struct {
	token string
	state *model.Snapshot
}

// RecordBaseline takes the present state as a baseline. The first ones are the state of a new agent.
func (a *Agent) RecordBaseline(_ context.Context, kind, token string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, known := a.goals[kind]
	if !known {
		return fault.Errorf(fault.InvalidArguments, "cannot record the baseline %q: there is no such kind", kind)
	}
	if err := a.ask(Baseline{kind, token}); err != nil {
		return err
	}
	if token == "" || token != old.token {
		a.goals[kind] = baseline{token, a.snap}
	}
	return nil
}

// ResetExecEnv begins a Reset: configuring (the rows of the units and the initial levels are those of the baseline), restarting, done.
func (a *Agent) ResetExecEnv(_ context.Context, instance uint32, kind string, originator model.Origin) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.goals[kind]; !known {
		return 0, fault.Errorf(fault.InvalidArguments, "cannot reset environment %d: there is no baseline %q", instance, kind)
	}
	if e := a.snap.ExecEnv(instance); e == nil || !e.Enable {
		return 0, disabled(instance)
	}
	if err := a.ask(Reset{instance, kind, originator}); err != nil {
		return 0, err
	}
	return a.reset(instance, kind, originator), nil
}

func disabled(instance uint32) error {
	return fault.Errorf(fault.DisabledExecEnv, "cannot reset environment %d: it is disabled", instance)
}

func (a *Agent) reset(instance uint32, kind string, originator model.Origin) uint32 {
	goal := a.goals[kind].state
	put := func(change func(*model.ExecEnv)) func(*model.Draft, *model.Job) error {
		return func(d *model.Draft, _ *model.Job) error {
			e := *d.ExecEnv(instance)
			change(&e)
			d.PutExecEnv(&e)
			return nil
		}
	}
	return a.begin("reset-exec-env", originator, []model.Ref{{Kind: model.KindExecEnv, Instance: instance}},
		step{model.JobConfiguring, func(d *model.Draft, j *model.Job) error {
			restore(d, d.ExecEnv(instance).ID, goal)
			old := goal.ExecEnv(instance)
			return put(func(e *model.ExecEnv) {
				e.InitialRunLevel, e.InitialExecutionUnitRunLevel = old.InitialRunLevel, old.InitialExecutionUnitRunLevel
			})(d, j)
		}},
		step{model.JobRestarting, put(func(e *model.ExecEnv) { e.Status = model.EERestarting })},
		step{model.JobRecording, put(func(e *model.ExecEnv) {
			e.Status = model.EEUp
			if e.CurrentRunLevel >= 0 {
				e.CurrentRunLevel = e.InitialRunLevel
			}
		})},
	)
}

// restore makes the rows of an environment's units and their application data those of another state.
func restore(d *model.Draft, env string, goal *model.Snapshot) {
	var gone []model.Ref
	for u := range d.ExecutionUnits() {
		if u.Env == env {
			gone = append(gone, model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID})
		}
	}
	for u := range d.DeploymentUnits() {
		if u.Env == env {
			gone = append(gone, model.Ref{Kind: model.KindDeploymentUnit, Instance: u.ID})
		}
	}
	for v := range d.Volumes() {
		if v.Env == env {
			gone = append(gone, model.Ref{Kind: model.KindVolume, Instance: v.ID})
		}
	}
	for _, r := range gone {
		d.Delete(r)
	}
	for u := range goal.DeploymentUnits() {
		if u.Env == env {
			d.PutDeploymentUnit(u)
		}
	}
	for u := range goal.ExecutionUnits() {
		if u.Env == env {
			d.PutExecutionUnit(u)
		}
	}
	for v := range goal.Volumes() {
		if v.Env == env {
			d.PutVolume(v)
		}
	}
}

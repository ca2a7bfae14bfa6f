package ipctest

import (
	"context"
	"slices"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// AcknowledgeNotifications is a call of that method.
type AcknowledgeNotifications struct{ UpTo uint64 }

// AcknowledgeNotifications forgets the notifications up to a number.
func (a *Agent) AcknowledgeNotifications(_ context.Context, upTo uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ask(AcknowledgeNotifications{upTo}); err != nil {
		return err
	}
	a.commit(func(d *model.Draft) {
		d.Notifications = slices.DeleteFunc(slices.Clone(d.Notifications), func(n *model.Notification) bool { return n.ID <= upTo })
	})
	return nil
}

// Notify makes the agent note something for USP controllers. It fills in the number and the time.
func (a *Agent) Notify(n model.Notification) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commit(func(d *model.Draft) { notify(d, n) })
	return a.draft.LastNotification
}

func notify(d *model.Draft, n model.Notification) {
	d.LastNotification++
	n.ID, n.Time = d.LastNotification, Epoch
	d.Notifications = append(slices.Clone(d.Notifications), &n)
}

// remember keeps what an operation on a deployment unit is about: at its end the rows may be gone.
func (a *Agent) remember(d *model.Draft, j *model.Job) {
	performed, ok := map[string]model.Performed{
		"install": model.PerformedInstall, "update": model.PerformedUpdate, "uninstall": model.PerformedUninstall,
	}[j.Operation]
	if !ok {
		return
	}
	r := model.Result{Performed: performed, Start: j.StartTime}
	for _, o := range j.Objects {
		if u := d.DeploymentUnit(o.Instance); o.Kind == model.KindDeploymentUnit && u != nil {
			r = describe(d, r, u)
		}
	}
	a.results[j.ID] = r
}

// describe completes a result with what is known of a deployment unit.
func describe(d *model.Draft, r model.Result, u *model.DeploymentUnit) model.Result {
	r.UUID, r.DU, r.Env, r.Version, r.EUs = u.UUID, u.ID, u.Env, u.Version, nil
	for eu := range d.ExecutionUnitsOf(u.ID) {
		r.EUs = append(r.EUs, eu.ID)
	}
	return r
}

// conclude notes the end of a job, in the order of the agent: what became of a deployment unit, then the end of the command.
func (a *Agent) conclude(d *model.Draft, j *model.Job) {
	var outputs []model.Result
	if r, known := a.results[j.ID]; known {
		delete(a.results, j.ID)
		for _, o := range j.Objects {
			if u := d.DeploymentUnit(o.Instance); o.Kind == model.KindDeploymentUnit && u != nil {
				r = describe(d, r, u)
			}
		}
		r.Complete, r.Fault, r.State, r.Resolved = Epoch, j.Fault, model.ResultInstalled, true
		if j.Fault != fault.None {
			r.Message = j.Message
		}
		switch {
		case r.Performed == model.PerformedInstall && j.Fault != fault.None:
			r.State, r.Resolved = model.ResultFailed, false
		case r.Performed == model.PerformedUninstall && j.Fault == fault.None:
			r.State = model.ResultUninstalled
		}
		if r.Performed != model.PerformedUninstall {
			r.Transfer = j.StartTime
		}
		outputs = []model.Result{r}
		notify(d, model.Notification{Kind: model.NotifyDUStateChange, Result: &r})
	}
	if j.Originator.Command != "" {
		notify(d, model.Notification{
			Kind: model.NotifyOperationComplete, Job: j.ID, Origin: j.Originator, Fault: j.Fault, Message: j.Message, Outputs: outputs,
		})
	}
}

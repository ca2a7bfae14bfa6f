package deployment

import (
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// timed is what the results of an operation need of its run.
type timed interface {
	Began() time.Time
	Wall() time.Time
}

// newResult begins the result of an operation that ends now.
func newResult(r timed, what model.Performed, transfer time.Time) model.Result {
	return model.Result{Performed: what, Start: r.Began(), Transfer: transfer, Complete: r.Wall()}
}

// Describe completes a result with a row as it is now: Installed, with its execution units.
func Describe(tx *inventory.Tx, res model.Result, row *model.DeploymentUnit) model.Result {
	res.DU, res.UUID, res.Env, res.Version = row.ID, row.UUID, row.Env, row.Version
	res.State, res.Resolved, res.EUs = model.ResultInstalled, row.Resolved, nil
	for u := range tx.ExecutionUnitsOf(row.ID) {
		res.EUs = append(res.EUs, u.ID)
	}
	return res
}

// asRemoved makes the description of a row that of one that has been removed (TR-069 Table 80: Resolved is true then).
func asRemoved(res model.Result) model.Result {
	res.State, res.Resolved = model.ResultUninstalled, true
	return res
}

// failedBy adds why something failed.
func failedBy(res model.Result, err error) model.Result {
	if err != nil {
		res.Fault, res.Message = fault.ReasonOf(err), err.Error()
	}
	return res
}

// installResults tells of an install. What fails after the unit is recorded has not failed the install.
func (us *Units) installResults(tx *inventory.Tx, r *installRun, failure error) []model.Result {
	s := r.State
	res := newResult(r, model.PerformedInstall, s.Transfer)
	if row := tx.DeploymentUnit(s.Row); s.Recorded && row != nil {
		res = Describe(tx, res, row)
		res.Resolved = res.Resolved || s.Unit.Resolved || s.Complete // the news of it may be on its way
		return []model.Result{res}
	}
	res.UUID, res.Env, res.Version, res.State = s.UUID, s.Env, s.Manifest.Version, model.ResultFailed
	if res.UUID == "" {
		res.UUID = s.Request.UUID
	}
	if res.Env == "" {
		res.Env = s.Request.ExecEnv
	}
	return []model.Result{failedBy(res, failure)}
}

// updateResults tells of an update, a result for each environment. When one fails all do, with the same fault (TR-069 VI.5.1.2).
func (us *Units) updateResults(tx *inventory.Tx, r *updateRun, failure error) (all []model.Result) {
	s := r.State
	if s.Recorded {
		failure = nil
	}
	for i := range s.Targets {
		t := &s.Targets[i]
		res := newResult(r, model.PerformedUpdate, s.from(t).Transfer)
		if row := tx.DeploymentUnit(t.Row); row != nil {
			res = Describe(tx, res, row)
			res.Resolved = res.Resolved || s.Recorded && (t.Unit.Resolved || t.Complete)
		} else { // its environment is no longer configured
			res.DU, res.UUID, res.Env, res.State = t.Row, t.UUID, t.Env, model.ResultUninstalled
		}
		all = append(all, failedBy(res, failure))
	}
	return all
}

// uninstallResults tells of an uninstall; Former is the row as it was last.
func (us *Units) uninstallResults(tx *inventory.Tx, r *uninstallRun, failure error) []model.Result {
	s := r.State
	res := newResult(r, model.PerformedUninstall, time.Time{})
	res.DU, res.Env = s.Row, s.Env
	if row := tx.DeploymentUnit(s.Row); row != nil {
		res = Describe(tx, res, row)
	} else { // it went as it was to, or its environment is no longer configured
		res.UUID, res.Version, res.EUs = s.Former.UUID, s.Former.Version, s.Former.EUs
		res = asRemoved(res)
	}
	return []model.Result{failedBy(res, failure)}
}

// tell hands on what happened without an operation on deployment units, or in a step of a larger one.
func (us *Units) tell(tx *inventory.Tx, res model.Result) error {
	if us.Tell == nil {
		return nil
	}
	return us.Tell(tx, res)
}

// noticed is the beginning of a result that is told when it is seen: when it happened is not known.
func noticed(what model.Performed) model.Result { return model.Result{Performed: what} }

// place is the beginning of the result of a step that began at start and ends now.
func (us *Units) place(what model.Performed, start time.Time) model.Result {
	return model.Result{Performed: what, Start: start, Complete: us.Clock.Wall()}
}

// observed tells what has become of a row by somebody else's doing, now that its environment has told: it came back, or has another version.
func (us *Units) observed(tx *inventory.Tx, before *model.DeploymentUnit) error {
	after := tx.DeploymentUnit(before.ID)
	switch {
	case before.Status != model.DUInstalled || after == nil:
		return nil
	case before.Missing && !after.Missing:
		return us.tell(tx, Describe(tx, noticed(model.PerformedInstall), after))
	case before.Version != after.Version:
		return us.tell(tx, Describe(tx, noticed(model.PerformedUpdate), after))
	}
	return nil
}

// gone tells that a unit is there no more, by somebody else's doing. What becomes of its row is another matter.
func (us *Units) gone(tx *inventory.Tx, row *model.DeploymentUnit) error {
	if row.Missing {
		return nil // that is told already
	}
	return us.tell(tx, asRemoved(Describe(tx, noticed(model.PerformedUninstall), row)))
}

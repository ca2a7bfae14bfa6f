package agent

import (
	"context"
	"errors"
	"net/url"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/baseline"
	"github.com/smmd-project/smmd/agent/deployment"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/report"
	"github.com/smmd-project/smmd/agent/volume"
	"github.com/smmd-project/smmd/mapping/uuidname"
)

// The lengths of arguments in characters (TR-069 Table 71, TR-181 DeploymentUnit.{i}.URL and ModuleVersion).
const (
	maxURL           = 2048
	maxCredentials   = 256
	maxModuleVersion = 32
)

// Install accepts an install and returns its job. An error is what can be judged from the request alone. Of a command of USP the outcome is told then too, as
// with Update and Uninstall: see refused.
func (a *Agent) Install(ctx context.Context, r model.InstallRequest) (uint32, error) {
	res := a.attempt(model.PerformedInstall)
	job, err := accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		if r.ExecEnv != "" && tx.ExecEnvByID(r.ExecEnv) != nil {
			res.Env = r.ExecEnv
		}
		err := errors.Join(checkURL(r.URL), checkCredentials(r.Username, r.Password), checkModuleVersion(r.ModuleVersion),
			checkVariables(r.Variables), checkLimits(r.Limits), volume.Check(r.Volumes, a.cfg.Data.Encrypted))
		if r.UUID != "" {
			uuid, malformed := uuidname.Parse(r.UUID)
			r.UUID, res.UUID, err = uuid, uuid, errors.Join(err, malformed)
		}
		if err == nil && r.ExecEnv != "" {
			err = environment.Check(&tx.Snapshot, r.ExecEnv)
		}
		if err != nil {
			return 0, err
		}
		s, err := a.dus.NewInstall(r)
		if err != nil {
			return 0, err
		}
		return operation.Submit(a.eng, tx, a.install, s, operation.Request{Originator: r.Originator})
	})
	return job, a.refused(r.Originator, res, err)
}

// Update accepts an update of one row and returns its job.
func (a *Agent) Update(ctx context.Context, r model.UpdateRequest) (uint32, error) {
	res := a.attempt(model.PerformedUpdate)
	job, err := accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		if row := tx.DeploymentUnit(r.DU); row != nil {
			res = deployment.Describe(tx, res, row)
		}
		if err := a.checkUpdate(r); err != nil {
			return 0, err
		}
		du, err := unit(tx, r.DU)
		switch {
		case err != nil:
			return 0, err
		case du.Missing:
			return 0, fault.Errorf(fault.InvalidDUState, "cannot update %s: %s no longer has it", du.UUID, du.Env)
		}
		s, err := a.dus.NewUpdate(tx, r, du)
		if err != nil {
			return 0, err
		}
		return operation.Submit(a.eng, tx, a.update, s, unitRequest(du, r.Originator))
	})
	return job, a.refused(r.Originator, res, err)
}

// Uninstall accepts the removal of one row and returns its job.
func (a *Agent) Uninstall(ctx context.Context, r model.UninstallRequest) (uint32, error) {
	res := a.attempt(model.PerformedUninstall)
	job, err := accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		if row := tx.DeploymentUnit(r.DU); row != nil {
			res = deployment.Describe(tx, res, row)
		}
		du, err := unit(tx, r.DU)
		if err != nil {
			return 0, err
		}
		if why := a.envs.Fixed(du.Env, du.Key); why != "" {
			return 0, fault.Errorf(fault.RequestDenied, "cannot uninstall %s: it is %s", du.UUID, why)
		}
		s := &deployment.UninstallState{Row: r.DU, Env: du.Env, RetainData: r.RetainData}
		return operation.Submit(a.eng, tx, a.remove, s, unitRequest(du, r.Originator))
	})
	return job, a.refused(r.Originator, res, err)
}

// attempt is the beginning of what is told of an operation that is refused before it has a job.
func (a *Agent) attempt(what model.Performed) model.Result {
	return model.Result{Performed: what, State: report.Unchanged(what), Start: a.opts.Clock.Wall()}
}

// refused tells the outcome of a command of USP that was refused for the sake of its package, unit or environment: a controller that subscribes to
// DUStateChange! hears of failures by it too (TR-369 I.2). Nothing is told of a row that there is not, since that path names no command, nor of what is a matter of
// the agent at this moment. It returns err.
func (a *Agent) refused(origin model.Origin, res model.Result, err error) error {
	if err == nil || origin.Command == "" || res.Performed != model.PerformedInstall && res.DU == 0 {
		return err
	}
	res.Fault, res.Message, res.Complete = fault.ReasonOf(err), err.Error(), a.opts.Clock.Wall()
	switch res.Fault {
	case fault.TooManyOperations, fault.SystemResourcesExceeded, fault.Internal, fault.Canceled, fault.DeadlineExceeded:
		return err
	}
	return errors.Join(err, a.inv.Update(func(tx *inventory.Tx) error { return a.rep.Tell(tx, res) }))
}

func (a *Agent) checkUpdate(r model.UpdateRequest) error {
	err := checkCredentials(r.Username, r.Password)
	if r.URL != "" {
		err = errors.Join(checkURL(r.URL), err)
	}
	if r.ModuleVersion != nil {
		err = errors.Join(err, checkModuleVersion(*r.ModuleVersion))
	}
	return errors.Join(err, checkVariables(r.Variables), checkLimits(r.Limits), volume.Check(r.Volumes, a.cfg.Data.Encrypted))
}

// unit returns a row that can be changed now, as far as can be seen.
func unit(tx *inventory.Tx, id model.RowID) (*model.DeploymentUnit, error) {
	du := tx.DeploymentUnit(id)
	if du == nil {
		return nil, fault.Errorf(fault.UnknownDU, "cannot find deployment unit %d: it does not exist", id)
	}
	if err := environment.Check(&tx.Snapshot, du.Env); err != nil {
		return nil, err
	}
	if r := model.FaultOf(du.Status); r != fault.None {
		return nil, fault.Errorf(r, "cannot change %s: it is %s", du.UUID, du.Status)
	}
	return du, nil
}

func unitRequest(du *model.DeploymentUnit, originator model.Origin) operation.Request {
	return operation.Request{
		Originator: originator, Envs: []string{du.Env}, Locks: []model.RowID{du.ID},
		Objects: []model.Ref{{Kind: model.KindDeploymentUnit, Instance: du.ID}},
	}
}

// Request accepts the start, stop or restart of an execution unit and returns its job.
func (a *Agent) Request(ctx context.Context, eu model.RowID, r model.Request, originator model.Origin) (uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) { return a.request(tx, eu, r, originator) })
}

func (a *Agent) request(tx *inventory.Tx, eu model.RowID, r model.Request, originator model.Origin) (uint32, error) {
	if _, err := execution.Judge(&tx.Snapshot, eu, r); err != nil {
		return 0, err
	}
	row := *tx.ExecutionUnit(eu)
	if r == model.RequestRestart && row.Restart.Count != 0 { // TR-181, Restart()
		row.Restart.Count = 0
		if err := tx.PutExecutionUnit(&row); err != nil {
			return 0, err
		}
	}
	return operation.Submit(a.eng, tx, a.euOps.Requests[r], &execution.RequestState{EU: eu}, operation.Request{
		Originator: originator, Envs: []string{row.Env},
		Objects: []model.Ref{{Kind: model.KindExecutionUnit, Instance: eu}},
	})
}

// RestartExecEnv accepts the restart of an environment and returns its job.
func (a *Agent) RestartExecEnv(ctx context.Context, instance uint32, reason string, originator model.Origin) (uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		row := tx.ExecEnv(instance)
		if row == nil {
			return 0, fault.Errorf(fault.UnknownExecEnv, "cannot restart environment %d: it does not exist", instance)
		}
		if err := environment.Check(&tx.Snapshot, row.ID); err != nil {
			return 0, err
		}
		if err := environment.CheckOwn(row, "restart"); err != nil {
			return 0, err
		}
		if utf8.RuneCountInString(reason) > 256 {
			return 0, fault.Errorf(fault.InvalidArguments, "cannot restart environment %s: the reason is longer than 256 characters", row.ID)
		}
		return operation.Submit(a.eng, tx, a.envOps.Restart, &environment.RestartState{Env: row.ID, Reason: reason}, envRequest(row, originator))
	})
}

func envRequest(row *model.ExecEnv, originator model.Origin) operation.Request {
	return operation.Request{
		Originator: originator, Envs: []string{row.ID},
		Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: row.Instance}},
	}
}

// RecordBaseline makes the present state of every environment the one that a Reset of that kind goes back to. A new one of CWMP drops the reports that wait
// (TR-069 Table 8).
func (a *Agent) RecordBaseline(ctx context.Context, kind, token string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return a.base.Record(baseline.Kind(kind), token)
}

// baselineRecorded drops what waits for the ACS when a baseline of CWMP is recorded.
func (a *Agent) baselineRecorded(tx *inventory.Tx, kind baseline.Kind) error {
	if kind != baseline.CWMP {
		return nil
	}
	return a.rep.Drop(tx)
}

// ResetExecEnv accepts the Reset of an environment and returns its job.
func (a *Agent) ResetExecEnv(ctx context.Context, instance uint32, kind string, originator model.Origin) (uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		row := tx.ExecEnv(instance)
		if row == nil {
			return 0, fault.Errorf(fault.UnknownExecEnv, "cannot reset environment %d: it does not exist", instance)
		}
		return a.resetExecEnv(tx, row, baseline.Kind(kind), originator)
	})
}

// resetExecEnv accepts a Reset. It locks all units of the environment, so that nothing else changes them on the way.
func (a *Agent) resetExecEnv(tx *inventory.Tx, row *model.ExecEnv, kind baseline.Kind, originator model.Origin) (uint32, error) {
	if err := environment.Check(&tx.Snapshot, row.ID); err != nil {
		return 0, err
	}
	s, err := a.base.Begin(tx, kind, row.ID)
	if err != nil {
		return 0, err
	}
	r := envRequest(row, originator)
	for du := range tx.DeploymentUnits() {
		if du.Env == row.ID {
			r.Locks = append(r.Locks, du.ID)
		}
	}
	return operation.Submit(a.eng, tx, a.reset, s, r)
}

// Cancel ends a job.
func (a *Agent) Cancel(_ context.Context, job uint32) error { return a.eng.Cancel(job) }

// accept runs f as one transaction.
func accept[T any](ctx context.Context, a *Agent, f func(*inventory.Tx) (T, error)) (out T, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	err = a.inv.Update(func(tx *inventory.Tx) (err error) {
		out, err = f(tx)
		return err
	})
	return out, err
}

// checkURL judges what can be judged of a URL without the network. No part of it but its form is in the error: it may hold a
// secret.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL is empty")
	case utf8.RuneCountInString(raw) > maxURL:
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL is longer than %d characters", maxURL)
	case err != nil || u.Scheme == "" || u.Opaque != "":
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL is malformed")
	case u.User != nil:
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL has user information in it; give it as user name and password")
	}
	return nil
}

func checkModuleVersion(v string) error {
	if utf8.RuneCountInString(v) > maxModuleVersion {
		return fault.Errorf(fault.InvalidArguments, "cannot take a ModuleVersion of more than %d characters", maxModuleVersion)
	}
	return nil
}

func checkCredentials(username, password string) error {
	if utf8.RuneCountInString(username) > maxCredentials || utf8.RuneCountInString(password) > maxCredentials {
		return fault.Errorf(fault.InvalidArguments, "cannot use the credentials: user name and password may have %d characters", maxCredentials)
	}
	return nil
}

package agent

import (
	"context"
	"errors"

	"github.com/smmd-project/smmd/agent/deployment"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/report"
	"github.com/smmd-project/smmd/mapping/uuidname"
)

// ChangeDUState accepts a ChangeDUState (TR-069 A.4.1.10), in one transaction, and returns the number that its report will have. An element that is at fault
// has its result in the report. Errors are invalid-arguments, too-many-operations, and not-supported when CWMP is not in use: nothing is done then.
func (a *Agent) ChangeDUState(ctx context.Context, r model.ChangeRequest) (uint64, error) {
	ops := make([]model.UnitOperation, len(r.Operations))
	for i, op := range r.Operations {
		switch op.Performed {
		case model.PerformedInstall, model.PerformedUpdate, model.PerformedUninstall:
		default:
			return 0, fault.Errorf(fault.InvalidArguments, "cannot accept the request: operation %d is %.20q", i+1, op.Performed)
		}
		if op.Refused == nil {
			op.UUID, op.Refused = checkOperation(op)
		}
		ops[i] = op
	}
	r.Operations = ops
	return accept(ctx, a, func(tx *inventory.Tx) (uint64, error) { return a.rep.Accept(tx, r) })
}

// checkOperation judges what can be judged of an element alone. It returns the UUID in lower case.
func checkOperation(op model.UnitOperation) (string, error) {
	err := checkCredentials(op.Username, op.Password)
	if op.URL != "" || op.Performed == model.PerformedInstall {
		err = errors.Join(checkURL(op.URL), err)
	}
	if op.Performed == model.PerformedUpdate && op.UUID == "" && op.URL == "" && op.Version != "" {
		err = fault.Errorf(fault.InvalidArguments, "cannot update: a version is given and neither UUID nor URL")
	}
	if err != nil || op.UUID == "" && op.Performed != model.PerformedUninstall {
		return op.UUID, err
	}
	uuid, err := uuidname.Parse(op.UUID)
	if err != nil {
		return op.UUID, err
	}
	return uuid, nil
}

// beginElement decides which units an element of a ChangeDUState is about, as they are now, and submits its operations.
func (a *Agent) beginElement(tx *inventory.Tx, op model.UnitOperation, origin model.Origin) ([]report.Part, error) {
	b := element{a: a, tx: tx, op: op, origin: origin, now: model.Result{Performed: op.Performed, Start: a.opts.Clock.Wall()}}
	var err error
	switch op.Performed {
	case model.PerformedInstall:
		err = b.install()
	case model.PerformedUpdate:
		err = b.update()
	default:
		err = b.uninstall()
	}
	return b.parts, err
}

// element is an element of a ChangeDUState that begins.
type element struct {
	a      *Agent
	tx     *inventory.Tx
	op     model.UnitOperation
	origin model.Origin
	now    model.Result // how each result begins
	parts  []report.Part
}

// refuse adds a result for each row; without a row it is one for the element.
func (b *element) refuse(why error, uuid string, rows ...*model.DeploymentUnit) {
	var results []model.Result
	for _, row := range rows {
		results = append(results, deployment.Describe(b.tx, b.now, row))
	}
	if len(rows) == 0 {
		res := b.now
		res.UUID, res.Version, res.Env, res.State = uuid, b.op.Version, b.op.ExecEnv, report.Unchanged(b.op.Performed)
		results = append(results, res)
	}
	for i := range results {
		results[i].Complete, results[i].Fault, results[i].Message = b.now.Start, fault.ReasonOf(why), why.Error()
	}
	b.parts = append(b.parts, report.Part{Results: results})
}

// submitted adds an operation. What the engine refuses for the units' sake is the result of the rows; any other error ends the transaction.
func (b *element) submitted(job uint32, err error, rows ...*model.DeploymentUnit) error {
	if fault.ReasonOf(err) == fault.InvalidDUState {
		b.refuse(err, b.op.UUID, rows...)
		return nil
	}
	if err != nil {
		return err
	}
	var expect []model.Result
	for _, row := range rows {
		expect = append(expect, deployment.Describe(b.tx, b.now, row))
	}
	if len(rows) == 0 {
		res := b.now
		res.UUID, res.Env, res.State = b.op.UUID, b.op.ExecEnv, report.Unchanged(b.op.Performed)
		expect = append(expect, res)
	}
	b.parts = append(b.parts, report.Part{Job: job, Expect: expect})
	return nil
}

func (b *element) install() error {
	if b.op.ExecEnv != "" {
		if err := environment.Check(&b.tx.Snapshot, b.op.ExecEnv); err != nil {
			b.refuse(err, b.op.UUID)
			return nil
		}
	}
	s, err := b.a.dus.NewInstall(model.InstallRequest{
		URL: b.op.URL, UUID: b.op.UUID, ExecEnv: b.op.ExecEnv, Username: b.op.Username, Password: b.op.Password, Originator: b.origin,
	})
	if err != nil {
		return err
	}
	return b.submitted(operation.Submit(b.a.eng, b.tx, b.a.install, s, operation.Request{Originator: b.origin}))
}

func (b *element) update() error {
	fixed := func(du *model.DeploymentUnit) bool { return b.a.envs.Fixed(du.Env, du.Key) != "" }
	chosen, err := report.ChooseUpdate(&b.tx.Snapshot, b.op, fixed)
	if err != nil {
		b.refuse(err, b.op.UUID)
		return nil
	}
	for _, c := range chosen {
		if c.Refused != nil {
			b.refuse(c.Refused, c.UUID)
			continue
		}
		if err := b.updateRows(c.Rows); err != nil {
			return err
		}
	}
	return nil
}

// updateRows updates one version of a unit wherever the element is about it: everywhere or nowhere, so what refuses one row refuses all (TR-069 VI.5.1.2).
func (b *element) updateRows(rows []*model.DeploymentUnit) error {
	r := operation.Request{Originator: b.origin, Part: true}
	for _, row := range rows {
		one := unitRequest(row, b.origin)
		r.Envs, r.Locks, r.Objects = append(r.Envs, one.Envs...), append(r.Locks, one.Locks...), append(r.Objects, one.Objects...)
	}
	err := b.judge(rows)
	for _, row := range rows {
		if err == nil && row.Missing {
			err = fault.Errorf(fault.InvalidDUState, "cannot update %s: %s no longer has it", row.UUID, row.Env)
		}
	}
	if err != nil {
		b.refuse(err, b.op.UUID, rows...)
		return nil
	}
	s, err := b.a.dus.NewUpdate(b.tx, model.UpdateRequest{
		DU: rows[0].ID, URL: b.op.URL, Username: b.op.Username, Password: b.op.Password, Originator: b.origin,
	}, rows...)
	switch fault.ReasonOf(err) {
	case fault.None:
	case fault.Internal:
		return err
	default:
		b.refuse(err, b.op.UUID, rows...)
		return nil
	}
	job, err := operation.Submit(b.a.eng, b.tx, b.a.update, s, r)
	return b.submitted(job, err, rows...)
}

// uninstall removes a unit wherever the element is about it. Nothing is removed when one row cannot be (TR-069 VI.5.1.3).
func (b *element) uninstall() error {
	if b.op.ExecEnv != "" {
		if err := environment.Check(&b.tx.Snapshot, b.op.ExecEnv); fault.ReasonOf(err) == fault.UnknownExecEnv {
			b.refuse(fault.As(fault.UnknownDU, err), b.op.UUID) // a unit there is a unit that does not exist
			return nil
		}
	}
	rows, err := report.ChooseUninstall(&b.tx.Snapshot, b.op)
	if err != nil {
		b.refuse(err, b.op.UUID)
		return nil
	}
	err = b.judge(rows)
	for _, row := range rows {
		if why := b.a.envs.Fixed(row.Env, row.Key); err == nil && why != "" {
			err = fault.Errorf(fault.RequestDenied, "cannot uninstall %s: it is %s", row.UUID, why)
		}
		if err == nil && b.a.eng.Concerned(model.Ref{Kind: model.KindDeploymentUnit, Instance: row.ID}) {
			err = fault.Errorf(fault.InvalidDUState, "cannot uninstall %s on %s: it is busy", row.UUID, row.Env)
		}
	}
	if err != nil {
		b.refuse(err, b.op.UUID, rows...)
		return nil
	}
	for _, row := range rows {
		s := &deployment.UninstallState{Row: row.ID, Env: row.Env}
		r := unitRequest(row, b.origin)
		r.Part = true
		job, err := operation.Submit(b.a.eng, b.tx, b.a.remove, s, r)
		if err := b.submitted(job, err, row); err != nil {
			return err
		}
	}
	return nil
}

// judge returns why rows cannot be changed now, those of disabled environments first.
func (b *element) judge(rows []*model.DeploymentUnit) error {
	for _, row := range rows {
		if err := environment.Check(&b.tx.Snapshot, row.Env); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if _, err := unit(b.tx, row.ID); err != nil {
			return err
		}
	}
	return nil
}

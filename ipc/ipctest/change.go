package ipctest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// maxOperations is how many operations one ChangeDUState may have.
const maxOperations = 64

// The calls for CWMP that have no request type of their own.
type (
	// AcknowledgeReport is the number of a report.
	AcknowledgeReport struct{ ID uint64 }
	// SetAttributes is the attributes by the paths of the parameters.
	SetAttributes map[string]int
)

// ChangeDUState accepts the operations. They are done, one after the other, when the test says so ([Agent.EndRequest]), or at once after
// [Agent.Auto]. The same token is the same request for as long as the agent lives.
func (a *Agent) ChangeDUState(_ context.Context, r model.ChangeRequest) (uint64, error) {
	a.mu.Lock()
	if id, known := a.tokens[r.Token]; known && r.Token != "" {
		a.mu.Unlock()
		return id, nil
	}
	if a.refusal == nil && len(r.Operations) > maxOperations {
		a.mu.Unlock()
		return 0, fault.Errorf(fault.TooManyOperations, "cannot change deployment units: %d operations are more than %d", len(r.Operations), maxOperations)
	}
	if err := a.ask(r); err != nil {
		a.mu.Unlock()
		return 0, err
	}
	a.request++
	id, auto := a.request, a.auto
	a.requests[id] = r
	a.tokens[r.Token] = id
	a.mu.Unlock()
	if auto {
		a.EndRequest(id)
	}
	return id, nil
}

// EndRequest does the operations of an open ChangeDUState and puts its report among those that wait.
func (a *Agent) EndRequest(id uint64) {
	a.mu.Lock()
	r, open := a.requests[id]
	delete(a.requests, id)
	a.mu.Unlock()
	if !open {
		return
	}
	report := &model.Report{ID: id, Kind: model.ReportRequested, CommandKey: r.CommandKey}
	for _, o := range r.Operations {
		report.Results = append(report.Results, a.operate(o, r.Originator)...)
	}
	a.Report(report)
}

// Report puts a report among those that wait, in the place of one with the same number.
func (a *Agent) Report(r *model.Report) {
	a.Commit(func(d *model.Draft) {
		rest := slices.DeleteFunc(slices.Clone(d.Reports), func(old *model.Report) bool { return old.ID == r.ID })
		d.Reports = append(rest, r)
	})
}

// operate does one operation and tells what becomes of each unit.
func (a *Agent) operate(o model.UnitOperation, originator model.Origin) []model.Result {
	refused := func(err error) []model.Result {
		state := model.ResultInstalled
		if o.Performed == model.PerformedInstall {
			state = model.ResultFailed
		}
		return []model.Result{{
			Performed: o.Performed, UUID: o.UUID, Version: o.Version, State: state, Start: Epoch, Complete: Epoch,
			Fault: fault.ReasonOf(err), Message: err.Error(),
		}}
	}
	if o.Refused != nil {
		return refused(o.Refused)
	}
	ctx := context.Background()
	if o.Performed == model.PerformedInstall {
		job, err := a.Install(ctx, model.InstallRequest{
			URL: o.URL, UUID: o.UUID, ExecEnv: o.ExecEnv, Username: o.Username, Password: o.Password, Originator: originator,
		})
		if err != nil {
			return refused(err)
		}
		a.Finish(job)
		return []model.Result{a.result(o.Performed, job, nil)}
	}
	var results []model.Result
	for u := range a.Snapshot().DeploymentUnits() {
		if o.UUID != "" && u.UUID != o.UUID || o.Version != "" && u.Version != o.Version || o.ExecEnv != "" && u.Env != o.ExecEnv ||
			o.UUID == "" && o.URL != "" && u.URL != o.URL {
			continue
		}
		var job uint32
		var err error
		if o.Performed == model.PerformedUpdate {
			job, err = a.Update(ctx, model.UpdateRequest{DU: u.ID, URL: o.URL, Username: o.Username, Password: o.Password, Originator: originator})
		} else {
			job, err = a.Uninstall(ctx, model.UninstallRequest{DU: u.ID, Originator: originator})
		}
		if err != nil {
			results = append(results, refused(err)...)
			continue
		}
		a.Finish(job)
		results = append(results, a.result(o.Performed, job, u))
	}
	if len(results) == 0 {
		return refused(fault.Errorf(fault.UnknownDU, "cannot find the deployment unit %s", o.UUID))
	}
	return results
}

// result tells what a job has done; gone is the row as it was before.
func (a *Agent) result(p model.Performed, job uint32, gone *model.DeploymentUnit) model.Result {
	s := a.Snapshot()
	j := s.Job(job)
	r := model.Result{Performed: p, Resolved: true, Start: Epoch, Complete: Epoch, Fault: j.Fault}
	switch {
	case p == model.PerformedUninstall:
		r.State = model.ResultUninstalled
	case j.Fault != fault.None && p == model.PerformedInstall:
		r.State = model.ResultFailed
	default:
		r.State = model.ResultInstalled
	}
	if j.Fault != fault.None {
		r.Message = j.Message
	}
	for _, o := range j.Objects {
		if o.Kind == model.KindDeploymentUnit {
			r.DU = o.Instance
		}
	}
	row := s.DeploymentUnit(r.DU)
	if row == nil {
		row = gone
	}
	if row != nil {
		r.UUID, r.Version, r.Env = row.UUID, row.Version, row.Env
	}
	for u := range s.ExecutionUnitsOf(r.DU) {
		r.EUs = append(r.EUs, u.ID)
	}
	return r
}

// AcknowledgeReport forgets a report.
func (a *Agent) AcknowledgeReport(_ context.Context, id uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.snap.Reports, func(r *model.Report) bool { return r.ID == id })
	if a.refusal == nil && i < 0 {
		return fault.Errorf(fault.InvalidArguments, "cannot acknowledge report %d: there is none with that number", id)
	}
	if err := a.ask(AcknowledgeReport{id}); err != nil {
		return err
	}
	a.commit(func(d *model.Draft) { d.Reports = slices.Delete(slices.Clone(d.Reports), i, i+1) })
	return nil
}

// SetAttributes keeps the attributes of parameters.
func (a *Agent) SetAttributes(_ context.Context, attributes map[string]int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ask(SetAttributes(attributes)); err != nil {
		return err
	}
	a.commit(func(d *model.Draft) {
		all := maps.Clone(d.Attributes)
		if all == nil {
			all = map[string]int{}
		}
		maps.Copy(all, attributes)
		maps.DeleteFunc(all, func(_ string, n int) bool { return n == model.AttributeDefault })
		d.Attributes = all
	})
	return nil
}

// assignPolicy sets one attribute of the policy.
func assignPolicy(d *model.Draft, s model.Assignment) error {
	switch s.Attribute {
	case model.PolicyEnable:
		d.Policy.Enable = s.Value.(bool)
	case model.PolicyResultTypeFilter:
		d.Policy.Results = s.Value.(string)
	case model.PolicyOperationTypeFilter:
		d.Policy.Operations = nil
		for _, item := range items(s.Value.(string)) {
			d.Policy.Operations = append(d.Policy.Operations, model.Performed(item))
		}
	case model.PolicyFaultCodeFilter:
		d.Policy.FaultCodes = nil
		for _, item := range items(s.Value.(string)) {
			var code uint32
			if _, err := fmt.Sscan(item, &code); err != nil {
				return fault.Errorf(fault.InvalidArguments, "cannot set %s: %q is no number", s.Attribute, item)
			}
			d.Policy.FaultCodes = append(d.Policy.FaultCodes, code)
		}
	default:
		return fault.Errorf(fault.InvalidArguments, "cannot set %s of the policy: there is no such attribute", s.Attribute)
	}
	return nil
}

// items takes a list apart as the data model writes it.
func items(list string) []string {
	var all []string
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item != "" {
			all = append(all, item)
		}
	}
	return all
}

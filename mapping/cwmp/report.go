package cwmp

import (
	"context"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/uuidname"
)

// A Report is what waits to be delivered: one call of DUStateChangeComplete (TR-069 A.4.2.3) or AutonomousDUStateChangeComplete (A.4.2.4).
type Report struct {
	ID         uint64
	Kind       string // the name of the RPC
	CommandKey string // of the ChangeDUState; an autonomous report has none
	Results    []Result
}

// A Result is one OpResultStruct or AutonOpResultStruct (TR-069 Tables 80 and 84), by the names of their fields.
type Result struct {
	UUID                 string // empty: not known, or what was given is none
	DeploymentUnitRef    string // ends with a dot, also when the row is gone; empty: there is none, as after an install that failed
	Version              string
	CurrentState         string
	Resolved             bool
	ExecutionUnitRefList string // separated by commas, each ends with a dot
	StartTime            string // dateTime
	CompleteTime         string // dateTime
	FaultCode            uint32 // 0: success
	FaultString          string // at most 256 characters; empty on success
	OperationPerformed   string // of an autonomous report only
}

// Autonomous reports whether the report is of changes that no ChangeDUState has asked for.
func (r Report) Autonomous() bool { return r.Kind == string(model.ReportAutonomous) }

// PendingReports returns what waits to be delivered, in the order of the numbers.
func (f *Face) PendingReports() []Report {
	var reports []Report
	for _, r := range f.agent.Snapshot().Reports {
		reports = append(reports, NewReport(r))
	}
	return reports
}

// NewReport says a report in the words of CWMP.
func NewReport(r *model.Report) Report {
	report := Report{ID: r.ID, Kind: string(r.Kind), CommandKey: r.CommandKey, Results: make([]Result, len(r.Results))}
	for i, x := range r.Results {
		report.Results[i] = newResult(x)
		if report.Autonomous() {
			report.Results[i].OperationPerformed = string(x.Performed)
		}
	}
	return report
}

func newResult(r model.Result) Result {
	x := Result{
		Version: bounded(r.Version, 32), CurrentState: string(r.State), Resolved: r.Resolved,
		StartTime: dm.FormatTime(r.Start), CompleteTime: dm.FormatTime(r.Complete), FaultCode: ResultCode(r.Performed, r.Fault),
	}
	if uuid, err := uuidname.Parse(r.UUID); err == nil { // the schema has no place for anything else
		x.UUID = uuid
	}
	if r.DU != 0 && r.State != model.ResultFailed {
		x.DeploymentUnitRef = reference(model.KindDeploymentUnit, r.DU)
	}
	if r.State != model.ResultFailed {
		units := make([]string, len(r.EUs))
		for i, u := range r.EUs {
			units[i] = reference(model.KindExecutionUnit, u)
		}
		x.ExecutionUnitRefList = strings.Join(units, ",")
	}
	if r.Fault != fault.None {
		x.FaultString = bounded(r.Message, 256)
	}
	return x
}

// reference is a path as the arguments of RPCs have it: with a dot at its end, other than in the data model itself.
func reference(k model.Kind, id model.RowID) string {
	return softwaremodules.Path(model.Ref{Kind: k, Instance: id}) + "."
}

// bounded returns text as a parameter of at most that many characters has it.
func bounded(text string, length int) string {
	p := dm.Parameter[string]{Type: dm.String, Length: length, Text: func(s string) string { return s }}
	return p.Value(text)
}

// AcknowledgeReport forgets a report: the ACS has answered it with the response, not with a fault. A number that no report has is refused.
func (f *Face) AcknowledgeReport(ctx context.Context, id uint64) error {
	if err := f.agent.AcknowledgeReport(ctx, id); err != nil {
		return refusedCall(err)
	}
	return nil
}

package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// An Operation is one element of [Client.ChangeDUState]. Its fields are those of TR-069 Tables 71 to 73; what is empty is not sent.
type Operation struct {
	Kind            string // Install, Update, Uninstall
	URL             string // Install, Update
	UUID            string
	Version         string // Update, Uninstall: the present one
	Username        string // Install, Update
	Password        string // Install, Update
	ExecutionEnvRef string // Install, Uninstall
}

// ChangeDUState begins all operations, or none when it returns an error, and returns the number that their report will have. commandKey
// has at most 32 characters. The same token is the same request again; an empty one is always a new request.
func (c *Client) ChangeDUState(ctx context.Context, operations []Operation, commandKey, token string) (uint64, error) {
	type element struct {
		Kind   string
		Fields options
	}
	list := make([]element, len(operations))
	for i, o := range operations {
		list[i] = element{o.Kind, options{}}
		for name, value := range map[string]string{
			"URL": o.URL, "UUID": o.UUID, "Version": o.Version, "Username": o.Username, "Password": o.Password, "ExecutionEnvRef": o.ExecutionEnvRef,
		} {
			list[i].Fields.put(name, value)
		}
	}
	opts := options{}
	opts.put("request_token", token)
	var id uint64
	_, err := c.call(ctx, "cannot change deployment units", Root, ifaceCWMP+".ChangeDUState", []any{list, commandKey, opts}, &id)
	return id, err
}

// The kinds of reports: the RPCs that deliver them.
const (
	ReportRequested  = "DUStateChangeComplete"
	ReportAutonomous = "AutonomousDUStateChangeComplete"
)

// A Report waits to be delivered to the ACS.
type Report struct {
	ID         uint64         `json:"id"`
	Kind       string         `json:"kind"`
	CommandKey string         `json:"command_key"` // empty in an autonomous report
	Results    []ReportResult `json:"results"`
}

// A ReportResult is what became of one deployment unit: OpResultStruct or AutonOpResultStruct (TR-069 Tables 80 and 84).
type ReportResult struct {
	UUID                 string `json:"uuid"`
	DeploymentUnitRef    string `json:"deployment_unit_ref"` // ends with a dot
	Version              string `json:"version"`
	CurrentState         string `json:"current_state"` // Installed, Uninstalled, Failed
	Resolved             bool   `json:"resolved"`
	ExecutionUnitRefList string `json:"execution_unit_ref_list"` // separated by commas, each ends with a dot
	StartTime            string `json:"start_time"`              // dateTime
	CompleteTime         string `json:"complete_time"`
	FaultCode            uint32 `json:"fault_code"` // 0: success
	FaultString          string `json:"fault_string"`
	OperationPerformed   string `json:"operation_performed,omitempty"` // in an autonomous report
}

// PendingReports returns what waits to be delivered to the ACS, oldest first.
func (c *Client) PendingReports(ctx context.Context) ([]Report, error) {
	const what = "cannot list the reports"
	var rows []struct {
		ID     uint64
		Kind   string
		Fields map[string]dbus.Variant
	}
	if _, err := c.call(ctx, what, Root, ifaceCWMP+".PendingReports", nil, &rows); err != nil {
		return nil, err
	}
	reports := make([]Report, len(rows))
	for i, row := range rows {
		reports[i] = Report{ID: row.ID, Kind: row.Kind, Results: []ReportResult{}}
		if err := reports[i].read(row.Fields); err != nil {
			return nil, fmt.Errorf("%s: report %d: %w", what, row.ID, err)
		}
	}
	return reports, nil
}

func (r *Report) read(fields map[string]dbus.Variant) error {
	if r.Kind == ReportRequested {
		if err := take(fields, "CommandKey", &r.CommandKey); err != nil {
			return err
		}
	}
	var results []map[string]dbus.Variant
	if err := take(fields, "Results", &results); err != nil {
		return err
	}
	for _, x := range results {
		var result ReportResult
		for name, dst := range map[string]any{
			"UUID": &result.UUID, "DeploymentUnitRef": &result.DeploymentUnitRef, "Version": &result.Version, "CurrentState": &result.CurrentState,
			"Resolved": &result.Resolved, "ExecutionUnitRefList": &result.ExecutionUnitRefList, "StartTime": &result.StartTime, "CompleteTime": &result.CompleteTime,
		} {
			if err := take(x, name, dst); err != nil {
				return err
			}
		}
		if r.Kind == ReportAutonomous {
			if err := take(x, "OperationPerformed", &result.OperationPerformed); err != nil {
				return err
			}
		}
		var fault map[string]dbus.Variant
		if err := take(x, "Fault", &fault); err != nil {
			return err
		}
		for name, dst := range map[string]any{"FaultCode": &result.FaultCode, "FaultString": &result.FaultString} {
			if err := take(fault, name, dst); err != nil {
				return err
			}
		}
		r.Results = append(r.Results, result)
	}
	return nil
}

// take stores the field of that name.
func take(fields map[string]dbus.Variant, name string, dst any) error {
	v, ok := fields[name]
	if !ok {
		return fmt.Errorf("it has no %s", name)
	}
	if err := v.Store(dst); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// AcknowledgeReport forgets a report: it is delivered.
func (c *Client) AcknowledgeReport(ctx context.Context, id uint64) error {
	_, err := c.call(ctx, fmt.Sprintf("cannot acknowledge report %d", id), Root, ifaceCWMP+".AcknowledgeReport", []any{id})
	return err
}

package smmctl

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

func newReports(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reports",
		Short: "List what waits to be reported to the ACS",
		Long: `List what waits to be delivered to the ACS: the results of each ChangeDUState, and those of changes that no ChangeDUState has asked for, as far
as Device.ManagementServer.DUStateChangeComplPolicy. wants them reported.

The CWMP client of the device delivers the reports and acknowledges them. Where there is none, smmctl reports ack removes them.`,
		Example: "  smmctl reports\n  smmctl reports --json",
		Args:    cobra.ArbitraryArgs,
	}
	cmd.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("%s has no command %q%s", c.CommandPath(), args[0], suggestion(c, args[0]))
		}
		return a.action(a.listReports)(c, args)
	}
	cmd.AddCommand(newReportsAck(a))
	return cmd
}

func (a *app) listReports(ctx context.Context, c *client.Client, _ []string) error {
	reports, err := c.PendingReports(ctx)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(reports)
	}
	var rows [][]string
	for _, r := range reports {
		for i, x := range r.Results {
			row := []string{"", "", "", x.OperationPerformed, x.CurrentState, x.UUID, x.Version, resultFault(x)}
			if i == 0 {
				row[0], row[1], row[2] = strconv.FormatUint(r.ID, 10), reportKind(r), r.CommandKey
			}
			rows = append(rows, row)
		}
	}
	return a.table([]string{"REPORT", "KIND", "COMMAND KEY", "OPERATION", "STATE", "UUID", "VERSION", "FAULT"}, rows)
}

// reportKind is the kind of a report in one word.
func reportKind(r client.Report) string {
	switch r.Kind {
	case client.ReportRequested:
		return "requested"
	case client.ReportAutonomous:
		return "autonomous"
	}
	return r.Kind
}

// resultFault is the fault of a result with its number; reports are CWMP's, so there is no other one.
func resultFault(x client.ReportResult) string {
	if x.FaultCode == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("%s (CWMP %d)", x.FaultString, x.FaultCode))
}

// ackResult is the JSON of reports ack.
type ackResult struct {
	Report uint64 `json:"report"`
}

func newReportsAck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ack ID",
		Short: "Remove a report",
		Long:  "Remove a report, as the CWMP client does when the ACS has received it. The ACS will not get it any more.",
		Example: `  smmctl reports ack 7
  smmctl reports ack 7 --json`,
		Args: cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, c *client.Client, args []string) error {
			id, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil || id == 0 {
				return usagef("%q is no report: give its number, as smmctl reports shows it", args[0])
			}
			if err := c.AcknowledgeReport(ctx, id); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(ackResult{id})
			}
			return a.printf("Removed report %d\n", id)
		}),
	}
}

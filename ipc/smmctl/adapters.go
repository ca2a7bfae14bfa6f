package smmctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

func newAdapters(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "adapters",
		Short:   "List the adapter processes",
		Long:    "List the processes that drive the execution environments: version, capabilities, state, and how often each was restarted since the agent started.",
		Example: "  smmctl adapters",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, c *client.Client, _ []string) error {
			adapters, err := c.Adapters(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(adapters)
			}
			rows := make([][]string, 0, len(adapters))
			for _, p := range adapters {
				pid := "-"
				if p.PID != 0 {
					pid = fmt.Sprint(p.PID)
				}
				rows = append(rows, []string{p.Name, p.Version, p.State, pid, fmt.Sprint(p.Restarts), strings.Join(p.Capabilities, ","), p.Detail})
			}
			return a.table([]string{"NAME", "VERSION", "STATE", "PID", "RESTARTS", "CAPABILITIES", "DETAIL"}, rows)
		}),
	}
}

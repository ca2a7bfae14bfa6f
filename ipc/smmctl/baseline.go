package smmctl

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

var baselines = []string{client.BaselineCWMP, client.BaselineUSP}

func checkBaseline(kind string) error {
	if !slices.Contains(baselines, kind) {
		return usagef("%q is no baseline: give %s or %s", kind, client.BaselineCWMP, client.BaselineUSP)
	}
	return nil
}

// baselineResult is the JSON of baseline.
type baselineResult struct {
	Baseline string `json:"baseline"`
	Token    string `json:"token"`
}

func newBaseline(a *app) *cobra.Command {
	var token string
	cmd := &cobra.Command{
		Use:   "baseline [cwmp|usp]",
		Short: "Record the state that a reset goes back to",
		Long: `Make the present state of all execution environments the baseline: what smmctl ee reset brings them back to. CWMP (the default)
and USP have one each.

The adapters of the protocols do the same of their own accord: that of CWMP at each bootstrap, that of USP at the first boot
after a factory reset.`,
		Example:   "  smmctl baseline\n  smmctl baseline usp",
		Args:      cobra.MaximumNArgs(1),
		ValidArgs: baselines,
	}
	cmd.Flags().StringVar(&token, "token", "", "names the moment: with the token of the present baseline nothing changes")
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		kind := client.BaselineCWMP
		if len(args) > 0 {
			kind = args[0]
		}
		if err := checkBaseline(kind); err != nil {
			return err
		}
		if err := c.RecordBaseline(ctx, kind, token); err != nil {
			return err
		}
		if a.json {
			return a.printJSON(baselineResult{kind, token})
		}
		return a.printf("Recorded the baseline %s\n", kind)
	})
	return cmd
}

func newExecEnvReset(a *app) *cobra.Command {
	var kind string
	cmd := &cobra.Command{
		Use:   "reset EE",
		Short: "Bring an execution environment back to its baseline",
		Long: `Bring an execution environment back to a baseline, the state at an earlier moment, and wait until that is done or has failed.
Deployment units that came since are removed with their data; those that changed get their old version, and those that went are
installed again, without the network; run levels, AutoStart and the version of the environment are restored. The environment
is restarted at the end.

What cannot be restored makes the command fail with a message that names it, when all else is restored. See also smmctl
baseline.

` + execEnvHelp,
		Example: "  smmctl ee reset felix\n  smmctl ee reset felix --baseline usp",
		Args:    cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	cmd.Flags().StringVar(&kind, "baseline", client.BaselineCWMP, "baseline of which protocol: cwmp or usp")
	cmd.ValidArgsFunction = a.firstArg(execEnvNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		if err := checkBaseline(kind); err != nil {
			return err
		}
		_, e, err := oneExecEnv(ctx, c, args[0])
		if err != nil {
			return err
		}
		job, err := c.ResetExecEnv(ctx, e.Object, kind)
		if err != nil {
			return err
		}
		return w.endExecEnv(ctx, c, e, job, "Reset "+execEnvName(e))
	})
	return cmd
}

package smmctl

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
)

func newExecEnvs(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "ee",
		Short:   "Look at and change execution environments",
		Long:    "Look at and change execution environments.\n\n" + execEnvHelp,
		Example: "  smmctl ee list\n  smmctl ee run-level felix 5\n  smmctl ee restart felix\n  smmctl ee constrain services --memory-limit 256MiB\n  smmctl ee reset felix",
	}
	cmd.AddCommand(newExecEnvList(a), newExecEnvEnable(a, true), newExecEnvEnable(a, false), newExecEnvRunLevel(a), newExecEnvRestart(a), newExecEnvConstrain(a), newExecEnvReset(a),
		newExecEnvVolumes(a), newExecEnvRemoveVolume(a))
	return group(cmd)
}

func newExecEnvList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the execution environments",
		Example: "  smmctl ee list",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, c *client.Client, _ []string) error {
			t, err := c.Tree(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(t.ExecEnvs)
			}
			rows := make([][]string, 0, len(t.ExecEnvs))
			for _, e := range t.ExecEnvs {
				level := "-"
				if e.CurrentRunLevel >= 0 {
					level = fmt.Sprintf("%d/%d", e.CurrentRunLevel, e.InitialRunLevel)
				}
				rows = append(rows, []string{fmt.Sprint(e.Instance), execEnvName(e), e.Adapter, e.Status, level, e.Type, e.Vendor, e.Version, e.StatusDetail})
			}
			return a.table([]string{"NO", "NAME", "ADAPTER", "STATUS", "LEVEL/INITIAL", "TYPE", "VENDOR", "VERSION", "DETAIL"}, rows)
		}),
	}
}

func newExecEnvEnable(a *app, enable bool) *cobra.Command {
	name, verb, past, operation := "enable", "Enable", "Enabled", "enable"
	what := "it is started."
	if !enable {
		name, verb, past, operation = "disable", "Disable", "Disabled", "disable"
		what = "it is stopped, and its execution units with it; nothing is removed."
	}
	cmd := &cobra.Command{
		Use:     name + " EE",
		Short:   verb + " an execution environment",
		Long:    verb + " an execution environment: " + what + " smmctl waits until that is done or has failed.\n\n" + execEnvHelp,
		Example: "  smmctl ee " + name + " felix",
		Args:    cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	cmd.ValidArgsFunction = a.firstArg(execEnvNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		t, e, err := oneExecEnv(ctx, c, args[0])
		if err != nil {
			return err
		}
		if err := c.SetProperty(ctx, e.Object, "Enable", enable); err != nil {
			return err
		}
		return w.finishExecEnv(ctx, c, t, e, operation, past+" "+execEnvName(e))
	})
	return cmd
}

func newExecEnvRunLevel(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run-level EE N",
		Short: "Bring an execution environment to a run level",
		Long: fmt.Sprintf(`Bring an execution environment to a run level (0 to %d), and wait until that is done or has failed. It lasts until the environment
starts again; the level that it takes then is its parameter InitialRunLevel.

`, model.MaxRunLevel) + execEnvHelp,
		Example: "  smmctl ee run-level felix 5",
		Args:    cobra.ExactArgs(2),
	}
	w := a.waiter(cmd)
	cmd.ValidArgsFunction = a.firstArg(execEnvNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		level, err := strconv.ParseUint(args[1], 10, 31)
		if err != nil || level > model.MaxRunLevel {
			return usagef("%q is no run level: give a number from 0 to %d", args[1], model.MaxRunLevel)
		}
		t, e, err := oneExecEnv(ctx, c, args[0])
		if err != nil {
			return err
		}
		if e.Status == string(model.EEUp) && e.CurrentRunLevel < 0 {
			return fmt.Errorf("cannot set the run level of %s: it has no run levels", execEnvName(e))
		}
		if err := c.SetRunLevel(ctx, e.Object, int32(level)); err != nil {
			return err
		}
		return w.finishExecEnv(ctx, c, t, e, "run-level", fmt.Sprintf("Asked %s for run level %d", execEnvName(e), level))
	})
	return cmd
}

func newExecEnvRestart(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:     "restart EE",
		Short:   "Restart an execution environment",
		Long:    "End an execution environment, launch it again and bring it to its InitialRunLevel; wait until that is done or has failed.\n\n" + execEnvHelp,
		Example: "  smmctl ee restart felix --reason 'new certificates'",
		Args:    cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "what the parameter RestartReason is to say")
	cmd.ValidArgsFunction = a.firstArg(execEnvNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		_, e, err := oneExecEnv(ctx, c, args[0])
		if err != nil {
			return err
		}
		job, err := c.RestartExecEnv(ctx, e.Object, reason)
		if err != nil {
			return err
		}
		return w.endExecEnv(ctx, c, e, job, "Restarted "+execEnvName(e))
	})
	return cmd
}

func newExecEnvConstrain(a *app) *cobra.Command {
	var bounds limits
	var force bool
	cmd := &cobra.Command{
		Use:   "constrain EE",
		Short: "Set limits of an execution environment",
		Long: `Set limits of what an execution environment uses, with all that runs on it, and wait until that is done or has failed. A limit that is
not given stays as it is.

A limit below what is in use is refused, and nothing is changed. With --force it is set, and the environment may end units.

` + execEnvHelp,
		Example: "  smmctl ee constrain services --memory-limit 256MiB --cpu-limit 50\n  smmctl ee constrain services --memory-limit none",
		Args:    cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	bounds.flags(cmd, "it", "the device's processors")
	cmd.Flags().BoolVar(&force, "force", false, "also below what is in use")
	cmd.MarkFlagsOneRequired("disk-limit", "memory-limit", "cpu-limit")
	cmd.ValidArgsFunction = a.firstArg(execEnvNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		l, err := bounds.read(cmd)
		if err != nil {
			return err
		}
		_, e, err := oneExecEnv(ctx, c, args[0])
		if err != nil {
			return err
		}
		job, err := c.ModifyConstraints(ctx, e.Object, l, force)
		if err != nil {
			return err
		}
		return w.endExecEnv(ctx, c, e, job, fmt.Sprintf("Constrained %s (%s)", execEnvName(e), said(l)))
	})
	return cmd
}

// execEnvResult is the JSON of the commands that change an environment.
type execEnvResult struct {
	Job     *client.Job     `json:"job"` // null when there was nothing to do
	ExecEnv *client.ExecEnv `json:"exec_env"`
}

func oneExecEnv(ctx context.Context, c *client.Client, arg string) (*client.Tree, *client.ExecEnv, error) {
	t, err := c.Tree(ctx)
	if err != nil {
		return nil, nil, err
	}
	e, err := findExecEnv(t, arg)
	return t, e, err
}

// finishExecEnv waits for what a write to a property began. The write does not tell its job, but the job is there when the
// write is answered, and it is newer than all of before.
func (w *waiter) finishExecEnv(ctx context.Context, c *client.Client, before *client.Tree, e *client.ExecEnv, operation, line string) error {
	after, err := c.Tree(ctx)
	if err != nil {
		return err
	}
	var job dbus.ObjectPath
	for _, j := range after.Jobs {
		if before.Job(j.Object) == nil && j.Operation == operation && slices.Contains(j.Objects, e.Object) {
			job = j.Object
		}
	}
	return w.endExecEnv(ctx, c, e, job, line)
}

// endExecEnv waits for a job, "" for none, and tells how the environment is then.
func (w *waiter) endExecEnv(ctx context.Context, c *client.Client, e *client.ExecEnv, job dbus.ObjectPath, line string) error {
	var r execEnvResult
	if job != "" {
		if w.noWait {
			return w.finish(ctx, c, job, "", nil)
		}
		var err error
		if r.Job, err = w.a.wait(ctx, c, job); err != nil {
			return err
		}
	}
	t, err := c.Tree(ctx)
	if err != nil {
		return err
	}
	r.ExecEnv = t.ExecEnv(e.Object)
	if w.a.json {
		if err := w.a.printJSON(r); err != nil {
			return err
		}
	}
	if r.Job != nil && r.Job.Err() != nil {
		return jobFault("cannot "+r.Job.Operation+" "+execEnvName(e), r.Job.Err())
	}
	if w.a.json {
		return nil
	}
	if now := r.ExecEnv; now != nil {
		line += ": " + now.Status
		if now.CurrentRunLevel >= 0 {
			line += fmt.Sprintf(", run level %d", now.CurrentRunLevel)
		}
		if now.StatusDetail != "" && now.Status != string(model.EEUp) {
			line += ", " + now.StatusDetail
		}
	}
	if r.Job != nil {
		line = remark(line, r.Job)
	}
	return w.a.printf("%s\n", clean(line))
}

package smmctl

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

func newJobs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "jobs",
		Short:   "List running and finished work",
		Long:    "List the work that the agent does, and what it has finished lately.",
		Example: "  smmctl jobs\n  smmctl jobs --json",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, c *client.Client, _ []string) error {
			t, err := c.Tree(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(t.Jobs)
			}
			rows := make([][]string, 0, len(t.Jobs))
			for _, j := range t.Jobs {
				rows = append(rows, []string{
					fmt.Sprint(j.Instance), j.Operation, j.State, fmt.Sprintf("%d%%", int(j.Progress*100)), clock(j.StartTime),
					objectsOf(t, j), outcome(j),
				})
			}
			return a.table([]string{"JOB", "OPERATION", "STATE", "PROGRESS", "STARTED", "OBJECTS", "MESSAGE"}, rows)
		}),
	}
}

// objectsOf names what a job works on.
func objectsOf(t *client.Tree, j *client.Job) string {
	names := make([]string, 0, len(j.Objects))
	for _, path := range j.Objects {
		if e := t.ExecEnv(path); e != nil {
			names = append(names, execEnvName(e))
		} else if r, ok := client.ParseRef(string(path)); ok {
			names = append(names, r.String())
		}
	}
	return strings.Join(names, ", ")
}

// outcome is what there is to say of the end of a job.
func outcome(j *client.Job) string {
	if err := j.Err(); err != nil {
		return err.Error()
	}
	return j.Message
}

func newJob(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "job N",
		Short:   "Show one job",
		Long:    "Show one job. The exit status says whether it could be read, not whether the job went well.",
		Example: "  smmctl job 7",
		Args:    cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := findJob(args[0])
			if err != nil {
				return err
			}
			t, err := c.Tree(ctx)
			if err != nil {
				return err
			}
			j := t.Job(r.Object)
			if j == nil {
				return fmt.Errorf("there is no %s; finished work is kept for an hour at least", r)
			}
			if a.json {
				return a.printJSON(j)
			}
			for _, field := range [][2]string{
				{"Job", fmt.Sprint(j.Instance)}, {"Operation", j.Operation}, {"State", j.State},
				{"Progress", fmt.Sprintf("%d%%", int(j.Progress*100))}, {"Bytes", bytesOf(j)}, {"Started", clock(j.StartTime)},
				{"Objects", objectsOf(t, j)}, {"Asked by", j.Originator}, {"Message", outcome(j)},
			} {
				if field[1] == "" {
					continue
				}
				if err := a.printf("%-10s %s\n", field[0], clean(field[1])); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func bytesOf(j *client.Job) string {
	switch {
	case j.BytesTotal > 0:
		return size(j.BytesDone) + " of " + size(j.BytesTotal)
	case j.BytesDone > 0:
		return size(j.BytesDone)
	}
	return ""
}

func newCancel(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "cancel N",
		Short: "Cancel a job",
		Long: `Cancel a job, and wait until it has ended. A job that has ended, or is past the point of no return, cannot be canceled;
one that could not be stopped in time ends as it would have.`,
		Example: "  smmctl cancel 7",
		Args:    cobra.ExactArgs(1),
		RunE: a.action(func(ctx context.Context, c *client.Client, args []string) error {
			r, err := findJob(args[0])
			if err != nil {
				return err
			}
			if err := c.Cancel(ctx, r.Object); err != nil {
				return err
			}
			j, err := a.wait(ctx, c, r.Object)
			if err != nil {
				return err
			}
			if a.json {
				if err := a.printJSON(jobResult{Job: j}); err != nil {
					return err
				}
			}
			switch j.State {
			case client.JobCancelled:
			case client.JobDone:
				return fmt.Errorf("cannot cancel %s: it was done first", r)
			default:
				if j.FaultName != "Canceled" {
					return jobFault("cannot cancel "+r.String(), j.Err())
				}
			}
			if a.json {
				return nil
			}
			return a.printf("Canceled %s (%s)\n", r, clean(j.Operation))
		}),
	}
}

package smmctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

// A waiter is how a command treats the job that it began.
type waiter struct {
	a      *app
	noWait bool
}

func (a *app) waiter(cmd *cobra.Command) *waiter {
	w := &waiter{a: a}
	cmd.Flags().BoolVar(&w.noWait, "no-wait", false, "do not wait for the end; print the job")
	return w
}

// jobResult is the JSON of the commands that begin a job.
type jobResult struct {
	Job             *client.Job              `json:"job"`
	DeploymentUnits []*client.DeploymentUnit `json:"deployment_units,omitempty"`
	ExecutionUnits  []*client.ExecutionUnit  `json:"execution_units,omitempty"`
}

// finish waits for a job and prints its result: the lines that tell returns, from what exists then. what is what a failure
// could not do: "cannot install URL".
func (w *waiter) finish(ctx context.Context, c *client.Client, job dbus.ObjectPath, what string, tell func(*client.Tree, *client.Job) []string) error {
	if w.noWait {
		j, err := c.Job(ctx, job)
		if err != nil {
			return err
		}
		if w.a.json {
			return w.a.printJSON(jobResult{Job: j})
		}
		return w.a.printf("%s\n", j)
	}
	j, err := w.a.wait(ctx, c, job)
	if err != nil {
		return err
	}
	// What it made is read for the result line only; the job's own outcome stands.
	t, treeErr := c.Tree(ctx)
	if treeErr != nil {
		t = &client.Tree{}
	}
	if w.a.json {
		if err := w.a.printJSON(resultOf(t, j)); err != nil {
			return err
		}
	}
	if err := j.Err(); err != nil {
		return jobFault(what, err)
	}
	if treeErr != nil {
		return fmt.Errorf("%s is done, but its result cannot be told: %w", j, treeErr)
	}
	if w.a.json {
		return nil
	}
	for _, line := range tell(t, j) {
		if err := w.a.printf("%s\n", clean(line)); err != nil {
			return err
		}
	}
	return nil
}

// resultOf returns a job with the units that it worked on.
func resultOf(t *client.Tree, j *client.Job) jobResult {
	r := jobResult{Job: j}
	for _, path := range j.Objects {
		if u := t.DeploymentUnit(path); u != nil {
			r.DeploymentUnits = append(r.DeploymentUnits, u)
		}
		if u := t.ExecutionUnit(path); u != nil {
			r.ExecutionUnits = append(r.ExecutionUnits, u)
		}
	}
	for _, u := range t.ExecutionUnits {
		for _, du := range r.DeploymentUnits {
			if u.DeploymentUnit == du.Object && find(r.ExecutionUnits, u) < 0 {
				r.ExecutionUnits = append(r.ExecutionUnits, u)
			}
		}
	}
	return r
}

func find(units []*client.ExecutionUnit, unit *client.ExecutionUnit) int {
	for i, u := range units {
		if u.Object == unit.Object {
			return i
		}
	}
	return -1
}

// jobFault makes the fault of a job say what could not be done, if its own words do not.
func jobFault(what string, err error) error {
	var e *client.Error
	if errors.As(err, &e) && strings.HasPrefix(e.Message, "cannot ") {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// wait waits for a job, with a moving line if the terminal takes one. An interrupt leaves the job alone and says so.
func (a *app) wait(ctx context.Context, c *client.Client, job dbus.ObjectPath) (*client.Job, error) {
	bar := progressLine{width: a.errWidth}
	var show func(*client.Job)
	if a.progress {
		show = func(j *client.Job) { fmt.Fprint(a.err, bar.draw(j)) }
	}
	j, err := c.WaitJob(ctx, job, show)
	if a.progress {
		fmt.Fprint(a.err, bar.clear())
	}
	if errors.Is(err, context.Canceled) {
		r, _ := client.ParseRef(string(job))
		fmt.Fprintf(a.err, "smmctl: not waiting any longer; %s goes on. To look at it: smmctl job %d. To cancel it: smmctl cancel %d.\n", r, r.Instance, r.Instance)
		return nil, errTold
	}
	return j, err
}

// A progressLine is one line of a terminal that is drawn again and again.
type progressLine struct {
	width int // columns of the terminal, 0 when unknown
	shown string
}

const barWidth = 24

// draw returns what to write so that the line shows j.
func (p *progressLine) draw(j *client.Job) string {
	done := min(max(int(j.Progress*barWidth), 0), barWidth)
	line := fmt.Sprintf("%-12s [%s%s] %3d%%", clean(j.State), strings.Repeat("#", done), strings.Repeat(".", barWidth-done), int(j.Progress*100))
	switch {
	case j.BytesTotal > 0:
		line += "  " + size(j.BytesDone) + " of " + size(j.BytesTotal)
	case j.BytesDone > 0:
		line += "  " + size(j.BytesDone)
	}
	if r := []rune(line); p.width > 0 && len(r) >= p.width {
		line = string(r[:p.width-1]) // a line that wraps cannot be drawn over
	}
	if line == p.shown {
		return ""
	}
	out := "\r" + pad(line, columns(p.shown))
	p.shown = line
	return out
}

// clear returns what to write so that nothing is left of the line.
func (p *progressLine) clear() string {
	if p.shown == "" {
		return ""
	}
	n := columns(p.shown)
	p.shown = ""
	return "\r" + strings.Repeat(" ", n) + "\r"
}

// size returns a number of bytes for a person.
func size(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// clock returns a time of the device for a person.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

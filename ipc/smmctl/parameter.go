package smmctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

func newGet(a *app) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "get [-q] PATH…",
		Short: "Read parameters of the data model",
		Long:  "Read parameters of the data model. A path that ends with a dot stands for everything below it.\n\n" + pathHelp,
		Example: `  smmctl get Device.SoftwareModules.ExecEnv.1.Status
  smmctl get Device.SoftwareModules.DeploymentUnit.
  smmctl get -q Device.SoftwareModules.ExecEnv.1.CurrentRunLevel
  smmctl get 'Device.SoftwareModules.ExecutionUnit.*.Status'
  smmctl get 'Device.SoftwareModules.ExecEnv.[Name=="felix"].'`,
		Args: cobra.MinimumNArgs(1),
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print the bare values")
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, paths []string) error {
		values, err := getParameters(ctx, c, paths)
		if err != nil {
			return err
		}
		switch {
		case a.json:
			if values == nil {
				values = []client.Parameter{}
			}
			return a.printJSON(values)
		case quiet:
			for _, v := range values {
				value := v.Value // for a script as it is
				if a.width > 0 {
					value = clean(value)
				}
				if err := a.printf("%s\n", value); err != nil {
					return err
				}
			}
			return nil
		}
		width := 0
		for _, v := range values {
			width = max(width, columns(v.Path))
		}
		for _, v := range values {
			if err := a.printf("%s\n", strings.TrimRight(pad(v.Path, width)+" "+clean(v.Value), " ")); err != nil {
				return err
			}
		}
		return nil
	})
	return cmd
}

func newSet(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "set PATH=VALUE…",
		Short: "Write parameters of the data model, all or none",
		Long: `Write parameters of the data model: all of them, or none when one is refused.

Some parameters only begin a change: Enable, Reset, RequestedRunLevel, InitialExecutionUnitRunLevel, RequestedState, AutoStart
and RunLevel. smmctl then says so and does not wait; smmctl jobs and smmctl watch tell what becomes of it.

` + pathHelp + ` With a path that only USP can read all of them are set by USP, which has no RequestedState, Reset and RequestedRunLevel and
does not tell what is still under way.`,
		Example: `  smmctl set Device.SoftwareModules.ExecEnv.1.InitialRunLevel=5
  smmctl set Device.SoftwareModules.ExecutionUnit.4.RequestedState=Active
  smmctl set 'Device.SoftwareModules.ExecutionUnit.*.AutoStart=true'`,
		Args: cobra.MinimumNArgs(1),
		RunE: a.action(a.set),
	}
}

// setResult is the JSON of set.
type setResult struct {
	Moving     bool               `json:"moving"`
	Parameters []client.Parameter `json:"parameters"`
}

func (a *app) set(ctx context.Context, c *client.Client, args []string) error {
	values := make([]client.Parameter, 0, len(args))
	paths := make([]string, 0, len(args))
	for _, arg := range args {
		path, value, ok := cutAssignment(arg)
		if !ok || path == "" || strings.HasSuffix(path, ".") {
			return usagef("%q is not PATH=VALUE with the path of one parameter", arg)
		}
		values = append(values, client.Parameter{Path: path, Value: value})
		paths = append(paths, path)
	}
	if slices.ContainsFunc(paths, isUSP) {
		if err := setUSP(ctx, c, values); err != nil {
			return err
		}
		if a.json {
			return a.printJSON(setResult{false, values})
		}
		return nil
	}
	// What types they have is asked, so that nobody has to type them.
	old, err := c.GetParameterValues(ctx, paths...)
	if err != nil {
		return detailed(err)
	}
	types := make(map[string]string, len(old))
	for _, p := range old {
		types[p.Path] = p.Type
	}
	for i := range values {
		values[i].Type = types[values[i].Path]
	}
	moving, err := c.SetParameterValues(ctx, values...)
	if err != nil {
		return detailed(err)
	}
	if a.json {
		return a.printJSON(setResult{moving, values})
	}
	if moving {
		return a.printf("Accepted, and still under way; see smmctl jobs.\n")
	}
	return nil
}

// detailed adds the faults of single parameters to an error that has them.
func detailed(err error) error {
	var e *client.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	var b strings.Builder
	for _, f := range e.Parameters() {
		protocol := "CWMP"
		if f.CWMP < 9000 { // the numbers of the two have nothing in common
			protocol = "USP"
		}
		fmt.Fprintf(&b, "; %s: %s %d", f.Path, protocol, f.CWMP)
		if !strings.Contains(e.Message, f.Message) {
			b.WriteString(", " + f.Message)
		}
	}
	if b.Len() == 0 {
		return err
	}
	return fmt.Errorf("%w%s", err, b.String())
}

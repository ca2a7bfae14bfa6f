package smmctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

// The exit status.
const (
	statusDone        = 0
	statusFailed      = 1
	statusUsage       = 2
	statusUnreachable = 3
)

// Main runs the command line args, without the program's name, and returns the exit status. SIGINT and SIGTERM end it; work
// that the agent has accepted goes on.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second one ends the program at once
	return run(ctx, newApp(stdin, stdout, stderr), args)
}

// Command returns the whole command line, for whoever makes manual pages of it.
func Command() *cobra.Command {
	return newRoot(newApp(strings.NewReader(""), io.Discard, io.Discard))
}

func run(ctx context.Context, a *app, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if a.c != nil {
		// Nothing was sent that is not answered, so nothing can be lost here.
		_ = a.c.Close()
	}
	if err == nil {
		return statusDone
	}
	if !errors.Is(err, errTold) {
		fmt.Fprintf(a.err, "smmctl: %s\n", clean(err.Error()))
	}
	var usage *usageError
	switch {
	case !a.running || errors.As(err, &usage):
		fmt.Fprintln(a.err, "Run 'smmctl --help', or 'smmctl COMMAND --help', for usage.")
		return statusUsage
	case errors.Is(err, client.ErrUnreachable):
		return statusUnreachable
	}
	return statusFailed
}

// A usageError says that the command line is wrong.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errTold ends a command whose failure has been told already.
var errTold = errors.New("failed")

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "smmctl",
		Short: "Look at and change the software modules of this device",
		Long: `smmctl talks to smmd, the software-module management agent, over D-Bus.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 the agent cannot be reached.`,
		Example: `  smmctl tree
  smmctl install https://files.example.net/app-1.0.jar --ee felix
  smmctl get Device.SoftwareModules.ExecEnv.
  smmctl watch --json`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.PersistentFlags().StringVar(&a.bus, "bus", "", `bus of the agent: "system", "session" or a D-Bus address (default $SMMD_BUS, else "system")`)
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print JSON")
	root.AddCommand(
		newTree(a), newGet(a), newSet(a),
		newInstall(a), newUpdate(a), newUninstall(a), newStart(a), newStop(a), newRestart(a),
		newExecEnvs(a), newBaseline(a), newReports(a), newJobs(a), newJob(a), newCancel(a), newWatch(a), newAdapters(a),
	)
	group(root)
	return root
}

// group makes a command that is nothing without a subcommand say so.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("%s has no command %q%s", c.CommandPath(), args[0], suggestion(c, args[0]))
		}
		fmt.Fprint(c.ErrOrStderr(), c.UsageString())
		return usagef("which command of %s?", c.CommandPath())
	}
	return c
}

func suggestion(c *cobra.Command, word string) string {
	if c.SuggestionsMinimumDistance <= 0 {
		c.SuggestionsMinimumDistance = 2
	}
	if s := c.SuggestionsFor(word); len(s) > 0 {
		return "; did you mean " + strings.Join(s, " or ") + "?"
	}
	return ""
}

// action makes a RunE of a function that needs the agent.
func (a *app) action(f func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a.running = true
		c, err := a.dial(cmd.Context())
		if err != nil {
			return err
		}
		return f(cmd.Context(), c, args)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/lxc"
	"github.com/smmd-project/smmd/plugins/osgi"
	"github.com/smmd-project/smmd/plugins/systemd"
)

// builtIn makes the adapters that belong to this program. A new environment goes here.
var builtIn = map[string]func() adapter.Adapter{
	"osgi":    func() adapter.Adapter { return osgi.New(adapter.NewLogger()) },
	"systemd": func() adapter.Adapter { return systemd.New(adapter.NewLogger()) },
	"lxc":     func() adapter.Adapter { return lxc.New(adapter.NewLogger()) },
}

// The exit statuses besides 0.
const (
	exitFailed = 1
	exitUsage  = 2
)

// usageError is an error of the command line.
type usageError struct{ error }

// run is the program in the role of the agent or one of its helpers; it returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	root := commands(stdout)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.Execute()
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "smmd: %v\nsmmd --help tells more.\n", err)
		return exitUsage
	}
	fmt.Fprintf(stderr, "smmd: %v\n", err)
	return exitFailed
}

func commands(stdout io.Writer) *cobra.Command {
	var file, bus string
	root := &cobra.Command{
		Use:   "smmd",
		Short: "Software-module management agent (Device.SoftwareModules. of TR-157 and TR-181)",
		Long: `smmd manages the software modules of a device: it installs, updates, starts, stops and removes what runs in its
execution environments, and serves Device.SoftwareModules. to the CWMP client or USP agent of the device over D-Bus.

Without a sub-command it is the agent. It runs in the foreground and logs to the standard error.`,
		Example: `  smmd --config /etc/smmd/agent.toml
  smmd check-config /etc/smmd/agent.toml`,
		Args:          noArgs,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), file, bus) },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.Flags().StringVar(&file, "config", "/etc/smmd/agent.toml", "the configuration `file`")
	root.Flags().StringVar(&bus, "bus", "", "the bus to serve: system, session, private or a D-Bus `address` (instead of bus.address)")
	root.AddCommand(
		&cobra.Command{
			Use: "check-config FILE", Short: "Check a configuration file and say what is wrong with it", Args: oneArg,
			RunE: func(cmd *cobra.Command, args []string) error {
				cfg, err := config.Load(args[0])
				if err != nil {
					return err
				}
				if err := checkEnvs(cmd.Context(), cfg); err != nil {
					return err
				}
				_, err = fmt.Fprintf(stdout, "%s is fine\n", args[0])
				return err
			},
		},
		&cobra.Command{
			Use: "adapter KIND", Short: "Drive execution environments, as a child of the agent", Args: oneArg,
			Long: `Drive execution environments of one kind: ` + strings.Join(kinds(), ", ") + `.
The agent starts this process by itself; by hand it only says so and ends.`,
			RunE: func(_ *cobra.Command, args []string) error {
				build := builtIn[args[0]]
				if build == nil {
					return usageError{fmt.Errorf("cannot be the adapter %q: there are %s", args[0], strings.Join(kinds(), ", "))}
				}
				adapter.Serve(build(), adapter.ServeOptions{})
				return nil
			},
		},
		uspCommand(),
		&cobra.Command{
			Use: "version", Short: "Print the version", Args: noArgs,
			RunE: func(*cobra.Command, []string) error {
				_, err := fmt.Fprintf(stdout, "smmd %s\n", version)
				return err
			},
		},
	)
	return root
}

// checkEnvs asks the adapters of this program what they think of the tables of their environments. Those of vendors are not asked: that
// would take the environments away from an agent that runs.
func checkEnvs(ctx context.Context, cfg config.Config) error {
	var errs []error
	for _, e := range cfg.ExecEnvs {
		build := builtIn[e.Adapter]
		if build == nil || slices.ContainsFunc(cfg.Adapters, func(a config.Adapter) bool { return a.Name == e.Adapter }) {
			continue
		}
		errs = append(errs, build().Configure(ctx, []adapter.EnvConfig{{ID: e.Name, DataDir: cfg.EnvDir(e.Name), Settings: e.Settings}}))
	}
	return errors.Join(errs...)
}

func kinds() []string {
	var all []string
	for k := range builtIn {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("%s takes no argument %q", cmd.CommandPath(), args[0])}
	}
	return nil
}

func oneArg(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("%s takes one argument", cmd.CommandPath())}
	}
	return nil
}

package smmctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

// credentials are the flags that say who downloads.
type credentials struct {
	username, passwordFile string
}

func (cr *credentials) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&cr.username, "username", "", "user name for the file server")
	cmd.Flags().StringVar(&cr.passwordFile, "password-file", "", `file whose first line is the password for the file server; "-" reads standard input`)
}

// password reads the password. It is never taken from the command line, where everybody could read it.
func (cr *credentials) password(stdin io.Reader) (string, error) {
	in := stdin
	switch cr.passwordFile {
	case "":
		return "", nil
	case "-":
	default:
		f, err := os.Open(cr.passwordFile)
		if err != nil {
			return "", fmt.Errorf("cannot read the password: %w", err)
		}
		defer f.Close()
		in = f
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxPassword)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", errors.New("cannot read the password: the first line is empty")
	}
	return line, nil
}

// maxPassword is more than any password (TR-069 Table 71: 256 characters).
const maxPassword = 4096

func newInstall(a *app) *cobra.Command {
	var (
		cr        credentials
		opts      client.InstallOptions
		env       string
		autoStart bool
		variables []string
		volumes   []string
		bounds    limits
	)
	cmd := &cobra.Command{
		Use:   "install URL [--ee EE]",
		Short: "Install a deployment unit",
		Long: `Install a deployment unit from a URL, and wait until that is done or has failed.

Without --ee the agent chooses the environment. Variables and limits hold for each execution unit of the unit; an environment that
cannot keep them refuses the installation.
` + execEnvHelp + `

` + volumeHelp + `
What was kept when the unit was uninstalled is taken over with its content, also what is not named.

An interrupt (Ctrl-C) ends the waiting, not the installation.`,
		Example: `  smmctl install https://files.example.net/app-1.0.jar --ee felix
  smmctl install https://files.example.net/app-1.0.jar --ee felix --username field --password-file /run/secret
  pass show files | smmctl install https://files.example.net/app-1.0.jar --username field --password-file -
  smmctl install file:///srv/app-1.2.jar --ee felix --auto-start=false --no-wait
  smmctl install docker://registry.example.net/app:1.0 --ee containers --variable MODE=test --memory-limit 64MiB --cpu-limit 25
  smmctl install http://files.example.net/app-1.0.tar --ee services --volume name=db,path=/var/lib/app,capacity=64MiB,retain=forever`,
		Args: cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	cmd.Flags().StringVar(&env, "ee", "", "environment to install on")
	cmd.Flags().StringVar(&opts.UUID, "uuid", "", "UUID of the unit; without it one is generated from the package")
	cmd.Flags().BoolVar(&autoStart, "auto-start", false, "start its execution units with the environment; without it as the environment is configured")
	cmd.Flags().StringArrayVar(&variables, "variable", nil, "environment variable KEY=VALUE of its execution units; may be given several times")
	volumeFlags(cmd, &volumes)
	bounds.flags(cmd, "each of its execution units", "the environment's processors")
	cr.flags(cmd)
	mustComplete(cmd, "ee", a.completion(execEnvNames))
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		if cmd.Flags().Changed("auto-start") {
			opts.AutoStart = &autoStart
		}
		opts.Username = cr.username
		var err error
		if opts.Variables, err = readVariables(variables); err != nil {
			return err
		}
		if opts.Limits, err = bounds.read(cmd); err != nil {
			return err
		}
		if opts.Volumes, err = readVolumes(volumes); err != nil {
			return err
		}
		if opts.Password, err = cr.password(a.in); err != nil {
			return err
		}
		if env != "" {
			t, err := c.Tree(ctx)
			if err != nil {
				return err
			}
			e, err := findExecEnv(t, env)
			if err != nil {
				return err
			}
			opts.ExecEnv = string(e.Object)
		}
		job, err := c.Install(ctx, args[0], opts)
		if err != nil {
			return err
		}
		return w.finish(ctx, c, job, "cannot install "+bare(args[0]), func(t *client.Tree, j *client.Job) []string {
			return duLines(t, j, func(u *client.DeploymentUnit, env string) string {
				return fmt.Sprintf("Installed %s %s as %s (UUID %s) on %s", u.Name, u.Version, u, u.UUID, env)
			})
		})
	})
	return cmd
}

func newUpdate(a *app) *cobra.Command {
	var (
		cr          credentials
		opts        client.UpdateOptions
		variables   []string
		noVariables bool
		volumes     []string
		retain      bool
		bounds      limits
	)
	cmd := &cobra.Command{
		Use:   "update DU",
		Short: "Update a deployment unit to another version",
		Long: `Update a deployment unit, and wait until that is done or has failed. Without --url the package comes from where
it came from last, with the credentials of that time.

Variables take the place of all that were given before; without --variable and --no-variables they stay. A limit that is not
given stays as it is.

Application data stays with its content, unless --retain-data=false is given: then all of it is lost when the update has succeeded.

` + volumeHelp + `
What has that name is changed with its content; what is not named stays as it is. After --retain-data=false what is named begins empty.

` + duHelp,
		Example: `  smmctl update org.example.app --url https://files.example.net/app-1.1.jar
  smmctl update 0b9d2e5c-3b0c-5d26-9a5f-0d9c9d6a1f10@1.0
  smmctl update org.example.app --variable MODE=field --memory-limit none
  smmctl update org.example.app --volume name=cache,path=/var/cache/app,capacity=16MiB,retain=until-stopped`,
		Args: cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	cmd.Flags().StringVar(&opts.URL, "url", "", "where the new version is")
	cmd.Flags().StringArrayVar(&variables, "variable", nil, "environment variable KEY=VALUE of its execution units, in the place of all before; may be given several times")
	cmd.Flags().BoolVar(&noVariables, "no-variables", false, "take all environment variables away")
	cmd.MarkFlagsMutuallyExclusive("variable", "no-variables")
	volumeFlags(cmd, &volumes)
	cmd.Flags().BoolVar(&retain, "retain-data", true, "leave application data as it is; with =false its content is lost")
	bounds.flags(cmd, "each of its execution units", "the environment's processors")
	cr.flags(cmd)
	cmd.ValidArgsFunction = a.firstArg(duNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		opts.Username = cr.username
		var err error
		if opts.Variables, err = readVariables(variables); err != nil {
			return err
		}
		if noVariables {
			opts.Variables = map[string]string{}
		}
		if opts.Limits, err = bounds.read(cmd); err != nil {
			return err
		}
		if opts.Volumes, err = readVolumes(volumes); err != nil {
			return err
		}
		if cmd.Flags().Changed("retain-data") {
			opts.RetainData = &retain
		}
		if opts.Password, err = cr.password(a.in); err != nil {
			return err
		}
		du, _, err := oneDU(ctx, c, args[0])
		if err != nil {
			return err
		}
		job, err := c.Update(ctx, du.Object, opts)
		if err != nil {
			return err
		}
		return w.finish(ctx, c, job, "cannot update "+du.Name, func(t *client.Tree, j *client.Job) []string {
			return duLines(t, j, func(u *client.DeploymentUnit, env string) string {
				return fmt.Sprintf("Updated %s to %s (%s) on %s", u.Name, u.Version, u, env)
			})
		})
	})
	return cmd
}

func newUninstall(a *app) *cobra.Command {
	var retain bool
	cmd := &cobra.Command{
		Use:   "uninstall DU",
		Short: "Remove a deployment unit",
		Long: `Remove a deployment unit with its execution units, and wait until that is done or has failed.

Its application data goes with the last version of it on the environment. With --retain-data that which is to stay forever is kept:
smmctl ee volumes shows it, smmctl ee remove-volume removes it.

` + duHelp,
		Example: "  smmctl uninstall org.example.app\n  smmctl uninstall Device.SoftwareModules.DeploymentUnit.3.\n  smmctl uninstall org.example.app --retain-data",
		Args:    cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	cmd.Flags().BoolVar(&retain, "retain-data", false, "keep application data that is to stay forever")
	cmd.ValidArgsFunction = a.firstArg(duNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		du, before, err := oneDU(ctx, c, args[0])
		if err != nil {
			return err
		}
		begin := c.Uninstall
		if retain {
			begin = c.UninstallRetainingData
		}
		job, err := begin(ctx, du.Object)
		if err != nil {
			return err
		}
		return w.finish(ctx, c, job, "cannot uninstall "+du.Name, func(_ *client.Tree, j *client.Job) []string {
			line := fmt.Sprintf("Uninstalled %s %s from %s", du.Name, du.Version, execEnvAt(before, du.ExecEnv))
			return []string{remark(line, j)}
		})
	})
	return cmd
}

// oneDU returns the deployment unit that arg means, and everything else of that moment.
func oneDU(ctx context.Context, c *client.Client, arg string) (*client.DeploymentUnit, *client.Tree, error) {
	t, err := c.Tree(ctx)
	if err != nil {
		return nil, nil, err
	}
	du, err := findDU(t, arg)
	return du, t, err
}

// duLines returns a line for each deployment unit of a job, and one for each of their execution units that has a fault.
func duLines(t *client.Tree, j *client.Job, line func(u *client.DeploymentUnit, env string) string) []string {
	r := resultOf(t, j)
	var lines []string
	for _, du := range r.DeploymentUnits {
		lines = append(lines, line(du, execEnvAt(t, du.ExecEnv)))
	}
	if lines == nil {
		lines = []string{fmt.Sprintf("Done: %s of %s", j.Operation, j)}
	}
	lines[0] = remark(lines[0], j)
	for _, eu := range r.ExecutionUnits {
		if f := faultOf(eu); f != "" {
			lines = append(lines, fmt.Sprintf("  %s %s is %s: %s", eu, eu.Name, eu.Status, f))
		}
	}
	return lines
}

// remark adds what the agent remarks on a success.
func remark(line string, j *client.Job) string {
	if j.Message == "" {
		return line
	}
	return line + "; " + j.Message
}

func newStart(a *app) *cobra.Command {
	return a.euCommand("start", "Start", "Started", (*client.Client).Start)
}

func newStop(a *app) *cobra.Command {
	return a.euCommand("stop", "Stop", "Stopped", (*client.Client).Stop)
}

func newRestart(a *app) *cobra.Command {
	return a.euCommand("restart", "Restart", "Restarted", (*client.Client).Restart)
}

// euCommand makes the command that asks something of an execution unit.
func (a *app) euCommand(name, verb, past string, begin func(*client.Client, context.Context, dbus.ObjectPath) (dbus.ObjectPath, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:     name + " EU",
		Short:   verb + " an execution unit",
		Long:    verb + " an execution unit, and wait until that is done or has failed.\n\n" + euHelp,
		Example: "  smmctl " + name + " org.example.app\n  smmctl " + name + " ExecutionUnit.4",
		Args:    cobra.ExactArgs(1),
	}
	w := a.waiter(cmd)
	cmd.ValidArgsFunction = a.firstArg(euNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		t, err := c.Tree(ctx)
		if err != nil {
			return err
		}
		eu, err := findEU(t, args[0])
		if err != nil {
			return err
		}
		job, err := begin(c, ctx, eu.Object)
		if err != nil {
			return err
		}
		return w.finish(ctx, c, job, "cannot "+name+" "+eu.Name, func(t *client.Tree, j *client.Job) []string {
			line := fmt.Sprintf("%s %s (%s)", past, eu.Name, eu)
			if now := t.ExecutionUnit(eu.Object); now != nil {
				line += " on " + execEnvAt(t, now.ExecEnv) + ": " + now.Status
				if f := faultOf(now); f != "" {
					line += ", " + f
				}
			}
			return []string{remark(line, j)}
		})
	})
	return cmd
}

// bare returns a URL without what must not be shown: user information and query.
func bare(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "the package"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// mustComplete registers a completion; it fails for a flag that does not exist only.
func mustComplete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err)
	}
}

package smmctl

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

// What arguments may be; for the help texts.
const (
	execEnvHelp = `EE is the configured name of the environment, its Alias or Name, ExecEnv.N or EE.N, or its path in the
data model or on D-Bus.`
	duHelp = `DU is the UUID of the unit, UUID@VERSION, its Name, Name@VERSION or Alias, DeploymentUnit.N or DU.N, its instance number, or its
path in the data model or on D-Bus. It must mean one unit: one version on one environment.`
	euHelp = `EU is the EUID of the unit, its Alias or Name, ExecutionUnit.N or EU.N, its instance
number, or its path in the data model or on D-Bus.`
)

// findExecEnv returns the environment that arg means.
func findExecEnv(t *client.Tree, arg string) (*client.ExecEnv, error) {
	found := match(t.ExecEnvs, arg, func(e *client.ExecEnv) bool { return e.ID == arg || e.Alias == arg || e.Name == arg })
	switch len(found) {
	case 0:
		known := make([]string, 0, len(t.ExecEnvs))
		for _, e := range t.ExecEnvs {
			known = append(known, execEnvName(e))
		}
		return nil, unknown("execution environment", arg, known)
	case 1:
		return found[0], nil
	}
	lines := make([]string, 0, len(found))
	for _, e := range found {
		lines = append(lines, fmt.Sprintf("%s (%s)", e, execEnvName(e)))
	}
	return nil, ambiguous(arg, lines)
}

// findDU returns the deployment unit that arg means.
func findDU(t *client.Tree, arg string) (*client.DeploymentUnit, error) {
	found := match(t.DeploymentUnits, arg, func(u *client.DeploymentUnit) bool {
		if u.Alias == arg || isDU(u, arg) {
			return true
		}
		at := strings.LastIndexByte(arg, '@')
		return at > 0 && isDU(u, arg[:at]) && u.Version == arg[at+1:]
	})
	switch len(found) {
	case 0:
		known := make([]string, 0, len(t.DeploymentUnits))
		for _, u := range t.DeploymentUnits {
			known = append(known, u.Name)
		}
		return nil, unknown("deployment unit", arg, known)
	case 1:
		return found[0], nil
	}
	lines := make([]string, 0, len(found))
	for _, u := range found {
		lines = append(lines, fmt.Sprintf("%s (%s %s, UUID %s, on %s)", u, u.Name, u.Version, u.UUID, execEnvAt(t, u.ExecEnv)))
	}
	return nil, ambiguous(arg, lines)
}

func isDU(u *client.DeploymentUnit, id string) bool {
	return u.UUID != "" && strings.EqualFold(u.UUID, id) || u.Name == id
}

// findEU returns the execution unit that arg means.
func findEU(t *client.Tree, arg string) (*client.ExecutionUnit, error) {
	found := match(t.ExecutionUnits, arg, func(u *client.ExecutionUnit) bool { return u.EUID == arg || u.Alias == arg || u.Name == arg })
	switch len(found) {
	case 0:
		known := make([]string, 0, len(t.ExecutionUnits))
		for _, u := range t.ExecutionUnits {
			known = append(known, u.Name)
		}
		return nil, unknown("execution unit", arg, known)
	case 1:
		return found[0], nil
	}
	lines := make([]string, 0, len(found))
	for _, u := range found {
		lines = append(lines, fmt.Sprintf("%s (%s, EUID %s)", u, u.Name, u.EUID))
	}
	return nil, ambiguous(arg, lines)
}

// findJob returns the job that arg means: its number or its path.
func findJob(arg string) (client.Ref, error) {
	if r, ok := client.ParseRef(arg); ok && r.Kind() == client.KindJob {
		return r, nil
	}
	n, err := strconv.ParseUint(arg, 10, 32)
	if err != nil || n == 0 {
		return client.Ref{}, usagef("%q is no job: give its number, as smmctl jobs shows it", arg)
	}
	r, _ := client.ParseRef(string(client.ObjectPath(client.KindJob, uint32(n))))
	return r, nil
}

// match returns the row at the path arg; or all that named accepts; or, when that are none, the row with that number.
func match[O client.Object](rows []O, arg string, named func(O) bool) []O {
	if arg == "" { // the name of what has none
		return nil
	}
	var byPath, byName, byNumber []O
	ref, isPath := client.ParseRef(arg)
	for _, o := range rows {
		r := o.Reference()
		if isPath && r.Object == ref.Object || r.String() == arg || shortRef(r) == arg {
			byPath = append(byPath, o)
		}
		if named(o) {
			byName = append(byName, o)
		}
		if strconv.FormatUint(uint64(r.Instance), 10) == arg {
			byNumber = append(byNumber, o)
		}
	}
	switch {
	case len(byPath) > 0:
		return byPath
	case len(byName) > 0:
		return byName
	}
	return byNumber
}

// shortRef is the name of a row in little room: EE.1, DU.3, EU.4.
func shortRef(r client.Ref) string {
	words := map[client.Kind]string{client.KindExecEnv: "EE", client.KindDeploymentUnit: "DU", client.KindExecutionUnit: "EU"}
	return fmt.Sprintf("%s.%d", words[r.Kind()], r.Instance)
}

// maxKnown is how many names a message lists at most.
const maxKnown = 12

func unknown(what, arg string, known []string) error {
	known = slices.DeleteFunc(known, func(s string) bool { return s == "" })
	slices.Sort(known)
	known = slices.Compact(known)
	switch n := len(known); {
	case n == 0:
		return fmt.Errorf("there is no %s %q; there is none at all", what, arg)
	case n > maxKnown:
		return fmt.Errorf("there is no %s %q; see smmctl tree for the %d that are known", what, arg, n)
	}
	return fmt.Errorf("there is no %s %q; known: %s", what, arg, strings.Join(known, ", "))
}

func ambiguous(arg string, candidates []string) error {
	return fmt.Errorf("%q is ambiguous; give one of: %s", arg, strings.Join(candidates, "; "))
}

// execEnvName is what a person calls an environment.
func execEnvName(e *client.ExecEnv) string {
	for _, s := range []string{e.ID, e.Alias, e.Name} {
		if s != "" {
			return s
		}
	}
	return e.String()
}

// completionTimeout is how long a person waits after the tab key.
const completionTimeout = 2 * time.Second

// firstArg offers the names of rows to the shell for the first argument of a command.
func (a *app) firstArg(names func(*client.Tree) []string) cobra.CompletionFunc {
	offer := a.completion(names)
	return func(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return offer(cmd, args, word)
	}
}

// completion offers the names of rows to the shell. It says nothing when the agent cannot be asked.
func (a *app) completion(names func(*client.Tree) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		c, err := a.dial(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		t, err := c.Tree(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(t), cobra.ShellCompDirectiveNoFileComp
	}
}

func execEnvNames(t *client.Tree) []string {
	names := make([]string, 0, len(t.ExecEnvs))
	for _, e := range t.ExecEnvs {
		names = append(names, execEnvName(e))
	}
	return names
}

func duNames(t *client.Tree) []string {
	count := make(map[string]int)
	for _, u := range t.DeploymentUnits {
		count[u.Name]++
	}
	names := make([]string, 0, len(t.DeploymentUnits))
	for _, u := range t.DeploymentUnits {
		if u.Name != "" && count[u.Name] == 1 {
			names = append(names, u.Name)
		} else {
			names = append(names, u.String())
		}
	}
	return names
}

func euNames(t *client.Tree) []string {
	count := make(map[string]int)
	for _, u := range t.ExecutionUnits {
		count[u.Name]++
	}
	names := make([]string, 0, len(t.ExecutionUnits))
	for _, u := range t.ExecutionUnits {
		if u.Name != "" && count[u.Name] == 1 {
			names = append(names, u.Name)
		} else {
			names = append(names, u.EUID)
		}
	}
	return names
}

// execEnvAt is what a person calls the environment at path.
func execEnvAt(t *client.Tree, path dbus.ObjectPath) string {
	if e := t.ExecEnv(path); e != nil {
		return execEnvName(e)
	}
	return "no environment"
}

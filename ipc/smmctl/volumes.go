package smmctl

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/client"
)

// volumeForm is what --volume takes.
const volumeForm = "name=NAME,path=PATH,capacity=SIZE,retain=forever|until-stopped[,encrypted]"

// volumeHelp tells what it means.
const volumeHelp = `--volume ` + volumeForm + `
is a directory of the device in which the unit's execution units keep data; they find it at PATH. SIZE is the free space that must be there,
such as 64MiB; it is no limit. What is until-stopped is emptied when all execution units of the unit have been stopped. "encrypted" asks for an
encrypted medium. A part with a comma in it stands in double quotes.`

// retains is the words of --volume and what they mean.
var retains = map[string]string{"forever": client.RetainForever, "until-stopped": client.RetainUntilStopped}

func volumeFlags(cmd *cobra.Command, list *[]string) {
	cmd.Flags().StringArrayVar(list, "volume", nil, "application data of its execution units, as described above; may be given several times")
	mustComplete(cmd, "volume", cobra.NoFileCompletions)
}

// readVolumes reads each --volume.
func readVolumes(list []string) ([]client.VolumeOptions, error) {
	var out []client.VolumeOptions
	for _, s := range list {
		v, err := readVolume(s)
		if err != nil {
			return nil, usagef("cannot take %q for --volume: %v; give %s", s, err, volumeForm)
		}
		if slices.ContainsFunc(out, func(x client.VolumeOptions) bool { return x.Name == v.Name }) {
			return nil, usagef("cannot take --volume %s twice", v.Name)
		}
		out = append(out, v)
	}
	return out, nil
}

func readVolume(s string) (client.VolumeOptions, error) {
	var v client.VolumeOptions
	r := csv.NewReader(strings.NewReader(s))
	parts, err := r.Read()
	if err == io.EOF {
		return v, fmt.Errorf("it is empty")
	}
	if err != nil {
		return v, fmt.Errorf("it cannot be taken apart at its commas: %w", err)
	}
	if _, err := r.Read(); err != io.EOF {
		return v, fmt.Errorf("it has several lines")
	}
	given := map[string]bool{}
	for _, part := range parts {
		key, value, assigned := strings.Cut(part, "=")
		if given[key] {
			return v, fmt.Errorf("%s is there twice", key)
		}
		given[key] = true
		switch key {
		case "name":
			v.Name = value
		case "path":
			v.AccessPath = value
		case "capacity":
			kib, ok := parseSize(value, model.MaxCapacity<<10)
			if !ok || kib%1024 != 0 {
				return v, fmt.Errorf("the capacity %q is no size in whole MiB from 1MiB to %dMiB, such as 64MiB", value, int64(model.MaxCapacity))
			}
			v.Capacity = kib >> 10
		case "retain":
			var ok bool
			if v.Retain, ok = retains[value]; !ok {
				return v, fmt.Errorf("retain is forever or until-stopped, not %q", value)
			}
		case "encrypted":
			if assigned {
				return v, fmt.Errorf("encrypted has no value")
			}
			v.Encrypted = true
		default:
			return v, fmt.Errorf("%q is unknown", key)
		}
	}
	for _, key := range []string{"name", "path", "capacity", "retain"} {
		if !given[key] {
			return v, fmt.Errorf("%s is missing", key)
		}
	}
	return v, nil
}

// mebibytes writes a number of MiB in the greatest unit that it is a whole number of.
func mebibytes(n int64) string {
	if n == 0 {
		return "0"
	}
	return kibibytes(n << 10)
}

// A volumeRow is the JSON of application data.
type volumeRow struct {
	client.Volume
	DeploymentUnits []dbus.ObjectPath `json:"deployment_units"` // the versions of its unit that are there

	unit string // what a person calls it
}

// volumeRows returns the application data of an environment.
func volumeRows(t *client.Tree, e *client.ExecEnv) []volumeRow {
	rows := make([]volumeRow, 0, len(e.ApplicationData))
	for _, v := range e.ApplicationData {
		r := volumeRow{v, []dbus.ObjectPath{}, v.UUID}
		for _, u := range t.DeploymentUnits {
			if u.ExecEnv == e.Object && strings.EqualFold(u.UUID, v.UUID) {
				r.DeploymentUnits = append(r.DeploymentUnits, u.Object)
				if u.Name != "" {
					r.unit = u.Name
				}
			}
		}
		rows = append(rows, r)
	}
	return rows
}

func newExecEnvVolumes(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volumes EE",
		Short: "List the application data on an execution environment",
		Long: `List the application data of the deployment units on an execution environment: directories of the device in which execution units keep data.
CAPACITY is what was asked for, USED what is in use. STATE is "in use" while the unit is there, and "kept" when it has been uninstalled with
--retain-data: an installation of the unit takes it over, and ee remove-volume removes it.

` + execEnvHelp,
		Example: "  smmctl ee volumes services",
		Args:    cobra.ExactArgs(1),
	}
	cmd.ValidArgsFunction = a.firstArg(execEnvNames)
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		t, e, err := oneExecEnv(ctx, c, args[0])
		if err != nil {
			return err
		}
		list := volumeRows(t, e)
		if a.json {
			return a.printJSON(list)
		}
		rows := make([][]string, 0, len(list))
		for _, r := range list {
			retain, state, medium := r.Retain, "kept", "no"
			for word, means := range retains {
				if means == r.Retain {
					retain = word
				}
			}
			if len(r.DeploymentUnits) > 0 {
				state = "in use"
			}
			if r.Encrypted {
				medium = "yes"
			}
			rows = append(rows, []string{fmt.Sprint(r.Number), r.Name, r.unit, state, mebibytes(r.Capacity), mebibytes(r.Utilization), retain, medium, r.AccessPath})
		}
		return a.table([]string{"NO", "NAME", "UNIT", "STATE", "CAPACITY", "USED", "RETAIN", "ENCRYPTED", "PATH"}, rows)
	})
	return cmd
}

func newExecEnvRemoveVolume(a *app) *cobra.Command {
	var uuid string
	cmd := &cobra.Command{
		Use:   "remove-volume EE VOLUME",
		Short: "Remove application data that a deployment unit has left",
		Long: `Remove application data with its content. VOLUME is its name, Alias or number, as ee volumes shows it; --uuid tells those of several units apart.
While its unit is on the environment that is refused.

` + execEnvHelp,
		Example: "  smmctl ee remove-volume services db\n  smmctl ee remove-volume services db --uuid 2a5f18a5-3b7e-51d5-a295-1ff25d649a42\n  smmctl ee remove-volume services 3",
		Args:    cobra.ExactArgs(2),
	}
	cmd.Flags().StringVar(&uuid, "uuid", "", "UUID of the deployment unit whose data it is")
	mustComplete(cmd, "uuid", a.completion(func(t *client.Tree) []string {
		var uuids []string
		for _, e := range t.ExecEnvs {
			for _, r := range volumeRows(t, e) {
				if len(r.DeploymentUnits) == 0 && !slices.Contains(uuids, r.UUID) {
					uuids = append(uuids, r.UUID)
				}
			}
		}
		return uuids
	}))
	cmd.ValidArgsFunction = a.volumeArgs
	cmd.RunE = a.action(func(ctx context.Context, c *client.Client, args []string) error {
		t, e, err := oneExecEnv(ctx, c, args[0])
		if err != nil {
			return err
		}
		r, err := findVolume(t, e, args[1], uuid)
		if err != nil {
			return err
		}
		if err := c.RemoveApplicationData(ctx, e.Object, r.Number); err != nil {
			return err
		}
		if a.json {
			return a.printJSON(map[string]volumeRow{"application_data": r})
		}
		return a.printf("%s\n", clean(fmt.Sprintf("Removed the application data %s (number %d) of %s from %s", r.Name, r.Number, r.unit, execEnvName(e))))
	})
	return cmd
}

// volumeArgs offers environments, and then the application data on the one that was chosen which can be removed.
func (a *app) volumeArgs(cmd *cobra.Command, args []string, word string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return a.completion(execEnvNames)(cmd, args, word)
	case 1:
		return a.completion(func(t *client.Tree) []string {
			e, err := findExecEnv(t, args[0])
			if err != nil {
				return nil
			}
			var names []string
			for _, r := range volumeRows(t, e) {
				if len(r.DeploymentUnits) == 0 {
					names = append(names, r.Name)
				}
			}
			return names
		})(cmd, args, word)
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// findVolume returns the application data that arg means: its name, Alias or number. A UUID says whose it is; empty: anybody's.
func findVolume(t *client.Tree, e *client.ExecEnv, arg, uuid string) (volumeRow, error) {
	var found []volumeRow
	for _, r := range volumeRows(t, e) {
		if uuid != "" && !strings.EqualFold(r.UUID, uuid) {
			continue
		}
		if arg != "" && (r.Name == arg || r.Alias == arg || strconv.FormatUint(uint64(r.Number), 10) == arg) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		if uuid != "" {
			uuid = " of " + uuid
		}
		return volumeRow{}, fmt.Errorf("there is no application data %q%s on %s; see smmctl ee volumes %[3]s", arg, uuid, execEnvName(e))
	case 1:
		return found[0], nil
	}
	lines := make([]string, 0, len(found))
	for _, r := range found {
		lines = append(lines, fmt.Sprintf("%s (number %d, %s of %s)", r.Alias, r.Number, r.Name, r.UUID))
	}
	return volumeRow{}, ambiguous(arg, lines)
}

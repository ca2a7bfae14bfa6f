package device

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/images"
	"github.com/smmd-project/smmd/test/support"
)

// A kind is one of the environments for which the agent keeps run levels and AutoStart. What is true of one is true of the other, so their tests are
// the same: see [each].
type kind struct {
	adapter, env string
	// pack writes a package with one execution unit, which runs /srv/NAME.
	pack func(p program, path string) error
	// state is what the environment's own tools say of a unit: "active", or something else; empty when they do not know it.
	state func(d *Device, u support.Unit) string
	// listed says whether the environment's own tools list the deployment unit.
	listed func(d *Device, u support.Unit) bool
	// names are those of everything that they list.
	names func(d *Device) []string
	// halt stops a unit behind the agent's back, forget takes its deployment unit away.
	halt, forget func(d *Device, u support.Unit)
}

// program is what a package of a [kind] runs.
type program struct{ name, version, script string }

// The scripts of programs: forever is what they do until a trap ends them.
const (
	forever  = "while :; do sleep 0.3; done"
	steady   = "trap 'exit 0' TERM; " + forever
	stubborn = "trap '' TERM; " + forever
)

// file is where the script of a program is in its image. It is seen in the command line of its process, and is how a process is found.
func (p program) file() string { return "/srv/" + p.name + "-" + p.version }

// script is what the file has.
func (p program) files() map[string]string {
	if p.script == "" {
		p.script = steady
	}
	return map[string]string{p.file(): p.script + "\n"}
}

// The kinds.
var (
	services = kind{
		adapter: "systemd", env: "services",
		pack: func(p program, path string) error {
			return images.Portable{Name: p.name, Version: p.version, Vendor: "Example", Files: p.files(), Units: map[string]string{
				p.name + ".service": "[Unit]\nDescription=" + p.name + "\n[Service]\nExecStart=/bin/sh " + p.file() + "\nTimeoutStopSec=2\n",
			}}.Tar(path)
		},
		state: func(d *Device, u support.Unit) string {
			if d.Show(u.EU.Name, "LoadState") != "loaded" {
				return ""
			}
			return d.Show(u.EU.Name, "ActiveState")
		},
		listed: func(d *Device, u support.Unit) bool {
			return strings.Contains(d.Machine.Run(d.t, "portablectl", "--no-pager", "--no-legend", "list"), d.attached(u.EU.Name))
		},
		names: func(d *Device) (names []string) {
			for line := range strings.Lines(d.Machine.Run(d.t, "portablectl", "--no-pager", "--no-legend", "list")) {
				names = append(names, strings.Join(strings.Fields(line), " "))
			}
			return names
		},
		halt: func(d *Device, u support.Unit) { d.Machine.Run(d.t, "systemctl", "stop", u.EU.Name) },
		forget: func(d *Device, u support.Unit) {
			image := d.attached(u.EU.Name)
			d.Machine.Run(d.t, "systemctl", "stop", u.EU.Name)
			d.Machine.Run(d.t, "portablectl", "detach", "--runtime", image)
		},
	}
	containers = kind{
		adapter: "lxc", env: "containers",
		pack: func(p program, path string) error {
			return images.Container{
				Name: p.name, Version: p.version, Vendor: "Example", Files: p.files(),
				Config: v1.Config{Entrypoint: []string{"/bin/sh", p.file()}},
			}.Archive(path)
		},
		state: func(d *Device, u support.Unit) string {
			name := d.container(u)
			if name == "" {
				return ""
			}
			if s := strings.TrimSpace(d.Machine.Run(d.t, "lxc-info", "-P", containerStore, "-n", name, "-sH")); s != "RUNNING" {
				return strings.ToLower(s)
			}
			return "active"
		},
		listed: func(d *Device, u support.Unit) bool { return d.container(u) != "" },
		names: func(d *Device) []string {
			return strings.Fields(d.Machine.Run(d.t, "lxc-ls", "-1", "-P", containerStore))
		},
		halt: func(d *Device, u support.Unit) {
			d.Machine.Run(d.t, "lxc-stop", "-k", "-P", containerStore, "-n", d.container(u))
		},
		forget: func(d *Device, u support.Unit) {
			name := d.container(u)
			d.Machine.Run(d.t, "lxc-stop", "-k", "-P", containerStore, "-n", name)
			d.Machine.Run(d.t, "rm", "-r", filepath.Join(containerStore, name))
		},
	}
	kinds = []kind{services, containers}
)

// containerStore is where the containers of the environment are.
const containerStore = stateDir + "/env/containers/store"

// attached is the image that a service of the device is attached from.
func (d *Device) attached(unit string) string {
	d.t.Helper()
	for _, property := range []string{"RootImage", "RootDirectory"} {
		if path := d.Show(unit, property); path != "" {
			return filepath.Base(path)
		}
	}
	return "(no image)"
}

// container is the name of the container of a unit, or "".
func (d *Device) container(u support.Unit) string {
	d.t.Helper()
	for _, name := range strings.Fields(d.Machine.Run(d.t, "lxc-ls", "-1", "-P", containerStore)) {
		if strings.HasSuffix(name, u.UUID) {
			return name
		}
	}
	return ""
}

// tables are those of agent.toml for an environment of the kind.
func (k kind) tables(level int) string {
	return fmt.Sprintf("[[exec_env]]\nname = %q\nadapter = %q\ninitial_run_level = %d\n[exec_env.%s]\nstop_timeout = \"2s\"\n", k.env, k.adapter, level, k.adapter)
}

// bothKinds are the tables of an environment of each kind.
func bothKinds(level int) string { return services.tables(level) + containers.tables(level) }

// each runs f for each kind. Both use the same device.
func each(t *testing.T, d *Device, f func(t *testing.T, d *Device, k kind)) {
	t.Helper()
	for _, k := range kinds {
		t.Run(k.adapter, func(t *testing.T) {
			inner := *d
			inner.t, inner.Control = t, d.Control.In(t)
			t.Cleanup(func() {
				if t.Failed() {
					inner.clear(k) // the next group begins anew
				}
			})
			f(t, &inner, k)
		})
	}
}

// rows are the deployment units of an environment.
func (d *Device) rows(k kind) (rows []*client.DeploymentUnit) {
	d.t.Helper()
	env := d.env(k).Object
	for _, du := range d.Tree().DeploymentUnits {
		if du.ExecEnv == env {
			rows = append(rows, du)
		}
	}
	return rows
}

// clear takes all units out of an environment, when a test is over.
func (d *Device) clear(k kind) {
	ctx := context.WithoutCancel(d.t.Context())
	tree, err := d.Client.Tree(ctx)
	if err != nil {
		d.t.Log(err)
		return
	}
	for _, env := range tree.ExecEnvs {
		if env.ID != k.env {
			continue
		}
		err = errors.Join(d.Client.SetProperty(ctx, env.Object, "Enable", true), d.Client.SetProperty(ctx, env.Object, "InitialRunLevel", uint32(1)),
			d.Client.SetRunLevel(ctx, env.Object, 1))
		for _, du := range tree.DeploymentUnits {
			if du.ExecEnv != env.Object {
				continue
			}
			job, e := d.Client.Uninstall(ctx, du.Object)
			if e == nil {
				_, e = d.Client.WaitJob(ctx, job, nil)
			}
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		d.t.Logf("cannot clear %s: %v", k.env, err)
	}
}

// content makes a package of a program.
func (d *Device) content(k kind, p program) ([]byte, error) {
	path := filepath.Join(d.t.TempDir(), p.name+".tar")
	if err := k.pack(p, path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// packed makes a package of a program and serves it.
func (d *Device) packed(k kind, p program) (url string) {
	d.t.Helper()
	content, err := d.content(k, p)
	if err != nil {
		d.t.Fatal(err)
	}
	return d.Serve("/"+k.adapter+"/"+p.name+"-"+p.version+".tar", fileserver.File{Content: content})
}

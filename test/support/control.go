package support

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
)

// Control is what a test has of an agent wherever that runs: a client, and a file server that the agent reaches. Its methods end the
// test when something goes wrong; they are for the goroutine of the test.
type Control struct {
	Client *client.Client // while the agent runs; replaced by each start
	Files  *fileserver.Server

	t testing.TB
}

// NewControl returns the control of an agent of the test, without client and server.
func NewControl(t testing.TB) Control { return Control{t: t} }

// In returns the control of the same agent for a test below the test.
func (c *Control) In(t testing.TB) Control {
	inner := *c
	inner.t = t
	return inner
}

// URL makes the file server of the device serve a bundle, see [BundlePath], and returns its URL.
func (c *Control) URL(bundle string) string {
	c.t.Helper()
	return c.Serve("/"+bundle, fileserver.File{Content: c.Content(bundle)})
}

// Serve makes the file server of the device answer at a path, and returns the URL.
func (c *Control) Serve(path string, f fileserver.File) string {
	c.Files.Set(path, f)
	return c.Files.URL + path
}

// Content returns the bytes of a bundle.
func (c *Control) Content(bundle string) []byte {
	c.t.Helper()
	content, err := os.ReadFile(BundlePath(c.t, bundle))
	if err != nil {
		c.t.Fatal(err)
	}
	return content
}

// Job waits for the end of a job; err is that of the call that began it.
func (c *Control) Job(path dbus.ObjectPath, err error) *client.Job {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := c.context()
	defer cancel()
	j, err := c.Client.WaitJob(ctx, path, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return j
}

// Done waits for a job that has to succeed; err is that of the call that began it.
func (c *Control) Done(path dbus.ObjectPath, err error) *client.Job {
	c.t.Helper()
	j := c.Job(path, err)
	if err := j.Err(); err != nil {
		c.t.Fatalf("%s: %v", j.Operation, err)
	}
	return j
}

// A Unit is a deployment unit with its one execution unit.
type Unit struct {
	*client.DeploymentUnit
	EU *client.ExecutionUnit
}

// String tells what a test is mostly about.
func (u Unit) String() string {
	return fmt.Sprintf("%s %q version %s, %s, resolved=%v, URL %q, with %s %q version %s, %s, AutoStart %v, run level %d, %s %q", u.DeploymentUnit, u.Name, u.Version,
		u.Status, u.Resolved, u.URL, u.EU, u.EU.EUID, u.EU.Version, u.EU.Status, u.EU.AutoStart, u.EU.RunLevel, u.EU.FaultCode, u.EU.FaultMessage)
}

// Show returns every value of rows of the agent: what fmt prints of them is only their names.
func Show(rows any) string {
	text, err := json.Marshal(rows)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// UnitOf returns a deployment unit of a tree with its one execution unit.
func UnitOf(tree *client.Tree, du dbus.ObjectPath) (Unit, error) {
	u := Unit{DeploymentUnit: tree.DeploymentUnit(du)}
	if u.DeploymentUnit == nil {
		return u, fmt.Errorf("there is no %s", du)
	}
	if len(u.ExecutionUnits) != 1 {
		return u, fmt.Errorf("%s has the execution units %v", u.DeploymentUnit, u.ExecutionUnits)
	}
	if u.EU = tree.ExecutionUnit(u.ExecutionUnits[0]); u.EU == nil {
		return u, fmt.Errorf("there is no %s", u.ExecutionUnits[0])
	}
	return u, nil
}

// Unit reads a deployment unit with its one execution unit.
func (c *Control) Unit(du dbus.ObjectPath) Unit {
	c.t.Helper()
	u, err := UnitOf(c.Tree(), du)
	if err != nil {
		c.t.Fatal(err)
	}
	return u
}

// Install installs a bundle, see [BundlePath], on an environment, waits until that is done and returns the unit.
func (c *Control) Install(bundle, env string) Unit {
	c.t.Helper()
	return c.InstallWith(c.URL(bundle), client.InstallOptions{ExecEnv: env})
}

// InstallWith installs what is at a URL, waits until that is done and returns the unit.
func (c *Control) InstallWith(url string, o client.InstallOptions) Unit {
	c.t.Helper()
	j := c.Done(c.Client.Install(c.t.Context(), url, o))
	for _, path := range j.Objects {
		if r, ok := client.ParseRef(string(path)); ok && r.Kind() == client.KindDeploymentUnit {
			return c.Unit(path)
		}
	}
	c.t.Fatalf("%s is done and names no deployment unit: %v", j, j.Objects)
	return Unit{}
}

// Tree reads everything that the agent has.
func (c *Control) Tree() *client.Tree {
	c.t.Helper()
	t, err := c.Client.Tree(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return t
}

// Until waits until check is content with the agent's tree and returns that tree.
func (c *Control) Until(what string, check func(*client.Tree) error) (tree *client.Tree) {
	c.t.Helper()
	Until(c.t, what, func() (err error) {
		if tree, err = c.Client.Tree(c.t.Context()); err != nil {
			return err
		}
		return check(tree)
	})
	return tree
}

// Up waits until each environment is up, and at the level that it is to start with.
func (c *Control) Up() *client.Tree {
	c.t.Helper()
	return c.Until("the environments are up", func(t *client.Tree) error {
		for _, e := range t.ExecEnvs {
			if e.Enable && (e.Status != "Up" || e.CurrentRunLevel != e.InitialRunLevel) {
				return fmt.Errorf("%s is %s at level %d of %d: %s", e.ID, e.Status, e.CurrentRunLevel, e.InitialRunLevel, e.StatusDetail)
			}
		}
		return nil
	})
}

// context returns the test's own, or one that is not done yet when the test is being cleaned up.
func (c *Control) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.t.Context()), Patience)
}

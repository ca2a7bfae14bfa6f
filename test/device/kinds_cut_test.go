package device

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// cutting is a unit of a kind that goes round and round: it is installed, updated and uninstalled, and the power is cut in that.
type cutting struct {
	*Device
	k       kind
	steady  support.Unit // one that nobody touches
	stays   program      // what that runs
	own     []string     // the files of the environment without the unit
	version string       // of the unit; none: it is not there
	unit    dbus.ObjectPath
	usual   map[string]time.Duration // of an operation to a version

	next string          // the version to which the unit is on its way
	job  dbus.ObjectPath // by which
}

func newCutting(d *Device, k kind) *cutting {
	c := &cutting{Device: d, k: k, stays: program{name: k.env + "-stays", version: "1"}, usual: map[string]time.Duration{}}
	c.steady = d.install(k, c.stays)
	c.runs("installed", k, c.steady, c.stays, true, "NoFault")
	c.own = c.files()
	return c
}

// files are those of the environment.
func (c *cutting) files() []string {
	c.t.Helper()
	return slices.DeleteFunc(strings.Fields(c.left(c.k)), func(path string) bool { return !strings.Contains(path, c.k.env) })
}

// program is what the unit runs in a version.
func (c *cutting) program(version string) program {
	return program{name: c.k.env + "-cut", version: version}
}

// begin begins the next operation.
func (c *cutting) begin() {
	c.t.Helper()
	c.next = map[string]string{"": "1", "1": "2", "2": ""}[c.version]
	var err error
	switch url := ""; c.next {
	case "":
		c.job, err = c.Client.Uninstall(c.t.Context(), c.unit)
	default:
		url = c.packed(c.k, c.program(c.next))
		if c.version == "" {
			c.job, err = c.Client.Install(c.t.Context(), url, client.InstallOptions{ExecEnv: c.k.env})
		} else {
			c.job, err = c.Client.Update(c.t.Context(), c.unit, client.UpdateOptions{URL: url})
		}
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// whole checks, after a power cut, that what was accepted is known and ends, and that the unit is there in the old version or in the new one,
// or not at all: in the rows, for the environment's own tools, among the processes and on the disk.
func (c *cutting) whole(t *testing.T, what string) {
	t.Helper()
	what = fmt.Sprintf("%s, %s from version %q to %q", what, c.k.adapter, c.version, c.next)
	j := c.Job(c.job, nil) // it was accepted, so it is known
	c.t.Logf("%s: %s %s %s", what, j.State, j.FaultName, j.Message)
	if j.State == client.JobDone {
		c.version = c.next
	} else if j.State != client.JobFailed {
		c.t.Fatalf("%s: the job is %s", what, j.State)
	}
	if now := c.runs(what, c.k, c.steady, c.stays, true, "NoFault"); identity(now) != identity(c.steady) {
		c.t.Errorf("%s: the unit that nobody touched is %s, was %s", what, identity(now), identity(c.steady))
	}
	rows := slices.DeleteFunc(c.rows(c.k), func(du *client.DeploymentUnit) bool { return du.Object == c.steady.Object })
	for _, version := range []string{"1", "2"} {
		if n := len(c.processes(c.program(version))); version != c.version && n != 0 {
			c.t.Errorf("%s: version %s has %d processes, the unit is at %q", what, version, n, c.version)
		}
	}
	if c.version == "" {
		if len(rows) != 0 {
			c.t.Errorf("%s: there are %s", what, support.Show(rows))
		}
		if diff := cmp.Diff(c.own, c.files()); diff != "" {
			t.Errorf("%s: the files of the environment are others than before the unit came: %s", what, diff)
		}
	} else if len(rows) != 1 || rows[0].Version != c.version || rows[0].Status != "Installed" {
		c.t.Fatalf("%s: there are %s, wanted version %s", what, support.Show(rows), c.version)
	} else {
		c.unit = rows[0].Object
		if now := c.runs(what, c.k, c.Unit(c.unit), c.program(c.version), true, "NoFault"); !c.k.listed(c.Device, now) {
			c.t.Errorf("%s: the environment does not list %s", what, now)
		}
	}
	known := 1
	if c.version != "" {
		known++
	}
	if names := c.k.names(c.Device); len(names) != known {
		c.t.Errorf("%s: the environment has %v, wanted %d", what, names, known)
	}
}

// TestPowerCutInOperationsOfKinds: at whatever moment of an install, an update or an uninstall the power is cut, on a disk that forgets, a
// service and a container are afterwards wholly there or wholly not. Both are at it at once, and each is hit at a moment of the other's.
func TestPowerCutInOperationsOfKinds(t *testing.T) {
	d := boot(t, Options{Forgets: true, Config: bothKinds(1)})
	n, random := rounds(t)
	d.Up()
	var all []*cutting
	for _, k := range kinds {
		all = append(all, newCutting(d, k))
	}
	for round := range n {
		what := fmt.Sprintf("round %d", round)
		begin := time.Now()
		for _, c := range all {
			c.begin()
		}
		if c := all[round%len(all)]; c.usual[c.next] == 0 {
			for _, c := range all {
				d.Done(c.job, nil)
				c.usual[c.next] = time.Since(begin)
			}
		} else {
			delay := time.Duration(random.Int64N(int64(c.usual[c.next] * 9 / 8))) // sometimes just after its end
			what += fmt.Sprintf(", cut after %v", delay)
			<-time.After(delay) // the moment is the point, not something to wait for
			d.PowerCut()
			d.Start()
			what += d.again(random)
			d.Up()
		}
		for _, c := range all {
			c.whole(t, what)
		}
		if left := strings.Fields(d.sh("ls /var/lib/smmd/packages/spool /var/lib/smmd/exports 2>/dev/null | grep -v : || true")); len(left) > 0 {
			t.Errorf("%s: there are files left: %v", what, left)
		}
		if t.Failed() {
			return
		}
	}
}

// again cuts the power once more in half of the cases, while the agent recovers, and says when.
func (d *Device) again(random *rand.Rand) string {
	d.t.Helper()
	after := time.Duration(random.Int64N(int64(2 * time.Second)))
	if after >= time.Second {
		return ""
	}
	<-time.After(after)
	d.PowerCut()
	d.Start()
	return fmt.Sprintf(", and again %v after the agent was there", after)
}

package device

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// identity is what stays of a unit over everything but its own changes.
func identity(u support.Unit) string {
	return fmt.Sprint(u.Object, u.UUID, u.DUID, u.Alias, u.Name, u.Version, u.URL, u.Status, u.ExecEnv, u.Installed,
		u.EU.Object, u.EU.EUID, u.EU.Alias, u.EU.AutoStart, u.EU.RunLevel)
}

// set sets a property.
func (d *Device) set(path dbus.ObjectPath, name string, value any) {
	d.t.Helper()
	if err := d.Client.SetProperty(d.t.Context(), path, name, value); err != nil {
		d.t.Fatal(err)
	}
}

// stored returns the bundles of an environment as its framework keeps them, by location, without those of smmd itself.
func (d *Device) stored(env, framework string) map[string]support.StoredBundle {
	d.t.Helper()
	all := map[string]support.StoredBundle{}
	for _, b := range support.Stored(d.t, framework, filepath.Join(d.Machine.Root(), stateDir, "env", env, "storage", "framework")) {
		all[b.Location] = b
	}
	return all
}

// TestPower: over a reboot and over a power cut each unit stays who it is, what has AutoStart runs at its level, and nothing else does.
func TestPower(t *testing.T) {
	for _, c := range []struct {
		name  string
		again func(*Device)
		disk  bool
	}{
		{"reboot", (*Device).Reboot, false},
		{"power cut", func(d *Device) { d.PowerCut(); d.Start() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := boot(t, Options{Forgets: c.disk, Config: Felix("felix", 5) + Equinox("equinox", 5) + Felix("off", 5)})
			d.Up()
			no := false
			units, running := map[dbus.ObjectPath]string{}, map[dbus.ObjectPath]bool{}
			for _, env := range []string{"felix", "equinox"} {
				for _, u := range []struct {
					bundle string
					prep   func(u support.Unit)
					runs   bool // after the next start of the device
				}{
					{"sample-1.0.0.jar", func(u support.Unit) { d.set(u.Object, "Alias", "named-"+env) }, true},
					{"sample2-1.0.0.jar", func(u support.Unit) { d.Done(d.Client.Stop(t.Context(), u.EU.Object)) }, true},
					{"provider-1.0.0.jar", func(u support.Unit) { d.set(u.EU.Object, "AutoStart", false) }, false},
					{"lazy-1.0.0.jar", nil, false},
					{"localized-1.0.0.jar", func(u support.Unit) { d.set(u.EU.Object, "RunLevel", uint32(7)) }, false},
				} {
					o := client.InstallOptions{ExecEnv: env}
					if u.prep == nil {
						o.AutoStart = &no
					}
					unit := d.InstallWith(d.URL(u.bundle), o)
					if u.prep != nil {
						u.prep(unit)
					}
					unit = d.Unit(unit.Object)
					units[unit.Object], running[unit.Object] = identity(unit), u.runs
				}
			}
			var off *client.ExecEnv
			for _, e := range d.Tree().ExecEnvs {
				if e.ID == "off" {
					off = e
				}
			}
			d.set(off.Object, "Enable", false)
			d.Until("the environment is off", func(tree *client.Tree) error {
				if e := tree.ExecEnv(off.Object); e.Status != "Disabled" {
					return fmt.Errorf("it is %s", e.Status)
				}
				return nil
			})
			for range 2 {
				c.again(d)
				d.Up()
				equal(t, "the environment that was off", d.Tree().ExecEnv(off.Object).Status, "Disabled")
				equal(t, "how many units there are", len(d.Tree().DeploymentUnits), len(units))
				stored := map[string]map[string]support.StoredBundle{"felix": d.stored("felix", "felix"), "equinox": d.stored("equinox", "equinox")}
				for path, want := range units {
					status := "Idle"
					if running[path] {
						status = "Active"
					}
					u := d.becomes(path, status)
					equal(t, "the unit", identity(u), want)
					env := d.Tree().ExecEnv(u.ExecEnv).ID
					b, ok := stored[env][u.UUID]
					if !ok || b.Version != u.Version || b.AutoStart != u.EU.AutoStart {
						t.Errorf("%s: the framework has %+v (%t)", u.Name, b, ok)
					}
				}
			}
		})
	}
}

// rounds is how many operations are hit at random, and what they are drawn from.
func rounds(t *testing.T) (n int, random *rand.Rand) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text := os.Getenv(name)
		if text == "" {
			return otherwise
		}
		v, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	seed := number("SMMD_TEST_SEED", uint64(time.Now().UnixNano()))
	t.Logf("SMMD_TEST_SEED=%d", seed)
	return int(number("SMMD_TEST_ROUNDS", map[bool]uint64{false: 8, true: 40}[support.Long()])), rand.New(rand.NewPCG(seed, 0))
}

// TestPowerCutInOperations: at whatever moment of an install, an update or an uninstall the power is cut, on a disk that forgets: what was
// accepted is known afterwards and ends, and the unit is wholly there or wholly not, in the rows and in the framework.
func TestPowerCutInOperations(t *testing.T) {
	for _, framework := range []string{"felix", "equinox"} {
		t.Run(framework, func(t *testing.T) {
			config := map[string]func(string, int, ...string) string{"felix": Felix, "equinox": Equinox}[framework]
			d := boot(t, Options{Forgets: true, Config: config("home", 5)})
			n, random := rounds(t)
			d.Up()
			steady := d.Install("provider-1.0.0.jar", "home")
			own := slices.Collect(maps.Keys(d.stored("home", framework)))

			usual := map[string]time.Duration{} // of an operation to a version
			version := ""                       // of the unit; none: it is not there
			var unit dbus.ObjectPath
			for round := range n {
				next := map[string]string{"": "1.0.0", "1.0.0": "2.0.0", "2.0.0": ""}[version]
				url := d.URL("sample-" + max(next, "1.0.0") + ".jar")
				var job dbus.ObjectPath
				var err error
				begin := time.Now()
				switch next {
				case "1.0.0":
					job, err = d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: "home"})
				case "2.0.0":
					job, err = d.Client.Update(t.Context(), unit, client.UpdateOptions{URL: url})
				default:
					job, err = d.Client.Uninstall(t.Context(), unit)
				}
				if err != nil {
					t.Fatal(err)
				}
				what := fmt.Sprintf("round %d, from version %q to %q", round, version, next)
				if usual[next] == 0 {
					d.Done(job, nil)
					usual[next] = time.Since(begin)
				} else {
					delay := time.Duration(random.Int64N(int64(usual[next])))
					what += fmt.Sprintf(", cut after %v", delay)
					<-time.After(delay) // the moment is the point, not something to wait for
				}
				d.PowerCut()
				d.Start()
				what += d.again(random)
				d.Up()
				j := d.Job(job, nil) // it was accepted, so it is known
				t.Logf("%s: %s %s %s", what, j.State, j.FaultName, j.Message)
				switch {
				case j.State != client.JobDone && j.State != client.JobFailed:
					t.Fatalf("%s: the job is %s", what, j.State)
				case j.State == client.JobDone:
					version = next
				}
				d.whole(what, framework, version, own, steady)
				for _, du := range d.Tree().DeploymentUnits {
					if du.Object != steady.Object {
						unit = du.Object
					}
				}
			}
		})
	}
}

// whole checks that the unit is there in that version, or not at all, in the rows and in the framework; and the one that nobody touched.
func (d *Device) whole(what, framework, version string, own []string, steady support.Unit) {
	d.t.Helper()
	want := map[string]string{} // versions by location
	for _, du := range d.Tree().DeploymentUnits {
		u := d.becomes(du.Object, "Active")
		want[u.UUID] = u.Version
		if u.Status != "Installed" {
			d.t.Errorf("%s: %s %s is %s", what, u.Name, u.Version, u.Status)
		}
		if du.Object != steady.Object && u.Version != version {
			d.t.Errorf("%s: there is %s %s, wanted version %q", what, u.Name, u.Version, version)
		}
	}
	expected := 2
	if version == "" {
		expected = 1
	}
	if len(want) != expected {
		d.t.Errorf("%s: there are %d units, wanted %d", what, len(want), expected)
	}
	if got := identity(d.Unit(steady.Object)); got != identity(steady) {
		d.t.Errorf("%s: the unit that nobody touched is %s, was %s", what, got, identity(steady))
	}
	for location, b := range d.stored("home", framework) {
		if slices.Contains(own, location) && location != steady.UUID {
			continue
		}
		if want[location] != b.Version {
			d.t.Errorf("%s: the framework has %s %s at %s, the agent %q", what, b.SymbolicName, b.Version, location, want[location])
		}
		delete(want, location)
	}
	for location, version := range want {
		d.t.Errorf("%s: the framework does not have version %s at %s", what, version, location)
	}
	if left := strings.Fields(d.sh("ls /var/lib/smmd/packages/spool /var/lib/smmd/exports 2>/dev/null | grep -v : || true")); len(left) > 0 {
		d.t.Errorf("%s: there are files left: %v", what, left)
	}
}

// Package device boots whole devices for tests: a disposable machine (package machine) with smmd installed as a vendor would install
// it, from what packaging/nfpm.yaml lists, and running as the service that its systemd starts.
//
// The test stands outside. It reaches the agent over the device's system bus, sees the device's processes and files, and runs programs in
// it for a view that does not go through our code. The file server of a device runs in the test and can be reached from both sides at one
// URL.
package device

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/forgetful"
	"github.com/smmd-project/smmd/test/machine"
	"github.com/smmd-project/smmd/test/support"
)

// Options say what device it is.
type Options struct {
	Programs support.Programs
	// Config are tables that are added to the shipped agent.toml, such as [[exec_env]].
	Config string
	// Settings are keys of the shipped agent.toml and what they are set to: strings, lists of strings, numbers, booleans.
	Settings map[string]any
	// Files are files of the host that the device has too, by their path in it.
	Files map[string]string
	// Forgets makes /var/lib/smmd a disk that at a power cut forgets what was not synced.
	Forgets bool
	// Prepare changes the disk before the device boots for the first time, after everything else.
	Prepare func(disk *os.Root) error
	// Disabled leaves the service installed and not enabled.
	Disabled bool
}

// A Device is a machine with the agent on it. Methods that take no test are for the test that booted it; they end it when something goes
// wrong.
type Device struct {
	support.Control
	Machine *machine.Machine

	t    testing.TB
	opts Options
	disk *forgetful.Disk // nil: one that remembers everything
}

// The frameworks of [Felix] and [Equinox] on a device.
const (
	felixJar   = "/usr/share/java/felix.jar"
	equinoxJar = "/usr/share/java/equinox.jar"
)

// Felix returns the tables of an environment with Felix that begins at a level; more are lines of [exec_env.osgi]. Options.OSGi adds the
// files.
func Felix(name string, level int, more ...string) string { return osgi(name, felixJar, level, more) }

// Equinox is [Felix] with Equinox.
func Equinox(name string, level int, more ...string) string {
	return osgi(name, equinoxJar, level, more)
}

func osgi(name, jar string, level int, more []string) string {
	return fmt.Sprintf("[[exec_env]]\nname = %q\nadapter = \"osgi\"\ninitial_run_level = %d\n[exec_env.osgi]\nframework = %q\n%s\n",
		name, level, jar, strings.Join(more, "\n"))
}

// Boot boots a device that is there until the test ends, and waits until its agent can be reached. Its environments come up afterwards:
// see [support.Control.Up]. When the test fails, the device's journal is in its log.
func Boot(t testing.TB, o Options) *Device {
	t.Helper()
	machine.Require(t)
	d := &Device{Control: support.NewControl(t), t: t, opts: o}
	var err error
	if d.Files, err = fileserver.Start(fileserver.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Files.Close)
	t.Cleanup(d.leave)
	mo := machine.Options{Loops: true, Controllers: true, Prepare: d.prepare}
	if o.Forgets {
		d.forget(&mo)
	}
	d.Machine = machine.Boot(t, mo)
	d.arrive()
	return d
}

// prepare installs the agent on the disk.
func (d *Device) prepare(disk *os.Root) error {
	if err := unpack(d.t, disk, d.opts.Programs); err != nil {
		return err
	}
	settings := map[string]any{"log_format": "journal", "log_level": "debug"}
	for key, value := range d.opts.Settings {
		settings[key] = value
	}
	if err := configure(disk, settings, d.opts.Config); err != nil {
		return err
	}
	files := map[string]string{}
	if strings.Contains(d.opts.Config, felixJar) {
		files[felixJar] = support.FrameworkJar(d.t, "felix")
	}
	if strings.Contains(d.opts.Config, equinoxJar) {
		files[equinoxJar] = support.FrameworkJar(d.t, "equinox")
	}
	for path, source := range d.opts.Files {
		files[path] = source
	}
	for path, source := range files {
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		if err := copyFile(disk, source, path, info.Mode().Perm()); err != nil {
			return err
		}
	}
	if !d.opts.Disabled { // as systemctl enable would
		const wants = "etc/systemd/system/multi-user.target.wants"
		if err := disk.MkdirAll(wants, 0o755); err != nil {
			return err
		}
		if err := disk.Symlink("/usr/lib/systemd/system/smmd.service", wants+"/smmd.service"); err != nil {
			return err
		}
	}
	if d.opts.Prepare != nil {
		return d.opts.Prepare(disk)
	}
	return nil
}

// arrive is what a test has to do once the device has booted.
func (d *Device) arrive() {
	d.t.Helper()
	listener, err := d.Machine.Listen("tcp", strings.TrimPrefix(d.Files.URL, "http://"))
	if err != nil {
		d.t.Fatal(err)
	}
	d.Files.Listen(listener)
	if d.Client, err = client.Dial(d.t.Context(), d.Machine.Bus()); err != nil {
		d.t.Fatal(err)
	}
	if !d.opts.Disabled {
		if state := d.Show("smmd.service", "ActiveState"); state != "active" {
			d.t.Fatalf("smmd.service is %s after the boot", state)
		}
	}
}

// leave gives up the connection to a device that is about to be gone.
func (d *Device) leave() {
	if d.Client != nil {
		_ = d.Client.Close() // nothing is under way
		d.Client = nil
	}
}

// Reboot reboots the device in good order and waits until its agent can be reached again.
func (d *Device) Reboot() {
	d.t.Helper()
	d.leave()
	d.Machine.Reboot(d.t)
	d.arrive()
}

// PowerCut ends everything on the device at once, see [machine.Machine.PowerCut]. With Options.Forgets the disk has forgotten what was
// not synced.
func (d *Device) PowerCut() {
	d.t.Helper()
	if d.disk != nil {
		if err := d.disk.Freeze(); err != nil {
			d.t.Fatal(err)
		}
	}
	d.Machine.PowerCut(d.t)
	d.leave()
	if d.disk != nil {
		if err := d.disk.Restore(); err != nil {
			d.t.Fatal(err)
		}
	}
}

// Start switches on a device that is off.
func (d *Device) Start() {
	d.t.Helper()
	d.Machine.Start(d.t)
	d.arrive()
}

// Show returns a property of a unit of the device's systemd, as systemctl show prints it.
func (d *Device) Show(unit, property string) string {
	d.t.Helper()
	return strings.TrimSpace(d.Machine.Run(d.t, "systemctl", "show", "--value", "--property="+property, unit))
}

// MainPID returns the process id of a service, as the device numbers it; 0 if it has none.
func (d *Device) MainPID(unit string) int {
	d.t.Helper()
	pid, err := strconv.Atoi(d.Show(unit, "MainPID"))
	if err != nil {
		d.t.Fatal(err)
	}
	return pid
}

// Smmctl runs smmctl on the device.
func (d *Device) Smmctl(args ...string) string {
	d.t.Helper()
	return d.Machine.Run(d.t, append([]string{"smmctl"}, args...)...)
}

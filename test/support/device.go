// Package support runs whole devices for tests: the real agent with its adapters, its bus and its environments, in a directory
// of its own, and a file server beside it.
//
// A test that only asks the agent proves little. So besides [Device] there are views of the same thing that do not go through
// our code: the framework's own console ([Console]), its storage ([Device.Stored]), the requests that the file server saw,
// the process table ([Device.Processes]) and the files of the device.
//
// Nothing outlives a test: its processes are ended one by one, by their ids, and one that should have ended by itself and did not
// fails the test.
package support

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/test/fileserver"
)

// An Env is an OSGi environment of a device.
type Env struct {
	Name            string            // default: the framework
	Framework       string            // felix (default) or equinox
	InitialRunLevel int               // 0: 1
	Disabled        bool              // at the very first start
	NoAutoStart     bool              // of new execution units
	Properties      map[string]string // of the framework
	Settings        string            // more lines of the table [exec_env.osgi]
	Launcher        *Launcher         // who launches the framework, nil: the adapter; Framework and Properties are the launcher's then

	consolePort int
}

// Options say what device it is.
type Options struct {
	Programs Programs
	Envs     []Env  // none: one with the defaults
	Config   string // more tables of agent.toml
}

// A Device is one agent with all that belongs to it. Its methods end the test when something goes wrong; they are for the
// goroutine of the test.
type Device struct {
	Control
	Dir     string // everything of the device lies below
	State   string // state_dir
	Config  string // agent.toml
	LogPath string // what the agent wrote, over all its starts
	Bus     string // address of its bus, while it runs

	opts    Options
	runtime string
	agent   *process
	readers map[part]*reader // of storages, by the jar of the framework
}

// New makes a device that is not started yet. It is gone when the test ends.
func New(t testing.TB, o Options) *Device {
	t.Helper()
	Program(t, "java")
	Program(t, "dbus-daemon")
	if len(o.Envs) == 0 {
		o.Envs = []Env{{}}
	}
	dir, err := os.MkdirTemp("", "smmd-device-") // not t.TempDir(): sockets must have short names
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{
		Control: Control{t: t}, Dir: dir, State: filepath.Join(dir, "state"), runtime: filepath.Join(dir, "run"),
		Config: filepath.Join(dir, "agent.toml"), LogPath: filepath.Join(dir, "agent.log"), opts: o,
		readers: map[part]*reader{},
	}
	t.Cleanup(d.end)
	if d.Files, err = fileserver.Start(fileserver.Options{}); err != nil {
		t.Fatal(err)
	}
	d.Configure(o.Config)
	return d
}

// Boot makes a device, starts it and waits until its environments are up.
func Boot(t testing.TB, o Options) *Device {
	t.Helper()
	d := New(t, o)
	d.Start()
	d.Up()
	return d
}

// Configure writes agent.toml with other tables besides those that the device needs; the next start reads it.
func (d *Device) Configure(tables string) {
	d.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "[agent]\nstate_dir = %q\nruntime_dir = %q\nlog_level = \"debug\"\n[bus]\naddress = \"private\"\n%s\n", d.State, d.runtime, tables)
	for i := range d.opts.Envs {
		e := &d.opts.Envs[i]
		e.write(d.t, &b)
	}
	if err := os.WriteFile(d.Config, []byte(b.String()), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

func (e *Env) write(t testing.TB, b *strings.Builder) {
	t.Helper()
	if e.Launcher != nil {
		e.Framework, e.consolePort = e.Launcher.Framework, e.Launcher.consolePort
	}
	if e.Name == "" {
		e.Name = cmp.Or(e.Framework, "felix")
	}
	if e.consolePort == 0 {
		e.consolePort = freePort(t)
	}
	fmt.Fprintf(b, "[[exec_env]]\nname = %q\nadapter = \"osgi\"\ninitial_run_level = %d\nenable = %v\nauto_start = %v\n",
		e.Name, max(e.InitialRunLevel, 1), !e.Disabled, !e.NoAutoStart)
	if e.Launcher != nil {
		e.Launcher.configure(b, e.Settings)
		return
	}
	fmt.Fprintf(b, "[exec_env.osgi]\nframework = %q\nhost_jar = %q\n%s\n", e.framework().find(t), hostJar.find(t), e.Settings)
	b.WriteString("[exec_env.osgi.properties]\n")
	fmt.Fprintf(b, "\"gosh.args\" = \"--noshutdown -c telnetd --port=%d start\"\n", e.consolePort)
	for k, v := range e.Properties {
		fmt.Fprintf(b, "%q = %q\n", k, v)
	}
}

func (e *Env) framework() part {
	if e.Framework == "equinox" {
		return equinoxJar
	}
	return felixJar
}

// freePort returns a port of the loopback interface that nobody listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }() // nothing was written
	return l.Addr().(*net.TCPAddr).Port
}

// env returns an environment of the configuration.
func (d *Device) env(name string) *Env {
	d.t.Helper()
	for i := range d.opts.Envs {
		if d.opts.Envs[i].Name == name {
			return &d.opts.Envs[i]
		}
	}
	d.t.Fatalf("the device has no environment %s", name)
	return nil
}

// Log returns what the agent wrote, over all its starts.
func (d *Device) Log() string {
	d.t.Helper()
	text, err := os.ReadFile(d.LogPath)
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

// end ends whatever is left of the device and says so when something is left that should not be.
func (d *Device) end() {
	if d.agent != nil {
		d.Stop()
	}
	for _, p := range d.leftovers() {
		d.t.Errorf("process %d did not end with the agent: %s", p.PID, p.Command)
		p.kill()
	}
	for _, p := range d.Processes() { // the environments, which are meant to outlive the agent
		p.kill()
	}
	if err := within(10*time.Second, func() error {
		if all := d.Processes(); len(all) > 0 {
			return fmt.Errorf("process %d is left: %s", all[0].PID, all[0].Command)
		}
		return nil
	}); err != nil {
		d.t.Error(err)
	}
	for _, r := range d.readers {
		if err := r.stop(); err != nil {
			d.t.Error(err)
		}
	}
	if d.Files != nil {
		d.Files.Close()
	}
	if d.t.Failed() {
		d.dump()
	}
	if os.Getenv("SMMD_TEST_KEEP") != "" {
		d.t.Logf("the device is kept in %s", d.Dir)
		return
	}
	if err := os.RemoveAll(d.Dir); err != nil {
		d.t.Errorf("cannot remove the device: %v", err)
	}
}

// maxDump is how much of a log a failed test shows, in bytes.
const maxDump = 16 << 10

// dump shows the logs of the device.
func (d *Device) dump() {
	logs, err := filepath.Glob(filepath.Join(d.State, "env", "*", "host.log"))
	if err != nil {
		d.t.Error(err)
	}
	for _, path := range append(logs, d.LogPath) {
		text, err := os.ReadFile(path)
		if err != nil {
			d.t.Logf("cannot show a log: %v", err)
			continue
		}
		d.t.Logf("the end of %s:\n%s", path, text[max(0, len(text)-maxDump):])
	}
}

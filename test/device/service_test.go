package device

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/test/support"
)

// dropIn writes lines into a drop-in of smmd.service.
func (d *Device) dropIn(lines ...string) {
	d.t.Helper()
	d.Machine.WriteFile(d.t, "/etc/systemd/system/smmd.service.d/test.conf", []byte("[Service]\n"+strings.Join(lines, "\n")+"\n"), 0o644)
	d.Machine.Run(d.t, "systemctl", "daemon-reload")
}

// sh runs a script on the device.
func (d *Device) sh(script string) string {
	d.t.Helper()
	return d.Machine.Run(d.t, "sh", "-ec", script)
}

// pid returns the id of the one process of the device that matches a pattern of pgrep -f.
func (d *Device) pid(pattern string) int {
	d.t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(d.Machine.Run(d.t, "pgrep", "-f", pattern)))
	if err != nil {
		d.t.Fatalf("process %s: %v", pattern, err)
	}
	return pid
}

// The processes of a device, for pid.
const (
	adapterProcess = "^/usr/bin/smmd adapter osgi$"
	jvmProcess     = "^java .* org.smmd.osgi.host"
)

// becomes waits until the execution unit of a unit has a status and no fault, and returns the unit. What runs in an environment may be told a
// moment after the environment itself.
func (d *Device) becomes(du dbus.ObjectPath, status string) support.Unit {
	d.t.Helper()
	var u support.Unit
	d.Until(fmt.Sprintf("%s is %s", du, status), func(tree *client.Tree) (err error) {
		if u, err = support.UnitOf(tree, du); err == nil && (u.EU.Status != status || u.EU.FaultCode != "NoFault") {
			err = fmt.Errorf("it is %s", u)
		}
		return err
	})
	return u
}

// equal compares a value with the one it should be.
func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, wanted %v", what, got, want)
	}
}

// TestReady: systemd starts what comes after the agent when the agent can be reached, not before.
func TestReady(t *testing.T) {
	d := boot(t, Options{Disabled: true})
	d.dropIn("ExecStartPre=", "ExecStart=", "ExecStart=/bin/sh -c 'until [ -e /run/go ]; do sleep 0.05; done; exec /usr/bin/smmd --config /etc/smmd/agent.toml'")
	// smmctl would start an agent that is not there, and wait for it; this only looks.
	d.Machine.WriteFile(t, "/etc/systemd/system/after.service", []byte("[Unit]\nRequires=smmd.service\nAfter=smmd.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\n"+
		"ExecStart=/bin/sh -c 'busctl call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus NameHasOwner s "+xml.BusName+" | grep true'\n"), 0o644)
	d.Machine.Run(t, "systemctl", "daemon-reload")
	d.Machine.Run(t, "systemctl", "start", "--no-block", "after.service")
	support.Until(t, "the service is being started", func() error {
		if state := d.Show("smmd.service", "SubState"); state != "start" {
			return errors.New(state)
		}
		return nil
	})
	equal(t, "what waits for the agent", d.Show("after.service", "ActiveState"), "inactive")
	d.Machine.WriteFile(t, "/run/go", nil, 0o600)
	d.Machine.Run(t, "systemctl", "start", "after.service")
	equal(t, "the agent", d.Show("smmd.service", "SubState"), "running")
}

// TestActivation: a call starts an agent that was stopped, and finds what was there.
func TestActivation(t *testing.T) {
	d := boot(t, Options{Config: Felix("home", 5)})
	d.Up()
	unit := d.Install("sample-1.0.0.jar", "home")
	jvm := d.pid(jvmProcess)
	d.Machine.Run(t, "systemctl", "stop", "smmd.service")
	equal(t, "the agent after its stop", d.Show("smmd.service", "Result"), "success")
	equal(t, "the framework after it", d.pid(jvmProcess), jvm)
	equal(t, "the agent then", d.Show("smmd.service", "ActiveState"), "inactive")
	call := func() (string, error) {
		out, err := exec.Command("busctl", "--address="+d.Machine.Bus(), "--json=short", "get-property", xml.BusName, string(unit.Object),
			xml.DeploymentUnit, "UUID").CombinedOutput()
		return string(out), err
	}
	d.Machine.Run(t, "systemctl", "mask", "--runtime", "smmd.service")
	if out, err := call(); err == nil {
		t.Errorf("the call says %s although nobody may start the agent", out)
	}
	equal(t, "the agent after a call in vain", d.Show("smmd.service", "ActiveState"), "inactive")
	d.Machine.Run(t, "systemctl", "unmask", "--runtime", "smmd.service")
	if out, err := call(); err != nil || !strings.Contains(out, unit.UUID) {
		t.Errorf("the call says %s, %v", out, err)
	}
	equal(t, "the agent after the call", d.Show("smmd.service", "ActiveState"), "active")
	d.Up()
	d.becomes(unit.Object, "Active")
	equal(t, "the framework", d.pid(jvmProcess), jvm)
}

// TestWatchdog: an agent that hangs is started again, one that works is not, and what runs does not notice.
func TestWatchdog(t *testing.T) {
	d := boot(t, Options{Config: Felix("home", 5), Prepare: dropInBefore("WatchdogSec=4")})
	d.Up()
	unit := d.Install("sample-1.0.0.jar", "home")
	jvm, agent := d.pid(jvmProcess), d.MainPID("smmd.service")
	first := d.watchdog()
	support.Until(t, "it has given signs of life for longer than the watchdog waits", func() error {
		if n := d.watchdog() - first; n < 5e6 {
			return fmt.Errorf("%d µs", n)
		}
		return nil
	})
	equal(t, "starts so far", d.Show("smmd.service", "NRestarts"), "0")

	d.Machine.Run(t, "kill", "-STOP", strconv.Itoa(agent))
	support.Until(t, "another agent runs", func() error {
		if pid := d.MainPID("smmd.service"); pid == agent || pid == 0 || d.Show("smmd.service", "ActiveState") != "active" {
			return fmt.Errorf("process %d", pid)
		}
		return nil
	})
	equal(t, "starts after it hung", d.Show("smmd.service", "NRestarts"), "1")
	if journal := d.Machine.Run(t, "journalctl", "-u", "smmd.service", "-o", "cat"); !strings.Contains(journal, "Watchdog timeout") {
		t.Errorf("the journal does not say why:\n%s", journal)
	} else if !strings.Contains(journal, "goroutine ") {
		t.Error("the journal does not have what the agent was at")
	}
	d.Up()
	equal(t, "the unit", d.becomes(unit.Object, "Active").UUID, unit.UUID)
	equal(t, "the framework", d.pid(jvmProcess), jvm)
}

// watchdog returns when the agent has given the last sign of life, in µs of the device's clock.
func (d *Device) watchdog() int64 {
	d.t.Helper()
	at, err := strconv.ParseInt(d.Show("smmd.service", "WatchdogTimestampMonotonic"), 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return at
}

// TestEnds: units go on undisturbed whatever becomes of the agent and its adapter, and the journal tells how grave it is.
func TestEnds(t *testing.T) {
	d := boot(t, Options{Config: Felix("home", 5)})
	d.Up()
	unit := d.Install("sample-1.0.0.jar", "home")
	jvm := d.pid(jvmProcess)
	for _, c := range []struct {
		what string
		end  func()
	}{
		{"a restart", func() { d.Machine.Run(t, "systemctl", "restart", "smmd.service") }},
		{"the agent is killed", func() {
			agent := d.MainPID("smmd.service")
			d.Machine.Run(t, "kill", "-KILL", strconv.Itoa(agent))
			support.Until(t, "another agent runs", func() error {
				if pid := d.MainPID("smmd.service"); pid == agent || pid == 0 || d.Show("smmd.service", "ActiveState") != "active" {
					return fmt.Errorf("process %d", pid)
				}
				return nil
			})
		}},
		{"the adapter is killed", func() {
			adapter := d.pid(adapterProcess)
			d.Machine.Run(t, "kill", "-KILL", strconv.Itoa(adapter))
			support.Until(t, "another adapter runs", func() error {
				out, err := d.Machine.Try(t.Context(), "pgrep", "-f", adapterProcess)
				if err == nil && strings.TrimSpace(out) == strconv.Itoa(adapter) {
					err = errors.New("it is the same")
				}
				return err
			})
		}},
		{"a reload of systemd", func() { d.Machine.Run(t, "systemctl", "daemon-reexec") }},
	} {
		c.end()
		d.Up()
		equal(t, c.what+": the unit", identity(d.becomes(unit.Object, "Active")), identity(unit))
		equal(t, c.what+": the framework", d.pid(jvmProcess), jvm)
		if n := len(strings.Fields(d.Machine.Run(t, "pgrep", "-f", adapterProcess))); n != 1 {
			t.Errorf("%s: there are %d adapters", c.what, n)
		}
	}
	grave := map[string]string{"adapter lost": "4", "host process launched": "6", "ready": "6"}
	for line := range strings.Lines(d.Machine.Run(t, "journalctl", "-u", "smmd.service", "-o", "json")) {
		var entry struct{ PRIORITY, MESSAGE any }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for message, priority := range grave {
			if text, _ := entry.MESSAGE.(string); strings.HasPrefix(text, "msg="+strconv.Quote(message)) || strings.HasPrefix(text, "msg="+message+" ") {
				equal(t, text, entry.PRIORITY, any(priority))
				delete(grave, message)
			}
		}
	}
	if len(grave) > 0 {
		t.Errorf("the journal does not have %v", grave)
	}
}

// TestSmmctl: the client that is installed speaks with the agent that is installed.
func TestSmmctl(t *testing.T) {
	d := boot(t, Options{Config: Felix("home", 5)})
	d.Up()
	url := d.URL("sample-1.0.0.jar")
	if got := d.Smmctl("install", url, "--ee", "home"); !strings.Contains(got, "Installed org.smmd.sample 1.0.0") {
		t.Errorf("smmctl says %q", got)
	}
	d.Until("its unit is active", func(tree *client.Tree) error {
		if len(tree.ExecutionUnits) != 1 || tree.ExecutionUnits[0].Status != "Active" {
			return fmt.Errorf("the units are %s", support.Show(tree.ExecutionUnits))
		}
		return nil
	})
	if out := d.Smmctl("tree"); !strings.Contains(out, "org.smmd.sample") || !strings.Contains(out, "Active") {
		t.Errorf("smmctl says %q", out)
	}
	if got := d.Machine.Run(t, "smmd", "check-config", "/etc/smmd/agent.toml"); got != "/etc/smmd/agent.toml is fine\n" {
		t.Errorf("smmd says %q", got)
	}
}

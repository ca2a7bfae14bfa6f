// Package packaging tests what is packaged.
package packaging

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
	"github.com/smmd-project/smmd/ipc/xml"
)

// reading is what the group smmd-read may call; all other methods are refused to it.
var reading = map[string]bool{
	xml.Introspectable + ".Introspect": true, xml.ObjectManager + ".GetManagedObjects": true, xml.Properties + ".Get": true,
	xml.Properties + ".GetAll": true, xml.Peer + ".Ping": true, xml.Peer + ".GetMachineId": true, xml.Agent + ".Adapters": true,
	xml.CWMP + ".GetParameterNames": true, xml.CWMP + ".GetParameterValues": true, xml.CWMP + ".GetParameterAttributes": true,
	xml.CWMP + ".PendingReports": true, xml.CWMP + ".PendingValueChanges": true,
	xml.USP + ".Get": true, xml.USP + ".GetInstances": true, xml.USP + ".GetSupportedDM": true, xml.USP + ".Notifications": true, xml.USP + ".Requests": true,
}

// nobody is a user without rights of any kind.
const nobody = 65534

// groups of the machine stand in for those of the policy, which a machine that builds does not have.
var groups = map[string]string{"smmd": "daemon", "smmd-read": "bin"}

// caller is somebody who calls.
type caller struct {
	name  string
	group string // of the policy; empty: none
	root  bool
}

func (c caller) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	if c.root {
		return cmd
	}
	cred := &syscall.Credential{Uid: nobody, Gid: nobody}
	if c.group != "" {
		g, err := user.LookupGroup(groups[c.group])
		if err != nil {
			t.Fatal(err)
		}
		gid, err := strconv.ParseUint(g.Gid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		cred.Groups = []uint32{uint32(gid)}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	cmd.Dir = "/"
	return cmd
}

// denied makes a call without arguments and reports whether the bus refuses it. The agent's own refusal of such a call counts as a
// call that was let through.
func (c caller) denied(t *testing.T, address, path, iface, member string, args ...string) bool {
	t.Helper()
	service := xml.BusName
	if iface == "org.freedesktop.DBus" {
		service = iface
	}
	out, err := c.command(t, append([]string{"busctl", "--address=" + address, "call", service, path, iface, member}, args...)...).CombinedOutput()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return bytes.Contains(out, []byte("Access denied"))
}

// needRoot skips a test that changes its user, where that cannot be.
func needRoot(t *testing.T) {
	t.Helper()
	why := ""
	if os.Getuid() != 0 {
		why = "changing to another user needs root"
	}
	for _, program := range []string{"dbus-daemon", "busctl", "gdbus"} {
		if _, err := exec.LookPath(program); err != nil {
			why = program + " is missing"
		}
	}
	switch {
	case why != "" && os.Getenv("CI") == "true":
		t.Fatal(why)
	case why != "":
		t.Skip(why)
	}
}

// systemBus runs a bus with the rules of a system bus and the policy of the agent, and returns its address.
func systemBus(t *testing.T) string {
	t.Helper()
	policy, err := os.ReadFile("org.smmd.Agent1.conf")
	if err != nil {
		t.Fatal(err)
	}
	for group, stand := range groups {
		policy = bytes.ReplaceAll(policy, fmt.Appendf(nil, `group="%s"`, group), fmt.Appendf(nil, `group="%s"`, stand))
	}
	dir := t.TempDir()
	address := fmt.Sprintf("unix:abstract=smmd-policy-test-%d", os.Getpid())
	// The default policy is that of dbus-daemon's own system.conf.
	conf := fmt.Sprintf(`<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><listen>%s</listen><auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
  </policy>
  <include>%s</include>
</busconfig>`, address, filepath.Join(dir, "policy.conf"))
	for name, content := range map[string][]byte{"policy.conf": policy, "bus.conf": []byte(conf)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+filepath.Join(dir, "bus.conf"), "--nofork", "--nopidfile", "--nosyslog", "--print-address=1")
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		t.Fatalf("the bus does not start: %v", err)
	}
	return address
}

// TestPolicy makes every call of the contract as everybody who could make it. A method that is new and not in the list above is one
// that readers may not call.
func TestPolicy(t *testing.T) {
	needRoot(t)
	address := systemBus(t)
	agent := ipctest.New()
	ipctest.Serve(t, address, agent, dbus.Options{})
	for _, c := range []caller{{name: "root", root: true}, {name: "member", group: "smmd"}, {name: "reader", group: "smmd-read"}, {name: "outsider"}} {
		t.Run(c.name, func(t *testing.T) {
			for _, iface := range []string{
				xml.Agent, xml.CWMP, xml.USP, xml.ExecEnv, xml.DeploymentUnit, xml.ExecutionUnit, xml.Job,
				xml.ObjectManager, xml.Properties, xml.Introspectable, xml.Peer,
			} {
				for _, m := range xml.Lookup(iface).Methods {
					want := c.name == "outsider" || c.name == "reader" && !reading[iface+"."+m.Name]
					if got := c.denied(t, address, xml.Root, iface, m.Name); got != want {
						t.Errorf("%s.%s: refused by the bus: %t, wanted %t", iface, m.Name, got, want)
					}
				}
			}
			if !c.root && !c.denied(t, address, "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", xml.BusName, "0") {
				t.Error("the name of the agent can be taken")
			}
		})
	}
}

// TestPolicySignals checks that nobody hears signals but those who may read.
func TestPolicySignals(t *testing.T) {
	needRoot(t)
	address := systemBus(t)
	agent := ipctest.New()
	ipctest.Serve(t, address, agent, dbus.Options{})
	type ear struct {
		caller
		lines chan string // closed at the end
		cmd   *exec.Cmd
	}
	// The outsider is the first, so that it has had more time to hear than all others.
	var ears []*ear
	for _, c := range []caller{{name: "outsider"}, {name: "reader", group: "smmd-read"}, {name: "member", group: "smmd"}, {name: "root", root: true}} {
		e := &ear{caller: c, lines: make(chan string, 1000), cmd: c.command(t, "gdbus", "monitor", "--address="+address, "--dest="+xml.BusName)}
		out, err := e.cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := e.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func() { // ends with the process
			defer close(e.lines)
			for s := bufio.NewScanner(out); s.Scan(); {
				e.lines <- s.Text()
			}
		}()
		t.Cleanup(func() {
			_ = e.cmd.Process.Kill() // it may have ended
			for range e.lines {
			}
			_ = e.cmd.Wait()
		})
		ears = append(ears, e)
	}
	changes := 0
	change := func() {
		changes++
		agent.Commit(func(d *model.Draft) {
			row := *d.ExecEnv(1)
			row.Alias = fmt.Sprint("changed-", changes)
			d.PutExecEnv(&row)
		})
	}
	// gdbus says that it listens a moment before it does, so there is something to hear again and again.
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	hears := func(e *ear, words string) {
		t.Helper()
		for limit := time.After(20 * time.Second); ; {
			select {
			case <-again.C:
				change()
			case line, ok := <-e.lines:
				if !ok {
					t.Fatalf("%s does not listen any more", e.name)
				}
				if strings.Contains(line, words) {
					return
				}
			case <-limit:
				t.Fatalf("%s does not hear %q", e.name, words)
			}
		}
	}
	for _, e := range ears {
		hears(e, "is owned by")
	}
	for _, e := range ears[1:] {
		hears(e, "PropertiesChanged")
	}
	_ = ears[0].cmd.Process.Kill()
	for line := range ears[0].lines {
		if strings.Contains(line, "PropertiesChanged") {
			t.Errorf("an outsider hears %s", line)
		}
	}
}

package lxc

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"

	"github.com/smmd-project/smmd/test/machine"
)

// slowOrder is a daemon that has started when the file at go is there.
func slowOrder(t *testing.T, name string) (o order, free string) {
	dir := t.TempDir()
	free = filepath.Join(dir, "go")
	return order{env: "home", name: name, dir: dir, store: dir, description: name, daemon: true, signal: 15, grace: time.Second,
		argv: []string{"sh", "-c", "until [ -e " + free + " ]; do sleep 0.05; done"}}, free
}

// activeState is the state of a unit, empty while the service manager does not answer because it executes itself anew.
func activeState(unit string) string {
	out, err := exec.Command("systemctl", "show", "--value", "-p", "ActiveState", unit).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// TestManagerGoesDuringStart shows that a start comes to its end also when the service manager drops its connections meanwhile, and goes on with its jobs.
func TestManagerGoesDuringStart(t *testing.T) {
	machine.RequireInside(t)
	o, free := slowOrder(t, "home.reexec")
	unit := unitName(o.name)
	ended := make(chan error, 1)
	go func() { ended <- units{}.start(context.WithoutCancel(t.Context()), o) }()
	d := &device{t: t}
	state := func() string { return activeState(unit) }
	d.eventually("the start job", func() bool { return state() == "activating" })
	tool(t, "systemctl", "daemon-reexec")
	d.eventually("the manager", func() bool { return state() == "activating" })
	select {
	case err := <-ended:
		t.Errorf("the start ended before its job: %v", err)
	default:
	}
	must(t, os.WriteFile(free, nil, 0o600))
	select {
	case err := <-ended:
		if got := state(); err != nil || got != "active" {
			t.Errorf("the start ended with %v, and the unit is %q", err, got)
		}
	case <-time.After(patience):
		t.Errorf("the start did not end; the unit is %s", state())
	}
	tool(t, "systemctl", "stop", unit)
}

// TestStartWithoutManager shows that a start ends with an error when nothing is heard of its job any more.
func TestStartWithoutManager(t *testing.T) {
	machine.RequireInside(t)
	conn, err := dbus.NewSystemdConnectionContext(context.Background())
	must(t, err)
	defer conn.Close()
	o := order{name: "home.none", grace: 200*time.Millisecond - 2*slack}
	err = units{}.await(t.Context(), conn, o, nil)
	if err == nil || !strings.Contains(err.Error(), "smmd-lxc-home.none.service has not ended within 200ms") {
		t.Errorf("a job that does not end: %v", err)
	}
	conn.Close()
	o.grace += time.Second
	t.Setenv("PATH", t.TempDir())
	err = units{}.await(t.Context(), conn, o, nil)
	if err == nil || !strings.Contains(err.Error(), "the connection to systemd was lost, and it does not answer") {
		t.Errorf("a manager that does not come back: %v", err)
	}
}

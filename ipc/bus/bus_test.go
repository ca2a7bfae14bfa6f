package bus

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits until ok says true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it never comes true that %s", what)
		}
	}
}

// pid returns the process of the bus behind a connection.
func pid(t *testing.T, conn *dbus.Conn) int {
	t.Helper()
	var p uint32
	if err := conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&p); err != nil {
		t.Fatal(err)
	}
	return int(p)
}

func gone(pid int) func() bool {
	return func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }
}

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run, \"odd\" & <dir>")
	address, stop, err := Private(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	conn, err := Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.SupportsUnixFDs() {
		t.Error("file descriptors are taken")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is %v, %v", info, err)
	}

	// A bus that dies comes again at the same address.
	p := pid(t, conn)
	if err := syscall.Kill(p, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lost connection is told", func() bool { return !conn.Connected() })
	var again *dbus.Conn
	eventually(t, "the bus is back", func() bool { again, err = Connect(t.Context(), address); return err == nil })
	defer again.Close()
	p2 := pid(t, again)
	if p == p2 {
		t.Errorf("the bus is still process %d", p)
	}

	stop()
	stop()
	eventually(t, "the bus is gone", gone(p2))
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestPrivateEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	address, stop, err := Private(ctx, filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	conn, err := Connect(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := pid(t, conn)
	cancel()
	eventually(t, "the bus is gone", gone(p))
}

func TestPrivateRefuses(t *testing.T) {
	open := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(open, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		open: "open to others",
		file: "not a directory",
		filepath.Join(t.TempDir(), strings.Repeat("x", 100)): "longer than 107 bytes",
	} {
		_, _, err := Private(t.Context(), dir)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot start a private bus: ") {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, _, err := Private(t.Context(), filepath.Join(t.TempDir(), "run")); err == nil || !strings.Contains(err.Error(), "dbus-daemon") {
		t.Errorf("without a dbus-daemon: %v", err)
	}
}

func TestPrivateReportsABusThatDoesNotListen(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\necho broken on purpose >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(bin, "dbus-daemon"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	_, _, err := Private(t.Context(), filepath.Join(t.TempDir(), "run"))
	if err == nil || !strings.Contains(err.Error(), "broken on purpose") {
		t.Errorf("the error is %v", err)
	}
}

func TestAddress(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	for name, want := range map[string]string{
		System:         "unix:path=/var/run/dbus/system_bus_socket",
		Session:        "unix:path=/run/user/7/bus",
		"unix:path=/x": "unix:path=/x",
		"":             "",
	} {
		if got, err := Address(name); got != want || (err != nil) != (want == "") {
			t.Errorf("%q is %q, %v; want %q", name, got, err, want)
		}
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/sys")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/ses")
	if a, _ := Address(System); a != "unix:path=/sys" {
		t.Errorf("the system bus is %s", a)
	}
	if a, _ := Address(Session); a != "unix:path=/ses" {
		t.Errorf("the session bus is %s", a)
	}
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	if _, err := Address(Session); err == nil {
		t.Error("a session bus is found where there is none")
	}
}

func TestConnectTriesEveryAddress(t *testing.T) {
	address, stop, err := Private(t.Context(), filepath.Join(t.TempDir(), "run"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	conn, err := Connect(t.Context(), "unix:path=/nowhere;"+address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	for _, a := range []string{"", "unix:path=/nowhere", "unix:guid=1", "carrier-pigeon:x", "nothing", "unix:path=%zz", ";"} {
		if conn, err := Connect(t.Context(), a); err == nil {
			conn.Close()
			t.Errorf("%q is connected", a)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	for address, want := range map[string]string{
		"unix:path=/a%20b,guid=0": "/a b",
		"unix:guid=0,path=/a":     "/a",
		"unix:abstract=/tmp/x":    "@/tmp/x",
		"tcp:host=h,port=1":       "",
	} {
		if got, ok, err := unixSocket(address); err != nil || got != want || ok != (want != "") {
			t.Errorf("%s is %q, %v, %v", address, got, ok, err)
		}
	}
}

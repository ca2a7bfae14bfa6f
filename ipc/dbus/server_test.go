package dbus_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/dbus"
	"github.com/smmd-project/smmd/ipc/ipctest"
	contract "github.com/smmd-project/smmd/ipc/xml"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// within waits for a value for as long as a slow machine may need.
func within[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not come", what)
		panic("not reached")
	}
}

func TestTheNameIsTaken(t *testing.T) {
	a := ipctest.New()
	address := ipctest.Run(t, a)
	err := dbus.New(a, dbus.Options{Log: quiet}).Run(t.Context(), address)
	if !errors.Is(err, dbus.ErrNameTaken) {
		t.Errorf("the error is %v", err)
	}
	c := ipctest.Connect(t, address)
	if err := c.Object(contract.BusName, contract.Root).Call(contract.Peer+".Ping", 0).Err; err != nil {
		t.Errorf("the first one is gone: %v", err)
	}
}

func TestNoBus(t *testing.T) {
	err := dbus.New(ipctest.New(), dbus.Options{Log: quiet}).Run(t.Context(), "unix:path=/nowhere/bus")
	if err == nil || errors.Is(err, dbus.ErrNameTaken) || errors.Is(err, dbus.ErrLost) {
		t.Errorf("the error is %v", err)
	}
}

// TestTheConnectionIsLost kills the bus: Run tells so, and the same server serves again when the bus is back.
func TestTheConnectionIsLost(t *testing.T) {
	address := ipctest.Bus(t)
	a := ipctest.New()
	ready := make(chan struct{}, 1)
	s := dbus.New(a, dbus.Options{Log: quiet, Ready: func() { ready <- struct{}{} }})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, address) }()
	within(t, "the first serving", ready)

	conn := ipctest.Connect(t, address)
	var pid uint32
	if err := conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(int(pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := within(t, "the loss", done); !errors.Is(err, dbus.ErrLost) {
		t.Errorf("the error is %v", err)
	}

	late := time.After(20 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for again := false; !again; {
		go func() { done <- s.Run(ctx, address) }()
		select {
		case <-ready:
			again = true
		case <-done: // the bus is not back yet
			select {
			case <-tick.C:
			case <-late:
				t.Fatal("the bus does not come back")
			}
		}
	}
	c := &client{T: t, agent: a, address: address, conn: ipctest.Connect(t, address)}
	c.install()
	cancel()
	if err := within(t, "the end", done); err != nil {
		t.Errorf("the error is %v", err)
	}
}

// slow is an agent whose Uninstall takes as long as the test likes.
type slow struct {
	*ipctest.Agent
	entered chan struct{}
	release chan struct{}
}

func (s slow) Uninstall(ctx context.Context, r model.UninstallRequest) (uint32, error) {
	s.entered <- struct{}{}
	select {
	case <-s.release:
		return s.Agent.Uninstall(ctx, r)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// TestCallsInProgressAreAnsweredAtTheEnd stops the server while a call is in it.
func TestCallsInProgressAreAnsweredAtTheEnd(t *testing.T) {
	s := slow{ipctest.New(), make(chan struct{}, 1), make(chan struct{})}
	address := ipctest.Bus(t)
	stop := ipctest.Serve(t, address, s, dbus.Options{})
	c := &client{T: t, agent: s.Agent, address: address, conn: ipctest.Connect(t, address)}
	c.install()
	answer := make(chan error, 1)
	go func() {
		answer <- c.try(row("DeploymentUnit", "1"), contract.DeploymentUnit+".Uninstall", options{}).Err
	}()
	within(t, "the call", s.entered)
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	// New calls are refused while the old one is still in progress.
	for {
		if err := c.try(contract.Root, contract.Introspectable+".Introspect").Err; err != nil {
			break
		}
	}
	close(s.release)
	if err := within(t, "the answer", answer); err != nil {
		t.Errorf("the call in progress is answered with %v", err)
	}
	within(t, "the end", stopped)
}

// TestChangesAreBounded fills the turnstile: as many calls as are allowed are inside, as many as are allowed wait, the others
// are refused, and reads go on.
func TestChangesAreBounded(t *testing.T) {
	s := slow{ipctest.New(), make(chan struct{}, 100), make(chan struct{})}
	address := ipctest.Bus(t)
	ipctest.Serve(t, address, s, dbus.Options{MaxChanges: 2, MaxWaiting: 3})
	c := &client{T: t, agent: s.Agent, address: address, conn: ipctest.Connect(t, address)}
	c.install()
	answers := make(chan error, 100)
	for range 10 {
		go func() {
			answers <- c.try(row("DeploymentUnit", "1"), contract.DeploymentUnit+".Uninstall", options{}).Err
		}()
	}
	for range 5 {
		if err := within(t, "a refusal", answers); err == nil || !isError(err, "org.freedesktop.DBus.Error.LimitsExceeded") {
			t.Errorf("one too many is answered with %v", err)
		}
	}
	within(t, "the first inside", s.entered)
	within(t, "the second inside", s.entered)
	if len(s.entered) != 0 {
		t.Error("more than two are inside")
	}
	c.get(contract.Root, contract.Agent, "State")
	close(s.release)
	for range 5 {
		if err := within(t, "an answer", answers); err != nil {
			t.Errorf("one that had to wait is answered with %v", err)
		}
	}
}

// TestABusThatHangsDoesNotHoldTheAgent stops the bus, which then neither answers nor closes.
func TestABusThatHangsDoesNotHoldTheAgent(t *testing.T) {
	address := ipctest.Bus(t)
	a := ipctest.New()
	stop := ipctest.Serve(t, address, a, dbus.Options{})
	conn := ipctest.Connect(t, address)
	var pid uint32
	if err := conn.BusObject().Call("org.freedesktop.DBus.GetConnectionUnixProcessID", 0, "org.freedesktop.DBus").Store(&pid); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(int(pid), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Kill(int(pid), syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	})
	stop()
}

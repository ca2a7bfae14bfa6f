package ipctest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	godbus "github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/bus"
	"github.com/smmd-project/smmd/ipc/dbus"
)

// Bus runs a private bus until the test ends and returns its address.
func Bus(t testing.TB) string {
	t.Helper()
	// The directory of the test itself may be too long for a socket.
	dir, err := os.MkdirTemp("", "smmd-bus-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	address, stop, err := bus.Private(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}

// Serve offers an agent on a bus until stop is called or the test ends. It returns when the name is taken.
func Serve(t testing.TB, address string, agent dbus.Agent, opts dbus.Options) (stop func()) {
	t.Helper()
	ready := make(chan struct{})
	opts.Ready = func() { close(ready) }
	if opts.Log == nil {
		opts.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- dbus.New(agent, opts).Run(ctx, address) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, dbus.ErrLost) {
				t.Errorf("serving ended with %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("serving does not end")
		}
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-done:
		stopped = true
		cancel()
		t.Fatalf("cannot serve: %v", err)
	}
	return stop
}

// Run is what most tests need: a private bus with the agent on it. It returns the address of the bus.
func Run(t testing.TB, agent dbus.Agent) string {
	t.Helper()
	address := Bus(t)
	Serve(t, address, agent, dbus.Options{Version: "1.2.3", DataModel: "Device:2.19"})
	return address
}

// Connect connects to a bus until the test ends.
func Connect(t testing.TB, address string) *godbus.Conn {
	t.Helper()
	conn, err := bus.Connect(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

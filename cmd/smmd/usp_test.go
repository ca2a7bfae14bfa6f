package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/config"
	"github.com/smmd-project/smmd/ipc/usp"
)

// TestClientAddress: the bridge finds the bus that the agent serves.
func TestClientAddress(t *testing.T) {
	cfg := config.Default()
	for address, want := range map[string]string{"system": "system", "unix:path=/run/bus": "unix:path=/run/bus"} {
		cfg.Bus.Address = address
		if got, err := clientAddress(cfg); got != want || err != nil {
			t.Errorf("%s is %q, %v", address, got, err)
		}
	}
	cfg.Bus.Address, cfg.Agent.RuntimeDir = "private", t.TempDir()
	if _, err := clientAddress(cfg); err == nil || !strings.Contains(err.Error(), "it does not run") {
		t.Errorf("without an agent: %v", err)
	}
	if err := writeAtomically(filepath.Join(cfg.Agent.RuntimeDir, "bus-address"), "unix:path=/x\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := clientAddress(cfg); got != "unix:path=/x" || err != nil {
		t.Errorf("the private bus is %q, %v", got, err)
	}
}

// TestUSPArguments: what is wrong with the arguments is told at once, and not tried again and again.
func TestUSPArguments(t *testing.T) {
	usage := func(err error) bool { return errors.As(err, new(usageError)) }
	for _, c := range []struct {
		args  []string
		usage bool
	}{
		{[]string{"usp", "somewhere"}, true},
		{[]string{"usp", "--bus", "system", "--endpoint-id", "smmd"}, true},
		{[]string{"usp", "--brokers", "x"}, true},
		{[]string{"usp", "--config", filepath.Join(t.TempDir(), "agent.toml")}, false},
	} {
		root := commands(io.Discard)
		root.SetArgs(c.args)
		root.SetOut(io.Discard)
		if err := root.ExecuteContext(t.Context()); err == nil || usage(err) != c.usage {
			t.Errorf("%q: %v, a usage error: %t, wanted %t", c.args, err, usage(err), c.usage)
		}
	}
}

// TestUSPEnds: without an agent and a broker the bridge goes on until it is ended.
func TestUSPEnds(t *testing.T) {
	dir, err := os.MkdirTemp("", "smmd-usp-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// Something that accepts connections and is no bus, so that it is known when the bridge has tried.
	listen, err := net.Listen("unix", filepath.Join(dir, "bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- runUSP(ctx, "", "unix:path="+filepath.Join(dir, "bus"), usp.Options{Broker: filepath.Join(dir, "broker")})
	}()
	conn, err := listen.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

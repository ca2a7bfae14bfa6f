package systemd

import (
	"io"
	"log/slog"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// serveAdapter, in the environment, turns the test executable into the adapter's executable.
const serveAdapter = "SMMD_TEST_SERVE_SYSTEMD"

// TestMain runs the tests in a machine: they need a systemd of their own.
func TestMain(m *testing.M) {
	if os.Getenv(serveAdapter) != "" {
		adapter.Serve(New(adapter.NewLogger()), adapter.ServeOptions{})
		return
	}
	if machine.Inside() {
		// go-systemd has no end for this one when the bus is lost, or given up, while it connects.
		goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/coreos/go-systemd/v22/dbus.(*Conn).dispatch.func1"))
		return
	}
	machine.Main(m)
}

// quietLog logs to the test's output when SMMD_TEST_LOG says so.
func quietLog() *slog.Logger {
	if os.Getenv("SMMD_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

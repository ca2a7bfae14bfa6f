package lxc

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// serveVar, in the environment, turns the test executable into an adapter executable.
const serveVar = "SMMD_TEST_SERVE_LXC"

func TestMain(m *testing.M) {
	if os.Getenv(serveVar) != "" {
		adapter.Serve(New(adapter.NewLogger()), adapter.ServeOptions{})
		return
	}
	goleak.VerifyTestMain(machine.Tests{M: m})
}

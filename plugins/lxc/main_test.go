package lxc

import (
	"os"
	"slices"
	"strings"
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
	if slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.fuzz") }) {
		os.Exit(m.Run()) // what is found is written to the host
	}
	goleak.VerifyTestMain(machine.Tests{M: m})
}

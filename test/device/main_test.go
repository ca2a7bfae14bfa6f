package device

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/test/support"
)

// programs are what is tested, built once.
var programs support.Programs

func TestMain(m *testing.M) { goleak.VerifyTestMain(built{m}) }

// built runs the tests with the programs built before.
type built struct{ m *testing.M }

func (b built) Run() int {
	dir, err := os.MkdirTemp("", "smmd-device-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if programs, err = support.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return b.m.Run()
}

// devices lets as many tests run at once as small machines bear.
var devices = make(chan struct{}, 3)

// boot boots a device for a test that runs beside others.
func boot(t *testing.T, o Options) *Device {
	t.Helper()
	t.Parallel()
	devices <- struct{}{}
	t.Cleanup(func() { <-devices })
	o.Programs = programs
	return Boot(t, o)
}

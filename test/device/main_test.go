package device

import (
	"testing"

	"github.com/smmd-project/smmd/test/support"
)

// programs are what is tested, built once.
var programs support.Programs

func TestMain(m *testing.M) { support.Main(m, "device-test", &programs) }

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

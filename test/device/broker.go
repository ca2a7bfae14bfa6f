package device

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

// Broker returns a double of a USP Broker on the device. It listens where smmd-usp.service looks for one, until the test ends.
func (d *Device) Broker(t testing.TB) *usptest.Broker {
	t.Helper()
	path := strings.TrimPrefix(usp.DefaultBroker, "/var") // which leads there by a link that would lead out of the device
	d.Machine.Run(t, "mkdir", "-p", filepath.Dir(path))
	return usptest.NewBrokerAt(t, d.Machine.Root()+path)
}

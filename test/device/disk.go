package device

import (
	"github.com/smmd-project/smmd/test/forgetful"
	"github.com/smmd-project/smmd/test/machine"
)

// stateDir is the agent's state_dir, as it is shipped.
const stateDir = "/var/lib/smmd"

// forget gives the device a disk for its state that forgets at a power cut what was not synced.
func (d *Device) forget(o *machine.Options) {
	o.Beside = func(b machine.Beside) (_ []machine.Bind, err error) {
		if d.disk, err = forgetful.Start(b.Command, b.Dir); err != nil {
			return nil, err
		}
		return []machine.Bind{{Source: d.disk.Path, Target: stateDir}}, nil
	}
	d.t.Cleanup(func() { // after the machine, which ends what is beside it
		if d.disk != nil {
			d.disk.Abandon()
		}
	})
}

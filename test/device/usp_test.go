package device

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
	"github.com/smmd-project/smmd/test/support"
)

// TestUSPService: the service for a USP Broker is there only where it is enabled, comes with the device, waits for the Broker, and comes back whether the
// agent ends or it itself does.
func TestUSPService(t *testing.T) {
	const unit, row = "smmd-usp.service", "Device.SoftwareModules.ExecEnv.1."
	d := boot(t, Options{Config: "[[exec_env]]\nname = \"services\"\nadapter = \"systemd\"\n"})
	d.Up()
	equal(t, "the service after installation", d.Show(unit, "UnitFileState")+" "+d.Show(unit, "ActiveState"), "disabled inactive")
	d.Machine.Run(t, "systemctl", "enable", unit)
	d.Reboot()
	equal(t, "the service after a reboot", d.Show(unit, "ActiveState"), "active")
	d.Up()
	b := d.Broker(t)
	join := func() *usptest.Link {
		t.Helper()
		l := b.Accept()
		equal(t, "the endpoint of the service", l.Endpoint, usp.DefaultEndpointID)
		l.Register()
		l.Subscribe("level", "ValueChange", row+"InitialExecutionUnitRunLevel")
		return l
	}
	calls, level := 0, 10
	// works says that the agent is reached both ways: it takes a value, and tells that it has changed.
	works := func(when string, l *usptest.Link) {
		t.Helper()
		level++
		support.Until(t, when+": a value is set", func() error {
			calls++
			m := l.Call(usptest.Set(fmt.Sprint("set ", calls), row, "InitialExecutionUnitRunLevel", strconv.Itoa(level), false))
			if m.GetBody().GetResponse().GetSetResp().GetUpdatedObjResults()[0].GetOperStatus().GetOperSuccess() == nil {
				return errors.New(m.String())
			}
			return nil
		})
		l.Await(when+": the news of it", func() bool {
			for _, m := range l.Asked {
				if n := m.GetBody().GetRequest().GetNotify(); n.GetSubscriptionId() == "level" && n.GetValueChange().GetParamValue() == strconv.Itoa(level) {
					return true
				}
			}
			return false
		})
	}
	l := join()
	works("after the boot", l)
	if status := d.Machine.Run(t, "cat", fmt.Sprintf("/proc/%d/status", d.MainPID(unit))); !strings.Contains(status, "CapEff:\t0000000000000000") {
		t.Errorf("the service has privileges:\n%s", status)
	}

	bridge := d.MainPID(unit)
	d.Machine.Run(t, "systemctl", "restart", "smmd.service")
	d.Up() // values of an environment are told from then on
	works("after a restart of the agent", l)
	equal(t, "the process after a restart of the agent", d.MainPID(unit), bridge)

	d.Machine.Run(t, "kill", "-KILL", strconv.Itoa(bridge))
	l.Ended()
	l = join()
	works("after its own end", l)
	equal(t, "starts of the service after its end", d.Show(unit, "NRestarts"), "1")

	d.Machine.Run(t, "systemctl", "stop", unit)
	l.Ended()
	equal(t, "the service after its stop", d.Show(unit, "ActiveState")+" "+d.Show(unit, "Result"), "inactive success")
}

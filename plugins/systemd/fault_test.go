package systemd

import (
	"fmt"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestFaultOfAnEarlyEnd: which fault it is depends on what systemd notes of the service, and not on who looks when.
func TestFaultOfAnEarlyEnd(t *testing.T) {
	d := one(t, nil)
	i := newImage("early", "1").service("early-simple.service", "exit 3", "").
		service("early-again.service", "exit 3", "Restart=on-failure\nRestartSec=1h\n").
		service("early-oneshot.service", "exit 3", "Type=oneshot\n").
		service("early-later.service", "until [ -e $$RUNTIME_DIRECTORY/go ]; do sleep 0.02; done; exit 3", "RuntimeDirectory=early-later\n").
		unit("early-exec.service", "[Service]\nType=exec\nExecStart=/bin/no-such-program\n")
	d.install(home, "early", i.pkg(t))
	for _, c := range []struct {
		name  string
		times int
		start adapter.Reason // of the answer
		told  adapter.Reason // of the module
		code  int
	}{
		{"simple", 25, "", adapter.FailedWhileActive, 3},
		{"again", 5, "", adapter.FailedWhileActive, 3},
		{"oneshot", 5, adapter.StartFailed, adapter.StartFailed, 3},
		{"exec", 5, adapter.StartFailed, adapter.StartFailed, 203},
		{"later", 2, "", adapter.FailedWhileActive, 3},
	} {
		m := ref(home, "early", "early-"+c.name+".service")
		reasons := map[adapter.Reason]int{} // of all that was told
		told := ""                          // the run that was told last
		for range c.times {
			systemctl(t, "stop", m.Module) // one that waits to be started again
			reasonIs(t, "start of "+m.Module, d.start(m), c.start)
			if c.name == "later" {
				d.status(m, adapter.Active)
				run(t, "touch", "/run/early-later/go")
			}
			d.until(m, "ended", func(x adapter.Module) bool {
				if x.Reason != "" {
					reasons[x.Reason]++
				}
				told = fmt.Sprintf("%+v", x)
				return x.Reason == c.told && x.ExitCode != nil && *x.ExitCode == c.code
			})
		}
		if c.start == "" { // a call that sees the end, because it was late, answers the same
			eventually(t, "the end of "+m.Module, func() (string, bool) {
				sub := show(t, m.Module, "SubState")
				return sub, sub == "failed" || sub == "auto-restart"
			})
			e := d.s.envs[home]
			l, err := e.link(t.Context())
			d.must(err)
			if err := e.startError(t.Context(), l, m.Module, adapter.StartOptions{}, "start it", "done"); err != nil {
				t.Errorf("%s: a late look says %v", m.Module, err)
			}
		}
		if len(reasons) != 1 {
			t.Errorf("%s was told with %v, last with %s", m.Module, reasons, told)
		}
	}
}

package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// TestConditionIsKept: which condition did not hold is still told when the manager, which has read its unit files again, knows only that one did not.
func TestConditionIsKept(t *testing.T) {
	d := one(t, nil)
	d.install(home, "picky", newImage("picky", "1").
		unit("picky.service", "[Unit]\nConditionPathExists=/\nConditionPathExists=/nope\n[Service]\nExecStart=/bin/busybox sleep 1000\n").pkg(t))
	m := ref(home, "picky", "picky.service")
	const words = "ConditionPathExists=/nope does not hold"
	reasonIs(t, "the start", d.start(m), adapter.Unstartable)
	d.until(m, "skipped", func(x adapter.Module) bool { return strings.Contains(x.Message, words) })
	e := d.s.envs[home]
	l, err := e.link(t.Context())
	d.must(err)
	systemctl(t, "daemon-reload")
	s, err := l.state(t.Context(), m.Module)
	d.must(err)
	if !s.skipped || s.condition != "" {
		t.Fatalf("the manager says %+v, and has forgotten nothing", s)
	}
	x, _, err := e.module(t.Context(), l, m.Module, adapter.Manifest{})
	d.must(err)
	if x.Reason != adapter.Unstartable || !strings.Contains(x.Message, words) {
		t.Errorf("after it the message is %q (%s)", x.Message, x.Reason)
	}
}

// TestLastWordsInAnotherBoot: the words are found where journalctl sees another name of the boot than journald, as in a container with a protected
// /proc/sys.
func TestLastWordsInAnotherBoot(t *testing.T) {
	d := one(t, nil)
	d.install(home, "boot", newImage("boot", "1").
		service("boot.service", "echo famous last words; until [ -e $$RUNTIME_DIRECTORY/go ]; do sleep 0.02; done; exit 3", "RuntimeDirectory=boot\n").pkg(t))
	m := ref(home, "boot", "boot.service")
	d.must(d.start(m))
	eventually(t, "the words in the journal", func() (string, bool) { // so that journald has seen who writes them
		run(t, "journalctl", "--sync")
		words := run(t, "journalctl", "--quiet", "--output=cat", "_SYSTEMD_INVOCATION_ID="+show(t, m.Module, "InvocationID"))
		return words, strings.Contains(words, "famous last words")
	})
	journalctl, err := exec.LookPath("journalctl")
	d.must(err)
	bin := t.TempDir()
	mistaken := "#!/bin/sh\nfor a; do\n\tshift\n\t[ \"$a\" = --boot ] && a=--boot=0dd0dd0d0dd04dd08dd00dd0dd0dd0dd\n\tset -- \"$@\" \"$a\"\ndone\nexec " + journalctl + " \"$@\"\n"
	d.must(os.WriteFile(filepath.Join(bin, "journalctl"), []byte(mistaken), 0o755))
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	run(t, "touch", "/run/boot/go")
	d.until(m, "ended with its words", func(x adapter.Module) bool {
		return x.Reason == adapter.FailedWhileActive && strings.Contains(x.Message, "famous last words")
	})
}

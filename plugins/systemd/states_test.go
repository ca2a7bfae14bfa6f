package systemd

import (
	"os"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestJobsAndStates goes through what can become of a start, and of a unit after it.
func TestJobsAndStates(t *testing.T) {
	d := one(t, map[string]any{"call_timeout": "1s"})
	i := newImage("st", "1").
		service("st-simple.service", sleeps, "").
		service("st-exit5.service", "echo about to fail; exit 5", "Type=oneshot\n").
		service("st-exit0.service", "exit 0", "Type=oneshot\n").
		service("st-segv.service", "kill -SEGV $$$$", "Type=oneshot\n").
		service("st-crash.service", "sleep 0.2; echo last words; exit 3", "").
		service("st-ends.service", "sleep 0.2; exit 0", "").
		unit("st-condition.service", "[Unit]\nConditionPathExists=/no/such/path\n[Service]\nExecStart=/bin/busybox sleep 1000\n").
		unit("st-exec.service", "[Service]\nType=exec\nExecStart=/bin/no-such-program\n").
		unit("st-needs.service", "[Unit]\nRequires=st-exit5.service\nAfter=st-exit5.service\n[Service]\nExecStart=/bin/busybox sleep 1000\n").
		unit("st-loops.service", "[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=60\n[Service]\nExecStart=/bin/sh -c 'echo again; exit 4'\nRestart=always\nRestartSec=50ms\n").
		service("st-later.service", "exit 6", "Restart=always\nRestartSec=1h\n").
		service("st-slow.service", "sleep 4", "Type=oneshot\nRemainAfterExit=yes\n").
		service("st-wordy.service", "for i in 1 2 3 4 5 6 7; do echo line $$i 0123456789012345678901234567890123456789012345678901234567890123456789; done; exit 9", "Type=oneshot\n")
	d.install(home, "st", i.pkg(t))
	at := func(name string) adapter.ModuleRef { return ref(home, "st", "st-"+name+".service") }
	code := func(x adapter.Module) int {
		if x.ExitCode == nil {
			return -1
		}
		return *x.ExitCode
	}

	for _, c := range []struct {
		name   string
		start  adapter.Reason // of the answer, empty: it succeeds; any: "?"
		status adapter.Status
		reason adapter.Reason
		code   int
		words  []string
	}{
		{"simple", "", adapter.Active, "", -1, nil},
		{"exit5", adapter.StartFailed, adapter.Idle, adapter.StartFailed, 5, []string{"status 5", "about to fail"}},
		{"exit0", "", adapter.Idle, "", 0, nil},
		{"segv", adapter.StartFailed, adapter.Idle, adapter.StartFailed, -1, []string{"SIGSEGV (11)"}},
		{"crash", "", adapter.Idle, adapter.FailedWhileActive, 3, []string{"status 3", "last words"}},
		{"ends", "", adapter.Idle, "", 0, nil},
		{"condition", adapter.Unstartable, adapter.Idle, adapter.Unstartable, -1, []string{"ConditionPathExists=/no/such/path"}},
		{"exec", adapter.StartFailed, adapter.Idle, adapter.StartFailed, 203, []string{"status 203, EXEC"}},
		{"needs", adapter.StartFailed, adapter.Idle, "", -1, nil},
		{"loops", "?", adapter.Idle, adapter.FailedWhileActive, 4, []string{"start-limit-hit", "again"}},
		{"later", "?", adapter.Starting, adapter.FailedWhileActive, 6, []string{"status 6", "starts it again"}},
		{"wordy", adapter.StartFailed, adapter.Idle, adapter.StartFailed, 9, []string{"status 9", "line 7 0123"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := d.start(at(c.name))
			if c.start != "?" {
				reasonIs(t, "Start", err, c.start)
			}
			x := d.until(at(c.name), string(c.status)+" with "+string(c.reason), func(x adapter.Module) bool {
				done := x.Status == c.status && x.Reason == c.reason && code(x) == c.code
				for _, w := range c.words {
					done = done && strings.Contains(x.Message, w)
				}
				return done
			})
			if len([]rune(x.Message)) > maxMessage {
				t.Errorf("the message has %d characters", len([]rune(x.Message)))
			}
			if active := show(t, at(c.name).Module, "ActiveState"); (active == "active") != (x.Status == adapter.Active) {
				t.Errorf("systemd says %s, told was %s", active, x.Status)
			}
		})
	}

	// A start for AutoStart that fails is another fault.
	err := d.s.Start(t.Context(), d.op(), at("exit5"), adapter.StartOptions{Auto: true})
	reasonIs(t, "Start with Auto", err, adapter.AutoStartFailed)
	d.until(at("exit5"), "AutoStartFailed", func(x adapter.Module) bool { return x.Reason == adapter.AutoStartFailed })

	// What takes longer than call_timeout is told by Watch.
	reasonIs(t, "slow start", d.start(at("slow")), adapter.StillRunning)
	d.status(at("slow"), adapter.Active)

	// A unit that waits to be started again is not, after a stop.
	d.must(d.stop(at("later")))
	if x := d.status(at("later"), adapter.Idle); show(t, x.ID, "ActiveState") == "activating" {
		t.Errorf("%+v", x)
	}
}

// TestBehindOurBack is about what others do with systemctl, portablectl and rm.
func TestBehindOurBack(t *testing.T) {
	d := one(t, nil)
	p := newImage("back", "1").service("back.service", sleeps, "").pkg(t)
	u := d.install(home, "back", p)
	m := ref(home, "back", "back.service")
	d.status(m, adapter.Idle)
	systemctl(t, "start", m.Module)
	d.status(m, adapter.Active)
	systemctl(t, "kill", "--signal=KILL", m.Module)
	d.until(m, "killed", func(x adapter.Module) bool {
		return x.Reason == adapter.FailedWhileActive && strings.Contains(x.Message, "SIGKILL")
	})
	systemctl(t, "reset-failed", m.Module)
	systemctl(t, "daemon-reload")
	d.until(m, "forgiven", func(x adapter.Module) bool { return x.Status == adapter.Idle && x.Reason == "" })
	systemctl(t, "start", m.Module)
	d.status(m, adapter.Active)
	systemctl(t, "daemon-reexec")
	systemctl(t, "stop", m.Module)
	d.status(m, adapter.Idle)

	// Detached it is gone, and there again after a new launch.
	image := strings.TrimSpace(run(t, "sh", "-c", "ls /run/portables"))
	if !strings.HasPrefix(image, u.DUID+"-") {
		t.Errorf("DUID %s, image %s", u.DUID, image)
	}
	run(t, "portablectl", "detach", "--runtime", image)
	d.await("the loss", func() bool { _, there := d.seen[home]["back"]; return !there })
	reasonIs(t, "start of what is detached", d.start(m), adapter.NotFound)
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, true, nil))
	d.status(m, adapter.Idle)
	d.must(d.start(m))
	d.status(m, adapter.Active)

	// Without its image it cannot be started.
	d.must(d.stop(m))
	d.must(os.RemoveAll(d.s.envs[home].store.images()))
	systemctl(t, "daemon-reload")
	x := d.until(m, "without image", func(x adapter.Module) bool { return x.Reason == adapter.Unstartable })
	if !strings.Contains(x.Message, "image") || d.seen[home]["back"].Resolved {
		t.Errorf("%+v", d.seen[home]["back"])
	}
	if _, err := d.s.Uninstall(t.Context(), d.op(), m.UnitRef); err != nil {
		t.Error(err)
	}

	// A slice that ends takes its environment along.
	systemctl(t, "stop", sliceOf(home))
	d.await("the end of the slice", func() bool { return !d.envs[home].Up })
}

// TestTwoEnvironments: none lies in the other, and none cares for the other.
func TestTwoEnvironments(t *testing.T) {
	d := newDevice(t, map[string]map[string]any{"a": {"memory": "64MiB"}, "a-b": {}})
	d.install("a", "left", newImage("left", "1").service("left.service", sleeps, "").pkg(t))
	d.install("a-b", "right", newImage("right", "1").service("right.service", sleeps, "").pkg(t))
	left, right := ref("a", "left", "left.service"), ref("a-b", "right", "right.service")
	d.must(d.start(left))
	d.must(d.start(right))
	d.status(left, adapter.Active)
	d.status(right, adapter.Active)
	if group := show(t, "right.service", "ControlGroup"); strings.Contains(group, "smmd-a.slice") {
		t.Errorf("%s is in the other environment", group)
	}

	// The names of units are those of the device.
	_, err := d.s.Install(t.Context(), d.op(), adapter.InstallSpec{Env: "a-b", Key: "twice", Package: newImage("left", "2").service("left.service", sleeps, "").pkg(t), RunLevel: -1})
	reasonIs(t, "a unit that is there already", err, adapter.Exists)
	for _, word := range []string{"left.service", "left 1", `"a"`} {
		if err != nil && !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not say %q: %v", word, err)
		}
	}
	launch := d.envs["a-b"].Launch
	d.must(d.s.SetEnabled(t.Context(), d.op(), "a", false, nil))
	d.await("the end", func() bool { return !d.envs["a"].Up })
	if x, _ := d.module(right); x.Status != adapter.Active || show(t, "right.service", "ActiveState") != "active" || d.envs["a-b"].Launch != launch {
		t.Errorf("the other environment is %+v, %+v", d.envs["a-b"], x)
	}
}

// TestTwoVersionsSideBySide: with unit files of different names they are two deployment units.
func TestTwoVersionsSideBySide(t *testing.T) {
	d := one(t, nil)
	version := func(v string) *image {
		i := newImage("pair", v).service("pair-"+v+".service", sleeps, "")
		i.release += "PORTABLE_PREFIXES=pair\n"
		return i
	}
	d.install(home, "one", version("1").pkg(t))
	d.install(home, "two", version("2").pkg(t))
	first, second := ref(home, "one", "pair-1.service"), ref(home, "two", "pair-2.service")
	d.must(d.start(first))
	d.must(d.start(second))
	d.status(first, adapter.Active)
	d.status(second, adapter.Active)
	if _, err := d.s.Uninstall(t.Context(), d.op(), first.UnitRef); err != nil {
		t.Fatal(err)
	}
	d.await("the uninstall", func() bool { _, there := d.seen[home]["one"]; return !there })
	if got := show(t, second.Module, "ActiveState"); got != "active" {
		t.Errorf("the other version is %s", got)
	}
	if !attachedFrom(second.Module, strings.TrimSpace(run(t, "sh", "-c", "ls /run/portables"))) {
		t.Error("the other version is not attached any more")
	}
}

// TestDataOfTwo: what two units keep together stays until the last of them goes.
func TestDataOfTwo(t *testing.T) {
	d := one(t, nil)
	for _, v := range []string{"1", "2"} {
		name := "app-" + v + ".service"
		p := newImage("app", v).service(name, "echo "+v+" >> $$STATE_DIRECTORY/seen; "+sleeps, "StateDirectory=both\nType=exec\n").pkg(t)
		d.install(home, "app"+v, p)
		m := ref(home, "app"+v, name)
		d.must(d.start(m))
		d.status(m, adapter.Active)
	}
	remove := func(v string) {
		t.Helper()
		if _, err := d.s.Uninstall(t.Context(), d.op(), ref(home, "app"+v, "app-"+v+".service").UnitRef); err != nil {
			t.Fatal(err)
		}
	}
	remove("1")
	if _, err := os.Stat("/var/lib/both/seen"); err != nil {
		t.Errorf("the data of the other one are gone: %v", err)
	}
	remove("2")
	if _, err := os.Stat("/var/lib/both"); !os.IsNotExist(err) {
		t.Errorf("data are left: %v", err)
	}
}

// TestDataStaysOverAnUpdate: what a service keeps is there after an update and a step back, and gone after an uninstall.
func TestDataStaysOverAnUpdate(t *testing.T) {
	d := one(t, nil)
	version := func(v string) adapter.Package {
		return newImage("data", v).service("data.service", "echo "+v+" >> $$STATE_DIRECTORY/seen; "+sleeps, "StateDirectory=data\nType=exec\n").pkg(t)
	}
	v1, v2 := version("1"), version("2")
	d.install(home, "data", v1)
	m := ref(home, "data", "data.service")
	seen := func(want string) {
		t.Helper()
		d.must(d.start(m))
		d.status(m, adapter.Active)
		eventually(t, "the data", func() (string, bool) {
			got, _ := os.ReadFile("/var/lib/data/seen") // it may not be there yet
			text := strings.Join(strings.Fields(string(got)), " ")
			return text, text == want
		})
	}
	seen("1")
	if _, err := d.s.Update(t.Context(), d.op(), m.UnitRef, v1, v2); err != nil {
		t.Fatal(err)
	}
	seen("1 2")
	if _, err := d.s.Revert(t.Context(), d.op(), m.UnitRef, v1); err != nil {
		t.Fatal(err)
	}
	seen("1 2 1")
	if _, err := d.s.Uninstall(t.Context(), d.op(), m.UnitRef); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat("/var/lib/data"); !os.IsNotExist(err) {
		t.Errorf("data are left: %v", err)
	}
	if _, err := os.Lstat("/var/lib/private/data"); !os.IsNotExist(err) {
		t.Errorf("data are left: %v", err)
	}
}

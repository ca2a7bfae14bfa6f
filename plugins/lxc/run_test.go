package lxc

import (
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestVerdict is the whole of what an end means.
func TestVerdict(t *testing.T) {
	exited := func(code int) end { return end{known: true, code: code} }
	for _, c := range []struct {
		name   string
		run    run
		end    end
		reason adapter.Reason
		exit   int // -1: none
		words  string
	}{
		{"never started", run{}, end{}, "", -1, ""},
		{"of another launch", run{Token: "t", Launch: "old", Phase: isActive}, exited(3), "", -1, ""},
		{"0", run{Phase: isActive}, exited(0), "", 0, ""},
		{"0 at once", run{Phase: isStarting}, exited(0), "", 0, ""},
		{"TERM of somebody", run{Phase: isActive}, exited(143), "", 143, ""},
		{"its stop signal of somebody", run{Phase: isActive, Signal: 3}, exited(131), "", 131, ""},
		{"QUIT that is not its stop signal", run{Phase: isActive, Signal: 15}, exited(131), adapter.FailedWhileActive, 131, "signal SIGQUIT ended it"},
		{"7", run{Phase: isActive}, exited(7), adapter.FailedWhileActive, 7, "it ended with status 7"},
		{"KILL", run{Phase: isActive}, exited(137), adapter.FailedWhileActive, 137, "signal SIGKILL ended it"},
		{"3 at once", run{Phase: isStarting}, exited(3), adapter.StartFailed, 3, "it ended with status 3"},
		{"3 at once by AutoStart", run{Phase: isStarting, Auto: true}, exited(3), adapter.AutoStartFailed, 3, "it ended with status 3"},
		{"0 when stopped", run{Phase: isStopping}, exited(0), "", 0, ""},
		{"TERM when stopped", run{Phase: isStopping, Signal: 15}, exited(143), "", 143, ""},
		{"4 when stopped", run{Phase: isStopping}, exited(4), adapter.StopFailed, 4, "it ended with status 4"},
		{"killed", run{Phase: isKilled}, exited(1), adapter.StopFailed, -1, "was killed"},
		{"its monitor", run{Phase: isActive}, end{known: true, by: unix.SIGKILL, code: 137}, adapter.FailedWhileActive, -1, "monitor was ended by signal 9"},
		{"unseen", run{Phase: isActive}, end{}, adapter.FailedWhileActive, -1, "nobody knows"},
		{"unseen when stopped", run{Phase: isStopping}, end{}, "", -1, ""},
	} {
		if c.run.Token == "" && c.name != "never started" {
			c.run.Token, c.run.Launch = "t", "now"
		}
		f := verdict(c.run, c.end, "now")
		exit := -1
		if f.exit != nil {
			exit = *f.exit
		}
		if f.reason != c.reason || exit != c.exit || !strings.Contains(f.words, c.words) {
			t.Errorf("%s: reason %q, exit status %d, %q", c.name, f.reason, exit, f.words)
		}
	}
}

func TestParseEnd(t *testing.T) {
	for text, want := range map[string]end{
		"tok exited 3\n": {known: true, code: 3}, "tok killed KILL\n": {known: true, by: unix.SIGKILL, code: 137}, "tok dumped SEGV": {known: true, by: unix.SIGSEGV, code: 139},
		"other exited 3": {}, "tok exited": {}, "tok exited x": {}, "tok killed NOTHING": {}, "": {},
	} {
		if got := parseEnd(text, "tok"); got != want {
			t.Errorf("%q is %+v, want %+v", text, got, want)
		}
	}
}

func TestMessage(t *testing.T) {
	long := strings.Repeat("äöü ", 100)
	for _, c := range []struct {
		words string
		lines []string
		want  string
	}{
		{"words", nil, "words"}, {"words", []string{"a", "b"}, "words: a | b"},
		{"words", []string{"early", long + "late"}, "late"}, {strings.Repeat("w", 250), []string{"x", "yyyyyyyyyy"}, "w"}, {long + long, nil, "…"},
	} {
		got := message(c.words, c.lines)
		if !strings.HasSuffix(got, c.want) || utf8.RuneCountInString(got) > maxMessage || !utf8.ValidString(got) {
			t.Errorf("%.20q with %d lines is %q", c.words, len(c.lines), got)
		}
	}
}

func TestParsersOfTools(t *testing.T) {
	if s, pid, err := parseInfo("Name:           one.abc\nState:          RUNNING\nPID:            72\n"); s != running || pid != 72 || err != nil {
		t.Errorf("%s, %d, %v", s, pid, err)
	}
	if s, pid, err := parseInfo("State:          STOPPED\n"); s != stopped || pid != 0 || err != nil {
		t.Errorf("%s, %d, %v", s, pid, err)
	}
	for _, bad := range []string{"", "PID: 5", "State: RUNNING\nPID: x"} {
		if _, _, err := parseInfo(bad); err == nil {
			t.Errorf("%q is understood", bad)
		}
	}
	for line, want := range map[string]string{
		"'one.a-b' changed state to [RUNNING]": "one.a-b", "'c' exited with status [9]": "c", "'it's' changed state to [STOPPED]": "it's", "'' changed state to [X]": "",
		"something else": "", "'": "",
	} {
		if got, ok := parseMonitor(line); got != want || ok != (want != "") {
			t.Errorf("%q is of %q, %v", line, got, ok)
		}
	}
	log := "lxc-info c 20261122013741.000 ERROR    commands - ../src/lxc/commands.c:f:1 - Connection reset by peer\n" +
		"lxc-execute c 20261122013741.333 WARN     start - ../src/lxc/start.c:f:329 - Inherited fd 10\n" +
		"lxc-execute c 20261122013741.350 ERROR    start - ../src/lxc/start.c:g:99 - Permission denied - Could not access /x\n" +
		"lxc-execute c 20261122013741.351 ERROR    start - ../src/lxc/start.c:h:2107 - Failed to spawn container\n"
	if got := parseLog(log); got != "Permission denied - Could not access /x" {
		t.Errorf("the first error is %q", got)
	}
	if got := parseLog("nothing"); got != "" {
		t.Errorf("the first error is %q", got)
	}
	if !grants("daemon:1:65536\nroot:100000:65536\n", idRange{100000, 65536}) || grants("root:100000:65536\n", idRange{100001, 65536}) || grants("daemon:100000:65536\n", idRange{100000, 1}) {
		t.Error("/etc/subuid is misread")
	}
}

func TestGroups(t *testing.T) {
	hybrid := "30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n" +
		"31 25 0:27 / /sys/fs/cgroup/pids ro,nosuid shared:4 - cgroup cgroup rw,pids\n" +
		"32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" +
		"33 25 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n" +
		"34 25 0:30 / /tmp rw - tmpfs tmpfs rw\n"
	c := parseCgroups([]byte(hybrid))
	if c.limitable("memory") != 1 || c.limitable("pids") != 0 || c.limitable("cpu") != 0 || c.devices() != 2 || c.unified != "/sys/fs/cgroup/unified" || len(c.roots()) < 4 {
		t.Errorf("%+v", c)
	}
	c = parseCgroups([]byte("29 22 0:25 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n"))
	c.second["memory"] = true
	if c.limitable("memory") != 2 || c.limitable("pids") != 0 || c.devices() != 2 {
		t.Errorf("%+v", c)
	}
	s := defaultSettings()
	s.memory, s.cpu, s.processes = 1024, 50, 7
	second := configOf(s, c, "h", "/d/r", process{}, nil)
	for _, want := range []string{`lxc.cgroup2.memory.max = "1048576"`, `lxc.cgroup2.devices.deny = "a"`} {
		if !strings.Contains(second, want) {
			t.Errorf("the configuration lacks %s:\n%s", want, second)
		}
	}
	if strings.Contains(second, "pids.max") || strings.Contains(second, "cpu") || strings.Contains(second, "lxc.cgroup.") {
		t.Errorf("a limit that cannot be kept is asked for:\n%s", second)
	}
	for group, want := range map[string]bool{"/lxc.payload.a.b": true, "/x/lxc.payload.a.b/y": true, "/lxc.payload.a.b-12": true, "/lxc.payload.a.bc": false,
		"/lxc.payload.a.b-x": false, "/lxc.monitor.a.b": false} {
		if payload(group, "a.b") != want {
			t.Errorf("%s: %v", group, !want)
		}
	}
}

func TestCommandText(t *testing.T) {
	if got := commandText([]string{"a b", "it's", "$x"}); got != `exec 'a b' 'it'\''s' '$x'`+"\n" {
		t.Error(got)
	}
}

func TestNames(t *testing.T) {
	s := store{env: "one"}
	if got := s.nameFor("6b0c4f5e-1f5e-4c53-9f7d-1b5b1e0d7c11"); got != "one.6b0c4f5e-1f5e-4c53-9f7d-1b5b1e0d7c11" {
		t.Error(got)
	}
	seen := map[string]bool{}
	for _, key := range []string{"../../x", "a/b", "", ".", "..", "a b", strings.Repeat("k", 300), "a\nb", "-x"} {
		name := s.nameFor(key)
		if !isName(name) || seen[name] || len(name) > 80 || strings.ContainsAny(name, "/\n ") {
			t.Errorf("%q is %q", key, name)
		}
		seen[name] = true
	}
	for key, want := range map[string]string{"a.b_c": "a-b-c", "": "container", "--": "container", strings.Repeat("k", 100): strings.Repeat("k", 63)} {
		if got := hostName(key); got != want {
			t.Errorf("%q is host %q", key, got)
		}
	}
}

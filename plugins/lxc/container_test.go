package lxc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// TestImageConfiguration shows that a container is run as its image says, to the last blank.
func TestImageConfiguration(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, nil)
			d.run("conf", "", func(i *imageSpec) {
				i.layers = append(i.layers, []entry{{name: "srv/run", mode: 0o755, content: "#!/bin/sh\n" +
					"trap 'echo interrupted > /tmp/end.new; mv /tmp/end.new /tmp/end; exit 0' INT\n" +
					"{ for a in \"$@\"; do echo \"<$a>\"; done; pwd; id -u; id -g; env; } > /tmp/out.new 2>&1; mv /tmp/out.new /tmp/out\n" +
					"while :; do sleep 0.05; done\n"}})
				i.config = v1.Config{Entrypoint: []string{"./run", "two words", `"quoted"`, "$HOME ${PATH} %n \\"}, Cmd: []string{"", "--", "last"},
					Env: []string{"PLAIN=value", "BLANKS=  x  ", `QUOTED="y"`, "DOLLAR=$PLAIN", "EMPTY="}, User: "web", WorkingDir: "/srv/", StopSignal: "SIGINT"}
			})
			out := d.file("conf", "tmp/out")
			for _, want := range []string{"<two words>\n<\"quoted\">\n<$HOME ${PATH} %n \\>\n<>\n<-->\n<last>\n/srv\n33\n34\n", "PLAIN=value\n", "BLANKS=  x  \n",
				"QUOTED=\"y\"\n", "DOLLAR=$PLAIN\n", "EMPTY=\n", "HOME=/srv\n", "PATH=" + defaultPath + "\n"} {
				if !strings.Contains(out, want) {
					t.Errorf("it does not see %q:\n%s", want, out)
				}
			}
			d.stop("conf")
			if got := d.file("conf", "tmp/end"); got != "interrupted\n" {
				t.Errorf("it was stopped and said %q", got)
			}
		})
	}
}

// TestGrace shows that who needs time to end has it, though LXC's own init would not give it.
func TestGrace(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, nil)
			d.run("slow", "trap 'sleep 2; echo done > /tmp/end; exit 0' TERM; echo > /tmp/ready; while :; do sleep 0.05; done")
			d.is("slow", adapter.Active)
			d.stop("slow")
			if got := d.file("slow", "tmp/end"); got != "done\n" {
				t.Errorf("it wrote %q", got)
			}
		})
	}
}

// TestOthersLeft shows that what the program of a container leaves behind does not keep it from ending in good order.
func TestOthersLeft(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, nil)
			d.run("several", "sleep 100000 & trap 'echo done > /tmp/end; exit 0' TERM; echo > /tmp/ready; wait")
			d.is("several", adapter.Active)
			d.stop("several") // by force it would fail
			if got := d.file("several", "tmp/end"); got != "done\n" {
				t.Errorf("it wrote %q", got)
			}
		})
	}
}

// TestOutputOfFault shows what a fault says, and that a new adapter says the same.
func TestOutputOfFault(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, nil)
			d.run("loud", "while [ ! -e /end ]; do sleep 0.05; done; i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo \"line $i of many\"; done; echo 'the last word' >&2; exit 9")
			must(t, os.WriteFile(d.rootfs("loud", "end"), nil, 0o600))
			m := d.is("loud", adapter.Idle)
			if m.Reason != adapter.FailedWhileActive || m.ExitCode == nil || *m.ExitCode != 9 || !strings.HasPrefix(m.Message, "it ended with status 9: ") ||
				!strings.HasSuffix(m.Message, "line 40 of many | the last word") || len([]rune(m.Message)) > maxMessage {
				t.Errorf("%+v", m)
			}
			if s == (sessions{}) != (m.LogPath != "") {
				t.Errorf("the log is %q", m.LogPath)
			}
			again := newAdapter(quietLog(), s)
			defer again.end()
			e := again.newEnv("home", d.env.store.dir, d.env.set)
			u, there, err := e.observe(t.Context(), d.name("loud"))
			if err != nil || !there || u.Modules[0].Message != m.Message || u.Modules[0].Reason != m.Reason {
				t.Errorf("%v, %+v", err, u)
			}
		})
	}
}

// TestSecurityDefaults looks from outside at what a container may do.
func TestSecurityDefaults(t *testing.T) {
	d := newDevice(t, units{}, nil)
	d.run("safe", "{ mknod /tmp/sda b 8 0; cat /dev/sda; ls /dev; cat /proc/net/dev; echo > /proc/sys/kernel/hostname; } > /tmp/out.new 2>&1; mv /tmp/out.new /tmp/out; while :; do sleep 1; done")
	payload, err := oldestChild(d.first("safe"))
	must(t, err)
	// The bits of linux/capability.h.
	want := uint64(0)
	for _, bit := range []int{0, 1, 4, 3, 13, 6, 7, 31, 8, 10, 18, 5, 29} {
		want |= 1 << bit
	}
	for _, field := range []string{"CapEff", "CapPrm", "CapBnd"} {
		got, err := strconv.ParseUint(statusField(t, payload, field), 16, 64)
		if err != nil || got != want {
			t.Errorf("%s is %#x, want %#x: %v", field, got, want, err)
		}
	}
	if got := statusField(t, payload, "NoNewPrivs"); got != "1" {
		t.Errorf("NoNewPrivs is %s", got)
	}
	if got := statusField(t, payload, "Seccomp"); got != "2" {
		t.Errorf("Seccomp is %s", got)
	}
	groups, err := readCgroups("1")
	must(t, err)
	if groups.devices() != 1 {
		t.Fatalf("devices cannot be restricted here: %+v", groups)
	}
	list, err := os.ReadFile(filepath.Join(groups.groupsOf(payload)[groups.controllers["devices"]], "devices.list"))
	must(t, err)
	if got := strings.Fields(strings.ReplaceAll(string(list), "\n", " ")); len(got) != 3*len(openDevices) || strings.Contains(string(list), "a *:*") {
		t.Errorf("the devices are\n%s", list)
	}
	out := d.file("safe", "tmp/out")
	for _, bad := range []string{"sda\n", "loop", "eth0", "wlan"} {
		if strings.Contains(out, "\n"+bad) {
			t.Errorf("it sees %q:\n%s", bad, out)
		}
	}
	if !strings.Contains(out, "mknod") || !strings.Contains(out, "lo:") {
		t.Errorf("it saw\n%s", out)
	}
	if _, err := os.Lstat(d.rootfs("safe", "tmp/sda")); err == nil {
		t.Error("it made a device node")
	}
}

// TestLimits compares the limits with the files of the control groups.
func TestLimits(t *testing.T) {
	d := newDevice(t, units{}, map[string]any{"memory": "24MiB", "cpu": "30%", "processes": 7})
	d.run("limited", "while :; do sleep 1; done")
	groups, err := readCgroups("1")
	must(t, err)
	own := groups.groupsOf(d.first("limited"))
	for file, want := range map[string]string{
		filepath.Join(own[groups.controllers["memory"]], "memory.limit_in_bytes"): "25165824",
		filepath.Join(own[groups.controllers["cpu"]], "cpu.cfs_quota_us"):         "30000",
		filepath.Join(own[groups.controllers["cpu"]], "cpu.cfs_period_us"):        "100000",
		filepath.Join(own[groups.controllers["pids"]], "pids.max"):                "7",
	} {
		if got, err := os.ReadFile(file); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s is %q, want %s: %v", file, got, want, err)
		}
	}
	m := d.module("limited", "with its values", func(m adapter.Module) bool { return m.Memory > 0 && m.Disk > 0 && len(m.PIDs) > 0 })
	if m.Memory > 24<<10 || m.Disk < 1000 || m.PIDs[0] != d.first("limited") {
		t.Errorf("%+v", m)
	}
	tool(t, "lxc-stop", "-P", d.env.store.lxcPath(), "-n", d.name("limited"), "-k")
	if m := d.is("limited", adapter.Idle); m.Memory != 0 || len(m.PIDs) != 0 {
		t.Errorf("what has ended uses %d KiB of memory and has the processes %v", m.Memory, m.PIDs)
	}
}

// withIDs returns settings with users from 300000 on, which root may use then.
func withIDs(t *testing.T) map[string]any {
	t.Helper()
	machine.RequireInside(t)
	const line = "root:300000:70000\n"
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		have, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if !strings.Contains(string(have), line) {
			must(t, os.WriteFile(file, []byte(string(have)+line), 0o644))
		}
	}
	return map[string]any{"sub_ids": "300000:65536"}
}

// TestUserNamespace shows that root in the container is nobody on the device.
func TestUserNamespace(t *testing.T) {
	for name, s := range starters {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t, s, withIDs(t))
			d.run("ns", "{ id -u; cat /proc/self/uid_map; ls -n /bin/busybox; echo > /root/mine; } > /root/out.new 2>&1; mv /root/out.new /root/out; while :; do sleep 0.1; done")
			out := strings.Join(strings.Fields(d.file("ns", "root/out")), " ")
			if !strings.HasPrefix(out, "0 0 300000 65536 -rwxr-xr-x 1 0 0 ") {
				t.Errorf("inside it sees %q", out)
			}
			if got := statusField(t, d.first("ns"), "Uid"); got != "300000\t300000\t300000\t300000" {
				t.Errorf("outside it is %q", got)
			}
			var st unix.Stat_t
			must(t, unix.Lstat(d.rootfs("ns", "root/mine"), &st))
			if st.Uid != 300000 || st.Gid != 300000 {
				t.Errorf("its file belongs to %d:%d", st.Uid, st.Gid)
			}
			d.stop("ns")
		})
	}
	e := newAdapter(quietLog(), units{}).newEnv("home", t.TempDir(), settings{subIDs: idRange{400000, 65536}})
	if err := e.check(); err == nil || !strings.Contains(err.Error(), "/etc/sub") {
		t.Errorf("a range that root does not have: %v", err)
	}
}

// TestBridge shows that a container has a network when one is configured.
func TestBridge(t *testing.T) {
	machine.RequireInside(t)
	tool(t, "ip", "link", "add", "smmdbr0", "type", "bridge")
	t.Cleanup(func() {
		if err := exec.Command("ip", "link", "del", "smmdbr0").Run(); err != nil {
			t.Error(err)
		}
	})
	d := newDevice(t, units{}, map[string]any{"bridge": "smmdbr0"})
	d.run("net", "cat /proc/net/dev > /tmp/out.new; mv /tmp/out.new /tmp/out; while :; do sleep 1; done")
	if out := d.file("net", "tmp/out"); !strings.Contains(out, "eth0:") {
		t.Errorf("it sees\n%s", out)
	}
}

// TestUnstartable shows that what can be seen of an image beforehand is said beforehand, and that the unit is there.
func TestUnstartable(t *testing.T) {
	d := newDevice(t, units{}, nil)
	for key, c := range map[string]struct {
		spec imageSpec
		want string
	}{
		"user":    {imageSpec{config: v1.Config{Entrypoint: []string{"/bin/sh"}, User: "nobody-here"}}, `user "nobody-here"`},
		"group":   {imageSpec{config: v1.Config{Entrypoint: []string{"/bin/sh"}, User: "web:nothing"}}, `group "nothing"`},
		"program": {imageSpec{config: v1Config("absent")}, `does not have its program "absent"`},
		"file":    {imageSpec{config: v1Config("/etc/passwd")}, "no executable file"},
		"none":    {imageSpec{}, "neither an entrypoint nor a command"},
		"machine": {imageSpec{architecture: "mips", config: v1Config("/bin/sh")}, "architecture mips"},
		"signal":  {imageSpec{config: v1.Config{Entrypoint: []string{"/bin/sh"}, StopSignal: "SIGNOTHING"}}, "no signal"},
	} {
		c.spec.title, c.spec.version, c.spec.layers = key, "1", [][]entry{base(t)}
		u := d.install(key, archiveOf(t, c.spec))
		m := u.Modules[0]
		if m.Status != adapter.Idle || m.Reason != adapter.Unstartable || !strings.Contains(m.Message, c.want) {
			t.Errorf("%s: %+v", key, m)
		}
		reasonIs(t, d.a.Start(t.Context(), "op", d.moduleOf(key), adapter.StartOptions{Auto: true}), adapter.Unstartable)
	}
}

package device

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/test/support"
)

// dropInBefore is for Options.Prepare: a drop-in of smmd.service, from the first boot on.
func dropInBefore(lines ...string) func(disk *os.Root) error {
	return func(disk *os.Root) error {
		const dir = "etc/systemd/system/smmd.service.d"
		return errors.Join(disk.MkdirAll(dir, 0o755), disk.WriteFile(dir+"/test.conf", []byte("[Service]\n"+strings.Join(lines, "\n")+"\n"), 0o644))
	}
}

// exposure is what systemd-analyze security may say at most of the service, of 10. It is what agents, adapters and frameworks leave over:
// root, the network, devices.
const exposure = 5.9

// TestHardening: systemd takes every line of the unit as it is meant, and it holds for the agent, its adapters and a framework.
func TestHardening(t *testing.T) {
	d := boot(t, Options{Config: Felix("home", 5)})
	d.Up()
	unit, err := os.ReadFile(support.ModuleFile(t, "packaging/smmd.service"))
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for line := range strings.Lines(string(unit)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && (value == "yes" || value == "full" || value == "read-only" || value == "process" || value == "continue") {
			equal(t, key, d.Show("smmd.service", key), value)
			checked++
		}
	}
	if checked < 12 {
		t.Errorf("only %d lines of the unit were understood", checked)
	}
	if out, err := d.Machine.Command(t.Context(), "systemd-analyze", "verify", "smmd.service").CombinedOutput(); err != nil || strings.Contains(string(out), "smmd") {
		t.Errorf("systemd says of the unit: %s (%v)", out, err)
	}
	var found float64
	said := d.Machine.Run(t, "systemd-analyze", "security", "--no-pager", "smmd.service")
	_, overall, _ := strings.Cut(said, "Overall exposure level for smmd.service: ")
	if _, err := fmt.Sscan(overall, &found); err != nil || found > exposure {
		t.Errorf("the exposure is %v, at most %v was expected (%v):\n%s", found, exposure, err, said)
	}

	for what, pid := range map[string]int{"the agent": d.MainPID("smmd.service"), "the adapter": d.pid(adapterProcess), "the framework": d.pid(jvmProcess)} {
		status := d.sh(fmt.Sprintf("cat /proc/%d/status", pid))
		for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2"} {
			if !strings.Contains(status, want+"\n") {
				t.Errorf("%s: not %s in %s", what, want, status)
			}
		}
		inside := func(script string) error {
			_, err := d.Machine.Try(t.Context(), "nsenter", "-t", fmt.Sprint(pid), "-m", "sh", "-c", script)
			return err
		}
		for _, path := range []string{"/usr/x", "/etc/x", "/etc/systemd/system/x", "/root/x", "/sys/fs/cgroup/systemd/x", "/proc/sys/x"} {
			if inside("echo >"+path) == nil {
				t.Errorf("%s can write %s", what, path)
			}
		}
		// What the adapters of portable services and containers need.
		for _, path := range []string{"/run/systemd/system/x", "/var/lib/smmd/x", "/run/smmd/x"} {
			if err := inside("echo >" + path + " && rm " + path); err != nil {
				t.Errorf("%s cannot write %s: %v", what, path, err)
			}
		}
	}
	equal(t, "mode of the state directory", d.sh("stat -c %a:%U /var/lib/smmd"), "700:root\n")
	equal(t, "mode of the runtime directory", d.sh("stat -c %a:%U /run/smmd"), "700:root\n")
}

// TestSetuid: files of containers and portable services keep their setuid bits, which a hardened service may not have to give.
func TestSetuid(t *testing.T) {
	d := boot(t, Options{})
	properties := []string{}
	unit, err := os.ReadFile(support.ModuleFile(t, "packaging/smmd.service"))
	if err != nil {
		t.Fatal(err)
	}
	_, service, _ := strings.Cut(string(unit), "NoNewPrivileges=")
	service, _, _ = strings.Cut(service, "[Install]")
	for line := range strings.Lines("NoNewPrivileges=" + service) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			properties = append(properties, line)
		}
	}
	got := d.Machine.RunUnit(t, append(properties, "StateDirectory=smmd"), "sh", "-ec",
		`cd /var/lib/smmd; echo >f; chown 1000:1000 f; chmod 4755 f; mkdir d; chmod 2775 d; mknod n c 1 3; setfattr -n user.x -v y f 2>/dev/null || true
		stat -c %a f d; grep NoNewPrivs /proc/self/status`)
	equal(t, "the modes", got, "4755\n2775\nNoNewPrivs:\t1\n")
}

package systemd

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/test/machine"
)

// hardened, in the environment, says that the tests run with the restrictions of the agent's service.
const hardened = "SMMD_TEST_HARDENED"

// restrictions are the settings of the agent's service that an adapter, which is a child of it, has too.
func restrictions(t *testing.T) []string {
	t.Helper()
	file, err := os.ReadFile("../../packaging/smmd.service")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, key := range []string{"NoNewPrivileges", "CapabilityBoundingSet", "LockPersonality"} {
		if len(parseUnit(file)[[2]string{"Service", key}]) == 0 {
			t.Errorf("the service has no %s", key)
		}
	}
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSpace(line)
		key, _, _ := strings.Cut(line, "=")
		for _, prefix := range []string{"NoNewPrivileges", "Protect", "Private", "Restrict", "Lock", "Memory", "SystemCall", "Capability", "Ambient", "ReadWrite", "ReadOnly", "Device", "UMask"} {
			if strings.HasPrefix(key, prefix) {
				out = append(out, "--property="+line)
			}
		}
	}
	return out
}

// TestWithTheRestrictionsOfTheService runs what the adapter does with files, images and the journal once more as a service that may do no more than
// the agent's.
func TestWithTheRestrictionsOfTheService(t *testing.T) {
	machine.RequireInside(t)
	if os.Getenv(hardened) != "" {
		t.Skip("it runs with them")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--quiet", "--pipe", "--wait", "--collect", "--working-directory=" + dir, "--setenv=" + hardened + "=1"}, restrictions(t)...)
	for _, pair := range os.Environ() {
		if strings.HasPrefix(pair, "SMMD_TEST_") || strings.HasPrefix(pair, "PATH=") {
			args = append(args, "--setenv="+pair)
		}
	}
	args = append(args, exe, "-test.v", "-test.run=TestFormsOfPackages|TestServiceTimerAndSocket|TestDataStaysOverAnUpdate|TestPermanentUnits|TestConstraintsHold|TestVolumesOfTrusted")
	out, err := exec.Command("systemd-run", args...).CombinedOutput()
	if err != nil || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("%v\n%s", err, out)
	}
}

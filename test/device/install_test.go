package device

import (
	"os"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/test/machine"
	"github.com/smmd-project/smmd/test/support"
)

// TestPackage: the files and scripts of the package on a device that runs already, in the order in which a package manager comes to them:
// installation, upgrade, removal.
func TestPackage(t *testing.T) {
	t.Parallel()
	machine.Require(t)
	m := machine.Boot(t, machine.Options{})
	install := func() {
		t.Helper()
		root, err := os.OpenRoot(m.Root())
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		for _, c := range contents(t) { // what is there is replaced
			if c.Type != "dir" {
				_ = root.Remove(strings.TrimPrefix(c.Dst, "/")) // it may not be there
			}
		}
		if err := unpack(t, root, programs); err != nil {
			t.Fatal(err)
		}
		m.CopyIn(t, support.ModuleFile(t, "packaging/postinstall.sh"), "/run/postinstall")
		m.CopyIn(t, support.ModuleFile(t, "packaging/preremove.sh"), "/run/preremove")
		m.Run(t, "sh", "/run/postinstall", "configure")
	}
	show := func(property string) string {
		t.Helper()
		return strings.TrimSpace(m.Run(t, "systemctl", "show", "--value", "--property="+property, "smmd.service"))
	}
	install()
	m.Run(t, "getent", "group", "smmd", "smmd-read")
	equal(t, "the service after installation", show("UnitFileState")+" "+show("ActiveState"), "disabled inactive")
	m.Run(t, "systemctl", "enable", "--now", "smmd.service")
	equal(t, "the agent's own words", m.Run(t, "sh", "-c", "useradd -G smmd-read reader && runuser -u reader smmctl tree 2>&1 | head -1"), "No execution environments are configured.\n")
	m.Reboot(t)
	equal(t, "the service after a reboot", show("ActiveState"), "active")

	agent := show("MainPID")
	install()
	if pid := show("MainPID"); pid == agent || pid == "0" || show("ActiveState") != "active" {
		t.Errorf("after an upgrade the agent is process %s, was %s", pid, agent)
	}
	agent = show("MainPID")
	m.Run(t, "sh", "/run/preremove", "upgrade", "1.0.0")
	equal(t, "the agent before the files of an upgrade", show("MainPID"), agent)
	m.Run(t, "sh", "/run/preremove", "remove")
	equal(t, "the service before its removal", show("UnitFileState")+" "+show("ActiveState"), "disabled inactive")
}

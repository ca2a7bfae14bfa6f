package device

import (
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/xml"
)

// TestUsers: the shipped bus policy, for users of the device with the groups that the package makes.
func TestUsers(t *testing.T) {
	d := boot(t, Options{Config: Felix("home", 5)})
	d.Up()
	unit := d.Install("sample-1.0.0.jar", "home")
	d.sh("useradd --groups smmd member && useradd --groups smmd-read reader && useradd outsider")
	calls := []struct {
		what    string
		allowed string // besides root
		args    []string
	}{
		{"a property", "member reader", []string{"busctl", "get-property", xml.BusName, string(unit.Object), xml.DeploymentUnit, "UUID"}},
		{"the tree", "member reader", []string{"smmctl", "tree"}},
		{"parameters", "member reader", []string{"busctl", "call", xml.BusName, xml.Root, xml.CWMP, "GetParameterValues", "as", "1", "Device.SoftwareModules."}},
		{"setting a property", "member", []string{"busctl", "set-property", xml.BusName, string(unit.Object), xml.DeploymentUnit, "Alias", "s", "mine"}},
		{"stopping a unit", "member", []string{"smmctl", "stop", unit.EU.Ref.String()}},
		{"starting a unit", "member", []string{"smmctl", "start", unit.EU.Ref.String()}},
		{"taking the name", "", []string{"busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", xml.BusName, "0"}},
	}
	for _, user := range []string{"root", "member", "reader", "outsider"} {
		for _, c := range calls {
			out, err := d.Machine.Command(t.Context(), append([]string{"runuser", "-u", user, "--"}, c.args...)...).CombinedOutput()
			allowed := user == "root" || strings.Contains(c.allowed, user)
			switch denied := strings.Contains(string(out), "Access denied") || strings.Contains(string(out), "does not permit"); {
			case allowed && err != nil:
				t.Errorf("%s, %s: %v: %s", user, c.what, err, out)
			case !allowed && (err == nil || !denied):
				t.Errorf("%s, %s: it is not denied: %v: %s", user, c.what, err, out)
			}
		}
	}
	if alias := d.Unit(unit.Object).Alias; alias != "mine" {
		t.Errorf("the alias is %q", alias)
	}
	for _, path := range []string{"/var/lib/smmd", "/run/smmd", "/etc/smmd/agent.toml"} {
		if out, err := d.Machine.Command(t.Context(), "runuser", "-u", "member", "--", "cat", path).CombinedOutput(); err == nil || !strings.Contains(string(out), "Permission denied") {
			t.Errorf("a member reads %s: %s", path, out)
		}
	}
}

package systemd

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestInstancesOfTemplates: what runs of a template is no module, and ends with the units of its image.
func TestInstancesOfTemplates(t *testing.T) {
	d := one(t, nil)
	version := func(v string) adapter.Package {
		return newImage("inst", v).service("inst@.service", sleeps, "").service("inst-odd@.service", "exit 3", "Type=oneshot\n").
			unit("inst.socket", "[Socket]\nListenStream=/run/inst.sock\nAccept=yes\n").pkg(t)
	}
	v1, v2 := version("1"), version("2")
	u := d.install(home, "inst", v1)
	m := ref(home, "inst", "inst.socket")
	if len(u.Modules) != 1 || u.Modules[0].ID != m.Module {
		t.Fatalf("modules: %+v", u.Modules)
	}
	// runs starts one instance by a connection and another one by its name, and has a third one fail.
	runs := func() {
		t.Helper()
		d.must(d.start(m))
		conn, err := net.Dial("unix", "/run/inst.sock")
		d.must(err)
		defer conn.Close()
		systemctl(t, "start", "inst@by-name.service")
		run(t, "sh", "-c", "! systemctl start inst-odd@x.service")
		eventually(t, "instances", func() (string, bool) {
			list := systemctl(t, "list-units", "--all", "--no-legend", "--plain", "inst@*", "inst-odd@*")
			return list, strings.Count(list, " active ") == 2 && strings.Count(list, " failed ") == 1
		})
	}
	gone := func(when string) {
		t.Helper()
		if list := systemctl(t, "list-units", "--state=active,activating,deactivating", "--no-legend", "--plain", "inst*"); list != "" {
			t.Errorf("%s there run\n%s", when, list)
		}
	}
	runs()
	_, err := d.s.Update(t.Context(), d.op(), m.UnitRef, v1, v2)
	d.must(err)
	gone("after an update")
	runs()
	_, err = d.s.Revert(t.Context(), d.op(), m.UnitRef, v1)
	d.must(err)
	gone("after a step back")
	runs()
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, false, nil))
	gone("after the end of the environment")
	d.must(d.s.SetEnabled(t.Context(), d.op(), home, true, nil))
	runs()
	_, err = d.s.Uninstall(t.Context(), d.op(), m.UnitRef)
	d.must(err)
	if list := systemctl(t, "list-units", "--all", "--no-legend", "--plain", "inst*"); list != "" {
		t.Errorf("after an uninstall there are\n%s", list)
	}
	if left, err := os.ReadDir(d.s.envs[home].store.images()); err != nil || len(left) > 0 {
		t.Errorf("images are left: %v, %v", left, err)
	}
}

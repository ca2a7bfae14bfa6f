package device

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/images"
)

// units are the execution units of a deployment unit by their names.
func (d *Device) units(du dbus.ObjectPath) map[string]*client.ExecutionUnit {
	d.t.Helper()
	tree := d.Tree()
	out := map[string]*client.ExecutionUnit{}
	for _, path := range tree.DeploymentUnit(du).ExecutionUnits {
		if eu := tree.ExecutionUnit(path); eu != nil {
			out[eu.Name] = eu
		}
	}
	return out
}

// TestSeveralUnits: each unit of an image is an execution unit that starts and stops for itself, at a level of its own, and stays who it is when others
// come and go.
func TestSeveralUnits(t *testing.T) {
	d := boot(t, Options{Config: services.tables(1)})
	d.Up()
	serve := func(version string, units map[string]string) (url string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "several.tar")
		if err := (images.Portable{Name: "several", Version: version, Vendor: "Example", Units: units}).Tar(path); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return d.Serve("/several-"+version+".tar", fileserver.File{Content: content})
	}
	first := map[string]string{
		"several.service":         images.Service("exec sleep 1000000"),
		"several-tick.timer":      "[Unit]\nDescription=Ticks\n[Timer]\nOnActiveSec=1d\n",
		"several-tick.service":    images.Service("true", "Type=oneshot"),
		"several-listen.socket":   "[Socket]\nListenStream=/run/several.sock\nAccept=yes\n",
		"several-listen@.service": images.Service("cat", "StandardInput=socket"),
	}
	no := false
	j := d.Done(d.Client.Install(t.Context(), serve("1", first), client.InstallOptions{ExecEnv: services.env, AutoStart: &no}))
	var du dbus.ObjectPath
	for _, path := range j.Objects {
		if r, ok := client.ParseRef(string(path)); ok && r.Kind() == client.KindDeploymentUnit {
			du = path
		}
	}
	// is checks which of the units are active, in the rows and for systemd.
	is := func(when string, active ...string) {
		t.Helper()
		d.Until(when+": "+fmt.Sprint(active)+" are active", func(*client.Tree) error {
			for name, eu := range d.units(du) {
				want, state := "Idle", d.Show(name, "ActiveState")
				if slices.Contains(active, name) {
					want = "Active"
				}
				if eu.Status != want || (state == "active") != (want == "Active") || eu.FaultCode != "NoFault" {
					return fmt.Errorf("%s is %s, %s: %s; systemd says %s", name, eu.Status, eu.FaultCode, eu.FaultMessage, state)
				}
			}
			return nil
		})
	}
	is("installed")
	before := d.units(du)
	const service, timer, tick, socket = "several.service", "several-tick.timer", "several-tick.service", "several-listen.socket"
	for _, name := range []string{service, timer, tick, socket} {
		if before[name] == nil {
			t.Fatalf("there is no execution unit %s among %d", name, len(before))
		}
	}
	start := func(name string) { t.Helper(); d.Done(d.Client.Start(t.Context(), before[name].Object)) }
	stop := func(name string) { t.Helper(); d.Done(d.Client.Stop(t.Context(), before[name].Object)) }
	start(timer)
	is("the timer was started", timer)
	start(socket)
	is("the socket was started", timer, socket)
	start(service)
	is("the service was started", timer, socket, service)
	start(tick) // has done its work when its start is over
	is("the oneshot was started", timer, socket, service)
	stop(socket)
	is("the socket was stopped", timer, service)

	// Levels of their own.
	level := map[string]int{service: 1, timer: 2, socket: 3}
	for name, l := range level {
		d.set(before[name].Object, "AutoStart", true)
		d.set(before[name].Object, "RunLevel", uint32(l))
	}
	is("levels were set", service)
	d.level(services, 3)
	is("at level 3", service, timer, socket)
	d.level(services, 2)
	is("at level 2", service, timer)

	// An update in which some go and one comes, and back.
	second := map[string]string{service: first[service], timer: first[timer], tick: first[tick], "several-more.service": images.Service("exec sleep 1000000")}
	d.Done(d.Client.Update(t.Context(), du, client.UpdateOptions{URL: serve("2", second)}))
	now := d.units(du)
	if now[socket] != nil || now["several-more.service"] == nil {
		t.Errorf("after the update there are %v", slices.Sorted(maps.Keys(now)))
	}
	is("after the update", service, timer, "several-more.service")
	for _, name := range []string{service, timer, tick} {
		equal(t, name+" after the update", fmt.Sprint(now[name].Object, now[name].EUID, now[name].Alias, now[name].AutoStart, now[name].RunLevel),
			fmt.Sprint(before[name].Object, before[name].EUID, before[name].Alias, name != tick, max(level[name], 1)))
	}
	d.Done(d.Client.Update(t.Context(), du, client.UpdateOptions{URL: serve("3", first)}))
	equal(t, "the EUID of what came back", d.units(du)[socket].EUID, before[socket].EUID)
	d.Done(d.Client.Uninstall(t.Context(), du))
	// What systemd has not forgotten yet is not found.
	if out := d.sh("systemctl list-units --all --no-legend --plain 'several*' | grep -v ' not-found ' || true"); out != "" {
		t.Errorf("what is left of it:\n%s", out)
	}
}

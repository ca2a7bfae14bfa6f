package agent_test

import (
	"fmt"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// TestDataOfTwoVersions is about what two versions of a unit on one environment share.
func TestDataOfTwoVersions(t *testing.T) {
	d := start(t, storing(plain))
	one := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.rest(one.ID, model.EUActive)
	d.write(one, "cfg", "shared")
	two := d.installedData(fake.Spec{Name: "a", Version: "2"}, volume("cfg", model.Forever))
	d.rest(two.ID, model.EUActive)
	if one.UUID != two.UUID || one.ID == two.ID {
		t.Fatalf("they are %+v and %+v", one, two)
	}
	d.wantData("both have it", two, "cfg /data/cfg shared")
	d.failed(fault.InvalidDUState)(d.updateData(two, "3", nil, volume("more", model.Forever)))
	d.failed(fault.InvalidDUState)(d.installData(fake.Spec{Name: "a", Version: "4"}, volume("cfg", model.UntilStopped)))
	no := false
	d.done(d.updateData(two, "3", &no))
	d.rest(two.ID, model.EUActive)
	d.wantData("the other one has it still", one, "cfg /data/cfg shared")
	d.done(d.uninstall(two.ID))
	d.wantData("one is left", one, "cfg /data/cfg shared")
	d.done(d.uninstall(one.ID))
	d.wantData("none is left", one)
}

// TestDataBetweenVersions wants that what an uninstall is to remove goes, also when another version is about to be installed, and then is not.
func TestDataBetweenVersions(t *testing.T) {
	d := start(t, storing(plain))
	one := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.rest(one.ID, model.EUActive)
	entered, release := d.worlds["fake"].Block("Uninstall")
	defer release()
	uninstall, err := d.uninstall(one.ID)
	d.ok(err)
	<-entered
	d.worlds["fake"].FailCall("Install", 1, adapter.Errorf(adapter.NoResources, "cannot: a test"))
	install, err := d.installData(fake.Spec{Name: "a", Version: "2"})
	d.ok(err)
	d.until("the other version waits", func(s *model.Snapshot) error {
		if n := s.Count(model.KindDeploymentUnit); n != 2 {
			return fmt.Errorf("there are %d units", n)
		}
		return nil
	})
	release()
	d.done(uninstall, nil)
	d.failed(fault.SystemResourcesExceeded)(install, nil)
	d.wantData("all is gone", one)
}

// TestDataOfAVersionToCome wants that an install that waits for an update of another version gets what that has made of the application data.
func TestDataOfAVersionToCome(t *testing.T) {
	no := false
	for name, c := range map[string]struct {
		before []model.VolumeRequest
		retain *bool
	}{
		"begins anew": {[]model.VolumeRequest{volume("cfg", model.Forever)}, &no},
		"gets one":    {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := start(t, storing(plain))
			one := d.installedData(fake.Spec{Name: "a"}, c.before...)
			d.rest(one.ID, model.EUActive)
			if len(c.before) > 0 {
				d.write(one, "cfg", "lost")
			}
			entered, release := d.worlds["fake"].Block("Update")
			defer release()
			update, err := d.updateData(one, "1.1", c.retain, volume("cfg", model.Forever))
			d.ok(err)
			<-entered
			install, err := d.installData(fake.Spec{Name: "a", Version: "2"})
			d.ok(err)
			d.until("the other version waits", func(s *model.Snapshot) error {
				if n := s.Count(model.KindDeploymentUnit); n != 2 {
					return fmt.Errorf("there are %d units", n)
				}
				return nil
			})
			release()
			d.done(update, nil)
			two := d.done(install, nil).Objects[0].Instance
			d.rest(one.ID, model.EUActive)
			d.rest(two, model.EUActive)
			d.wantData("both have the same", one, "cfg /data/cfg")
			d.done(d.uninstall(two))
			d.done(d.updateData(one, "1.2", nil))
			d.rest(one.ID, model.EUActive)
			d.wantData("one is left", one, "cfg /data/cfg")
		})
	}
}

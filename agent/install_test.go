package agent_test

import (
	"testing"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

func TestLifeOfAUnit(t *testing.T) {
	for name, o := range map[string]fake.Options{"levels": levels, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			d := start(t, o)
			du := d.installed(fake.Spec{Name: "a", Vendor: "v"})
			if du.Status != model.DUInstalled || du.Version != "1" || !du.Resolved || du.URL == "" || du.Installed.IsZero() || du.DUID == "" {
				t.Errorf("after the install the row is %+v", *du)
			}
			eu := d.rest(du.ID, model.EUActive)
			if !eu.AutoStart || eu.AutoStartPending || eu.EUID != "e/"+du.UUID {
				t.Errorf("after the install the execution unit is %+v", *eu)
			}
			d.stored(1)

			d.done(d.update(du.ID, fake.Spec{Name: "a", Vendor: "v", Version: "2"}))
			after := d.agent.Snapshot().DeploymentUnit(du.ID)
			if after.Version != "2" || after.UUID != du.UUID || after.Alias != du.Alias || after.URL == du.URL || after.Status != model.DUInstalled {
				t.Errorf("after the update the row is %+v", *after)
			}
			again := d.rest(du.ID, model.EUActive)
			if again.ID != eu.ID || again.EUID != eu.EUID || again.Alias != eu.Alias {
				t.Errorf("after the update the execution unit is %+v", *again)
			}
			d.stored(1)

			d.restart()
			d.up()
			d.rest(du.ID, model.EUActive)
			d.done(d.uninstall(du.ID))
			s := d.agent.Snapshot()
			if s.Count(model.KindDeploymentUnit)+s.Count(model.KindExecutionUnit) != 0 || len(d.units("e")) != 0 {
				t.Errorf("after the uninstall there is\n%s%v", dump(s), d.units("e"))
			}
			d.stored(0)
		})
	}
}

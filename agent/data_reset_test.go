package agent_test

import (
	"math"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// resetData resets the environment to its baseline.
func (d *device) resetData() (uint32, error) {
	d.t.Helper()
	return d.agent.ResetExecEnv(d.t.Context(), d.ee("e").Instance, "cwmp", model.Origin{})
}

// TestDataOverReset resets an environment to a baseline with application data.
func TestDataOverReset(t *testing.T) {
	d := start(t, storing(restorable))
	gone := d.installedData(fake.Spec{Name: "gone"}, volume("cfg", model.Forever))
	stays := d.installedData(fake.Spec{Name: "stays"}, volume("cfg", model.Forever), volume("less", model.Forever))
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "1"))
	d.write(gone, "cfg", "lost")
	d.write(stays, "cfg", "kept")
	d.done(d.uninstall(gone.ID))
	no := false
	d.done(d.updateData(stays, "2", nil, volume("more", model.Forever)))
	d.write(stays, "more", "lost")
	came := d.installedData(fake.Spec{Name: "came"}, volume("cfg", model.Forever))
	d.done(d.resetData())
	d.wantData("what went is there again, and empty", gone, "cfg /data/cfg")
	d.wantData("what came since is gone", stays, "cfg /data/cfg kept", "less /data/less")
	d.wantData("what came with a unit that came is gone", came)

	d.done(d.updateData(stays, "3", &no))
	d.wantData("nothing is left", stays)
	d.done(d.resetData())
	d.wantData("all is there again", stays, "cfg /data/cfg", "less /data/less")
	if n := d.agent.Snapshot().Count(model.KindVolume); n != 3 {
		t.Errorf("there are %d volumes", n)
	}
}

// TestDataOfTwoVersionsOverReset resets an environment to a baseline with two versions of a unit, which share their application data.
func TestDataOfTwoVersionsOverReset(t *testing.T) {
	d := start(t, storing(restorable))
	one := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	two := d.installedData(fake.Spec{Name: "a", Version: "2"})
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "1"))
	d.done(d.uninstall(one.ID))
	d.done(d.uninstall(two.ID))
	d.wantData("all is gone", one)
	d.done(d.resetData())
	d.wantData("both have it again", one, "cfg /data/cfg")

	var rows []*model.DeploymentUnit
	for du := range d.agent.Snapshot().DeploymentUnits() {
		d.rest(du.ID, model.EUActive)
		rows = append(rows, du)
	}
	if len(rows) != 2 {
		t.Fatalf("there are %d units", len(rows))
	}
	d.write(one, "cfg", "kept")
	d.done(d.uninstall(rows[1].ID))
	d.done(d.updateData(rows[0], "3", nil, volume("more", model.Forever)))
	d.done(d.agent.Install(t.Context(), model.InstallRequest{URL: d.pkg(fake.Spec{Name: "a", Version: "4"}), ExecEnv: "e"}))
	d.wantData("what came since has more", one, "cfg /data/cfg kept", "more /data/more")
	d.done(d.resetData())
	d.wantData("both have what they had", one, "cfg /data/cfg kept")
	if n := d.agent.Snapshot().Count(model.KindDeploymentUnit); n != 2 {
		t.Errorf("there are %d units", n)
	}
}

// TestDataOverResetCutOff ends the agent when a Reset has made a row for what lacks, but has not told it yet.
func TestDataOverResetCutOff(t *testing.T) {
	d := start(t, storing(restorable))
	du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.rest(du.ID, model.EUActive)
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "1"))
	no := false
	d.done(d.updateData(du, "2", &no))
	d.wantData("nothing is left", du)
	entered, release := d.worlds["fake"].Block("SetUnit")
	defer release()
	job, err := d.resetData()
	d.ok(err)
	<-entered
	d.kill()
	release()
	d.start()
	d.done(job, nil)
	d.wantData("it is there again", du, "cfg /data/cfg")
}

// TestDataOverResetWithoutRoom wants that a Reset leaves nothing of what there is no room for.
func TestDataOverResetWithoutRoom(t *testing.T) {
	d := start(t, storing(restorable))
	du := d.installedData(fake.Spec{Name: "a"}, volume("cfg", model.Forever))
	d.ok(d.agent.RecordBaseline(t.Context(), "cwmp", "1"))
	no := false
	d.done(d.updateData(du, "2", &no))
	reserve := d.cfg.Packages.Reserve
	d.kill()
	d.cfg.Packages.Reserve = math.MaxInt64
	d.start()
	d.failed(fault.RequestDenied)(d.resetData())
	d.wantData("there is nothing", du)
	d.kill()
	d.cfg.Packages.Reserve = reserve
	d.start()
	d.done(d.resetData())
	d.wantData("it is there again", du, "cfg /data/cfg")
}

package dbus

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

// What a commit costs grows with the rows that it changes, and not with their square. The execution units of every deployment unit are looked
// for in one walk over all of them. What is measured is the memory that the walks take, since times say little.
func TestValueChangesAreFoundInOneWalk(t *testing.T) {
	cost := func(n int) uint64 {
		status := func(s model.EUStatus) *model.Snapshot {
			d := model.NewDraft()
			d.PutExecEnv(&model.ExecEnv{ID: "osgi", Instance: 1, Synced: true})
			d.Attributes = map[string]int{}
			for i := range uint32(n) {
				d.PutDeploymentUnit(&model.DeploymentUnit{ID: 2*i + 1, Env: "osgi"})
				d.PutExecutionUnit(&model.ExecutionUnit{ID: 2*i + 2, Env: "osgi", DU: 2*i + 1, Status: s})
				d.Attributes[fmt.Sprintf("Device.SoftwareModules.DeploymentUnit.%d.ExecutionUnitList", 2*i+1)] = cwmp.NotificationPassive
			}
			return d.Freeze()
		}
		before, after := status(model.EUActive), status(model.EUIdle)
		after.Seq = before.Seq + 1
		v := newValueChanges(cwmp.New(&noticeAgent{snap: after}, ""), nil)
		v.commit(model.Commit{Snapshot: before})
		var from, to runtime.MemStats
		runtime.ReadMemStats(&from)
		v.commit(model.Commit{Snapshot: after})
		runtime.ReadMemStats(&to)
		if _, pending := v.get(); len(pending) != n {
			t.Fatalf("of %d units %d have changed", n, len(pending))
		}
		return to.TotalAlloc - from.TotalAlloc
	}
	cost(1) // what is made once
	if few, many := cost(100), cost(400); many > 8*few {
		t.Errorf("100 units take %d bytes, 400 units %d", few, many)
	}
}

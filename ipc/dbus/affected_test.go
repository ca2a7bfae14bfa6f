package dbus

import (
	"slices"
	"testing"

	"github.com/smmd-project/smmd/agent/model"
)

// TestWhatApplicationDataAffects: its environment tells it, and the execution units of its unit there, of every version, list it.
func TestWhatApplicationDataAffects(t *testing.T) {
	d := model.NewDraft()
	d.PutExecEnv(&model.ExecEnv{ID: "osgi", Instance: 1})
	d.PutExecEnv(&model.ExecEnv{ID: "lxc", Instance: 2})
	for id, u := range []struct{ env, uuid string }{{"osgi", "a"}, {"osgi", "a"}, {"osgi", "b"}, {"lxc", "a"}} {
		du := uint32(10 * (id + 1))
		d.PutDeploymentUnit(&model.DeploymentUnit{ID: du, Env: u.env, UUID: u.uuid})
		d.PutExecutionUnit(&model.ExecutionUnit{ID: du + 1, DU: du, Env: u.env})
	}
	without := d.Freeze()
	x := &model.Volume{ID: 7, Env: "osgi", UUID: "a", Name: "db"}
	d.PutVolume(x)
	with := d.Freeze()
	more := *x
	more.Utilization = 1
	d.PutVolume(&more)
	fuller := d.Freeze()

	root, env := model.Ref{}, model.Ref{Kind: model.KindExecEnv, Instance: 1}
	first, second := model.Ref{Kind: model.KindExecutionUnit, Instance: 11}, model.Ref{Kind: model.KindExecutionUnit, Instance: 21}
	for _, c := range []struct {
		what      string
		old, next *model.Snapshot
		want      []model.Ref
	}{
		{"it comes", without, with, []model.Ref{root, env, first, second}},
		{"it is written to", with, fuller, []model.Ref{root, env}},
		{"it goes", with, without, []model.Ref{root, env, first, second}},
	} {
		changes := difference(c.old, c.next)
		if len(changes) != 1 || changes[0].Row != (model.Ref{Kind: model.KindVolume, Instance: 7}) {
			t.Errorf("%s: the difference is %+v", c.what, changes)
		}
		if got := affected(&view{snap: c.old}, &view{snap: c.next}, changes); !slices.Equal(got, c.want) {
			t.Errorf("%s: it affects %v, want %v", c.what, got, c.want)
		}
	}
}

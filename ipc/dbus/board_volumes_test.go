package dbus

import (
	"fmt"
	"slices"
	"testing"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/usp"
)

// TestApplicationDataIsNotified: rows of application data come, change and go for controllers too, whether or not the reader has missed the commits.
func TestApplicationDataIsNotified(t *testing.T) {
	const env, list = "Device.SoftwareModules.ExecEnv.1.", "Device.SoftwareModules.ExecutionUnit.11.ApplicationDataList"
	for _, lost := range []bool{false, true} {
		a := newNoticeAgent()
		a.commit(func(d *model.Draft) {
			d.PutDeploymentUnit(&model.DeploymentUnit{ID: 10, Env: "osgi", UUID: "a"})
			d.PutExecutionUnit(&model.ExecutionUnit{ID: 11, DU: 10, Env: "osgi"})
		})
		b := newBoard(usp.New(a, ""), a, true)
		b.commit(model.Commit{Snapshot: a.snap})
		x := &model.Volume{ID: 7, Alias: "cpe-7", Env: "osgi", UUID: "a", Name: "db", Capacity: 1, Retain: model.Forever, AccessPath: "/db"}
		fuller := *x
		fuller.Utilization = 3
		var last uint64
		for _, step := range []struct {
			old, new *model.Volume
			want     []string
		}{
			{nil, x, []string{"ObjectCreation " + env + "ApplicationData.7.", "ValueChange " + env + "ApplicationDataNumberOfEntries 1",
				"ValueChange " + list + " Device.SoftwareModules.ExecEnv.1.ApplicationData.7"}},
			{x, &fuller, []string{"ValueChange " + env + "ApplicationData.7.Utilization 3"}},
			{&fuller, nil, []string{"ValueChange " + env + "ApplicationDataNumberOfEntries 0", "ValueChange " + list + " ", "ObjectDeletion " + env + "ApplicationData.7."}},
		} {
			ref := model.Ref{Kind: model.KindVolume, Instance: 7}
			c := model.Commit{Lost: lost, Snapshot: a.commit(func(d *model.Draft) {
				if d.Delete(ref); step.new != nil {
					d.PutVolume(step.new)
				}
			})}
			if !lost {
				c.Changes = []model.Change{{Row: ref, Old: orNil(step.old), New: orNil(step.new)}}
			}
			b.commit(c)
			posts, err := b.after(last)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range posts {
				last = p.id
				switch p.Kind {
				case usp.KindValueChange:
					got = append(got, fmt.Sprintf("%s %s %s", p.Kind, p.Parameter, p.Value))
				default:
					got = append(got, fmt.Sprintf("%s %s", p.Kind, p.Object))
				}
			}
			if !slices.Equal(got, step.want) {
				t.Errorf("lost commits: %v: the notifications are\n%q, want\n%q", lost, got, step.want)
			}
		}
	}
}

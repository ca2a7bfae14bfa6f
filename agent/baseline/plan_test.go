package baseline

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/model"
)

func TestCompare(t *testing.T) {
	r := Record{Units: []Unit{
		{Key: "same", Version: "1", Package: File{"aa", 1}},
		{Key: "updated", Version: "1", Package: File{"bb", 1}},
		{Key: "other package", Version: "1", Package: File{"cc", 1}},
		{Key: "removed", Version: "1", Package: File{"dd", 1}},
		{Key: "missing", Version: "1", Package: File{"ee", 1}},
		{Key: "found", Version: "1"},                               // its package could not be had
		{Key: "found later", Version: "1", Package: File{"ff", 1}}, // the present one is not known
		{Key: "begun", Version: "1", Package: File{"jj", 1}},
		{Key: "roll-back begun", Version: "1", Package: File{"kk", 1}},
		{Key: "system", Version: "1"},
		{Key: "firmware", Version: "1", Permanent: true},
		{Key: "firmware of before", Version: "1", Permanent: true},
	}}
	now := []present{
		{row: &model.DeploymentUnit{Key: "same", Version: "1"}, sha256: "aa"},
		{row: &model.DeploymentUnit{Key: "updated", Version: "2"}, sha256: "b2"},
		{row: &model.DeploymentUnit{Key: "other package", Version: "1"}, sha256: "c2"},
		{row: &model.DeploymentUnit{Key: "missing", Version: "1", Missing: true}, sha256: "ee"},
		{row: &model.DeploymentUnit{Key: "found", Version: "1"}, sha256: ""},
		{row: &model.DeploymentUnit{Key: "found later", Version: "1"}, sha256: ""},
		{row: &model.DeploymentUnit{Key: "new", Version: "1"}, sha256: "gg"},
		{row: &model.DeploymentUnit{Key: "new and gone", Version: "1", Missing: true}, sha256: "hh"},
		{row: &model.DeploymentUnit{Key: "begun", Version: "1", Status: model.DUInstalling}},
		{row: &model.DeploymentUnit{Key: "waiting install", Version: "1", Status: model.DUInstalling}},
		{row: &model.DeploymentUnit{Key: "roll-back begun", Version: "1", Status: model.DUUpdating}, sha256: "kk"},
		{row: &model.DeploymentUnit{Key: "system", Version: "2"}, system: true},
		{row: &model.DeploymentUnit{Key: "firmware", Version: "2"}, permanent: true},
		{row: &model.DeploymentUnit{Key: "newer firmware", Version: "2"}, permanent: true},
	}
	p := compare(r, now)
	var got struct{ Remove, RollBack, Install, Keep []string }
	for _, row := range p.remove {
		got.Remove = append(got.Remove, row.Key)
	}
	for _, c := range p.rollBack {
		if c.row.Key != c.to.Key {
			t.Errorf("%q is rolled back to %q", c.row.Key, c.to.Key)
		}
		got.RollBack = append(got.RollBack, c.row.Key)
	}
	for _, u := range p.install {
		got.Install = append(got.Install, u.Key)
	}
	for _, c := range p.keep {
		got.Keep = append(got.Keep, c.row.Key)
	}
	want := got
	want.Remove = []string{"new", "new and gone"}
	want.RollBack = []string{"updated", "other package", "roll-back begun"}
	want.Install = []string{"removed", "missing", "begun"}
	want.Keep = []string{"same", "found", "found later", "firmware"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if again := compare(r, []present{
		{row: &model.DeploymentUnit{Key: "same", Version: "1"}, sha256: "aa"}, {row: &model.DeploymentUnit{Key: "updated", Version: "1"}, sha256: "bb"},
		{row: &model.DeploymentUnit{Key: "other package", Version: "1"}, sha256: "cc"}, {row: &model.DeploymentUnit{Key: "removed", Version: "1"}, sha256: "dd"},
		{row: &model.DeploymentUnit{Key: "missing", Version: "1"}, sha256: "ee"}, {row: &model.DeploymentUnit{Key: "found", Version: "1"}, sha256: ""},
		{row: &model.DeploymentUnit{Key: "found later", Version: "1"}, sha256: "ff"},
		{row: &model.DeploymentUnit{Key: "begun", Version: "1"}, sha256: "jj"},
		{row: &model.DeploymentUnit{Key: "roll-back begun", Version: "1"}, sha256: "kk"},
		{row: &model.DeploymentUnit{Key: "system", Version: "1"}, system: true},
	}); len(again.remove)+len(again.rollBack)+len(again.install) != 0 {
		t.Errorf("the baseline itself needs changes: %+v", again)
	}
}

// TestVolumes is about versions of a unit of which each had application data: what one of them had all have.
func TestVolumes(t *testing.T) {
	v := func(name string, capacity int64) model.VolumeRequest {
		return model.VolumeRequest{Name: name, Capacity: capacity, Retain: model.Forever, AccessPath: "/" + name}
	}
	r := Record{Units: []Unit{
		{UUID: "a", Version: "1", Volumes: []model.VolumeRequest{v("cfg", 1)}},
		{UUID: "b", Version: "1", Volumes: []model.VolumeRequest{v("other", 1)}},
		{UUID: "a", Version: "2", Volumes: []model.VolumeRequest{v("cfg", 2), v("more", 3)}},
		{UUID: "c", Version: "1"},
	}}
	for uuid, want := range map[string][]model.VolumeRequest{"a": {v("cfg", 1), v("more", 3)}, "b": {v("other", 1)}, "c": nil} {
		if d := cmp.Diff(want, r.volumes(uuid)); d != "" {
			t.Errorf("of %s (-want +got):\n%s", uuid, d)
		}
	}
}

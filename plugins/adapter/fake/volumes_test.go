package fake_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// TestVolumes wants a module to have the volumes of its last start, and a World without them to refuse any.
func TestVolumes(t *testing.T) {
	one := adapter.Volume{Source: "/var/lib/data/1", Path: "/data"}
	two := adapter.Volume{Source: "/var/lib/data/2", Path: "/more data"}
	d := newDevice(t, fake.Options{Settings: true, Volumes: true}, "")
	u, err := d.install("1", "k", fake.Spec{Name: "a"})
	d.ok(err)
	set := func(vs ...adapter.Volume) error {
		return d.a.SetUnit(t.Context(), "set", theModule(u).UnitRef, adapter.UnitSettings{Volumes: vs})
	}
	want := func(when string, unit, module []adapter.Volume) {
		t.Helper()
		s, err := d.w.State()
		d.ok(err)
		x := s.Envs["e"].Units["k"]
		if diff := cmp.Diff([][]adapter.Volume{unit, module}, [][]adapter.Volume{x.Settings.Volumes, x.Modules[0].Settings.Volumes}); diff != "" {
			t.Errorf("%s the volumes of the unit and of its module are not those (-want +got)\n%s", when, diff)
		}
	}
	all := []adapter.Volume{one, two}
	d.ok(set(all...))
	want("after SetUnit", all, nil)
	d.ok(d.a.Start(t.Context(), "start", theModule(u), adapter.StartOptions{}))
	want("after Start", all, all)
	all[0].Path = "/changed by the caller"
	d.ok(set(two))
	want("while it runs", []adapter.Volume{two}, []adapter.Volume{one, two})
	wantReason(t, set(one, adapter.Volume{Source: "/x", Path: "/data/below"}), adapter.InvalidArgument)
	want("after a refused SetUnit", []adapter.Volume{two}, []adapter.Volume{one, two})
	d.ok(d.a.Stop(t.Context(), "stop", theModule(u)))
	d.ok(d.a.Start(t.Context(), "again", theModule(u), adapter.StartOptions{}))
	want("after another Start", []adapter.Volume{two}, []adapter.Volume{two})

	for name, o := range map[string]fake.Options{"no settings": {Volumes: true}, "no volumes": {Settings: true}} {
		d := newDevice(t, o, "")
		u, err := d.install("1", "k", fake.Spec{Name: "a"})
		d.ok(err)
		desc, err := d.a.Describe(t.Context())
		d.ok(err)
		if desc.Has(adapter.CapVolumes) {
			t.Errorf("%s: it announces %s", name, desc.Capabilities)
		}
		wantReason(t, d.a.SetUnit(t.Context(), "set", theModule(u).UnitRef, adapter.UnitSettings{Volumes: []adapter.Volume{one}}), adapter.NotSupported)
	}
}

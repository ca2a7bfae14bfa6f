package fake

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestWriteAndRead(t *testing.T) {
	want := Spec{
		Kind: Kind, Name: "n", Vendor: "v", Version: "1", Description: "d", SizeKiB: 3, Requires: []string{"r"},
		Modules: []ModuleSpec{{ID: "a", Name: "A", StartFails: "boom", PIDs: []int{1}}, {ID: "b", Name: "b", Inert: true}},
	}
	p := Package(t, want)
	got, err := read(p, Kind)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read differs from what was written:\n%s", diff)
	}
	if !filepath.IsAbs(p.Path) || p.Size == 0 || len(p.SHA256) != 64 {
		t.Errorf("package is %+v", p)
	}
	p.SHA256 = "00"
	if _, err := read(p, Kind); adapter.ReasonOf(err) != adapter.Corrupt {
		t.Errorf("wrong digest: %v", err)
	}
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, data string
		want       adapter.Reason
	}{
		{"good", `{"format":"fake-package-1","kind":"fake","name":"n","version":"1"}`, ""},
		{"empty", ``, adapter.Corrupt},
		{"cut off", `{"format":"fake-package-1"`, adapter.Corrupt},
		{"other format", `{"format":"fake-package-2","kind":"fake","name":"n","version":"1"}`, adapter.Corrupt},
		{"other kind", `{"format":"fake-package-1","kind":"osgi","name":"n","version":"1"}`, adapter.Mismatch},
		{"no name", `{"format":"fake-package-1","kind":"fake","version":"1"}`, adapter.Corrupt},
		{"no version", `{"format":"fake-package-1","kind":"fake","name":"n"}`, adapter.Corrupt},
		{"module without ID", `{"format":"fake-package-1","kind":"fake","name":"n","version":"1","modules":[{}]}`, adapter.Corrupt},
		{"module twice", `{"format":"fake-package-1","kind":"fake","name":"n","version":"1","modules":[{"id":"a"},{"id":"a"}]}`, adapter.Corrupt},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := parse([]byte(tc.data), "p", Kind)
			if adapter.ReasonOf(err) != tc.want {
				t.Errorf("want %q, got %q: %v", tc.want, adapter.ReasonOf(err), err)
			}
			if err == nil && (len(s.Modules) != 1 || s.Modules[0].ID != DefaultModule || s.Modules[0].Name != "n") {
				t.Errorf("modules are %+v", s.Modules)
			}
		})
	}
}

// FuzzParse wants of any bytes a usable package, or one of the two reasons.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"format":"fake-package-1","kind":"fake","name":"n","version":"1"}`))
	f.Add([]byte(`{"format":"fake-package-1","kind":"x","modules":[{"id":"a"}]}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parse(data, "p", Kind)
		switch r := adapter.ReasonOf(err); {
		case err == nil && (s.Name == "" || s.Version == "" || len(s.Modules) == 0):
			t.Errorf("unusable package %+v", s)
		case err != nil && r != adapter.Corrupt && r != adapter.Mismatch:
			t.Errorf("reason %s", r)
		}
	})
}

func TestParseSettings(t *testing.T) {
	for _, tc := range []struct {
		data string
		want adapter.Reason
	}{
		{``, ""},
		{`{}`, ""},
		{`{"name":"n","disk_kib":1,"time_limit":"1s"}`, ""},
		{`{"disk_kib":-1}`, adapter.InvalidArgument},
		{`{"disk_kib":"1"}`, adapter.InvalidArgument},
		{`{"time_limit":1}`, adapter.InvalidArgument},
		{`{"time_limit":"soon"}`, adapter.InvalidArgument},
		{`{"other":1}`, adapter.InvalidArgument},
		{`[]`, adapter.InvalidArgument},
	} {
		if _, err := parseSettings("e", []byte(tc.data)); adapter.ReasonOf(err) != tc.want {
			t.Errorf("%s: want %q, got %v", tc.data, tc.want, err)
		}
	}
}

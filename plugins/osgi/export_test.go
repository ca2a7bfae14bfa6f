package osgi

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestExport(t *testing.T) {
	dir := t.TempDir()
	storage := filepath.Join(dir, storageName)
	if err := os.Mkdir(storage, 0o700); err != nil {
		t.Fatal(err)
	}
	stored := func(name, file string) string {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(storage, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := stored("good", bundleJar(t, "b", "1"))
	old := stored("old", writeJar(t, member{manifestName, "Manifest-Version: 1.0\nBundle-Name: of version 1\n"}))
	half := stored("half", alter(t, bundleJar(t, "b", "1"), func(b []byte) []byte { return b[:len(b)/2] }))
	secret := bundleJar(t, "b", "1")
	link := filepath.Join(storage, "link")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	d := inProcess(t, dir)
	d.knob(func() { d.add("b") })
	o := configured(t, shortLimits(), dir, map[string]any{})

	out := filepath.Join(t.TempDir(), "out")
	for name, tc := range map[string]struct {
		answer exportAnswer
		want   adapter.Reason
	}{
		"good":                 {exportAnswer{good, "b", "1.0.0"}, ""},
		"updated meanwhile":    {exportAnswer{good, "b", "2.0.0"}, adapter.BadState},
		"another bundle":       {exportAnswer{good, "c", "1.0.0"}, adapter.BadState},
		"gone meanwhile":       {exportAnswer{filepath.Join(storage, "gone"), "b", "1.0.0"}, adapter.BadState},
		"manifest version 1":   {exportAnswer{old, "", "0.0.0"}, adapter.NotSupported},
		"damaged":              {exportAnswer{half, "b", "1.0.0"}, adapter.Corrupt},
		"outside":              {exportAnswer{secret, "b", "1.0.0"}, adapter.Internal},
		"outside by a link":    {exportAnswer{link, "b", "1.0.0"}, adapter.Internal},
		"outside by its name":  {exportAnswer{storage + "/../" + filepath.Base(out), "b", "1.0.0"}, adapter.BadState},
		"the storage itself":   {exportAnswer{storage, "b", "1.0.0"}, adapter.Internal},
		"nothing":              {exportAnswer{}, adapter.Internal},
		"a directory in there": {exportAnswer{storage + "/.", "b", "1.0.0"}, adapter.Internal},
	} {
		d.knob(func() { d.stored = tc.answer })
		err := o.Export(t.Context(), ref("b").UnitRef, out)
		if adapter.ReasonOf(err) != tc.want {
			t.Errorf("%s: %v, want reason %q", name, err, tc.want)
		}
		switch _, statErr := os.Stat(out); {
		case tc.want == "" && statErr != nil:
			t.Errorf("%s: %v", name, statErr)
		case tc.want == "":
			if sums, err := digestsOf(t.Context(), []string{good, out}); err != nil || sums[0] != sums[1] {
				t.Errorf("%s: the copy is another: %v", name, err)
			}
			remove(t, out)
		case !errors.Is(statErr, os.ErrNotExist):
			t.Errorf("%s: a file is left: %v", name, statErr)
		}
	}

	reasonIs(t, o.Export(t.Context(), ref("nobody").UnitRef, out), adapter.NotFound)
	reasonIs(t, o.Export(t.Context(), ref("b").UnitRef, "out"), adapter.InvalidArgument)
	elsewhere := ref("b").UnitRef
	elsewhere.Env = "away"
	reasonIs(t, o.Export(t.Context(), elsewhere, out), adapter.NotFound)
	d.knob(func() {
		d.fail["export"] = &hostError{Reason: "not-supported", Message: "cannot export it: by reference", Cause: "by reference"}
	})
	err := o.Export(t.Context(), ref("b").UnitRef, out)
	reasonIs(t, err, adapter.NotSupported)
	var e *adapter.Error
	if !errors.As(err, &e) || e.Cause != "by reference" {
		t.Errorf("%#v", err)
	}
	d.close()
	reasonIs(t, o.Export(t.Context(), ref("b").UnitRef, out), adapter.Unavailable)
}

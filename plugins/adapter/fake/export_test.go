package fake_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// TestExportOfWhatSomebodyInstalled exports units that no agent has a package of: one that the environment kept, one that it did not.
func TestExportOfWhatSomebodyInstalled(t *testing.T) {
	w := fake.NewWorld(fake.Options{Export: true})
	a := fake.New(w)
	t.Cleanup(func() {
		a.Kill()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := a.Configure(t.Context(), []adapter.EnvConfig{{ID: "e"}}); err != nil {
		t.Fatal(err)
	}
	c, err := w.Console("e")
	if err != nil {
		t.Fatal(err)
	}
	spec := fake.Spec{Name: "found", Version: "1"}
	lost := fake.Spec{Name: "lost", Version: "1", ExportFails: "it was installed by reference"}
	for _, err := range []error{c.Launch(), c.Install("found", spec), c.Install("lost", lost)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "file")
	if err := a.Export(t.Context(), adapter.UnitRef{Env: "e", Key: "found"}, path); err != nil {
		t.Fatal(err)
	}
	if m, err := a.Inspect(t.Context(), "e", adapter.Package{Path: path}); err != nil || m.Name != "found" {
		t.Errorf("the exported package is %+v: %v", m, err)
	}
	err = a.Export(t.Context(), adapter.UnitRef{Env: "e", Key: "lost"}, path)
	if adapter.ReasonOf(err) != adapter.NotSupported || !strings.Contains(err.Error(), "by reference") {
		t.Errorf("Export of what is not kept: %v", err)
	}
}

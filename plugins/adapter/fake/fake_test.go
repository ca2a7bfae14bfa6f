package fake_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(worldDir); dir != "" {
		serve(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) { adaptertest.Run(t, inProcess(t, &worlds{opts: o})) })
	}
}

// TestConformanceStored restarts the World together with the adapter, so that nothing but the file goes on.
func TestConformanceStored(t *testing.T) {
	o := everything
	h := inProcess(t, &worlds{opts: o})
	h.Lose, h.SkipLose = nil, "the console is in the process of the adapter"
	h.System, h.SkipSystem = nil, "the console is in the process of the adapter"
	h.Left, h.SkipLeft = nil, "the console is in the process of the adapter"
	h.Permanent, h.SkipPermanent = nil, "the console is in the process of the adapter"
	h.Versions, h.SkipVersions = nil, "the console is in the process of the adapter"
	h.Open = func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
		o := o
		o.Dir = stored(t, dir)
		w, err := fake.Open(o)
		if err != nil {
			t.Fatalf("%v", err)
		}
		a := fake.New(w)
		return a, func() {
			a.Kill()
			if err := w.Close(); err != nil {
				t.Errorf("%v", err)
			}
		}
	}
	h.Packages, h.Environ, h.Volume = packages(t, releaseStored, nil), environStored, volumeStored
	adaptertest.Run(t, h)
}

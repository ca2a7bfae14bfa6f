package systemd

import (
	"bytes"
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestProbesAreRemoved: the unit that looks into a squashfs goes with the call, however that ends, and else with the next adapter.
func TestProbesAreRemoved(t *testing.T) {
	x := takeDetour(t)
	envs := map[string]map[string]any{home: {}}
	d := newDevice(t, envs)
	e := d.s.envs[home]
	l, err := e.link(t.Context())
	d.must(err)
	units := func(pattern string) string {
		return systemctl(t, "list-units", "--all", "--no-legend", "--plain", pattern)
	}
	image := func(i *image) string {
		path := filepath.Join(t.TempDir(), "image"+rawSuffix)
		run(t, "mksquashfs", i.tree(t), path, "-quiet", "-no-progress", "-noappend")
		return path
	}
	good := image(newImage("looked", "1").service("looked.service", sleeps, ""))
	cut, cancel := context.WithCancel(t.Context())
	x.mu.Lock()
	x.before = func(message []byte) {
		if bytes.Contains(message, []byte("StartTransientUnit")) && bytes.Contains(message, []byte("cut-off")) {
			cancel() // the call is made, and there is no answer yet
		}
	}
	x.mu.Unlock()
	for name, c := range map[string]struct {
		ctx   context.Context
		image string
		want  adapter.Reason
	}{
		"cut off":     {cut, good, adapter.Canceled},
		"in order":    {t.Context(), good, ""},
		"not mounted": {t.Context(), filepath.Join(t.TempDir(), "no-such-image"), adapter.Corrupt},
	} {
		err := l.checkMountPoints(c.ctx, e.probes(), c.image, filepath.Join(t.TempDir(), strings.ReplaceAll(name, " ", "-")), basicMountPoints)
		reasonIs(t, name, err, c.want)
		if c.want == adapter.Corrupt && !says(err, "cannot be mounted") {
			t.Errorf("%s: %v", name, err)
		}
		if left := units("smmd-probe-*"); left != "" {
			t.Errorf("%s: left is\n%s", name, left)
		}
	}

	mine, others := `smmd-probe-home\x2dx-left.service`, "smmd-probe-home-left.service"
	for _, unit := range []string{mine, others} {
		run(t, "systemd-run", "--quiet", "--unit="+unit, "--remain-after-exit", "true")
	}
	defer systemctl(t, "stop", others)
	kill(t, d.s)
	d.open(envs)
	d.await("the environment", func() bool { return d.envs[home].Up })
	if left := units("smmd-probe-home?x2dx-*"); left != "" {
		t.Errorf("a new adapter leaves\n%s", left)
	}
	if left := units(others); left == "" {
		t.Error("a new adapter removes what belongs to another environment")
	}
}

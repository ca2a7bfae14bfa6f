package systemd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/processors"
)

// TestAttachedMeanwhile attaches an image for which an earlier process has asked portabled, too, just before.
func TestAttachedMeanwhile(t *testing.T) {
	d := newDevice(t, map[string]map[string]any{home: {"stop_timeout": "5s"}})
	d.install(home, "late", newImage("late", "1").service("late.service", sleeps, "").pkg(t))
	e := d.s.envs[home]
	l, err := e.link(t.Context())
	d.must(err)
	r, err := e.store.load("late")
	d.must(err)
	d.must(e.attachOwn(t.Context(), l, r.Current))
	if all, _ := attached(r.Current); !all {
		t.Errorf("it is not attached: %+v", r.Current)
	}
	other := r.Current
	other.Image = "another"
	d.must(os.CopyFS(e.store.image(other.Image), os.DirFS(e.store.image(r.Current.Image))))
	if err := e.attachOwn(t.Context(), l, other); adapter.ReasonOf(err) != adapter.Exists {
		t.Errorf("another image with the same unit: %v", err)
	}
	d.must(os.RemoveAll(e.store.image(other.Image)))
}

// TestKilledAnywhere ends the adapter at some moment of each call that changes something, has another one make the call again, and compares
// with what an undisturbed call gives. The conformance kit kills at the beginning only.
func TestKilledAnywhere(t *testing.T) {
	envs := map[string]map[string]any{home: {"stop_timeout": "5s"}}
	d := newDevice(t, envs)
	version := func(v string) adapter.Package {
		return newImage("cut", v).service("cut.service", sleeps, "StateDirectory=cut\n").unit("cut-"+v+".timer", "[Timer]\nUnit=cut.service\nOnActiveSec=1d\n").pkg(t)
	}
	v1, v2 := version("1"), version("2")
	m := ref(home, "cut", "cut.service")
	traces := func() (all []string) {
		for _, pattern := range []string{"/run/systemd/*/cut*", "/run/systemd/system/smmd-*.env", "/run/portables/*", "/var/lib/cut", "/var/lib/private/cut", d.data + "/*/images/*", d.data + "/*/units/*"} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, found...)
		}
		return all
	}
	limit := func() int { return 10 + d.ops%20 } // another one each time
	calls := []struct {
		name    string
		call    func(s *systemd, op adapter.OpID) error
		version string // of the unit afterwards, empty: it is gone
	}{
		{"Install", func(s *systemd, op adapter.OpID) error {
			_, err := s.Install(t.Context(), op, adapter.InstallSpec{Env: home, Key: "cut", Package: v1, RunLevel: -1})
			return err
		}, "1"},
		{"SetUnit", func(s *systemd, op adapter.OpID) error {
			return s.SetUnit(t.Context(), op, m.UnitRef, adapter.UnitSettings{
				Variables: []adapter.Variable{{Key: "OP", Value: string(op)}}, Limits: adapter.Limits{CPU: 50},
			})
		}, "1"},
		{"Constrain", func(s *systemd, op adapter.OpID) error {
			cpu := limit()
			return s.Constrain(t.Context(), op, home, adapter.Constraints{CPU: &cpu}, false)
		}, "1"},
		{"Update", func(s *systemd, op adapter.OpID) error {
			_, err := s.Update(t.Context(), op, m.UnitRef, v1, v2)
			return err
		}, "2"},
		{"Revert", func(s *systemd, op adapter.OpID) error {
			_, err := s.Revert(t.Context(), op, m.UnitRef, v1)
			return err
		}, "1"},
		{"SetEnabled", func(s *systemd, op adapter.OpID) error { return s.SetEnabled(t.Context(), op, home, false, nil) }, "1"},
		{"SetEnabled", func(s *systemd, op adapter.OpID) error { return s.SetEnabled(t.Context(), op, home, true, nil) }, "1"},
		{"Uninstall", func(s *systemd, op adapter.OpID) error {
			_, err := s.Uninstall(t.Context(), op, m.UnitRef)
			return err
		}, ""},
	}
	for _, after := range []time.Duration{5, 20, 50, 90, 150} {
		for _, c := range calls {
			op := d.op()
			ended := make(chan error, 1)
			s := d.s
			go func() { ended <- c.call(s, op) }()
			// Any moment will do: what is claimed holds for all of them.
			select {
			case <-time.After(after * time.Millisecond):
			case err := <-ended:
				ended <- err
			}
			kill(t, d.s)
			first := <-ended
			d.open(envs)
			if err := c.call(d.s, op); err != nil {
				t.Fatalf("%s, killed after %d ms (%v), and made again: %v", c.name, after, first, err)
			}
			what := fmt.Sprintf("%s, killed after %d ms (%v)", c.name, after, first)
			if c.version == "" {
				if left := traces(); len(left) > 0 {
					t.Fatalf("%s: left are %v", what, left)
				}
				continue
			}
			r, err := d.s.envs[home].store.load("cut")
			d.must(err)
			all, _ := attached(r.Current)
			if r.State != installed || r.Current.Manifest.Version != c.version || !all {
				t.Fatalf("%s: %+v, attached %v", what, r, all)
			}
			images, err := filepath.Glob(d.data + "/*/images/*")
			d.must(err)
			if len(images) != len(r.generations()) {
				t.Fatalf("%s: there are images %v of %+v", what, images, r)
			}
			switch c.name {
			case "SetUnit":
				if got := run(t, "cat", d.s.envs[home].variablesPath("cut")); !strings.Contains(got, "OP=\""+string(op)+"\"\n") {
					t.Fatalf("%s: the variables of %s are\n%s", what, op, got)
				}
			case "Constrain":
				all := limit() * processors.Online()
				for unit, percent := range map[string]int{sliceOf(home): all, "cut.service": shareOf(all, 50)} {
					if got := show(t, unit, "CPUQuotaPerSecUSec"); got != quota(percent) {
						t.Fatalf("%s: %s has %s of a processor, want %d %%", what, unit, got, percent)
					}
				}
			}
			if c.name != "SetEnabled" {
				d.must(d.start(m))
			}
		}
	}
}

package osgi

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/test/support"
)

// elsewhere are the cases of these methods, all without any, that only the other framework shows in the short form: each has every second
// one.
func elsewhere(framework string, methods ...string) map[string]string {
	if support.Long() {
		return nil
	}
	of := map[string]int{"Felix": 0, "Equinox": 1}
	return adaptertest.Share(of[framework], len(of), "the other framework shows it, and in the long form this one too", methods...)
}

// TestAttachedConformance is the whole contract on frameworks that somebody else launches.
func TestAttachedConformance(t *testing.T) {
	onEach(t, func(t *testing.T, _ map[string]any) {
		if testing.Short() {
			t.Skip("it takes minutes")
		}
		name := t.Name()[strings.LastIndex(t.Name(), "/")+1:]
		framework := strings.ToLower(name)
		launchers := map[string]map[string]*support.Launcher{} // by device and environment
		end := func(_ adaptertest.TB, dir, env string) { launchers[dir][env].Kill() }
		adaptertest.Run(t, adaptertest.Harness{
			Kind: Kind,
			Open: func(adaptertest.TB, string) (adapter.Adapter, func()) {
				dead, kill := context.WithCancel(context.Background())
				l := defaultLimits()
				l.poll = 100 * time.Millisecond // nearly every case waits for its framework
				return &killable{newAdapter(quietLog(), l), dead}, kill
			},
			Environments: func(tb adaptertest.TB, dir string) []adapter.EnvConfig {
				launchers[dir] = map[string]*support.Launcher{}
				var envs []adapter.EnvConfig
				for _, env := range []string{"one", "two"} {
					l := support.NewLauncher(tb.(*testing.T), framework)
					l.StartLevel, l.Bundles = 1, nil
					l.Properties = map[string]string{"smmd.test.release": filepath.Join(dir, "release")}
					launchers[dir][env] = l
					raw, err := json.Marshal(map[string]any{"attach": true, "socket": l.Socket})
					if err != nil {
						tb.Fatalf("cannot encode the settings: %v", err)
					}
					envs = append(envs, adapter.EnvConfig{ID: env, Settings: raw})
				}
				return envs
			},
			Packages: kitPackages(t),
			Lose:     end,
			Attached: &adaptertest.Attached{
				Launch: func(_ adaptertest.TB, dir, env string) {
					if l := launchers[dir][env]; l.PID() == 0 {
						l.Kill() // forgets the one that has ended
						l.Launch()
					}
				},
				End: end,
			},
			Skip:          elsewhere(name),                                           // TestConformance has them all on both
			System:        func(adaptertest.TB, string, string) string { return "" }, // the host
			SkipPermanent: "bundles are not part of the firmware",
			SkipLeft:      "the storage is the framework's own",
			SkipVersions:  "they are somebody else's",
		})
	})
}

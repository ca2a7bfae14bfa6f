package osgi

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/test/support"
)

// elsewhere is the adapter of attached environments together with who launches them: what the agent would leave alone, the test does.
type elsewhere struct {
	*killable
	device *device
}

// device is what stays when the adapter is killed.
type device struct {
	mu        sync.Mutex
	launchers map[string]*support.Launcher // by environment
}

// Describe leaves out the versions, which are not the adapter's to put back.
func (x *elsewhere) Describe(ctx context.Context) (adapter.Description, error) {
	d, err := x.killable.Describe(ctx)
	d.Capabilities = []adapter.Capability{adapter.CapRunLevels, adapter.CapAutoStart, adapter.CapExport}
	return d, err
}

// SetEnabled is the launcher's work.
func (x *elsewhere) SetEnabled(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
	e, err := x.env(env)
	if err != nil {
		return err
	}
	if err := x.killable.SetEnabled(ctx, op, env, on, first); adapter.ReasonOf(err) != adapter.NotSupported {
		return errors.Join(errors.New("an attached environment is launched or ended"), err)
	}
	x.device.mu.Lock()
	defer x.device.mu.Unlock()
	l := x.device.launchers[env]
	if !on {
		l.Kill()
		return nil
	}
	if l.PID() == 0 {
		l.Kill() // forgets the one that has ended
		l.Launch()
	}
	if !poll(func() bool { return ctx.Err() != nil || e.answers(ctx) }) {
		return adapter.Errorf(adapter.StartFailed, "the launcher's framework does not answer: %s", l.Log())
	}
	return ctx.Err()
}

// TestAttachedConformance is the whole contract on frameworks that somebody else launches.
func TestAttachedConformance(t *testing.T) {
	onEach(t, func(t *testing.T, _ map[string]any) {
		if testing.Short() {
			t.Skip("it takes minutes")
		}
		framework := strings.ToLower(t.Name()[strings.LastIndex(t.Name(), "/")+1:])
		noFirst := "the launcher starts what is to be started before the adapter can set anything"
		devices := map[string]*device{}
		adaptertest.Run(t, adaptertest.Harness{
			Kind: Kind,
			Open: func(_ adaptertest.TB, dir string) (adapter.Adapter, func()) {
				dead, kill := context.WithCancel(context.Background())
				return &elsewhere{&killable{newAdapter(quietLog(), defaultLimits()), dead}, devices[dir]}, kill
			},
			Environments: func(tb adaptertest.TB, dir string) []adapter.EnvConfig {
				devices[dir] = &device{launchers: map[string]*support.Launcher{}}
				var envs []adapter.EnvConfig
				for _, env := range []string{"one", "two"} {
					l := support.NewLauncher(tb.(*testing.T), framework)
					l.StartLevel, l.Bundles = 1, nil
					l.Properties = map[string]string{"smmd.test.release": filepath.Join(dir, "release")}
					devices[dir].launchers[env] = l
					raw, err := json.Marshal(map[string]any{"attach": true, "socket": l.Socket})
					if err != nil {
						tb.Fatalf("cannot encode the settings: %v", err)
					}
					envs = append(envs, adapter.EnvConfig{ID: env, Settings: raw})
				}
				return envs
			},
			Packages:     kitPackages(t),
			Lose:         func(_ adaptertest.TB, dir, env string) { devices[dir].launchers[env].Kill() },
			SkipVersions: "they are somebody else's",
			Skip: map[string]string{
				"SetEnabled/run level that was set first holds before a module is started": noFirst,
				"SetEnabled/AutoStart that was set first holds before a module is started": noFirst,
			},
		})
	})
}

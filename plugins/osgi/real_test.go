package osgi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
)

// needed skips the test, or fails it where everything has to be there.
func needed(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", what)
	}
	t.Skipf("%s is missing", what)
}

// part returns the absolute path of a real component: what the environment variable says, or the default.
func part(t *testing.T, variable, path string) string {
	t.Helper()
	if v := os.Getenv(variable); v != "" {
		path = v
	}
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		needed(t, path+" ("+variable+")")
	}
	return path
}

// frameworks are the real ones.
var frameworks = []struct{ name, variable, jar string }{
	{"Felix", "SMMD_TEST_FELIX_JAR", "../../build/osgi/felix.jar"},
	{"Equinox", "SMMD_TEST_EQUINOX_JAR", "../../build/osgi/equinox.jar"},
}

// onEach runs a test on each real framework.
func onEach(t *testing.T, run func(t *testing.T, settings map[string]any)) {
	for _, f := range frameworks {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("java"); err != nil {
				needed(t, "java")
			}
			run(t, map[string]any{
				"host_jar":  part(t, "SMMD_TEST_HOST_JAR", "../../build/osgi/osgi-host.jar"),
				"framework": part(t, f.variable, f.jar),
			})
		})
	}
}

func testBundle(t *testing.T, name string) adapter.Package {
	t.Helper()
	path := filepath.Join(part(t, "SMMD_TEST_BUNDLES", "../../test/bundles/target/bundles"), name)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return adapter.Package{Path: path, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(content))}
}

// killable is an adapter whose process can be killed: its calls and its watch end as if it were gone.
type killable struct {
	*osgi
	dead context.Context
}

func (k *killable) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(k.dead, func() { cancel(context.Canceled) })
	return ctx, func() { stop(); cancel(nil) }
}

func (k *killable) Watch(ctx context.Context) (<-chan adapter.Event, error) {
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(k.dead, cancel)
	return k.osgi.Watch(ctx)
}

func (k *killable) Inspect(ctx context.Context, env string, p adapter.Package) (adapter.Manifest, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Inspect(ctx, env, p)
}

func (k *killable) Install(ctx context.Context, op adapter.OpID, s adapter.InstallSpec) (adapter.Unit, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Install(ctx, op, s)
}

func (k *killable) Update(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old, next adapter.Package) (adapter.Unit, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Update(ctx, op, u, old, next)
}

func (k *killable) Revert(ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (adapter.Unit, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Revert(ctx, op, u, old)
}

func (k *killable) Uninstall(ctx context.Context, op adapter.OpID, u adapter.UnitRef) (adapter.UninstallResult, error) {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Uninstall(ctx, op, u)
}

func (k *killable) Start(ctx context.Context, op adapter.OpID, m adapter.ModuleRef, o adapter.StartOptions) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Start(ctx, op, m, o)
}

func (k *killable) Stop(ctx context.Context, op adapter.OpID, m adapter.ModuleRef) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Stop(ctx, op, m)
}

func (k *killable) SetEnabled(ctx context.Context, op adapter.OpID, env string, on bool, first []adapter.ModuleSetting) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.SetEnabled(ctx, op, env, on, first)
}

func (k *killable) SetRunLevel(ctx context.Context, op adapter.OpID, env string, level int) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.SetRunLevel(ctx, op, env, level)
}

func (k *killable) Export(ctx context.Context, u adapter.UnitRef, path string) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.Export(ctx, u, path)
}

func (k *killable) SaveVersion(ctx context.Context, env, path string) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.SaveVersion(ctx, env, path)
}

func (k *killable) RestoreVersion(ctx context.Context, op adapter.OpID, env string, p adapter.Package) error {
	ctx, end := k.bound(ctx)
	defer end()
	return k.osgi.RestoreVersion(ctx, op, env, p)
}

// linked makes path a link to a framework, as what a package manager keeps up to date.
func linked(t adaptertest.TB, path, framework string) {
	if _, err := os.Lstat(path); err == nil {
		return // of an earlier adapter on the device
	}
	if err := os.Symlink(framework, path); err != nil {
		t.Fatalf("cannot link the framework: %v", err)
	}
}

// upgrade replaces the framework behind the link at path by one of other content: the same with something more in the comment that
// ends a zip file. A framework that runs from the old one keeps it.
func upgrade(t adaptertest.TB, path string) {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("cannot read the framework: %v", err)
	}
	end := bytes.LastIndex(data, []byte("PK\x05\x06"))
	data = append(data, '!')
	binary.LittleEndian.PutUint16(data[end+20:], uint16(len(data)-end-22))
	next := fmt.Sprintf("%s-%d", path, len(data))
	err = errors.Join(os.WriteFile(next, data, 0o600), os.Symlink(next, path+".next"), os.Rename(path+".next", path))
	if err != nil {
		t.Fatalf("cannot replace the framework: %v", err)
	}
}

// runsFrom are the digests of the jars that the environment's process has open, without the host's.
func runsFrom(t adaptertest.TB, data, hostJar string) string {
	pid, err := (&host{dir: data}).find()
	if err != nil || pid == 0 {
		t.Fatalf("cannot find the host: %v", err)
	}
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(fds)
	if err != nil {
		t.Fatalf("cannot see what the host has open: %v", err)
	}
	found := map[string]bool{}
	for _, fd := range open {
		link := filepath.Join(fds, fd.Name())
		name, err := os.Readlink(link)
		if err != nil || strings.HasPrefix(name, filepath.Join(data, storageName)) || name == hostJar || !strings.Contains(name, ".jar") {
			continue
		}
		// Of a file that was removed the descriptor still has the content.
		if content, err := os.ReadFile(link); err == nil {
			found[fmt.Sprintf("%x", sha256.Sum256(content))] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(found)), " ")
}

// kitPackages are the bundles that the conformance kit asks for. Those that hang go on when there is a file "release" in the directory of the device.
func kitPackages(t *testing.T) adaptertest.Packages {
	t.Helper()
	bundle := func(name string) adaptertest.Package { return adaptertest.Package{Path: testBundle(t, name).Path} }
	failsStart, failsStop := bundle("throws-in-start-1.0.0.jar"), bundle("throws-in-stop-1.0.0.jar")
	failsStart.Message, failsStop.Message = "boom on purpose", "stuck on purpose"
	hangsStart, hangsStop := bundle("hangs-in-start-1.0.0.jar"), bundle("hangs-in-stop-1.0.0.jar")
	hangsStart.Release = func(t adaptertest.TB, dir string) {
		if err := os.WriteFile(filepath.Join(dir, "release"), nil, 0o600); err != nil {
			t.Fatalf("cannot release: %v", err)
		}
	}
	hangsStop.Release = hangsStart.Release
	never := func(why string) adaptertest.Package { return adaptertest.Package{Skip: why} }
	const (
		one     = "a bundle is one module"
		threads = "a bundle is no process: it neither ends by itself nor is started again"
	)
	return adaptertest.Packages{
		V1: bundle("sample-1.0.0.jar"), V2: bundle("sample-2.0.0.jar"), Other: bundle("sample2-1.0.0.jar"),
		Corrupt: bundle("truncated.jar"), Foreign: bundle("plain.jar"),
		FailsInstall: adaptertest.Package{Path: writeJar(t, member{manifestName,
			"Manifest-Version: 1.0\nBundle-ManifestVersion: 2\nBundle-SymbolicName: fails\nImport-Package: a,a\n"})},
		FailsUninstall: adaptertest.Package{Skip: "a framework removes every bundle"},
		FailsStart:     failsStart, FailsStop: failsStop, HangsStart: hangsStart, HangsStop: hangsStop,
		Inert: bundle("fragment-1.0.0.jar"), Unresolved: bundle("missing-import-1.0.0.jar"),
		Unstartable: never("a bundle that cannot be started fails to start"),
		IgnoresStop: never("a framework has no force to end a bundle with"), TooLarge: never("a framework has no limit of its own"),
		Several: never(one), SeveralNext: never(one), FailsOne: never(one),
		Ends: never(threads), Exits: never(threads), Dies: never(threads), Restarts: never(threads), RestartsLater: never(threads),
		Completes: never("a bundle is active until it is stopped"), Greedy: never("what exceeds the heap ends the framework"),
	}
}

func TestConformance(t *testing.T) {
	onEach(t, func(t *testing.T, settings map[string]any) {
		if testing.Short() {
			t.Skip("it takes minutes")
		}
		framework, hostJar := settings["framework"].(string), settings["host_jar"].(string)
		adaptertest.Run(t, adaptertest.Harness{
			Kind: Kind,
			Open: func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
				dead, kill := context.WithCancel(context.Background())
				for _, env := range []string{"one", "two"} {
					endHost(t, filepath.Join(dir, env))
				}
				return &killable{newAdapter(quietLog(), defaultLimits()), dead}, kill
			},
			Environments: func(t adaptertest.TB, dir string) []adapter.EnvConfig {
				var envs []adapter.EnvConfig
				for _, env := range []string{"one", "two"} {
					settings["properties"] = map[string]string{"smmd.test.release": filepath.Join(dir, "release")}
					settings["stop_timeout"] = "3s" // for the bundle that hangs
					settings["framework"] = filepath.Join(dir, env+".jar")
					linked(t, filepath.Join(dir, env+".jar"), framework)
					raw, err := json.Marshal(settings)
					if err != nil {
						t.Fatalf("cannot encode the settings: %v", err)
					}
					data := filepath.Join(dir, env)
					if err := os.MkdirAll(data, 0o700); err != nil {
						t.Fatalf("cannot make the data directory: %v", err)
					}
					envs = append(envs, adapter.EnvConfig{ID: env, DataDir: data, Settings: raw})
				}
				return envs
			},
			Packages: kitPackages(t),
			Lose: func(t adaptertest.TB, dir, env string) {
				if err := (&host{dir: filepath.Join(dir, env)}).signal(syscall.SIGKILL); err != nil {
					t.Fatalf("cannot kill the host: %v", err)
				}
			},
			// What these do is done with files, or by the adapter and the host: the framework has the least to say there.
			Skip: elsewhere(t.Name()[strings.LastIndex(t.Name(), "/")+1:], "Describe", "Configure", "Inspect", "SaveVersion", "RestoreVersion",
				"Export", "Discard", "Uninstall", "Calls"),
			SkipSystem:    "the host launches the framework and is no bundle of it",
			SkipPermanent: "bundles are not part of the firmware",
			SkipLeft:      "the storage is the framework's own",
			Versions: &adaptertest.Versions{
				Upgrade: func(t adaptertest.TB, dir, env string) { upgrade(t, filepath.Join(dir, env+".jar")) },
				Running: func(t adaptertest.TB, dir, env string) string { return runsFrom(t, filepath.Join(dir, env), hostJar) },
			},
		})
	})
}

// TestRestoredFrameworkRuns saves a real framework, replaces it, and puts it back.
func TestRestoredFrameworkRuns(t *testing.T) {
	onEach(t, func(t *testing.T, settings map[string]any) {
		dir := t.TempDir()
		endHost(t, dir)
		configuredJar := filepath.Join(t.TempDir(), "framework.jar")
		linked(t, configuredJar, settings["framework"].(string))
		settings["framework"] = configuredJar
		o := configured(t, defaultLimits(), dir, settings)
		relaunched := func() string {
			t.Helper()
			if err := errors.Join(o.SetEnabled(t.Context(), "op", "home", false, nil), o.SetEnabled(t.Context(), "op", "home", true, nil)); err != nil {
				t.Fatal(err)
			}
			return runsFrom(t, dir, settings["host_jar"].(string))
		}
		first := relaunched()
		p := testBundle(t, "sample-1.0.0.jar")
		u, err := o.Install(t.Context(), "op", adapter.InstallSpec{Env: "home", Key: "sample", Package: p, RunLevel: -1})
		if err != nil {
			t.Fatal(err)
		}
		saved := filepath.Join(t.TempDir(), "saved")
		if err := o.SaveVersion(t.Context(), "home", saved); err != nil {
			t.Fatal(err)
		}
		upgrade(t, configuredJar)
		after := filepath.Join(t.TempDir(), "after") // what is at the path has never run
		if err := o.SaveVersion(t.Context(), "home", after); err != nil {
			t.Fatal(err)
		}
		if d, err := digestsOf(t.Context(), []string{saved, after}); err != nil || d[0] != d[1] {
			t.Errorf("after the upgrade another version is saved: %v, %v", d, err)
		}
		second := relaunched()
		if strings.Contains(second, " ") || second == first {
			t.Fatalf("it ran from %q and runs from %q", first, second)
		}
		if err := o.RestoreVersion(t.Context(), "op", "home", adapter.Package{Path: saved}); err != nil {
			t.Fatal(err)
		}
		if got := relaunched(); got != first {
			t.Errorf("it runs from %q, want the restored %q", got, first)
		}
		// The bundle is still there, and what is exported of it is what was installed.
		exported := filepath.Join(t.TempDir(), "exported")
		if err := o.Export(t.Context(), adapter.UnitRef{Env: "home", Key: u.Key, Handle: u.Handle}, exported); err != nil {
			t.Fatal(err)
		}
		if d, err := digestsOf(t.Context(), []string{p.Path, exported}); err != nil || d[0] != d[1] {
			t.Errorf("the exported bundle is another: %v, %v", d, err)
		}
		upgrade(t, configuredJar)
		if got := relaunched(); got == first || got == second {
			t.Errorf("after another upgrade it runs from %q as before", got)
		}
	})
}

// TestInspectAgreesWithTheFramework compares what is read of the file with what the framework says of it.
func TestInspectAgreesWithTheFramework(t *testing.T) {
	onEach(t, func(t *testing.T, settings map[string]any) {
		dir := longDir(t)
		endHost(t, dir)
		o := configured(t, defaultLimits(), dir, settings)
		if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"sample-1.0.0.jar", "localized-1.0.0.jar", "no-vendor-1.0.0.jar", "lazy-1.0.0.jar", "fragment-1.0.0.jar",
			"provider-2.0.0.jar", "large-1.0.0.jar"} {
			p := testBundle(t, name)
			m, err := o.Inspect(t.Context(), "home", p)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			u, err := o.Install(t.Context(), adapter.OpID(name), adapter.InstallSpec{Env: "home", Key: name, Package: p, RunLevel: -1})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if u.Manifest != m {
				t.Errorf("%s: the file says %+v, the framework %+v", name, m, u.Manifest)
			}
			if u.Modules[0].Inert != strings.HasPrefix(name, "fragment") {
				t.Errorf("%s: inert is %v", name, u.Modules[0].Inert)
			}
		}
		for name, want := range map[string]adapter.Reason{"truncated.jar": adapter.Corrupt, "not-a-zip.jar": adapter.Corrupt, "empty.jar": adapter.Corrupt,
			"bad-version.jar": adapter.Corrupt, "plain.jar": adapter.Mismatch} {
			_, err := o.Inspect(t.Context(), "home", testBundle(t, name))
			reasonIs(t, err, want)
		}
	})
}

// TestRealHostLives covers what no double can show: the memory limit, the end of a JVM by itself, and its return.
func TestRealHostLives(t *testing.T) {
	onEach(t, func(t *testing.T, settings map[string]any) {
		dir := t.TempDir()
		endHost(t, dir)
		settings["memory"] = "48MiB"
		o := configured(t, defaultLimits(), dir, settings)
		f := watch(t, o)
		if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
			t.Fatal(err)
		}
		up := f.until("the sync", synced)
		e := up[slices.IndexFunc(up, func(e adapter.Event) bool { return e.Env != nil && e.Env.Up })].Env
		if e.AllocatedMemory != 48<<10 || e.AvailableMemory <= 0 || e.AvailableMemory > e.AllocatedMemory || e.AvailableDisk <= 0 ||
			!strings.HasPrefix(e.Type, "OSGi 1.") || e.Vendor == "" || e.Version == "" || len(e.Name) != 36 || e.RunLevel != 1 {
			t.Errorf("%+v", e)
		}
		for _, name := range []string{"exit-1.0.0.jar", "oom-1.0.0.jar"} {
			u, err := o.Install(t.Context(), adapter.OpID(name), adapter.InstallSpec{Env: "home", Key: name, Package: testBundle(t, name), RunLevel: -1})
			if err != nil {
				t.Fatal(err)
			}
			m := adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: "home", Key: u.Key, Handle: u.Handle}, Module: moduleID}
			reasonIs(t, o.Start(t.Context(), "op", m, adapter.StartOptions{}), adapter.Unavailable)
			lost := f.until("the loss by "+name, down)
			t.Logf("%s: %s", name, lost[len(lost)-1].Env.Detail)
			if detail := lost[len(lost)-1].Env.Detail; !strings.Contains(detail, "ended with status") {
				t.Errorf("%s: detail %q", name, detail)
			}
			if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
				t.Fatal(err)
			}
			again := f.until("the sync after "+name, synced)
			if !slices.ContainsFunc(again, unit(name, adapter.Idle)) {
				t.Errorf("after the new launch:\n%s", describe(again))
			}
		}
	})
}

// TestBundleThatHangs shows that a stop that does not end is answered in time and keeps an update from being begun.
func TestBundleThatHangs(t *testing.T) {
	onEach(t, func(t *testing.T, settings map[string]any) {
		dir := t.TempDir()
		endHost(t, dir)
		settings["call_timeout"], settings["stop_timeout"] = "500ms", "500ms"
		o := configured(t, defaultLimits(), dir, settings)
		f := watch(t, o)
		if err := o.SetEnabled(t.Context(), "op", "home", true, nil); err != nil {
			t.Fatal(err)
		}
		p := testBundle(t, "hangs-in-stop-1.0.0.jar")
		u, err := o.Install(t.Context(), "op", adapter.InstallSpec{Env: "home", Key: "hangs", Package: p, RunLevel: -1})
		if err != nil {
			t.Fatal(err)
		}
		m := adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: "home", Key: u.Key, Handle: u.Handle}, Module: moduleID}
		if err := o.Start(t.Context(), "op", m, adapter.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		f.until("the start", unit("hangs", adapter.Active))
		_, err = o.Uninstall(t.Context(), "op1", m.UnitRef)
		reasonIs(t, err, adapter.StillRunning)
		f.until("the stop to begin", unit("hangs", adapter.Stopping))
		_, err = o.Update(t.Context(), "op2", m.UnitRef, p, p)
		reasonIs(t, err, adapter.StillRunning)
		// Nothing was replaced, so there is nothing to take back; that is not said of a package that is not there.
		back, err := o.Revert(t.Context(), "op2", m.UnitRef, p)
		if err != nil || back.Key != u.Key || back.Manifest != u.Manifest {
			t.Errorf("Revert: %v, %+v", err, back)
		}
		_, err = o.Revert(t.Context(), "op2", m.UnitRef, testBundle(t, "sample-1.0.0.jar"))
		reasonIs(t, err, adapter.StillRunning)
		reasonIs(t, o.Stop(t.Context(), "op3", m), adapter.StillRunning)
		if err := o.SetEnabled(t.Context(), "op4", "home", false, nil); err != nil {
			t.Fatal(err)
		}
		if err := o.SetEnabled(t.Context(), "op5", "home", true, nil); err != nil {
			t.Fatal(err)
		}
		f.until("the bundle after the new launch", unit("hangs", adapter.Idle))
	})
}

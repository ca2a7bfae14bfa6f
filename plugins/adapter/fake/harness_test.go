package fake_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/adapter/adaptertest"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// variants are the properties that an environment can have.
var variants = map[string]fake.Options{
	"plain":                     {},
	"run levels":                {RunLevels: true},
	"auto-start":                {AutoStart: true},
	"run levels and auto-start": {RunLevels: true, AutoStart: true},
	"export":                    {Export: true},
	"versions":                  {Versions: true},
	"no limits of disk space":   {Settings: true, Constraints: true, NoDiskLimit: true},
	"everything":                everything,
	"attached":                  {RunLevels: true, AutoStart: true, Export: true, Versions: true, Settings: true, Volumes: true, Constraints: true, Attached: true},
}

var everything = fake.Options{RunLevels: true, AutoStart: true, Export: true, Versions: true, Settings: true, Volumes: true, Constraints: true}

// packages writes the packages of the conformance kit. end ends a module at the console, nil where that cannot be reached.
func packages(t *testing.T, release func(t adaptertest.TB, dir, name string), end func(t adaptertest.TB, dir string, m adapter.ModuleRef, exit int)) adaptertest.Packages {
	t.Helper()
	dir := t.TempDir()
	pkg := func(s fake.Spec) adaptertest.Package {
		if s.Version == "" {
			s.Version = "1"
		}
		p, err := fake.Write(dir, s)
		if err != nil {
			t.Fatal(err)
		}
		return adaptertest.Package{Path: p.Path, Message: "boom"}
	}
	with := func(name string, m fake.ModuleSpec) fake.Spec {
		m.ID = fake.DefaultModule
		return fake.Spec{Name: name, Modules: []fake.ModuleSpec{m}}
	}
	corrupt, err := fake.WriteBytes(dir, "corrupt", []byte("{ cut off"))
	if err != nil {
		t.Fatal(err)
	}
	hanging := func(name string, m fake.ModuleSpec) adaptertest.Package {
		p := pkg(with(name, m))
		p.Release = func(t adaptertest.TB, dir string) { release(t, dir, name) }
		return p
	}
	ends := func(name string, m fake.ModuleSpec, exit int) adaptertest.Package {
		if end == nil {
			return adaptertest.Package{Skip: "the console is in the process of the adapter"}
		}
		p := pkg(with(name, m))
		p.ExitCode = exit
		p.End = func(t adaptertest.TB, dir string, m adapter.ModuleRef) { end(t, dir, m, exit) }
		return p
	}
	modules := func(name, version string, all ...fake.ModuleSpec) adaptertest.Package {
		return pkg(fake.Spec{Name: name, Version: version, Modules: all})
	}
	return adaptertest.Packages{
		V1: pkg(fake.Spec{
			Name: "unit", Version: "1.0", Vendor: "v", SizeKiB: 10, Modules: []fake.ModuleSpec{{ID: fake.DefaultModule, MemoryKiB: 20}},
		}),
		V2:             pkg(fake.Spec{Name: "unit", Version: "2.0", Vendor: "v", SizeKiB: 20}),
		Other:          pkg(fake.Spec{Name: "other", Modules: []fake.ModuleSpec{{ID: "a"}, {ID: "b"}}}),
		Corrupt:        adaptertest.Package{Path: corrupt.Path},
		Foreign:        pkg(fake.Spec{Name: "foreign", Kind: "osgi"}),
		FailsInstall:   pkg(fake.Spec{Name: "fails-install", InstallFails: "boom", UpdateFails: "boom"}),
		FailsUninstall: pkg(fake.Spec{Name: "fails-uninstall", UninstallFails: "boom"}),
		FailsStart:     pkg(with("fails-start", fake.ModuleSpec{StartFails: "boom"})),
		FailsStop:      pkg(with("fails-stop", fake.ModuleSpec{StopFails: "boom"})),
		HangsStart:     hanging("hangs-start", fake.ModuleSpec{StartHangs: true}),
		HangsStop:      hanging("hangs-stop", fake.ModuleSpec{StopHangs: true}),
		Inert:          pkg(with("inert", fake.ModuleSpec{Inert: true})),
		Unresolved:     pkg(fake.Spec{Name: "unresolved", Requires: []string{"nothing of this name"}}),
		Unstartable:    pkg(with("unstartable", fake.ModuleSpec{Unstartable: "boom"})),
		IgnoresStop:    pkg(with("ignores-stop", fake.ModuleSpec{IgnoresStop: true})),
		TooLarge:       pkg(fake.Spec{Name: "too-large", SizeKiB: 1001}),
		Several:        modules("several", "1", fake.ModuleSpec{ID: "a"}, fake.ModuleSpec{ID: "b"}, fake.ModuleSpec{ID: "c"}),
		SeveralNext:    modules("several", "2", fake.ModuleSpec{ID: "b"}, fake.ModuleSpec{ID: "c"}, fake.ModuleSpec{ID: "d"}),
		FailsOne:       modules("fails-one", "1", fake.ModuleSpec{ID: "bad", StartFails: "boom"}, fake.ModuleSpec{ID: "good"}),
		Ends:           ends("ends", fake.ModuleSpec{}, 0),
		Exits:          ends("exits", fake.ModuleSpec{}, 7),
		Dies:           ends("dies", fake.ModuleSpec{}, 128+9),
		Restarts:       ends("restarts", fake.ModuleSpec{Restarts: true}, 1),
		RestartsLater:  ends("restarts-later", fake.ModuleSpec{RestartsLater: true}, 1),
		Completes:      pkg(with("completes", fake.ModuleSpec{Completes: true})),
		Greedy:         ends("greedy", fake.ModuleSpec{}, 128+9),
	}
}

func environments(adaptertest.TB, string) []adapter.EnvConfig {
	return []adapter.EnvConfig{{ID: "one", Settings: []byte(`{"disk_kib": 1000}`)}, {ID: "two"}}
}

// worlds are the Worlds of the devices, which outlive the adapters.
type worlds struct {
	opts fake.Options
	mu   sync.Mutex
	m    map[string]*fake.World

	upgrades atomic.Int32
}

func (w *worlds) world(t adaptertest.TB, dir string) *fake.World {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m == nil {
		w.m = map[string]*fake.World{}
	}
	if w.m[dir] == nil {
		world := fake.NewWorld(w.opts)
		w.m[dir] = world
		t.Cleanup(func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.m, dir)
			if err := world.Close(); err != nil {
				t.Errorf("%v", err)
			}
		})
	}
	return w.m[dir]
}

// lose ends an environment at the console.
func (w *worlds) lose(t adaptertest.TB, dir, env string) {
	c, err := w.world(t, dir).Console(env)
	if err == nil {
		err = c.Lose("it crashed")
	}
	if err != nil {
		t.Fatalf("cannot lose %s: %v", env, err)
	}
}

// launch launches an environment at the console.
func (w *worlds) launch(t adaptertest.TB, dir, env string) {
	c, err := w.world(t, dir).Console(env)
	if err == nil {
		err = c.Launch()
	}
	if err != nil {
		t.Fatalf("cannot launch %s: %v", env, err)
	}
}

// system makes a unit that is part of the environment, and runs.
func (w *worlds) system(t adaptertest.TB, dir, env string) string {
	const key = "system"
	c, err := w.world(t, dir).Console(env)
	if err == nil {
		err = c.InstallSystem(key, fake.Spec{Name: key, Version: "1"})
	}
	if err == nil {
		err = c.Start(key, fake.DefaultModule)
	}
	if err != nil {
		t.Fatalf("cannot make a part of %s: %v", env, err)
	}
	return key
}

// permanent makes a unit that is part of the firmware.
func (w *worlds) permanent(t adaptertest.TB, dir, env string) string {
	const key = "permanent"
	c, err := w.world(t, dir).Console(env)
	if err == nil {
		err = c.InstallPermanent(key, fake.Spec{Name: key, Version: "1"})
	}
	if err != nil {
		t.Fatalf("cannot make a part of the firmware in %s: %v", env, err)
	}
	return key
}

// end ends a module by itself.
func (w *worlds) end(t adaptertest.TB, dir string, m adapter.ModuleRef, exit int) {
	c, err := w.world(t, dir).Console(m.Env)
	if err == nil {
		err = c.Crash(m.Key, m.Module, "boom", exit)
	}
	if err != nil {
		t.Fatalf("cannot end %s of %s: %v", m.Module, m.Key, err)
	}
}

// left are the generations that an environment has, and what goes at its next launch.
func (w *worlds) left(t adaptertest.TB, dir, env string) []string {
	s, err := w.world(t, dir).State()
	if err != nil {
		t.Fatalf("%v", err)
	}
	e := s.Envs[env]
	left := slices.Clone(e.Leftovers)
	for key, u := range e.Units {
		for _, g := range append(u.Kept, u.Present) {
			left = append(left, fmt.Sprintf("%s, generation %d", key, g.Number))
		}
	}
	return left
}

// release releases a package that hangs.
func (w *worlds) release(t adaptertest.TB, dir, name string) {
	if err := w.world(t, dir).Release(name); err != nil {
		t.Errorf("%v", err)
	}
}

// inProcess is the harness of the fake in the process of the test.
func inProcess(t *testing.T, w *worlds) adaptertest.Harness {
	h := adaptertest.Harness{
		Kind: fake.Kind,
		Open: func(t adaptertest.TB, dir string) (adapter.Adapter, func()) {
			a := fake.New(w.world(t, dir))
			return a, a.Kill
		},
		Environments: environments,
		Packages:     packages(t, w.release, w.end),
		Lose:         w.lose,
		System:       w.system,
		Permanent:    w.permanent,
		Left:         w.left,
		Versions:     &adaptertest.Versions{Upgrade: w.upgrade, Running: w.running},
		Environ:      w.environ,
		Volume:       w.volume,
		Limited:      limited,
	}
	if w.opts.Attached {
		h.Attached = &adaptertest.Attached{Launch: w.launch, End: w.lose}
	}
	return h
}

// upgrade configures another version, which no environment had before.
func (w *worlds) upgrade(t adaptertest.TB, dir, env string) {
	c, err := w.world(t, dir).Console(env)
	if err == nil {
		err = c.Upgrade(fmt.Sprintf("upgrade %d", w.upgrades.Add(1)))
	}
	if err != nil {
		t.Fatalf("cannot upgrade %s: %v", env, err)
	}
}

// running is what an environment runs.
func (w *worlds) running(t adaptertest.TB, dir, env string) string {
	s, err := w.world(t, dir).State()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s.Envs[env].Running
}

// environ is what the module was last started with.
func (w *worlds) environ(t adaptertest.TB, dir string, m adapter.ModuleRef, _ []int) map[string]string {
	s, err := w.world(t, dir).State()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return environ(t, s, m)
}

// environStored is environ for a World in another process.
func environStored(t adaptertest.TB, dir string, m adapter.ModuleRef, _ []int) map[string]string {
	s, err := fake.ReadState(stored(t, dir))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return environ(t, s, m)
}

func environ(t adaptertest.TB, s fake.State, ref adapter.ModuleRef) map[string]string {
	env := map[string]string{}
	for _, v := range started(t, s, ref).Variables {
		env[v.Key] = v.Value
	}
	return env
}

// started are the settings with which a module was last started.
func started(t adaptertest.TB, s fake.State, ref adapter.ModuleRef) adapter.UnitSettings {
	for _, m := range s.Envs[ref.Env].Units[ref.Key].Modules {
		if m.ID == ref.Module {
			return m.Settings
		}
	}
	t.Fatalf("there is no module %s of %s", ref.Module, ref.Key)
	return adapter.UnitSettings{}
}

// volume is the directory of the volume with which the module was last started.
func (w *worlds) volume(t adaptertest.TB, dir string, m adapter.ModuleRef, _ []int, path string) string {
	s, err := w.world(t, dir).State()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return volume(t, s, m, path)
}

// volumeStored is volume for a World in another process.
func volumeStored(t adaptertest.TB, dir string, m adapter.ModuleRef, _ []int, path string) string {
	s, err := fake.ReadState(stored(t, dir))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return volume(t, s, m, path)
}

func volume(t adaptertest.TB, s fake.State, ref adapter.ModuleRef, path string) string {
	for _, v := range started(t, s, ref).Volumes {
		if v.Path == path {
			return v.Source
		}
	}
	return ""
}

// limited configures another limit.
func limited(t adaptertest.TB, c adapter.EnvConfig, l adapter.Constraints) (adapter.EnvConfig, bool) {
	table := map[string]any{}
	if len(c.Settings) > 0 {
		if err := json.Unmarshal(c.Settings, &table); err != nil {
			t.Fatalf("%v", err)
		}
	}
	switch {
	case l.Disk != nil:
		table["disk_kib"] = *l.Disk
	case l.Memory != nil:
		table["memory_kib"] = *l.Memory
	default:
		table["cpu_percent"] = *l.CPU
	}
	data, err := json.Marshal(table)
	if err != nil {
		t.Fatalf("%v", err)
	}
	c.Settings = data
	return c, true
}

// releaseStored is release for a World in another process.
func releaseStored(t adaptertest.TB, dir, name string) {
	if err := fake.ReleaseIn(stored(t, dir), name); err != nil {
		t.Errorf("%v", err)
	}
}

// stored is the directory of a stored World on a device.
func stored(t adaptertest.TB, dir string) string {
	d := filepath.Join(dir, "world")
	if err := os.MkdirAll(d, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	return d
}

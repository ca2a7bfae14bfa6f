package adaptertest

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// unknownSetting is a key that no adapter has.
const unknownSetting = "no_such_setting_7f3a"

var describeCases = []Case{
	{"Describe/says kind and version", func(r *rig) {
		r.open()
		if r.desc.Kind == "" || r.desc.Version == "" || r.h.Kind != "" && r.desc.Kind != r.h.Kind {
			r.t.Errorf("Describe said Kind %q and Version %q; the kind is to be %q", r.desc.Kind, r.desc.Version, r.h.Kind)
		}
	}},
	{"Describe/within a second, at any time, always the same", func(r *rig) {
		r.open()
		again := func(when string) {
			begin := time.Now()
			r.must("Describe", func(ctx context.Context) error {
				d, err := r.a.Describe(ctx)
				if err == nil && (d.Kind != r.desc.Kind || d.Version != r.desc.Version || !slices.Equal(d.Capabilities, r.desc.Capabilities)) {
					r.t.Errorf("%s: Describe said %+v, before it was %+v", when, d, r.desc)
				}
				return err
			})
			if took := time.Since(begin); took > prompt {
				r.t.Errorf("%s: Describe took %s", when, took)
			}
		}
		again("before Configure")
		r.kill()
		r.up()
		again("with a running environment")
	}},
	{"Describe/what is announced is implemented, what is not is NotSupported", func(r *rig) {
		r.up()
		l, isLeveler := r.a.(adapter.RunLeveler)
		s, isStarter := r.a.(adapter.AutoStarter)
		x, isExporter := r.a.(adapter.Exporter)
		v, isVersioner := r.a.(adapter.Versioner)
		u, isSetter := r.a.(adapter.UnitSetter)
		k, isConstrainer := r.a.(adapter.Constrainer)
		v1 := sync.OnceValue(func() adapter.Unit { return r.install(r.h.Packages.V1.load(r, "V1")) })
		for c, implemented := range map[adapter.Capability]bool{
			adapter.CapRunLevels: isLeveler, adapter.CapAutoStart: isStarter, adapter.CapExport: isExporter, adapter.CapVersions: isVersioner,
			adapter.CapUnitSettings: isSetter, adapter.CapConstraints: isConstrainer,
		} {
			if r.desc.Has(c) && !implemented {
				r.t.Errorf("%s is announced and not implemented", c)
			}
		}
		if r.desc.Has(adapter.CapVolumes) && !r.desc.Has(adapter.CapUnitSettings) {
			r.t.Errorf("%s is announced without %s, with which it goes", adapter.CapVolumes, adapter.CapUnitSettings)
		}
		if isLeveler && !r.desc.Has(adapter.CapRunLevels) {
			err := r.call("SetRunLevel", func(ctx context.Context) error { return l.SetRunLevel(ctx, r.op(), r.env, 1) })
			r.want("SetRunLevel without "+string(adapter.CapRunLevels), err, adapter.NotSupported)
		}
		if isStarter && !r.desc.Has(adapter.CapAutoStart) {
			m := r.first(v1())
			err := r.call("SetAutoStart", func(ctx context.Context) error { return s.SetAutoStart(ctx, r.op(), m, true) })
			r.want("SetAutoStart without "+string(adapter.CapAutoStart), err, adapter.NotSupported)
		}
		if isExporter && !r.desc.Has(adapter.CapExport) {
			u, path := r.install(r.h.Packages.Other.load(r, "Other")), r.newPath()
			err := r.call("Export", func(ctx context.Context) error { return x.Export(ctx, ref(u), path) })
			r.want("Export without "+string(adapter.CapExport), err, adapter.NotSupported)
			r.wantNoFile(path)
		}
		if isVersioner && !r.desc.Has(adapter.CapVersions) {
			path := r.newPath()
			err := r.call("SaveVersion", func(ctx context.Context) error { return v.SaveVersion(ctx, r.env, path) })
			r.want("SaveVersion without "+string(adapter.CapVersions), err, adapter.NotSupported)
			r.wantNoFile(path)
			p := r.h.Packages.V1.load(r, "V1")
			err = r.call("RestoreVersion", func(ctx context.Context) error { return v.RestoreVersion(ctx, r.op(), r.env, p) })
			r.want("RestoreVersion without "+string(adapter.CapVersions), err, adapter.NotSupported)
		}
		if isSetter && !r.desc.Has(adapter.CapUnitSettings) {
			x := ref(v1())
			err := r.call("SetUnit", func(ctx context.Context) error { return u.SetUnit(ctx, r.op(), x, variables("KEY", "value")) })
			r.want("SetUnit without "+string(adapter.CapUnitSettings), err, adapter.NotSupported)
		}
		if r.desc.Has(adapter.CapUnitSettings) && !r.desc.Has(adapter.CapVolumes) {
			r.noVolumes(v1())
		}
		if isConstrainer && !r.desc.Has(adapter.CapConstraints) {
			err := r.call("Constrain", func(ctx context.Context) error {
				return k.Constrain(ctx, r.op(), r.env, constraints[1].of(1<<20), false)
			})
			r.want("Constrain without "+string(adapter.CapConstraints), err, adapter.NotSupported)
		}
	}},
	{"Configure/unknown setting names environment and key", func(r *rig) {
		r.open()
		envs := slices.Clone(r.envs)
		i := len(envs) - 1
		rest := strings.TrimSpace(string(envs[i].Settings))
		rest = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(rest, "{"), "}"))
		if rest != "" {
			rest += ","
		}
		envs[i].Settings = []byte("{" + rest + `"` + unknownSetting + `":1}`)
		err := r.call("Configure", func(ctx context.Context) error { return r.a.Configure(ctx, envs) })
		r.want("Configure", err, adapter.InvalidArgument)
		if err != nil && (!strings.Contains(err.Error(), envs[i].ID) || !strings.Contains(err.Error(), unknownSetting)) {
			r.t.Errorf("Configure: the error is to name %q and %q: %v", envs[i].ID, unknownSetting, err)
		}
	}},
	{"Configure/malformed settings are InvalidArgument", func(r *rig) {
		r.open()
		envs := slices.Clone(r.envs)
		envs[0].Settings = []byte(`["a list"]`)
		err := r.call("Configure", func(ctx context.Context) error { return r.a.Configure(ctx, envs) })
		r.want("Configure", err, adapter.InvalidArgument)
		if err != nil && !strings.Contains(err.Error(), envs[0].ID) {
			r.t.Errorf("Configure: the error is to name %q: %v", envs[0].ID, err)
		}
	}},
	{"Configure/launches nothing", func(r *rig) {
		r.start()
		for _, e := range r.envs {
			r.waitEnv(e.ID, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		}
		r.kill()
		r.start()
		for _, e := range r.envs {
			r.waitEnv(e.ID, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		}
	}},
}

var watchCases = []Case{
	{"Watch/state of each environment first", func(r *rig) {
		r.up()
		r.watch()
		for _, e := range r.envs {
			r.waitEnv(e.ID, "told", func(s *seenEnv) bool { return s.told })
		}
	}},
	{"Watch/Synced after every existing unit", func(r *rig) {
		r.up()
		before := r.look(r.env)
		u1, u2 := r.install(r.h.Packages.V1.load(r, "V1")), r.install(r.h.Packages.Other.load(r, "Other"))
		before[u1.Key], before[u2.Key] = u1, u2
		units := r.look(r.env)
		r.wantUnits("units at Synced", units, before)
		r.wantSame("the unit by Watch and by Install", units[u1.Key], u1)
		r.wantSame("the unit by Watch and by Install", units[u2.Key], u2)
	}},
	{"Watch/environment without units is synced too", func(r *rig) {
		r.up()
		r.look(r.env)
	}},
	{"Watch/environment that comes up later is sent as Env, units, Synced", func(r *rig) {
		r.up()
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		r.setEnabled(r.env, false)
		r.watch()
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
		r.setEnabled(r.env, true)
		r.waitEnv(r.env, "synced", func(s *seenEnv) bool { return s.synced })
		r.v.mu.Lock()
		defer r.v.mu.Unlock()
		order := ""
		for _, ev := range r.v.events {
			switch {
			case ev.EnvID != r.env:
			case ev.Kind == adapter.EventEnv && ev.Env.Up && order == "":
				order = "env"
			case ev.Kind == adapter.EventUnit && ev.Unit.Key == u.Key && order == "env":
				order = "env unit"
			case ev.Kind == adapter.EventSynced && order == "env unit":
				order = "env unit synced"
			}
		}
		if order != "env unit synced" {
			r.t.Errorf("the events do not come in the order Env, unit %s, Synced", u.Key)
		}
	}},
	{"Watch/environment that ends is Env down, the channel stays open", func(r *rig) {
		r.up()
		r.setEnabled(r.env, false)
		r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
		r.setEnabled(r.env, true)
		r.waitEnv(r.env, "up again", func(s *seenEnv) bool { return s.env.Up && s.synced })
	}},
	{"Watch/lost environment is Env down, the others go on", func(r *rig) {
		if r.h.Lose == nil {
			if r.h.SkipLose == "" {
				r.t.Fatalf("the harness has no Lose and no reason for it")
			}
			r.t.Skipf("the harness cannot lose an environment: %s", r.h.SkipLose)
		}
		r.up()
		launch := r.v.launch(r.env)
		m := r.first(r.install(r.h.Packages.V1.load(r, "V1")))
		r.run(m)
		r.h.Lose(r.t, r.dir, r.env)
		e := r.waitEnv(r.env, "down", func(s *seenEnv) bool { return !s.env.Up })
		if e.Detail == "" {
			r.t.Errorf("Detail does not say why the environment is not up")
		}
		if len(r.envs) > 1 {
			r.launch(r.envs[1].ID)
			r.installIn(r.envs[1].ID, r.h.Packages.V1.load(r, "V1"))
		}
		r.launch(r.env)
		if again := r.v.launch(r.env); again == launch {
			r.t.Errorf("Launch is %q as before the environment was lost", again)
		}
	}},
	{"Watch/change made by a call is sent", func(r *rig) {
		r.up()
		v1, v2 := r.h.Packages.V1.load(r, "V1"), r.h.Packages.V2.load(r, "V2")
		u := r.install(v1)
		m := r.first(u)
		got := r.waitUnit(r.env, u.Key, "there", func(adapter.Unit) bool { return true })
		r.wantSame("Watch after Install", got, u)
		r.run(m)
		r.mustStop(m)
		r.waitStatus(m, adapter.Idle)
		next := r.update(u, v1, v2)
		r.waitUnit(r.env, u.Key, "updated", func(x adapter.Unit) bool { return x.Manifest == next.Manifest })
		r.uninstall(r.op(), ref(next))
		r.waitGone(r.env, u.Key)
	}},
	{"Watch/events of an environment keep their order", func(r *rig) {
		r.up()
		m := r.first(r.install(r.h.Packages.V1.load(r, "V1")))
		for range 5 {
			r.run(m)
			r.mustStop(m)
		}
		// When the last change is told, all before it have been.
		u := r.install(r.h.Packages.Other.load(r, "Other"))
		r.waitUnit(r.env, u.Key, "there", func(adapter.Unit) bool { return true })
		if got := r.waitModule(m, "told", func(adapter.Module) bool { return true }); got.Status != adapter.Idle {
			r.t.Errorf("module %s was stopped and is told to be %s; Watch told %s", m.Module, got.Status, r.v.history())
		}
	}},
	{"Watch/second Watch closes the first", func(r *rig) {
		r.up()
		first := r.v
		firstEnd := r.endWatch
		r.watch()
		if !first.wait(r.h.Timeout, func() bool { return first.closed }) {
			r.t.Fatalf("the channel of the first Watch is open %s after the second Watch", r.h.Timeout)
		}
		firstEnd() // the end of the first's context is no end of the second
		r.waitEnv(r.env, "synced", func(s *seenEnv) bool { return s.synced })
		r.install(r.h.Packages.V1.load(r, "V1"))
		r.v.mu.Lock()
		defer r.v.mu.Unlock()
		if r.v.closed {
			r.t.Errorf("the second channel was closed with the context of the first")
		}
	}},
	{"Watch/channel is closed when the context is done", func(r *rig) {
		r.up()
		r.endWatch()
		if !r.v.wait(r.h.Timeout, func() bool { return r.v.closed }) {
			r.t.Errorf("the channel is open %s after the context was done", r.h.Timeout)
		}
		r.look(r.env) // and another Watch works
	}},
	{"Watch/reader that comes late misses nothing", func(r *rig) {
		r.up()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		ch, err := r.a.Watch(ctx)
		if err != nil {
			r.t.Fatalf("cannot Watch: %v", err)
		}
		u := r.install(r.h.Packages.V1.load(r, "V1"))
		v := newView(r, ch)
		if !v.wait(r.h.Timeout, func() bool { _, there := v.seen[r.env].units[u.Key]; return there }) {
			r.t.Errorf("unit %s was not told; Watch told %s", u.Key, v.history())
		}
	}},
}

func (v *view) launch(env string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen[env].env.Launch
}

var inspectCases = []Case{
	{"Inspect/reads name and version without a running environment", func(r *rig) {
		r.start()
		m1, m2 := r.inspect(r.h.Packages.V1.load(r, "V1")), r.inspect(r.h.Packages.V2.load(r, "V2"))
		if m1.Name == "" || m1.Version == "" {
			r.t.Errorf("name or version of V1 is missing: %+v", m1)
		}
		if m1.Name != m2.Name || m1.Version == m2.Version {
			r.t.Errorf("V1 and V2 are to be two versions of one unit: %+v and %+v", m1, m2)
		}
	}},
	{"Inspect/changes nothing", func(r *rig) {
		r.up()
		before := r.look(r.env)
		p := r.h.Packages.V1.load(r, "V1")
		r.leavesFileAlone(p, func() { r.inspect(p) })
		r.wantUnits("after Inspect", r.look(r.env), before)
	}},
	{"Inspect/package of another kind is Mismatch", func(r *rig) {
		r.start()
		r.inspectFails(r.h.Packages.Foreign.load(r, "Foreign"), adapter.Mismatch)
	}},
	{"Inspect/damaged package is Corrupt", func(r *rig) {
		r.start()
		r.inspectFails(r.h.Packages.Corrupt.load(r, "Corrupt"), adapter.Corrupt)
	}},
	{"Inspect/unknown environment is NotFound", func(r *rig) {
		r.start()
		p := r.h.Packages.V1.load(r, "V1")
		err := r.call("Inspect", func(ctx context.Context) error { _, err := r.a.Inspect(ctx, "no-such-env", p); return err })
		r.want("Inspect", err, adapter.NotFound)
	}},
}

func (r *rig) inspectFails(p adapter.Package, want adapter.Reason) {
	r.t.Helper()
	err := r.call("Inspect", func(ctx context.Context) error { _, err := r.a.Inspect(ctx, r.env, p); return err })
	r.want("Inspect", err, want)
}

// leavesFileAlone checks that f neither changes the package nor leaves anything beside it.
func (r *rig) leavesFileAlone(p adapter.Package, f func()) {
	r.t.Helper()
	state := func() string {
		info, err := os.Stat(p.Path)
		if err != nil {
			return err.Error()
		}
		data, err := os.ReadFile(p.Path)
		if err != nil {
			return err.Error()
		}
		files, err := os.ReadDir(filepath.Dir(p.Path))
		if err != nil {
			return err.Error()
		}
		return info.Mode().String() + info.ModTime().String() + strings.Repeat("+", len(files)) + string(data)
	}
	before := state()
	f()
	if state() != before {
		r.t.Errorf("the package file, or its directory, is not as it was")
	}
}

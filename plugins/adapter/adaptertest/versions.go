package adaptertest

import (
	"bytes"
	"context"
	"os"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func (r *rig) versioner() (adapter.Versioner, bool) {
	v, ok := r.a.(adapter.Versioner)
	return v, ok && r.desc.Has(adapter.CapVersions)
}

func (r *rig) needVersions() {
	r.t.Helper()
	if _, ok := r.versioner(); !ok {
		r.t.Skipf("the adapter does not announce %s", adapter.CapVersions)
	}
}

// seesVersions is needVersions for a case that looks at what runs.
func (r *rig) seesVersions() {
	r.t.Helper()
	r.needVersions()
	if r.h.Versions == nil {
		if r.h.SkipVersions == "" {
			r.t.Fatalf("the harness has no Versions and no reason for it")
		}
		r.t.Skipf("the harness cannot look at what runs: %s", r.h.SkipVersions)
	}
}

func (r *rig) trySave(env, path string) error {
	r.t.Helper()
	v, _ := r.versioner()
	return r.call("SaveVersion", func(ctx context.Context) error { return v.SaveVersion(ctx, env, path) })
}

func (r *rig) save() (adapter.Package, []byte) {
	r.t.Helper()
	path := r.newPath()
	err := r.trySave(r.env, path)
	if r.h.Attached != nil && adapter.ReasonOf(err) == adapter.NotSupported {
		r.t.Skipf("the version is somebody else's: %v", err)
	}
	if err != nil {
		r.t.Fatalf("SaveVersion: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
	return r.written(path)
}

func (r *rig) tryRestore(op adapter.OpID, env string, p adapter.Package) error {
	r.t.Helper()
	v, _ := r.versioner()
	return r.call("RestoreVersion", func(ctx context.Context) error { return v.RestoreVersion(ctx, op, env, p) })
}

func (r *rig) restore(op adapter.OpID, p adapter.Package) {
	r.t.Helper()
	if err := r.tryRestore(op, r.env, p); err != nil {
		r.t.Fatalf("RestoreVersion: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
}

// relaunch ends the environment, launches it, and says what it runs from.
func (r *rig) relaunch() string {
	r.t.Helper()
	r.setEnabled(r.env, false)
	r.waitEnv(r.env, "down", func(s *seenEnv) bool { return s.told && !s.env.Up })
	r.launch(r.env)
	return r.h.Versions.Running(r.t, r.dir, r.env)
}

// upgraded saves what a new environment runs from, upgrades it, and returns the texts of both versions. It is up.
func (r *rig) upgraded() (saved adapter.Package, before, after string) {
	r.t.Helper()
	r.up()
	r.seesVersions()
	saved, _ = r.save()
	before = r.h.Versions.Running(r.t, r.dir, r.env)
	r.h.Versions.Upgrade(r.t, r.dir, r.env)
	if after = r.relaunch(); after == before {
		r.t.Fatalf("after Upgrade and a launch the environment runs from %q as before", after)
	}
	return saved, before, after
}

func (r *rig) wantVersion(when, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s the environment runs from %q, want %q", when, got, want)
	}
}

var versionCases = []Case{
	{"SaveVersion/needs no running environment, the same content gives the same bytes", func(r *rig) {
		r.start()
		r.needVersions()
		_, down := r.save()
		r.launch(r.env)
		_, up := r.save()
		r.restart()
		_, again := r.save()
		if len(down) == 0 || !bytes.Equal(down, up) || !bytes.Equal(down, again) {
			r.t.Errorf("the version saved while the environment was down has %d bytes, while up %d, by another adapter %d; they are to be the same",
				len(down), len(up), len(again))
		}
	}},
	{"SaveVersion/replaces what is at the path", func(r *rig) {
		r.start()
		r.needVersions()
		want, _ := r.save()
		path := r.newPath()
		if err := os.WriteFile(path, make([]byte, want.Size+100), 0o600); err != nil {
			r.t.Fatalf("cannot write a file: %v", err)
		}
		if err := r.trySave(r.env, path); err != nil {
			r.t.Fatalf("SaveVersion: %s: %v", adapter.ReasonOf(err), err)
		}
		if got, _ := r.written(path); got.SHA256 != want.SHA256 {
			r.t.Errorf("the file has %d bytes and is another than the %d at a new path", got.Size, want.Size)
		}
	}},
	{"SaveVersion/other content gives other bytes", func(r *rig) {
		saved, _, _ := r.upgraded()
		if now, _ := r.save(); now.SHA256 == saved.SHA256 {
			r.t.Errorf("the saved version after Upgrade is the same as before")
		}
	}},
	{"SaveVersion/unknown environment is NotFound", func(r *rig) {
		r.start()
		r.needVersions()
		path := r.newPath()
		r.want("SaveVersion", r.trySave("no-such-env", path), adapter.NotFound)
		r.wantNoFile(path)
	}},
	{"RestoreVersion/restored version runs from the next launch on", func(r *rig) {
		r.launches()
		saved, before, after := r.upgraded()
		launch := r.v.launch(r.env)
		r.restore(r.op(), saved)
		r.remove(saved) // what it needs later it copied
		r.look(r.env)
		if got := r.v.launch(r.env); got != launch {
			r.t.Errorf("RestoreVersion disturbed the running environment: Launch was %q and is %q", launch, got)
		}
		r.wantVersion("before the next launch", r.h.Versions.Running(r.t, r.dir, r.env), after)
		r.wantVersion("after the next launch", r.relaunch(), before)
		r.wantVersion("after one more launch", r.relaunch(), before)
		if now, _ := r.save(); now.SHA256 != saved.SHA256 {
			r.t.Errorf("SaveVersion does not save the restored version")
		}
	}},
	{"RestoreVersion/needs no running environment and survives a restart of the adapter", func(r *rig) {
		r.launches()
		saved, before, _ := r.upgraded()
		r.setEnabled(r.env, false)
		r.restore(r.op(), saved)
		r.kill()
		r.start()
		r.launch(r.env)
		r.wantVersion("launched by another adapter", r.h.Versions.Running(r.t, r.dir, r.env), before)
		r.kill()
		r.start()
		r.wantVersion("launched by a third adapter", r.relaunch(), before)
	}},
	{"RestoreVersion/configuration that names other content ends it", func(r *rig) {
		r.launches()
		saved, before, _ := r.upgraded()
		r.restore(r.op(), saved)
		r.wantVersion("after RestoreVersion", r.relaunch(), before)
		r.h.Versions.Upgrade(r.t, r.dir, r.env)
		if now, _ := r.save(); now.SHA256 != saved.SHA256 {
			r.t.Errorf("after Upgrade and before a launch SaveVersion does not save the restored version, which runs")
		}
		got := r.relaunch()
		if got == before {
			r.t.Errorf("after Upgrade the environment still runs from the restored version")
		}
		if latest, _ := r.save(); latest.SHA256 == saved.SHA256 {
			r.t.Errorf("after Upgrade and a launch SaveVersion still saves the restored version")
		}
		r.restart()
		r.wantVersion("after a restart of the adapter", r.relaunch(), got)
	}},
	{"RestoreVersion/restoring what runs anyway changes nothing", func(r *rig) {
		r.launches()
		r.up()
		r.seesVersions()
		saved, _ := r.save()
		before := r.h.Versions.Running(r.t, r.dir, r.env)
		r.restore(r.op(), saved)
		r.wantVersion("after RestoreVersion of what runs", r.relaunch(), before)
		r.h.Versions.Upgrade(r.t, r.dir, r.env)
		after := r.relaunch()
		if after == before {
			r.t.Fatalf("the version that ran anyway was pinned: Upgrade has no effect")
		}
		later, _ := r.save()
		r.restore(r.op(), saved)
		r.restore(r.op(), later) // the configured one: there is nothing to remember
		r.wantVersion("after RestoreVersion of what is configured", r.relaunch(), after)
	}},
	{"RestoreVersion/same OpID again is no error", func(r *rig) {
		r.launches()
		saved, before, _ := r.upgraded()
		op := r.op()
		r.restore(op, saved)
		r.restore(op, saved)
		r.restart()
		r.restore(op, saved)
		r.wantVersion("after RestoreVersion", r.relaunch(), before)
		r.restore(op, saved)
		r.wantVersion("after RestoreVersion again", r.relaunch(), before)
	}},
	{"RestoreVersion/file that is no saved version changes nothing", func(r *rig) {
		r.launches()
		_, _, after := r.upgraded()
		path := r.newPath()
		_, whole := r.save()
		for _, data := range [][]byte{{}, []byte("nonsense"), whole[:len(whole)/2]} {
			if err := os.WriteFile(path, data, 0o600); err != nil {
				r.t.Fatalf("cannot write a file: %v", err)
			}
			p, _ := r.written(path)
			r.want("RestoreVersion of a damaged file", r.tryRestore(r.op(), r.env, p), adapter.Mismatch, adapter.Corrupt)
		}
		r.want("RestoreVersion of package V1", r.tryRestore(r.op(), r.env, r.h.Packages.V1.load(r, "V1")), adapter.Mismatch, adapter.Corrupt)
		r.wantVersion("after all failures", r.relaunch(), after)
	}},
	{"RestoreVersion/package file is read and left alone", func(r *rig) {
		r.launches()
		saved, _, _ := r.upgraded()
		r.leavesFileAlone(saved, func() { r.restore(r.op(), saved) })
	}},
	{"RestoreVersion/leaves the other environments alone", func(r *rig) {
		r.launches()
		env := r.second()
		saved, _, _ := r.upgraded()
		r.launch(env)
		other := r.h.Versions.Running(r.t, r.dir, env)
		r.restore(r.op(), saved)
		r.setEnabled(env, false)
		r.launch(env)
		r.wantVersion("the other one: after its next launch", r.h.Versions.Running(r.t, r.dir, env), other)
	}},
	{"RestoreVersion/unknown environment is NotFound", func(r *rig) {
		r.start()
		r.needVersions()
		saved, _ := r.save()
		r.want("RestoreVersion", r.tryRestore(r.op(), "no-such-env", saved), adapter.NotFound)
	}},
}

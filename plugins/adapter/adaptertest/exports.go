package adaptertest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func (r *rig) exporter() (adapter.Exporter, bool) {
	x, ok := r.a.(adapter.Exporter)
	return x, ok && r.desc.Has(adapter.CapExport)
}

func (r *rig) needExport() {
	r.t.Helper()
	if _, ok := r.exporter(); !ok {
		r.t.Skipf("the adapter does not announce %s", adapter.CapExport)
	}
}

// newPath is the path of a file that does not exist, alone in its directory.
func (r *rig) newPath() string { return filepath.Join(r.t.TempDir(), "file") }

func (r *rig) wantNoFile(path string) {
	r.t.Helper()
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		r.t.Fatalf("cannot read a directory: %v", err)
	}
	for _, f := range files {
		r.t.Errorf("the call failed and left file %s", f.Name())
	}
}

// written is the file that a call has written, as the agent hands it over. Nothing else is beside it.
func (r *rig) written(path string) (adapter.Package, []byte) {
	r.t.Helper()
	p, data, err := handedOver(path)
	if err != nil {
		r.t.Fatalf("the call wrote no file: %v", err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		r.t.Errorf("there are %d files in the directory, want the one that was asked for: %v", len(files), err)
	}
	return p, data
}

// handedOver is a file as the agent hands it over, and its content.
func handedOver(path string) (adapter.Package, []byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return adapter.Package{}, nil, err
	}
	sum := sha256.Sum256(data)
	return adapter.Package{Path: path, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}, data, nil
}

func (r *rig) tryExport(u adapter.UnitRef, path string) error {
	r.t.Helper()
	x, _ := r.exporter()
	return r.call("Export", func(ctx context.Context) error { return x.Export(ctx, u, path) })
}

func (r *rig) export(u adapter.UnitRef) adapter.Package {
	r.t.Helper()
	path := r.newPath()
	if err := r.tryExport(u, path); err != nil {
		r.t.Fatalf("Export: want success, got %s: %v", adapter.ReasonOf(err), err)
	}
	p, _ := r.written(path)
	return p
}

var exportCases = []Case{
	{"Export/installing it gives the same unit", func(r *rig) {
		r.up()
		r.needExport()
		v1 := r.h.Packages.V1.load(r, "V1")
		u := r.install(v1)
		r.remove(v1)
		p := r.export(ref(u))
		if m := r.inspect(p); m != u.Manifest {
			r.t.Errorf("the manifest of the exported package is %+v, that of the unit %+v", m, u.Manifest)
		}
		r.uninstall(r.op(), ref(u))
		r.waitGone(r.env, u.Key)
		again, err := r.tryInstall(r.op(), r.env, u.Key, p)
		if err != nil {
			r.t.Fatalf("Install of the exported package: %s: %v", adapter.ReasonOf(err), err)
		}
		r.wantSame("the unit of the exported package", adapter.Unit{Env: again.Env, Key: again.Key, Manifest: again.Manifest, Modules: again.Modules},
			adapter.Unit{Env: u.Env, Key: u.Key, Manifest: u.Manifest, Modules: u.Modules})
		r.run(r.first(again))
	}},
	{"Export/is the present generation", func(r *rig) {
		before, after, v1, v2 := r.updated()
		r.needExport()
		if got, want := r.inspect(r.export(ref(after))), r.inspect(v2); got != want {
			r.t.Errorf("after Update the exported package is %+v, want %+v", got, want)
		}
		if got, want := r.inspect(r.export(ref(before))), r.inspect(v2); got != want {
			r.t.Errorf("by the handle of before the exported package is %+v, want %+v", got, want)
		}
		u := r.revert(r.op(), ref(after), v1)
		if got, want := r.inspect(r.export(ref(u))), r.inspect(v1); got != want {
			r.t.Errorf("after Revert the exported package is %+v, want %+v", got, want)
		}
		u = r.update(u, v1, v2)
		r.discard(r.op(), ref(u))
		if got, want := r.inspect(r.export(ref(u))), r.inspect(v2); got != want {
			r.t.Errorf("after Discard the exported package is %+v, want %+v", got, want)
		}
	}},
	{"Export/changes nothing in the environment", func(r *rig) {
		u, m := r.installed(r.h.Packages.V1, "V1")
		r.needExport()
		r.run(m)
		launch, before := r.v.launch(r.env), r.look(r.env)
		r.export(ref(u))
		r.wantUnits("after Export", r.look(r.env), before)
		r.wantRunning(m, launch)
	}},
	{"Export/replaces what is at the path", func(r *rig) {
		u, _ := r.installed(r.h.Packages.V1, "V1")
		r.needExport()
		want := r.export(ref(u))
		path := r.newPath()
		if err := os.WriteFile(path, make([]byte, want.Size+100), 0o600); err != nil {
			r.t.Fatalf("cannot write a file: %v", err)
		}
		if err := r.tryExport(ref(u), path); err != nil {
			r.t.Fatalf("Export: %s: %v", adapter.ReasonOf(err), err)
		}
		if got, _ := r.written(path); got.SHA256 != want.SHA256 {
			r.t.Errorf("the file has %d bytes and is another than the %d at a new path", got.Size, want.Size)
		}
	}},
	{"Export/unit that another adapter installed", func(r *rig) {
		u, _ := r.installed(r.h.Packages.V1, "V1")
		r.needExport()
		r.restart()
		if m := r.inspect(r.export(adapter.UnitRef{Env: r.env, Key: u.Key})); m != u.Manifest {
			r.t.Errorf("the manifest of the exported package is %+v, that of the unit %+v", m, u.Manifest)
		}
	}},
	{"Export/unknown unit is NotFound", func(r *rig) {
		r.up()
		r.needExport()
		for _, u := range []adapter.UnitRef{{Env: r.env, Key: r.key()}, {Env: "no-such-env", Key: r.key()}} {
			path := r.newPath()
			r.want("Export", r.tryExport(u, path), adapter.NotFound)
			r.wantNoFile(path)
		}
	}},
	{"Export/environment that is not up gives it or is Unavailable", func(r *rig) {
		u, _ := r.installed(r.h.Packages.V1, "V1")
		r.needExport()
		r.setEnabled(r.env, false)
		path := r.newPath()
		if err := r.tryExport(ref(u), path); err != nil {
			r.want("Export", err, adapter.Unavailable)
			r.wantNoFile(path)
			return
		}
		p, _ := r.written(path)
		if m := r.inspect(p); m != u.Manifest {
			r.t.Errorf("the manifest of the exported package is %+v, that of the unit %+v", m, u.Manifest)
		}
	}},
	{"Export/canceled context leaves no file", func(r *rig) {
		u, _ := r.installed(r.h.Packages.V1, "V1")
		r.needExport()
		x, _ := r.exporter()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		path := r.newPath()
		err, returned := r.bounded(func(ctx context.Context) error { return x.Export(ctx, ref(u), path) }, ctx, prompt)
		switch {
		case !returned:
			r.t.Fatalf("Export with a context that is done did not return within %s", prompt)
		case err != nil:
			r.want("Export with a context that is done", err, adapter.Canceled)
			r.wantNoFile(path)
		}
	}},
}

// remove removes a package that is not to be needed any more.
func (r *rig) remove(p adapter.Package) {
	r.t.Helper()
	if err := os.Remove(p.Path); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.t.Fatalf("cannot remove a package: %v", err)
	}
}

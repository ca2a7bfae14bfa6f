package fake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	// firstVersion is what a new environment is configured to run.
	firstVersion = "1.0"
	// versionFormat is the first key of a saved version.
	versionFormat = "fake-version-1"
)

// versionFile is a saved version: the whole of what a fake environment runs from is its name.
type versionFile struct {
	Format  string `json:"format"`
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

// SaveVersion writes the version that runs, or that a launch would run.
func (a *Adapter) SaveVersion(ctx context.Context, env, path string) error {
	var data []byte
	err := a.version(ctx, Call{Method: "SaveVersion", Env: env}, func(p place) error {
		version := p.effective()
		if p.Up {
			version = p.Running
		}
		var err error
		data, err = json.Marshal(versionFile{versionFormat, a.w.opts.Kind, version})
		if err != nil {
			return adapter.Errorf(adapter.Internal, "cannot save the version of %s: %v", env, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return write(path, data)
}

// RestoreVersion makes the saved version run from the next launch on, until another one is configured.
func (a *Adapter) RestoreVersion(ctx context.Context, op adapter.OpID, env string, saved adapter.Package) error {
	return a.version(ctx, Call{Method: "RestoreVersion", OpID: op, Env: env}, func(p place) error {
		if err := a.w.own(env); err != nil {
			return err
		}
		version, err := readVersion(saved, a.w.opts.Kind)
		if err != nil {
			return err
		}
		switch version {
		case p.effective():
		case p.Configured:
			p.Restored = nil
		default:
			p.Restored = &RestoredVersion{Version: version, Over: p.Configured}
		}
		if !p.Up {
			p.c.envs[env] = true
		}
		return nil
	})
}

func (a *Adapter) version(ctx context.Context, c Call, f func(place) error) error {
	return a.change(ctx, c, func(ch *change, _ environment) error {
		if !a.w.opts.Versions {
			return adapter.Errorf(adapter.NotSupported, "cannot %s: environment %q keeps no versions", c.Method, c.Env)
		}
		p, err := a.w.at(ch, c.Env)
		if err != nil {
			return err
		}
		return f(p)
	})
}

func readVersion(saved adapter.Package, kind string) (string, error) {
	data, err := os.ReadFile(saved.Path)
	if err != nil {
		return "", adapter.Errorf(adapter.Internal, "cannot read the saved version: %v", err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); saved.SHA256 != "" && !strings.EqualFold(got, saved.SHA256) {
		return "", adapter.Errorf(adapter.Corrupt, "cannot read the saved version %s: its digest is %s, not %s", saved.Path, got, saved.SHA256)
	}
	var f versionFile
	if err := json.Unmarshal(data, &f); err != nil {
		return "", adapter.Errorf(adapter.Corrupt, "cannot read the saved version %s: %v", saved.Path, err)
	}
	if f.Format != versionFormat || f.Kind != kind {
		return "", adapter.Errorf(adapter.Mismatch, "cannot use the saved version %s: it is of format %q and kind %q, not %q and %q",
			saved.Path, f.Format, f.Kind, versionFormat, kind)
	}
	if f.Version == "" {
		return "", adapter.Errorf(adapter.Corrupt, "cannot read the saved version %s: it names none", saved.Path)
	}
	return f.Version, nil
}

package fake

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Kind is the kind of environment that the fake adapter drives, unless [Options] names another.
const Kind = "fake"

// format is the first key of a package file; a file without it is no package.
const format = "fake-package-1"

// DefaultModule is the ID of the module of a package that lists none.
const DefaultModule = "main"

// A Spec is the content of a package: what it says of itself and how it behaves. The zero behavior is a unit that works.
type Spec struct {
	Kind        string `json:"kind"` // empty means [Kind]
	Name        string `json:"name"`
	Vendor      string `json:"vendor,omitempty"`
	Version     string `json:"version"`
	Description string `json:"description,omitempty"`
	// Modules are the execution units. None means one module with the ID [DefaultModule] and the name of the package.
	Modules []ModuleSpec `json:"modules,omitempty"`
	// Requires are names of packages that have to be installed before a module of this one can start.
	Requires []string `json:"requires,omitempty"`
	SizeKiB  int64    `json:"size_kib,omitempty"` // what an installed generation takes of the environment's disk

	InstallFails     string `json:"install_fails,omitempty"`   // message of the failure, like all …Fails
	UpdateFails      string `json:"update_fails,omitempty"`    // as the next package of an update
	UninstallFails   string `json:"uninstall_fails,omitempty"` //
	UninstallPending bool   `json:"uninstall_pending,omitempty"`
	ExportFails      string `json:"export_fails,omitempty"` // why the environment no longer has the package
}

// A ModuleSpec is one execution unit of a [Spec].
type ModuleSpec struct {
	ID             string `json:"id"`
	Name           string `json:"name,omitempty"` // empty means the ID
	StartFails     string `json:"start_fails,omitempty"`
	StartHangs     bool   `json:"start_hangs,omitempty"` // until [World.Release]
	AutoStartFails string `json:"auto_start_fails,omitempty"`
	StopFails      string `json:"stop_fails,omitempty"`   // it ends, but not cleanly
	StopHangs      bool   `json:"stop_hangs,omitempty"`   // until [World.Release]
	Unstartable    string `json:"unstartable,omitempty"`  // why it can never be started
	IgnoresStop    bool   `json:"ignores_stop,omitempty"` // it is ended by force
	Completes      bool   `json:"completes,omitempty"`    // its work is done when its start is over
	// Restarts lets the environment start it again when it ends unasked: at once, or with RestartsLater after [World.Release].
	Restarts      bool  `json:"restarts,omitempty"`
	RestartsLater bool  `json:"restarts_later,omitempty"`
	Inert         bool  `json:"inert,omitempty"`
	PIDs          []int `json:"pids,omitempty"`       // while it is active
	MemoryKiB     int64 `json:"memory_kib,omitempty"` // while it is active; 0 is unknown
}

func (s Spec) manifest() adapter.Manifest {
	return adapter.Manifest{Name: s.Name, Vendor: s.Vendor, Version: s.Version, Description: s.Description}
}

// Write writes the package s into dir, as <name>-<version>.fake, and returns it as the agent would hand it to an adapter.
func Write(dir string, s Spec) (adapter.Package, error) {
	data, err := encode(s)
	if err != nil {
		return adapter.Package{}, err
	}
	return WriteBytes(dir, s.Name+"-"+s.Version+".fake", data)
}

// WriteBytes writes a file that need not be a package, for instance a damaged one, and returns it like [Write].
func WriteBytes(dir, name string, data []byte) (adapter.Package, error) {
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return adapter.Package{}, fmt.Errorf("cannot write package %s: %w", name, err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return adapter.Package{}, fmt.Errorf("cannot write package %s: %w", name, err)
	}
	sum := sha256.Sum256(data)
	return adapter.Package{Path: path, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(data))}, nil
}

// TB is the part of [testing.TB] that [Package] needs.
type TB interface {
	Helper()
	TempDir() string
	Fatalf(format string, args ...any)
}

// Package is [Write] for tests: it writes into a directory of its own and ends the test when that fails.
func Package(t TB, s Spec) adapter.Package {
	t.Helper()
	p, err := Write(t.TempDir(), s)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

type packageFile struct {
	Format string `json:"format"`
	Spec
}

func encode(s Spec) ([]byte, error) {
	if s.Kind == "" {
		s.Kind = Kind
	}
	data, err := json.MarshalIndent(packageFile{format, s}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot encode package %s: %w", s.Name, err)
	}
	return append(data, '\n'), nil
}

// read reads the package file p for an environment of the given kind.
func read(p adapter.Package, kind string) (Spec, error) {
	data, err := os.ReadFile(p.Path)
	if err != nil {
		return Spec{}, adapter.Errorf(adapter.Internal, "cannot read package: %v", err)
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); p.SHA256 != "" && !strings.EqualFold(got, p.SHA256) {
		return Spec{}, adapter.Errorf(adapter.Corrupt, "cannot read package %s: its digest is %s, not %s", p.Path, got, p.SHA256)
	}
	return parse(data, p.Path, kind)
}

// parse reads the content of a package file. Its errors are Corrupt and Mismatch.
func parse(data []byte, path, kind string) (Spec, error) {
	var f packageFile
	if err := json.Unmarshal(data, &f); err != nil {
		return Spec{}, adapter.Errorf(adapter.Corrupt, "cannot read package %s: %v", path, err)
	}
	if f.Format != format {
		return Spec{}, adapter.Errorf(adapter.Corrupt, "cannot read package %s: format is %q, not %q", path, f.Format, format)
	}
	if f.Kind != kind {
		return Spec{}, adapter.Errorf(adapter.Mismatch, "cannot use package %s: it is of kind %q, not %q", path, f.Kind, kind)
	}
	if f.Name == "" || f.Version == "" {
		return Spec{}, adapter.Errorf(adapter.Corrupt, "cannot read package %s: name or version is missing", path)
	}
	if len(f.Modules) == 0 {
		f.Modules = []ModuleSpec{{ID: DefaultModule, Name: f.Name}}
	}
	seen := map[string]bool{}
	for i := range f.Modules {
		m := &f.Modules[i]
		if m.ID == "" || seen[m.ID] {
			return Spec{}, adapter.Errorf(adapter.Corrupt, "cannot read package %s: module ID %q is empty or twice", path, m.ID)
		}
		seen[m.ID] = true
		if m.Name == "" {
			m.Name = m.ID
		}
	}
	return f.Spec, nil
}

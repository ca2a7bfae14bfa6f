package conformance

import (
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/smmd-project/smmd/test/device"
	"github.com/smmd-project/smmd/test/images"
	"github.com/smmd-project/smmd/test/support"
)

// A kind is a kind of environment with the two environments of it that the device has.
type kind struct {
	adapter string // also the name of the tests
	title   string // in the table
	env     string // where everything is tried
	spare   string // another one of the same kind
	suffix  string // of the names of its packages
	config  string // of both
	// pack makes a package, in a directory for temporary files.
	pack func(p program, vendor, dir string) ([]byte, error)
}

// vendor is that of the packages of a kind: a UUID is made of it, and no two kinds share one.
func (k *kind) vendor() string { return k.adapter + ".example" }

// A program is what a package holds: one deployment unit, with one execution unit.
type program struct {
	name, version string
	does          behavior
}

// behavior is what a program does once it is started.
type behavior string

// The behaviors of programs.
const (
	runs     behavior = ""         // until it is stopped
	fails    behavior = "fails"    // at its start
	lingers  behavior = "lingers"  // when it is stopped, until it may go
	requires behavior = "requires" // what there is not
	inert    behavior = "inert"    // nothing: it is a library
	stores   behavior = "stores"   // as runs, and stores that it was started
	beside   behavior = "beside"   // as runs, and several versions can be in one environment
)

var kinds = []*kind{
	{
		adapter: "osgi", title: "OSGi (Felix)", env: "felix", spare: "felix2", suffix: ".jar",
		config: device.Felix("felix", 1, `properties = { "smmd.test.release" = "`+releaseFile+`" }`) + device.Felix("felix2", 1),
		pack:   bundle,
	},
	{
		adapter: "systemd", title: "systemd services", env: "services", spare: "services2", suffix: ".tar",
		config: tables("services", "systemd") + tables("services2", "systemd"),
		pack: func(p program, vendor, dir string) ([]byte, error) {
			unit := p.name
			if p.does == beside { // unit names of two images must differ
				unit += "-" + strings.ReplaceAll(p.version, ".", "-")
			}
			return packed(dir, images.Portable{Name: p.name, Version: p.version, Vendor: vendor, Files: p.files(), Units: map[string]string{
				unit + ".service": "[Unit]\nDescription=" + p.name + "\n[Service]\nExecStart=/bin/sh " + scriptFile + "\nTimeoutStopSec=60\n",
			}}.Tar)
		},
	},
	{
		adapter: "lxc", title: "LXC containers", env: "containers", spare: "containers2", suffix: ".tar",
		config: tables("containers", "lxc") + tables("containers2", "lxc"),
		pack: func(p program, vendor, dir string) ([]byte, error) {
			return packed(dir, images.Container{
				Name: p.name, Version: p.version, Vendor: vendor, Files: p.files(), Config: v1.Config{Entrypoint: []string{"/bin/sh", scriptFile}},
			}.Archive)
		},
	},
}

// bridgeKind is the kind whose environments the USP Service is tried with.
var bridgeKind = kinds[1]

// releaseFile lets bundles go that linger.
const releaseFile = "/run/conformance-release"

// scriptFile is what an image runs.
const scriptFile = "/srv/program"

// tables are those of agent.toml for an environment of services or of containers. Those that linger have to be waited for.
func tables(env, adapter string) string {
	return fmt.Sprintf("[[exec_env]]\nname = %q\nadapter = %q\n[exec_env.%s]\nstop_timeout = \"60s\"\n", env, adapter, adapter)
}

// files are those of an image.
func (p program) files() map[string]string {
	const forever = "while :; do sleep 0.2; done\n"
	script := "trap 'exit 0' TERM\n" + forever
	switch p.does {
	case fails:
		script = "exit 3\n"
	case stores:
		script = storesStart + script
	case lingers:
		script = "trap 'until [ -e /tmp/release ]; do sleep 0.05; done; exit 0' TERM\n: > /tmp/lingers\n" + forever
	}
	return map[string]string{scriptFile: script}
}

// packed returns what write writes to a file.
func packed(dir string, write func(path string) error) ([]byte, error) {
	path := filepath.Join(dir, "package.tar")
	if err := write(path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// bundle makes a bundle of nothing but a manifest, which is enough for all that a framework does with it.
func bundle(p program, vendor, _ string) ([]byte, error) {
	lines := []string{
		"Manifest-Version: 1.0", "Bundle-ManifestVersion: 2", "Bundle-SymbolicName: " + p.name, "Bundle-Version: " + p.version, "Bundle-Vendor: " + vendor,
	}
	switch p.does {
	case fails:
		lines = append(lines, "Bundle-Activator: missing.Activator")
	case requires:
		lines = append(lines, "Import-Package: org.smmd.nowhere")
	case inert:
		lines = append(lines, "Fragment-Host: "+standing)
	}
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	w, err := z.Create("META-INF/MANIFEST.MF")
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprint(w, strings.Join(lines, "\r\n"), "\r\n\r\n"); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// serve makes a package and serves it at a path of its own.
func (b *bench) serve(p program) (url string) {
	b.t.Helper()
	return b.serveAt(fmt.Sprintf("/%s/%s-%s%s", b.k.adapter, p.name, p.version, b.k.suffix), p)
}

// serveAt makes a package and serves it at a path.
func (b *bench) serveAt(path string, p program) (url string) {
	b.t.Helper()
	return b.Serve(path, file(b.content(b.k, p)))
}

// content is the package of a program for a kind.
func (b *bench) content(k *kind, p program) []byte {
	b.t.Helper()
	return contentOf(b.t, k, p)
}

func contentOf(t *testing.T, k *kind, p program) []byte {
	t.Helper()
	if k.adapter == "osgi" && p.does == lingers { // that takes code
		content, err := os.ReadFile(support.BundlePath(t, "hangs-in-stop-"+p.version+k.suffix))
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	content, err := k.pack(p, k.vendor(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return content
}

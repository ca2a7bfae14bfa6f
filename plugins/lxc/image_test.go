package lxc

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// entry is a file of a layer.
type entry struct {
	name, content string
	link          string // a symbolic link's target
	mode          int64  // 0: 0644, of a directory, whose name ends with a slash, 0755
}

// imageSpec is an image to be written.
type imageSpec struct {
	title, version string
	layers         [][]entry
	config         v1.Config
	architecture   string // empty: of this device
	gzip           bool   // the layers are compressed
}

// tarOf makes a tar file.
func tarOf(t testing.TB, entries []entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		hdr := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		switch {
		case e.link != "":
			hdr.Typeflag, hdr.Linkname, hdr.Mode = tar.TypeSymlink, e.link, 0o777
		case strings.HasSuffix(e.name, "/"):
			hdr.Typeflag = tar.TypeDir
			if hdr.Mode == 0 {
				hdr.Mode = 0o755
			}
		case hdr.Mode == 0:
			hdr.Mode = 0o644
		}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func hashOf(data []byte) v1.Hash {
	sum := sha256.Sum256(data)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// layout collects the files of an OCI image layout.
type layout struct {
	t     testing.TB
	blobs []entry
	index v1.IndexManifest
}

func newLayout(t testing.TB) *layout {
	return &layout{t: t, index: v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}}
}

func (l *layout) blob(data []byte, kind types.MediaType) v1.Descriptor {
	h := hashOf(data)
	l.blobs = append(l.blobs, entry{name: "blobs/sha256/" + h.Hex, content: string(data)})
	return v1.Descriptor{MediaType: kind, Size: int64(len(data)), Digest: h}
}

func (l *layout) document(v any, kind types.MediaType) v1.Descriptor {
	l.t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.blob(data, kind)
}

// add adds an image and returns its descriptor in the index.
func (l *layout) add(s imageSpec) *v1.Descriptor {
	l.t.Helper()
	if s.architecture == "" {
		s.architecture = runtime.GOARCH
	}
	config := v1.ConfigFile{OS: "linux", Architecture: s.architecture, Config: s.config, RootFS: v1.RootFS{Type: "layers"}}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: map[string]string{}}
	for name, value := range map[string]string{"title": s.title, "version": s.version, "vendor": "Example"} {
		if value != "" {
			manifest.Annotations["org.opencontainers.image."+name] = value
		}
	}
	for _, entries := range s.layers {
		plain := tarOf(l.t, entries)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, hashOf(plain))
		if s.gzip {
			manifest.Layers = append(manifest.Layers, l.blob(gzipped(l.t, plain), types.OCILayer))
			continue
		}
		manifest.Layers = append(manifest.Layers, l.blob(plain, types.OCIUncompressedLayer))
	}
	manifest.Config = l.document(config, types.OCIConfigJSON)
	d := l.document(manifest, types.OCIManifestSchema1)
	d.Platform = &v1.Platform{OS: "linux", Architecture: s.architecture}
	l.index.Manifests = append(l.index.Manifests, d)
	return &l.index.Manifests[len(l.index.Manifests)-1]
}

// withLayer is an OCI image archive whose only layer has the given bytes.
func withLayer(t testing.TB, data []byte) []byte {
	t.Helper()
	l := newLayout(t)
	config := v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{hashOf(data)}}}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: map[string]string{"org.opencontainers.image.title": "x"},
		Layers: []v1.Descriptor{l.blob(data, types.OCILayer)}, Config: l.document(config, types.OCIConfigJSON)}
	l.index.Manifests = []v1.Descriptor{l.document(manifest, types.OCIManifestSchema1)}
	return l.archive()
}

// archive returns the layout as a tar file.
func (l *layout) archive() []byte {
	l.t.Helper()
	index, err := json.Marshal(l.index)
	if err != nil {
		l.t.Fatal(err)
	}
	return tarOf(l.t, append(l.blobs, entry{name: "index.json", content: string(index)},
		entry{name: "oci-layout", content: `{"imageLayoutVersion":"1.0.0"}`}))
}

// archiveOf is an OCI image archive with one image.
func archiveOf(t testing.TB, s imageSpec) []byte {
	t.Helper()
	l := newLayout(t)
	l.add(s)
	return l.archive()
}

// packageOf writes a package file.
func packageOf(t testing.TB, data []byte) adapter.Package {
	t.Helper()
	path := filepath.Join(t.TempDir(), "package")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return adapter.Package{Path: path, SHA256: hashOf(data).Hex, Size: int64(len(data))}
}

// applets are the programs of busybox that test images have.
var applets = []string{"sh", "sleep", "cat", "id", "echo", "ls", "dd", "rm", "kill", "env", "mkdir", "mount", "pwd", "hostname", "touch", "ps", "mknod"}

// base is a layer with a shell.
func base(t testing.TB) []entry {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("images for tests are made of busybox: %v", err)
	}
	all := []entry{{name: "bin/"}, {name: "bin/busybox", content: string(busybox), mode: 0o755}, {name: "etc/"},
		{name: "etc/passwd", content: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\n"},
		{name: "etc/group", content: "root:x:0:\nwww:x:34:\nstaff:x:50:\n"}, {name: "tmp/", mode: 0o1777}, {name: "root/"}, {name: "srv/"}}
	for _, a := range applets {
		all = append(all, entry{name: "bin/" + a, link: "busybox"})
	}
	return all
}

// script is the program of the images for the kit. Its argument is what it does at the end, which somebody asks for by a file.
const script = `#!/bin/sh
mode=$1
trap 'exit 0' TERM
case $mode in
fails-start) echo "boom on purpose" >&2; exit 3;;
completes) exit 0;;
fails-stop) trap 'echo "stuck on purpose"; exit 4' TERM;;
hangs-stop) trap 'stopping=1' TERM;;
ignores-stop) trap '' TERM;;
esac
while [ ! -e /end ]; do
	[ -z "$stopping" ] || [ ! -e /release ] || exit 0
	sleep 0.05
done
rm /end
case $mode in
exits) echo "tired on purpose"; exit 7;;
dies) kill -SEGV $$;;
greedy) dd if=/dev/zero of=/dev/null bs=200M count=1;;
esac
`

// scriptImage is an image whose program is [script].
func scriptImage(t testing.TB, title, version, mode string) []byte {
	t.Helper()
	return archiveOf(t, imageSpec{title: title, version: version, layers: [][]entry{base(t), {{name: "run.sh", content: script, mode: 0o755}}},
		config: v1.Config{Entrypoint: []string{"/run.sh"}, Cmd: []string{mode}}})
}

// v1Config runs a command as root.
func v1Config(args ...string) v1.Config { return v1.Config{Entrypoint: args} }

// hostileImage is an image that can be read, and whose layer has what must not be written.
func hostileImage(t testing.TB) []byte {
	t.Helper()
	return archiveOf(t, imageSpec{title: "hostile", version: "1.0.0", layers: [][]entry{{{name: "../../escaped", content: "out"}}},
		config: v1Config("/bin/sh")})
}

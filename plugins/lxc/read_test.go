package lxc

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// inspected reads a package.
func inspected(t *testing.T, data []byte) (adapter.Manifest, error) {
	t.Helper()
	return inspect(t.Context(), defaultSettings(), packageOf(t, data), t.TempDir())
}

// TestPlatformOfImage: of several images the one of this device is taken, wherever it is.
func TestPlatformOfImage(t *testing.T) {
	one := func(arch, version string) imageSpec {
		return imageSpec{title: "app", version: version, architecture: arch, layers: [][]entry{{{name: "x"}}}}
	}
	own := platforms()[0].architecture
	l := newLayout(t)
	l.add(one("mips", "other"))
	l.add(one(own, "own"))
	l.add(one("s390x", "another"))
	attestation := l.add(one("mips", "no image"))
	attestation.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	if m, err := inspected(t, l.archive()); err != nil || m.Version != "own" {
		t.Errorf("%+v, %v", m, err)
	}
	// The same behind another index.
	nested := newLayout(t)
	nested.blobs = l.blobs
	nested.index.Manifests = []v1.Descriptor{nested.document(l.index, types.OCIImageIndex)}
	if m, err := inspected(t, gzipped(t, nested.archive())); err != nil || m.Version != "own" {
		t.Errorf("%+v, %v", m, err)
	}
	endless := newLayout(t)
	d := endless.document(l.index, types.OCIImageIndex)
	for range 5 {
		d = endless.document(v1.IndexManifest{SchemaVersion: 2, Manifests: []v1.Descriptor{d}}, types.OCIImageIndex)
	}
	endless.index.Manifests = []v1.Descriptor{d}
	_, err := inspected(t, endless.archive())
	reasonIs(t, err, adapter.Corrupt)
}

// TestTreeWithoutEnd: the limits hold before anything is read of a tarball, also when that is at its end or not there.
func TestTreeWithoutEnd(t *testing.T) {
	s := defaultSettings()
	s.maxUnpacked = 1 << 20
	data := gzipped(t, tarOf(t, []entry{{name: "rootfs/"}, {name: "rootfs/zeros", content: strings.Repeat("\x00", 2<<20)}}))
	_, err := inspect(t.Context(), s, packageOf(t, data), t.TempDir())
	reasonIs(t, err, adapter.NoResources)
}

// TestManifestOfImage: where name, vendor and version come from.
func TestManifestOfImage(t *testing.T) {
	label := map[string]string{"org.opencontainers.image.title": "labeled", "org.opencontainers.image.version": "1.2", "org.opencontainers.image.description": " says it "}
	l := newLayout(t)
	l.add(imageSpec{config: v1.Config{Labels: label}})
	if m, err := inspected(t, l.archive()); err != nil || m != (adapter.Manifest{Name: "labeled", Vendor: "Example", Version: "1.2", Description: "says it"}) {
		t.Errorf("%+v, %v", m, err)
	}
	for ref, want := range map[string][2]string{
		"registry.example:5000/team/app:3.1": {"app", "3.1"}, "app:2": {"app", "2"}, "registry.example:5000/team/app": {"app", ""}, "2.0": {"", "2.0"}, "": {"", ""},
		"app:latest": {"app", ""}, "latest": {"", ""}, "team/app:1@sha256:abc": {"app", "1"},
	} {
		l := newLayout(t)
		l.add(imageSpec{}).Annotations = map[string]string{refName: ref}
		m, err := inspected(t, l.archive())
		if err != nil || want[0] != "" && m.Name != want[0] || want[1] != "" && m.Version != want[1] ||
			want[0] == "" && !strings.HasPrefix(m.Name, "image-") || want[1] == "" && len(m.Version) != 12 {
			t.Errorf("%q: %+v, %v", ref, m, err)
		}
	}
	l = newLayout(t)
	l.add(imageSpec{}).Annotations = map[string]string{fullName: "registry.example/team/app:3.1", refName: "3.1"}
	if m, err := inspected(t, l.archive()); err != nil || m.Name != "app" || m.Version != "3.1" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestDamagedImage: each byte of an image is covered by a digest.
func TestDamagedImage(t *testing.T) {
	good := imageSpec{title: "app", version: "1", layers: [][]entry{{{name: "x", content: strings.Repeat("content", 100)}}}}
	damage := map[string]func(*layout){
		"layer": func(l *layout) { l.blobs[0].content = strings.Replace(l.blobs[0].content, "content", "CONTENT", 1) },
		"configuration": func(l *layout) {
			l.blobs[1].content = strings.Replace(l.blobs[1].content, `"os":"linux"`, `"os":"linus"`, 1)
		},
		"manifest":      func(l *layout) { l.blobs[2].content = strings.Replace(l.blobs[2].content, "app", "apq", 1) },
		"missing layer": func(l *layout) { l.blobs = l.blobs[1:] },
		"layers": func(l *layout) {
			l.index.Manifests[0] = l.document(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
				Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(l.blobs[1].content)), Digest: hashOf([]byte(l.blobs[1].content))}}, types.OCIManifestSchema1)
		},
		"digest": func(l *layout) {
			l.index.Manifests[0].Digest = v1.Hash{Algorithm: "sha256", Hex: "../../../etc/passwd"}
		},
	}
	for name, f := range damage {
		l := newLayout(t)
		l.add(good)
		f(l)
		_, err := inspected(t, l.archive())
		if name == "missing layer" || adapter.ReasonOf(err) != adapter.Corrupt {
			reasonIs(t, err, adapter.Corrupt)
		}
	}
	l := newLayout(t)
	l.add(good).MediaType = "application/vnd.example.chart"
	_, err := inspected(t, l.archive())
	reasonIs(t, err, adapter.Mismatch)
	l = newLayout(t)
	_, err = inspected(t, l.archive())
	reasonIs(t, err, adapter.Mismatch)
}

// TestDockerArchive: docker save of old, without the digests of its layers.
func TestDockerArchive(t *testing.T) {
	plain := tarOf(t, []entry{{name: "x", content: "y"}})
	config, err := json.Marshal(v1.ConfigFile{OS: "linux", RootFS: v1.RootFS{DiffIDs: []v1.Hash{hashOf(plain), hashOf(plain)}}})
	if err != nil {
		t.Fatal(err)
	}
	id := hashOf(config).Hex
	of := func(manifest string) []byte {
		return tarOf(t, []entry{{name: id + "/layer.tar", content: string(plain)}, {name: "other/layer.tar", link: "../" + id + "/layer.tar"},
			{name: id + ".json", content: string(config)}, {name: "manifest.json", content: manifest}})
	}
	m, err := inspected(t, of(`[{"Config":"`+id+`.json","RepoTags":["registry.example/app:2"],"Layers":["`+id+`/layer.tar","other/layer.tar"]}]`))
	if err != nil || m.Name != "app" || m.Version != "2" {
		t.Errorf("%+v, %v", m, err)
	}
	for _, bad := range []string{`[]`, `{`, `[{"Config":"missing.json"}]`, `[{"Config":"` + id + `.json","Layers":["` + id + `/layer.tar"]}]`} {
		_, err := inspected(t, of(bad))
		reasonIs(t, err, adapter.Corrupt)
	}
}

// TestUser: users and groups by name and number, of the image's own files.
func TestUser(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(filepath.Join(root, "etc"), 0o755), os.Symlink("/etc/real", filepath.Join(root, "etc/passwd")),
		os.WriteFile(filepath.Join(root, "etc/real"), []byte("root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/srv:\nbad:x:one:1::/:\n# comment\n"), 0o600),
		os.WriteFile(filepath.Join(root, "etc/group"), []byte("www:x:35:\nbad:x:y:\n"), 0o600))
	for spec, want := range map[string]struct {
		uid, gid uint32
		home     string
	}{
		"": {0, 0, "/root"}, "web": {33, 34, "/srv"}, "33": {33, 34, "/srv"}, "web:www": {33, 35, "/srv"}, "web:7": {33, 7, "/srv"}, "1000": {1000, 0, ""},
		"1000:www": {1000, 35, ""}, ":www": {0, 35, "/root"},
	} {
		uid, gid, home, err := resolveUser(root, spec)
		if err != nil || uid != want.uid || gid != want.gid || home != want.home {
			t.Errorf("%q is %d:%d with home %q: %v", spec, uid, gid, home, err)
		}
	}
	for _, bad := range []string{"nobody", "web:nobody", "bad", "0:bad", "-1", "4294967295", "4294967296"} {
		if _, _, _, err := resolveUser(root, bad); err == nil {
			t.Errorf("%q is a user", bad)
		}
	}
}

// TestSignals: the ways to write a stop signal.
func TestSignals(t *testing.T) {
	for text, want := range map[string]int{"": 15, "SIGQUIT": 3, "int": 2, "9": 9, "SIGRTMIN+3": 37, "RTMIN": 34, " TERM ": 15} {
		if got, err := parseSignal(text); err != nil || got != want {
			t.Errorf("%q is %d: %v", text, got, err)
		}
	}
	for _, bad := range []string{"SIGNOTHING", "0", "65", "-1", "SIGRTMIN+99"} {
		if _, err := parseSignal(bad); err == nil {
			t.Errorf("%q is a signal", bad)
		}
	}
}

// FuzzPackage: whatever a package is, it is read or refused with a reason, and nothing is left beside it.
func FuzzPackage(f *testing.F) {
	spec := imageSpec{title: "app", version: "1", layers: [][]entry{{{name: "x", content: "y"}, {name: "l", link: "x"}}}, config: v1Config("/x")}
	f.Add(archiveOf(f, spec))
	f.Add(gzipped(f, archiveOf(f, spec)))
	f.Add(hostileImage(f))
	f.Add(tarOf(f, []entry{{name: "metadata.yaml", content: "properties: {name: a, version: 1}\nprocess: {entrypoint: [/x], user: a}\n"}, {name: "rootfs/"}, {name: "rootfs/x", mode: 0o755}}))
	f.Add(tarOf(f, []entry{{name: "manifest.json", content: `[{"Config":"c","Layers":["l"]}]`}, {name: "c", content: "{}"}}))
	f.Add([]byte("PK\x03\x04"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set := defaultSettings()
		set.maxUnpacked = 1 << 20
		p, dir := packageOf(t, data), t.TempDir()
		into := filepath.Join(dir, "in")
		must(t, os.Mkdir(into, 0o755))
		m, err := inspect(t.Context(), set, p, dir)
		if err != nil && adapter.ReasonOf(err) == adapter.Internal {
			t.Errorf("inspect: %v", err)
		}
		g, err := unpack(t.Context(), set, p, into)
		if err != nil && adapter.ReasonOf(err) == adapter.Internal {
			t.Errorf("unpack: %v", err)
		}
		if err == nil && g.Manifest != m {
			t.Errorf("%+v when it is read, %+v when it is unpacked", m, g.Manifest)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("left are %v: %v", left, err)
		}
	})
}

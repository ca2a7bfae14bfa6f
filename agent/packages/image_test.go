package packages

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	randomimage "github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/smmd-project/smmd/agent/fault"
)

func newImage(t testing.TB, layers ...int) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	img = mutate.ConfigMediaType(img, types.OCIConfigJSON)
	for i, size := range layers {
		var err error
		img, err = mutate.AppendLayers(img, static.NewLayer(random(size, byte(i)), types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func digestFor(t testing.TB, x interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := x.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func pull(t testing.TB, o FetchOptions, url string) (string, Fetched) {
	t.Helper()
	s := openStore(t, t.TempDir(), roomy)
	f, err := newFetcher(t, s, o).Fetch(context.Background(), Request{Key: "op", URL: url}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.SpoolPath("op"), f
}

// unpackLayout returns the layout that an archive has.
func unpackLayout(t testing.TB, archive string) string {
	t.Helper()
	to := t.TempDir()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tr := tar.NewReader(file)
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return to
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, hdr.Name)
		data, err := io.ReadAll(tr)
		if err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantImage(t testing.TB, archive, want string) {
	t.Helper()
	path, err := layout.FromPath(unpackLayout(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != want {
		t.Fatalf("the index is %+v (%v), want %s", m, err, want)
	}
	img, err := index.Image(m.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got := digestFor(t, img); got != want {
		t.Errorf("the image is %s, want %s", got, want)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		rc, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(rc)
		if want := digestFor(t, l); err != nil || digestOf(data) != want {
			t.Errorf("a layer is damaged: %v", err)
		}
	}
	if raw, err := img.RawConfigFile(); err != nil || len(raw) == 0 {
		t.Errorf("the configuration is missing: %v", err)
	}
}

func TestPull(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls %v", secure), func(t *testing.T) {
			h := startHub(t, secure)
			o := h.trust(t)
			img := newImage(t, 50_000, 0, 700, 50_000)
			want := digestFor(t, img)
			h.push(t, "shop/app:1.0", img)
			h.push(t, "shop/app", img)
			h.push(t, "other/name:x", img)
			repository := strings.TrimSuffix(strings.TrimPrefix(h.ref("shop/app:1.0"), "docker://"), ":1.0")

			var done, totals []int64
			s := openStore(t, t.TempDir(), roomy)
			f, err := newFetcher(t, s, o).Fetch(context.Background(), Request{Key: "op", URL: h.ref("shop/app:1.0")}, func(d, n int64) {
				done, totals = append(done, d), append(totals, n)
			})
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(s.SpoolPath("op"))
			if err != nil || info.Size() != f.Size {
				t.Fatalf("%+v is %v (%v)", f, info, err)
			}
			if !slices.IsSorted(done) || done[0] != 0 || done[len(done)-1] != f.Size || slices.ContainsFunc(totals, func(n int64) bool { return n != f.Size }) {
				t.Errorf("progress was %v of %v, the size is %d", done, totals, f.Size)
			}
			wantImage(t, s.SpoolPath("op"), want)
			if got, err := s.Put(context.Background(), f); err != nil || got.SHA256 != f.SHA256 {
				t.Errorf("it is kept as %+v: %v", got, err)
			}
			// By whatever tag or digest, it is the same file, and it says which repository it is of.
			for _, other := range []string{"shop/app", "shop/app@" + want, "shop/app:ignored@" + want} {
				if _, g := pull(t, o, h.ref(other)); g != f {
					t.Errorf("%s is %+v, want %+v", other, g, f)
				}
			}
			if content, err := os.ReadFile(s.SpoolPath("op")); err == nil {
				t.Errorf("the spool still has %d bytes", len(content))
			}
			kept, err := s.Get(f.SHA256, f.Size)
			if err != nil {
				t.Fatal(err)
			}
			content, err := os.ReadFile(kept.Path)
			if says := `"annotations":{"io.containerd.image.name":"` + repository + `"}`; err != nil || !bytes.Contains(content, []byte(says)) {
				t.Errorf("the archive does not have %s: %v", says, err)
			}
			if _, g := pull(t, o, h.ref("other/name:x")); g == f {
				t.Error("the same image of another repository has the name of this one")
			}
		})
	}
}

// What skopeo(1) and umoci(1) read is an oci-archive.
func TestOtherToolsReadIt(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("skopeo is missing, and CI=true permits no skips")
		}
		t.Skip("skopeo is missing")
	}
	h := startHub(t, false)
	img, err := randomimage.Image(1000, 3)
	if err != nil {
		t.Fatal(err)
	}
	h.push(t, "app:1", img)
	path, _ := pull(t, h.trust(t), h.ref("app:1"))
	out, err := exec.Command(skopeo, "inspect", "--raw", "oci-archive:"+path).CombinedOutput()
	if err != nil || digestOf(out) != digestFor(t, img) {
		t.Errorf("skopeo says %s (%v)", out, err)
	}
}

func TestPlatforms(t *testing.T) {
	h := startHub(t, false)
	own, other := newImage(t, 100), newImage(t, 200)
	add := func(os, arch, variant string, img v1.Image) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch, Variant: variant}}}
	}
	for _, kind := range indexTypes {
		index := mutate.IndexMediaType(empty.Index, kind)
		index = mutate.AppendManifests(index, add("linux", "s390x", "", other), add("windows", runtime.GOARCH, "", other), add("unknown", "unknown", "", other),
			add("linux", runtime.GOARCH, "v9", other), add("linux", runtime.GOARCH, devicePlatforms()[0].Variant, own))
		h.push(t, "multi:1", index)
		path, byTag := pull(t, h.trust(t), h.ref("multi:1"))
		wantImage(t, path, digestFor(t, own))
		if _, byDigest := pull(t, h.trust(t), h.ref("multi@"+digestFor(t, index))); byDigest != byTag {
			t.Errorf("by its digest it is %+v, by its tag %+v", byDigest, byTag)
		}
	}
	h.push(t, "foreign:1", mutate.AppendManifests(empty.Index, add("linux", "s390x", "", other)))
	err := failing(t, openStore(t, t.TempDir(), roomy), h.trust(t), Request{URL: h.ref("foreign:1")}, fault.TransferFileUnavailable)
	if !strings.Contains(err.Error(), "s390x") {
		t.Errorf("the message does not say for what it is there: %v", err)
	}

	for machine, want := range map[string]string{"armv7l": "v7 v6 v5 ", "aarch64": "v7 v6 v5 ", "armv6l": "v6 v5 ", "armv5tel": "v5 "} {
		var got []string
		for _, p := range platforms("arm", machine) {
			got = append(got, p.Variant)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("on %s it is %q, want %q", machine, got, want)
		}
	}
}

// A pull that was cut off goes on with the first blob that is not whole.
func TestPullGoesOn(t *testing.T) {
	h := startHub(t, true)
	o := h.trust(t)
	img := newImage(t, 30_000, 40_000, 50_000)
	h.push(t, "app:1", img)
	_, whole := pull(t, o, h.ref("app:1"))
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	broken := digestFor(t, layers[1])
	cut := func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, broken) {
			return false
		}
		w.Header().Set("Content-Length", "40000")
		w.Write(random(40_000, 1)[:10_000])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	dir := t.TempDir()
	begin := func(t *testing.T) *Store {
		t.Helper()
		h.hook(cut)
		s := openStore(t, dir, roomy)
		_, err := newFetcher(t, s, o).Fetch(context.Background(), Request{Key: "op", URL: h.ref("app:1")}, nil)
		wantReason(t, err, fault.TransferIncomplete)
		return openStore(t, dir, roomy)
	}
	blobs := func() []string {
		var out []string
		for _, p := range h.asked() {
			if _, d, ok := strings.Cut(p, "/blobs/"); ok {
				out = append(out, d)
			}
		}
		return out
	}

	s := begin(t)
	h.hook(nil)
	var done []int64
	f, err := newFetcher(t, s, o).Fetch(context.Background(), Request{Key: "op", URL: h.ref("app:1")}, func(d, _ int64) { done = append(done, d) })
	if err != nil || f != whole {
		t.Fatalf("it is %+v (%v), want %+v", f, err, whole)
	}
	wantImage(t, s.SpoolPath("op"), digestFor(t, img))
	if diff := cmp.Diff([]string{broken, digestFor(t, layers[2])}, blobs()); diff != "" {
		t.Errorf("it asked for other blobs (- want, + got):\n%s", diff)
	}
	if done[0] < 30_000 || done[0] > 40_000 {
		t.Errorf("it goes on at %d", done[0])
	}
	if err := s.Discard("op"); err != nil {
		t.Fatal(err)
	}

	t.Run("unreachable meanwhile", func(t *testing.T) {
		s := begin(t)
		untrusting := o
		untrusting.Idle = 200 * time.Millisecond
		release := make(chan struct{})
		h.hook(func(_ http.ResponseWriter, r *http.Request) bool {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return true
		})
		_, err := newFetcher(t, s, untrusting).Fetch(context.Background(), Request{Key: "op", URL: h.ref("app:1")}, nil)
		close(release)
		wantReason(t, err, fault.TransferServerUnreachable)
		h.hook(nil)
		if f, err := newFetcher(t, s, o).Fetch(context.Background(), Request{Key: "op", URL: h.ref("app:1")}, nil); err != nil || f != whole {
			t.Errorf("it is %+v (%v), want %+v", f, err, whole)
		}
		if n := len(blobs()); n != 2 {
			t.Errorf("it asked for %d blobs", n)
		}
		if err := s.Discard("op"); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("another image meanwhile", func(t *testing.T) {
		s := begin(t)
		next := newImage(t, 10, 20)
		h.push(t, "app:1", next)
		if _, err := newFetcher(t, s, o).Fetch(context.Background(), Request{Key: "op", URL: h.ref("app:1")}, nil); err != nil {
			t.Fatal(err)
		}
		wantImage(t, s.SpoolPath("op"), digestFor(t, next))
		if err := s.Discard("op"); err != nil {
			t.Fatal(err)
		}
		h.push(t, "app:1", img)
	})
	t.Run("gone meanwhile", func(t *testing.T) {
		s := begin(t)
		h.hook(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(404); return true })
		failing(t, s, o, Request{URL: h.ref("app:1")}, fault.TransferFileUnavailable)
	})
}

func TestImageURLs(t *testing.T) {
	const d = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for raw, want := range map[string]string{
		"docker://registry.example/app:1":                                  "registry.example/app 1",
		"docker://registry.example/shop/app":                               "registry.example/shop/app latest",
		"docker://registry.example:5000/a/b/c:v1.0":                        "registry.example:5000/a/b/c v1.0",
		"docker://registry.example/app@" + d:                               "registry.example/app " + d,
		"docker://registry.example/app:1@" + d:                             "registry.example/app " + d,
		"docker://nas/app:1":                                               "nas:443/app 1",
		"docker://localhost/app:1":                                         "localhost/app 1",
		"docker://[::1]:5000/app:1":                                        "[::1]:5000/app 1",
		"docker://docker.io/alpine:3":                                      "index.docker.io/library/alpine 3",
		"docker://alpine":                                                  "",
		"docker://alpine:3":                                                "",
		"docker:alpine":                                                    "",
		"docker:///app:1":                                                  "",
		"docker://registry.example/":                                       "",
		"docker://registry.example/App:1":                                  "",
		"docker://registry.example/app:":                                   "",
		"docker://registry.example/app:a/b:c:d":                            "",
		"docker://registry.example/app@sha256:12":                          "",
		"docker://registry.example/app@":                                   "",
		"docker://registry.example/app:1?x=hush":                           "",
		"docker://registry.example/app:1#x":                                "",
		"docker://registry.example/../app:1":                               "",
		"docker://joe:s3cret@registry.example/app":                         "",
		"docker://registry.example/app@sha512:" + strings.Repeat("0", 128): "",
	} {
		u, err := parseURL(raw, []string{docker})
		got := ""
		if err == nil {
			ref, err := parseImage(u)
			if err != nil {
				t.Errorf("%s: %v", raw, err)
			}
			got = ref.repo.RegistryStr() + "/" + ref.repo.RepositoryStr() + " " + ref.manifest
		} else {
			wantReason(t, err, fault.InvalidArguments)
			if strings.Contains(err.Error(), "hush") || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the message tells a secret: %v", err)
			}
		}
		if got != want {
			t.Errorf("%s is %q (%v), want %q", raw, got, err, want)
		}
	}
}

// Whatever a registry sends for a manifest, it is one or the other, or an error with a class.
func FuzzManifest(f *testing.F) {
	img, err := newImage(f, 1, 2).RawManifest()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(img)
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:00","size":1,"platform":{"os":"linux","architecture":"amd64"}}]}`))
	f.Add([]byte(`{"layers":null,"manifests":[]}`))
	f.Add(bytes.Repeat([]byte(`{"layers":[`), 10))
	f.Fuzz(func(t *testing.T, data []byte) {
		index, m, err := parseManifest(data)
		if (index != nil) == (m != nil) != (err != nil) {
			t.Errorf("index %v, manifest %v, error %v", index, m, err)
		}
		if err != nil && fault.ReasonOf(err) == fault.Internal {
			t.Errorf("no class: %v", err)
		}
		if index != nil {
			if _, err := choose(index, devicePlatforms()); err != nil && fault.ReasonOf(err) != fault.TransferFileUnavailable {
				t.Errorf("no class: %v", err)
			}
		}
	})
}

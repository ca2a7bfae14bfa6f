package packages

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	imageregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	randomimage "github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/test/fileserver"
)

// A hub is a registry in memory, on loopback.
type hub struct {
	*httptest.Server
	host string
	// before sees every request first; true: it has answered.
	mu     sync.Mutex
	before func(w http.ResponseWriter, r *http.Request) bool
	log    []*http.Request
}

func startHub(t testing.TB, secure bool) *hub {
	t.Helper()
	images := imageregistry.New(imageregistry.Logger(log.New(io.Discard, "", 0)))
	h := &hub{}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		before := h.before
		h.log = append(h.log, r)
		h.mu.Unlock()
		if before == nil || !before(w, r) {
			images.ServeHTTP(w, r)
		}
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	u, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	h.host = u.Host
	return h
}

func (h *hub) hook(f func(w http.ResponseWriter, r *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before, h.log = f, nil
}

// asked returns the paths of the requests since the last hook.
func (h *hub) asked() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, r := range h.log {
		out = append(out, r.URL.Path)
	}
	return out
}

// ref names what is in the hub.
func (h *hub) ref(s string) string { return docker + "://" + h.host + "/" + s }

// push brings an image into the hub.
func (h *hub) push(t testing.TB, what string, img remote.Taggable) {
	t.Helper()
	ref, err := name.ParseReference(h.host + "/" + what)
	if err != nil {
		t.Fatal(err)
	}
	options := remote.WithTransport(h.Client().Transport)
	switch x := img.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, x, options)
	case v1.Image:
		err = remote.Write(ref, x, options, remote.WithAuth(authn.Anonymous))
	}
	if err != nil {
		t.Fatal(err)
	}
	h.hook(nil)
}

// trust returns options with the hub's authority.
func (h *hub) trust(t testing.TB) FetchOptions {
	t.Helper()
	o := FetchOptions{Schemes: []string{docker}}
	if cert := h.Certificate(); cert != nil {
		o.CAFile = filepath.Join(t.TempDir(), "ca.pem")
		data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		if err := os.WriteFile(o.CAFile, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

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
			// By whatever name, it is the same file.
			for _, other := range []string{"shop/app", "shop/app@" + want, "shop/app:ignored@" + want, "other/name:x"} {
				if _, g := pull(t, o, h.ref(other)); g != f {
					t.Errorf("%s is %+v, want %+v", other, g, f)
				}
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

// basic lets in who has the right user name and password.
func basic(w http.ResponseWriter, r *http.Request) bool {
	if user, password, ok := r.BasicAuth(); ok && user == "joe" && password == "s3cret" {
		return false
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
	w.WriteHeader(http.StatusUnauthorized)
	return true
}

// token lets in who got a token for the image with the right user name and password.
func token(h *hub) func(w http.ResponseWriter, r *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			if !basic(w, r) {
				fmt.Fprintf(w, `{"token":"hush-%s"}`, r.URL.Query().Get("scope"))
			}
			return true
		}
		if r.Header.Get("Authorization") == "Bearer hush-repository:app:pull" {
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s/token",service="hub"`, h.URL))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
}

func TestPullAuthentication(t *testing.T) {
	for _, secure := range []bool{false, true} {
		h := startHub(t, secure)
		img := newImage(t, 100, 200)
		h.push(t, "app:1", img)
		for kind, auth := range map[string]func(http.ResponseWriter, *http.Request) bool{"basic": basic, "token": token(h)} {
			t.Run(fmt.Sprintf("%s, tls %v", kind, secure), func(t *testing.T) {
				o := h.trust(t)
				h.hook(auth)
				s := openStore(t, t.TempDir(), roomy)
				f, err := newFetcher(t, s, o).Fetch(context.Background(), Request{Key: "op", URL: h.ref("app:1"), Username: "joe", Password: "s3cret"}, nil)
				if err != nil {
					t.Fatal(err)
				}
				wantImage(t, s.SpoolPath(f.Key), digestFor(t, img))
				for _, req := range []Request{{}, {Username: "joe", Password: "hush"}, {Username: "joe"}} {
					req.URL = h.ref("app:1")
					h.hook(auth)
					failing(t, openStore(t, t.TempDir(), roomy), o, req, fault.TransferAuthentication)
					if n := len(h.asked()); n > 6 {
						t.Errorf("%d requests for a refusal", n)
					}
				}
			})
		}
	}
}

// The library leaves out credentials without a password.
func TestPullWithoutPassword(t *testing.T) {
	h := startHub(t, true)
	h.push(t, "app:1", newImage(t, 100))
	h.hook(func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, ok := r.BasicAuth(); ok && user == "key" && password == "" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	s := openStore(t, t.TempDir(), roomy)
	if _, err := newFetcher(t, s, h.trust(t)).Fetch(context.Background(), Request{Key: "op", URL: h.ref("app:1"), Username: "key"}, nil); err != nil {
		t.Error(err)
	}
}

func TestPullFails(t *testing.T) {
	answer := func(path string, code int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			w.WriteHeader(code)
			io.WriteString(w, body)
			return true
		}
	}
	cut := func(path string, announce bool) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, path) {
				return false
			}
			if announce {
				w.Header().Set("Content-Length", "60000")
			}
			w.Write(make([]byte, 100))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}
	redirect := func(to string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
			return true
		}
	}
	plain := serve(t, fileserver.Options{})
	h := startHub(t, true)
	img := newImage(t, 60_000)
	h.push(t, "app:1", img)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newImage(t, 1, 2).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	zeros := strings.Repeat("0", 64)
	for name, c := range map[string]struct {
		hook  func(http.ResponseWriter, *http.Request) bool
		image string
		creds bool
		want  fault.Reason
		says  string
	}{
		"unknown name":          {image: "nothing:1", want: fault.TransferFileUnavailable, says: "NAME_UNKNOWN"},
		"unknown tag":           {image: "app:2", want: fault.TransferFileUnavailable, says: "MANIFEST_UNKNOWN"},
		"unknown digest":        {image: "app@sha256:" + zeros, want: fault.TransferFileUnavailable},
		"no registry":           {hook: answer("/v2/", 404, "<html>"), want: fault.TransferFileUnavailable, says: "404"},
		"registry is ill":       {hook: answer("/v2/", 503, "{}"), want: fault.TransferFileUnavailable, says: "503"},
		"too many requests":     {hook: answer("/manifests/", 429, `{"errors":[{"code":"TOOMANYREQUESTS","message":"s3cret"}]}`), want: fault.TransferFileUnavailable, says: "TOOMANYREQUESTS"},
		"denied":                {hook: answer("/manifests/", 403, ""), want: fault.TransferFileUnavailable},
		"denied to credentials": {hook: answer("/manifests/", 403, `{"errors":[{"code":"s3cret \n"}]}`), creds: true, want: fault.TransferAuthentication},
		"unknown challenge": {hook: func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", "Negotiate s3cret")
			w.WriteHeader(401)
			return true
		}, creds: true, want: fault.TransferAuthentication},
		"blob is missing":      {hook: answer("/blobs/", 404, ""), want: fault.TransferFileUnavailable},
		"blob is another":      {hook: answer("/blobs/", 200, "something else"), want: fault.PackageCorrupt},
		"layer is another":     {hook: answer("/blobs/"+digestFor(t, layers[0]), 200, string(make([]byte, 60_000))), want: fault.PackageCorrupt},
		"manifest is none":     {hook: answer("/manifests/", 200, "<html>"), want: fault.PackageCorrupt},
		"manifest is nothing":  {hook: answer("/manifests/", 200, "{}"), want: fault.TransferFileUnavailable},
		"manifest is old":      {hook: answer("/manifests/", 200, `{"schemaVersion":1,"fsLayers":[]}`), want: fault.TransferFileUnavailable},
		"manifest is both":     {hook: answer("/manifests/", 200, `{"manifests":[],"layers":[]}`), want: fault.PackageCorrupt},
		"manifest of another":  {hook: answer("/manifests/", 200, string(other)), image: "app@sha256:" + zeros, want: fault.PackageCorrupt},
		"manifest is huge":     {hook: answer("/manifests/", 200, strings.Repeat(" ", maxManifest+1)), want: fault.PackageCorrupt},
		"layer of minus one":   {hook: answer("/manifests/", 200, `{"layers":[],"config":{"digest":"sha256:`+zeros+`","size":-1}}`), want: fault.PackageCorrupt},
		"layer without digest": {hook: answer("/manifests/", 200, `{"layers":[],"config":{"size":1}}`), want: fault.PackageCorrupt},
		"layer is huge":        {hook: answer("/manifests/", 200, `{"layers":[],"config":{"digest":"sha256:`+zeros+`","size":99999999999}}`), want: fault.SystemResourcesExceeded},
		"above the limit":      {hook: answer("/manifests/", 200, `{"layers":[],"config":{"digest":"sha256:`+zeros+`","size":1048576}}`), want: fault.SystemResourcesExceeded},
		"body is cut":          {hook: cut("/blobs/", false), want: fault.TransferIncomplete},
		"manifest is cut":      {hook: cut("/manifests/", true), want: fault.TransferIncomplete},
		"redirect to http":     {hook: redirect(plain.URL + "/x"), want: fault.TransferInsecure},
		"redirect elsewhere":   {hook: redirect("http://192.0.2.1/x"), want: fault.TransferInsecure},
		"redirect to a file":   {hook: redirect("file:///etc/passwd"), want: fault.TransferFileUnavailable},
		"redirect with a user": {hook: redirect("https://joe:s3cret@127.0.0.1/x"), want: fault.TransferFileUnavailable},
		"redirects for ever":   {hook: redirect("/v2/app/blobs/again"), want: fault.TransferFileUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			h.hook(c.hook)
			if c.image == "" {
				c.image = "app:1"
			}
			req := Request{URL: h.ref(c.image)}
			if c.creds {
				req.Username, req.Password = "joe", "s3cret"
			}
			err := failing(t, openStore(t, t.TempDir(), roomy), h.trust(t), req, c.want)
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("the message is %v", err)
			}
		})
	}
	if len(plain.Log()) != 0 {
		t.Errorf("the plain server was asked: %v", plain.Log())
	}
}

func TestPullConnections(t *testing.T) {
	s := openStore(t, t.TempDir(), roomy)
	secure := startHub(t, true)
	secure.push(t, "app:1", newImage(t, 100))
	only := FetchOptions{Schemes: []string{docker}}
	failing(t, s, only, Request{URL: secure.ref("app:1")}, fault.TransferInsecure) // nobody trusts it
	failing(t, s, only, Request{URL: "docker://127.0.0.1:1/app:1"}, fault.TransferServerUnreachable)
	failing(t, s, only, Request{URL: "docker://nothing.invalid/app:1"}, fault.TransferServerUnreachable)
	failing(t, s, FetchOptions{Schemes: []string{"https", "http", "file"}}, Request{URL: secure.ref("app:1")}, fault.TransferProtocolUnsupported)

}

// A registry of another device is never asked without TLS, though the library would when that fails in a private network.
func TestNoFallback(t *testing.T) {
	u, err := url.Parse("docker://10.1.2.3:5000/app:1")
	if err != nil {
		t.Fatal(err)
	}
	ref, err := parseImage(u)
	if err != nil {
		t.Fatal(err)
	}
	i := startIdle(context.Background(), time.Minute)
	defer i.stop()
	f := newFetcher(t, openStore(t, t.TempDir(), roomy), FetchOptions{Schemes: []string{docker}})
	var mu sync.Mutex
	var asked []string
	r := newRegistry(&transfer{fetcher: f, url: u}, i, ref)
	r.conns.Proxy = func(req *http.Request) (*url.URL, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, req.URL.Scheme)
		return nil, &net.OpError{Op: "dial", Err: errors.New("nobody is there")}
	}
	wantReason(t, r.login(), fault.TransferServerUnreachable)
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(asked, []string{"https"}) {
		t.Errorf("it is asked by %v", asked)
	}
}

func TestPullStalls(t *testing.T) {
	for _, path := range []string{"/v2/", "/manifests/", "/blobs/"} {
		t.Run(path, func(t *testing.T) {
			h := startHub(t, true)
			h.push(t, "app:1", newImage(t, 60_000))
			release := make(chan struct{})
			t.Cleanup(func() { close(release) })
			h.hook(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, path) {
					return false
				}
				if path == "/blobs/" { // begins, and stops
					w.Write(make([]byte, 10))
					w.(http.Flusher).Flush()
				}
				select {
				case <-release:
				case <-r.Context().Done():
				}
				return true
			})
			o := h.trust(t)
			o.Idle = 300 * time.Millisecond
			want := fault.TransferServerUnreachable
			if path == "/blobs/" {
				want = fault.TransferIncomplete
			}
			s := openStore(t, t.TempDir(), roomy)
			failing(t, s, o, Request{URL: h.ref("app:1")}, want)

			o.Idle = time.Minute
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			h.mu.Lock()
			inner := h.before
			h.before = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, path) {
					cancel()
				}
				return inner(w, r)
			}
			h.mu.Unlock()
			_, err := newFetcher(t, s, o).Fetch(ctx, Request{Key: "op", URL: h.ref("app:1")}, nil)
			wantReason(t, err, fault.Canceled)
		})
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

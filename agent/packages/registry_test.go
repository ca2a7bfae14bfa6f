package packages

import (
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
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	imageregistry "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

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

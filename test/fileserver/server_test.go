package fileserver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/icholy/digest"
	"go.uber.org/goleak"

	"github.com/smmd-project/smmd/test/fileserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opts fileserver.Options) *fileserver.Server {
	t.Helper()
	s, err := fileserver.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// get asks for url with a client of its own that keeps no connection.
func get(t *testing.T, url string, transport http.RoundTripper, header http.Header) (*http.Response, []byte, error) {
	t.Helper()
	if transport == nil {
		transport = &http.Transport{DisableKeepAlives: true}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

var content = []byte("0123456789")

func TestServesFilesWithRanges(t *testing.T) {
	s := start(t, fileserver.Options{})
	s.Set("/p", fileserver.File{Content: content})
	res, body, err := get(t, s.URL+"/p?q=1", nil, nil)
	if err != nil || res.StatusCode != 200 || !bytes.Equal(body, content) {
		t.Fatalf("got %v, %q, %v", res, body, err)
	}
	for _, tc := range []struct {
		tag    string
		status int
		body   string
	}{{res.Header.Get("ETag"), 206, "3456789"}, {`"another"`, 200, "0123456789"}} {
		res, body, err := get(t, s.URL+"/p", nil, http.Header{"Range": {"bytes=3-"}, "If-Range": {tc.tag}})
		if err != nil || res.StatusCode != tc.status || string(body) != tc.body {
			t.Errorf("If-Range %s: got %d, %q, %v", tc.tag, res.StatusCode, body, err)
		}
	}
	if res, _, err := get(t, s.URL+"/none", nil, nil); err != nil || res.StatusCode != 404 {
		t.Errorf("a file that is not there: %v, %v", res, err)
	}
	log := s.Log()
	if len(log) != 4 || log[0].Query != "q=1" || log[1].Header.Get("Range") != "bytes=3-" || log[1].Status != 206 || log[3].Status != 404 {
		t.Errorf("log: %+v", log)
	}
	if err := s.WaitRequests(t.Context(), 4); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.WaitRequests(ctx, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a request that never comes: %v", err)
	}
}

func TestFurtherFilesFollow(t *testing.T) {
	s := start(t, fileserver.Options{})
	s.Set("/p", fileserver.File{Content: []byte("a")}, fileserver.File{Status: 500}, fileserver.File{Content: []byte("b")})
	var got []string
	for range 4 {
		_, body, err := get(t, s.URL+"/p", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(body))
	}
	if want := []string{"a", "Internal Server Error", "b", "b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBrokenBodies(t *testing.T) {
	s := start(t, fileserver.Options{})
	for name, f := range map[string]fileserver.File{
		"cut":      {Content: content, Cut: fileserver.Bytes(4)},
		"chunked":  {Content: content, Cut: fileserver.Bytes(4), Length: fileserver.Bytes(-1)},
		"too long": {Content: content[:4], Length: fileserver.Bytes(9)},
	} {
		s.Set("/p", f)
		_, body, err := get(t, s.URL+"/p", nil, nil)
		if !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "0123" {
			t.Errorf("%s: got %q, %v", name, body, err)
		}
	}
	release := make(chan struct{})
	s.Set("/p", fileserver.File{Content: content, Hang: fileserver.Bytes(4), Release: release})
	res, err := http.DefaultTransport.RoundTrip(must(http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/p", nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	defer res.Body.Close()
	first := make([]byte, 4)
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "0123" {
		t.Errorf("before the hang: %q, %v", first, err)
	}
	close(release)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "456789" {
		t.Errorf("after the hang: %q, %v", rest, err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestCloseEndsAHang(t *testing.T) {
	s := start(t, fileserver.Options{Silent: true})
	failed := make(chan error)
	go func() {
		_, _, err := get(t, s.URL, nil, nil)
		failed <- err
	}()
	if err := s.WaitRequests(t.Context(), 1); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := <-failed; err == nil {
		t.Error("a silent server answered")
	}
}

// The credentials are computed by a client library, independently of the server.
func TestAuthentication(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p"), content, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, scheme := range []string{"basic", "digest", "digest-sha256"} {
		auth := fileserver.Auth{Username: "joe", Password: "secret", Schemes: []string{scheme}}
		s := start(t, fileserver.Options{Dir: dir, DirAuth: auth})
		for password, status := range map[string]int{"secret": 200, "wrong": 401} {
			var transport http.RoundTripper = &digest.Transport{Username: "joe", Password: password, Transport: &http.Transport{DisableKeepAlives: true}}
			var header http.Header
			if scheme == "basic" {
				r := must(http.NewRequest(http.MethodGet, s.URL, nil))
				r.SetBasicAuth("joe", password)
				transport, header = nil, r.Header
			}
			res, body, err := get(t, s.URL+"/p", transport, header)
			if err != nil || res.StatusCode != status || status == 200 && !bytes.Equal(body, content) {
				t.Errorf("%s with password %s: got %v, %q, %v", scheme, password, res, body, err)
			}
		}
		if res, _, err := get(t, s.URL+"/p", nil, nil); err != nil || res.StatusCode != 401 {
			t.Errorf("%s without credentials: %v, %v", scheme, res, err)
		}
	}
}

func TestCertificates(t *testing.T) {
	for kind, good := range map[fileserver.Certificate]bool{fileserver.Good: true, fileserver.Expired: false, fileserver.WrongHost: false} {
		s := start(t, fileserver.Options{TLS: kind})
		s.Set("/p", fileserver.File{Content: content, ModTime: time.Now()})
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.CA)
		_, body, err := get(t, s.URL+"/p", &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}, nil)
		if (err == nil) != good || good && !bytes.Equal(body, content) {
			t.Errorf("%s: %q, %v", kind, body, err)
		}
	}
	if s, err := fileserver.Start(fileserver.Options{TLS: "golden"}); err == nil {
		s.Close()
		t.Error("a server with an unknown kind of certificate started")
	}
}

package packages

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/test/fileserver"
)

var allSchemes = []string{"http", "https", "file"}

func serve(t testing.TB, opts fileserver.Options) *fileserver.Server {
	t.Helper()
	s, err := fileserver.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func newFetcher(t testing.TB, s *Store, opts FetchOptions) *Fetcher {
	t.Helper()
	if opts.Schemes == nil {
		opts.Schemes = allSchemes
	}
	if opts.Idle == 0 {
		opts.Idle = 20 * time.Second
	}
	f, err := NewFetcher(s, opts)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// trusting returns options that trust the authority of a server.
func trusting(t testing.TB, server *fileserver.Server) FetchOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, server.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	return FetchOptions{CAFile: path}
}

// wantContent checks what a Fetch brought.
func wantContent(t testing.TB, s *Store, f Fetched, want []byte) {
	t.Helper()
	got, err := os.ReadFile(s.SpoolPath(f.Key))
	if err != nil || !bytes.Equal(got, want) || f.SHA256 != sumOf(want) || f.Size != int64(len(want)) {
		t.Errorf("fetched %+v with %d bytes (%v), want %d bytes with digest %s", f, len(got), err, len(want), sumOf(want))
	}
}

func TestFetch(t *testing.T) {
	content := random(300_000, 1)
	for name, file := range map[string]fileserver.File{
		"plain":          {Content: content},
		"chunked":        {Content: content, Length: fileserver.Bytes(-1)},
		"slow":           {Content: content, ChunkSize: 50_000, ChunkDelay: time.Millisecond},
		"empty":          {},
		"content coding": {Content: content, Header: http.Header{"Content-Encoding": {"gzip"}}},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, fileserver.Options{})
			server.Set("/p.jar", file)
			s := openStore(t, t.TempDir(), roomy)
			var done, total []int64
			f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: server.URL + "/p.jar?token=x"},
				func(d, n int64) { done, total = append(done, d), append(total, n) })
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, s, f, file.Content)
			wantTotal := int64(len(file.Content))
			if !slices.IsSorted(done) || done[0] != 0 || done[len(done)-1] != wantTotal {
				t.Errorf("progress was %v", done)
			}
			if file.Length != nil {
				wantTotal = -1
			}
			if slices.ContainsFunc(total, func(n int64) bool { return n != wantTotal }) {
				t.Errorf("totals were %v, want %d", total, wantTotal)
			}
			log := server.Log()
			if len(log) != 1 || log[0].Query != "token=x" || log[0].Header.Get("Range") != "" || log[0].Header.Get("Accept-Encoding") != "identity" {
				t.Errorf("the server was asked %+v", log)
			}
			if _, err := s.Put(context.Background(), f); err != nil {
				t.Error(err)
			}
			if names := spoolFiles(t, s); len(names) != 0 {
				t.Errorf("the spool still has %v", names)
			}
		})
	}
}

// failing fetches what must fail, and checks that the error has its class, tells no secret and leaves nothing behind.
func failing(t *testing.T, s *Store, opts FetchOptions, req Request, want fault.Reason) error {
	t.Helper()
	req.Key = "op"
	_, err := newFetcher(t, s, opts).Fetch(context.Background(), req, nil)
	wantReason(t, err, want)
	if err == nil {
		return errors.New("no error")
	}
	for _, secret := range []string{"s3cret", "hush"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the message tells a secret: %v", err)
		}
	}
	if !strings.HasPrefix(err.Error(), "cannot fetch ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("the message is %q", err)
	}
	if want != fault.TransferIncomplete {
		if names := spoolFiles(t, s); len(names) != 0 {
			t.Errorf("the spool still has %v", names)
		}
		if got := s.Usage().Spool; got != 0 {
			t.Errorf("the spool still takes %d bytes", got)
		}
	}
	return err
}

func TestURLs(t *testing.T) {
	for raw, want := range map[string]fault.Reason{
		"":                                    fault.InvalidArguments,
		"/no/scheme":                          fault.InvalidArguments,
		"http://":                             fault.InvalidArguments,
		"http:///path":                        fault.InvalidArguments,
		"http:opaque":                         fault.InvalidArguments,
		"http://h:s3cret port/":               fault.InvalidArguments,
		"http://user:s3cret with space@h/":    fault.InvalidArguments,
		"http://user:s3cret@127.0.0.1/x?hush": fault.InvalidArguments,
		"ftp://user:s3cret@h/":                fault.InvalidArguments,
		"http://@h/":                          fault.InvalidArguments,
		"ftp://h/x?hush":                      fault.TransferProtocolUnsupported,
		"docker://h/x":                        fault.TransferProtocolUnsupported,
		"file:relative":                       fault.InvalidArguments,
		"file://host/x":                       fault.InvalidArguments,
		"file:":                               fault.InvalidArguments,
	} {
		t.Run(raw, func(t *testing.T) {
			failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: raw}, want)
		})
	}
	failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{Schemes: []string{"https"}}, Request{URL: "http://127.0.0.1/"}, fault.TransferProtocolUnsupported)
	failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{Schemes: []string{"https"}}, Request{URL: "file:///etc/passwd"}, fault.TransferProtocolUnsupported)
}

func TestDisplay(t *testing.T) {
	for raw, want := range map[string]string{
		"http://user:s3cret@h:80/a%2Fb/c?hush#frag": "http://h:80/a%2Fb/c",
		"http://h:s3cret x/":                        "(malformed URL)",
		"user:s3cret":                               "user:(opaque URL)",
		"file:///a b":                               "file:///a%20b",
	} {
		if got := Display(raw); got != want {
			t.Errorf("Display(%q) = %q, want %q", raw, got, want)
		}
	}
}

func TestStatusCodes(t *testing.T) {
	server := serve(t, fileserver.Options{})
	for code, want := range map[int]fault.Reason{
		401: fault.TransferAuthentication, 407: fault.TransferAuthentication,
		403: fault.TransferFileUnavailable, 404: fault.TransferFileUnavailable, 410: fault.TransferFileUnavailable,
		204: fault.TransferFileUnavailable, 206: fault.TransferFileUnavailable, 300: fault.TransferFileUnavailable,
		304: fault.TransferFileUnavailable, 416: fault.TransferFileUnavailable, 429: fault.TransferFileUnavailable,
		500: fault.TransferFileUnavailable, 503: fault.TransferFileUnavailable,
	} {
		path := fmt.Sprintf("/%d", code)
		server.Set(path, fileserver.File{Status: code})
		err := failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: server.URL + path + "?hush"}, want)
		if code == 404 && err.Error() != "cannot fetch "+server.URL+"/404: the server answered 404 Not Found" {
			t.Errorf("message: %v", err)
		}
	}
	if got := len(server.Log()); got != 13 {
		t.Errorf("the server was asked %d times for 13 files: something was retried", got)
	}
}

func TestUnreachable(t *testing.T) {
	closed := serve(t, fileserver.Options{})
	closed.Close()
	failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: closed.URL + "/?hush"}, fault.TransferServerUnreachable)
	failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: "http://host.invalid/?hush"}, fault.TransferServerUnreachable)
	silent := serve(t, fileserver.Options{Silent: true})
	err := failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{Idle: 30 * time.Millisecond}, Request{URL: silent.URL}, fault.TransferServerUnreachable)
	if !strings.Contains(err.Error(), "did not answer within 30ms") {
		t.Errorf("message: %v", err)
	}
	for name, answer := range map[string]string{"closes": "", "no HTTP": "SSH-2.0-hush\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			url := rawServer(t, answer)
			failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: url}, fault.TransferServerUnreachable)
		})
	}
}

// rawServer sends the same bytes to one connection, whatever it is asked.
func rawServer(t *testing.T, answer string) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buf := make([]byte, 4096)
		_, _ = conn.Read(buf)
		_, _ = conn.Write([]byte(answer))
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return "http://" + l.Addr().String()
}

// A connection that dies after a challenge must not make net/http send the request once more on its own.
func TestNoRequestIsRepeated(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test closed it
			}
			for r := bufio.NewReader(conn); ; {
				if _, err := http.ReadRequest(r); err != nil {
					break
				}
				if requests++; requests > 1 {
					break
				}
				fmt.Fprint(conn, "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n")
			}
			conn.Close()
		}
	})
	failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: "http://" + l.Addr().String(), Username: "joe"}, fault.TransferServerUnreachable)
	l.Close()
	wg.Wait()
	if requests != 2 {
		t.Errorf("the server was asked %d times, want once without and once with credentials", requests)
	}
}

func TestTLS(t *testing.T) {
	content := random(10_000, 1)
	good := serve(t, fileserver.Options{TLS: fileserver.Good})
	good.Set("/p", fileserver.File{Content: content})
	s := openStore(t, t.TempDir(), roomy)
	f, err := newFetcher(t, s, trusting(t, good)).Fetch(context.Background(), Request{Key: "op", URL: good.URL + "/p"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, f, content)

	expired := serve(t, fileserver.Options{TLS: fileserver.Expired})
	wrong := serve(t, fileserver.Options{TLS: fileserver.WrongHost})
	plain := serve(t, fileserver.Options{})
	for name, tc := range map[string]struct {
		opts FetchOptions
		url  string
	}{
		"unknown authority": {FetchOptions{}, good.URL},
		"another authority": {trusting(t, expired), good.URL},
		"expired":           {trusting(t, expired), expired.URL},
		"wrong host":        {trusting(t, wrong), wrong.URL},
		"no TLS":            {FetchOptions{}, strings.Replace(plain.URL, "http", "https", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			failing(t, openStore(t, t.TempDir(), roomy), tc.opts, Request{URL: tc.url + "/p?hush"}, fault.TransferInsecure)
		})
	}

	for name, file := range map[string]string{"missing": filepath.Join(t.TempDir(), "none"), "no certificate": "/dev/null"} {
		if _, err := NewFetcher(s, FetchOptions{Schemes: allSchemes, Idle: time.Second, CAFile: file}); err == nil {
			t.Errorf("authorities: %s: no error", name)
		}
	}
}

func TestBrokenBodies(t *testing.T) {
	content := random(50_000, 1)
	for name, file := range map[string]fileserver.File{
		"cut":                  {Content: content, Cut: fileserver.Bytes(20_000)},
		"cut before the body":  {Content: content, Cut: fileserver.Bytes(0)},
		"chunked and cut":      {Content: content, Length: fileserver.Bytes(-1), Cut: fileserver.Bytes(20_000)},
		"stalled":              {Content: content, Hang: fileserver.Bytes(20_000)},
		"shorter than told":    {Content: content, Length: fileserver.Bytes(60_000)},
		"nothing after header": {Length: fileserver.Bytes(10)},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, fileserver.Options{})
			server.Set("/p", file)
			s := openStore(t, t.TempDir(), roomy)
			opts := FetchOptions{}
			if name == "stalled" {
				opts.Idle = 100 * time.Millisecond
			}
			failing(t, s, opts, Request{URL: server.URL + "/p?hush"}, fault.TransferIncomplete)
			if err := s.Discard("op"); err != nil {
				t.Error(err)
			}
			if names := spoolFiles(t, s); len(names) != 0 {
				t.Errorf("after Discard the spool has %v", names)
			}
			if got := len(server.Log()); got != 1 {
				t.Errorf("the server was asked %d times: something was retried", got)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	server := serve(t, fileserver.Options{})
	content := random(200_000, 1)
	chunked := fileserver.Bytes(-1)
	server.Set("/told", fileserver.File{Content: content})
	server.Set("/untold", fileserver.File{Content: content, Length: chunked})
	for _, path := range []string{"/told", "/untold"} {
		for name, tc := range map[string]struct {
			limits Limits
			free   int64
			full   int // bytes after which the disk is full
			want   fault.Reason
		}{
			"fits exactly":        {Limits{MaxSize: 200_000, Quota: 200_000, Reserve: 5}, 200_005, 1 << 30, fault.None},
			"larger than max":     {Limits{MaxSize: 199_999, Quota: 1 << 30}, 1 << 30, 1 << 30, fault.SystemResourcesExceeded},
			"larger than quota":   {Limits{MaxSize: 1 << 20, Quota: 199_999}, 1 << 30, 1 << 30, fault.SystemResourcesExceeded},
			"into the reserve":    {Limits{MaxSize: 1 << 20, Quota: 1 << 30, Reserve: 6}, 200_005, 1 << 30, fault.SystemResourcesExceeded},
			"disk full halfway":   {Limits{MaxSize: 1 << 20, Quota: 1 << 30}, 1 << 30, 100_000, fault.SystemResourcesExceeded},
			"disk full from then": {Limits{MaxSize: 1 << 20, Quota: 1 << 30}, 1 << 30, 0, fault.SystemResourcesExceeded},
		} {
			t.Run(name+path, func(t *testing.T) {
				s := openStore(t, t.TempDir(), tc.limits)
				written := 0
				s.available = func(string) (int64, error) { return tc.free - int64(written), nil }
				s.write = func(f *os.File, p []byte) (int, error) {
					n, err := f.Write(p[:min(len(p), tc.full-written)])
					written += n
					if err == nil && n < len(p) {
						err = &os.PathError{Op: "write", Path: f.Name(), Err: unix.ENOSPC}
					}
					return n, err
				}
				req := Request{Key: "op", URL: server.URL + path}
				if tc.want != fault.None {
					failing(t, s, FetchOptions{}, req, tc.want)
					return
				}
				f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), req, nil)
				if err != nil {
					t.Fatal(err)
				}
				wantContent(t, s, f, content)
			})
		}
	}
}

func TestCancel(t *testing.T) {
	content := random(50_000, 1)
	for name, file := range map[string]fileserver.File{
		"before the header": {Content: content, Hang: fileserver.Bytes(-1)},
		"in the body":       {Content: content, Hang: fileserver.Bytes(20_000)},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, fileserver.Options{})
			server.Set("/p", file)
			s := openStore(t, t.TempDir(), roomy)
			ctx, cancel := context.WithCancelCause(context.Background())
			defer cancel(nil)
			why := fault.Errorf(fault.DeadlineExceeded, "the hour is over")
			if name == "before the header" {
				var wg sync.WaitGroup
				defer wg.Wait()
				wg.Go(func() {
					if err := server.WaitRequests(t.Context(), 1); err != nil {
						t.Error(err)
					}
					cancel(why)
				})
			}
			_, err := newFetcher(t, s, FetchOptions{}).Fetch(ctx, Request{Key: "op", URL: server.URL + "/p"}, func(done, _ int64) {
				if done == 20_000 {
					cancel(why)
				}
			})
			wantReason(t, err, fault.DeadlineExceeded)
			if !errors.Is(err, why) {
				t.Errorf("the cause is not in the chain of %v", err)
			}
			if info, err := os.Stat(s.SpoolPath("op")); name == "in the body" && (err != nil || info.Size() != 20_000) {
				t.Errorf("what came did not stay: %v, %v", info, err)
			}
		})
	}
}

func TestFileURL(t *testing.T) {
	dir := t.TempDir()
	content := random(300_000, 1)
	path := filepath.Join(dir, "my package")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	link, fifo := filepath.Join(dir, "link"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.Symlink(path, link), unix.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"file://" + strings.ReplaceAll(path, " ", "%20"), "file:" + link, "FILE://localhost" + link} {
		s := openStore(t, t.TempDir(), roomy)
		last := int64(0)
		f, err := newFetcher(t, s, FetchOptions{}).Fetch(context.Background(), Request{Key: "op", URL: url}, func(done, _ int64) { last = done })
		if err != nil {
			t.Fatal(err)
		}
		wantContent(t, s, f, content)
		if last != int64(len(content)) {
			t.Errorf("progress ended at %d", last)
		}
	}
	for name, url := range map[string]string{
		"missing": dir + "/none", "directory": dir, "fifo": fifo, "device": "/dev/zero", "socket": "/dev/log",
	} {
		t.Run(name, func(t *testing.T) {
			failing(t, openStore(t, t.TempDir(), roomy), FetchOptions{}, Request{URL: "file://" + url}, fault.TransferFileUnavailable)
		})
	}
	failing(t, openStore(t, t.TempDir(), Limits{MaxSize: 100, Quota: 1 << 20}), FetchOptions{}, Request{URL: "file://" + link}, fault.SystemResourcesExceeded)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := newFetcher(t, openStore(t, t.TempDir(), roomy), FetchOptions{}).Fetch(ctx, Request{Key: "op", URL: "file://" + link}, nil)
	wantReason(t, err, fault.Canceled)
}

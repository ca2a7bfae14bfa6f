// Package fileserver is a file server that misbehaves on request. Tests of transfers run it in their own process; it stands
// on a real socket and speaks HTTP/1.1, over TLS when asked to.
//
// Each path has a [File]: its content and the ways in which the server fails to deliver it. The zero knobs are those of a
// decent server with ranges, entity tags and dates. What clients asked is in the [Server.Log], an independent view of what
// they did.
package fileserver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Options say how a server listens. The zero value is plain HTTP on a free port of 127.0.0.1.
type Options struct {
	Address string      // to listen on; empty: a free port of 127.0.0.1
	TLS     Certificate // empty: no TLS
	Dir     string      // a directory of files to serve besides those that were [Server.Set]
	DirAuth Auth        // what the files of Dir ask for
	Silent  bool        // accept requests and never answer, as a hung server does
}

// A Server serves until it is closed.
type Server struct {
	URL  string // scheme://host:port, without a slash at the end
	CA   []byte // PEM of the authority that signed the server's certificate, nil without TLS
	opts Options

	http     *http.Server
	ctx      context.Context // of all answers, done when the server closes
	stop     context.CancelFunc
	handlers sync.WaitGroup

	mu     sync.Mutex
	closed bool
	files  map[string][]File
	log    []Request
	nonces map[string]bool // digest nonces given out and not used up
	asked  *sync.Cond      // told of each request
}

// A Request is one that the server has answered, or is answering.
type Request struct {
	Method, Host, Path, Query string
	Header                    http.Header
	Status                    int // of the answer; 0 before it is there
}

// Start starts a server.
func Start(opts Options) (*Server, error) {
	address := opts.Address
	if address == "" {
		address = "127.0.0.1:0"
	}
	s := &Server{opts: opts, files: map[string][]File{}, nonces: map[string]bool{}}
	s.asked = sync.NewCond(&s.mu)
	var conf *tls.Config
	if opts.TLS != "" {
		var err error
		if conf, s.CA, err = tlsConfig(opts.TLS); err != nil {
			return nil, err
		}
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", address, err)
	}
	s.URL = "http://" + listener.Addr().String()
	if conf != nil {
		s.URL = "https://" + listener.Addr().String()
		listener = tls.NewListener(listener, conf)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          discard, // handshakes that fail are what the client's test is about
	}
	s.handlers.Go(func() { _ = s.http.Serve(listener) }) // always ends with ErrServerClosed
	return s, nil
}

// Listen takes connections of another listener too, until either is closed. It is not for servers with TLS.
func (s *Server) Listen(l net.Listener) {
	s.handlers.Go(func() { _ = s.http.Serve(l) }) // ends with the listener
}

// Close ends all connections and returns when no request is being answered any more.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	_ = s.http.Close()
	s.handlers.Wait()
}

// Set makes path answer with f, and with the further files from the second request on; the last one stays. Requests that
// are answered with a demand for credentials do not count. path begins with a slash.
func (s *Server) Set(path string, f File, further ...File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = append([]File{f}, further...)
}

// Log returns all requests so far.
func (s *Server) Log() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.log...)
}

// WaitRequests returns when n requests have come, or with an error when ctx is done.
func (s *Server) WaitRequests(ctx context.Context, n int) error {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.log) < n {
		if ctx.Err() != nil {
			return fmt.Errorf("cannot wait for request %d, %d came: %w", n, len(s.log), ctx.Err())
		}
		s.asked.Wait()
	}
	return nil
}

// serve answers one request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		panic(http.ErrAbortHandler) // accepted in the last moment
	}
	s.handlers.Add(1)
	defer s.handlers.Done()
	n := len(s.log)
	s.log = append(s.log, Request{Method: r.Method, Host: r.Host, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()})
	files := s.files[r.URL.Path]
	s.asked.Broadcast()
	s.mu.Unlock()
	rw := &recorder{ResponseWriter: w, status: func(code int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.log[n].Status = code
	}}
	switch {
	case s.opts.Silent:
		s.hang(r, nil)
	case len(files) == 0 && s.opts.Dir != "":
		if s.authorized(rw, r, s.opts.DirAuth) {
			http.FileServer(http.Dir(s.opts.Dir)).ServeHTTP(rw, r)
		}
	case len(files) == 0:
		http.NotFound(rw, r)
	case s.authorized(rw, r, files[0].Auth):
		s.mu.Lock()
		if left := s.files[r.URL.Path]; len(left) > 1 {
			s.files[r.URL.Path] = left[1:]
		}
		s.mu.Unlock()
		s.deliver(rw, r, files[0])
	}
}

// hang waits until release is closed. When the client goes or the server closes before that, the answer ends there.
func (s *Server) hang(r *http.Request, release <-chan struct{}) {
	select {
	case <-release:
		return
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
	panic(http.ErrAbortHandler) // drops the connection
}

// A recorder tells the status of an answer.
type recorder struct {
	http.ResponseWriter
	status func(int)
}

func (r *recorder) WriteHeader(code int) {
	r.status(code)
	r.ResponseWriter.WriteHeader(code)
}

// Unwrap is for [http.ResponseController].
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

package packages

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
)

// FetchOptions are what a [Fetcher] needs to know.
type FetchOptions struct {
	Schemes []string      // of http, https, file, docker: the ones that are permitted
	Idle    time.Duration // a transfer that brings nothing for so long is given up
	CAFile  string        // PEM file of the authorities that servers are checked against; empty: the system's
}

// A Request asks for a file.
type Request struct {
	Key      string // names the part file: the id of the operation
	URL      string
	Username string // with Password: for a server that asks; both empty: none
	Password string
}

// A Fetcher brings files into the spool of a store. It may be used concurrently, by one Fetch for each key.
//
// The agent never repeats a transfer that failed (TR-069 A.4.1.10, TR-369 R-SMM.1). It reads no proxy from the environment: where
// a package comes from is decided by its URL alone.
type Fetcher struct {
	store *Store
	opts  FetchOptions
	roots *x509.CertPool // nil: the system's
}

// NewFetcher returns a fetcher that writes into the spool of store.
func NewFetcher(store *Store, opts FetchOptions) (*Fetcher, error) {
	f := &Fetcher{store: store, opts: opts}
	if opts.Idle <= 0 {
		return nil, fmt.Errorf("cannot fetch packages: the idle time is %s", opts.Idle)
	}
	if opts.CAFile != "" {
		data, err := os.ReadFile(opts.CAFile)
		if err != nil {
			return nil, fmt.Errorf("cannot load the certificate authorities: %w", err)
		}
		f.roots = x509.NewCertPool()
		if !f.roots.AppendCertsFromPEM(data) {
			return nil, fmt.Errorf("cannot load the certificate authorities: %s holds no certificate in PEM form", opts.CAFile)
		}
	}
	return f, nil
}

func (f *Fetcher) tlsConfig(serverName string) *tls.Config {
	return &tls.Config{RootCAs: f.roots, ServerName: serverName, MinVersion: tls.VersionTLS12}
}

// Fetch brings the file at req.URL, or the image of a registry as one archive, into the spool and makes it durable there. It calls progress, which must not block, for each piece: done and
// total are bytes, total is -1 while it is not known.
//
// When ctx ends, the body breaks off, or the server cannot be reached, what came over the network so far stays in the spool, and a
// Fetch of the same request goes on with it if the server still has the same file, else starts over; [Store.Discard] removes
// it. After every other failure nothing is left. The bytes in the spool
// are those the server sent: a content coding is not asked for, and not undone.
//
// The classes of errors:
//
//	invalid-arguments             the URL is malformed or has userinfo
//	transfer-protocol-unsupported its scheme, or that of a redirect, is not permitted
//	transfer-server-unreachable   no address, no connection, or no answer within the idle time
//	transfer-insecure             the TLS handshake failed, or a redirect leads from https to http; a registry of another device
//	                              without TLS
//	transfer-authentication       401 or 407, or 403 to credentials
//	transfer-file-unavailable     every other answer than the file; more than 5 redirects; a path that is no regular file
//	transfer-incomplete           the body broke off, stalled, or was not as long as announced
//	package-corrupt               an image without its digests: a manifest or blob is another one
//	system-resources-exceeded     larger than permitted, or no room for it
//	canceled, deadline-exceeded   ctx ended
func (f *Fetcher) Fetch(ctx context.Context, req Request, progress func(done, total int64)) (Fetched, error) {
	u, err := parseURL(req.URL, f.opts.Schemes)
	if err != nil {
		return Fetched{}, err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	p, err := f.store.openPart(req.Key)
	if err != nil {
		return Fetched{}, fmt.Errorf("cannot fetch %s: %w", display(u), err)
	}
	t := &transfer{fetcher: f, req: req, url: u, part: p, progress: progress}
	var got Fetched
	if err = t.run(ctx); err == nil {
		got, err = p.finish()
	}
	keep := err == nil || t.resumable
	if closeErr := p.close(keep); closeErr != nil {
		err = errors.Join(err, closeErr)
	}
	if err != nil {
		return Fetched{}, fmt.Errorf("cannot fetch %s: %w", display(u), err)
	}
	return got, nil
}

// parseURL checks the URL of a request. The text of url.Parse is not used: it may quote a password.
func parseURL(raw string, schemes []string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, fault.Errorf(fault.InvalidArguments, "cannot fetch the package: its URL is malformed")
	case u.User != nil:
		return nil, fault.Errorf(fault.InvalidArguments, "cannot fetch %s: the URL has a user or password in it", display(u))
	case u.Scheme == "":
		return nil, fault.Errorf(fault.InvalidArguments, "cannot fetch the package: its URL has no scheme")
	case !slices.Contains(schemes, u.Scheme):
		return nil, fault.Errorf(fault.TransferProtocolUnsupported, "cannot fetch the package: %s is not among the permitted schemes %v", u.Scheme, schemes)
	case u.Scheme == "file" && (u.Host != "" && u.Host != "localhost" || u.Opaque != "" || u.Path == "" || u.Path[0] != '/'):
		return nil, fault.Errorf(fault.InvalidArguments, "cannot fetch the package: a file URL is file:/// and an absolute path")
	case u.Scheme != "file" && u.Hostname() == "":
		return nil, fault.Errorf(fault.InvalidArguments, "cannot fetch the package: its URL names no host")
	}
	if u.Scheme == docker {
		if _, err := parseImage(u); err != nil {
			return nil, fault.Errorf(fault.InvalidArguments, "cannot fetch %s: %w", display(u), err)
		}
	}
	return u, nil
}

// Display returns a URL as it may be logged and shown: without userinfo, query and fragment. A malformed one is not shown at all.
func Display(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(malformed URL)"
	}
	return display(u)
}

func display(u *url.URL) string {
	if u.Opaque != "" { // mailto:x, or user:password without slashes
		return u.Scheme + ":(opaque URL)"
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	return shown.String()
}

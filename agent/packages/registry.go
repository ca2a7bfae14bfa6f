package packages

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/smmd-project/smmd/agent/fault"
)

const (
	maxManifest      = 4 << 20  // bytes; the OCI distribution specification asks registries to take that much, section Pushing Manifests
	maxErrorDocument = 64 << 10 // bytes
)

// A registry is asked for one image: the pull half of the OCI distribution specification. Authentication, basic or by token, is that of
// go-containerregistry.
//
// It is asked by https. Only one that is on the device itself may speak plain http; that others fall back to it, which the library would let
// those in private networks do, would let whoever is on the way have the credentials.
type registry struct {
	t      *transfer
	idle   *idle
	ref    imageReference
	conns  *http.Transport
	scheme string       // empty as long as it may be either
	client *http.Client // made by login
}

func newRegistry(t *transfer, idle *idle, ref imageReference) *registry {
	return &registry{t: t, idle: idle, ref: ref, conns: t.fetcher.connections(), scheme: "https"}
}

// login finds out how the registry wants to be asked.
func (r *registry) login() error {
	reg := r.ref.repo.Registry
	if loopback((&url.URL{Host: reg.RegistryStr()}).Hostname()) {
		r.scheme = ""
		challenge, err := transport.Ping(r.idle, reg, r)
		if err != nil {
			return r.loginError(err)
		}
		r.scheme = "https"
		if challenge.Insecure {
			r.scheme = "http"
		}
	}
	auth := authn.Anonymous
	if r.named() {
		// As one string: the library leaves out a user name without a password.
		auth = authn.FromConfig(authn.AuthConfig{Auth: base64.StdEncoding.EncodeToString([]byte(r.t.req.Username + ":" + r.t.req.Password))})
	}
	authorized, err := transport.NewWithContext(r.idle, reg, auth, transport.NewUserAgent(r, "smmd"), []string{r.ref.repo.Scope(transport.PullScope)})
	if err != nil {
		return r.loginError(err)
	}
	r.client = &http.Client{Transport: authorized, CheckRedirect: r.follow}
	return nil
}

// named reports whether the request has credentials.
func (r *registry) named() bool { return r.t.req.Username != "" || r.t.req.Password != "" }

// A noAnswer is the classified error of a request that got no answer, found again in what the library makes of it.
type noAnswer struct{ err error }

func (e *noAnswer) Error() string { return e.err.Error() }
func (e *noAnswer) Unwrap() error { return e.err }

// RoundTrip is what all requests end in: those of the library, of which some are to servers for tokens, and those that redirects lead to.
func (r *registry) RoundTrip(req *http.Request) (*http.Response, error) {
	own := req.URL.Host == r.ref.repo.RegistryStr()
	switch scheme := req.URL.Scheme; {
	case scheme != "http" && scheme != "https",
		scheme == "http" && !loopback(req.URL.Hostname()),
		own && r.scheme != "" && scheme != r.scheme:
		return nil, &noAnswer{fault.Errorf(fault.TransferInsecure, "%s is not asked by %s", req.URL.Hostname(), scheme)}
	}
	res, err := r.conns.RoundTrip(req)
	if err != nil {
		return nil, &noAnswer{r.t.roundTripError(r.idle, err)}
	}
	r.idle.alive()
	body := res.Body
	res.Body = struct {
		io.Reader
		io.Closer
	}{r.idle.reader(body), body}
	return res, nil
}

// follow judges a redirect.
func (r *registry) follow(next *http.Request, via []*http.Request) error {
	last := via[len(via)-1].URL
	switch {
	case len(via) > maxRedirects:
		return &noAnswer{fault.Errorf(fault.TransferFileUnavailable, "the registry redirects more than %d times", maxRedirects)}
	case next.URL.User != nil || next.URL.Hostname() == "":
		return &noAnswer{fault.Errorf(fault.TransferFileUnavailable, "the registry redirects to a malformed URL, or one with a user or password in it")}
	case last.Scheme == "https" && next.URL.Scheme == "http":
		return &noAnswer{fault.Errorf(fault.TransferInsecure, "the registry redirects to %s, from https to http", display(next.URL))}
	}
	return nil
}

// loginError classifies what the library says of an authentication that failed. Its text is not used: it may quote what the registry sent.
func (r *registry) loginError(err error) error {
	var none *noAnswer
	var status *transport.Error
	switch {
	case errors.As(err, &none):
		return none.err
	case r.idle.ended() != nil:
		return r.t.roundTripError(r.idle, err)
	case errors.As(err, &status):
		var codes []string
		for _, d := range status.Errors {
			codes = append(codes, string(d.Code))
		}
		return r.refusal(status.StatusCode, codes)
	}
	return fault.Errorf(fault.TransferAuthentication, "the registry wants an authentication that is not understood, or gives no token")
}

// codeRE matches the error codes of registries (OCI distribution specification, section Error Codes).
var codeRE = regexp.MustCompile(`^[A-Z_]{1,40}$`)

// refusal classifies an answer that is not what was asked for.
func (r *registry) refusal(code int, codes []string) error {
	reason, named := fault.TransferFileUnavailable, r.named()
	text := strings.TrimSpace(fmt.Sprintf("the registry answered %d %s", code, http.StatusText(code)))
	codes = slices.DeleteFunc(codes, func(c string) bool { return !codeRE.MatchString(c) })
	if len(codes) > 0 {
		text += " (" + strings.Join(codes, ", ") + ")"
	}
	switch {
	case code == http.StatusUnauthorized && !named:
		text += ": it wants a user name and password, or has no such image"
	case code == http.StatusUnauthorized || code == http.StatusForbidden && named:
		text += ": it refuses the user name or password"
	}
	if code == http.StatusUnauthorized || code == http.StatusProxyAuthRequired || code == http.StatusForbidden && named {
		reason = fault.TransferAuthentication
	}
	return fault.Errorf(reason, "%s", text)
}

// get asks for a manifest or blob. The caller closes the body of the answer, which is 200.
func (r *registry) get(kind, id string, accept []string) (*http.Response, error) {
	at := url.URL{Scheme: r.scheme, Host: r.ref.repo.RegistryStr(), Path: "/v2/" + r.ref.repo.RepositoryStr() + "/" + kind + "/" + id}
	req, err := http.NewRequestWithContext(r.idle, http.MethodGet, at.String(), nil)
	if err != nil {
		return nil, fault.Errorf(fault.InvalidArguments, "the name of the image makes no URL")
	}
	req.Header.Set("Accept-Encoding", "identity")
	if len(accept) > 0 {
		req.Header.Set("Accept", strings.Join(accept, ", "))
	}
	res, err := r.client.Do(req)
	if err != nil {
		return nil, r.loginError(err)
	}
	if res.StatusCode == http.StatusOK {
		return res, nil
	}
	defer res.Body.Close()
	var doc struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	var codes []string
	if data, err := io.ReadAll(io.LimitReader(res.Body, maxErrorDocument)); err == nil && json.Unmarshal(data, &doc) == nil {
		for _, e := range doc.Errors {
			codes = append(codes, e.Code)
		}
	}
	return nil, r.refusal(res.StatusCode, codes)
}

// manifest returns a manifest or index. With a digest for id, its content has it.
func (r *registry) manifest(id string, accept []string) ([]byte, error) {
	res, err := r.get("manifests", id, accept)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, maxManifest+1))
	switch {
	case err != nil:
		return nil, r.t.bodyError(r.idle, err)
	case len(data) > maxManifest:
		return nil, fault.Errorf(fault.PackageCorrupt, "the manifest has more than %s", sizeText(maxManifest))
	case strings.Contains(id, ":") && id != digestOf(data):
		return nil, fault.Errorf(fault.PackageCorrupt, "the manifest has another digest than the one that was asked for")
	}
	return data, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// blob copies a blob of size bytes to w.
func (r *registry) blob(w io.Writer, digest string, size int64) error {
	res, err := r.get("blobs", digest, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	wrong := func(has int64) error {
		return fault.Errorf(fault.PackageCorrupt, "%s has %d bytes, and %d by the manifest", digest, has, size)
	}
	if res.ContentLength >= 0 && res.ContentLength != size {
		return wrong(res.ContentLength)
	}
	sum := sha256.New()
	done, buf := int64(0), make([]byte, 32<<10)
	for {
		n, readErr := res.Body.Read(buf)
		if done += int64(n); done > size {
			return wrong(done)
		}
		if n > 0 {
			sum.Write(buf[:n])
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(readErr, io.EOF) && done < size:
			return wrong(done)
		case errors.Is(readErr, io.EOF):
			if "sha256:"+hexSum(sum) != digest {
				return fault.Errorf(fault.PackageCorrupt, "%s has another content", digest)
			}
			return nil
		case readErr != nil:
			return r.t.bodyError(r.idle, readErr)
		}
	}
}

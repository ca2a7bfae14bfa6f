package packages

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
)

// maxRedirects is how many redirects are followed.
const maxRedirects = 5

// A statusError is an answer that is not the file.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string { return e.text }

// get asks for the file from offset on, following redirects. The answer is 200, or 206 if offset is not 0.
func (t *transfer) get(idle *idle, offset int64, ifRange string) (*http.Response, error) {
	transport := t.fetcher.connections()
	at := t.url
	for hops := 0; ; hops++ {
		header := http.Header{"User-Agent": {"smmd"}, "Accept-Encoding": {"identity"}}
		if offset > 0 {
			header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
			header.Set("If-Range", ifRange)
		}
		res, err := t.ask(idle, transport, at, header)
		if err != nil {
			return nil, err
		}
		switch code := res.StatusCode; {
		case code == http.StatusOK || code == http.StatusPartialContent && offset > 0:
			return res, nil
		case !slices.Contains([]int{301, 302, 303, 307, 308}, code):
			_ = res.Body.Close() // it is not read
			return nil, unusable(res, at, t.url)
		}
		_ = res.Body.Close()
		if hops == maxRedirects {
			return nil, fault.Errorf(fault.TransferFileUnavailable, "the server redirects more than %d times", maxRedirects)
		}
		if at, err = t.follow(at, res.Header.Get("Location")); err != nil {
			return nil, err
		}
	}
}

// follow returns where a redirect from at leads.
func (t *transfer) follow(at *url.URL, location string) (*url.URL, error) {
	next, err := at.Parse(location)
	switch {
	case location == "" || err != nil || next.Scheme != "file" && next.Hostname() == "":
		return nil, fault.Errorf(fault.TransferFileUnavailable, "the server redirects to a malformed URL")
	case next.Scheme != "http" && next.Scheme != "https" || !slices.Contains(t.fetcher.opts.Schemes, next.Scheme):
		return nil, fault.Errorf(fault.TransferProtocolUnsupported, "the server redirects to %s, which is not permitted", next.Scheme)
	case next.User != nil:
		return nil, fault.Errorf(fault.TransferFileUnavailable, "the server redirects to a URL with a user or password in it")
	case at.Scheme == "https" && next.Scheme == "http":
		return nil, fault.Errorf(fault.TransferInsecure, "the server redirects to %s, from https to http", display(next))
	}
	return next, nil
}

// ask sends one request, and repeats it with credentials if the server asks for them.
func (t *transfer) ask(idle *idle, transport http.RoundTripper, at *url.URL, header http.Header) (*http.Response, error) {
	for tries := 0; ; tries++ {
		req := (&http.Request{
			Method: http.MethodGet, URL: at, Host: at.Host, Header: header.Clone(),
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}).WithContext(idle)
		res, err := transport.RoundTrip(req)
		if err != nil {
			return nil, t.roundTripError(idle, err)
		}
		idle.alive()
		if res.StatusCode != http.StatusUnauthorized || !sameServer(t.url, at) || t.req.Username == "" && t.req.Password == "" {
			return res, nil
		}
		authorization, err := authorize(res.Header, at, t.req.Username, t.req.Password, tries > 0)
		if err != nil || tries == maxChallenges {
			return res, nil // the status says that the credentials are not taken
		}
		_ = res.Body.Close()
		header.Set("Authorization", authorization)
	}
}

// sameServer reports whether credentials for the server of a may be sent to that of b: it is the same one, or the same host
// has changed from http to https, both at their usual ports.
func sameServer(a, b *url.URL) bool {
	port := func(u *url.URL) string {
		if p := u.Port(); p != "" {
			return p
		}
		return map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if !strings.EqualFold(a.Hostname(), b.Hostname()) {
		return false
	}
	return a.Scheme == b.Scheme && port(a) == port(b) || port(a) == "80" && b.Scheme == "https" && port(b) == "443"
}

// unusable classifies an answer that is not the file.
func unusable(res *http.Response, at, asked *url.URL) error {
	code := res.StatusCode
	reason := fault.TransferFileUnavailable
	sent := res.Request.Header.Get("Authorization") != ""
	if code == http.StatusUnauthorized || code == http.StatusProxyAuthRequired || code == http.StatusForbidden && sent {
		reason = fault.TransferAuthentication
	}
	text := "the server answered " + strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
	switch {
	case code != http.StatusUnauthorized:
	case sent:
		text += ": it refuses the user name or password"
	default:
		text += ": it wants a user name and password"
	}
	if at != asked {
		text += " (redirected to " + display(at) + ")"
	}
	return fault.As(reason, &statusError{code, text})
}

// connections makes connections to servers. None is used twice: a request that net/http repeats on its own when a kept connection turns out
// dead would be one more than the agent was asked for.
func (f *Fetcher) connections() *http.Transport {
	return &http.Transport{
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		DialContext:            f.dial,
		DialTLSContext:         f.dialTLS,
	}
}

// dial connects to a server.
func (f *Fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, fault.As(fault.TransferServerUnreachable, err)
	}
	return conn, nil
}

// dialTLS connects to a server and shakes hands.
func (f *Fetcher) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := f.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot connect to %s: %w", address, err), raw.Close())
	}
	conn := tls.Client(raw, f.tlsConfig(host))
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error says it all
		if ctx.Err() != nil || brokenLink(err) {
			return nil, fault.As(fault.TransferServerUnreachable, err)
		}
		return nil, fault.Errorf(fault.TransferInsecure, "no secure connection: %w", err)
	}
	return conn, nil
}

// brokenLink tells a connection that ended from one whose other side said something unacceptable.
func brokenLink(err error) bool {
	var errno syscall.Errno
	var ne net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &errno) || errors.As(err, &ne) && ne.Timeout()
}

// roundTripError classifies the failure of a request that got no answer.
func (t *transfer) roundTripError(idle *idle, err error) error {
	if ended := idle.ended(); ended != nil && !errors.Is(ended, errIdle) {
		return ended
	}
	var dns *net.DNSError
	var op *net.OpError
	switch reason := fault.ReasonOf(err); {
	case idle.ended() != nil:
		return fault.Errorf(fault.TransferServerUnreachable, "the server did not answer within %s: %w", t.fetcher.opts.Idle, errIdle)
	case reason == fault.TransferInsecure:
		return err
	case errors.As(err, &dns):
		return fault.Errorf(fault.TransferServerUnreachable, "the host name cannot be resolved: %w", err)
	case errors.As(err, &op) || brokenLink(err):
		return fault.Errorf(fault.TransferServerUnreachable, "no connection to the server: %w", err)
	}
	// The text of other errors may quote what the server sent, and that may quote the request.
	return fault.Errorf(fault.TransferServerUnreachable, "the server's answer is not HTTP")
}

// validator returns what an If-Range may be: an entity tag that is not weak, or a date that is strong enough. A file that changed
// within the second of its date would not be noticed; RFC 7232 section 2.2.2 asked for a minute between the date and the answer.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" {
		if strings.HasPrefix(tag, `"`) {
			return tag
		}
		return ""
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil || date.Sub(modified) < time.Minute {
		return ""
	}
	return h.Get("Last-Modified")
}

// continues checks that a 206 is the rest of what st describes, from offset to the end, and returns the total size.
func continues(res *http.Response, st partState, offset int64) (total int64, ok bool) {
	start, end, total, ok := contentRange(res.Header.Get("Content-Range"))
	switch {
	case !ok, start != offset, end != total-1:
	case st.Total >= 0 && total != st.Total:
	case res.ContentLength >= 0 && res.ContentLength != end-start+1:
	case res.Header.Get("ETag") != "" && res.Header.Get("ETag") != st.ETag:
	case res.Header.Get("Last-Modified") != "" && res.Header.Get("Last-Modified") != st.LastModified:
	default:
		return total, true
	}
	return 0, false
}

// contentRange parses "bytes start-end/total" (RFC 9110 section 14.4); a total that is not known is no use here.
func contentRange(s string) (start, end, total int64, ok bool) {
	unit, rest, _ := strings.Cut(s, " ")
	span, size, _ := strings.Cut(rest, "/")
	first, last, _ := strings.Cut(span, "-")
	numbers := [3]int64{}
	for i, digits := range []string{first, last, size} {
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil {
			return 0, 0, 0, false
		}
		numbers[i] = int64(n)
	}
	start, end, total = numbers[0], numbers[1], numbers[2]
	return start, end, total, strings.EqualFold(unit, "bytes") && start <= end && end < total
}

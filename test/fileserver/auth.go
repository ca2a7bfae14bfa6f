package fileserver

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// Auth is what a file asks for. The zero value asks for nothing.
type Auth struct {
	Username, Password string
	// Schemes are offered in this order: "basic", "digest" (RFC 7616, MD5), "digest-sha256". None: no authentication.
	Schemes []string
	// OneLine puts all offers into one header field, as RFC 9110 section 11.6.1 allows.
	OneLine bool
	// StaleOnce answers the first digest with "stale=true" and a new nonce.
	StaleOnce bool
}

const realm = `smmd test, "file" server`

// authorized reports whether r has the credentials, and asks for them when not.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request, a Auth) bool {
	if len(a.Schemes) == 0 {
		return true
	}
	stale := false
	header := r.Header.Get("Authorization")
	for _, scheme := range a.Schemes {
		if scheme == "basic" {
			user, password, ok := r.BasicAuth()
			if ok && same(user, a.Username) && same(password, a.Password) {
				return true
			}
			continue
		}
		ok, used := s.digestMatches(r, header, scheme, a)
		if ok {
			return true
		}
		stale = stale || used
	}
	offers := make([]string, len(a.Schemes))
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(realm)
	for i, scheme := range a.Schemes {
		if scheme == "basic" {
			offers[i] = fmt.Sprintf(`Basic realm="%s"`, quoted)
			continue
		}
		offers[i] = fmt.Sprintf(`Digest realm="%s", qop="auth, auth-int", algorithm=%s, nonce="%s", opaque="o,p"`, quoted, algorithm(scheme), s.nonce(a.StaleOnce && !stale))
		if stale {
			offers[i] += ", stale=true"
		}
	}
	if a.OneLine {
		offers = []string{strings.Join(offers, ", ")}
	}
	w.Header()["Www-Authenticate"] = offers
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

func algorithm(scheme string) string {
	if scheme == "digest-sha256" {
		return "SHA-256"
	}
	return "MD5"
}

// nonce gives out a nonce. One that is spent from the start is stale when it comes back.
func (s *Server) nonce(spent bool) string {
	n := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nonces[n] = !spent
	return n
}

var digestParam = regexp.MustCompile(`(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))`)

// digestMatches checks a Digest header; stale means that all was right but for a nonce that was used up. Each nonce is good for one request.
func (s *Server) digestMatches(r *http.Request, header, scheme string, a Auth) (ok, stale bool) {
	text, isDigest := strings.CutPrefix(header, "Digest ")
	if !isDigest {
		return false, false
	}
	p := map[string]string{}
	for _, m := range digestParam.FindAllStringSubmatch(text, -1) {
		p[m[1]] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2]) + m[3]
	}
	if p["algorithm"] != algorithm(scheme) || p["uri"] != r.RequestURI || p["realm"] != realm || p["opaque"] != "o,p" || p["qop"] != "auth" || !same(p["username"], a.Username) {
		return false, false
	}
	h := md5.New
	if scheme == "digest-sha256" {
		h = sha256.New
	}
	sum := func(parts ...string) string {
		d := h()
		d.Write([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(d.Sum(nil))
	}
	want := sum(sum(a.Username, realm, a.Password), p["nonce"], p["nc"], p["cnonce"], p["qop"], sum(r.Method, r.RequestURI))
	if !same(want, p["response"]) {
		return false, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh, known := s.nonces[p["nonce"]]
	delete(s.nonces, p["nonce"])
	return fresh, known && !fresh
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

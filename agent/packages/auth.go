package packages

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/icholy/digest"
)

// maxChallenges is how often a request is repeated with credentials: the second time for a nonce that had become stale.
const maxChallenges = 2

var errRefused = errors.New("the credentials were refused")

// authorize answers the challenges of a 401: with digest (RFC 7616) if that is among them, else with basic (RFC 7617). The
// answer to an answer is given only to a server that says that the nonce was stale.
func authorize(h http.Header, at *url.URL, username, password string, again bool) (string, error) {
	challenges := splitChallenges(h.Values("WWW-Authenticate"))
	challenge, err := digest.FindChallenge(http.Header{"Www-Authenticate": challenges})
	if err == nil {
		if again && !challenge.Stale {
			return "", errRefused
		}
		credentials, err := digest.Digest(challenge, digest.Options{
			Method: http.MethodGet, URI: at.RequestURI(), Username: username, Password: password, Count: 1,
		})
		if err != nil {
			return "", err
		}
		return credentials.String(), nil
	}
	if again {
		return "", errRefused
	}
	for _, c := range challenges {
		scheme, _, _ := strings.Cut(c, " ")
		if strings.EqualFold(scheme, "Basic") {
			return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)), nil
		}
	}
	return "", errors.New("the server offers neither basic nor digest authentication")
}

// schemeRE matches the beginning of a challenge: a scheme alone, or followed by a blank and something that is no "=".
var schemeRE = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]+[^ \t=].*)?$")

// splitChallenges takes header fields apart that hold several challenges (RFC 9110 section 11.6.1). A comma separates challenges as
// well as the parameters of one; what follows it tells which.
func splitChallenges(fields []string) []string {
	var out []string
	for _, field := range fields {
		first := true
		for _, element := range splitList(field) {
			if first || schemeRE.MatchString(element) {
				out = append(out, element)
			} else {
				out[len(out)-1] += ", " + element
			}
			first = false
		}
	}
	return out
}

// splitList splits at the commas that are not in quotes; empty elements are left out.
func splitList(s string) []string {
	var out []string
	begin, quoted := 0, false
	add := func(end int) {
		if element := strings.Trim(s[begin:end], " \t"); element != "" {
			out = append(out, element)
		}
		begin = end + 1
	}
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			add(i)
		}
	}
	if begin < len(s) {
		add(len(s))
	}
	return out
}

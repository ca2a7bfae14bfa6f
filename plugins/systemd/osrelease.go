package systemd

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// osRelease are the assignments of an os-release file (os-release(5)).
type osRelease map[string]string

// maxOSRelease bounds an os-release file, in bytes.
const maxOSRelease = 64 << 10

var variable = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// parseOSRelease reads an os-release file: shell assignments without expansion. Lines that are none are passed over, as systemd does.
func parseOSRelease(data []byte) (osRelease, error) {
	if len(data) > maxOSRelease {
		return nil, fmt.Errorf("os-release has more than %d bytes", maxOSRelease)
	}
	if !utf8.Valid(data) {
		return nil, errors.New("os-release is not UTF-8")
	}
	o := osRelease{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || !variable.MatchString(name) {
			continue
		}
		o[name] = unquote(value)
	}
	return o, nil
}

// unquote takes away the quotes of a shell word, and the backslashes that have a meaning in it.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '\'' && s[len(s)-1] == '\'' {
		return s[1 : len(s)-1]
	}
	quoted := len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"'
	if quoted {
		s = s[1 : len(s)-1]
	}
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (!quoted || strings.IndexByte("\"\\$`", s[i+1]) >= 0) {
			i++
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

func (o osRelease) first(names ...string) string {
	for _, n := range names {
		if o[n] != "" {
			return o[n]
		}
	}
	return ""
}

// name is that of the image, or of the system in it.
func (o osRelease) name() string { return o.first("IMAGE_ID", "ID") }

// version is 0 where there is none: a version is part of a deployment unit's identity.
func (o osRelease) version() string {
	if v := o.first("IMAGE_VERSION", "VERSION_ID"); v != "" {
		return v
	}
	return "0"
}

// vendor is the name of the vendor, or the domain of its home page.
func (o osRelease) vendor() string {
	if v := o["VENDOR_NAME"]; v != "" {
		return v
	}
	u, err := url.Parse(o["HOME_URL"])
	if err != nil {
		return "" // a URL that nobody can open names nobody
	}
	return strings.TrimPrefix(u.Hostname(), "www.")
}

// prefixes are what the names of the image's units begin with.
func (o osRelease) prefixes() []string {
	if p := strings.Fields(o["PORTABLE_PREFIXES"]); len(p) > 0 {
		return p
	}
	return []string{o.name()}
}

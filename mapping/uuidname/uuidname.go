// Package uuidname makes and checks the UUID of a deployment unit.
//
// A unit that nobody gave a UUID gets the name-based one of TR-181 Issue 2, Annex C: RFC 4122 in the DNS namespace, over
// the unit's name and vendor. The version of the unit is no part of it, so all versions of a unit, on whatever device,
// have the same UUID.
package uuidname

import (
	"strings"

	"github.com/google/uuid"

	"github.com/smmd-project/smmd/agent/fault"
)

// The versions of a UUID that New makes.
const (
	Version5 = 5 // SHA-1: TR-181 Issue 2 Annex C, TR-369 I.2.1.1
	Version3 = 3 // MD5: what TR-069 Amendment 3 calls it; for controllers that compare with their own
)

// New returns the UUID of the unit with that name and vendor (DeploymentUnit.{i}.Name and .Vendor), in lower case.
// A version other than [Version5] and [Version3] is an error of class invalid-arguments.
func New(version int, name, vendor string) (string, error) {
	text := []byte(Text(name, vendor))
	switch version {
	case Version5:
		return uuid.NewSHA1(uuid.NameSpaceDNS, text).String(), nil
	case Version3:
		return uuid.NewMD5(uuid.NameSpaceDNS, text).String(), nil
	}
	return "", fault.Errorf(fault.InvalidArguments, "cannot make a UUID of version %d: only 5 and 3 are name-based", version)
}

// Text returns what is hashed: <name>.<vendor>. with its trailing dot. In the name, and only there, each byte
// outside 0-9 a-z A-Z _ - stands as % and two lower-case hexadecimal digits, as the example of Annex C prints it.
// Annex C speaks of ASCII; of any other character the bytes of its UTF-8 form are written so.
func Text(name, vendor string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	b.Grow(len(name) + len(vendor) + 2)
	for i := range len(name) {
		switch c := name[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_', c == '-':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	b.WriteByte('.')
	b.WriteString(vendor)
	b.WriteByte('.')
	return b.String()
}

// Parse returns s in lower case when it has the form 8-4-4-4-12 of hexadecimal digits, in either case, and else an error
// of class invalid-uuid. Version and variant are not looked at: controllers send all kinds, and the example that TR-181
// Annex C prints is itself of no RFC 4122 variant.
func Parse(s string) (string, error) {
	if len(s) != 36 {
		return "", malformed(s)
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return "", malformed(s)
			}
		default:
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return "", malformed(s)
			}
		}
	}
	return strings.ToLower(s), nil
}

func malformed(s string) error {
	const enough = 64 // characters of a foreign string are plenty in a message
	if r := []rune(s); len(r) > enough {
		s = string(r[:enough]) + "…"
	}
	return fault.Errorf(fault.InvalidUUID, "cannot use %q as a UUID: it is not of the form 8-4-4-4-12 hexadecimal digits", s)
}

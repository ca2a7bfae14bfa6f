// Package datamodel is a tree of objects, tables and parameters as TR-106 describes it: the syntax of paths, the schema,
// the resolution of a path to what exists, and the values as text.
//
// The schema is a literal that is never changed. It is generic over the row type of its consumer, R: whatever the consumer wants to hand
// to the functions that read one object. All instances that one request meets come from the row it begins with, so they are
// frozen for that request when that row is a snapshot. The package knows no software modules.
package datamodel

import (
	"errors"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
)

// What can be wrong with a path. Errors of this package wrap one of them and are of class invalid-arguments.
var (
	ErrSyntax     = errors.New("not a well-formed path")
	ErrUnknown    = errors.New("not in the data model")
	ErrNoInstance = errors.New("no such instance")
	ErrReadOnly   = errors.New("not writable")
)

// A Syntax is one of the two ways to write a path.
type Syntax string

// The syntaxes.
const (
	CWMP Syntax = "cwmp" // instance numbers and [alias] (TR-106 path names, TR-069 3.6.1); the empty path is the root
	USP  Syntax = "usp"  // instance numbers and the wildcard * (TR-369, path names); search expressions are not understood
)

// maxCWMPPath is the greatest length of a path in CWMP (TR-069 A.3.2: string(256)).
const maxCWMPPath = 256

// SegmentKind says what stands between two dots of a path.
type SegmentKind string

// The kinds of segments.
const (
	Name     SegmentKind = "name"     // of an object, a table or a parameter
	Number   SegmentKind = "number"   // instance number
	Alias    SegmentKind = "alias"    // [alias]
	Wildcard SegmentKind = "wildcard" // every instance
)

// A Segment is one part of a path.
type Segment struct {
	Kind   SegmentKind
	Text   string // the name or the alias
	Number uint32 // the instance number, at least 1
}

// String returns the segment as it stands in a path.
func (s Segment) String() string {
	switch s.Kind {
	case Number:
		return strconv.FormatUint(uint64(s.Number), 10)
	case Alias:
		return "[" + s.Text + "]"
	case Wildcard:
		return "*"
	}
	return s.Text
}

// A Path is a parsed path. There is one text for it, its canonical form, so two paths are the same exactly when their
// String is. The zero Path is the root.
type Path struct {
	Segments []Segment
	Partial  bool // ends with a dot: an object, a table or a row with all that is below it
}

// String returns the canonical form.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p.Segments {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.String())
	}
	if p.Partial && len(p.Segments) > 0 {
		b.WriteByte('.')
	}
	return b.String()
}

// ParsePath parses s. The error wraps [ErrSyntax].
func ParsePath(s string, syntax Syntax) (Path, error) {
	if s == "" {
		if syntax == CWMP {
			return Path{Partial: true}, nil
		}
		return Path{}, badPath(s, "it is empty")
	}
	if syntax == CWMP && len(s) > maxCWMPPath {
		return Path{}, badPath(s[:maxCWMPPath/4]+"…", "it is longer than 256 characters")
	}
	p := Path{Segments: make([]Segment, 0, 1+strings.Count(s, "."))}
	for rest := s; ; {
		seg, after, err := cutSegment(rest, syntax)
		if err != nil {
			return Path{}, badPath(s, err.Error())
		}
		if len(p.Segments) == 0 && seg.Kind != Name {
			return Path{}, badPath(s, "it does not begin with a name")
		}
		p.Segments = append(p.Segments, seg)
		if after == "" {
			return p, nil
		}
		if rest = after[1:]; rest == "" { // after begins with a dot
			p.Partial = true
			return p, nil
		}
	}
}

// cutSegment takes one segment off s. What is left is empty or begins with a dot.
func cutSegment(s string, syntax Syntax) (seg Segment, after string, err error) {
	if syntax == CWMP && s[0] == '[' {
		alias, after, found := strings.Cut(s[1:], "]")
		switch {
		case !found:
			return seg, "", errors.New("a bracket is not closed")
		case alias == "":
			return seg, "", errors.New("an alias is empty")
		case after != "" && after[0] != '.':
			return seg, "", errors.New("a dot is missing after an alias")
		}
		return Segment{Kind: Alias, Text: alias}, after, nil
	}
	text, end := s, strings.IndexByte(s, '.')
	if end >= 0 {
		text, after = s[:end], s[end:]
	}
	switch {
	case text == "":
		return seg, "", errors.New("nothing stands between two dots")
	case syntax == USP && text == "*":
		return Segment{Kind: Wildcard}, after, nil
	case '0' <= text[0] && text[0] <= '9':
		// One spelling for each number: no sign, no leading zero.
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 || text[0] == '0' {
			return seg, "", errors.New("an instance number is not a whole number from 1 to 4294967295")
		}
		return Segment{Kind: Number, Number: uint32(n)}, after, nil
	case !isName(text):
		return seg, "", errors.New("a name holds a character that names do not have")
	}
	return Segment{Kind: Name, Text: text}, after, nil
}

// isName reports whether s can be the name of an object or a parameter (TR-106, path names: a letter or underscore, then letters,
// digits, underscores and hyphens).
func isName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '_':
		case '0' <= c && c <= '9', c == '-':
			if i == 0 {
				return false
			}
		default:
			return false
		}
	}
	return s != ""
}

func badPath(s, why string) error {
	return fault.Errorf(fault.InvalidArguments, "cannot read the path %q: %w: %s", s, ErrSyntax, why)
}

// Package datamodel is a tree of objects, tables and parameters as TR-106 describes it: the syntax of paths, the schema,
// the resolution of a path to what exists, and the values as text.
//
// The schema is a literal that is never changed. It is generic over the row type of its consumer, R: whatever the consumer wants to hand
// to the functions that read one object. All instances that one request meets come from the row it begins with, so they are
// frozen for that request when that row is a snapshot. The package knows no software modules.
package datamodel

import (
	"errors"
	"fmt"
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
	ErrTooMuch    = errors.New("more references to follow than one path may")
)

// A Syntax is one of the ways to write a path.
type Syntax string

// The syntaxes.
const (
	CWMP Syntax = "cwmp" // instance numbers and [alias] (TR-106 path names, TR-069 3.6.1); the empty path is the root
	// USP has instance numbers, the wildcard *, search expressions, followed references, commands and events (TR-369 2.5 to 2.7).
	USP Syntax = "usp"
	// Supported is USP with {i} where any instance may stand (TR-369, GetSupportedDM). No instance is named behind a {i}.
	Supported Syntax = "supported"
)

const (
	// maxCWMPPath is the greatest length of a path in CWMP (TR-069 A.3.2: string(256)).
	maxCWMPPath = 256
	// maxSegments is how many parts a path of USP may have. TR-369 says nothing; each part may cost a walk through a table.
	maxSegments = 32
)

// SegmentKind says what stands between two dots of a path.
type SegmentKind string

// The kinds of segments.
const (
	Name        SegmentKind = "name"        // of an object, a table or a parameter
	Number      SegmentKind = "number"      // instance number
	Alias       SegmentKind = "alias"       // [alias]
	Wildcard    SegmentKind = "wildcard"    // every instance
	Search      SegmentKind = "search"      // the instances that satisfy an expression
	Placeholder SegmentKind = "placeholder" // {i}: any instance
	Follow      SegmentKind = "follow"      // a parameter that refers to rows, and the row it refers to
	CommandName SegmentKind = "command"     // of a command
	EventName   SegmentKind = "event"       // of an event
)

// EveryItem is the Number of a Follow segment that follows all references of a list.
const EveryItem = 0

// A Segment is one part of a path.
type Segment struct {
	Kind   SegmentKind
	Text   string      // the name, with its () or !, or the alias
	Number uint32      // the instance number, at least 1; of a Follow: which item of the list, or [EveryItem]
	Search []Component // of a Search: what has to be true of a row, all of it
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
	case Placeholder:
		return "{i}"
	case Search:
		return expression(s.Search)
	case Follow:
		switch s.Number {
		case EveryItem:
			return s.Text + "#*+"
		case 1:
			return s.Text + "+"
		}
		return s.Text + "#" + strconv.FormatUint(uint64(s.Number), 10) + "+"
	}
	return s.Text
}

// many reports whether the segment may stand for several rows whatever the schema says. A search for all parameters of a unique
// key does not, but that only the schema knows.
func (s Segment) many() bool { return s.Kind == Wildcard || s.Kind == Follow && s.Number == EveryItem }

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
	p := Path{Segments: make([]Segment, 0, 1+min(strings.Count(s, "."), maxSegments))}
	for rest := s; ; {
		seg, after, err := cutSegment(rest, syntax)
		if err != nil {
			return Path{}, badPath(s, err.Error())
		}
		p.Segments = append(p.Segments, seg)
		p.Partial = after == "."
		if after == "" || p.Partial {
			if err := p.check(syntax); err != nil {
				return Path{}, badPath(s, err.Error())
			}
			return p, nil
		}
		rest = after[1:] // after begins with a dot
	}
}

// check judges how the segments stand together.
func (p Path) check(syntax Syntax) error {
	any := false
	for i, s := range p.Segments {
		last := i == len(p.Segments)-1
		switch {
		case i == 0 && s.Kind != Name:
			return errors.New("it does not begin with a name")
		case (s.Kind == CommandName || s.Kind == EventName) && (!last || p.Partial):
			return errors.New("something stands behind a command or an event")
		case s.Kind == Follow && last && !p.Partial:
			return errors.New("a dot is missing behind a reference that is followed")
		case any && (s.Kind == Number || s.Kind == Wildcard || s.Kind == Search || s.Kind == Follow):
			return errors.New("an instance is named behind a {i}")
		case syntax != CWMP && i >= maxSegments:
			return fmt.Errorf("it has more than %d parts", maxSegments)
		}
		any = any || s.Kind == Placeholder
	}
	return nil
}

// cutSegment takes one segment off s. What is left is empty or begins with a dot.
func cutSegment(s string, syntax Syntax) (seg Segment, after string, err error) {
	if s[0] == '[' {
		if syntax != CWMP {
			return cutSearch(s)
		}
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
	case '0' <= text[0] && text[0] <= '9':
		n, err := parseNumber(text)
		if err != nil {
			return seg, "", fmt.Errorf("an instance number %w", err)
		}
		return Segment{Kind: Number, Number: n}, after, nil
	case syntax != CWMP:
		seg, err := uspSegment(text, syntax)
		return seg, after, err
	}
	seg, err = nameSegment(text)
	return seg, after, err
}

// uspSegment reads what CWMP has no segments for, and names.
func uspSegment(text string, syntax Syntax) (Segment, error) {
	switch {
	case text == "*":
		return Segment{Kind: Wildcard}, nil
	case syntax == Supported && text == "{i}":
		return Segment{Kind: Placeholder}, nil
	case strings.HasSuffix(text, "+"):
		return followSegment(text)
	}
	kind, name := Name, text
	if n, ok := strings.CutSuffix(text, "()"); ok {
		kind, name = CommandName, n
	} else if n, ok := strings.CutSuffix(text, "!"); ok {
		kind, name = EventName, n
	}
	seg, err := nameSegment(name)
	seg.Kind, seg.Text = kind, text
	return seg, err
}

// followSegment reads Name+, Name#3+ or Name#*+.
func followSegment(text string) (Segment, error) {
	name, item, listed := strings.Cut(strings.TrimSuffix(text, "+"), "#")
	seg, err := nameSegment(name)
	seg.Kind, seg.Number = Follow, 1
	switch {
	case err != nil:
	case item == "*":
		seg.Number = EveryItem
	case listed:
		if seg.Number, err = parseNumber(item); err != nil {
			err = fmt.Errorf("the number of a reference %w", err)
		}
	}
	return seg, err
}

func nameSegment(text string) (Segment, error) {
	if !isName(text) {
		return Segment{}, errors.New("a name holds a character that names do not have")
	}
	return Segment{Kind: Name, Text: text}, nil
}

// parseNumber reads a number of which there is one spelling only: no sign, no leading zero.
func parseNumber(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || text[0] < '1' || text[0] > '9' {
		return 0, errors.New("is not a whole number from 1 to 4294967295")
	}
	return uint32(n), nil
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

// maxQuoted is how much of a path an error repeats, in bytes.
const maxQuoted = 256

func badPath(s, why string) error {
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "…"
	}
	return fault.Errorf(fault.InvalidArguments, "cannot read the path %q: %w: %s", s, ErrSyntax, why)
}

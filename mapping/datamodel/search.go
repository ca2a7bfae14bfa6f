package datamodel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An Operator compares a parameter with a constant (TR-369 2.6.1).
type Operator string

// The operators.
const (
	Equal          Operator = "=="
	NotEqual       Operator = "!="
	Contains       Operator = "~=" // of lists only: one of the items is the constant
	Less           Operator = "<"
	Greater        Operator = ">"
	LessOrEqual    Operator = "<="
	GreaterOrEqual Operator = ">="
)

// operators has the longer ones first, so that the first one that fits is the right one.
var operators = []Operator{Equal, NotEqual, Contains, LessOrEqual, GreaterOrEqual, Less, Greater}

// maxComponents is how many conditions a search expression may have. TR-369 says nothing.
const maxComponents = 32

// A Component is one condition of a search expression. What it means depends on the type of the parameter, which the schema has.
type Component struct {
	// Path is the parameter, relative to the row: Name and Follow segments, the last one a Name.
	Path     []Segment
	Operator Operator
	Constant string // without quotation marks and percent-encoding
	Quoted   bool   // it stood in quotation marks: it is a string
}

func (c Component) name() string {
	return Path{Segments: c.Path}.String()
}

// String returns the canonical form: no white space, and of the characters of a string only % and " percent-encoded.
func (c Component) String() string {
	constant := c.Constant
	if c.Quoted {
		constant = `"` + strings.NewReplacer("%", "%25", `"`, "%22").Replace(constant) + `"`
	}
	return c.name() + string(c.Operator) + constant
}

func expression(all []Component) string {
	texts := make([]string, len(all))
	for i, c := range all {
		texts[i] = c.String()
	}
	return "[" + strings.Join(texts, "&&") + "]"
}

// cutSearch takes a search expression off s, which begins with its bracket.
func cutSearch(s string) (Segment, string, error) {
	seg := Segment{Kind: Search}
	for rest := s[1:]; ; {
		c, after, err := cutComponent(rest)
		if err != nil {
			return seg, "", err
		}
		if seg.Search = append(seg.Search, c); len(seg.Search) > maxComponents {
			return seg, "", fmt.Errorf("a search expression has more than %d conditions", maxComponents)
		}
		switch {
		case strings.HasPrefix(after, "&&"):
			rest = after[2:]
		case strings.HasPrefix(after, "]"):
			if after = after[1:]; after != "" && after[0] != '.' {
				return seg, "", errors.New("a dot is missing after a search expression")
			}
			return seg, after, nil
		default:
			return seg, "", errors.New("a search expression does not end")
		}
	}
}

// cutComponent takes one condition off s. White space around its parts is tolerated (TR-369 R-ARC.9a).
func cutComponent(s string) (c Component, after string, err error) {
	s = strings.TrimLeft(s, " \t")
	end := strings.IndexAny(s, "=!~<> \t]&\"")
	if end <= 0 {
		return c, "", errors.New("a search expression lacks a parameter")
	}
	if c.Path, err = relative(s[:end]); err != nil {
		return c, "", err
	}
	s = strings.TrimLeft(s[end:], " \t")
	at := slices.IndexFunc(operators, func(o Operator) bool { return strings.HasPrefix(s, string(o)) })
	if at < 0 {
		return c, "", errors.New("a search expression lacks an operator")
	}
	c.Operator = operators[at]
	s = strings.TrimLeft(s[len(c.Operator):], " \t")
	if strings.HasPrefix(s, `"`) {
		text, after, found := strings.Cut(s[1:], `"`)
		if !found {
			return c, "", errors.New("a quotation mark is not closed")
		}
		c.Quoted = true
		c.Constant, err = unescape(text)
		return c, strings.TrimLeft(after, " \t"), err
	}
	if end = strings.IndexAny(s, "]& \t"); end < 0 {
		return c, "", errors.New("a search expression does not end")
	}
	c.Constant = s[:end]
	if !isLiteral(c.Constant) {
		return c, "", errors.New("a constant is neither in quotation marks nor a number, a boolean or a time")
	}
	return c, strings.TrimLeft(s[end:], " \t"), nil
}

// relative reads the path of a parameter in a search expression. It goes through objects and references, never through tables.
func relative(s string) ([]Segment, error) {
	var path []Segment
	for text := range strings.SplitSeq(s, ".") {
		seg, err := nameSegment(text)
		if strings.HasSuffix(text, "+") {
			seg, err = followSegment(text)
		}
		if err != nil {
			return nil, errors.New("what a search expression compares is no parameter of the row")
		}
		path = append(path, seg)
	}
	if path[len(path)-1].Kind == Follow || len(path) > maxSegments {
		return nil, errors.New("what a search expression compares is no parameter of the row")
	}
	return path, nil
}

// isLiteral reports whether s may be a number, a boolean or a dateTime.
func isLiteral(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '+', c == ':', c == '.':
		default:
			return false
		}
	}
	return s != ""
}

// unescape reads a string constant: %22 is a quotation mark and %25 a percent sign (TR-369 2.6.1). Other escapes are read too.
func unescape(s string) (string, error) {
	if !strings.Contains(s, "%") {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if len(s) < i+3 {
			return "", errors.New("a percent sign is not followed by two digits")
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errors.New("a percent sign is not followed by two digits")
		}
		b.WriteByte(byte(n))
		i += 2
	}
	return b.String(), nil
}

// constant is a constant as the type of its parameter understands it. One of the fields holds.
type constant struct {
	text string
	flag bool
	n    int64
	time time.Time
}

// typed checks a condition against the parameter it is about. The error wraps [ErrSyntax]: an expression that the type does not allow is none
// (TR-369 2.6.2, searches that are not valid).
func typed[R any](c Component, p *Parameter[R]) (k constant, err error) {
	bad := func(why string) (constant, error) {
		return k, fmt.Errorf("%w: %s: %s", ErrSyntax, c, why)
	}
	order := c.Operator != Equal && c.Operator != NotEqual
	switch {
	case p.List && order && c.Operator != Contains:
		return bad("a list has no order")
	case !p.List && c.Operator == Contains:
		return bad("only lists contain something")
	case (p.Type == String || p.List && c.Operator != Contains) != c.Quoted:
		return bad("strings stand in quotation marks, and nothing else does")
	}
	if p.List && c.Operator != Contains {
		k.text = c.Constant
		return k, nil
	}
	switch p.Type {
	case Boolean:
		if order && !p.List {
			return bad("booleans have no order")
		}
		if c.Constant != "true" && c.Constant != "1" && c.Constant != "false" && c.Constant != "0" {
			return bad("the constant is not a boolean")
		}
		k.flag = c.Constant == "true" || c.Constant == "1"
	case Int, UnsignedInt:
		if k.n, err = strconv.ParseInt(c.Constant, 10, 64); err != nil {
			return bad("the constant is not a whole number")
		}
	case DateTime:
		if k.time, err = time.Parse(time.RFC3339Nano, c.Constant); err != nil {
			return bad("the constant is not a dateTime")
		}
		if order && !p.List && FormatTime(k.time) == UnknownTime {
			return bad("the unknown time has no order")
		}
	default:
		if order && !p.List {
			return bad("strings have no order")
		}
		k.text = c.Constant
	}
	return k, nil
}

// holds reports whether a condition is true of the parameter in row r. What cannot be compared (a time that is not known has no order)
// is false.
func holds[R any](c Component, k constant, p *Parameter[R], r R) bool {
	if c.Operator == Contains {
		for _, item := range Items(p.Value(r)) {
			one := &Parameter[R]{Name: p.Name, Type: p.Type}
			if v, ok := read(one, item); ok && compare(Equal, p.Type, v, k) {
				return true
			}
		}
		return false
	}
	if p.List {
		return compare(c.Operator, String, constant{text: p.Value(r)}, k)
	}
	v, ok := read(p, p.Value(r))
	return ok && compare(c.Operator, p.Type, v, k)
}

// read turns a value of the data model into what can be compared.
func read[R any](p *Parameter[R], text string) (k constant, ok bool) {
	var err error
	switch p.Type {
	case Boolean:
		k.flag = text == "true"
	case Int, UnsignedInt:
		k.n, err = strconv.ParseInt(text, 10, 64)
	case DateTime:
		k.time, err = time.Parse(time.RFC3339Nano, text)
	default:
		k.text = text
	}
	return k, err == nil
}

func compare(o Operator, t Type, v, k constant) bool {
	var order int
	switch t {
	case Boolean:
		if v.flag != k.flag {
			order = 1
		}
	case Int, UnsignedInt:
		order = cmp.Compare(v.n, k.n)
	case DateTime:
		order = v.time.Compare(k.time)
		if o != Equal && o != NotEqual && FormatTime(v.time) == UnknownTime {
			return false
		}
	default:
		order = strings.Compare(v.text, k.text)
	}
	switch o {
	case Equal:
		return order == 0
	case NotEqual:
		return order != 0
	case Less:
		return order < 0
	case Greater:
		return order > 0
	case LessOrEqual:
		return order <= 0
	case GreaterOrEqual:
		return order >= 0
	}
	return false
}

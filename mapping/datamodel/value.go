package datamodel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/fault"
)

// A Type is a primitive type of TR-106.
type Type string

// The types.
const (
	String      Type = "string"
	Boolean     Type = "boolean"
	Int         Type = "int"
	UnsignedInt Type = "unsignedInt"
	DateTime    Type = "dateTime"
)

// XSD returns the name of the type in XML: xsd:string, xsd:unsignedInt and so on.
func (t Type) XSD() string { return "xsd:" + string(t) }

// UnknownTime is the dateTime that says that the time is not known (TR-106, date and time rules).
const UnknownTime = "0001-01-01T00:00:00Z"

// InfiniteTime is what never happens (TR-106, date and time rules).
var InfiniteTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// FormatTime returns t as a dateTime, in UTC and whole seconds; the zero time is [UnknownTime].
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return UnknownTime
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// Value returns the parameter of row r as text. What an environment tells is bent to what the data model allows: a string is cut
// to its length, a number is moved into its range, a character that XML cannot carry is replaced.
func (p *Parameter[R]) Value(r R) string {
	if p.Command {
		return p.null()
	}
	switch p.Type {
	case Boolean:
		return strconv.FormatBool(p.Bool(r))
	case Int, UnsignedInt:
		limits := p.Limits()
		return strconv.FormatInt(min(max(p.Int(r), limits.Min), limits.Max), 10)
	case DateTime:
		return FormatTime(p.Time(r))
	}
	length := p.Length
	if p.List {
		length = 0
	}
	return clean(p.Text(r), length)
}

// null returns the null value of the parameter's type (TR-106 A.2.3.5).
func (p *Parameter[R]) null() string {
	switch p.Type {
	case Boolean:
		return "false"
	case Int:
		return "-1"
	case UnsignedInt:
		return "0"
	case DateTime:
		return UnknownTime
	}
	return ""
}

// Parse reads text as a value to be written and returns a bool, an int or a string. Its errors are of class
// invalid-arguments and say what is wrong with the value, without repeating it.
func (p *Parameter[R]) Parse(text string) (any, error) {
	switch p.Type {
	case Boolean:
		switch strings.TrimSpace(text) { // XML Schema collapses white space around everything but strings
		case "true", "1":
			return true, nil
		case "false", "0":
			return false, nil
		}
		return nil, p.refuse("it is not a boolean")
	case Int, UnsignedInt:
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		limits := p.Limits()
		if err != nil || n < limits.Min || n > limits.Max {
			return nil, p.refuse(fmt.Sprintf("it is not a whole number from %d to %d", limits.Min, limits.Max))
		}
		return int(n), nil
	case String:
		if err := p.checkText(text); err != nil {
			return nil, err
		}
		return text, nil
	}
	return nil, p.refuse("values of its type cannot be set")
}

func (p *Parameter[R]) checkText(text string) error {
	if clean(text, 0) != text {
		return p.refuse("it holds a character that is not allowed")
	}
	items := []string{text}
	if p.List {
		items = Items(text)
	}
	for _, item := range items {
		switch {
		case p.Length > 0 && utf8.RuneCountInString(item) > p.Length:
			return p.refuse(fmt.Sprintf("it has more than %d characters", p.Length))
		case p.Enum != nil && !slices.Contains(p.Enum, item):
			return p.refuse("it is none of " + strings.Join(p.Enum, ", "))
		}
	}
	if p.Check != nil {
		if err := p.Check(text); err != nil {
			return p.refuse(err.Error())
		}
	}
	return nil
}

// Items returns the items of a list as TR-106 writes it: separated by commas, with white space around them that does not count. The empty text is
// the list without items.
func Items(list string) []string {
	if strings.TrimSpace(list) == "" {
		return nil
	}
	items := strings.Split(list, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

func (p *Parameter[R]) refuse(why string) error {
	return fault.Errorf(fault.InvalidArguments, "cannot take the value of %s: %s", p.Name, why)
}

// clean returns s, cut to length characters when length is positive, with everything replaced that is not a character of XML 1.0.
func clean(s string, length int) string {
	plain := length <= 0 || len(s) <= length
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < utf8.RuneSelf
	}
	if plain {
		return s
	}
	var b strings.Builder
	count := 0
	for _, c := range s { // what is not UTF-8 comes as U+FFFD
		if count++; length > 0 && count > length {
			break
		}
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0xFFFE || c == 0xFFFF {
			c = utf8.RuneError
		}
		b.WriteRune(c)
	}
	return b.String()
}

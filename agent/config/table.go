package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// A reader goes through a decoded file and gathers what is wrong with it.
type reader struct {
	problems []Problem
	// asked holds the names of all keys that were looked for, without indexes. A key that was never asked for is unknown.
	asked map[string]bool
}

func (r *reader) problem(key, format string, args ...any) {
	r.problems = append(r.problems, Problem{key, fmt.Sprintf(format, args...)})
}

// A table is one table of the file. Its methods read a key into dst, leave dst alone when the key is not there, and note a
// problem when the value does not fit.
type table struct {
	*reader
	name   string // full name with indexes, empty for the root
	plain  string // full name without indexes
	values map[string]any
	known  map[string]bool
}

func newTable(r *reader, name, plain string, values map[string]any) *table {
	return &table{reader: r, name: name, plain: plain, values: values, known: map[string]bool{}}
}

// path is the full name of key.
func (t *table) path(key string) string { return join(t.name, toml.Key{key}.String()) }

func join(table, key string) string {
	if table == "" {
		return key
	}
	return table + "." + key
}

// ask returns the value of key and marks it as known.
func (t *table) ask(key string) (any, bool) {
	t.known[key] = true
	t.asked[join(t.plain, key)] = true
	v, ok := t.values[key]
	return v, ok
}

// done notes every key that nobody asked for.
func (t *table) done() {
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		if !t.known[key] {
			t.problem(t.path(key), "unknown key")
		}
	}
}

// table returns the table key, an empty one when it is not there.
func (t *table) table(key string) *table {
	v, ok := t.ask(key)
	values, isTable := v.(map[string]any)
	if ok && !isTable {
		t.problem(t.path(key), "%s is not a table", kindOf(v))
	}
	return newTable(t.reader, t.path(key), join(t.plain, key), values)
}

// tables returns the array of tables key.
func (t *table) tables(key string) []*table {
	v, ok := t.ask(key)
	if !ok {
		return nil
	}
	var elements []map[string]any
	switch v := v.(type) {
	case []map[string]any:
		elements = v
	case []any: // an inline array
		for i, e := range v {
			values, isTable := e.(map[string]any)
			if !isTable {
				t.problem(fmt.Sprintf("%s[%d]", t.path(key), i), "%s is not a table", kindOf(e))
			}
			elements = append(elements, values)
		}
	default:
		t.problem(t.path(key), "%s is not an array of tables: write [[%s]]", kindOf(v), key)
	}
	out := make([]*table, len(elements))
	for i, values := range elements {
		out[i] = newTable(t.reader, fmt.Sprintf("%s[%d]", t.path(key), i), join(t.plain, key), values)
	}
	return out
}

// text reads a string; check, which may be nil, says what is wrong with a value, "" when nothing is.
func (t *table) text(key string, dst *string, check func(string) string) {
	v, ok := t.ask(key)
	if !ok {
		return
	}
	s, isString := v.(string)
	if !isString {
		t.problem(t.path(key), "%s is not a string", kindOf(v))
		return
	}
	if check != nil {
		if wrong := check(s); wrong != "" {
			t.problem(t.path(key), "%s", wrong)
			return
		}
	}
	*dst = s
}

// required is text for a key that must be there.
func (t *table) required(key string, dst *string, check func(string) string) {
	if _, ok := t.values[key]; !ok {
		t.ask(key)
		t.problem(t.path(key), "is missing")
		return
	}
	t.text(key, dst, check)
}

// texts reads an array of strings.
func (t *table) texts(key string, dst *[]string, check func(string) string) {
	v, ok := t.ask(key)
	if !ok {
		return
	}
	elements, isArray := v.([]any)
	if !isArray {
		t.problem(t.path(key), "%s is not an array of strings", kindOf(v))
		return
	}
	out := make([]string, 0, len(elements))
	for i, e := range elements {
		path := fmt.Sprintf("%s[%d]", t.path(key), i)
		s, isString := e.(string)
		if !isString {
			t.problem(path, "%s is not a string", kindOf(e))
			return
		}
		if check != nil {
			if wrong := check(s); wrong != "" {
				t.problem(path, "%s", wrong)
				return
			}
		}
		out = append(out, s)
	}
	*dst = out
}

// set reads an array of different strings.
func (t *table) set(key string, dst *[]string, check func(string) string) {
	var got []string
	t.texts(key, &got, check)
	if got == nil {
		return
	}
	for i, s := range got {
		if slices.Contains(got[:i], s) {
			t.problem(fmt.Sprintf("%s[%d]", t.path(key), i), "%q is there twice", s)
			return
		}
	}
	*dst = got
}

func (t *table) boolean(key string, dst *bool) {
	v, ok := t.ask(key)
	if !ok {
		return
	}
	b, isBool := v.(bool)
	if !isBool {
		t.problem(t.path(key), "%s is not true or false", kindOf(v))
		return
	}
	*dst = b
}

func (t *table) integer(key string, dst *int, low, high int64) {
	v, ok := t.ask(key)
	if !ok {
		return
	}
	n, isInteger := v.(int64)
	switch {
	case !isInteger:
		t.problem(t.path(key), "%s is not an integer", kindOf(v))
	case n < low || n > high:
		t.problem(t.path(key), "%d is not in %d..%d", n, low, high)
	default:
		*dst = int(n)
	}
}

// duration reads a Go duration of at least low.
func (t *table) duration(key string, dst *time.Duration, low time.Duration) {
	var s string
	t.text(key, &s, func(s string) string {
		d, err := time.ParseDuration(s)
		switch {
		case err != nil:
			return fmt.Sprintf("%q is not a duration like \"90s\" or \"1h30m\"", s)
		case d < low:
			return fmt.Sprintf("%s is less than %s", d, low)
		}
		*dst = d
		return ""
	})
}

// size reads a number of bytes of at least low.
func (t *table) size(key string, dst *int64, low int64) {
	var s string
	t.text(key, &s, func(s string) string {
		n, ok := parseSize(s)
		switch {
		case !ok:
			return fmt.Sprintf("%q is not a size like \"512KiB\" or \"64MiB\"", s)
		case n < low:
			return fmt.Sprintf("%s is less than %dB", s, low)
		}
		*dst = n
		return ""
	})
}

// document returns the table key as a JSON object, {} when it is not there.
func (t *table) document(key string) []byte {
	sub := t.table(key)
	if len(sub.values) == 0 {
		return []byte("{}")
	}
	data, err := json.Marshal(sub.values)
	if err != nil { // inf and nan, which JSON does not have
		t.problem(sub.name, "%v", err)
		return []byte("{}")
	}
	return data
}

// units are the binary units of sizes; the order matters, as B ends all of them.
var units = []struct {
	name  string
	shift uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}}

// parseSize reads a size such as 64MiB: digits and one of the units B, KiB, MiB, GiB, TiB.
func parseSize(s string) (int64, bool) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || n > (1<<63-1)>>u.shift {
			return 0, false
		}
		return int64(n << u.shift), true
	}
	return 0, false
}

// kindOf names the type of a decoded value, as it begins a complaint about it.
func kindOf(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("the string %q", v)
	case int64:
		return fmt.Sprintf("the integer %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprintf("the value %t", v)
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	default:
		return "an array"
	}
}

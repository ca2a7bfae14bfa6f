package datamodel

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
)

// What can be wrong with the arguments of a command, beside values that are refused.
var (
	ErrMissing     = errors.New("a mandatory argument is missing")
	ErrUnsupported = errors.New("the argument is not supported")
)

// Read reads the arguments that a command is given, by name, and returns their values: a bool, an int or a string for each one that is given or
// has a default; a default of one in an object holds when something of that object is given. One that the command does not know is ignored (TR-369 R-OPR.6). The error wraps [ErrMissing] (R-OPR.5) or [ErrUnsupported], or
// says what is wrong with a value; of several mistakes the missing argument is told, then the first one in alphabetical order.
func (c *Command) Read(given map[string]string) (map[string]any, error) {
	known := map[string]*Argument{} // by the name that was given
	inside := map[string]string{}   // objects that something was given of: the name as it is in the schema, by the name that was given
	for name := range given {
		if a := c.input(name); a != nil {
			known[name] = a
			for o, in := a.Object(), parent(name); o != ""; o, in = parent(o), parent(in) {
				inside[in] = o
			}
		}
	}
	for _, a := range c.Inputs {
		if !a.Mandatory {
			continue
		}
		if a.Object() == "" {
			if _, ok := given[a.Name]; !ok {
				return nil, missing(c.Name, a.Name)
			}
			continue
		}
		for _, in := range sorted(inside) {
			name := in + a.Name[len(a.Object()):]
			if _, ok := given[name]; !ok && inside[in] == a.Object() {
				return nil, missing(c.Name, name)
			}
		}
	}
	values := map[string]any{}
	for _, name := range sorted(known) {
		a, text := known[name], given[name]
		if a.Unsupported && text == "" {
			continue
		}
		v, err := a.parameter(name).Parse(text)
		if err != nil {
			return nil, err
		}
		if a.Unsupported {
			if d, err := a.parameter(name).Parse(a.Default); a.Default == "" || err != nil || v != d {
				return nil, fault.Errorf(fault.InvalidArguments, "cannot execute %s with %s: %w", c.Name, name, ErrUnsupported)
			}
			continue
		}
		values[name] = v
	}
	inside[""] = "" // what is in no object
	for _, a := range c.Inputs {
		if a.Default == "" || a.Unsupported {
			continue
		}
		for _, in := range sorted(inside) {
			name := strings.TrimPrefix(in+a.Name[len(a.Object()):], ".")
			if _, ok := values[name]; ok || inside[in] != a.Object() {
				continue
			}
			v, err := a.parameter(name).Parse(a.Default)
			if err != nil {
				return nil, fmt.Errorf("the default of %s: %w", name, err)
			}
			values[name] = v
		}
	}
	return values, nil
}

// input returns the argument of a name, in which numbers stand for {i}; nil: there is none.
func (c *Command) input(name string) *Argument {
	if strings.Contains(name, "{") {
		return nil
	}
	segs := strings.Split(name, ".")
	for i, s := range segs {
		if n, err := strconv.ParseUint(s, 10, 32); err == nil && n > 0 && s[0] != '0' && s[0] != '+' {
			segs[i] = "{i}"
		}
	}
	pattern := strings.Join(segs, ".")
	return find(c.Inputs, func(a *Argument) bool { return a.Name == pattern })
}

// parent returns what stands before the last dot of a name, "" when there is none.
func parent(name string) string { return name[:max(strings.LastIndexByte(name, '.'), 0)] }

func missing(command, name string) error {
	return fault.Errorf(fault.InvalidArguments, "cannot execute %s without %s: %w", command, name, ErrMissing)
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

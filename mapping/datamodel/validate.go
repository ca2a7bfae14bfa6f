package datamodel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Validate checks the rules that a schema literal has to keep: well-formed and distinct names, a reader of the type for each
// parameter, a complete Table, keys that are parameters. It is for the test of the literal.
func (o *Object[R]) Validate() error {
	var errs []error
	seen := map[string]bool{}
	var last string
	name := func(s string, forms bool) {
		if !isName(strings.TrimSuffix(strings.TrimSuffix(s, "()"), "!")) {
			errs = append(errs, fmt.Errorf("%q in %q is no name", s, o.Name))
		}
		if seen[s] && (!forms || s != last) { // the forms of one name stand together
			errs = append(errs, fmt.Errorf("%q is in %q twice", s, o.Name))
		}
		seen[s], last = true, s
	}
	if t := o.Table; t != nil && (t.Rows == nil || t.Row == nil) {
		errs = append(errs, fmt.Errorf("the table %q lacks a function", o.Name))
	}
	for i, p := range o.Parameters {
		name(p.Name, i > 0 && (p.From != "" || p.Protocol != o.Parameters[i-1].Protocol))
		if err := p.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", o.Name, p.Name, err))
		}
	}
	for _, key := range o.UniqueKeys {
		for _, k := range key {
			if !slices.ContainsFunc(o.Parameters, func(p *Parameter[R]) bool { return p.Name == k }) {
				errs = append(errs, fmt.Errorf("%s: the key %s is no parameter", o.Name, k))
			}
		}
	}
	for _, c := range o.Commands {
		name(c.Name, c.From != "")
		errs = append(errs, checkArguments(o.Name+"."+c.Name, "()", c.Since, c.Inputs), checkArguments(o.Name+"."+c.Name, "()", c.Since, c.Outputs))
	}
	for _, e := range o.Events {
		name(e.Name, e.From != "")
		errs = append(errs, checkArguments(o.Name+"."+e.Name, "!", e.Since, e.Arguments))
	}
	for _, child := range o.Objects {
		name(child.Name, false)
		errs = append(errs, child.Validate())
	}
	return errors.Join(errs...)
}

func (p *Parameter[R]) validate() error {
	readers := map[Type]bool{Boolean: p.Bool != nil, Int: p.Int != nil, UnsignedInt: p.Int != nil, String: p.Text != nil, DateTime: p.Time != nil}
	right, known := readers[p.Type]
	set := 0
	for _, is := range []bool{p.Bool != nil, p.Int != nil, p.Text != nil, p.Time != nil} {
		if is {
			set++
		}
	}
	switch limits := p.Limits(); {
	case !known:
		return fmt.Errorf("unknown type %q", p.Type)
	case p.Command && (set != 0 || !p.Writable()):
		return errors.New("a command parameter is written and not read")
	case !p.Command && (set != 1 || !right):
		return errors.New("the reader is not that of the type")
	case p.Since == "":
		return errors.New("no version")
	case p.Type == DateTime && p.Writable():
		return errors.New("a dateTime cannot be written")
	case limits.Min > limits.Max, p.Type == UnsignedInt && limits.Min < 0:
		return fmt.Errorf("range %v", limits)
	}
	return nil
}

// checkArguments checks the arguments of what is called name and has to end with the suffix.
func checkArguments(name, suffix, since string, args []*Argument) error {
	var errs []error
	if !strings.HasSuffix(name, suffix) || since == "" {
		errs = append(errs, fmt.Errorf("%s does not end with %s or has no version", name, suffix))
	}
	seen := map[string]bool{}
	for _, a := range args {
		for seg := range strings.SplitSeq(a.Name, ".") {
			if seg != "{i}" && !isName(seg) {
				errs = append(errs, fmt.Errorf("%s: %q is no name", name, a.Name))
			}
		}
		if seen[a.Name] && a.From == "" {
			errs = append(errs, fmt.Errorf("%s has %s twice", name, a.Name))
		}
		seen[a.Name] = true
		if a.Default != "" {
			if _, err := a.parameter(a.Name).Parse(a.Default); err != nil {
				errs = append(errs, fmt.Errorf("%s: the default: %w", name, err))
			}
		}
		if a.Mandatory && (a.Default != "" || a.Unsupported && a.Object() == "") {
			errs = append(errs, fmt.Errorf("%s: %s is mandatory", name, a.Name))
		}
	}
	return errors.Join(errs...)
}

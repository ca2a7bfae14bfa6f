package datamodel

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// View returns what a protocol sees of o in a version of Device:2, as a schema of its own. Commands and events are USP's. It is for the start of the
// program: views are made once and never changed.
func (o *Object[R]) View(p Protocol, version string) *Object[R] {
	v := *o
	v.Parameters = forms(o.Parameters, func(x *Parameter[R]) (string, bool) {
		return x.Name, sees(p, x.Protocol) && has(version, cmp.Or(x.From, x.Since))
	})
	v.Commands, v.Events = nil, nil
	if p != CWMPOnly {
		for _, c := range forms(o.Commands, func(x *Command) (string, bool) { return x.Name, has(version, cmp.Or(x.From, x.Since)) }) {
			view := *c
			view.Inputs, view.Outputs = arguments(c.Inputs, version), arguments(c.Outputs, version)
			v.Commands = append(v.Commands, &view)
		}
		for _, e := range forms(o.Events, func(x *Event) (string, bool) { return x.Name, has(version, cmp.Or(x.From, x.Since)) }) {
			view := *e
			view.Arguments = arguments(e.Arguments, version)
			v.Events = append(v.Events, &view)
		}
	}
	v.Objects = nil
	for _, child := range o.Objects {
		if sees(p, child.Protocol) && has(version, child.Since) {
			v.Objects = append(v.Objects, child.View(p, version))
		}
	}
	return &v
}

func arguments(args []*Argument, version string) []*Argument {
	return forms(args, func(x *Argument) (string, bool) { return x.Name, has(version, cmp.Or(x.From, x.Since)) })
}

// forms returns those of all that hold, and of several of one name the last, in the place of the first.
func forms[T any](all []T, of func(T) (name string, holds bool)) []T {
	var out []T
	at := map[string]int{}
	for _, x := range all {
		name, holds := of(x)
		if !holds {
			continue
		}
		if i, known := at[name]; known {
			out[i] = x
			continue
		}
		at[name] = len(out)
		out = append(out, x)
	}
	return slices.Clip(out)
}

// sees reports whether a protocol sees what is of another; Both sees what is of all.
func sees(p, of Protocol) bool { return of == "" || of == Both || of == p }

// has reports whether a version of Device:2 has what came with another one; everything has what came with none.
func has(version, since string) bool {
	return since == "" || minor(since) <= minor(version)
}

// minor returns the number behind "2.", and -1 for what is no version.
func minor(version string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(version, "2."))
	if err != nil {
		return -1
	}
	return n
}

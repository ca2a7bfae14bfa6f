package datamodel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Place is what a path names in a schema, whatever exists.
type Place[R any] struct {
	Path      string // with {i} for every instance, and a dot at its end unless it is a parameter, a command or an event
	Object    *Object[R]
	Parameter *Parameter[R] // nil: not a parameter
	Command   *Command      // nil: not a command
	Event     *Event        // nil: not an event
	Table     bool          // the table itself and none of its rows
	// Search says that the path is a search path: it may stand for none or several places that exist, and for none without an
	// error (TR-369 2.6, R-MSG.4a). An expression that names all parameters of a unique key is no search.
	Search bool
}

// Locate returns what p names in the schema root. The error wraps [ErrUnknown], or [ErrSyntax] when a search expression is one that the
// types of the parameters do not allow.
func Locate[R any](root *Object[R], p Path) (Place[R], error) {
	at := Place[R]{Object: root}
	for i, seg := range p.Segments {
		var err error
		if at, err = at.step(root, seg, i == len(p.Segments)-1 && !p.Partial); err != nil {
			return Place[R]{}, err
		}
	}
	return at, nil
}

func (at Place[R]) step(root *Object[R], seg Segment, full bool) (Place[R], error) {
	if at.Table {
		switch seg.Kind {
		case Number, Alias, Wildcard, Search, Placeholder:
		default:
			return at, ErrUnknown
		}
		if full {
			return at, ErrUnknown // a row is named with a dot at its end
		}
		if seg.Kind == Search {
			for _, c := range seg.Search {
				if _, err := newCondition(root, at.Object, c); err != nil {
					return at, err
				}
			}
			at.Search = at.Search || !isKey(at.Object, seg)
		}
		at.Search = at.Search || seg.many()
		at.Table, at.Path = false, at.Path+"{i}."
		return at, nil
	}
	switch seg.Kind {
	case CommandName:
		if at.Command = at.Object.command(seg.Text); at.Command == nil {
			return at, ErrUnknown
		}
	case EventName:
		if at.Event = at.Object.event(seg.Text); at.Event == nil {
			return at, ErrUnknown
		}
	case Follow:
		return at.follow(root, seg)
	case Name:
		if full {
			if at.Parameter = at.Object.parameter(seg.Text); at.Parameter == nil {
				return at, ErrUnknown
			}
			break
		}
		o := at.Object.object(seg.Text)
		if o == nil {
			return at, ErrUnknown
		}
		at.Object, at.Table, at.Path = o, o.Table != nil, at.Path+seg.Text+"."
		return at, nil
	default:
		return at, ErrUnknown
	}
	at.Path += seg.Text
	return at, nil
}

// follow goes to the rows that a parameter refers to.
func (at Place[R]) follow(root *Object[R], seg Segment) (Place[R], error) {
	p := at.Object.parameter(seg.Text)
	switch {
	case p == nil:
		return at, ErrUnknown
	case p.Reference == "":
		return at, fmt.Errorf("%w: %s refers to nothing that could be followed", ErrUnknown, seg.Text)
	case !p.List && seg.Number != 1:
		return at, fmt.Errorf("%w: %s is no list of references", ErrUnknown, seg.Text)
	}
	table, err := lookup(root, p.Reference)
	if err != nil {
		return at, err
	}
	return Place[R]{Object: table, Path: p.Reference + "{i}.", Search: at.Search || seg.many()}, nil
}

// lookup returns the table of a [Parameter.Reference].
func lookup[R any](root *Object[R], reference string) (*Object[R], error) {
	o := root
	for name := range strings.SplitSeq(strings.TrimSuffix(reference, "."), ".") {
		if name == "{i}" {
			continue
		}
		if o = o.object(name); o == nil {
			return nil, ErrUnknown
		}
	}
	if o.Table == nil {
		return nil, ErrUnknown
	}
	return o, nil
}

// condition is a [Component] of a search in a certain table, with its constant as the type of its parameter has it.
type condition[R any] struct {
	Component
	constant constant
}

// newCondition returns the condition that c is for the rows of o.
func newCondition[R any](root, o *Object[R], c Component) (condition[R], error) {
	at := Place[R]{Object: o}
	for i, seg := range c.Path {
		next, err := at.step(root, seg, i == len(c.Path)-1)
		switch {
		case err == nil && next.Table:
			return condition[R]{}, fmt.Errorf("%w: %s goes into a table", ErrSyntax, c)
		case err != nil:
			if errors.Is(err, ErrUnknown) {
				err = fmt.Errorf("%w: %s", err, c.name())
			}
			return condition[R]{}, err
		}
		at = next
	}
	k, err := typed(c, at.Parameter)
	return condition[R]{c, k}, err
}

// isKey reports whether a search expression names all parameters of a unique key: it is an address then (TR-369 2.5.2).
func isKey[R any](o *Object[R], seg Segment) bool {
	var names []string
	for _, c := range seg.Search {
		if c.Operator != Equal || len(c.Path) != 1 || slices.Contains(names, c.Path[0].Text) {
			return false
		}
		names = append(names, c.Path[0].Text)
	}
	slices.Sort(names)
	return slices.ContainsFunc(o.UniqueKeys, func(key []string) bool { return slices.Equal(slices.Sorted(slices.Values(key)), names) })
}

func (o *Object[R]) parameter(name string) *Parameter[R] {
	return find(o.Parameters, func(p *Parameter[R]) bool { return p.Name == name })
}

func (o *Object[R]) object(name string) *Object[R] {
	return find(o.Objects, func(c *Object[R]) bool { return c.Name == name })
}

func (o *Object[R]) command(name string) *Command {
	return find(o.Commands, func(c *Command) bool { return c.Name == name })
}

func (o *Object[R]) event(name string) *Event {
	return find(o.Events, func(e *Event) bool { return e.Name == name })
}

// find returns the first element that fits, or nil.
func find[T any](all []*T, fits func(*T) bool) *T {
	if i := slices.IndexFunc(all, fits); i >= 0 {
		return all[i]
	}
	return nil
}

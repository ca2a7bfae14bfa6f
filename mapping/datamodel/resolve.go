package datamodel

import (
	"errors"
	"iter"
	"strconv"

	"github.com/smmd-project/smmd/agent/fault"
)

// A Purpose says what a path is resolved for.
type Purpose string

// The purposes.
const (
	// ForGet takes a full parameter name, or a partial path for all that is below it. A wildcard may match nothing.
	ForGet Purpose = "get"
	// ForSet takes a full name of a writable parameter only, and each wildcard has to match.
	ForSet Purpose = "set"
)

// A Node is a place that exists: a parameter, an object, a row of a table, or a table.
type Node[R any] struct {
	// Path is its name, with a dot at the end unless it is a parameter. Rows are told as the request addressed them, by alias
	// or number, and by number where the request did not name them (TR-069 3.6.1, InstanceMode InstanceNumber).
	Path      string
	Object    *Object[R]
	Parameter *Parameter[R] // nil: not a parameter
	Table     bool          // the table itself and none of its rows
	Row       R             // the row, or the row that the object or table is below
}

// Resolve returns the nodes that p names in the schema root, in the order of the schema and of instance numbers. There is
// one, unless p has wildcards. The error wraps [ErrUnknown], [ErrNoInstance] or, for [ForSet], [ErrReadOnly].
func Resolve[R any](root *Object[R], row R, p Path, purpose Purpose) ([]Node[R], error) {
	nodes := []Node[R]{{Object: root, Row: row}}
	wild := false
	for i, seg := range p.Segments {
		last := i == len(p.Segments)-1
		var next []Node[R]
		for _, n := range nodes {
			found, err := n.step(seg, last && !p.Partial)
			if wild && errors.Is(err, ErrNoInstance) {
				continue // another row that the wildcard matched may have it
			}
			if err != nil {
				return nil, fault.Errorf(fault.InvalidArguments, "cannot find %s: %w", p, err)
			}
			next = append(next, found...)
		}
		if len(next) == 0 {
			if err := root.knows(p); err != nil {
				return nil, fault.Errorf(fault.InvalidArguments, "cannot find %s: %w", p, err)
			}
			if purpose == ForSet {
				return nil, fault.Errorf(fault.InvalidArguments, "cannot find %s: %w", p, ErrNoInstance)
			}
			return nil, nil
		}
		nodes, wild = next, wild || seg.Kind == Wildcard
	}
	if purpose == ForSet {
		for _, n := range nodes {
			switch {
			case n.Parameter == nil:
				return nil, fault.Errorf(fault.InvalidArguments, "cannot set %s: %w: it is no parameter", p, ErrUnknown)
			case !n.Parameter.Writable():
				return nil, fault.Errorf(fault.InvalidArguments, "cannot set %s: %w", n.Path, ErrReadOnly)
			}
		}
	}
	return nodes, nil
}

// step returns what seg names below n; full says that it has to be a parameter.
func (n Node[R]) step(seg Segment, full bool) ([]Node[R], error) {
	if n.Table {
		if full {
			return nil, ErrUnknown // a row is named with a dot at its end
		}
		return n.instances(seg)
	}
	if seg.Kind != Name {
		return nil, ErrUnknown
	}
	if full {
		for _, p := range n.Object.Parameters {
			if p.Name == seg.Text {
				return []Node[R]{n.parameter(p)}, nil
			}
		}
		return nil, ErrUnknown
	}
	for _, o := range n.Object.Objects {
		if o.Name == seg.Text {
			return []Node[R]{n.object(o)}, nil
		}
	}
	return nil, ErrUnknown
}

func (n Node[R]) instances(seg Segment) ([]Node[R], error) {
	switch t := n.Object.Table; seg.Kind {
	case Number:
		if r, ok := t.Row(n.Row, seg.Number); ok {
			return []Node[R]{n.row(seg.String(), r)}, nil
		}
		return nil, ErrNoInstance
	case Alias:
		for _, r := range t.Rows(n.Row) {
			if t.Alias != nil && t.Alias(r) == seg.Text {
				return []Node[R]{n.row(seg.String(), r)}, nil
			}
		}
		return nil, ErrNoInstance
	case Wildcard:
		var all []Node[R]
		for c := range n.Children() {
			all = append(all, c)
		}
		return all, nil
	}
	return nil, ErrUnknown
}

// knows checks p against the schema alone, where a wildcard found no row to go on from.
func (o *Object[R]) knows(p Path) error {
	var none R
	nodes := []Node[R]{{Object: o}}
	for i, seg := range p.Segments {
		n := nodes[0]
		full := i == len(p.Segments)-1 && !p.Partial
		if n.Table && seg.Kind != Name && !full {
			nodes[0] = n.row("*", none)
			continue
		}
		found, err := n.step(seg, full)
		if err != nil {
			return err
		}
		nodes = found
	}
	return nil
}

func (n Node[R]) parameter(p *Parameter[R]) Node[R] {
	return Node[R]{Path: n.Path + p.Name, Object: n.Object, Parameter: p, Row: n.Row}
}

func (n Node[R]) object(o *Object[R]) Node[R] {
	r := n.Row
	if o.Row != nil {
		r = o.Row(r)
	}
	return Node[R]{Path: n.Path + o.Name + ".", Object: o, Table: o.Table != nil, Row: r}
}

func (n Node[R]) row(name string, r R) Node[R] {
	return Node[R]{Path: n.Path + name + ".", Object: n.Object, Row: r}
}

// Children ranges over the next level below n: the rows of a table, the parameters and then the objects of an object,
// nothing for a parameter.
func (n Node[R]) Children() iter.Seq[Node[R]] {
	return func(yield func(Node[R]) bool) { n.each(yield) }
}

// All ranges over n and everything below it, each object before what it holds.
func (n Node[R]) All() iter.Seq[Node[R]] {
	return func(yield func(Node[R]) bool) { n.walk(yield) }
}

// each is Children, and reports whether yield wants more.
func (n Node[R]) each(yield func(Node[R]) bool) bool {
	if n.Parameter != nil {
		return true
	}
	if n.Table {
		for number, r := range n.Object.Table.Rows(n.Row) {
			if !yield(n.row(strconv.FormatUint(uint64(number), 10), r)) {
				return false
			}
		}
		return true
	}
	for _, p := range n.Object.Parameters {
		if !yield(n.parameter(p)) {
			return false
		}
	}
	for _, o := range n.Object.Objects {
		if !yield(n.object(o)) {
			return false
		}
	}
	return true
}

func (n Node[R]) walk(yield func(Node[R]) bool) bool {
	if !yield(n) {
		return false
	}
	if n.Parameter != nil {
		return true
	}
	return n.each(func(c Node[R]) bool { return c.walk(yield) })
}

// IsUnknown reports whether err says that a path names nothing: it is malformed, not in the data model, or of a row that is
// not there. It is the one question CWMP asks (TR-069 Table 87, 9005).
func IsUnknown(err error) bool {
	return errors.Is(err, ErrSyntax) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrNoInstance)
}

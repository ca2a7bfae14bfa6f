package datamodel

import (
	"errors"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
)

// A Purpose says what a path is resolved for.
type Purpose string

// The purposes.
const (
	// ForGet takes a full name, or a partial path for all that is below it. A search may match nothing.
	ForGet Purpose = "get"
	// ForSet takes a full name of a writable parameter only, and each search has to match.
	ForSet Purpose = "set"
)

// A Node is a place that exists: a parameter, an object, a row of a table, a table, or a command or event of an object.
type Node[R any] struct {
	// Path is its name, with a dot at the end unless it is a parameter, a command or an event. Rows are told as the request addressed them, by
	// alias or number, and by number where the request did not name them or searched for them (TR-069 3.6.1, InstanceMode InstanceNumber).
	Path      string
	Object    *Object[R]
	Parameter *Parameter[R] // nil: not a parameter
	Command   *Command      // nil: not a command
	Event     *Event        // nil: not an event
	Table     bool          // the table itself and none of its rows
	Row       R             // the row, or the row that the object or table is below
}

// Resolve returns the nodes that p names in the schema root, each once, in the order of the schema and of instance numbers. There is
// one, unless p searches. The error wraps [ErrSyntax] (a search expression that the types do not allow), [ErrUnknown], [ErrNoInstance] or, for
// [ForSet], [ErrReadOnly].
func Resolve[R any](root *Object[R], row R, p Path, purpose Purpose) ([]Node[R], error) {
	nodes, err := resolve(root, row, p, purpose)
	if err != nil {
		return nil, fault.Errorf(fault.InvalidArguments, "cannot find %s: %w", p, err)
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

func resolve[R any](root *Object[R], row R, p Path, purpose Purpose) ([]Node[R], error) {
	if _, err := Locate(root, p); err != nil {
		return nil, err
	}
	return (&resolver[R]{root: root, row: row, left: maxFollowed, tables: map[string]Node[R]{}}).resolve(p, purpose)
}

// resolver goes through what exists at the moment of one request.
type resolver[R any] struct {
	root   *Object[R]
	row    R
	left   int                // how many references may still be looked at
	tables map[string]Node[R] // that references led to, by their paths
}

// maxFollowed is how many references one path may make the agent look at: a search for what several rows refer to can ask for any number.
const maxFollowed = 1 << 17

func (r *resolver[R]) resolve(p Path, purpose Purpose) ([]Node[R], error) {
	nodes := []Node[R]{{Object: r.root, Row: r.row}}
	searched := false
	for i, seg := range p.Segments {
		many := seg.many() || seg.Kind == Search && !isKey(nodes[0].Object, seg)
		last := i == len(p.Segments)-1
		var next []Node[R]
		for _, n := range nodes {
			found, err := r.step(n, seg, last && !p.Partial)
			switch {
			case errors.Is(err, ErrNoInstance) && (searched || many):
				continue // another row that was found may have it
			case err != nil:
				return nil, err
			}
			next = append(next, found...)
		}
		searched = searched || many
		if len(next) == 0 {
			if searched && purpose == ForGet {
				return nil, nil
			}
			return nil, ErrNoInstance
		}
		nodes = distinct(next)
	}
	return nodes, nil
}

// distinct leaves the first one of those that are the same place: references from several rows may go to one.
func distinct[R any](nodes []Node[R]) []Node[R] {
	if len(nodes) == 1 {
		return nodes
	}
	seen := make(map[string]bool, len(nodes))
	return slices.DeleteFunc(nodes, func(n Node[R]) bool {
		again := seen[n.Path]
		seen[n.Path] = true
		return again
	})
}

// step returns what seg names below n; full says that it has to be a parameter, a command or an event. [Locate] has approved the path, so
// what is not found is no instance.
func (r *resolver[R]) step(n Node[R], seg Segment, full bool) ([]Node[R], error) {
	switch seg.Kind {
	case Name:
		if full {
			return []Node[R]{n.parameter(n.Object.parameter(seg.Text))}, nil
		}
		return []Node[R]{n.object(n.Object.object(seg.Text))}, nil
	case CommandName:
		return []Node[R]{{Path: n.Path + seg.Text, Object: n.Object, Command: n.Object.command(seg.Text), Row: n.Row}}, nil
	case EventName:
		return []Node[R]{{Path: n.Path + seg.Text, Object: n.Object, Event: n.Object.event(seg.Text), Row: n.Row}}, nil
	case Number:
		if row, ok := n.Object.Table.Row(n.Row, seg.Number); ok {
			return []Node[R]{n.row(seg.String(), row)}, nil
		}
	case Alias:
		for _, row := range n.Object.Table.Rows(n.Row) {
			if alias := n.Object.Table.Alias; alias != nil && alias(row) == seg.Text {
				return []Node[R]{n.row(seg.String(), row)}, nil
			}
		}
	case Wildcard:
		return slices.Collect(n.Children()), nil
	case Search:
		return r.search(n, seg)
	case Follow:
		return r.follow(n, seg)
	}
	return nil, ErrNoInstance
}

// search returns the rows of a table that satisfy an expression.
func (r *resolver[R]) search(n Node[R], seg Segment) ([]Node[R], error) {
	conditions := make([]condition[R], len(seg.Search))
	for i, c := range seg.Search {
		var err error
		if conditions[i], err = newCondition(r.root, n.Object, c); err != nil {
			return nil, err
		}
	}
	var found []Node[R]
	for row := range n.Children() {
		all := true
		for i := 0; all && i < len(conditions); i++ {
			var err error
			if all, err = r.holds(row, conditions[i]); err != nil {
				return nil, err
			}
		}
		if all {
			found = append(found, row)
		}
	}
	if len(found) == 0 {
		return nil, ErrNoInstance
	}
	return found, nil
}

// holds reports whether a condition is true of a row. Where it follows several references, one has to make it true.
func (r *resolver[R]) holds(n Node[R], c condition[R]) (bool, error) {
	nodes := []Node[R]{n}
	for i, seg := range c.Path {
		var next []Node[R]
		for _, n := range nodes {
			found, err := r.step(n, seg, i == len(c.Path)-1)
			switch {
			case errors.Is(err, ErrNoInstance):
				continue // it refers to nothing
			case err != nil:
				return false, err
			}
			next = append(next, found...)
		}
		nodes = distinct(next)
	}
	return slices.ContainsFunc(nodes, func(n Node[R]) bool { return holds(c.Component, c.constant, n.Parameter, n.Row) }), nil
}

// follow returns the rows that a parameter refers to.
func (r *resolver[R]) follow(n Node[R], seg Segment) ([]Node[R], error) {
	p := n.Object.parameter(seg.Text)
	items := []string{strings.TrimSpace(p.Value(n.Row))}
	if p.List {
		items = Items(p.Value(n.Row))
	}
	if r.left -= len(items); r.left < 0 {
		return nil, ErrTooMuch
	}
	if seg.Number != EveryItem {
		if uint64(seg.Number) > uint64(len(items)) {
			return nil, ErrNoInstance
		}
		items = items[seg.Number-1 : seg.Number]
	}
	var found []Node[R]
	for _, item := range items {
		if row, ok := r.refers(p.Reference, item); ok {
			found = append(found, row)
		}
	}
	if len(found) == 0 {
		return nil, ErrNoInstance
	}
	return found, nil
}

// refers returns the row that a reference to a table names. A reference to nothing, and a value that is no reference to a row of that table that
// exists, names none.
func (r *resolver[R]) refers(table, item string) (Node[R], bool) {
	at := strings.LastIndexByte(strings.TrimSuffix(item, "."), '.') + 1
	number, err := parseNumber(strings.TrimSuffix(item[at:], "."))
	if err != nil {
		return Node[R]{}, false
	}
	n, known := r.tables[item[:at]]
	if !known {
		p, err := ParsePath(item[:at], USP)
		if err != nil || slices.ContainsFunc(p.Segments, func(s Segment) bool { return s.Kind != Name && s.Kind != Number }) {
			return Node[R]{}, false
		}
		place, err := Locate(r.root, p)
		if err != nil || !place.Table || place.Path != table {
			return Node[R]{}, false
		}
		nodes, err := r.resolve(p, ForGet)
		if err != nil {
			return Node[R]{}, false
		}
		n = nodes[0]
		r.tables[item[:at]] = n
	}
	row, ok := n.Object.Table.Row(n.Row, number)
	return n.row(strconv.FormatUint(uint64(number), 10), row), ok
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
// nothing for a parameter, a command or an event.
func (n Node[R]) Children() iter.Seq[Node[R]] {
	return func(yield func(Node[R]) bool) { n.each(yield) }
}

// All ranges over n and everything below it, each object before what it holds.
func (n Node[R]) All() iter.Seq[Node[R]] {
	return func(yield func(Node[R]) bool) { n.walk(yield) }
}

// leaf reports whether nothing can be below n.
func (n Node[R]) leaf() bool { return n.Parameter != nil || n.Command != nil || n.Event != nil }

// each is Children, and reports whether yield wants more.
func (n Node[R]) each(yield func(Node[R]) bool) bool {
	if n.leaf() {
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
	if n.leaf() {
		return true
	}
	return n.each(func(c Node[R]) bool { return c.walk(yield) })
}

// IsUnknown reports whether err says that a path names nothing: it is malformed, not in the data model, or of a row that is
// not there. It is the one question CWMP asks (TR-069 Table 87, 9005).
func IsUnknown(err error) bool {
	return errors.Is(err, ErrSyntax) || errors.Is(err, ErrUnknown) || errors.Is(err, ErrNoInstance)
}

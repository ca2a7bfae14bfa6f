package datamodel

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"
)

// An Object is an object of the schema, or, when it has a Table, the rows of a table.
type Object[R any] struct {
	Name       string // empty for the root only
	Table      *Table[R]
	Parameters []*Parameter[R]
	Objects    []*Object[R]
}

// A Table tells the rows of a multi-instance object. Nobody but the agent itself adds or deletes rows.
type Table[R any] struct {
	// Rows ranges over the rows below parent, in ascending order of their instance numbers.
	Rows func(parent R) iter.Seq2[uint32, R]
	// Row returns the row with that instance number, and false when there is none.
	Row func(parent R, instance uint32) (R, bool)
	// Alias returns the value of the row's Alias parameter.
	Alias func(R) string
}

// A Protocol says who sees a parameter.
type Protocol string

// The protocols.
const (
	Both     Protocol = "both"
	CWMPOnly Protocol = "cwmp"
	USPOnly  Protocol = "usp"
)

// Notify is what the data model says about active notification of a parameter in CWMP (TR-106, attribute activeNotify).
type Notify string

// The values of Notify.
const (
	NotifyNormal              Notify = "normal"
	NotifyCanDeny             Notify = "canDeny"             // the device may refuse to notify actively
	NotifyForceDefaultEnabled Notify = "forceDefaultEnabled" // active until the ACS says otherwise
)

// A Range is the inclusive range of a number. The zero Range is that of the type.
type Range struct{ Min, Max int64 }

// A Parameter is one parameter of the schema. Exactly the reader of its type is set, and none for a command parameter.
type Parameter[R any] struct {
	Name     string
	Type     Type
	Range    Range    // of Int and UnsignedInt
	Length   int      // greatest number of characters of a String; 0: no limit
	Enum     []string // the values of a String; nil: any
	List     bool     // the text is a list separated by commas; Length and Enum do not apply
	Since    string   // version of Device:2 that brought it
	Protocol Protocol // empty: Both
	Notify   Notify   // empty: NotifyNormal
	// Command marks a command parameter: it is no part of the configuration and reads the null value of its type (TR-106 A.2.3.5).
	Command bool
	// Attribute names what a write sets, in the consumer's words; empty: the parameter is read-only.
	Attribute string
	// Check is a rule for what is written, beyond type, range, length and Enum; its error says what is wrong with the value.
	Check func(text string) error

	Bool func(R) bool
	Int  func(R) int64
	Text func(R) string
	Time func(R) time.Time // the zero time is Unknown Time
}

// Writable reports whether the parameter can be set.
func (p *Parameter[R]) Writable() bool { return p.Attribute != "" }

// Limits returns the range of a numeric parameter.
func (p *Parameter[R]) Limits() Range {
	switch {
	case p.Range != Range{}:
		return p.Range
	case p.Type == UnsignedInt:
		return Range{0, math.MaxUint32}
	}
	return Range{math.MinInt32, math.MaxInt32}
}

// Validate checks the rules that a schema literal has to keep: well-formed and distinct names, a reader of the type for each
// parameter, a complete Table. It is for the test of the literal.
func (o *Object[R]) Validate() error {
	var errs []error
	seen := map[string]bool{}
	name := func(s string) {
		if !isName(s) {
			errs = append(errs, fmt.Errorf("%q in %q is no name", s, o.Name))
		}
		if seen[s] {
			errs = append(errs, fmt.Errorf("%q is in %q twice", s, o.Name))
		}
		seen[s] = true
	}
	if t := o.Table; t != nil && (t.Rows == nil || t.Row == nil || t.Alias == nil) {
		errs = append(errs, fmt.Errorf("the table %q lacks a function", o.Name))
	}
	for _, p := range o.Parameters {
		name(p.Name)
		if err := p.validate(); err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", o.Name, p.Name, err))
		}
	}
	for _, child := range o.Objects {
		name(child.Name)
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

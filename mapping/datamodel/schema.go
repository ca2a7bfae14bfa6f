package datamodel

import (
	"iter"
	"math"
	"time"
)

// An Object is an object of the schema, or, when it has a Table, the rows of a table.
//
// A schema tells all protocols and versions at once; [Object.View] picks what one of them sees. Several parameters, commands or events of one
// name are forms of the same one: of those that a view knows, the last one holds.
type Object[R any] struct {
	Name     string   // empty for the root only
	Since    string   // version of Device:2 that brought it; empty: that of the object above
	Protocol Protocol // empty: Both
	Table    *Table[R]
	// Row returns the row that an object without a Table is read from; nil: that of the object above. The zero row has to be taken too.
	Row func(parent R) R
	// UniqueKeys are the sets of parameters whose values no two rows of the table have in common.
	UniqueKeys [][]string
	Parameters []*Parameter[R]
	Commands   []*Command
	Events     []*Event
	Objects    []*Object[R]
}

// A Table tells the rows of a multi-instance object. Nobody but the agent itself adds or deletes rows.
type Table[R any] struct {
	// Rows ranges over the rows below parent, in ascending order of their instance numbers.
	Rows func(parent R) iter.Seq2[uint32, R]
	// Row returns the row with that instance number, and false when there is none.
	Row func(parent R, instance uint32) (R, bool)
	// Alias returns the value of the row's Alias parameter; nil: the rows have none.
	Alias func(R) string
}

// A Protocol says who sees something.
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
	List     bool     // the text is a list separated by commas; Length and Enum are those of its items
	Unit     string   // of a number, as the data model writes it; empty: none
	Since    string   // version of Device:2 that brought it
	From     string   // version of Device:2 that gave it this form; empty: Since
	Protocol Protocol // empty: Both
	Notify   Notify   // empty: NotifyNormal
	// Reference is the table whose rows the text refers to, as a path of the schema; empty: to none, or to what is not in the schema.
	Reference string
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

package datamodel

import "strings"

// A Command is a command of USP (TR-106, command). Its name ends with "()".
type Command struct {
	Name    string
	Async   bool   // a Request row stands for it while it runs (TR-369, Asynchronous Operations)
	Since   string // version of Device:2 that brought it
	From    string // version that gave it this form; empty: Since
	Inputs  []*Argument
	Outputs []*Argument
}

// An Event is an event of USP (TR-106, event). Its name ends with "!".
type Event struct {
	Name      string
	Since     string
	From      string
	Arguments []*Argument
}

// An Argument goes into a command, or comes out of one or with an event. Several ones of one name are forms of the same one, as with
// parameters.
type Argument struct {
	// Name has a dot where the argument is in an object, and {i} where the number of a row stands: ApplicationData.{i}.Name.
	Name   string
	Type   Type
	Range  Range
	Length int
	Enum   []string
	List   bool
	Unit   string
	// Mandatory says that it has to be given; of one in an object, that it has to be given when anything else of that object, or of that row, is.
	Mandatory bool
	Default   string // what holds when it is not given; empty: nothing
	Since     string
	From      string
	// Check is a rule for the text of a String, beyond length, Enum and characters; its error says what is wrong with the value.
	Check func(text string) error
	// Unsupported says that the agent cannot do what it asks for. Only what comes to the same as not giving it is taken: its default, or
	// nothing at all.
	Unsupported bool
}

// Object returns the object that the argument is in, without the dot at its end, and "" when it is in none.
func (a *Argument) Object() string {
	return a.Name[:max(strings.LastIndexByte(a.Name, '.'), 0)]
}

// parameter returns what a value of the argument has to satisfy.
func (a *Argument) parameter(name string) *Parameter[struct{}] {
	return &Parameter[struct{}]{Name: name, Type: a.Type, Range: a.Range, Length: a.Length, Enum: a.Enum, List: a.List, Check: a.Check}
}

// Bend returns the text of an argument that comes out of a command or with an event, bent to what the data model allows as the value of a
// parameter is: a string is cut to its length, a character that XML cannot carry is replaced.
func (a *Argument) Bend(text string) string {
	if a.Type != String {
		return text
	}
	return (&Parameter[string]{Type: String, Length: a.Length, List: a.List, Text: func(s string) string { return s }}).Value(text)
}

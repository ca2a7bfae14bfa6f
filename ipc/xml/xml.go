// Package xml is the contract of the agent on D-Bus: the introspection XML of every interface, with its comments, and the
// names and paths that go with it. The exporter offers what these files say and nothing else.
package xml

import (
	"embed"
	"encoding/xml"
	"fmt"
	"io/fs"
	"slices"
)

//go:embed *.xml
var files embed.FS

// An Interface is the description of one D-Bus interface.
type Interface struct {
	Name       string     `xml:"name,attr"`
	Methods    []Method   `xml:"method"`
	Signals    []Signal   `xml:"signal"`
	Properties []Property `xml:"property"`
}

// A Method is the description of a method.
type Method struct {
	Name string `xml:"name,attr"`
	Args []Arg  `xml:"arg"`
}

// A Signal is the description of a signal.
type Signal struct {
	Name string `xml:"name,attr"`
	Args []Arg  `xml:"arg"`
}

// An Arg is one argument of a method or a signal; those of a signal have no direction.
type Arg struct {
	Name      string `xml:"name,attr"`
	Type      string `xml:"type,attr"`
	Direction string `xml:"direction,attr,omitempty"` // in, out
}

// A Property is the description of a property.
type Property struct {
	Name        string       `xml:"name,attr"`
	Type        string       `xml:"type,attr"`
	Access      string       `xml:"access,attr"` // read, readwrite
	Annotations []Annotation `xml:"annotation"`
}

// An Annotation is a remark for tools, for example org.freedesktop.DBus.Property.EmitsChangedSignal.
type Annotation struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// In returns the signature of the arguments of a call.
func (m *Method) In() string { return m.signature("in") }

// Out returns the signature of the answer to a call.
func (m *Method) Out() string { return m.signature("out") }

func (m *Method) signature(direction string) string {
	var s string
	for _, a := range m.Args {
		if a.Direction == direction {
			s += a.Type
		}
	}
	return s
}

// Writable reports whether the property can be set.
func (p *Property) Writable() bool { return p.Access == "readwrite" }

// Method returns the description of a method, or nil.
func (i *Interface) Method(name string) *Method {
	k := slices.IndexFunc(i.Methods, func(m Method) bool { return m.Name == name })
	if k < 0 {
		return nil
	}
	return &i.Methods[k]
}

// Property returns the description of a property, or nil.
func (i *Interface) Property(name string) *Property {
	k := slices.IndexFunc(i.Properties, func(p Property) bool { return p.Name == name })
	if k < 0 {
		return nil
	}
	return &i.Properties[k]
}

// all is every interface by name.
var all = load()

// Lookup returns the description of an interface, or nil. It is shared and must not be changed.
func Lookup(name string) *Interface { return all[name] }

// Source returns the files with their comments, by name.
func Source() fs.FS { return files }

func load() map[string]*Interface {
	byName := map[string]*Interface{}
	entries, err := files.ReadDir(".")
	if err != nil {
		panic(fmt.Sprintf("cannot list the embedded D-Bus contract: %v", err))
	}
	for _, e := range entries {
		data, err := files.ReadFile(e.Name())
		if err != nil {
			panic(fmt.Sprintf("cannot read the embedded %s: %v", e.Name(), err))
		}
		var node struct {
			Interfaces []*Interface `xml:"interface"`
		}
		if err := xml.Unmarshal(data, &node); err != nil {
			panic(fmt.Sprintf("cannot parse the embedded %s: %v", e.Name(), err))
		}
		for _, i := range node.Interfaces {
			byName[i.Name] = i
		}
	}
	return byName
}

package usp

import (
	"fmt"
	"strings"

	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// Supported chooses what GetSupportedDM tells of objects.
type Supported struct {
	FirstLevelOnly bool
	Commands       bool
	Events         bool
	Parameters     bool
	UniqueKeySets  bool
}

// The enumerations of GetSupportedDM, by the names that the messages of USP have for them.
const (
	ObjectReadOnly       = "OBJ_READ_ONLY"
	ParameterReadOnly    = "PARAM_READ_ONLY"
	ParameterReadWrite   = "PARAM_READ_WRITE"
	ValueChangeAllowed   = "VALUE_CHANGE_ALLOWED"
	CommandSync          = "CMD_SYNC"
	CommandAsync         = "CMD_ASYNC"
	typePrefix           = "PARAM_"
	typeString           = typePrefix + "STRING"
	uriPrefix, uriSuffix = "urn:broadband-forum-org:tr-181-", "-0"
)

var typeNames = map[dm.Type]string{
	dm.String: typeString, dm.Boolean: typePrefix + "BOOLEAN", dm.Int: typePrefix + "INT", dm.UnsignedInt: typePrefix + "UNSIGNED_INT",
	dm.DateTime: typePrefix + "DATE_TIME",
}

// A SupportedParameter is a parameter of the supported data model, in the words of the enumerations.
type SupportedParameter struct{ Name, Access, Type, ValueChange string }

// A SupportedCommand is a command of the supported data model.
type SupportedCommand struct {
	Name, Kind      string
	Inputs, Outputs []string
}

// A SupportedEvent is an event of the supported data model.
type SupportedEvent struct {
	Name      string
	Arguments []string
}

// A SupportedObject is an object of the supported data model.
type SupportedObject struct {
	Path          string // with {i} for instances
	MultiInstance bool
	Access        string
	Parameters    []SupportedParameter
	Commands      []SupportedCommand
	Events        []SupportedEvent
	UniqueKeySets [][]string
}

// A SupportedResult is the answer to one path.
type SupportedResult struct {
	Requested    string
	DataModelURI string
	Objects      []SupportedObject
	Status
}

// GetSupportedDM answers the message of that name (TR-369, GetSupportedDM). A path is one of the schema, with {i} for instances, or of something
// that exists; of a command, an event or a parameter that alone is told.
func (f *Face) GetSupportedDM(paths []string, o Supported) []SupportedResult {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	size := 0
	results := make([]SupportedResult, len(paths))
	for i, path := range paths {
		r := &results[i]
		r.Requested = path
		if i >= maxPaths {
			r.Status = tooMany
			continue
		}
		p, at, err := f.locate(path, dm.Supported)
		if err == nil && !at.Search && named(p) {
			_, err = dm.Resolve(f.root, row, p, dm.ForGet)
		}
		switch {
		case err != nil:
			r.Status = status(err, ObjectDoesNotExist)
			continue
		case size > maxAnswer:
			r.Status = Status{ResourcesExceeded, fmt.Sprintf("cannot answer more than %d bytes in one message", maxAnswer)}
			continue
		}
		r.DataModelURI = uriPrefix + strings.ReplaceAll(f.version, ".", "-") + uriSuffix
		r.Objects = supported(at, o)
		for _, x := range r.Objects {
			size += len(x.Path) + 64*(len(x.Parameters)+8*len(x.Commands)+len(x.Events))
		}
	}
	return results
}

// named reports whether a path names rows that have to exist.
func named(p dm.Path) bool {
	for _, s := range p.Segments {
		if s.Kind == dm.Placeholder {
			return false
		}
	}
	return true
}

// supported tells what is at a place.
func supported(at place, o Supported) []SupportedObject {
	path := at.Path
	if at.Table {
		path += "{i}."
	}
	x := SupportedObject{Path: path, MultiInstance: strings.HasSuffix(path, "{i}."), Access: ObjectReadOnly}
	switch {
	case at.Parameter != nil:
		x.Parameters = []SupportedParameter{supportedParameter(at.Parameter)}
	case at.Command != nil:
		x.Commands = []SupportedCommand{supportedCommand(at.Command)}
	case at.Event != nil:
		x.Events = []SupportedEvent{supportedEvent(at.Event)}
	default:
		return tree(nil, path, at.Object, o, false)
	}
	x.Path = path[:strings.LastIndexByte(path, '.')+1]
	x.MultiInstance = strings.HasSuffix(x.Path, "{i}.")
	return []SupportedObject{x}
}

// tree appends an object and what is below it. Of the children of the first level only their being there is told.
func tree(list []SupportedObject, path string, obj *object, o Supported, bare bool) []SupportedObject {
	x := SupportedObject{Path: path, MultiInstance: obj.Table != nil, Access: ObjectReadOnly}
	if !bare {
		if o.Parameters {
			for _, p := range obj.Parameters {
				x.Parameters = append(x.Parameters, supportedParameter(p))
			}
		}
		if o.Commands {
			for _, c := range obj.Commands {
				x.Commands = append(x.Commands, supportedCommand(c))
			}
		}
		if o.Events {
			for _, e := range obj.Events {
				x.Events = append(x.Events, supportedEvent(e))
			}
		}
		if o.UniqueKeySets {
			x.UniqueKeySets = obj.UniqueKeys
		}
	}
	list = append(list, x)
	if bare {
		return list
	}
	for _, c := range obj.Objects {
		below := path + c.Name + "."
		if c.Table != nil {
			below += "{i}."
		}
		list = tree(list, below, c, o, o.FirstLevelOnly)
	}
	return list
}

func supportedParameter(p *parameter) SupportedParameter {
	s := SupportedParameter{p.Name, ParameterReadOnly, typeNames[p.Type], ValueChangeAllowed}
	if p.Writable() {
		s.Access = ParameterReadWrite
	}
	if p.List {
		s.Type = typeString
	}
	return s
}

func supportedCommand(c *dm.Command) SupportedCommand {
	s := SupportedCommand{Name: c.Name, Kind: CommandSync, Inputs: names(c.Inputs), Outputs: names(c.Outputs)}
	if c.Async {
		s.Kind = CommandAsync
	}
	return s
}

func supportedEvent(e *dm.Event) SupportedEvent { return SupportedEvent{e.Name, names(e.Arguments)} }

func names(args []*dm.Argument) []string {
	var list []string
	for _, a := range args {
		list = append(list, a.Name)
	}
	return list
}

package softwaremodules_test

import (
	"cmp"
	"encoding/xml"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// An element is one of the Forum's files, whatever it is.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Elements []element  `xml:",any"`
}

func (e *element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func (e *element) is(name string) bool { return e.XMLName.Local == name }

// first returns the first element below e of a name, or an empty one.
func (e *element) first(name string) *element {
	for i := range e.Elements {
		if e.Elements[i].is(name) {
			return &e.Elements[i]
		}
	}
	return &element{}
}

func readXML(t *testing.T, path string) *element {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc element
	if err := xml.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return &doc
}

// An xmlReader makes facts of the Forum's files for one protocol and version.
type xmlReader struct {
	t          *testing.T
	protocol   dm.Protocol
	version    string
	components map[string]*element
	facts      map[string]fact
	since      map[string]string // of objects
}

// firstUSP is the first version of Device:2 for USP: commands and events that tell no version came with it.
const firstUSP = "2.12"

// xmlFacts reads what a protocol sees: the common component, with what the protocol's own file adds to it.
func xmlFacts(t *testing.T, dir string, p dm.Protocol, version string) []fact {
	t.Helper()
	common := readXML(t, filepath.Join(dir, "tr-181-2-19-0-softwaremodules.xml"))
	own := readXML(t, filepath.Join(dir, map[dm.Protocol]string{
		dm.CWMPOnly: "tr-181-2-19-1-cwmp-softwaremodules-extract.xml", dm.USPOnly: "tr-181-2-19-0-softwaremodules-usp.xml",
	}[p]))
	r := &xmlReader{t: t, protocol: p, version: version, components: map[string]*element{}, facts: map[string]fact{}, since: map[string]string{}}
	for _, doc := range []*element{common, own} {
		for i, e := range doc.Elements {
			if e.is("component") {
				r.components[e.attr("name")] = &doc.Elements[i]
			}
		}
	}
	r.below(r.components["SoftwareModules"], "", "")
	if p == dm.USPOnly {
		r.below(r.components["SoftwareModulesUSP"], "", "")
	} else {
		r.below(own.first("model"), "", "")
	}
	return slices.Collect(func(yield func(fact) bool) {
		for _, f := range r.facts {
			if f = former(f, version); !yield(f) {
				return
			}
		}
	})
}

// former is what was another in Device:2.15 and of which the files of 2.19 do not tell.
func former(f fact, version string) fact {
	if version != "2.15" {
		return f
	}
	switch f.path {
	case "SoftwareModules.ExecEnv.{i}.Name", "SoftwareModules.ExecutionUnit.{i}.Name":
		f.length = "32"
	case "SoftwareModules.DeploymentUnit.{i}.Name":
		f.length = "64"
	case "SoftwareModules.ExecEnv.{i}.Reset()":
		f.access = "sync"
	}
	return f
}

// has reports whether the version has what came with another.
func (r *xmlReader) has(since string) bool { return minor(since) <= minor(r.version) }

func minor(version string) int {
	n, _ := strconv.Atoi(strings.TrimPrefix(version, "2."))
	return n
}

// below reads what is in an object, or beside objects when prefix is empty.
func (r *xmlReader) below(parent *element, prefix, since string) {
	for i := range parent.Elements {
		switch e := &parent.Elements[i]; e.XMLName.Local {
		case "object":
			r.object(e, prefix, since)
		case "component":
			r.component(e, prefix, since)
		case "uniqueKey":
			r.key(e, prefix)
		case "parameter":
			f := r.syntax(e, fact{path: prefix + name(e), kind: "parameter", since: cmp.Or(e.attr("version"), since), notify: cmp.Or(e.attr("activeNotify"), "normal")})
			f.access = cmp.Or(e.attr("access"), "readOnly")
			r.put(f)
		case "command":
			version := r.later(cmp.Or(e.attr("version"), since))
			f := fact{path: prefix + name(e), kind: "command", since: version, access: "sync"}
			if e.attr("async") == "true" {
				f.access = "async"
			}
			if r.put(f) {
				r.arguments(e.first("input"), f.path+"<", "", version)
				r.arguments(e.first("output"), f.path+">", "", version)
			}
		case "event":
			version := r.later(cmp.Or(e.attr("version"), since))
			if f := (fact{path: prefix + name(e), kind: "event", since: version}); r.put(f) {
				r.arguments(e, f.path+">", "", version)
			}
		}
	}
}

func name(e *element) string { return cmp.Or(e.attr("name"), e.attr("base")) }

func (r *xmlReader) later(since string) string {
	if minor(since) < minor(firstUSP) {
		return firstUSP
	}
	return since
}

func (r *xmlReader) object(e *element, prefix, since string) {
	path, top := strings.CutPrefix(name(e), "Device.")
	if !top {
		path = prefix + path
	}
	version := cmp.Or(e.attr("version"), r.since[path], since)
	r.since[path] = version
	if r.put(fact{path: path, kind: "object", since: version}) {
		r.below(e, path, version)
	}
}

func (r *xmlReader) component(e *element, prefix, since string) {
	if e.attr("ref") == "Alias" { // from the Forum's types file
		f := fact{path: prefix + "Alias", kind: "parameter", typ: "string", length: "64", access: "readWrite", since: since, notify: "normal"}
		if r.protocol == dm.USPOnly && r.has("2.18") {
			f.access = "readOnly" // to be written once, by who creates the row, which is the agent
		}
		r.put(f)
		return
	}
	if path := strings.TrimPrefix(e.attr("path"), "Device."); path != "" {
		prefix, since = path, cmp.Or(r.since[path], since)
	}
	c := r.components[e.attr("ref")]
	if c == nil {
		if e.attr("ref") != "Root" {
			r.t.Fatalf("no component %s", e.attr("ref"))
		}
		return
	}
	r.below(c, prefix, since)
}

func (r *xmlReader) key(e *element, path string) {
	var key []string
	for _, p := range e.Elements {
		key = append(key, p.attr("ref"))
	}
	f := r.facts[path]
	all := [][]string{key}
	if f.enum != "" {
		for k := range strings.SplitSeq(f.enum, ",") {
			all = append(all, strings.Split(k, "+"))
		}
	}
	f.enum = keys(all)
	r.facts[path] = f
}

// arguments reads the arguments below e: in the object within, of the command or event that prefix begins with.
func (r *xmlReader) arguments(e *element, prefix, within, since string) {
	for i := range e.Elements {
		switch a := &e.Elements[i]; a.XMLName.Local {
		case "object":
			path := within + name(a)
			version := cmp.Or(a.attr("version"), r.since[prefix+path], since)
			r.since[prefix+path] = version
			r.arguments(a, prefix, path, version)
		case "component":
			c := r.components[a.attr("ref")]
			if a.attr("ref") == "Alias" || c == nil {
				r.t.Fatalf("no component %s for arguments", a.attr("ref"))
			}
			r.arguments(c, prefix, within, since)
		case "parameter":
			f := r.syntax(a, fact{path: prefix + within + name(a), kind: "argument", since: r.later(cmp.Or(a.attr("version"), since))})
			if f.access = "optional"; a.attr("mandatory") == "true" || r.facts[f.path].access == "mandatory" {
				f.access = "mandatory"
			}
			r.put(f)
		}
	}
}

// put adds a fact, or what it tells besides of one that is known. It reports whether the version has it.
func (r *xmlReader) put(f fact) bool {
	if !r.has(f.since) {
		return false
	}
	old, known := r.facts[f.path]
	if !known && f.base { // of something that the version does not have
		return false
	}
	if !known {
		r.facts[f.path] = f
		return true
	}
	for v := range strings.SplitSeq(f.enum, ",") {
		if v != "" && !slices.Contains(strings.Split(old.enum, ","), v) {
			old.enum = strings.TrimPrefix(old.enum+","+v, ",")
		}
	}
	old.standard = cmp.Or(f.standard, old.standard)
	if f.access == "mandatory" {
		old.access = f.access
	}
	r.facts[f.path] = old
	return true
}

// syntax reads type and limits of a parameter or an argument.
func (r *xmlReader) syntax(e *element, f fact) fact {
	s := e.first("syntax")
	f.base = e.attr("name") == ""
	f.isCommand = s.attr("command") == "true"
	for i := range s.Elements {
		switch x := &s.Elements[i]; x.XMLName.Local {
		case "list":
			f.list = true
		case "default":
			if f.kind == "argument" {
				f.standard = x.attr("value")
			}
		case "dataType":
			length, known := map[string]string{"UUID": "36", "URL": "2048", "Alias": "64"}[x.attr("ref")] // from the Forum's types file
			if !known {
				r.t.Fatalf("%s is of an unknown data type %s", f.path, x.attr("ref"))
			}
			f.typ, f.length = "string", length
		case "string", "boolean", "int", "unsignedInt", "dateTime":
			f.typ, f.length = x.XMLName.Local, x.first("size").attr("maxLength")
			f.min, f.max = x.first("range").attr("minInclusive"), x.first("range").attr("maxInclusive")
			if f.unit = x.first("units").attr("value"); f.typ == "unsignedInt" && f.min == "0" {
				f.min = ""
			}
			f.enum = r.values(x)
		default:
			r.t.Fatalf("%s is of an unknown type %s", f.path, x.XMLName.Local)
		}
	}
	if f.typ == "" && !f.base {
		r.t.Fatalf("%s has no type", f.path)
	}
	return f
}

// values returns the values of an enumeration that the version has. One that is deprecated is left to the versions before.
func (r *xmlReader) values(x *element) string {
	var all []string
	for i := range x.Elements {
		v := &x.Elements[i]
		if v.is("enumeration") && r.has(cmp.Or(v.attr("version"), "2.1")) && (v.attr("status") != "deprecated" || r.version != "2.19") {
			all = append(all, v.attr("value"))
		}
	}
	return strings.Join(all, ",")
}

package softwaremodules_test

import (
	"cmp"
	"encoding/xml"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

var update = flag.Bool("update", false, "write testdata/facts.tsv from the XML files in $SMMD_BBF_XML")

const (
	factsFile  = "testdata/facts.tsv"
	factsTitle = "parameter\ttype\tlist\taccess\tmin\tmax\tlength\tsince\tcommand\tnotify\tenum"
)

// leftOut is what CWMP knows in the objects that this agent has and the agent has no value for.
var leftOut = map[string]string{
	"ExecEnvClassNumberOfEntries":                  "no ExecEnvClass table",
	"ExecEnv.{i}.AllocatedCPUPercent":              "processor shares are not managed",
	"ExecEnv.{i}.AvailableCPUPercent":              "processor shares are not managed",
	"ExecEnv.{i}.CreatedAt":                        "environments are configured, not created",
	"ExecEnv.{i}.ExecEnvClassRef":                  "no ExecEnvClass table",
	"ExecEnv.{i}.ApplicationDataNumberOfEntries":   "no ApplicationData table",
	"ExecutionUnit.{i}.Privileged":                 "containers by USP arguments only",
	"ExecutionUnit.{i}.AllocatedDiskSpace":         "limits by USP arguments only",
	"ExecutionUnit.{i}.AllocatedMemory":            "limits by USP arguments only",
	"ExecutionUnit.{i}.AllocatedCPUPercent":        "limits by USP arguments only",
	"ExecutionUnit.{i}.CPUPercentInUse":            "processor shares are not managed",
	"ExecutionUnit.{i}.AllocatedEUUID":             "user ids are not managed",
	"ExecutionUnit.{i}.AllocatedEUGID":             "user ids are not managed",
	"ExecutionUnit.{i}.AllocatedHostUID":           "user ids are not managed",
	"ExecutionUnit.{i}.AllocatedHostGID":           "user ids are not managed",
	"ExecutionUnit.{i}.CreationTime":               "not kept",
	"ExecutionUnit.{i}.Uptime":                     "not kept",
	"ExecutionUnit.{i}.ShutdownDelay":              "limits by USP arguments only",
	"ExecutionUnit.{i}.ApplicationDataList":        "no ApplicationData table",
	"ExecutionUnit.{i}.HostObjectNumberOfEntries":  "no HostObject table",
	"ExecutionUnit.{i}.EnvVariableNumberOfEntries": "no EnvVariable table",
}

// A fact is what the Broadband Forum's XML says about one parameter.
type fact struct {
	path, typ string
	list      bool
	access    string
	min, max  string // empty: the type's
	length    string // empty: no limit
	since     string
	command   bool
	notify    string
	enum      string // separated by commas
}

func (f fact) String() string {
	return strings.Join([]string{f.path, f.typ, strconv.FormatBool(f.list), f.access, f.min, f.max, f.length, f.since,
		strconv.FormatBool(f.command), f.notify, f.enum}, "\t")
}

func readFacts(t *testing.T) map[string]string {
	t.Helper()
	data, err := os.ReadFile(factsFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != factsTitle {
		t.Fatalf("the first line of %s is %q", factsFile, lines[0])
	}
	facts := map[string]string{}
	for _, line := range lines[1:] {
		path, _, _ := strings.Cut(line, "\t")
		facts[path] = line
	}
	return facts
}

// tableFacts says the same of the table.
func tableFacts(o *dm.Object[softwaremodules.Row], prefix string, into map[string]string) {
	for _, p := range o.Parameters {
		f := fact{
			path: prefix + p.Name, typ: string(p.Type), list: p.List, access: "readOnly", since: p.Since,
			command: p.Command, notify: string(cmp.Or(p.Notify, dm.NotifyNormal)), enum: strings.Join(p.Enum, ","),
		}
		if p.Writable() {
			f.access = "readWrite"
		}
		if p.Length > 0 {
			f.length = strconv.Itoa(p.Length)
		}
		if p.Range != (dm.Range{}) {
			f.min, f.max = strconv.FormatInt(p.Range.Min, 10), strconv.FormatInt(p.Range.Max, 10)
			if p.Type == dm.UnsignedInt && p.Range.Min == 0 {
				f.min = ""
			}
			if p.Type == dm.Int && p.Range.Max == math.MaxInt32 {
				f.max = ""
			}
		}
		into[f.path] = f.String()
	}
	for _, child := range o.Objects {
		name := prefix + child.Name + "."
		if child.Table != nil {
			name += "{i}."
		}
		tableFacts(child, name, into)
	}
}

// subtree returns the object Device.SoftwareModules.
func subtree(t *testing.T) *dm.Object[softwaremodules.Row] {
	t.Helper()
	device := softwaremodules.Root.Objects[0]
	if device.Name != "Device" || device.Objects[0].Name != "SoftwareModules" || len(softwaremodules.Root.Objects) != 1 || len(device.Objects) != 1 {
		t.Fatal("the root holds something else than Device.SoftwareModules.")
	}
	return device.Objects[0]
}

func TestTableAgreesWithFacts(t *testing.T) {
	if err := softwaremodules.Root.Validate(); err != nil {
		t.Error(err)
	}
	facts, table := readFacts(t), map[string]string{}
	tableFacts(subtree(t), "", table)
	for path, got := range table {
		if want, known := facts[path]; !known {
			t.Errorf("%s is in the table and not in the data model", path)
		} else if got != want {
			t.Errorf("%s\n table: %s\n facts: %s", path, got, want)
		}
		if why, out := leftOut[path]; out {
			t.Errorf("%s is in the table and said to be left out: %s", path, why)
		}
	}
	for path := range facts {
		_, in := table[path]
		if _, out := leftOut[path]; !in && !out {
			t.Errorf("%s is neither in the table nor said to be left out", path)
		}
	}
	for path := range leftOut {
		if _, known := facts[path]; !known {
			t.Errorf("%s is said to be left out and not in the data model", path)
		}
	}
}

// TestProtocols holds the CWMP-only marks against the facts: what the common file lacks and the CWMP file has.
func TestProtocols(t *testing.T) {
	want := []string{"Reset", "RequestedRunLevel", "RequestedState", "SupportedDataModelList"}
	var got []string
	for _, table := range subtree(t).Objects {
		for _, p := range table.Parameters {
			if p.Protocol == dm.CWMPOnly {
				got = append(got, p.Name)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("CWMP only: %v, want %v", got, want)
	}
}

// TestFactsAgreeWithXML makes the facts again from the Forum's files, which are not part of this repository.
func TestFactsAgreeWithXML(t *testing.T) {
	dir := os.Getenv("SMMD_BBF_XML")
	if dir == "" {
		if *update {
			t.Fatal("SMMD_BBF_XML does not name the folder with the XML files")
		}
		return // the facts are kept; only who has the files can make them again
	}
	lines := []string{factsTitle}
	for _, f := range xmlFacts(t, dir) {
		lines = append(lines, f.String())
	}
	want := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(factsFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(factsFile); err != nil || string(got) != want {
		t.Errorf("%s is not what the XML says (%v): go test -run TestFactsAgreeWithXML -update", factsFile, err)
	}
}

type (
	xmlDocument struct {
		Components []xmlComponent `xml:"component"`
		Models     []struct {
			Objects []xmlObject `xml:"object"`
		} `xml:"model"`
	}
	xmlComponent struct {
		Name    string      `xml:"name,attr"`
		Ref     string      `xml:"ref,attr"`
		Objects []xmlObject `xml:"object"`
		Items   []xmlParam  `xml:"parameter"`
	}
	xmlObject struct {
		Name    string       `xml:"name,attr"`
		Base    string       `xml:"base,attr"`
		Version string       `xml:"version,attr"`
		Items   []xmlElement `xml:",any"`
	}
	// xmlElement is a parameter or a reference to a component, whichever comes.
	xmlElement struct {
		XMLName xml.Name
		Ref     string `xml:"ref,attr"`
		xmlParam
	}
	xmlParam struct {
		Name    string `xml:"name,attr"`
		Access  string `xml:"access,attr"`
		Version string `xml:"version,attr"`
		Notify  string `xml:"activeNotify,attr"`
		Syntax  struct {
			Command string    `xml:"command,attr"`
			List    *struct{} `xml:"list"`
			Types   []xmlType `xml:",any"`
		} `xml:"syntax"`
	}
	xmlType struct {
		XMLName xml.Name
		Ref     string `xml:"ref,attr"`
		Size    struct {
			Max string `xml:"maxLength,attr"`
		} `xml:"size"`
		Range struct {
			Min string `xml:"minInclusive,attr"`
			Max string `xml:"maxInclusive,attr"`
		} `xml:"range"`
		Enum []struct {
			Value string `xml:"value,attr"`
		} `xml:"enumeration"`
	}
)

func readXML(t *testing.T, path string) xmlDocument {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc xmlDocument
	if err := xml.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return doc
}

// xmlFacts reads the parameters of the objects that this agent has, as CWMP sees them: the common component, with what the CWMP
// model adds.
func xmlFacts(t *testing.T, dir string) []fact {
	const prefix = "Device.SoftwareModules."
	ours := []string{"", "ExecEnv.{i}.", "DeploymentUnit.{i}.", "ExecutionUnit.{i}.", "ExecutionUnit.{i}.Extensions."}
	// From the Forum's types file, which defines what the components below refer to.
	components := map[string][]xmlParam{"Alias": {aliasParam()}}
	since := map[string]string{}
	var facts []fact
	read := func(o xmlObject) {
		name, in := strings.CutPrefix(cmp.Or(o.Name, o.Base), prefix)
		if !in || !slices.Contains(ours, name) {
			return
		}
		since[name] = cmp.Or(o.Version, since[name])
		for _, e := range o.Items {
			params := []xmlParam{e.xmlParam}
			switch e.XMLName.Local {
			case "component":
				params = components[e.Ref]
			case "parameter":
			default:
				continue
			}
			for _, p := range params {
				if p.Name != "" { // a parameter with a base only gets another description
					facts = append(facts, paramFact(t, name, since[name], p))
				}
			}
		}
	}
	common := readXML(t, filepath.Join(dir, "tr-181-2-19-0-softwaremodules.xml"))
	for _, c := range common.Components {
		components[c.Name] = append(components[c.Name], c.Items...)
	}
	for _, c := range common.Components {
		for _, o := range c.Objects {
			read(o)
		}
	}
	for _, m := range readXML(t, filepath.Join(dir, "tr-181-2-19-1-cwmp-softwaremodules-extract.xml")).Models {
		for _, o := range m.Objects {
			read(o)
		}
	}
	return facts
}

func aliasParam() xmlParam {
	p := xmlParam{Name: "Alias", Access: "readWrite"}
	p.Syntax.Types = []xmlType{{XMLName: xml.Name{Local: "string"}}}
	p.Syntax.Types[0].Size.Max = "64"
	return p
}

func paramFact(t *testing.T, object, since string, p xmlParam) fact {
	t.Helper()
	f := fact{
		path: object + p.Name, access: p.Access, since: cmp.Or(p.Version, since), list: p.Syntax.List != nil,
		command: p.Syntax.Command == "true", notify: cmp.Or(p.Notify, "normal"),
	}
	for _, typ := range p.Syntax.Types {
		switch name := typ.XMLName.Local; name {
		case "default":
		case "dataType":
			length, known := map[string]string{"UUID": "36", "URL": "2048"}[typ.Ref] // from the Forum's types file
			if !known {
				t.Fatalf("%s is of an unknown data type %s", f.path, typ.Ref)
			}
			f.typ, f.length = "string", length
		case "string", "boolean", "int", "unsignedInt", "dateTime":
			f.typ, f.length, f.min, f.max = name, typ.Size.Max, typ.Range.Min, typ.Range.Max
			var enum []string
			for _, e := range typ.Enum {
				enum = append(enum, e.Value)
			}
			f.enum = strings.Join(enum, ",")
		default:
			t.Fatalf("%s is of an unknown type %s", f.path, name)
		}
	}
	if f.typ == "" {
		t.Fatalf("%s has no type", f.path)
	}
	return f
}

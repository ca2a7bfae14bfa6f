package softwaremodules_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
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

var update = flag.Bool("update", false, "write what is made: testdata/*.tsv from the XML files in $SMMD_BBF_XML, docs/parameters.md")

// A fact is what the Broadband Forum says about one thing in the data model of a protocol and version.
type fact struct {
	path      string // of an argument: that of its command or event and its name, with "<" between them when it goes in and ">" when it comes out
	kind      string // object, parameter, command, event, argument
	typ       string
	list      bool
	access    string // readOnly or readWrite; of an argument: mandatory or optional; of a command: async or sync
	min, max  string // empty: those of the type
	length    string // empty: no limit
	unit      string
	since     string
	isCommand bool   // a command parameter of CWMP
	notify    string // of a parameter
	standard  string // the default of an argument
	enum      string // separated by commas; of an object: its unique keys
	base      bool   // not part of the facts: it only adds to another one
}

func (f fact) String() string {
	return strings.Join([]string{f.path, f.kind, f.typ, strconv.FormatBool(f.list), f.access, f.min, f.max, f.length, f.unit, f.since,
		strconv.FormatBool(f.isCommand), f.notify, f.standard, f.enum}, "\t")
}

const factsTitle = "path\tkind\ttype\tlist\taccess\tmin\tmax\tlength\tunit\tsince\tcommand\tnotify\tdefault\tenum"

// scopes are the data models that the agent can show.
var scopes = []struct {
	protocol dm.Protocol
	version  string
}{{dm.CWMPOnly, "2.19"}, {dm.CWMPOnly, "2.15"}, {dm.USPOnly, "2.19"}, {dm.USPOnly, "2.15"}}

func factsFile(p dm.Protocol, version string) string {
	return fmt.Sprintf("testdata/%s-%s.tsv", p, version)
}

// leftOut is what the data model knows and the agent does not have, with the reason. A path that ends with a dot or a parenthesis stands for all below it.
var leftOut = map[string]string{
	"SoftwareModules.ExecEnvClass.{i}.AddExecEnv()":                 "environments are configured",
	"SoftwareModules.ExecEnv.{i}.Signers":                           "whom to trust is configured",
	"SoftwareModules.ExecEnv.{i}.ModifyAvailableRoles()":            "roles are not managed",
	"SoftwareModules.ExecEnv.{i}.ModifyAvailableAccessInterfaces()": "the network is not managed",
	"SoftwareModules.ExecEnv.{i}.Remove()":                          "environments are configured",
	"SoftwareModules.ExecutionUnit.{i}.Privileged":                  "only the environment's configuration knows",
	"SoftwareModules.ExecutionUnit.{i}.AllocatedEUUID":              "user ids are not managed",
	"SoftwareModules.ExecutionUnit.{i}.AllocatedEUGID":              "user ids are not managed",
	"SoftwareModules.ExecutionUnit.{i}.AllocatedHostUID":            "user ids are not managed",
	"SoftwareModules.ExecutionUnit.{i}.AllocatedHostGID":            "user ids are not managed",
	"SoftwareModules.ExecutionUnit.{i}.Uptime":                      "not known of units that are older than the agent's process",
	"SoftwareModules.ExecutionUnit.{i}.ShutdownDelay":               "the time for a stop is configured",
}

// isLeftOut returns why what a path names is left out, or "".
func isLeftOut(path string) string {
	for left, why := range leftOut {
		if path == left || (strings.HasSuffix(left, ".") || strings.HasSuffix(left, ")")) && strings.HasPrefix(path, left) {
			return why
		}
	}
	return ""
}

// viewOnly holds for CWMP: what came with 2.16 and later can at best be seen (TR-181 Issue 2 Amendment 19, CWMP, Device.SoftwareModules.).
func viewOnly(f fact, p dm.Protocol) fact {
	if p == dm.CWMPOnly && f.kind == "parameter" && (strings.Contains(f.path, ".AutoRestart.") || strings.Contains(f.path, ".EnvVariable.")) {
		f.access = "readOnly"
	}
	return f
}

// unchanged holds for ModifyConstraints(): what is not given stays as it is, says its description. The default of -1 is that of the parameters, which
// the file shares with the arguments.
func unchanged(f fact) fact {
	if strings.Contains(f.path, "ModifyConstraints()<Allocated") {
		f.standard = ""
	}
	return f
}

// tableFacts says the same of the table.
func tableFacts(o *dm.Object[softwaremodules.Row], prefix, since string, into map[string]fact) {
	for _, p := range o.Parameters {
		f := ofSyntax(fact{kind: "parameter", access: "readOnly", notify: string(cmp.Or(p.Notify, dm.NotifyNormal)), isCommand: p.Command},
			p.Type, p.Range, p.Length, p.Enum, p.List, p.Unit, p.Since)
		if f.path = prefix + p.Name; p.Writable() {
			f.access = "readWrite"
		}
		into[f.path] = f
	}
	for _, c := range o.Commands {
		path := prefix + c.Name
		into[path] = fact{path: path, kind: "command", access: map[bool]string{true: "async", false: "sync"}[c.Async], since: c.Since}
		argumentFacts(path+"<", c.Inputs, into)
		argumentFacts(path+">", c.Outputs, into)
	}
	for _, e := range o.Events {
		into[prefix+e.Name] = fact{path: prefix + e.Name, kind: "event", since: e.Since}
		argumentFacts(prefix+e.Name+">", e.Arguments, into)
	}
	for _, child := range o.Objects {
		name := prefix + child.Name + "."
		if child.Table != nil {
			name += "{i}."
		}
		version := cmp.Or(child.Since, since)
		if name != "ManagementServer." { // most of that is not ours
			into[name] = fact{path: name, kind: "object", since: version, enum: keys(child.UniqueKeys)}
		}
		tableFacts(child, name, version, into)
	}
}

// keys writes unique keys so that their order does not matter.
func keys(all [][]string) string {
	var out []string
	for _, k := range all {
		out = append(out, strings.Join(slices.Sorted(slices.Values(k)), "+"))
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

func argumentFacts(prefix string, args []*dm.Argument, into map[string]fact) {
	for _, a := range args {
		f := ofSyntax(fact{kind: "argument", standard: a.Default}, a.Type, a.Range, a.Length, a.Enum, a.List, a.Unit, a.Since)
		f.path, f.access = prefix+a.Name, map[bool]string{true: "mandatory", false: "optional"}[a.Mandatory]
		into[f.path] = f
	}
}

func ofSyntax(f fact, typ dm.Type, r dm.Range, length int, enum []string, list bool, unit, since string) fact {
	f.typ, f.enum, f.list, f.unit, f.since = string(typ), strings.Join(enum, ","), list, unit, since
	if length > 0 {
		f.length = strconv.Itoa(length)
	}
	if r != (dm.Range{}) {
		f.min, f.max = strconv.FormatInt(r.Min, 10), strconv.FormatInt(r.Max, 10)
		if typ == dm.UnsignedInt && r.Min == 0 {
			f.min = ""
		}
		if typ == dm.Int && r.Max == math.MaxInt32 {
			f.max = ""
		}
	}
	return f
}

// device returns the object Device. as a protocol sees it.
func device(t *testing.T, p dm.Protocol, version string) *dm.Object[softwaremodules.Row] {
	t.Helper()
	root := softwaremodules.Tree(p, version)
	if root == nil || len(root.Objects) != 1 || root.Objects[0].Name != "Device" {
		t.Fatalf("the data model of %s %s holds something else than Device.", p, version)
	}
	return root.Objects[0]
}

func readFacts(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
	if lines[0] != factsTitle {
		t.Fatalf("the first line of %s is %q", file, lines[0])
	}
	facts := map[string]string{}
	for _, line := range lines[1:] {
		path, _, _ := strings.Cut(line, "\t")
		facts[path] = line
	}
	return facts
}

// TestTableAgreesWithFacts compares in both directions, for each protocol and version.
func TestTableAgreesWithFacts(t *testing.T) {
	known := map[string]bool{} // in any of them
	for _, s := range scopes {
		file := factsFile(s.protocol, s.version)
		root := softwaremodules.Tree(s.protocol, s.version)
		if err := root.Validate(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		facts, table := readFacts(t, file), map[string]fact{}
		tableFacts(device(t, s.protocol, s.version), "", "2.1", table)
		for path, got := range table {
			if want, known := facts[path]; !known {
				t.Errorf("%s is in the table and not in %s", path, file)
			} else if got.String() != want {
				t.Errorf("%s\n table: %q\n %s: %q", path, got, file, want)
			}
			if why := isLeftOut(path); why != "" {
				t.Errorf("%s is in the table and said to be left out: %s", path, why)
			}
		}
		for path := range facts {
			known[path] = true
			if _, in := table[path]; !in && isLeftOut(path) == "" {
				t.Errorf("%s is in %s, and neither in the table nor said to be left out", path, file)
			}
		}
	}
	for path := range leftOut {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(known)), func(k string) bool { return strings.HasPrefix(k, path) }) {
			t.Errorf("%s is said to be left out and in none of the data models", path)
		}
	}
}

// TestFactsAgreeWithXML makes the facts again from the Forum's files, which are not part of this repository: SMMD_BBF_XML names the
// folder that holds tr-181-2-19-0-softwaremodules.xml, tr-181-2-19-0-softwaremodules-usp.xml and
// tr-181-2-19-1-cwmp-softwaremodules-extract.xml. Without it, a folder shared/reference/xml beside the repository's is taken when there is one.
func TestFactsAgreeWithXML(t *testing.T) {
	dir := os.Getenv("SMMD_BBF_XML")
	if beside := "../../../shared/reference/xml"; dir == "" {
		if _, err := os.Stat(beside); err == nil {
			dir = beside
		}
	}
	if dir == "" {
		return // the facts are kept; only who has the files can make them again
	}
	for _, s := range scopes {
		var lines []string
		for _, f := range xmlFacts(t, filepath.Clean(dir), s.protocol, s.version) {
			lines = append(lines, unchanged(viewOnly(f, s.protocol)).String())
		}
		slices.Sort(lines)
		want := factsTitle + "\n" + strings.Join(lines, "\n") + "\n"
		file := factsFile(s.protocol, s.version)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s is not what the XML says (%v): go test -run TestFactsAgreeWithXML -update", file, err)
		}
	}
}

package docs

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/plugins/adapter"
)

const osgiPage = "docs/osgi.md"

// section is what stands below a heading, up to the next heading of its level or a higher one.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, below, ok := strings.Cut("\n"+text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no heading %q", heading)
	}
	level := len(heading) - len(strings.TrimLeft(heading, "#"))
	end := regexp.MustCompile(fmt.Sprintf(`(?m)^#{1,%d} `, level)).FindStringIndex(below)
	if end == nil {
		return below
	}
	return below[:end[0]]
}

// table returns the rows of the first table in text whose first column has that name, cells without blanks around them.
func table(t *testing.T, text, column string) [][]string {
	t.Helper()
	var rows [][]string
	inside, ours := false, false
	for line := range strings.SplitSeq(text, "\n") {
		first := !inside
		if inside = strings.HasPrefix(line, "|"); !inside {
			if ours {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case first:
			ours = cells[0] == column
		case ours && !strings.HasPrefix(line, "|---"):
			rows = append(rows, cells)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("there is no table with the first column %q", column)
	}
	return rows
}

// A toldParameter is a row of the document.
type toldParameter struct {
	path               string
	access, typ, value string
	section            string // in which it stands
}

// chapterRows returns what the document tells of Table 155.2, objects and parameters in its order: the names, and what is said of the
// parameters.
func chapterRows(t *testing.T) (names []string, parameters []toldParameter) {
	t.Helper()
	chapter := section(t, read(t, osgiPage), "## Table 155.2, row by row")
	for _, m := range regexp.MustCompile(`(?m)^### (Device\..*)$`).FindAllStringSubmatch(chapter, -1) {
		names = append(names, m[1])
		text := section(t, chapter, m[0])
		if !strings.Contains(text, "| parameter |") {
			continue // an object without parameters
		}
		for _, cells := range table(t, text, "parameter") {
			p := parameterOf(t, m[1], cells, text)
			names, parameters = append(names, p.path), append(parameters, p)
		}
	}
	return names, parameters
}

func parameterOf(t *testing.T, object string, cells []string, text string) toldParameter {
	t.Helper()
	if len(cells) != 4 {
		t.Fatalf("the row of %s has %d columns", cells[0], len(cells))
	}
	return toldParameter{path: object + cells[0], access: cells[1], typ: cells[2], value: cells[3], section: text}
}

// otherRows returns the parameters that the table of the chapter does not have.
func otherRows(t *testing.T) []toldParameter {
	t.Helper()
	text := section(t, read(t, osgiPage), "### Not in Table 155.2")
	var parameters []toldParameter
	for _, cells := range table(t, text, "parameter") {
		parameters = append(parameters, parameterOf(t, "Device.SoftwareModules.", cells, text))
	}
	return parameters
}

type parameter = datamodel.Parameter[softwaremodules.Row]

// modeled returns the objects and parameters of the data model of CWMP by their paths, nil for an object.
func modeled() map[string]*parameter { return modeledIn(softwaremodules.Version) }

func modeledIn(version string) map[string]*parameter {
	all := map[string]*parameter{}
	var walk func(o *datamodel.Object[softwaremodules.Row], path string)
	walk = func(o *datamodel.Object[softwaremodules.Row], path string) {
		if o.Name != "" {
			path += o.Name + "."
		}
		if o.Table != nil {
			path += "{i}."
		}
		all[path] = nil
		for _, p := range o.Parameters {
			all[path+p.Name] = p
		}
		for _, child := range o.Objects {
			walk(child, path)
		}
	}
	walk(softwaremodules.Tree(datamodel.CWMPOnly, version), "")
	return all
}

// TestChapterRows compares the rows of the document with those of Table 155.2 of OSGi Compendium chapter 155, which
// testdata/osgi-155.2.txt has by their names, in order.
func TestChapterRows(t *testing.T) {
	want := strings.Fields(read(t, "test/docs/testdata/osgi-155.2.txt"))
	got, _ := chapterRows(t)
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			t.Fatalf("%s has no row for %s", osgiPage, want[i])
		case i >= len(want):
			t.Fatalf("%s has the row %s, which is not in the chapter's table", osgiPage, got[i])
		case got[i] != want[i]:
			t.Fatalf("row %d of %s is %s, in the chapter it is %s", i+1, osgiPage, got[i], want[i])
		}
	}
}

// TestParameters compares access, type and limits that the document tells of each parameter with the data model, and looks for parameters
// of the data model that it does not tell.
func TestParameters(t *testing.T) {
	model := modeled()
	_, told := chapterRows(t)
	seen := map[string]bool{}
	for _, d := range append(told, otherRows(t)...) {
		p := model[d.path]
		if p == nil {
			t.Errorf("%s tells of %s, which the data model does not have", osgiPage, d.path)
			continue
		}
		seen[d.path] = true
		if want := accessOf(p); d.access != want {
			t.Errorf("%s: the access of %s is told as %s, it is %s", osgiPage, d.path, d.access, want)
		}
		if want := typeOf(p); d.typ != want {
			t.Errorf("%s: the type of %s is told as %s, it is %s", osgiPage, d.path, d.typ, want)
		}
		for _, v := range p.Enum {
			if !regexp.MustCompile(`\b` + v + `\b`).MatchString(d.section) {
				t.Errorf("%s does not tell of the value %s of %s", osgiPage, v, d.path)
			}
		}
		reads := ""
		if p.Command {
			reads = "Reads empty"
			if null := p.Value(softwaremodules.Row{}); null != "" {
				reads = "Reads `" + null + "`"
			}
		}
		if reads == "" && strings.Contains(d.value, "Reads ") || !strings.HasSuffix(d.value, reads) {
			t.Errorf("%s: what %s reads is told in %q, it should end with %q", osgiPage, d.path, d.value, reads)
		}
	}
	// What came later is the same for every environment, and docs/parameters.md tells of it.
	for path, p := range modeledIn(softwaremodules.OlderVersion) {
		if p != nil && !seen[path] && strings.HasPrefix(path, "Device.SoftwareModules.") {
			t.Errorf("%s does not tell of %s", osgiPage, path)
		}
	}
}

// accessOf is the word of the document for what can be done with a parameter.
func accessOf(p *parameter) string {
	switch {
	case p.Command:
		return "W"
	case p.Writable():
		return "R W"
	}
	return "R"
}

// typeOf is the word of the document for a parameter's type and limits.
func typeOf(p *parameter) string {
	switch {
	case p.List:
		return "list"
	case p.Enum != nil:
		return "enumeration"
	case p.Type == datamodel.String && p.Length > 0:
		return fmt.Sprintf("string %d", p.Length)
	case p.Range == datamodel.Range{}:
		return string(p.Type)
	case p.Range.Max == math.MaxInt32:
		return fmt.Sprintf("%s ≥ %d", p.Type, p.Range.Min)
	}
	return fmt.Sprintf("%s %d…%d", p.Type, p.Range.Min, p.Range.Max)
}

// TestRefusals compares the numbers of the faults of SetParameterValues with those of faults.md, which is made from the code.
func TestRefusals(t *testing.T) {
	numbers := map[string]string{}
	for _, cells := range table(t, read(t, "docs/faults.md"), "fault") {
		name, rpc, one := cells[1], cells[4], cells[5]
		if numbers[name] = one; one == "–" {
			numbers[name] = rpc
		}
	}
	text := section(t, read(t, osgiPage), "## Table 155.2, row by row")
	for _, cells := range table(t, text, "fault") {
		if want := numbers[cells[0]]; cells[0] != "–" && cells[1] != want {
			t.Errorf("%s: the number of %s is told as %s, it is %q", osgiPage, cells[0], cells[1], want)
		}
	}
}

// TestExecutionFaultCodes compares the codes of the document with those that a bundle can show: for each fault that the host tells
// of, and for what the agent itself says of an environment that is down and of a bundle that is missing.
func TestExecutionFaultCodes(t *testing.T) {
	possible := map[string]bool{string(execution.FaultCode("")): true}
	java := javaSources(t)
	var reasons []string
	faults, _, _ := strings.Cut(section(t, read(t, "plugins/osgi/host/PROTOCOL.md"), "## What is told")+"\n", "\nIt is cleared")
	_, faults, _ = strings.Cut(faults, "A **fault**")
	for _, cells := range table(t, faults, "reason") {
		reason := strings.Trim(cells[0], "`")
		reasons = append(reasons, reason)
		possible[string(execution.FaultCode(adapter.Reason(reason)))] = true
		if !strings.Contains(java, `("`+reason+`")`) {
			t.Errorf("PROTOCOL.md tells of the fault %s, which the host does not know", reason)
		}
	}
	// What the host makes a fault of by name has to be in the table, or the codes above are not all.
	for _, m := range regexp.MustCompile(`new Fault\((?:\w+ \? )?Reason\.(\w+)(?: : Reason\.(\w+))?`).FindAllStringSubmatch(java, -1) {
		for _, name := range m[1:] {
			if wire := regexp.MustCompile(`\b` + name + `\("([a-z-]+)"\)`).FindStringSubmatch(java); name != "" && (wire == nil || !slices.Contains(reasons, wire[1])) {
				t.Errorf("the host makes faults of %s, which PROTOCOL.md does not tell", name)
			}
		}
	}
	for file, function := range map[string]string{"agent/execution/module.go": "Down", "agent/deployment/reconcile.go": "miss"} {
		for _, name := range selectors(t, file, function, "model") {
			if slices.Contains(modeled()["Device.SoftwareModules.ExecutionUnit.{i}.ExecutionFaultCode"].Enum, name) {
				possible[name] = true
			}
		}
	}

	var want, got []string
	for _, code := range modeled()["Device.SoftwareModules.ExecutionUnit.{i}.ExecutionFaultCode"].Enum {
		if possible[code] {
			want = append(want, code)
		}
	}
	for _, cells := range table(t, read(t, osgiPage), "ExecutionFaultCode") {
		got = append(got, cells[0])
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s tells of the codes\n%v, bundles can show\n%v", osgiPage, got, want)
	}
}

// advice is what the document tells authors of bundles, by the words that each point begins with. Behind each is the test that shows what can be shown
// of it with a bundle of test/bundles; those that are not named otherwise are in test/e2e.
var advice = []string{
	"Start and stop return soon.",              // TestABundleHangs
	"No `System.exit`.",                        // TestABundleThatEndsTheFramework
	"End in stop what start began.",            // nothing of ours: a framework ends no threads
	"Throw exceptions that say what is wrong.", // TestExecutionFaults
	"Lazy bundles are Starting.",               // TestSpecialBundles
	"Expect to be started again.",              // TestAutoStart
	"Leave levels to the operator.",            // TestRunLevels
	"Import packages with version ranges.",     // TestDependents
	"Keep name and vendor.",                    // TestLifeCycle; mapping/uuidname
	"Several versions may run side by side.",   // TestTwoVersionsSideBySide
	"Keep data in the data area.",              // TestReset
	"Memory is shared.",                        // TestABundleEndsTheFrameworkWhenAsked
	"Say little.",                              // plugins/osgi, TestLogIsBounded
	"Fragments have no life of their own.",     // TestSpecialBundles
}

// TestAdvice looks for each point of the advice to authors of bundles.
func TestAdvice(t *testing.T) {
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\* \*\*(.+?)\*\*`).FindAllStringSubmatch(section(t, read(t, osgiPage), "## Writing bundles that behave"), -1) {
		got = append(got, m[1])
	}
	if !slices.Equal(got, advice) {
		t.Errorf("%s advises\n%q, it should\n%q", osgiPage, got, advice)
	}
}

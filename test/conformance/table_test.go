package conformance

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/smmd-project/smmd/test/support"
)

// outcome is what has become of a check.
type outcome string

// The outcomes, as the table has them.
const (
	passed        outcome = "pass"
	failed        outcome = "FAIL"
	notApplicable outcome = "–"
)

// tableVariable names the file that the table is written to.
const tableVariable = "SMMD_CONFORMANCE_TABLE"

// table is what a run has found.
type table struct {
	mu       sync.Mutex
	outcomes map[string]outcome // by id and kind
	reasons  map[string]string  // of what is not applicable
}

func newTable() *table { return &table{outcomes: map[string]outcome{}, reasons: map[string]string{}} }

// put adds what has become of a check.
func (t *table) put(c check, k *kind, o outcome, reason string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcomes[c.id+" "+k.adapter] = o
	t.reasons[c.id+" "+k.adapter] = reason
}

// A column is one of the outcomes.
type column struct{ title, adapter string }

// perKind are a column for each kind.
var perKind = func() (all []column) {
	for _, k := range kinds {
		all = append(all, column{k.title, k.adapter})
	}
	return all
}()

// groups are the beginnings of ids with their titles, what is to be said of them, and their columns.
var groups = []struct {
	begin, title, text string
	columns            []column
}{
	{"C", "ChangeDUState and its report (CWMP)", "", perKind},
	{"F", "Faults of operations (CWMP)", "", perKind},
	{"E", "Execution units and environments (both protocols)", "", perKind},
	{"A", "Autonomous changes (CWMP)", "", perKind},
	{"U", "Commands and events (USP)", "", perKind},
	{"TP-469", "Generic cases of TP-469 (USP)", `The conformance test plan of USP (TP-469 1.4) has no case for software modules. These are its generic ones that a command, an event or a row of theirs can be tried with, by its
numbers, in USP records at the socket of a Broker: ` + "`smmd-usp.service`" + ` as it is shipped, in front of the agent with ` + bridgeKind.title + `.`, []column{{"`smmd usp`", bridgeKind.adapter}}},
}

// order compares ids by the numbers in them.
func order(a, b check) int {
	numbers := func(id string) (list []int) {
		for _, word := range strings.FieldsFunc(id, func(r rune) bool { return r < '0' || r > '9' }) {
			n, _ := strconv.Atoi(word) // it has nothing but digits
			list = append(list, n)
		}
		return list
	}
	return slices.Compare(numbers(a.id), numbers(b.id))
}

// String returns the table as a page of the documentation.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	b.WriteString(`# Conformance

What TR-069, TR-181 and TR-369 want of software modules, requirement by requirement, tried over D-Bus on a device with real environments. A dash: not applicable, for the reason
below the table. The ids are ours, but for those of TP-469; ` + "`test/conformance`" + ` has a test of that name for each.

`)
	counts := map[outcome]int{}
	for _, g := range groups {
		fmt.Fprintf(&b, "## %s\n\n", g.title)
		if g.text != "" {
			fmt.Fprintf(&b, "%s\n\n", g.text)
		}
		b.WriteString("| id | requirement |")
		for _, k := range g.columns {
			fmt.Fprintf(&b, " %s |", k.title)
		}
		fmt.Fprintf(&b, "\n|---|---|%s\n", strings.Repeat("---|", len(g.columns)))
		var reasons []string
		all := checks()
		slices.SortStableFunc(all, order)
		for _, c := range all {
			if !strings.HasPrefix(c.id, g.begin) {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s |", c.id, c.what)
			why, of := "", []string(nil)
			for _, k := range g.columns {
				o := t.outcomes[c.id+" "+k.adapter]
				counts[o]++
				fmt.Fprintf(&b, " %s |", o)
				if reason := t.reasons[c.id+" "+k.adapter]; reason != "" {
					why, of = reason, append(of, k.title)
				}
			}
			b.WriteString("\n")
			switch len(of) {
			case 0:
			case len(g.columns):
				reasons = append(reasons, fmt.Sprintf("* %s: %s.", c.id, why))
			default:
				reasons = append(reasons, fmt.Sprintf("* %s, %s: %s.", c.id, strings.Join(of, ", "), why))
			}
		}
		b.WriteString("\n")
		if len(reasons) > 0 {
			fmt.Fprintf(&b, "Not applicable:\n\n%s\n\n", strings.Join(reasons, "\n"))
		}
	}
	fmt.Fprintf(&b, "In all %d pass, %d fail, %d are not applicable.\n\nThis page is what `make conformance` has found and written.\n", counts[passed], counts[failed], counts[notApplicable])
	return b.String()
}

// write writes the table where it is asked for.
func (t *table) write(tb testing.TB) {
	path := os.Getenv(tableVariable)
	if path == "" {
		return
	}
	if err := os.WriteFile(path, []byte(t.String()), 0o644); err != nil {
		tb.Error(err)
	}
}

// TestPage: every id is there once, and the page that is checked in is of these checks.
func TestPage(t *testing.T) {
	page, err := os.ReadFile(support.ModuleFile(t, "docs/conformance.md"))
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	for _, c := range checks() {
		ids[c.id] = true
		if row := fmt.Sprintf("| %s | %s |", c.id, c.what); strings.Count(string(page), row) != 1 {
			t.Errorf("docs/conformance.md does not have the row %s: make conformance writes it", row)
		}
	}
	n := 0
	for letter, last := range map[string]int{"C": 26, "F": 22, "E": 19, "A": 5, "U": 17} {
		for i := range last {
			n++
			if id := fmt.Sprintf("%s-%02d", letter, i+1); !ids[id] {
				t.Errorf("nothing checks %s", id)
			}
		}
	}
	for _, number := range strings.Fields("1.52 1.57 1.58 1.64 1.65 1.79 1.91 1.92 1.97 1.98 1.100 1.105 1.106 2.17 2.18 9.8") {
		n++
		if !ids["TP-469 "+number] {
			t.Errorf("nothing checks TP-469 %s", number)
		}
	}
	equal(t, "checks", len(checks()), n)
	if strings.Contains(string(page), string(failed)) {
		t.Error("docs/conformance.md is of a run in which something failed")
	}
}

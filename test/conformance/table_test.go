package conformance

import (
	"fmt"
	"os"
	"slices"
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

// groups are the letters of ids with their titles.
var groups = []struct{ letter, title string }{
	{"C", "ChangeDUState and its report (CWMP)"},
	{"F", "Faults of operations (CWMP)"},
	{"E", "Execution units and environments (both protocols)"},
	{"A", "Autonomous changes (CWMP)"},
	{"U", "Commands and events (USP)"},
}

// String returns the table as a page of the documentation.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	b.WriteString(`# Conformance

What TR-069, TR-181 and TR-369 want of software modules, requirement by requirement, tried over D-Bus on a device with real environments. A dash: not applicable, for the reason
below the table. The ids are ours; ` + "`test/conformance`" + ` has a test of that name for each.

`)
	counts := map[outcome]int{}
	for _, g := range groups {
		fmt.Fprintf(&b, "## %s\n\n| id | requirement |", g.title)
		for _, k := range kinds {
			fmt.Fprintf(&b, " %s |", k.title)
		}
		fmt.Fprintf(&b, "\n|---|---|%s\n", strings.Repeat("---|", len(kinds)))
		var reasons []string
		all := checks()
		slices.SortFunc(all, func(a, b check) int { return strings.Compare(a.id, b.id) })
		for _, c := range all {
			if !strings.HasPrefix(c.id, g.letter) {
				continue
			}
			fmt.Fprintf(&b, "| %s | %s |", c.id, c.what)
			why, of := "", []string(nil)
			for _, k := range kinds {
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
			case len(kinds):
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
	equal(t, "checks", len(checks()), n)
	if strings.Contains(string(page), string(failed)) {
		t.Error("docs/conformance.md is of a run in which something failed")
	}
}

package softwaremodules_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

//go:generate go test -run TestParametersDocument -update

const parametersDocument = "../../docs/parameters.md"

const documentHead = `# The data model

Every object, parameter, command and event that the agent has, with what TR-181 says of it. CWMP clients are answered by ` + "`org.smmd.CWMP1`" + `, USP ones by
` + "`org.smmd.USP1`" + `. Both have Device:2.19 unless ` + "`[data_model] version`" + ` says "2.15"; what came after 2.15 is then absent, and what was something else then is told in
lines of its own.

| column | tells |
|---|---|
| type | with its limits: characters of a string, range of a number, unit. ` + "`list`" + ` is a text whose items are separated by commas; the limits are those of an item |
| CWMP, USP | R it can be read, W it can be written, – it is not there. A W alone is a command parameter: it reads ` + "`false`, `-1`" + ` or nothing whatever is written |
| since | the version of Device:2 that brought it; 2.16→ a form that holds from that version on |
| notify | what CWMP has as active notification: empty, can be asked for; canDeny, the same, though the device might refuse; on, without being asked for |
| reads | "always": the agent has nothing for it, and it is the same on every device |

A reference in a value is a path without a dot at its end. An argument that is marked "not supported" is answered with the code 7004 when it is given with any other value
than its default; an empty list is the same as none.

`

func TestParametersDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString(documentHead)
	for _, top := range softwaremodules.Whole.Objects[0].Objects {
		documentObject(&b, top, "Device.", dm.Both)
	}
	b.WriteString("## What the agent does not have\n\n| of TR-181 | why |\n|---|---|\n")
	for _, f := range slices.Sorted(maps.Keys(leftOut)) {
		fmt.Fprintf(&b, "| Device.%s | %s |\n", f, leftOut[f])
	}
	b.WriteString("\nThis page is made from the code: `go generate ./mapping/softwaremodules` writes it, and a test says when it is out of date.\n")
	if *update {
		if err := os.WriteFile(parametersDocument, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(parametersDocument); err != nil || string(got) != b.String() {
		t.Errorf("%s is not up to date (%v): go generate ./mapping/softwaremodules", parametersDocument, err)
	}
}

func documentObject(b *strings.Builder, o *dm.Object[softwaremodules.Row], prefix string, p dm.Protocol) {
	path := prefix + o.Name + "."
	if o.Table != nil {
		path += "{i}."
	}
	if o.Protocol != "" {
		p = o.Protocol
	}
	if len(o.Parameters)+len(o.Commands)+len(o.Events) > 0 || len(o.Objects) == 0 {
		documentHeading(b, o, path)
		documentParameters(b, o, p)
		for _, c := range o.Commands {
			documentCommand(b, c)
		}
		for _, e := range o.Events {
			fmt.Fprintf(b, "**%s** is an event of USP, since %s.\n\n", e.Name, since(e.Since, e.From))
			documentArguments(b, "argument", e.Arguments)
		}
	}
	for _, child := range o.Objects {
		documentObject(b, child, path, p)
	}
}

func documentHeading(b *strings.Builder, o *dm.Object[softwaremodules.Row], path string) {
	fmt.Fprintf(b, "## %s\n\n", path)
	if o.Since != "" {
		fmt.Fprintf(b, "Since %s.", o.Since)
	}
	var unique []string
	for _, k := range o.UniqueKeys {
		unique = append(unique, strings.Join(k, " with "))
	}
	if len(unique) > 0 {
		if o.Since != "" {
			b.WriteString(" ")
		}
		fmt.Fprintf(b, "Unique in the table: %s.", strings.Join(unique, "; "))
	}
	if o.Since != "" || len(unique) > 0 {
		b.WriteString("\n\n")
	}
	if len(o.Parameters)+len(o.Commands)+len(o.Events) == 0 {
		b.WriteString("Without parameters.\n\n")
	}
}

func documentParameters(b *strings.Builder, o *dm.Object[softwaremodules.Row], p dm.Protocol) {
	if len(o.Parameters) == 0 {
		return
	}
	b.WriteString("| parameter | type | CWMP | USP | since | notify | reads |\n|---|---|---|---|---|---|---|\n")
	for _, x := range o.Parameters {
		of := cmp.Or(x.Protocol, p)
		access := map[bool]string{true: "RW", false: "R"}[x.Writable()]
		if x.Command {
			access = "W"
		}
		see := func(by dm.Protocol) string {
			if of == dm.Both || of == by {
				return access
			}
			return "–"
		}
		notify := map[dm.Notify]string{dm.NotifyCanDeny: "canDeny", dm.NotifyForceDefaultEnabled: "on"}[x.Notify]
		if of == dm.USPOnly {
			notify = ""
		}
		reads := ""
		if softwaremodules.IsConstant(x) && !rowless(o) {
			reads = "always " + cmp.Or(x.Value(softwaremodules.Row{}), "empty")
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", x.Name, documentType(x.Type, x.Range, x.Length, x.Enum, x.List, x.Unit),
			see(dm.CWMPOnly), see(dm.USPOnly), since(x.Since, x.From), notify, reads)
	}
	b.WriteString("\n")
	if rowless(o) {
		b.WriteString("The table never has rows.\n\n")
	}
}

// rowless reports whether a table is one that never has rows: nothing in it is read from anything.
func rowless(o *dm.Object[softwaremodules.Row]) bool {
	if o.Table == nil {
		return false
	}
	for _, p := range o.Parameters {
		if !softwaremodules.IsConstant(p) {
			return false
		}
	}
	return true
}

func documentCommand(b *strings.Builder, c *dm.Command) {
	how := "synchronous"
	if c.Async {
		how = "asynchronous"
	}
	fmt.Fprintf(b, "**%s** is a command of USP, %s, since %s.\n\n", c.Name, how, since(c.Since, c.From))
	documentArguments(b, "input", c.Inputs)
	documentArguments(b, "output", c.Outputs)
}

func documentArguments(b *strings.Builder, what string, args []*dm.Argument) {
	if len(args) == 0 {
		return
	}
	if what != "input" {
		fmt.Fprintf(b, "| %s | type | since |\n|---|---|---|\n", what)
		for _, a := range args {
			fmt.Fprintf(b, "| %s | %s | %s |\n", a.Name, documentType(a.Type, a.Range, a.Length, a.Enum, a.List, a.Unit), since(a.Since, a.From))
		}
		b.WriteString("\n")
		return
	}
	fmt.Fprintf(b, "| input | type | given | since | remark |\n|---|---|---|---|---|\n")
	for _, a := range args {
		given, remark := "", ""
		switch {
		case a.Mandatory && a.Object() != "":
			given = "with its object"
		case a.Mandatory:
			given = "always"
		case a.Default != "":
			given = "else " + a.Default
		default:
			given = "if wanted"
		}
		if a.Unsupported {
			remark = "not supported"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", a.Name, documentType(a.Type, a.Range, a.Length, a.Enum, a.List, a.Unit), given, since(a.Since, a.From), remark)
	}
	b.WriteString("\n")
}

func since(version, from string) string {
	if from != "" {
		return from + "→"
	}
	return version
}

func documentType(typ dm.Type, r dm.Range, length int, enum []string, list bool, unit string) string {
	s := string(typ)
	switch {
	case len(enum) > 0:
		s = strings.Join(enum, ", ")
	case length > 0:
		s += fmt.Sprintf(" %d", length)
	case r.Max == 1<<31-1:
		s += fmt.Sprintf(" from %d", r.Min)
	case r != dm.Range{}:
		s += fmt.Sprintf(" %d…%d", r.Min, r.Max)
	}
	if list {
		s = strings.TrimSuffix("list of "+s, " of string")
	}
	if unit != "" {
		s += ", " + unit
	}
	return s
}

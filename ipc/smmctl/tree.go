package smmctl

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"
	"github.com/spf13/cobra"

	"github.com/smmd-project/smmd/ipc/client"
)

func newTree(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "tree",
		Short: "Show environments, units, states and faults at a glance",
		Long: `Show the execution environments, below each its deployment units, below each its execution units. EE.1, DU.3 and EU.4 can be given to
other commands; they are ExecEnv.1, DeploymentUnit.3 and ExecutionUnit.4 of the data model. Levels are run levels.

A unit that its environment does not have any more is marked "missing", what belongs to nothing that is there any more stands under "orphans".
Colors are used on a terminal, unless NO_COLOR is set.`,
		Example: "  smmctl tree\n  smmctl tree --json",
		Args:    cobra.NoArgs,
		RunE: a.action(func(ctx context.Context, c *client.Client, _ []string) error {
			t, err := c.Tree(ctx)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(t)
			}
			return a.printf("%s", a.drawTree(t))
		}),
	}
}

// A treeRow is one line of the tree: what it is, how it is, and everything else.
type treeRow struct {
	prefix string // the branches that lead to it
	below  string // the branches of lines that continue it
	name   string
	ref    string
	status string
	color  string
	fault  string   // what is wrong, told first
	notes  []string // what else there is to tell
}

// drawTree draws the tree to the width of the terminal.
func (a *app) drawTree(t *client.Tree) string {
	rows := a.treeRows(t)
	if len(rows) == 0 {
		return "No execution environments are configured.\n"
	}
	var nameWidth, refWidth, statusWidth int
	for _, r := range rows {
		nameWidth = max(nameWidth, columns(r.prefix+r.name))
		refWidth = max(refWidth, columns(r.ref))
		statusWidth = max(statusWidth, columns(r.status))
	}
	if a.width > 0 {
		nameWidth = min(nameWidth, a.width*2/5) // longer ones push what follows to the right
	}
	var b strings.Builder
	for _, r := range rows {
		head := pad(r.prefix+r.name, nameWidth) + "  " + pad(r.ref, refWidth) + "  "
		used := columns(head) + max(statusWidth, columns(r.status)) + 2
		line := head + a.paint(r.color, r.status) + strings.Repeat(" ", max(0, statusWidth-columns(r.status))) + "  "
		notes := strings.Join(r.notes, ", ")
		switch room := a.width - used; {
		case a.width == 0:
			line += strings.Join(nonEmpty(a.paint(red, r.fault), notes), ", ")
			b.WriteString(strings.TrimRight(line, " ") + "\n")
		case room >= minNotes && room >= longestWord(r.fault+" "+notes):
			// Beside the rest, continued in the same column.
			lines := a.wrapNotes(r.fault, notes, room)
			for i, l := range lines {
				if i > 0 {
					line = pad(r.below, used)
				}
				b.WriteString(strings.TrimRight(line+l, " ") + "\n")
			}
		default:
			// Below the rest.
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			indent := r.below + "  "
			for _, l := range a.wrapNotes(r.fault, notes, max(a.width-columns(indent), 10)) {
				if l != "" {
					b.WriteString(indent + l + "\n")
				}
			}
		}
	}
	return b.String()
}

// minNotes is how many columns the notes need to stand beside the rest.
const minNotes = 20

func longestWord(s string) int {
	n := 0
	for _, word := range strings.Fields(s) {
		n = max(n, columns(word))
	}
	return n
}

// wrapNotes returns the fault and the notes in lines of at most width columns; at least one line.
func (a *app) wrapNotes(fault, notes string, width int) []string {
	var lines []string
	for _, part := range []struct{ color, text string }{{red, fault}, {plain, notes}} {
		if part.text == "" {
			continue
		}
		for _, l := range wrap(part.text, width) {
			lines = append(lines, a.paint(part.color, l))
		}
	}
	if lines == nil {
		return []string{""}
	}
	return lines
}

// treeRows returns the lines of the tree from top to bottom.
func (a *app) treeRows(t *client.Tree) []treeRow {
	fork, last, line, gap := "├─ ", "└─ ", "│  ", "   "
	if !a.boxes {
		fork, last, line = "|- ", "`- ", "|  "
	}
	branch := func(i, n int) (string, string) {
		if i == n-1 {
			return last, gap
		}
		return fork, line
	}
	eusOf := make(map[dbus.ObjectPath][]*client.ExecutionUnit) // "": of no deployment unit
	for _, u := range t.ExecutionUnits {
		owner := u.DeploymentUnit
		if t.DeploymentUnit(owner) == nil {
			owner = ""
		}
		eusOf[owner] = append(eusOf[owner], u)
	}
	dusOf := make(map[dbus.ObjectPath][]*client.DeploymentUnit) // "": of no environment
	for _, u := range t.DeploymentUnits {
		owner := u.ExecEnv
		if t.ExecEnv(owner) == nil {
			owner = ""
		}
		dusOf[owner] = append(dusOf[owner], u)
	}
	var rows []treeRow
	units := func(dus []*client.DeploymentUnit, eus []*client.ExecutionUnit) {
		n := len(dus) + len(eus)
		for i, du := range dus {
			prefix, below := branch(i, n)
			mine := eusOf[du.Object]
			r := duRow(du)
			r.prefix, r.below = prefix, below
			if len(mine) > 0 {
				r.below += line
			}
			rows = append(rows, r)
			for k, eu := range mine {
				p, b := branch(k, len(mine))
				r := euRow(eu)
				r.prefix, r.below = below+p, below+b
				rows = append(rows, r)
			}
		}
		for k, eu := range eus {
			p, b := branch(len(dus)+k, n)
			r := euRow(eu)
			r.prefix, r.below = p, b
			rows = append(rows, r)
		}
	}
	for _, e := range t.ExecEnvs {
		r := a.execEnvRow(t, e)
		if len(dusOf[e.Object]) > 0 {
			r.below = line
		}
		rows = append(rows, r)
		units(dusOf[e.Object], nil)
	}
	if len(dusOf[""])+len(eusOf[""]) > 0 {
		rows = append(rows, treeRow{name: "orphans", status: "", fault: "what these belonged to is not there any more", below: line})
		units(dusOf[""], eusOf[""])
	}
	return rows
}

func (a *app) execEnvRow(t *client.Tree, e *client.ExecEnv) treeRow {
	r := treeRow{name: clean(execEnvName(e)), ref: shortRef(e.Ref), status: clean(e.Status), notes: nonEmpty(clean(e.Type))}
	switch e.Status {
	case "Up":
		r.color = green
	case "Error":
		r.color = red
	case "Restarting":
		r.color = yellow
	default:
		r.color = faint
	}
	if e.Status != "Up" {
		r.fault = clean(e.StatusDetail)
	}
	switch {
	case e.CurrentRunLevel >= 0 && e.CurrentRunLevel != e.InitialRunLevel:
		r.notes = append(r.notes, fmt.Sprintf("level %d (initial %d)", e.CurrentRunLevel, e.InitialRunLevel))
	case e.CurrentRunLevel >= 0:
		r.notes = append(r.notes, fmt.Sprintf("level %d", e.CurrentRunLevel))
	}
	if parent := t.ExecEnv(e.Parent); parent != nil {
		r.notes = append(r.notes, "in "+clean(execEnvName(parent)))
	}
	return r
}

func duRow(u *client.DeploymentUnit) treeRow {
	name := u.Name
	if name == "" {
		name = u.UUID
	}
	r := treeRow{name: clean(strings.TrimSpace(name + " " + u.Version)), ref: shortRef(u.Ref), status: clean(u.Status), color: yellow}
	if u.Status == "Installed" {
		r.color = green
	}
	var faults []string
	if u.Missing {
		r.color = red
		faults = append(faults, "missing in its environment")
	}
	if !u.Resolved && u.Status == "Installed" {
		faults = append(faults, "not resolved")
	}
	r.fault = strings.Join(faults, ", ")
	r.notes = nonEmpty(clean(u.UUID))
	return r
}

func euRow(u *client.ExecutionUnit) treeRow {
	name := u.Name
	if name == "" {
		name = u.EUID
	}
	r := treeRow{name: clean(name), ref: shortRef(u.Ref), status: clean(u.Status), color: yellow, fault: faultOf(u)}
	switch u.Status {
	case "Active":
		r.color = green
	case "Idle":
		r.color = plain
	}
	if u.AutoStart {
		r.notes = append(r.notes, "autostart")
	}
	r.notes = append(r.notes, fmt.Sprintf("level %d", u.RunLevel))
	return r
}

// faultOf returns what is wrong with an execution unit, "" when nothing is.
func faultOf(u *client.ExecutionUnit) string {
	if u.FaultCode == "" || u.FaultCode == "NoFault" {
		return ""
	}
	return clean(strings.Join(nonEmpty(u.FaultCode, u.FaultMessage), ": "))
}

func nonEmpty(list ...string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func columns(s string) int { return utf8.RuneCountInString(s) }

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-columns(s)))
}

// wrap breaks s at spaces into lines of at most width columns; a longer word is cut.
func wrap(s string, width int) []string {
	var lines []string
	var line []rune
	for _, word := range strings.Fields(s) {
		w := []rune(word)
		if len(line) > 0 && len(line)+1+len(w) <= width {
			line = append(append(line, ' '), w...)
			continue
		}
		if len(line) > 0 {
			lines = append(lines, string(line))
		}
		for len(w) > width {
			lines = append(lines, string(w[:width]))
			w = w[width:]
		}
		line = w
	}
	return append(lines, string(line))
}

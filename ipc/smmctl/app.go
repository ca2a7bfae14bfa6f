package smmctl

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/smmd-project/smmd/ipc/client"
)

// An app is one run of the command line: what it is connected to and how it may write there.
type app struct {
	in       io.Reader
	out, err io.Writer
	progress bool // err is a terminal: moving lines are welcome
	color    bool // of out
	boxes    bool // out shows the characters of Unicode that draw boxes
	width    int  // columns of out, 0 without a limit
	errWidth int  // columns of err, 0 without a limit

	bus     string
	json    bool
	c       *client.Client
	running bool // the command line has been understood
}

func newApp(in io.Reader, out, err io.Writer) *app {
	a := &app{in: in, out: out, err: err, boxes: true}
	if fd, ok := terminal(out); ok {
		a.color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		a.width = widthOf(fd)
		a.boxes = isUTF8()
	}
	if fd, ok := terminal(err); ok {
		a.progress = true
		a.errWidth = widthOf(fd)
	}
	return a
}

// widthOf returns the columns of a terminal; those that a serial line does not tell are 80.
func widthOf(fd int) int {
	if w, _, err := term.GetSize(fd); err == nil && w > 0 {
		return w
	}
	return 80
}

func terminal(w io.Writer) (int, bool) {
	f, ok := w.(*os.File)
	if !ok {
		return 0, false
	}
	fd := int(f.Fd())
	return fd, term.IsTerminal(fd)
}

// isUTF8 reports what the locale says of the terminal. An unset locale, as on most small devices, says nothing against it.
func isUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(os.Getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return true
}

func (a *app) dial(ctx context.Context) (*client.Client, error) {
	bus := a.bus
	if bus == "" {
		bus = os.Getenv("SMMD_BUS")
	}
	c, err := client.Dial(ctx, bus)
	a.c = c
	return c, err
}

// printJSON prints v as indented JSON.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func (a *app) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(a.out, format, args...)
	return err
}

// clean returns s without what could move the cursor or change the terminal: names and messages come out of packages.
func clean(s string) string {
	ok := func(r rune) bool { return r == ' ' || unicode.IsPrint(r) }
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !ok(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n', r == '\t', r == '\r':
			b.WriteByte(' ')
		case ok(r) && r != utf8.RuneError:
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// Colors of a terminal, as SGR parameters.
const (
	plain  = ""
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (a *app) paint(color, s string) string {
	if !a.color || color == plain || s == "" {
		return s
	}
	return "\x1b[" + color + "m" + s + "\x1b[0m"
}

// table prints rows in columns under a head, the last column as long as it is.
func (a *app) table(head []string, rows [][]string) error {
	rows = append([][]string{head}, rows...)
	widths := make([]int, len(head))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(clean(cell)))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			cell = clean(cell)
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return a.printf("%s", b.String())
}

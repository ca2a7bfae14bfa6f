package support

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A Console is the shell of a framework, Apache Felix Gogo, over TCP: the framework's own view of itself.
type Console struct {
	Env string // whose it is

	t    testing.TB
	conn net.Conn
	rest []byte // read behind the last prompt
}

// A Bundle is one as its framework lists it.
type Bundle struct {
	ID       int
	State    string // Installed, Resolved, Starting, Active, Stopping
	Level    int    // start level
	Location string // without the version that the list shows behind it
}

// ConsoleBundles are the bundles of the shell, in an order in which each finds what it needs.
var ConsoleBundles = []string{"real/org.apache.felix.gogo.runtime.jar", "real/org.apache.felix.gogo.command.jar", "real/org.apache.felix.gogo.shell.jar"}

// InstallConsole installs the shell on an environment, as any other unit, and connects to it.
func (d *Device) InstallConsole(env string) *Console {
	d.t.Helper()
	for _, b := range ConsoleBundles {
		d.Install(b, env)
	}
	return d.Console(env)
}

// Console connects to the shell of an environment that has it.
func (d *Device) Console(env string) *Console {
	d.t.Helper()
	c := &Console{Env: env, t: d.t}
	Until(d.t, "the console listens", func() (err error) {
		c.conn, err = net.DialTimeout("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(d.env(env).consolePort)), time.Second)
		return err
	})
	d.t.Cleanup(func() { _ = c.conn.Close() }) // what it said has been read
	c.answer()
	return c
}

const prompt = "g! "

// Run sends a line and returns the answer.
func (c *Console) Run(line string) string {
	c.t.Helper()
	if _, err := fmt.Fprintf(c.conn, "%s\r\n", line); err != nil {
		c.t.Fatalf("cannot write to the console: %v", err)
	}
	return c.answer()
}

// answer reads until the next prompt. What bundles say by themselves may come behind it: it is kept for the answer after this one.
func (c *Console) answer() string {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		c.t.Fatal(err)
	}
	text := c.rest
	buf := make([]byte, 4096)
	for {
		// At the beginning of a line; behind one it is somebody else's.
		if i := bytes.Index(append([]byte("\n"), text...), []byte("\n"+prompt)); i >= 0 {
			c.rest = bytes.Clone(text[i+len(prompt):])
			return strings.ReplaceAll(string(text[:i]), "\r", "")
		}
		n, err := c.conn.Read(buf)
		if err != nil {
			c.t.Fatalf("cannot read from the console: %v after %q", err, text)
		}
		text = append(text, buf[:n]...)
	}
}

// Bundles lists every bundle but the framework itself.
func (c *Console) Bundles() []Bundle {
	c.t.Helper()
	answer := c.Run("lb -l")
	var all []Bundle
	for line := range strings.Lines(answer) {
		cells := strings.SplitN(line, "|", 4)
		id, err := strconv.Atoi(strings.TrimSpace(cells[0]))
		if err != nil || len(cells) != 4 || id == 0 {
			continue // a heading, or the framework
		}
		level, err := strconv.Atoi(strings.TrimSpace(cells[2]))
		if err != nil {
			c.t.Fatalf("cannot read the console's list: %q", line)
		}
		location := strings.TrimSpace(cells[3])
		if i := strings.LastIndex(location, " ("); i >= 0 { // "LOCATION (1.0.0)"
			location = location[:i]
		}
		location, _, _ = strings.Cut(location, "|")
		all = append(all, Bundle{id, strings.TrimSpace(cells[1]), level, location})
	}
	if len(all) == 0 { // the console itself is there
		c.t.Fatalf("cannot read the console's list: %q", answer)
	}
	return all
}

// Level returns the active start level of the framework.
func (c *Console) Level() int {
	c.t.Helper()
	var level int
	answer := c.Run("frameworklevel")
	if _, err := fmt.Sscanf(answer[max(strings.Index(answer, "Level is"), 0):], "Level is %d", &level); err != nil {
		c.t.Fatalf("cannot read the console's level: %q: %v", answer, err)
	}
	return level
}

// Package docs tests what the documents say: that they name what there is, and that their links lead somewhere.
package docs

import (
	"bufio"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const top = "../.."

// key is a key of agent.toml with its default, as TOML writes it.
type key struct{ table, name, value string }

// shipped reads the keys of the shipped agent.toml, in which each stands behind a #.
func shipped(t *testing.T) []key {
	t.Helper()
	f, err := os.Open(filepath.Join(top, "agent.toml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	header := regexp.MustCompile(`^#?(\[+[a-z_.]+\]+)$`)
	assignment := regexp.MustCompile(`^#([a-z_0-9]+) = (.+)$`)
	var keys []key
	var table string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m := header.FindStringSubmatch(lines.Text()); m != nil {
			table = m[1]
		} else if m := assignment.FindStringSubmatch(lines.Text()); m != nil {
			keys = append(keys, key{table, m[1], m[2]})
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if len(keys) < 30 {
		t.Fatalf("agent.toml seems to have %d keys: its form has changed and this test does not know it", len(keys))
	}
	return keys
}

// documented reads the tables of configuration.md: a heading is a table of agent.toml, the first two columns are key and default.
func documented(t *testing.T) []key {
	t.Helper()
	row := regexp.MustCompile("^\\| `([a-z_0-9]+)` \\| (`[^|]*`|required|none) \\|")
	var keys []key
	var table string
	for line := range strings.SplitSeq(read(t, "docs/configuration.md"), "\n") {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			table = heading
		} else if m := row.FindStringSubmatch(line); m != nil {
			keys = append(keys, key{table, m[1], strings.Trim(m[2], "`")})
		}
	}
	return keys
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(top, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestConfiguration compares configuration.md with agent.toml, which package config compares with what it reads.
func TestConfiguration(t *testing.T) {
	told := documented(t)
	find := func(all []key, k key) (key, bool) {
		i := slices.IndexFunc(all, func(x key) bool { return x.table == k.table && x.name == k.name })
		if i < 0 {
			return key{}, false
		}
		return all[i], true
	}
	there := shipped(t)
	for _, k := range there {
		d, ok := find(told, k)
		switch {
		case !ok:
			t.Errorf("configuration.md does not tell of %s %s", k.table, k.name)
		case d.value == "required": // agent.toml has an example
		case d.value != k.value:
			t.Errorf("%s %s: configuration.md says that the default is %s, agent.toml says %s", k.table, k.name, d.value, k.value)
		}
	}
	for _, k := range told {
		if _, ok := find(there, k); ok {
			continue
		}
		// What has no default stands in a comment alone.
		if k.value != "none" || !strings.Contains(read(t, "agent.toml"), "\n# "+k.name+", ") {
			t.Errorf("configuration.md tells of %s %s, which agent.toml does not have", k.table, k.name)
		}
	}
}

// TestLinks follows every relative link of every document, headings included.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	names := []string{"README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
	err := filepath.WalkDir(filepath.Join(top, "docs"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".md") {
			names = append(names, strings.TrimPrefix(path, top+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, m := range link.FindAllStringSubmatch(read(t, name), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := filepath.Join(filepath.Dir(name), path)
			if path == "" {
				target = name
			}
			if _, err := os.Stat(filepath.Join(top, target)); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(headings(read(t, target)), anchor) {
				t.Errorf("%s links to %s, a heading that is not there", name, m[1])
			}
		}
	}
}

// headings returns the anchors of a document's headings.
func headings(text string) []string {
	drop := regexp.MustCompile(`[^a-z0-9 _-]`)
	var all []string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") {
			words := drop.ReplaceAllString(strings.ToLower(strings.TrimLeft(line, "# ")), "")
			all = append(all, strings.ReplaceAll(words, " ", "-"))
		}
	}
	return all
}

// TestNames looks for the D-Bus members in dbus.md and the commands in smmctl.md: what is added there has to be told.
func TestNames(t *testing.T) {
	dbus := read(t, "docs/dbus.md")
	files, err := filepath.Glob(filepath.Join(top, "ipc/xml/org.smmd.*.xml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no descriptions: %v", err)
	}
	member := regexp.MustCompile(`<(?:method|signal) name="(\w+)"`)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if name := strings.TrimSuffix(filepath.Base(file), ".xml"); !strings.Contains(dbus, name) {
			t.Errorf("dbus.md does not tell of %s", name)
		}
		for _, m := range member.FindAllStringSubmatch(string(b), -1) {
			if !strings.Contains(dbus, m[1]) {
				t.Errorf("dbus.md does not tell of %s in %s", m[1], filepath.Base(file))
			}
		}
	}
}

// TestContributing compares the folder table with the folders, the files that are named with the files there are, and the names
// in the tables of the call that is followed through with what the files hold.
func TestContributing(t *testing.T) {
	text := read(t, "CONTRIBUTING.md")
	exists := func(name string) bool {
		_, err := os.Stat(filepath.Join(top, name))
		return err == nil
	}

	described := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z/0-9]+)` \\|").FindAllStringSubmatch(text, -1) {
		described[m[1]] = true
	}
	err := filepath.WalkDir(top, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		if dir := strings.TrimPrefix(filepath.Dir(path), top+"/"); !described[dir] {
			described[dir] = true // told once
			t.Errorf("CONTRIBUTING.md does not tell what %s is for", dir)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	for _, m := range regexp.MustCompile("`((?:agent|cmd|docs|ipc|mapping|packaging|plugins|test)/[A-Za-z0-9_./-]+)`").FindAllStringSubmatch(text, -1) {
		name := m[1]
		if i := strings.LastIndexByte(name, '.'); i > 0 && i+1 < len(name) && name[i+1] >= 'A' && name[i+1] <= 'Z' {
			name = name[:i] // a type of the package
		}
		if !exists(name) {
			t.Errorf("CONTRIBUTING.md names %s, which is not there", name)
		}
	}

	rows := regexp.MustCompile("(?m)^\\| `([A-Za-z0-9_./-]+\\.(?:go|java|xml))` \\| ((?:`\\w+`(?:, )?)+) \\|").FindAllStringSubmatch(text, -1)
	if len(rows) < 30 {
		t.Errorf("the tables have %d rows that this test can read", len(rows))
	}
	for _, m := range rows {
		if !exists(m[1]) {
			continue // told above
		}
		code := read(t, m[1])
		for name := range strings.SplitSeq(m[2], ", ") {
			name = strings.Trim(name, "`")
			if !regexp.MustCompile(`(?m)(^func (\(\w+ [^)]*\) )?|^  .*[ >]|name=")` + name + `\b[(\["]`).MatchString(code) {
				t.Errorf("CONTRIBUTING.md names %s in %s, which does not have it", name, m[1])
			}
		}
	}
}

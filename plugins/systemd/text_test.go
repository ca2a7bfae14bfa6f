package systemd

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

func TestOSRelease(t *testing.T) {
	for text, want := range map[string][4]string{ // name, version, vendor, prefixes
		"ID=a\nVERSION_ID=1\n": {"a", "1", "", "a"},
		"ID=a\n":               {"a", "0", "", "a"},
		"ID=a\nIMAGE_ID=b\nVERSION_ID=1\nIMAGE_VERSION=2\n":         {"b", "2", "", "b"},
		"# ID=c\n ID=\"a\" \nVERSION_ID='1 2'\nnonsense\n":          {"a", "1 2", "", "a"},
		"ID=a\nHOME_URL=https://www.example.com:8/x\n":              {"a", "0", "example.com", "a"},
		"ID=a\nVENDOR_NAME=\"A \\\"B\\\" \\$C\"\nHOME_URL=http://x": {"a", "0", `A "B" $C`, "a"},
		"ID=a\nHOME_URL=\"::\"\nPORTABLE_PREFIXES=\"x  y\"\n":       {"a", "0", "", "x y"},
	} {
		o, err := parseOSRelease([]byte(text))
		if got := [4]string{o.name(), o.version(), o.vendor(), strings.Join(o.prefixes(), " ")}; err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, bad := range []string{"ID=\xff\n", strings.Repeat("#", maxOSRelease+1)} {
		if _, err := parseOSRelease([]byte(bad)); err == nil {
			t.Errorf("%.10q: no error", bad)
		}
	}
}

func TestUnitNames(t *testing.T) {
	for _, c := range []struct {
		unit, prefix string
		matches      bool
		startable    bool
	}{
		{"p.service", "p", true, true}, {"p-x.timer", "p", true, true}, {"p@.service", "p", true, false}, {"p@1.service", "p", true, true},
		{"px.service", "p", false, true}, {"p.mount", "p", false, false}, {"p.", "p", false, false}, {"p", "p", false, false},
		{".service", "", false, false}, {"p .service", "p", false, false}, {"p/x.service", "p/x", false, false}, {"p.target", "p", true, true},
		{strings.Repeat("p", 250) + ".service", strings.Repeat("p", 250), false, false},
	} {
		if got := matches(c.unit, c.prefix); got != c.matches {
			t.Errorf("%q matches %q: %v", c.unit, c.prefix, got)
		}
		if got := startable(c.unit); got != c.startable {
			t.Errorf("%q is startable: %v", c.unit, got)
		}
	}
	// No name of an environment makes its slice a child of another's.
	if a, b := sliceOf("a"), sliceOf("a-b"); strings.HasPrefix(b, strings.TrimSuffix(a, "slice")) || strings.Count(b, "-") != 1 || a == b {
		t.Errorf("the slices are %s and %s", a, b)
	}
}

func TestUnitFiles(t *testing.T) {
	u := parseUnit([]byte("# x\n[Unit]\nDescription = first\nDescription=second\n[Service]\nStateDirectory=a b:c \\\n d/e\nCacheDirectory=gone\nCacheDirectory=\nLogsDirectory=../x %i\n"))
	if got := u.last("Unit", "Description"); got != "second" {
		t.Errorf("Description %q", got)
	}
	if diff := cmp.Diff([]string{"/var/lib/a", "/var/lib/b", "/var/lib/d/e"}, stateDirectories(u)); diff != "" {
		t.Error(diff)
	}
}

func TestMessage(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, c := range []struct {
		words string
		lines []string
		want  string
	}{
		{"exited", nil, "exited"},
		{"exited", []string{"a", "b"}, "exited: a | b"},
		{"exited", []string{long, "b"}, "exited: b"},
		{"exited", []string{long}, "exited: …" + long[:maxMessage-len("exited: …")+2]},
		{long, []string{"a"}, long[:maxMessage-1] + "…"},
	} {
		got := message(c.words, c.lines)
		if got != c.want || utf8.RuneCountInString(got) > maxMessage {
			t.Errorf("%.10q %.20q: %d characters, %q, want %q", c.words, c.lines, utf8.RuneCountInString(got), got, c.want)
		}
	}
}

// TestPrefixAsUnit: drop-ins of a unit whose name ends with a dash would be those of other units of the device.
func TestPrefixAsUnit(t *testing.T) {
	for unit, bad := range map[string]bool{
		"app-.service": true, "app-x-.socket": true, "app-@.service": true, "app-x.service": false, "app.service": false, "app@.service": false, "other-.service": false,
	} {
		_, err := contentOf([]byte("ID=app\n"), map[string][]byte{unit: nil, "app.target": nil})
		if got := adapter.ReasonOf(err) == adapter.Corrupt; got != bad {
			t.Errorf("%s: %v", unit, err)
		}
	}
}

// TestExitNames compares the names with those that systemd says itself.
func TestExitNames(t *testing.T) {
	machine.RequireInside(t)
	out, err := exec.Command("systemd-analyze", "exit-status").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[int32]string{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "systemd" {
			continue
		}
		status, err := strconv.Atoi(f[1])
		if err != nil {
			t.Fatal(err)
		}
		if status < 250 { // 255 is that of whatever failed
			want[int32(status)] = f[0]
		}
	}
	if len(want) < 40 || !maps.Equal(want, exitNames) {
		t.Errorf("systemd says %v", want)
	}
}

func TestImageNames(t *testing.T) {
	a := imageName(adapter.Manifest{Name: "a_b.c"}, "key", squashfs)
	b := imageName(adapter.Manifest{Name: "a_b.c"}, "key", tarball)
	if strings.Contains(a+b, "_") || !strings.HasSuffix(a, rawSuffix) || strings.HasSuffix(b, rawSuffix) || a == b || duid(a) != duid(b) {
		t.Errorf("%s and %s, of %s and %s", a, b, duid(a), duid(b))
	}
	if other := imageName(adapter.Manifest{Name: "a_b.c"}, "other key", tarball); duid(other) == duid(b) {
		t.Errorf("another unit has the image %s", other)
	}
}

func TestNoticeably(t *testing.T) {
	for _, c := range []struct {
		was, is int64
		want    bool
	}{{-1, -1, false}, {-1, 5, true}, {5, -1, true}, {0, 1, true}, {1, 0, true}, {1000, 1200, false}, {1000, 2000, true}, {1 << 20, 1<<20 + 1000, false}} {
		if got := noticeably(c.was, c.is); got != c.want {
			t.Errorf("from %d to %d: %v", c.was, c.is, got)
		}
	}
}

// TestSkeletonLinks: os-release and unit files are found by way of links, as in images of distributions.
func TestSkeletonLinks(t *testing.T) {
	i := newImage("linked", "1").service("linked.service", sleeps, "")
	i.links["lib"] = "usr/lib"
	i.links["usr/lib/systemd/system/linked-also.service"] = "/lib/systemd/system/linked.service"
	i.links["usr/lib/systemd/system/linked-out.service"] = "../../../../../../etc/passwd"
	i.links["etc/os-release"] = "/lib/os-release"
	c, err := inspectTar(t.Context(), i.pkg(t).Path)
	if err != nil {
		// A link that climbs out is refused as a whole.
		if adapter.ReasonOf(err) != adapter.Corrupt {
			t.Fatal(err)
		}
		delete(i.links, "usr/lib/systemd/system/linked-out.service")
		if c, err = inspectTar(t.Context(), i.pkg(t).Path); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"linked-also.service", "linked.service"}, c.Units); diff != "" {
		t.Error(diff)
	}
}

func TestSettings(t *testing.T) {
	got, err := parseSettings("home", []byte(`{"profile":"strict","memory":"64MiB","cpu":"150%","tasks":100,"units":["a.service"],"call_timeout":"1s","stop_timeout":"2s"}`))
	want := settings{"strict", 64 << 10, 150, 100, []string{"a.service"}, time.Second, 2 * time.Second}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" || err != nil {
		t.Error(diff, err)
	}
	for key, table := range map[string]string{
		"profil": `{"profil":"x"}`, "profile": `{"profile":"../x"}`, "memory": `{"memory":64}`, "cpu": `{"cpu":"half"}`, "tasks": `{"tasks":0}`,
		"units": `{"units":["a.mount"]}`, "call_timeout": `{"call_timeout":"never"}`, "stop_timeout": `{"stop_timeout":null}`,
	} {
		err := New(quietLog()).Configure(t.Context(), []adapter.EnvConfig{{ID: "home", DataDir: t.TempDir(), Settings: []byte(table)}})
		if adapter.ReasonOf(err) != adapter.InvalidArgument || !strings.Contains(err.Error(), `"home"`) || !strings.Contains(err.Error(), "systemd."+key+":") {
			t.Errorf("%s: error %v", key, err)
		}
	}
	for _, bad := range []string{`{"units":["a@.service"]}`, `{"units":["a.service","a.service"]}`, `{"memory":"0MiB"}`, `{"memory":"9999999999GiB"}`, `{"cpu":"0%"}`, `{"cpu":"50"}`} {
		if _, err := parseSettings("home", []byte(bad)); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
	// A unit is in one environment.
	both := []byte(`{"units":["a.service"]}`)
	err = New(quietLog()).Configure(t.Context(), []adapter.EnvConfig{{ID: "a", DataDir: "/a", Settings: both}, {ID: "b", DataDir: "/b", Settings: both}})
	if adapter.ReasonOf(err) != adapter.InvalidArgument {
		t.Errorf("one unit in two environments: %v", err)
	}
}

// TestAgentTomlShowsTheSettings compares the table that the shipped configuration shows, commented out, with the settings that there are.
func TestAgentTomlShowsTheSettings(t *testing.T) {
	file, err := os.ReadFile("../../agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(file), "\n#[exec_env.systemd]\n")
	if !found {
		t.Fatal("agent.toml has no table exec_env.systemd")
	}
	setting := regexp.MustCompile(`^#[a-z_]+ = `)
	noDefault := regexp.MustCompile(`^# ([a-z_]+), such as ("[^"]*"|[0-9]+),.* no default\.$`)
	text, examples := "", ""
	for line := range strings.Lines(section) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#[") {
			break
		}
		if m := noDefault.FindStringSubmatch(line); m != nil {
			examples += m[1] + " = " + m[2] + "\n"
		}
		if setting.MatchString(line) {
			text += line[1:] + "\n"
		}
	}
	parse := func(text string) (settings, []string) {
		var table map[string]any
		if _, err := toml.Decode(text, &table); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSettings("home", raw)
		if err != nil {
			t.Fatal(err)
		}
		return s, slices.Collect(maps.Keys(table))
	}
	got, shown := parse(text)
	if diff := cmp.Diff(defaultSettings(), got, cmp.AllowUnexported(settings{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("defaults (-) and what agent.toml shows (+):\n%s", diff)
	}
	_, more := parse(examples)
	shown = append(shown, more...)
	slices.Sort(shown)
	known := []string{"call_timeout", "cpu", "memory", "profile", "stop_timeout", "tasks", "units"}
	if diff := cmp.Diff(known, shown); diff != "" {
		t.Errorf("settings that there are (-) and that agent.toml shows (+):\n%s", diff)
	}
}

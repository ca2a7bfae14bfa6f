package smmctl

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
)

var update = flag.Bool("update", false, "write the golden files")

func ref(k client.Kind, n uint32) client.Ref {
	r, ok := client.ParseRef(string(client.ObjectPath(k, n)))
	if !ok {
		panic(fmt.Sprint("no reference: ", k, n))
	}
	return r
}

// sample is a device with something of everything.
func sample() *client.Tree {
	felix, portable, nested, off := ref(client.KindExecEnv, 1), ref(client.KindExecEnv, 2), ref(client.KindExecEnv, 3), ref(client.KindExecEnv, 4)
	du := func(n uint32, env client.Ref, name, version string) *client.DeploymentUnit {
		return &client.DeploymentUnit{
			Ref: ref(client.KindDeploymentUnit, n), ExecEnv: env.Object, Name: name, Version: version, Status: "Installed", Resolved: true,
			UUID: fmt.Sprintf("5a6b7c8d-0000-5000-8000-%012d", n),
		}
	}
	eu := func(n, of uint32, env client.Ref, name, status string) *client.ExecutionUnit {
		return &client.ExecutionUnit{
			Ref: ref(client.KindExecutionUnit, n), DeploymentUnit: client.ObjectPath(client.KindDeploymentUnit, of), ExecEnv: env.Object,
			Name: name, Status: status, FaultCode: "NoFault", RunLevel: 3,
		}
	}
	t := &client.Tree{
		ExecEnvs: []*client.ExecEnv{
			{Ref: felix, ID: "felix", Name: "c0ffee", Alias: "cpe-felix", Type: "OSGi 1.10", Status: "Up", Enable: true, InitialRunLevel: 1, CurrentRunLevel: 5},
			{Ref: portable, ID: "portable", Alias: "cpe-portable", Type: "Linux systemd portable", Status: "Error", Enable: true,
				StatusDetail: "the adapter systemd ended 5 times within 10 minutes and is not started any more", CurrentRunLevel: -1},
			{Ref: nested, ID: "nested", Alias: "cpe-nested", Type: "OSGi 1.8", Status: "Up", Enable: true, InitialRunLevel: 2, CurrentRunLevel: 2, Parent: felix.Object},
			{Ref: off, ID: "off", Alias: "cpe-off", Type: "LXC", Status: "Disabled", CurrentRunLevel: -1},
		},
		DeploymentUnits: []*client.DeploymentUnit{
			du(1, felix, "org.example.sample", "1.0.0"),
			du(2, felix, "org.example.broken", "2.1.0"),
			du(3, felix, "org.example.a-name-that-is-much-longer-than-the-others", "10.20.30"),
			du(4, portable, "minbase", "12"),
			du(5, client.Ref{}, "org.example.lost", "1"),
		},
		ExecutionUnits: []*client.ExecutionUnit{
			eu(1, 1, felix, "org.example.sample", "Active"),
			eu(2, 2, felix, "org.example.broken", "Idle"),
			eu(3, 3, felix, "org.example.a-name-that-is-much-longer-than-the-others", "Starting"),
			eu(4, 4, portable, "minbase.service", "Idle"),
			eu(5, 4, portable, "minbase.timer", "Idle"),
			eu(6, 99, felix, "of-nothing", "Idle"),
		},
	}
	t.DeploymentUnits[1].Resolved = false
	t.DeploymentUnits[3].Missing = true
	t.ExecutionUnits[0].AutoStart = true
	t.ExecutionUnits[1].FaultCode = "DependencyFailure"
	t.ExecutionUnits[1].FaultMessage = "Unable to resolve org.example.broken [2](R 2.0):\n missing requirement osgi.wiring.package; (osgi.wiring.package=org.example.absent)\x1b[31m"
	return t
}

func TestTreeGolden(t *testing.T) {
	for name, a := range map[string]*app{
		"pipe":  {boxes: true},
		"wide":  {boxes: true, width: 132},
		"80":    {boxes: true, width: 80},
		"40":    {boxes: true, width: 40},
		"ascii": {width: 100},
		"color": {boxes: true, width: 132, color: true},
	} {
		t.Run(name, func(t *testing.T) {
			got := a.drawTree(sample())
			golden(t, "tree-"+name, got)
			if strings.Contains(got, "\x1b[") != a.color {
				t.Errorf("escape sequences are there: %v, want %v", !a.color, a.color)
			}
			if a.width >= 80 && !a.color {
				for line := range strings.Lines(got) {
					if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > a.width && !strings.Contains(line, "much-longer") {
						t.Errorf("%d columns are more than %d: %s", n, a.width, line)
					}
				}
			}
		})
	}
}

func TestTreeOfNothing(t *testing.T) {
	if got := (&app{}).drawTree(&client.Tree{}); got != "No execution environments are configured.\n" {
		t.Errorf("got %q", got)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		in    string
		width int
		want  []string
	}{
		{"", 10, []string{""}},
		{"one two", 10, []string{"one two"}},
		{"one two three", 7, []string{"one two", "three"}},
		{"a longwordthatiscut b", 8, []string{"a", "longword", "thatiscu", "t b"}},
		{"ä ö ü", 3, []string{"ä ö", "ü"}},
	} {
		if diff := cmp.Diff(tt.want, wrap(tt.in, tt.width)); diff != "" {
			t.Errorf("wrap(%q, %d):\n%s", tt.in, tt.width, diff)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain äöü – 漢":  "plain äöü – 漢",
		"two\nlines":     "two lines",
		"\x1b]0;title\a": `\x1b]0;title\a`,
		"a\u202eb":       `a\u202eb`,
		"bad\xffbyte":    `bad\ufffdbyte`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func sorted(list []string) []string {
	slices.Sort(list)
	return list
}

func FuzzTree(f *testing.F) {
	f.Add("name", "message", 80)
	f.Add("\x1b[31m\xff\u202e", "a\nb\tc", 7)
	f.Add("", strings.Repeat("w", 300), 1)
	f.Fuzz(func(t *testing.T, name, message string, width int) {
		tree := sample()
		tree.DeploymentUnits[0].Name, tree.ExecutionUnits[0].Name = name, name
		tree.ExecutionUnits[0].FaultCode, tree.ExecutionUnits[0].FaultMessage = "FailureOnStart", message
		tree.ExecEnvs[1].StatusDetail = message
		got := (&app{width: max(width, 0) % 400, boxes: true}).drawTree(tree)
		for _, r := range got {
			if r != '\n' && (r < ' ' || r == utf8.RuneError || r == 0x7f || r == 0x202e) {
				t.Fatalf("%q has %q", got, r)
			}
		}
	})
}

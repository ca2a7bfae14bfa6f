package osgi

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestSettings(t *testing.T) {
	got, err := parseSettings("home", []byte(`{"framework":"/f.jar","class_path":["/a.jar"],"host_jar":"/h.jar","java":"/bin/java",
		"jvm_options":["-Xmx8m"],"memory":"64MiB","properties":{"a.b":"c"},"name":"configured",
		"start_timeout":"1s","call_timeout":"2s","stop_timeout":"3s"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := settings{framework: "/f.jar", classPath: []string{"/a.jar"}, hostJar: "/h.jar", java: "/bin/java", jvmOptions: []string{"-Xmx8m"},
		memory: 65536, properties: map[string]string{"a.b": "c"}, startTimeout: time.Second, callTimeout: 2 * time.Second, stopTimeout: 3 * time.Second}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Error(diff)
	}

	got, err = parseSettings("home", []byte(`{"framework":"/f.jar"}`))
	if err != nil {
		t.Fatal(err)
	}
	want = defaultSettings()
	want.framework = "/f.jar"
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{})); diff != "" {
		t.Error(diff)
	}
}

// TestAgentTomlShowsTheSettings compares the table that the shipped configuration shows, commented out, with the settings that there are.
func TestAgentTomlShowsTheSettings(t *testing.T) {
	file, err := os.ReadFile("../../agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(file), "\n#[exec_env.osgi]\n")
	if !found {
		t.Fatal("agent.toml has no table exec_env.osgi")
	}
	setting := regexp.MustCompile(`^#[a-z_]+ = `)
	// A setting without a default is told of in a sentence that begins with it.
	noDefault := regexp.MustCompile(`^# ([a-z_]+), such as "([^"]*)",.* no default\.$`)
	shown := map[string]bool{}
	text := ""
	for line := range strings.Lines(section) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#[") {
			break
		}
		if m := noDefault.FindStringSubmatch(line); m != nil {
			shown[m[1]] = true
			with := `"framework":"/f"`
			if m[1] == "socket" {
				with = `"attach":true`
			}
			if _, err := parseSettings("home", fmt.Appendf(nil, `{%s,"%s":%q}`, with, m[1], m[2])); err != nil {
				t.Errorf("the example of %s: %v", m[1], err)
			}
		}
		if setting.MatchString(line) {
			text += line[1:] + "\n"
		}
	}
	var table map[string]any
	if _, err := toml.Decode(text, &table); err != nil {
		t.Fatal(err)
	}
	for key := range table {
		shown[key] = true
	}
	known := slices.Sorted(maps.Keys(new(settings).readers()))
	if diff := cmp.Diff(known, slices.Sorted(maps.Keys(shown))); diff != "" {
		t.Errorf("settings that there are (-) and that agent.toml shows (+):\n%s", diff)
	}
	raw, err := json.Marshal(table)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseSettings("home", raw)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultSettings()
	want.framework = got.framework // which has none
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(settings{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("defaults (-) and what agent.toml shows (+):\n%s", diff)
	}
}

func TestSettingsRefused(t *testing.T) {
	for key, table := range map[string]string{
		"framework":     `{}`,
		"frame_work":    `{"framework":"/f","frame_work":"/f"}`,
		"host_jar":      `{"framework":"/f","host_jar":"h.jar"}`,
		"class_path":    `{"framework":"/f","class_path":["/a:/b"]}`,
		"java":          `{"framework":"/f","java":"bin/java"}`,
		"jvm_options":   `{"framework":"/f","jvm_options":"-Xmx8m"}`,
		"memory":        `{"framework":"/f","memory":64}`,
		"properties":    `{"framework":"/f","properties":{"a":{"b":"c"}}}`,
		"name":          `{"framework":"/f","name":"x"}`,
		"start_timeout": `{"framework":"/f","start_timeout":"0s"}`,
		"call_timeout":  `{"framework":"/f","call_timeout":"never"}`,
		"stop_timeout":  `{"framework":"/f","stop_timeout":null}`,
		"attach":        `{"attach":"yes"}`,
		"socket":        `{"framework":"/f","socket":"/s"}`,
	} {
		err := New(quietLog()).Configure(t.Context(), []adapter.EnvConfig{{ID: "home", DataDir: t.TempDir(), Settings: []byte(table)}})
		if adapter.ReasonOf(err) != adapter.InvalidArgument || !strings.Contains(err.Error(), `"home"`) || !strings.Contains(err.Error(), "osgi."+key+":") {
			t.Errorf("%s: error %v", key, err)
		}
	}
	for _, size := range []string{"", "64", "64MB", "-1MiB", "0MiB", "9999999999GiB", "99999999999999999999KiB", "1.5MiB"} {
		if _, err := parseSettings("home", []byte(`{"framework":"/f","memory":"`+size+`"}`)); err == nil {
			t.Errorf("memory %q: no error", size)
		}
	}
}

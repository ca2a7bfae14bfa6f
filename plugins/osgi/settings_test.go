package osgi

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

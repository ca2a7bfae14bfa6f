package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestEmptyFileIsDefault(t *testing.T) {
	c, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Errorf("an empty file is not the default (-want +got):\n%s", diff)
	}
}

// full sets every key to something else than its default.
const full = `
[agent]
state_dir = "/data/smmd/"
runtime_dir = "/tmp/smmd"
log_level = "debug"
log_format = "journal"
protected_envs = ["home", "inner"]
[bus]
address = "unix:path=/run/bus;tcp:host=localhost,port=1"
[data_model]
uuid_version = 3
version = "2.15"
faces = ["usp"]
[operations]
run_deadline = "10m"
total_deadline = "1h30m"
call_deadline = "5s"
max_open = 4
parallel = 3
keep_finished = "2h"
[packages]
schemes = ["https"]
max_size = "1GiB"
quota = "2TiB"
reserve = "0B"
ca_file = "/etc/ca.pem"
idle_timeout = "7s"
[[adapter]]
name = "docker"
command = "/opt/docker-adapter"
args = ["--verbose", ""]
sha256 = "ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef0123456789"
auto_mtls = false
[[exec_env]]
name = "home"
adapter = "osgi"
[exec_env.osgi]
framework = "felix.jar"
properties = { "a.b" = 1, list = [true, "x"] }
[[exec_env]]
name = "inner"
adapter = "docker"
enable = false
initial_run_level = 65535
auto_start = false
parent = "home"
`

func TestEveryKey(t *testing.T) {
	c, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Agent: Agent{StateDir: "/data/smmd", RuntimeDir: "/tmp/smmd", LogLevel: "debug", LogFormat: "journal",
			ProtectedEnvs: []string{"home", "inner"}},
		Bus:       Bus{Address: "unix:path=/run/bus;tcp:host=localhost,port=1"},
		DataModel: DataModel{UUIDVersion: 3, Version: "2.15", Faces: []string{"usp"}},
		Operations: Operations{RunDeadline: 10 * time.Minute, TotalDeadline: 90 * time.Minute, CallDeadline: 5 * time.Second,
			MaxOpen: 4, Parallel: 3, KeepFinished: 2 * time.Hour},
		Packages: Packages{Schemes: []string{"https"}, MaxSize: 1 << 30, Quota: 2 << 40, Reserve: 0, CAFile: "/etc/ca.pem",
			Idle: 7 * time.Second},
		Adapters: []Adapter{{Name: "docker", Command: "/opt/docker-adapter", Args: []string{"--verbose", ""},
			SHA256: "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"}},
		ExecEnvs: []ExecEnv{
			{Name: "home", Adapter: "osgi", Enable: true, InitialRunLevel: 1, AutoStart: true,
				Settings: []byte(`{"framework":"felix.jar","properties":{"a.b":1,"list":[true,"x"]}}`)},
			{Name: "inner", Adapter: "docker", InitialRunLevel: 65535, Parent: "home", Settings: []byte("{}")},
		},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProblems(t *testing.T) {
	const env = "[[exec_env]]\nname = \"a\"\nadapter = \"osgi\"\n"
	const vendor = "[[adapter]]\nname = \"v\"\ncommand = \"/v\"\n"
	for _, tc := range []struct{ name, file, want string }{
		{"syntax", "[agent]\nstate_dir = ", `line 2: unexpected EOF; expected value`},
		{"duplicate key", "[bus]\naddress = \"system\"\naddress = \"system\"", `line 3: Key 'bus.address' has already been defined.`},
		{"unknown table", "[agnt]", `agnt: unknown key`},
		{"unknown root key", "x = 1", `x: unknown key`},
		{"unknown key", "[agent]\nstatedir = \"/x\"", `agent.statedir: unknown key`},
		{"unknown key with a dot", "[agent]\n\"state.dir\" = \"/x\"", `agent."state.dir": unknown key`},
		{"key of another case", "[agent]\nState_dir = \"/x\"", `agent.State_dir: unknown key`},
		{"unknown key of an environment", env + env[:13] + "name = \"b\"\nadapter = \"osgi\"\nx = 1", `exec_env[1].x: unknown key`},
		{"sub-table of another adapter", vendor + env + "[exec_env.v]\nx = 1", `exec_env[0].v: unknown key`},
		{"unknown key of an adapter", vendor + "sha265 = \"\"", `adapter[0].sha265: unknown key`},
		{"several", "[agent]\nx = 1\n[bus]\ny = 1", `agent.x: unknown key; bus.y: unknown key`},

		{"table that is a value", "agent = 1", `agent: the integer 1 is not a table`},
		{"table that is an array", "[[agent]]", `agent: an array is not a table`},
		{"array that is a table", "[exec_env]", `exec_env: a table is not an array of tables: write [[exec_env]]`},
		{"array of something else", "exec_env = [1]", `exec_env[0]: the integer 1 is not a table; exec_env[0].name: is missing; exec_env[0].adapter: is missing`},
		{"string", "[agent]\nstate_dir = 1.5", `agent.state_dir: the number 1.5 is not a string`},
		{"strings", "[packages]\nschemes = \"http\"", `packages.schemes: the string "http" is not an array of strings`},
		{"string in strings", "[packages]\nschemes = [true]", `packages.schemes[0]: the value true is not a string`},
		{"boolean", env + "enable = \"yes\"", `exec_env[0].enable: the string "yes" is not true or false`},
		{"integer", "[operations]\nmax_open = 1.0", `operations.max_open: the number 1 is not an integer`},
		{"date", "[operations]\nmax_open = 2020-01-01", `operations.max_open: a date is not an integer`},
		{"settings", env + "osgi = 1", `exec_env[0].osgi: the integer 1 is not a table`},
		{"settings without JSON", env + "[exec_env.osgi]\nx = nan", `exec_env[0].osgi: json: unsupported value: NaN`},

		{"relative state_dir", "[agent]\nstate_dir = \"run\"", `agent.state_dir: "run" is not an absolute path`},
		{"relative runtime_dir", "[agent]\nruntime_dir = \"\"", `agent.runtime_dir: "" is not an absolute path`},
		{"path with NUL", "[agent]\nstate_dir = \"/a\\u0000\"", `agent.state_dir: "/a\x00" is no path`},
		{"log_level", "[agent]\nlog_level = \"INFO\"", `agent.log_level: "INFO" is not one of debug, info, warn, error`},
		{"log_format", "[agent]\nlog_format = \"xml\"", `agent.log_format: "xml" is not one of text, json, journal`},
		{"protected_envs", "[agent]\nprotected_envs = [\"x\"]", `agent.protected_envs[0]: "x" is no exec_env`},
		{"protected twice", "[agent]\nprotected_envs = [\"a\", \"a\"]\n" + env, `agent.protected_envs[1]: "a" is there twice`},
		{"bus", "[bus]\naddress = \"sytem\"", `bus.address: "sytem" is not system, session, private or a D-Bus address like "unix:path=/run/bus"`},
		{"uuid_version", "[data_model]\nuuid_version = 4", `data_model.uuid_version: 4 is not 3 or 5`},
		{"version", "[data_model]\nversion = \"2.16\"", `data_model.version: "2.16" is not one of 2.19, 2.15`},
		{"face", "[data_model]\nfaces = [\"cwmp\", \"tr069\"]", `data_model.faces[1]: "tr069" is not one of cwmp, usp`},
		{"face twice", "[data_model]\nfaces = [\"usp\", \"usp\"]", `data_model.faces[1]: "usp" is there twice`},
		{"duration", "[operations]\nrun_deadline = \"1 hour\"", `operations.run_deadline: "1 hour" is not a duration like "90s" or "1h30m"`},
		{"duration without unit", "[operations]\ncall_deadline = 10", `operations.call_deadline: the integer 10 is not a string`},
		{"zero duration", "[operations]\ntotal_deadline = \"0s\"", `operations.total_deadline: 0s is less than 1s`},
		{"keep_finished", "[operations]\nkeep_finished = \"59m\"", `operations.keep_finished: 59m0s is less than 1h0m0s`},
		{"max_open", "[operations]\nmax_open = 0", `operations.max_open: 0 is not in 1..4096`},
		{"size", "[packages]\nmax_size = \"64MB\"", `packages.max_size: "64MB" is not a size like "512KiB" or "64MiB"`},
		{"negative size", "[packages]\nquota = \"-1B\"", `packages.quota: "-1B" is not a size like "512KiB" or "64MiB"`},
		{"zero size", "[packages]\nquota = \"0KiB\"", `packages.quota: 0KiB is less than 1B`},
		{"overflow", "[packages]\nreserve = \"8388608TiB\"", `packages.reserve: "8388608TiB" is not a size like "512KiB" or "64MiB"`},
		{"scheme", "[packages]\nschemes = [\"http\", \"ftp\"]", `packages.schemes[1]: "ftp" is not one of http, https, file, docker`},
		{"scheme twice", "[packages]\nschemes = [\"http\", \"http\"]", `packages.schemes[1]: "http" is there twice`},
		{"no scheme", "[packages]\nschemes = []", `packages.schemes: is empty: nothing could be fetched`},
		{"ca_file", "[packages]\nca_file = \"ca.pem\"", `packages.ca_file: "ca.pem" is not an absolute path`},

		{"adapter without command", "[[adapter]]\nname = \"v\"", `adapter[0].command: is missing`},
		{"relative command", "[[adapter]]\nname = \"v\"\ncommand = \"v\"", `adapter[0].command: "v" is not an absolute path`},
		{"adapter twice", vendor + vendor, `adapter[1].name: "v" is there twice`},
		{"adapter named as a kind", strings.Replace(vendor, `"v"`, `"osgi"`, 1), `adapter[0].name: "osgi" is built in`},
		{"adapter named as a key", strings.Replace(vendor, `"v"`, `"parent"`, 1), `adapter[0].name: "parent" is a key of exec_env`},
		{"sha256", vendor + "sha256 = \"00\"", `adapter[0].sha256: "00" is not a SHA-256 digest of 64 hexadecimal digits`},

		{"environment without name", "[[exec_env]]\nadapter = \"osgi\"", `exec_env[0].name: is missing`},
		{"empty name", strings.Replace(env, `"a"`, `""`, 1), `exec_env[0].name: "" is not 1 to 24 of the characters a-z, 0-9 and -`},
		{"upper case", strings.Replace(env, `"a"`, `"A"`, 1), `exec_env[0].name: "A" is not 1 to 24 of the characters a-z, 0-9 and -`},
		{"newline", strings.Replace(env, `"a"`, `"a\n"`, 1), `exec_env[0].name: "a\n" is not 1 to 24 of the characters a-z, 0-9 and -`},
		{"long name", strings.Replace(env, `"a"`, `"`+strings.Repeat("a", 25)+`"`, 1),
			`exec_env[0].name: "aaaaaaaaaaaaaaaaaaaaaaaaa" is not 1 to 24 of the characters a-z, 0-9 and -`},
		{"environment twice", env + env, `exec_env[1].name: "a" is there twice`},
		{"unknown adapter", vendor + "[[exec_env]]\nname = \"a\"\nadapter = \"lcx\"\n[exec_env.lcx]", `exec_env[0].adapter: "lcx" is no adapter: there are osgi, systemd, lxc, v`},
		{"run level", env + "initial_run_level = 70000", `exec_env[0].initial_run_level: 70000 is not in 0..65535`},
		{"negative run level", env + "initial_run_level = -1", `exec_env[0].initial_run_level: -1 is not in 0..65535`},
		{"unknown parent", env + "parent = \"b\"", `exec_env[0].parent: "b" is no exec_env`},
		{"own parent", env + "parent = \"a\"", `exec_env[0].parent: "a" is nested in itself`},
		{"cyclic parents", env + "parent = \"b\"\n" + strings.Replace(env, `"a"`, `"b"`, 1) + "parent = \"a\"\n" +
			strings.Replace(env, `"a"`, `"c"`, 1) + "parent = \"a\"",
			`exec_env[0].parent: "a" is nested in itself; exec_env[1].parent: "b" is nested in itself`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, err := Parse([]byte(tc.file))
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("Parse: %v, want an *Error that says %s", err, tc.want)
			}
			if got := e.Error(); got != tc.want {
				t.Errorf("\n got %s\nwant %s", got, tc.want)
			}
			if !reflect.DeepEqual(c, Config{}) {
				t.Error("a file with a problem gave a configuration all the same")
			}
		})
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.toml")
	if _, err := Load(path); err == nil || err.Error() != "cannot read "+path+": no such file or directory" || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	write := func(content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("[[exec_env]]\nname = \"a\"\nadapter = \"osgi\"\ninitial_run_level = 70000")
	want := "cannot read " + path + ": exec_env[0].initial_run_level: 70000 is not in 0..65535"
	if _, err := Load(path); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	write(full)
	if c, err := Load(path); err != nil || len(c.ExecEnvs) != 2 {
		t.Errorf("Load: %+v, %v", c, err)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0B": 0, "1B": 1, "1KiB": 1024, "64MiB": 64 << 20, "3GiB": 3 << 30, "8388607TiB": 8388607 << 40,
		"": -1, "1": -1, "B": -1, "MiB": -1, "1 MiB": -1, "+1B": -1, "1.5MiB": -1, "1mib": -1, "9223372036854775808B": -1, "1MiBB": -1,
	} {
		got, ok := parseSize(s)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("parseSize(%q) = %d, want %d", s, got, want)
		}
	}
}

// commented matches a commented-out line of TOML, which unlike prose has no blank after the #.
var commented = regexp.MustCompile(`(?m)^#([a-z\[])`)

func shipped(t testing.TB) string {
	data, err := os.ReadFile("../../agent.toml")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestShippedFileIsDefault(t *testing.T) {
	c, err := Parse([]byte(shipped(t)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Default(), c); diff != "" {
		t.Errorf("agent.toml changes a default (-want +got):\n%s", diff)
	}
}

func TestShippedFileShowsEveryKeyWithItsDefault(t *testing.T) {
	text := commented.ReplaceAllString(shipped(t), "$1")
	c, r := parse([]byte(text))
	if len(r.problems) > 0 {
		t.Fatal(&Error{r.problems})
	}
	// The examples set what is required; everything else in them is a default. There is an environment of each kind.
	want := Default()
	adapter := defaultAdapter()
	adapter.Name, adapter.Command = "vendor", "/usr/lib/smmd/adapters/vendor"
	want.Adapters = []Adapter{adapter}
	for i, kind := range Kinds {
		env := defaultExecEnv()
		env.Adapter = kind
		if i < len(c.ExecEnvs) {
			env.Name = c.ExecEnvs[i].Name
			env.Settings = c.ExecEnvs[i].Settings // the adapter's own matter
		}
		want.ExecEnvs = append(want.ExecEnvs, env)
	}
	sameNil := cmp.Transformer("nil", func(s []string) []string { return append([]string{}, s...) })
	if diff := cmp.Diff(want, c, cmp.FilterValues(func(a, b []string) bool { return (a == nil) != (b == nil) }, sameNil)); diff != "" {
		t.Errorf("a default in agent.toml is wrong (-want +got):\n%s", diff)
	}

	// asked has all keys that exist. Each must be in the text, in its table.
	seen, table := map[string]bool{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			table = strings.Trim(line, "[]")
			seen[table] = true
		} else if key, _, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, "#") {
			seen[table+"."+key] = true
		}
	}
	for key := range r.asked {
		if !seen[key] {
			t.Errorf("agent.toml does not show %s", key)
		}
	}
	// And every field of Config is the value of a key: six tables, two arrays of tables, and for one field a sub-table of each kind.
	if got, want := len(r.asked), fields(reflect.TypeFor[Config]())+7+len(Kinds); got != want {
		t.Errorf("there are %d keys and tables, Config has fields for %d", got, want)
	}
}

// fields counts the fields of t that are no structs.
func fields(t reflect.Type) int {
	switch {
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return fields(t.Elem())
	case t.Kind() != reflect.Struct:
		return 1
	}
	n := 0
	for f := range t.Fields() {
		n += fields(f.Type)
	}
	return n
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(commented.ReplaceAllString(shipped(f), "$1")))
	f.Add([]byte("exec_env = [{name='a',adapter='osgi',osgi={x=1979-05-27T00:32:00.999999-07:00,y=inf}}, 1]"))
	f.Add([]byte("[agent]\nstate_dir = \"/\\u0000\"\n[[adapter]]\n[agent.x.y]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || len(e.Problems) == 0 {
				t.Fatalf("Parse: %v, want an *Error", err)
			}
			return
		}
		if !filepath.IsAbs(c.Agent.StateDir) || c.Packages.MaxSize <= 0 || c.Operations.CallDeadline <= 0 || len(c.Packages.Schemes) == 0 {
			t.Fatalf("Parse let %+v pass", c)
		}
		for _, e := range c.ExecEnvs {
			if badName(e.Name) != "" || e.Settings[0] != '{' {
				t.Fatalf("Parse let %+v pass", e)
			}
		}
	})
}

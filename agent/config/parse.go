package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Load reads the file at path. The error names the file; an [Error] in its chain says what is wrong with the content.
func Load(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err // the path is said once
		}
		return Config{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return c, nil
}

// Parse reads the content of a file. What the file does not set is as [Default] has it. The error is an [*Error].
func Parse(data []byte) (Config, error) {
	c, r := parse(data)
	if len(r.problems) > 0 {
		return Config{}, &Error{r.problems}
	}
	return c, nil
}

func parse(data []byte) (Config, *reader) {
	r := &reader{asked: map[string]bool{}}
	c := Default()
	values := map[string]any{}
	if _, err := toml.Decode(string(data), &values); err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			r.problem("", "line %d: %s", pe.Position.Line, pe.Message)
		} else {
			r.problem("", "%v", err)
		}
		return c, r
	}
	root := newTable(r, "", "", values)
	readAgent(root.table("agent"), &c.Agent)
	readBus(root.table("bus"), &c.Bus)
	readDataModel(root.table("data_model"), &c.DataModel)
	readOperations(root.table("operations"), &c.Operations)
	readPackages(root.table("packages"), &c.Packages)
	readData(root.table("data"), &c.Data)
	for _, t := range root.tables("adapter") {
		c.Adapters = append(c.Adapters, readAdapter(t, c.Adapters))
	}
	for _, t := range root.tables("exec_env") {
		c.ExecEnvs = append(c.ExecEnvs, readExecEnv(t, c.Adapters, c.ExecEnvs))
	}
	root.done()
	checkReferences(r, &c)
	return c, r
}

func readAgent(t *table, a *Agent) {
	t.text("state_dir", &a.StateDir, absolute)
	t.text("runtime_dir", &a.RuntimeDir, absolute)
	a.StateDir, a.RuntimeDir = filepath.Clean(a.StateDir), filepath.Clean(a.RuntimeDir)
	t.text("log_level", &a.LogLevel, oneOf("debug", "info", "warn", "error"))
	t.text("log_format", &a.LogFormat, oneOf("text", "json", "journal"))
	t.set("protected_envs", &a.ProtectedEnvs, nil) // the names are checked when all are known
	t.done()
}

func readBus(t *table, b *Bus) {
	t.text("address", &b.Address, busAddress)
	t.done()
}

func readDataModel(t *table, d *DataModel) {
	t.integer("uuid_version", &d.UUIDVersion, 3, 5)
	if d.UUIDVersion == 4 {
		t.problem(t.path("uuid_version"), "4 is not 3 or 5")
	}
	t.text("version", &d.Version, oneOf("2.19", "2.15"))
	t.set("faces", &d.Faces, oneOf("cwmp", "usp"))
	t.done()
}

func readOperations(t *table, o *Operations) {
	t.duration("run_deadline", &o.RunDeadline, time.Second)
	t.duration("total_deadline", &o.TotalDeadline, time.Second)
	t.duration("call_deadline", &o.CallDeadline, time.Second)
	t.integer("max_open", &o.MaxOpen, 1, 4096)
	t.integer("parallel", &o.Parallel, 1, 64)
	t.duration("keep_finished", &o.KeepFinished, time.Hour)
	t.done()
}

func readPackages(t *table, p *Packages) {
	t.set("schemes", &p.Schemes, oneOf("http", "https", "file", "docker"))
	if len(p.Schemes) == 0 {
		t.problem(t.path("schemes"), "is empty: nothing could be fetched")
	}
	t.size("max_size", &p.MaxSize, 1)
	t.size("quota", &p.Quota, 1)
	t.size("reserve", &p.Reserve, 0)
	t.text("ca_file", &p.CAFile, emptyOr(absolute))
	t.duration("idle_timeout", &p.Idle, time.Second)
	t.done()
}

func readData(t *table, d *Data) {
	t.boolean("encrypted", &d.Encrypted)
	t.done()
}

func readAdapter(t *table, before []Adapter) Adapter {
	a := defaultAdapter()
	t.required("name", &a.Name, func(s string) string {
		switch {
		case badName(s) != "":
			return badName(s)
		case slices.Contains(Kinds, s):
			return fmt.Sprintf("%q is built in", s)
		case slices.Contains(execEnvKeys, s):
			return fmt.Sprintf("%q is a key of exec_env", s)
		case slices.ContainsFunc(before, func(b Adapter) bool { return b.Name == s }):
			return fmt.Sprintf("%q is there twice", s)
		}
		return ""
	})
	t.required("command", &a.Command, absolute)
	t.texts("args", &a.Args, nil)
	t.text("sha256", &a.SHA256, emptyOr(func(s string) string {
		if sum, err := hex.DecodeString(s); err != nil || len(sum) != 32 {
			return fmt.Sprintf("%q is not a SHA-256 digest of 64 hexadecimal digits", s)
		}
		return ""
	}))
	a.SHA256 = strings.ToLower(a.SHA256)
	t.boolean("auto_mtls", &a.AutoMTLS)
	t.done()
	return a
}

// execEnvKeys are the keys of exec_env that an adapter cannot be named after, because its sub-table has the adapter's name.
var execEnvKeys = []string{"name", "adapter", "enable", "parent"}

func readExecEnv(t *table, adapters []Adapter, before []ExecEnv) ExecEnv {
	e := defaultExecEnv()
	t.required("name", &e.Name, func(s string) string {
		if wrong := badName(s); wrong != "" {
			return wrong
		}
		if slices.ContainsFunc(before, func(b ExecEnv) bool { return b.Name == s }) {
			return fmt.Sprintf("%q is there twice", s)
		}
		return ""
	})
	t.required("adapter", &e.Adapter, func(s string) string {
		names := slices.Clone(Kinds)
		for _, a := range adapters {
			names = append(names, a.Name)
		}
		if !slices.Contains(names, s) {
			return fmt.Sprintf("%q is no adapter: there are %s", s, strings.Join(names, ", "))
		}
		return ""
	})
	t.boolean("enable", &e.Enable)
	t.integer("initial_run_level", &e.InitialRunLevel, 0, 65535)
	t.boolean("auto_start", &e.AutoStart)
	t.text("parent", &e.Parent, nil) // checked when all names are known
	if e.Adapter != "" {
		e.Settings = t.document(e.Adapter)
		t.done()
	}
	return e
}

// checkReferences checks the names of environments that other keys use.
func checkReferences(r *reader, c *Config) {
	parents := map[string]string{}
	for _, e := range c.ExecEnvs {
		parents[e.Name] = e.Parent
	}
	known := func(name string) bool { _, ok := parents[name]; return ok && name != "" }
	for i, name := range c.Agent.ProtectedEnvs {
		if !known(name) {
			r.problem(fmt.Sprintf("agent.protected_envs[%d]", i), "%q is no exec_env", name)
		}
	}
	for i, e := range c.ExecEnvs {
		key := fmt.Sprintf("exec_env[%d].parent", i)
		if e.Parent != "" && !known(e.Parent) {
			r.problem(key, "%q is no exec_env", e.Parent)
			continue
		}
		// Each environment of a cycle comes back to itself within as many steps as there are environments.
		for up, steps := e.Parent, 0; up != "" && steps <= len(parents); up, steps = parents[up], steps+1 {
			if up == e.Name {
				r.problem(key, "%q is nested in itself", e.Name)
				break
			}
		}
	}
}

var nameRE = regexp.MustCompile(`^[a-z0-9-]{1,24}$`)

func badName(s string) string {
	if !nameRE.MatchString(s) {
		return fmt.Sprintf("%q is not 1 to 24 of the characters a-z, 0-9 and -", s)
	}
	return ""
}

func absolute(s string) string {
	switch {
	case !filepath.IsAbs(s):
		return fmt.Sprintf("%q is not an absolute path", s)
	case strings.ContainsRune(s, 0):
		return fmt.Sprintf("%q is no path", s)
	}
	return ""
}

// emptyOr lets check have a say on strings that are not empty.
func emptyOr(check func(string) string) func(string) string {
	return func(s string) string {
		if s == "" {
			return ""
		}
		return check(s)
	}
}

func oneOf(words ...string) func(string) string {
	return func(s string) string {
		if slices.Contains(words, s) {
			return ""
		}
		return fmt.Sprintf("%q is not one of %s", s, strings.Join(words, ", "))
	}
}

// addressRE is the form of a server address (D-Bus Specification, Server Addresses); whether the bus library knows the
// transport shows when it connects.
var addressRE = regexp.MustCompile(`^[a-z][a-z0-9-]*:([a-z_]+=[^,;=\s]*(,[a-z_]+=[^,;=\s]*)*)?$`)

func busAddress(s string) string {
	if slices.Contains([]string{"system", "session", "private"}, s) {
		return ""
	}
	for address := range strings.SplitSeq(s, ";") {
		if !addressRE.MatchString(address) {
			return fmt.Sprintf("%q is not system, session, private or a D-Bus address like \"unix:path=/run/bus\"", s)
		}
	}
	return ""
}

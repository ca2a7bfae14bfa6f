package osgi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// settings is the sub-table osgi of an environment in agent.toml.
type settings struct {
	attach       bool              // attach: somebody else launches the framework
	socket       string            // socket: absolute path of an attached host's socket, empty: host.sock in DataDir
	framework    string            // framework: absolute path of the framework's jar; required without attach
	classPath    []string          // class_path: absolute paths of further jars for the framework's class path
	hostJar      string            // host_jar: absolute path of the host's jar
	java         string            // java: name in PATH, or absolute path
	jvmOptions   []string          // jvm_options: replaces the default
	memory       int64             // memory: heap limit in KiB, 0: what jvm_options say
	properties   map[string]string // properties: of the framework
	uuidName     bool              // name: "framework-uuid" (true) or "configured"
	startTimeout time.Duration     // start_timeout: from launch until the framework answers
	callTimeout  time.Duration     // call_timeout: after it a call that goes on is answered StillRunning
	stopTimeout  time.Duration     // stop_timeout: for an orderly end of the framework
}

func defaultSettings() settings {
	return settings{
		hostJar:      "/usr/share/smmd/osgi-host.jar",
		java:         "java",
		jvmOptions:   []string{"-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss256k"},
		uuidName:     true,
		startTimeout: time.Minute,
		callTimeout:  10 * time.Second,
		stopTimeout:  30 * time.Second,
	}
}

// parseSettings reads the settings of environment env. Every error is an [adapter.InvalidArgument] that names the
// environment and the key.
func parseSettings(env string, raw []byte) (settings, error) {
	s := defaultSettings()
	bad := func(key string, err error) error {
		return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: osgi.%s: %v", env, key, err)
	}
	var table map[string]json.RawMessage
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &table); err != nil {
			return s, adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: osgi: %v", env, err)
		}
	}
	readers := s.readers()
	keys := make([]string, 0, len(table))
	for key := range table {
		keys = append(keys, key)
	}
	slices.Sort(keys) // the same file gives the same error
	for _, key := range keys {
		reader, ok := readers[key]
		if !ok {
			return s, bad(key, errors.New("there is no such setting"))
		}
		if err := reader(table[key]); err != nil {
			return s, bad(key, err)
		}
	}
	if key, err := s.checkAttach(keys); err != nil {
		return s, bad(key, err)
	}
	return s, nil
}

// readers read the settings that there are, by their keys.
func (s *settings) readers() map[string]func(json.RawMessage) error {
	return map[string]func(json.RawMessage) error{
		"attach":     func(v json.RawMessage) error { return read(v, &s.attach) },
		"socket":     s.path(&s.socket),
		"framework":  s.path(&s.framework),
		"host_jar":   s.path(&s.hostJar),
		"class_path": s.paths(&s.classPath),
		"java": func(v json.RawMessage) error {
			if err := read(v, &s.java); err != nil {
				return err
			}
			if s.java == "" || strings.Contains(s.java, "/") && !filepath.IsAbs(s.java) {
				return fmt.Errorf("%q is neither a name nor an absolute path", s.java)
			}
			return nil
		},
		"jvm_options": func(v json.RawMessage) error { s.jvmOptions = nil; return read(v, &s.jvmOptions) },
		"memory":      s.size(&s.memory),
		"properties":  s.table(&s.properties),
		"name": func(v json.RawMessage) error {
			var name string
			if err := read(v, &name); err != nil {
				return err
			}
			if name != "framework-uuid" && name != "configured" {
				return fmt.Errorf(`%q is neither "framework-uuid" nor "configured"`, name)
			}
			s.uuidName = name == "framework-uuid"
			return nil
		},
		"start_timeout": s.duration(&s.startTimeout),
		"call_timeout":  s.duration(&s.callTimeout),
		"stop_timeout":  s.duration(&s.stopTimeout),
	}
}

// read decodes one value; null, which TOML does not have, is refused.
func read(v json.RawMessage, into any) error {
	if bytes.Equal(bytes.TrimSpace(v), []byte("null")) {
		return errors.New("it has no value")
	}
	err := json.Unmarshal(v, into)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("a %s is not allowed here", wrong.Value)
	}
	return err
}

func checkPath(p string) error {
	// The colon separates the elements of Java's class path and cannot be escaped in it.
	if !filepath.IsAbs(p) || strings.ContainsAny(p, ":\x00") {
		return fmt.Errorf("%q is not an absolute path without colons", p)
	}
	return nil
}

func (*settings) path(into *string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		if err := read(v, into); err != nil {
			return err
		}
		return checkPath(*into)
	}
}

func (*settings) paths(into *[]string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		if err := read(v, into); err != nil {
			return err
		}
		for _, p := range *into {
			if err := checkPath(p); err != nil {
				return err
			}
		}
		return nil
	}
}

func (*settings) duration(into *time.Duration) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		var text string
		if err := read(v, &text); err != nil {
			return err
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < time.Millisecond || d > 24*time.Hour {
			return fmt.Errorf("%q is no duration between 1ms and 24h", text)
		}
		*into = d
		return nil
	}
}

// size reads a size with a binary unit into KiB.
func (*settings) size(into *int64) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		var text string
		if err := read(v, &text); err != nil {
			return err
		}
		for unit, kib := range map[string]int64{"KiB": 1, "MiB": 1 << 10, "GiB": 1 << 20} {
			number, ok := strings.CutSuffix(text, unit)
			if !ok {
				continue
			}
			n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 63)
			if err != nil || n == 0 || n > uint64(math.MaxInt64/1024/kib) {
				break
			}
			*into = int64(n) * kib
			return nil
		}
		return fmt.Errorf(`%q is no size such as "64MiB"`, text)
	}
}

func (*settings) table(into *map[string]string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		var values map[string]json.RawMessage
		if err := read(v, &values); err != nil {
			return err
		}
		table := map[string]string{}
		for key, value := range values {
			var text string
			if err := read(value, &text); err != nil {
				return fmt.Errorf("%s: %w (values are strings, and a key with dots is written in quotation marks)", key, err)
			}
			if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(text, "\x00") {
				return fmt.Errorf("%q is no property", key)
			}
			table[key] = text
		}
		*into = table
		return nil
	}
}

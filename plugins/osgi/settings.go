package osgi

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/table"
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
	readers := s.readers()
	keys, err := table.Read(Kind, env, raw, readers)
	if err != nil {
		return s, err
	}
	if key, err := s.checkAttach(keys); err != nil {
		return s, table.Bad(Kind, env, key, err)
	}
	return s, nil
}

// readers read the settings that there are, by their keys.
func (s *settings) readers() table.Readers {
	return table.Readers{
		"attach":     func(v json.RawMessage) error { return table.Value(v, &s.attach) },
		"socket":     s.path(&s.socket),
		"framework":  s.path(&s.framework),
		"host_jar":   s.path(&s.hostJar),
		"class_path": s.paths(&s.classPath),
		"java": func(v json.RawMessage) error {
			if err := table.Value(v, &s.java); err != nil {
				return err
			}
			if s.java == "" || strings.Contains(s.java, "/") && !filepath.IsAbs(s.java) {
				return fmt.Errorf("%q is neither a name nor an absolute path", s.java)
			}
			return nil
		},
		"jvm_options": func(v json.RawMessage) error { s.jvmOptions = nil; return table.Value(v, &s.jvmOptions) },
		"memory":      s.size(&s.memory),
		"properties":  s.table(&s.properties),
		"name": func(v json.RawMessage) error {
			var name string
			if err := table.Value(v, &name); err != nil {
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

func checkPath(p string) error {
	// The colon separates the elements of Java's class path and cannot be escaped in it.
	if !filepath.IsAbs(p) || strings.ContainsAny(p, ":\x00") {
		return fmt.Errorf("%q is not an absolute path without colons", p)
	}
	return nil
}

func (*settings) path(into *string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		if err := table.Value(v, into); err != nil {
			return err
		}
		return checkPath(*into)
	}
}

func (*settings) paths(into *[]string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		if err := table.Value(v, into); err != nil {
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
	return func(v json.RawMessage) error { return table.Duration(v, into) }
}

func (*settings) size(into *int64) func(json.RawMessage) error {
	return func(v json.RawMessage) error { return table.Size(v, into) }
}

func (*settings) table(into *map[string]string) func(json.RawMessage) error {
	return func(v json.RawMessage) error {
		var values map[string]json.RawMessage
		if err := table.Value(v, &values); err != nil {
			return err
		}
		all := map[string]string{}
		for key, value := range values {
			var text string
			if err := table.Value(value, &text); err != nil {
				return fmt.Errorf("%s: %w (values are strings, and a key with dots is written in quotation marks)", key, err)
			}
			if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(text, "\x00") {
				return fmt.Errorf("%q is no property", key)
			}
			all[key] = text
		}
		*into = all
		return nil
	}
}

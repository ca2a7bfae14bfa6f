package systemd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// settings is the sub-table systemd of an environment in agent.toml.
type settings struct {
	profile     string        // profile: of portable services, the restrictions that their units get
	memory      int64         // memory: limit of all together in KiB, 0: none
	cpu         int           // cpu: limit of all together in percent of one processor, 0: none
	tasks       int           // tasks: limit of all together in processes and threads, 0: none
	units       []string      // units: of the device itself that are shown
	callTimeout time.Duration // call_timeout: after it a start or stop that goes on is answered StillRunning
	stopTimeout time.Duration // stop_timeout: for the end of all units in good order, then they are killed
}

func defaultSettings() settings {
	return settings{profile: "default", callTimeout: 10 * time.Second, stopTimeout: 30 * time.Second}
}

// parseSettings reads the settings of environment env. Every error is an [adapter.InvalidArgument] that names the environment and the key.
func parseSettings(env string, raw []byte) (settings, error) {
	s := defaultSettings()
	bad := func(key string, err error) error {
		return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: systemd.%s: %v", env, key, err)
	}
	var table map[string]json.RawMessage
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &table); err != nil {
			return s, adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: systemd: %v", env, err)
		}
	}
	readers := map[string]func(json.RawMessage) error{
		"profile":      func(v json.RawMessage) error { return readProfile(v, &s.profile) },
		"memory":       func(v json.RawMessage) error { return readSize(v, &s.memory) },
		"cpu":          func(v json.RawMessage) error { return readCPU(v, &s.cpu) },
		"tasks":        func(v json.RawMessage) error { return readTasks(v, &s.tasks) },
		"units":        func(v json.RawMessage) error { return readUnits(v, &s.units) },
		"call_timeout": func(v json.RawMessage) error { return readDuration(v, &s.callTimeout) },
		"stop_timeout": func(v json.RawMessage) error { return readDuration(v, &s.stopTimeout) },
	}
	for _, key := range slices.Sorted(maps.Keys(table)) { // the same file gives the same error
		reader, ok := readers[key]
		if !ok {
			return s, bad(key, errors.New("there is no such setting"))
		}
		if err := reader(table[key]); err != nil {
			return s, bad(key, err)
		}
	}
	return s, nil
}

// readValue decodes one value; null, which TOML does not have, is refused.
func readValue(v json.RawMessage, into any) error {
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

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func readProfile(v json.RawMessage, into *string) error {
	if err := readValue(v, into); err != nil {
		return err
	}
	if !profileName.MatchString(*into) {
		return fmt.Errorf("%q is not the name of a profile", *into)
	}
	return nil
}

// readSize reads a size with a binary unit into KiB.
func readSize(v json.RawMessage, into *int64) error {
	var text string
	if err := readValue(v, &text); err != nil {
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

// readCPU reads a share of one processor.
func readCPU(v json.RawMessage, into *int) error {
	var text string
	if err := readValue(v, &text); err != nil {
		return err
	}
	number, ok := strings.CutSuffix(text, "%")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if !ok || err != nil || n < 1 || n > 100_000 {
		return fmt.Errorf(`%q is no share of a processor such as "50%%"`, text)
	}
	*into = n
	return nil
}

func readTasks(v json.RawMessage, into *int) error {
	if err := readValue(v, into); err != nil {
		return err
	}
	if *into < 1 || *into > 1<<22 { // the kernel's own limit of process ids
		return fmt.Errorf("%d is not between 1 and %d", *into, 1<<22)
	}
	return nil
}

func readUnits(v json.RawMessage, into *[]string) error {
	*into = nil
	if err := readValue(v, into); err != nil {
		return err
	}
	for i, u := range *into {
		if !startable(u) {
			return fmt.Errorf("%q is not the name of a service, socket, timer, path or target that can be started", u)
		}
		if slices.Contains((*into)[:i], u) {
			return fmt.Errorf("%q is there twice", u)
		}
	}
	return nil
}

func readDuration(v json.RawMessage, into *time.Duration) error {
	var text string
	if err := readValue(v, &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond || d > 24*time.Hour {
		return fmt.Errorf("%q is no duration between 1ms and 24h", text)
	}
	*into = d
	return nil
}

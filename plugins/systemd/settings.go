package systemd

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/table"
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
	readers := table.Readers{
		"profile":      func(v json.RawMessage) error { return readProfile(v, &s.profile) },
		"memory":       func(v json.RawMessage) error { return table.Size(v, &s.memory) },
		"cpu":          func(v json.RawMessage) error { return readCPU(v, &s.cpu) },
		"tasks":        func(v json.RawMessage) error { return readTasks(v, &s.tasks) },
		"units":        func(v json.RawMessage) error { return readUnits(v, &s.units) },
		"call_timeout": func(v json.RawMessage) error { return table.Duration(v, &s.callTimeout) },
		"stop_timeout": func(v json.RawMessage) error { return table.Duration(v, &s.stopTimeout) },
	}
	_, err := table.Read(Kind, env, raw, readers)
	return s, err
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func readProfile(v json.RawMessage, into *string) error {
	if err := table.Value(v, into); err != nil {
		return err
	}
	if !profileName.MatchString(*into) {
		return fmt.Errorf("%q is not the name of a profile", *into)
	}
	return nil
}

// readCPU reads a share of one processor.
func readCPU(v json.RawMessage, into *int) error {
	var text string
	if err := table.Value(v, &text); err != nil {
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
	if err := table.Value(v, into); err != nil {
		return err
	}
	if *into < 1 || *into > 1<<22 { // the kernel's own limit of process ids
		return fmt.Errorf("%d is not between 1 and %d", *into, 1<<22)
	}
	return nil
}

func readUnits(v json.RawMessage, into *[]string) error {
	*into = nil
	if err := table.Value(v, into); err != nil {
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

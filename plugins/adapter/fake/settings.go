package fake

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// settings are the adapter's own table of an environment: name (what Env.Name shows), disk_kib and memory_kib (its sizes, 0 is
// unlimited), cpu_percent (its share of the processors, likewise) and time_limit (a Go duration after which a start or stop that hangs is answered with StillRunning, 0 waits for
// the context).
type settings struct {
	Name      string
	DiskKiB   int64
	MemoryKiB int64
	CPU       int64
	TimeLimit time.Duration
}

func parseSettings(env string, data []byte) (settings, error) {
	var s settings
	if len(bytes.TrimSpace(data)) == 0 {
		return s, nil
	}
	var table map[string]json.RawMessage
	if err := json.Unmarshal(data, &table); err != nil {
		return s, adapter.Errorf(adapter.InvalidArgument, "cannot read the settings of environment %q: %v", env, err)
	}
	for _, key := range slices.Sorted(maps.Keys(table)) {
		if err := s.set(key, table[key]); err != nil {
			return s, adapter.Errorf(adapter.InvalidArgument, "cannot use setting %q of environment %q: %v", key, env, err)
		}
	}
	return s, nil
}

func (s *settings) set(key string, value json.RawMessage) error {
	switch key {
	case "name":
		return json.Unmarshal(value, &s.Name)
	case "disk_kib":
		return size(value, &s.DiskKiB)
	case "memory_kib":
		return size(value, &s.MemoryKiB)
	case "cpu_percent":
		return size(value, &s.CPU)
	case "time_limit":
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return err
		}
		d, err := time.ParseDuration(text)
		s.TimeLimit = d
		return err
	}
	return fmt.Errorf("there is no such setting")
}

func size(value json.RawMessage, to *int64) error {
	if err := json.Unmarshal(value, to); err != nil {
		return err
	}
	if *to < 0 {
		return fmt.Errorf("%d is negative", *to)
	}
	return nil
}

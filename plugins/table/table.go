// Package table reads the table of agent.toml that an adapter is given for an environment, as a JSON object ([adapter.EnvConfig]): each key by a
// reader of its own, and what has no reader is an error.
package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Readers read the settings that there are, by their keys.
type Readers map[string]func(json.RawMessage) error

// Bad is the error of a setting of an environment: an [adapter.InvalidArgument] that names environment and key.
func Bad(kind, env, key string, err error) error {
	return adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: %s.%s: %v", env, kind, key, err)
}

// Read reads the table raw, and returns its keys in order. Its errors are those of [Bad].
func Read(kind, env string, raw []byte, readers Readers) ([]string, error) {
	var table map[string]json.RawMessage
	if len(bytes.TrimSpace(raw)) > 0 {
		if err := json.Unmarshal(raw, &table); err != nil {
			return nil, adapter.Errorf(adapter.InvalidArgument, "cannot configure environment %q: %s: %v", env, kind, err)
		}
	}
	keys := slices.Sorted(maps.Keys(table)) // the same file gives the same error
	for _, key := range keys {
		reader, ok := readers[key]
		if !ok {
			return nil, Bad(kind, env, key, errors.New("there is no such setting"))
		}
		if err := reader(table[key]); err != nil {
			return nil, Bad(kind, env, key, err)
		}
	}
	return keys, nil
}

// Value decodes one value; null, which TOML does not have, is refused.
func Value(v json.RawMessage, into any) error {
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

// Duration reads a duration between a millisecond and a day.
func Duration(v json.RawMessage, into *time.Duration) error {
	var text string
	if err := Value(v, &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Millisecond || d > 24*time.Hour {
		return fmt.Errorf("%q is no duration between 1ms and 24h", text)
	}
	*into = d
	return nil
}

// Size reads a size in KiB, MiB or GiB into KiB.
func Size(v json.RawMessage, into *int64) error {
	var text string
	if err := Value(v, &text); err != nil {
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

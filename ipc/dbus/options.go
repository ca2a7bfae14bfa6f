package dbus

import (
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// option takes the value of an option; its error says what is wrong with it and names the option.
type option func(key string, value any) error

// parse gives each option to the function of its key. An unknown key is an error that names it; of several wrong options the
// first in alphabetical order is told.
func parse(given map[string]dbus.Variant, known map[string]option) error {
	keys := make([]string, 0, len(given))
	for k := range given {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		take, ok := known[k]
		if !ok {
			return invalid("cannot take the option %s: it is unknown", quote(k))
		}
		if err := take(k, given[k].Value()); err != nil {
			return err
		}
	}
	return nil
}

// intoString takes a string.
func intoString(p *string) option {
	return func(key string, value any) error {
		s, ok := value.(string)
		if !ok {
			return invalid("cannot take the option %s: it is not a string", key)
		}
		if len(s) > maxText {
			return invalid("cannot take the option %s: it is too long", key)
		}
		*p = s
		return nil
	}
}

// intoBool takes a boolean.
func intoBool(p **bool) option {
	return func(key string, value any) error {
		b, ok := value.(bool)
		if !ok {
			return invalid("cannot take the option %s: it is not a boolean", key)
		}
		*p = &b
		return nil
	}
}

// intoInt64 takes a number of 64 bits.
func intoInt64(p *int64) option {
	return func(key string, value any) error {
		n, ok := value.(int64)
		if !ok {
			return invalid("cannot take the option %s: it is not a number of type x", key)
		}
		*p = n
		return nil
	}
}

// intoBaseline takes the kind of a baseline.
func intoBaseline(p *string) option {
	return func(key string, value any) error {
		var kind string
		if err := intoString(&kind)(key, value); err != nil {
			return err
		}
		if err := checkBaseline(kind); err != nil {
			return refusal(err, ofParameter)
		}
		*p = kind
		return nil
	}
}

// checkBaseline refuses what is no kind of baseline.
func checkBaseline(kind string) error {
	if kind != xml.BaselineCWMP && kind != xml.BaselineUSP {
		return fault.Errorf(fault.InvalidArguments, "cannot find the baseline %s: there are %s and %s", quote(kind), xml.BaselineCWMP, xml.BaselineUSP)
	}
	return nil
}

// intoExecEnv takes an object path or a string that names an environment, and keeps the ID of the environment.
func intoExecEnv(s *model.Snapshot, id *string) option {
	return func(key string, value any) error {
		var name string
		if p, ok := value.(dbus.ObjectPath); ok {
			name = string(p)
		} else if err := intoString(&name)(key, value); err != nil {
			return err
		}
		if name == "" {
			return nil // as a CWMP server leaves the choice to the device
		}
		e := execEnv(s, name)
		if e == nil {
			return refusal(fault.Errorf(fault.UnknownExecEnv, "cannot find the environment %s", quote(name)), ofUnits)
		}
		*id = e.ID
		return nil
	}
}

// execEnv finds an environment by its object path, its data-model path or its configured name.
func execEnv(s *model.Snapshot, name string) *model.ExecEnv {
	if strings.HasPrefix(name, "/") {
		if ref, ok := xml.ParsePath(name); ok && ref.Kind == model.KindExecEnv {
			return s.ExecEnv(ref.Instance)
		}
		return nil
	}
	if number, ok := strings.CutPrefix(strings.TrimPrefix(name, "Device."), "SoftwareModules.ExecEnv."); ok {
		if n, ok := xml.ParseInstance(strings.TrimSuffix(number, ".")); ok {
			return s.ExecEnv(n)
		}
		return nil
	}
	return s.ExecEnvByID(name)
}

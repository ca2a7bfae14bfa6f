package dbus

import (
	"fmt"
	"maps"
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// intoVariables takes a dictionary, in the order of its keys: it has none of its own. An empty one is not nil.
func intoVariables(p *[]model.VariableRequest) option {
	return func(key string, value any) error {
		given, ok := value.(map[string]string)
		if !ok {
			return invalid("cannot take the option %s: it is not a dictionary of strings", key)
		}
		list := make([]model.VariableRequest, 0, len(given))
		for _, k := range slices.Sorted(maps.Keys(given)) {
			if len(k) > maxText || len(given[k]) > maxText {
				return invalid("cannot take the option %s: the variable %s is too long", key, quote(k))
			}
			list = append(list, model.VariableRequest{Key: k, Value: given[k]})
		}
		*p = list
		return nil
	}
}

// intoVolumes takes application data: a list of dictionaries. What is wrong with one of them is told by its number, application_data.2.Name.
func intoVolumes(p *[]model.VolumeRequest) option {
	return func(key string, value any) error {
		given, ok := value.([]map[string]dbus.Variant)
		if !ok {
			return invalid("cannot take the option %s: it is not a list of dictionaries (aa{sv})", key)
		}
		var list []model.VolumeRequest
		for i, fields := range given {
			r, err := volume(fmt.Sprintf("%s.%d.", key, i+1), fields)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		*p = list
		return nil
	}
}

// volume takes one dictionary of application data. prefix begins the names of its keys in errors.
func volume(prefix string, fields map[string]dbus.Variant) (model.VolumeRequest, error) {
	var r model.VolumeRequest
	var retain string
	var encrypted *bool
	given := make(map[string]dbus.Variant, len(fields))
	for k, v := range fields {
		given[prefix+k] = v
	}
	err := parse(given, map[string]option{
		prefix + "Name":       intoString(&r.Name),
		prefix + "Capacity":   intoInt64(&r.Capacity),
		prefix + "Encrypted":  intoBool(&encrypted),
		prefix + "Retain":     intoString(&retain),
		prefix + "AccessPath": intoString(&r.AccessPath),
	})
	r.Retain, r.Encrypted = model.Retain(retain), encrypted != nil && *encrypted
	return r, err
}

// withLimits adds the options that bound what is used. code tells the numbers of a refusal.
func withLimits(r *model.LimitsRequest, code numbers, options map[string]option) map[string]option {
	take := func(set func(int64)) option {
		return func(key string, value any) error {
			n, ok := value.(int32)
			if !ok {
				return invalid("cannot take the option %s: it is not a number of type i", key)
			}
			limit, err := softwaremodules.Limit(key, int(n))
			if err != nil {
				return refusal(err, code)
			}
			set(limit)
			return nil
		}
	}
	options["disk_limit"] = take(func(n int64) { r.Disk = &n })
	options["memory_limit"] = take(func(n int64) { r.Memory = &n })
	options["cpu_limit"] = take(func(n int64) { percent := int(n); r.CPU = &percent })
	return options
}

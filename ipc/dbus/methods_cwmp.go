package dbus

import (
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/mapping/cwmp"
)

// named is one element of a(sb).
type named struct {
	Name     string
	Writable bool
}

// valued is one element of a(sss).
type valued struct{ Name, Type, Value string }

func parameterNames(c *call) ([]any, error) {
	names, err := c.cwmp.GetParameterNames(arg[string](c, 0), arg[bool](c, 1))
	if err != nil {
		return nil, cwmpRefusal(err)
	}
	list := make([]named, len(names))
	for i, n := range names {
		list[i] = named{text(n.Name), n.Writable}
	}
	return []any{list}, nil
}

func parameterValues(c *call) ([]any, error) {
	values, err := c.cwmp.GetParameterValues(once(arg[[]string](c, 0)))
	if err != nil {
		return nil, cwmpRefusal(err)
	}
	return []any{valuedList(values)}, nil
}

// once leaves the first of those names that are the same: then an answer is at most a few times the tree, whatever is asked.
func once(names []string) []string {
	seen := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		again := seen[name]
		seen[name] = true
		return again
	})
}

func valuedList(values []cwmp.ParameterValue) []valued {
	list := make([]valued, len(values))
	for i, v := range values {
		list[i] = valued{text(v.Name), v.Type, text(v.Value)}
	}
	return list
}

func setParameterValues(c *call) ([]any, error) {
	if err := parse(options(c, 1), nil); err != nil {
		return nil, err
	}
	var given []valued
	if err := dbus.Store(c.body[:1], &given); err != nil {
		return nil, invalid("cannot set values: %v", err)
	}
	values := make([]cwmp.ParameterValue, len(given))
	for i, v := range given {
		if len(v.Name) > maxText || len(v.Type) > maxText || len(v.Value) > maxText {
			return nil, invalid("cannot set %s: it is too long", quote(v.Name))
		}
		values[i] = cwmp.ParameterValue{Name: v.Name, Type: v.Type, Value: v.Value}
	}
	done := func(bool) {}
	if c.acs != nil {
		done = c.acs.writing(c.cwmp.Targets(values))
	}
	status, err := c.cwmp.SetParameterValues(c.ctx, values, c.originator())
	done(err == nil)
	if err != nil {
		return nil, cwmpRefusal(err)
	}
	return []any{status}, nil
}

func addObject(c *call) ([]any, error) {
	instance, err := c.cwmp.AddObject(arg[string](c, 0))
	if err != nil {
		return nil, cwmpRefusal(err)
	}
	return []any{instance}, nil
}

func deleteObject(c *call) ([]any, error) {
	if err := c.cwmp.DeleteObject(arg[string](c, 0)); err != nil {
		return nil, cwmpRefusal(err)
	}
	return nil, nil
}

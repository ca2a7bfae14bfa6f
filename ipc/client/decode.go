package client

import (
	"fmt"
	"reflect"
	"sort"
	"time"

	"github.com/godbus/dbus/v5"
)

// decode stores properties in the fields of o that carry their names, and returns the names of those whose value is another
// now, sorted. Properties without a field are ignored, so that a newer agent can have more of them.
func decode(o Object, props map[string]dbus.Variant) ([]string, error) {
	return decodeInto(o, o.Reference().String(), props)
}

// decodeInto is decode for whatever o points to; what names it in errors.
func decodeInto(o any, what string, props map[string]dbus.Variant) ([]string, error) {
	v := reflect.ValueOf(o).Elem()
	t := v.Type()
	var changed []string
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("dbus")
		prop, ok := props[name]
		if name == "" || !ok {
			continue
		}
		before := v.Field(i).Interface()
		if err := store(v.Field(i), prop.Value()); err != nil {
			return nil, fmt.Errorf("cannot read property %s of %s: %w", name, what, err)
		}
		if !reflect.DeepEqual(before, v.Field(i).Interface()) {
			changed = append(changed, name)
		}
	}
	sort.Strings(changed)
	return changed, nil
}

// store puts a D-Bus value into a field. Integers of any width fit where an integer is expected; "/" is no reference; times
// are either text of the data model or microseconds since 1970.
func store(field reflect.Value, value any) error {
	switch dst := field.Addr().Interface().(type) {
	case *time.Time:
		at, ok := asTime(value)
		if !ok {
			return typeError(value, "a time")
		}
		*dst = at
		return nil
	case *dbus.ObjectPath:
		p, ok := asPath(value)
		if !ok {
			return typeError(value, "an object path")
		}
		*dst = p
		return nil
	case *[]dbus.ObjectPath:
		paths, ok := asPaths(value)
		if !ok {
			return typeError(value, "object paths")
		}
		*dst = paths
		return nil
	case *[]Volume:
		volumes, err := asVolumes(value)
		if err != nil {
			return err
		}
		*dst = volumes
		return nil
	}
	src := reflect.ValueOf(value)
	switch k := field.Kind(); {
	case field.CanInt() && src.IsValid() && (src.CanInt() || src.CanUint()):
		if src.CanInt() {
			field.SetInt(src.Int())
		} else {
			field.SetInt(int64(src.Uint()))
		}
	case field.CanUint() && src.IsValid() && src.CanUint():
		field.SetUint(src.Uint())
	case src.IsValid() && (k == reflect.Slice || src.Kind() == k) && src.Type().ConvertibleTo(field.Type()):
		field.Set(src.Convert(field.Type()))
	default:
		return typeError(value, field.Type().String())
	}
	return nil
}

func typeError(value any, want string) error {
	return fmt.Errorf("it is a %T, not %s", value, want)
}

func asTime(value any) (time.Time, bool) {
	switch v := value.(type) {
	case string:
		if v == "" {
			return time.Time{}, true
		}
		at, err := time.Parse(time.RFC3339Nano, v)
		return at, err == nil
	case uint64:
		if v == 0 {
			return time.Time{}, true
		}
		return time.UnixMicro(int64(v)).UTC(), true
	}
	return time.Time{}, false
}

func asPath(value any) (dbus.ObjectPath, bool) {
	var p dbus.ObjectPath
	switch v := value.(type) {
	case dbus.ObjectPath:
		p = v
	case string:
		p = dbus.ObjectPath(v)
	default:
		return "", false
	}
	if p == "/" {
		p = ""
	}
	return p, true
}

func asPaths(value any) ([]dbus.ObjectPath, bool) {
	switch v := value.(type) {
	case []dbus.ObjectPath:
		return v, true
	case []string:
		paths := make([]dbus.ObjectPath, 0, len(v))
		for _, s := range v {
			paths = append(paths, dbus.ObjectPath(s))
		}
		return paths, true
	}
	return nil, false
}

// differences returns the names of the properties that differ between two objects of the same kind, sorted.
func differences(a, b Object) []string {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	var names []string
	for i := range va.NumField() {
		name := va.Type().Field(i).Tag.Get("dbus")
		if name != "" && !reflect.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

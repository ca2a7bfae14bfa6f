package dbus

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
)

func twoEnvs() *model.Snapshot {
	return model.NewSnapshot([]*model.ExecEnv{{ID: "osgi", Instance: 1}, {ID: "lxc", Instance: 22}}, nil, nil, nil)
}

// FuzzExecEnv looks for environments by whatever name a caller gives.
func FuzzExecEnv(f *testing.F) {
	for _, s := range []string{
		"osgi", "", "/", "/org/smmd/Agent1/ExecEnv/22", "Device.SoftwareModules.ExecEnv.1.", "SoftwareModules.ExecEnv.22", "Device.", "Device.Device.SoftwareModules.ExecEnv.1",
		"SoftwareModules.ExecEnv.0", "SoftwareModules.ExecEnv.+1", "/org/smmd/Agent1/Job/1", "\x00",
	} {
		f.Add(s)
	}
	snap := twoEnvs()
	f.Fuzz(func(t *testing.T, name string) {
		e := execEnv(snap, name)
		if e == nil {
			return
		}
		n := map[string]string{"osgi": "1", "lxc": "22"}[e.ID]
		switch strings.TrimSuffix(strings.TrimPrefix(name, "Device."), ".") {
		case e.ID, "/org/smmd/Agent1/ExecEnv/" + n, "SoftwareModules.ExecEnv." + n:
		default:
			t.Errorf("%q is %s", name, e.ID)
		}
	})
}

// only returns the text if it is that word.
func only(text, word string) string {
	if text != word {
		return ""
	}
	return text
}

// FuzzOptions gives options with any key and text: they are taken as they are, or refused with an error that fits the wire and
// repeats little.
func FuzzOptions(f *testing.F) {
	f.Add("uuid", "x", byte(0))
	f.Add("exec_env", "osgi", byte(0))
	f.Add("exec_env", "/org/smmd/Agent1/ExecEnv/1", byte(1))
	f.Add("auto_start", "", byte(2))
	f.Add("baseline", "usp", byte(0))
	f.Add("baseline", "USP", byte(0))
	f.Add("variables", "MODE", byte(6))
	f.Add("memory_limit", "four", byte(7))
	f.Add("cpu_limit", "", byte(7))
	f.Add("application_data", "Name", byte(8))
	f.Add("application_data", "AccessPath", byte(8))
	f.Add("application_data", "Capacity", byte(8))
	f.Add("application_data", "Nothing\xff\x00", byte(8))
	f.Add("application_data", "", byte(9))
	f.Add("application_data", "Capacity", byte(10))
	f.Add("retain_data", "", byte(2))
	f.Add("retain_data", "true", byte(0))
	f.Add("no\xff\x00such", strings.Repeat("x", maxText+1), byte(3))
	snap := twoEnvs()
	f.Fuzz(func(t *testing.T, key, text string, kind byte) {
		value := []any{text, dbus.ObjectPath(text), true, uint32(7), dbus.MakeVariant(text), []string{text}, map[string]string{text: text}, int32(len(text)),
			[]map[string]dbus.Variant{{text: dbus.MakeVariant(text)}}, []map[string]dbus.Variant{}, []map[string]dbus.Variant{{}, {text: dbus.MakeVariant(int64(len(text)))}}}[kind%11]
		var id, uuid, baseline string
		var auto, retain *bool
		var volumes []model.VolumeRequest
		var variables []model.VariableRequest
		var limits model.LimitsRequest
		err := parse(map[string]dbus.Variant{key: dbus.MakeVariant(value)}, withLimits(&limits, ofUnits, map[string]option{
			"uuid": intoString(&uuid), "exec_env": intoExecEnv(snap, &id), "auto_start": intoBool(&auto), "baseline": intoBaseline(&baseline),
			"variables": intoVariables(&variables), "application_data": intoVolumes(&volumes), "retain_data": intoBool(&retain),
		}))
		if err == nil {
			switch key {
			case "application_data":
				want := map[byte][]model.VolumeRequest{
					8: {{Name: only(text, "Name"), Retain: model.Retain(only(text, "Retain")), AccessPath: only(text, "AccessPath")}}, 9: nil,
					10: {{}, {Capacity: int64(len(only(text, "Capacity")))}},
				}[kind%11]
				if !slices.Equal(volumes, want) || kind%11 < 8 {
					t.Errorf("%v is taken as %+v", value, volumes)
				}
				return
			case "retain_data":
				if retain == nil || !*retain || value != true {
					t.Errorf("%v is taken as %v", value, retain)
				}
				return
			case "variables":
				if len(variables) != 1 || variables[0] != (model.VariableRequest{Key: text, Value: text}) {
					t.Errorf("%v is taken as %v", value, variables)
				}
				return
			case "disk_limit", "memory_limit", "cpu_limit":
				if limits == (model.LimitsRequest{}) || len(text) == 0 {
					t.Errorf("%v is taken as %+v", value, limits)
				}
				return
			}
			if key == "baseline" && baseline == text && (text == "cwmp" || text == "usp") {
				return
			}
			if key != "uuid" && key != "exec_env" && key != "auto_start" || key == "uuid" && uuid != text || key == "auto_start" && auto == nil {
				t.Errorf("%q: %v is taken as %q, %q, %v", key, value, uuid, id, auto)
			}
			return
		}
		e, ok := err.(*dbus.Error)
		if !ok {
			t.Fatalf("%q: the error is %T", key, err)
		}
		if m := e.Error(); !utf8.ValidString(m) || strings.Contains(m, "\x00") || len(m) > maxMessage+3 {
			t.Errorf("%q: the message is %q", key, m)
		}
	})
}

func TestMessagesFitTheWire(t *testing.T) {
	for _, s := range []string{"", "plain", "a\x00b", "\xff", strings.Repeat("é", maxMessage), strings.Repeat("\xff", 3*maxMessage)} {
		m := message(s)
		if !utf8.ValidString(m) || strings.Contains(m, "\x00") {
			t.Errorf("%.20q becomes %.20q", s, m)
		}
	}
}

func TestOrigins(t *testing.T) {
	o := newOrigins()
	if got := o.of(t.Context(), ":1.7"); got != "dbus :1.7" {
		t.Errorf("with nobody to ask it is %q", got)
	}
	o.known[":1.7"] = "dbus :1.7 uid=1 pid=2"
	if got := o.of(t.Context(), ":1.7"); got != "dbus :1.7 uid=1 pid=2" {
		t.Errorf("what is known is %q", got)
	}
}

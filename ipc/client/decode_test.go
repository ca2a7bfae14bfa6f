package client

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/xml"
)

// TestContract holds the types of this package against the description of the interfaces.
func TestContract(t *testing.T) {
	if BusName != xml.BusName || Root != xml.Root || errorPrefix != xml.ErrorPrefix || ifaceCWMP != xml.CWMP {
		t.Error("the names of the bus are not those of the contract")
	}
	for _, k := range kinds {
		o := newObject(ObjectPath(k, 7))
		if o == nil || o.Reference().Kind() != k || o.Reference().Instance != 7 {
			t.Fatalf("newObject(%s 7) = %+v", k, o)
		}
		iface := xml.Lookup(k.iface())
		if iface == nil {
			t.Fatalf("%s is not in the contract", k.iface())
		}
		fields := map[string]bool{}
		typ := reflect.TypeOf(o).Elem()
		for i := range typ.NumField() {
			if name := typ.Field(i).Tag.Get("dbus"); name != "" {
				fields[name] = true
			}
		}
		props := map[string]dbus.Variant{}
		for _, p := range iface.Properties {
			if !fields[p.Name] {
				t.Errorf("%s.%s has no field", iface.Name, p.Name)
			}
			delete(fields, p.Name)
			props[p.Name] = example(t, p.Type, p.Name)
		}
		for name := range fields {
			t.Errorf("%s has no property %s", iface.Name, name)
		}
		changed, err := decode(o, props)
		if err != nil {
			t.Errorf("%s: %v", iface.Name, err)
		}
		if len(changed) != len(props) {
			t.Errorf("%s: %d properties differ from those of an empty object, want all %d: %v", iface.Name, len(changed), len(props), changed)
		}
	}
}

// example returns a value of a D-Bus type that is not its zero value.
func example(t *testing.T, signature, name string) dbus.Variant {
	t.Helper()
	at := name == "Installed" || name == "CreationTime" || strings.HasPrefix(name, "Last")
	values := map[string]any{
		"s": "x", "b": true, "i": int32(-1), "u": uint32(1), "t": uint64(1), "d": 0.5, "o": ObjectPath(KindExecEnv, 1),
		"ao": []dbus.ObjectPath{ObjectPath(KindExecEnv, 1)}, "au": []uint32{1}, "a{ss}": map[string]string{"k": "v"},
		"aa{sv}": []map[string]dbus.Variant{{"Number": dbus.MakeVariant(uint32(1))}},
	}
	v, ok := values[signature]
	if !ok {
		t.Fatalf("property %s has the unexpected type %s", name, signature)
	}
	if at {
		v = "2026-05-04T03:02:01Z"
	}
	return dbus.MakeVariant(v)
}

func TestDecode(t *testing.T) {
	j := newObject(ObjectPath(KindJob, 1)).(*Job)
	first, err := decode(j, map[string]dbus.Variant{
		"State":     dbus.MakeVariant("fetching"),
		"Progress":  dbus.MakeVariant(0.25),
		"StartTime": dbus.MakeVariant(uint64(1_000_001)),
		"Objects":   dbus.MakeVariant([]dbus.ObjectPath{}),
		"Newer":     dbus.MakeVariant("ignored"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Progress", "StartTime", "State"}, first); diff != "" {
		t.Errorf("changed:\n%s", diff)
	}
	if want := time.Unix(1, 1000).UTC(); !j.StartTime.Equal(want) {
		t.Errorf("StartTime = %v, want %v", j.StartTime, want)
	}
	again, err := decode(j, map[string]dbus.Variant{"State": dbus.MakeVariant("fetching"), "Progress": dbus.MakeVariant(0.5)})
	if err != nil || !cmp.Equal(again, []string{"Progress"}) {
		t.Errorf("changed = %v, %v; want Progress only", again, err)
	}

	u := newObject(ObjectPath(KindDeploymentUnit, 3)).(*DeploymentUnit)
	if _, err := decode(u, map[string]dbus.Variant{
		"ExecutionEnvRef": dbus.MakeVariant(dbus.ObjectPath("/")),
		"Installed":       dbus.MakeVariant("0001-01-01T00:00:00Z"),
	}); err != nil || u.ExecEnv != "" || !u.Installed.IsZero() {
		t.Errorf("no reference and no time are %q, %v, %v", u.ExecEnv, u.Installed, err)
	}
	for name, v := range map[string]any{"Name": 1.5, "Resolved": "true", "Installed": "yesterday", "ExecutionEnvRef": uint32(1), "ExecutionUnitList": "x"} {
		_, err := decode(u, map[string]dbus.Variant{name: dbus.MakeVariant(v)})
		if err == nil || !strings.Contains(err.Error(), "cannot read property "+name+" of DeploymentUnit.3") {
			t.Errorf("%s = %v: error %v", name, v, err)
		}
	}
}

func TestDecodeApplicationData(t *testing.T) {
	e := newObject(ObjectPath(KindExecEnv, 1)).(*ExecEnv)
	list := func(key string, value any) map[string]dbus.Variant {
		return map[string]dbus.Variant{"ApplicationData": dbus.MakeVariant([]map[string]dbus.Variant{{}, {key: dbus.MakeVariant(value), "Newer": dbus.MakeVariant(true)}})}
	}
	for i, want := range [][]string{{"ApplicationData"}, nil} {
		if changed, err := decode(e, list("Name", "db")); err != nil || !cmp.Equal(changed, want) || !cmp.Equal(e.ApplicationData, []Volume{{}, {Name: "db"}}) {
			t.Errorf("reading it for the %d. time: changed %v, %v: %+v", i+1, changed, err, e.ApplicationData)
		}
	}
	for want, props := range map[string]map[string]dbus.Variant{
		"cannot read property ApplicationData of ExecEnv.1: it is a string, not a list of dictionaries":                            {"ApplicationData": dbus.MakeVariant("db")},
		"cannot read property ApplicationData of ExecEnv.1: cannot read property Capacity of element 2: it is a string, not int64": list("Capacity", "1"),
	} {
		if _, err := decode(e, props); err == nil || err.Error() != want {
			t.Errorf("the error is %v, want %s", err, want)
		}
	}
}

func TestParseRef(t *testing.T) {
	for in, want := range map[string]string{
		"/org/smmd/Agent1/ExecEnv/1":                    "ExecEnv.1",
		"/org/smmd/Agent1/Job/12":                       "job 12",
		"Device.SoftwareModules.DeploymentUnit.3":       "DeploymentUnit.3",
		"Device.SoftwareModules.ExecutionUnit.4.":       "ExecutionUnit.4",
		"Device.SoftwareModules.Job.4":                  "",
		"Device.SoftwareModules.ExecutionUnit.4.Status": "",
		"Device.SoftwareModules.ExecutionUnit.04":       "",
		"Device.SoftwareModules.ExecutionUnit.0":        "",
		"Device.SoftwareModules.ExecutionUnit.-1":       "",
		"Device.SoftwareModules.Elsewhere.1":            "",
		"/org/smmd/Agent1/ExecEnv":                      "",
		"/org/smmd/Agent1":                              "",
		"/org/smmd/Agent1/ExecEnv/4294967296":           "",
		"felix":                                         "",
		"":                                              "",
	} {
		r, ok := ParseRef(in)
		if ok != (want != "") || ok && r.String() != want {
			t.Errorf("ParseRef(%q) = %v, %v; want %q", in, r, ok, want)
		}
		if ok && r.Kind() != KindJob {
			if back, ok := ParseRef(r.Path); !ok || back != r {
				t.Errorf("ParseRef(%q) = %v, want %v", r.Path, back, r)
			}
		}
	}
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"/org/smmd/Agent1/ExecEnv/1", "Device.SoftwareModules.DeploymentUnit.3.", "/org/smmd/Agent1/Job/4294967295", "", "ExecEnv.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := ParseRef(s)
		if !ok {
			return
		}
		if !r.Object.IsValid() || r.Object != ObjectPath(r.Kind(), r.Instance) {
			t.Errorf("ParseRef(%q) = %+v", s, r)
		}
		if s != string(r.Object) && s != r.Path && s != r.Path+"." {
			t.Errorf("ParseRef(%q) is another object: %+v", s, r)
		}
	})
}

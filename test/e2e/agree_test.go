package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/support"
)

// agree waits until everybody says the same of an environment: its own console, the rows on D-Bus and the tree of CWMP. Its storage
// is not waited for, unless something is being done: what is told must be there after a kill.
func agree(t *testing.T, d *support.Device, env string, c *support.Console) {
	t.Helper()
	support.Until(t, "framework and tree agree", func() error {
		tree := d.Tree()
		if err := framework(tree, env, c); err != nil {
			return err
		}
		return faces(t, d)
	})
	tree := d.Tree()
	err := storage(tree, env, d.Stored(env))
	if err != nil && slices.ContainsFunc(tree.Jobs, func(j *client.Job) bool { return !j.Final() }) {
		support.Until(t, "storage and tree agree", func() error { return storage(d.Tree(), env, d.Stored(env)) })
	} else if err != nil {
		t.Error(err)
	}
}

// states are the states of a bundle in the words of the data model.
var states = map[string]string{"Installed": "Idle", "Resolved": "Idle", "Starting": "Starting", "Active": "Active", "Stopping": "Stopping"}

// framework compares what an environment has with the rows: every bundle is a unit and every unit a bundle, with the same state
// and level.
func framework(tree *client.Tree, env string, c *support.Console) error {
	i := slices.IndexFunc(tree.ExecEnvs, func(e *client.ExecEnv) bool { return e.ID == env })
	if i < 0 {
		return fmt.Errorf("there is no environment %s", env)
	}
	row := tree.ExecEnvs[i]
	if level := int64(c.Level()); row.CurrentRunLevel != level || row.Status != "Up" {
		return fmt.Errorf("%s is %s at run level %d, the framework at %d", env, row.Status, row.CurrentRunLevel, level)
	}
	bundles, locations := map[string]support.Bundle{}, map[string]string{}
	for _, b := range c.Bundles() {
		bundles[b.Location], locations[strconv.Itoa(b.ID)] = b, b.Location
	}
	var active []dbus.ObjectPath
	for _, eu := range tree.ExecutionUnits {
		if eu.ExecEnv != row.Object {
			continue
		}
		du := tree.DeploymentUnit(eu.DeploymentUnit)
		if du == nil {
			return fmt.Errorf("%s has no deployment unit", eu)
		}
		location := strings.TrimPrefix(eu.EUID, env+"/") // of a unit that the agent installed
		b, ok := bundles[location]
		if !ok { // one that was found has the location that somebody else gave it
			location = locations[du.DUID]
			b, ok = bundles[location]
		}
		if !ok || strconv.Itoa(b.ID) != du.DUID || du.DUID != eu.Label {
			return fmt.Errorf("%s %s with the id %s, %s is no bundle of the framework", eu, eu.EUID, du.DUID, eu.Label)
		}
		delete(bundles, location)
		if states[b.State] != eu.Status || int64(b.Level) != eu.RunLevel {
			return fmt.Errorf("%s %s is %s at level %d, its bundle is %s at level %d", eu, eu.Name, eu.Status, eu.RunLevel, b.State, b.Level)
		}
		if du.Status != "Installed" || du.Resolved != (b.State != "Installed") {
			return fmt.Errorf("%s %s is %s, resolved=%v, its bundle is %s", du, du.Name, du.Status, du.Resolved, b.State)
		}
		if eu.Status == "Active" {
			active = append(active, eu.Object)
		}
	}
	for _, b := range bundles {
		return fmt.Errorf("bundle %d, %s, is no unit", b.ID, b.Location)
	}
	if !slices.Equal(active, row.ActiveExecutionUnits) {
		return fmt.Errorf("%s says that %v are active, it is %v", env, row.ActiveExecutionUnits, active)
	}
	return nil
}

// storage compares what an environment keeps for its next launch with the rows: version, level and AutoStart of each unit.
func storage(tree *client.Tree, env string, stored []support.StoredBundle) error {
	kept, locations := map[string]support.StoredBundle{}, map[string]string{}
	for _, b := range stored {
		kept[b.Location], locations[strconv.Itoa(b.ID)] = b, b.Location
	}
	for _, eu := range tree.ExecutionUnits {
		location, ours := strings.CutPrefix(eu.EUID, env+"/")
		if !ours {
			continue
		}
		b, ok := kept[location]
		if !ok {
			location = locations[eu.Label]
			b, ok = kept[location]
		}
		if !ok {
			return fmt.Errorf("%s %s is not in the storage", eu, eu.EUID)
		}
		delete(kept, location)
		if b.Version != eu.Version || int64(b.Level) != eu.RunLevel || b.AutoStart != eu.AutoStart {
			return fmt.Errorf("%s %s has version %s, level %d and AutoStart %v, in the storage it is %+v", eu, eu.Name, eu.Version, eu.RunLevel, eu.AutoStart, b)
		}
	}
	for _, b := range kept {
		return fmt.Errorf("the stored bundle %d, %s, is no unit", b.ID, b.Location)
	}
	return nil
}

// onlyCWMP are the parameters that have no property: commands, lists and sizes for which the agent has nothing.
var onlyCWMP = map[string]string{
	"Reset": "false", "RequestedRunLevel": "-1", "RequestedState": "", "ProcessorRefList": "", "VendorLogList": "", "VendorConfigList": "", "References": "",
	"AssociatedProcessList": "", "SupportedDataModelList": "", "AllocatedCPUPercent": "-1", "AvailableCPUPercent": "-1", "CPUPercentInUse": "-1",
	"AllocatedDiskSpace": "-1", "AllocatedMemory": "-1", "CreatedAt": "0001-01-01T00:00:00Z", "ExecEnvClassRef": "", "ApplicationDataList": "",
	"ApplicationDataNumberOfEntries": "0", "HostObjectNumberOfEntries": "0", "EnvVariableNumberOfEntries": "0",
}

// faces compares the tree of CWMP with the properties on D-Bus, value by value.
func faces(t *testing.T, d *support.Device) error {
	t.Helper()
	rows := managed(t, d)
	values, err := d.Client.GetParameterValues(t.Context(), "Device.SoftwareModules.")
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for _, v := range values {
		words := strings.Split(strings.TrimPrefix(v.Path, client.Prefix), ".")
		if len(words) == 1 { // NumberOfEntries
			kind := strings.TrimSuffix(words[0], "NumberOfEntries")
			n := 0
			for path := range rows {
				if strings.HasPrefix(string(path), client.Root+"/"+kind+"/") {
					n++
				}
			}
			if v.Value != strconv.Itoa(n) {
				return fmt.Errorf("%s is %s, there are %d objects", v.Path, v.Value, n)
			}
			continue
		}
		path := dbus.ObjectPath(client.Root + "/" + words[0] + "/" + words[1])
		told[string(path)] = true
		iface := rows[path]["org.smmd."+words[0]+"1"]
		if iface == nil {
			return fmt.Errorf("%s is told in CWMP, %s is no object", v.Path, path)
		}
		if len(words) > 3 {
			continue // AutoRestart. and NetworkConfig., of which D-Bus has no objects
		}
		property, ok := iface[words[2]]
		if !ok {
			if want, known := onlyCWMP[words[2]]; !known || v.Value != want {
				return fmt.Errorf("%s is %q in CWMP and no property", v.Path, v.Value)
			}
			continue
		}
		if got := lexical(property.Value()); got != v.Value && !cut(v.Value, got) {
			return fmt.Errorf("%s is %q in CWMP and %q on D-Bus", v.Path, v.Value, got)
		}
	}
	for path := range rows {
		if !told[string(path)] && !strings.Contains(string(path), "/Job/") {
			return fmt.Errorf("%s is an object and not told in CWMP", path)
		}
	}
	return nil
}

// cut reports whether a text of CWMP is the beginning of that on D-Bus, cut to one of the lengths that the data model allows.
func cut(text, whole string) bool {
	return slices.Contains([]int{32, 64, 128, 256}, utf8.RuneCountInString(text)) && strings.HasPrefix(whole, text)
}

// lexical returns a property in the form that its parameter has in CWMP.
func lexical(v any) string {
	path := func(p dbus.ObjectPath) string {
		r, _ := client.ParseRef(string(p))
		return r.Path
	}
	switch v := v.(type) {
	case dbus.ObjectPath:
		return path(v)
	case []dbus.ObjectPath:
		var refs []string
		for _, p := range v {
			refs = append(refs, path(p))
		}
		return strings.Join(refs, ",")
	}
	return fmt.Sprint(v)
}

type objects map[dbus.ObjectPath]map[string]map[string]dbus.Variant

// managed returns everything on D-Bus, without our client.
func managed(t *testing.T, d *support.Device) objects {
	t.Helper()
	conn := raw(t, d)
	defer func() { _ = conn.Close() }() // nothing is under way
	var all objects
	err := conn.Object(client.BusName, client.Root).CallWithContext(t.Context(), "org.freedesktop.DBus.ObjectManager.GetManagedObjects", 0).Store(&all)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// raw returns a connection to the bus of the device without our client. The caller closes it.
func raw(t *testing.T, d *support.Device) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(d.Bus)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// rows returns every row as it is, without jobs and without what changes by itself.
func rows(t *testing.T, d *support.Device) objects {
	t.Helper()
	all := managed(t, d)
	maps.DeleteFunc(all, func(p dbus.ObjectPath, _ map[string]map[string]dbus.Variant) bool {
		return strings.Contains(string(p), "/Job/")
	})
	for _, ifaces := range all {
		for _, properties := range ifaces {
			for _, name := range []string{"AvailableDiskSpace", "AvailableMemory", "MemoryInUse"} {
				delete(properties, name)
			}
		}
	}
	return all
}

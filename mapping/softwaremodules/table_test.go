package softwaremodules_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

func snapshot() *model.Snapshot {
	installed := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	return model.NewSnapshot(
		[]*model.ExecEnv{
			{
				ID: "linux", Instance: 1, Alias: "cpe-linux", Enable: true, Status: model.EEUp, Name: "linux", Type: "Linux systemd portable",
				Vendor: "systemd", Version: "252", CurrentRunLevel: -1, InitialExecutionUnitRunLevel: -1,
				AllocatedDisk: -1, AvailableDisk: 1 << 40, AllocatedMemory: -1, AvailableMemory: 1024,
			},
			{
				ID: "osgi", Instance: 4, Alias: "home", Parent: "linux", Enable: true, Status: model.EERestarting, Name: "5b7a-framework",
				Type: "OSGi 1.10", Vendor: "Apache", Version: strings.Repeat("9", 40), InitialRunLevel: 10, CurrentRunLevel: 10,
				InitialExecutionUnitRunLevel: 5,
			},
			{ID: "lost", Instance: 5, Parent: "gone", Status: model.EEDisabled},
		},
		[]*model.DeploymentUnit{
			{
				ID: 2, Alias: "cpe-2", Env: "osgi", UUID: "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", Version: "1.0.0", DUID: "17", Name: "sample1",
				Vendor: "broadband-forum.org", URL: "https://h/s.jar", Status: model.DUInstalled, Resolved: true, Installed: installed,
			},
			{ID: 3, Env: "gone", Status: model.DUInstalling},
		},
		[]*model.ExecutionUnit{
			{
				ID: 7, Alias: "cpe-7", DU: 2, Env: "osgi", EUID: "osgi/fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", Name: strings.Repeat("ü", 300), Label: "17",
				Status: model.EURestarting, FaultMessage: "left over", AutoStart: true, RunLevel: 5, Memory: -1, Disk: 12, PIDs: []uint32{1},
				LogPath: "/var/log/x",
			},
			{ID: 8, DU: 2, Env: "osgi", Status: model.EUActive, FaultCode: model.FailureOnStop, FaultMessage: "boom\x00", RunLevel: -3},
			{ID: 9, DU: 2, Env: "osgi", Status: model.EUActive},
			{ID: 10, DU: 3, Env: "linux", Status: model.EUIdle, FaultCode: model.UnStartable},
		}, nil)
}

func values(t *testing.T) map[string]string {
	t.Helper()
	nodes, err := dm.Resolve(softwaremodules.Root, softwaremodules.NewRow(snapshot()), dm.Path{Partial: true}, dm.ForGet)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for n := range nodes[0].All() {
		if n.Parameter == nil {
			continue
		}
		name := strings.TrimPrefix(n.Path, "Device.SoftwareModules.")
		v := n.Parameter.Value(n.Row)
		all[name] = v
		if e := n.Parameter.Enum; e != nil && v != "" && !slices.Contains(e, v) {
			t.Errorf("%s = %q, none of %v", name, v, e)
		}
	}
	return all
}

func TestValues(t *testing.T) {
	const units = "Device.SoftwareModules.ExecutionUnit."
	got := values(t)
	for name, want := range map[string]string{
		"ExecEnvNumberOfEntries": "3", "DeploymentUnitNumberOfEntries": "2", "ExecutionUnitNumberOfEntries": "4",

		"ExecEnv.1.Enable": "true", "ExecEnv.1.Status": "Up", "ExecEnv.1.Reset": "false", "ExecEnv.1.Alias": "cpe-linux", "ExecEnv.1.Name": "linux",
		"ExecEnv.1.Type": "Linux systemd portable", "ExecEnv.1.InitialRunLevel": "0", "ExecEnv.1.RequestedRunLevel": "-1",
		"ExecEnv.1.CurrentRunLevel": "-1", "ExecEnv.1.InitialExecutionUnitRunLevel": "-1", "ExecEnv.1.Vendor": "systemd",
		"ExecEnv.1.Version": "252", "ExecEnv.1.ParentExecEnv": "", "ExecEnv.1.AllocatedDiskSpace": "-1",
		"ExecEnv.1.AllocatedMemory": "-1", "ExecEnv.1.AvailableDiskSpace": "2147483647", "ExecEnv.1.AvailableMemory": "1024",
		"ExecEnv.1.ActiveExecutionUnits": "", "ExecEnv.1.ProcessorRefList": "",

		"ExecEnv.4.Status": "Disabled", "ExecEnv.4.ParentExecEnv": "Device.SoftwareModules.ExecEnv.1", "ExecEnv.4.RequestedRunLevel": "-1",
		"ExecEnv.4.CurrentRunLevel": "10", "ExecEnv.4.ActiveExecutionUnits": units + "8," + units + "9",
		"ExecEnv.4.Version":       strings.Repeat("9", 32),
		"ExecEnv.5.ParentExecEnv": "", // a strong reference to what is gone

		"DeploymentUnit.2.UUID": "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", "DeploymentUnit.2.DUID": "17", "DeploymentUnit.2.Alias": "cpe-2",
		"DeploymentUnit.2.Name": "sample1", "DeploymentUnit.2.Status": "Installed", "DeploymentUnit.2.Resolved": "true",
		"DeploymentUnit.2.URL": "https://h/s.jar", "DeploymentUnit.2.Description": "", "DeploymentUnit.2.Vendor": "broadband-forum.org",
		"DeploymentUnit.2.Version": "1.0.0", "DeploymentUnit.2.VendorLogList": "", "DeploymentUnit.2.VendorConfigList": "",
		"DeploymentUnit.2.ExecutionUnitList": units + "7," + units + "8," + units + "9",
		"DeploymentUnit.2.ExecutionEnvRef":   "Device.SoftwareModules.ExecEnv.4",
		"DeploymentUnit.2.Installed":         "2026-03-01T12:00:00Z", "DeploymentUnit.2.LastUpdate": "0001-01-01T00:00:00Z",
		"DeploymentUnit.3.ExecutionEnvRef": "", "DeploymentUnit.3.Status": "Installing", "DeploymentUnit.3.ExecutionUnitList": units + "10",

		"ExecutionUnit.7.EUID": "osgi/fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", "ExecutionUnit.7.Name": strings.Repeat("ü", 256),
		"ExecutionUnit.7.ExecEnvLabel": "17", "ExecutionUnit.7.Status": "Starting", "ExecutionUnit.7.RequestedState": "",
		"ExecutionUnit.7.ExecutionFaultCode": "NoFault", "ExecutionUnit.7.ExecutionFaultMessage": "", "ExecutionUnit.7.AutoStart": "true",
		"ExecutionUnit.7.RunLevel": "5", "ExecutionUnit.7.DiskSpaceInUse": "12", "ExecutionUnit.7.MemoryInUse": "-1",
		"ExecutionUnit.7.References": "", "ExecutionUnit.7.AssociatedProcessList": "", "ExecutionUnit.7.VendorLogList": "",
		"ExecutionUnit.7.VendorConfigList": "", "ExecutionUnit.7.SupportedDataModelList": "",
		"ExecutionUnit.7.ExecutionEnvRef": "Device.SoftwareModules.ExecEnv.4", "ExecutionUnit.7.Alias": "cpe-7",
		"ExecutionUnit.8.ExecutionFaultCode": "FailureOnStop", "ExecutionUnit.8.ExecutionFaultMessage": "boom\uFFFD", "ExecutionUnit.8.RunLevel": "0",
		"ExecutionUnit.8.Status": "Active", "ExecutionUnit.10.ExecutionFaultCode": "UnStartable",
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s = %q (there: %t), want %q", name, v, there, want)
		}
	}
	if want := 3 + 3*19 + 2*16 + 4*21; len(got) != want {
		t.Errorf("%d parameters, want %d", len(got), want)
	}
}

// TestAttributes holds what is written against the model: each attribute once in each table that has it.
func TestAttributes(t *testing.T) {
	want := map[string][]model.Attribute{
		"ExecEnv":        {model.Enable, model.Reset, model.Alias, model.InitialRunLevel, model.RequestedRunLevel, model.InitialExecutionUnitRunLevel},
		"DeploymentUnit": {model.Alias},
		"ExecutionUnit":  {model.Alias, model.RequestedState, model.AutoStart, model.RunLevel},
	}
	for _, table := range subtree(t).Objects {
		var got []model.Attribute
		for _, p := range table.Parameters {
			if p.Writable() {
				got = append(got, model.Attribute(p.Attribute))
				if p.Attribute != p.Name {
					t.Errorf("writing %s.%s sets %s", table.Name, p.Name, p.Attribute)
				}
			}
		}
		if !slices.Equal(got, want[table.Name]) {
			t.Errorf("%s: %v can be written, want %v", table.Name, got, want[table.Name])
		}
	}
}

func TestWriteRules(t *testing.T) {
	params := map[string]*dm.Parameter[softwaremodules.Row]{}
	for _, table := range subtree(t).Objects {
		for _, p := range table.Parameters {
			params[table.Name+"."+p.Name] = p
		}
	}
	for _, tc := range []struct {
		name, text string
		want       any // nil: refused
	}{
		{"ExecEnv.Alias", "home", "home"},
		{"ExecEnv.Alias", "Über", "Über"},
		{"ExecEnv.Alias", "cpe-1", "cpe-1"},
		{"ExecEnv.Alias", strings.Repeat("a", 64), strings.Repeat("a", 64)},
		{"ExecEnv.Alias", strings.Repeat("a", 65), nil},
		{"DeploymentUnit.Alias", "", nil},
		{"ExecutionUnit.Alias", "1a", nil},
		{"ExecutionUnit.Alias", "_a", nil},
		{"ExecutionUnit.Alias", "a\x07", nil},
		{"ExecEnv.Enable", "1", true},
		{"ExecEnv.Reset", "true", true},
		{"ExecEnv.Reset", "0", false},
		{"ExecEnv.Reset", "", nil},
		{"ExecEnv.InitialRunLevel", "65535", 65535},
		{"ExecEnv.InitialRunLevel", "-1", nil}, // an unsignedInt cannot hold it
		{"ExecEnv.InitialRunLevel", "65536", nil},
		{"ExecEnv.InitialExecutionUnitRunLevel", "-1", -1},
		{"ExecEnv.RequestedRunLevel", "-1", -1},
		{"ExecEnv.RequestedRunLevel", "65536", nil},
		{"ExecutionUnit.RunLevel", "0", 0},
		{"ExecutionUnit.AutoStart", "yes", nil},
		{"ExecutionUnit.RequestedState", "Active", "Active"},
		{"ExecutionUnit.RequestedState", "Stopping", nil},
		{"ExecutionUnit.RequestedState", "", nil},
	} {
		got, err := params[tc.name].Parse(tc.text)
		if got != tc.want || (err == nil) != (tc.want != nil) {
			t.Errorf("%s = %.20q: %v, %v, want %v", tc.name, tc.text, got, err, tc.want)
		}
	}
}

func TestRef(t *testing.T) {
	for path, want := range map[string]model.Ref{
		"Device.SoftwareModules.":                            {},
		"Device.SoftwareModules.ExecEnv.":                    {},
		"Device.SoftwareModules.ExecEnv.4.":                  {Kind: model.KindExecEnv, Instance: 4},
		"Device.SoftwareModules.ExecEnv.[home].":             {Kind: model.KindExecEnv, Instance: 4},
		"Device.SoftwareModules.DeploymentUnit.3.":           {Kind: model.KindDeploymentUnit, Instance: 3},
		"Device.SoftwareModules.ExecutionUnit.7.Extensions.": {Kind: model.KindExecutionUnit, Instance: 7},
	} {
		p, err := dm.ParsePath(path, dm.CWMP)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := dm.Resolve(softwaremodules.Root, softwaremodules.NewRow(snapshot()), p, dm.ForGet)
		if err != nil || len(nodes) != 1 || nodes[0].Row.Ref() != want {
			t.Errorf("%s: %v, %v, want %v", path, nodes, err, want)
		}
	}
	if got := softwaremodules.Path(model.Ref{Kind: model.KindExecEnv, Instance: 4}); got != "Device.SoftwareModules.ExecEnv.4" {
		t.Errorf("Path = %s", got)
	}
}

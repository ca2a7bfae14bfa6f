package softwaremodules_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

const (
	policy = "Device.ManagementServer.DUStateChangeComplPolicy."
	absent = "(absent)"
)

func snapshot() *model.Snapshot {
	installed := time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC)
	d := &model.Draft{Snapshot: *model.NewSnapshot(
		[]*model.ExecEnv{
			{
				ID: "linux", Instance: 1, Alias: "cpe-linux", Enable: true, Status: model.EEUp, Name: "linux", Type: "Linux systemd portable",
				Vendor: "systemd", Version: "252", CurrentRunLevel: -1, InitialExecutionUnitRunLevel: -1,
				AllocatedDisk: -1, AvailableDisk: 1 << 40, AllocatedMemory: -1, AvailableMemory: 1024, AllocatedCPU: 75,
			},
			{
				ID: "osgi", Instance: 4, Alias: "home", Parent: "linux", Enable: true, Status: model.EERestarting, Name: "5b7a-framework",
				Type: "OSGi 1.10", Vendor: "Apache", Version: strings.Repeat("9", 40), InitialRunLevel: 10, CurrentRunLevel: 10,
				InitialExecutionUnitRunLevel: 5, RestartReason: "new settings", RestartCount: 3, LastRestarted: installed,
			},
			{ID: "lost", Instance: 5, Parent: "gone", Status: model.EEDisabled},
		},
		[]*model.DeploymentUnit{
			{
				ID: 2, Alias: "cpe-2", Env: "osgi", UUID: "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", Version: "1.0.0", DUID: "17", Name: "sample1",
				Vendor: "broadband-forum.org", URL: "https://h/s.jar", Status: model.DUInstalled, Resolved: true, Installed: installed,
				ModuleVersion: "blue", Settings: model.UnitSettings{
					Variables: []model.Variable{{Number: 2, Key: "MODE", Value: "test"}, {Number: 5, Key: "EMPTY"}}, LastVariable: 6,
					Limits: model.Limits{Disk: 100, Memory: 1 << 40},
				},
			},
			{ID: 3, Env: "gone", Status: model.DUInstalling},
		},
		[]*model.ExecutionUnit{
			{
				ID: 7, Alias: "cpe-7", DU: 2, Env: "osgi", EUID: "osgi/fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", Name: strings.Repeat("ü", 300), Label: "17", Created: installed,
				Restart: model.AutoRestart{Enable: true, Minimum: 1, Maximum: 2, Multiplier: 3, Retries: 4, Reset: 5, Count: 6, Last: installed, Next: installed},
				Status:  model.EURestarting, FaultMessage: "left over", AutoStart: true, RunLevel: 5, Memory: -1, Disk: 12, PIDs: []uint32{1},
				LogPath: "/var/log/x",
			},
			{ID: 8, DU: 2, Env: "osgi", Status: model.EUActive, FaultCode: model.FailureOnStop, FaultMessage: "boom\x00", RunLevel: -3},
			{ID: 9, DU: 2, Env: "osgi", Status: model.EUActive},
			{ID: 10, DU: 3, Env: "linux", Status: model.EUIdle, FaultCode: model.UnStartable},
		}, nil)}
	const uuid = "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6"
	for _, v := range []model.Volume{
		{ID: 2, Alias: "cpe-2", Env: "osgi", UUID: uuid, Name: "db", Capacity: model.MaxCapacity, Encrypted: true, Retain: model.Forever, AccessPath: "/var/lib/db", Utilization: 7},
		{ID: 4, Alias: "cpe-4", Env: "linux", UUID: uuid, Name: "db", Capacity: 1, Retain: model.UntilStopped, AccessPath: "/data"}, // of no unit that is there
		{ID: 6, Alias: "cache", Env: "osgi", UUID: uuid, Name: "cache", Capacity: 16, Retain: model.UntilStopped, AccessPath: "/cache"},
		{ID: 7, Alias: "cpe-7", Env: "osgi", UUID: "22222222-dd02-51b8-af04-f5c18b2b0aa6", Name: "db", Capacity: 1, Retain: model.Forever, AccessPath: "/data"},
		{ID: 8, Alias: "cpe-8", Env: "gone", Name: "db"},
	} {
		d.PutVolume(&v)
	}
	s := d.Freeze()
	s.Policy = model.Policy{
		Enable: true, Operations: []model.Performed{model.PerformedInstall, model.PerformedUninstall}, Results: "Both", FaultCodes: []uint32{9001, 9032},
	}
	return s
}

func values(t *testing.T, p dm.Protocol, version string) map[string]string {
	t.Helper()
	nodes, err := dm.Resolve(softwaremodules.Tree(p, version), softwaremodules.NewRow(snapshot()), dm.Path{Partial: true}, dm.ForGet)
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
		items := []string{v}
		if n.Parameter.List {
			items = dm.Items(v)
		}
		for _, item := range items {
			if e := n.Parameter.Enum; e != nil && item != "" && !slices.Contains(e, item) {
				t.Errorf("%s = %q: %q is none of %v", name, v, item, e)
			}
		}
	}
	return all
}

func TestValues(t *testing.T) {
	const (
		units  = "Device.SoftwareModules.ExecutionUnit."
		onOSGi = "Device.SoftwareModules.ExecEnv.4.ApplicationData."
	)
	got := values(t, dm.CWMPOnly, softwaremodules.Version)
	for name, want := range map[string]string{
		"ExecEnvClassNumberOfEntries": "0", "ExecEnvNumberOfEntries": "3", "DeploymentUnitNumberOfEntries": "2", "ExecutionUnitNumberOfEntries": "4",

		"ExecEnv.1.Enable": "true", "ExecEnv.1.Status": "Up", "ExecEnv.1.Reset": "false", "ExecEnv.1.Alias": "cpe-linux", "ExecEnv.1.Name": "linux",
		"ExecEnv.1.Type": "Linux systemd portable", "ExecEnv.1.InitialRunLevel": "0", "ExecEnv.1.RequestedRunLevel": "-1",
		"ExecEnv.1.CurrentRunLevel": "-1", "ExecEnv.1.InitialExecutionUnitRunLevel": "-1", "ExecEnv.1.Vendor": "systemd",
		"ExecEnv.1.Version": "252", "ExecEnv.1.ParentExecEnv": "", "ExecEnv.1.AllocatedDiskSpace": "-1",
		"ExecEnv.1.AllocatedMemory": "-1", "ExecEnv.1.AvailableDiskSpace": "2147483647", "ExecEnv.1.AvailableMemory": "1024",
		"ExecEnv.1.ActiveExecutionUnits": "", "ExecEnv.1.ProcessorRefList": "", "ExecEnv.1.AllocatedCPUPercent": "75", "ExecEnv.4.AllocatedCPUPercent": "-1", "ExecEnv.1.AvailableCPUPercent": "-1",
		"ExecEnv.1.CreatedAt": "0001-01-01T00:00:00Z", "ExecEnv.1.ExecEnvClassRef": "", "ExecEnv.1.ApplicationDataNumberOfEntries": "1",

		"ExecEnv.4.ApplicationDataNumberOfEntries": "3", "ExecEnv.5.ApplicationDataNumberOfEntries": "0",
		"ExecEnv.4.ApplicationData.2.Alias": "cpe-2", "ExecEnv.4.ApplicationData.2.ApplicationUUID": "fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6",
		"ExecEnv.4.ApplicationData.2.Name": "db", "ExecEnv.4.ApplicationData.2.Capacity": "4294967295", "ExecEnv.4.ApplicationData.2.Encrypted": "true",
		"ExecEnv.4.ApplicationData.2.Retain": "Forever", "ExecEnv.4.ApplicationData.2.AccessPath": "/var/lib/db", "ExecEnv.4.ApplicationData.2.Utilization": "7",
		"ExecEnv.4.ApplicationData.6.Alias": "cache", "ExecEnv.4.ApplicationData.6.Encrypted": "false", "ExecEnv.4.ApplicationData.6.Retain": "UntilStopped",
		"ExecEnv.1.ApplicationData.4.Name": "db", "ExecEnv.1.ApplicationData.4.Utilization": "0", "ExecEnv.4.ApplicationData.7.Name": "db",

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
		"ExecutionUnit.7.AutoRestart.Enable": "true", "ExecutionUnit.7.AutoRestart.RetryMinimumWaitInterval": "1",
		"ExecutionUnit.7.AutoRestart.RetryMaximumWaitInterval": "2", "ExecutionUnit.7.AutoRestart.RetryIntervalMultiplier": "3",
		"ExecutionUnit.7.AutoRestart.MaximumRetryCount": "4", "ExecutionUnit.7.AutoRestart.ResetPeriod": "5", "ExecutionUnit.7.AutoRestart.RetryCount": "6",
		"ExecutionUnit.7.AutoRestart.LastRestarted": "2026-03-01T12:00:00Z", "ExecutionUnit.7.AutoRestart.NextRestart": "2026-03-01T12:00:00Z",
		"ExecutionUnit.8.AutoRestart.LastRestarted": "0001-01-01T00:00:00Z", "ExecutionUnit.8.AutoRestart.NextRestart": "9999-12-31T23:59:59Z",
		"ExecutionUnit.7.ApplicationDataList": onOSGi + "2," + onOSGi + "6", "ExecutionUnit.9.ApplicationDataList": onOSGi + "2," + onOSGi + "6",
		"ExecutionUnit.10.ApplicationDataList":                 "",
		"ExecutionUnit.7.NetworkConfig.AccessInterfaceRefList": "", "ExecutionUnit.7.CPUPercentInUse": "-1",
		"ExecutionUnit.7.AllocatedDiskSpace": "100", "ExecutionUnit.7.AllocatedMemory": "2147483647", "ExecutionUnit.7.AllocatedCPUPercent": "-1",
		"ExecutionUnit.8.AllocatedDiskSpace": "100", "ExecutionUnit.10.AllocatedDiskSpace": "-1", "ExecutionUnit.10.AllocatedMemory": "-1",
		"ExecutionUnit.7.EnvVariableNumberOfEntries": "2", "ExecutionUnit.8.EnvVariableNumberOfEntries": "2", "ExecutionUnit.10.EnvVariableNumberOfEntries": "0",
		"ExecutionUnit.7.EnvVariable.2.Key": "MODE", "ExecutionUnit.7.EnvVariable.2.Value": "test", "ExecutionUnit.7.EnvVariable.2.Alias": "cpe-2",
		"ExecutionUnit.9.EnvVariable.5.Key": "EMPTY", "ExecutionUnit.9.EnvVariable.5.Value": "", "ExecutionUnit.9.EnvVariable.5.Alias": "cpe-5",

		policy + "Enable": "true", policy + "OperationTypeFilter": "Install,Uninstall", policy + "ResultTypeFilter": "Both", policy + "FaultCodeFilter": "9001,9032",
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s = %q (there: %t), want %q", name, v, there, want)
		}
	}
}

// TestValuesOfUSP holds what USP reads otherwise.
func TestValuesOfUSP(t *testing.T) {
	newer, older := values(t, dm.USPOnly, softwaremodules.Version), values(t, dm.USPOnly, softwaremodules.OlderVersion)
	for name, want := range map[string]struct{ newer, older string }{
		"ExecEnv.4.Status":                     {"Restarting", "Disabled"},
		"ExecEnv.4.RestartReason":              {"new settings", absent},
		"ExecEnv.4.RestartCount":               {"3", absent},
		"ExecEnv.4.ApplicationData.2.Alias":    {"cpe-2", absent},
		"ExecutionUnit.10.ApplicationDataList": {"", absent},
		"ExecEnv.4.LastRestarted":              {"2026-03-01T12:00:00Z", absent},
		"ExecEnv.1.LastRestarted":              {"0001-01-01T00:00:00Z", absent},
		"ExecEnv.1.AvailableRoles":             {"", absent},
		"ExecEnv.1.Reset":                      {absent, absent},
		"ExecEnv.1.Enable":                     {"true", "true"},
		"ExecutionUnit.7.Status":               {"Restarting", "Starting"},
		"ExecutionUnit.7.Name":                 {strings.Repeat("ü", 256), strings.Repeat("ü", 32)},
		"DeploymentUnit.2.Name":                {"sample1", "sample1"},
		"DeploymentUnit.2.ModuleVersion":       {"blue", absent},
		"ExecutionUnit.8.EnvVariable.2.Key":    {"MODE", absent},
		"ExecutionUnit.8.EnvVariable.2.Alias":  {"cpe-2", absent},
		"ExecutionUnit.8.AllocatedDiskSpace":   {"100", absent},
		"ExecutionUnit.7.CreationTime":         {"2026-03-01T12:00:00Z", absent},
		"DeploymentUnit.2.Installed":           {"2026-03-01T12:00:00Z", absent},
		"ExecutionUnit.7.EUID":                 {"osgi/fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6", "osgi/fe2d23bd-dd02-51b8-af04-f5c18b2b0aa6"},
		policy + "Enable":                      {absent, absent},
		"ExecEnvClassNumberOfEntries":          {"0", absent},
		"ExecutionUnitNumberOfEntries":         {"4", "4"},
	} {
		for _, of := range []struct {
			version string
			all     map[string]string
			wanted  string
		}{{softwaremodules.Version, newer, want.newer}, {softwaremodules.OlderVersion, older, want.older}} {
			got, there := of.all[name]
			if !there {
				got = absent
			}
			if got != of.wanted {
				t.Errorf("%s in %s: %q, want %q", name, of.version, got, of.wanted)
			}
		}
	}
}

// attributes are what is written, of the model: each attribute once in each table that has it.
var attributes = map[dm.Protocol]map[string][]model.Attribute{
	dm.CWMPOnly: {
		"ExecEnv":                  {model.Enable, model.Reset, model.Alias, model.InitialRunLevel, model.RequestedRunLevel, model.InitialExecutionUnitRunLevel},
		"DeploymentUnit":           {model.Alias},
		"ExecutionUnit":            {model.Alias, model.RequestedState, model.AutoStart, model.RunLevel},
		"DUStateChangeComplPolicy": {model.PolicyEnable, model.PolicyOperationTypeFilter, model.PolicyResultTypeFilter, model.PolicyFaultCodeFilter},
		"ApplicationData":          {model.Alias},
		// Without rows; who would make one would name it.
		"ExecEnvClass": {model.Alias}, "HostObject": {model.Alias},
	},
	dm.USPOnly: {
		"AutoRestart": {
			model.AutoRestartEnable, model.AutoRestartMinimum, model.AutoRestartMaximum, model.AutoRestartMultiplier, model.AutoRestartRetries,
			model.AutoRestartReset, model.AutoRestartCount,
		},
		"ExecEnv":       {model.Enable, model.InitialRunLevel, model.InitialExecutionUnitRunLevel},
		"ExecutionUnit": {model.AutoStart, model.RunLevel},
	},
}

// TestAttributes holds what is written against the model.
func TestAttributes(t *testing.T) {
	for p, want := range attributes {
		got := map[string][]model.Attribute{}
		var walk func(o *dm.Object[softwaremodules.Row])
		walk = func(o *dm.Object[softwaremodules.Row]) {
			for _, x := range o.Parameters {
				if x.Writable() {
					got[o.Name] = append(got[o.Name], model.Attribute(x.Attribute))
					if x.Attribute != x.Name && x.Attribute != o.Name+"."+x.Name {
						t.Errorf("writing %s.%s sets %s", o.Name, x.Name, x.Attribute)
					}
				}
			}
			for _, child := range o.Objects {
				walk(child)
			}
		}
		walk(device(t, p, softwaremodules.Version))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s writes something else:\n%s", p, diff)
		}
	}
}

func TestWriteRules(t *testing.T) {
	params := map[string]*dm.Parameter[softwaremodules.Row]{}
	for _, o := range device(t, dm.CWMPOnly, softwaremodules.Version).Objects {
		for _, table := range o.Objects {
			for _, of := range append(table.Objects[:len(table.Objects):len(table.Objects)], table) {
				for _, p := range of.Parameters {
					params[of.Name+"."+p.Name] = p
				}
			}
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
		{"ApplicationData.Alias", "home", "home"},
		{"ApplicationData.Alias", "", nil},
		{"ApplicationData.Alias", "-a", nil},
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
		{"DUStateChangeComplPolicy.Enable", "0", false},
		{"DUStateChangeComplPolicy.OperationTypeFilter", "", ""},
		{"DUStateChangeComplPolicy.OperationTypeFilter", "Install, Uninstall", "Install, Uninstall"},
		{"DUStateChangeComplPolicy.OperationTypeFilter", "Install,Remove", nil},
		{"DUStateChangeComplPolicy.ResultTypeFilter", "Both", "Both"},
		{"DUStateChangeComplPolicy.ResultTypeFilter", "", nil},
		{"DUStateChangeComplPolicy.ResultTypeFilter", "Success,Failure", nil},
		{"DUStateChangeComplPolicy.FaultCodeFilter", "9001,9032", "9001,9032"},
		{"DUStateChangeComplPolicy.FaultCodeFilter", "", ""},
		{"DUStateChangeComplPolicy.FaultCodeFilter", "9002", nil},
		{"DUStateChangeComplPolicy.FaultCodeFilter", "9001;9003", nil},
	} {
		got, err := params[tc.name].Parse(tc.text)
		if got != tc.want || (err == nil) != (tc.want != nil) {
			t.Errorf("%s = %.20q: %v, %v, want %v", tc.name, tc.text, got, err, tc.want)
		}
	}
}

func TestLimit(t *testing.T) {
	for value, want := range map[int]int64{-1: 0, 1: 1, 65536: 65536} {
		if got, err := softwaremodules.Limit("AllocatedMemory", value); err != nil || got != want {
			t.Errorf("%d: %d, %v, want %d", value, got, err, want)
		}
	}
	for value, want := range map[int]fault.Reason{0: fault.UnsupportedArgument, -2: fault.InvalidArguments} {
		if got, err := softwaremodules.Limit("AllocatedMemory", value); fault.ReasonOf(err) != want {
			t.Errorf("%d: %d, %v, want a refusal of class %s", value, got, err, want)
		}
	}
}

func TestRef(t *testing.T) {
	for path, want := range map[string]model.Ref{
		"Device.SoftwareModules.":                                        {},
		"Device.SoftwareModules.ExecEnv.":                                {},
		"Device.SoftwareModules.ExecEnv.4.":                              {Kind: model.KindExecEnv, Instance: 4},
		"Device.SoftwareModules.ExecEnv.[home].":                         {Kind: model.KindExecEnv, Instance: 4},
		"Device.SoftwareModules.DeploymentUnit.3.":                       {Kind: model.KindDeploymentUnit, Instance: 3},
		"Device.SoftwareModules.ExecutionUnit.7.Extensions.":             {Kind: model.KindExecutionUnit, Instance: 7},
		"Device.SoftwareModules.ExecutionUnit.7.EnvVariable.5.":          {}, // the agent has no row for it
		"Device.SoftwareModules.ExecutionUnit.7.EnvVariable.[cpe-5].":    {},
		"Device.SoftwareModules.ExecEnv.4.ApplicationData.":              {Kind: model.KindExecEnv, Instance: 4}, // the table is of the environment
		"Device.SoftwareModules.ExecEnv.4.ApplicationData.6.":            {Kind: model.KindVolume, Instance: 6},
		"Device.SoftwareModules.ExecEnv.[home].ApplicationData.[cache].": {Kind: model.KindVolume, Instance: 6},
		"Device.SoftwareModules.ExecEnvClass.":                           {},
		"Device.ManagementServer.":                                       {},
		"Device.ManagementServer.DUStateChangeComplPolicy.":              {Kind: model.KindPolicy},
	} {
		p, err := dm.ParsePath(path, dm.CWMP)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := dm.Resolve(softwaremodules.Tree(dm.CWMPOnly, softwaremodules.Version), softwaremodules.NewRow(snapshot()), p, dm.ForGet)
		if err != nil || len(nodes) != 1 || nodes[0].Row.Ref() != want {
			t.Errorf("%s: %v, %v, want %v", path, nodes, err, want)
		}
	}
	if got := softwaremodules.Path(model.Ref{Kind: model.KindExecEnv, Instance: 4}); got != "Device.SoftwareModules.ExecEnv.4" {
		t.Errorf("Path = %s", got)
	}
}

// A row of application data is found in its environment alone, though the numbers belong to all.
func TestApplicationDataIsInItsEnvironment(t *testing.T) {
	for _, path := range []string{"ExecEnv.1.ApplicationData.2.", "ExecEnv.5.ApplicationData.8.", "ExecEnv.4.ApplicationData.3.", "ExecEnv.1.ApplicationData.[cache]."} {
		p, err := dm.ParsePath("Device.SoftwareModules."+path, dm.CWMP)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := dm.Resolve(softwaremodules.Tree(dm.CWMPOnly, softwaremodules.Version), softwaremodules.NewRow(snapshot()), p, dm.ForGet)
		if !errors.Is(err, dm.ErrNoInstance) {
			t.Errorf("%s: %v, %v, want %v", path, nodes, err, dm.ErrNoInstance)
		}
	}
}

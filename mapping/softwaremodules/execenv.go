package softwaremodules

import (
	"time"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// envStatus is ExecEnv.{i}.Status without Restarting, which USP knows since 2.16. In CWMP a restart is a disabling
// followed by an enabling, so that is what is shown of one.
func envStatus(r Row) string {
	if r.env.Status == model.EERestarting {
		return string(model.EEDisabled)
	}
	return string(r.env.Status)
}

// execEnvClassTable is without rows: environments are configured, and nobody can add one.
var execEnvClassTable = &object{
	Name: "ExecEnvClass", Since: "2.16", Table: rowless, UniqueKeys: [][]string{{"Vendor", "Name", "Version"}, {"Alias"}},
	Parameters: []*parameter{
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.16", Attribute: attribute(model.Alias), Text: empty},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.16", From: "2.18", Protocol: dm.USPOnly, Text: empty},
		{Name: "Name", Type: dm.String, Length: 256, Since: "2.16", Text: empty},
		{Name: "Vendor", Type: dm.String, Length: 128, Since: "2.16", Text: empty},
		{Name: "Version", Type: dm.String, Length: 32, Since: "2.16", Text: empty},
		{Name: "DeploymentUnitRef", Type: dm.String, Reference: deploymentUnitPath, Since: "2.16", Text: empty},
		{Name: "CapabilityNumberOfEntries", Type: dm.UnsignedInt, Since: "2.16", Int: zero},
	},
	Objects: []*object{{
		Name: "Capability", Since: "2.16", Table: rowless, UniqueKeys: [][]string{{"Specification", "SpecificationVersion"}},
		Parameters: []*parameter{
			{Name: "Specification", Type: dm.String, Enum: []string{"OCIImage", "VMRawImage", "OSGiBundle", "JAR", "WAR"}, Since: "2.16", Text: empty},
			{Name: "SpecificationVersion", Type: dm.String, Length: 32, Since: "2.16", Text: empty},
			{Name: "SpecificationURI", Type: dm.String, Length: 256, Since: "2.16", Text: empty},
		},
	}},
}

var execEnvTable = &object{
	Name: "ExecEnv", UniqueKeys: [][]string{{"Name"}, {"Alias"}},
	Table: &table{Rows: execEnvs, Row: execEnv, Alias: func(r Row) string { return r.env.Alias }},
	Parameters: []*parameter{
		{Name: "Enable", Type: dm.Boolean, Since: "2.1", Attribute: attribute(model.Enable), Bool: func(r Row) bool { return r.env.Enable }},
		{Name: "Status", Type: dm.String, Enum: []string{"Up", "Error", "Disabled"}, Since: "2.1", Text: envStatus},
		{Name: "Status", Type: dm.String, Enum: []string{"Up", "Error", "Disabled", "Restarting"}, Since: "2.1", From: "2.16", Protocol: dm.USPOnly, Text: func(r Row) string { return string(r.env.Status) }},
		{Name: "Reset", Type: dm.Boolean, Since: "2.1", Protocol: dm.CWMPOnly, Command: true, Attribute: attribute(model.Reset)},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", Check: alias, Attribute: attribute(model.Alias), Text: func(r Row) string { return r.env.Alias }},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", From: "2.18", Protocol: dm.USPOnly, Text: func(r Row) string { return r.env.Alias }},
		{Name: "Name", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.env.Name }},
		{Name: "Name", Type: dm.String, Length: 256, Since: "2.1", From: "2.16", Text: func(r Row) string { return r.env.Name }},
		{Name: "Type", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.env.Type }},
		{Name: "InitialRunLevel", Type: dm.UnsignedInt, Range: level, Since: "2.1", Attribute: attribute(model.InitialRunLevel), Int: func(r Row) int64 { return int64(r.env.InitialRunLevel) }},
		{Name: "RequestedRunLevel", Type: dm.Int, Range: levels, Since: "2.1", Protocol: dm.CWMPOnly, Command: true, Attribute: attribute(model.RequestedRunLevel)},
		{Name: "CurrentRunLevel", Type: dm.Int, Range: levels, Since: "2.1", Int: func(r Row) int64 { return int64(r.env.CurrentRunLevel) }},
		{Name: "InitialExecutionUnitRunLevel", Type: dm.Int, Range: levels, Since: "2.4", Attribute: attribute(model.InitialExecutionUnitRunLevel), Int: func(r Row) int64 { return int64(r.env.InitialExecutionUnitRunLevel) }},
		{Name: "Vendor", Type: dm.String, Length: 128, Since: "2.1", Text: func(r Row) string { return r.env.Vendor }},
		{Name: "Version", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.env.Version }},
		{Name: "ParentExecEnv", Type: dm.String, Reference: execEnvPath, Since: "2.1", Text: func(r Row) string { return r.view.execEnvRef(r.env.Parent) }},
		{Name: "AllocatedDiskSpace", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.1", Int: func(r Row) int64 { return r.env.AllocatedDisk }},
		{Name: "AllocatedMemory", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.1", Int: func(r Row) int64 { return r.env.AllocatedMemory }},
		{Name: "AllocatedCPUPercent", Type: dm.Int, Range: percent, Unit: "%", Since: "2.16", Int: func(r Row) int64 { return Allocated(int64(r.env.AllocatedCPU)) }},
		{Name: "AvailableDiskSpace", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.env.AvailableDisk }},
		{Name: "AvailableMemory", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.env.AvailableMemory }},
		{Name: "AvailableCPUPercent", Type: dm.Int, Range: percent, Unit: "%", Since: "2.16", Int: unknown},
		{Name: "ActiveExecutionUnits", Type: dm.String, List: true, Reference: executionUnitPath, Since: "2.1", Notify: dm.NotifyCanDeny, Text: func(r Row) string { return r.view.activeUnitsOn(r.env.ID) }},
		{Name: "ProcessorRefList", Type: dm.String, List: true, Since: "2.1", Text: empty},
		{Name: "CreatedAt", Type: dm.DateTime, Since: "2.16", Time: never}, // environments are configured: part of the firmware
		{Name: "ExecEnvClassRef", Type: dm.String, Reference: execEnvClassPath, Since: "2.16", Text: empty},
		{Name: "ApplicationDataNumberOfEntries", Type: dm.UnsignedInt, Since: "2.16", Int: func(r Row) int64 { return int64(len(r.view.volumesOn(r.env.ID))) }},
		{Name: "RestartReason", Type: dm.String, Length: 256, Since: "2.16", Protocol: dm.USPOnly, Text: func(r Row) string { return r.env.RestartReason }},
		{Name: "RestartCount", Type: dm.UnsignedInt, Since: "2.16", Protocol: dm.USPOnly, Int: func(r Row) int64 { return int64(r.env.RestartCount) }},
		{Name: "LastRestarted", Type: dm.DateTime, Since: "2.16", Protocol: dm.USPOnly, Time: func(r Row) time.Time { return r.env.LastRestarted }},
		{Name: "AvailableRoles", Type: dm.String, List: true, Since: "2.16", Protocol: dm.USPOnly, Text: empty},
		{Name: "AvailableAccessInterfaces", Type: dm.String, List: true, Since: "2.17", Protocol: dm.USPOnly, Text: empty},
		{Name: "AvailableUserRoles", Type: dm.String, List: true, Since: "2.18", Protocol: dm.USPOnly, Text: empty},
	},
	Commands: []*command{
		{Name: "SetRunLevel()", Since: "2.12", Inputs: []*argument{
			{Name: "RequestedRunLevel", Type: dm.Int, Range: levels, Since: "2.12", Mandatory: true},
		}},
		{Name: "ModifyConstraints()", Async: true, Since: "2.16", Inputs: []*argument{ // without defaults: what is not given stays as it is
			{Name: "Force", Type: dm.Boolean, Since: "2.16", Default: "false"},
			{Name: "AllocatedDiskSpace", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16"},
			{Name: "AllocatedMemory", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16"},
			{Name: "AllocatedCPUPercent", Type: dm.Int, Range: percent, Unit: "%", Since: "2.16"},
		}},
		{Name: "Restart()", Async: true, Since: "2.16", Inputs: []*argument{
			{Name: "Reason", Type: dm.String, Length: 256, Since: "2.16"},
			{Name: "Force", Type: dm.Boolean, Since: "2.16", Default: "false"},
		}},
		{Name: "Reset()", Since: "2.12"},
		{Name: "Reset()", Since: "2.12", From: "2.16", Async: true},
	},
	Events: []*event{{Name: "Restarted!", Since: "2.16", Arguments: []*argument{
		{Name: "RestartTime", Type: dm.DateTime, Since: "2.16"},
		{Name: "RestartReason", Type: dm.String, Length: 256, Since: "2.16"},
	}}},
	Objects: []*object{applicationDataTable},
}

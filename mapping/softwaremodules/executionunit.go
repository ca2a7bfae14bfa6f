package softwaremodules

import (
	"cmp"
	"time"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// unitStatus is ExecutionUnit.{i}.Status without Restarting, which USP knows since 2.16: a unit that restarts is on its way to Active.
func unitStatus(r Row) string {
	if r.eu.Status == model.EURestarting {
		return string(model.EUStarting)
	}
	return string(r.eu.Status)
}

// faultCode is ExecutionFaultCode.
func faultCode(r Row) string { return string(cmp.Or(r.eu.FaultCode, model.NoFault)) }

// faultMessage is ExecutionFaultMessage, which has to be empty while there is no fault.
func faultMessage(r Row) string {
	if faultCode(r) == string(model.NoFault) {
		return ""
	}
	return r.eu.FaultMessage
}

// nextRestart is AutoRestart.NextRestart, which is never when none is planned.
func nextRestart(r Row) time.Time {
	if r.eu.Restart.Next.IsZero() {
		return dm.InfiniteTime
	}
	return r.eu.Restart.Next
}

var executionUnitTable = &object{
	Name: "ExecutionUnit", UniqueKeys: [][]string{{"EUID"}, {"Alias"}},
	Table: &table{Rows: executionUnits, Row: executionUnit, Alias: func(r Row) string { return r.eu.Alias }},
	Parameters: []*parameter{
		{Name: "EUID", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.eu.EUID }},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", Check: alias, Attribute: attribute(model.Alias), Text: func(r Row) string { return r.eu.Alias }},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", From: "2.18", Protocol: dm.USPOnly, Text: func(r Row) string { return r.eu.Alias }},
		{Name: "Name", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.eu.Name }},
		{Name: "Name", Type: dm.String, Length: 256, Since: "2.1", From: "2.16", Text: func(r Row) string { return r.eu.Name }},
		{Name: "ExecEnvLabel", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.eu.Label }},
		{Name: "Status", Type: dm.String, Enum: []string{"Idle", "Starting", "Active", "Stopping"}, Since: "2.1", Notify: dm.NotifyForceDefaultEnabled, Text: unitStatus},
		{Name: "Status", Type: dm.String, Enum: []string{"Idle", "Starting", "Active", "Stopping", "Restarting"}, Since: "2.1", From: "2.16", Protocol: dm.USPOnly, Notify: dm.NotifyForceDefaultEnabled, Text: func(r Row) string { return string(r.eu.Status) }},
		{Name: "RequestedState", Type: dm.String, Enum: []string{"Idle", "Active"}, Since: "2.1", Protocol: dm.CWMPOnly, Command: true, Attribute: attribute(model.RequestedState)},
		{Name: "ExecutionFaultCode", Type: dm.String, Enum: []string{"NoFault", "FailureOnStart", "FailureOnAutoStart", "FailureOnStop", "FailureWhileActive", "DependencyFailure", "UnStartable"}, Since: "2.1", Text: faultCode},
		{Name: "ExecutionFaultMessage", Type: dm.String, Length: model.MaxFaultMessage, Since: "2.1", Text: faultMessage},
		{Name: "AutoStart", Type: dm.Boolean, Since: "2.1", Attribute: attribute(model.AutoStart), Bool: func(r Row) bool { return r.eu.AutoStart }},
		{Name: "RunLevel", Type: dm.UnsignedInt, Range: level, Since: "2.1", Attribute: attribute(model.RunLevel), Int: func(r Row) int64 { return int64(r.eu.RunLevel) }},
		{Name: "Vendor", Type: dm.String, Length: 128, Since: "2.1", Text: func(r Row) string { return r.eu.Vendor }},
		{Name: "Version", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.eu.Version }},
		{Name: "Description", Type: dm.String, Length: 256, Since: "2.1", Text: func(r Row) string { return r.eu.Description }},
		{Name: "AllocatedDiskSpace", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16", Int: func(r Row) int64 { return Allocated(r.view.SettingsOf(r.eu).Limits.Disk) }},
		{Name: "DiskSpaceInUse", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.eu.Disk }},
		{Name: "AllocatedMemory", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16", Int: func(r Row) int64 { return Allocated(r.view.SettingsOf(r.eu).Limits.Memory) }},
		{Name: "MemoryInUse", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.eu.Memory }},
		{Name: "AllocatedCPUPercent", Type: dm.Int, Range: percent, Unit: "%", Since: "2.16", Int: func(r Row) int64 { return Allocated(int64(r.view.SettingsOf(r.eu).Limits.CPU)) }},
		{Name: "CPUPercentInUse", Type: dm.Int, Range: percent, Unit: "%", Since: "2.16", Int: unknown},
		{Name: "CreationTime", Type: dm.DateTime, Since: "2.18", Time: func(r Row) time.Time { return r.eu.Created }},
		{Name: "References", Type: dm.String, List: true, Since: "2.1", Text: empty},
		{Name: "AssociatedProcessList", Type: dm.String, List: true, Since: "2.1", Text: empty},
		{Name: "VendorLogList", Type: dm.String, List: true, Since: "2.1", Text: empty},
		{Name: "VendorConfigList", Type: dm.String, List: true, Since: "2.1", Text: empty},
		{Name: "SupportedDataModelList", Type: dm.String, List: true, Since: "2.1", Protocol: dm.CWMPOnly, Text: empty},
		{Name: "ApplicationDataList", Type: dm.String, List: true, Reference: applicationDataPath, Since: "2.16", Text: func(r Row) string { return r.view.applicationDataOf(r.eu) }},
		{Name: "ExecutionEnvRef", Type: dm.String, Reference: execEnvPath, Since: "2.1", Text: func(r Row) string { return r.view.execEnvRef(r.eu.Env) }},
		{Name: "HostObjectNumberOfEntries", Type: dm.UnsignedInt, Since: "2.16", Int: zero},
		{Name: "EnvVariableNumberOfEntries", Type: dm.UnsignedInt, Since: "2.17", Int: func(r Row) int64 { return int64(len(r.view.SettingsOf(r.eu).Variables)) }},
	},
	Commands: []*command{
		{Name: "SetRequestedState()", Since: "2.12", Inputs: []*argument{
			{Name: "RequestedState", Type: dm.String, Enum: []string{"Idle", "Active"}, Since: "2.12", Mandatory: true},
		}},
		{Name: "Restart()", Since: "2.16"},
	},
	Objects: []*object{
		// CWMP can see it (TR-181, CWMP, Device.SoftwareModules.).
		{Name: "AutoRestart", Since: "2.16", Parameters: []*parameter{
			{Name: "Enable", Type: dm.Boolean, Since: "2.16", Protocol: dm.CWMPOnly, Bool: func(r Row) bool { return r.eu.Restart.Enable }},
			{Name: "Enable", Type: dm.Boolean, Since: "2.16", Protocol: dm.USPOnly, Attribute: attribute(model.AutoRestartEnable), Bool: func(r Row) bool { return r.eu.Restart.Enable }},
			{Name: "RetryMinimumWaitInterval", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Protocol: dm.CWMPOnly, Int: func(r Row) int64 { return int64(r.eu.Restart.Minimum) }},
			{Name: "RetryMinimumWaitInterval", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Protocol: dm.USPOnly, Attribute: attribute(model.AutoRestartMinimum), Int: func(r Row) int64 { return int64(r.eu.Restart.Minimum) }},
			{Name: "RetryMaximumWaitInterval", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Protocol: dm.CWMPOnly, Int: func(r Row) int64 { return int64(r.eu.Restart.Maximum) }},
			{Name: "RetryMaximumWaitInterval", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Protocol: dm.USPOnly, Attribute: attribute(model.AutoRestartMaximum), Int: func(r Row) int64 { return int64(r.eu.Restart.Maximum) }},
			{Name: "RetryIntervalMultiplier", Type: dm.UnsignedInt, Since: "2.16", Protocol: dm.CWMPOnly, Int: func(r Row) int64 { return int64(r.eu.Restart.Multiplier) }},
			{Name: "RetryIntervalMultiplier", Type: dm.UnsignedInt, Since: "2.16", Protocol: dm.USPOnly, Attribute: attribute(model.AutoRestartMultiplier), Int: func(r Row) int64 { return int64(r.eu.Restart.Multiplier) }},
			{Name: "MaximumRetryCount", Type: dm.UnsignedInt, Since: "2.16", Protocol: dm.CWMPOnly, Int: func(r Row) int64 { return int64(r.eu.Restart.Retries) }},
			{Name: "MaximumRetryCount", Type: dm.UnsignedInt, Since: "2.16", Protocol: dm.USPOnly, Attribute: attribute(model.AutoRestartRetries), Int: func(r Row) int64 { return int64(r.eu.Restart.Retries) }},
			{Name: "ResetPeriod", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Protocol: dm.CWMPOnly, Int: func(r Row) int64 { return int64(r.eu.Restart.Reset) }},
			{Name: "ResetPeriod", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Protocol: dm.USPOnly, Attribute: attribute(model.AutoRestartReset), Int: func(r Row) int64 { return int64(r.eu.Restart.Reset) }},
			{Name: "RetryCount", Type: dm.UnsignedInt, Since: "2.16", Protocol: dm.CWMPOnly, Int: func(r Row) int64 { return int64(r.eu.Restart.Count) }},
			{Name: "RetryCount", Type: dm.UnsignedInt, Since: "2.16", Protocol: dm.USPOnly, Attribute: attribute(model.AutoRestartCount), Int: func(r Row) int64 { return int64(r.eu.Restart.Count) }},
			{Name: "LastRestarted", Type: dm.DateTime, Since: "2.16", Time: func(r Row) time.Time { return r.eu.Restart.Last }},
			{Name: "NextRestart", Type: dm.DateTime, Since: "2.16", Time: nextRestart},
		}},
		{Name: "NetworkConfig", Since: "2.17", Parameters: []*parameter{
			{Name: "AccessInterfaceRefList", Type: dm.String, List: true, Since: "2.17", Text: empty},
			{Name: "PortMappingRefList", Type: dm.String, List: true, Since: "2.17", Text: empty},
		}},
		{
			Name: "HostObject", Since: "2.16", Table: rowless, UniqueKeys: [][]string{{"Destination"}, {"Alias"}},
			Parameters: []*parameter{
				{Name: "Alias", Type: dm.String, Length: 64, Since: "2.16", Attribute: attribute(model.Alias), Text: empty},
				{Name: "Alias", Type: dm.String, Length: 64, Since: "2.16", From: "2.18", Protocol: dm.USPOnly, Text: empty},
				{Name: "Source", Type: dm.String, Length: 256, Since: "2.16", Text: empty},
				{Name: "Destination", Type: dm.String, Length: 256, Since: "2.16", Text: empty},
				{Name: "Options", Type: dm.String, Length: 256, Since: "2.16", Text: empty},
			},
		},
		envVariableTable,
		{Name: "Extensions"}, // has no standard parameters
	},
}

package softwaremodules

import (
	"cmp"
	"errors"
	"math"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

type (
	object    = dm.Object[Row]
	table     = dm.Table[Row]
	parameter = dm.Parameter[Row]
)

var (
	levels = dm.Range{Min: -1, Max: model.MaxRunLevel}
	level  = dm.Range{Min: 0, Max: model.MaxRunLevel}
	size   = dm.Range{Min: model.UnknownSize, Max: math.MaxInt32} // KiB
)

// attribute returns what a write to a parameter sets.
func attribute(a model.Attribute) string { return string(a) }

// empty is the reader of a list that this agent has nothing for. The OSGi guideline asks for it by name in VendorLogList,
// VendorConfigList, References and AssociatedProcessList; the other tables that could be referred to (DeviceInfo.Processor,
// DeviceInfo.SupportedDataModel) are not this agent's either.
func empty(Row) string { return "" }

// alias is the rule for a written Alias (TR-106, data type Alias).
func alias(text string) error {
	first, _ := utf8.DecodeRuneInString(text)
	switch {
	case text == "":
		return errors.New("an alias is not empty")
	case !unicode.IsLetter(first):
		return errors.New("an alias begins with a letter")
	}
	return nil
}

// envStatus is ExecEnv.{i}.Status without Restarting, which only USP knows. In CWMP a restart is a disabling
// followed by an enabling, so that is what is shown of one.
func envStatus(r Row) string {
	if r.env.Status == model.EERestarting {
		return string(model.EEDisabled)
	}
	return string(r.env.Status)
}

// unitStatus is ExecutionUnit.{i}.Status without Restarting, which only USP knows: a unit that restarts is on its way to Active.
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

// Root is the root of the data model with what this agent has of it: Device.SoftwareModules. as CWMP sees it. It is never changed.
//
// An object or parameter that the agent has no value for is absent. Extensions. has no standard parameters and no others.
var Root = &object{Objects: []*object{{Name: "Device", Objects: []*object{{
	Name: "SoftwareModules",
	Parameters: []*parameter{
		{Name: "ExecEnvNumberOfEntries", Type: dm.UnsignedInt, Since: "2.1", Int: func(r Row) int64 { return int64(r.view.Count(model.KindExecEnv)) }},
		{Name: "DeploymentUnitNumberOfEntries", Type: dm.UnsignedInt, Since: "2.1", Int: func(r Row) int64 { return int64(r.view.Count(model.KindDeploymentUnit)) }},
		{Name: "ExecutionUnitNumberOfEntries", Type: dm.UnsignedInt, Since: "2.1", Int: func(r Row) int64 { return int64(r.view.Count(model.KindExecutionUnit)) }},
	},
	Objects: []*object{
		{
			Name:  "ExecEnv",
			Table: &table{Rows: execEnvs, Row: execEnv, Alias: func(r Row) string { return r.env.Alias }},
			Parameters: []*parameter{
				{Name: "Enable", Type: dm.Boolean, Since: "2.1", Attribute: attribute(model.Enable), Bool: func(r Row) bool { return r.env.Enable }},
				{Name: "Status", Type: dm.String, Enum: []string{"Up", "Error", "Disabled"}, Since: "2.1", Text: envStatus},
				{Name: "Reset", Type: dm.Boolean, Since: "2.1", Protocol: dm.CWMPOnly, Command: true, Attribute: attribute(model.Reset)},
				{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", Check: alias, Attribute: attribute(model.Alias), Text: func(r Row) string { return r.env.Alias }},
				{Name: "Name", Type: dm.String, Length: 256, Since: "2.1", Text: func(r Row) string { return r.env.Name }},
				{Name: "Type", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.env.Type }},
				{Name: "InitialRunLevel", Type: dm.UnsignedInt, Range: level, Since: "2.1", Attribute: attribute(model.InitialRunLevel), Int: func(r Row) int64 { return int64(r.env.InitialRunLevel) }},
				{Name: "RequestedRunLevel", Type: dm.Int, Range: levels, Since: "2.1", Protocol: dm.CWMPOnly, Command: true, Attribute: attribute(model.RequestedRunLevel)},
				{Name: "CurrentRunLevel", Type: dm.Int, Range: levels, Since: "2.1", Int: func(r Row) int64 { return int64(r.env.CurrentRunLevel) }},
				{Name: "InitialExecutionUnitRunLevel", Type: dm.Int, Range: levels, Since: "2.4", Attribute: attribute(model.InitialExecutionUnitRunLevel), Int: func(r Row) int64 { return int64(r.env.InitialExecutionUnitRunLevel) }},
				{Name: "Vendor", Type: dm.String, Length: 128, Since: "2.1", Text: func(r Row) string { return r.env.Vendor }},
				{Name: "Version", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.env.Version }},
				{Name: "ParentExecEnv", Type: dm.String, Since: "2.1", Text: func(r Row) string { return r.view.execEnvRef(r.env.Parent) }},
				{Name: "AllocatedDiskSpace", Type: dm.Int, Range: size, Since: "2.1", Int: func(r Row) int64 { return r.env.AllocatedDisk }},
				{Name: "AllocatedMemory", Type: dm.Int, Range: size, Since: "2.1", Int: func(r Row) int64 { return r.env.AllocatedMemory }},
				{Name: "AvailableDiskSpace", Type: dm.Int, Range: size, Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.env.AvailableDisk }},
				{Name: "AvailableMemory", Type: dm.Int, Range: size, Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.env.AvailableMemory }},
				{Name: "ActiveExecutionUnits", Type: dm.String, List: true, Since: "2.1", Notify: dm.NotifyCanDeny, Text: func(r Row) string { return r.view.activeUnitsOn(r.env.ID) }},
				{Name: "ProcessorRefList", Type: dm.String, List: true, Since: "2.1", Text: empty},
			},
		},
		{
			Name:  "DeploymentUnit",
			Table: &table{Rows: deploymentUnits, Row: deploymentUnit, Alias: func(r Row) string { return r.du.Alias }},
			Parameters: []*parameter{
				{Name: "UUID", Type: dm.String, Length: 36, Since: "2.1", Text: func(r Row) string { return r.du.UUID }},
				{Name: "DUID", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.du.DUID }},
				{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", Check: alias, Attribute: attribute(model.Alias), Text: func(r Row) string { return r.du.Alias }},
				{Name: "Name", Type: dm.String, Length: 256, Since: "2.1", Text: func(r Row) string { return r.du.Name }},
				{Name: "Status", Type: dm.String, Enum: []string{"Installing", "Installed", "Updating", "Uninstalling", "Uninstalled"}, Since: "2.1", Notify: dm.NotifyCanDeny, Text: func(r Row) string { return string(r.du.Status) }},
				{Name: "Resolved", Type: dm.Boolean, Since: "2.1", Bool: func(r Row) bool { return r.du.Resolved }},
				{Name: "URL", Type: dm.String, Length: 2048, Since: "2.1", Text: func(r Row) string { return r.du.URL }},
				{Name: "Description", Type: dm.String, Length: 256, Since: "2.1", Text: func(r Row) string { return r.du.Description }},
				{Name: "Vendor", Type: dm.String, Length: 128, Since: "2.1", Text: func(r Row) string { return r.du.Vendor }},
				{Name: "Version", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.du.Version }},
				{Name: "VendorLogList", Type: dm.String, List: true, Since: "2.1", Text: empty},
				{Name: "VendorConfigList", Type: dm.String, List: true, Since: "2.1", Text: empty},
				{Name: "ExecutionUnitList", Type: dm.String, List: true, Since: "2.1", Text: func(r Row) string { return r.view.executionUnitsOf(r.du.ID) }},
				{Name: "ExecutionEnvRef", Type: dm.String, Since: "2.1", Text: func(r Row) string { return r.view.execEnvRef(r.du.Env) }},
				{Name: "Installed", Type: dm.DateTime, Since: "2.16", Time: func(r Row) time.Time { return r.du.Installed }},
				{Name: "LastUpdate", Type: dm.DateTime, Since: "2.16", Time: func(r Row) time.Time { return r.du.LastUpdate }},
			},
		},
		{
			Name:  "ExecutionUnit",
			Table: &table{Rows: executionUnits, Row: executionUnit, Alias: func(r Row) string { return r.eu.Alias }},
			Parameters: []*parameter{
				{Name: "EUID", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.eu.EUID }},
				{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", Check: alias, Attribute: attribute(model.Alias), Text: func(r Row) string { return r.eu.Alias }},
				{Name: "Name", Type: dm.String, Length: 256, Since: "2.1", Text: func(r Row) string { return r.eu.Name }},
				{Name: "ExecEnvLabel", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.eu.Label }},
				{Name: "Status", Type: dm.String, Enum: []string{"Idle", "Starting", "Active", "Stopping"}, Since: "2.1", Notify: dm.NotifyForceDefaultEnabled, Text: unitStatus},
				{Name: "RequestedState", Type: dm.String, Enum: []string{"Idle", "Active"}, Since: "2.1", Protocol: dm.CWMPOnly, Command: true, Attribute: attribute(model.RequestedState)},
				{Name: "ExecutionFaultCode", Type: dm.String, Enum: []string{"NoFault", "FailureOnStart", "FailureOnAutoStart", "FailureOnStop", "FailureWhileActive", "DependencyFailure", "UnStartable"}, Since: "2.1", Text: faultCode},
				{Name: "ExecutionFaultMessage", Type: dm.String, Length: model.MaxFaultMessage, Since: "2.1", Text: faultMessage},
				{Name: "AutoStart", Type: dm.Boolean, Since: "2.1", Attribute: attribute(model.AutoStart), Bool: func(r Row) bool { return r.eu.AutoStart }},
				{Name: "RunLevel", Type: dm.UnsignedInt, Range: level, Since: "2.1", Attribute: attribute(model.RunLevel), Int: func(r Row) int64 { return int64(r.eu.RunLevel) }},
				{Name: "Vendor", Type: dm.String, Length: 128, Since: "2.1", Text: func(r Row) string { return r.eu.Vendor }},
				{Name: "Version", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.eu.Version }},
				{Name: "Description", Type: dm.String, Length: 256, Since: "2.1", Text: func(r Row) string { return r.eu.Description }},
				{Name: "DiskSpaceInUse", Type: dm.Int, Range: size, Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.eu.Disk }},
				{Name: "MemoryInUse", Type: dm.Int, Range: size, Since: "2.1", Notify: dm.NotifyCanDeny, Int: func(r Row) int64 { return r.eu.Memory }},
				{Name: "References", Type: dm.String, List: true, Since: "2.1", Text: empty},
				{Name: "AssociatedProcessList", Type: dm.String, List: true, Since: "2.1", Text: empty},
				{Name: "VendorLogList", Type: dm.String, List: true, Since: "2.1", Text: empty},
				{Name: "VendorConfigList", Type: dm.String, List: true, Since: "2.1", Text: empty},
				{Name: "SupportedDataModelList", Type: dm.String, List: true, Since: "2.1", Protocol: dm.CWMPOnly, Text: empty},
				{Name: "ExecutionEnvRef", Type: dm.String, Since: "2.1", Text: func(r Row) string { return r.view.execEnvRef(r.eu.Env) }},
			},
			Objects: []*object{{Name: "Extensions"}},
		},
	},
}}}}}

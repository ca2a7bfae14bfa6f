package softwaremodules

import (
	"slices"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// retainData keeps application data of the unit, as far as its Retain lets it.
var retainData = &argument{Name: "RetainData", Type: dm.Boolean, Since: "2.16", Default: "false"}

// The arguments of InstallDU() and Update(), in the order of the data model. What is the same in both is told once below.
var (
	installInputs = slices.Concat(
		[]*argument{
			{Name: "URL", Type: dm.String, Length: 2048, Since: "2.12", Mandatory: true},
			{Name: "UUID", Type: dm.String, Length: 36, Since: "2.12"},
		},
		credentials, privileges,
		[]*argument{
			{Name: "ExecutionEnvRef", Type: dm.String, Length: 256, Since: "2.12"},
			signature,
			{Name: "ShutdownDelay", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.18", Default: "10", Unsupported: true},
		},
		roles,
		[]*argument{
			{Name: "AutoRestart.Enable", Type: dm.Boolean, Since: "2.16", Mandatory: true},
			{Name: "AutoRestart.RetryMinimumWaitInterval", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Mandatory: true},
			{Name: "AutoRestart.RetryMaximumWaitInterval", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Mandatory: true},
			{Name: "AutoRestart.RetryIntervalMultiplier", Type: dm.UnsignedInt, Since: "2.16", Mandatory: true},
			{Name: "AutoRestart.MaximumRetryCount", Type: dm.UnsignedInt, Since: "2.16", Default: "10"},
			{Name: "AutoRestart.ResetPeriod", Type: dm.UnsignedInt, Unit: "seconds", Since: "2.16", Default: "0"},
			{Name: "Resources.AllocatedDiskSpace", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16", Default: "-1"},
			{Name: "Resources.AllocatedMemory", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16", Default: "-1"},
			{Name: "Resources.AllocatedCPUPercent", Type: dm.Int, Range: percent, Unit: "%", Since: "2.16", Default: "-1"},
		},
		data, hostObjects, variables, moduleVersion, network,
	)
	installOutputs = []*argument{
		{Name: "UUID", Type: dm.String, Length: 36, Since: "2.18"},
		{Name: "Version", Type: dm.String, Length: 32, Since: "2.18"},
		{Name: "ExecEnvRef", Type: dm.String, Since: "2.18"},
	}
	updateInputs = slices.Concat(
		[]*argument{{Name: "URL", Type: dm.String, Length: 2048, Since: "2.12"}},
		credentials, privileges, []*argument{signature}, roles,
		[]*argument{ // without a default: what is not given stays as it is
			{Name: "Resources.AllocatedDiskSpace", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16"},
			{Name: "Resources.AllocatedMemory", Type: dm.Int, Range: size, Unit: "KiB", Since: "2.16"},
			{Name: "Resources.AllocatedCPUPercent", Type: dm.Int, Range: percent, Unit: "%", Since: "2.16"},
		},
		data, []*argument{retainData}, hostObjects, variables, moduleVersion, network,
	)
)

var (
	credentials = []*argument{
		{Name: "Username", Type: dm.String, Length: 256, Since: "2.12"},
		{Name: "Password", Type: dm.String, Length: 256, Since: "2.12"},
	}
	privileges = []*argument{
		{Name: "Privileged", Type: dm.Boolean, Since: "2.18", Default: "false", Unsupported: true},
		{Name: "NumRequiredUIDs", Type: dm.UnsignedInt, Since: "2.18", Default: "1", Unsupported: true},
	}
	signature = &argument{Name: "Signature", Type: dm.String, Length: 2048, Since: "2.16", Unsupported: true}
	roles     = []*argument{
		{Name: "RequiredRoles", Type: dm.String, List: true, Length: 256, Since: "2.16", Unsupported: true},
		{Name: "OptionalRoles", Type: dm.String, List: true, Length: 256, Since: "2.16", Unsupported: true},
		{Name: "RequiredUserRoles", Type: dm.String, List: true, Length: 256, Since: "2.18", Unsupported: true},
		{Name: "RegisterTrustPaths", Type: dm.String, List: true, Length: 256, Since: "2.19", Unsupported: true},
	}
	data = []*argument{
		{Name: "ApplicationData.{i}.Name", Type: dm.String, Length: model.MaxVolumeName, Since: "2.16", Mandatory: true},
		{Name: "ApplicationData.{i}.Capacity", Type: dm.UnsignedInt, Unit: "MiB", Since: "2.16", Mandatory: true},
		{Name: "ApplicationData.{i}.Encrypted", Type: dm.Boolean, Since: "2.16", Default: "true"},
		{Name: "ApplicationData.{i}.Retain", Type: dm.String, Enum: retains, Since: "2.16", Mandatory: true},
		{Name: "ApplicationData.{i}.AccessPath", Type: dm.String, Length: model.MaxAccessPath, Since: "2.16", Mandatory: true},
	}
	hostObjects = []*argument{
		{Name: "HostObject.{i}.Source", Type: dm.String, Length: 256, Since: "2.16", Mandatory: true, Unsupported: true},
		{Name: "HostObject.{i}.Destination", Type: dm.String, Length: 256, Since: "2.16", Mandatory: true, Unsupported: true},
		{Name: "HostObject.{i}.Options", Type: dm.String, Length: 256, Since: "2.16", Unsupported: true},
	}
	variables = []*argument{
		{Name: "EnvVariable.{i}.Key", Type: dm.String, Length: model.MaxVariable, Since: "2.17", Mandatory: true, Check: variableKey},
		{Name: "EnvVariable.{i}.Value", Type: dm.String, Length: model.MaxVariable, Since: "2.17", Mandatory: true},
	}
	moduleVersion = []*argument{{Name: "ModuleVersion", Type: dm.String, Length: 32, Since: "2.17"}}
	network       = []*argument{
		{Name: "NetworkConfig.AccessInterfaces", Type: dm.String, List: true, Length: 256, Since: "2.17", Unsupported: true},
		{Name: "NetworkConfig.PortMapping.{i}.Interface", Type: dm.String, Length: 256, Since: "2.17", Mandatory: true, Unsupported: true},
		{Name: "NetworkConfig.PortMapping.{i}.ExternalPort", Type: dm.UnsignedInt, Range: port, Since: "2.17", Mandatory: true, Unsupported: true},
		{Name: "NetworkConfig.PortMapping.{i}.InternalPort", Type: dm.UnsignedInt, Range: port, Since: "2.17", Mandatory: true, Unsupported: true},
		{Name: "NetworkConfig.PortMapping.{i}.Protocol", Type: dm.String, Enum: []string{"TCP", "UDP"}, Since: "2.17", Mandatory: true, Unsupported: true},
	}
	port = dm.Range{Min: 0, Max: 65535}
)

// stateChange is DUStateChange!. What an operation left of a unit that is gone was told as UnInstalled until 2.18.
var stateChange = &event{Name: "DUStateChange!", Since: "2.12", Arguments: []*argument{
	{Name: "UUID", Type: dm.String, Length: 36, Since: "2.12"},
	{Name: "DeploymentUnitRef", Type: dm.String, Since: "2.12"},
	{Name: "Version", Type: dm.String, Length: 32, Since: "2.12"},
	{Name: "CurrentState", Type: dm.String, Enum: []string{"Installed", "UnInstalled", "Failed"}, Since: "2.12"},
	{Name: "CurrentState", Type: dm.String, Enum: []string{"Installed", "Uninstalled", "Failed"}, Since: "2.12", From: "2.19"},
	{Name: "Resolved", Type: dm.Boolean, Since: "2.12"},
	{Name: "ExecutionUnitRefList", Type: dm.String, List: true, Since: "2.12"},
	{Name: "StartTime", Type: dm.DateTime, Since: "2.12"},
	{Name: "CompleteTime", Type: dm.DateTime, Since: "2.12"},
	{Name: "OperationPerformed", Type: dm.String, Enum: []string{"Install", "Update", "Uninstall"}, Since: "2.12"},
	{Name: "Fault.FaultCode", Type: dm.UnsignedInt, Since: "2.12"},
	{Name: "Fault.FaultString", Type: dm.String, Length: 256, Since: "2.12"},
}}

package dbus

import (
	"math"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
	"github.com/smmd-project/smmd/mapping/usp"
)

// property says where the value of a property comes from, and what writing it sets.
type property struct {
	name string
	get  func(v *view, row any) any // in the very Go type of the signature
	set  model.Attribute            // empty: read-only
}

// of makes a property of a value that is in the row itself.
func of[R any](name string, get func(*R) any) property {
	return property{name: name, get: func(_ *view, row any) any { return get(row.(*R)) }}
}

// from makes a property of a value that takes more than the row.
func from[R any](name string, get func(*view, *R) any) property {
	return property{name: name, get: func(v *view, row any) any { return get(v, row.(*R)) }}
}

// writable gives a property the attribute that it sets.
func writable(p property, a model.Attribute) property {
	p.set = a
	return p
}

// properties is every property of every row, in the order of the contract.
var properties = map[string][]property{
	xml.ExecEnv: {
		of("ID", func(e *model.ExecEnv) any { return text(e.ID) }),
		of("Adapter", func(e *model.ExecEnv) any { return text(e.Adapter) }),
		of("StatusDetail", func(e *model.ExecEnv) any { return text(e.StatusDetail) }),
		writable(of("Enable", func(e *model.ExecEnv) any { return e.Enable }), model.Enable),
		of("Status", func(e *model.ExecEnv) any { return text(string(e.Status)) }),
		writable(of("Alias", func(e *model.ExecEnv) any { return text(e.Alias) }), model.Alias),
		of("Name", func(e *model.ExecEnv) any { return text(e.Name) }),
		of("Type", func(e *model.ExecEnv) any { return text(e.Type) }),
		writable(of("InitialRunLevel", func(e *model.ExecEnv) any { return level(e.InitialRunLevel) }), model.InitialRunLevel),
		of("CurrentRunLevel", func(e *model.ExecEnv) any { return number(int64(e.CurrentRunLevel)) }),
		writable(of("InitialExecutionUnitRunLevel", func(e *model.ExecEnv) any {
			return number(int64(e.InitialExecutionUnitRunLevel))
		}), model.InitialExecutionUnitRunLevel),
		of("Vendor", func(e *model.ExecEnv) any { return text(e.Vendor) }),
		of("Version", func(e *model.ExecEnv) any { return text(e.Version) }),
		from("ParentExecEnv", func(v *view, e *model.ExecEnv) any { return v.env(e.Parent) }),
		of("AllocatedDiskSpace", func(e *model.ExecEnv) any { return number(e.AllocatedDisk) }),
		of("AllocatedMemory", func(e *model.ExecEnv) any { return number(e.AllocatedMemory) }),
		of("AllocatedCPUPercent", func(e *model.ExecEnv) any { return number(softwaremodules.Allocated(int64(e.AllocatedCPU))) }),
		of("AvailableDiskSpace", func(e *model.ExecEnv) any { return number(e.AvailableDisk) }),
		of("AvailableMemory", func(e *model.ExecEnv) any { return number(e.AvailableMemory) }),
		from("ActiveExecutionUnits", func(v *view, e *model.ExecEnv) any { return v.active(e.ID) }),
		from("ApplicationData", func(v *view, e *model.ExecEnv) any {
			all := []map[string]dbus.Variant{}
			for _, x := range v.applicationData(e.ID) {
				all = append(all, map[string]dbus.Variant{
					"Number":          dbus.MakeVariant(x.ID),
					"Alias":           dbus.MakeVariant(text(x.Alias)),
					"ApplicationUUID": dbus.MakeVariant(text(x.UUID)),
					"Name":            dbus.MakeVariant(text(x.Name)),
					"Capacity":        dbus.MakeVariant(x.Capacity),
					"Encrypted":       dbus.MakeVariant(x.Encrypted),
					"Retain":          dbus.MakeVariant(text(string(x.Retain))),
					"AccessPath":      dbus.MakeVariant(text(x.AccessPath)),
					"Utilization":     dbus.MakeVariant(x.Utilization),
				})
			}
			return all
		}),
		of("RestartReason", func(e *model.ExecEnv) any { return text(e.RestartReason) }),
		of("RestartCount", func(e *model.ExecEnv) any { return e.RestartCount }),
		of("LastRestarted", func(e *model.ExecEnv) any { return dateTime(e.LastRestarted) }),
	},
	xml.DeploymentUnit: {
		of("Missing", func(u *model.DeploymentUnit) any { return u.Missing }),
		of("UUID", func(u *model.DeploymentUnit) any { return text(u.UUID) }),
		of("DUID", func(u *model.DeploymentUnit) any { return text(u.DUID) }),
		writable(of("Alias", func(u *model.DeploymentUnit) any { return text(u.Alias) }), model.Alias),
		of("Name", func(u *model.DeploymentUnit) any { return text(u.Name) }),
		of("Status", func(u *model.DeploymentUnit) any { return text(string(u.Status)) }),
		of("Resolved", func(u *model.DeploymentUnit) any { return u.Resolved }),
		of("URL", func(u *model.DeploymentUnit) any { return text(u.URL) }),
		of("Description", func(u *model.DeploymentUnit) any { return text(u.Description) }),
		of("Vendor", func(u *model.DeploymentUnit) any { return text(u.Vendor) }),
		of("Version", func(u *model.DeploymentUnit) any { return text(u.Version) }),
		from("ExecutionUnitList", func(v *view, u *model.DeploymentUnit) any { return v.unitsOf(u.ID) }),
		from("ExecutionEnvRef", func(v *view, u *model.DeploymentUnit) any { return v.env(u.Env) }),
		of("Installed", func(u *model.DeploymentUnit) any { return dateTime(u.Installed) }),
		of("LastUpdate", func(u *model.DeploymentUnit) any { return dateTime(u.LastUpdate) }),
		of("ModuleVersion", func(u *model.DeploymentUnit) any { return text(u.ModuleVersion) }),
	},
	xml.ExecutionUnit: {
		from("DeploymentUnit", func(v *view, u *model.ExecutionUnit) any { return v.deploymentUnit(u.DU) }),
		of("PIDs", func(u *model.ExecutionUnit) any { return append([]uint32{}, u.PIDs...) }),
		of("LogPath", func(u *model.ExecutionUnit) any { return text(u.LogPath) }),
		of("CreationTime", func(u *model.ExecutionUnit) any { return dateTime(u.Created) }),
		of("ExitCode", func(u *model.ExecutionUnit) any { return number(int64(u.ExitCode)) }),
		of("EUID", func(u *model.ExecutionUnit) any { return text(u.EUID) }),
		writable(of("Alias", func(u *model.ExecutionUnit) any { return text(u.Alias) }), model.Alias),
		of("Name", func(u *model.ExecutionUnit) any { return text(u.Name) }),
		of("ExecEnvLabel", func(u *model.ExecutionUnit) any { return text(u.Label) }),
		of("Status", func(u *model.ExecutionUnit) any { return text(string(u.Status)) }),
		of("ExecutionFaultCode", func(u *model.ExecutionUnit) any { return text(string(u.FaultCode)) }),
		of("ExecutionFaultMessage", func(u *model.ExecutionUnit) any { return text(u.FaultMessage) }),
		writable(of("AutoStart", func(u *model.ExecutionUnit) any { return u.AutoStart }), model.AutoStart),
		writable(of("RunLevel", func(u *model.ExecutionUnit) any { return level(u.RunLevel) }), model.RunLevel),
		of("Vendor", func(u *model.ExecutionUnit) any { return text(u.Vendor) }),
		of("Version", func(u *model.ExecutionUnit) any { return text(u.Version) }),
		of("Description", func(u *model.ExecutionUnit) any { return text(u.Description) }),
		from("AllocatedDiskSpace", func(v *view, u *model.ExecutionUnit) any {
			return number(softwaremodules.Allocated(v.snap.SettingsOf(u).Limits.Disk))
		}),
		from("AllocatedMemory", func(v *view, u *model.ExecutionUnit) any {
			return number(softwaremodules.Allocated(v.snap.SettingsOf(u).Limits.Memory))
		}),
		from("AllocatedCPUPercent", func(v *view, u *model.ExecutionUnit) any {
			return number(softwaremodules.Allocated(int64(v.snap.SettingsOf(u).Limits.CPU)))
		}),
		from("EnvVariables", func(v *view, u *model.ExecutionUnit) any {
			all := map[string]string{}
			for _, x := range v.snap.SettingsOf(u).Variables {
				all[text(x.Key)] = text(x.Value)
			}
			return all
		}),
		of("DiskSpaceInUse", func(u *model.ExecutionUnit) any { return number(u.Disk) }),
		of("MemoryInUse", func(u *model.ExecutionUnit) any { return number(u.Memory) }),
		from("ExecutionEnvRef", func(v *view, u *model.ExecutionUnit) any { return v.env(u.Env) }),
	},
	xml.Job: {
		of("Operation", func(j *model.Job) any { return text(j.Operation) }),
		of("State", func(j *model.Job) any { return text(string(j.State)) }),
		of("Progress", func(j *model.Job) any { return j.Progress }),
		of("BytesDone", func(j *model.Job) any { return j.BytesDone }),
		of("BytesTotal", func(j *model.Job) any { return j.BytesTotal }),
		of("StartTime", func(j *model.Job) any { return microseconds(j.StartTime) }),
		of("Objects", func(j *model.Job) any {
			paths := make([]dbus.ObjectPath, len(j.Objects))
			for i, r := range j.Objects {
				paths[i] = path(r)
			}
			return paths
		}),
		of("Originator", func(j *model.Job) any { return text(j.Originator.Name) }),
		of("Message", func(j *model.Job) any { return text(j.Message) }),
		of("FaultName", func(j *model.Job) any { return j.Fault.Name() }),
		of("FaultCWMP", func(j *model.Job) any { return faultNumber(j, cwmp.DUResult) }),
		of("FaultUSP", func(j *model.Job) any { return faultNumber(j, usp.Event) }),
		of("FaultUSPComplete", func(j *model.Job) any { return faultNumber(j, usp.OperationComplete) }),
		of("FaultString", func(j *model.Job) any {
			if j.Fault == fault.None {
				return ""
			}
			return text(j.Message)
		}),
	},
}

// rootProperties returns the properties of the agent itself.
func rootProperties(opts Options) []property {
	constant := func(name, value string) property {
		return property{name: name, get: func(*view, any) any { return text(value) }}
	}
	count := func(name string, k model.Kind) property {
		return property{name: name, get: func(v *view, _ any) any { return uint32(v.snap.Count(k)) }}
	}
	return []property{
		constant("Version", opts.Version),
		constant("DataModel", opts.DataModel),
		{name: "State", get: func(v *view, _ any) any { return text(v.snap.State) }},
		count("ExecEnvNumberOfEntries", model.KindExecEnv),
		count("DeploymentUnitNumberOfEntries", model.KindDeploymentUnit),
		count("ExecutionUnitNumberOfEntries", model.KindExecutionUnit),
	}
}

// path returns the object path of a row.
func path(r model.Ref) dbus.ObjectPath { return dbus.ObjectPath(xml.Path(r)) }

// number fits a number into the int of the data model, which has 32 bits.
func number(n int64) int32 { return int32(min(max(n, math.MinInt32), math.MaxInt32)) }

// level fits a run level into an unsignedInt.
func level(n int) uint32 { return uint32(max(n, 0)) }

// dateTime writes a time as the data model does; a zero time is its Unknown Time (TR-106 3.2, dateTime).
func dateTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// microseconds returns the time since 1970, 0 for a time that is unknown or earlier.
func microseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixMicro(), 0))
}

// faultNumber returns the number of a job's fault, 0 while it has none.
func faultNumber(j *model.Job, code func(fault.Reason) uint32) uint32 {
	if j.Fault == fault.None {
		return 0
	}
	return code(j.Fault)
}

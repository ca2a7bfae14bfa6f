package client

import (
	"time"

	"github.com/godbus/dbus/v5"
)

// An Object is an *[ExecEnv], *[DeploymentUnit], *[ExecutionUnit] or *[Job]. Objects that this package hands out are the
// caller's to keep; nothing changes them later.
type Object interface {
	// Reference names the object.
	Reference() Ref

	clone() Object
}

// An ExecEnv is an execution environment: Device.SoftwareModules.ExecEnv.{i}. as properties of org.smmd.ExecEnv1. Sizes are
// in KiB, -1 when unknown; a limit is -1 when there is none.
type ExecEnv struct {
	Ref
	ID                           string            `dbus:"ID" json:"id"`           // the configured name
	Adapter                      string            `dbus:"Adapter" json:"adapter"` // kind of the adapter that drives it
	Alias                        string            `dbus:"Alias" json:"alias"`
	Name                         string            `dbus:"Name" json:"name"` // the environment's own name: the framework's UUID for OSGi
	Type                         string            `dbus:"Type" json:"type"`
	Vendor                       string            `dbus:"Vendor" json:"vendor"`
	Version                      string            `dbus:"Version" json:"version"`
	Enable                       bool              `dbus:"Enable" json:"enable"`
	Status                       string            `dbus:"Status" json:"status"`
	StatusDetail                 string            `dbus:"StatusDetail" json:"status_detail"` // why Status is what it is
	InitialRunLevel              int64             `dbus:"InitialRunLevel" json:"initial_run_level"`
	CurrentRunLevel              int64             `dbus:"CurrentRunLevel" json:"current_run_level"` // -1: it has none
	InitialExecutionUnitRunLevel int64             `dbus:"InitialExecutionUnitRunLevel" json:"initial_execution_unit_run_level"`
	Parent                       dbus.ObjectPath   `dbus:"ParentExecEnv" json:"parent"` // empty: none
	AllocatedDisk                int64             `dbus:"AllocatedDiskSpace" json:"allocated_disk_kib"`
	AvailableDisk                int64             `dbus:"AvailableDiskSpace" json:"available_disk_kib"`
	AllocatedMemory              int64             `dbus:"AllocatedMemory" json:"allocated_memory_kib"`
	AvailableMemory              int64             `dbus:"AvailableMemory" json:"available_memory_kib"`
	AllocatedCPU                 int64             `dbus:"AllocatedCPUPercent" json:"allocated_cpu_percent"`
	ActiveExecutionUnits         []dbus.ObjectPath `dbus:"ActiveExecutionUnits" json:"active_execution_units"`
	ApplicationData              []Volume          `dbus:"ApplicationData" json:"application_data"` // by ascending number
	RestartReason                string            `dbus:"RestartReason" json:"restart_reason"`
	RestartCount                 int64             `dbus:"RestartCount" json:"restart_count"`
	LastRestarted                time.Time         `dbus:"LastRestarted" json:"last_restarted,omitzero"`
}

// A DeploymentUnit is one version of a unit on one environment: Device.SoftwareModules.DeploymentUnit.{i}. as properties of
// org.smmd.DeploymentUnit1.
type DeploymentUnit struct {
	Ref
	UUID           string            `dbus:"UUID" json:"uuid"`
	Version        string            `dbus:"Version" json:"version"`
	DUID           string            `dbus:"DUID" json:"duid"`
	Alias          string            `dbus:"Alias" json:"alias"`
	Name           string            `dbus:"Name" json:"name"`
	Vendor         string            `dbus:"Vendor" json:"vendor"`
	Description    string            `dbus:"Description" json:"description"`
	URL            string            `dbus:"URL" json:"url"`
	Status         string            `dbus:"Status" json:"status"`
	Resolved       bool              `dbus:"Resolved" json:"resolved"`
	Missing        bool              `dbus:"Missing" json:"missing"`          // its environment is up and does not have it
	ExecEnv        dbus.ObjectPath   `dbus:"ExecutionEnvRef" json:"exec_env"` // empty: the environment is not configured any more
	ExecutionUnits []dbus.ObjectPath `dbus:"ExecutionUnitList" json:"execution_units"`
	Installed      time.Time         `dbus:"Installed" json:"installed,omitzero"`
	LastUpdate     time.Time         `dbus:"LastUpdate" json:"last_update,omitzero"`
	ModuleVersion  string            `dbus:"ModuleVersion" json:"module_version,omitempty"`
}

// An ExecutionUnit is something that runs: Device.SoftwareModules.ExecutionUnit.{i}. as properties of
// org.smmd.ExecutionUnit1. Sizes are in KiB, -1 when unknown; a limit is -1 when there is none.
type ExecutionUnit struct {
	Ref
	EUID            string            `dbus:"EUID" json:"euid"`
	Alias           string            `dbus:"Alias" json:"alias"`
	Name            string            `dbus:"Name" json:"name"`
	Label           string            `dbus:"ExecEnvLabel" json:"label"`
	Vendor          string            `dbus:"Vendor" json:"vendor"`
	Version         string            `dbus:"Version" json:"version"`
	Description     string            `dbus:"Description" json:"description"`
	Status          string            `dbus:"Status" json:"status"`
	FaultCode       string            `dbus:"ExecutionFaultCode" json:"fault_code"` // NoFault when nothing is wrong
	FaultMessage    string            `dbus:"ExecutionFaultMessage" json:"fault_message"`
	AutoStart       bool              `dbus:"AutoStart" json:"auto_start"`
	RunLevel        int64             `dbus:"RunLevel" json:"run_level"`
	ExecEnv         dbus.ObjectPath   `dbus:"ExecutionEnvRef" json:"exec_env"`
	DeploymentUnit  dbus.ObjectPath   `dbus:"DeploymentUnit" json:"deployment_unit"`
	PIDs            []uint32          `dbus:"PIDs" json:"pids"`
	MemoryInUse     int64             `dbus:"MemoryInUse" json:"memory_in_use_kib"`
	DiskInUse       int64             `dbus:"DiskSpaceInUse" json:"disk_in_use_kib"`
	AllocatedMemory int64             `dbus:"AllocatedMemory" json:"allocated_memory_kib"`
	AllocatedDisk   int64             `dbus:"AllocatedDiskSpace" json:"allocated_disk_kib"`
	AllocatedCPU    int64             `dbus:"AllocatedCPUPercent" json:"allocated_cpu_percent"` // of its environment
	Variables       map[string]string `dbus:"EnvVariables" json:"variables"`                    // given to its deployment unit
	LogPath         string            `dbus:"LogPath" json:"log_path"`
	ExitCode        int64             `dbus:"ExitCode" json:"exit_code"` // of the last end of its main process, -1 none or unknown
	Created         time.Time         `dbus:"CreationTime" json:"created,omitzero"`
}

// A Job is work that the agent has accepted: the properties of org.smmd.Job1.
type Job struct {
	Ref
	Operation        string            `dbus:"Operation" json:"operation"`
	State            string            `dbus:"State" json:"state"`            // queued, fetching, …; done, failed and cancelled are final
	Progress         float64           `dbus:"Progress" json:"progress"`      // 0..1, 1 only with a final state
	BytesDone        uint64            `dbus:"BytesDone" json:"bytes_done"`   // of the download
	BytesTotal       uint64            `dbus:"BytesTotal" json:"bytes_total"` // 0: unknown
	StartTime        time.Time         `dbus:"StartTime" json:"start_time,omitzero"`
	Objects          []dbus.ObjectPath `dbus:"Objects" json:"objects"`                     // what it works on, as far as known
	FaultName        string            `dbus:"FaultName" json:"fault_name"`                // empty: no fault
	FaultCWMP        uint32            `dbus:"FaultCWMP" json:"fault_cwmp"`                // of the result of the deployment unit
	FaultUSP         uint32            `dbus:"FaultUSP" json:"fault_usp"`                  // of the event DUStateChange!
	FaultUSPComplete uint32            `dbus:"FaultUSPComplete" json:"fault_usp_complete"` // of the event OperationComplete
	FaultString      string            `dbus:"FaultString" json:"fault_string"`
	Message          string            `dbus:"Message" json:"message"`       // of the fault, or a remark on the success
	Originator       string            `dbus:"Originator" json:"originator"` // who asked
}

// States of a job that are final.
const (
	JobDone      = "done"
	JobFailed    = "failed"
	JobCancelled = "cancelled"
)

// Final reports whether the job has ended.
func (j *Job) Final() bool {
	return j.State == JobDone || j.State == JobFailed || j.State == JobCancelled
}

// Err returns nil for a job that is done or still open, and the fault as an *[Error] for one that failed or was canceled.
func (j *Job) Err() error {
	if !j.Final() || j.State == JobDone {
		return nil
	}
	e := &Error{Name: j.FaultName, DBus: errorPrefix + j.FaultName, Message: j.FaultString, CWMP: j.FaultCWMP, USP: j.FaultUSPComplete}
	switch j.Operation {
	case "install", "update", "uninstall": // whose faults DUStateChange! tells
		e.USP = j.FaultUSP
	}
	if e.Name == "" { // it ended without a fault of its own
		e.Name, e.DBus = j.State, ""
	}
	if e.Message == "" {
		e.Message = "cannot " + j.Operation + ": " + j.String() + " " + j.State
	}
	return e
}

// Reference names the object.
func (r Ref) Reference() Ref { return r }

func (e *ExecEnv) clone() Object        { c := *e; return &c }
func (u *DeploymentUnit) clone() Object { c := *u; return &c }
func (u *ExecutionUnit) clone() Object  { c := *u; return &c }
func (j *Job) clone() Object            { c := *j; return &c }

// newObject returns an empty object for path, nil when it is none of the agent's.
func newObject(path dbus.ObjectPath) Object {
	r, ok := newRef(path)
	if !ok {
		return nil
	}
	switch r.Kind() {
	case KindExecEnv:
		return &ExecEnv{Ref: r, ActiveExecutionUnits: []dbus.ObjectPath{}, ApplicationData: []Volume{}}
	case KindDeploymentUnit:
		return &DeploymentUnit{Ref: r, ExecutionUnits: []dbus.ObjectPath{}}
	case KindExecutionUnit:
		return &ExecutionUnit{Ref: r, PIDs: []uint32{}, Variables: map[string]string{}}
	}
	return &Job{Ref: r, Objects: []dbus.ObjectPath{}}
}

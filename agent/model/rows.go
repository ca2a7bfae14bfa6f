package model

import (
	"time"

	"github.com/smmd-project/smmd/agent/fault"
)

// RowID is the surrogate key of a deployment or execution unit. It is given once, survives every update, and is never reused;
// the instance number of the row in the data model is the same number, so both live and die together.
type RowID = uint32

// MaxRunLevel is the highest run level (TR-181: [:65535]).
const MaxRunLevel = 65535

// UnknownSize is the value of a size in KiB that an environment cannot tell (TR-181: -1, not applicable).
const UnknownSize = -1

// MaxFaultMessage is the greatest length of an ExecutionFaultMessage in characters (TR-181).
const MaxFaultMessage = 256

// An ExecEnv is one configured execution environment. Values in the snapshot are immutable: copy before a change.
//
// What has a name in JSON is kept in the store; the rest is learned again from the adapter.
type ExecEnv struct {
	ID       string `json:"id"`       // the configured name, [a-z0-9-]{1,24}: the key of everything
	Instance uint32 `json:"instance"` // instance number in the ExecEnv table, never reused
	Alias    string `json:"alias"`    // default cpe-<ID>
	Adapter  string `json:"adapter"`  // the kind of adapter that drives it
	Parent   string `json:"parent"`   // ID of the environment it is nested in, empty for a primary one
	Enable   bool   `json:"enable"`

	InitialRunLevel              int `json:"initial_run_level"`                // 0..65535
	InitialExecutionUnitRunLevel int `json:"initial_execution_unit_run_level"` // -1..65535

	// Last known, so that the tree can show them while the environment is down.
	Name    string `json:"name"` // ExecEnv.{i}.Name: the framework's UUID for OSGi
	Type    string `json:"type"`
	Vendor  string `json:"vendor"`
	Version string `json:"version"`

	// Launch is the last launch of the environment that was brought to its InitialRunLevel. A sync that tells another
	// one is a start of the environment (TR-181: CurrentRunLevel equals InitialRunLevel right after EE start).
	Launch string `json:"launch"`
	// Level is the run level that the agent keeps for an environment without run levels of its own.
	Level int `json:"level"`
	// Attached: somebody else launches and ends it.
	Attached bool `json:"attached"`
	// InitialLevelPending: the environment has not been told yet of InitialExecutionUnitRunLevel, which is what was asked for.
	InitialLevelPending bool `json:"initial_level_pending"`
	// Seen is true once the first sync has been taken over: what that found is factory state.
	Seen bool `json:"seen"`

	RestartReason string    `json:"restart_reason"`
	RestartCount  uint32    `json:"restart_count"`
	LastRestarted time.Time `json:"last_restarted"`

	Status          EEStatus `json:"-"`
	StatusDetail    string   `json:"-"` // why Status is what it is, for the operator
	Synced          bool     `json:"-"` // it is up and has told all that it holds; what came before was learning, not change
	CurrentRunLevel int      `json:"-"` // 0 while it is down; the agent supplies levels to an environment that has none
	AllocatedDisk   int64    `json:"-"` // KiB, -1 unknown; the same for the next three
	AvailableDisk   int64    `json:"-"`
	AllocatedMemory int64    `json:"-"`
	AvailableMemory int64    `json:"-"`
	AllocatedCPU    int      `json:"-"` // percent of all processors; 0 without a limit
}

// A DeploymentUnit is one row of the DeploymentUnit table: one version of a unit on one environment.
type DeploymentUnit struct {
	ID    RowID  `json:"id"` // also the instance number
	Alias string `json:"alias"`
	Env   string `json:"env"` // ID of its environment
	// Key is the environment's own stable name for the unit: the bundle's location for OSGi.
	Key         string    `json:"key"`
	UUID        string    `json:"uuid"` // lower case
	Version     string    `json:"version"`
	DUID        string    `json:"duid"`
	Name        string    `json:"name"`
	Vendor      string    `json:"vendor"`
	Description string    `json:"description"`
	URL         string    `json:"url"`
	Status      DUStatus  `json:"status"`
	Resolved    bool      `json:"resolved"`
	Installed   time.Time `json:"installed"`   // zero: unknown
	LastUpdate  time.Time `json:"last_update"` // zero: unknown
	// ModuleVersion is what the controller calls the version; the agent makes nothing of it.
	ModuleVersion string `json:"module_version,omitempty"`
	// Settings are what the controller gave to its execution units.
	Settings UnitSettings `json:"settings,omitzero"`
	Missing  bool         `json:"missing"` // the environment is up and does not have it
	// SettingsPending: the environment is to be told Settings. The unit was gone and is there again, or they could not be told when they were set back.
	SettingsPending bool `json:"settings_pending,omitempty"`
}

// Pending reports whether the environment is to be told of Settings.
func (u *DeploymentUnit) Pending() bool {
	return u.SettingsPending && !u.Missing && u.Status == DUInstalled
}

// An ExecutionUnit is one row of the ExecutionUnit table.
type ExecutionUnit struct {
	ID     RowID  `json:"id"` // also the instance number
	Alias  string `json:"alias"`
	DU     RowID  `json:"du"`
	Env    string `json:"env"`
	Module string `json:"module"` // the adapter's name for it within the DU
	EUID   string `json:"euid"`   // <env>/<DU UUID>[#k], at most 64 characters, never changes

	Name        string `json:"name"`
	Label       string `json:"label"` // ExecEnvLabel
	Vendor      string `json:"vendor"`
	Version     string `json:"version"`
	Description string `json:"description"`
	Inert       bool   `json:"inert"`
	AutoStart   bool   `json:"auto_start"`
	RunLevel    int    `json:"run_level"`
	// The environment has not been told yet of what was set: the row holds what was asked for.
	AutoStartPending bool `json:"auto_start_pending"`
	RunLevelPending  bool `json:"run_level_pending"`

	Created time.Time   `json:"created,omitzero"` // when its row was made; zero: unknown
	Restart AutoRestart `json:"auto_restart,omitzero"`

	Status EUStatus `json:"-"`
	// Restarting: it is being stopped in order to be started again (TR-181, Restart()), so what would be Idle is EURestarting.
	Restarting   bool      `json:"-"`
	FaultCode    FaultCode `json:"-"`
	FaultMessage string    `json:"-"` // empty exactly when FaultCode is NoFault; at most MaxFaultMessage characters
	// FaultHeld: the unit ended together with its environment, and FaultCode says how. That holds over the next launch, until the unit is
	// seen at work again or something else is asked of it.
	FaultHeld bool `json:"-"`
	// FaultsUntold are faults that answers of the environment have named and its news has not yet, the oldest first; the last is FaultCode.
	FaultsUntold []FaultCode `json:"-"`
	PIDs         []uint32    `json:"-"`
	Memory       int64       `json:"-"` // KiB, -1 unknown
	Disk         int64       `json:"-"` // KiB, -1 unknown
	ExitCode     int         `json:"-"` // of the last end of its main process, -1 none or unknown
	LogPath      string      `json:"-"`
}

// Pending reports whether the environment has not been told yet of something that was set.
func (u *ExecutionUnit) Pending() bool { return u.AutoStartPending || u.RunLevelPending }

// A Job is an operation as its observers see it.
type Job struct {
	ID         uint32
	Operation  string // install, update, uninstall, start, stop, restart, enable, disable, run-level, restart-exec-env, reset-exec-env, configure, constrain
	State      JobState
	Progress   float64 // 0..1; 1 only together with a final state
	BytesDone  uint64
	BytesTotal uint64 // 0: unknown
	StartTime  time.Time
	Objects    []Ref // what it works on, as far as known
	Fault      fault.Reason
	Message    string // of the fault, or a remark on the success; free of credentials
	Originator Origin // who asked
	Canceling  bool   // it was canceled, and has not ended
}

// Kind is a table of the data model.
type Kind string

// The tables, by the last word of their object paths on D-Bus and in the data model.
const (
	KindExecEnv        Kind = "ExecEnv"
	KindDeploymentUnit Kind = "DeploymentUnit"
	KindExecutionUnit  Kind = "ExecutionUnit"
	KindJob            Kind = "Job"
)

// KindVolume is the table ApplicationData of an environment. It has no objects of its own on D-Bus.
const KindVolume Kind = "ApplicationData"

// KindPolicy is ManagementServer.DUStateChangeComplPolicy., which is no table: its Ref has no instance.
const KindPolicy Kind = "DUStateChangeComplPolicy"

// A Ref names a row.
type Ref struct {
	Kind     Kind
	Instance uint32
}

// AdapterInfo says how an adapter process is.
type AdapterInfo struct {
	Name         string
	Version      string
	Capabilities []string
	State        string // starting, running, backing-off, broken
	Detail       string // why it is not running
	PID          int    // 0: no process
	Restarts     int    // since the agent started
}

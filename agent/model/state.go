// Package model is the domain: execution environments, deployment units, execution units and the jobs that change them,
// with their state machines. It does no I/O, reads no clock and imports nothing else of this module but package fault.
//
// Status values are the strings of the data model itself (TR-181 Issue 2, Device.SoftwareModules.). They are stored and sent,
// so they never change.
package model

import "github.com/smmd-project/smmd/agent/fault"

// DUStatus is Device.SoftwareModules.DeploymentUnit.{i}.Status.
type DUStatus string

// The states of a deployment unit (TR-181, DeploymentUnit.{i}.Status). A row that is Uninstalled vanishes in the same commit.
const (
	DUInstalling   DUStatus = "Installing"
	DUInstalled    DUStatus = "Installed"
	DUUpdating     DUStatus = "Updating"
	DUUninstalling DUStatus = "Uninstalling"
	DUUninstalled  DUStatus = "Uninstalled"
)

// EUStatus is Device.SoftwareModules.ExecutionUnit.{i}.Status.
type EUStatus string

// The states of an execution unit (TR-181, ExecutionUnit.{i}.Status; Restarting is told to USP only).
const (
	EUIdle       EUStatus = "Idle"
	EUStarting   EUStatus = "Starting"
	EUActive     EUStatus = "Active"
	EUStopping   EUStatus = "Stopping"
	EURestarting EUStatus = "Restarting"
)

// EEStatus is Device.SoftwareModules.ExecEnv.{i}.Status.
type EEStatus string

// The states of an execution environment (TR-181, ExecEnv.{i}.Status; Restarting is told to USP only).
const (
	EEUp         EEStatus = "Up"
	EEError      EEStatus = "Error"
	EEDisabled   EEStatus = "Disabled"
	EERestarting EEStatus = "Restarting"
)

// FaultCode is Device.SoftwareModules.ExecutionUnit.{i}.ExecutionFaultCode.
type FaultCode string

// The faults of an execution unit (TR-181, ExecutionUnit.{i}.ExecutionFaultCode).
const (
	NoFault            FaultCode = "NoFault"
	FailureOnStart     FaultCode = "FailureOnStart"
	FailureOnAutoStart FaultCode = "FailureOnAutoStart"
	FailureOnStop      FaultCode = "FailureOnStop"
	FailureWhileActive FaultCode = "FailureWhileActive"
	DependencyFailure  FaultCode = "DependencyFailure"
	UnStartable        FaultCode = "UnStartable"
)

// duTransitions is the only place where DU transitions are written down (TR-369 I.2.1, TR-069 Figure 29).
var duTransitions = map[DUStatus]map[DUStatus]bool{
	"":             {DUInstalling: true, DUInstalled: true},  // requested; found in the environment
	DUInstalling:   {DUInstalled: true, DUUninstalled: true}, // failed: the row goes
	DUInstalled:    {DUUpdating: true, DUUninstalling: true},
	DUUpdating:     {DUInstalled: true}, // success and failure alike
	DUUninstalling: {DUUninstalled: true, DUInstalled: true},
}

// CanBecome reports whether a deployment unit may go from s to next.
func (s DUStatus) CanBecome(next DUStatus) bool { return duTransitions[s][next] }

// A Request is what somebody asks of an execution unit.
type Request string

// The requests to an execution unit.
const (
	RequestIdle    Request = "Idle"    // RequestedState or SetRequestedState() = Idle
	RequestActive  Request = "Active"  // RequestedState or SetRequestedState() = Active
	RequestRestart Request = "Restart" // Restart()
)

// An Answer says what becomes of a [Request].
type Answer int

// The answers; not stored, not sent.
const (
	Refuse Answer = iota // a fault
	Ignore               // success without effect
	Obey                 // the transition begins
)

// euRequests is the only place where the answers to requests are written down (TR-181, ExecutionUnit.{i}.RequestedState,
// SetRequestedState() and Restart()).
var euRequests = map[Request]map[EUStatus]Answer{
	RequestIdle:    {EUIdle: Ignore, EUStarting: Obey, EUActive: Obey, EUStopping: Ignore, EURestarting: Obey},
	RequestActive:  {EUIdle: Obey, EUStarting: Ignore, EUActive: Ignore, EUStopping: Refuse, EURestarting: Ignore},
	RequestRestart: {EUIdle: Obey, EUStarting: Obey, EUActive: Obey, EUStopping: Refuse, EURestarting: Ignore},
}

// AtWork reports whether a unit in state s runs or is about to.
func (s EUStatus) AtWork() bool { return s == EUActive || s == EUStarting || s == EURestarting }

// Answer says what becomes of request r made to an execution unit in state s.
func (s EUStatus) Answer(r Request) Answer { return euRequests[r][s] }

// JobState is the state of a job as org.smmd.Job1 tells it.
type JobState string

// The states of a job. The last three are final.
const (
	JobQueued       JobState = "queued"
	JobFetching     JobState = "fetching"
	JobVerifying    JobState = "verifying"
	JobInspecting   JobState = "inspecting"
	JobInstalling   JobState = "installing"
	JobUpdating     JobState = "updating"
	JobUninstalling JobState = "uninstalling"
	JobRecording    JobState = "recording"
	JobStarting     JobState = "starting"
	JobStopping     JobState = "stopping"
	JobRestarting   JobState = "restarting"
	JobConfiguring  JobState = "configuring" // levels, AutoStart, Enable
	JobUndoing      JobState = "undoing"
	JobDone         JobState = "done"
	JobFailed       JobState = "failed"
	JobCancelled    JobState = "cancelled"
)

// Final reports whether a job in this state has ended.
func (s JobState) Final() bool { return s == JobDone || s == JobFailed || s == JobCancelled }

// FaultOf returns the class of error with which a deployment unit in state s refuses a new operation, or
// [fault.None] when it takes one (TR-069 VI.5.1: conflicts with the state machine).
func FaultOf(s DUStatus) fault.Reason {
	if s == DUInstalled {
		return fault.None
	}
	return fault.InvalidDUState
}

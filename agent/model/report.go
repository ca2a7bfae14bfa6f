package model

import (
	"time"

	"github.com/smmd-project/smmd/agent/fault"
)

// Performed is what an operation did to a deployment unit, by the words of the data model (TR-069 Table 83 and TR-181 DUStateChange!,
// OperationPerformed).
type Performed string

// The operations on deployment units.
const (
	PerformedInstall   Performed = "Install"
	PerformedUpdate    Performed = "Update"
	PerformedUninstall Performed = "Uninstall"
)

// ResultState is the state that an operation left a deployment unit in (TR-069 Table 80 and TR-181 DUStateChange!, CurrentState).
type ResultState string

// The states of a result. A failed update or uninstall leaves the unit Installed; Failed is an install that left nothing.
const (
	ResultInstalled   ResultState = "Installed"
	ResultUninstalled ResultState = "Uninstalled"
	ResultFailed      ResultState = "Failed"
)

// A Result is what became of one deployment unit: one OpResultStruct (TR-069 Table 80), one DUStateChange! event (TR-181).
// It names rows by number, also rows that are gone.
type Result struct {
	Performed Performed    `json:"performed"`
	UUID      string       `json:"uuid"`              // empty: not known, the package was never read
	DU        RowID        `json:"du,omitempty"`      // 0: there is no row and never was
	Env       string       `json:"env,omitempty"`     // ID of the environment; empty: none was chosen
	Version   string       `json:"version,omitempty"` // installed, updated to, or removed; of a failed update: the present one
	State     ResultState  `json:"state"`
	Resolved  bool         `json:"resolved"` // true for an uninstall
	EUs       []RowID      `json:"eus,omitempty"`
	Start     time.Time    `json:"start"`    // of the operation; zero: not known
	Transfer  time.Time    `json:"transfer"` // of the transfer, as USP has it; zero: there was none
	Complete  time.Time    `json:"complete"` // zero: not known
	Fault     fault.Reason `json:"fault,omitempty"`
	Message   string       `json:"message,omitempty"` // empty on success; at most 256 characters, free of credentials
}

// ReportKind is the RPC that a report is delivered by (TR-069 A.4.2.3, A.4.2.4).
type ReportKind string

// The kinds of reports.
const (
	ReportRequested  ReportKind = "DUStateChangeComplete"
	ReportAutonomous ReportKind = "AutonomousDUStateChangeComplete"
)

// A Report is what waits to be delivered to the ACS: the results of one ChangeDUState, or of what happened without one. It stays over
// restarts and reboots until it is acknowledged or a CWMP baseline is recorded (TR-069 Table 8: dropped at BOOTSTRAP).
type Report struct {
	ID         uint64     `json:"id"`
	Kind       ReportKind `json:"kind"`
	CommandKey string     `json:"command_key,omitempty"` // of the ChangeDUState; may be empty
	Results    []Result   `json:"results"`               // in the order of the request
}

// A UnitOperation is one element of ChangeDUState (TR-069 Tables 71 to 73). Which fields a kind has is in those tables; the others are empty.
type UnitOperation struct {
	Performed Performed
	URL       string
	UUID      string
	Version   string // Update, Uninstall: the present version that is meant
	ExecEnv   string // Install, Uninstall: ID of the environment; empty: chosen by the agent, or all
	Username  string
	Password  string
	// Refused is why the element is at fault as the face sees it, for example an environment that does not exist. The operation is not attempted; its
	// result says so.
	Refused error
}

// A ChangeRequest is one ChangeDUState (TR-069 A.4.1.10).
type ChangeRequest struct {
	Operations []UnitOperation
	CommandKey string // at most 32 characters, may be empty
	// Token makes a repetition the same request again; empty: each call is a new one. A token is known for as long as the report of its request
	// is kept, and a day longer.
	Token      string
	Originator Origin
}

// Policy is ManagementServer.DUStateChangeComplPolicy.: which changes without a request are reported (TR-157 Amendment 3, TR-181).
type Policy struct {
	Enable     bool        `json:"enable"`
	Operations []Performed `json:"operations"` // OperationTypeFilter
	Results    string      `json:"results"`    // ResultTypeFilter: Success, Failure or Both
	FaultCodes []uint32    `json:"fault_codes"`
}

// NotificationKind is the kind of a USP notification (TR-369, Notify).
type NotificationKind string

// The kinds of notifications that are kept.
const (
	NotifyDUStateChange     NotificationKind = "DUStateChange"
	NotifyRestarted         NotificationKind = "Restarted"
	NotifyOperationComplete NotificationKind = "OperationComplete"
)

// A Notification is something USP is to tell of. It is kept over restarts until it is acknowledged.
type Notification struct {
	ID   uint64           `json:"id"`
	Kind NotificationKind `json:"kind"`
	Time time.Time        `json:"time"`

	Result *Result `json:"result,omitempty"` // of DUStateChange

	Env    string `json:"env,omitempty"` // of Restarted
	Reason string `json:"reason,omitempty"`

	Job     uint32       `json:"job,omitempty"` // of OperationComplete: the job that has ended
	Origin  Origin       `json:"origin,omitzero"`
	Fault   fault.Reason `json:"fault,omitempty"` // none: it succeeded
	Message string       `json:"message,omitempty"`
	Outputs []Result     `json:"outputs,omitempty"` // what the outputs of the command are taken from
}

// AttributeDefault is set in the place of a notification attribute when a parameter is to have the one that the data model begins with.
const AttributeDefault = -1

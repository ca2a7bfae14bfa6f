// Package usp says in the words of USP (TR-369 1.4.1) what the agent says in its own: messages, commands, notifications and the numbers of
// faults.
//
// A [Face] answers for Device.SoftwareModules. only. It keeps nothing between two calls: each call reads one snapshot, so what it tells
// belongs to one moment.
//
// The same fault has different numbers, depending on where it is told: in the answer to an Operate message, in the
// OperationComplete notification, in the DUStateChange! event, and in the answer to a Set. The sources leave gaps; how they are filled is written down in
// docs/decisions/0001-fault-numbers.md, and docs/faults.md shows the outcome.
package usp

import "github.com/smmd-project/smmd/agent/fault"

// The error codes of TR-369 1.4.1 and of DUStateChange! (TR-181 Issue 2, USP) that the agent uses.
const (
	RequestDenied           uint32 = 7002 // no reason specified
	InternalError           uint32 = 7003
	InvalidArguments        uint32 = 7004
	ResourcesExceeded       uint32 = 7005
	InvalidPathSyntax       uint32 = 7008
	ParameterActionFailed   uint32 = 7009
	UnsupportedParameter    uint32 = 7010
	InvalidType             uint32 = 7011
	InvalidValue            uint32 = 7012
	NonWritableParameter    uint32 = 7013
	ValueConflict           uint32 = 7014
	ObjectDoesNotExist      uint32 = 7016
	NotATable               uint32 = 7018
	NonCreatableObject      uint32 = 7019
	ObjectNotUpdated        uint32 = 7020
	RequiredParameterFailed uint32 = 7021
	CommandFailure          uint32 = 7022
	CommandCanceled         uint32 = 7023
	DeleteFailure           uint32 = 7024
	InvalidPath             uint32 = 7026
	InvalidCommandArguments uint32 = 7027
	ServerUnreachable       uint32 = 7033
	ServerInsecure          uint32 = 7034
	CorruptData             uint32 = 7035
	BadSignature            uint32 = 7036
	UnknownExecEnv          uint32 = 7223
	DUExecEnvMismatch       uint32 = 7225
	DuplicateDU             uint32 = 7226
	SystemResourcesExceeded uint32 = 7227
	InvalidDUState          uint32 = 7229
)

// numbers is a line for each reason: in DUStateChange!, in the answer to Operate, in OperationComplete.
var numbers = map[fault.Reason]struct{ event, operate, complete uint32 }{
	// event, operate, complete
	fault.Internal:                    {RequestDenied, InternalError, InternalError},
	fault.RequestDenied:               {RequestDenied, RequestDenied, RequestDenied},
	fault.InvalidArguments:            {InvalidArguments, InvalidCommandArguments, InvalidArguments},
	fault.NotSupported:                {RequestDenied, CommandFailure, CommandFailure},
	fault.Canceled:                    {RequestDenied, CommandFailure, CommandCanceled},
	fault.TooManyOperations:           {RequestDenied, ResourcesExceeded, ResourcesExceeded},
	fault.DeadlineExceeded:            {RequestDenied, CommandFailure, CommandFailure},
	fault.TransferServerUnreachable:   {ServerUnreachable, CommandFailure, CommandFailure},
	fault.TransferInsecure:            {ServerInsecure, CommandFailure, CommandFailure},
	fault.TransferFileUnavailable:     {ServerUnreachable, CommandFailure, CommandFailure},
	fault.TransferAuthentication:      {RequestDenied, CommandFailure, CommandFailure},
	fault.TransferProtocolUnsupported: {InvalidArguments, InvalidCommandArguments, InvalidArguments},
	fault.TransferIncomplete:          {ServerUnreachable, CommandFailure, CommandFailure},
	fault.PackageCorrupt:              {CorruptData, CommandFailure, CommandFailure},
	fault.PackageUntrusted:            {BadSignature, CommandFailure, CommandFailure},
	fault.InvalidUUID:                 {InvalidArguments, InvalidCommandArguments, InvalidArguments},
	fault.UnknownExecEnv:              {UnknownExecEnv, ObjectDoesNotExist, ObjectDoesNotExist},
	fault.DisabledExecEnv:             {InvalidValue, CommandFailure, CommandFailure},
	fault.ExecEnvUnavailable:          {RequestDenied, CommandFailure, CommandFailure},
	fault.DUExecEnvMismatch:           {DUExecEnvMismatch, CommandFailure, CommandFailure},
	fault.DuplicateDU:                 {DuplicateDU, CommandFailure, CommandFailure},
	fault.SystemResourcesExceeded:     {SystemResourcesExceeded, ResourcesExceeded, ResourcesExceeded},
	fault.UnknownDU:                   {RequestDenied, ObjectDoesNotExist, ObjectDoesNotExist},
	fault.InvalidDUState:              {InvalidDUState, CommandFailure, CommandFailure},
	fault.DowngradeNotPermitted:       {RequestDenied, CommandFailure, CommandFailure},
	fault.VersionNotSpecified:         {RequestDenied, InvalidCommandArguments, InvalidArguments},
	fault.VersionExists:               {DuplicateDU, CommandFailure, CommandFailure},
	fault.DependencyUnresolved:        {RequestDenied, CommandFailure, CommandFailure},
	fault.StartFailed:                 {RequestDenied, CommandFailure, CommandFailure},
	fault.StopFailed:                  {RequestDenied, CommandFailure, CommandFailure},
	fault.LimitInUse:                  {RequestDenied, CommandFailure, CommandFailure},
	fault.UnsupportedArgument:         {InvalidArguments, InvalidArguments, InvalidArguments},
	fault.VolumeInUse:                 {InvalidDUState, InvalidDUState, CommandFailure},
}

// Event returns the FaultCode of the DUStateChange! event for reason r (TR-181 Issue 2, USP, DUStateChange!
// Fault.FaultCode). It is 0 for [fault.None]; a reason that is not known counts as internal, here and below.
func Event(r fault.Reason) uint32 { return number(r).event }

// Operate returns the error code for reason r in the answer to an Operate message (TR-369 1.4.1, Operate error codes).
// It is 0 for [fault.None].
func Operate(r fault.Reason) uint32 { return number(r).operate }

// OperationComplete returns the error code for reason r in the OperationComplete notification (TR-369 1.4.1, cmd_failure).
// It is 0 for [fault.None].
func OperationComplete(r fault.Reason) uint32 { return number(r).complete }

// Parameter returns the error code for reason r of a parameter in the answer to a Set (TR-369 1.4.1, Set error codes): what is wrong with the
// value or with the state that it is set in is 7012, a row that vanished 7016, and what has to do with neither is told as it is. It is 0 for
// [fault.None].
func Parameter(r fault.Reason) uint32 {
	switch r {
	case fault.None:
		return 0
	case fault.InvalidArguments, fault.DisabledExecEnv, fault.InvalidDUState:
		return InvalidValue
	case fault.UnknownDU, fault.UnknownExecEnv:
		return ObjectDoesNotExist
	case fault.RequestDenied:
		return RequestDenied
	case fault.TooManyOperations, fault.SystemResourcesExceeded:
		return ResourcesExceeded
	}
	if _, known := numbers[r]; !known || r == fault.Internal {
		return InternalError
	}
	return ParameterActionFailed
}

func number(r fault.Reason) struct{ event, operate, complete uint32 } {
	if n, known := numbers[r]; known || r == fault.None {
		return n
	}
	return numbers[fault.Internal]
}

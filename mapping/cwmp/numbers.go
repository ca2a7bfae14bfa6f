package cwmp

import (
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// The fault codes of TR-069 Issue 1 Amendment 6 Corrigendum 1, Table 87, that the agent uses.
const (
	MethodNotSupported      uint32 = 9000
	RequestDenied           uint32 = 9001 // no reason specified
	InternalError           uint32 = 9002
	InvalidArguments        uint32 = 9003
	ResourcesExceeded       uint32 = 9004
	InvalidParameterName    uint32 = 9005
	InvalidParameterType    uint32 = 9006
	InvalidParameterValue   uint32 = 9007
	NonWritableParameter    uint32 = 9008
	NotificationRejected    uint32 = 9009
	TransferAuthentication  uint32 = 9012
	UnsupportedProtocol     uint32 = 9013
	CannotContactServer     uint32 = 9015
	CannotAccessFile        uint32 = 9016
	CannotCompleteDownload  uint32 = 9017
	FileCorrupted           uint32 = 9018
	InvalidUUID             uint32 = 9022
	UnknownExecEnv          uint32 = 9023
	DisabledExecEnv         uint32 = 9024
	DUExecEnvMismatch       uint32 = 9025
	DuplicateDU             uint32 = 9026
	SystemResourcesExceeded uint32 = 9027
	UnknownDU               uint32 = 9028
	InvalidDUState          uint32 = 9029
	DowngradeNotPermitted   uint32 = 9030
	VersionNotSpecified     uint32 = 9031
	VersionExists           uint32 = 9032
)

// numbers is a line for each reason: in the result of an operation on a deployment unit, as the fault of an RPC, as the fault
// of one parameter.
var numbers = map[fault.Reason]struct{ result, rpc, parameter uint32 }{
	fault.Internal:                    {RequestDenied, InternalError, InvalidParameterValue},
	fault.RequestDenied:               {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.InvalidArguments:            {InvalidArguments, RequestDenied, InvalidParameterValue},
	fault.NotSupported:                {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.Canceled:                    {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.TooManyOperations:           {RequestDenied, ResourcesExceeded, InvalidParameterValue},
	fault.DeadlineExceeded:            {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.TransferServerUnreachable:   {CannotContactServer, RequestDenied, InvalidParameterValue},
	fault.TransferInsecure:            {CannotContactServer, RequestDenied, InvalidParameterValue},
	fault.TransferFileUnavailable:     {CannotAccessFile, RequestDenied, InvalidParameterValue},
	fault.TransferAuthentication:      {TransferAuthentication, RequestDenied, InvalidParameterValue},
	fault.TransferProtocolUnsupported: {UnsupportedProtocol, RequestDenied, InvalidParameterValue},
	fault.TransferIncomplete:          {CannotCompleteDownload, RequestDenied, InvalidParameterValue},
	fault.PackageCorrupt:              {FileCorrupted, RequestDenied, InvalidParameterValue},
	fault.PackageUntrusted:            {FileCorrupted, RequestDenied, InvalidParameterValue},
	fault.InvalidUUID:                 {InvalidUUID, RequestDenied, InvalidParameterValue},
	fault.UnknownExecEnv:              {UnknownExecEnv, RequestDenied, InvalidParameterName},
	fault.DisabledExecEnv:             {DisabledExecEnv, RequestDenied, InvalidParameterValue},
	fault.ExecEnvUnavailable:          {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.DUExecEnvMismatch:           {DUExecEnvMismatch, RequestDenied, InvalidParameterValue},
	fault.DuplicateDU:                 {DuplicateDU, RequestDenied, InvalidParameterValue},
	fault.SystemResourcesExceeded:     {SystemResourcesExceeded, RequestDenied, InvalidParameterValue},
	fault.UnknownDU:                   {UnknownDU, RequestDenied, InvalidParameterName},
	fault.InvalidDUState:              {InvalidDUState, RequestDenied, InvalidParameterValue},
	fault.DowngradeNotPermitted:       {DowngradeNotPermitted, RequestDenied, InvalidParameterValue},
	fault.VersionNotSpecified:         {VersionNotSpecified, RequestDenied, InvalidParameterValue},
	fault.VersionExists:               {VersionExists, RequestDenied, InvalidParameterValue},
	fault.DependencyUnresolved:        {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.StartFailed:                 {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.StopFailed:                  {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.LimitInUse:                  {RequestDenied, RequestDenied, InvalidParameterValue},
	fault.UnsupportedArgument:         {InvalidArguments, RequestDenied, InvalidParameterValue},
	fault.VolumeInUse:                 {InvalidDUState, RequestDenied, InvalidParameterValue},
}

// DUResult returns the FaultCode for reason r in the result of one operation of ChangeDUState (TR-069 Tables 81 and 85).
// It is 0 for [fault.None]; a reason that is not known counts as internal, here and below.
//
// 9023 belongs to Install alone: an Uninstall that names an environment which does not exist is of class unknown-du.
func DUResult(r fault.Reason) uint32 { return number(r).result }

// never is the codes that Table 87 excludes from the results of one kind of operation, and what is said in their place.
var never = map[model.Performed]map[uint32]uint32{
	model.PerformedInstall: {UnknownDU: RequestDenied, DowngradeNotPermitted: RequestDenied, VersionNotSpecified: RequestDenied, VersionExists: DuplicateDU},
	model.PerformedUpdate:  {UnknownExecEnv: UnknownDU, DuplicateDU: VersionExists},
	model.PerformedUninstall: {
		TransferAuthentication: RequestDenied, UnsupportedProtocol: RequestDenied, CannotContactServer: RequestDenied, CannotAccessFile: RequestDenied,
		CannotCompleteDownload: RequestDenied, FileCorrupted: RequestDenied, UnknownExecEnv: UnknownDU, DUExecEnvMismatch: RequestDenied,
		DuplicateDU: RequestDenied, SystemResourcesExceeded: RequestDenied, DowngradeNotPermitted: RequestDenied, VersionNotSpecified: RequestDenied,
		VersionExists: RequestDenied,
	},
}

// ResultCode returns the FaultCode for reason r in the result of an operation that did p: [DUResult], but never one that Table 87 excludes for
// that kind of operation.
func ResultCode(p model.Performed, r fault.Reason) uint32 {
	code := DUResult(r)
	if other, excluded := never[p][code]; excluded {
		return other
	}
	return code
}

// RPC returns the fault code for reason r when a whole RPC is refused, of those that ChangeDUState may be answered with
// (TR-069 A.4.1.10). It is 0 for [fault.None].
func RPC(r fault.Reason) uint32 { return number(r).rpc }

// ParameterCode returns the code for reason r in one SetParameterValuesFault, around which the fault of the RPC is 9003
// (TR-069 A.3.2.1, VI.5.2). It is 0 for [fault.None]. Reasons that are no matter of one value refuse the whole RPC instead, see
// [Face.SetParameterValues].
func ParameterCode(r fault.Reason) uint32 { return number(r).parameter }

func number(r fault.Reason) struct{ result, rpc, parameter uint32 } {
	if n, known := numbers[r]; known || r == fault.None {
		return n
	}
	return numbers[fault.Internal]
}

// concernsRequest reports whether r is no matter of one parameter's value, so that the RPC is refused as a whole with [RPC].
func concernsRequest(r fault.Reason) bool {
	switch r {
	case fault.Internal, fault.RequestDenied, fault.Canceled, fault.TooManyOperations, fault.DeadlineExceeded:
		return true
	}
	return false
}

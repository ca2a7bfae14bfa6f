// Package fault names what can go wrong in protocol-neutral words.
//
// An error is classified once, at the boundary where it arises (a transfer, an adapter call, a check of the agent),
// and carries its [Reason] from there on. The numbers that CWMP and USP use for a reason depend on where it is said;
// mapping/cwmp and mapping/usp hold one total function for each place, so nothing else in the agent knows a number.
//
// Reasons are stored and sent: the strings never change, new ones are appended.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// A Reason is the class of an error.
type Reason string

// The reasons. The comment says when each is used.
const (
	None                        Reason = ""                              // no fault
	Internal                    Reason = "internal"                      // a defect or an unclassified failure of the agent
	RequestDenied               Reason = "request-denied"                // refused by policy or for a reason that no other one names
	InvalidArguments            Reason = "invalid-arguments"             // the request is malformed, userinfo in a URL included
	NotSupported                Reason = "not-supported"                 // the environment cannot do that
	Canceled                    Reason = "canceled"                      // somebody canceled the operation
	TooManyOperations           Reason = "too-many-operations"           // the agent has as many open operations as it takes
	DeadlineExceeded            Reason = "deadline-exceeded"             // the operation used up its budget (TR-069 A.4.1.10, R-SMM.1)
	TransferServerUnreachable   Reason = "transfer-server-unreachable"   // no connection to the file server
	TransferInsecure            Reason = "transfer-insecure"             // TLS said no: certificate, host name, version
	TransferFileUnavailable     Reason = "transfer-file-unavailable"     // the server is there, the file is not
	TransferAuthentication      Reason = "transfer-authentication"       // the server refused the credentials
	TransferProtocolUnsupported Reason = "transfer-protocol-unsupported" // the URL's scheme is not among the configured ones
	TransferIncomplete          Reason = "transfer-incomplete"           // the body broke off, or the device restarted while it came
	PackageCorrupt              Reason = "package-corrupt"               // the file is damaged or no package at all
	PackageUntrusted            Reason = "package-untrusted"             // a signature is wrong or missing
	InvalidUUID                 Reason = "invalid-uuid"                  // not 8-4-4-4-12 hexadecimal digits
	UnknownExecEnv              Reason = "unknown-exec-env"              // the request names an environment that does not exist
	DisabledExecEnv             Reason = "disabled-exec-env"             // the environment is disabled
	ExecEnvUnavailable          Reason = "exec-env-unavailable"          // the environment is enabled but not up
	DUExecEnvMismatch           Reason = "du-exec-env-mismatch"          // the package is of another kind of environment
	DuplicateDU                 Reason = "duplicate-du"                  // this UUID and version is already on that environment
	SystemResourcesExceeded     Reason = "system-resources-exceeded"     // no disk or memory for it, or larger than the limit
	UnknownDU                   Reason = "unknown-du"                    // no such deployment unit, or execution unit
	InvalidDUState              Reason = "invalid-du-state"              // the state machine forbids it; also: busy with another operation
	DowngradeNotPermitted       Reason = "downgrade-not-permitted"       // older than what is installed, and the policy refuses that
	VersionNotSpecified         Reason = "version-not-specified"         // several versions are there and none is named
	VersionExists               Reason = "version-exists"                // an update would give a version that is already there
	DependencyUnresolved        Reason = "dependency-unresolved"         // an execution unit lacks what it requires
	StartFailed                 Reason = "start-failed"                  // an execution unit did not start
	StopFailed                  Reason = "stop-failed"                   // an execution unit did not stop cleanly
	LimitInUse                  Reason = "limit-in-use"                  // a resource constraint is below what is in use
	UnsupportedArgument         Reason = "unsupported-argument"          // an argument that this environment cannot honor
	VolumeInUse                 Reason = "volume-in-use"                 // application data whose deployment unit is there
)

// all is every reason that says a fault, in order of definition.
var all = []Reason{
	Internal, RequestDenied, InvalidArguments, NotSupported, Canceled, TooManyOperations, DeadlineExceeded,
	TransferServerUnreachable, TransferInsecure, TransferFileUnavailable, TransferAuthentication,
	TransferProtocolUnsupported, TransferIncomplete, PackageCorrupt, PackageUntrusted, InvalidUUID, UnknownExecEnv,
	DisabledExecEnv, ExecEnvUnavailable, DUExecEnvMismatch, DuplicateDU, SystemResourcesExceeded, UnknownDU,
	InvalidDUState, DowngradeNotPermitted, VersionNotSpecified, VersionExists, DependencyUnresolved, StartFailed,
	StopFailed, LimitInUse, UnsupportedArgument, VolumeInUse,
}

// Reasons returns every reason but [None]. Tests of the number tables range over it.
func Reasons() []Reason { return append([]Reason(nil), all...) }

// Name returns the reason in CamelCase, as it ends the name of a D-Bus error: DisabledExecEnv, InvalidUUID, DuplicateDU.
func (r Reason) Name() string {
	var b strings.Builder
	for word := range strings.SplitSeq(string(r), "-") {
		switch word {
		case "":
		case "du", "uuid":
			b.WriteString(strings.ToUpper(word))
		default:
			b.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return b.String()
}

// ByName returns the reason whose [Reason.Name] is name, and [None] for anything else.
func ByName(name string) Reason {
	for _, r := range all {
		if r.Name() == name {
			return r
		}
	}
	return None
}

// classified is an error that has its reason.
type classified struct {
	reason Reason
	err    error
}

func (e *classified) Error() string { return e.err.Error() }
func (e *classified) Unwrap() error { return e.err }

// Errorf returns an error of class r. format is that of [fmt.Errorf], %w included; by convention it begins "cannot …".
func Errorf(r Reason, format string, args ...any) error {
	return &classified{r, fmt.Errorf(format, args...)}
}

// As gives err the class r, whatever class it had. A nil error stays nil.
func As(r Reason, err error) error {
	if err == nil {
		return nil
	}
	return &classified{r, err}
}

// ReasonOf returns the class of err: that of the outermost classified error in its chain, [None] for nil, [Canceled] and
// [DeadlineExceeded] for the errors of package context, and [Internal] for everything that nobody classified.
func ReasonOf(err error) Reason {
	var c *classified
	switch {
	case err == nil:
		return None
	case errors.As(err, &c):
		return c.reason
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	}
	return Internal
}

package environment

import (
	"errors"
	"fmt"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// reasons is the only place where an adapter's reason becomes a neutral one.
var reasons = map[adapter.Reason]fault.Reason{
	adapter.Mismatch:          fault.DUExecEnvMismatch,
	adapter.Corrupt:           fault.PackageCorrupt,
	adapter.Unresolved:        fault.DependencyUnresolved,
	adapter.Dependency:        fault.DependencyUnresolved,
	adapter.NoResources:       fault.SystemResourcesExceeded,
	adapter.NotFound:          fault.UnknownDU,
	adapter.Exists:            fault.DuplicateDU,
	adapter.BadState:          fault.InvalidDUState,
	adapter.StartFailed:       fault.StartFailed,
	adapter.AutoStartFailed:   fault.StartFailed,
	adapter.FailedWhileActive: fault.StartFailed,
	adapter.Unstartable:       fault.StartFailed,
	adapter.StopFailed:        fault.StopFailed,
	adapter.Unavailable:       fault.ExecEnvUnavailable,
	adapter.StillRunning:      fault.DeadlineExceeded,
	adapter.NotSupported:      fault.NotSupported,
	adapter.InvalidArgument:   fault.InvalidArguments,
	adapter.Canceled:          fault.DeadlineExceeded, // the time limit of the call: a canceled operation says so itself
	adapter.Internal:          fault.Internal,
	adapter.InUse:             fault.LimitInUse,
}

// Classify gives an adapter's error its neutral reason. An error that is classified already stays as it is.
func Classify(err error) error {
	var ae *adapter.Error
	switch {
	case err == nil:
		return nil
	case fault.ReasonOf(err) != fault.Internal:
		return err
	case !errors.As(err, &ae):
		return fault.As(fault.Internal, err)
	}
	if r, ok := reasons[ae.Reason]; ok {
		return fault.As(r, err)
	}
	return fault.As(fault.Internal, fmt.Errorf("%w (%s)", err, ae.Reason))
}

package dbus

import (
	"context"

	"github.com/smmd-project/smmd/agent/model"
)

// Agent is what the faces on D-Bus need of the agent. Every method that changes something returns once the change is
// accepted and durable: it waits for one commit and never for an environment, an adapter or the network. Errors are
// classified (package fault). originator says who asks, for the log and the job.
type Agent interface {
	// Snapshot returns the state of this moment, without waiting.
	Snapshot() *model.Snapshot
	// Feed sends the current state first and then every commit, until ctx is done; then it closes the channel. A reader
	// that is too slow gets one entry with Lost set instead of those it missed.
	Feed(ctx context.Context) <-chan model.Commit
	// Adapters tells the adapter processes, ordered by name.
	Adapters() []model.AdapterInfo

	// Install, Update and Uninstall begin an operation on deployment units and return its job. What can be judged from the
	// request alone is an error at once; all else is the job's.
	Install(ctx context.Context, r model.InstallRequest) (uint32, error)
	Update(ctx context.Context, r model.UpdateRequest) (uint32, error)
	Uninstall(ctx context.Context, r model.UninstallRequest) (uint32, error)
	// RemoveVolume removes application data with its content. It is refused while the unit that it belongs to is on the environment.
	RemoveVolume(ctx context.Context, instance uint32, originator model.Origin) error

	// Request begins the start, stop or restart of an execution unit and returns its job. A request that the state has
	// made needless when its turn comes succeeds without effect.
	Request(ctx context.Context, eu model.RowID, r model.Request, originator model.Origin) (uint32, error)
	// RestartExecEnv ends an environment, launches it again and brings it to its InitialRunLevel.
	RestartExecEnv(ctx context.Context, instance uint32, reason string, originator model.Origin) (uint32, error)
	// Constrain begins to set limits of an environment and returns the job. One that is below what is in use fails, and changes nothing, unless
	// the request is forced.
	Constrain(ctx context.Context, r model.ConstrainRequest) (uint32, error)
	// RecordBaseline makes the present state of every environment the one that a Reset of kind cwmp or usp goes back to. The same
	// token as that of the present baseline is the same request again and changes nothing.
	RecordBaseline(ctx context.Context, kind, token string) error
	// ResetExecEnv brings an environment back to its baseline of kind cwmp or usp and returns the job.
	ResetExecEnv(ctx context.Context, instance uint32, kind string, originator model.Origin) (uint32, error)
	// Set applies all assignments or none, in one transaction. It returns the jobs of those that are still moving when it
	// returns (Enable, Reset, AutoStart, RunLevel, RequestedState, RequestedRunLevel, InitialExecutionUnitRunLevel). The error
	// is a *[model.SetError] when single assignments are refused.
	Set(ctx context.Context, as []model.Assignment, originator model.Origin) ([]uint32, error)
	// ChangeDUState accepts the operations of one ChangeDUState, or refuses the whole, and returns the number that its report will have.
	ChangeDUState(ctx context.Context, r model.ChangeRequest) (uint64, error)
	// AcknowledgeReport forgets a report of the snapshot.
	AcknowledgeReport(ctx context.Context, id uint64) error
	// SetAttributes keeps the notification attributes of parameters of CWMP, by their paths with instance numbers, all or none.
	SetAttributes(ctx context.Context, attributes map[string]int) error
	// AcknowledgeNotifications forgets the notifications of the snapshot up to a number, as far as there are any.
	AcknowledgeNotifications(ctx context.Context, upTo uint64) error
	// Cancel ends a job. One that has ended already, or is past the point of no return, is refused (invalid-du-state).
	Cancel(ctx context.Context, job uint32) error
}

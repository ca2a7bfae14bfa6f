package usp

import (
	"context"
	"errors"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// Agent is what the face needs of the agent.
type Agent interface {
	softwaremodules.Agent
	// Install, Update and Uninstall begin an operation on deployment units and return its job.
	Install(ctx context.Context, r model.InstallRequest) (uint32, error)
	Update(ctx context.Context, r model.UpdateRequest) (uint32, error)
	Uninstall(ctx context.Context, r model.UninstallRequest) (uint32, error)
	// RemoveVolume removes application data with its content. It is refused while the unit that it belongs to is on the environment.
	RemoveVolume(ctx context.Context, instance uint32, originator model.Origin) error
	// Request begins the start, stop or restart of an execution unit and returns its job.
	Request(ctx context.Context, eu model.RowID, r model.Request, originator model.Origin) (uint32, error)
	// RestartExecEnv restarts an environment and returns the job.
	RestartExecEnv(ctx context.Context, instance uint32, reason string, originator model.Origin) (uint32, error)
	// Constrain begins to set limits of an environment and returns the job.
	Constrain(ctx context.Context, r model.ConstrainRequest) (uint32, error)
	// ResetExecEnv brings an environment back to its baseline of kind cwmp or usp and returns the job.
	ResetExecEnv(ctx context.Context, instance uint32, kind string, originator model.Origin) (uint32, error)
}

// Face is the data model as USP sees it. Its methods may be called concurrently.
type Face struct {
	agent   Agent
	root    *dm.Object[softwaremodules.Row]
	version string
}

// New returns the face of agent a that shows the data model of a version of Device:2, one of those of package softwaremodules; any other is
// taken for [softwaremodules.Version].
func New(a Agent, version string) *Face {
	root := softwaremodules.Tree(dm.USPOnly, version)
	if root == nil {
		version = softwaremodules.Version
		root = softwaremodules.Tree(dm.USPOnly, version)
	}
	return &Face{a, root, version}
}

type (
	node      = dm.Node[softwaremodules.Row]
	place     = dm.Place[softwaremodules.Row]
	parameter = dm.Parameter[softwaremodules.Row]
	object    = dm.Object[softwaremodules.Row]
)

// A Status is an error code of TR-369 with its text. Code 0 is a success.
type Status struct {
	Code uint32
	Text string
}

// A ParameterError is what is wrong with one parameter or row.
type ParameterError struct {
	Path string // relative to the object where there is one
	Status
}

// A Failure makes the whole message fail: USP answers with an Error message. Code is its code and Reason the agent's own word for it;
// Parameters are its param_errs, with whole paths.
type Failure struct {
	Code       uint32
	Reason     fault.Reason
	Message    string
	Parameters []ParameterError
}

func (f *Failure) Error() string { return f.Message }

// status says of an error of package datamodel what TR-369 says of it. noInstance is the code of a row that is not there, which depends on
// the message.
func status(err error, noInstance uint32) Status {
	switch {
	case errors.Is(err, dm.ErrSyntax):
		return Status{InvalidPathSyntax, err.Error()}
	case errors.Is(err, dm.ErrNoInstance):
		return Status{noInstance, err.Error()}
	case errors.Is(err, dm.ErrTooMuch):
		return Status{ResourcesExceeded, err.Error()}
	}
	return Status{InvalidPath, err.Error()}
}

// locate parses a path and finds its place in the data model.
func (f *Face) locate(path string, syntax dm.Syntax) (dm.Path, place, error) {
	p, err := dm.ParsePath(path, syntax)
	if err != nil {
		return p, place{}, err
	}
	at, err := dm.Locate(f.root, p)
	if err != nil {
		return p, place{}, fault.Errorf(fault.InvalidArguments, "cannot find %s: %w", p, err)
	}
	return p, at, nil
}

package usp

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// A Call is one Operate message.
type Call struct {
	Command    string // path of a command, also a search path
	CommandKey string
	Input      map[string]string
	Originator string
}

// An Executed is one execution of a command. There is a Job, or the command has ended, or a code other than 0.
type Executed struct {
	Command string // with instance numbers
	Job     uint32 // 0: it has ended
	Status
}

// maxExecutions is how many objects one message may execute a command for: each execution is a commit of the agent, and whoever waits for
// the answer waits for all of them.
const maxExecutions = 256

// execution is what a command is executed with.
type execution struct {
	ref    model.Ref // the row that it is a command of
	args   map[string]any
	row    softwaremodules.Row
	origin model.Origin
}

func (x execution) text(name string) string { s, _ := x.args[name].(string); return s }

// commands is what each command of the data model does. It returns the job of an asynchronous one.
var commands = map[string]func(ctx context.Context, f *Face, x execution) (uint32, error){
	"Device.SoftwareModules.InstallDU()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		settings, err := readSettings(x.args)
		if err != nil {
			return 0, err
		}
		return f.agent.Install(ctx, model.InstallRequest{
			URL: x.text("URL"), UUID: x.text("UUID"), ExecEnv: f.execEnv(x.row, x.text("ExecutionEnvRef")), Username: x.text("Username"), Password: x.text("Password"),
			ModuleVersion: x.text("ModuleVersion"), AutoRestart: autoRestart(x.args),
			Variables: settings.variables, Limits: settings.limits, Volumes: settings.volumes, Originator: x.origin,
		})
	},
	"Device.SoftwareModules.DeploymentUnit.{i}.Update()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		settings, err := readSettings(x.args)
		if err != nil {
			return 0, err
		}
		r := model.UpdateRequest{
			DU: x.ref.Instance, URL: x.text("URL"), Username: x.text("Username"), Password: x.text("Password"),
			Variables: settings.variables, Limits: settings.limits, Volumes: settings.volumes, Originator: x.origin,
		}
		if v, given := x.args["ModuleVersion"].(string); given {
			r.ModuleVersion = &v
		}
		if retain, known := x.args["RetainData"].(bool); known { // it has a default, so it is absent where the version of the data model has none
			r.RetainData = &retain
		}
		return f.agent.Update(ctx, r)
	},
	"Device.SoftwareModules.DeploymentUnit.{i}.Uninstall()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		retain, _ := x.args["RetainData"].(bool)
		return f.agent.Uninstall(ctx, model.UninstallRequest{DU: x.ref.Instance, RetainData: retain, Originator: x.origin})
	},
	"Device.SoftwareModules.ExecEnv.{i}.ApplicationData.{i}.Remove()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		return 0, f.agent.RemoveVolume(ctx, x.ref.Instance, x.origin)
	},
	"Device.SoftwareModules.ExecEnv.{i}.SetRunLevel()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		_, err := f.agent.Set(ctx, []model.Assignment{{Row: x.ref, Attribute: model.RequestedRunLevel, Value: x.args["RequestedRunLevel"]}}, x.origin)
		var refused *model.SetError
		if errors.As(err, &refused) && refused.Faults[0] != nil {
			err = refused.Faults[0]
		}
		return 0, err
	},
	"Device.SoftwareModules.ExecEnv.{i}.ModifyConstraints()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		limits, err := readLimits(x.args, "")
		if err != nil {
			return 0, err
		}
		force, _ := x.args["Force"].(bool)
		return f.agent.Constrain(ctx, model.ConstrainRequest{Instance: x.ref.Instance, Limits: limits, Force: force, Originator: x.origin})
	},
	"Device.SoftwareModules.ExecEnv.{i}.Restart()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		return f.agent.RestartExecEnv(ctx, x.ref.Instance, x.text("Reason"), x.origin)
	},
	"Device.SoftwareModules.ExecEnv.{i}.Reset()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		return f.agent.ResetExecEnv(ctx, x.ref.Instance, "usp", x.origin)
	},
	"Device.SoftwareModules.ExecutionUnit.{i}.SetRequestedState()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		return f.agent.Request(ctx, x.ref.Instance, model.Request(x.text("RequestedState")), x.origin)
	},
	"Device.SoftwareModules.ExecutionUnit.{i}.Restart()": func(ctx context.Context, f *Face, x execution) (uint32, error) {
		return f.agent.Request(ctx, x.ref.Instance, model.RequestRestart, x.origin)
	},
}

// autoRestart returns what the arguments of that object say; nil: none of it is given.
func autoRestart(args map[string]any) *model.AutoRestart {
	enable, given := args["AutoRestart.Enable"].(bool)
	if !given {
		return nil
	}
	number := func(name string) uint32 { n, _ := args["AutoRestart."+name].(int); return uint32(n) }
	return &model.AutoRestart{
		Enable: enable, Minimum: number("RetryMinimumWaitInterval"), Maximum: number("RetryMaximumWaitInterval"),
		Multiplier: number("RetryIntervalMultiplier"), Retries: number("MaximumRetryCount"), Reset: number("ResetPeriod"),
	}
}

// Operate answers the message of that name (TR-369, Operate): the command is executed for each object that its path stands for, and each
// execution succeeds or fails for itself. The error is a *[Failure], for a path that is not well-formed or no command of the data model, and,
// with code 7005, for one that stands for more than 256 objects: nothing is executed then. A path that is no search path and whose object
// does not exist is one result with code 7016.
//
// An asynchronous command has a job, and its end is told by an OperationComplete; that the agent refuses it at once is a result. A synchronous one has
// ended when Operate returns: the state of a unit and the run level of an environment may then still be on their way.
func (f *Face) Operate(ctx context.Context, c Call) ([]Executed, error) {
	p, at, err := f.locate(c.Command, dm.USP)
	switch {
	case err != nil:
		return nil, &Failure{Code: status(err, ObjectDoesNotExist).Code, Reason: fault.InvalidArguments, Message: err.Error()}
	case at.Command == nil:
		return nil, &Failure{Code: InvalidPath, Reason: fault.InvalidArguments, Message: fmt.Sprintf("cannot execute %s: it is not a command", p)}
	}
	row := softwaremodules.NewRow(f.agent.Snapshot())
	nodes, err := dm.Resolve(f.root, row, p, dm.ForGet)
	if err != nil {
		return []Executed{{Command: p.String(), Status: status(err, ObjectDoesNotExist)}}, nil
	}
	if len(nodes) > maxExecutions {
		return nil, &Failure{Code: ResourcesExceeded, Reason: fault.TooManyOperations, Message: fmt.Sprintf(
			"cannot execute %s: it stands for %d objects, and one message may execute it for %d", p, len(nodes), maxExecutions)}
	}
	args, err := at.Command.Read(c.Input)
	results := make([]Executed, len(nodes))
	for i, n := range nodes {
		results[i].Command = n.Path
		if err != nil {
			results[i].Status = refusedInput(err)
			continue
		}
		x := execution{ref: n.Row.Ref(), args: args, row: row, origin: model.Origin{Name: c.Originator}}
		if at.Command.Async {
			x.origin.Command, x.origin.CommandKey = n.Path, c.CommandKey
		}
		job, err := f.execute(ctx, at, x)
		switch {
		case err != nil:
			results[i].Status = Status{Operate(reasonOf(err)), err.Error()}
		case at.Command.Async:
			results[i].Job = job
		}
	}
	return results, nil
}

func (f *Face) execute(ctx context.Context, at place, x execution) (uint32, error) {
	do, known := commands[at.Path]
	if !known {
		return 0, fault.Errorf(fault.NotSupported, "cannot execute %s: it is not supported", at.Path)
	}
	return do(ctx, f, x)
}

// refusedInput says what is wrong with the arguments: what is missing or has a wrong value is 7027 (TR-369 R-OPR.5), what cannot be done 7004.
func refusedInput(err error) Status {
	if errors.Is(err, dm.ErrUnsupported) {
		return Status{InvalidArguments, err.Error()}
	}
	return Status{InvalidCommandArguments, err.Error()}
}

// execEnv returns the ID of the environment that an ExecutionEnvRef names: by its path, with or without the dot at the end, or by
// its name. The empty reference stays empty. One that names no environment is returned as it is, which is no ID: the agent judges the
// request and tells of it what is to be told.
func (f *Face) execEnv(row softwaremodules.Row, ref string) string {
	s := f.agent.Snapshot()
	for e := range s.ExecEnvs() {
		if ref != "" && (e.ID == ref || e.Name == ref) {
			return e.ID
		}
	}
	p, err := dm.ParsePath(strings.TrimSuffix(ref, ".")+".", dm.USP)
	if err != nil {
		return ref
	}
	nodes, err := dm.Resolve(f.root, row, p, dm.ForGet)
	if err != nil || len(nodes) != 1 || nodes[0].Table {
		return ref
	}
	at := nodes[0].Row.Ref()
	if e := s.ExecEnv(at.Instance); at.Kind == model.KindExecEnv && e != nil {
		return e.ID
	}
	return ref
}

// A Request is a command that goes on, as Device.LocalAgent.Request.{i}. has it.
type Request struct {
	Job        uint32
	Command    string
	CommandKey string
	Originator string
	Status     string // Requested, Active or Canceling
	Started    string // dateTime
}

// Requests returns the commands that go on, in the order of their jobs.
func (f *Face) Requests() []Request {
	var list []Request
	for j := range f.agent.Snapshot().Jobs() {
		if j.Originator.Command == "" || j.State.Final() {
			continue
		}
		r := Request{j.ID, j.Originator.Command, j.Originator.CommandKey, j.Originator.Name, "Active", dm.FormatTime(j.StartTime)}
		if j.State == model.JobQueued {
			r.Status = "Requested"
		}
		if j.Canceling {
			r.Status = "Canceling"
		}
		list = append(list, r)
	}
	return list
}

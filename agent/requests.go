package agent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/deployment"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/runlevel"
	"github.com/smmd-project/smmd/mapping/uuidname"
)

// The lengths of arguments in characters (TR-069 Table 71, TR-181 DeploymentUnit.{i}.URL).
const (
	maxURL         = 2048
	maxCredentials = 256
)

// Install accepts an install and returns its job. An error is what can be judged from the request alone.
func (a *Agent) Install(ctx context.Context, r model.InstallRequest) (uint32, error) {
	err := errors.Join(checkURL(r.URL), checkCredentials(r.Username, r.Password))
	if err == nil && r.UUID != "" {
		r.UUID, err = uuidname.Parse(r.UUID)
	}
	if err == nil && r.ExecEnv != "" {
		err = environment.Check(a.Snapshot(), r.ExecEnv)
	}
	if err != nil {
		return 0, err
	}
	s, err := a.dus.NewInstall(r)
	if err != nil {
		return 0, err
	}
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		return operation.Submit(a.eng, tx, a.install, s, operation.Request{Originator: r.Originator})
	})
}

// Update accepts an update of one row and returns its job.
func (a *Agent) Update(ctx context.Context, r model.UpdateRequest) (uint32, error) {
	err := checkCredentials(r.Username, r.Password)
	if r.URL != "" {
		err = errors.Join(checkURL(r.URL), err)
	}
	if err != nil {
		return 0, err
	}
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		du, err := unit(tx, r.DU)
		switch {
		case err != nil:
			return 0, err
		case r.URL == "" && du.URL == "":
			return 0, fault.Errorf(fault.InvalidArguments, "cannot update %s: no URL is given and none is known", du.UUID)
		case du.Missing:
			return 0, fault.Errorf(fault.InvalidDUState, "cannot update %s: %s no longer has it", du.UUID, du.Env)
		}
		s, err := a.dus.NewUpdate(tx, r, du)
		if err != nil {
			return 0, err
		}
		return operation.Submit(a.eng, tx, a.update, s, unitRequest(du, r.Originator))
	})
}

// Uninstall accepts the removal of one row and returns its job.
func (a *Agent) Uninstall(ctx context.Context, id model.RowID, originator string) (uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		du, err := unit(tx, id)
		if err != nil {
			return 0, err
		}
		if seen, ok := a.envs.Seen(du.Env, du.Key); ok && seen.System {
			return 0, fault.Errorf(fault.RequestDenied, "cannot uninstall %s: it is part of the environment %s", du.UUID, du.Env)
		}
		s := &deployment.UninstallState{Row: id, Env: du.Env}
		return operation.Submit(a.eng, tx, a.remove, s, unitRequest(du, originator))
	})
}

// unit returns a row that can be changed now, as far as can be seen.
func unit(tx *inventory.Tx, id model.RowID) (*model.DeploymentUnit, error) {
	du := tx.DeploymentUnit(id)
	if du == nil {
		return nil, fault.Errorf(fault.UnknownDU, "cannot find deployment unit %d: it does not exist", id)
	}
	if err := environment.Check(&tx.Snapshot, du.Env); err != nil {
		return nil, err
	}
	if r := model.FaultOf(du.Status); r != fault.None {
		return nil, fault.Errorf(r, "cannot change %s: it is %s", du.UUID, du.Status)
	}
	return du, nil
}

func unitRequest(du *model.DeploymentUnit, originator string) operation.Request {
	return operation.Request{
		Originator: originator, Envs: []string{du.Env}, Locks: []model.RowID{du.ID},
		Objects: []model.Ref{{Kind: model.KindDeploymentUnit, Instance: du.ID}},
	}
}

// Request accepts the start, stop or restart of an execution unit and returns its job.
func (a *Agent) Request(ctx context.Context, eu model.RowID, r model.Request, originator string) (uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) { return a.request(tx, eu, r, originator) })
}

func (a *Agent) request(tx *inventory.Tx, eu model.RowID, r model.Request, originator string) (uint32, error) {
	if _, err := execution.Judge(&tx.Snapshot, eu, r); err != nil {
		return 0, err
	}
	return operation.Submit(a.eng, tx, a.euOps.Requests[r], &execution.RequestState{EU: eu}, operation.Request{
		Originator: originator, Envs: []string{tx.ExecutionUnit(eu).Env},
		Objects: []model.Ref{{Kind: model.KindExecutionUnit, Instance: eu}},
	})
}

// RestartExecEnv accepts the restart of an environment and returns its job.
func (a *Agent) RestartExecEnv(ctx context.Context, instance uint32, reason, originator string) (uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		row := tx.ExecEnv(instance)
		if row == nil {
			return 0, fault.Errorf(fault.UnknownExecEnv, "cannot restart environment %d: it does not exist", instance)
		}
		if err := environment.Check(&tx.Snapshot, row.ID); err != nil {
			return 0, err
		}
		if utf8.RuneCountInString(reason) > 256 {
			return 0, fault.Errorf(fault.InvalidArguments, "cannot restart environment %s: the reason is longer than 256 characters", row.ID)
		}
		return operation.Submit(a.eng, tx, a.envOps.Restart, &environment.RestartState{Env: row.ID, Reason: reason}, envRequest(row, originator))
	})
}

func envRequest(row *model.ExecEnv, originator string) operation.Request {
	return operation.Request{
		Originator: originator, Envs: []string{row.ID},
		Objects: []model.Ref{{Kind: model.KindExecEnv, Instance: row.Instance}},
	}
}

// Cancel ends a job.
func (a *Agent) Cancel(_ context.Context, job uint32) error { return a.eng.Cancel(job) }

// accept runs f as one transaction.
func accept[T any](ctx context.Context, a *Agent, f func(*inventory.Tx) (T, error)) (out T, err error) {
	if err := ctx.Err(); err != nil {
		return out, err
	}
	err = a.inv.Update(func(tx *inventory.Tx) (err error) {
		out, err = f(tx)
		return err
	})
	return out, err
}

// checkURL judges what can be judged of a URL without the network. No part of it but its form is in the error: it may hold a
// secret.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL is empty")
	case utf8.RuneCountInString(raw) > maxURL:
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL is longer than %d characters", maxURL)
	case err != nil || u.Scheme == "" || u.Opaque != "":
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL is malformed")
	case u.User != nil:
		return fault.Errorf(fault.InvalidArguments, "cannot fetch the package: the URL has user information in it; give it as user name and password")
	}
	return nil
}

func checkCredentials(username, password string) error {
	if utf8.RuneCountInString(username) > maxCredentials || utf8.RuneCountInString(password) > maxCredentials {
		return fault.Errorf(fault.InvalidArguments, "cannot use the credentials: user name and password may have %d characters", maxCredentials)
	}
	return nil
}

// Set applies all assignments or none, in one transaction, and returns the jobs of those that are still moving.
func (a *Agent) Set(ctx context.Context, as []model.Assignment, originator string) ([]uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) ([]uint32, error) {
		s := setting{a: a, tx: tx, originator: originator, tell: map[string]*execution.ConfigureState{}}
		refused := map[int]error{}
		for i, x := range as {
			if err := s.assign(x); err != nil {
				refused[i] = err
			}
		}
		if len(refused) > 0 {
			return nil, &model.SetError{Faults: refused}
		}
		return s.finish()
	})
}

// setting is one Set at work.
type setting struct {
	a          *Agent
	tx         *inventory.Tx
	originator string
	jobs       []uint32
	tell       map[string]*execution.ConfigureState // by environment
	switched   bool                                 // Enable of some environment has been set
}

// assign carries out one assignment. Its error says why the value is refused.
func (s *setting) assign(x model.Assignment) error {
	switch x.Row.Kind {
	case model.KindExecEnv:
		if row := s.tx.ExecEnv(x.Row.Instance); row != nil {
			return s.execEnv(*row, x)
		}
	case model.KindDeploymentUnit:
		if row := s.tx.DeploymentUnit(x.Row.Instance); row != nil {
			return s.deploymentUnit(*row, x)
		}
	case model.KindExecutionUnit:
		if row := s.tx.ExecutionUnit(x.Row.Instance); row != nil {
			return s.executionUnit(*row, x)
		}
	}
	missing := fault.UnknownDU
	if x.Row.Kind == model.KindExecEnv {
		missing = fault.UnknownExecEnv
	}
	return fault.Errorf(missing, "cannot set %s of %s %d: it does not exist", x.Attribute, x.Row.Kind, x.Row.Instance)
}

func (s *setting) execEnv(row model.ExecEnv, x model.Assignment) (err error) {
	switch x.Attribute {
	case model.Alias:
		row.Alias, err = s.alias(x)
	case model.Enable:
		return s.enable(row, x)
	case model.InitialRunLevel:
		row.InitialRunLevel, err = level(x, 0)
	case model.InitialExecutionUnitRunLevel:
		if row.InitialExecutionUnitRunLevel, err = level(x, -1); err == nil && row.Status == model.EEUp && row.InitialExecutionUnitRunLevel >= 0 {
			s.configure(row.ID).InitialLevel = &row.InitialExecutionUnitRunLevel
		}
	case model.RequestedRunLevel:
		return s.requestedRunLevel(row, x)
	default:
		return unknownAttribute(x)
	}
	if err != nil {
		return err
	}
	return s.tx.PutExecEnv(&row)
}

func (s *setting) enable(row model.ExecEnv, x model.Assignment) error {
	on, err := typed[bool](x)
	if err != nil {
		return err
	}
	if err := environment.CheckSwitch(row.ID, on, s.a.cfg.Agent.ProtectedEnvs); err != nil {
		return err
	}
	if row.Enable == on {
		return nil
	}
	row.Enable = on
	if err := s.tx.PutExecEnv(&row); err != nil {
		return err
	}
	def := s.a.envOps.Disable
	if on {
		def = s.a.envOps.Enable
	}
	s.switched = true
	return s.submit(operation.Submit(s.a.eng, s.tx, def, &environment.SwitchState{Env: row.ID, On: on}, envRequest(&row, s.originator)))
}

// requestedRunLevel moves the environment. -1, and any level while run levels are not supported, is without effect (TR-181,
// ExecEnv.{i}.RequestedRunLevel).
func (s *setting) requestedRunLevel(row model.ExecEnv, x model.Assignment) error {
	l, err := level(x, -1)
	if err != nil {
		return err
	}
	if err := environment.Check(&s.tx.Snapshot, row.ID); err != nil {
		return err
	}
	if l == -1 || row.CurrentRunLevel == -1 {
		return nil
	}
	return s.submit(operation.Submit(s.a.eng, s.tx, s.a.levelOp, &runlevel.State{Env: row.ID, Level: l}, envRequest(&row, s.originator)))
}

func (s *setting) deploymentUnit(row model.DeploymentUnit, x model.Assignment) (err error) {
	if x.Attribute != model.Alias {
		return unknownAttribute(x)
	}
	if row.Alias, err = s.alias(x); err != nil {
		return err
	}
	return s.tx.PutDeploymentUnit(&row)
}

func (s *setting) executionUnit(row model.ExecutionUnit, x model.Assignment) (err error) {
	switch x.Attribute {
	case model.Alias:
		row.Alias, err = s.alias(x)
	case model.AutoStart:
		row.AutoStart, err = typed[bool](x)
		row.AutoStartPending = true
		s.configureUnit(row)
	case model.RunLevel:
		row.RunLevel, err = level(x, 0)
		row.RunLevelPending = true
		s.configureUnit(row)
	case model.RequestedState:
		return s.requestedState(row, x)
	default:
		return unknownAttribute(x)
	}
	if err != nil {
		return err
	}
	return s.tx.PutExecutionUnit(&row)
}

func (s *setting) requestedState(row model.ExecutionUnit, x model.Assignment) error {
	state, err := typed[string](x)
	if err != nil {
		return err
	}
	r := model.Request(state)
	if r != model.RequestIdle && r != model.RequestActive {
		return fault.Errorf(fault.InvalidArguments, "cannot set RequestedState of %s to %q: it is Idle or Active", row.EUID, state)
	}
	return s.submit(s.a.request(s.tx, row.ID, r, s.originator))
}

// configure returns what an environment is to be told after this set.
func (s *setting) configure(env string) *execution.ConfigureState {
	if s.tell[env] == nil {
		s.tell[env] = &execution.ConfigureState{Env: env}
	}
	return s.tell[env]
}

// configureUnit notes a unit of which its environment is to be told. One that is not up is told when it comes up.
func (s *setting) configureUnit(row model.ExecutionUnit) {
	if env := s.tx.ExecEnvByID(row.Env); env == nil || env.Status != model.EEUp {
		return
	}
	if c := s.configure(row.Env); !slices.Contains(c.EUs, row.ID) {
		c.EUs = append(c.EUs, row.ID)
	}
}

func (s *setting) submit(job uint32, err error) error {
	if err == nil {
		s.jobs = append(s.jobs, job)
	}
	return err
}

// finish accepts the operations that tell the environments.
func (s *setting) finish() ([]uint32, error) {
	for _, env := range slices.Collect(s.tx.ExecEnvs()) {
		c := s.tell[env.ID]
		if c == nil {
			continue
		}
		r := envRequest(env, s.originator)
		for _, eu := range c.EUs {
			r.Objects = append(r.Objects, model.Ref{Kind: model.KindExecutionUnit, Instance: eu})
		}
		if err := s.submit(operation.Submit(s.a.eng, s.tx, s.a.euOps.Configure, c, r)); err != nil {
			return nil, err
		}
	}
	if s.switched {
		if err := s.a.envs.Enabled(s.tx); err != nil {
			return nil, err
		}
	}
	return s.jobs, nil
}

// alias checks an Alias: 1 to 64 characters, beginning with a letter, and unique in its table (TR-106, Alias; TR-181, unique keys).
func (s *setting) alias(x model.Assignment) (string, error) {
	v, err := typed[string](x)
	if err != nil {
		return "", err
	}
	first, _ := utf8.DecodeRuneInString(v)
	letter := 'a' <= first && first <= 'z' || 'A' <= first && first <= 'Z'
	if n := utf8.RuneCountInString(v); n == 0 || n > 64 || !letter {
		return "", fault.Errorf(fault.InvalidArguments, "cannot set Alias to %.80q: it has 1 to 64 characters and begins with a letter", v)
	}
	for instance, alias := range s.aliases(x.Row.Kind) {
		if alias == v && instance != x.Row.Instance {
			return "", fault.Errorf(fault.InvalidArguments, "cannot set Alias to %q: %s %d has it", v, x.Row.Kind, instance)
		}
	}
	return v, nil
}

func (s *setting) aliases(k model.Kind) map[uint32]string {
	all := map[uint32]string{}
	switch k {
	case model.KindExecEnv:
		for r := range s.tx.ExecEnvs() {
			all[r.Instance] = r.Alias
		}
	case model.KindDeploymentUnit:
		for r := range s.tx.DeploymentUnits() {
			all[r.ID] = r.Alias
		}
	case model.KindExecutionUnit:
		for r := range s.tx.ExecutionUnits() {
			all[r.ID] = r.Alias
		}
	}
	return all
}

// level checks a run level.
func level(x model.Assignment, lowest int) (int, error) {
	v, err := typed[int](x)
	if err == nil && (v < lowest || v > model.MaxRunLevel) {
		err = fault.Errorf(fault.InvalidArguments, "cannot set %s to %d: it is not in %d..%d", x.Attribute, v, lowest, model.MaxRunLevel)
	}
	return v, err
}

func typed[T any](x model.Assignment) (T, error) {
	v, ok := x.Value.(T)
	if !ok {
		return v, fault.Errorf(fault.InvalidArguments, "cannot set %s: the value is a %s and not a %s", x.Attribute, fmt.Sprintf("%T", x.Value), fmt.Sprintf("%T", v))
	}
	return v, nil
}

func unknownAttribute(x model.Assignment) error {
	return fault.Errorf(fault.InvalidArguments, "cannot set %s of a %s: there is no such attribute", x.Attribute, x.Row.Kind)
}

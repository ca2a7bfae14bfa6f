package agent

import (
	"context"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/baseline"
	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/execution"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/runlevel"
)

// Set applies all assignments or none, in one transaction, and returns the jobs of those that are still moving.
func (a *Agent) Set(ctx context.Context, as []model.Assignment, originator model.Origin) ([]uint32, error) {
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
	originator model.Origin
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
	case model.KindVolume:
		if row := s.tx.Volume(x.Row.Instance); row != nil {
			return s.volume(*row, x)
		}
	case model.KindPolicy:
		return s.a.rep.SetPolicy(s.tx, x)
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
		l, err := level(x, -1)
		if err != nil || l < 0 { // -1 is without effect
			return err
		}
		row.InitialExecutionUnitRunLevel, row.InitialLevelPending = l, true
		if row.Status == model.EEUp {
			s.configure(row.ID).InitialLevel = &l
		}
	case model.RequestedRunLevel:
		return s.requestedRunLevel(row, x)
	case model.Reset:
		return s.reset(row, x)
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
	if err := environment.CheckSwitch(&s.tx.Snapshot, &row, on, s.a.cfg.Agent.ProtectedEnvs); err != nil {
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

// requestedRunLevel moves the environment. -1 is without effect (TR-181, ExecEnv.{i}.RequestedRunLevel).
func (s *setting) requestedRunLevel(row model.ExecEnv, x model.Assignment) error {
	l, err := level(x, -1)
	if err != nil {
		return err
	}
	if err := environment.Check(&s.tx.Snapshot, row.ID); err != nil {
		return err
	}
	if l == -1 {
		return nil
	}
	return s.submit(operation.Submit(s.a.eng, s.tx, s.a.levelOp, &runlevel.State{Env: row.ID, Level: l}, envRequest(&row, s.originator)))
}

// reset goes to CWMP's baseline; false is without effect (TR-181, ExecEnv.{i}.Reset).
func (s *setting) reset(row model.ExecEnv, x model.Assignment) error {
	on, err := typed[bool](x)
	if err != nil || !on {
		return err
	}
	return s.submit(s.a.resetExecEnv(s.tx, &row, baseline.CWMP, s.originator))
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

func (s *setting) volume(row model.Volume, x model.Assignment) (err error) {
	if x.Attribute != model.Alias {
		return unknownAttribute(x)
	}
	if row.Alias, err = s.alias(x); err != nil {
		return err
	}
	return s.tx.PutVolume(&row)
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
	case model.AutoRestartEnable:
		row.Restart.Enable, err = typed[bool](x)
	case model.AutoRestartMinimum:
		row.Restart.Minimum, err = counter(x)
	case model.AutoRestartMaximum:
		row.Restart.Maximum, err = counter(x)
	case model.AutoRestartMultiplier:
		row.Restart.Multiplier, err = counter(x)
	case model.AutoRestartRetries:
		row.Restart.Retries, err = counter(x)
	case model.AutoRestartReset:
		row.Restart.Reset, err = counter(x)
	case model.AutoRestartCount:
		row.Restart.Count, err = counter(x)
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
	case model.KindVolume:
		for r := range s.tx.Volumes() {
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

// counter checks an unsignedInt.
func counter(x model.Assignment) (uint32, error) {
	v, err := typed[int](x)
	if err == nil && (int64(v) < 0 || int64(v) > math.MaxUint32) {
		err = fault.Errorf(fault.InvalidArguments, "cannot set %s to %d: it is not in 0..%d", x.Attribute, v, uint32(math.MaxUint32))
	}
	return uint32(v), err
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

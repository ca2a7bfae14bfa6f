package ipctest

import (
	"cmp"
	"context"
	"slices"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// settle returns the settings of a unit after a request: variables that are given take the place of all that there are.
func settle(s model.UnitSettings, variables []model.VariableRequest, limits model.LimitsRequest) model.UnitSettings {
	if variables != nil {
		old := s.Variables
		s.Variables = nil
		for _, v := range variables {
			s.Variables = append(s.Variables, model.Variable{Number: numberOf(old, v.Key, &s.LastVariable), Key: v.Key, Value: v.Value})
		}
		slices.SortFunc(s.Variables, func(a, b model.Variable) int { return cmp.Compare(a.Number, b.Number) })
	}
	s.Limits = limit(s.Limits, limits)
	return s
}

// numberOf returns the number of the variable that has the key already, or the next one.
func numberOf(all []model.Variable, key string, last *uint32) uint32 {
	for _, v := range all {
		if v.Key == key {
			return v.Number
		}
	}
	*last++
	return *last
}

func limit(l model.Limits, r model.LimitsRequest) model.Limits {
	if r.Disk != nil {
		l.Disk = *r.Disk
	}
	if r.Memory != nil {
		l.Memory = *r.Memory
	}
	if r.CPU != nil {
		l.CPU = *r.CPU
	}
	return l
}

// InUse is what each environment uses of its memory, in KiB.
const InUse = 1000

// Constrain begins to set limits of an environment: configuring, done. Memory below [InUse] fails unless it is forced.
func (a *Agent) Constrain(_ context.Context, r model.ConstrainRequest) (uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.snap.ExecEnv(r.Instance) == nil {
		return 0, fault.Errorf(fault.UnknownExecEnv, "cannot find environment %d", r.Instance)
	}
	if err := a.ask(r); err != nil {
		return 0, err
	}
	return a.begin("constrain", r.Originator, []model.Ref{{Kind: model.KindExecEnv, Instance: r.Instance}},
		step{model.JobConfiguring, func(d *model.Draft, _ *model.Job) error {
			e := *d.ExecEnv(r.Instance)
			l := limit(model.Limits{Disk: max(e.AllocatedDisk, 0), Memory: max(e.AllocatedMemory, 0), CPU: e.AllocatedCPU}, r.Limits)
			if r.Limits.Memory != nil && l.Memory > 0 && l.Memory < InUse && !r.Force {
				return fault.Errorf(fault.LimitInUse, "cannot constrain %s to %d KiB of memory: it uses %d", e.ID, l.Memory, InUse)
			}
			e.AllocatedDisk, e.AllocatedMemory, e.AllocatedCPU = unlimited(l.Disk), unlimited(l.Memory), l.CPU
			d.PutExecEnv(&e)
			return nil
		}},
	), nil
}

// unlimited is how a row tells of disk and memory that there is no limit.
func unlimited(n int64) int64 {
	if n == 0 {
		return model.UnknownSize
	}
	return n
}

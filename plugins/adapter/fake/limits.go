package fake

import (
	"context"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// Constraints are limits of an environment that were set, over those that are configured.
type Constraints struct {
	Disk, Memory, CPU *Constraint
}

// A Constraint is a limit that was set.
type Constraint struct {
	Limit int64 `json:"limit"` // 0: none
	// Over is what was configured then; when that changes, the configured limit is in force again.
	Over int64 `json:"over"`
}

// or is the limit that is in force.
func (c *Constraint) or(configured int64) int64 {
	if c == nil || c.Over != configured {
		return configured
	}
	return c.Limit
}

// limits are those that are in force in an environment.
func (e *EnvState) limits(configured environment) adapter.Limits {
	return adapter.Limits{
		Disk: e.Constraints.Disk.or(configured.DiskKiB), Memory: e.Constraints.Memory.or(configured.MemoryKiB),
		CPU: int(e.Constraints.CPU.or(configured.CPU)),
	}
}

// memoryKiB is what the modules that run use.
func (e *EnvState) memoryKiB() (sum int64) {
	for _, u := range e.Units {
		for _, m := range u.Modules {
			if m.Status == adapter.Active {
				sum += u.spec(m).MemoryKiB
			}
		}
	}
	return sum
}

// SetUnit replaces the settings of a unit; each module takes them over at its next start.
func (a *Adapter) SetUnit(ctx context.Context, op adapter.OpID, ref adapter.UnitRef, s adapter.UnitSettings) error {
	return a.change(ctx, Call{Method: "SetUnit", OpID: op, Env: ref.Env}, func(c *change, _ environment) error {
		if !a.w.opts.Settings {
			return adapter.Errorf(adapter.NotSupported, "cannot set the settings of %s: environment %q has none", ref.Key, ref.Env)
		}
		p, u, err := a.unit(c, ref)
		if err != nil {
			return err
		}
		if err := p.changeable("set the settings of", ref.Key, u); err != nil {
			return err
		}
		what := "set the settings of " + ref.Key
		if !a.w.opts.Volumes && len(s.Volumes) > 0 {
			return adapter.Errorf(adapter.NotSupported, "cannot %s: environment %q has no volumes", what, ref.Env)
		}
		if err := wellFormed(s); err != nil {
			return err
		}
		if err := adapter.CheckVolumes(what, s.Volumes); err != nil {
			return err
		}
		if a.w.opts.NoDiskLimit && s.Limits.Disk > 0 {
			return adapter.Errorf(adapter.NotSupported, "cannot limit the disk space of %s: environment %q has no such limit", ref.Key, ref.Env)
		}
		s.Variables, s.Volumes = slices.Clone(s.Variables), slices.Clone(s.Volumes)
		u.Settings = s
		return nil
	})
}

func wellFormed(s adapter.UnitSettings) error {
	keys := map[string]bool{}
	for _, v := range s.Variables {
		if v.Key == "" || strings.ContainsAny(v.Key, "=\x00") || strings.Contains(v.Value, "\x00") || keys[v.Key] {
			return adapter.Errorf(adapter.InvalidArgument, "cannot set variable %q", v.Key)
		}
		keys[v.Key] = true
	}
	if l := s.Limits; l.Disk < 0 || l.Memory < 0 || l.CPU < 0 || l.CPU > 100 {
		return adapter.Errorf(adapter.InvalidArgument, "cannot set limits of %d KiB of disk space, %d KiB of memory and %d percent", l.Disk, l.Memory, l.CPU)
	}
	return nil
}

// Constrain sets limits of an environment, which need not be up. What is used of the processors is never more than any limit.
func (a *Adapter) Constrain(ctx context.Context, op adapter.OpID, env string, c adapter.Constraints, force bool) error {
	return a.change(ctx, Call{Method: "Constrain", OpID: op, Env: env}, func(ch *change, e environment) error {
		if !a.w.opts.Constraints {
			return adapter.Errorf(adapter.NotSupported, "cannot constrain environment %q: its limits are configured", env)
		}
		p, err := a.w.at(ch, env)
		if err != nil {
			return err
		}
		if a.w.opts.NoDiskLimit && c.Disk != nil {
			return adapter.Errorf(adapter.NotSupported, "cannot limit the disk space of environment %q: it has no such limit", env)
		}
		next := p.Constraints
		if next.Disk, err = constraint("disk space", c.Disk, next.Disk, e.DiskKiB, p.usedKiB(), force); err != nil {
			return err
		}
		if next.Memory, err = constraint("memory", c.Memory, next.Memory, e.MemoryKiB, p.memoryKiB(), force); err != nil {
			return err
		}
		if c.CPU != nil {
			if *c.CPU > 100 {
				return adapter.Errorf(adapter.InvalidArgument, "cannot limit the processors to %d percent", *c.CPU)
			}
			percent := int64(*c.CPU)
			if next.CPU, err = constraint("processors", &percent, next.CPU, e.CPU, 0, force); err != nil {
				return err
			}
		}
		if next != p.Constraints {
			p.Constraints = next
			ch.envs[env] = true
		}
		return nil
	})
}

// constraint is what becomes of a limit: the one of before if none is asked for.
func constraint(what string, asked *int64, before *Constraint, configured, used int64, force bool) (*Constraint, error) {
	switch {
	case asked == nil:
		return before, nil
	case *asked < 0:
		return nil, adapter.Errorf(adapter.InvalidArgument, "cannot limit the %s to %d", what, *asked)
	case *asked > 0 && *asked < used && !force:
		return nil, adapter.Errorf(adapter.InUse, "cannot limit the %s to %d KiB: %d KiB are in use", what, *asked, used)
	case before != nil && before.Limit == *asked && before.Over == configured:
		return before, nil
	}
	return &Constraint{Limit: *asked, Over: configured}, nil
}

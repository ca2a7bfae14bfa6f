package execution

import (
	"context"
	"errors"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// withData makes the application data of a unit ready and starts it. When the data cannot be made ready, that is a failure of the start, which the row shows as code.
func (us *Units) withData(ctx context.Context, u *model.ExecutionUnit, code model.FaultCode, start func() error) error {
	s := us.inv.Snapshot()
	du, before := s.DeploymentUnit(u.DU), s.ExecutionUnit(u.ID)
	if du == nil || before == nil {
		return start() // says what is wrong
	}
	if err := us.volumes.Ready(ctx, du.Env, du.UUID, func() bool { return us.stopped(s, du) }); err != nil {
		if ctx.Err() != nil {
			return err
		}
		return errors.Join(err, us.setFault(u.ID, code, err.Error(), true))
	}
	us.unheard.Store(u.ID, before)
	err := start()
	failed := err != nil && adapter.ReasonOf(err) != adapter.StillRunning && !environment.Away(err)
	if failed || us.inv.Snapshot().ExecutionUnit(u.ID) != before {
		us.unheard.Delete(u.ID)
	}
	return err
}

// stopped reports whether no execution unit of a deployment unit is at work, of whatever version of it. One that was started and of which nothing has been heard since is taken to be.
func (us *Units) stopped(s *model.Snapshot, of *model.DeploymentUnit) bool {
	if env := s.ExecEnvByID(of.Env); env == nil || !env.Synced {
		return false // nobody knows
	}
	for u := range s.ExecutionUnits() {
		du := s.DeploymentUnit(u.DU)
		if du == nil || du.Env != of.Env || du.UUID != of.UUID {
			continue
		}
		if row, started := us.unheard.Load(u.ID); u.Status != model.EUIdle || started && row == u {
			return false
		}
	}
	return true
}

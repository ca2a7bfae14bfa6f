package agent_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter/fake"
)

// TestAutoRestart: a unit that ends abnormally is started again, as often as is permitted, also by an agent that was started meanwhile.
func TestAutoRestart(t *testing.T) {
	d := start(t, plain)
	j := d.done(d.agent.Install(t.Context(), model.InstallRequest{
		URL: d.pkg(fake.Spec{Name: "a", Vendor: "v"}), ExecEnv: "e", AutoRestart: &model.AutoRestart{Enable: true, Multiplier: 1000, Retries: 2},
	}))
	du := j.Objects[0].Instance
	eu := d.rest(du, model.EUActive)
	row := model.Ref{Kind: model.KindExecutionUnit, Instance: eu.ID}
	crash := func() {
		d.ok(d.console("e").Crash(d.agent.Snapshot().DeploymentUnit(du).Key, eu.Module, "boom", 1))
	}
	until := func(status model.EUStatus, count uint32) {
		t.Helper()
		d.until(fmt.Sprintf("the unit is %s after %d restarts", status, count), func(s *model.Snapshot) error {
			u := s.ExecutionUnit(eu.ID)
			if u.Status != status || u.Restart.Count != count || !u.Restart.Next.IsZero() {
				return fmt.Errorf("it is %+v", *u)
			}
			return nil
		})
	}
	crash()
	until(model.EUActive, 1)
	d.restart()
	d.up()
	until(model.EUActive, 1)
	crash()
	until(model.EUActive, 2)
	crash()
	until(model.EUIdle, 2)

	d.done(d.request(eu.ID, model.RequestRestart))
	until(model.EUActive, 0)
	for a, v := range map[model.Attribute]any{
		model.AutoRestartMinimum: 1, model.AutoRestartMaximum: 2, model.AutoRestartMultiplier: 3, model.AutoRestartRetries: 4, model.AutoRestartReset: 5,
		model.AutoRestartCount: 6, model.AutoRestartEnable: false,
	} {
		d.set(row, a, v)
	}
	want := model.AutoRestart{Minimum: 1, Maximum: 2, Multiplier: 3, Retries: 4, Reset: 5, Count: 6, Last: d.eu(du).Restart.Last}
	d.until("all is set", func(s *model.Snapshot) error {
		if got := s.ExecutionUnit(eu.ID).Restart; got != want { // that it was restarted is over when it has been seen at work
			return fmt.Errorf("it is %+v, not %+v", got, want)
		}
		return nil
	})
	for _, v := range []any{-1, 1 << 32, "1"} {
		_, err := d.agent.Set(t.Context(), []model.Assignment{{Row: row, Attribute: model.AutoRestartReset, Value: v}}, model.Origin{Name: "test"})
		var refused *model.SetError
		if !errors.As(err, &refused) || fault.ReasonOf(refused.Faults[0]) != fault.InvalidArguments {
			t.Errorf("ResetPeriod %v: %v", v, err)
		}
	}
}

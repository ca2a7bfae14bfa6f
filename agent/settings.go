package agent

import (
	"context"
	"errors"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/environment"
	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
)

// maxLimit is the greatest limit in KiB: environments count in bytes.
const maxLimit = math.MaxInt64 / 1024

// Constrain accepts other limits of an environment, which may be disabled, and returns their job. Errors are unknown-exec-env, invalid-arguments, and
// unsupported-argument for an environment whose limits cannot be changed. The job fails with limit-in-use when a limit is below what the environment uses and
// r does not force it; nothing is changed then.
func (a *Agent) Constrain(ctx context.Context, r model.ConstrainRequest) (uint32, error) {
	return accept(ctx, a, func(tx *inventory.Tx) (uint32, error) {
		row := tx.ExecEnv(r.Instance)
		if row == nil {
			return 0, fault.Errorf(fault.UnknownExecEnv, "cannot constrain environment %d: it does not exist", r.Instance)
		}
		if err := checkLimits(r.Limits); err != nil {
			return 0, err
		}
		request := envRequest(row, r.Originator)
		if r.Limits == (model.LimitsRequest{}) {
			request.Envs = nil // there is nothing to wait for
		} else if err := a.envs.CheckConstraints(row.ID); err != nil {
			return 0, err
		}
		return operation.Submit(a.eng, tx, a.envOps.Constrain, &environment.ConstrainState{Env: row.ID, Limits: r.Limits, Force: r.Force}, request)
	})
}

// RemoveVolume removes application data with its content. Errors are unknown-du when there is none of that number, and volume-in-use while the unit that it
// belongs to is on the environment (TR-369 I.3.2).
func (a *Agent) RemoveVolume(ctx context.Context, instance uint32, originator model.Origin) error {
	_, err := accept(ctx, a, func(tx *inventory.Tx) (struct{}, error) {
		v := tx.Volume(instance)
		if v == nil {
			return struct{}{}, fault.Errorf(fault.UnknownDU, "cannot remove application data %d: it does not exist", instance)
		}
		for du := range tx.DeploymentUnits() {
			if du.Env == v.Env && du.UUID == v.UUID {
				return struct{}{}, fault.Errorf(fault.VolumeInUse, "cannot remove application data %q of %s on %s: the unit is there", v.Name, v.UUID, v.Env)
			}
		}
		tx.AfterCommit(func() {
			a.opts.Log.Info("application data is removed", "env", v.Env, "du", v.UUID, "name", v.Name, "originator", originator.Name)
			a.ended()
		})
		return struct{}{}, tx.DeleteVolume(instance)
	})
	return err
}

func checkLimits(l model.LimitsRequest) error {
	var errs []error
	for _, x := range []struct {
		what  string
		limit *int64
	}{{"disk space", l.Disk}, {"memory", l.Memory}} {
		if x.limit != nil && (*x.limit < 0 || *x.limit > maxLimit) {
			errs = append(errs, fault.Errorf(fault.InvalidArguments, "cannot limit the %s to %d KiB", x.what, *x.limit))
		}
	}
	if l.CPU != nil && (*l.CPU < 0 || *l.CPU > 100) {
		errs = append(errs, fault.Errorf(fault.InvalidArguments, "cannot limit the processors to %d percent", *l.CPU))
	}
	return errors.Join(errs...)
}

// checkVariables judges variables for execution units. No value is in the error: it may hold a secret.
func checkVariables(all []model.VariableRequest) error {
	if len(all) > model.MaxVariables {
		return fault.Errorf(fault.InvalidArguments, "cannot take %d variables: a deployment unit has %d at most", len(all), model.MaxVariables)
	}
	keys := map[string]bool{}
	for _, v := range all {
		why := ""
		switch {
		case v.Key == "":
			why = "it is empty"
		case strings.ContainsAny(v.Key, "=\x00"):
			why = "it has an equals sign or a zero byte in it"
		case utf8.RuneCountInString(v.Key) > model.MaxVariable:
			why = "it is too long"
		case !utf8.ValidString(v.Key), !utf8.ValidString(v.Value):
			why = "it or its value is no text"
		case keys[v.Key]:
			why = "it is there twice"
		case strings.Contains(v.Value, "\x00"):
			why = "its value has a zero byte in it"
		case utf8.RuneCountInString(v.Value) > model.MaxVariable:
			why = "its value is too long"
		}
		if why != "" {
			return fault.Errorf(fault.InvalidArguments, "cannot take the variable %.40q: %s", v.Key, why)
		}
		keys[v.Key] = true
	}
	return nil
}

package dbus

import (
	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// job is the answer of a method that returns one.
func job(id uint32, err error, code numbers) ([]any, error) {
	if err != nil {
		return nil, refusal(err, code)
	}
	return []any{path(model.Ref{Kind: model.KindJob, Instance: id})}, nil
}

// options returns the argument that holds the options.
func options(c *call, i int) map[string]dbus.Variant { return arg[map[string]dbus.Variant](c, i) }

func install(c *call) ([]any, error) {
	var r model.InstallRequest
	if err := intoString(&r.URL)("url", arg[string](c, 0)); err != nil {
		return nil, invalid("cannot install: the URL is too long")
	}
	err := parse(options(c, 1), withLimits(&r.Limits, ofUnits, map[string]option{
		"uuid":       intoString(&r.UUID),
		"exec_env":   intoExecEnv(c.agent.Snapshot(), &r.ExecEnv),
		"username":   intoString(&r.Username),
		"password":   intoString(&r.Password),
		"auto_start": intoBool(&r.AutoStart),
		"variables":  intoVariables(&r.Variables),

		"module_version":   intoString(&r.ModuleVersion),
		"application_data": intoVolumes(&r.Volumes),
	}))
	if err != nil {
		return nil, err
	}
	r.Originator = c.originator()
	id, err := c.agent.Install(c.ctx, r)
	return job(id, err, ofUnits)
}

func adapters(c *call) ([]any, error) {
	list := []map[string]dbus.Variant{}
	for _, a := range c.agent.Adapters() {
		capabilities := make([]string, len(a.Capabilities))
		for i, k := range a.Capabilities {
			capabilities[i] = text(k)
		}
		list = append(list, map[string]dbus.Variant{
			"name":         dbus.MakeVariant(text(a.Name)),
			"version":      dbus.MakeVariant(text(a.Version)),
			"capabilities": dbus.MakeVariant(capabilities),
			"state":        dbus.MakeVariant(text(a.State)),
			"detail":       dbus.MakeVariant(text(a.Detail)),
			"pid":          dbus.MakeVariant(uint32(max(a.PID, 0))),
			"restarts":     dbus.MakeVariant(uint32(max(a.Restarts, 0))),
		})
	}
	return []any{list}, nil
}

func setRunLevel(c *call) ([]any, error) {
	if err := parse(options(c, 1), nil); err != nil {
		return nil, err
	}
	_, err := c.agent.Set(c.ctx, []model.Assignment{{
		Row: c.object.ref, Attribute: model.RequestedRunLevel, Value: int(arg[int32](c, 0)),
	}}, c.originator())
	if err != nil {
		return nil, refusal(err, ofParameter)
	}
	return nil, nil
}

func restartExecEnv(c *call) ([]any, error) {
	var reason string
	if err := parse(options(c, 0), map[string]option{"reason": intoString(&reason)}); err != nil {
		return nil, err
	}
	id, err := c.agent.RestartExecEnv(c.ctx, c.object.ref.Instance, reason, c.originator())
	return job(id, err, ofCall)
}

func constrainExecEnv(c *call) ([]any, error) {
	r := model.ConstrainRequest{Instance: c.object.ref.Instance, Originator: c.originator()}
	var force *bool
	if err := parse(options(c, 0), withLimits(&r.Limits, ofCall, map[string]option{"force": intoBool(&force)})); err != nil {
		return nil, err
	}
	r.Force = force != nil && *force
	id, err := c.agent.Constrain(c.ctx, r)
	return job(id, err, ofCall)
}

func recordBaseline(c *call) ([]any, error) {
	kind, token := arg[string](c, 0), arg[string](c, 1)
	if err := checkBaseline(kind); err != nil {
		return nil, refusal(err, ofCall)
	}
	if len(token) > maxText {
		return nil, invalid("cannot record the baseline %s: the token is too long", kind)
	}
	c.log.Info("recording a baseline", "baseline", kind, "originator", c.originator().Name)
	if err := c.agent.RecordBaseline(c.ctx, kind, token); err != nil {
		return nil, refusal(err, ofCall)
	}
	return nil, nil
}

// resetExecEnv begins a Reset. CWMP would set the parameter Reset.
func resetExecEnv(c *call) ([]any, error) {
	kind := xml.BaselineCWMP
	if err := parse(options(c, 0), map[string]option{"baseline": intoBaseline(&kind)}); err != nil {
		return nil, err
	}
	id, err := c.agent.ResetExecEnv(c.ctx, c.object.ref.Instance, kind, c.originator())
	return job(id, err, ofParameter)
}

// removeApplicationData removes application data of the environment, by its number.
func removeApplicationData(c *call) ([]any, error) {
	number := arg[uint32](c, 0)
	if err := parse(options(c, 1), nil); err != nil {
		return nil, err
	}
	snap := c.agent.Snapshot()
	e, data := snap.ExecEnv(c.object.ref.Instance), snap.Volume(number)
	if e == nil {
		return nil, refusal(fault.Errorf(fault.InvalidArguments, "cannot remove application data %d: its environment is gone", number), ofCall)
	}
	if data == nil || data.Env != e.ID {
		return nil, refusal(fault.Errorf(fault.InvalidArguments, "cannot remove application data %d: %s has none with that number", number, e.ID), ofCall)
	}
	if err := c.agent.RemoveVolume(c.ctx, number, c.originator()); err != nil {
		return nil, refusal(err, ofCall)
	}
	return nil, nil
}

func update(c *call) ([]any, error) {
	r := model.UpdateRequest{DU: c.object.ref.Instance}
	var label string
	err := parse(options(c, 0), withLimits(&r.Limits, ofUnits, map[string]option{
		"module_version": func(key string, value any) error {
			r.ModuleVersion = &label
			return intoString(&label)(key, value)
		},
		"url":       intoString(&r.URL),
		"username":  intoString(&r.Username),
		"password":  intoString(&r.Password),
		"variables": intoVariables(&r.Variables),

		"application_data": intoVolumes(&r.Volumes),
		"retain_data":      intoBool(&r.RetainData),
	}))
	if err != nil {
		return nil, err
	}
	r.Originator = c.originator()
	id, err := c.agent.Update(c.ctx, r)
	return job(id, err, ofUnits)
}

func uninstall(c *call) ([]any, error) {
	var retain *bool
	if err := parse(options(c, 0), map[string]option{"retain_data": intoBool(&retain)}); err != nil {
		return nil, err
	}
	id, err := c.agent.Uninstall(c.ctx, model.UninstallRequest{
		DU: c.object.ref.Instance, RetainData: retain != nil && *retain, Originator: c.originator(),
	})
	return job(id, err, ofUnits)
}

// request returns the method that makes a request to an execution unit. CWMP would set RequestedState.
func request(r model.Request) func(*call) ([]any, error) {
	return func(c *call) ([]any, error) {
		if err := parse(options(c, 0), nil); err != nil {
			return nil, err
		}
		id, err := c.agent.Request(c.ctx, c.object.ref.Instance, r, c.originator())
		return job(id, err, ofParameter)
	}
}

func cancelJob(c *call) ([]any, error) {
	if err := parse(options(c, 0), nil); err != nil {
		return nil, err
	}
	c.log.Info("canceling", "op", c.object.ref.Instance, "originator", c.originator().Name)
	if err := c.agent.Cancel(c.ctx, c.object.ref.Instance); err != nil {
		return nil, refusal(err, ofCall)
	}
	return nil, nil
}

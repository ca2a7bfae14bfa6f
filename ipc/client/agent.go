package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// Info says what agent it is.
type Info struct {
	Version   string `json:"version"`
	DataModel string `json:"data_model"` // the version of Device.SoftwareModules. it serves
	State     string `json:"state"`      // starting, running, stopping
}

// Info reads the properties of the root object.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var props map[string]dbus.Variant
	const what = "cannot read the properties of the agent"
	if _, err := c.call(ctx, what, Root, ifaceProperties+".GetAll", []any{BusName}, &props); err != nil {
		return Info{}, err
	}
	var i Info
	for name, dst := range map[string]*string{"Version": &i.Version, "DataModel": &i.DataModel, "State": &i.State} {
		if v, ok := props[name]; ok {
			if err := v.Store(dst); err != nil {
				return Info{}, fmt.Errorf("%s: %s: %w", what, name, err)
			}
		}
	}
	return i, nil
}

// InstallOptions are what an installation may be given beyond the URL; what is empty is not sent.
type InstallOptions struct {
	UUID      string // empty: generated from the package
	ExecEnv   string // D-Bus path, data-model path or name; empty: the agent chooses
	Username  string
	Password  string
	AutoStart *bool // nil: as the environment is configured
	// ModuleVersion is kept with the unit, at most 32 characters.
	ModuleVersion string
	Variables     map[string]string // environment variables of its execution units
	Limits        Limits            // of each of its execution units
	Volumes       []VolumeOptions   // application data of its execution units
}

// Limits bound what is used at most. Nil: as it is; [NoLimit] takes a limit away.
type Limits struct {
	Disk   *int32 // KiB
	Memory *int32 // KiB
	CPU    *int32 // percent, 1 to 100: of the environment for an execution unit, of the device for an environment
}

// NoLimit is the value in [Limits] for none.
const NoLimit = -1

func (l Limits) put(o options) {
	for key, n := range map[string]*int32{"disk_limit": l.Disk, "memory_limit": l.Memory, "cpu_limit": l.CPU} {
		if n != nil {
			o.put(key, *n)
		}
	}
}

// Install begins an installation and returns its job.
func (c *Client) Install(ctx context.Context, url string, o InstallOptions) (dbus.ObjectPath, error) {
	opts := options{}
	opts.put("uuid", o.UUID)
	opts.put("exec_env", o.ExecEnv)
	opts.put("username", o.Username)
	opts.put("password", o.Password)
	if o.AutoStart != nil {
		opts.put("auto_start", *o.AutoStart)
	}
	opts.put("module_version", o.ModuleVersion)
	if len(o.Variables) > 0 {
		opts.put("variables", o.Variables)
	}
	o.Limits.put(opts)
	opts.putVolumes(o.Volumes)
	var job dbus.ObjectPath
	_, err := c.call(ctx, "cannot install", Root, BusName+".Install", []any{url, opts}, &job)
	return job, err
}

// UpdateOptions are what an update may be given; what is empty is not sent.
type UpdateOptions struct {
	URL      string // empty: the last one, with its credentials
	Username string
	Password string
	// ModuleVersion is kept with the unit, at most 32 characters; empty: it stays as it is.
	ModuleVersion string
	// Variables take the place of all environment variables that were given; nil: they stay.
	Variables map[string]string
	Limits    Limits
	// Volumes are made, or changed with their content; those that are not named stay, unless RetainData says false: then all content is
	// lost when the update has succeeded. Nil: it stays.
	Volumes    []VolumeOptions
	RetainData *bool
}

// Update begins an update of a deployment unit and returns its job.
func (c *Client) Update(ctx context.Context, du dbus.ObjectPath, o UpdateOptions) (dbus.ObjectPath, error) {
	opts := options{}
	opts.put("url", o.URL)
	opts.put("username", o.Username)
	opts.put("password", o.Password)
	opts.put("module_version", o.ModuleVersion)
	if o.Variables != nil {
		opts.put("variables", o.Variables)
	}
	o.Limits.put(opts)
	opts.putVolumes(o.Volumes)
	if o.RetainData != nil {
		opts.put("retain_data", *o.RetainData)
	}
	return c.job(ctx, "cannot update", du, KindDeploymentUnit, "Update", opts)
}

// Uninstall begins the removal of a deployment unit with its application data and returns its job.
func (c *Client) Uninstall(ctx context.Context, du dbus.ObjectPath) (dbus.ObjectPath, error) {
	return c.job(ctx, "cannot uninstall", du, KindDeploymentUnit, "Uninstall", options{})
}

// UninstallRetainingData is [Client.Uninstall] that leaves application data whose Retain is [RetainForever].
func (c *Client) UninstallRetainingData(ctx context.Context, du dbus.ObjectPath) (dbus.ObjectPath, error) {
	return c.job(ctx, "cannot uninstall", du, KindDeploymentUnit, "Uninstall", options{"retain_data": dbus.MakeVariant(true)})
}

// Start begins the start of an execution unit and returns its job.
func (c *Client) Start(ctx context.Context, eu dbus.ObjectPath) (dbus.ObjectPath, error) {
	return c.job(ctx, "cannot start", eu, KindExecutionUnit, "Start", options{})
}

// Stop begins the end of an execution unit and returns its job.
func (c *Client) Stop(ctx context.Context, eu dbus.ObjectPath) (dbus.ObjectPath, error) {
	return c.job(ctx, "cannot stop", eu, KindExecutionUnit, "Stop", options{})
}

// Restart begins a restart of an execution unit and returns its job.
func (c *Client) Restart(ctx context.Context, eu dbus.ObjectPath) (dbus.ObjectPath, error) {
	return c.job(ctx, "cannot restart", eu, KindExecutionUnit, "Restart", options{})
}

// RestartExecEnv begins a restart of an environment and returns its job. reason ends up in RestartReason; it may be empty.
func (c *Client) RestartExecEnv(ctx context.Context, env dbus.ObjectPath, reason string) (dbus.ObjectPath, error) {
	opts := options{}
	opts.put("reason", reason)
	return c.job(ctx, "cannot restart", env, KindExecEnv, "Restart", opts)
}

// ModifyConstraints begins to set limits of an environment and returns the job. A limit below what is in use fails, and nothing is changed, unless
// it is forced: the environment may then end units.
func (c *Client) ModifyConstraints(ctx context.Context, env dbus.ObjectPath, l Limits, force bool) (dbus.ObjectPath, error) {
	opts := options{}
	l.put(opts)
	if force {
		opts.put("force", true)
	}
	return c.job(ctx, "cannot constrain", env, KindExecEnv, "ModifyConstraints", opts)
}

// The kinds of baseline: one for each protocol.
const (
	BaselineCWMP = "cwmp" // the state at the last "0 BOOTSTRAP" Inform
	BaselineUSP  = "usp"  // the state at the last Boot! after a factory reset
)

// RecordBaseline makes the present state of every environment the baseline of that kind, which [Client.ResetExecEnv] goes back
// to. The token of the present baseline changes nothing; an empty one is always a new baseline. Other kinds are refused with
// InvalidArguments.
func (c *Client) RecordBaseline(ctx context.Context, kind, token string) error {
	_, err := c.call(ctx, "cannot record the baseline "+kind, Root, BusName+".RecordBaseline", []any{kind, token})
	return err
}

// ResetExecEnv begins to bring an environment back to its baseline of that kind, "" for [BaselineCWMP], and returns the job: units
// that came since are removed with their data. A job that fails has restored all but what its message names.
func (c *Client) ResetExecEnv(ctx context.Context, env dbus.ObjectPath, kind string) (dbus.ObjectPath, error) {
	opts := options{}
	opts.put("baseline", kind)
	return c.job(ctx, "cannot reset", env, KindExecEnv, "Reset", opts)
}

// SetRunLevel asks an environment to go to a run level. It returns when that is accepted, not when the level is reached.
func (c *Client) SetRunLevel(ctx context.Context, env dbus.ObjectPath, level int32) error {
	_, err := c.call(ctx, "cannot set the run level of "+nameOf(env), env, KindExecEnv.iface()+".SetRunLevel", []any{level, options{}})
	return err
}

// job calls a method that begins a job.
func (c *Client) job(ctx context.Context, what string, path dbus.ObjectPath, k Kind, method string, opts options) (dbus.ObjectPath, error) {
	var job dbus.ObjectPath
	_, err := c.call(ctx, what+" "+nameOf(path), path, k.iface()+"."+method, []any{opts}, &job)
	return job, err
}

// SetProperty writes one property of an object. The value must have the type of the property: bool, int32, uint32 or string.
func (c *Client) SetProperty(ctx context.Context, path dbus.ObjectPath, name string, value any) error {
	k, _ := splitPath(path)
	if k == "" {
		return fmt.Errorf("cannot set %s of %s: no object of the agent has such a path", name, path)
	}
	_, err := c.call(ctx, "cannot set "+name+" of "+nameOf(path), path, ifaceProperties+".Set",
		[]any{k.iface(), name, dbus.MakeVariant(value)})
	return err
}

// An Adapter says how an adapter process is.
type Adapter struct {
	Name         string   `json:"name"`
	Version      string   `json:"version"`
	Capabilities []string `json:"capabilities"`
	State        string   `json:"state"`    // starting, running, backing-off, broken
	Detail       string   `json:"detail"`   // why it is not running
	PID          uint32   `json:"pid"`      // 0: no process
	Restarts     uint32   `json:"restarts"` // since the agent started
}

// Adapters tells the adapter processes, ordered by name.
func (c *Client) Adapters(ctx context.Context) ([]Adapter, error) {
	const what = "cannot list the adapters"
	var rows []map[string]dbus.Variant
	if _, err := c.call(ctx, what, Root, BusName+".Adapters", nil, &rows); err != nil {
		return nil, err
	}
	adapters := make([]Adapter, 0, len(rows))
	for _, row := range rows {
		a := Adapter{Capabilities: []string{}}
		for key, dst := range map[string]any{
			"name": &a.Name, "version": &a.Version, "capabilities": &a.Capabilities, "state": &a.State,
			"detail": &a.Detail, "pid": &a.PID, "restarts": &a.Restarts,
		} {
			if v, ok := row[key]; ok {
				if err := v.Store(dst); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", what, key, err)
				}
			}
		}
		adapters = append(adapters, a)
	}
	return adapters, nil
}

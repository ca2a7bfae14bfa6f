package adapter

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/smmd-project/smmd/plugins/adapter/adapterpb"
)

// Client is an [Adapter] with all optional interfaces at the other end of a gRPC connection. A method that the adapter does not have
// answers [NotSupported]. When the connection breaks, a method returns [ErrLost] and the channel of Watch is closed.
type Client struct {
	stub   adapterpb.AdapterClient
	health grpc_health_v1.HealthClient

	mu       sync.Mutex
	watchErr error
}

var (
	_ Adapter     = (*Client)(nil)
	_ RunLeveler  = (*Client)(nil)
	_ AutoStarter = (*Client)(nil)
	_ Exporter    = (*Client)(nil)
	_ Versioner   = (*Client)(nil)
	_ UnitSetter  = (*Client)(nil)
	_ Constrainer = (*Client)(nil)
)

// NewClient returns the client that speaks over conn, which stays the caller's to close.
func NewClient(conn grpc.ClientConnInterface) *Client {
	return &Client{stub: adapterpb.NewAdapterClient(conn), health: grpc_health_v1.NewHealthClient(conn)}
}

// Ping asks the process whether it serves. It says nothing about environments.
func (c *Client) Ping(ctx context.Context) error {
	r, err := c.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return fromStatus(ctx, "Ping", err)
	}
	if r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return Errorf(Unavailable, "the adapter says that it is %s", r.GetStatus())
	}
	return nil
}

// Describe implements [Adapter], as do all that follow.
func (c *Client) Describe(ctx context.Context) (Description, error) {
	r, err := c.stub.Describe(ctx, &adapterpb.DescribeRequest{})
	if err != nil {
		return Description{}, fromStatus(ctx, "Describe", err)
	}
	d := Description{Kind: r.GetKind(), Version: r.GetVersion()}
	for _, x := range r.GetCapabilities() {
		d.Capabilities = append(d.Capabilities, Capability(x))
	}
	return d, nil
}

// Configure implements [Adapter].
func (c *Client) Configure(ctx context.Context, envs []EnvConfig) error {
	r := &adapterpb.ConfigureRequest{}
	for _, e := range envs {
		r.Envs = append(r.Envs, &adapterpb.EnvConfig{Id: e.ID, DataDir: e.DataDir, Settings: e.Settings})
	}
	_, err := c.stub.Configure(ctx, r)
	return fromStatus(ctx, "Configure", err)
}

// Watch implements [Adapter]. It returns when the adapter has accepted the call. The channel is not buffered; [Client.WatchError]
// says why it was closed.
func (c *Client) Watch(ctx context.Context) (<-chan Event, error) {
	// The stream ends with the goroutine that reads it, whatever ends first.
	ctx, cancel := context.WithCancel(ctx)
	stream, err := c.stub.Watch(ctx, &adapterpb.WatchRequest{})
	if err != nil {
		defer cancel()
		return nil, fromStatus(ctx, "Watch", err)
	}
	if header, _ := stream.Header(); header == nil {
		// The stream ended before it began; gRPC tells the reason to who reads.
		defer cancel()
		_, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if err = fromStatus(ctx, "Watch", err); err == nil {
			err = Errorf(Internal, "cannot watch: the adapter ended the stream at once")
		}
		return nil, err
	}
	c.setWatchError(nil)
	events := make(chan Event)
	go func() {
		defer cancel()
		defer close(events)
		for {
			w, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				c.setWatchError(fromStatus(ctx, "Watch", err))
				return
			}
			e, err := eventFromWire(w)
			if err != nil {
				c.setWatchError(err)
				return
			}
			select {
			case events <- e:
			case <-ctx.Done():
				c.setWatchError(ctx.Err())
				return
			}
		}
	}()
	return events, nil
}

// WatchError returns why the channel of the last Watch was closed: nil when the adapter ended it in order.
func (c *Client) WatchError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watchErr
}

func (c *Client) setWatchError(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchErr = err
}

// Inspect implements [Adapter].
func (c *Client) Inspect(ctx context.Context, env string, p Package) (Manifest, error) {
	r, err := c.stub.Inspect(ctx, &adapterpb.InspectRequest{Env: env, Package: packageToWire(p)})
	if err != nil {
		return Manifest{}, fromStatus(ctx, "Inspect", err)
	}
	return manifestFromWire(r.GetManifest()), nil
}

// Install implements [Adapter].
func (c *Client) Install(ctx context.Context, op OpID, spec InstallSpec) (Unit, error) {
	r, err := c.stub.Install(ctx, &adapterpb.InstallRequest{
		OpId: string(op), Env: spec.Env, Key: spec.Key, Package: packageToWire(spec.Package), RunLevel: clamp(spec.RunLevel),
	})
	return answeredUnit(ctx, "Install", r.GetUnit(), err)
}

// Update implements [Adapter].
func (c *Client) Update(ctx context.Context, op OpID, u UnitRef, old, next Package) (Unit, error) {
	r, err := c.stub.Update(ctx, &adapterpb.UpdateRequest{
		OpId: string(op), Unit: unitRefToWire(u), Old: packageToWire(old), Next: packageToWire(next),
	})
	return answeredUnit(ctx, "Update", r.GetUnit(), err)
}

// Revert implements [Adapter].
func (c *Client) Revert(ctx context.Context, op OpID, u UnitRef, old Package) (Unit, error) {
	r, err := c.stub.Revert(ctx, &adapterpb.RevertRequest{OpId: string(op), Unit: unitRefToWire(u), Old: packageToWire(old)})
	return answeredUnit(ctx, "Revert", r.GetUnit(), err)
}

// Discard implements [Adapter].
func (c *Client) Discard(ctx context.Context, op OpID, u UnitRef) error {
	_, err := c.stub.Discard(ctx, &adapterpb.DiscardRequest{OpId: string(op), Unit: unitRefToWire(u)})
	return fromStatus(ctx, "Discard", err)
}

// Uninstall implements [Adapter].
func (c *Client) Uninstall(ctx context.Context, op OpID, u UnitRef) (UninstallResult, error) {
	r, err := c.stub.Uninstall(ctx, &adapterpb.UninstallRequest{OpId: string(op), Unit: unitRefToWire(u)})
	if err != nil {
		return UninstallResult{}, fromStatus(ctx, "Uninstall", err)
	}
	return UninstallResult{Pending: r.GetPending()}, nil
}

// Start implements [Adapter].
func (c *Client) Start(ctx context.Context, op OpID, m ModuleRef, o StartOptions) error {
	_, err := c.stub.Start(ctx, &adapterpb.StartRequest{
		OpId: string(op), Module: moduleRefToWire(m), Persistent: o.Persistent, Auto: o.Auto,
	})
	return fromStatus(ctx, "Start", err)
}

// Stop implements [Adapter].
func (c *Client) Stop(ctx context.Context, op OpID, m ModuleRef) error {
	_, err := c.stub.Stop(ctx, &adapterpb.StopRequest{OpId: string(op), Module: moduleRefToWire(m)})
	return fromStatus(ctx, "Stop", err)
}

// SetEnabled implements [Adapter].
func (c *Client) SetEnabled(ctx context.Context, op OpID, env string, on bool, first []ModuleSetting) error {
	r := &adapterpb.SetEnabledRequest{OpId: string(op), Env: env, On: on}
	for _, s := range first {
		r.First = append(r.First, moduleSettingToWire(s))
	}
	_, err := c.stub.SetEnabled(ctx, r)
	return fromStatus(ctx, "SetEnabled", err)
}

// SetRunLevel implements [RunLeveler].
func (c *Client) SetRunLevel(ctx context.Context, op OpID, env string, level int) error {
	_, err := c.stub.SetRunLevel(ctx, &adapterpb.SetRunLevelRequest{OpId: string(op), Env: env, Level: clamp(level)})
	return fromStatus(ctx, "SetRunLevel", err)
}

// SetInitialModuleRunLevel implements [RunLeveler].
func (c *Client) SetInitialModuleRunLevel(ctx context.Context, op OpID, env string, level int) error {
	_, err := c.stub.SetInitialModuleRunLevel(ctx,
		&adapterpb.SetInitialModuleRunLevelRequest{OpId: string(op), Env: env, Level: clamp(level)})
	return fromStatus(ctx, "SetInitialModuleRunLevel", err)
}

// SetModuleRunLevel implements [RunLeveler].
func (c *Client) SetModuleRunLevel(ctx context.Context, op OpID, m ModuleRef, level int) error {
	_, err := c.stub.SetModuleRunLevel(ctx,
		&adapterpb.SetModuleRunLevelRequest{OpId: string(op), Module: moduleRefToWire(m), Level: clamp(level)})
	return fromStatus(ctx, "SetModuleRunLevel", err)
}

// SetAutoStart implements [AutoStarter].
func (c *Client) SetAutoStart(ctx context.Context, op OpID, m ModuleRef, on bool) error {
	_, err := c.stub.SetAutoStart(ctx, &adapterpb.SetAutoStartRequest{OpId: string(op), Module: moduleRefToWire(m), On: on})
	return fromStatus(ctx, "SetAutoStart", err)
}

// Export implements [Exporter].
func (c *Client) Export(ctx context.Context, u UnitRef, path string) error {
	_, err := c.stub.Export(ctx, &adapterpb.ExportRequest{Unit: unitRefToWire(u), Path: path})
	return fromStatus(ctx, "Export", err)
}

// SaveVersion implements [Versioner].
func (c *Client) SaveVersion(ctx context.Context, env string, path string) error {
	_, err := c.stub.SaveVersion(ctx, &adapterpb.SaveVersionRequest{Env: env, Path: path})
	return fromStatus(ctx, "SaveVersion", err)
}

// RestoreVersion implements [Versioner].
func (c *Client) RestoreVersion(ctx context.Context, op OpID, env string, p Package) error {
	_, err := c.stub.RestoreVersion(ctx, &adapterpb.RestoreVersionRequest{OpId: string(op), Env: env, Package: packageToWire(p)})
	return fromStatus(ctx, "RestoreVersion", err)
}

// SetUnit implements [UnitSetter].
func (c *Client) SetUnit(ctx context.Context, op OpID, u UnitRef, s UnitSettings) error {
	_, err := c.stub.SetUnit(ctx, &adapterpb.SetUnitRequest{
		OpId: string(op), Unit: unitRefToWire(u), Variables: variablesToWire(s.Variables), Limits: limitsToWire(s.Limits),
		Volumes: volumesToWire(s.Volumes),
	})
	return fromStatus(ctx, "SetUnit", err)
}

// Constrain implements [Constrainer].
func (c *Client) Constrain(ctx context.Context, op OpID, env string, l Constraints, force bool) error {
	r := &adapterpb.ConstrainRequest{OpId: string(op), Env: env, Disk: l.Disk, Memory: l.Memory, Force: force}
	if l.CPU != nil {
		cpu := clamp(*l.CPU)
		r.Cpu = &cpu
	}
	_, err := c.stub.Constrain(ctx, r)
	return fromStatus(ctx, "Constrain", err)
}

// answeredUnit is the answer of the calls that return a unit; an answer without one is an error of the adapter.
func answeredUnit(ctx context.Context, method string, w *adapterpb.Unit, err error) (Unit, error) {
	switch {
	case err != nil:
		return Unit{}, fromStatus(ctx, method, err)
	case w == nil:
		return Unit{}, Errorf(Internal, "cannot use the answer of %s: the adapter sent no unit", method)
	}
	return unitFromWire(w), nil
}

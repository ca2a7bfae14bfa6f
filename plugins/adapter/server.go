package adapter

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/smmd-project/smmd/plugins/adapter/adapterpb"
)

// Server is the gRPC service around an [Adapter], which may implement the optional interfaces too.
type Server struct {
	adapterpb.UnimplementedAdapterServer
	adapter Adapter
	// locks keeps a second process off the environments; nil without a lock directory.
	locks *envLocks
}

var _ adapterpb.AdapterServer = (*Server)(nil)

// NewServer returns the service around a.
func NewServer(a Adapter) *Server { return &Server{adapter: a} }

// Describe implements the method of the same name of the service, as do all that follow.
func (s *Server) Describe(ctx context.Context, _ *adapterpb.DescribeRequest) (*adapterpb.DescribeResponse, error) {
	d, err := s.adapter.Describe(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	r := &adapterpb.DescribeResponse{Kind: clean(d.Kind), Version: clean(d.Version)}
	for _, c := range d.Capabilities {
		r.Capabilities = append(r.Capabilities, clean(string(c)))
	}
	return r, nil
}

// Configure takes the locks of the environments before it lets the adapter know them.
func (s *Server) Configure(ctx context.Context, r *adapterpb.ConfigureRequest) (*adapterpb.ConfigureResponse, error) {
	var envs []EnvConfig
	for _, e := range r.GetEnvs() {
		envs = append(envs, EnvConfig{ID: e.GetId(), DataDir: e.GetDataDir(), Settings: e.GetSettings()})
	}
	if s.locks != nil {
		for _, e := range envs {
			if err := s.locks.take(ctx, e.ID); err != nil {
				return nil, toStatus(err)
			}
		}
	}
	if err := s.adapter.Configure(ctx, envs); err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.ConfigureResponse{}, nil
}

// Watch sends the headers as soon as the adapter has accepted the call, so that the client can tell an error from silence.
func (s *Server) Watch(_ *adapterpb.WatchRequest, stream grpc.ServerStreamingServer[adapterpb.Event]) error {
	events, err := s.adapter.Watch(stream.Context())
	if err != nil {
		return toStatus(err)
	}
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	for {
		select {
		case <-stream.Context().Done():
			return toStatus(stream.Context().Err())
		case e, ok := <-events:
			if !ok {
				return nil
			}
			w, err := eventToWire(e)
			if err != nil {
				return toStatus(err)
			}
			if err := stream.Send(w); err != nil {
				return err
			}
		}
	}
}

// Inspect implements the service.
func (s *Server) Inspect(ctx context.Context, r *adapterpb.InspectRequest) (*adapterpb.InspectResponse, error) {
	m, err := s.adapter.Inspect(ctx, r.GetEnv(), packageFromWire(r.GetPackage()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.InspectResponse{Manifest: manifestToWire(m)}, nil
}

// Install implements the service.
func (s *Server) Install(ctx context.Context, r *adapterpb.InstallRequest) (*adapterpb.InstallResponse, error) {
	u, err := s.adapter.Install(ctx, OpID(r.GetOpId()), InstallSpec{
		Env: r.GetEnv(), Key: r.GetKey(), Package: packageFromWire(r.GetPackage()), RunLevel: int(r.GetRunLevel()),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.InstallResponse{Unit: unitToWire(&u)}, nil
}

// Update implements the service.
func (s *Server) Update(ctx context.Context, r *adapterpb.UpdateRequest) (*adapterpb.UpdateResponse, error) {
	u, err := s.adapter.Update(ctx, OpID(r.GetOpId()), unitRefFromWire(r.GetUnit()),
		packageFromWire(r.GetOld()), packageFromWire(r.GetNext()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.UpdateResponse{Unit: unitToWire(&u)}, nil
}

// Revert implements the service.
func (s *Server) Revert(ctx context.Context, r *adapterpb.RevertRequest) (*adapterpb.RevertResponse, error) {
	u, err := s.adapter.Revert(ctx, OpID(r.GetOpId()), unitRefFromWire(r.GetUnit()), packageFromWire(r.GetOld()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.RevertResponse{Unit: unitToWire(&u)}, nil
}

// Discard implements the service.
func (s *Server) Discard(ctx context.Context, r *adapterpb.DiscardRequest) (*adapterpb.DiscardResponse, error) {
	if err := s.adapter.Discard(ctx, OpID(r.GetOpId()), unitRefFromWire(r.GetUnit())); err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.DiscardResponse{}, nil
}

// Uninstall implements the service.
func (s *Server) Uninstall(ctx context.Context, r *adapterpb.UninstallRequest) (*adapterpb.UninstallResponse, error) {
	res, err := s.adapter.Uninstall(ctx, OpID(r.GetOpId()), unitRefFromWire(r.GetUnit()))
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.UninstallResponse{Pending: res.Pending}, nil
}

// Start implements the service.
func (s *Server) Start(ctx context.Context, r *adapterpb.StartRequest) (*adapterpb.StartResponse, error) {
	o := StartOptions{Persistent: r.GetPersistent(), Auto: r.GetAuto()}
	if err := s.adapter.Start(ctx, OpID(r.GetOpId()), moduleRefFromWire(r.GetModule()), o); err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.StartResponse{}, nil
}

// Stop implements the service.
func (s *Server) Stop(ctx context.Context, r *adapterpb.StopRequest) (*adapterpb.StopResponse, error) {
	if err := s.adapter.Stop(ctx, OpID(r.GetOpId()), moduleRefFromWire(r.GetModule())); err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.StopResponse{}, nil
}

// SetEnabled implements the service.
func (s *Server) SetEnabled(ctx context.Context, r *adapterpb.SetEnabledRequest) (*adapterpb.SetEnabledResponse, error) {
	var first []ModuleSetting
	for _, x := range r.GetFirst() {
		first = append(first, moduleSettingFromWire(x))
	}
	if err := s.adapter.SetEnabled(ctx, OpID(r.GetOpId()), r.GetEnv(), r.GetOn(), first); err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.SetEnabledResponse{}, nil
}

// SetRunLevel implements the service.
func (s *Server) SetRunLevel(ctx context.Context, r *adapterpb.SetRunLevelRequest) (*adapterpb.SetRunLevelResponse, error) {
	l, err := ability[RunLeveler](s.adapter, CapRunLevels)
	if err == nil {
		err = l.SetRunLevel(ctx, OpID(r.GetOpId()), r.GetEnv(), int(r.GetLevel()))
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.SetRunLevelResponse{}, nil
}

// SetInitialModuleRunLevel implements the service.
func (s *Server) SetInitialModuleRunLevel(
	ctx context.Context, r *adapterpb.SetInitialModuleRunLevelRequest,
) (*adapterpb.SetInitialModuleRunLevelResponse, error) {
	l, err := ability[RunLeveler](s.adapter, CapRunLevels)
	if err == nil {
		err = l.SetInitialModuleRunLevel(ctx, OpID(r.GetOpId()), r.GetEnv(), int(r.GetLevel()))
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.SetInitialModuleRunLevelResponse{}, nil
}

// SetModuleRunLevel implements the service.
func (s *Server) SetModuleRunLevel(
	ctx context.Context, r *adapterpb.SetModuleRunLevelRequest,
) (*adapterpb.SetModuleRunLevelResponse, error) {
	l, err := ability[RunLeveler](s.adapter, CapRunLevels)
	if err == nil {
		err = l.SetModuleRunLevel(ctx, OpID(r.GetOpId()), moduleRefFromWire(r.GetModule()), int(r.GetLevel()))
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.SetModuleRunLevelResponse{}, nil
}

// SetAutoStart implements the service.
func (s *Server) SetAutoStart(ctx context.Context, r *adapterpb.SetAutoStartRequest) (*adapterpb.SetAutoStartResponse, error) {
	a, err := ability[AutoStarter](s.adapter, CapAutoStart)
	if err == nil {
		err = a.SetAutoStart(ctx, OpID(r.GetOpId()), moduleRefFromWire(r.GetModule()), r.GetOn())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.SetAutoStartResponse{}, nil
}

// Export implements the service.
func (s *Server) Export(ctx context.Context, r *adapterpb.ExportRequest) (*adapterpb.ExportResponse, error) {
	x, err := ability[Exporter](s.adapter, CapExport)
	if err == nil {
		err = x.Export(ctx, unitRefFromWire(r.GetUnit()), r.GetPath())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.ExportResponse{}, nil
}

// SaveVersion implements the service.
func (s *Server) SaveVersion(ctx context.Context, r *adapterpb.SaveVersionRequest) (*adapterpb.SaveVersionResponse, error) {
	v, err := ability[Versioner](s.adapter, CapVersions)
	if err == nil {
		err = v.SaveVersion(ctx, r.GetEnv(), r.GetPath())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.SaveVersionResponse{}, nil
}

// RestoreVersion implements the service.
func (s *Server) RestoreVersion(ctx context.Context, r *adapterpb.RestoreVersionRequest) (*adapterpb.RestoreVersionResponse, error) {
	v, err := ability[Versioner](s.adapter, CapVersions)
	if err == nil {
		err = v.RestoreVersion(ctx, OpID(r.GetOpId()), r.GetEnv(), packageFromWire(r.GetPackage()))
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.RestoreVersionResponse{}, nil
}

// SetUnit implements the service.
func (s *Server) SetUnit(ctx context.Context, r *adapterpb.SetUnitRequest) (*adapterpb.SetUnitResponse, error) {
	u, err := ability[UnitSetter](s.adapter, CapUnitSettings)
	if err == nil {
		err = u.SetUnit(ctx, OpID(r.GetOpId()), unitRefFromWire(r.GetUnit()), UnitSettings{
			variablesFromWire(r.GetVariables()), limitsFromWire(r.GetLimits()), volumesFromWire(r.GetVolumes()),
		})
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.SetUnitResponse{}, nil
}

// Constrain implements the service.
func (s *Server) Constrain(ctx context.Context, r *adapterpb.ConstrainRequest) (*adapterpb.ConstrainResponse, error) {
	c, err := ability[Constrainer](s.adapter, CapConstraints)
	if err == nil {
		l := Constraints{Disk: r.Disk, Memory: r.Memory}
		if r.Cpu != nil {
			cpu := int(r.GetCpu())
			l.CPU = &cpu
		}
		err = c.Constrain(ctx, OpID(r.GetOpId()), r.GetEnv(), l, r.GetForce())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &adapterpb.ConstrainResponse{}, nil
}

// ability returns a as the optional interface T, or a [NotSupported] error that names the capability.
func ability[T any](a Adapter, c Capability) (T, error) {
	x, ok := a.(T)
	if !ok {
		return x, Errorf(NotSupported, "cannot do this: the adapter has no capability %s", c)
	}
	return x, nil
}

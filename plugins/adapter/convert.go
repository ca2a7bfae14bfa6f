package adapter

import (
	"fmt"
	"math"

	"github.com/smmd-project/smmd/plugins/adapter/adapterpb"
)

// The functions of this file translate between the types of the contract and those of the wire, a pair for each type. Absent
// messages read as zero values, as everywhere in protobuf.

func handleToWire(h Handle) *adapterpb.Handle {
	return &adapterpb.Handle{Version: h.Version, Data: h.Data}
}

func handleFromWire(h *adapterpb.Handle) Handle {
	return Handle{Version: h.GetVersion(), Data: h.GetData()}
}

func envToWire(e *Env) *adapterpb.Env {
	return &adapterpb.Env{
		Id: clean(e.ID), Name: clean(e.Name), Type: clean(e.Type), Vendor: clean(e.Vendor), Version: clean(e.Version),
		Up: e.Up, Detail: clean(e.Detail), Launch: clean(e.Launch),
		RunLevel: clamp(e.RunLevel), InitialModuleRunLevel: clamp(e.InitialModuleRunLevel),
		AllocatedDisk: e.AllocatedDisk, AvailableDisk: e.AvailableDisk,
		AllocatedMemory: e.AllocatedMemory, AvailableMemory: e.AvailableMemory, Attached: e.Attached,
		AllocatedCpu: clamp(e.AllocatedCPU),
	}
}

func envFromWire(e *adapterpb.Env) *Env {
	return &Env{
		ID: e.GetId(), Name: e.GetName(), Type: e.GetType(), Vendor: e.GetVendor(), Version: e.GetVersion(),
		Up: e.GetUp(), Detail: e.GetDetail(), Launch: e.GetLaunch(),
		RunLevel: int(e.GetRunLevel()), InitialModuleRunLevel: int(e.GetInitialModuleRunLevel()),
		AllocatedDisk: e.GetAllocatedDisk(), AvailableDisk: e.GetAvailableDisk(),
		AllocatedMemory: e.GetAllocatedMemory(), AvailableMemory: e.GetAvailableMemory(), Attached: e.GetAttached(),
		AllocatedCPU: int(e.GetAllocatedCpu()),
	}
}

func packageToWire(p Package) *adapterpb.Package {
	return &adapterpb.Package{Path: p.Path, Sha256: p.SHA256, Size: p.Size}
}

func packageFromWire(p *adapterpb.Package) Package {
	return Package{Path: p.GetPath(), SHA256: p.GetSha256(), Size: p.GetSize()}
}

func manifestToWire(m Manifest) *adapterpb.Manifest {
	return &adapterpb.Manifest{
		Name: clean(m.Name), Vendor: clean(m.Vendor), Version: clean(m.Version), Description: clean(m.Description),
	}
}

func manifestFromWire(m *adapterpb.Manifest) Manifest {
	return Manifest{Name: m.GetName(), Vendor: m.GetVendor(), Version: m.GetVersion(), Description: m.GetDescription()}
}

func unitToWire(u *Unit) *adapterpb.Unit {
	w := &adapterpb.Unit{
		Env: clean(u.Env), Key: clean(u.Key), Duid: clean(u.DUID), Handle: handleToWire(u.Handle),
		Manifest: manifestToWire(u.Manifest), Resolved: u.Resolved, System: u.System, Permanent: u.Permanent,
	}
	for i := range u.Modules {
		w.Modules = append(w.Modules, moduleToWire(&u.Modules[i]))
	}
	return w
}

func unitFromWire(w *adapterpb.Unit) Unit {
	u := Unit{
		Env: w.GetEnv(), Key: w.GetKey(), DUID: w.GetDuid(), Handle: handleFromWire(w.GetHandle()),
		Manifest: manifestFromWire(w.GetManifest()), Resolved: w.GetResolved(), System: w.GetSystem(), Permanent: w.GetPermanent(),
	}
	for _, m := range w.GetModules() {
		u.Modules = append(u.Modules, moduleFromWire(m))
	}
	return u
}

func moduleToWire(m *Module) *adapterpb.Module {
	w := &adapterpb.Module{
		Id: clean(m.ID), Name: clean(m.Name), Label: clean(m.Label), Vendor: clean(m.Vendor), Version: clean(m.Version),
		Description: clean(m.Description), Status: clean(string(m.Status)), Reason: clean(string(m.Reason)),
		Message: clean(m.Message), Inert: m.Inert, AutoStart: m.AutoStart, RunLevel: clamp(m.RunLevel),
		Memory: m.Memory, Disk: m.Disk, LogPath: clean(m.LogPath),
	}
	if m.ExitCode != nil {
		c := clamp(*m.ExitCode)
		w.ExitCode = &c
	}
	for _, pid := range m.PIDs {
		w.Pids = append(w.Pids, clamp(pid))
	}
	return w
}

func moduleFromWire(w *adapterpb.Module) Module {
	m := Module{
		ID: w.GetId(), Name: w.GetName(), Label: w.GetLabel(), Vendor: w.GetVendor(), Version: w.GetVersion(),
		Description: w.GetDescription(), Status: Status(w.GetStatus()), Reason: Reason(w.GetReason()),
		Message: w.GetMessage(), Inert: w.GetInert(), AutoStart: w.AutoStart, RunLevel: int(w.GetRunLevel()),
		Memory: w.GetMemory(), Disk: w.GetDisk(), LogPath: w.GetLogPath(),
	}
	if w.ExitCode != nil {
		c := int(w.GetExitCode())
		m.ExitCode = &c
	}
	for _, pid := range w.GetPids() {
		m.PIDs = append(m.PIDs, int(pid))
	}
	return m
}

func unitRefToWire(u UnitRef) *adapterpb.UnitRef {
	return &adapterpb.UnitRef{Env: u.Env, Key: u.Key, Handle: handleToWire(u.Handle)}
}

func unitRefFromWire(u *adapterpb.UnitRef) UnitRef {
	return UnitRef{Env: u.GetEnv(), Key: u.GetKey(), Handle: handleFromWire(u.GetHandle())}
}

func moduleRefToWire(m ModuleRef) *adapterpb.ModuleRef {
	return &adapterpb.ModuleRef{Unit: unitRefToWire(m.UnitRef), Module: m.Module}
}

func moduleRefFromWire(m *adapterpb.ModuleRef) ModuleRef {
	return ModuleRef{UnitRef: unitRefFromWire(m.GetUnit()), Module: m.GetModule()}
}

func moduleSettingToWire(s ModuleSetting) *adapterpb.ModuleSetting {
	return &adapterpb.ModuleSetting{Module: moduleRefToWire(s.ModuleRef), AutoStart: s.AutoStart, RunLevel: clamp(s.RunLevel)}
}

func moduleSettingFromWire(s *adapterpb.ModuleSetting) ModuleSetting {
	return ModuleSetting{ModuleRef: moduleRefFromWire(s.GetModule()), AutoStart: s.AutoStart, RunLevel: int(s.GetRunLevel())}
}

func limitsToWire(l Limits) *adapterpb.Limits {
	return &adapterpb.Limits{Disk: l.Disk, Memory: l.Memory, Cpu: clamp(l.CPU)}
}

func limitsFromWire(l *adapterpb.Limits) Limits {
	return Limits{Disk: l.GetDisk(), Memory: l.GetMemory(), CPU: int(l.GetCpu())}
}

func variablesToWire(vs []Variable) []*adapterpb.Variable {
	var w []*adapterpb.Variable
	for _, v := range vs {
		w = append(w, &adapterpb.Variable{Key: clean(v.Key), Value: clean(v.Value)})
	}
	return w
}

func variablesFromWire(w []*adapterpb.Variable) []Variable {
	var vs []Variable
	for _, v := range w {
		vs = append(vs, Variable{v.GetKey(), v.GetValue()})
	}
	return vs
}

func volumesToWire(vs []Volume) []*adapterpb.Volume {
	var w []*adapterpb.Volume
	for _, v := range vs {
		w = append(w, &adapterpb.Volume{Source: clean(v.Source), Path: clean(v.Path)})
	}
	return w
}

func volumesFromWire(w []*adapterpb.Volume) []Volume {
	var vs []Volume
	for _, v := range w {
		vs = append(vs, Volume{v.GetSource(), v.GetPath()})
	}
	return vs
}

// eventToWire fails on an event that lacks what its kind promises.
func eventToWire(e Event) (*adapterpb.Event, error) {
	w := &adapterpb.Event{EnvId: clean(e.EnvID)}
	switch {
	case e.Kind == EventEnv && e.Env != nil:
		w.Event = &adapterpb.Event_Env{Env: envToWire(e.Env)}
	case e.Kind == EventUnit && e.Unit != nil:
		w.Event = &adapterpb.Event_Unit{Unit: unitToWire(e.Unit)}
	case e.Kind == EventUnitRemoved:
		w.Event = &adapterpb.Event_RemovedKey{RemovedKey: clean(e.Key)}
	case e.Kind == EventSynced:
		w.Event = &adapterpb.Event_Synced{Synced: &adapterpb.Synced{}}
	default:
		return nil, Errorf(Internal, "cannot send an event of kind %q for environment %q: it is incomplete", e.Kind, e.EnvID)
	}
	return w, nil
}

// eventFromWire fails on an event of a kind that this version of the contract does not have.
func eventFromWire(w *adapterpb.Event) (Event, error) {
	e := Event{EnvID: w.GetEnvId()}
	switch x := w.GetEvent().(type) {
	case *adapterpb.Event_Env:
		e.Kind, e.Env = EventEnv, envFromWire(x.Env)
	case *adapterpb.Event_Unit:
		u := unitFromWire(x.Unit)
		e.Kind, e.Unit, e.Key = EventUnit, &u, u.Key
	case *adapterpb.Event_RemovedKey:
		e.Kind, e.Key = EventUnitRemoved, x.RemovedKey
	case *adapterpb.Event_Synced:
		e.Kind = EventSynced
	default:
		return Event{}, fmt.Errorf("cannot read an event for environment %q: its kind is unknown", e.EnvID)
	}
	return e, nil
}

// clamp narrows n to what fits on the wire; levels, exit codes and process numbers always do.
func clamp(n int) int32 {
	return int32(max(math.MinInt32, min(math.MaxInt32, n)))
}

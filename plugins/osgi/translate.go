package osgi

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	// moduleID is the ID of the one module of a bundle.
	moduleID = "bundle"
	// handleVersion is the version of [handle].
	handleVersion = 1
)

// handle is the content of an [adapter.Handle].
type handle struct {
	Location string `json:"location"`
}

// frameworkInfo is what the host tells of its framework. Sizes are in KiB.
type frameworkInfo struct {
	UUID                    string `json:"uuid"`
	SpecVersion             string `json:"specVersion"`
	Vendor                  string `json:"vendor"`
	Version                 string `json:"version"`
	Name                    string `json:"name"`
	Launch                  string `json:"launch"`
	Attached                bool   `json:"attached"`
	StartLevel              int    `json:"startLevel"`
	InitialBundleStartLevel int    `json:"initialBundleStartLevel"`
	Memory                  struct {
		Max  int64 `json:"max"`
		Used int64 `json:"used"`
	} `json:"memory"`
	Storage string `json:"storage"`
	Disk    struct {
		Usable int64 `json:"usable"`
	} `json:"disk"`
}

// bundleInfo is what the host tells of a bundle.
type bundleInfo struct {
	ID           int64  `json:"id"`
	Location     string `json:"location"`
	SymbolicName string `json:"symbolicName"`
	Version      string `json:"version"`
	Vendor       string `json:"vendor"`
	Description  string `json:"description"`
	State        string `json:"state"`
	Resolved     bool   `json:"resolved"`
	AutoStart    bool   `json:"autoStart"`
	Lazy         bool   `json:"lazy"`
	StartLevel   int    `json:"startLevel"`
	Fragment     bool   `json:"fragment"`
	Size         int64  `json:"size"`   // bytes, -1 unknown
	System       bool   `json:"system"` // it is the host
	Fault        *struct {
		Reason  string `json:"reason"`
		Message string `json:"message"`
	} `json:"fault"`
}

func toEnv(id string, s settings, f frameworkInfo) adapter.Env {
	env := adapter.Env{
		ID:                    id,
		Name:                  id,
		Type:                  "OSGi " + f.SpecVersion,
		Vendor:                f.Vendor,
		Version:               f.Version,
		Up:                    true,
		Attached:              s.attach,
		Launch:                f.Launch,
		RunLevel:              max(f.StartLevel, 1), // a framework on its way up may still say 0
		InitialModuleRunLevel: f.InitialBundleStartLevel,
		AllocatedDisk:         -1,
		AvailableDisk:         f.Disk.Usable,
		AllocatedMemory:       f.Memory.Max,
		AvailableMemory:       max(f.Memory.Max-f.Memory.Used, 0),
	}
	if s.uuidName && f.UUID != "" {
		env.Name = f.UUID
	}
	if s.memory > 0 {
		// The JVM tells its limit without the survivor space; what was configured is what was allocated.
		env.AllocatedMemory = s.memory
	}
	return env
}

// downEnv is an environment that is not up.
func downEnv(id string, s settings, detail string) adapter.Env {
	return adapter.Env{ID: id, Name: id, Type: "OSGi", Attached: s.attach, Detail: detail, RunLevel: -1, InitialModuleRunLevel: -1,
		AllocatedDisk: -1, AvailableDisk: -1, AllocatedMemory: -1, AvailableMemory: -1}
}

func toUnit(env string, b bundleInfo) adapter.Unit {
	data, err := json.Marshal(handle{Location: b.Location})
	if err != nil {
		panic(err) // a struct of one string
	}
	manifest := adapter.Manifest{Name: b.SymbolicName, Vendor: b.Vendor, Version: b.Version, Description: b.Description}
	if manifest.Name == "" {
		manifest.Name = b.Location // a bundle of manifest version 1
	}
	label := strconv.FormatInt(b.ID, 10)
	autoStart := b.AutoStart
	module := adapter.Module{
		ID:          moduleID,
		Name:        manifest.Name,
		Label:       label,
		Vendor:      manifest.Vendor,
		Version:     manifest.Version,
		Description: manifest.Description,
		Status:      toStatus(b.State),
		Inert:       b.Fragment,
		AutoStart:   &autoStart,
		RunLevel:    b.StartLevel,
		Memory:      -1,
		Disk:        -1,
	}
	if b.Size >= 0 {
		module.Disk = (b.Size + 1023) / 1024
	}
	if b.Fault != nil {
		module.Reason, module.Message = toReason(b.Fault.Reason), b.Fault.Message
	}
	return adapter.Unit{
		Env: env, Key: b.Location, DUID: label, Handle: adapter.Handle{Version: handleVersion, Data: data},
		Manifest: manifest, Resolved: b.Resolved, System: b.System, Modules: []adapter.Module{module},
	}
}

// toStatus maps a bundle state (OSGi Core 4.4.2) to TR-181; INSTALLED, RESOLVED and what is not known are idle.
func toStatus(state string) adapter.Status {
	switch state {
	case "STARTING":
		return adapter.Starting
	case "ACTIVE":
		return adapter.Active
	case "STOPPING":
		return adapter.Stopping
	}
	return adapter.Idle
}

// toReason returns the reason that the host names; a newer host may name one that is not known here.
func toReason(s string) adapter.Reason {
	switch r := adapter.Reason(s); r {
	case adapter.Mismatch, adapter.Corrupt, adapter.Unresolved, adapter.NoResources, adapter.NotFound, adapter.Exists,
		adapter.BadState, adapter.StartFailed, adapter.AutoStartFailed, adapter.StopFailed, adapter.Unstartable,
		adapter.FailedWhileActive, adapter.Dependency, adapter.Unavailable, adapter.StillRunning, adapter.NotSupported,
		adapter.InvalidArgument, adapter.Canceled:
		return r
	}
	return adapter.Internal
}

func toError(e *hostError) *adapter.Error {
	return &adapter.Error{Reason: toReason(e.Reason), Message: e.Message, Cause: e.Cause}
}

// location returns the location of the bundle that u names.
func location(u adapter.UnitRef) (string, error) {
	switch u.Handle.Version {
	case 0: // a unit that was named by its key alone
		if u.Key != "" {
			return u.Key, nil
		}
	case handleVersion:
		var h handle
		if err := json.Unmarshal(u.Handle.Data, &h); err == nil && h.Location != "" {
			return h.Location, nil
		}
	default:
		return "", adapter.Errorf(adapter.InvalidArgument, "cannot find unit %q in environment %q: its handle is of version %d, newer than %d",
			u.Key, u.Env, u.Handle.Version, handleVersion)
	}
	return "", adapter.Errorf(adapter.InvalidArgument, "cannot find unit %q in environment %q: its handle is malformed", u.Key, u.Env)
}

// moduleLocation returns the location of the bundle whose module m names.
func moduleLocation(m adapter.ModuleRef) (string, error) {
	if m.Module != moduleID {
		return "", adapter.Errorf(adapter.NotFound, "cannot find module %q: the only module of bundle %q is %q", m.Module, m.Key, moduleID)
	}
	return location(m.UnitRef)
}

// frameworkLevel turns a run level into a start level, of which 1 is the lowest; 0 is read as 1.
func frameworkLevel(what string, level int) (int, error) {
	if level < 0 || level > 65535 {
		return 0, adapter.Errorf(adapter.InvalidArgument, "cannot set the %s to %d: run levels go from 0 to 65535", what, level)
	}
	return max(level, 1), nil
}

// bundleName is how messages name a bundle.
func bundleName(env, location string) string {
	return fmt.Sprintf("bundle %q in environment %q", location, env)
}

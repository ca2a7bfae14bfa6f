// Package ipctest is an agent in memory and a bus of its own, for the tests of whatever speaks D-Bus.
//
// The agent does what it is asked without an environment: jobs go on when the test says so ([Agent.Step], [Agent.Finish]), and
// [Agent.Refuse] makes it refuse.
package ipctest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// Epoch is the time of everything that happens in an [Agent].
var Epoch = time.Date(2026, time.May, 4, 3, 2, 1, 0, time.UTC)

// Agent is an agent in memory. It keeps the contract of ipc/dbus.Agent. Its methods may be called concurrently.
type Agent struct {
	mu       sync.Mutex
	draft    *model.Draft
	snap     *model.Snapshot
	feeds    map[*feed]bool
	adapters []model.AdapterInfo
	refusal  error
	auto     bool
	asked    []any
	plans    map[uint32][]step   // what is left of each open job
	goals    map[string]baseline // by kind
	job, row uint32              // the last numbers given
	volume   uint32              // likewise, of application data

	request  uint64 // the last number given to a ChangeDUState
	requests map[uint64]model.ChangeRequest
	tokens   map[string]uint64
	results  map[uint32]model.Result // of the open operations on deployment units, by job
}

// New returns an agent with the environments osgi (instance 1, up, run level 1) and lxc (instance 2, disabled), the adapter
// processes of both, and nothing installed.
func New() *Agent {
	a := &Agent{
		draft: model.NewDraft(), feeds: map[*feed]bool{}, plans: map[uint32][]step{}, goals: map[string]baseline{},
		requests: map[uint64]model.ChangeRequest{}, tokens: map[string]uint64{}, results: map[uint32]model.Result{},
		adapters: []model.AdapterInfo{
			{Name: "lxc", Version: "0.1", State: "broken", Detail: "five failures in ten minutes", Restarts: 5},
			{Name: "osgi", Version: "0.1", Capabilities: []string{"auto-start", "run-level"}, State: "running", PID: 4711},
		},
	}
	a.snap = a.draft.Freeze()
	a.Commit(func(d *model.Draft) {
		d.State = "running"
		d.PutExecEnv(&model.ExecEnv{
			ID: "osgi", Instance: 1, Alias: "cpe-osgi", Adapter: "osgi", Enable: true, Status: model.EEUp, Synced: true, CurrentRunLevel: 1,
			InitialRunLevel: 1, InitialExecutionUnitRunLevel: 1, Name: "f3a1", Type: "OSGi 1.10", Vendor: "apache.org", Version: "7.0.5",
			AllocatedDisk: -1, AvailableDisk: 1 << 40, AllocatedMemory: 65536, AvailableMemory: 1234,
		})
		d.PutExecEnv(&model.ExecEnv{
			ID: "lxc", Instance: 2, Alias: "cpe-lxc", Adapter: "lxc", Parent: "osgi", Status: model.EEDisabled, CurrentRunLevel: -1,
			InitialRunLevel: 1, InitialExecutionUnitRunLevel: 1, Name: "lxc", Type: "LXC", AllocatedDisk: -1, AvailableDisk: -1,
			AllocatedMemory: -1, AvailableMemory: -1,
		})
	})
	a.goals[xml.BaselineCWMP], a.goals[xml.BaselineUSP] = baseline{state: a.snap}, baseline{state: a.snap}
	return a
}

// Commit applies a change of the test's own and tells the feeds.
func (a *Agent) Commit(change func(*model.Draft)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.commit(change)
}

func (a *Agent) commit(change func(*model.Draft)) {
	old := a.snap
	change(a.draft)
	a.draft.Seq++
	a.snap = a.draft.Freeze()
	c := model.Commit{Snapshot: a.snap, Changes: changes(old, a.snap)}
	for f := range a.feeds {
		f.put(c)
	}
}

// Refuse makes every changing call fail with err until it is called with nil.
func (a *Agent) Refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refusal = err
}

// Auto makes jobs end before the call that begins them returns.
func (a *Agent) Auto(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.auto = on
}

// SetAdapters replaces what Adapters tells.
func (a *Agent) SetAdapters(list []model.AdapterInfo) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.adapters = list
}

// Asked returns what the agent was asked and did not refuse, in order: InstallRequest, UpdateRequest, UninstallRequest, [RemoveVolume], [Request], [Restart], ConstrainRequest,
// [Baseline], [Reset], [Set], [Cancel], ChangeRequest, [AcknowledgeReport], [SetAttributes]
// or [AcknowledgeNotifications].
func (a *Agent) Asked() []any {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

// The calls that have no request type of their own.
type (
	RemoveVolume struct {
		Instance   uint32
		Originator model.Origin
	}
	Request struct {
		EU         model.RowID
		Request    model.Request
		Originator model.Origin
	}
	Restart struct {
		Instance   uint32
		Reason     string
		Originator model.Origin
	}
	Baseline struct{ Kind, Token string }
	Reset    struct {
		Instance   uint32
		Kind       string
		Originator model.Origin
	}
	Set struct {
		Assignments []model.Assignment
		Originator  model.Origin
	}
	Cancel struct{ Job uint32 }
)

// Snapshot returns the state.
func (a *Agent) Snapshot() *model.Snapshot {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.snap
}

// Adapters tells the adapter processes.
func (a *Agent) Adapters() []model.AdapterInfo {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.adapters)
}

// Set applies all assignments or none. Out of range is what the data model says; nothing but a Reset is ever still
// moving.
func (a *Agent) Set(_ context.Context, as []model.Assignment, originator model.Origin) ([]uint32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.refusal != nil {
		return nil, a.refusal
	}
	faults := map[int]error{}
	next := a.draft.Copy()
	for i, s := range as {
		if err := assign(next, s); err != nil {
			faults[i] = err
		}
	}
	if len(faults) > 0 {
		return nil, &model.SetError{Faults: faults}
	}
	a.asked = append(a.asked, Set{as, originator})
	a.commit(func(*model.Draft) { a.draft = next })
	var moving []uint32
	for _, s := range as {
		if s.Attribute != model.Reset || s.Value != true {
			continue
		}
		if id := a.reset(s.Row.Instance, xml.BaselineCWMP, originator); a.plans[id] != nil {
			moving = append(moving, id)
		}
	}
	return moving, nil
}

func assign(d *model.Draft, s model.Assignment) error {
	if n, ok := s.Value.(int); ok && (n < -1 || n > model.MaxRunLevel) {
		return fault.Errorf(fault.InvalidArguments, "cannot set %s of %s %d: %d is out of range", s.Attribute, s.Row.Kind, s.Row.Instance, n)
	}
	if t, ok := s.Value.(string); ok && s.Attribute == model.Alias && (t == "" || len(t) > 64) {
		return fault.Errorf(fault.InvalidArguments, "cannot set Alias of %s %d: it has 1 to 64 characters", s.Row.Kind, s.Row.Instance)
	}
	unknown := fault.Errorf(fault.UnknownDU, "cannot find %s %d", s.Row.Kind, s.Row.Instance)
	switch s.Row.Kind {
	case model.KindPolicy:
		return assignPolicy(d, s)
	case model.KindExecEnv:
		old := d.ExecEnv(s.Row.Instance)
		if old == nil {
			return unknown
		}
		e := *old
		switch s.Attribute {
		case model.Alias:
			e.Alias = s.Value.(string)
		case model.Enable:
			e.Enable = s.Value.(bool)
			e.Status = model.EEDisabled
			if e.Enable {
				e.Status = model.EEUp
			}
		case model.InitialRunLevel:
			e.InitialRunLevel = s.Value.(int)
		case model.InitialExecutionUnitRunLevel:
			e.InitialExecutionUnitRunLevel = s.Value.(int)
		case model.Reset:
			if s.Value == true && !e.Enable {
				return disabled(e.Instance)
			}
		case model.RequestedRunLevel:
			e.CurrentRunLevel = s.Value.(int)
		}
		d.PutExecEnv(&e)
	case model.KindDeploymentUnit:
		old := d.DeploymentUnit(s.Row.Instance)
		if old == nil {
			return unknown
		}
		u := *old
		u.Alias = s.Value.(string)
		d.PutDeploymentUnit(&u)
	case model.KindVolume:
		old := d.Volume(s.Row.Instance)
		if old == nil {
			return unknown
		}
		v := *old
		v.Alias = s.Value.(string)
		d.PutVolume(&v)
	case model.KindExecutionUnit:
		old := d.ExecutionUnit(s.Row.Instance)
		if old == nil {
			return unknown
		}
		u := *old
		switch s.Attribute {
		case model.Alias:
			u.Alias = s.Value.(string)
		case model.AutoStart:
			u.AutoStart = s.Value.(bool)
		case model.RunLevel:
			u.RunLevel = s.Value.(int)
		case model.RequestedState:
			u.Status = model.EUStatus(s.Value.(string))
		}
		d.PutExecutionUnit(&u)
	}
	return nil
}

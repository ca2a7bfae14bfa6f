package model

import (
	"iter"

	"github.com/tidwall/btree"
)

// A Snapshot is everything that exists at one moment. It is immutable: reading it takes no lock and waits for nobody.
// Iteration is in ascending order of instance numbers. The rows it returns are shared; they must not be changed.
type Snapshot struct {
	Seq   uint64 // grows by one with each commit
	State string // of the agent: starting, running, stopping

	// What waits to be delivered, in the order of the numbers, and what the faces keep. A write replaces the whole, it is never changed in place.
	Reports       []*Report       // to the ACS; complete ones only
	Notifications []*Notification // to USP controllers
	// LastNotification is the number of the last notification, one that is acknowledged or that was only set aside by a start of the agent included:
	// it grows with each start, so what is numbered after it never repeats.
	LastNotification uint64
	Policy           Policy         // what of the changes without a request is reported to the ACS
	Attributes       map[string]int // notification attribute by parameter path, as far as the ACS has set one (TR-069 A.3.2.4: 0 to 2)

	envs *btree.Map[uint32, *ExecEnv]
	dus  *btree.Map[uint32, *DeploymentUnit]
	eus  *btree.Map[uint32, *ExecutionUnit]
	jobs *btree.Map[uint32, *Job]
	vols *btree.Map[uint32, *Volume]
}

// NewSnapshot returns a snapshot of the given rows. It is for tests and tools; the agent builds its own with a [Draft].
func NewSnapshot(envs []*ExecEnv, dus []*DeploymentUnit, eus []*ExecutionUnit, jobs []*Job) *Snapshot {
	d := NewDraft()
	for _, e := range envs {
		d.PutExecEnv(e)
	}
	for _, u := range dus {
		d.PutDeploymentUnit(u)
	}
	for _, u := range eus {
		d.PutExecutionUnit(u)
	}
	for _, j := range jobs {
		d.PutJob(j)
	}
	return d.Freeze()
}

// ExecEnvs ranges over the ExecEnv table.
func (s *Snapshot) ExecEnvs() iter.Seq[*ExecEnv] { return values(s.envs) }

// DeploymentUnits ranges over the DeploymentUnit table.
func (s *Snapshot) DeploymentUnits() iter.Seq[*DeploymentUnit] { return values(s.dus) }

// ExecutionUnits ranges over the ExecutionUnit table.
func (s *Snapshot) ExecutionUnits() iter.Seq[*ExecutionUnit] { return values(s.eus) }

// Volumes ranges over the application data of all environments.
func (s *Snapshot) Volumes() iter.Seq[*Volume] { return values(s.vols) }

// Jobs ranges over the jobs, finished ones that are still kept included.
func (s *Snapshot) Jobs() iter.Seq[*Job] { return values(s.jobs) }

// ExecEnv returns the environment with that instance number, or nil.
func (s *Snapshot) ExecEnv(instance uint32) *ExecEnv { return get(s.envs, instance) }

// DeploymentUnit returns the deployment unit with that instance number, or nil.
func (s *Snapshot) DeploymentUnit(instance uint32) *DeploymentUnit { return get(s.dus, instance) }

// ExecutionUnit returns the execution unit with that instance number, or nil.
func (s *Snapshot) ExecutionUnit(instance uint32) *ExecutionUnit { return get(s.eus, instance) }

// Volume returns the application data with that instance number, or nil.
func (s *Snapshot) Volume(instance uint32) *Volume { return get(s.vols, instance) }

// Job returns the job with that number, or nil.
func (s *Snapshot) Job(id uint32) *Job { return get(s.jobs, id) }

// ExecEnvByID returns the environment with that configured name, or nil.
func (s *Snapshot) ExecEnvByID(id string) *ExecEnv {
	for e := range s.ExecEnvs() {
		if e.ID == id {
			return e
		}
	}
	return nil
}

// SettingsOf returns what the deployment unit of an execution unit was given for it.
func (s *Snapshot) SettingsOf(u *ExecutionUnit) UnitSettings {
	if du := s.DeploymentUnit(u.DU); du != nil {
		return du.Settings
	}
	return UnitSettings{}
}

// ExecutionUnitsOf ranges over the execution units of one deployment unit.
func (s *Snapshot) ExecutionUnitsOf(du RowID) iter.Seq[*ExecutionUnit] {
	return func(yield func(*ExecutionUnit) bool) {
		for u := range s.ExecutionUnits() {
			if u.DU == du && !yield(u) {
				return
			}
		}
	}
}

// VolumesOf ranges over the application data of a deployment unit, whether or not the unit is there.
func (s *Snapshot) VolumesOf(env, uuid string) iter.Seq[*Volume] {
	return func(yield func(*Volume) bool) {
		for v := range s.Volumes() {
			if v.Env == env && v.UUID == uuid && !yield(v) {
				return
			}
		}
	}
}

// Count returns the number of rows in a table.
func (s *Snapshot) Count(k Kind) int {
	switch k {
	case KindExecEnv:
		return s.envs.Len()
	case KindDeploymentUnit:
		return s.dus.Len()
	case KindExecutionUnit:
		return s.eus.Len()
	case KindJob:
		return s.jobs.Len()
	case KindVolume:
		return s.vols.Len()
	}
	return 0
}

func values[V any](m *btree.Map[uint32, V]) iter.Seq[V] {
	return func(yield func(V) bool) {
		m.Scan(func(_ uint32, v V) bool { return yield(v) })
	}
}

func get[V any](m *btree.Map[uint32, *V], key uint32) *V {
	v, _ := m.Get(key)
	return v
}

// A Draft is the one writer's working copy. Its trees are copied on write, so that taking a snapshot costs nothing and a
// change costs the logarithm of the table. A Draft belongs to one goroutine at a time.
type Draft struct{ Snapshot }

// NewDraft returns an empty draft.
func NewDraft() *Draft {
	return &Draft{Snapshot{
		envs: new(btree.Map[uint32, *ExecEnv]), dus: new(btree.Map[uint32, *DeploymentUnit]),
		eus: new(btree.Map[uint32, *ExecutionUnit]), jobs: new(btree.Map[uint32, *Job]), vols: new(btree.Map[uint32, *Volume]),
	}}
}

// PutExecEnv adds or replaces a row; e must not be changed afterwards. The same holds for the other Put methods.
func (d *Draft) PutExecEnv(e *ExecEnv) { d.envs.Set(e.Instance, e) }

// PutDeploymentUnit adds or replaces a row.
func (d *Draft) PutDeploymentUnit(u *DeploymentUnit) { d.dus.Set(u.ID, u) }

// PutExecutionUnit adds or replaces a row.
func (d *Draft) PutExecutionUnit(u *ExecutionUnit) { d.eus.Set(u.ID, u) }

// PutJob adds or replaces a job.
func (d *Draft) PutJob(j *Job) { d.jobs.Set(j.ID, j) }

// PutVolume adds or replaces application data.
func (d *Draft) PutVolume(v *Volume) { d.vols.Set(v.ID, v) }

// Delete removes a row; one that is not there is no error.
func (d *Draft) Delete(r Ref) {
	switch r.Kind {
	case KindExecEnv:
		d.envs.Delete(r.Instance)
	case KindDeploymentUnit:
		d.dus.Delete(r.Instance)
	case KindExecutionUnit:
		d.eus.Delete(r.Instance)
	case KindJob:
		d.jobs.Delete(r.Instance)
	case KindVolume:
		d.vols.Delete(r.Instance)
	}
}

// Freeze returns what the draft holds now. Later changes of the draft do not show in it.
func (d *Draft) Freeze() *Snapshot {
	s := d.Copy()
	return &s.Snapshot
}

// Copy returns a draft that goes its own way from here.
func (d *Draft) Copy() *Draft {
	return &Draft{Snapshot{
		Seq: d.Seq, State: d.State,
		Reports: d.Reports, Notifications: d.Notifications, LastNotification: d.LastNotification, Policy: d.Policy, Attributes: d.Attributes,
		envs: d.envs.Copy(), dus: d.dus.Copy(), eus: d.eus.Copy(), jobs: d.jobs.Copy(), vols: d.vols.Copy(),
	}}
}

// A Change says that a row came, went or became another. A batch of them belongs to one commit.
type Change struct {
	Row Ref
	Old any // *ExecEnv, *DeploymentUnit, *ExecutionUnit, *Volume or *Job; nil: the row is new
	New any // nil: the row is gone
}

// A Commit is one entry of the change feed.
type Commit struct {
	Snapshot *Snapshot
	Changes  []Change // nil in the first entry of a feed and after a loss: read the whole snapshot
	Lost     bool     // the reader was too slow; Snapshot is the current state, changes in between are not told
}

package inventory

import (
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// Tx is the write transaction of [Inventory.Update].
type Tx struct {
	*model.Draft
	inv    *Inventory
	store  *store.Tx // nil until something durable changes
	before map[model.Ref]any
	after  []func()
	told   bool // something changed that is no row
}

// Store returns the transaction of the store, and begins it when this is the first durable change.
func (t *Tx) Store() (*store.Tx, error) {
	if t.store == nil {
		tx, err := t.inv.store.Begin()
		if err != nil {
			return nil, err
		}
		t.store = tx
	}
	return t.store, nil
}

// AfterCommit calls f once after a successful commit, before Update returns.
func (t *Tx) AfterCommit(f func()) { t.after = append(t.after, f) }

// SetReports replaces the reports of the snapshot. Their records, and those of what the next three methods set, are package report's.
func (t *Tx) SetReports(all []*model.Report) { t.Reports, t.told = all, true }

// SetNotifications replaces the notifications of the snapshot; last is the last number that is taken.
func (t *Tx) SetNotifications(all []*model.Notification, last uint64) {
	t.Notifications, t.LastNotification, t.told = all, last, true
}

// SetPolicy replaces the policy of the snapshot.
func (t *Tx) SetPolicy(p model.Policy) { t.Policy, t.told = p, true }

// SetAttributes replaces the notification attributes of the snapshot.
func (t *Tx) SetAttributes(all map[string]int) { t.Attributes, t.told = all, true }

func (t *Tx) rollback() {
	if t.store == nil {
		return
	}
	if err := t.store.Rollback(); err != nil {
		t.inv.log.Error("a transaction could not be rolled back", "err", err)
	}
}

// NextNumber returns the next number of a table; see [store.Tx.NextNumber].
func (t *Tx) NextNumber(k model.Kind) (uint32, error) {
	tx, err := t.Store()
	if err != nil {
		return 0, err
	}
	return tx.NextNumber(string(k))
}

// touch remembers a row as it was before this transaction.
func (t *Tx) touch(r model.Ref, old any) {
	if _, seen := t.before[r]; !seen {
		t.before[r] = old
	}
}

// PutExecEnv adds or replaces a row, and its record if that changes.
func (t *Tx) PutExecEnv(e *model.ExecEnv) error {
	old := t.ExecEnv(e.Instance)
	t.touch(model.Ref{Kind: model.KindExecEnv, Instance: e.Instance}, boxed(old))
	t.Draft.PutExecEnv(e)
	if old != nil && durable(*old, func(x *model.ExecEnv) {
		x.Status, x.StatusDetail, x.CurrentRunLevel = e.Status, e.StatusDetail, e.CurrentRunLevel
		x.AllocatedDisk, x.AvailableDisk = e.AllocatedDisk, e.AvailableDisk
		x.AllocatedMemory, x.AvailableMemory, x.AllocatedCPU = e.AllocatedMemory, e.AvailableMemory, e.AllocatedCPU
	}) == *e {
		return nil
	}
	tx, err := t.Store()
	if err != nil {
		return err
	}
	return store.ExecEnvs.Put(tx, e.ID, *e)
}

// PutDeploymentUnit adds or replaces a row, its record and its place in the unique index.
func (t *Tx) PutDeploymentUnit(u *model.DeploymentUnit) error {
	old := t.DeploymentUnit(u.ID)
	if old != nil && reflect.DeepEqual(old, u) {
		return nil
	}
	t.touch(model.Ref{Kind: model.KindDeploymentUnit, Instance: u.ID}, boxed(old))
	tx, err := t.Store()
	if err != nil {
		return err
	}
	key := store.IndexKey(u.UUID, u.Version, u.Env)
	if id, taken, err := store.UnitIndex.Get(tx, key); err != nil {
		return err
	} else if taken && id != u.ID {
		return fmt.Errorf("cannot put unit %d: %s is unit %d", u.ID, key, id)
	}
	if old != nil {
		if was := store.IndexKey(old.UUID, old.Version, old.Env); was != key {
			if err := store.UnitIndex.Delete(tx, was); err != nil {
				return err
			}
		}
	}
	if err := store.UnitIndex.Put(tx, key, u.ID); err != nil {
		return err
	}
	t.Draft.PutDeploymentUnit(u)
	return store.DeploymentUnits.Put(tx, u.ID, *u)
}

// PutExecutionUnit adds or replaces a row, and its record if that changes.
func (t *Tx) PutExecutionUnit(u *model.ExecutionUnit) error {
	old := t.ExecutionUnit(u.ID)
	t.touch(model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID}, boxed(old))
	t.Draft.PutExecutionUnit(u)
	if old != nil && reflect.DeepEqual(durable(*old, func(x *model.ExecutionUnit) {
		x.Status, x.Restarting, x.FaultCode, x.FaultMessage, x.FaultsUntold = u.Status, u.Restarting, u.FaultCode, u.FaultMessage, u.FaultsUntold
		x.PIDs, x.Memory, x.Disk, x.ExitCode, x.LogPath = u.PIDs, u.Memory, u.Disk, u.ExitCode, u.LogPath
		x.Restart.Next = u.Restart.Next
	}), *u) {
		return nil
	}
	tx, err := t.Store()
	if err != nil {
		return err
	}
	return store.ExecutionUnits.Put(tx, u.ID, *u)
}

// durable returns x with its run-time fields set by f to those of the other one, so that only stored fields differ.
func durable[T any](x T, f func(*T)) T {
	f(&x)
	return x
}

// PutVolume adds or replaces application data, and its record if that changes.
func (t *Tx) PutVolume(v *model.Volume) error {
	old := t.Volume(v.ID)
	t.touch(model.Ref{Kind: model.KindVolume, Instance: v.ID}, boxed(old))
	t.Draft.PutVolume(v)
	if old != nil && durable(*old, func(x *model.Volume) { x.Utilization = v.Utilization }) == *v {
		return nil
	}
	tx, err := t.Store()
	if err != nil {
		return err
	}
	return store.Volumes.Put(tx, v.ID, *v)
}

// DeleteVolume removes application data from the model. Its directory is package volume's.
func (t *Tx) DeleteVolume(id model.RowID) error {
	v := t.Volume(id)
	if v == nil {
		return nil
	}
	tx, err := t.Store()
	if err != nil {
		return err
	}
	ref := model.Ref{Kind: model.KindVolume, Instance: id}
	t.touch(ref, v)
	t.Delete(ref)
	return store.Volumes.Delete(tx, id)
}

// PutJob adds or replaces a job. Its record is the journal's (package operation).
func (t *Tx) PutJob(j *model.Job) {
	t.touch(model.Ref{Kind: model.KindJob, Instance: j.ID}, boxed(t.Job(j.ID)))
	t.Draft.PutJob(j)
}

// DeleteJob removes a job from the snapshot.
func (t *Tx) DeleteJob(id uint32) {
	t.touch(model.Ref{Kind: model.KindJob, Instance: id}, boxed(t.Job(id)))
	t.Delete(model.Ref{Kind: model.KindJob, Instance: id})
}

// DeleteDeploymentUnit removes a deployment unit with its execution units and all that is stored for it.
func (t *Tx) DeleteDeploymentUnit(id model.RowID) error {
	u := t.DeploymentUnit(id)
	if u == nil {
		return nil
	}
	for _, eu := range slices.Collect(t.ExecutionUnitsOf(id)) {
		if err := t.DeleteExecutionUnit(eu.ID); err != nil {
			return err
		}
	}
	tx, err := t.Store()
	if err != nil {
		return err
	}
	if err := store.UnitIndex.Delete(tx, store.IndexKey(u.UUID, u.Version, u.Env)); err != nil {
		return err
	}
	if err := store.Privates.Delete(tx, id); err != nil {
		return err
	}
	ref := model.Ref{Kind: model.KindDeploymentUnit, Instance: id}
	t.touch(ref, u)
	t.Delete(ref)
	return store.DeploymentUnits.Delete(tx, id)
}

// DeleteExecutionUnit removes an execution unit.
func (t *Tx) DeleteExecutionUnit(id model.RowID) error {
	u := t.ExecutionUnit(id)
	if u == nil {
		return nil
	}
	tx, err := t.Store()
	if err != nil {
		return err
	}
	ref := model.Ref{Kind: model.KindExecutionUnit, Instance: id}
	t.touch(ref, u)
	t.Delete(ref)
	return store.ExecutionUnits.Delete(tx, id)
}

// DeleteExecEnv removes an environment that is no longer configured, with its units. Their application data stays, as what the environment itself has does, for the day on which it is
// configured again; until then nothing shows it.
func (t *Tx) DeleteExecEnv(e *model.ExecEnv) error {
	for _, u := range slices.Collect(t.DeploymentUnits()) {
		if u.Env == e.ID {
			if err := t.DeleteDeploymentUnit(u.ID); err != nil {
				return err
			}
		}
	}
	tx, err := t.Store()
	if err != nil {
		return err
	}
	ref := model.Ref{Kind: model.KindExecEnv, Instance: e.Instance}
	t.touch(ref, e)
	t.Delete(ref)
	return store.ExecEnvs.Delete(tx, e.ID)
}

// boxed turns a nil pointer into a nil interface.
func boxed[T any](p *T) any {
	if p == nil {
		return nil
	}
	return p
}

func (t *Tx) row(r model.Ref) any {
	switch r.Kind {
	case model.KindExecEnv:
		return boxed(t.ExecEnv(r.Instance))
	case model.KindDeploymentUnit:
		return boxed(t.DeploymentUnit(r.Instance))
	case model.KindExecutionUnit:
		return boxed(t.ExecutionUnit(r.Instance))
	case model.KindVolume:
		return boxed(t.Volume(r.Instance))
	}
	return boxed(t.Job(r.Instance))
}

// changes compares what was touched with what it was. The order is that of tables and numbers.
func (t *Tx) changes() []model.Change {
	var out []model.Change
	for _, ref := range slices.SortedFunc(maps.Keys(t.before), compareRefs) {
		before, now := t.before[ref], t.row(ref)
		if !reflect.DeepEqual(before, now) {
			out = append(out, model.Change{Row: ref, Old: before, New: now})
		}
	}
	return out
}

var tableOrder = map[model.Kind]int{model.KindExecEnv: 0, model.KindDeploymentUnit: 1, model.KindExecutionUnit: 2, model.KindVolume: 3, model.KindJob: 4}

func compareRefs(a, b model.Ref) int {
	if d := tableOrder[a.Kind] - tableOrder[b.Kind]; d != 0 {
		return d
	}
	return int(int64(a.Instance) - int64(b.Instance))
}

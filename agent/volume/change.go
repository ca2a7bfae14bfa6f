package volume

import (
	"slices"
	"strconv"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// A Change is what an operation makes of the volumes of a unit on an environment. Nothing has changed before it is recorded.
type Change struct {
	Before []model.Volume `json:"before,omitempty"`
	After  []model.Volume `json:"after,omitempty"`
}

// IsZero reports whether the unit neither has volumes nor is to have any.
func (c Change) IsZero() bool { return len(c.Before) == 0 && len(c.After) == 0 }

// Any reports whether a row is to change.
func (c Change) Any() bool { return !slices.Equal(c.Before, c.After) }

// Seen reports whether execution units are to see something else than before.
func (c Change) Seen() bool { return !slices.EqualFunc(c.Before, c.After, sameToUnits) }

func sameToUnits(a, b model.Volume) bool { return a.ID == b.ID && a.AccessPath == b.AccessPath }

// New are the numbers of volumes that are not there before.
func (c Change) New() []model.RowID {
	var all []model.RowID
	for _, v := range c.After {
		if !slices.ContainsFunc(c.Before, func(old model.Volume) bool { return old.ID == v.ID }) {
			all = append(all, v.ID)
		}
	}
	return all
}

// sized reports whether a volume of after was there before with the same capacity.
func (c Change) sized(v model.Volume) bool {
	return slices.ContainsFunc(c.Before, func(old model.Volume) bool { return old.ID == v.ID && old.Capacity == v.Capacity })
}

// of returns the volumes of a unit without what is not stored of them.
func of(s *model.Snapshot, env, uuid string) []model.Volume {
	var all []model.Volume
	for v := range s.VolumesOf(env, uuid) {
		stored := *v
		stored.Utilization = 0
		all = append(all, stored)
	}
	return all
}

// A Unit is whose volumes are meant.
type Unit struct {
	Env, UUID string
	Row       model.RowID // of the version that the operation is about
}

// shared reports whether another version of the unit is on the environment. One that is only to be installed is not: it plans again when its turn has come.
func (u Unit) shared(s *model.Snapshot) bool {
	for du := range s.DeploymentUnits() {
		if du.Env == u.Env && du.UUID == u.UUID && du.ID != u.Row && du.Status != model.DUInstalling {
			return true
		}
	}
	return false
}

// Keep says what is kept of the volumes that are there when others are asked for.
type Keep int

const (
	KeepAll   Keep = iota // those that are named become as they are asked for, with their content; the others stay as they are
	KeepNamed             // likewise, but the others go: a Reset, which makes all versions of the unit what they were
	KeepNone              // all go; those that are named begin empty
)

// Plan returns what becomes of the volumes of a unit when these are asked for. Those that another version of the unit has, too, are all kept; to make something else of them is
// invalid-du-state, except with KeepNamed. Other errors are invalid-arguments.
func (k *Keeper) Plan(tx *inventory.Tx, u Unit, asked []model.VolumeRequest, keep Keep) (Change, error) {
	c := Change{Before: of(&tx.Snapshot, u.Env, u.UUID)}
	shared := keep != KeepNamed && u.shared(&tx.Snapshot)
	switch {
	case keep == KeepAll || shared:
		c.After = slices.Clone(c.Before)
	case keep == KeepNamed:
		for _, v := range c.Before {
			if slices.ContainsFunc(asked, func(r model.VolumeRequest) bool { return r.Name == v.Name }) {
				c.After = append(c.After, v)
			}
		}
	}
	for _, r := range asked {
		i := slices.IndexFunc(c.After, func(v model.Volume) bool { return v.Name == r.Name })
		if i < 0 {
			id, err := tx.NextNumber(model.KindVolume)
			if err != nil {
				return Change{}, err
			}
			i = len(c.After)
			c.After = append(c.After, model.Volume{
				ID: id, Alias: "cpe-" + strconv.FormatUint(uint64(id), 10), Env: u.Env, UUID: u.UUID, Name: r.Name, Encrypted: k.Encrypted,
			})
		}
		v := &c.After[i]
		v.Capacity, v.Retain, v.AccessPath = r.Capacity, r.Retain, r.AccessPath
	}
	if shared && c.Any() {
		return Change{}, fault.Errorf(fault.InvalidDUState, "cannot change the application data of %s on %s: another version of the unit is there, which has it too", u.UUID, u.Env)
	}
	return c, checkSet(c.After)
}

// PlanAgain returns a plan that was made before its operation had the turn: the same, unless what it began with is not so any more.
func (k *Keeper) PlanAgain(tx *inventory.Tx, c Change, u Unit, asked []model.VolumeRequest, keep Keep) (Change, error) {
	if slices.Equal(c.Before, of(&tx.Snapshot, u.Env, u.UUID)) && !(c.Any() && u.shared(&tx.Snapshot)) {
		return c, nil
	}
	return k.Plan(tx, u, asked, keep)
}

// Begin makes rows of what is new in a plan that cannot fail any more.
func (k *Keeper) Begin(tx *inventory.Tx, c Change) error {
	added, fresh := Change{Before: c.Before, After: slices.Clone(c.Before)}, c.New()
	for _, v := range c.After {
		if slices.Contains(fresh, v.ID) {
			added.After = append(added.After, v)
		}
	}
	return k.Record(tx, added)
}

// Record makes the rows what was planned.
func (k *Keeper) Record(tx *inventory.Tx, c Change) error {
	for _, v := range c.Before {
		if slices.ContainsFunc(c.After, func(now model.Volume) bool { return now.ID == v.ID }) {
			continue
		}
		if err := tx.DeleteVolume(v.ID); err != nil {
			return err
		}
	}
	for _, v := range c.After {
		if now := tx.Volume(v.ID); now != nil {
			v.Alias, v.Encrypted, v.Utilization = now.Alias, now.Encrypted, now.Utilization
		}
		if err := tx.PutVolume(&v); err != nil {
			return err
		}
	}
	return nil
}

// Release ends what a unit has that has left its environment, as far as it is not kept: without retain nothing is, with it what is [model.Forever]. As long as another version is there
// everything is.
func (k *Keeper) Release(tx *inventory.Tx, u Unit, retain bool) error {
	if u.shared(&tx.Snapshot) {
		return nil
	}
	for _, v := range of(&tx.Snapshot, u.Env, u.UUID) {
		if retain && v.Retain == model.Forever {
			continue
		}
		if err := tx.DeleteVolume(v.ID); err != nil {
			return err
		}
	}
	return nil
}

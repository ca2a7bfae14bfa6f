// Package autorestart starts execution units again that ended abnormally, when and as often as their AutoRestart. says (TR-181,
// Device.SoftwareModules.ExecutionUnit.{i}.AutoRestart.).
//
// A unit has ended abnormally when it is Idle with FailureWhileActive, or when the start that was made because of that failed. The [Keeper] follows
// the rows: whatever makes a unit run again, or takes away the reason to start it, takes away its restart too. How often it was restarted, and that its last
// start was such a restart, is kept over restarts of the agent; a wait begins anew with them.
package autorestart

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// Options are what a keeper needs.
type Options struct {
	Inventory *inventory.Inventory
	// Start accepts, in the transaction, the start of a unit and returns its job.
	Start func(tx *inventory.Tx, eu model.RowID) (uint32, error)
	Log   *slog.Logger
}

// Keeper restarts units.
type Keeper struct {
	Options
	between func() float64 // see [model.AutoRestart.Wait]
	units   map[model.RowID]*unit
}

// unit is what is known of an execution unit besides its row.
type unit struct {
	settings model.AutoRestart // by which it was planned
	restart  time.Time         // zero: no restart is planned
	reset    time.Time         // when the count goes back to zero; zero: it does not
	job      uint32            // the start that is on its way; 0: none
}

// New returns a keeper.
func New(o Options) *Keeper {
	return &Keeper{Options: o, between: rand.Float64, units: map[model.RowID]*unit{}}
}

// Run follows the rows until ctx is done.
func (k *Keeper) Run(ctx context.Context) error {
	feed := k.Inventory.Feed(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case c, open := <-feed:
			if !open {
				return nil
			}
			k.follow(c)
		case <-timer.C:
			k.due(time.Now())
		}
		if at := k.next(); at.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(at))
		}
	}
}

// follow looks at the units that a commit may concern, as they are now: the feed may be behind what the keeper itself has done since.
func (k *Keeper) follow(c model.Commit) {
	now := k.Inventory.Snapshot()
	all := c.Changes == nil
	for _, x := range c.Changes {
		switch x.Row.Kind {
		case model.KindExecutionUnit:
			k.look(now, x.Row.Instance)
		case model.KindJob:
			for id, u := range k.units {
				if u.job == x.Row.Instance {
					k.look(now, id)
				}
			}
		default:
			all = true
		}
	}
	if !all {
		return
	}
	for id := range k.units {
		k.look(now, id)
	}
	for eu := range now.ExecutionUnits() {
		if eu.Restart.Enable {
			k.look(now, eu.ID)
		}
	}
}

// look plans what is to be done about a unit.
func (k *Keeper) look(s *model.Snapshot, id model.RowID) {
	eu, u := s.ExecutionUnit(id), k.units[id]
	switch {
	case eu == nil:
		delete(k.units, id)
		return
	case u == nil && !eu.Restart.Enable:
		return
	case u == nil:
		u = &unit{}
		k.units[id] = u
	}
	if u.job != 0 {
		if j := s.Job(u.job); j != nil && !j.State.Final() {
			return
		}
		u.job = 0
	}
	settings := eu.Restart
	settings.Next, settings.Retried = time.Time{}, false
	if settings != u.settings { // what was planned by other ones does not hold
		u.settings, u.restart, u.reset = settings, time.Time{}, time.Time{}
	}
	now := time.Now()
	switch wanted := k.wanted(s, eu); {
	case !wanted:
		u.restart = time.Time{}
	case u.restart.IsZero():
		u.restart = now.Add(settings.Wait(k.between()))
	}
	switch runs := eu.Status == model.EUActive && settings.Enable && settings.Count > 0 && settings.Reset > 0; {
	case !runs:
		u.reset = time.Time{}
	case u.reset.IsZero():
		u.reset = now.Add(time.Duration(settings.Reset) * time.Second)
	}
	k.show(id, u.restart, eu.Restart.Retried && settings.Enable && eu.Status != model.EUActive)
	if !settings.Enable {
		delete(k.units, id)
	}
}

// wanted reports whether a unit is to be started again.
func (k *Keeper) wanted(s *model.Snapshot, eu *model.ExecutionUnit) bool {
	if !eu.Restart.Enable || eu.Restart.Exhausted() || eu.Status != model.EUIdle {
		return false
	}
	switch eu.FaultCode {
	case model.FailureWhileActive:
	case model.FailureOnStart, model.FailureOnAutoStart:
		if !eu.Restart.Retried {
			return false // somebody else's start failed; that is not tried again (TR-069 VI.5.2)
		}
	default:
		return false
	}
	env, du := s.ExecEnvByID(eu.Env), s.DeploymentUnit(eu.DU)
	if env == nil || env.Status != model.EEUp || env.CurrentRunLevel >= 0 && eu.RunLevel > env.CurrentRunLevel {
		return false
	}
	return du != nil && du.Status == model.DUInstalled && !du.Missing
}

// show tells in the row when the unit is restarted next, and whether its last start was such a restart.
func (k *Keeper) show(id model.RowID, at time.Time, retried bool) {
	at = at.Round(0).UTC()
	if at.IsZero() {
		at = time.Time{}
	}
	if eu := k.Inventory.Snapshot().ExecutionUnit(id); eu == nil || eu.Restart.Next.Equal(at) && eu.Restart.Retried == retried {
		return
	}
	k.change(id, func(_ *inventory.Tx, row *model.ExecutionUnit) error {
		row.Restart.Next, row.Restart.Retried = at, retried
		return nil
	})
}

// change changes the row of a unit that is there.
func (k *Keeper) change(id model.RowID, f func(*inventory.Tx, *model.ExecutionUnit) error) bool {
	err := k.Inventory.Update(func(tx *inventory.Tx) error {
		old := tx.ExecutionUnit(id)
		if old == nil {
			return nil
		}
		row := *old
		if err := f(tx, &row); err != nil {
			return err
		}
		return tx.PutExecutionUnit(&row)
	})
	if err != nil {
		k.Log.Warn("an execution unit is not restarted automatically", "eu", id, "err", err)
	}
	return err == nil
}

// due does what is planned for now or earlier.
func (k *Keeper) due(now time.Time) {
	for id, u := range k.units {
		if !u.reset.IsZero() && !u.reset.After(now) {
			u.reset = time.Time{}
			k.change(id, func(_ *inventory.Tx, row *model.ExecutionUnit) error {
				row.Restart.Count = 0
				return nil
			})
		}
		if !u.restart.IsZero() && !u.restart.After(now) {
			u.restart = time.Time{}
			k.restart(id, u)
		}
	}
}

// restart starts a unit, unless that is not wanted any more. What is refused is planned anew, without being counted.
func (k *Keeper) restart(id model.RowID, u *unit) {
	var job, count uint32
	began := k.change(id, func(tx *inventory.Tx, row *model.ExecutionUnit) (err error) {
		row.Restart.Next = time.Time{}
		if !k.wanted(&tx.Snapshot, row) {
			return nil
		}
		row.Restart.Count++
		row.Restart.Last, row.Restart.Retried = time.Now().UTC().Round(0), true
		count = row.Restart.Count
		job, err = k.Start(tx, id)
		return err
	})
	if !began || job == 0 {
		k.look(k.Inventory.Snapshot(), id)
		return
	}
	u.job = job
	k.Log.Info("an execution unit that ended is started again", "eu", id, "op", job, "count", count)
}

// next returns when something is planned next; the zero time: nothing is.
func (k *Keeper) next() (first time.Time) {
	for _, u := range k.units {
		for _, at := range []time.Time{u.restart, u.reset} {
			if !at.IsZero() && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	return first
}

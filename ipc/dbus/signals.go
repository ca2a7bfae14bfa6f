package dbus

import (
	"cmp"
	"errors"
	"reflect"
	"slices"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// signaler turns commits into signals: first the objects that came, parents first, then one PropertiesChanged for each object that
// changed, then the jobs that completed, then the objects that went. Wake-ups of the faces come first.
type signaler struct {
	server *Server
	agent  Agent
	emit   func(path dbus.ObjectPath, name string, values ...any) error
	last   *model.Snapshot // up to which all is told; nil: nothing yet
}

// commit tells one entry of the feed. The first one is what callers find when they come: nothing is told of it.
func (g *signaler) commit(c model.Commit) error {
	if acs := g.server.acs; acs != nil {
		acs.commit(c)
	}
	id, news := g.server.board.commit(c)
	last := g.last
	g.last = c.Snapshot
	if last == nil {
		return nil
	}
	changes := merge(c.Changes)
	if c.Changes == nil {
		changes = difference(last, c.Snapshot)
	}
	err := errors.Join(append(g.reports(last, c.Snapshot), g.valueChanged(), g.tell(last, c.Snapshot, changes))...)
	if news {
		err = errors.Join(err, g.emit(xml.Root, xml.USP+".Notification", id))
	}
	return err
}

func (g *signaler) tell(last, next *model.Snapshot, changes []model.Change) error {
	before, after := &view{snap: last}, &view{snap: next}
	if len(changes) > 4 {
		before, after = indexed(last), indexed(next)
	}
	// Values are those of the moment at which they are sent, and what is gone by then has those it had.
	now := after
	if s := g.agent.Snapshot(); s != next {
		now = &view{snap: s}
		if after.index != nil {
			now = indexed(s)
		}
	}
	current := func(r model.Ref) place {
		if p, ok := g.server.at(now, r); ok {
			return p
		}
		p, _ := g.server.at(after, r)
		return p
	}

	var errs []error
	for _, c := range changes {
		if c.Old == nil && c.New != nil && hasObject(c.Row.Kind) {
			errs = append(errs, g.emit(xml.Root, xml.ObjectManager+".InterfacesAdded", path(c.Row), current(c.Row).interfaces()))
		}
	}
	for _, r := range affected(before, after, changes) {
		old, ok := g.server.at(before, r)
		if !ok {
			continue // it came with this commit, values and all
		}
		upd, ok := g.server.at(after, r)
		if !ok {
			continue // it goes
		}
		values := map[string]dbus.Variant{}
		for _, p := range upd.props {
			if !reflect.DeepEqual(p.get(old.view, old.row), p.get(upd.view, upd.row)) {
				values[p.name] = current(r).value(p)
			}
		}
		if len(values) > 0 {
			at := path(r)
			if r == (model.Ref{}) {
				at = xml.Root
			}
			errs = append(errs, g.emit(at, xml.Properties+".PropertiesChanged", upd.iface, values, []string{}))
		}
	}
	for _, c := range changes {
		if j, ok := completed(c); ok {
			errs = append(errs, g.emit(path(c.Row), xml.Job+".Completed", j.State == model.JobDone, text(j.Message)))
		}
	}
	for _, c := range slices.Backward(changes) {
		if c.Old != nil && c.New == nil && hasObject(c.Row.Kind) {
			errs = append(errs, g.emit(xml.Root, xml.ObjectManager+".InterfacesRemoved", path(c.Row), []string{xml.Of(c.Row.Kind)}))
		}
	}
	return errors.Join(errs...)
}

// completed returns the job that ended with a change.
func completed(c model.Change) (*model.Job, bool) {
	next, ok := c.New.(*model.Job)
	if !ok || !next.State.Final() {
		return nil, false
	}
	old, ok := c.Old.(*model.Job)
	return next, !ok || !old.State.Final()
}

// affected returns every object that may have other values than before: what changed, what refers to it or tells it, and the agent itself.
func affected(before, after *view, changes []model.Change) []model.Ref {
	set := map[model.Ref]bool{{}: true}
	for _, c := range changes {
		if hasObject(c.Row.Kind) {
			set[c.Row] = true
		}
		for _, end := range []struct {
			view *view
			row  any
		}{{before, c.Old}, {after, c.New}} {
			switch r := end.row.(type) {
			case *model.ExecutionUnit:
				set[model.Ref{Kind: model.KindDeploymentUnit, Instance: r.DU}] = true
				if e := end.view.snap.ExecEnvByID(r.Env); e != nil {
					set[model.Ref{Kind: model.KindExecEnv, Instance: e.Instance}] = true
				}
			case *model.DeploymentUnit:
				if came(c) || resettled(c) {
					for u := range end.view.snap.ExecutionUnitsOf(r.ID) {
						set[model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID}] = true
					}
				}
			case *model.Volume:
				if e := end.view.snap.ExecEnvByID(r.Env); e != nil {
					set[model.Ref{Kind: model.KindExecEnv, Instance: e.Instance}] = true
				}
				if came(c) { // its unit's execution units list it
					for u := range end.view.snap.ExecutionUnits() {
						if du := end.view.snap.DeploymentUnit(u.DU); du != nil && du.Env == r.Env && du.UUID == r.UUID {
							set[model.Ref{Kind: model.KindExecutionUnit, Instance: u.ID}] = true
						}
					}
				}
			case *model.ExecEnv:
				if came(c) { // rare enough to look at everything
					for _, k := range xml.Kinds {
						for ref := range rows(end.view.snap, k) {
							set[ref] = true
						}
					}
				}
			}
		}
	}
	list := make([]model.Ref, 0, len(set))
	for r := range set {
		list = append(list, r)
	}
	slices.SortFunc(list, order)
	return list
}

// came reports whether a row came or went.
func came(c model.Change) bool { return (c.Old == nil) != (c.New == nil) }

// resettled reports whether a deployment unit has other settings: they are told of its execution units.
func resettled(c model.Change) bool {
	before, ok := c.Old.(*model.DeploymentUnit)
	after, still := c.New.(*model.DeploymentUnit)
	return ok && still && !reflect.DeepEqual(before.Settings, after.Settings)
}

// order sorts parents first.
func order(a, b model.Ref) int {
	return cmp.Or(cmp.Compare(slices.Index(tables, a.Kind), slices.Index(tables, b.Kind)), cmp.Compare(a.Instance, b.Instance))
}

// merge makes one change of all that a commit says about a row, and sorts parents first. What came and went in the same commit
// was never there.
func merge(changes []model.Change) []model.Change {
	var list []model.Change
	at := map[model.Ref]int{}
	for _, c := range changes {
		if i, ok := at[c.Row]; ok {
			list[i].New = c.New
			continue
		}
		at[c.Row] = len(list)
		list = append(list, c)
	}
	list = slices.DeleteFunc(list, func(c model.Change) bool { return c.Old == nil && c.New == nil })
	slices.SortFunc(list, func(a, b model.Change) int { return order(a.Row, b.Row) })
	return list
}

// difference returns what changed between two snapshots, for a reader that missed the commits between them. Rows are
// never changed in place, so those that are the same pointer are the same.
func difference(old, next *model.Snapshot) []model.Change {
	var list []model.Change
	for _, k := range tables {
		for ref, r := range rows(old, k) {
			if n := row(next, ref); n != r {
				list = append(list, model.Change{Row: ref, Old: r, New: n})
			}
		}
		for ref, r := range rows(next, k) {
			if row(old, ref) == nil {
				list = append(list, model.Change{Row: ref, New: r})
			}
		}
	}
	slices.SortFunc(list, func(a, b model.Change) int { return order(a.Row, b.Row) })
	return list
}

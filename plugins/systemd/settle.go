package systemd

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// settle brings a record to rest: it finishes or undoes the step that [state] says is open. It returns nil when nothing is left of the unit. Each
// part of it can be done twice, so it may be cut off anywhere.
func (e *env) settle(ctx context.Context, l *link, r *record) (*record, error) {
	if r == nil || r.State == installed {
		return r, nil
	}
	var err error
	switch r.State {
	case installing, removing:
		return nil, e.erase(ctx, l, r)
	case uninstalling:
		err = e.keep(ctx, l, r)
	case updating:
		err = e.moveTo(ctx, l, r, r.Next, &r.Current)
	case reverting:
		err = e.moveTo(ctx, l, r, &r.Current, r.Next)
	default:
		err = fmt.Errorf("cannot read the record of unit %q: its state is %q", r.Key, r.State)
	}
	return r, err
}

// moveTo makes the generation to the only one besides a previous one.
func (e *env) moveTo(ctx context.Context, l *link, r *record, from, to *generation) error {
	if from == nil || to == nil {
		return fmt.Errorf("cannot read the record of unit %q: a generation is missing", r.Key)
	}
	if _, some := attached(*from); some {
		if err := e.halt(ctx, l, *from, fmt.Sprintf("bring unit %q in order", r.Key)); err != nil {
			return err
		}
	}
	if err := e.swap(ctx, l, r, *from, *to); err != nil {
		return err
	}
	if err := e.removeImage(*from); err != nil {
		return err
	}
	r.Current, r.Next, r.State = *to, nil, installed
	return e.store.save(r)
}

// keep takes back an uninstall that has not taken the image off. A unit that cannot be attached is installed and missing, until the next launch.
func (e *env) keep(ctx context.Context, l *link, r *record) error {
	if err := e.present(ctx, l, r, r.Current); err != nil {
		if ctx.Err() != nil || !l.works() {
			return err
		}
		e.log.Error("a unit that stays cannot be attached; the next launch of the environment tries again", "du", r.Key, "err", err)
	}
	r.State = installed
	return e.store.save(r)
}

// erase removes all that is left of a unit.
func (e *env) erase(ctx context.Context, l *link, r *record) error {
	changed := r.State == removing // what has taken the image off has not told the manager
	if r.State == removing && !l.knows(ctx, r.Current) {
		// After a restart of the adapter or a reboot the manager cannot clean what it does not know.
		if err := e.present(ctx, l, r, r.Current); err != nil {
			e.log.Warn("data of a unit that is being removed may stay behind, because it cannot be attached", "du", r.Key, "err", err)
		}
	}
	for _, g := range r.generations() {
		if _, some := attached(g); some {
			if err := e.halt(ctx, l, g, fmt.Sprintf("remove unit %q", r.Key)); err != nil {
				return err
			}
			for _, u := range g.modules() {
				_ = l.hold(ctx, u) // one without a unit file cannot be held
			}
		}
		did, err := e.drop(ctx, l, g, nil)
		changed = changed || did
		if err != nil {
			return err
		}
	}
	if r.State == removing { // what failed to come has made no data
		if err := e.cleanData(ctx, l, r.Key, r.Current); err != nil {
			return err
		}
	}
	units, err := l.instantiate(ctx, r.units())
	if err != nil {
		return err
	}
	for _, u := range units {
		_ = l.release(ctx, u) // with the bus it is gone anyway
		l.clearFailure(ctx, u)
	}
	if changed {
		if err := l.reload(ctx); err != nil {
			return err
		}
	}
	if err := e.removeVariables(r.Key); err != nil {
		return err
	}
	e.mu.Lock()
	for _, u := range units {
		delete(e.tries, u)
		delete(e.skips, u)
	}
	e.mu.Unlock()
	for _, g := range r.generations() {
		if err := e.removeImage(g); err != nil {
			return err
		}
	}
	return e.store.remove(r.Key)
}

// knows reports whether the manager has all services of a generation in memory, and keeps them there.
func (l *link) knows(ctx context.Context, g generation) bool {
	for _, u := range g.modules() {
		if kindOf(u) != service {
			continue
		}
		if err := l.hold(ctx, u); err != nil {
			return false
		}
		if s, err := l.state(ctx, u); err != nil || s.load != "loaded" {
			return false
		}
	}
	return true
}

// cleanData removes the directories that the services of a generation keep: state, cache and logs. The manager knows them while the units are attached, and
// after that as long as they are held and it has not read its unit files again.
// What another unit keeps too stays. So does configuration: in /etc it is the device's.
func (e *env) cleanData(ctx context.Context, l *link, key string, g generation) error {
	for _, u := range g.modules() {
		if kindOf(u) != service {
			continue
		}
		if dir := e.shared(key, g.States[u]); dir != "" {
			e.log.Warn("data of a unit that is removed stays, because it is not its own alone", "du", key, "eu", u, "path", dir)
			continue
		}
		if err := l.hold(ctx, u); err != nil {
			continue // its file is gone, so the manager does not know it
		}
		if err := l.cleaned(ctx, u); err != nil { // by an adapter that was killed
			return err
		}
		l.clearFailure(ctx, u) // it cleans no unit that has failed
		err := l.manager(ctx, "CleanUnit", u, []string{"state", "cache", "logs"}).Err
		if errorName(err) == "org.freedesktop.systemd1.NothingToClean" {
			continue
		}
		if err != nil {
			return explain("remove the data of "+u, err)
		}
		if err := l.cleaned(ctx, u); err != nil {
			return err
		}
	}
	return nil
}

// shared returns the first of the directories that is also kept by another deployment unit of the adapter, or in which the adapter keeps its own
// records; empty without one.
func (e *env) shared(key string, dirs []string) string {
	for _, d := range dirs {
		if strings.HasPrefix(e.store.dir+"/", d+"/") {
			return d
		}
		for _, x := range append(e.own.others(e), e) {
			records, _ := x.store.all() // what cannot be read is told by the launch
			for _, r := range records {
				if x == e && r.Key == key {
					continue
				}
				for _, g := range r.generations() {
					for _, theirs := range g.States {
						if slices.Contains(theirs, d) {
							return d
						}
					}
				}
			}
		}
	}
	return ""
}

// cleaned waits until the manager has removed the data of a unit.
func (l *link) cleaned(ctx context.Context, unit string) error {
	return l.until(ctx, unit, func(u unitState) bool { return u.active != "maintenance" })
}

// restore settles every unit and makes those that stay attached. It returns them, and whether the manager has to be reloaded. What is wrong with one is
// told and does no harm to the others: one that is not attached is missing.
func (e *env) restore(ctx context.Context, l *link) (stay []*record, changed bool, err error) {
	records, err := e.store.all()
	if err != nil {
		e.log.Error("records of units cannot be read", "err", err)
	}
	for _, r := range records {
		settled, did, err := e.restoreOne(ctx, l, r.Key)
		changed = changed || did
		if err != nil && (ctx.Err() != nil || !l.works()) {
			return nil, changed, err
		}
		if err != nil {
			e.log.Error("a unit cannot be brought in order; the next call about it tries again", "du", r.Key, "err", err)
		}
		if settled != nil {
			stay = append(stay, settled)
		}
	}
	return stay, changed, nil
}

func (e *env) restoreOne(ctx context.Context, l *link, key string) (r *record, changed bool, err error) {
	if err := e.keys.take(ctx, key); err != nil {
		return nil, false, err
	}
	defer e.keys.release(key)
	if r, err = e.store.load(key); err != nil { // as it is now
		return nil, false, err
	}
	if r, err = e.settle(ctx, l, r); err != nil || r == nil {
		return r, false, err
	}
	changed, err = e.ensure(ctx, l, r, r.Current)
	return r, changed, err
}

package systemd

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// lateLines is when the log of a unit that failed is looked at again, because it had nothing to say.
const lateLines = 300 * time.Millisecond

// watcher sends the events of one environment for one [adapter.Adapter] Watch. Its one goroutine keeps their order. Signals of the bus only tell it what
// to look at: what it tells is what it then sees.
type watcher struct {
	env  *env
	send func(adapter.Event) bool // false: the watch is over

	told  *adapter.Env            // the last state that was told
	units map[string]adapter.Unit // that were told since the environment is up
	ready bool                    // Synced was sent
}

func newWatcher(e *env, send func(adapter.Event) bool) *watcher {
	return &watcher{env: e, send: send, units: map[string]adapter.Unit{}}
}

// run follows the environment until ctx is done.
func (w *watcher) run(ctx context.Context) {
	for ctx.Err() == nil {
		l, err := w.env.link(ctx)
		if err == nil {
			err = w.follow(ctx, l)
		}
		if ctx.Err() != nil {
			return
		}
		w.lost(err)
		timer := time.NewTimer(w.env.own.limits.retry)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// lost tells that the environment cannot be seen.
func (w *watcher) lost(err error) {
	down := w.env.describe(sliceState{}, "")
	down.Detail = err.Error()
	w.tellEnv(down)
}

// follow reads everything, and then again what signals say has changed, until the link is lost or ctx is done.
func (w *watcher) follow(ctx context.Context, l *link) error {
	signals := make(chan *dbus.Signal, 64)
	l.bus.Signal(signals)
	defer l.bus.RemoveSignal(signals)
	// After the manager has executed itself anew it may have forgotten who listens.
	if err := l.manager(ctx, "Subscribe").Err; err != nil && errorName(err) != systemdName+".AlreadySubscribed" {
		return explain("follow systemd", err)
	}
	s := &subscriptions{bus: l.bus, rules: map[string][]dbus.MatchOption{}, names: map[dbus.ObjectPath]string{}}
	defer s.drop()
	if err := s.add("manager", dbus.WithMatchSender(systemdName), dbus.WithMatchInterface(systemdName+".Manager"), dbus.WithMatchMember("Reloading")); err != nil {
		return explain("follow systemd", err)
	}
	if err := s.unit(w.env.slice); err != nil {
		return explain("follow "+w.env.slice, err)
	}
	sample := time.NewTicker(w.env.own.limits.sample)
	defer sample.Stop()
	again := time.NewTimer(0) // at once
	defer again.Stop()
	version := l.version(ctx)
	for {
		var stale scope
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.life.Done():
			return adapter.Errorf(adapter.Unavailable, "the system bus is lost")
		case sig, ok := <-signals:
			for more := true; more; { // read once what several signals tell of
				if !ok {
					return adapter.Errorf(adapter.Unavailable, "the system bus is lost")
				}
				stale.add(l, s, sig)
				select {
				case sig, ok = <-signals:
				default:
					more = false
				}
			}
		case <-w.env.wake:
			stale.all = true
		case <-again.C:
			stale.all = true
		case <-sample.C:
			w.measure()
			stale.all = true
		}
		if !stale.all && len(stale.units) == 0 {
			continue
		}
		if err := w.refresh(ctx, l, s, version, stale); err != nil {
			return err
		}
		for _, u := range w.units {
			if slices.ContainsFunc(u.Modules, func(m adapter.Module) bool { return m.Reason != "" && w.env.expectsLines(m.ID) }) {
				again.Reset(lateLines)
			}
		}
	}
}

// A scope is what of an environment has to be read again.
type scope struct {
	all   bool
	units map[string]bool
}

// add adds what a signal tells of.
func (x *scope) add(l *link, s *subscriptions, sig *dbus.Signal) {
	unit := ""
	switch sig.Name {
	case systemdName + ".Manager.Reloading":
		l.forget()
		if len(sig.Body) == 1 && sig.Body[0] == false { // it is done
			x.all = true
		}
	case systemdName + ".Manager.JobRemoved":
		if len(sig.Body) == 4 {
			unit, _ = sig.Body[2].(string)
		}
	case propertiesAPI + ".PropertiesChanged":
		unit = s.names[sig.Path]
	}
	if unit != "" {
		if x.units == nil {
			x.units = map[string]bool{}
		}
		x.units[unit] = true
	}
}

// misses reports whether none of a unit's modules has to be read again.
func (x scope) misses(u adapter.Unit) bool {
	return !x.all && !slices.ContainsFunc(u.Modules, func(m adapter.Module) bool { return x.units[m.ID] })
}

// refresh reads the environment and those of its units that are in the scope, and tells what is new.
func (w *watcher) refresh(ctx context.Context, l *link, s *subscriptions, version string, stale scope) error {
	e := w.env
	slice, err := e.sliceState(ctx, l)
	if err != nil {
		return err
	}
	now := e.describe(slice, version)
	if slice.up {
		e.addSizes(&now, slice.memory)
	}
	if w.told != nil && w.told.Up && slice.up && w.told.Launch == slice.launch {
		keepUnnoticed(&now, *w.told)
	} else {
		w.units, w.ready, stale.all = map[string]adapter.Unit{}, false, true
	}
	if !slice.up {
		w.tellEnv(now)
		return nil
	}
	if !w.ready {
		e.settleIdle(ctx, l)
	}
	seen, err := w.readUnits(ctx, l, s, stale)
	if err != nil {
		return err
	}
	w.tellEnv(now) // not before its units have been read, which may take a while: it is told together with them
	w.tellUnits(seen)
	if !w.ready {
		w.ready = true
		w.send(adapter.Event{Kind: adapter.EventSynced, EnvID: e.id})
		e.log.Info("environment is up", "launch", slice.launch)
	}
	return nil
}

// keepUnnoticed keeps what was told of sizes that have hardly changed.
func keepUnnoticed(now *adapter.Env, was adapter.Env) {
	if !noticeably(was.AvailableDisk, now.AvailableDisk) {
		now.AvailableDisk = was.AvailableDisk
	}
	if was.AllocatedMemory == now.AllocatedMemory && !noticeably(was.AvailableMemory, now.AvailableMemory) {
		now.AvailableMemory = was.AvailableMemory
	}
}

// settleIdle settles what an adapter left that was killed. What a call is working on is its own matter.
func (e *env) settleIdle(ctx context.Context, l *link) {
	records, _ := e.store.all() // what cannot be read is told by the launch
	for _, r := range records {
		if r.State == installed || e.keys.try(r.Key) != nil {
			continue
		}
		r, err := e.store.load(r.Key)
		if err == nil {
			_, err = e.settle(ctx, l, r)
		}
		e.keys.release(r.Key)
		if err != nil {
			e.log.Warn("what was begun with a unit cannot be settled now; the next call about it tries again", "du", r.Key, "err", err)
		}
	}
}

// readUnits returns all units; those that are not in the scope as they were told last.
func (w *watcher) readUnits(ctx context.Context, l *link, s *subscriptions, stale scope) (map[string]adapter.Unit, error) {
	e := w.env
	seen := map[string]adapter.Unit{}
	if stale.all {
		if all, err := e.allUnits(); err == nil { // else it is told by the launch
			l.releaseOthers(ctx, all)
		}
	}
	for _, name := range e.set.units {
		if err := s.unit(name); err != nil {
			return nil, explain("follow "+name, err)
		}
		if u, told := w.units[name]; told && stale.misses(u) {
			seen[name] = u
			continue
		}
		u, err := e.permanentUnit(ctx, l, name)
		if err != nil {
			return nil, err
		}
		seen[name] = u
	}
	records, _ := e.store.all() // what cannot be read is told by the launch
	for _, r := range records {
		if u, told := w.units[r.Key]; told && stale.misses(u) {
			seen[r.Key] = u
			continue
		}
		for _, name := range r.Current.modules() {
			if err := s.unit(name); err != nil {
				return nil, explain("follow "+name, err)
			}
		}
		_, some := attached(r.Current)
		switch {
		case r.State == installing, r.State == removing, r.State == installed && !some:
			continue
		case r.State == uninstalling:
			if u, ok := w.units[r.Key]; ok {
				seen[r.Key] = u
			}
			continue
		}
		u, err := e.unit(ctx, l, r)
		if err != nil {
			return nil, err
		}
		seen[r.Key] = u
	}
	return seen, nil
}

// tellEnv sends the state of the environment if it differs from what was told last.
func (w *watcher) tellEnv(now adapter.Env) {
	if w.told != nil && *w.told == now {
		return
	}
	if !now.Up {
		w.units, w.ready = map[string]adapter.Unit{}, false
	}
	w.told = &now
	copied := now
	w.send(adapter.Event{Kind: adapter.EventEnv, EnvID: w.env.id, Env: &copied})
}

// tellUnits sends the units that are new, changed or gone.
func (w *watcher) tellUnits(seen map[string]adapter.Unit) {
	for _, key := range sortedKeys(seen) {
		u := seen[key]
		if was, ok := w.units[key]; ok && reflect.DeepEqual(was, u) {
			continue
		}
		w.units[key] = u
		copied := u
		copied.Modules = slices.Clone(u.Modules)
		w.send(adapter.Event{Kind: adapter.EventUnit, EnvID: w.env.id, Unit: &copied})
	}
	for _, key := range sortedKeys(w.units) {
		if _, there := seen[key]; !there {
			delete(w.units, key)
			w.send(adapter.Event{Kind: adapter.EventUnitRemoved, EnvID: w.env.id, Key: key})
		}
	}
}

func sortedKeys(m map[string]adapter.Unit) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}

// measure looks at the sizes on disk.
func (w *watcher) measure() {
	records, _ := w.env.store.all() // what cannot be read is told by the launch
	for _, r := range records {
		w.env.measure(r.Current)
	}
}

// subscriptions are the signals that a watch has asked the bus for.
type subscriptions struct {
	bus   *dbus.Conn
	rules map[string][]dbus.MatchOption
	names map[dbus.ObjectPath]string // of the units
}

func (s *subscriptions) add(name string, rule ...dbus.MatchOption) error {
	if _, there := s.rules[name]; there {
		return nil
	}
	if err := s.bus.AddMatchSignal(rule...); err != nil {
		return err
	}
	s.rules[name] = rule
	return nil
}

// unit asks for the changes of a unit and for the ends of its jobs.
func (s *subscriptions) unit(name string) error {
	s.names[unitPath(name)] = name
	err := s.add("unit "+name, dbus.WithMatchSender(systemdName), dbus.WithMatchObjectPath(unitPath(name)),
		dbus.WithMatchInterface(propertiesAPI), dbus.WithMatchMember("PropertiesChanged"))
	if err != nil {
		return err
	}
	return s.add("job "+name, dbus.WithMatchSender(systemdName), dbus.WithMatchInterface(systemdName+".Manager"),
		dbus.WithMatchMember("JobRemoved"), dbus.WithMatchArg(2, name))
}

func (s *subscriptions) drop() {
	for _, rule := range s.rules {
		_ = s.bus.RemoveMatchSignal(rule...) // with the bus they are gone anyway
	}
}

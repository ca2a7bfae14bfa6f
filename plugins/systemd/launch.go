package systemd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	manager "github.com/coreos/go-systemd/v22/dbus"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// launchLock is the name among an environment's locks of its launch and end; no unit has an empty key.
const launchLock = ""

// launch makes everything in /run that the records ask for, and starts the slice last: an environment that is up is complete.
func (e *env) launch(ctx context.Context) error {
	if err := e.keys.take(ctx, launchLock); err != nil {
		return err
	}
	defer e.keys.release(launchLock)
	l, err := e.link(ctx)
	if err != nil {
		return err
	}
	s, err := e.sliceState(ctx, l)
	if err != nil {
		return err
	}
	records, changed, err := e.restore(ctx, l)
	if err != nil {
		return err
	}
	if !s.up { // limits hold from one launch to the next
		did, err := writeRuntime(e.slice, e.sliceFile())
		changed = changed || did
		if err != nil {
			return err
		}
	}
	if changed {
		if err := l.reload(ctx); err != nil {
			return err
		}
	}
	e.mu.Lock()
	e.ended = false
	e.mu.Unlock()
	if s.up {
		return nil
	}
	for _, r := range records {
		for _, u := range r.Current.modules() {
			l.clearFailure(ctx, u)
		}
	}
	done := make(chan string, 1)
	if _, err := l.units.StartUnitContext(ctx, e.slice, "replace", done); err != nil {
		return explain("launch environment "+e.id, err)
	}
	result, err := l.await(ctx, done)
	if err != nil {
		return fmt.Errorf("cannot launch environment %q: %w", e.id, err)
	}
	if result != "done" {
		return adapter.Errorf(adapter.Unavailable, "cannot launch environment %q: the start of %s ended with %q", e.id, e.slice, result)
	}
	return nil
}

// shutDown ends all units of the environment, those that start others first, and its slice.
func (e *env) shutDown(ctx context.Context) error {
	if err := e.keys.take(ctx, launchLock); err != nil {
		return err
	}
	defer e.keys.release(launchLock)
	l, err := e.link(ctx)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	units, err := e.allUnits()
	if err != nil {
		return err
	}
	left, err := l.stopAll(ctx, units, e.slice, e.set.stopTimeout)
	if err != nil {
		return fmt.Errorf("cannot end environment %q: %w", e.id, err)
	}
	if len(left) == 0 {
		return nil
	}
	e.log.Warn("units do not stop and are killed", "units", left)
	for _, u := range left {
		// One that ends meanwhile has nobody to kill.
		_ = l.units.KillUnitWithTarget(ctx, u, manager.All, 9)
	}
	if left, err = l.stopAll(ctx, units, e.slice, e.own.limits.kill); err != nil {
		return fmt.Errorf("cannot end environment %q: %w", e.id, err)
	}
	if len(left) > 0 {
		return adapter.Errorf(adapter.StillRunning, "cannot end environment %q: %v do not end", e.id, left)
	}
	return nil
}

// allUnits are the units of the environment with its templates, those of the device itself included.
func (e *env) allUnits() ([]string, error) {
	records, err := e.store.all()
	if err != nil {
		return nil, err
	}
	all := slices.Clone(e.set.units)
	for _, r := range records {
		for _, g := range r.generations() {
			all = append(all, g.Units...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// stopAll stops units, of templates all instances: those that start others by themselves, then the rest together, so that the manager sees to
// their order among each other, and last the slice, if one is given. It returns what has not ended within the limit.
func (l *link) stopAll(ctx context.Context, units []string, slice string, limit time.Duration) (left []string, err error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var first, rest []string
	for _, u := range units {
		if triggers(u) {
			first = append(first, u)
		} else {
			rest = append(rest, u)
		}
	}
	for _, batch := range [][]string{first, rest, sliceBatch(slice)} {
		late, err := l.stopBatch(limited, batch)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && limited.Err() == nil {
			return nil, err
		}
		left = append(left, late...)
	}
	return left, nil
}

func sliceBatch(slice string) []string {
	if slice == "" {
		return nil
	}
	return []string{slice}
}

// stopBatch stops units at the same time and returns those that go on when ctx is done.
func (l *link) stopBatch(ctx context.Context, units []string) (late []string, err error) {
	type job struct {
		unit string
		done chan string
	}
	var jobs []job
	asking, cancel := context.WithTimeout(l.life, lookEnd) // also for those whose turn comes when time is over
	defer cancel()
	// Not before their turn: what starts them has been stopped by now.
	if units, err = l.instantiate(asking, units); err != nil {
		return nil, err
	}
	for _, u := range units {
		p, err := l.units.GetUnitPropertyContext(asking, u, "ActiveState")
		if err != nil {
			return nil, explain("read the state of "+u, err)
		}
		if active := p.Value.Value(); active == "inactive" || active == "failed" {
			continue
		}
		done := make(chan string, 1)
		if _, err := l.units.StopUnitContext(asking, u, "replace", done); err != nil {
			if errorName(err) == "org.freedesktop.systemd1.NoSuchUnit" {
				continue // it is gone by now
			}
			return nil, explain("stop "+u, err)
		}
		jobs = append(jobs, job{u, done})
	}
	for _, j := range jobs {
		if _, err := l.await(ctx, j.done); err != nil {
			if ctx.Err() == nil {
				return nil, err
			}
			late = append(late, j.unit)
		}
	}
	return late, nil
}

// await waits for the result of a job.
func (l *link) await(ctx context.Context, done <-chan string) (string, error) {
	select { // what is there counts, also when time is over
	case r := <-done:
		return r, nil
	default:
	}
	select {
	case r := <-done:
		return r, nil
	case <-ctx.Done():
		return "", ctx.Err()
	case <-l.life.Done():
		return "", adapter.Errorf(adapter.Unavailable, "the system bus is lost")
	}
}

// clearFailure makes a unit forget a failure, and how often it was started lately.
func (l *link) clearFailure(ctx context.Context, unit string) {
	// A unit that is not loaded has nothing to forget.
	_ = l.units.ResetFailedUnitContext(ctx, unit)
}

// ensure makes a generation attached and bound to the slice. It reports whether the manager has to be reloaded. The drop-ins come last: should the device have a
// unit of that name, portabled refuses, and the device's unit is not bound to anything.
func (e *env) ensure(ctx context.Context, l *link, g generation) (changed bool, err error) {
	if all, some := attached(g); !all {
		changed = true
		if some { // half of an attach, or somebody has taken away files
			if err := l.detach(ctx, e.store.image(g.Image)); err != nil {
				return changed, err
			}
		}
		if err := l.attach(ctx, e.store.image(g.Image), g.Prefixes, e.set.profile); err != nil {
			return changed, err
		}
	}
	var errs []error
	for _, u := range g.Units {
		did, err := writeRuntime(u+".d/"+dropIn, e.dropInFile(u))
		changed, errs = changed || did, append(errs, err)
	}
	return changed, errors.Join(errs...)
}

// drop takes a generation out of the manager's sight. Units that keep belongs to stay bound to the slice. It reports whether the manager has to be reloaded.
func (e *env) drop(ctx context.Context, l *link, g generation, keep []string) (changed bool, err error) {
	if _, some := attached(g); some {
		changed = true
		if err := l.detach(ctx, e.store.image(g.Image)); err != nil {
			return changed, err
		}
	}
	for _, u := range g.Units {
		if slices.Contains(keep, u) {
			continue
		}
		did, err := removeDropIn(u)
		changed = changed || did
		if err != nil {
			return changed, err
		}
	}
	return changed, nil
}

package systemd

import (
	"context"
	"fmt"
	"slices"

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

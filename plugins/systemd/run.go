package systemd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func moduleName(m adapter.ModuleRef) string {
	return fmt.Sprintf("module %q of unit %q in environment %q", m.Module, m.Key, m.Env)
}

func (e *env) start(ctx context.Context, m adapter.ModuleRef, o adapter.StartOptions) error {
	what := "start " + moduleName(m)
	l, err := e.running(ctx, what)
	if err != nil {
		return err
	}
	unit, err := e.find(m, what)
	if err != nil {
		return err
	}
	_ = l.hold(ctx, unit) // one without a unit file cannot be held, and is told below
	s, err := l.state(ctx, unit)
	if err != nil {
		return err
	}
	switch s.status() {
	case adapter.Active:
		return nil
	case adapter.Stopping:
		return adapter.Errorf(adapter.BadState, "cannot %s: it is stopping", what)
	case adapter.Idle:
		e.try(unit, attempt{auto: o.Auto})
		// The limit of starts is for what systemd starts by itself; somebody who asks has a reason.
		l.clearFailure(ctx, unit)
	}
	defer e.changed()
	done := make(chan string, 1)
	if _, err := l.units.StartUnitContext(ctx, unit, "replace", done); err != nil {
		return e.refusal(ctx, l, s, o, what, err)
	}
	result, err := e.outcome(ctx, l, done, what)
	if err != nil {
		return err
	}
	return e.startError(ctx, l, unit, o, what, result)
}

// outcome waits for the result of a job.
func (e *env) outcome(ctx context.Context, l *link, done <-chan string, what string) (string, error) {
	limited, cancel := context.WithTimeout(ctx, e.set.callTimeout)
	defer cancel()
	result, err := l.await(limited, done)
	switch {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("cannot %s: %w", what, ctx.Err())
	case limited.Err() != nil:
		return "", adapter.Errorf(adapter.StillRunning, "cannot %s within %v: it is still going on", what, e.set.callTimeout)
	}
	return "", explain(what, err)
}

// refusal classifies what the manager says when it does not even begin.
func (e *env) refusal(ctx context.Context, l *link, s unitState, o adapter.StartOptions, what string, err error) error {
	if errorName(err) == "" || ctx.Err() != nil {
		return explain(what, err)
	}
	lacks, lookErr := l.lacks(ctx, s)
	reason, words := s.fault(attempt{auto: o.Auto}, lacks)
	switch {
	case lookErr == nil && len(lacks) > 0 && s.load == "loaded":
		return &adapter.Error{Reason: adapter.Unresolved, Message: fmt.Sprintf("cannot %s: %s", what, words), Cause: words}
	case reason == adapter.Unstartable && s.load != "loaded":
		return &adapter.Error{Reason: reason, Message: fmt.Sprintf("cannot %s: %s", what, words), Cause: words}
	}
	return &adapter.Error{Reason: failedStart(o), Message: fmt.Sprintf("cannot %s: %v", what, err), Cause: err.Error()}
}

func failedStart(o adapter.StartOptions) adapter.Reason {
	if o.Auto {
		return adapter.AutoStartFailed
	}
	return adapter.StartFailed
}

// startError says what was wrong with a start whose job has ended. A job is done also when a condition did not hold. What failed after it was active has
// been started, however soon that was and whether it is seen by now: that is told by the watch, with the same reason from [unitState.fault].
func (e *env) startError(ctx context.Context, l *link, unit string, o adapter.StartOptions, what, result string) error {
	s, err := l.state(ctx, unit)
	if err != nil {
		return err
	}
	e.recall(&s)
	reason, words := s.fault(attempt{auto: o.Auto}, nil)
	if result == "done" && (reason == "" || reason == adapter.FailedWhileActive) {
		return nil
	}
	switch {
	case words != "" && reason != adapter.Unstartable:
		reason, words = failedStart(o), message(words, e.lines(ctx, s))
	case words != "":
	case result == "dependency":
		reason, words = failedStart(o), "a unit that it requires has failed"
		if failed := l.failed(ctx, s.requires); len(failed) > 0 {
			words += ": " + strings.Join(failed, ", ")
		}
	case kindOf(unit) == socket && l.anyUp(ctx, s.triggers):
		reason, words = failedStart(o), "its service is active already, and systemd makes a socket only before that"
	default: // canceled, timeout, assert, …
		reason, words = failedStart(o), "the job of systemd ended with “"+result+"”"
	}
	return &adapter.Error{Reason: reason, Message: fmt.Sprintf("cannot %s: %s", what, words), Cause: words}
}

// failed returns those of the units that have failed.
func (l *link) failed(ctx context.Context, units []string) (failed []string) {
	for _, u := range units {
		if s, err := l.state(ctx, u); err == nil && s.active == "failed" {
			failed = append(failed, u)
		}
	}
	return failed
}

// anyUp reports whether one of the units is known to be active.
func (l *link) anyUp(ctx context.Context, units []string) bool {
	return slices.ContainsFunc(units, func(u string) bool {
		s, err := l.state(ctx, u)
		return err == nil && s.up()
	})
}

func (e *env) stop(ctx context.Context, m adapter.ModuleRef) error {
	what := "stop " + moduleName(m)
	l, err := e.running(ctx, what)
	if err != nil {
		return err
	}
	unit, err := e.find(m, what)
	if err != nil {
		return err
	}
	s, err := l.state(ctx, unit)
	if err != nil {
		return err
	}
	if s.over() {
		return nil
	}
	e.try(unit, attempt{stop: true, run: s.invocation})
	defer e.changed()
	done := make(chan string, 1)
	if _, err := l.units.StopUnitContext(ctx, unit, "replace", done); err != nil {
		if errorName(err) == "org.freedesktop.systemd1.NoSuchUnit" {
			return nil // it is gone by now
		}
		return explain(what, err)
	}
	result, err := e.outcome(ctx, l, done, what)
	if err != nil {
		return err
	}
	if s, err = l.state(ctx, unit); err != nil {
		return err
	}
	switch {
	case s.active == "failed":
		words := message(s.end(), e.lines(ctx, s))
		return &adapter.Error{Reason: adapter.StopFailed, Message: fmt.Sprintf("cannot %s in good order: %s", what, words), Cause: words}
	case result != "done" && !s.over():
		words := "the job of systemd ended with “" + result + "”"
		return &adapter.Error{Reason: adapter.StopFailed, Message: fmt.Sprintf("cannot %s: %s", what, words), Cause: words}
	}
	return nil
}

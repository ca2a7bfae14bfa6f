package systemd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// poll is how often a unit is looked at that changes without a job.
const poll = 10 * time.Millisecond

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
	asking, cancel := context.WithTimeout(l.life, shortTime) // also for those whose turn comes when time is over
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

// until waits until a unit is as ok wants it.
func (l *link) until(ctx context.Context, unit string, ok func(unitState) bool) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		s, err := l.state(ctx, unit)
		if err != nil || ok(s) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("cannot wait for %s, which is %s: %w", unit, strings.TrimSpace(s.active+" "+s.sub), ctx.Err())
		}
	}
}

package supervisor

import "time"

// failures counts the failures of the last window: the more there are, the longer the wait. It belongs to one goroutine.
type failures struct {
	window         time.Duration
	limit          int
	first, longest time.Duration
	times          []time.Time
}

// add takes note of a failure at now. It returns how long to wait before the next attempt and whether the limit is reached; from
// there on the wait is the longest.
func (f *failures) add(now time.Time) (wait time.Duration, broken bool) {
	recent := f.times[:0]
	for _, t := range f.times {
		if now.Sub(t) < f.window {
			recent = append(recent, t)
		}
	}
	f.times = append(recent, now)
	if len(f.times) >= f.limit {
		return f.longest, true
	}
	wait = f.first
	for range len(f.times) - 1 {
		if wait = 2 * wait; wait >= f.longest {
			break
		}
	}
	return min(wait, f.longest), false
}

package support

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what has to come. It is no measure of anything: machines of tests are busy.
const Patience = time.Minute

// The pause between two looks: first, and after a while. What is waited for should find a processor to do it.
const (
	firstPoll = 15 * time.Millisecond
	lastPoll  = 60 * time.Millisecond
)

// Until waits until check returns nil, and ends the test with what it said last when that takes longer than [Patience].
func Until(t testing.TB, what string, check func() error) {
	t.Helper()
	if err := within(Patience, check); err != nil {
		t.Fatalf("waited in vain until %s: %v", what, err)
	}
}

// within calls check until it returns nil or the time is over, and returns its last error.
func within(limit time.Duration, check func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	for poll := firstPoll; ; poll = min(poll*5/4, lastPoll) {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-time.After(poll):
		}
	}
}

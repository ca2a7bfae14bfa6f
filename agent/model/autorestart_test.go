package model_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/model"
)

func TestWait(t *testing.T) {
	a := model.AutoRestart{Minimum: 5, Maximum: 60, Multiplier: 2000}
	for _, tc := range []struct {
		count    uint32
		from, to time.Duration
	}{
		{0, 5 * time.Second, 10 * time.Second},
		{1, 10 * time.Second, 20 * time.Second},
		{3, 40 * time.Second, 60 * time.Second}, // 40 is below the maximum, 80 is not
		{4, 30 * time.Second, 60 * time.Second},
		{1000, 30 * time.Second, 60 * time.Second},
		{math.MaxUint32, 30 * time.Second, 60 * time.Second},
	} {
		a.Count = tc.count
		if from, to := a.Wait(0), a.Wait(1); from != tc.from || to != tc.to {
			t.Errorf("after %d restarts: %s to %s, want %s to %s", tc.count, from, to, tc.from, tc.to)
		}
	}
	if got := (model.AutoRestart{}).Wait(0.5); got != time.Second {
		t.Errorf("with nothing set: %s", got)
	}
}

// TestWaitIsBounded: whatever is set, a wait is between a second and the maximum.
func TestWaitIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := model.AutoRestart{
			Minimum: rapid.Uint32().Draw(t, "minimum"), Maximum: rapid.Uint32().Draw(t, "maximum"),
			Multiplier: rapid.Uint32().Draw(t, "multiplier"), Count: rapid.Uint32().Draw(t, "count"),
		}
		got := a.Wait(rapid.Float64Range(0, 1).Draw(t, "between"))
		if got < time.Second || got > max(time.Duration(a.Maximum)*time.Second, time.Second) {
			t.Fatalf("%+v: %s", a, got)
		}
	})
}

func TestExhausted(t *testing.T) {
	for _, tc := range []struct {
		retries, count uint32
		want           bool
	}{{0, 0, false}, {0, math.MaxUint32, false}, {3, 2, false}, {3, 3, true}, {3, 4, true}} {
		if got := (model.AutoRestart{Retries: tc.retries, Count: tc.count}).Exhausted(); got != tc.want {
			t.Errorf("%d of %d: %t", tc.count, tc.retries, got)
		}
	}
}

package model

import (
	"math"
	"time"
)

// AutoRestart says whether and when an execution unit that ended abnormally is started again (TR-181, ExecutionUnit.{i}.AutoRestart.).
type AutoRestart struct {
	Enable     bool   `json:"enable,omitempty"`
	Minimum    uint32 `json:"minimum,omitempty"`    // RetryMinimumWaitInterval, seconds
	Maximum    uint32 `json:"maximum,omitempty"`    // RetryMaximumWaitInterval, seconds
	Multiplier uint32 `json:"multiplier,omitempty"` // RetryIntervalMultiplier, thousandths
	Retries    uint32 `json:"retries,omitempty"`    // MaximumRetryCount; 0: no limit
	Reset      uint32 `json:"reset,omitempty"`      // ResetPeriod, seconds; 0: Count is never set back by the agent

	Count uint32    `json:"count,omitempty"` // RetryCount
	Last  time.Time `json:"last,omitzero"`   // LastRestarted; zero: never
	Next  time.Time `json:"-"`               // NextRestart; zero: none is scheduled
	// Retried says that the last start was such a restart, and the unit has not been seen at work since. No parameter shows it.
	Retried bool `json:"retried,omitempty"`
}

// DefaultAutoRestart is what a unit begins with whose install says nothing. TR-181 has a default for Enable, and InstallDU() for Retries and
// Reset; the intervals are ours.
var DefaultAutoRestart = AutoRestart{Minimum: 5, Maximum: 600, Multiplier: 2000, Retries: 10}

// shortestWait bounds the wait before a restart from below, whatever is set: each one is an operation with its records.
const shortestWait = time.Second

// Settings returns a without what has happened by it.
func (a AutoRestart) Settings() AutoRestart {
	a.Count, a.Last, a.Next, a.Retried = 0, time.Time{}, time.Time{}, false
	return a
}

// Exhausted reports whether there have been as many restarts as there may be.
func (a AutoRestart) Exhausted() bool { return a.Retries != 0 && a.Count >= a.Retries }

// Wait returns how long to wait before the next restart. between is where in the permitted interval it lies, 0 to 1: with m the minimum, k the
// multiplier and n the count that is from m*(k/1000)^n to m*(k/1000)^(n+1) while the former is below the maximum, else from maximum*(1000/k) to the
// maximum. It is never more than the maximum, nor less than a second.
func (a AutoRestart) Wait(between float64) time.Duration {
	k := float64(a.Multiplier) / 1000
	from := float64(a.Minimum) * math.Pow(k, float64(a.Count))
	highest := float64(a.Maximum)
	to := min(from*k, highest)
	if !(from < highest) {
		from, to = min(highest/k, highest), highest
	}
	seconds := from + between*(to-from)
	return max(time.Duration(seconds*float64(time.Second)), shortestWait)
}

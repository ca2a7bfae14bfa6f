package operation

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the times an engine needs.
type Clock interface {
	Boot() (id string)        // of this boot of the device
	SinceBoot() time.Duration // CLOCK_BOOTTIME: goes on while the device sleeps
	Wall() time.Time          // zero while the clock of the device is not set
}

// DeviceClock is the clock of this device.
type DeviceClock struct{ boot string }

// NewDeviceClock reads the boot id from the kernel.
func NewDeviceClock() (DeviceClock, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return DeviceClock{}, fmt.Errorf("cannot read the boot id: %w", err)
	}
	return DeviceClock{strings.TrimSpace(string(b))}, nil
}

// Boot implements [Clock].
func (c DeviceClock) Boot() string { return c.boot }

// SinceBoot implements [Clock].
func (c DeviceClock) SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("operation: no CLOCK_BOOTTIME: " + err.Error()) // since Linux 2.6.39
	}
	return time.Duration(ts.Nano())
}

// unset is a time before which the clock of the device cannot have been set.
var unset = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// Wall implements [Clock].
func (DeviceClock) Wall() time.Time {
	now := time.Now().UTC().Round(0)
	if now.Before(unset) {
		return time.Time{}
	}
	return now
}

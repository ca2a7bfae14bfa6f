package operation

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock tells the times an engine needs.
type Clock interface {
	Boot() (id string)        // of this boot of the device
	SinceBoot() time.Duration // by CLOCK_BOOTTIME: goes on while the device sleeps
	Wall() time.Time          // zero while the clock of the device is not set
}

// DeviceClock is the clock of this device.
type DeviceClock struct {
	boot  string
	began time.Duration // when the device did, by CLOCK_BOOTTIME
}

// ticks is how many a second has of those that proc(5) counts in: Linux tells programs of 100, whatever it uses itself.
const ticks = 100

// NewDeviceClock reads the boot id from the kernel, and when process 1 began: a device that is a container on another one has that one's boot id.
func NewDeviceClock() (DeviceClock, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return DeviceClock{}, fmt.Errorf("cannot read the boot id: %w", err)
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return DeviceClock{}, fmt.Errorf("cannot read when the device began: %w", err)
	}
	// proc(5): after the name, which may hold anything, come the fields from the third on; starttime is the 22nd.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return DeviceClock{}, fmt.Errorf("cannot read when the device began: /proc/1/stat is %q", stat)
	}
	began, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return DeviceClock{}, fmt.Errorf("cannot read when the device began: %w", err)
	}
	return DeviceClock{strings.TrimSpace(string(id)) + "." + fields[19], time.Duration(began) * (time.Second / ticks)}, nil
}

// Boot implements [Clock].
func (c DeviceClock) Boot() string { return c.boot }

// SinceBoot implements [Clock].
func (c DeviceClock) SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("operation: no CLOCK_BOOTTIME: " + err.Error()) // since Linux 2.6.39
	}
	return time.Duration(ts.Nano()) - c.began
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

package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// notifySystemd sends a line to the service manager that started this process as Type=notify (sd_notify(3)); without one it does
// nothing.
func notifySystemd(line string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(line))
	return errors.Join(err, conn.Close())
}

// watchdogInterval is how long the service manager waits for a sign of life of this process before it kills it (sd_watchdog_enabled(3));
// 0 when it does not.
func watchdogInterval() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0 // it was meant for a process that started this one
	}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// feedWatchdog gives signs of life until ctx is done, each after alive has returned without an error: while that hangs or fails there is
// none. An interval of 0 is no watchdog.
func feedWatchdog(ctx context.Context, interval time.Duration, alive func() error, log *slog.Logger) {
	if interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		if err := alive(); err != nil {
			log.Error("the agent cannot change its state", "err", err)
		} else if err := notifySystemd("WATCHDOG=1"); err != nil {
			log.Error("the service manager could not be told", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

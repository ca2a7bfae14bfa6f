package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdogInterval(t *testing.T) {
	for _, c := range []struct {
		usec, pid string
		want      time.Duration
	}{
		{"", "", 0}, {"60000000", "", time.Minute}, {"60000000", strconv.Itoa(os.Getpid()), time.Minute}, {"60000000", "1", 0},
		{"0", "", 0}, {"-1", "", 0}, {"soon", "", 0},
	} {
		t.Setenv("WATCHDOG_USEC", c.usec)
		t.Setenv("WATCHDOG_PID", c.pid)
		if got := watchdogInterval(); got != c.want {
			t.Errorf("%q for process %q is %v, wanted %v", c.usec, c.pid, got, c.want)
		}
	}
}

// TestFeedWatchdog: a sign of life each half interval, none while the agent hangs or fails.
func TestFeedWatchdog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	signs := func() (n int) {
		t.Helper()
		buf := make([]byte, 100)
		for {
			raw, err := socket.SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			var line string
			if err := raw.Control(func(fd uintptr) { line = receive(int(fd), buf) }); err != nil {
				t.Fatal(err)
			}
			if line == "" {
				return n
			}
			if line != "WATCHDOG=1" {
				t.Fatalf("it says %q", line)
			}
			n++
		}
	}
	var fails atomic.Bool
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hang := make(chan chan struct{}, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			feedWatchdog(ctx, time.Minute, func() error {
				select {
				case until := <-hang:
					<-until
				default:
				}
				if fails.Load() {
					return errors.New("the disk is gone")
				}
				return nil
			}, slog.New(slog.DiscardHandler))
		}()
		after := func(d time.Duration, want int, what string) {
			t.Helper()
			time.Sleep(d) // of the bubble's clock
			synctest.Wait()
			if got := signs(); got != want {
				t.Errorf("%d signs of life %s, wanted %d", got, what, want)
			}
		}
		after(time.Second, 1, "at once")
		after(2*time.Minute, 4, "in two minutes")
		fails.Store(true)
		after(2*time.Minute, 0, "while it fails")
		fails.Store(false)
		after(time.Minute, 2, "after that")
		until := make(chan struct{})
		hang <- until
		after(5*time.Minute, 0, "while it hangs")
		close(until)
		after(time.Minute, 4, "after that, with the one that was late and the tick that waited behind it")
		cancel()
		<-done
	})
	feedWatchdog(t.Context(), 0, func() error { t.Error("there is no watchdog"); return nil }, nil)
}

// receive returns the next message of a socket, empty if there is none now.
func receive(fd int, buf []byte) string {
	n, _, err := syscall.Recvfrom(fd, buf, syscall.MSG_DONTWAIT)
	if err != nil {
		return ""
	}
	return string(buf[:n])
}

package support

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// IsAdapter reports whether the process is an adapter of the kind.
func (p Process) IsAdapter(kind string) bool {
	return strings.HasSuffix(p.Command, " adapter "+kind+" ")
}

// Adapter returns the process of the adapter of a kind, once there is one.
func (d *Device) Adapter(kind string) (adapter Process) {
	d.t.Helper()
	Until(d.t, "the adapter "+kind+" runs", func() error {
		all := d.Processes()
		i := slices.IndexFunc(all, func(p Process) bool { return p.IsAdapter(kind) })
		if i < 0 {
			return errors.New("there is no such process")
		}
		adapter = all[i]
		return nil
	})
	return adapter
}

// JVM returns the process of an environment, which must run.
func (d *Device) JVM(env string) Process {
	d.t.Helper()
	p, ok := d.Host(env)
	if !ok {
		d.t.Fatalf("environment %s has no process", env)
	}
	return p
}

// Kill ends the process with SIGKILL and waits until it is gone, or a zombie.
func (p Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGKILL)
	Until(t, fmt.Sprintf("process %d is gone", p.PID), func() error {
		args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
		if err == nil && len(args) > 0 {
			return errors.New("it still runs")
		}
		return nil
	})
}

// Signal sends a signal to the process, which must run. SIGSTOP and SIGCONT make it hang and go on.
func (p Process) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(p.PID, s); err != nil {
		t.Fatalf("cannot send %v to process %d: %v", s, p.PID, err)
	}
}

// Zombies returns the dead children of the agent and of the processes of the device that nobody has taken notice of.
func (d *Device) Zombies() []int {
	d.t.Helper()
	parents := map[int]bool{os.Getpid(): true}
	if d.agent != nil {
		parents[d.PID()] = true
	}
	for _, p := range d.Processes() {
		parents[p.PID] = true
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		d.t.Fatal(err)
	}
	var zombies []int
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // gone
		}
		// proc(5): the name in parentheses may hold anything; state and parent follow it.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if parent, err := strconv.Atoi(fields[1]); err == nil && fields[0] == "Z" && parents[parent] {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path))) // the pattern has digits only
			zombies = append(zombies, pid)
		}
	}
	return zombies
}

// HostLog returns what the bundles of an environment and its launcher have written, over all launches.
func (d *Device) HostLog(env string) string {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.State, "env", env, "host.log"))
	if err != nil {
		d.t.Fatal(err)
	}
	return string(text)
}

package systemd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	logLines   = 5               // that are read for a message
	logTimeout = 5 * time.Second // for journalctl
)

// lastLines returns the last lines that a run of a unit wrote, without those of systemd about it. The journal has no interface but its files and
// journalctl(1).
func lastLines(ctx context.Context, u unitState) ([]string, error) {
	if u.invocation == "" {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	// What a process wrote just before its end may be on its way. Without journald there is nothing to wait for, and nothing to read.
	_ = exec.CommandContext(ctx, "journalctl", "--sync").Run()
	// An invocation is one of all boots. The boot is asked for only where it has to be: journald may call it otherwise than this process, where one of the
	// two is in a container that hides the kernel's name of it.
	matches := []string{"_SYSTEMD_INVOCATION_ID=" + u.invocation}
	if boot := bootID(); u.mainPID > 0 && boot != "" {
		// Of a process that was gone when journald looked, it knows the unit and not the invocation.
		matches = append(matches, "+", "_BOOT_ID="+boot, "_SYSTEMD_UNIT="+u.name, "_PID="+strconv.Itoa(u.mainPID))
	}
	args := append([]string{"--quiet", "--no-pager", "--output=cat", "--lines=" + strconv.Itoa(logLines)}, matches...)
	out, err := exec.CommandContext(ctx, "journalctl", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("cannot read the journal of %s: %w", u.name, err)
	}
	var lines []string
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == unicode.ReplacementChar {
				return ' '
			}
			return r
		}, line))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// bootID names the present boot as the journal does, empty when it is not known.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(strings.TrimSpace(string(id)), "-", "")
}

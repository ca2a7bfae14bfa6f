package systemd

import (
	"context"
	"fmt"
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
	matches := []string{"_SYSTEMD_INVOCATION_ID=" + u.invocation}
	if u.mainPID > 0 {
		// Of a process that was gone when journald looked, it knows the unit and not the invocation.
		matches = append(matches, "+", "_SYSTEMD_UNIT="+u.name, "_PID="+strconv.Itoa(u.mainPID))
	}
	args := append([]string{"--boot", "--quiet", "--no-pager", "--output=cat", "--lines=" + strconv.Itoa(logLines)}, matches...)
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

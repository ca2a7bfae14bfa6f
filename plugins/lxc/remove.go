package lxc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// mountTable lists the mounts that this process sees (proc(5), /proc/PID/mountinfo).
const mountTable = "/proc/self/mountinfo"

// removeTree removes a directory with all that is in it, unless something is mounted there: that is not of the directory, and may be a volume with the data
// of a unit. Mounts of containers are in namespaces of their own and are not seen here; what is seen somebody else has made.
func removeTree(dir string) error {
	if err := nothingMounted(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// nothingMounted returns an error when something is mounted on a directory or below.
func nothingMounted(dir string) error {
	table, err := os.ReadFile(mountTable)
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	if at := mountIn(string(table), dir); at != "" {
		return fmt.Errorf("cannot remove %s: something is mounted at %s", dir, at)
	}
	return nil
}

// mountIn returns the first mount point in a table of mounts that is a directory or below it, empty without.
func mountIn(table, dir string) string {
	// The kernel names places without symbolic links. What is not there has nothing in it.
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for line := range strings.Lines(table) {
		if f := strings.Fields(line); len(f) > 4 {
			if at := written.Replace(f[4]); within(at, dir) {
				return at
			}
		}
	}
	return ""
}

// written turns the octal numbers that a table of mounts has for blanks and others into what they stand for.
var written = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`)

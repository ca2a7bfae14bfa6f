package systemd

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/smmd-project/smmd/plugins/rootfs"
)

// pids returns the processes of a unit, in ascending order.
func (l *link) pids(ctx context.Context, unit string) ([]int, error) {
	var processes []struct {
		Group   string
		PID     uint32
		Command string
	}
	err := l.manager(ctx, "GetUnitProcesses", unit).Store(&processes)
	if errorName(err) == "org.freedesktop.systemd1.NoSuchUnit" {
		return nil, nil
	}
	if err != nil {
		return nil, explain("list the processes of "+unit, err)
	}
	var out []int
	for _, p := range processes {
		out = append(out, int(p.PID))
	}
	slices.Sort(out)
	return out, nil
}

// residentOf returns what the processes have in memory together, in KiB: for a device whose kernel does not account it by unit. Pages that
// several share count for each.
func residentOf(pids []int) int64 {
	var pages int64
	for _, pid := range pids {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "statm"))
		if err != nil {
			continue // it has ended
		}
		if fields := strings.Fields(string(data)); len(fields) > 1 {
			n, _ := strconv.ParseInt(fields[1], 10, 64)
			pages += n
		}
	}
	return pages * int64(os.Getpagesize()) / 1024
}

// diskOf returns what the directories of a service take, in KiB. One that is not there takes nothing.
func diskOf(dirs []string) int64 {
	var sum int64
	for _, d := range dirs {
		real, err := filepath.EvalSymlinks(d) // of a dynamic user they are links into a private directory
		if err != nil {
			continue
		}
		if n, err := rootfs.DiskUsage(real); err == nil {
			sum += n
		}
	}
	return sum
}

// roomAt returns the size of the file system of dir and what of it is free, in KiB.
func roomAt(dir string) (all, free int64) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return -1, -1
	}
	block := int64(st.Bsize) //nolint:unconvert // other types on other processors
	return int64(st.Blocks) * block / 1024, int64(st.Bavail) * block / 1024
}

// noticeably reports whether a size has changed so much that it is worth telling.
func noticeably(was, is int64) bool {
	if was <= 0 || is <= 0 {
		return was != is
	}
	diff := max(was-is, is-was)
	return diff > 256 && diff > was/16
}

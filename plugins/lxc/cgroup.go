package lxc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// cgroups are the control-group hierarchies of the device, as those see them who start containers. There are one of version 2, or several
// of version 1, or several of which one is of version 2.
type cgroups struct {
	unified     string            // where version 2 is mounted, empty without
	controllers map[string]string // controller -> where version 1 has it
	second      map[string]bool   // controllers of version 2
	readOnly    map[string]bool   // mount points
}

// readCgroups reads the table of mounts of process pid, a number or "self": an adapter may see control groups that are read-only to
// itself alone.
func readCgroups(pid string) (cgroups, error) {
	data, err := os.ReadFile(filepath.Join("/proc", pid, "mountinfo"))
	if err != nil {
		return cgroups{}, fmt.Errorf("cannot read the table of mounts: %w", err)
	}
	c := parseCgroups(data)
	if c.unified == "" {
		return c, nil
	}
	have, err := os.ReadFile(filepath.Join(c.unified, "cgroup.controllers"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("cannot read the controllers: %w", err)
	}
	for _, name := range strings.Fields(string(have)) {
		c.second[name] = true
	}
	return c, nil
}

// parseCgroups finds the hierarchies in a table of mounts (proc(5), /proc/PID/mountinfo).
func parseCgroups(mountinfo []byte) cgroups {
	c := cgroups{controllers: map[string]string{}, second: map[string]bool{}, readOnly: map[string]bool{}}
	for lines := bufio.NewScanner(bytes.NewReader(mountinfo)); lines.Scan(); {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		mount, kind := strings.Fields(left), strings.Fields(right)
		if !ok || len(mount) < 6 || len(kind) < 3 {
			continue
		}
		at := mount[4]
		switch kind[0] {
		case "cgroup2":
			c.unified = at
		case "cgroup":
			for _, o := range strings.Split(kind[2], ",") {
				c.controllers[strings.TrimPrefix(o, "name=")] = at
			}
		default:
			continue
		}
		c.readOnly[at] = slices.Contains(strings.Split(mount[5], ","), "ro")
	}
	return c
}

// limitable returns which version of control groups a controller can be used with for a new group: 0 is neither. A
// limit that cannot be set makes the start of a container fail, so none is asked for then.
func (c cgroups) limitable(controller string) int {
	if at, ok := c.controllers[controller]; ok && !c.readOnly[at] {
		return 1
	}
	if c.second[controller] && !c.readOnly[c.unified] {
		return 2
	}
	return 0
}

// devices is [cgroups.limitable] for access to devices, which version 2 has without a controller.
func (c cgroups) devices() int {
	if at, ok := c.controllers["devices"]; ok {
		if c.readOnly[at] {
			return 0
		}
		return 1
	}
	if c.unified != "" && !c.readOnly[c.unified] {
		return 2
	}
	return 0
}

// roots are the mount points of all hierarchies, each once.
func (c cgroups) roots() []string {
	var all []string
	for _, at := range c.controllers {
		all = append(all, at)
	}
	if c.unified != "" {
		all = append(all, c.unified)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// groupsOf returns the directory of the group that process pid is in, for each hierarchy by its mount point.
func (c cgroups) groupsOf(pid int) map[string]string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil // it has ended
	}
	groups := map[string]string{}
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if fields[0] == "0" && fields[1] == "" && c.unified != "" {
			groups[c.unified] = filepath.Join(c.unified, fields[2])
			continue
		}
		for _, controller := range strings.Split(fields[1], ",") {
			if at, ok := c.controllers[strings.TrimPrefix(controller, "name=")]; ok {
				groups[at] = filepath.Join(at, fields[2])
			}
		}
	}
	return groups
}

// payload reports whether a group is the one, or below the one, that LXC made for the processes of container name; to a name that is taken
// already LXC adds a number. Where a controller is out of LXC's reach the processes stay in a group of somebody else's.
func payload(group, name string) bool {
	for part := range strings.SplitSeq(group, "/") {
		rest, ok := strings.CutPrefix(part, "lxc.payload."+name)
		if !ok {
			continue
		}
		number, numbered := strings.CutPrefix(rest, "-")
		if _, err := strconv.Atoi(number); rest == "" || numbered && err == nil {
			return true
		}
	}
	return false
}

// memory returns the KiB of memory that the group of container name uses, -1 when no controller tells.
func (c cgroups) memory(groups map[string]string, name string) int64 {
	file := ""
	if at, ok := c.controllers["memory"]; ok {
		file = path.Join(groups[at], "memory.usage_in_bytes")
		if !payload(groups[at], name) {
			return -1
		}
	} else if c.unified != "" && payload(groups[c.unified], name) {
		file = path.Join(groups[c.unified], "memory.current")
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return -1
	}
	return n / 1024
}

// processes returns the processes in the groups of container name and below, sorted.
func (c cgroups) processes(groups map[string]string, name string) []int {
	for _, at := range c.roots() {
		if payload(groups[at], name) {
			return processesBelow(groups[at])
		}
	}
	return nil
}

// processesBelow returns the processes of a group and of all below it.
func processesBelow(group string) []int {
	var pids []int
	err := filepath.WalkDir(group, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "cgroup.procs" {
			return nil // a group that goes away meanwhile has no processes
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return nil
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// orphans returns the processes of a container whose monitor is gone.
func (c cgroups) orphans(name string) []int {
	var pids []int
	for _, at := range c.roots() {
		groups, err := os.ReadDir(at)
		if err != nil {
			continue // a hierarchy that is gone has no processes
		}
		for _, g := range groups {
			if g.IsDir() && payload(g.Name(), name) {
				pids = append(pids, processesBelow(filepath.Join(at, g.Name()))...)
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

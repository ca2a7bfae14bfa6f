package systemd

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// runtimeDir is where the slices and drop-ins are. What is in /etc outlives a reboot but cannot be written by the agent's service, and on many devices by
// nobody.
const runtimeDir = "/run/systemd/system"

// dropIn is the name of our drop-in of a unit: behind those of portabled, before those of an operator.
const dropIn = "50-smmd.conf"

// sliceFile is the unit file of the environment's slice.
func (e *env) sliceFile() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made by smmd for environment %q.\n[Unit]\nDescription=smmd environment %s\n\n[Slice]\n", e.id, e.id)
	b.WriteString("MemoryAccounting=yes\nTasksAccounting=yes\n")
	limits := e.bounds()
	if limits.memory > 0 {
		fmt.Fprintf(&b, "MemoryMax=%dK\n", limits.memory)
	}
	if limits.cpu > 0 {
		fmt.Fprintf(&b, "CPUQuota=%d%%\n", limits.cpu)
	}
	if e.set.tasks > 0 {
		fmt.Fprintf(&b, "TasksMax=%d\n", e.set.tasks)
	}
	return b.String()
}

// dropInFile binds a unit to the slice: its processes are in it, and it ends with it. Timers, paths and targets have no processes. Services get what was given
// to the deployment unit, and the cover of its image if there is one.
func (e *env) dropInFile(unit string, r *record, c *cover) string {
	text := fmt.Sprintf("# Made by smmd for environment %q.\n[Unit]\nPartOf=%s\n", e.id, e.slice)
	switch kindOf(unit) {
	case service:
		needs, root := c.dropIn(unit)
		text += needs + "\n[Service]\nSlice=" + e.slice + "\n" + root + e.givenDropIn(unit, r)
	case socket:
		text += "\n[Socket]\nSlice=" + e.slice + "\n"
	}
	return text
}

// writeRuntime makes a file in runtimeDir have the content, and reports whether it had not.
func writeRuntime(name, text string) (bool, error) {
	path := filepath.Join(runtimeDir, name)
	if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, []byte(text)) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return false, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return true, writeFile(path, []byte(text), 0o644)
}

// removeDropIn takes away the drop-in of a unit, and reports whether there was one.
func removeDropIn(unit string) (bool, error) {
	dir := filepath.Join(runtimeDir, unit+".d")
	err := os.Remove(filepath.Join(dir, dropIn))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot remove a drop-in: %w", err)
	}
	_ = os.Remove(dir) // others may have files in it
	return true, nil
}

// sliceState is what the manager says of the slice.
type sliceState struct {
	up     bool
	launch string
	memory int64  // KiB in use, -1 unknown
	limits bounds // that hold, of one that is up
}

func (e *env) sliceState(ctx context.Context, l *link) (sliceState, error) {
	all, err := l.units.GetAllPropertiesContext(ctx, e.slice)
	if err != nil {
		return sliceState{}, explain("read the state of "+e.slice, err)
	}
	p := properties(all)
	s := sliceState{up: value[string](p, "ActiveState") == "active", memory: -1}
	if s.up {
		s.launch = hex.EncodeToString(value[[]byte](p, "InvocationID"))
	}
	if m, ok := p["MemoryCurrent"].(uint64); ok && m != notSet {
		s.memory = int64(min(m>>10, 1<<53))
	}
	if m, ok := p["MemoryMax"].(uint64); ok && m != notSet {
		s.limits.memory = int64(min(m>>10, maxMemory))
	}
	if q, ok := p["CPUQuotaPerSecUSec"].(uint64); ok && q != notSet {
		s.limits.cpu = int(min(q/10_000, 1<<30)) // µs in each second
	}
	return s, nil
}

// running returns a link when the environment is up.
func (e *env) running(ctx context.Context, what string) (*link, error) {
	l, err := e.link(ctx)
	if err != nil {
		return nil, err
	}
	s, err := e.sliceState(ctx, l)
	if err != nil {
		return nil, err
	}
	if !s.up {
		return nil, &adapter.Error{Reason: adapter.Unavailable, Message: fmt.Sprintf("cannot %s: environment %q is not up: %s", what, e.id, e.whyDown()), Cause: e.whyDown()}
	}
	return l, nil
}

// whyDown says why the environment is not up, for the operator.
func (e *env) whyDown() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return e.slice + " was stopped on request"
	}
	return e.slice + " is not active: it was not launched since the device started, or was stopped"
}

// describe is the environment as it is told. Sizes are looked at by the watcher.
func (e *env) describe(s sliceState, version string) adapter.Env {
	out := adapter.Env{
		ID: e.id, Name: e.id, Type: "Linux systemd portable", Vendor: "systemd", Version: version, Up: s.up, Launch: s.launch,
		RunLevel: -1, InitialModuleRunLevel: -1, AllocatedDisk: -1, AvailableDisk: -1, AllocatedMemory: -1, AvailableMemory: -1,
	}
	limits := s.limits
	if !s.up {
		out.Detail = e.whyDown()
		limits = e.bounds()
	}
	limits.tell(&out)
	return out
}

// addSizes adds the room that the environment has. AllocatedDisk stays unknown: no part of the file system is set aside for it.
func (e *env) addSizes(out *adapter.Env, memory int64) {
	_, out.AvailableDisk = roomAt(e.store.dir)
	if out.AllocatedMemory > 0 && memory >= 0 {
		out.AvailableMemory = max(out.AllocatedMemory-memory, 0)
	}
}

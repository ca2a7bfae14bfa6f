package systemd

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// How a process ended (si_code of waitid(2)).
const (
	exited = 1 // CLD_EXITED
	killed = 2 // CLD_KILLED
	dumped = 3 // CLD_DUMPED
)

// unitState is what the manager says of a unit (org.freedesktop.systemd1(5)).
type unitState struct {
	name        string
	description string
	load        string // LoadState: loaded, not-found, bad-setting, error, masked
	loadError   string
	active      string // ActiveState
	sub         string
	result      string // of the last run, empty for a target
	code        int32  // how the last main process ended, 0: none has
	exit        int32  // with which status or signal
	restarts    uint32 // that systemd made by itself
	burst       uint32 // starts that it makes within a time before it gives up, 0: without limit
	limited     bool   // it has given up
	mainPID     int    // of the present or last main process
	invocation  string // names the last run
	wasActive   bool   // the last run was active, if only for a moment
	skipped     bool   // the last start was skipped: a condition did not hold
	checked     uint64 // when conditions were looked at last, in µs of the monotonic clock
	condition   string // the one that did not hold, empty when the manager has forgotten which
	requires    []string
	triggers    []string // what a socket, timer or path starts
	memory      int64    // KiB, -1 unknown
	entered     uint64   // when it was active last, in µs of the monotonic clock
}

// over reports whether nothing of the unit runs.
func (u unitState) over() bool {
	return u.active == "inactive" || u.active == "failed" || u.active == "maintenance" || u.active == ""
}

func (u unitState) up() bool {
	return u.active == "active" || u.active == "reloading" || u.active == "refreshing"
}

// restarting reports whether systemd starts the unit again in a moment, after its end.
func (u unitState) restarting() bool {
	return u.active == "activating" && strings.HasPrefix(u.sub, "auto-restart")
}

// properties reads values that the bus has told, of the types they have there.
type properties map[string]any

func value[T any](p properties, name string) T {
	v, _ := p[name].(T)
	return v
}

// notSet is how systemd tells a number that it does not know.
const notSet = ^uint64(0)

// state asks the manager for the state of a unit, which it loads if need be. It asks once for everything, so that it is all of one moment: an end and the
// next start may be close together.
func (l *link) state(ctx context.Context, unit string) (unitState, error) {
	var all map[string]dbus.Variant
	err := l.bus.Object(systemdName, unitPath(unit)).CallWithContext(ctx, propertiesAPI+".GetAll", 0, "").Store(&all) // of all interfaces
	if err != nil {
		return unitState{}, explain("read the state of "+unit, err)
	}
	p := properties{}
	for name, v := range all {
		p[name] = v.Value()
	}
	u := unitState{
		name: unit, description: value[string](p, "Description"), load: value[string](p, "LoadState"),
		active: value[string](p, "ActiveState"), sub: value[string](p, "SubState"), memory: -1,
		checked: value[uint64](p, "ConditionTimestampMonotonic"),
		entered: value[uint64](p, "ActiveEnterTimestampMonotonic"),
	}
	u.skipped = u.checked > 0 && !value[bool](p, "ConditionResult")
	u.wasActive = u.entered >= max(value[uint64](p, "InactiveExitTimestampMonotonic"), 1)
	if id := value[[]byte](p, "InvocationID"); len(id) > 0 {
		u.invocation = hex.EncodeToString(id)
	}
	if e := value[[]any](p, "LoadError"); len(e) == 2 {
		u.loadError, _ = e[1].(string)
	}
	if u.skipped {
		u.condition = unmet(value[[][]any](p, "Conditions"))
	}
	for _, key := range []string{"Requires", "Requisite", "BindsTo"} {
		u.requires = append(u.requires, value[[]string](p, key)...)
	}
	u.burst = value[uint32](p, "StartLimitBurst")
	u.triggers = value[[]string](p, "Triggers")
	if u.load == "loaded" {
		u.typeState(p)
	}
	return u, nil
}

// typeState adds what the unit's type has to tell.
func (u *unitState) typeState(p properties) {
	u.result = value[string](p, "Result")
	if kindOf(u.name) != service {
		return
	}
	u.restarts = value[uint32](p, "NRestarts")
	if started := value[uint64](p, "ExecMainStartTimestampMonotonic"); started > 0 && (u.restarting() || u.restarts > 0) {
		u.wasActive = u.entered >= started // the wait for the next start has a beginning of its own
	}
	if restart := value[string](p, "Restart"); restart != "" && restart != "no" {
		u.limited = u.active == "failed" && u.burst > 0 && u.restarts+1 >= u.burst
	}
	u.code, u.exit = value[int32](p, "ExecMainCode"), value[int32](p, "ExecMainStatus")
	u.mainPID = int(value[uint32](p, "ExecMainPID"))
	if m, ok := p["MemoryCurrent"].(uint64); ok && m != notSet {
		u.memory = int64(min(m>>10, 1<<53))
	}
}

// unmet returns the first condition that did not hold: name, whether one of several is enough, whether it is negated, parameter, and
// less than 0 for one that did not.
func unmet(conditions [][]any) string {
	for _, c := range conditions {
		if len(c) != 5 {
			continue
		}
		if held, ok := c[4].(int32); !ok || held >= 0 {
			continue
		}
		negate := ""
		if n, _ := c[2].(bool); n {
			negate = "!"
		}
		return fmt.Sprintf("%v=%s%v", c[0], negate, c[3])
	}
	return ""
}

// lacks returns what the unit requires and the device has not.
func (l *link) lacks(ctx context.Context, u unitState) ([]string, error) {
	l.mu.Lock()
	missing, known := l.missing[u.name]
	l.mu.Unlock()
	if known {
		return missing, nil
	}
	for _, r := range u.requires {
		if kindOf(r) == "" && !strings.HasSuffix(r, ".mount") {
			continue // slices are made when they are needed, and devices may come later
		}
		v, err := l.property(ctx, unitPath(r), "Unit", "LoadState")
		if err != nil {
			return nil, explain("read the state of "+r, err)
		}
		if v.Value() == "not-found" {
			missing = append(missing, r)
		}
	}
	slices.Sort(missing)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.missing[u.name] = missing
	return missing, nil
}

// instantiate returns the units with each template replaced by those of its instances that the manager has in memory: all that run or have failed.
func (l *link) instantiate(ctx context.Context, units []string) ([]string, error) {
	var out, patterns []string
	for _, u := range units {
		if prefix, suffix, _ := strings.Cut(u, "@"); isTemplate(u) {
			patterns = append(patterns, prefix+"@*"+suffix)
		} else {
			out = append(out, u)
		}
	}
	if len(patterns) == 0 { // without a pattern these would be all units of the device
		return out, nil
	}
	found, err := l.units.ListUnitsByPatternsContext(ctx, nil, patterns)
	if err != nil {
		return nil, explain("list the instances of "+strings.Join(patterns, ", "), err)
	}
	for _, u := range found {
		if !slices.Contains(out, u.Name) {
			out = append(out, u.Name)
		}
	}
	return out, nil
}

// status is a unit's state in the words of TR-181.
func (u unitState) status() adapter.Status {
	switch {
	case u.up():
		return adapter.Active
	case u.active == "activating":
		return adapter.Starting
	case u.active == "deactivating":
		return adapter.Stopping
	}
	return adapter.Idle
}

// exitCode is the exit status of the last main process, nil when none has ended by itself.
func (u unitState) exitCode() *int {
	if u.code != exited || u.up() {
		return nil
	}
	status := int(u.exit)
	return &status
}

package systemd

import (
	"regexp"
	"slices"
	"strings"
)

// The kinds of units that portabled attaches (portablectl(1), attach).
const (
	service = "service"
	socket  = "socket"
	timer   = "timer"
	pathing = "path"
	target  = "target"
)

var kinds = []string{service, socket, timer, pathing, target}

// unitPattern is what systemd accepts as the name of a unit (systemd.unit(5)).
var unitPattern = regexp.MustCompile(`^[A-Za-z0-9:_.\\-]+(@[A-Za-z0-9:_.\\-]*)?\.[a-z]+$`)

// kindOf returns the kind of a unit, empty for one that portabled does not attach.
func kindOf(unit string) string {
	kind := unit[strings.LastIndexByte(unit, '.')+1:]
	if len(unit) > 255 || !unitPattern.MatchString(unit) || !slices.Contains(kinds, kind) {
		return ""
	}
	return kind
}

// isTemplate reports whether units are made from this one by a name behind the @; it cannot be started itself.
func isTemplate(unit string) bool { return strings.Contains(unit, "@.") }

// startable reports whether unit can be an execution unit.
func startable(unit string) bool { return kindOf(unit) != "" && !isTemplate(unit) }

// triggers reports whether units of that kind start others by themselves: they are stopped first, or they would do it again.
func triggers(unit string) bool {
	k := kindOf(unit)
	return k == socket || k == timer || k == pathing
}

// isPrefix reports whether the name of a unit ends with a dash. Drop-ins of such a name are those of every unit whose name begins with it
// (systemd.unit(5), Description).
func isPrefix(unit string) bool {
	name, _, _ := strings.Cut(unit[:max(strings.LastIndexByte(unit, '.'), 0)], "@")
	return strings.HasSuffix(name, "-")
}

// matches reports whether portabled takes the unit for a part of an image with this prefix (portablectl(1), attach).
func matches(unit, prefix string) bool {
	rest, ok := strings.CutPrefix(unit, prefix)
	return ok && rest != "" && strings.IndexByte("-.@", rest[0]) >= 0 && kindOf(unit) != ""
}

// sliceOf returns the name of the slice of an environment. A dash in the name of a slice makes it a child of another
// (systemd.slice(5)); those of the environment's name are escaped, so that no environment lies in another.
func sliceOf(env string) string { return "smmd-" + escaped(env) + ".slice" }

// escaped is the name of an environment without dashes, as systemd.unit(5) has it.
func escaped(env string) string { return strings.ReplaceAll(env, "-", `\x2d`) }

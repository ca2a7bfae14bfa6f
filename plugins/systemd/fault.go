package systemd

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// maxMessage is the length of ExecutionFaultMessage in characters (TR-181, ExecutionUnit.{i}.ExecutionFaultMessage).
const maxMessage = 256

// attempt is what was asked last of a unit, by this adapter: the same end is another fault after a start than after a stop.
type attempt struct {
	stop bool
	auto bool   // a start because of AutoStart
	run  string // the invocation that was to be stopped
}

// fault says what is wrong with a unit, and in which words. lacks is what it requires and there is not.
func (u unitState) fault(a attempt, lacks []string) (adapter.Reason, string) {
	switch u.load {
	case "", "loaded":
	case "not-found":
		return adapter.Unstartable, "its unit file is gone"
	case "masked":
		return adapter.Unstartable, "the unit is masked"
	default:
		return adapter.Unstartable, "its unit file is wrong (" + u.load + "): " + u.loadError
	}
	switch {
	case u.restarting():
		return u.failure(a), fmt.Sprintf("%s; systemd starts it again", u.end())
	case u.active == "failed" && a.stop && a.run == u.invocation:
		return adapter.StopFailed, u.end()
	case u.active == "failed":
		return u.failure(a), u.end()
	case u.active == "inactive" && u.skipped && u.condition != "":
		return adapter.Unstartable, "its start was skipped: " + u.condition + " does not hold"
	case u.active == "inactive" && u.skipped:
		return adapter.Unstartable, "its start was skipped: a condition does not hold"
	case u.active == "inactive" && len(lacks) > 0:
		return adapter.Unresolved, "it requires " + strings.Join(lacks, ", ") + ", which the device does not have"
	}
	return "", ""
}

// failure tells a failed start from a failure later on. It depends on what systemd has noted of the run, and not on when somebody looks: a service of Type=simple
// is active as soon as there is a process.
func (u unitState) failure(a attempt) adapter.Reason {
	switch {
	case u.wasActive:
		return adapter.FailedWhileActive
	case a.auto:
		return adapter.AutoStartFailed
	}
	return adapter.StartFailed
}

// end says how the unit ended.
func (u unitState) end() string {
	how := ""
	switch u.code {
	case exited:
		if how = fmt.Sprintf("exited with status %d", u.exit); exitNames[u.exit] != "" {
			how = fmt.Sprintf("could not be started by systemd (status %d, %s)", u.exit, exitNames[u.exit])
		}
	case killed:
		how = "killed by " + signalName(u.exit)
	case dumped:
		how = "killed by " + signalName(u.exit) + ", core dumped"
	}
	if u.limited && u.result != "start-limit-hit" {
		// The result stays that of the run before the start that was refused.
		return join("it was started too often, so systemd does not start it any more (start-limit-hit)", how)
	}
	switch u.result {
	case "exit-code", "signal", "core-dump", "success", "":
		if how == "" {
			return "a command of the unit failed"
		}
		if u.result == "exit-code" && u.code == exited && u.exit == 0 {
			return "another command of the unit than the main one failed"
		}
		return how
	case "start-limit-hit":
		return join("it was started too often, so systemd does not start it any more (start-limit-hit)", how)
	case "oom-kill":
		return join("killed by the kernel for want of memory (oom-kill)", how)
	case "timeout":
		return join("it took too long (timeout)", how)
	case "watchdog":
		return join("it did not tell in time that it lives (watchdog)", how)
	case "protocol":
		return join("it did not do what its Type says (protocol)", how)
	case "resources":
		return join("systemd could not set it up (resources)", how)
	}
	return join("it failed ("+u.result+")", how)
}

func join(a, b string) string {
	if b == "" {
		return a
	}
	return a + "; " + b
}

func signalName(n int32) string {
	if name := unix.SignalName(unix.Signal(n)); name != "" {
		return fmt.Sprintf("%s (%d)", name, n)
	}
	return fmt.Sprintf("signal %d", n)
}

// exitNames are the exit statuses of systemd itself, for what it does between fork and exec, as systemd-analyze(1) exit-status has them.
var exitNames = map[int32]string{
	200: "CHDIR", 201: "NICE", 202: "FDS", 203: "EXEC", 204: "MEMORY", 205: "LIMITS", 206: "OOM_ADJUST", 207: "SIGNAL_MASK", 208: "STDIN",
	209: "STDOUT", 210: "CHROOT", 211: "IOPRIO", 212: "TIMERSLACK", 213: "SECUREBITS", 214: "SETSCHEDULER", 215: "CPUAFFINITY", 216: "GROUP",
	217: "USER", 218: "CAPABILITIES", 219: "CGROUP", 220: "SETSID", 221: "CONFIRM", 222: "STDERR", 224: "PAM", 225: "NETWORK", 226: "NAMESPACE",
	227: "NO_NEW_PRIVILEGES", 228: "SECCOMP", 229: "SELINUX_CONTEXT", 230: "PERSONALITY", 231: "APPARMOR", 232: "ADDRESS_FAMILIES",
	233: "RUNTIME_DIRECTORY", 235: "CHOWN", 236: "SMACK_PROCESS_LABEL", 237: "KEYRING", 238: "STATE_DIRECTORY", 239: "CACHE_DIRECTORY",
	240: "LOGS_DIRECTORY", 241: "CONFIGURATION_DIRECTORY", 242: "NUMA_POLICY", 243: "CREDENTIALS", 244: "BPF",
}

// message puts the words for a fault and the last lines of the log into what fits; of the lines the last ones win.
func message(words string, lines []string) string {
	room := maxMessage - utf8.RuneCountInString(words)
	tail := ""
	for i := len(lines) - 1; i >= 0; i-- {
		next := lines[i]
		if tail != "" {
			next += " | " + tail
		}
		if utf8.RuneCountInString(next)+2 > room {
			if tail == "" && room > 3 { // the end of the last line is better than nothing
				runes := []rune(next)
				tail = "…" + string(runes[len(runes)-(room-3):])
			}
			break
		}
		tail = next
	}
	if tail != "" {
		words += ": " + tail
	}
	if runes := []rune(words); len(runes) > maxMessage {
		words = string(runes[:maxMessage-1]) + "…"
	}
	return words
}

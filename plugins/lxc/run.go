package lxc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	runName   = "run.json"
	endedName = "ended"
)

// A phase says how far a run was, and what its end means therefore.
type phase string

// The phases of a run.
const (
	isStarting phase = "starting" // it has not run long enough to have started
	isActive   phase = "active"
	isStopping phase = "stopping" // it was asked to end
	isKilled   phase = "killed"   // it did not end when it was asked to
)

// run is run.json: the present or the last run of a container.
type run struct {
	Format     int    `json:"format"`
	Token      string `json:"token"`  // distinguishes it from all others
	Launch     string `json:"launch"` // of the environment
	Generation int    `json:"generation"`
	Phase      phase  `json:"phase"`
	Auto       bool   `json:"auto"`  // it was started because of AutoStart
	Began      int64  `json:"began"` // microseconds since 1970
	Signal     int    `json:"signal"`
	// Words are what is to be said of its end, once that has been judged; until then empty.
	Words string `json:"words,omitempty"`
}

func (r run) began() time.Time { return time.UnixMicro(r.Began) }

// end is how the process of a run ended.
type end struct {
	known bool
	code  int         // the exit status; 128+n for a process that signal n ended, as lxc-execute says it
	by    unix.Signal // the signal that ended lxc-execute itself, 0 without
}

// readRun reads run.json; a container that was never started has an empty one.
func (s store) readRun(name string) (run, error) {
	var r run
	err := readJSON(s.at(name, runName), &r)
	if errors.Is(err, fs.ErrNotExist) {
		return run{}, nil
	}
	if err != nil {
		return r, fmt.Errorf("cannot read the run of container %q: %w", name, err)
	}
	return r, nil
}

func (s store) saveRun(name string, r run) error {
	r.Format = format
	return writeJSON(s.at(name, runName), r)
}

// readEnd reads how a run ended: "TOKEN exited 3" or "TOKEN killed KILL". What another run left is not of this one.
func (s store) readEnd(name, token string) end {
	data, err := os.ReadFile(s.at(name, endedName))
	if err != nil {
		return end{}
	}
	return parseEnd(string(data), token)
}

func parseEnd(text, token string) end {
	f := strings.Fields(text)
	if len(f) != 3 || f[0] != token || token == "" {
		return end{}
	}
	if f[1] == "exited" {
		code, err := strconv.Atoi(f[2])
		if err != nil {
			return end{}
		}
		return end{known: true, code: code}
	}
	sig := unix.SignalNum("SIG" + f[2])
	if sig == 0 {
		return end{}
	}
	return end{known: true, by: sig, code: 128 + int(sig)}
}

// A finding is what a module shows of its last run.
type finding struct {
	reason adapter.Reason
	exit   *int
	words  string // without what the container printed
}

// asked are the signals by which an administrator asks for an end: a process that one of them ended did not fail. The service manager sees it in
// the same way (systemd.service(5), SuccessExitStatus).
var asked = []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM, unix.SIGPIPE}

// verdict judges how a run ended. launch is the present one of the environment: what belongs to an earlier one is over.
func verdict(r run, e end, launch string) finding {
	if r.Token == "" || r.Launch != launch {
		return finding{}
	}
	var f finding
	if e.known && e.by == 0 && r.Phase != isKilled { // lxc-execute says something of its own then
		f.exit = &e.code
	}
	clean := e.known && e.by == 0 && (e.code == 0 || slices.Contains(asked, unix.Signal(e.code-128)) || e.code-128 == r.Signal && r.Signal > 0)
	switch {
	case r.Phase == isKilled:
		f.reason, f.words = adapter.StopFailed, "it did not end when it was asked to, and was killed"
	case clean:
	case !e.known && r.Phase == isStopping:
		// Nobody saw it go, but go it did, as it was asked to.
	case r.Phase == isStopping:
		f.reason, f.words = adapter.StopFailed, e.String()
	case r.Phase == isActive:
		f.reason, f.words = adapter.FailedWhileActive, e.String()
	default:
		f.reason, f.words = startReason(r.Auto), e.String()
	}
	return f
}

// startReason is the reason of a start that failed.
func startReason(auto bool) adapter.Reason {
	if auto {
		return adapter.AutoStartFailed
	}
	return adapter.StartFailed
}

// String says how it ended, in words that follow on a container.
func (e end) String() string {
	switch {
	case !e.known:
		return "it ended, and nobody knows how"
	case e.by != 0:
		return fmt.Sprintf("its monitor was ended by signal %d", e.by)
	case e.code > 128 && e.code <= 128+64:
		if name := unix.SignalName(unix.Signal(e.code - 128)); name != "" {
			return fmt.Sprintf("signal %s ended it", name)
		}
		return fmt.Sprintf("signal %d ended it", e.code-128)
	}
	return fmt.Sprintf("it ended with status %d", e.code)
}

// maxMessage is the length of an ExecutionFaultMessage in characters (TR-181, ExecutionUnit.{i}.ExecutionFaultMessage).
const maxMessage = 256

// message puts words and the last lines of output together. When that is too long, what was printed last stays.
func message(words string, lines []string) string {
	const between = ": "
	out := strings.Join(lines, " | ")
	if out == "" {
		return clip(words, maxMessage)
	}
	room := maxMessage - len([]rune(words+between))
	if r := []rune(out); len(r) > room {
		if room < 20 {
			return clip(words, maxMessage)
		}
		out = "…" + string(r[len(r)-room+1:])
	}
	return words + between + out
}

func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// firstError returns the first error that LXC logged, empty without. A start that does not get as far as the container tells nothing elsewhere.
func (s store) firstError(name string) string {
	data, err := os.ReadFile(filepath.Join(s.at(name), logName))
	if err != nil {
		return ""
	}
	return parseLog(string(data))
}

// parseLog finds the first error in lines such as
//
//	lxc-execute one.web 20261122013741.350 ERROR    start - ../src/lxc/start.c:lxc_spawn:1780 - Failed to …
func parseLog(log string) string {
	for line := range strings.Lines(log) {
		f := strings.Fields(line)
		if len(f) < 5 || f[0] != "lxc-execute" || f[3] != "ERROR" {
			continue // other tools may have been told to log there, too
		}
		_, rest, ok := strings.Cut(line, " - ")
		if !ok {
			continue
		}
		if _, text, ok := strings.Cut(rest, " - "); ok {
			rest = text
		}
		return strings.TrimSpace(rest)
	}
	return ""
}

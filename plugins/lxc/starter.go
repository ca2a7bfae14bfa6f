package lxc

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// order is what a starter is to start.
type order struct {
	env, name   string
	description string
	dir         string   // of the container
	token       string   // of the run
	argv        []string // lxc-execute with all its arguments, or lxc-start for a container of somebody else
	daemon      bool     // argv returns when the container runs
	signal      int      // that asks the process of the container to end
	grace       time.Duration
	// rootfs is shown at seenRootfs to argv, empty when it is used where it is.
	rootfs string
}

// seenRootfs is where argv sees the root file system of a container with ids of its own. Such a container cannot pass the directories around the store,
// which are closed to all but root.
const seenRootfs = "/mnt/rootfs"

// starter starts containers so that they outlive the adapter.
type starter interface {
	// start returns when argv runs, or, for a daemon, when it has returned.
	start(ctx context.Context, o order) error
	// output returns the last lines, at most n, that the run of a container that began then has printed.
	output(ctx context.Context, name, dir string, began time.Time, n int) []string
	// logPath is the file with what a container prints, empty when that is no file.
	logPath(dir string) string
}

// newStarter returns the starter of this device.
func newStarter() starter {
	// sd_booted(3)
	if info, err := os.Lstat("/run/systemd/system"); err == nil && info.IsDir() {
		return units{}
	}
	return sessions{}
}

// The scripts that run outside of the adapter, because it may be gone by then.
const (
	// noteEnd is told directory, token, code and status. The name is that of [endedName].
	noteEnd = `printf '%s %s %s\n' "$2" "$3" "$4" >"$1/.ended" && mv "$1/.ended" "$1/ended"`
	// showRootfs is told root file system and command.
	showRootfs = `mount -t tmpfs -o mode=0755 tmpfs /mnt && mkdir /mnt/rootfs && mount --bind "$1" /mnt/rootfs && shift && exec "$@"`
	// inSession is told directory, token and command.
	inSession = `dir=$1 token=$2; shift 2; "$@"; set -- "$dir" "$token" exited $?; ` + noteEnd
	// askPayload is told directory of the store, container and signal. To the init of LXC a signal is an order to end everything within
	// a second, so it goes to the process behind that: the oldest child. That is what the adapter does itself, for a stop by the
	// service manager alone.
	askPayload = `init=$(lxc-info -P "$1" -n "$2" -pH) && [ -n "$init" ] || exit 0
payload=$(cut -d ' ' -f 1 "/proc/$init/task/$init/children")
[ -n "$payload" ] && kill -s "$3" "$payload" || exit 0
tries=0
while [ $tries -lt "$4" ] && kill -0 "$init" 2>/dev/null; do sleep 0.1 2>/dev/null || sleep 1; tries=$((tries + 1)); done
kill -0 "$init" 2>/dev/null && lxc-stop -P "$1" -n "$2" -k
exit 0`
)

// sessions starts containers in sessions of their own, on a device without systemd.
type sessions struct{}

func (sessions) start(ctx context.Context, o order) error {
	console, err := os.OpenFile(sessions{}.logPath(o.dir), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	command := o.argv
	if o.rootfs != "" {
		command = append([]string{"unshare", "-m", "--propagation", "slave", "sh", "-c", showRootfs, "sh", o.rootfs}, command...)
	}
	if o.daemon {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = plainEnv(), "/", console, console
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Run()
	}
	// The outer shell ends at once, so that the inner one is nobody's child who may never wait for it.
	script := `( ` + inSession + ` ) &`
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh", o.dir, o.token}, command...)...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = plainEnv(), "/", console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("cannot run sh: %w", err)
	}
	return nil
}

// plainEnv is the environment of LXC's tools.
func plainEnv() []string { return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"} }

func (sessions) logPath(dir string) string { return dir + "/" + consoleName }

func (sessions) output(_ context.Context, _, dir string, _ time.Time, n int) []string {
	data, err := tailOf(sessions{}.logPath(dir), 4<<10)
	if err != nil {
		return nil
	}
	return lastLines(string(data), n)
}

// tailOf returns the last bytes of a file.
func tailOf(path string, n int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	from := max(info.Size()-n, 0)
	data := make([]byte, info.Size()-from)
	read, err := f.ReadAt(data, from)
	if read > 0 {
		err = nil
	}
	return data[:read], err
}

// lastLines returns the last lines with something in them, at most n, the oldest first.
func lastLines(text string, n int) []string {
	var lines []string
	for line := range strings.Lines(strings.ToValidUTF8(text, "�")) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(len(lines)-n, 0):]
}

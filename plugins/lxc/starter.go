package lxc

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	argv        []string // what runs the container: a file of simple letters, whatever the arguments of the container are
	daemon      bool     // argv returns when the container runs
	signal      int      // that asks the process of the container to end
	grace       time.Duration
	store       string // the directory of all containers
	// closed are directories that argv sees without all that is in them but what is named here, and open to everybody: root in a container with ids of its
	// own is nobody to the device, and LXC has it go all the way to the store and to volumes.
	closed map[string][]string
	// volumes are directories that argv mounts in the container.
	volumes []string
}

// open opens the way to directories that not everybody may go.
func (o *order) open(dirs ...string) {
	o.closed = map[string][]string{}
	for _, dir := range dirs {
		if closed := closedAbove(dir); closed != "" {
			o.closed[closed] = append(o.closed[closed], dir)
		}
	}
}

// closedAbove returns the highest directory above dir that not everybody may pass, empty without.
func closedAbove(dir string) string {
	closed := ""
	for at := filepath.Dir(dir); at != "/"; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && info.Mode().Perm()&0o001 == 0 {
			closed = at
		}
	}
	return closed
}

// command is argv, seeing what it is to see. The service manager has no part in that: it does not write down, and so forgets when it reads its units anew,
// the name of every directory.
func (o order) command() []string {
	if len(o.closed) == 0 && len(o.volumes) == 0 {
		return o.argv
	}
	command := o.argv
	for _, closed := range slices.Sorted(maps.Keys(o.closed)) {
		nowhere := filepath.Join(filepath.Dir(o.store), stagingName)
		command = slices.Concat([]string{"sh", o.script(openStore), nowhere, closed}, o.closed[closed], []string{"--"}, command)
	}
	command = slices.Concat([]string{"sh", o.script(tameVolumes)}, o.volumes, []string{"--"}, command)
	return append([]string{"unshare", "-m", "--propagation", "slave"}, command...)
}

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

// sessions starts containers in sessions of their own, on a device without systemd.
type sessions struct{}

func (sessions) start(ctx context.Context, o order) error {
	console, err := os.OpenFile(sessions{}.logPath(o.dir), os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	command := o.command()
	if o.daemon {
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = plainEnv(), "/", console, console
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		return cmd.Run()
	}
	// The shell ends at once, so that what it leaves is nobody's child who may never wait for it.
	cmd := exec.CommandContext(ctx, "sh", append([]string{o.script(inSession), o.dir, o.token}, command...)...)
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

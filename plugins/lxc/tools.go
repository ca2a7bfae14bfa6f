package lxc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// toolTime bounds a call of a tool that only asks or gives an order. They take milliseconds.
const toolTime = 30 * time.Second

// tools are the lxc-* tools, for one store.
type tools struct{ path string }

// state is the state of a container, in the words of LXC.
type state string

// The states that are told apart; there are FREEZING, FROZEN and THAWED besides.
const (
	stopped  state = "STOPPED"
	starting state = "STARTING"
	running  state = "RUNNING"
	stopping state = "STOPPING"
	aborting state = "ABORTING"
)

// needed are the programs that an environment cannot be without.
var needed = []string{"lxc-execute", "lxc-info", "lxc-monitor", "lxc-stop", "sh"}

// command makes a call of a tool. What it prints does not depend on the language of the device.
func (t tools) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, append([]string{"-P", t.path}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	return cmd
}

// output runs a tool and returns what it printed.
func (t tools) output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()
	cmd := t.command(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return out.String(), fmt.Errorf("cannot run %s: %w: %s", name, err, oneLine(said.String()+out.String()))
	}
	return out.String(), nil
}

// info returns the state of a container and the process that is the first in it, 0 without.
func (t tools) info(ctx context.Context, name string) (state, int, error) {
	out, err := t.output(ctx, "lxc-info", "-n", name, "-s", "-p")
	if err != nil {
		return "", 0, err
	}
	return parseInfo(out)
}

func parseInfo(out string) (state, int, error) {
	var s state
	var pid int
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(key) {
		case "State":
			s = state(value)
		case "PID":
			n, err := strconv.Atoi(value)
			if err != nil {
				return "", 0, fmt.Errorf("cannot read what lxc-info says: process %q", value)
			}
			pid = n
		}
	}
	if s == "" {
		return "", 0, fmt.Errorf("cannot read what lxc-info says: %q", oneLine(out))
	}
	return s, pid, nil
}

// kill ends all processes of a container at once. One that is stopped is no error.
func (t tools) kill(ctx context.Context, name string) error {
	_, err := t.output(ctx, "lxc-stop", "-n", name, "-k")
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 { // it is not running
		return nil
	}
	return err
}

// version returns the version of LXC.
func (t tools) version(ctx context.Context) (string, error) {
	out, err := t.output(ctx, "lxc-info", "--version")
	return strings.TrimSpace(out), err
}

// oneLine is a text without line breaks.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

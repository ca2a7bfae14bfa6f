package lxc

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// startForeign starts a container that somebody else made, as the tools of LXC do: with an init of its own.
func (e *env) startForeign(ctx context.Context, c *container, s state, auto bool) error {
	if s == running {
		return nil
	}
	what := "start " + containerName(e.id, c.key)
	fail := func(cause string) error {
		return &adapter.Error{Reason: startReason(auto), Message: fmt.Sprintf("cannot %s: %s", what, cause), Cause: cause}
	}
	e.showing(c, adapter.Starting)
	if err := e.awaitStopped(ctx, c); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	began := time.Now()
	err := e.starter.start(ctx, order{
		env: e.id, name: c.name, dir: e.store.at(c.name), store: e.store.lxcPath(), grace: e.set.stopTimeout, signal: 15, daemon: true,
		description: fmt.Sprintf("Container %s of environment %s", c.key, e.id),
		argv:        []string{"lxc-start", "-P", e.store.lxcPath(), "-n", c.name, "-d"},
	})
	if ctx.Err() != nil {
		return fmt.Errorf("cannot %s: %w", what, ctx.Err())
	}
	if err != nil {
		return fail(err.Error())
	}
	if s, _, err = e.tools.info(ctx, c.name); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	if s != running {
		return fail(message("LXC cannot run it", e.starter.output(ctx, c.name, e.store.at(c.name), began, wordLines)))
	}
	return nil
}

// stopForeign stops a container that was started by other means: lxc-stop asks its init, and uses force after the grace.
func (e *env) stopForeign(ctx context.Context, c *container, grace time.Duration) error {
	what := "stop " + containerName(e.id, c.key)
	ctx, cancel := context.WithTimeout(ctx, grace+slack)
	defer cancel()
	seconds := strconv.Itoa(max(int(grace/time.Second), 1))
	// What it says matters less than what is so afterwards: a container that was killed in the end is an error to it at times.
	out, err := e.tools.command(ctx, "lxc-stop", "-n", c.name, "-t", seconds).CombinedOutput()
	s, _, infoErr := e.tools.info(ctx, c.name)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot %s: %w", what, ctx.Err())
	case infoErr != nil:
		return fmt.Errorf("cannot %s: %w", what, infoErr)
	case s != stopped:
		return adapter.Errorf(adapter.StopFailed, "cannot %s: it is %s: %v: %s", what, s, err, oneLine(string(out)))
	}
	return e.awaitStopped(ctx, c)
}

// destroyForeign removes a container that somebody else made, with the storage that its configuration names.
func (e *env) destroyForeign(ctx context.Context, c *container) error {
	if _, err := exec.LookPath("lxc-destroy"); err != nil {
		return adapter.Errorf(adapter.NotSupported, "cannot uninstall %s: somebody else made it, and lxc-destroy is not installed", containerName(e.id, c.key))
	}
	if _, err := e.tools.output(ctx, "lxc-destroy", "-n", c.name); err != nil {
		return fmt.Errorf("cannot uninstall %s: %w", containerName(e.id, c.key), err)
	}
	return nil
}

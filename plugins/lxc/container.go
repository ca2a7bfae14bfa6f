package lxc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
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
	// poll is how often a container that is being started or stopped is looked at. Looking costs a stat(2).
	poll = 20 * time.Millisecond
	// ask is how often LXC is asked meanwhile, which costs a process.
	ask = 100 * time.Millisecond
	// noteTime is how long the note of an end may come after the end.
	noteTime = 3 * time.Second
	// killTime is how long processes may take to go after they were killed.
	killTime = 10 * time.Second
	// wordLines are the lines of output that a fault shows at most.
	wordLines = 5
)

// containerName is how messages name a container.
func containerName(env, key string) string {
	return fmt.Sprintf("container %q in environment %q", key, env)
}

// startContainer starts a container unless it runs, and returns when it has run for long enough to count as started.
func (e *env) startContainer(ctx context.Context, c *container, auto bool) error {
	what := "start " + containerName(e.id, c.key)
	s, _, err := e.tools.info(ctx, c.name)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	if !e.store.ours(c.name) {
		return e.startForeign(ctx, c, s, auto)
	}
	r, err := e.store.readRun(c.name)
	if err != nil {
		return err
	}
	if s == running {
		if r.Phase == isActive {
			return nil
		}
		// An adapter that is gone had begun to start it, or had begun to stop it and did not get far; or nobody knew what became of its start.
		r.Phase, r.Auto, r.Words = isActive, auto, ""
		return e.store.saveRun(c.name, r)
	}
	e.showing(c, adapter.Starting)
	if err := e.awaitStopped(ctx, c); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	rec, err := e.store.record(c.name)
	if err != nil {
		return err
	}
	g, err := e.store.generation(c.name, rec.Current)
	if err != nil {
		return err
	}
	if problem := e.unstartable(g); problem != "" {
		return &adapter.Error{Reason: adapter.Unstartable, Message: fmt.Sprintf("cannot %s: %s", what, problem), Cause: problem}
	}
	r = run{Token: rand.Text(), Launch: e.launched(), Generation: rec.Current, Phase: isStarting, Auto: auto, Began: time.Now().UnixMicro(),
		Signal: g.Process.StopSignal}
	own, err := e.store.readGiven(c.name)
	if err != nil {
		return err
	}
	mounts, err := place(e.store.tree(c.name, rec.Current), own.Volumes)
	if err != nil {
		cause := err.Error()
		e.keepWords(c, &r, cause)
		return &adapter.Error{Reason: startReason(auto), Message: fmt.Sprintf("cannot %s: %s", what, cause), Cause: cause}
	}
	o, err := e.prepare(c, r, g, own, mounts)
	if err != nil {
		return err
	}
	return e.begin(ctx, c, r, o, what)
}

// unstartable says why a generation cannot be started, empty when nothing is known.
func (e *env) unstartable(g generation) string {
	switch {
	case g.Problem != "":
		return g.Problem
	case g.FirstID != e.set.subIDs.first || g.IDs != e.set.subIDs.count:
		return fmt.Sprintf("its files belong to the ids from %d on and those of the environment begin at %d: it has to be installed anew", g.FirstID, e.set.subIDs.first)
	}
	return ""
}

// prepare writes what LXC reads for a run, and makes the mount points of its volumes.
func (e *env) prepare(c *container, r run, g generation, own given, mounts []mount) (order, error) {
	dir := e.store.at(c.name)
	o := order{
		env: e.id, name: c.name, dir: dir, store: e.store.lxcPath(), token: r.Token, signal: g.Process.StopSignal, grace: e.set.stopTimeout,
		description: fmt.Sprintf("Container %s of environment %s (%s %s)", c.key, e.id, oneLine(g.Manifest.Name), oneLine(g.Manifest.Version)),
		argv:        []string{"sh", filepath.Join(dir, commandName)},
	}
	for _, m := range mounts {
		o.volumes = append(o.volumes, m.source)
	}
	if e.set.subIDs.count > 0 {
		o.open(slices.Concat([]string{o.store}, o.volumes)...)
	}
	groups, err := readCgroups(e.cgroupView)
	if err != nil {
		return o, err
	}
	process := g.Process
	process.Env = own.variables(process.Env)
	config := configOf(own.within(e.set), groups, hostName(c.key), e.store.tree(c.name, r.Generation), process, mounts)
	command := commandText(slices.Concat([]string{
		"lxc-execute", "-P", e.store.lxcPath(), "-n", c.name, "-o", filepath.Join(dir, logName), "-l", "WARN",
	}, definitions(process.Env), []string{"--"}, process.Args))
	err = errors.Join(
		makePoints(e.store.generationDir(c.name, r.Generation), mounts),
		e.store.writeScripts(),
		os.WriteFile(filepath.Join(dir, commandName), []byte(command), 0o644),
		os.WriteFile(filepath.Join(dir, logName), nil, 0o600), // LXC adds to it, and the first error is looked for
		removeIfThere(filepath.Join(dir, endedName)),
		writeFile(filepath.Join(dir, configName), []byte(config)),
		e.store.saveRun(c.name, r),
	)
	return o, err
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// hostName is the host name in the container with a key.
func hostName(key string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, key)
	if name = strings.Trim(name[:min(len(name), 63)], "-"); name == "" {
		return "container"
	}
	return name
}

// begin carries out a start that was prepared and waits for its outcome.
func (e *env) begin(ctx context.Context, c *container, r run, o order, what string) error {
	fail := func(f finding, cause string) error {
		return &adapter.Error{Reason: f.reason, Message: fmt.Sprintf("cannot %s: %s", what, cause), Cause: cause}
	}
	if err := e.starter.start(ctx, o); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("cannot %s: %w", what, ctx.Err())
		}
		cause := err.Error()
		e.keepWords(c, &r, cause)
		return fail(finding{reason: startReason(r.Auto)}, cause)
	}
	limit := time.NewTimer(e.set.startTimeout)
	defer limit.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	var ranSince, asked time.Time
	for {
		if x := e.store.readEnd(c.name, r.Token); x.known {
			f := verdict(r, x, r.Launch)
			if f.reason == "" {
				return nil // it had little to do
			}
			return fail(f, e.judge(ctx, c, &r, f))
		}
		switch now := time.Now(); {
		case !ranSince.IsZero() && now.Sub(ranSince) >= e.set.settle:
			r.Phase = isActive
			return e.store.saveRun(c.name, r)
		case ranSince.IsZero() && now.Sub(asked) >= ask:
			asked = now
			s, _, err := e.tools.info(ctx, c.name)
			if err != nil && ctx.Err() == nil {
				e.log.Warn("cannot ask for the state of a container", "du", c.key, "err", err)
			}
			if s == running {
				ranSince = time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot %s: %w", what, ctx.Err()) // the next call finds it starting, running or ended
		case <-limit.C:
			err := e.force(ctx, c, r)
			cause := fmt.Sprintf("it does not run within %v", e.set.startTimeout)
			e.keepWords(c, &r, cause)
			return errors.Join(fail(finding{reason: startReason(r.Auto)}, cause), err)
		case <-tick.C:
		}
	}
}

// judge puts the end of a run into words, with what the container or LXC said, and keeps them.
func (e *env) judge(ctx context.Context, c *container, r *run, f finding) string {
	if r.Words != "" {
		return r.Words
	}
	var lines []string
	words := f.words
	if cause := e.store.firstError(c.name); cause != "" && r.Phase == isStarting {
		words = "LXC cannot run it"
		lines = []string{cause}
	} else {
		lines = e.starter.output(ctx, c.name, e.store.at(c.name), r.began(), wordLines)
	}
	text := message(words, lines)
	e.keepWords(c, r, text)
	return text
}

// keepWords writes down what is to be said of the end of a run, so that it is the same when it is asked for again.
func (e *env) keepWords(c *container, r *run, words string) {
	r.Words = clip(words, maxMessage)
	if err := e.store.saveRun(c.name, *r); err != nil {
		e.log.Warn("cannot keep why a container ended", "du", c.key, "err", err)
	}
}

// awaitStopped waits until the run before has ended for good, and ends what it has left. LXC forgets the name of a container a moment
// after its end; and when the monitor was killed, the processes go on.
func (e *env) awaitStopped(ctx context.Context, c *container) error {
	deadline := time.Now().Add(killTime)
	for {
		s, _, err := e.tools.info(ctx, c.name)
		if err != nil {
			return err
		}
		if s == stopped {
			left, err := e.endOrphans(c)
			if left == 0 || err != nil {
				return err
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the run before has not ended: LXC says that it is %s", s)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// stopContainer asks the process of a container to end, and uses force when it has not within the grace.
func (e *env) stopContainer(ctx context.Context, c *container, grace time.Duration) error {
	what := "stop " + containerName(e.id, c.key)
	s, pid, err := e.tools.info(ctx, c.name)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	r, err := e.store.readRun(c.name)
	if err != nil {
		return err
	}
	if s == stopped {
		if err := e.awaitStopped(ctx, c); err != nil { // it may be so without its processes knowing
			return fmt.Errorf("cannot %s: %w", what, err)
		}
		return nil
	}
	e.showing(c, adapter.Stopping)
	if !e.store.ours(c.name) || r.Token == "" {
		return e.stopForeign(ctx, c, grace)
	}
	r.Phase = isStopping
	if err := e.store.saveRun(c.name, r); err != nil {
		return err
	}
	payload, err := askToEnd(pid, r.Signal)
	if err != nil {
		e.log.Warn("a container cannot be asked to end", "du", c.key, "err", err)
		grace = 0
	}
	ended, err := e.awaitEnd(ctx, c, r, grace, func() { endOthers(pid, payload) })
	if err == nil && !ended {
		r.Phase = isKilled
		if err = e.store.saveRun(c.name, r); err == nil {
			err = e.force(ctx, c, r)
		}
	}
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("cannot %s: %w", what, ctx.Err())
		}
		return adapter.Errorf(adapter.StopFailed, "cannot %s: %v", what, err)
	}
	f := verdict(r, e.store.readEnd(c.name, r.Token), r.Launch)
	if f.reason == "" {
		return nil
	}
	cause := e.judge(ctx, c, &r, f)
	return &adapter.Error{Reason: f.reason, Message: fmt.Sprintf("cannot %s cleanly: %s", what, cause), Cause: cause}
}

// askToEnd sends the stop signal to the process that the image names. To the init of LXC, the first in the container, a signal is an
// order to end everything within a second; the process is its oldest child, which is returned, or 0 when the container is just ending.
func askToEnd(first, signal int) (payload int, err error) {
	if first <= 0 {
		return 0, nil
	}
	if payload, err = oldestChild(first); err != nil {
		return 0, err
	}
	if err := unix.Kill(payload, unix.Signal(signal)); err != nil && !errors.Is(err, unix.ESRCH) {
		return 0, fmt.Errorf("cannot send signal %d to process %d: %w", signal, payload, err)
	}
	return payload, nil
}

// endOthers ends what the process that the image names has left behind, once it has ended itself: the init of LXC would wait for that. Its order to end
// everything does not change the exit status.
func endOthers(first, payload int) {
	if payload > 0 && errors.Is(unix.Kill(payload, 0), unix.ESRCH) {
		_ = unix.Kill(first, unix.SIGTERM) // it may have ended with the last of them
	}
}

// oldestChild returns the first child of a process: the kernel lists them in the order in which they came, and those that lost their
// parents are later.
func oldestChild(pid int) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return oldestByTable(pid)
	}
	fields := strings.Fields(string(data))
	if len(fields) == 0 {
		return 0, fmt.Errorf("process %d has no child", pid)
	}
	return strconv.Atoi(fields[0])
}

// oldestByTable is [oldestChild] for a kernel without lists of children (CONFIG_PROC_CHILDREN).
func oldestByTable(parent int) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	best, since := 0, uint64(0)
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		ppid, began, ok := parentOf(pid)
		if ok && ppid == parent && (best == 0 || began < since) {
			best, since = pid, began
		}
	}
	if best == 0 {
		return 0, fmt.Errorf("process %d has no child", parent)
	}
	return best, nil
}

// parentOf returns parent and start time of a process (proc(5), /proc/PID/stat).
func parentOf(pid int) (parent int, began uint64, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, false
	}
	// The name of the program is in parentheses and may have some itself.
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(f) < 20 {
		return 0, 0, false
	}
	parent, err1 := strconv.Atoi(f[1])
	began, err2 := strconv.ParseUint(f[19], 10, 64)
	return parent, began, err1 == nil && err2 == nil
}

// awaitEnd waits for the end of a run, at most limit, and reports whether it came. As long as the container runs it calls hurry now and then.
func (e *env) awaitEnd(ctx context.Context, c *container, r run, limit time.Duration, hurry func()) (bool, error) {
	deadline := time.Now().Add(limit)
	var unnoted, asked time.Time // since when LXC says that it is stopped
	for {
		now := time.Now()
		switch {
		case e.store.readEnd(c.name, r.Token).known:
			return true, nil
		case !unnoted.IsZero() && now.Sub(unnoted) >= noteTime:
			return true, nil // whoever was to note it is gone
		case now.Sub(asked) >= ask:
			asked = now
			s, _, err := e.tools.info(ctx, c.name)
			if err != nil {
				return false, err
			}
			if s != stopped {
				unnoted = time.Time{}
				hurry()
			} else if unnoted.IsZero() {
				unnoted = now
			}
		case unnoted.IsZero() && now.After(deadline):
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(poll):
		}
	}
}

// force ends a run at once and waits for that.
func (e *env) force(ctx context.Context, c *container, r run) error {
	if err := e.tools.kill(ctx, c.name); err != nil {
		e.log.Warn("LXC does not end a container", "du", c.key, "err", err)
	}
	ended, err := e.awaitEnd(ctx, c, r, killTime, func() {})
	if err != nil {
		return err
	}
	if !ended {
		return fmt.Errorf("it is there %v after it was killed", killTime)
	}
	return e.awaitStopped(ctx, c)
}

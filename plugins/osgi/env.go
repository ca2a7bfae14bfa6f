package osgi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// maxRequests bounds the requests at once in one environment. The host serves 16 clients: room is left for the watch and for
// looking whether it answers, by this adapter and by one that is about to take over.
const maxRequests = 10

// limits are the time limits that are no settings.
type limits struct {
	hello  time.Duration // for the first answer of a host that accepted a connection
	slack  time.Duration // for an answer beyond the time limit that the request itself carries
	change time.Duration // for an answer to a request without a time limit of its own: install, update, uninstall
	kill   time.Duration // for the end of a process after SIGKILL, and after SIGTERM when an orderly end was asked for already
	poll   time.Duration // between two looks at an environment that is down
	ping   time.Duration // between two questions whether a watched host still answers, and two thorough looks at one that is down
	settle time.Duration // a watched connection that ends sooner is not made again at once
}

func defaultLimits() limits {
	return limits{
		hello: 10 * time.Second, slack: 5 * time.Second, change: time.Minute, kill: 5 * time.Second,
		poll: time.Second, ping: 15 * time.Second, settle: time.Second,
	}
}

// env is one configured environment. It holds no connection of its own: each request makes one, so nothing of an earlier
// failure is left, and a hanging request stands in nobody's way.
type env struct {
	id     string
	set    settings
	limits limits
	host   *host
	log    *slog.Logger
	slots  chan struct{} // bounds the requests at once
	turn   chan struct{} // holds one token: who takes it may launch or end the host
	wake   chan struct{} // tells the watcher to look at once

	mu      sync.Mutex
	stopped bool // the host was ended on request
}

func newEnv(c adapter.EnvConfig, set settings, l limits, log *slog.Logger) *env {
	log = log.With("env", c.ID)
	e := &env{
		id: c.ID, set: set, limits: l, log: log,
		host:  &host{env: c.ID, dir: c.DataDir, set: set, log: log},
		slots: make(chan struct{}, maxRequests), turn: make(chan struct{}, 1), wake: make(chan struct{}, 1),
	}
	e.turn <- struct{}{}
	return e
}

// connect makes a connection that lives no longer than ctx and makes its first request.
func (e *env) connect(ctx context.Context) (*conn, hello, error) {
	limited, cancel := context.WithTimeout(ctx, e.limits.hello)
	defer cancel()
	raw, err := e.host.dial(limited)
	if err != nil {
		return nil, hello{}, err
	}
	c := newConn(ctx, raw)
	cut := context.AfterFunc(limited, func() { _ = raw.Close() }) // ends the wait for an answer
	h, err := c.hello()
	if err == nil {
		err = e.checkMode(h)
	}
	if !cut() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		c.close()
		if limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("the host does not answer within %v", e.limits.hello)
		}
		return nil, hello{}, err
	}
	return c, h, nil
}

// request asks the host and waits for the answer, at most limit. what says what is being done: "start bundle …".
func (e *env) request(ctx context.Context, what, method string, params, result any, limit time.Duration) error {
	return e.converse(ctx, what, limit, func(t *talk) error { return t.c.call(method, params, result, nil) })
}

// talk is a connection with a time limit, after which ctx is done.
type talk struct {
	ctx   context.Context
	c     *conn
	limit time.Duration
	end   *time.Timer
}

// renew makes another time limit begin, unless the present one is over.
func (t *talk) renew(limit time.Duration) {
	if t.end.Stop() {
		t.limit = limit
		t.end.Reset(limit)
	}
}

// converse makes a connection for speak, which ends after limit at the latest, unless speak renews that.
func (e *env) converse(ctx context.Context, what string, limit time.Duration, speak func(*talk) error) error {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &talk{ctx: limited, limit: limit, end: time.AfterFunc(limit, cancel)}
	defer t.end.Stop()
	if ctx.Err() != nil {
		return fmt.Errorf("cannot %s: %w", what, ctx.Err())
	}
	select {
	case e.slots <- struct{}{}:
		defer func() { <-e.slots }()
	case <-ctx.Done():
		return fmt.Errorf("cannot %s: %w", what, ctx.Err())
	case <-limited.Done():
		return adapter.Errorf(adapter.Unavailable, "cannot %s: %d other calls are not finished", what, maxRequests)
	}
	c, _, err := e.connect(limited)
	if err == nil {
		t.c = c
		err = speak(t)
		c.close()
	}
	var refused *hostError
	var classified *adapter.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("cannot %s: %w", what, ctx.Err())
	case errors.As(err, &refused):
		return toError(refused)
	case errors.As(err, &classified):
		return err
	case limited.Err() != nil && e.answers(ctx):
		return adapter.Errorf(adapter.StillRunning, "cannot %s within %v: it is still going on", what, t.limit)
	case limited.Err() != nil:
		err = fmt.Errorf("the host does not answer within %v", t.limit)
	case errors.Is(err, errFrame), errors.Is(err, errVersion), errors.Is(err, errMode):
	case e.set.attach:
		err = errors.New(e.host.waiting(err))
	default:
		if _, down := e.running(); down != "" {
			err = errors.New(down)
		}
	}
	return &adapter.Error{Reason: adapter.Unavailable, Message: fmt.Sprintf("cannot %s: %v", what, err), Cause: err.Error()}
}

// move makes a request that may start or stop bundles: it carries the time limit after which the host answers StillRunning.
func (e *env) move(ctx context.Context, what, method string, params map[string]any) error {
	return e.timed(ctx, what, method, params, nil, e.set.callTimeout)
}

// change makes a request that installs, updates or removes a bundle.
func (e *env) change(ctx context.Context, what, method string, params map[string]any, result any) error {
	return e.timed(ctx, what, method, params, result, e.limits.change)
}

func (e *env) timed(ctx context.Context, what, method string, params map[string]any, result any, limit time.Duration) error {
	params["timeout"] = limit.Milliseconds()
	return e.request(ctx, what, method, params, result, limit+e.limits.slack)
}

// answers reports whether the host answers a new connection.
func (e *env) answers(ctx context.Context) bool {
	c, _, err := e.connect(ctx)
	if err != nil {
		return false
	}
	c.close()
	return true
}

// running returns the id of the host's process; without one it says why in the words of the operator.
func (e *env) running() (pid int, down string) {
	pid, err := e.host.find()
	switch {
	case err != nil:
		return 0, fmt.Sprintf("the process table cannot be read: %v", err)
	case pid != 0:
		return pid, ""
	}
	e.mu.Lock()
	stopped := e.stopped
	e.mu.Unlock()
	exit := e.host.exit()
	switch {
	case stopped:
		return 0, "the framework is not running: it was ended on request"
	case exit == "":
		return 0, "the framework is not running"
	}
	return 0, withTail("the framework is not running: "+exit, e.host.tail())
}

func withTail(text, tail string) string {
	if tail == "" {
		return text
	}
	return text + "; its last words: " + tail
}

// takeTurn waits for the right to launch or end the host; the function that it returns gives it back.
func (e *env) takeTurn(ctx context.Context) (func(), error) {
	select {
	case <-e.turn:
		return func() { e.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// wakeWatcher makes the watcher of an environment that is down look at it at once.
func (e *env) wakeWatcher() {
	select {
	case e.wake <- struct{}{}:
	default: // it will look already
	}
}

func (e *env) setStopped(v bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = v
}

// enable launches the host, with these further options, unless it runs.
func (e *env) enable(ctx context.Context, options []string) error {
	done, err := e.takeTurn(ctx)
	if err != nil {
		return fmt.Errorf("cannot launch environment %q: %w", e.id, err)
	}
	defer done()
	defer e.wakeWatcher() // there is something new to tell, also about a launch that failed
	up, err := e.awaitFound(ctx)
	if err != nil {
		return e.launchFailed(ctx, err)
	}
	e.setStopped(false)
	if up {
		e.markStorage()
	} else {
		files, err := e.host.versions().settle(ctx, e.host.configured())
		if err != nil {
			return e.launchFailed(ctx, adapter.Errorf(adapter.Unstartable, "cannot launch environment %q: %v", e.id, err))
		}
		if err := errors.Join(e.host.checkMake(files), e.host.claimMake(files)); err != nil {
			return e.launchFailed(ctx, adapter.Errorf(adapter.Unstartable, "cannot launch environment %q: %v", e.id, err))
		}
		child, err := e.host.launch(files, options)
		if err != nil {
			return err
		}
		if err := e.awaitUp(ctx, child); err != nil {
			return e.launchFailed(ctx, err)
		}
		e.markStorage()
	}
	return nil
}

// markStorage marks a storage without a mark with the make of the framework that runs on it: who launched it may not have seen it come up.
func (e *env) markStorage() {
	if err := e.host.markRunning(); err != nil {
		e.log.Warn("the storage cannot be marked with the make of its framework", "err", err)
	}
}

func (e *env) launchFailed(ctx context.Context, err error) error {
	var classified *adapter.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot launch environment %q: %w", e.id, ctx.Err())
	case errors.As(err, &classified):
		return err
	}
	return &adapter.Error{Reason: adapter.StartFailed, Message: fmt.Sprintf("cannot launch environment %q: %v", e.id, err), Cause: e.host.tail()}
}

// awaitFound looks for a host that runs already and reports whether it answers. One that was launched a moment ago gets the
// time to come up; one that does not answer any more is ended.
func (e *env) awaitFound(ctx context.Context) (bool, error) {
	poll := time.NewTicker(processPoll)
	defer poll.Stop()
	for {
		c, _, err := e.connect(ctx)
		switch {
		case err == nil:
			c.close()
			return true, nil
		case ctx.Err() != nil:
			return false, ctx.Err()
		case errors.Is(err, errVersion):
			// It runs and serves its bundles: whether it may be disturbed is the operator's decision.
			return false, adapter.Errorf(adapter.NotSupported, "cannot use the running framework of environment %q: %v; disable the environment and enable it again", e.id, err)
		case errors.Is(err, errMode):
			return false, adapter.Errorf(adapter.NotSupported, "cannot launch environment %q: %v", e.id, err)
		}
		pid, findErr := e.host.find()
		if findErr != nil {
			return false, findErr
		}
		if pid == 0 {
			return false, e.awaitFree(ctx)
		}
		if lived, ageErr := age(pid); ageErr != nil || lived > e.set.startTimeout {
			e.log.Warn("host process does not answer and is ended", "pid", pid, "err", err)
			return false, e.kill(ctx, e.limits.kill)
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-poll.C:
		}
	}
}

// awaitFree waits until the storage of a host without a process is free. One that is not after the time that a kill may take is held by
// somebody else, which the host will say when it is launched.
func (e *env) awaitFree(ctx context.Context) error {
	_, err := e.host.awaitGone(ctx, e.limits.kill)
	return err
}

// awaitUp waits until the process just launched answers. One that does not within the time limit is ended.
func (e *env) awaitUp(ctx context.Context, c *child) error {
	timeout := time.NewTimer(e.set.startTimeout)
	defer timeout.Stop()
	poll := time.NewTicker(processPoll)
	defer poll.Stop()
	for {
		conn, _, err := e.connect(ctx)
		switch {
		case err == nil:
			conn.close()
			return nil
		case errors.Is(err, errVersion), errors.Is(err, errFrame):
			return errors.Join(err, e.kill(ctx, e.limits.kill)) // waiting does not help
		}
		select {
		case <-ctx.Done():
			return ctx.Err() // it goes on coming up, and the repeated call finds it
		case <-c.done:
			return errors.New(withTail(c.describe(), e.host.tail()))
		case <-timeout.C:
			err = fmt.Errorf("the framework does not answer within %v: %w", e.set.startTimeout, err)
			return errors.Join(err, e.kill(ctx, e.limits.kill))
		case <-poll.C:
		}
	}
}

// disable ends the framework in order, and the process by force when that does not succeed.
func (e *env) disable(ctx context.Context) error {
	fail := func(err error) error {
		if ctx.Err() != nil {
			return fmt.Errorf("cannot end environment %q: %w", e.id, ctx.Err())
		}
		return adapter.Errorf(adapter.StopFailed, "cannot end environment %q: %v", e.id, err)
	}
	done, err := e.takeTurn(ctx)
	if err != nil {
		return fail(err)
	}
	defer done()
	gone, err := e.host.gone(ctx)
	if err != nil {
		return fail(err)
	}
	if gone {
		return nil
	}
	e.setStopped(true)
	grace := e.set.stopTimeout
	if err := e.shutdown(ctx); errors.Is(err, errMode) {
		return fail(err) // it is not ours to end
	} else if err != nil {
		e.log.Warn("framework cannot be asked to end", "err", err)
	} else {
		gone, err := e.host.awaitGone(ctx, grace)
		if err != nil {
			return fail(err)
		}
		if gone {
			return nil
		}
		e.log.Warn("framework does not end in time", "limit", grace)
		grace = e.limits.kill
	}
	if err := e.kill(ctx, grace); err != nil {
		return fail(err)
	}
	return nil
}

// shutdown asks the host to end; a connection that ends instead of an answer is as good as one.
func (e *env) shutdown(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, e.limits.hello)
	defer cancel()
	c, _, err := e.connect(limited)
	if err != nil {
		return err
	}
	defer c.close()
	err = c.call("shutdown", struct{}{}, nil, nil)
	var refused *hostError
	if errors.As(err, &refused) || limited.Err() != nil {
		return err
	}
	return nil
}

// kill ends the host's process: SIGTERM, at most grace later SIGKILL.
func (e *env) kill(ctx context.Context, grace time.Duration) error {
	for _, step := range []struct {
		signal syscall.Signal
		limit  time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, e.limits.kill}} {
		if err := e.host.signal(step.signal); err != nil {
			return err
		}
		if gone, err := e.host.awaitGone(ctx, step.limit); gone || err != nil {
			return err
		}
	}
	return errors.New("the host process does not end, not even by force")
}

package osgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// watcher sends the events of one environment for one [adapter.Adapter] Watch. Its one goroutine keeps their order.
type watcher struct {
	env  *env
	send func(adapter.Event) bool // false: the watch is over

	told *adapter.Env // the last state that was told
	// ended is what an attached host said when it ended, empty when it comes back or said nothing.
	ended string
}

// run follows the environment until ctx is done.
func (w *watcher) run(ctx context.Context) {
	var said string      // why the last attempt failed
	var looked time.Time // when the reason was looked for last
	for ctx.Err() == nil {
		began := time.Now()
		up, err := w.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		// Looking for the reason goes through all processes: too much for each poll of an environment that is down for good.
		if up || err.Error() != said || time.Since(looked) >= w.env.limits.ping {
			said, looked = err.Error(), time.Now()
			w.tell(downEnv(w.env.id, w.env.set, w.detail(ctx, err)))
		}
		if up && time.Since(began) >= w.env.limits.settle {
			continue // perhaps the connection alone was lost
		}
		timer := time.NewTimer(w.env.limits.poll)
		select {
		case <-ctx.Done():
		case <-w.env.wake:
			said = ""
		case <-timer.C:
		}
		timer.Stop()
	}
}

// detail says why the environment is not up.
func (w *watcher) detail(ctx context.Context, err error) string {
	switch {
	case errors.Is(err, errVersion), errors.Is(err, errFrame), errors.Is(err, errMode):
		return err.Error()
	case w.env.set.attach:
		return withTail(w.env.host.waiting(err), w.ended)
	}
	w.awaitExit(ctx)
	pid, down := w.env.running()
	if pid == 0 {
		return down
	}
	return withTail(fmt.Sprintf("process %d does not answer: %v", pid, err), w.env.host.tail())
}

// awaitExit gives a process of ours that has just closed its socket the moment to end, so that its exit status can be told.
func (w *watcher) awaitExit(ctx context.Context) {
	w.env.host.mu.Lock()
	c := w.env.host.child
	w.env.host.mu.Unlock()
	if c == nil || w.told == nil || !w.told.Up {
		return
	}
	timer := time.NewTimer(w.env.limits.settle)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// tell sends the state of the environment if it differs from what was told last.
func (w *watcher) tell(now adapter.Env) bool {
	if w.told != nil && *w.told == now {
		return true
	}
	w.told = &now
	copied := now
	return w.send(adapter.Event{Kind: adapter.EventEnv, EnvID: w.env.id, Env: &copied})
}

var errWatchOver = errors.New("the watch is over")

// follow connects, tells everything that exists and then every change, until the connection is lost. up reports whether it
// got as far as to tell everything.
func (w *watcher) follow(ctx context.Context) (up bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c, hello, err := w.env.connect(ctx)
	if err != nil {
		return false, err
	}
	defer c.close()
	w.ended = ""
	if !w.tell(toEnv(w.env.id, w.env.set, hello.Framework)) {
		return false, errWatchOver
	}
	c.quiet = w.env.limits.ping + w.env.limits.hello
	// The host sends all that exists before its answer.
	if err := c.call("subscribe", struct{}{}, nil, w.forward); err != nil {
		return false, explainEnd(err, c.quiet)
	}
	if !w.send(adapter.Event{Kind: adapter.EventSynced, EnvID: w.env.id}) {
		return false, errWatchOver
	}
	w.env.log.Info("environment is up", "launch", hello.Framework.Launch)
	if !w.env.set.attach {
		w.env.markStorage()
	}

	var pinger sync.WaitGroup
	pinger.Go(func() { w.ping(ctx, c) })
	defer pinger.Wait()
	defer cancel() // before the wait
	for {
		m, err := c.receive()
		if err != nil {
			return true, explainEnd(err, c.quiet)
		}
		if err := w.forward(m); err != nil {
			return true, err
		}
	}
}

// explainEnd puts the ends of a connection into words.
func explainEnd(err error, quiet time.Duration) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing was heard of it for %v", quiet)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return errors.New("it closed the connection")
	}
	return err
}

// forward sends the event of m; answers, which are those to pings, carry nothing new.
func (w *watcher) forward(m message) error {
	if m.ID != nil {
		return nil
	}
	sent := true
	switch m.Event {
	case "framework":
		sent = w.tell(toEnv(w.env.id, w.env.set, *m.Framework))
	case "bundle":
		if m.Bundle.ID == 0 {
			return nil // the framework itself is no unit
		}
		unit := toUnit(w.env.id, *m.Bundle)
		sent = w.send(adapter.Event{Kind: adapter.EventUnit, EnvID: w.env.id, Unit: &unit})
	case "ending":
		w.ended = m.Message
	case "removed":
		sent = w.send(adapter.Event{Kind: adapter.EventUnitRemoved, EnvID: w.env.id, Key: m.Location})
	}
	if !sent {
		return errWatchOver
	}
	return nil
}

// ping asks the host regularly, so that something is heard of one that lives, and keeps its log within bounds.
func (w *watcher) ping(ctx context.Context, c *conn) {
	ticker := time.NewTicker(w.env.limits.ping)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if !w.env.set.attach {
			if err := w.env.host.boundLog(); err != nil {
				w.env.log.Warn("cannot keep the host's log within bounds", "err", err)
			}
		}
		if _, err := c.send("hello", map[string]int{"protocol": protocolVersion}); err != nil {
			return // the reader finds out as well
		}
	}
}

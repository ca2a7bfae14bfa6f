// Package supervisor keeps one adapter process running and speaks with it.
//
// A [Supervisor] launches the adapter's executable, makes the handshake, configures the environments and watches them; it asks the
// process every few seconds whether it lives, and starts another when it does not, waiting longer after each failure. What the
// adapter says goes to a [Handler]. To everybody else the Supervisor is the adapter itself: a call waits until a process is there,
// and a call that a dying process cut off is made again on the next one with the same operation id. An adapter that fails again and
// again is broken: calls are refused at once, and it is tried only now and then.
//
// A new process is always a fresh one. It is never reattached to: adapters keep no state, so nothing would be won.
//
// This package is the only one of the agent that knows how processes and connections of adapters work.
package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// Options say what to supervise. Durations and counts that are zero get the stated default.
type Options struct {
	Name    string   // of the adapter, as environments refer to it; fit for a directory
	Command []string // argv; Command[0] is the path of the executable
	// SHA256 is the hexadecimal digest that the executable must have; empty: it is not checked. Who may replace the file between
	// check and launch may do everything anyway: the directory must belong to root.
	SHA256   string
	AutoMTLS bool // only adapters written in Go know it
	// RuntimeDir is a directory of mode 0700. Sockets lie in adapters/<Name> below it, locks of environments in locks. A socket's path
	// has at most 107 bytes, so about 60 are left for RuntimeDir and Name.
	RuntimeDir string
	// Env is the environment of the process, KEY=value, besides PATH. Nothing else is inherited from the agent.
	Env  []string
	Envs []adapter.EnvConfig
	Log  *slog.Logger // default [slog.Default]
	// CallDeadline bounds every call, the waiting for a process included. Default 5 minutes.
	CallDeadline time.Duration
	Handler      Handler // required

	// StartTimeout bounds the handshake, and again Describe, Configure and Watch together. Default 10 s.
	StartTimeout time.Duration
	// StopTimeout is how long the process may take to answer the request for an orderly end before it is killed; after the answer
	// go-plugin waits two seconds more. Default 3 s.
	StopTimeout   time.Duration
	PingInterval  time.Duration // also how long one ping may take. Default 5 s
	PingMisses    int           // pings in a row without an answer after which the process is killed. Default 3
	BackoffMin    time.Duration // after the first failure; it doubles with each further one. Default 1 s
	BackoffMax    time.Duration // default 2 min
	BrokenAfter   int           // failures in FailureWindow that make the adapter broken. Default 5
	FailureWindow time.Duration // default 10 min
}

// A Handler hears what happens to an adapter. Its methods are called one after the other and must be prompt; they must not call the
// adapter and wait for the answer.
type Handler interface {
	// AdapterEvent is an event of Watch of the process that the last AdapterReady told of.
	AdapterEvent(name string, e adapter.Event)
	// AdapterLost says that the process is gone or could not be started. It is called after each failed attempt. Nothing is known
	// of its environments until their next event. An orderly end is no loss. The error of an adapter that is broken says so with a
	// method Broken() bool: calls are refused until AdapterReady.
	AdapterLost(name string, err error)
	// AdapterReady says that a new process is configured; its events follow.
	AdapterReady(name string, d adapter.Description)
}

// The values of [model.AdapterInfo.State].
const (
	StateStarting   = "starting"
	StateRunning    = "running"
	StateBackingOff = "backing-off"
	StateBroken     = "broken"
)

// Supervisor supervises one adapter. See the package comment.
type Supervisor struct {
	o        Options
	log      *slog.Logger
	failures failures

	mu      sync.Mutex
	info    model.AdapterInfo
	session *session      // the running one, nil without
	ended   bool          // Run has returned
	changed chan struct{} // closed, and replaced, when one of the fields above changes
}

var (
	_ adapter.Adapter     = (*Supervisor)(nil)
	_ adapter.RunLeveler  = (*Supervisor)(nil)
	_ adapter.AutoStarter = (*Supervisor)(nil)
)

// New returns a supervisor that does nothing before [Supervisor.Run].
func New(o Options) *Supervisor {
	setDefault(&o.CallDeadline, 5*time.Minute)
	setDefault(&o.StartTimeout, 10*time.Second)
	setDefault(&o.StopTimeout, 3*time.Second)
	setDefault(&o.PingInterval, 5*time.Second)
	setDefault(&o.PingMisses, 3)
	setDefault(&o.BackoffMin, time.Second)
	setDefault(&o.BackoffMax, 2*time.Minute)
	setDefault(&o.BrokenAfter, 5)
	setDefault(&o.FailureWindow, 10*time.Minute)
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Supervisor{
		o:        o,
		log:      o.Log.With("adapter", o.Name),
		failures: failures{window: o.FailureWindow, limit: o.BrokenAfter, first: o.BackoffMin, longest: o.BackoffMax},
		info:     model.AdapterInfo{Name: o.Name, State: StateStarting},
		changed:  make(chan struct{}),
	}
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Info says how the adapter is. It never waits. Version and capabilities are those of the last process that told them.
func (s *Supervisor) Info() model.AdapterInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// Run keeps a process running until ctx is done, ends it in order and returns nil. What goes wrong with the adapter is told by the
// Handler and by [Supervisor.Info]; it is never a reason to return. It is called once.
func (s *Supervisor) Run(ctx context.Context) error {
	defer s.change(func() {
		s.ended = true
		if s.info.State != StateBroken {
			s.info.State, s.info.Detail = StateBackingOff, "the agent is ending"
		}
	})
	for attempt := 0; ; attempt++ {
		s.change(func() {
			s.info.Restarts = attempt
			if s.info.State != StateBroken { // which it stays until it has been seen running
				s.info.State = StateStarting
			}
		})
		err := s.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		wait := s.failed(err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
	}
}

// once launches a process and follows it to its end, which is always an error unless ctx is done.
func (s *Supervisor) once(ctx context.Context) error {
	p, err := s.launch(ctx)
	if err != nil {
		return err
	}
	s.log.Info("adapter ready", "version", p.description.Version, "pid", p.process.pid())
	s.o.Handler.AdapterReady(s.o.Name, p.description)
	s.change(func() {
		s.session = p
		s.info.State, s.info.Detail = StateRunning, ""
		s.info.PID, s.info.Version, s.info.Capabilities = p.process.pid(), p.description.Version, nil
		for _, c := range p.description.Capabilities {
			s.info.Capabilities = append(s.info.Capabilities, string(c))
		}
	})
	err = s.follow(ctx, p)
	s.change(func() { s.session, s.info.PID = nil, 0 })
	p.end(err != nil, s.o.StopTimeout)
	return err
}

// follow hands the events of a session on until it is over. The error is nil when ctx is done.
func (s *Supervisor) follow(ctx context.Context, p *session) error {
	var pings sync.WaitGroup
	defer pings.Wait()
	pinging, stop := context.WithCancel(ctx)
	defer stop()
	pings.Go(func() { s.ping(pinging, p) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-p.failed:
			return p.whyLost(err)
		case <-p.process.ended:
			return p.process.endError()
		case e, ok := <-p.events:
			switch {
			case ok:
				s.o.Handler.AdapterEvent(s.o.Name, e)
			case ctx.Err() != nil:
				return nil
			default:
				err := p.client.WatchError()
				if err == nil {
					err = adapter.Errorf(adapter.Internal, "the adapter ended its event stream")
				}
				return p.whyLost(err)
			}
		}
	}
}

// ping asks the process whether it lives until ctx is done, and gives the session up when it does not answer.
func (s *Supervisor) ping(ctx context.Context, p *session) {
	tick := time.NewTicker(s.o.PingInterval)
	defer tick.Stop()
	for missed := 0; missed < s.o.PingMisses; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		one, cancel := context.WithTimeout(ctx, s.o.PingInterval)
		err := p.client.Ping(one)
		cancel()
		if err != nil {
			missed++
			s.log.Debug("adapter does not answer a ping", "missed", missed, "error", err)
			continue
		}
		missed = 0
	}
	p.fail(fmt.Errorf("no answer to %d pings in a row", s.o.PingMisses))
}

// failed takes note of a failure, tells of it and returns how long to wait before the next attempt.
func (s *Supervisor) failed(err error) time.Duration {
	wait, broken := s.failures.add(time.Now())
	if adapter.ReasonOf(err) == adapter.InvalidArgument {
		// The adapter refuses its configuration: trying again soon gives the same answer.
		wait, broken = s.o.BackoffMax, true
	}
	state := StateBackingOff
	if broken {
		state = StateBroken
	}
	s.log.Warn("adapter lost", "error", err, "state", state, "retry", wait)
	s.change(func() { s.info.State, s.info.Detail = state, err.Error() })
	if broken {
		err = &brokenError{err}
	}
	s.o.Handler.AdapterLost(s.o.Name, err)
	return wait
}

// brokenError is the last failure of an adapter that is broken.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// Broken says that the adapter is not tried again soon.
func (e *brokenError) Broken() bool { return true }

// change runs f under the lock and wakes who waits for a change.
func (s *Supervisor) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

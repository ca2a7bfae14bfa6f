package dbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/bus"
	"github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
	"github.com/smmd-project/smmd/mapping/usp"
)

// ErrNameTaken is the error of [Server.Run] when another process has the name on the bus.
var ErrNameTaken = errors.New("another process has the name")

// ErrLost is the error of [Server.Run] when the connection to the bus is lost.
var ErrLost = errors.New("the connection to the bus is lost")

// Options are the settings of a [Server]. The zero value is complete.
type Options struct {
	Version   string       // org.smmd.Agent1.Version
	DataModel string       // org.smmd.Agent1.DataModel, for example Device:2.19; its version is that of the tree
	Log       *slog.Logger // nil: the default one
	Ready     func()       // called by Run when the name is ours and everything is served; nil: nothing

	// Faces are the protocols in use, of cwmp and usp; nil: both. For one that is not in use nothing is collected.
	Faces []string

	// MaxChanges is how many calls that change something are served at once, MaxWaiting how many more wait for their turn; what
	// is beyond is refused with LimitsExceeded. Calls that read are not counted. 0: 16 and 4096.
	MaxChanges int
	MaxWaiting int
}

// A Server offers one agent on one bus at a time.
type Server struct {
	agent Agent
	opts  Options
	log   *slog.Logger
	cwmp  *cwmp.Face
	acs   *valueChanges // nil: CWMP is not in use
	usp   *usp.Face
	board *board

	root       []property        // of the agent itself
	interfaces map[string]*iface // what is offered, by name
	changes    *turnstile
	managed    managed
}

// New returns a server of the agent. It does nothing before [Server.Run].
func New(agent Agent, opts Options) *Server {
	if opts.MaxChanges == 0 {
		opts.MaxChanges = 16
	}
	if opts.MaxWaiting == 0 {
		opts.MaxWaiting = 4096
	}
	version := strings.TrimPrefix(opts.DataModel, "Device:")
	s := &Server{
		agent: agent, opts: opts, log: opts.Log, cwmp: cwmp.New(agent, version), usp: usp.New(agent, version), root: rootProperties(opts),
		changes: newTurnstile(opts.MaxChanges, opts.MaxWaiting),
	}
	if s.log == nil {
		s.log = slog.Default()
	}
	if opts.uses("cwmp") {
		s.acs = newValueChanges(s.cwmp, agent)
	}
	s.board = newBoard(s.usp, agent, opts.uses("usp"))
	s.interfaces = bind()
	return s
}

// uses reports whether a protocol is in use.
func (o Options) uses(face string) bool { return o.Faces == nil || slices.Contains(o.Faces, face) }

// grace is how long the calls in progress may take when the agent leaves the bus, before their contexts end.
const grace = 5 * time.Second

// farewell is how long the bus may take to take the name back.
const farewell = 2 * time.Second

// Run connects to the bus (system, session or a D-Bus address), takes the name and serves until ctx is done. Then it takes no more
// calls, lets those in progress end, and returns nil. It returns [ErrNameTaken] when somebody else has the name, and
// [ErrLost] when the connection breaks: the caller may run it again then. It must not run twice at once.
func (s *Server) Run(ctx context.Context, address string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	// The feed comes first, so that no change falls between what callers can read and the first signal.
	feed := s.agent.Feed(ctx)
	session := &session{Server: s, leaving: ctx, origins: newOrigins()}
	var cancelCalls context.CancelFunc
	session.ctx, cancelCalls = context.WithCancel(context.WithoutCancel(ctx))
	defer cancelCalls()
	// The tree is complete before the first call can come: objects are looked up by the path of each message.
	conn, err := bus.Connect(ctx, address, dbus.WithHandler(session))
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("cannot serve on D-Bus: %w", err)
	}
	defer conn.Close()
	session.origins.ask(conn)
	defer func() {
		cancel()
		late := time.AfterFunc(grace, cancelCalls)
		defer late.Stop()
		session.calls.Wait()
		// The round trip lets the last answers out before the connection closes.
		bye, done := context.WithTimeout(context.WithoutCancel(ctx), farewell)
		defer done()
		if err := conn.BusObject().CallWithContext(bye, "org.freedesktop.DBus.ReleaseName", 0, xml.BusName).Err; err != nil && conn.Connected() {
			s.log.Warn("cannot give the bus name back", "error", err)
		}
	}()

	var reply dbus.RequestNameReply
	err = conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.RequestName", 0, xml.BusName, dbus.NameFlagDoNotQueue).Store(&reply)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("cannot take the name %s: %w", xml.BusName, err)
	case reply != dbus.RequestNameReplyPrimaryOwner && reply != dbus.RequestNameReplyAlreadyOwner:
		return fmt.Errorf("cannot take the name %s on %s: %w", xml.BusName, address, ErrNameTaken)
	}
	s.log.Info("serving on D-Bus", "address", address, "name", conn.Names()[0])
	if s.opts.Ready != nil {
		s.opts.Ready()
	}

	out := &signaler{agent: s.agent, server: s, emit: conn.Emit}
	var acs <-chan struct{}
	if s.acs != nil {
		acs = s.acs.wake
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-conn.Context().Done():
			return fmt.Errorf("cannot serve on D-Bus: %w", ErrLost)
		case commit, ok := <-feed:
			if !ok {
				feed = nil // it closes with ctx
				continue
			}
			if err := out.commit(commit); errors.Is(err, dbus.ErrClosed) {
				return fmt.Errorf("cannot serve on D-Bus: %w", ErrLost)
			} else if err != nil {
				s.log.Error("cannot send a signal", "error", err)
			}
		case <-acs:
			if err := out.valueChanged(); err != nil {
				s.log.Error("cannot send a signal", "error", err)
			}
		}
	}
}

// session is the life of one connection.
type session struct {
	*Server
	leaving context.Context // done when Run is about to return
	ctx     context.Context // of the calls: done when they get no more time
	origins *origins
	calls   calls
}

// calls counts the calls in progress. Unlike a [sync.WaitGroup] it may go from zero to one while somebody waits.
type calls struct {
	mu   sync.Mutex
	n    int
	done bool
	idle chan struct{}
}

// begin reports whether the call may go on.
func (c *calls) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return false
	}
	c.n++
	return true
}

func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n--
	if c.n == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}

// Wait lets no more calls begin and waits for those that did.
func (c *calls) Wait() {
	c.mu.Lock()
	c.done = true
	var idle chan struct{}
	if c.n > 0 {
		idle = make(chan struct{})
		c.idle = idle
	}
	c.mu.Unlock()
	if idle != nil {
		<-idle
	}
}

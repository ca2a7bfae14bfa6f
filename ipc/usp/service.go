package usp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
)

// What a Service is without other words.
const (
	DefaultBroker     = "/var/run/usp/broker_controller_path" // where a Broker awaits Agents (TR-369, UNIX Domain Socket Binding)
	DefaultEndpointID = "proto::smmd"
)

// registered is the path that is registered at the Broker.
const registered = "Device.SoftwareModules."

// Agent is what a session needs of the agent: org.smmd.USP1, by the methods of [client.Client].
type Agent interface {
	Info(ctx context.Context) (client.Info, error)
	USPGet(ctx context.Context, maxDepth uint32, paths ...string) ([]client.USPGetResult, error)
	USPGetInstances(ctx context.Context, firstLevelOnly bool, paths ...string) ([]client.USPGetResult, error)
	USPGetSupportedDM(ctx context.Context, o client.USPSupportedOptions, paths ...string) ([]client.USPSupportedResult, error)
	USPSet(ctx context.Context, allowPartial bool, updates ...client.USPUpdate) ([]client.USPSetResult, error)
	USPAdd(ctx context.Context, allowPartial bool, objects ...client.USPUpdate) ([]client.USPAddResult, error)
	USPDelete(ctx context.Context, allowPartial bool, paths ...string) ([]client.USPDeleteResult, error)
	USPOperate(ctx context.Context, command, commandKey string, input map[string]string, originator string) ([]client.USPOperateResult, error)
	USPRequests(ctx context.Context) ([]client.USPRequest, error)
	Cancel(ctx context.Context, job dbus.ObjectPath) error
	USPNotifications(ctx context.Context, after uint64) ([]client.USPNotification, error)
	USPAcknowledgeNotifications(ctx context.Context, upTo uint64) error
	WatchUSPNotifications(ctx context.Context, f func(id uint64) error) error
	io.Closer
}

// Options say where a Service finds what it joins.
type Options struct {
	Broker     string                               // path of the Broker's socket; empty: [DefaultBroker]
	EndpointID string                               // of this Service; empty: [DefaultEndpointID]
	Dial       func(context.Context) (Agent, error) // connects to the bus of the agent; called for every session
	Log        *slog.Logger                         // nil: the default one
}

// Service is a USP Service that registers Device.SoftwareModules. at a Broker.
type Service struct {
	o     Options
	log   *slog.Logger
	times times
}

// times are the times that a Service takes.
type times struct {
	retryMin, retryMax time.Duration // between two sessions
	handshake          time.Duration // for the Broker's handshake, and for its answer to the registration
	request            time.Duration // for an answer to the Broker
	write              time.Duration // for the Broker to take a frame
	settle             time.Duration // without a new subscription, until what has waited for the Broker is told
	settleMax          time.Duration // the same in all
}

// New returns a Service. The error is for an endpoint identifier that is none.
func New(o Options) (*Service, error) {
	if o.Broker == "" {
		o.Broker = DefaultBroker
	}
	if o.EndpointID == "" {
		o.EndpointID = DefaultEndpointID
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if err := checkEndpointID(o.EndpointID); err != nil {
		return nil, err
	}
	return &Service{o: o, log: o.Log.With("broker", o.Broker), times: times{
		retryMin: time.Second, retryMax: 5 * time.Second, handshake: 30 * time.Second, request: 10 * time.Second, write: 30 * time.Second,
		settle: time.Second, settleMax: 10 * time.Second,
	}}, nil
}

// maxEndpointID is how long an endpoint identifier may be here. TR-369 limits its parts only.
const maxEndpointID = 256

// checkEndpointID checks that id has the form scheme:authority:instance (TR-369, Endpoint Identifier); the authority may be empty.
func checkEndpointID(id string) error {
	parts := strings.SplitN(id, ":", 3)
	if len(parts) != 3 || parts[0] == "" || parts[2] == "" || len(id) > maxEndpointID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("cannot be the endpoint %q: an endpoint identifier is scheme:authority:instance, for example %s", id, DefaultEndpointID)
	}
	return nil
}

// Run keeps the Service at the Broker until ctx is done. Nothing that the Broker, the bus or the agent does ends it.
func (s *Service) Run(ctx context.Context) error {
	told := "" // the same misfortune is told once
	for {
		var started bool
		err := s.once(ctx, func() { started, told = true, "" })
		if ctx.Err() != nil {
			return nil
		}
		wait := s.times.retryMin + rand.N(s.times.retryMax-s.times.retryMin+1)
		level := slog.LevelWarn
		if !started && err.Error() == told {
			level = slog.LevelDebug
		}
		told = err.Error()
		s.log.Log(ctx, level, "not connected to the broker; trying again", "err", err, "in", wait.Round(time.Millisecond))
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// once runs one session to its end. ready is called once the Broker has accepted the registration.
func (s *Service) once(ctx context.Context, ready func()) error {
	dialing, cancel := context.WithTimeout(ctx, s.times.handshake)
	defer cancel()
	agent, err := s.o.Dial(dialing)
	if err != nil {
		return err
	}
	defer agent.Close()
	// The Broker asks for the data model at once: without an agent a session would begin with errors.
	info, err := agent.Info(dialing)
	if err != nil {
		return err
	}
	var d net.Dialer
	conn, err := d.DialContext(dialing, "unix", s.o.Broker)
	if err != nil {
		return fmt.Errorf("cannot connect to the broker: %w", err)
	}
	session := newSession(s, agent, info, conn)
	err = session.run(ctx, ready)
	if err == nil {
		err = errors.New("the session ended")
	}
	return err
}

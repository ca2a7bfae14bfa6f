package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of the agent on the bus.
const (
	BusName = "org.smmd.Agent1"  // the well-known name and the interface of the root object
	Root    = "/org/smmd/Agent1" // the root object
)

const (
	ifaceCWMP       = "org.smmd.CWMP1"
	ifaceProperties = "org.freedesktop.DBus.Properties"
	ifaceManager    = "org.freedesktop.DBus.ObjectManager"
	ifaceBus        = "org.freedesktop.DBus"
)

// Limits in time. No call of the agent waits for an environment or for the network, so an answer that takes this long does
// not come any more.
const (
	callTimeout    = 30 * time.Second
	restartTimeout = time.Minute // for an agent to come back while somebody waits for a job
)

// A Client is a connection to the bus of the agent. It may be used by many goroutines at once.
type Client struct {
	conn         *dbus.Conn
	callTimeout  time.Duration
	restartGrace time.Duration
}

// Dial connects to a bus: "system", "session", or a D-Bus address such as unix:path=/run/smmd/bus; "" is "system". It does
// not look for the agent: that is what the first call does, so that the bus can start it. The error is [ErrUnreachable].
func Dial(bus string) (*Client, error) {
	conn, err := connect(bus)
	if err != nil {
		if bus == "" {
			bus = "system"
		}
		return nil, fmt.Errorf("cannot connect to the bus %s: %w: %w", bus, ErrUnreachable, err)
	}
	return &Client{conn: conn, callTimeout: callTimeout, restartGrace: restartTimeout}, nil
}

func connect(bus string) (*dbus.Conn, error) {
	// Signals in the order of the bus: without it a job could end before it moves.
	order := dbus.WithSignalHandler(dbus.NewSequentialSignalHandler())
	switch bus {
	case "", "system":
		return dbus.ConnectSystemBus(order)
	case "session":
		// Not dbus.ConnectSessionBus: that one starts a bus, on which there is no agent.
		bus = os.Getenv("DBUS_SESSION_BUS_ADDRESS")
		if bus == "" {
			return nil, errors.New("DBUS_SESSION_BUS_ADDRESS is not set")
		}
	}
	return dbus.Connect(bus, order)
}

// Close ends the connection. Calls and watches that are still open return [ErrUnreachable].
func (c *Client) Close() error { return c.conn.Close() }

// call calls a method of the agent and stores its answer. It returns the place of the answer in the order of everything
// that came from the bus. what begins "cannot …".
func (c *Client) call(ctx context.Context, what string, path dbus.ObjectPath, method string, args []any, results ...any) (dbus.Sequence, error) {
	return c.callTo(ctx, what, BusName, path, method, args, results...)
}

func (c *Client) callTo(ctx context.Context, what, dest string, path dbus.ObjectPath, method string, args []any, results ...any) (dbus.Sequence, error) {
	if !path.IsValid() {
		return 0, fmt.Errorf("%s: %q is not an object path", what, path)
	}
	bounded, cancel := context.WithTimeout(ctx, c.callTimeout)
	defer cancel()
	call := c.conn.Object(dest, path).CallWithContext(bounded, method, 0, args...)
	if call.Err != nil {
		if ctx.Err() != nil { // the caller's own limit says nothing of the agent
			return 0, fmt.Errorf("%s: %w", what, ctx.Err())
		}
		return 0, classify(what, call.Err)
	}
	if err := call.Store(results...); err != nil {
		return 0, fmt.Errorf("%s: cannot read the answer of %s: %w", what, method, err)
	}
	return call.ResponseSequence, nil
}

// options is an a{sv}.
type options map[string]dbus.Variant

func (o options) put(key string, v any) {
	if s, ok := v.(string); ok && s == "" {
		return
	}
	o[key] = dbus.MakeVariant(v)
}

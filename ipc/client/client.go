package client

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/bus"
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
	pathBus         = "/org/freedesktop/DBus"
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

// Dial connects to a bus: "system", "session", or a D-Bus address such as unix:path=/run/smmd/bus; "" is "system". ctx bounds
// the attempt only. Dial does not look for the agent: that is what the first call does, so that the bus can start it. The error
// is [ErrUnreachable].
func Dial(ctx context.Context, name string) (*Client, error) {
	if name == "" {
		name = bus.System
	}
	// Signals in the order of the bus: without it a job could end before it moves.
	conn, err := bus.Connect(ctx, name, dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	return &Client{conn: conn, callTimeout: callTimeout, restartGrace: restartTimeout}, nil
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

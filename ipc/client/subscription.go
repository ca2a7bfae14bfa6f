package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// A subscription is the stream of the agent's signals, in the order of the bus, and the news of who owns its name.
type subscription struct {
	c     *Client
	ch    chan *dbus.Signal
	rules [][]dbus.MatchOption
	owner string        // unique name of the agent, "" while there is none
	asked dbus.Sequence // of the answer that told the owner: older news of it is in it
}

// subscribe asks for the signals of the job at path, or of all objects at [Root]. It is open from before its return on.
func (c *Client) subscribe(ctx context.Context, path dbus.ObjectPath) (*subscription, error) {
	const what = "cannot subscribe to the agent"
	// The handler of the connection queues for a channel that is full, so the size is of no consequence.
	s := &subscription{c: c, ch: make(chan *dbus.Signal, 64)}
	c.conn.Signal(s.ch)
	// dbus-daemon takes all rules with a path_namespace that differ in nothing else for the same when it removes one: whoever stopped listening to a
	// job would take away the signals of another. What listens to everything has the same rule anyway.
	where := dbus.WithMatchObjectPath(path)
	if path == Root {
		where = dbus.WithMatchPathNamespace(path)
	}
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(ifaceBus), dbus.WithMatchInterface(ifaceBus), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, BusName)},
		{dbus.WithMatchSender(BusName), where},
	} {
		if err := c.conn.AddMatchSignalContext(ctx, rule...); err != nil {
			s.close()
			return nil, classify(what, err)
		}
		s.rules = append(s.rules, rule)
	}
	err := s.findOwner(ctx, what)
	if errors.Is(err, ErrUnreachable) {
		// Where the bus knows how to start the agent, it does; otherwise the error says that there is none.
		var started uint32
		if _, err = c.callTo(ctx, what, ifaceBus, pathBus, ifaceBus+".StartServiceByName", []any{BusName, uint32(0)}, &started); err == nil {
			err = s.findOwner(ctx, what)
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *subscription) findOwner(ctx context.Context, what string) error {
	seq, err := s.c.callTo(ctx, what, ifaceBus, pathBus, ifaceBus+".GetNameOwner", []any{BusName}, &s.owner)
	s.asked = seq
	return err
}

func (s *subscription) close() {
	// Without the caller's context: the rules must go when he is no longer interested.
	ctx, cancel := context.WithTimeout(context.Background(), s.c.callTimeout)
	defer cancel()
	for _, rule := range s.rules {
		// Fails only when the connection is gone, and the rules with it.
		_ = s.c.conn.RemoveMatchSignalContext(ctx, rule...)
	}
	s.c.conn.RemoveSignal(s.ch)
}

// next returns the next signal of the agent; or one of the bus, after which s.owner is another.
func (s *subscription) next(ctx context.Context) (*dbus.Signal, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case sig, ok := <-s.ch:
			switch {
			case !ok:
				return nil, fmt.Errorf("cannot follow the agent: %w: the connection to the bus is closed", ErrUnreachable)
			case isOwnerChange(sig):
				owner, _ := sig.Body[2].(string)
				if sig.Sequence < s.asked || owner == s.owner {
					continue
				}
				s.owner = owner
				return sig, nil
			case sig.Sender == s.owner && s.owner != "":
				return sig, nil
			}
		}
	}
}

func isOwnerChange(sig *dbus.Signal) bool {
	if sig.Sender != ifaceBus || sig.Name != ifaceBus+".NameOwnerChanged" || len(sig.Body) != 3 {
		return false
	}
	name, _ := sig.Body[0].(string)
	return name == BusName
}

// propertiesChanged takes a PropertiesChanged apart. reread is set when it names properties without their values.
func propertiesChanged(sig *dbus.Signal) (iface string, props map[string]dbus.Variant, reread bool) {
	if sig.Name != ifaceProperties+".PropertiesChanged" || len(sig.Body) != 3 {
		return "", nil, false
	}
	iface, _ = sig.Body[0].(string)
	props, _ = sig.Body[1].(map[string]dbus.Variant)
	invalidated, _ := sig.Body[2].([]string)
	return iface, props, len(invalidated) > 0
}

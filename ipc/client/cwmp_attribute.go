package client

import (
	"context"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// The notification attributes of a parameter.
const (
	NotificationOff     = 0
	NotificationPassive = 1
	NotificationActive  = 2
)

// An Attribute is what the ACS is to be told of a parameter.
type Attribute struct {
	Path         string `json:"path"`
	Notification uint32 `json:"notification"` // 0 off, 1 passive, 2 active
	Subscriber   bool   `json:"subscriber"`   // others than the ACS can write it: its AccessList is Subscriber
}

// GetParameterAttributes reads attributes. A path that ends with a dot stands for everything below; one path that does not exist fails the
// whole call.
func (c *Client) GetParameterAttributes(ctx context.Context, paths ...string) ([]Attribute, error) {
	var attributes []Attribute
	_, err := c.call(ctx, "cannot get attributes", Root, ifaceCWMP+".GetParameterAttributes", []any{paths}, &attributes)
	return attributes, err
}

// A Notification is a path, of a parameter or with a dot at its end for those below it now, and its notification attribute.
type Notification struct {
	Path         string
	Notification uint32
}

// SetParameterAttributes sets notification attributes, all or none.
func (c *Client) SetParameterAttributes(ctx context.Context, attributes ...Notification) error {
	_, err := c.call(ctx, "cannot set attributes", Root, ifaceCWMP+".SetParameterAttributes", []any{nonNil(attributes)})
	return err
}

// PendingValueChanges returns the parameters that the ACS is still to be told of, with their values now, and the cursor that
// [Client.AcknowledgeValueChanges] takes when that is done.
func (c *Client) PendingValueChanges(ctx context.Context) (cursor uint64, values []Parameter, err error) {
	_, err = c.call(ctx, "cannot list the changed values", Root, ifaceCWMP+".PendingValueChanges", nil, &cursor, &values)
	return cursor, values, err
}

// AcknowledgeValueChanges forgets what was pending when the cursor was given and has not changed since. A cursor of an earlier life of the
// agent is refused with InvalidArguments.
func (c *Client) AcknowledgeValueChanges(ctx context.Context, cursor uint64) error {
	_, err := c.call(ctx, "cannot acknowledge the changed values", Root, ifaceCWMP+".AcknowledgeValueChanges", []any{cursor})
	return err
}

// A CWMPEvent says that there is something for the ACS: a report, or changed values; or nothing of both, when the agent came back and may have what no
// event has told.
type CWMPEvent struct {
	Report     uint64 // its number; 0: none
	Kind       string // of the report
	CommandKey string
	Values     []Parameter
}

// WatchCWMP calls tell for each wake-up of the agent, also over its restarts, until ctx is done or tell returns an error, which it returns then. The
// first event, without content, says that from now on nothing is missed: that is the moment to ask for what is pending.
func (c *Client) WatchCWMP(ctx context.Context, tell func(CWMPEvent) error) error {
	s, err := c.subscribe(ctx, Root)
	if err != nil {
		return err
	}
	defer s.close()
	if err := tell(CWMPEvent{}); err != nil {
		return err
	}
	for {
		sig, err := s.next(ctx)
		if err != nil {
			return err
		}
		e, ok, err := cwmpEvent(sig)
		if err != nil {
			return err
		}
		if isOwnerChange(sig) && s.owner != "" {
			e, ok = CWMPEvent{}, true
		}
		if ok {
			if err := tell(e); err != nil {
				return err
			}
		}
	}
}

// cwmpEvent reads a signal, and reports whether it is one of CWMP.
func cwmpEvent(sig *dbus.Signal) (e CWMPEvent, ok bool, err error) {
	switch sig.Name {
	case ifaceCWMP + ".ReportPending":
		err = dbus.Store(sig.Body, &e.Report, &e.Kind, &e.CommandKey)
	case ifaceCWMP + ".ValueChanged":
		err = dbus.Store(sig.Body, &e.Values)
	default:
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("cannot read the signal %s: %w", sig.Name, err)
	}
	return e, true, nil
}

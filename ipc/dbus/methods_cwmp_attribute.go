package dbus

import (
	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

// attributed is one element of a(sub).
type attributed struct {
	Name         string
	Notification uint32
	Subscriber   bool
}

// notified is one element of a(su).
type notified struct {
	Name         string
	Notification uint32
}

func parameterAttributes(c *call) ([]any, error) {
	attributes, err := c.cwmp.GetParameterAttributes(once(arg[[]string](c, 0)))
	if err != nil {
		return nil, cwmpRefusal(err)
	}
	list := make([]attributed, len(attributes))
	for i, a := range attributes {
		list[i] = attributed{text(a.Name), a.Notification, a.Subscriber}
	}
	return []any{list}, nil
}

func setParameterAttributes(c *call) ([]any, error) {
	var given []notified
	if err := dbus.Store(c.body[:1], &given); err != nil {
		return nil, invalid("cannot set attributes: %v", err)
	}
	settings := make([]cwmp.AttributeSetting, len(given))
	for i, n := range given {
		if len(n.Name) > maxText {
			return nil, invalid("cannot set the attributes of %s: the name is too long", quote(n.Name))
		}
		settings[i] = cwmp.AttributeSetting{Name: n.Name, Notification: n.Notification}
	}
	if err := c.cwmp.SetParameterAttributes(c.ctx, settings); err != nil {
		return nil, cwmpRefusal(err)
	}
	return nil, nil
}

func pendingValueChanges(c *call) ([]any, error) {
	if c.acs == nil {
		return []any{uint64(0), []valued{}}, nil
	}
	cursor, values := c.acs.get()
	return []any{cursor, valuedList(values)}, nil
}

func acknowledgeValueChanges(c *call) ([]any, error) {
	if c.acs == nil {
		return nil, nil // nothing was ever told
	}
	if err := c.acs.acknowledge(arg[uint64](c, 0)); err != nil {
		return nil, refusal(err, ofCall)
	}
	return nil, nil
}

// valueChanged tells what the ACS is to be told of and no signal has told yet.
func (g *signaler) valueChanged() error {
	if g.server.acs == nil {
		return nil
	}
	if values := g.server.acs.tell(); len(values) > 0 {
		return g.emit(xml.Root, xml.CWMP+".ValueChanged", valuedList(values))
	}
	return nil
}

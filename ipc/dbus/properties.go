package dbus

import (
	"errors"
	"math"
	"slices"
	"sync"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// maxText is the greatest length of a string that a changing call may carry, in bytes: several times of what the data model
// allows anywhere (TR-181: a URL has at most 2048 characters).
const maxText = 16 << 10

// place is an object at one moment: its own properties and where their values are.
type place struct {
	iface string
	props []property
	view  *view
	row   any
}

// at returns the place of a row, and whether the row exists. The zero Ref is the agent itself.
func (s *Server) at(v *view, r model.Ref) (place, bool) {
	if r == (model.Ref{}) {
		return place{xml.Agent, s.root, v, nil}, true
	}
	found := row(v.snap, r)
	name := xml.Of(r.Kind)
	return place{name, properties[name], v, found}, found != nil
}

// value returns one property.
func (p place) value(prop property) dbus.Variant { return dbus.MakeVariant(prop.get(p.view, p.row)) }

// values returns all properties.
func (p place) values() map[string]dbus.Variant {
	all := make(map[string]dbus.Variant, len(p.props))
	for _, prop := range p.props {
		all[prop.name] = p.value(prop)
	}
	return all
}

// interfaces returns all properties as the object manager tells them.
func (p place) interfaces() map[string]map[string]dbus.Variant {
	return map[string]map[string]dbus.Variant{p.iface: p.values()}
}

// place returns the object of a call as it is now.
func (c *call) place() (place, error) {
	p, ok := c.at(&view{snap: c.agent.Snapshot()}, c.object.ref)
	if !ok { // it went after the call was found
		return place{}, busError("UnknownObject", "cannot find the object %s", c.object.path)
	}
	return p, nil
}

// own reports whether the named interface is the one that holds the properties of the object; an empty name stands for any.
// It is an error when the object does not have the interface.
func (c *call) own(p place, name string) (bool, error) {
	if name == "" || name == p.iface {
		return true, nil
	}
	if slices.Contains(c.object.ifaces, name) {
		return false, nil
	}
	return false, busError("UnknownInterface", "cannot find the interface %s at %s", quote(name), c.object.path)
}

// find returns the property that a call names.
func (c *call) find() (place, property, error) {
	p, err := c.place()
	if err != nil {
		return place{}, property{}, err
	}
	iface, name := arg[string](c, 0), arg[string](c, 1)
	own, err := c.own(p, iface)
	if err != nil {
		return place{}, property{}, err
	}
	i := slices.IndexFunc(p.props, func(x property) bool { return x.name == name })
	if !own || i < 0 {
		return place{}, property{}, busError("UnknownProperty", "cannot find the property %s of %s at %s",
			quote(name), quote(iface), c.object.path)
	}
	return p, p.props[i], nil
}

func getProperty(c *call) ([]any, error) {
	p, prop, err := c.find()
	if err != nil {
		return nil, err
	}
	return []any{p.value(prop)}, nil
}

func getAllProperties(c *call) ([]any, error) {
	p, err := c.place()
	if err != nil {
		return nil, err
	}
	own, err := c.own(p, arg[string](c, 0))
	if err != nil {
		return nil, err
	}
	if !own {
		return []any{map[string]dbus.Variant{}}, nil
	}
	return []any{p.values()}, nil
}

func setProperty(c *call) ([]any, error) {
	p, prop, err := c.find()
	if err != nil {
		return nil, err
	}
	if prop.set == "" {
		return nil, busError("PropertyReadOnly", "cannot set %s of %s: it is read-only", prop.name, c.object.path)
	}
	variant := arg[dbus.Variant](c, 2)
	want := xml.Lookup(p.iface).Property(prop.name).Type
	if got := variant.Signature().String(); got != want {
		return nil, invalid("cannot set %s of %s: its type is %s, not %s", prop.name, c.object.path, want, quote(got))
	}
	value, err := assigned(variant.Value())
	if err != nil {
		return nil, invalid("cannot set %s of %s: %v", prop.name, c.object.path, err)
	}
	_, err = c.agent.Set(c.ctx, []model.Assignment{{Row: c.object.ref, Attribute: prop.set, Value: value}}, c.originator())
	if err != nil {
		return nil, refusal(err, ofParameter)
	}
	return nil, nil
}

var (
	errTooLong  = errors.New("it is too long")
	errTooGreat = errors.New("it is too great")
)

// assigned turns a value of a writable type (b, s, i, u) into that of an assignment.
func assigned(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if len(v) > maxText {
			return nil, errTooLong
		}
		return v, nil
	case int32:
		return int(v), nil
	case uint32:
		if v > math.MaxInt32 { // an int has 32 bits on small machines
			return nil, errTooGreat
		}
		return int(v), nil
	}
	return v, nil
}

// tree is the answer to GetManagedObjects.
type tree = map[dbus.ObjectPath]map[string]map[string]dbus.Variant

// managed keeps the last tree. However many ask at once, it is made once for each snapshot and held once in memory.
type managed struct {
	mu   sync.Mutex
	snap *model.Snapshot
	tree tree // not changed any more
}

func managedObjects(c *call) ([]any, error) {
	c.managed.mu.Lock()
	defer c.managed.mu.Unlock()
	if snap := c.agent.Snapshot(); c.managed.snap != snap {
		all := tree{}
		v := indexed(snap)
		for _, k := range xml.Kinds {
			for ref := range rows(snap, k) {
				if p, ok := c.at(v, ref); ok {
					all[path(ref)] = p.interfaces()
				}
			}
		}
		c.managed.snap, c.managed.tree = snap, all
	}
	return []any{c.managed.tree}, nil
}

package client

import (
	"context"
	"errors"
	"time"

	"github.com/godbus/dbus/v5"
)

// EventKind says what an [Event] is about.
type EventKind string

// The kinds of events.
const (
	Added     EventKind = "added"      // Object exists now, or did when the watch began
	Changed   EventKind = "changed"    // the properties in Changed of Object have other values
	Removed   EventKind = "removed"    // Object is gone; it is told as it was at last
	Completed EventKind = "completed"  // Object is a job that has ended; told after everything that it changed
	Synced    EventKind = "synced"     // everything that exists has been told
	AgentGone EventKind = "agent-gone" // the agent has left the bus
	AgentBack EventKind = "agent-back" // it is there again; what is different follows, then Synced
)

// An Event is something that happened.
type Event struct {
	Kind    EventKind
	Time    time.Time // when this client learned of it
	Initial bool      // part of the state at the beginning of the watch
	Object  Object    // nil for Synced, AgentGone and AgentBack
	Changed []string  // names of properties, sorted; of Changed only
}

// Watch calls f for everything that happens until ctx is done, f returns an error, or the bus is lost; that error it returns.
// It begins with an Added for every object, then Synced; a change can show in the state already and is then not told again. When the
// agent restarts, the differences are told. f runs in the caller's goroutine; what happens meanwhile waits in memory.
func (c *Client) Watch(ctx context.Context, f func(Event) error) error {
	s, err := c.subscribe(ctx, Root)
	if err != nil {
		return err
	}
	defer s.close()
	w := watch{c: c, s: s, tell: f, known: objectMap{}, ended: map[dbus.ObjectPath]bool{}, initial: true}
	if err := w.sync(ctx); err != nil {
		return err
	}
	w.initial = false
	for {
		owner := s.owner
		sig, err := s.next(ctx)
		if err == nil && s.owner != owner {
			err = w.ownerChanged(ctx, owner)
		} else if err == nil {
			err = w.take(ctx, sig)
		}
		if err != nil {
			return err
		}
	}
}

type watch struct {
	c       *Client
	s       *subscription
	tell    func(Event) error
	known   objectMap
	seq     dbus.Sequence            // of the answer that told everything
	ended   map[dbus.ObjectPath]bool // jobs whose end has been told, or was there at the beginning
	initial bool
}

func (w *watch) emit(e Event) error {
	e.Time = time.Now()
	e.Initial = w.initial
	return w.tell(e)
}

func (w *watch) ownerChanged(ctx context.Context, before string) error {
	if before != "" {
		if err := w.emit(Event{Kind: AgentGone}); err != nil {
			return err
		}
	}
	if w.s.owner == "" {
		return nil
	}
	if err := w.emit(Event{Kind: AgentBack}); err != nil {
		return err
	}
	err := w.sync(ctx)
	if errors.Is(err, ErrUnreachable) && !errors.Is(err, context.DeadlineExceeded) && w.c.conn.Connected() {
		return nil // gone again, and the signal that says so is under way
	}
	return err
}

// sync reads everything and tells in what it differs from what is known.
func (w *watch) sync(ctx context.Context) error {
	// Not from the well-known name: an answer of the next agent would not fit the signals of this one.
	now, seq, err := w.c.objects(ctx, w.s.owner)
	if err != nil {
		return err
	}
	w.seq = seq
	for _, path := range w.known.sorted() {
		if _, ok := now[path]; !ok {
			if err := w.remove(path); err != nil {
				return err
			}
		}
	}
	for _, path := range now.sorted() {
		if err := w.put(now[path]); err != nil {
			return err
		}
	}
	for _, path := range now.sorted() {
		if j, ok := now[path].(*Job); ok && j.Final() {
			if err := w.complete(j); err != nil {
				return err
			}
		}
	}
	return w.emit(Event{Kind: Synced})
}

// take takes one signal of the agent.
func (w *watch) take(ctx context.Context, sig *dbus.Signal) error {
	if sig.Sequence < w.seq {
		return w.again(ctx, sig)
	}
	switch sig.Name {
	case ifaceManager + ".InterfacesAdded":
		if len(sig.Body) != 2 {
			return nil
		}
		path, _ := sig.Body[0].(dbus.ObjectPath)
		ifaces, _ := sig.Body[1].(map[string]map[string]dbus.Variant)
		o := newObject(path)
		if o == nil {
			return nil
		}
		if _, err := decode(o, ifaces[o.Reference().Kind().iface()]); err != nil {
			return err
		}
		return w.put(o)
	case ifaceManager + ".InterfacesRemoved":
		if len(sig.Body) != 2 {
			return nil
		}
		path, _ := sig.Body[0].(dbus.ObjectPath)
		return w.remove(path)
	}
	old := w.known[sig.Path]
	if j, ok := old.(*Job); ok && sig.Name == KindJob.iface()+".Completed" {
		// Not the property State: that is told as it is when it is sent, and so perhaps before what the job did.
		return w.complete(j)
	}
	iface, props, reread := propertiesChanged(sig)
	if old == nil || iface != old.Reference().Kind().iface() {
		return nil
	}
	if reread {
		o, _, err := w.c.read(ctx, sig.Path)
		if IsName(err, unknownObject) || errors.Is(err, ErrUnreachable) && w.c.conn.Connected() {
			return nil // gone, and the signal that says so is under way
		}
		if err != nil {
			return err
		}
		return w.put(o)
	}
	o := old.clone()
	if _, err := decode(o, props); err != nil {
		return err
	}
	return w.put(o)
}

// again takes a signal that overtook the answer that told everything. The agent makes an answer and sends it a moment later, so the
// signal may be news all the same; or old, and then its values must not count. So the object is read.
func (w *watch) again(ctx context.Context, sig *dbus.Signal) error {
	path := sig.Path
	if path == Root && len(sig.Body) > 0 {
		path, _ = sig.Body[0].(dbus.ObjectPath) // of an object that came or went
	}
	if newObject(path) == nil {
		return nil
	}
	o, _, err := w.c.read(ctx, path)
	switch {
	case IsName(err, unknownObject):
		return w.remove(path)
	case errors.Is(err, ErrUnreachable) && w.c.conn.Connected():
		return nil // gone, and the signal that says so is under way
	case err != nil:
		return err
	}
	if err := w.put(o); err != nil {
		return err
	}
	if j, ok := o.(*Job); ok && j.Final() {
		return w.complete(j)
	}
	return nil
}

// put makes o known and tells what is new in it.
func (w *watch) put(o Object) error {
	path := o.Reference().Object
	old := w.known[path]
	w.known[path] = o
	e := Event{Kind: Added, Object: o}
	if old != nil {
		e = Event{Kind: Changed, Object: o, Changed: differences(old, o)}
		if len(e.Changed) == 0 {
			return nil
		}
	}
	return w.emit(e)
}

// complete tells that a job has ended, once.
func (w *watch) complete(j *Job) error {
	if w.ended[j.Object] {
		return nil
	}
	w.ended[j.Object] = true
	if w.initial {
		return nil // it ended before the watch began
	}
	return w.emit(Event{Kind: Completed, Object: j})
}

func (w *watch) remove(path dbus.ObjectPath) error {
	o := w.known[path]
	if o == nil {
		return nil
	}
	delete(w.known, path)
	delete(w.ended, path)
	return w.emit(Event{Kind: Removed, Object: o})
}

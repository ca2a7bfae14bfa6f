package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	manager "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	systemdName   = "org.freedesktop.systemd1"
	systemdPath   = "/org/freedesktop/systemd1"
	portableName  = "org.freedesktop.portable1"
	portablePath  = "/org/freedesktop/portable1"
	propertiesAPI = "org.freedesktop.DBus.Properties"
)

// answerTime is how long the answer to a question about one property may take that nobody else limits.
const answerTime = 25 * time.Second

// A link is an environment's connection to the service manager and to portabled, over the system bus. It is lost with the bus.
type link struct {
	units  *manager.Conn   // jobs and properties
	bus    *dbus.Conn      // signals, and what the other has no method for
	life   context.Context // ends with the first of the connections that is lost
	end    context.CancelFunc
	answer time.Duration // answerTime, or less in tests

	mu      sync.Mutex
	held    map[string]int      // how often units are referenced: the manager counts
	missing map[string][]string // what units require and there is not, until the next reload
}

// dialBus makes a connection of its own to the system bus, which lives as long as ctx.
func dialBus(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.SystemBusPrivate(dbus.WithContext(ctx), dbus.WithSignalHandler(dbus.NewSequentialSignalHandler()))
	if err != nil {
		return nil, err
	}
	// The number of the user, so that its name need not be looked up.
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// newLink connects within limit. life bounds the connection, not the making of it.
func newLink(life context.Context, limit time.Duration) (*link, error) {
	if err := life.Err(); err != nil {
		return nil, fmt.Errorf("cannot reach the system bus: %w", err)
	}
	life, end := context.WithCancel(life)
	l := &link{life: life, end: end, answer: answerTime, held: map[string]int{}, missing: map[string][]string{}}
	// Not every call of the libraries takes a context; the end of the connection ends them all.
	late := time.AfterFunc(limit, end)
	err := l.connect()
	if !late.Stop() {
		err = fmt.Errorf("cannot reach systemd over the system bus: no answer within %v", limit)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) connect() (err error) {
	if l.units, err = manager.NewConnection(l.dial); err != nil {
		return fmt.Errorf("cannot reach the system bus: %w", err)
	}
	if l.bus, err = l.dial(); err != nil {
		return fmt.Errorf("cannot reach the system bus: %w", err)
	}
	// The manager sends its signals for as long as somebody is subscribed.
	if err := l.manager(l.life, "Subscribe").Err; err != nil {
		return fmt.Errorf("cannot reach systemd: %w", err)
	}
	return nil
}

// dial makes one of the link's connections, with which the link ends.
func (l *link) dial() (*dbus.Conn, error) {
	conn, err := dialBus(l.life)
	if err == nil {
		context.AfterFunc(conn.Context(), l.end)
	}
	return conn, err
}

func (l *link) close() {
	if l.units != nil {
		l.units.Close()
	}
	if l.bus != nil {
		l.bus.Close()
	}
	l.end()
}

// works reports whether all of the link's connections are there.
func (l *link) works() bool {
	return l.life.Err() == nil && l.bus.Connected() && l.units.Connected()
}

func (l *link) manager(ctx context.Context, method string, args ...any) *dbus.Call {
	return l.bus.Object(systemdName, systemdPath).CallWithContext(ctx, systemdName+".Manager."+method, 0, args...)
}

// property reads one property of an object of the manager.
func (l *link) property(ctx context.Context, path dbus.ObjectPath, api, name string) (dbus.Variant, error) {
	limited, cancel := context.WithTimeout(ctx, l.answer)
	defer cancel()
	var v dbus.Variant
	err := l.bus.Object(systemdName, path).CallWithContext(limited, propertiesAPI+".Get", 0, systemdName+"."+api, name).Store(&v)
	if err != nil && ctx.Err() == nil && limited.Err() != nil {
		err = adapter.Errorf(adapter.Unavailable, "cannot read %s of %s: systemd does not answer within %v", name, path, l.answer)
	}
	return v, err
}

// version is that of the service manager, empty when it does not say.
func (l *link) version(ctx context.Context) string {
	v, err := l.property(ctx, systemdPath, "Manager", "Version")
	if err != nil {
		return ""
	}
	text, _ := v.Value().(string)
	return text
}

// hold keeps a unit in the manager's memory for as long as the link lives: one that was skipped or has ended would be forgotten
// together with what it has to tell. One that is held already is left as it is; when two take hold of it at the same moment it is held twice.
func (l *link) hold(ctx context.Context, unit string) error {
	l.mu.Lock()
	times := l.held[unit]
	l.mu.Unlock()
	if times > 0 {
		return nil
	}
	if err := l.manager(ctx, "RefUnit", unit).Err; err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[unit]++
	return nil
}

// release lets go of a unit, however often it is held.
func (l *link) release(ctx context.Context, unit string) error {
	l.mu.Lock()
	times := l.held[unit]
	delete(l.held, unit)
	l.mu.Unlock()
	for range times {
		if err := l.manager(ctx, "UnrefUnit", unit).Err; err != nil {
			return err
		}
	}
	return nil
}

// releaseOthers lets go of the units that are held and not to be kept: the watch may have taken hold of one that was just being removed.
func (l *link) releaseOthers(ctx context.Context, keep []string) {
	l.mu.Lock()
	var others []string
	for u := range l.held {
		if !slices.Contains(keep, u) {
			others = append(others, u)
		}
	}
	l.mu.Unlock()
	for _, u := range others {
		_ = l.release(ctx, u) // with the bus it is gone anyway
	}
}

// reload makes the manager read all unit files again.
func (l *link) reload(ctx context.Context) error {
	l.forget()
	if err := l.units.ReloadContext(ctx); err != nil {
		return fmt.Errorf("cannot make systemd read its unit files: %w", err)
	}
	l.forget()
	return nil
}

// forget drops what is remembered of unit files.
func (l *link) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.missing)
}

// unitPath is the object of a unit.
func unitPath(unit string) dbus.ObjectPath {
	return dbus.ObjectPath(systemdPath + "/unit/" + manager.PathBusEscape(unit))
}

// errorName returns the D-Bus name of an error, empty when it has none.
func errorName(err error) string {
	var e dbus.Error
	if errors.As(err, &e) {
		return e.Name
	}
	return ""
}

// says reports whether the message of an error has the words.
func says(err error, words string) bool {
	return err != nil && strings.Contains(err.Error(), words)
}

// explain classifies an error of the bus that nobody expects.
func explain(what string, err error) error {
	var known *adapter.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, dbus.ErrClosed), errorName(err) == "org.freedesktop.DBus.Error.NoReply", errorName(err) == "org.freedesktop.DBus.Error.Disconnected":
		return &adapter.Error{Reason: adapter.Unavailable, Message: fmt.Sprintf("cannot %s: the system bus is lost", what), Cause: err.Error()}
	case errorName(err) == "org.freedesktop.DBus.Error.ServiceUnknown":
		return &adapter.Error{Reason: adapter.Unavailable, Message: fmt.Sprintf("cannot %s: %v; systemd-portabled comes with the package systemd-container", what, err), Cause: err.Error()}
	}
	return fmt.Errorf("cannot %s: %w", what, err)
}

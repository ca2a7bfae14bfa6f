package dbus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/smmd-project/smmd/agent/model"

	"github.com/godbus/dbus/v5"
)

// maxOrigins is how many callers are remembered. Unique names are never given twice, so what is remembered stays true.
const maxOrigins = 1024

// origins says who is behind a unique name.
type origins struct {
	mu    sync.Mutex
	known map[string]string
	conn  *dbus.Conn // nil: nobody to ask yet
}

func newOrigins() *origins { return &origins{known: map[string]string{}} }

// ask tells which bus to ask.
func (o *origins) ask(conn *dbus.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.conn = conn
}

// of returns the originator for a caller: "dbus :1.42 uid=0 pid=4711". A bus that does not tell within a second, or a caller that is
// gone, leaves the unique name alone.
func (o *origins) of(ctx context.Context, sender string) string {
	o.mu.Lock()
	name, ok := o.known[sender]
	conn := o.conn
	o.mu.Unlock()
	if ok {
		return name
	}
	name = "dbus " + sender
	if conn == nil {
		return name
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	var credentials map[string]dbus.Variant
	call := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.GetConnectionCredentials", 0, sender)
	if call.Store(&credentials) != nil {
		return name
	}
	if uid, ok := credentials["UnixUserID"].Value().(uint32); ok {
		name += fmt.Sprintf(" uid=%d", uid)
	}
	if pid, ok := credentials["ProcessID"].Value().(uint32); ok {
		name += fmt.Sprintf(" pid=%d", pid)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.known) >= maxOrigins {
		clear(o.known)
	}
	o.known[sender] = name
	return name
}

// originator returns who makes the call.
func (c *call) originator() model.Origin { return model.Origin{Name: c.origins.of(c.ctx, c.sender)} }

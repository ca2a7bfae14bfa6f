// Package bus connects to a message bus, and runs a private one where there is none.
package bus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// The names of buses that [Connect] takes besides D-Bus addresses.
const (
	System  = "system"  // of the machine: $DBUS_SYSTEM_BUS_ADDRESS or the well-known socket
	Session = "session" // of the user: $DBUS_SESSION_BUS_ADDRESS or $XDG_RUNTIME_DIR/bus
)

// handshake is the time that authentication and registration may take.
const handshake = 10 * time.Second

// writeTimeout is how long a bus may take nothing of us before the connection is given up.
const writeTimeout = 30 * time.Second

// Address returns the D-Bus address of a bus that is named system or session, and any other text as it is.
func Address(name string) (string, error) {
	switch name {
	case "":
		return "", errors.New("cannot connect to a bus: the address is empty")
	case System:
		if a := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS"); a != "" {
			return a, nil
		}
		return "unix:path=/var/run/dbus/system_bus_socket", nil
	case Session:
		if a := os.Getenv("DBUS_SESSION_BUS_ADDRESS"); a != "" && a != "autolaunch:" {
			return a, nil
		}
		if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
			return "unix:path=" + dbus.EscapeBusAddressValue(filepath.Join(dir, "bus")), nil
		}
		return "", errors.New("cannot find the session bus: DBUS_SESSION_BUS_ADDRESS is not set")
	}
	return name, nil
}

// Connect connects to a bus, authenticates and registers. name is system, session or a D-Bus address; ctx bounds the attempt and
// not the connection, which lives until it is closed or lost.
//
// Over Unix sockets no file descriptors are taken: nobody else would close those that a stranger sends. A bus that takes
// nothing for half a minute is given up.
func Connect(ctx context.Context, name string, opts ...dbus.ConnOption) (*dbus.Conn, error) {
	address, err := Address(name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshake)
	defer cancel()
	var errs []error
	for one := range strings.SplitSeq(address, ";") {
		if one == "" {
			continue
		}
		conn, err := connect(ctx, one, opts)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("cannot connect to the bus %q: %w", address, errors.Join(errs...))
}

func connect(ctx context.Context, address string, opts []dbus.ConnOption) (*dbus.Conn, error) {
	conn, err := dial(ctx, address, opts)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(fmt.Sprint(os.Getuid()))})
	if err == nil {
		err = conn.Hello()
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

func dial(ctx context.Context, address string, opts []dbus.ConnOption) (*dbus.Conn, error) {
	socket, ok, err := unixSocket(address)
	if err != nil {
		return nil, err
	}
	if !ok {
		return dbus.Dial(address, opts...)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	conn, err := dbus.NewConn(&stream{Conn: c, in: bufio.NewReader(c)}, opts...)
	if err != nil {
		c.Close()
		return nil, err
	}
	return conn, nil
}

// unixSocket returns the socket of an address of transport unix, in the notation of package net.
func unixSocket(address string) (socket string, ok bool, err error) {
	rest, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return "", false, nil
	}
	for kv := range strings.SplitSeq(rest, ",") {
		key, value, _ := strings.Cut(kv, "=")
		if key != "path" && key != "abstract" {
			continue
		}
		value, err := dbus.UnescapeBusAddressValue(value)
		if err != nil {
			return "", false, fmt.Errorf("cannot read the address %q: %w", address, err)
		}
		if key == "abstract" {
			value = "@" + value
		}
		return value, true, nil
	}
	return "", false, fmt.Errorf("cannot read the address %q: neither path nor abstract", address)
}

// stream is a connection whose reads are buffered and whose writes end. A write that fails has perhaps sent half a message, so
// it ends the connection.
type stream struct {
	net.Conn
	in *bufio.Reader
}

func (s *stream) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *stream) Write(p []byte) (int, error) {
	err := s.SetWriteDeadline(time.Now().Add(writeTimeout))
	n := 0
	if err == nil {
		n, err = s.Conn.Write(p)
	}
	if err != nil {
		s.Conn.Close()
	}
	return n, err
}

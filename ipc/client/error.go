package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/godbus/dbus/v5"
)

// ErrUnreachable is in the chain of every error that means: there is no bus, no agent on the bus, or the agent went away
// before it answered. Whether a call that failed so was carried out is not known.
var ErrUnreachable = errors.New("agent not reachable")

const (
	errorPrefix   = "org.smmd.Error."
	freedesktop   = "org.freedesktop.DBus.Error."
	accessDenied  = "AccessDenied"
	unknownObject = "UnknownObject"
)

// An Error is what the agent, or the bus in its place, refused. A fault of the agent has a neutral name and the numbers that
// CWMP and USP use for it in the context of the call; an error of D-Bus itself (InvalidArgs, UnknownObject, AccessDenied …)
// has no numbers.
type Error struct {
	Name    string         // DuplicateDU, InvalidArgs: the last word of the name on D-Bus
	DBus    string         // the whole name: org.smmd.Error.DuplicateDU
	Message string         // for a person; says what could not be done and names the thing
	CWMP    uint32         // 0: none
	USP     uint32         // 0: none
	Details map[string]any // what else the agent told, by key; nil when nothing
}

// Error returns the message, and the name with the codes in parentheses.
func (e *Error) Error() string {
	codes := e.Name
	if e.CWMP != 0 {
		codes += fmt.Sprintf(", CWMP %d", e.CWMP)
	}
	if e.USP != 0 {
		codes += fmt.Sprintf(", USP %d", e.USP)
	}
	if e.Message == "" {
		return codes
	}
	return e.Message + " (" + codes + ")"
}

// IsName reports whether err is an [Error] with that name.
func IsName(err error, name string) bool {
	var e *Error
	return errors.As(err, &e) && e.Name == name
}

// unreachable are the errors of the bus that mean that nobody is there to answer.
var unreachable = map[string]bool{
	"ServiceUnknown": true, "NameHasNoOwner": true, "NoReply": true, "Disconnected": true, "NoServer": true,
	"Spawn.ExecFailed": true, "Spawn.ChildExited": true, "Spawn.ChildSignaled": true, "Spawn.Failed": true,
	"Spawn.ServiceNotFound": true, "Timeout": true, "TimedOut": true,
}

// classify turns an error of godbus into one of this package. what says what was to be done, "cannot …".
func classify(what string, err error) error {
	var de dbus.Error
	if pe := (*dbus.Error)(nil); errors.As(err, &pe) {
		de = *pe
	} else if !errors.As(err, &de) {
		return classifyLocal(what, err)
	}
	name, ours := strings.CutPrefix(de.Name, errorPrefix)
	if !ours {
		name = strings.TrimPrefix(de.Name, freedesktop)
		if unreachable[name] {
			return fmt.Errorf("%s: %w: %s", what, ErrUnreachable, de.Error())
		}
	}
	e := &Error{Name: name, DBus: de.Name, Message: firstString(de.Body)}
	if !ours {
		e.Message = what + ": " + e.Message
		if name == accessDenied {
			e.Message = what + ": the bus does not permit it; root and the groups smmd (change) and smmd-read (read) may"
		}
		return e
	}
	if len(de.Body) >= 4 {
		e.CWMP, _ = de.Body[1].(uint32)
		e.USP, _ = de.Body[2].(uint32)
		if details, ok := de.Body[3].(map[string]dbus.Variant); ok && len(details) > 0 {
			e.Details = make(map[string]any, len(details))
			for k, v := range details {
				e.Details[k] = v.Value()
			}
		}
	}
	return e
}

func classifyLocal(what string, err error) error {
	var netErr net.Error
	switch {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", what, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w: no answer in time: %w", what, ErrUnreachable, err)
	case errors.Is(err, dbus.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, os.ErrClosed), errors.As(err, &netErr):
		return fmt.Errorf("%s: %w: the connection to the bus is closed", what, ErrUnreachable)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func firstString(body []any) string {
	if len(body) == 0 {
		return ""
	}
	s, _ := body[0].(string)
	return s
}

// A ParameterFault is what is wrong with one parameter of a call.
type ParameterFault struct {
	Path    string
	CWMP    uint32
	Message string
}

// Parameters returns the faults of single parameters, in the order of the agent; nil when it told none.
func (e *Error) Parameters() []ParameterFault {
	rows, _ := e.Details["parameters"].([][]any)
	var faults []ParameterFault
	for _, row := range rows {
		var f ParameterFault
		if err := dbus.Store(row, &f.Path, &f.CWMP, &f.Message); err == nil {
			faults = append(faults, f)
		}
	}
	return faults
}

package dbus

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
	"github.com/smmd-project/smmd/mapping/cwmp"
	"github.com/smmd-project/smmd/mapping/usp"
)

// maxMessage is how long the message of an error is at most, in bytes: some repeat what the caller sent.
const maxMessage = 1024

// maxQuote is how much of a caller's text an error repeats, in bytes.
const maxQuote = 80

// message makes a text fit for the body of an error.
func message(s string) string {
	if len(s) > maxMessage {
		s = s[:maxMessage] + "…"
	}
	return text(s)
}

// busError returns the error org.freedesktop.DBus.Error.<name>.
func busError(name, format string, args ...any) *dbus.Error {
	return dbus.NewError("org.freedesktop.DBus.Error."+name, []any{message(fmt.Sprintf(format, args...))})
}

// invalid returns an InvalidArgs error.
func invalid(format string, args ...any) *dbus.Error { return busError("InvalidArgs", format, args...) }

// quote returns the caller's text for an error message: quoted, and cut when it is long.
func quote(s string) string {
	if len(s) > maxQuote {
		return fmt.Sprintf("%q…", text(s[:maxQuote]))
	}
	return fmt.Sprintf("%q", s)
}

// text makes a string fit for the wire: the bus ends the connection of whoever sends a zero byte or broken UTF-8, and the bus library of
// systemd drops a whole message for one of Unicode's noncharacters in it.
func text(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 0 || r&0xFFFE == 0xFFFE || 0xFDD0 <= r && r <= 0xFDEF {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// numbers are the codes of a refusal in both protocols, for the place where they would be asked for the same.
type numbers struct{ cwmp, usp func(fault.Reason) uint32 }

// The places. A change of deployment units fails in the words of its result in CWMP and of DUStateChange! in USP, whether it is
// refused at once or fails later: the caller forwards both in the same way.
var (
	ofUnits     = numbers{cwmp.DUResult, usp.Event}
	ofParameter = numbers{cwmp.ParameterCode, usp.Operate}
	ofCall      = numbers{cwmp.RPC, usp.Operate}
)

// refusal returns the D-Bus error for an error of the agent.
func refusal(err error, n numbers) *dbus.Error {
	var ready *dbus.Error
	if errors.As(err, &ready) {
		return ready
	}
	var set *model.SetError
	if errors.As(err, &set) && len(set.Faults) == 1 {
		for _, one := range set.Faults {
			err = one
		}
	}
	reason := reasonOf(err)
	return faultError(reason, err.Error(), n.cwmp(reason), n.usp(reason), nil)
}

// reasonOf returns the class of an error, never none.
func reasonOf(err error) fault.Reason {
	if r := fault.ReasonOf(err); r != fault.None {
		return r
	}
	return fault.Internal
}

// faultError returns the error org.smmd.Error.<Name>.
func faultError(r fault.Reason, what string, cwmpCode, uspCode uint32, details map[string]dbus.Variant) *dbus.Error {
	if details == nil {
		details = map[string]dbus.Variant{}
	}
	return dbus.NewError(xml.ErrorPrefix+r.Name(), []any{message(what), cwmpCode, uspCode, details})
}

// parameterFault is one element of the detail parameters: a(sus).
type parameterFault struct {
	Name    string
	Code    uint32
	Message string
}

// cwmpRefusal returns the D-Bus error for an error of the CWMP face.
func cwmpRefusal(err error) *dbus.Error {
	var f *cwmp.Fault
	if !errors.As(err, &f) {
		return refusal(err, ofCall)
	}
	reason := f.Reason
	if reason == fault.None {
		reason = fault.Internal
	}
	var details map[string]dbus.Variant
	if len(f.Parameters) > 0 {
		list := make([]parameterFault, len(f.Parameters))
		for i, p := range f.Parameters {
			list[i] = parameterFault{text(p.Name), p.Code, message(p.Message)}
		}
		details = map[string]dbus.Variant{"parameters": dbus.MakeVariant(list)}
	}
	return faultError(reason, f.Message, f.Code, usp.Operate(reason), details)
}

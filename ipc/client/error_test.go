package client

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

func TestClassify(t *testing.T) {
	fault := dbus.Error{Name: "org.smmd.Error.DuplicateDU", Body: []any{
		"cannot install x: it is there", uint32(9026), uint32(7226),
		map[string]dbus.Variant{"parameters": dbus.MakeVariant([]struct {
			A string
			B uint32
			C string
		}{})},
	}}
	tests := []struct {
		name        string
		err         error
		want        string
		unreachable bool
		code        string
	}{
		{"fault", fault, "cannot install x: it is there (DuplicateDU, CWMP 9026, USP 7226)", false, "DuplicateDU"},
		{"fault by pointer", &fault, "cannot install x: it is there (DuplicateDU, CWMP 9026, USP 7226)", false, "DuplicateDU"},
		{"fault with a strange body", dbus.Error{Name: "org.smmd.Error.Internal", Body: []any{uint32(1)}}, "Internal", false, "Internal"},
		{"bad argument", dbus.Error{Name: "org.freedesktop.DBus.Error.InvalidArgs", Body: []any{"option x is not known"}}, "cannot do it: option x is not known (InvalidArgs)", false, "InvalidArgs"},
		{"denied", dbus.Error{Name: "org.freedesktop.DBus.Error.AccessDenied", Body: []any{"Rejected send message …"}}, "cannot do it: the bus does not permit it; root and the groups smmd (change) and smmd-read (read) may (AccessDenied)", false, "AccessDenied"},
		{"nobody there", dbus.Error{Name: "org.freedesktop.DBus.Error.ServiceUnknown", Body: []any{"no such name"}}, "cannot do it: agent not reachable: no such name", true, ""},
		{"gone while it answered", dbus.Error{Name: "org.freedesktop.DBus.Error.NoReply"}, "cannot do it: agent not reachable: org.freedesktop.DBus.Error.NoReply", true, ""},
		{"no answer", context.DeadlineExceeded, "cannot do it: agent not reachable: no answer in time: context deadline exceeded", true, ""},
		{"interrupted", context.Canceled, "cannot do it: context canceled", false, ""},
		{"bus gone", io.EOF, "cannot do it: agent not reachable: the connection to the bus is closed", true, ""},
		{"closed", dbus.ErrClosed, "cannot do it: agent not reachable: the connection to the bus is closed", true, ""},
		{"else", errors.New("odd"), "cannot do it: odd", false, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := classify("cannot do it", tt.err)
			if err.Error() != tt.want {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			if errors.Is(err, ErrUnreachable) != tt.unreachable {
				t.Errorf("unreachable = %v", !tt.unreachable)
			}
			if tt.code != "" && !IsName(err, tt.code) {
				t.Errorf("it is not a %s", tt.code)
			}
		})
	}
}

func TestParameters(t *testing.T) {
	e := &Error{Details: map[string]any{"parameters": [][]any{
		{"Device.A", uint32(9005), "no such parameter"},
		{"Device.B", "9006", "of another form: left out"},
		{"Device.C", uint32(9007), "not a number"},
	}}}
	got := e.Parameters()
	if len(got) != 2 || got[0] != (ParameterFault{"Device.A", 9005, "no such parameter"}) || got[1].Path != "Device.C" {
		t.Errorf("Parameters() = %+v", got)
	}
	if got := (&Error{}).Parameters(); got != nil {
		t.Errorf("Parameters() of none = %v", got)
	}
}

func TestJobErr(t *testing.T) {
	for _, tt := range []struct {
		job  Job
		want string
	}{
		{Job{State: "fetching", FaultName: "Internal"}, ""},
		{Job{State: JobDone, Message: "started already"}, ""},
		{Job{Operation: "install", State: JobFailed, FaultName: "DuplicateDU", FaultString: "cannot install: there", FaultCWMP: 9026, FaultUSP: 7226, FaultUSPComplete: 7022},
			"cannot install: there (DuplicateDU, CWMP 9026, USP 7226)"},
		{Job{Operation: "constrain", State: JobFailed, FaultName: "LimitInUse", FaultString: "cannot set limits", FaultCWMP: 9001, FaultUSP: 7002, FaultUSPComplete: 7022},
			"cannot set limits (LimitInUse, CWMP 9001, USP 7022)"},
		{Job{Ref: Ref{Object: ObjectPath(KindJob, 5), Instance: 5}, Operation: "start", State: JobCancelled}, "cannot start: job 5 cancelled (cancelled)"},
	} {
		err := tt.job.Err()
		switch {
		case err == nil && tt.want != "":
			t.Errorf("%s: no error", tt.job.State)
		case err != nil && (tt.want == "" || !strings.EqualFold(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.job.State, err, tt.want)
		}
	}
}

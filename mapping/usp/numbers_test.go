package usp

import (
	"slices"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
)

func span(from, to uint32) []uint32 {
	var s []uint32
	for n := from; n <= to; n++ {
		s = append(s, n)
	}
	return s
}

func TestNumbersAreTotalAndAllowed(t *testing.T) {
	for _, context := range []struct {
		name    string
		number  func(fault.Reason) uint32
		allowed []uint32
	}{
		// TR-181 Issue 2 Amendment 19 (USP), DUStateChange! Fault.FaultCode; 7012 by TR-369 I.3.
		{"Event", Event, slices.Concat([]uint32{7002, 7004, 7012, 7223, 7229}, span(7225, 7227), span(7032, 7037))},
		// TR-369 1.4.1, Operate; of 7000 and 7001 the whole message would be refused. 7229 by TR-369 I.3.2.
		{"Operate", Operate, slices.Concat(span(7002, 7008), []uint32{7016, 7022, 7026, 7027, 7229})},
		// TR-369 1.4.1, Notify, OperationComplete cmd_failure.
		{"OperationComplete", OperationComplete, slices.Concat(span(7002, 7008), []uint32{7016, 7022, 7023})},
		// TR-369 1.4.1, Set; of 7000 and 7001 the whole message would be refused.
		{"Parameter", Parameter, slices.Concat(span(7002, 7016), []uint32{7020, 7021, 7026})},
	} {
		for _, r := range fault.Reasons() {
			if n := context.number(r); !slices.Contains(context.allowed, n) {
				t.Errorf("%s(%s) = %d, which is not allowed there", context.name, r, n)
			}
		}
		if n := context.number(fault.None); n != 0 {
			t.Errorf("%s of no fault = %d, want 0", context.name, n)
		}
		if n, want := context.number("brand-new"), context.number(fault.Internal); n != want {
			t.Errorf("%s of an unknown reason = %d, want that of internal, %d", context.name, n, want)
		}
	}
	for _, r := range fault.Reasons() {
		if _, ok := numbers[r]; !ok {
			t.Errorf("there is no line for %s", r)
		}
	}
	if got, want := len(numbers), len(fault.Reasons()); got != want {
		t.Errorf("%d lines for %d reasons", got, want)
	}
}

// TestPublishedNumbers holds the table against the pairs that TR-181 and TR-369 print.
func TestPublishedNumbers(t *testing.T) {
	for r, want := range map[fault.Reason]uint32{
		fault.RequestDenied: 7002, fault.InvalidArguments: 7004, fault.UnknownExecEnv: 7223, fault.DUExecEnvMismatch: 7225,
		fault.DuplicateDU: 7226, fault.SystemResourcesExceeded: 7227, fault.InvalidDUState: 7229,
		fault.TransferServerUnreachable: 7033, fault.TransferInsecure: 7034, fault.PackageCorrupt: 7035,
		fault.PackageUntrusted: 7036, fault.DisabledExecEnv: 7012,
	} {
		if got := Event(r); got != want {
			t.Errorf("Event(%s) = %d, want %d", r, got, want)
		}
	}
	if got := OperationComplete(fault.Canceled); got != 7023 {
		t.Errorf("OperationComplete(%s) = %d, want 7023", fault.Canceled, got)
	}
	if got := Operate(fault.InvalidArguments); got != 7027 {
		t.Errorf("Operate(%s) = %d, want 7027", fault.InvalidArguments, got)
	}
}

package cwmp

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
		// TR-069 Tables 81 and 85, cwmp-1-2.xsd DeploymentUnitCPEFaultCodeType.
		{"DUResult", DUResult, slices.Concat([]uint32{9001, 9003, 9012, 9013}, span(9015, 9018), span(9022, 9032))},
		{"RPC", RPC, []uint32{9000, 9001, 9002, 9004}}, // TR-069 A.4.1.10
		{"ParameterCode", ParameterCode, span(9005, 9008)},
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

// TestPublishedNumbers holds the table against the conditions that TR-069 gives a number.
func TestPublishedNumbers(t *testing.T) {
	for r, want := range map[fault.Reason]uint32{
		fault.Internal: 9001, fault.RequestDenied: 9001, fault.InvalidArguments: 9003, fault.TransferAuthentication: 9012,
		fault.TransferProtocolUnsupported: 9013, fault.TransferServerUnreachable: 9015, fault.TransferFileUnavailable: 9016,
		fault.TransferIncomplete: 9017, fault.PackageCorrupt: 9018, fault.PackageUntrusted: 9018, fault.InvalidUUID: 9022,
		fault.UnknownExecEnv: 9023, fault.DisabledExecEnv: 9024, fault.DUExecEnvMismatch: 9025, fault.DuplicateDU: 9026,
		fault.SystemResourcesExceeded: 9027, fault.UnknownDU: 9028, fault.InvalidDUState: 9029, fault.DowngradeNotPermitted: 9030,
		fault.VersionNotSpecified: 9031, fault.VersionExists: 9032,
	} {
		if got := DUResult(r); got != want {
			t.Errorf("DUResult(%s) = %d, want %d", r, got, want)
		}
	}
	for r, want := range map[fault.Reason]uint32{fault.Internal: 9002, fault.TooManyOperations: 9004, fault.RequestDenied: 9001} {
		if got := RPC(r); got != want {
			t.Errorf("RPC(%s) = %d, want %d", r, got, want)
		}
	}
	for _, r := range []fault.Reason{fault.DisabledExecEnv, fault.InvalidDUState} {
		if got := ParameterCode(r); got != 9007 {
			t.Errorf("ParameterCode(%s) = %d, want 9007", r, got)
		}
	}
}

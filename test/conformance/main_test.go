// Package conformance checks a whole device against a list of what TR-069, TR-181 and TR-369 want of software modules, requirement by
// requirement, over D-Bus as the client of a management protocol would: CWMP1 and USP1, and nothing else for what those have.
//
// Each requirement has an id and is a test of that name below the kind of environment that it is tried on: TestConformance/lxc/C-04. One device
// with two environments of each kind serves them all; it is rebooted once. The generic cases of TP-469 are spoken in USP records to the USP Service
// that is shipped, which is there for that time only. What is the duty of the client in front of D-Bus or of the Broker, and what a kind of environment
// cannot show, is told with the reason. docs/conformance.md is what a run has found.
package conformance

import (
	"testing"

	"github.com/smmd-project/smmd/test/support"
)

// programs are what is tested, built once.
var programs support.Programs

func TestMain(m *testing.M) { support.Main(m, "conformance", &programs) }

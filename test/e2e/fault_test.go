package e2e

import (
	"testing"

	"github.com/smmd-project/smmd/ipc/client"
)

func wantFault(t *testing.T, j *client.Job, name string, cwmp, usp uint32) {
	t.Helper()
	if j.State != client.JobFailed || j.FaultName != name || j.FaultCWMP != cwmp || j.FaultUSP != usp || j.FaultString == "" {
		t.Errorf("%s is %s with %s %d %d %q, want %s %d %d", j, j.State, j.FaultName, j.FaultCWMP, j.FaultUSP, j.FaultString, name, cwmp, usp)
	}
}

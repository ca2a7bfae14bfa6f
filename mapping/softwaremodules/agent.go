// Package softwaremodules is Device.SoftwareModules. as one declarative table: a line for each parameter with its type, access and range,
// where its value comes from in the snapshot, and what writing it sets.
//
// Source: TR-181 Issue 2 Amendment 19, and OSGi "TR-157 Amendment 3 Software Module Guidelines", Table 155.2.
package softwaremodules

import (
	"context"

	"github.com/smmd-project/smmd/agent/model"
)

// Agent is what the mapping needs of the agent.
type Agent interface {
	// Snapshot returns the state of this moment, without waiting.
	Snapshot() *model.Snapshot
	// Set applies all assignments or none and returns the jobs of those that are still moving. The error is a
	// *[model.SetError] when single assignments are refused.
	Set(ctx context.Context, as []model.Assignment, originator model.Origin) ([]uint32, error)
}

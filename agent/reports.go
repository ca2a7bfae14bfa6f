package agent

import (
	"context"

	"github.com/smmd-project/smmd/agent/inventory"
)

// AcknowledgeReport removes a report that has been delivered. One that does not wait is an error of class invalid-arguments.
func (a *Agent) AcknowledgeReport(ctx context.Context, id uint64) error {
	return change(ctx, a, func(tx *inventory.Tx) error { return a.rep.Acknowledge(tx, id) })
}

// AcknowledgeNotifications removes the notifications up to a number, inclusive, as far as there are any.
func (a *Agent) AcknowledgeNotifications(ctx context.Context, upTo uint64) error {
	return change(ctx, a, func(tx *inventory.Tx) error { return a.rep.AcknowledgeNotifications(tx, upTo) })
}

// SetAttributes sets notification attributes by parameter path, all or none (TR-069 A.3.2.4: 0 off, 1 passive, 2 active;
// [model.AttributeDefault]). Errors are invalid-arguments and system-resources-exceeded.
func (a *Agent) SetAttributes(ctx context.Context, attributes map[string]int) error {
	return change(ctx, a, func(tx *inventory.Tx) error { return a.rep.SetAttributes(tx, attributes) })
}

// change is [accept] for what has no answer.
func change(ctx context.Context, a *Agent, f func(*inventory.Tx) error) error {
	_, err := accept(ctx, a, func(tx *inventory.Tx) (struct{}, error) { return struct{}{}, f(tx) })
	return err
}

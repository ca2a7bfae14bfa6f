package agent

import "github.com/smmd-project/smmd/agent/inventory"

// Alive returns once a change could be made: at once as long as the agent works, and never when whoever changes something has got
// stuck in it. It writes nothing.
func (a *Agent) Alive() error { return a.inv.Update(func(*inventory.Tx) error { return nil }) }

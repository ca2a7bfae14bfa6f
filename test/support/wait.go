package support

import (
	"fmt"
	"testing"
	"time"

	"github.com/smmd-project/smmd/ipc/client"
)

// Patience is how long a test waits for what has to come. It is no measure of anything: machines of tests are busy.
const Patience = time.Minute

// poll is the pause between two looks.
const poll = 15 * time.Millisecond

// Until waits until check returns nil, and ends the test with what it said last when that takes longer than [Patience].
func Until(t testing.TB, what string, check func() error) {
	t.Helper()
	if err := within(Patience, check); err != nil {
		t.Fatalf("waited in vain until %s: %v", what, err)
	}
}

// within calls check until it returns nil or the time is over, and returns its last error.
func within(limit time.Duration, check func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-deadline.C:
			return err
		case <-tick.C:
		}
	}
}

// Tree reads everything that the agent has.
func (d *Device) Tree() *client.Tree {
	d.t.Helper()
	t, err := d.Client.Tree(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return t
}

// Until waits until check is content with the agent's tree and returns that tree.
func (d *Device) Until(what string, check func(*client.Tree) error) (tree *client.Tree) {
	d.t.Helper()
	Until(d.t, what, func() (err error) {
		if tree, err = d.Client.Tree(d.t.Context()); err != nil {
			return err
		}
		return check(tree)
	})
	return tree
}

// Up waits until each environment is up, and at the level that it is to start with.
func (d *Device) Up() *client.Tree {
	d.t.Helper()
	return d.Until("the environments are up", func(t *client.Tree) error {
		for _, e := range t.ExecEnvs {
			if e.Enable && (e.Status != "Up" || e.CurrentRunLevel != e.InitialRunLevel) {
				return fmt.Errorf("%s is %s at level %d of %d: %s", e.ID, e.Status, e.CurrentRunLevel, e.InitialRunLevel, e.StatusDetail)
			}
		}
		return nil
	})
}

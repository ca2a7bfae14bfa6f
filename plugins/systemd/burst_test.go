package systemd

import (
	"context"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// TestUnitsAreToldWithTheirEnvironment: between the news that it is up and that of its last unit nothing is asked of anybody.
func TestUnitsAreToldWithTheirEnvironment(t *testing.T) {
	envs := map[string]map[string]any{home: {}}
	d := newDevice(t, envs)
	for _, name := range []string{"first", "second"} {
		d.install(home, name, newImage(name, "1").service(name+".service", sleeps, "").pkg(t))
	}
	e := d.s.envs[home]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ev, err := d.s.Watch(ctx) // as after a restart of the agent
	d.must(err)
	next := func() adapter.Event {
		t.Helper()
		select {
		case x, ok := <-ev:
			if !ok {
				t.Fatal("the watch is over")
			}
			return x
		case <-time.After(patience):
			t.Fatal("no event comes")
		}
		panic("not reached")
	}
	if x := next(); x.Kind != adapter.EventEnv || !x.Env.Up {
		t.Fatalf("first came %+v", x)
	}
	e.mu.Lock() // whoever reads units waits for it
	defer e.mu.Unlock()
	for _, want := range []adapter.Event{{Kind: adapter.EventUnit, Key: "first"}, {Kind: adapter.EventUnit, Key: "second"}, {Kind: adapter.EventSynced}} {
		x := next()
		if x.Kind != want.Kind || x.Unit != nil && x.Unit.Key != want.Key {
			t.Fatalf("want %s %s, got %s %+v", want.Kind, want.Key, x.Kind, x.Unit)
		}
	}
}

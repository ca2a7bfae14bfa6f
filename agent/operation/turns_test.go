package operation

import (
	"context"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestTurnsGoInOrder(t *testing.T) {
	var q turns
	a := q.join([]string{"b", "a", "b"})
	b := q.join([]string{"b"})
	ab := q.join([]string{"a", "b"})
	c := q.join([]string{"c"})
	last := q.join([]string{"a"})
	none := q.join(nil)
	state := func(want ...bool) {
		t.Helper()
		if got := []bool{a.had(), b.had(), ab.had(), c.had(), last.had(), none.had()}; !slices.Equal(got, want) {
			t.Errorf("turns %v, want %v", got, want)
		}
	}
	state(true, false, false, true, false, true)
	if !q.busy([]string{"x", "a"}) || q.busy([]string{"x"}) || q.busy(nil) {
		t.Error("busy")
	}
	a.leave()
	a.leave() // once more does nothing
	state(true, true, false, true, false, true)
	b.leave()
	state(true, true, true, true, false, true)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errCanceled)
	if err := ab.wait(ctx); err != nil {
		t.Errorf("a turn that has come: %v", err)
	}
	if err := last.wait(ctx); !errors.Is(err, errCanceled) {
		t.Errorf("waiting until cancel: %v", err)
	}
	last.leave()
	ab.leave()
	c.leave()
	if len(q.queues) != 0 {
		t.Errorf("queues are left: %v", q.queues)
	}
}

// Whatever joins and leaves: nobody has a turn together with another one, those who share an environment come in the order in which they
// joined, and somebody always has the turn.
func TestTurnsNeverLock(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q turns
		var in []*ticket
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			if len(in) == 0 || rapid.Bool().Draw(t, "join") {
				in = append(in, q.join(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 3).Draw(t, "envs")))
			} else { // who has the turn ends, or who waits gives up
				i := rapid.IntRange(0, len(in)-1).Draw(t, "who")
				in[i].leave()
				in = slices.Delete(in, i, i+1)
			}
			taken := map[string]bool{}
			for _, k := range in { // in the order of joining
				free := !slices.ContainsFunc(k.envs, func(env string) bool { return taken[env] })
				if k.had() != free {
					t.Fatalf("%v has the turn: %v, want %v", k.envs, k.had(), free)
				}
				for _, env := range k.envs {
					taken[env] = true
				}
			}
			if len(in) > 0 && !in[0].had() {
				t.Fatal("nobody can go on")
			}
		}
	})
}

package dbus

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/usp"
)

// noticeAgent is an agent that keeps notifications and nothing else.
type noticeAgent struct {
	Agent
	draft *model.Draft
	snap  *model.Snapshot
	acks  []uint64
}

func newNoticeAgent() *noticeAgent {
	a := &noticeAgent{draft: model.NewDraft()}
	a.commit(func(d *model.Draft) {
		d.PutExecEnv(&model.ExecEnv{ID: "osgi", Instance: 1, Synced: true})
		d.LastNotification = 1 // taken at the start
	})
	return a
}

func (a *noticeAgent) commit(change func(*model.Draft)) *model.Snapshot {
	change(a.draft)
	a.draft.Seq++
	a.snap = a.draft.Freeze()
	return a.snap
}

func (a *noticeAgent) Snapshot() *model.Snapshot { return a.snap }

func (a *noticeAgent) AcknowledgeNotifications(_ context.Context, upTo uint64) error {
	a.acks = append(a.acks, upTo)
	a.commit(func(d *model.Draft) {
		d.Notifications = slices.DeleteFunc(slices.Clone(d.Notifications), func(n *model.Notification) bool { return n.ID <= upTo })
	})
	return nil
}

func (a *noticeAgent) Set(context.Context, []model.Assignment, model.Origin) ([]uint32, error) {
	return nil, nil
}

// note is a commit that changes a value, and notes an event when event is set.
func (a *noticeAgent) note(value int, event bool) *model.Snapshot {
	return a.commit(func(d *model.Draft) {
		e := *d.ExecEnv(1)
		e.InitialRunLevel = value
		d.PutExecEnv(&e)
		if event {
			d.LastNotification++
			d.Notifications = append(slices.Clone(d.Notifications), &model.Notification{ID: d.LastNotification, Kind: model.NotifyRestarted, Env: "osgi"})
		}
	})
}

// what writes the posts after a number as words: values and "event".
func what(b *board, after uint64) string {
	var words []string
	posts, err := b.after(after)
	if err != nil {
		return err.Error()
	}
	for _, p := range posts {
		switch p.Kind {
		case usp.KindValueChange:
			words = append(words, p.Value)
		case usp.KindEvent:
			words = append(words, "event")
		default:
			words = append(words, string(p.Kind))
		}
	}
	return strings.Join(words, " ")
}

func TestBoard(t *testing.T) {
	a := newNoticeAgent()
	b := newBoard(usp.New(a, ""), a, true)
	take := func(s *model.Snapshot) uint64 {
		t.Helper()
		id, news := b.commit(model.Commit{Snapshot: s})
		if !news {
			t.Errorf("state %d is no news", s.Seq)
		}
		return id
	}
	if _, news := b.commit(model.Commit{Snapshot: a.snap}); news || what(b, 0) != "" {
		t.Errorf("at the beginning there is %q", what(b, 0))
	}
	if id, news := b.commit(model.Commit{Snapshot: a.snap}); news {
		t.Errorf("nothing has happened, and %d is news", id)
	}
	take(a.note(1, false))
	second := take(a.note(2, true)) // the value comes before the event that the same commit notes
	take(a.note(3, false))
	// What the agent has committed and the board has not heard of is not told yet: numbers that come later would be lower.
	later := a.note(4, true)
	if got := what(b, 0); got != "1 2 event 3" {
		t.Errorf("the notifications are %q", got)
	}
	last := take(later)
	if got := what(b, 0); got != "1 2 event 3 4 event" {
		t.Errorf("the notifications are %q", got)
	}
	if got := what(b, second); got != "3 4 event" {
		t.Errorf("after %d there is %q", second, got)
	}
	if err := b.forget(t.Context(), second); err != nil || what(b, 0) != "3 4 event" || !slices.Equal(a.acks, []uint64{2}) {
		t.Errorf("after the acknowledgement of %d there is %q, the agent was asked %v (%v)", second, what(b, 0), a.acks, err)
	}
	// Numbers of what is best effort are none of the agent's.
	if err := b.forget(t.Context(), second+1); err != nil || what(b, 0) != "4 event" || len(a.acks) != 1 {
		t.Errorf("after the acknowledgement of %d there is %q, the agent was asked %v (%v)", second+1, what(b, 0), a.acks, err)
	}
	if err := b.forget(t.Context(), last); err != nil || what(b, 0) != "" {
		t.Errorf("after the acknowledgement of everything there is %q (%v)", what(b, 0), err)
	}
	if b.size != 0 {
		t.Errorf("an empty board has %d bytes", b.size)
	}
}

// A number that was never given is one of an agent whose state is lost. It costs nobody what he has not read.
func TestBoardRefusesNumbersNeverGiven(t *testing.T) {
	a := newNoticeAgent()
	b := newBoard(usp.New(a, ""), a, true)
	refused := func(when string, ids ...uint64) {
		t.Helper()
		for _, id := range ids {
			if _, err := b.after(id); fault.ReasonOf(err) != fault.InvalidArguments {
				t.Errorf("%s: to tell what comes after %d gives %v", when, id, err)
			}
			if err := b.forget(t.Context(), id); fault.ReasonOf(err) != fault.InvalidArguments {
				t.Errorf("%s: the acknowledgement of %d gives %v", when, id, err)
			}
		}
	}
	refused("before the first commit", numbered(1)+1, 1<<64-1)
	b.commit(model.Commit{Snapshot: a.snap})
	refused("at first", numbered(1)+1, 1<<64-1)
	b.commit(model.Commit{Snapshot: a.note(1, true)})
	value, _ := b.commit(model.Commit{Snapshot: a.note(2, false)})
	refused("after an event and a value", value+1, numbered(3), 1<<64-1)
	if got := what(b, 0); got != "1 event 2" || len(a.acks) != 0 {
		t.Errorf("there is %q, the agent was asked %v", got, a.acks)
	}
	if got := what(b, value); got != "" {
		t.Errorf("after the last one there is %q", got)
	}
	later := a.note(3, true) // the agent has given a number that the board has not heard of
	if got := what(b, numbered(a.snap.LastNotification)); got != "" {
		t.Errorf("after the last one of the agent there is %q", got)
	}
	b.commit(model.Commit{Snapshot: later})
	if err := b.forget(t.Context(), value); err != nil || what(b, 0) != "3 event" {
		t.Errorf("after the acknowledgement of %d there is %q (%v)", value, what(b, 0), err)
	}
}

// What the agent learns of an environment at its start is no change.
func TestBoardWaitsForEnvironments(t *testing.T) {
	a := newNoticeAgent()
	of := func(synced bool, level int) *model.Snapshot {
		return a.commit(func(d *model.Draft) {
			d.PutExecEnv(&model.ExecEnv{ID: "osgi", Instance: 1, Synced: synced, InitialRunLevel: level})
			d.PutDeploymentUnit(&model.DeploymentUnit{ID: uint32(10 + level), Env: "osgi"})
		})
	}
	b := newBoard(usp.New(a, ""), a, true)
	b.commit(model.Commit{Snapshot: of(false, 1)})
	b.commit(model.Commit{Snapshot: of(false, 2)})
	b.commit(model.Commit{Snapshot: of(true, 3)})
	if got := what(b, 0); got != "2 3" { // DeploymentUnitNumberOfEntries is of no environment
		t.Errorf("at the start there is %q", got)
	}
	b.commit(model.Commit{Snapshot: of(false, 4)})
	if got := what(b, 0); got != "2 3 ObjectCreation 4 4" {
		t.Errorf("afterwards there is %q", got)
	}
}

func TestBoardOfAProtocolThatIsNotInUse(t *testing.T) {
	a := newNoticeAgent()
	b := newBoard(usp.New(a, ""), a, false)
	b.commit(model.Commit{Snapshot: a.snap})
	if id, news := b.commit(model.Commit{Snapshot: a.note(1, false)}); news || what(b, 0) != "" {
		t.Errorf("%d is news: %q", id, what(b, 0))
	}
}

func TestBoardIsBounded(t *testing.T) {
	a := newNoticeAgent()
	b := newBoard(usp.New(a, ""), a, true)
	for i := range uint64(maxPosts + 10) {
		b.add(1, usp.Notification{Kind: usp.KindValueChange, Value: fmt.Sprint(i)})
	}
	if len(b.posts) != maxPosts || b.posts[0].Value != "10" {
		t.Errorf("%d posts, the first is %q", len(b.posts), b.posts[0].Value)
	}
	for range 100 {
		b.add(1, usp.Notification{Kind: usp.KindValueChange, Value: strings.Repeat("x", maxPostBytes/10)})
	}
	if b.size > maxPostBytes || len(b.posts) == 0 {
		t.Errorf("%d posts with %d bytes", len(b.posts), b.size)
	}
	b.add(1, usp.Notification{Value: strings.Repeat("x", 2*maxPostBytes)})
	if len(b.posts) != 1 {
		t.Errorf("%d posts after a very big one", len(b.posts))
	}
	b.count = maxCount
	b.add(1, usp.Notification{})
	if len(b.posts) != 1 {
		t.Error("a number has come twice")
	}
}

// Whoever reads and acknowledges in whatever rhythm is told every event once and every value in its order, with growing numbers.
func TestBoardReader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := newNoticeAgent()
		b := newBoard(usp.New(a, ""), a, true)
		b.commit(model.Commit{Snapshot: a.snap})
		var got, want []string
		var seen uint64
		read := func() {
			posts, err := b.after(seen)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range posts {
				if p.id <= seen {
					t.Fatalf("%d comes after %d", p.id, seen)
				}
				seen = p.id
				if p.Kind == usp.KindEvent {
					got = append(got, "event")
				} else {
					got = append(got, p.Value)
				}
			}
		}
		for i := range rapid.IntRange(1, 30).Draw(t, "commits") {
			event := rapid.Bool().Draw(t, "event")
			s := a.note(i+1, event)
			want = append(want, fmt.Sprint(i+1))
			if event {
				want = append(want, "event")
			}
			if rapid.Bool().Draw(t, "early") {
				read()
			}
			b.commit(model.Commit{Snapshot: s})
			if rapid.Bool().Draw(t, "read") {
				read()
			}
			if rapid.Bool().Draw(t, "acknowledge") {
				if err := b.forget(context.Background(), seen); err != nil {
					t.Fatal(err)
				}
			}
		}
		read()
		if !slices.Equal(got, want) {
			t.Fatalf("the reader is told %q, want %q", got, want)
		}
	})
}

package supervisor

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const patience = 30 * time.Second

// witness hears what the supervisor says, as short words on a channel.
type witness struct {
	t    *testing.T
	said chan string
	mu   sync.Mutex
	lost []error
}

func (w *witness) say(s string) {
	select {
	case w.said <- s:
	default:
		w.t.Error("nobody listens to the handler")
	}
}

func (w *witness) AdapterEvent(_ string, e adapter.Event) { w.say(string(e.Kind) + " " + e.EnvID) }

func (w *witness) AdapterLost(_ string, err error) {
	w.mu.Lock()
	w.lost = append(w.lost, err)
	w.mu.Unlock()
	w.say("lost")
}

func (w *witness) AdapterReady(name string, d adapter.Description) {
	w.say("ready " + name + " " + d.Kind)
}

func (w *witness) expect(words ...string) {
	w.t.Helper()
	for _, want := range words {
		select {
		case got := <-w.said:
			if got != want {
				w.t.Fatalf("the handler heard %q, want %q (losses: %v)", got, want, w.losses())
			}
		case <-time.After(patience):
			w.t.Fatalf("the handler did not hear %q (losses: %v)", want, w.losses())
		}
	}
}

// until passes over what is heard before word.
func (w *witness) until(word string) {
	w.t.Helper()
	for {
		select {
		case got := <-w.said:
			if got == word {
				return
			}
		case <-time.After(patience):
			w.t.Fatalf("the handler did not hear %q (losses: %v)", word, w.losses())
		}
	}
}

func (w *witness) losses() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]error(nil), w.lost...)
}

var fresh = []string{"ready t test", "env e1", "synced e1", "env e2", "synced e2"}

// logBuffer is the agent's log.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// run starts a supervisor of a child in the given role; the test's end ends it and looks at what is left.
func run(t *testing.T, role string, change func(*Options)) (*Supervisor, *witness, *logBuffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runtimeDir, err := os.MkdirTemp("", "smmd") // short, for the sake of socket paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(runtimeDir) })
	log := &logBuffer{}
	w := &witness{t: t, said: make(chan string, 100)}
	o := Options{
		Name: "t", Command: []string{self}, RuntimeDir: runtimeDir, Handler: w,
		// The race detector would let each child sleep for a second before it exits.
		Env:  []string{envRole + "=" + role, envDir + "=" + t.TempDir(), "GORACE=atexit_sleep_ms=0"},
		Envs: []adapter.EnvConfig{{ID: "e1"}, {ID: "e2"}},
		Log:  slog.New(slog.NewTextHandler(log, nil)), BackoffMin: time.Millisecond,
		StopTimeout: time.Second, BackoffMax: 20 * time.Millisecond, FailureWindow: time.Hour,
	}
	if change != nil {
		change(&o)
	}
	s := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Fatal("Run does not end")
		}
		if pid := s.Info().PID; pid != 0 {
			t.Errorf("process %d is left", pid)
		}
		if left, _ := filepath.Glob(filepath.Join(runtimeDir, "adapters", "*", "*")); left != nil {
			t.Errorf("sockets are left: %v", left)
		}
		if err := s.Stop(context.Background(), "o", adapter.ModuleRef{}); adapter.ReasonOf(err) != adapter.Unavailable {
			t.Errorf("a call after the end: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", log)
		}
	})
	return s, w, log
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls a condition that no event tells of.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func module(name string) adapter.ModuleRef {
	return adapter.ModuleRef{UnitRef: adapter.UnitRef{Env: "e1", Key: "k"}, Module: name}
}

func starts(t *testing.T, s *Supervisor) string {
	t.Helper()
	_, dir, _ := strings.Cut(s.o.Env[1], "=")
	b, err := os.ReadFile(filepath.Join(dir, "starts"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

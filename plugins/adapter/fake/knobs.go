package fake

import (
	"context"
	"sync"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// A Point is a moment of a call.
type Point string

// The points at which a hook runs.
const (
	Before Point = "before" // nothing is done yet
	After  Point = "after"  // the effect is there, the answer is not
)

// A Call is one call of a method of the adapter. Describe, Configure, Watch, Inspect, Export and
// SaveVersion have no OpID.
type Call struct {
	Method string
	OpID   adapter.OpID
	Env    string
	Module string // of Start, Stop, SetAutoStart and SetModuleRunLevel
}

// A Hook runs inside a call, in the goroutine of the caller and without a lock: it may call the World, panic, or end the
// process. An error is the answer of the call.
type Hook func(Call) error

// knobs are the prepared failures, and the record of calls.
type knobs struct {
	mu    sync.Mutex
	calls []Call
	nth   map[string]map[int]error // by method; how many calls from now
	all   map[string]error         // by method
	block map[string]*blocker
	hooks map[string]map[Point]Hook
}

type blocker struct {
	entered  chan struct{} // closed by the first call that waits
	once     sync.Once
	released chan struct{}
}

func (k *knobs) init() {
	k.nth, k.all = map[string]map[int]error{}, map[string]error{}
	k.block, k.hooks = map[string]*blocker{}, map[string]map[Point]Hook{}
}

// FailCall makes the n-th call of the method from now fail with err, without any effect; 1 is the next. Methods have the
// names that they have in [adapter.Adapter].
func (w *World) FailCall(method string, n int, err error) {
	w.knobs.mu.Lock()
	defer w.knobs.mu.Unlock()
	if w.knobs.nth[method] == nil {
		w.knobs.nth[method] = map[int]error{}
	}
	w.knobs.nth[method][n] = err
}

// Fail makes every call of the method fail with err, without any effect. A nil err ends that.
func (w *World) Fail(method string, err error) {
	w.knobs.mu.Lock()
	defer w.knobs.mu.Unlock()
	w.knobs.all[method] = err
}

// Block makes calls of the method wait, before they have any effect, until release is called or their context is done.
// entered is closed when the first one waits. release may be called more than once.
func (w *World) Block(method string) (entered <-chan struct{}, release func()) {
	b := &blocker{entered: make(chan struct{}), released: make(chan struct{})}
	w.knobs.mu.Lock()
	w.knobs.block[method] = b
	w.knobs.mu.Unlock()
	return b.entered, sync.OnceFunc(func() {
		w.knobs.mu.Lock()
		if w.knobs.block[method] == b {
			delete(w.knobs.block, method)
		}
		w.knobs.mu.Unlock()
		close(b.released)
	})
}

// Hook sets what runs at a point of every call of the method; nil takes it away. A hook at [After] runs whether the call
// succeeded or not; it does not run when the call was not let in.
func (w *World) Hook(method string, at Point, h Hook) {
	w.knobs.mu.Lock()
	defer w.knobs.mu.Unlock()
	if w.knobs.hooks[method] == nil {
		w.knobs.hooks[method] = map[Point]Hook{}
	}
	w.knobs.hooks[method][at] = h
}

// Calls returns all calls so far, of all adapters on the World, in the order in which they came in.
func (w *World) Calls() []Call {
	w.knobs.mu.Lock()
	defer w.knobs.mu.Unlock()
	return append([]Call(nil), w.knobs.calls...)
}

// Count says how often the method was called; with an OpID, how often for that.
func (w *World) Count(method string, op adapter.OpID) int {
	n := 0
	for _, c := range w.Calls() {
		if c.Method == method && (op == "" || c.OpID == op) {
			n++
		}
	}
	return n
}

// DropWatch closes the channels of all watches, as a broken connection does.
func (w *World) DropWatch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.feeds {
		f.stop()
	}
}

// enter counts the call and applies what is prepared for it.
func (k *knobs) enter(ctx context.Context, c Call) error {
	k.mu.Lock()
	k.calls = append(k.calls, c)
	fail := k.all[c.Method]
	if nth := k.nth[c.Method]; nth != nil {
		next := map[int]error{}
		for n, err := range nth {
			if n == 1 {
				fail = err
			} else {
				next[n-1] = err
			}
		}
		k.nth[c.Method] = next
	}
	b := k.block[c.Method]
	k.mu.Unlock()
	if b != nil {
		b.once.Do(func() { close(b.entered) })
		select {
		case <-b.released:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if fail != nil {
		return fail
	}
	return k.hook(c, Before)
}

func (k *knobs) hook(c Call, at Point) error {
	k.mu.Lock()
	h := k.hooks[c.Method][at]
	k.mu.Unlock()
	if h == nil {
		return nil
	}
	return h(c)
}

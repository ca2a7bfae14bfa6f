package adaptertest

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
)

// A Result is the outcome of one case.
type Result struct {
	Name    string
	Failed  bool
	Skipped bool
	Log     []string // why it failed or was skipped
}

// Check runs all cases outside package testing, for instance in a command, and returns their results in order. It stops
// before the next case when ctx is done. report, if not nil, is told of each case as it ends. Temporary directories are made
// as [os.MkdirTemp] does and removed. The error is that of the harness as a whole.
func Check(ctx context.Context, h Harness, report func(Result)) ([]Result, error) {
	root := &recorder{ctx: ctx, report: report}
	root.in(func(t *recorder) { Run(t, h) })
	var err error
	if len(root.log) > 0 {
		err = fmt.Errorf("cannot check the adapter: %s", root.log[0])
	} else if ctx.Err() != nil {
		err = fmt.Errorf("cannot finish the check: %w", ctx.Err())
	}
	return root.results, err
}

// recorder is a test that keeps what is said of it.
type recorder struct {
	ctx    context.Context
	report func(Result)
	name   string

	mu       sync.Mutex
	log      []string
	failed   bool
	skipped  bool
	cleanups []func()
	results  []Result // of the tests below
}

// Run runs f as a test below t.
func (t *recorder) Run(name string, f func(*recorder)) bool {
	if t.ctx.Err() != nil {
		return false
	}
	sub := &recorder{ctx: t.ctx, name: name}
	sub.in(f)
	res := Result{name, sub.failed, sub.skipped && !sub.failed, sub.log}
	t.results = append(t.results, res)
	if t.report != nil {
		t.report(res)
	}
	return !sub.failed
}

// in runs f and then the cleanups, each in a goroutine that Fatalf and Skipf can end. A panic counts as a failure.
func (t *recorder) in(f func(*recorder)) {
	step := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("panic: %v", p)
				}
			}()
			f()
		}()
		<-done
	}
	step(func() { f(t) })
	for {
		t.mu.Lock()
		n := len(t.cleanups)
		if n == 0 {
			t.mu.Unlock()
			return
		}
		c := t.cleanups[n-1]
		t.cleanups = slices.Delete(t.cleanups, n-1, n)
		t.mu.Unlock()
		step(c)
	}
}

func (t *recorder) Helper()      {}
func (t *recorder) Name() string { return t.name }

func (t *recorder) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *recorder) TempDir() string {
	dir, err := os.MkdirTemp("", "adaptertest-")
	if err != nil {
		t.Fatalf("cannot make a temporary directory: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("cannot remove a temporary directory: %v", err)
		}
	})
	return dir
}

func (t *recorder) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

func (t *recorder) say(failed, skipped bool, format string, args []any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failed, t.skipped = t.failed || failed, t.skipped || skipped
	t.log = append(t.log, fmt.Sprintf(format, args...))
}

func (t *recorder) Logf(format string, args ...any)   { t.say(false, false, format, args) }
func (t *recorder) Errorf(format string, args ...any) { t.say(true, false, format, args) }

func (t *recorder) Fatalf(format string, args ...any) {
	t.say(true, false, format, args)
	runtime.Goexit()
}

func (t *recorder) Skipf(format string, args ...any) {
	t.say(false, true, format, args)
	runtime.Goexit()
}

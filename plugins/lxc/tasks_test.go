package lxc

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestTasksEnd shows that what has begun has come to its end when the tasks have, and that nothing begins later, whoever comes at that moment.
func TestTasksEnd(t *testing.T) {
	for range 1000 {
		var group tasks
		var begun, done atomic.Int32
		var callers sync.WaitGroup
		start := make(chan struct{})
		for range 4 {
			callers.Go(func() {
				<-start
				if group.begin(func() { done.Add(1) }) {
					begun.Add(1)
				}
			})
		}
		close(start)
		group.end()
		ended := done.Load()
		callers.Wait()
		if b := begun.Load(); ended != b || done.Load() != b {
			t.Fatalf("%d have begun, %d had ended with the tasks and %d have in the end", b, ended, done.Load())
		}
		if group.begin(func() { t.Error("it begins after the end") }) {
			t.Fatal("one can begin after the end")
		}
	}
}

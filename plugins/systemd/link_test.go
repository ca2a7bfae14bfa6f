package systemd

import (
	"sync"
	"testing"

	"github.com/smmd-project/smmd/test/machine"
)

// TestHoldAtTheSameTime: the watch and a call may take hold of a unit at the same moment. The manager counts the references of a client, and keeps a unit
// that is gone as long as there is one.
func TestHoldAtTheSameTime(t *testing.T) {
	machine.RequireInside(t)
	l, err := newLink(t.Context(), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	const unit, times = "systemd-journald.service", 16
	for range 4 {
		begin, errs := make(chan struct{}), make(chan error, times)
		var holders sync.WaitGroup
		for range times {
			holders.Go(func() {
				<-begin
				errs <- l.hold(t.Context(), unit)
			})
		}
		close(begin)
		holders.Wait()
		for range times {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
		if got := show(t, unit, "Refs"); got == "" {
			t.Fatalf("%s is held by nobody", unit)
		}
		if err := l.release(t.Context(), unit); err != nil {
			t.Fatal(err)
		}
		if got := show(t, unit, "Refs"); got != "" {
			t.Fatalf("%s is still held by %q", unit, got)
		}
	}
}

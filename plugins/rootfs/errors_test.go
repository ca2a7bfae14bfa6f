package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestClassify(t *testing.T) {
	path := func(errno syscall.Errno) error { return &os.PathError{Op: "open", Path: "f", Err: errno} }
	for _, c := range []struct {
		err  error
		want adapter.Reason
	}{
		{io.ErrUnexpectedEOF, adapter.Corrupt},
		{path(syscall.ENOSPC), adapter.NoResources},
		{path(syscall.EDQUOT), adapter.NoResources},
		{&sourceError{path(syscall.ENOMEM)}, adapter.NoResources},
		{&sourceError{path(syscall.ENOENT)}, adapter.Internal},
		{&sourceError{io.ErrUnexpectedEOF}, adapter.Internal},
		{&sourceError{context.Canceled}, adapter.Canceled},
		{fmt.Errorf("late: %w", context.DeadlineExceeded), adapter.Canceled},
		{path(syscall.ENOTDIR), adapter.Corrupt},
		{path(syscall.ENOTSUP), adapter.NotSupported},
		{path(syscall.EROFS), adapter.Internal},
		{path(syscall.EPERM), adapter.Internal},
		{&os.LinkError{Op: "linkat", Old: "d", New: "l", Err: syscall.EPERM}, adapter.Corrupt},
		{fmt.Errorf("more: %w", adapter.Errorf(adapter.InvalidArgument, "cannot")), adapter.InvalidArgument},
	} {
		if got := adapter.ReasonOf(classify(c.err)); got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}

// The sieve waits until the writer has done what it was given, and not only read it.
func TestHandoverWaits(t *testing.T) {
	h := newHandover()
	did := make(chan struct{})
	go func() {
		buf := make([]byte, 4)
		_, err := io.ReadFull(h, buf)
		<-time.After(20 * time.Millisecond) // works on it; the wait below must outlast it, however long it takes
		close(did)
		if err == nil {
			_, err = h.Read(buf)
		}
		h.end(err)
	}()
	if _, err := h.Write([]byte("work")); err != nil {
		t.Fatal(err)
	}
	h.wait()
	select {
	case <-did:
	default:
		t.Error("it did not wait")
	}
	stop := errors.New("stop")
	if err := h.in.CloseWithError(stop); err != nil {
		t.Fatal(err)
	}
	h.wait() // whoever is gone is not waited for
	if _, err := h.Write([]byte("x")); err == nil {
		t.Error("it takes more")
	}
}

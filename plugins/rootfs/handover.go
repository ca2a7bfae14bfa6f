package rootfs

import (
	"io"
	"sync"
)

// A handover is the pipe between the sieve and the writer. The sieve can wait until the writer has done everything that it was given.
type handover struct {
	in      *io.PipeWriter
	out     *io.PipeReader
	written int64 // of the sieve's side

	mu      sync.Mutex
	changed sync.Cond
	read    int64 // what the writer has got
	asks    bool  // the writer asks for more
	ended   bool
}

func newHandover() *handover {
	h := &handover{}
	h.out, h.in = io.Pipe()
	h.changed.L = &h.mu
	return h
}

// Write is called by the sieve.
func (h *handover) Write(p []byte) (int, error) {
	n, err := h.in.Write(p)
	h.written += int64(n)
	return n, err
}

// Read is called by the writer.
func (h *handover) Read(p []byte) (int, error) {
	h.tell(func() { h.asks = true })
	n, err := h.out.Read(p)
	h.tell(func() { h.asks, h.read = false, h.read+int64(n) })
	return n, err
}

// end is called when the writer has returned. What the sieve writes from then on is err.
func (h *handover) end(err error) {
	_ = h.out.CloseWithError(err) // always nil
	h.tell(func() { h.ended = true })
}

func (h *handover) tell(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	h.changed.Broadcast()
}

// wait is called by the sieve. It returns when the writer has got all that was written and asks for more, which it does
// when it is done with that, or when it has ended.
func (h *handover) wait() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for !h.ended && !(h.asks && h.read == h.written) {
		h.changed.Wait()
	}
}

package rootfs

import (
	"context"
	"errors"
	"io"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// block is the unit of a tar archive in bytes.
const block = 512

// A stream is the plain content of an archive on its way to the tar reader. It ends with its context.
type stream struct {
	ctx   context.Context
	r     io.Reader
	n     int64 // bytes read
	limit int64 // bytes that may be read
	zero  bool  // what was read last was a whole block of zeros: the end mark consists of those
}

func (s *stream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.n >= s.limit {
		return 0, adapter.Errorf(adapter.NoResources, "cannot unpack the archive: it has more than %d bytes", s.limit)
	}
	if rest := s.limit - s.n; int64(len(p)) > rest {
		p = p[:rest]
	}
	// The tar reader asks for headers a block at a time; a short read would tear it.
	n, err := io.ReadAtLeast(s.r, p, min(len(p), block))
	if errors.Is(err, io.ErrUnexpectedEOF) && n > 0 {
		err = nil // the next read tells
	}
	s.n += int64(n)
	if n > 0 {
		s.zero = n == block && allZero(p[:n])
	}
	return n, err
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

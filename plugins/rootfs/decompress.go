package rootfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// maxWindow is the largest window in bytes that a decoder keeps in memory: what the largest levels of zstd(1) and xz(1) use.
const maxWindow = 128 << 20

// Decompress returns the plain content of r, whose first bytes tell whether it is compressed with gzip (RFC 1952), xz or zstd (RFC 8878); everything
// else is returned as it is. Closing it leaves r open. What the decoder finds wrong is [adapter.Corrupt]; errors of r come out wrapped.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	source := &watched{r: r}
	in := bufio.NewReaderSize(source, 64<<10)
	head, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, classify(&sourceError{err})
	}
	plain := io.NopCloser(in)
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		plain, err = gzip.NewReader(in)
	case bytes.HasPrefix(head, []byte(xzMagic)):
		plain, err = newXZ(in)
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			plain = d.IOReadCloser()
		}
	default:
		return &decoded{plain, source}, nil
	}
	if err != nil {
		return nil, source.blame(err)
	}
	return &decoded{plain, source}, nil
}

// watched remembers the error of a reader: what a decoder says after it is no finding.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

func (w *watched) blame(err error) error {
	if w.err != nil {
		return &sourceError{w.err}
	}
	return adapter.Errorf(adapter.Corrupt, "cannot decompress the archive: %v", err)
}

// decoded is the content that a decoder gives.
type decoded struct {
	io.ReadCloser
	source *watched
}

func (d *decoded) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = d.source.blame(err)
	}
	return n, err
}

package rootfs

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

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
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
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

// newXZ opens an xz stream. The decoder allocates the dictionary that the header asks for, up to 4 GiB: the header is read first.
func newXZ(in *bufio.Reader) (io.ReadCloser, error) {
	// The header of the stream has 12 bytes; that of a block follows, whose first byte tells its length (The .xz File Format 1.2.1, sections 2.1.1
	// and 3.1).
	const stream = 12
	head, err := in.Peek(stream + 1)
	if err != nil {
		return nil, fmt.Errorf("its header is cut off: %w", err)
	}
	if size := int(head[stream]); size != 0 { // 0: there is no block
		head, err := in.Peek(stream + 4*(size+1))
		if err != nil {
			return nil, fmt.Errorf("its header is cut off: %w", err)
		}
		window, ok := xzWindow(head[stream+1:])
		if ok && window > maxWindow {
			return nil, fmt.Errorf("it needs a dictionary of %d bytes, %d are permitted", window, maxWindow)
		}
	}
	r, err := xz.NewReader(in)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

// xzWindow returns the size of the dictionary from the header of a block, without its first byte; false when that is not
// the one filter that the decoder knows, which it refuses itself.
func xzWindow(block []byte) (int64, bool) {
	flags, rest := block[0], block[1:]
	for _, present := range []byte{0x40, 0x80} { // the compressed and the uncompressed size
		if flags&present == 0 {
			continue
		}
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return 0, false
		}
		rest = rest[n:]
	}
	const lzma2 = 0x21
	if len(rest) < 3 || rest[0] != lzma2 || rest[1] != 1 {
		return 0, false
	}
	window, err := lzma.DecodeDictCap(rest[2])
	return window, err == nil
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

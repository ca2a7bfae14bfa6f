package rootfs

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// An xzReader is the plain content of an xz file: streams one after another, each of them blocks, an index of these, and a footer (The .xz File
// Format 1.2.1, from where the sections below are). A reader for whole files allocates the dictionary that the header of each block asks for, up to
// 4 GiB, and what follows a block cannot be told from outside before the block has been decoded. So the container is read here, and the decoder is
// given one block at a time.
type xzReader struct {
	in     *bufio.Reader
	err    error // what Read returned last
	opened bool  // a stream is open
	check  byte  // how its blocks are checked

	windows int64 // bytes of all dictionaries so far
	plain   int64 // bytes of the content so far

	block  *xzBlock  // nil between blocks
	blocks uint64    // of the stream, so far
	sizes  hash.Hash // of theirs, to compare with those of the index: there can be millions
}

const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	xzUnit        = 4 // the sizes of nearly everything are multiples of it

	// A dictionary takes time for each block, also where a block has nothing in it. Together they may have that much, and for each byte of the content
	// xzRatio: as blocks of 64 KiB at the highest level of xz(1).
	xzWindows = 16 * maxWindow
	xzRatio   = 1024
)

// newXZ opens the first block of an xz file.
func newXZ(in *bufio.Reader) (io.ReadCloser, error) {
	x := &xzReader{in: in}
	if err := x.next(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	} else if err != nil {
		x.err = err
	}
	return io.NopCloser(x), nil
}

func (x *xzReader) Read(p []byte) (n int, err error) {
	for x.err == nil && n == 0 && len(p) > 0 {
		n, x.err = x.read(p)
	}
	if n > 0 {
		return n, nil
	}
	return 0, x.err
}

// read reads from the present block, or goes on to the next one.
func (x *xzReader) read(p []byte) (int, error) {
	if x.block == nil {
		return 0, x.next()
	}
	n, err := x.block.Read(p)
	if errors.Is(err, io.EOF) {
		err = x.closeBlock()
	}
	return n, err
}

// take reads n bytes that have to be there.
func (x *xzReader) take(n int) ([]byte, error) {
	p := make([]byte, n)
	if _, err := io.ReadFull(x.in, p); err != nil {
		return nil, cutOff(err)
	}
	return p, nil
}

// cutOff is the error of a reader that ended too early.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next opens the next block. The error is [io.EOF] behind the last one.
func (x *xzReader) next() error {
	for {
		if !x.opened {
			if err := x.openStream(); err != nil {
				return err
			}
		}
		size, err := x.in.Peek(1)
		if err != nil {
			return cutOff(err)
		}
		if size[0] != 0 {
			return x.openBlock(xzUnit * (int(size[0]) + 1))
		}
		if err := x.closeStream(); err != nil {
			return err
		}
	}
}

// openStream reads the header of a stream (2.1.1), and the zeros before it that are allowed there (2.2).
func (x *xzReader) openStream() error {
	for {
		head, err := x.in.Peek(xzUnit)
		if len(head) == 0 {
			return err
		}
		if !bytes.Equal(head, make([]byte, xzUnit)) {
			break
		}
		if _, err := x.in.Discard(xzUnit); err != nil {
			return err
		}
	}
	head, err := x.take(len(xzMagic) + 2 + crc32.Size)
	if err != nil {
		return err
	}
	flags, sum := head[len(xzMagic):len(xzMagic)+2], head[len(xzMagic)+2:]
	if !bytes.HasPrefix(head, []byte(xzMagic)) || binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(flags) || flags[0] != 0 {
		return errors.New("the header of a stream is damaged")
	}
	if _, err := newCheck(flags[1]); err != nil {
		return err
	}
	x.opened, x.check, x.blocks, x.sizes = true, flags[1], 0, sha256.New()
	return nil
}

// newCheck returns what blocks are checked with, nil for nothing (2.1.1.2).
func newCheck(id byte) (hash.Hash, error) {
	switch id {
	case 0:
		return nil, nil
	case 1:
		return crc32.NewIEEE(), nil
	case 4:
		return crc64.New(crc64Table), nil
	case 10:
		return sha256.New(), nil
	}
	return nil, fmt.Errorf("its blocks have checks of the unknown kind %d", id)
}

var crc64Table = crc64.MakeTable(crc64.ECMA)

// An xzBlock is the content of one block.
type xzBlock struct {
	*lzma.Reader2
	in            counted
	header        int64 // its size
	packed, plain int64 // the sizes of the content as the header says them, -1 without
	n             int64 // bytes of plain content so far
	sum           hash.Hash
}

// counted counts what is read. The decoder reads no more than it needs, so that says where the block ends.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (b *xzBlock) Read(p []byte) (int, error) {
	n, err := b.Reader2.Read(p)
	b.n += int64(n)
	if b.sum != nil {
		b.sum.Write(p[:n])
	}
	if errors.Is(err, io.EOF) && !b.EOS() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// openBlock reads the header of a block (3.1), which has that many bytes.
func (x *xzReader) openBlock(size int) error {
	head, err := x.take(size)
	if err != nil {
		return err
	}
	head, sum := head[:size-crc32.Size], head[size-crc32.Size:]
	if binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(head) {
		return errors.New("the header of a block is damaged")
	}
	b := &xzBlock{in: counted{r: x.in}, header: int64(size)}
	window, err := b.parse(head)
	if err != nil {
		return err
	}
	if window > maxWindow {
		return fmt.Errorf("a block needs a dictionary of %d bytes, %d are permitted", window, maxWindow)
	}
	if b.plain >= 0 { // nothing is looked for further back than the block begins
		window = min(window, max(b.plain, lzma.MinDictCap))
	}
	if x.windows += window; x.windows > xzWindows+xzRatio*x.plain {
		return errors.New("its blocks are too small for their dictionaries")
	}
	if b.sum, err = newCheck(x.check); err != nil {
		return err
	}
	if b.Reader2, err = (lzma.Reader2Config{DictCap: int(window)}).NewReader2(&b.in); err != nil {
		return err
	}
	x.block = b
	return nil
}

// parse reads the header of a block without its checksum, and returns the size of the dictionary.
func (b *xzBlock) parse(head []byte) (window int64, err error) {
	const (
		filters, hasPacked, hasPlain, reserved = 0x03, 0x40, 0x80, 0x3c
		lzma2                                  = 0x21
	)
	flags, rest := head[1], head[2:]
	sizes := [...]int64{-1, -1}
	for i, present := range []byte{hasPacked, hasPlain} {
		if flags&present == 0 {
			continue
		}
		size, n := binary.Uvarint(rest)
		if n <= 0 || int64(size) < 0 {
			return 0, errors.New("the header of a block is damaged")
		}
		sizes[i], rest = int64(size), rest[n:]
	}
	b.packed, b.plain = sizes[0], sizes[1]
	if flags&(filters|reserved) != 0 || len(rest) < 3 || rest[0] != lzma2 || rest[1] != 1 {
		return 0, errors.New("it has filters besides LZMA2, which are not known")
	}
	if len(bytes.TrimRight(rest[3:], "\x00")) != 0 {
		return 0, errors.New("the header of a block is damaged")
	}
	return lzma.DecodeDictCap(rest[2])
}

// closeBlock compares a block that was read to its end with what its header and its check say of it (3.3, 3.4).
func (x *xzReader) closeBlock() error {
	b := x.block
	x.block = nil
	if b.packed >= 0 && b.packed != b.in.n || b.plain >= 0 && b.plain != b.n {
		return errors.New("a block has another size than its header says")
	}
	check := 0
	if b.sum != nil {
		check = b.sum.Size()
	}
	rest, err := x.take(padding(b.in.n) + check)
	if err != nil {
		return err
	}
	pad, sum := rest[:padding(b.in.n)], rest[padding(b.in.n):]
	if b.sum != nil && !bytes.Equal(sum, littleEndian(b.sum)) || !allZero(pad) {
		return errors.New("a block does not match its check")
	}
	x.blocks++
	x.plain += b.n
	x.note(uint64(b.header+b.in.n)+uint64(check), uint64(b.n))
	return nil
}

// padding is how many zeros follow on so many bytes.
func padding(n int64) int { return int(-n & (xzUnit - 1)) }

// littleEndian is the value of a hash as it is in the file.
func littleEndian(h hash.Hash) []byte {
	switch h := h.(type) {
	case hash.Hash32:
		return binary.LittleEndian.AppendUint32(nil, h.Sum32())
	case hash.Hash64:
		return binary.LittleEndian.AppendUint64(nil, h.Sum64())
	}
	return h.Sum(nil)
}

// note adds the sizes of a block, as the index has them, to those of the stream.
func (x *xzReader) note(unpadded, plain uint64) {
	x.sizes.Write(binary.AppendUvarint(binary.AppendUvarint(nil, unpadded), plain))
}

// xzIndex is an index that is being read.
type xzIndex struct {
	in  *bufio.Reader
	sum hash.Hash32
	n   int64
}

func (i *xzIndex) ReadByte() (byte, error) {
	c, err := i.in.ReadByte()
	if err == nil {
		i.sum.Write([]byte{c})
		i.n++
	}
	return c, cutOff(err)
}

// closeStream compares the index (4) with the blocks, and the footer (2.1.2) with both.
func (x *xzReader) closeStream() error {
	damaged := errors.New("the index of a stream is damaged")
	i := &xzIndex{in: x.in, sum: crc32.NewIEEE()}
	if _, err := i.ReadByte(); err != nil { // it marks the index
		return err
	}
	count, err := binary.ReadUvarint(i)
	if err != nil {
		return err
	}
	if count != x.blocks {
		return damaged
	}
	seen := x.sizes.Sum(nil)
	x.sizes.Reset()
	for range count {
		var sizes [2]uint64
		for k := range sizes {
			if sizes[k], err = binary.ReadUvarint(i); err != nil {
				return err
			}
		}
		x.note(sizes[0], sizes[1])
	}
	for range padding(i.n) {
		if zero, err := i.ReadByte(); err != nil || zero != 0 {
			return errors.Join(damaged, err)
		}
	}
	sum, size := i.sum.Sum32(), i.n+crc32.Size
	rest, err := x.take(crc32.Size + crc32.Size + 4 + 2 + len(xzFooterMagic))
	if err != nil {
		return err
	}
	footer := rest[crc32.Size:]
	fields := footer[crc32.Size:]
	switch {
	case !bytes.Equal(seen, x.sizes.Sum(nil)), binary.LittleEndian.Uint32(rest) != sum:
		return damaged
	case binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(fields[:6]), string(fields[6:]) != xzFooterMagic,
		xzUnit*(int64(binary.LittleEndian.Uint32(fields))+1) != size, fields[4] != 0, fields[5] != x.check:
		return errors.New("the footer of a stream is damaged")
	}
	x.opened = false
	return nil
}

package forgetful

import "sync"

// blockSize is the unit that an image remembers, in bytes.
const blockSize = 4096

// image is the content of a block device: what was synced, and what was written since and would be lost. Blocks that were never written
// are zero.
type image struct {
	mu     sync.Mutex
	size   int64
	synced map[int64][]byte // by the number of the block
	recent map[int64][]byte
	frozen bool
}

func newImage(size int64) *image {
	return &image{size: size, synced: map[int64][]byte{}, recent: map[int64][]byte{}}
}

// read fills p with what is at an offset, as whoever has written it sees it, and returns how much there is.
func (i *image) read(p []byte, off int64) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if off >= i.size {
		return 0
	}
	p = p[:min(int64(len(p)), i.size-off)]
	i.blocks(p, off, func(part []byte, block, at int64) {
		clear(part)
		for _, have := range []map[int64][]byte{i.synced, i.recent} {
			if b := have[block]; b != nil {
				copy(part, b[at:])
			}
		}
	})
	return len(p)
}

// write takes what is written at an offset, and returns how much there was room for.
func (i *image) write(p []byte, off int64) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	if off >= i.size {
		return 0
	}
	p = p[:min(int64(len(p)), i.size-off)]
	i.blocks(p, off, func(part []byte, block, at int64) {
		b := i.recent[block]
		if b == nil {
			b = make([]byte, blockSize)
			copy(b, i.synced[block])
			i.recent[block] = b
		}
		copy(b[at:], part)
	})
	return len(p)
}

// blocks calls f for the part of p in each block.
func (i *image) blocks(p []byte, off int64, f func(part []byte, block, at int64)) {
	for len(p) > 0 {
		at := off % blockSize
		n := min(int64(len(p)), blockSize-at)
		f(p[:n], off/blockSize, at)
		p, off = p[n:], off+n
	}
}

// sync makes what was written outlive a power cut.
func (i *image) sync() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.frozen {
		return
	}
	for block, b := range i.recent {
		i.synced[block] = b
	}
	clear(i.recent)
}

// freeze is the power cut: nothing is synced any more. Whoever still writes does not notice.
func (i *image) freeze() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.frozen = true
}

// after returns the image as it is found after the cut.
func (i *image) after() *image {
	i.mu.Lock()
	defer i.mu.Unlock()
	next := newImage(i.size)
	for block, b := range i.synced {
		next.synced[block] = b // written to nowhere: write makes copies
	}
	return next
}

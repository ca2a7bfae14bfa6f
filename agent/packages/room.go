package packages

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
)

// A claim is the room that a part file has or was promised.
type claim struct {
	written  int64
	promised int64 // 0 when no transfer runs
	held     bool  // a Fetch or a Put works on it
}

func (c *claim) bytes() int64 { return max(c.written, c.promised) }

// promise reserves room for a part file that will have total bytes. The error is system-resources-exceeded when the package is too
// large, when the quota is used up, or when the file system would be left with less than the reserve.
func (s *Store) promise(key string, total int64) error {
	if total > s.limits.MaxSize {
		return fault.Errorf(fault.SystemResourcesExceeded, "it has %s, %s are permitted (packages.max_size)", sizeText(total), sizeText(s.limits.MaxSize))
	}
	free, err := s.available(s.dir)
	if err != nil {
		return fmt.Errorf("cannot tell the free space: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	mine := s.parts[key]
	used, outstanding := int64(0), int64(0) // all the others
	for _, size := range s.packages {
		used += size
	}
	for _, c := range s.parts {
		if c != mine {
			used += c.bytes()
			outstanding += c.bytes() - c.written
		}
	}
	if used+total > s.limits.Quota {
		return fault.Errorf(fault.SystemResourcesExceeded, "%s more do not fit: packages take %s of %s (packages.quota)",
			sizeText(total), sizeText(used), sizeText(s.limits.Quota))
	}
	if need := outstanding + total - mine.written; need > 0 && free-need < s.limits.Reserve {
		return fault.Errorf(fault.SystemResourcesExceeded, "%s more do not fit: %s are free, %s must remain (packages.reserve)",
			sizeText(need), sizeText(free), sizeText(s.limits.Reserve))
	}
	mine.promised = total
	return nil
}

// hold makes a key busy until release is called. What was promised and did not come is given back then.
func (s *Store) hold(key string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.parts[key]
	if c == nil {
		c = &claim{}
		s.parts[key] = c
	}
	if c.held {
		return nil, fmt.Errorf("cannot work on the package of %s: somebody else does", key)
	}
	c.held = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.held, c.promised = false, 0
		if c.written == 0 && s.parts[key] == c {
			delete(s.parts, key)
		}
	}, nil
}

// busy reports whether somebody holds a key.
func (s *Store) busy(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.parts[key]
	return c != nil && c.held
}

// wrote notes the size that a part file has now.
func (s *Store) wrote(key string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.parts[key].written = size
}

// drop forgets a part file that is gone.
func (s *Store) drop(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.parts[key]; c != nil {
		c.written, c.promised = 0, 0
		if !c.held {
			delete(s.parts, key)
		}
	}
}

// Available returns the bytes that an unprivileged writer has left on the file system of dir.
func Available(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // Bsize has other types on other processors
}

// spaceReason is the class of an error of the file system: no room, or a failure of the agent's own.
func spaceReason(err error) fault.Reason {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EFBIG} {
		if errors.Is(err, full) {
			return fault.SystemResourcesExceeded
		}
	}
	return fault.ReasonOf(err)
}

// sizeText writes a number of bytes for a person.
func sizeText(n int64) string {
	if n < 10<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	value, unit := float64(n)/1024, "KiB"
	for _, next := range []string{"MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

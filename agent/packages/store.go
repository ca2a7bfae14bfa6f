// Package packages brings packages onto the device and keeps them.
//
// A package comes through the spool: [Fetcher.Fetch] writes it into a part file that is named by the caller's key (the id of
// an operation), computing its digest on the way. [Store.Put] moves the complete file into the store, where it has the name
// of its content. The store knows nothing of who needs a package: pins are records of the caller, and [Store.Collect] removes what
// the caller does not claim.
//
//	<dir>/
//	  spool/<key>.part     a package that is coming, or has come and was not put yet
//	  spool/<key>.json     how to go on with it after a restart of the agent
//	  <aa>/<aabb…>         a package, named by its SHA-256 in hexadecimal, in a directory of the first two digits
//
// Spool and store are one file system, so Put is a rename. Errors carry their class (package fault), and no message has a
// password, the query of a URL or its userinfo in it.
package packages

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"github.com/smmd-project/smmd/agent/fault"
)

// Limits bound what packages may take of the disk, in bytes.
type Limits struct {
	MaxSize int64 // of one package
	Quota   int64 // of all packages and part files together; what a running transfer will still bring counts
	Reserve int64 // free space that must remain on the file system
}

// A Package is a complete, immutable file in the store.
type Package struct {
	Path   string // absolute if the store's directory is
	SHA256 string // hexadecimal, lower case
	Size   int64  // bytes
}

// Usage is what the store takes of the disk.
type Usage struct {
	Packages int   // number of packages
	Bytes    int64 // of the packages
	Spool    int64 // bytes of part files, those that running transfers will still bring included
	Quota    int64 // for Bytes and Spool together
}

// A Store is the directory of packages. Its methods may be called concurrently.
type Store struct {
	dir    string
	limits Limits

	collecting sync.Mutex // one Collect at a time; taken before names
	names      sync.Mutex // a rename or unlink of a package with its record in packages; taken before mu

	mu       sync.Mutex
	packages map[string]int64  // size by digest
	parts    map[string]*claim // by key
	fresh    map[string]bool   // put since the running Collect began

	// The outside, replaced by tests of a full disk.
	available func(dir string) (int64, error)
	write     func(f *os.File, p []byte) (int, error)
}

var digestRE = regexp.MustCompile(`^[0-9a-f]{64}$`)

// OpenStore opens the store in dir, which is made with mode 0700 if need be. It takes stock of what is there and changes nothing.
func OpenStore(dir string, limits Limits) (*Store, error) {
	s := &Store{
		dir: dir, limits: limits,
		packages: map[string]int64{}, parts: map[string]*claim{}, fresh: map[string]bool{},
		available: Available,
		write:     func(f *os.File, p []byte) (int, error) { return f.Write(p) },
	}
	if err := os.MkdirAll(filepath.Join(dir, "spool"), 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the package store: %w", err)
	}
	shards, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the package store: %w", err)
	}
	for _, shard := range shards {
		if !shard.IsDir() || len(shard.Name()) != 2 {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, shard.Name()))
		if err != nil {
			return nil, fmt.Errorf("cannot open the package store: %w", err)
		}
		for _, file := range files {
			if !digestRE.MatchString(file.Name()) || file.Name()[:2] != shard.Name() {
				continue
			}
			info, err := file.Info()
			if err != nil {
				return nil, fmt.Errorf("cannot open the package store: %w", err)
			}
			s.packages[file.Name()] = info.Size()
		}
	}
	return s, s.openSpool()
}

// path is where the package with that digest is or would be.
func (s *Store) path(digest string) string { return filepath.Join(s.dir, digest[:2], digest) }

// Put moves a fetched file into the store; its key is free then. The content is read once more and must still be what was
// fetched, else the error is package-corrupt. When Put returns without an error the package is durable. Repeating a Put whose outcome
// was lost gives the same package; a package that is there already is replaced by the equal file.
//
// Whoever calls Collect concurrently must let its keep claim the digest of f from before the Put until the package has a pin.
func (s *Store) Put(ctx context.Context, f Fetched) (Package, error) {
	if !digestRE.MatchString(f.SHA256) || !keyRE.MatchString(f.Key) {
		return Package{}, fmt.Errorf("cannot store a package: key %q or digest %q is malformed", f.Key, f.SHA256)
	}
	release, err := s.hold(f.Key)
	if err != nil {
		return Package{}, err
	}
	defer release()
	part := s.SpoolPath(f.Key)
	file, err := os.Open(part)
	if errors.Is(err, fs.ErrNotExist) {
		if p, err := s.Get(f.SHA256, f.Size); err == nil { // put before, the caller did not learn of it
			s.drop(f.Key)
			return p, nil
		}
	}
	if err != nil {
		return Package{}, fmt.Errorf("cannot store a package: %w", err)
	}
	defer file.Close()
	if err := check(ctx, file, f.SHA256, f.Size); err != nil {
		return Package{}, fmt.Errorf("cannot store the package %s: %w", f.SHA256, err)
	}
	if err := s.enter(file, part, f.SHA256); err != nil {
		return Package{}, fault.As(spaceReason(err), fmt.Errorf("cannot store the package %s: %w", f.SHA256, err))
	}
	if err := removeAll(s.statePath(f.Key)); err != nil {
		return Package{}, fmt.Errorf("cannot store the package %s: %w", f.SHA256, err)
	}
	s.drop(f.Key)
	return Package{Path: s.path(f.SHA256), SHA256: f.SHA256, Size: f.Size}, nil
}

// enter makes the file durable under its digest.
func (s *Store) enter(file *os.File, part, digest string) error {
	if err := file.Sync(); err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return err
	}
	shard := filepath.Dir(s.path(digest))
	switch err := os.Mkdir(shard, 0o700); {
	case err == nil:
		if err := syncDir(s.dir); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	s.names.Lock()
	err = os.Rename(part, s.path(digest))
	if err == nil {
		s.mu.Lock()
		s.packages[digest] = info.Size()
		s.fresh[digest] = true
		s.mu.Unlock()
	}
	s.names.Unlock()
	if err != nil {
		return err
	}
	return errors.Join(syncDir(shard), syncDir(filepath.Dir(part)))
}

// Get returns the package with that digest if it is there and has that size; a negative size is any. Otherwise the error is
// package-corrupt; [fs.ErrNotExist] is in its chain when the package is not there at all.
func (s *Store) Get(digest string, size int64) (Package, error) {
	if !digestRE.MatchString(digest) {
		return Package{}, fault.Errorf(fault.PackageCorrupt, "cannot open a package: %q is no SHA-256 digest", digest)
	}
	info, err := os.Lstat(s.path(digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Package{}, fault.Errorf(fault.PackageCorrupt, "cannot open the package %s: %w", digest, fs.ErrNotExist)
	case err != nil:
		return Package{}, fmt.Errorf("cannot open the package %s: %w", digest, err)
	case !info.Mode().IsRegular():
		return Package{}, fault.Errorf(fault.PackageCorrupt, "cannot open the package %s: it is no regular file", digest)
	case size >= 0 && info.Size() != size:
		return Package{}, fault.Errorf(fault.PackageCorrupt, "cannot open the package %s: it has %d bytes instead of %d", digest, info.Size(), size)
	}
	return Package{Path: s.path(digest), SHA256: digest, Size: info.Size()}, nil
}

// Verify reads the whole package and compares its content with its name. The error is package-corrupt when they differ or the package
// is not there.
func (s *Store) Verify(ctx context.Context, digest string) error {
	p, err := s.Get(digest, -1)
	if err != nil {
		return err
	}
	file, err := os.Open(p.Path)
	if err != nil {
		return fmt.Errorf("cannot verify the package %s: %w", digest, err)
	}
	defer file.Close()
	if err := check(ctx, file, digest, p.Size); err != nil {
		return fmt.Errorf("cannot verify the package %s: %w", digest, err)
	}
	return nil
}

// check compares the content of file with digest and size.
func check(ctx context.Context, file *os.File, digest string, size int64) error {
	h := sha256.New()
	n, err := copyContext(ctx, h, file)
	switch {
	case err != nil:
		return err
	case n != size:
		return fault.Errorf(fault.PackageCorrupt, "the file has %d bytes instead of %d", n, size)
	case hexSum(h) != digest:
		return fault.Errorf(fault.PackageCorrupt, "the digest of the file is %s", hexSum(h))
	}
	return nil
}

// Collect removes every package whose digest keep does not claim, and returns the digests of those it removed. The packages
// are listed before keep is called for the first time, and one that is put from then on stays: a keep that looks then, and
// not earlier, what is needed cannot miss a package. What cannot be removed is in the error; the rest is removed all the
// same. Keep is called without a lock held, at most once for each package.
func (s *Store) Collect(keep func(digest string) bool) (removed []string, err error) {
	s.collecting.Lock()
	defer s.collecting.Unlock()
	s.mu.Lock()
	clear(s.fresh)
	var digests []string
	for digest := range s.packages {
		digests = append(digests, digest)
	}
	s.mu.Unlock()
	var errs []error
	for _, digest := range digests {
		if keep(digest) {
			continue
		}
		gone, err := s.remove(digest)
		if gone {
			removed = append(removed, digest)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return removed, fmt.Errorf("cannot remove packages: %w", err)
	}
	return removed, nil
}

// remove removes a package unless it was put again in the meantime.
func (s *Store) remove(digest string) (bool, error) {
	s.names.Lock()
	defer s.names.Unlock()
	s.mu.Lock()
	fresh := s.fresh[digest]
	s.mu.Unlock()
	if fresh {
		return false, nil
	}
	if err := removeAll(s.path(digest)); err != nil {
		return false, err
	}
	s.mu.Lock()
	delete(s.packages, digest)
	s.mu.Unlock()
	return true, nil
}

// Usage returns what the store takes of the disk.
func (s *Store) Usage() Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := Usage{Packages: len(s.packages), Quota: s.limits.Quota}
	for _, size := range s.packages {
		u.Bytes += size
	}
	for _, c := range s.parts {
		u.Spool += c.bytes()
	}
	return u
}

// removeAll removes files; one that is not there is removed already.
func removeAll(paths ...string) error {
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// copyContext is [io.Copy] that ends with ctx.
func copyContext(ctx context.Context, dst io.Writer, src io.Reader) (int64, error) {
	return io.Copy(dst, readerFunc(func(p []byte) (int, error) {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		return src.Read(p)
	}))
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func hexSum(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// Package rootfs unpacks archives of file trees below a directory, and never writes outside of it.
//
// An archive comes from a file server; whoever made it is not trusted. Two kinds are known: a tree ([Unpack]), the tar of a directory,
// and a layer ([Apply]), the changes to a tree with the whiteouts of the OCI image specification (Image Layer Filesystem Changeset). Both are
// read through one sieve that judges each header before anything of its entry is written. What passes it is written by
// moby/go-archive, which resolves every name below the directory, through descriptors. [Scan] and [ScanLayer] are the sieve alone, for a pass
// over an archive before its first byte is written.
//
// Refused as [adapter.Corrupt] are, besides damaged archives and those without an end mark:
//   - absolute names, names with "..", and names that no file system takes;
//   - device nodes and every other entry that is no directory, file, link or fifo;
//   - symbolic links whose relative target climbs above the root, as text. Absolute targets are kept as they are: base images are full of them, and
//     what runs in the tree sees them below its own root;
//   - entries, and hard links to files, that lie behind an absolute symbolic link of the same archive: no directory can have such entries. Behind
//     one that an earlier layer brought, they go where the link leads below the root;
//   - whiteouts of a directory by "." and "..", of its parent, or of nothing.
//
// Owners, modes with the setuid, setgid and sticky bits, times, and of the extended attributes user.* and security.capability are those of
// the archive; all other attributes are left out, because what trusted.*, system.* and security.* mean is the device's business. Sparse files stay
// sparse. A caller that is not root owns what it unpacks, as with tar(1).
//
// On failure the directory is left half-written: the caller, which made it, removes it.
//
// Errors are *[adapter.Error]: [adapter.Corrupt], damaged or hostile; [adapter.NoResources], larger than permitted or than the disk;
// [adapter.InvalidArgument], an owner that is not in the map of user ids; [adapter.NotSupported], the file system has no place for something, mostly
// extended attributes; [adapter.Canceled]; [adapter.Internal], anything else.
package rootfs

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"

	archive "github.com/moby/go-archive"
	"github.com/moby/sys/user"
)

// The limits of [Options] that are 0.
const (
	DefaultMaxBytes   = 1 << 30
	DefaultMaxEntries = 250_000
)

// Options say how to unpack. The zero value is usable.
type Options struct {
	// MaxBytes is how many bytes the files may have together, unpacked, sparse ones in full; 0: [DefaultMaxBytes].
	MaxBytes int64
	// MaxEntries is how many entries there may be; 0: [DefaultMaxEntries]. The names of one archive may have 128 bytes for each of them, and 32 MiB at least.
	MaxEntries int
	// Used is what other layers of the same tree have taken of the limits already.
	Used Usage
	// UIDs and GIDs shift the owners, for a tree that is used in a user namespace.
	UIDs, GIDs IDMap
}

// IDMap says that the ids 0 to Size-1 of an archive are HostID to HostID+Size-1 on disk. The zero value changes nothing.
type IDMap struct {
	HostID int
	Size   int
}

// Usage is what an archive needs.
type Usage struct {
	Bytes   int64 // of all files, unpacked, sparse ones in full
	Entries int
}

// Add returns the sum of both.
func (u Usage) Add(v Usage) Usage {
	return Usage{Bytes: u.Bytes + v.Bytes, Entries: u.Entries + v.Entries}
}

// Scan reads the archive of a tree and returns what [Unpack] would need for it, or the error that it would find in the archive. It writes
// nothing. r may be compressed.
func Scan(ctx context.Context, r io.Reader, o Options) (Usage, error) {
	return scan(ctx, r, newSieve(o, false))
}

// ScanLayer is [Scan] for a layer.
func ScanLayer(ctx context.Context, r io.Reader, o Options) (Usage, error) {
	return scan(ctx, r, newSieve(o, true))
}

func scan(ctx context.Context, r io.Reader, s *sieve) (Usage, error) {
	plain, err := Decompress(r)
	if err != nil {
		return Usage{}, err
	}
	defer plain.Close()
	if err := s.run(ctx, plain, nil); err != nil {
		return Usage{}, classify(err)
	}
	return s.used, nil
}

// Unpack writes the tree of an archive into dir, which exists. r may be compressed; it is read to its end. What is in dir stays, unless an
// entry has its name. An entry for the root of the tree gives dir its owner and mode.
func Unpack(ctx context.Context, r io.Reader, dir string, o Options) (Usage, error) {
	return unpack(ctx, r, dir, newSieve(o, false))
}

// Apply changes the tree in dir, which exists, as the layer says. r may be compressed; it is read to its end.
func Apply(ctx context.Context, r io.Reader, dir string, o Options) (Usage, error) {
	return unpack(ctx, r, dir, newSieve(o, true))
}

// errStopped ends the sieve when the writer has failed.
var errStopped = errors.New("the writer stopped")

func unpack(ctx context.Context, r io.Reader, dir string, s *sieve) (Usage, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Usage{}, classify(err)
	}
	defer root.Close()
	s.root = root
	plain, err := Decompress(r)
	if err != nil {
		return Usage{}, err
	}
	defer plain.Close()

	s.writer = newHandover()
	sieved := make(chan error, 1)
	go func() {
		tw := tar.NewWriter(s.writer)
		err := s.run(ctx, plain, tw)
		if err == nil {
			err = tw.Close()
		}
		_ = s.writer.in.CloseWithError(err) // always nil
		sieved <- err
	}()
	options := &archive.TarOptions{IDMap: s.o.identityMapping(), NoLchown: !s.owners}
	if s.layer {
		_, err = archive.UnpackLayer(dir, s.writer, options)
	} else {
		err = archive.Unpack(s.writer, dir, options)
	}
	stop := err
	if stop == nil {
		stop = errStopped
	}
	s.writer.end(stop)
	// What the sieve finds is the cause of what the writer says then.
	if serr := <-sieved; serr != nil && !errors.Is(serr, stop) {
		err = serr
	}
	if err == nil {
		err = s.finish()
	}
	if err != nil {
		return Usage{}, classify(err)
	}
	return s.used, nil
}

func (o Options) identityMapping() user.IdentityMapping {
	ids := func(m IDMap) []user.IDMap {
		if m.Size == 0 {
			return nil
		}
		return []user.IDMap{{ID: 0, ParentID: int64(m.HostID), Count: int64(m.Size)}}
	}
	return user.IdentityMapping{UIDMaps: ids(o.UIDs), GIDMaps: ids(o.GIDs)}
}

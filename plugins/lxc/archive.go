package lxc

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/rootfs"
)

const (
	// maxMembers bounds the files of an archive that holds an image: each has a name and a place in memory.
	maxMembers = 4096
	// maxJSON bounds the documents of an image, in bytes; the largest are configurations with a long history.
	maxJSON = 4 << 20
)

// archive is an image's tar file whose members can be read in any order.
type archive struct {
	file    *os.File
	members map[string]member // by clean name
}

type member struct{ at, size int64 }

// openArchive opens the tar file at p. One that is compressed is unpacked into a file without a name in the directory tmp first,
// which may have at most limit bytes.
func openArchive(ctx context.Context, p, tmp string, limit int64) (*archive, error) {
	file, err := os.Open(p)
	if err != nil {
		return nil, fmt.Errorf("cannot read the package: %w", err)
	}
	plain, err := unpacked(ctx, file, tmp, limit)
	if plain != file {
		file.Close()
	}
	if err != nil {
		return nil, err
	}
	a := &archive{file: plain}
	if err := a.index(ctx); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *archive) close() { a.file.Close() }

// unpacked returns file itself, at its beginning, when it is not compressed.
func unpacked(ctx context.Context, file *os.File, tmp string, limit int64) (*os.File, error) {
	magic := make([]byte, 6)
	n, err := file.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("cannot read the package: %w", err)
	}
	if !isCompressed(magic[:n]) {
		return file, nil
	}
	in, err := rootfs.Decompress(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.CreateTemp(tmp, "archive-*")
	if err != nil {
		return nil, full("cannot unpack the package", err)
	}
	if err := os.Remove(out.Name()); err != nil {
		out.Close()
		return nil, fmt.Errorf("cannot unpack the package: %w", err)
	}
	written, err := io.Copy(out, io.LimitReader(&contextReader{ctx, in}, limit+1))
	switch {
	case err != nil:
		err = full("cannot unpack the package", err)
	case written > limit:
		err = adapter.Errorf(adapter.NoResources, "cannot unpack the package: it has more than %d bytes", limit)
	default:
		_, err = out.Seek(0, io.SeekStart)
	}
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

// isCompressed knows what [rootfs.Decompress] knows.
func isCompressed(magic []byte) bool {
	for _, m := range []string{"\x1f\x8b", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if strings.HasPrefix(string(magic), m) {
			return true
		}
	}
	return false
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

var errNoTar = errors.New("it is no tar file")

// index notes where the members are. Only regular files are of interest: nothing is written by their names.
func (a *archive) index(ctx context.Context) error {
	a.members = map[string]member{}
	tr := tar.NewReader(&contextReader{ctx, a.file})
	links := map[string]string{}
	for first := true; ; first = false {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) && !first {
			break
		}
		if err != nil {
			switch {
			case ctx.Err() != nil:
				return fmt.Errorf("cannot read the package: %w", ctx.Err())
			case first:
				return errNoTar
			}
			return adapter.Errorf(adapter.Corrupt, "cannot read the package: %v", err)
		}
		name := path.Clean(hdr.Name)
		switch {
		case len(a.members)+len(links) >= maxMembers:
			return adapter.Errorf(adapter.Corrupt, "cannot read the package: it has more than %d files", maxMembers)
		case hdr.Typeflag == tar.TypeReg && len(hdr.PAXRecords["GNU.sparse.major"]) == 0:
			at, err := a.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return fmt.Errorf("cannot read the package: %w", err)
			}
			a.members[name] = member{at: at, size: hdr.Size}
		case hdr.Typeflag == tar.TypeSymlink: // docker save of old: the same layer twice
			links[name] = path.Join(path.Dir(name), hdr.Linkname)
		}
	}
	for name, target := range links {
		if m, ok := a.members[target]; ok {
			a.members[name] = m
		}
	}
	return nil
}

// has reports whether there is a member of that name.
func (a *archive) has(name string) bool {
	_, ok := a.members[name]
	return ok
}

// open returns the content of a member.
func (a *archive) open(name string) (*io.SectionReader, error) {
	m, ok := a.members[path.Clean(name)]
	if !ok {
		return nil, adapter.Errorf(adapter.Corrupt, "cannot read the image: file %q is missing", name)
	}
	return io.NewSectionReader(a.file, m.at, m.size), nil
}

// document returns the content of a small member.
func (a *archive) document(name string) ([]byte, error) {
	r, err := a.open(name)
	if err != nil {
		return nil, err
	}
	if r.Size() > maxJSON {
		return nil, adapter.Errorf(adapter.Corrupt, "cannot read the image: file %q has %d bytes", name, r.Size())
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, adapter.Errorf(adapter.Corrupt, "cannot read the image: file %q: %v", name, err)
	}
	return data, nil
}

// digested computes the SHA-256 digest of what passes.
type digested struct {
	r   io.Reader
	sum hash.Hash
}

func newDigested(r io.Reader) *digested {
	d := &digested{sum: sha256.New()}
	d.r = io.TeeReader(r, d.sum)
	return d
}

func (d *digested) Read(p []byte) (int, error) { return d.r.Read(p) }

// hex returns the digest of what has passed.
func (d *digested) hex() string { return hex.EncodeToString(d.sum.Sum(nil)) }

// digestOf is the SHA-256 digest of data in hexadecimal.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

package rootfs

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path"
	"strings"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// The names that the OCI image specification gives a meaning in layers (Image Layer Filesystem Changeset, section Whiteouts), and the
// prefix of those that only aufs used.
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	aufs     = ".wh..wh."
)

const (
	maxName      = 4096 // PATH_MAX
	maxComponent = 255  // NAME_MAX of nearly every file system
	// maxNames is how many bytes the names of an archive may have together, or eachName for each entry that is permitted where that is more.
	maxNames = 32 << 20
	eachName = 128

	capability = "security.capability"
	xattrKey   = "SCHILY.xattr." // the PAX records with extended attributes
	sparseKey  = "GNU.sparse."
)

// A sieve judges the entries of one archive and passes on those that may be written, stripped of what must not be.
type sieve struct {
	o      Options
	layer  bool
	owners bool // can be set
	used   Usage
	names  int64    // bytes of all names so far
	root   *os.Root // both are nil when nothing is written
	writer *handover

	absolute map[string]bool // the absolute symbolic links of this archive
	sparse   []string        // files with holes
	programs []string        // files that can be executed
	top      *tar.Header     // the entry of the root
	leaf     string          // the last entry that is neither a directory nor a whiteout, empty after a directory
	buf      []byte
}

func newSieve(o Options, layer bool) *sieve {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	return &sieve{
		o: o, layer: layer, owners: os.Geteuid() == 0, buf: make([]byte, 64<<10),
		absolute: map[string]bool{},
	}
}

// run reads the archive to its end. What passes is written to tw, if there is one.
func (s *sieve) run(ctx context.Context, r io.Reader, tw *tar.Writer) error {
	in := &stream{ctx: ctx, r: r}
	tr := tar.NewReader(in)
	for {
		s.allow(in)
		before := in.n
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			if in.n-before < block || !in.zero {
				return corrupt("it is cut off: there is no end mark")
			}
			break
		}
		if err != nil {
			return err
		}
		out, err := s.entry(hdr)
		if err != nil {
			return err
		}
		to := io.Discard
		if out != nil && tw != nil {
			if out.Typeflag == tar.TypeLink {
				if err := s.keepCapability(out, tw); err != nil {
					return err
				}
			}
			if err := tw.WriteHeader(out); err != nil {
				return err
			}
			to = tw
		}
		if _, err := io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{tr}, s.buf); err != nil {
			return err
		}
	}
	// The checksum of a compressed archive, and the digest that a caller checks, come behind the end mark.
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, in, s.buf)
	return err
}

// allow sets how far the stream may be read: a limit for what is in it besides the files, such as extended headers without end.
func (s *sieve) allow(in *stream) {
	const each, extra = 8 << 10, 4 << 20
	in.limit = math.MaxInt64
	if entries := int64(s.used.Entries + 1); s.o.MaxBytes < math.MaxInt64-extra-entries*each {
		in.limit = s.o.MaxBytes + extra + entries*each
	}
}

// entry judges one header. It returns what to write, nil for nothing.
func (s *sieve) entry(hdr *tar.Header) (*tar.Header, error) {
	s.used.Entries++
	if s.used.Entries+s.o.Used.Entries > s.o.MaxEntries {
		return nil, adapter.Errorf(adapter.NoResources, "cannot unpack the archive: it has more than the %d entries that are permitted", s.o.MaxEntries)
	}
	if err := s.countNames(hdr); err != nil {
		return nil, err
	}
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil, nil
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return nil, err
	}
	out := &tar.Header{
		Typeflag: hdr.Typeflag, Name: name, Linkname: hdr.Linkname, Mode: hdr.Mode & 0o7777, Uid: hdr.Uid, Gid: hdr.Gid,
		ModTime: hdr.ModTime, Format: tar.FormatPAX, PAXRecords: s.xattrs(hdr),
	}
	if t := out.ModTime.Unix(); t < 0 || t > math.MaxUint32 { // of no use, and not all file systems have it
		out.ModTime = time.Unix(0, 0)
	}
	if err := s.owner(out); err != nil {
		return nil, err
	}
	if s.behindAbsolute(name) {
		return nil, corrupt("%q is behind an absolute symbolic link", name)
	}
	switch hdr.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		out.Typeflag, out.Size = tar.TypeReg, hdr.Size
		if hdr.Size > s.o.MaxBytes-s.o.Used.Bytes-s.used.Bytes {
			return nil, adapter.Errorf(adapter.NoResources, "cannot unpack the archive: its files have more than the %d bytes that are permitted", s.o.MaxBytes)
		}
		s.used.Bytes += hdr.Size
		if s.root != nil && out.Mode&0o111 != 0 {
			s.programs = append(s.programs, name)
		}
		if isSparse(hdr) {
			s.sparse = append(s.sparse, name)
		}
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeLink:
		if err := s.hardLink(out); err != nil {
			return nil, err
		}
	case tar.TypeSymlink:
		if err := checkSymlink(name, hdr.Linkname); err != nil {
			return nil, err
		}
	case tar.TypeBlock, tar.TypeChar:
		return nil, corrupt("%q is a device node", name)
	default:
		return nil, corrupt("%q is an entry of the unknown type %q", name, hdr.Typeflag)
	}
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return nil, corrupt("its root is no directory")
		}
		s.top = out
		return nil, nil
	}
	if s.layer {
		skip, err := checkWhiteout(name)
		if skip || err != nil {
			return nil, err
		}
		if s.leaf != "" && strings.HasPrefix(name, s.leaf+"/") && strings.HasPrefix(path.Base(name), whiteout) {
			return nil, nil // umoci also names what went with a directory that became a file, right behind that
		}
	}
	s.note(out)
	return out, nil
}

// countNames bounds the memory that an archive takes: the writer, the sieve itself and readers beside it remember names and targets of links to the
// end, and the writer the attributes of directories. It counts those of all entries, so that a pass before comes to the same result.
func (s *sieve) countNames(hdr *tar.Header) error {
	s.names += int64(len(hdr.Name) + len(hdr.Linkname))
	if hdr.Typeflag == tar.TypeDir {
		for key, value := range hdr.PAXRecords {
			s.names += int64(len(key) + len(value))
		}
	}
	if limit := max(maxNames, eachName*int64(s.o.MaxEntries)); s.names > limit {
		return adapter.Errorf(adapter.NoResources, "cannot unpack the archive: its names have more than the %d bytes that are permitted", limit)
	}
	return nil
}

// note remembers of an entry what later ones are judged by.
func (s *sieve) note(out *tar.Header) {
	switch {
	case out.Typeflag == tar.TypeDir:
		s.leaf = ""
	case !strings.HasPrefix(path.Base(out.Name), whiteout):
		s.leaf = out.Name
	}
	if out.Typeflag == tar.TypeSymlink && path.IsAbs(out.Linkname) {
		s.absolute[out.Name] = true
	} else {
		delete(s.absolute, out.Name)
	}
}

func cleanName(raw string) (string, error) {
	switch {
	case len(raw) > maxName:
		return "", corrupt("the name %.40q… has %d characters", raw, len(raw))
	case strings.ContainsRune(raw, 0):
		return "", corrupt("the name %q has a NUL in it", raw)
	case path.IsAbs(raw):
		return "", corrupt("the name %q is absolute", raw)
	case raw == "":
		return "", corrupt("an entry has no name")
	}
	for component := range strings.SplitSeq(raw, "/") {
		if component == ".." {
			return "", corrupt("the name %q has .. in it", raw)
		}
		if len(component) > maxComponent {
			return "", corrupt("the name %.40q… has a part of %d characters", raw, len(component))
		}
	}
	return path.Clean(raw), nil
}

// behindAbsolute reports whether a directory on the way to name is an absolute symbolic link of this archive.
func (s *sieve) behindAbsolute(name string) bool {
	if len(s.absolute) == 0 {
		return false
	}
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') { // name is clean
		if s.absolute[name[:i]] {
			return true
		}
	}
	return false
}

// checkSymlink refuses a target that no tree can have: more .. than there are directories above the link.
func checkSymlink(name, target string) error {
	switch {
	case target == "" || len(target) >= maxName || strings.ContainsRune(target, 0):
		return corrupt("the symbolic link %q has a target that is none", name)
	case path.IsAbs(target):
		return nil
	}
	if to := path.Join(path.Dir(name), target); to == ".." || strings.HasPrefix(to, "../") {
		return corrupt("the symbolic link %q leads out of the tree", name)
	}
	return nil
}

// hardLink checks the target of a hard link. In layers of some tools it is absolute, and meant below the root.
func (s *sieve) hardLink(out *tar.Header) error {
	target := out.Linkname
	if s.layer {
		target = strings.TrimLeft(target, "/")
	}
	target, err := cleanName(target)
	switch {
	case err != nil || target == ".":
		return corrupt("the hard link %q leads to %q, which is out of the tree", out.Name, out.Linkname)
	case s.behindAbsolute(target):
		return corrupt("the hard link %q leads behind an absolute symbolic link", out.Name)
	case target == out.Name:
		return corrupt("the hard link %q leads to itself", out.Name)
	}
	out.Linkname = target
	return nil
}

// keepCapability gives the entry of a hard link the capabilities of its file. The writer gives the file its owner once more with each of its names, which
// takes them away, and archives have them with the first name only.
func (s *sieve) keepCapability(out *tar.Header, tw *tar.Writer) error {
	if err := tw.Flush(); err != nil {
		return err
	}
	s.writer.wait()
	at, err := resolve(s.root, out.Linkname)
	if err != nil {
		return nil // the writer says it
	}
	info, err := s.root.Lstat(at)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	if c := readCapability(s.root, at); c != "" {
		out.PAXRecords[xattrKey+capability] = c
	}
	return nil
}

// checkWhiteout refuses whiteouts of what is no entry of their directory, and tells what only aufs knew.
func checkWhiteout(name string) (skip bool, err error) {
	base := path.Base(name)
	switch strings.TrimPrefix(base, whiteout) {
	case base: // none
	case "", ".", "..":
		return false, corrupt("the whiteout %q names no file", name)
	}
	return strings.HasPrefix(name, aufs) && name != opaque, nil
}

// owner checks the owner of an entry: the kernel has 32 bits for it, and the last value means something else.
func (s *sieve) owner(out *tar.Header) error {
	for _, id := range []struct {
		what string
		id   int
		ids  IDMap
	}{{"user", out.Uid, s.o.UIDs}, {"group", out.Gid, s.o.GIDs}} {
		if id.id < 0 || int64(id.id) >= math.MaxUint32 {
			return corrupt("%q belongs to %s %d", out.Name, id.what, id.id)
		}
		if id.ids.Size > 0 && id.id >= id.ids.Size {
			return adapter.Errorf(adapter.InvalidArgument, "cannot unpack the archive: %q belongs to %s %d, and the ids of the environment end at %d",
				out.Name, id.what, id.id, id.ids.Size-1)
		}
	}
	return nil
}

// xattrs returns the extended attributes that an entry keeps, as PAX records.
func (s *sieve) xattrs(hdr *tar.Header) map[string]string {
	kept := map[string]string{}
	for key, value := range hdr.PAXRecords {
		name, ok := strings.CutPrefix(key, xattrKey)
		switch {
		case !ok || hdr.Typeflag == tar.TypeSymlink: // the kernel has none on symbolic links
		case name == capability:
			kept[key] = s.shiftCapability(value)
		case strings.HasPrefix(name, "user.") && len(name) <= maxComponent:
			kept[key] = value
		}
	}
	return kept
}

// shiftCapability gives file capabilities to the root of a user namespace: revision 2 has them for the initial namespace only, revision 3
// names the root (linux/capability.h, struct vfs_ns_cap_data).
func (s *sieve) shiftCapability(value string) string {
	const v2, v3, revision, flags, size = 0x02000000, 0x03000000, 0xff000000, 0x00ffffff, 20
	if s.o.UIDs.Size == 0 || len(value) != size {
		return value
	}
	data := []byte(value)
	magic := binary.LittleEndian.Uint32(data)
	if magic&revision != v2 {
		return value
	}
	binary.LittleEndian.PutUint32(data, v3|magic&flags)
	return string(binary.LittleEndian.AppendUint32(data, uint32(s.o.UIDs.HostID)))
}

func isSparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, sparseKey) {
			return true
		}
	}
	return false
}

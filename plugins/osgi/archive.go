package osgi

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	// archiveManifest is the first member of a saved version: an [archiveIndex]. The files follow, stored, in the order of the class
	// path. Nothing in the archive depends on anything but their content, so the same content gives the same bytes.
	archiveManifest = "version.json"
	// archiveFormat says what a saved version is of, and in which form.
	archiveFormat = "smmd-osgi-version-1"
	// maxIndex bounds the first member, in bytes; maxVersionFiles the number of the files.
	maxIndex, maxVersionFiles = 1 << 20, 1000
)

// digests are the SHA-256 digests, in hexadecimal, of what a framework runs from: its jar, then its class path in order.
type digests []string

// id is one name for all of them.
func (d digests) id() string {
	sum := sha256.Sum256([]byte(strings.Join(d, "\n")))
	return hex.EncodeToString(sum[:])
}

// memberName is the name of the i-th file in an archive, and in the directory of a restored version.
func memberName(i int) string {
	if i == 0 {
		return "framework.jar"
	}
	return "classpath-" + strconv.Itoa(i) + ".jar"
}

// archiveIndex is the content of [archiveManifest].
type archiveIndex struct {
	Format string  `json:"format"`
	Files  digests `json:"files"`
}

// digestsOf reads files.
func digestsOf(ctx context.Context, files []string) (digests, error) {
	var all digests
	for _, file := range files {
		sum := sha256.New()
		if err := copyFile(ctx, sum, file); err != nil {
			return nil, err
		}
		all = append(all, hex.EncodeToString(sum.Sum(nil)))
	}
	return all, nil
}

// copyFile writes the content of a regular file to w.
func copyFile(ctx context.Context, w io.Writer, file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // nothing was written
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s %w", file, errNoFile)
	}
	_, err = io.Copy(w, contextReader{ctx, in})
	return err
}

var errNoFile = errors.New("is no file")

// writeArchive writes files, whose digests are sums, as a saved version.
func writeArchive(ctx context.Context, w io.Writer, files []string, sums digests) error {
	out := zip.NewWriter(w)
	index, err := json.Marshal(archiveIndex{archiveFormat, sums})
	if err != nil {
		return err
	}
	member, err := out.CreateHeader(&zip.FileHeader{Name: archiveManifest, Method: zip.Store})
	if err != nil {
		return err
	}
	if _, err := member.Write(index); err != nil {
		return err
	}
	for i, file := range files {
		member, err := out.CreateHeader(&zip.FileHeader{Name: memberName(i), Method: zip.Store})
		if err != nil {
			return err
		}
		sum := sha256.New()
		if err := copyFile(ctx, io.MultiWriter(member, sum), file); err != nil {
			return err
		}
		if hex.EncodeToString(sum.Sum(nil)) != sums[i] {
			return fmt.Errorf("%s was changed while it was read", file)
		}
	}
	return out.Close()
}

// archive is a saved version that is being read.
type archive struct {
	file  *os.File
	files []*zip.File
	sums  digests
}

// openArchive opens a saved version and reads its index; the content of its files is checked by [archive.extract]. Its errors are
// [adapter.Corrupt] and [adapter.Mismatch].
func openArchive(path string) (*archive, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, adapter.Errorf(adapter.Internal, "cannot read the saved version %s: %v", filepath.Base(path), placeless(err))
	}
	a, err := readArchive(file)
	if err != nil {
		_ = file.Close() // nothing was written
		reason := adapter.Corrupt
		if errors.Is(err, errNoVersion) {
			reason = adapter.Mismatch
		}
		err = placeless(err)
		return nil, &adapter.Error{Reason: reason, Message: fmt.Sprintf("cannot read the saved version %s: %v", filepath.Base(path), err), Cause: err.Error()}
	}
	a.file = file
	return a, nil
}

var errNoVersion = errors.New("it is no saved version of an OSGi framework")

func (a *archive) close() { _ = a.file.Close() } // nothing was written

func readArchive(file *os.File) (*archive, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	z, err := zip.NewReader(file, info.Size())
	if err != nil {
		return nil, err
	}
	return parseArchive(z)
}

func parseArchive(z *zip.Reader) (*archive, error) {
	if len(z.File) == 0 || z.File[0].Name != archiveManifest {
		return nil, errNoVersion
	}
	raw, _, err := readMember(context.Background(), z.File[0], maxIndex, maxIndex)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", archiveManifest, err)
	}
	var index archiveIndex
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", archiveManifest, err)
	}
	if index.Format != archiveFormat {
		return nil, fmt.Errorf("%w: its format is %q", errNoVersion, index.Format)
	}
	if n := len(index.Files); n == 0 || n > maxVersionFiles || n != len(z.File)-1 {
		return nil, fmt.Errorf("it names %d files and has %d", n, len(z.File)-1)
	}
	a := &archive{sums: index.Files, files: z.File[1:]}
	for i, f := range a.files {
		sum, err := hex.DecodeString(a.sums[i])
		switch {
		case f.Name != memberName(i):
			return nil, fmt.Errorf("%q stands where %q belongs", f.Name, memberName(i))
		case f.Method != zip.Store:
			return nil, fmt.Errorf("%s is not stored as it is", f.Name)
		case err != nil || len(sum) != sha256.Size || a.sums[i] != strings.ToLower(a.sums[i]):
			return nil, fmt.Errorf("%q is no digest", a.sums[i])
		}
	}
	return a, nil
}

// extract writes the files into dir, durably.
func (a *archive) extract(ctx context.Context, dir string) error {
	for i, f := range a.files {
		in, err := f.Open()
		if err != nil {
			return damaged(f, err)
		}
		sum := sha256.New()
		err = writeFile(filepath.Join(dir, memberName(i)), func(w io.Writer) error {
			_, err := io.Copy(io.MultiWriter(w, sum), contextReader{ctx, in})
			if errors.Is(err, zip.ErrChecksum) || errors.Is(err, zip.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
				return damaged(f, err)
			}
			return err
		})
		_ = in.Close() // nothing was written
		if err != nil {
			return err
		}
		if hex.EncodeToString(sum.Sum(nil)) != a.sums[i] {
			return damaged(f, errors.New("its digest is another one"))
		}
	}
	return syncDir(dir)
}

func damaged(f *zip.File, err error) error {
	return adapter.Errorf(adapter.Corrupt, "%s: %v", f.Name, err)
}

// writeFile makes a new file in place of what is at path, durably but for its name. On failure there is no file.
func writeFile(path string, write func(io.Writer) error) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(write(out), out.Sync(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// fileError is the error of work on files: what names it, as in "save the version of …".
func fileError(ctx context.Context, what string, err error) error {
	var classified *adapter.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot %s: %w", what, ctx.Err())
	case errors.As(err, &classified):
		return &adapter.Error{Reason: classified.Reason, Message: fmt.Sprintf("cannot %s: %v", what, err), Cause: classified.Cause}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return adapter.Errorf(adapter.NoResources, "cannot %s: %v", what, err)
	}
	return adapter.Errorf(adapter.Internal, "cannot %s: %v", what, err)
}

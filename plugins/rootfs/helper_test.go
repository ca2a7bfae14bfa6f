package rootfs

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// needRoot skips a test that sets owners, or reads what others may not.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("it needs root, and CI=true permits no skips")
	}
	t.Skip("it needs root: it sets owners, or reads what others may not")
}

// An item is an entry of an archive with its content.
type item struct {
	tar.Header
	body string
}

func dir(name string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func file(name, body string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, body: body}
}

func symlink(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func link(name, target string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}}
}

func of(typeflag byte, name string) item {
	return item{Header: tar.Header{Typeflag: typeflag, Name: name, Mode: 0o644}}
}

func pack(t testing.TB, items ...item) []byte {
	t.Helper()
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, i := range items {
		i.Size = int64(len(i.body))
		if err := tw.WriteHeader(&i.Header); err != nil {
			t.Fatalf("cannot write %q: %v", i.Name, err)
		}
		if _, err := tw.Write([]byte(i.body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// unpackInto returns a directory with the tree of an archive.
func unpackInto(t *testing.T, o Options, data []byte) string {
	t.Helper()
	to := t.TempDir()
	if _, err := Unpack(t.Context(), bytes.NewReader(data), to, o); err != nil {
		t.Fatal(err)
	}
	return to
}

// applyAll returns a directory with the tree of layers.
func applyAll(t *testing.T, o Options, layers ...[]byte) string {
	t.Helper()
	to := t.TempDir()
	for _, data := range layers {
		used, err := Apply(t.Context(), bytes.NewReader(data), to, o)
		if err != nil {
			t.Fatal(err)
		}
		o.Used = o.Used.Add(used)
	}
	return to
}

func wantReason(t *testing.T, err error, want adapter.Reason) {
	t.Helper()
	if got := adapter.ReasonOf(err); got != want {
		t.Errorf("the reason is %q (%v), want %q", got, err, want)
	}
	if err != nil && !strings.HasPrefix(err.Error(), "cannot ") {
		t.Errorf("the error does not begin with cannot: %v", err)
	}
}

// tree describes everything below a directory, one line for each entry: what two ways to unpack must agree on.
func tree(t testing.TB, top string) []string {
	t.Helper()
	var lines []string
	first := map[uint64]string{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%s %v %d:%d", rel, info.Mode(), st.Uid, st.Gid)
		if !d.IsDir() {
			line += fmt.Sprintf(" %d", info.ModTime().Unix())
			if st.Nlink > 1 {
				if first[st.Ino] == "" {
					first[st.Ino] = rel
				}
				line += " is " + first[st.Ino]
			}
		}
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %d %.80q", len(data), bytes.TrimRight(data, "\x00"))
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		if info.Mode().IsRegular() || d.IsDir() {
			line += xattrsOf(t, path)
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func xattrsOf(t testing.TB, path string) string {
	t.Helper()
	names := make([]byte, 4096)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return ""
	}
	var out []string
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.selinux" {
			continue
		}
		value := make([]byte, 4096)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf(" %s=%x", name, value[:n]))
	}
	sort.Strings(out)
	return strings.Join(out, "")
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

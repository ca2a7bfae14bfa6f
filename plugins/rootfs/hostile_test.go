package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// A site is a directory to unpack into, inside of one that must stay as it is.
type site struct {
	top, in string
	before  []string
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{top: t.TempDir()}
	s.in = filepath.Join(s.top, "a", "tree")
	for _, d := range []string{s.in, filepath.Join(s.top, "outside")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"outside/secret", "a/x", "x", "a/secret"} {
		if err := os.WriteFile(filepath.Join(s.top, f), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.before = s.outside(t)
	return s
}

func (s *site) outside(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, line := range tree(t, s.top) {
		if name, _, _ := strings.Cut(line, " "); !strings.HasPrefix(name+"/", "a/tree/") {
			out = append(out, line)
		}
	}
	return out
}

func (s *site) check(t testing.TB) {
	t.Helper()
	if after := s.outside(t); !reflect.DeepEqual(after, s.before) {
		t.Errorf("outside of the tree it is\n%s\nand was\n%s", strings.Join(after, "\n"), strings.Join(s.before, "\n"))
	}
}

type unpacker func(ctx context.Context, r io.Reader, dir string, o Options) (Usage, error)

func TestHostile(t *testing.T) {
	long := strings.Repeat("n", 300)
	beyond := int64(1) << 32 // a number that only processors of 64 bits read as one
	if strconv.IntSize < 64 {
		beyond = 0
	}
	device := of(tar.TypeChar, "null")
	device.Devmajor, device.Devminor = 1, 3
	disk := of(tar.TypeBlock, "sda")
	disk.Devmajor = 8
	for _, c := range []struct {
		name  string
		items []item
		layer bool // as a layer only
		scan  bool // the pass before sees it
	}{
		{name: "climbing", items: []item{file("../x", "evil")}, scan: true},
		{name: "climbing in the middle", items: []item{dir("d"), file("d/../../x", "evil")}, scan: true},
		{name: "two dots that stay inside", items: []item{dir("d"), file("d/../y", "evil")}, scan: true},
		{name: "absolute", items: []item{file("/x", "evil")}, scan: true},
		{name: "absolute directory", items: []item{dir("//x/")}, scan: true},
		{name: "symbolic link that climbs", items: []item{symlink("l", "../secret")}, scan: true},
		{name: "symbolic link that climbs deep", items: []item{dir("d"), symlink("d/l", "../e/../../secret")}, scan: true},
		{name: "through a link that climbs", items: []item{symlink("l", ".."), file("l/x", "evil")}, scan: true},
		{name: "through an absolute link", items: []item{symlink("l", "/outside"), file("l/secret", "evil")}, scan: true},
		{name: "deep through an absolute link", items: []item{symlink("l", "/"), file("l/a/b/c", "evil")}, scan: true},
		{name: "symbolic link to nothing", items: []item{symlink("l", strings.Repeat("x/", 3000))}, scan: true},
		{name: "hard link that climbs", items: []item{link("l", "../../outside/secret")}, scan: true},
		{name: "hard link to an absolute name", items: []item{link("l", "/outside/secret")}, scan: true},
		{name: "hard link to itself", items: []item{link("l", "l")}, scan: true},
		{name: "hard link to the root", items: []item{link("l", ".")}, scan: true},
		{name: "hard link to a directory", items: []item{dir("d"), link("l", "d")}},
		{name: "hard link to nothing", items: []item{link("l", "missing")}},
		{name: "hard link behind a link", items: []item{symlink("s", "/outside"), link("l", "s/secret")}, scan: true},
		{name: "character device", items: []item{device}, scan: true},
		{name: "block device", items: []item{disk}, scan: true},
		{name: "long part of a name", items: []item{file(long, "")}, scan: true},
		{name: "long name", items: []item{file(strings.Repeat("d/", 2500)+"f", "")}, scan: true},
		{name: "root is a file", items: []item{file("./.", "")}, scan: true},
		{name: "below a file", items: []item{file("f", ""), file("f/g", "")}},
		{name: "below a fifo", items: []item{of(tar.TypeFifo, "f"), file("f/g", "")}},
		{name: "owner beyond 32 bits", items: []item{{Header: tar.Header{Typeflag: tar.TypeReg, Name: "f", Uid: int(beyond)}}}, scan: true},
		{name: "owner that is none", items: []item{{Header: tar.Header{Typeflag: tar.TypeReg, Name: "f", Gid: int(beyond - 1)}}}, scan: true},
		{name: "loop", items: []item{symlink("a", "b"), symlink("b", "a"), file("a/f", "")}},
		{name: "whiteout that climbs", items: []item{file("../.wh.x", "")}, scan: true},
		{name: "whiteout of the parent", items: []item{dir("d"), dir("d/e"), file("d/e/.wh...", "")}, layer: true, scan: true},
		{name: "whiteout of the directory", items: []item{dir("d"), file("d/.wh..", "")}, layer: true, scan: true},
		{name: "whiteout of nothing", items: []item{dir("d"), file("d/.wh.", "")}, layer: true, scan: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if beyond == 0 && strings.HasPrefix(c.name, "owner ") {
				t.Skip("the processor has 32 bits")
			}
			data := pack(t, c.items...)
			for kind, unpack := range map[string]unpacker{"tree": Unpack, "layer": Apply} {
				if c.layer && kind == "tree" {
					continue
				}
				s := newSite(t)
				_, err := unpack(t.Context(), bytes.NewReader(data), s.in, Options{})
				if got := adapter.ReasonOf(err); got != adapter.Corrupt {
					t.Errorf("%s: the reason is %q (%v), want corrupt", kind, got, err)
				}
				s.check(t)
			}
			scan := ScanLayer
			if !c.layer {
				scan = Scan
			}
			_, err := scan(t.Context(), bytes.NewReader(data), Options{})
			if got := adapter.ReasonOf(err) == adapter.Corrupt; got != c.scan {
				t.Errorf("the pass before finds %v", err)
			}
		})
	}
}

// A link that is there beforehand, from whoever, leads nowhere: a relative one that climbs is an error, an absolute one means
// a place below the root.
func TestPlantedLinks(t *testing.T) {
	for kind, unpack := range map[string]unpacker{"tree": Unpack, "layer": Apply} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t)
			if err := os.Symlink("../../outside", filepath.Join(s.in, "rel")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join(s.top, "outside"), filepath.Join(s.in, "abs")); err != nil {
				t.Fatal(err)
			}
			_, err := unpack(t.Context(), bytes.NewReader(pack(t, file("rel/secret", "evil"))), s.in, Options{})
			wantReason(t, err, adapter.Corrupt)
			s.check(t)
			_, err = unpack(t.Context(), bytes.NewReader(pack(t, link("stolen", "rel/secret"))), s.in, Options{})
			wantReason(t, err, adapter.Corrupt)
			s.check(t)
			if _, err = unpack(t.Context(), bytes.NewReader(pack(t, file("abs/secret", "inside"))), s.in, Options{}); err != nil {
				t.Error(err)
			}
			s.check(t)
			if got := content(t, filepath.Join(s.in, s.top, "outside/secret")); got != "inside" {
				t.Errorf("it is %q", got)
			}
			// An entry with the name of the link replaces the link and not what it leads to.
			if _, err = unpack(t.Context(), bytes.NewReader(pack(t, file("rel", "inside"))), s.in, Options{}); err != nil {
				t.Error(err)
			}
			s.check(t)
			_, err = Apply(t.Context(), bytes.NewReader(pack(t, file("abs/.wh.secret", ""))), s.in, Options{})
			wantReason(t, err, "")
			s.check(t)
		})
	}
}

func compress(t testing.TB, how string, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	var w io.WriteCloser
	var err error
	switch how {
	case "plain":
		return data
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "xz":
		w, err = xz.NewWriter(&buf)
	case "zstd":
		w, err = zstd.NewWriter(&buf)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

var compressions = []string{"plain", "gzip", "xz", "zstd"}

func TestDamaged(t *testing.T) {
	tarball := pack(t, dir("d"), file("d/f", strings.Repeat("content ", 500)), file("g", strings.Repeat("\x00", 1024)))
	for _, how := range compressions {
		t.Run(how, func(t *testing.T) {
			whole := compress(t, how, tarball)
			run := func(data []byte) error {
				_, err := Unpack(t.Context(), bytes.NewReader(data), t.TempDir(), Options{})
				_, scanErr := Scan(t.Context(), bytes.NewReader(data), Options{})
				if adapter.ReasonOf(err) != adapter.ReasonOf(scanErr) {
					t.Errorf("unpacking says %v, the pass before %v", err, scanErr)
				}
				return err
			}
			wantReason(t, run(whole), "")
			for cut := 0; cut < len(whole); cut += max(1, len(whole)/40) {
				if how == "plain" && cut >= len(tarball)-block { // half an end mark is one
					continue
				}
				if got := adapter.ReasonOf(run(whole[:cut])); got != adapter.Corrupt {
					t.Errorf("cut off after %d of %d bytes: the reason is %q", cut, len(whole), got)
				}
			}
			if how == "plain" {
				wantReason(t, run(whole[:len(tarball)-2*block]), adapter.Corrupt)
				return
			}
			end := bytes.Clone(whole) // the checksums are at the end of gzip and zstd, and before the index of xz
			end[len(end)-5] ^= 0x10
			wantReason(t, run(end), adapter.Corrupt)
			middle := bytes.Clone(whole)
			middle[len(middle)/2] ^= 0x10
			wantReason(t, run(middle), adapter.Corrupt)
			wantReason(t, run(append(bytes.Clone(whole), "garbage"...)), adapter.Corrupt)
		})
	}
	header := pack(t, file("f", "x"))
	header[150] ^= 1 // the checksum of the header
	_, err := Unpack(t.Context(), bytes.NewReader(header), t.TempDir(), Options{})
	wantReason(t, err, adapter.Corrupt)
	_, err = Unpack(t.Context(), strings.NewReader("this is no archive at all"), t.TempDir(), Options{})
	wantReason(t, err, adapter.Corrupt)
}

// zeros writes so many zeros as the content of one file.
func zeros(size int64) io.Reader {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "bomb", Size: size, Mode: 0o644})
		if err == nil {
			_, err = io.CopyN(tw, zeroReader{}, size)
		}
		if err == nil {
			err = tw.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestBomb(t *testing.T) {
	for _, how := range compressions[1:] {
		t.Run(how, func(t *testing.T) {
			const size = 6 << 20
			data, err := io.ReadAll(zeros(size))
			if err != nil {
				t.Fatal(err)
			}
			data = compress(t, how, data)
			to := t.TempDir()
			_, err = Unpack(t.Context(), bytes.NewReader(data), to, Options{MaxBytes: 1 << 20})
			wantReason(t, err, adapter.NoResources)
			if used, err := DiskUsage(to); err != nil || used > 1<<10 {
				t.Errorf("%d KiB were written: %v", used, err)
			}
		})
	}
	t.Run("behind the end", func(t *testing.T) {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, err := w.Write(pack(t, file("f", "x")))
		if err == nil {
			_, err = io.CopyN(w, zeroReader{}, 16<<20)
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		_, err = Unpack(t.Context(), &buf, t.TempDir(), Options{MaxBytes: 1 << 20})
		wantReason(t, err, adapter.NoResources)
	})
	t.Run("extended headers without end", func(t *testing.T) {
		// A pax header for no entry is followed by the next: the tar reader reads on and on.
		one := pack(t, item{Header: tar.Header{Typeflag: tar.TypeReg, Name: "f", PAXRecords: map[string]string{"SMMD.x": strings.Repeat("y", 500<<10)}}})
		one = one[:len(one)-3*block] // without the entry and the end mark
		_, err := Unpack(t.Context(), io.MultiReader(bytes.NewReader(one), &repeating{data: one}), t.TempDir(), Options{MaxBytes: 1 << 20})
		wantReason(t, err, adapter.NoResources)
	})
}

// repeating gives the same bytes again and again.
type repeating struct {
	data []byte
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.data[r.at:])
	r.at = (r.at + n) % len(r.data)
	return n, nil
}

// gnuTar packs what is in a directory with tar(1).
func gnuTar(t *testing.T, from string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("tar", append([]string{"-C", from, "-cf", "-"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tar %v: %v", args, err)
	}
	return out
}

func TestSparse(t *testing.T) {
	for _, format := range [][]string{{"--format=gnu"}, {"--format=posix", "--sparse-version=0.0"}, {"--format=posix", "--sparse-version=0.1"}, {"--format=posix", "--sparse-version=1.0"}} {
		t.Run(strings.Join(format, " "), func(t *testing.T) {
			from := t.TempDir()
			f, err := os.Create(filepath.Join(from, "f"))
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteAt([]byte("deep"), 12<<20)
			if err = errors.Join(err, f.Truncate(10<<30), f.Close()); err != nil {
				t.Fatal(err)
			}
			huge := gnuTar(t, from, append(format, "-S", "f")...)
			s := newSite(t)
			for _, unpack := range []unpacker{Unpack, Apply} {
				_, err = unpack(t.Context(), bytes.NewReader(huge), s.in, Options{})
				wantReason(t, err, adapter.NoResources)
			}
			_, err = Scan(t.Context(), bytes.NewReader(huge), Options{})
			wantReason(t, err, adapter.NoResources)
			if used, err := DiskUsage(s.in); err != nil || used > 64 {
				t.Errorf("%d KiB were written: %v", used, err)
			}

			if err := os.Truncate(filepath.Join(from, "f"), 16<<20); err != nil {
				t.Fatal(err)
			}
			to := unpackInto(t, Options{}, gnuTar(t, from, append(format, "-S", "f")...))
			if got, want := tree(t, to)[1:], tree(t, from)[1:]; !reflect.DeepEqual(got, want) {
				t.Errorf("it is %v, want %v", got, want)
			}
			if used, err := DiskUsage(to); err != nil || used > 1<<10 {
				t.Errorf("it takes %d KiB: %v", used, err)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	data := pack(t, dir("d"), file("d/a", "123"), file("d/b", "4567"))
	for _, c := range []struct {
		o    Options
		want adapter.Reason
	}{
		{Options{MaxBytes: 7, MaxEntries: 3}, ""},
		{Options{MaxBytes: 6, MaxEntries: 3}, adapter.NoResources},
		{Options{MaxBytes: 7, MaxEntries: 2}, adapter.NoResources},
		{Options{MaxBytes: 10, Used: Usage{Bytes: 3}}, ""},
		{Options{MaxBytes: 10, Used: Usage{Bytes: 4}}, adapter.NoResources},
		{Options{MaxEntries: 5, Used: Usage{Entries: 3}}, adapter.NoResources},
	} {
		for kind, run := range map[string]func() (Usage, error){
			"tree":       func() (Usage, error) { return Unpack(t.Context(), bytes.NewReader(data), t.TempDir(), c.o) },
			"layer":      func() (Usage, error) { return Apply(t.Context(), bytes.NewReader(data), t.TempDir(), c.o) },
			"scan":       func() (Usage, error) { return Scan(t.Context(), bytes.NewReader(data), c.o) },
			"scan layer": func() (Usage, error) { return ScanLayer(t.Context(), bytes.NewReader(data), c.o) },
		} {
			used, err := run()
			if got := adapter.ReasonOf(err); got != c.want {
				t.Errorf("%s with %+v: %v, want %q", kind, c.o, err, c.want)
			}
			if want := (Usage{Bytes: 7, Entries: 3}); err == nil && used != want {
				t.Errorf("%s: it needs %+v, want %+v", kind, used, want)
			}
		}
	}
}

// A million entries are told by the pass before, and make no million files.
func TestManyEntries(t *testing.T) {
	one := pack(t, file("f", ""))[:block]
	_, err := Scan(t.Context(), io.LimitReader(&repeating{data: one}, 1_000_000*block), Options{})
	wantReason(t, err, adapter.NoResources)
}

// Names, targets of links and attributes of directories are in memory to the end: a few entries with long ones are as bad as many.
func TestLongNames(t *testing.T) {
	long := strings.Repeat(strings.Repeat("n", 199)+"/", 19)
	for what, hdr := range map[string]tar.Header{
		"names":      {Typeflag: tar.TypeSymlink, Name: long, Linkname: "/"},
		"targets":    {Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/" + long},
		"attributes": {Typeflag: tar.TypeDir, Name: "d", PAXRecords: map[string]string{xattrKey + "user.x": long}},
	} {
		t.Run(what, func(t *testing.T) {
			whole := pack(t, item{Header: hdr})
			one, end := whole[:len(whole)-2*block], whole[len(whole)-2*block:]
			archive := func(entries int) io.Reader {
				return io.MultiReader(io.LimitReader(&repeating{data: one}, int64(entries*len(one))), bytes.NewReader(end))
			}
			more := maxNames/len(long) + 1
			_, err := Scan(t.Context(), archive(more), Options{})
			wantReason(t, err, adapter.NoResources)
			_, err = ScanLayer(t.Context(), archive(more), Options{MaxEntries: more})
			wantReason(t, err, adapter.NoResources)
			if _, err := Scan(t.Context(), archive(more-100), Options{MaxEntries: more}); err != nil {
				t.Error(err)
			}
			if _, err := Scan(t.Context(), archive(more), Options{MaxEntries: 2 * maxNames / eachName}); err != nil {
				t.Errorf("where more entries are permitted: %v", err)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &hooked{r: zeros(1 << 30), after: 4 << 20, do: cancel}
	_, err := Unpack(ctx, r, t.TempDir(), Options{})
	wantReason(t, err, adapter.Canceled)
	r.r.(*io.PipeReader).Close()
}

// hooked calls do once so much was read.
type hooked struct {
	r     io.Reader
	n     int64
	after int64
	do    func()
}

func (h *hooked) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.n += int64(n)
	if h.n >= h.after {
		h.do()
	}
	return n, err
}

// failing is an archive on a medium that breaks.
type failing struct {
	r   io.Reader
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

func TestSourceFails(t *testing.T) {
	tarball := pack(t, file("f", strings.Repeat("content ", 5000)))
	for _, how := range compressions {
		data := compress(t, how, tarball)
		for _, n := range []int{0, len(data) / 2} {
			for err, want := range map[error]adapter.Reason{
				&os.PathError{Op: "read", Path: "f", Err: syscall.EIO}: adapter.Internal,
				errors.New("lost"): adapter.Internal,
				context.Canceled:   adapter.Canceled,
			} {
				_, got := Unpack(t.Context(), &failing{bytes.NewReader(data[:n]), err}, t.TempDir(), Options{})
				wantReason(t, got, want)
			}
		}
	}
}

func TestFullDisk(t *testing.T) {
	needRoot(t)
	to := t.TempDir()
	if err := syscall.Mount("tmpfs", to, "tmpfs", 0, "size=1m,nr_inodes=64"); err != nil {
		t.Fatalf("cannot mount a small disk: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(to, 0); err != nil {
			t.Error(err)
		}
	})
	_, err := Unpack(t.Context(), bytes.NewReader(pack(t, file("f", strings.Repeat("x", 2<<20)))), to, Options{})
	wantReason(t, err, adapter.NoResources)
	var many []item
	for i := range 100 {
		many = append(many, file(fmt.Sprint(i), ""))
	}
	_, err = Apply(t.Context(), bytes.NewReader(pack(t, many...)), to, Options{})
	wantReason(t, err, adapter.NoResources)
}

func TestNoDirectory(t *testing.T) {
	_, err := Unpack(t.Context(), bytes.NewReader(pack(t, file("f", ""))), filepath.Join(t.TempDir(), "missing"), Options{})
	if err == nil {
		t.Error("it unpacks into nothing")
	}
}

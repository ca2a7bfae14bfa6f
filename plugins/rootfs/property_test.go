package rootfs

import (
	"archive/tar"
	"bytes"
	"context"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// entries draws archives of which few entries are right: names and targets that climb, meet each other, and pass through each other.
func entries() *rapid.Generator[[]item] {
	part := rapid.SampledFrom([]string{"a", "b", "c", "x", "secret", "outside", "..", ".", "", ".wh.a", ".wh.b", ".wh...", ".wh..", ".wh..wh..opq", ".wh..wh.plnk"})
	name := rapid.Custom(func(t *rapid.T) string {
		s := strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "parts"), "/")
		return rapid.SampledFrom([]string{"", "", "", "", "/", "./"}).Draw(t, "prefix") + s
	})
	types := rapid.SampledFrom([]byte{
		tar.TypeReg, tar.TypeReg, tar.TypeReg, tar.TypeDir, tar.TypeDir, tar.TypeSymlink, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeCont,
	})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) item {
		i := item{Header: tar.Header{Typeflag: types.Draw(t, "type"), Name: name.Draw(t, "name"), Mode: rapid.SampledFrom([]int64{0o755, 0o644, 0o7777, 0}).Draw(t, "mode")}}
		switch i.Typeflag {
		case tar.TypeSymlink, tar.TypeLink:
			i.Linkname = name.Draw(t, "target")
		case tar.TypeReg:
			i.body = "evil"
		}
		return i
	}), 1, 8)
}

// lenient packs what the tar writer takes.
func lenient(items []item) []byte {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for _, i := range items {
		i.Size = int64(len(i.body))
		if tw.WriteHeader(&i.Header) == nil {
			_, _ = tw.Write([]byte(i.body)) // into memory
		}
	}
	_ = tw.Close()
	return buf.Bytes()
}

// attack unpacks archives over one another and looks outside.
func attack(t testing.TB, archives [][]byte) {
	s := newSite(t)
	o := Options{MaxBytes: 1 << 20, MaxEntries: 200}
	for i, data := range archives {
		unpack, scan := Apply, ScanLayer
		if i%2 == 1 {
			unpack, scan = Unpack, Scan
		}
		_, scanErr := scan(context.Background(), bytes.NewReader(data), o)
		_, err := unpack(context.Background(), bytes.NewReader(data), s.in, o)
		if scanErr != nil && adapter.ReasonOf(err) != adapter.ReasonOf(scanErr) && adapter.ReasonOf(err) != adapter.Corrupt {
			t.Errorf("the pass before says %v, unpacking %v", scanErr, err)
		}
		if adapter.ReasonOf(err) == adapter.Internal {
			t.Errorf("an error without a class: %v", err)
		}
		s.check(t)
	}
}

func TestNothingOutside(t *testing.T) {
	needRoot(t) // modes keep others from what they have unpacked
	top := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		archives := rapid.SliceOfN(rapid.Map(entries(), lenient), 1, 3).Draw(rt, "archives")
		attack(&drawn{TB: t, rt: rt, top: top}, archives)
	})
}

// drawn lets a test's failures be shrunk, and its directories go with each draw.
type drawn struct {
	testing.TB
	rt  *rapid.T
	top string
}

func (d *drawn) Errorf(format string, args ...any) { d.rt.Errorf(format, args...) }
func (d *drawn) Fatal(args ...any)                 { d.rt.Fatal(args...) }
func (d *drawn) Helper()                           {}

func (d *drawn) TempDir() string {
	dir := filepath.Join(d.top, "draw")
	if err := os.RemoveAll(dir); err != nil {
		d.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		d.Fatal(err)
	}
	return dir
}

func FuzzUnpack(f *testing.F) {
	needRoot(f)
	r := rand.New(rand.NewSource(1))
	good := pack(f, dir("d"), file("d/f", "content"), symlink("l", "/d"), link("h", "d/f"), of(tar.TypeFifo, "p"))
	for _, how := range compressions {
		f.Add(compress(f, how, good))
	}
	f.Add(pack(f, file("../x", "evil")))
	f.Add(pack(f, symlink("l", "/outside"), file("l/secret", "evil")))
	f.Add(pack(f, dir("d"), file("d/.wh...", "")))
	f.Add(pack(f, item{Header: tar.Header{Typeflag: tar.TypeReg, Name: "f", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y", "GNU.oddity": "1"}}}))
	f.Add([]byte{0xfd, '7', 'z', 'X', 'Z', 0, 0, 4, 0xe6, 0xd6, 0xb4, 0x46, 2, 0, 0x21, 1, 40})
	for range 4 {
		bad := bytes.Clone(good)
		bad[r.Intn(len(bad))] ^= byte(1 + r.Intn(255))
		f.Add(bad)
	}
	f.Fuzz(func(t *testing.T, data []byte) { attack(t, [][]byte{data, data}) })
}

package packages

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var roomy = Limits{MaxSize: 1 << 20, Quota: 8 << 20}

func openStore(t testing.TB, dir string, limits Limits) *Store {
	t.Helper()
	s, err := OpenStore(dir, limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// random returns n bytes without repetition, the same for the same seed.
func random(n int, seed byte) []byte {
	var out []byte
	for block := [32]byte{seed}; len(out) < n; {
		block = sha256.Sum256(block[:])
		out = append(out, block[:]...)
	}
	return out[:n]
}

// spool puts content into the spool as a transfer does.
func spool(t testing.TB, s *Store, key string, content []byte) Fetched {
	t.Helper()
	p, err := s.openPart(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(content); err != nil {
		t.Fatal(err)
	}
	f, err := p.finish()
	if err := errors.Join(err, p.close(true)); err != nil {
		t.Fatal(err)
	}
	return f
}

func put(t testing.TB, s *Store, key string, content []byte) Package {
	t.Helper()
	p, err := s.Put(context.Background(), spool(t, s, key, content))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// spoolFiles returns the names in the spool.
func spoolFiles(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, "spool"))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func wantReason(t testing.TB, err error, want fault.Reason) {
	t.Helper()
	if got := fault.ReasonOf(err); got != want {
		t.Errorf("error %v is %q, want %q", err, got, want)
	}
}

func TestPut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packages")
	s := openStore(t, dir, roomy)
	content := random(100_000, 1)
	f := spool(t, s, "op-1", content)
	if f.SHA256 != sumOf(content) || f.Size != int64(len(content)) {
		t.Errorf("spooled %+v", f)
	}
	p, err := s.Put(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, f.SHA256[:2], f.SHA256); p.Path != want {
		t.Errorf("the package is at %s, want %s", p.Path, want)
	}
	if got, err := os.ReadFile(p.Path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the package has other content: %v", err)
	}
	for path, mode := range map[string]fs.FileMode{dir: 0o700, filepath.Dir(p.Path): 0o700, p.Path: 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode of %s: %v, %v; want %v", path, info.Mode(), err, mode)
		}
	}
	if names := spoolFiles(t, s); len(names) != 0 {
		t.Errorf("the spool still has %v", names)
	}
	if again, err := s.Put(context.Background(), f); err != nil || again != p {
		t.Errorf("repeated Put: %+v, %v", again, err)
	}
	if other := put(t, s, "op-2", content); other != p {
		t.Errorf("Put of equal content: %+v", other)
	}
	want := Usage{Packages: 1, Bytes: int64(len(content)), Quota: roomy.Quota}
	if got := s.Usage(); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
	if got := openStore(t, dir, roomy).Usage(); got != want {
		t.Errorf("usage after a restart %+v, want %+v", got, want)
	}
	if err := s.Verify(context.Background(), f.SHA256); err != nil {
		t.Error(err)
	}
}

func TestPutRefuses(t *testing.T) {
	s := openStore(t, t.TempDir(), roomy)
	good := spool(t, s, "op", []byte("content"))
	for name, f := range map[string]Fetched{
		"digest": {Key: "op", SHA256: sumOf([]byte("other")), Size: good.Size},
		"size":   {Key: "op", SHA256: good.SHA256, Size: good.Size + 1},
	} {
		_, err := s.Put(context.Background(), f)
		if fault.ReasonOf(err) != fault.PackageCorrupt {
			t.Errorf("another %s: %v", name, err)
		}
	}
	for _, f := range []Fetched{{Key: "../op", SHA256: good.SHA256}, {Key: "op", SHA256: "../../x"}, {Key: "nothing", SHA256: good.SHA256}} {
		if _, err := s.Put(context.Background(), f); err == nil {
			t.Errorf("Put of %+v succeeded", f)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Put(ctx, good)
	wantReason(t, err, fault.Canceled)
	if _, err := s.Put(context.Background(), good); err != nil {
		t.Errorf("the part file did not survive the refusals: %v", err)
	}
}

func TestGetAndVerifyFindDamage(t *testing.T) {
	s := openStore(t, t.TempDir(), roomy)
	p := put(t, s, "op", []byte("content"))
	if got, err := s.Get(p.SHA256, p.Size); err != nil || got != p {
		t.Errorf("Get: %+v, %v", got, err)
	}
	if err := os.WriteFile(p.Path, []byte("CONTENT"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantReason(t, s.Verify(context.Background(), p.SHA256), fault.PackageCorrupt)
	if err := os.Truncate(p.Path, 3); err != nil {
		t.Fatal(err)
	}
	_, err := s.Get(p.SHA256, p.Size)
	wantReason(t, err, fault.PackageCorrupt)
	if put(t, s, "op", []byte("content")); s.Verify(context.Background(), p.SHA256) != nil {
		t.Error("the equal package did not mend the damaged one")
	}
	_, err = s.Get(sumOf(nil), -1)
	wantReason(t, err, fault.PackageCorrupt)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a package that is not there: %v", err)
	}
	_, err = s.Get("..", -1)
	wantReason(t, err, fault.PackageCorrupt)
}

func TestCollect(t *testing.T) {
	s := openStore(t, t.TempDir(), roomy)
	a, b, c := put(t, s, "a", []byte("a")), put(t, s, "b", []byte("b")), put(t, s, "c", []byte("c"))
	removed, err := s.Collect(func(digest string) bool {
		if digest == c.SHA256 {
			put(t, s, "again", []byte("c")) // wanted anew while Collect runs
		}
		return digest == b.SHA256
	})
	if err != nil || !slices.Equal(removed, []string{a.SHA256}) {
		t.Errorf("removed %v, %v, want %s only", removed, err, a.SHA256)
	}
	for p, want := range map[Package]bool{a: false, b: true, c: true} {
		if _, err := s.Get(p.SHA256, p.Size); (err == nil) != want {
			t.Errorf("Get(%s): %v", p.SHA256, err)
		}
	}
	if removed, err := s.Collect(func(string) bool { return false }); err != nil || len(removed) != 2 {
		t.Errorf("the second Collect removed %v, %v", removed, err)
	}
	if u := s.Usage(); u.Packages != 0 || u.Bytes != 0 {
		t.Errorf("usage of an empty store: %+v", u)
	}
}

func TestConcurrentPutAndCollect(t *testing.T) {
	s := openStore(t, t.TempDir(), roomy)
	var wg sync.WaitGroup
	defer wg.Wait()
	done := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if _, err := s.Collect(func(string) bool { return false }); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for i := range 50 {
		put(t, s, "op", []byte{byte(i % 3)})
		s.Usage()
	}
	close(done)
}

func TestSpoolIsCleaned(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, roomy)
	spool(t, s, "open", []byte("1"))
	spool(t, s, "ended", []byte("22"))
	for _, name := range []string{"open.json", "ended.json", "open.json.new", "ended.json.new", "..part", "junk"} {
		if err := os.WriteFile(filepath.Join(dir, "spool", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir, roomy)
	if u := s.Usage(); u.Spool != 3 {
		t.Errorf("usage before: %+v", u)
	}
	busy, err := s.openPart("busy")
	if err != nil {
		t.Fatal(err)
	}
	late := false
	err = s.CleanSpool(func(key string) bool {
		if !late { // a keep that looks now knows everything that was listed
			late = true
			spool(t, s, "late", []byte("333"))
		}
		return key == "open"
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.SpoolPath("late")); err != nil {
		t.Errorf("what came after the listing: %v", err)
	}
	if err := s.Discard("late"); err != nil {
		t.Error(err)
	}
	if got := spoolFiles(t, s); !slices.Equal(got, []string{"busy.part", "open.json", "open.json.new", "open.part"}) {
		t.Errorf("the spool has %v", got)
	}
	if err := busy.close(false); err != nil {
		t.Error(err)
	}
	if u := s.Usage(); u.Spool != 1 {
		t.Errorf("usage after: %+v", u)
	}
	for range 2 {
		if err := s.Discard("open"); err != nil {
			t.Error(err)
		}
	}
	if got := spoolFiles(t, s); len(got) != 0 || s.Usage().Spool != 0 {
		t.Errorf("after Discard the spool has %v, usage %+v", got, s.Usage())
	}
	if s.Discard("../x") == nil {
		t.Error("Discard took a path for a key")
	}
}

func TestRoom(t *testing.T) {
	s := openStore(t, t.TempDir(), Limits{MaxSize: 100, Quota: 250, Reserve: 1000})
	free := int64(1 << 40)
	s.available = func(string) (int64, error) { return free, nil }
	put(t, s, "stored", random(100, 1))
	a, err := s.openPart("a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.openPart("b")
	if err != nil {
		t.Fatal(err)
	}
	wantReason(t, a.expect(101), fault.SystemResourcesExceeded) // max_size
	if err := a.expect(100); err != nil {
		t.Error(err)
	}
	wantReason(t, b.expect(51), fault.SystemResourcesExceeded) // quota: 100 stored and 100 promised
	if err := b.expect(50); err != nil {
		t.Error(err)
	}
	if _, err := a.Write(make([]byte, 60)); err != nil {
		t.Error(err)
	}
	free = 1000 + 40 + 49 // what a will still bring, and one too few for b
	wantReason(t, b.expect(50), fault.SystemResourcesExceeded)
	free++
	if err := b.expect(50); err != nil {
		t.Error(err)
	}
	if got := s.Usage().Spool; got != 150 {
		t.Errorf("the spool takes %d, want what is promised: 150", got)
	}
	if err := a.close(true); err != nil {
		t.Error(err)
	}
	if got := s.Usage().Spool; got != 110 {
		t.Errorf("the spool takes %d, want 60 of a and 50 for b", got)
	}
	if _, err := s.openPart("b"); err == nil {
		t.Error("two work on one part file")
	}
	if err := b.close(false); err != nil {
		t.Error(err)
	}
	if got := s.Usage().Spool; got != 60 {
		t.Errorf("the spool takes %d, want 60 of a", got)
	}
	// A file of a size nobody told stops at the limit.
	c, err := s.openPart("c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 90)); err != nil {
		t.Error(err)
	}
	_, err = c.Write(make([]byte, 11))
	wantReason(t, err, fault.SystemResourcesExceeded)
	if err := c.close(false); err != nil {
		t.Error(err)
	}
}

func TestSpaceReason(t *testing.T) {
	for err, want := range map[error]fault.Reason{
		&fs.PathError{Op: "write", Err: unix.ENOSPC}: fault.SystemResourcesExceeded,
		&fs.PathError{Op: "write", Err: unix.EDQUOT}: fault.SystemResourcesExceeded,
		&fs.PathError{Op: "write", Err: unix.EIO}:    fault.Internal,
	} {
		if got := spaceReason(err); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 10239: "10239 bytes", 10 << 10: "10.0 KiB", 64 << 20: "64.0 MiB", 3 << 41: "6.0 TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("sizeText(%d) = %s, want %s", n, got, want)
		}
	}
}

package volume

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// chain makes so many directories, one in the other, and a file in the last.
func chain(t *testing.T, dir string, n int) {
	t.Helper()
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range n {
		must(t, unix.Mkdirat(at, "directory", 0o700))
		next, err := unix.Openat(at, "directory", unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err, unix.Close(at))
		at = next
	}
	file, err := unix.Openat(at, "file", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o400)
	must(t, err, unix.Close(file), unix.Close(at))
}

// fewDescriptors bounds the descriptors of the process for the rest of the test.
func fewDescriptors(t *testing.T) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 128, Max: old.Max}))
	t.Cleanup(func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })
}

func nothing() (map[model.RowID]bool, error) { return nil, nil }

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%d files are left: %v", len(entries), err)
	}
}

// TestDeep is about directories that are nested deeper than the process may have files open, and deeper than a path can say.
func TestDeep(t *testing.T) {
	v := row(1, "v", model.UntilStopped)
	k := keeper(t, v)
	must(t, k.Ensure(t.Context(), "e", "u"), os.MkdirAll(filepath.Join(k.Dir, "e/2"), 0o700))
	chain(t, k.dir(v), 600)
	chain(t, filepath.Join(k.Dir, "e/2"), 200)
	fewDescriptors(t)
	if _, err := measure(t.Context(), k.dir(v)); err != nil {
		t.Errorf("it cannot be measured: %.200v", err)
	}
	if err := k.Ready(t.Context(), "e", "u", func() bool { return true }); err != nil {
		t.Errorf("it cannot be emptied: %.200v", err)
	}
	wantEmpty(t, k.dir(v))
	if err := k.RemoveUseless(t.Context(), nothing); err != nil {
		t.Errorf("it cannot be removed: %.200v", err)
	}
	wantEmpty(t, k.Dir)
}

// TestWide is about many files, and many directories at the depth from which on they are moved.
func TestWide(t *testing.T) {
	v := row(1, "v", model.UntilStopped)
	k := keeper(t, v)
	must(t, k.Ensure(t.Context(), "e", "u"))
	deep := filepath.Join(k.dir(v), strings.Repeat("d/", levels))
	for i := range 200 {
		must(t, os.MkdirAll(filepath.Join(deep, strconv.Itoa(i), "inner"), 0o700))
	}
	for i := range 5000 {
		must(t, os.WriteFile(filepath.Join(k.dir(v), strconv.Itoa(i)), nil, 0))
	}
	must(t, k.Ready(t.Context(), "e", "u", func() bool { return true }))
	wantEmpty(t, k.dir(v))
}

// busy is a context in which a file is made whenever somebody asks whether it is done.
type busy struct {
	context.Context
	dir  string
	made int
}

func (b *busy) Err() error {
	if b.made < 10000 {
		b.made++
		_ = os.WriteFile(filepath.Join(b.dir, strconv.Itoa(b.made)), nil, 0o600) // seen by what is left
	}
	return nil
}

// TestBusy removes what somebody else adds to all the while: that does not go on for ever.
func TestBusy(t *testing.T) {
	v := row(1, "v", model.UntilStopped)
	k := keeper(t, v)
	stopped := func() bool { return true }
	must(t, k.Ensure(t.Context(), "e", "u"), os.WriteFile(filepath.Join(k.dir(v), "file"), nil, 0o600))
	changing := &busy{Context: t.Context(), dir: k.dir(v)}
	err := k.Ready(changing, "e", "u", stopped)
	if fault.ReasonOf(err) != fault.StartFailed || !strings.Contains(err.Error(), "it is being changed") || changing.made >= 10000 {
		t.Errorf("it ended after %d files with %v", changing.made, err)
	}
	must(t, k.Ready(t.Context(), "e", "u", stopped))
	wantEmpty(t, k.dir(v))
}

// TestCanceled wants that nothing goes on for longer than its caller.
func TestCanceled(t *testing.T) {
	v := row(1, "v", model.UntilStopped)
	k := keeper(t, v)
	must(t, k.Ensure(t.Context(), "e", "u"), os.WriteFile(filepath.Join(k.dir(v), "file"), nil, 0o600), os.MkdirAll(filepath.Join(k.Dir, "e/2/inner"), 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := measure(ctx, k.dir(v))
	for what, err := range map[string]error{
		"measure":       err,
		"Ready":         k.Ready(ctx, "e", "u", func() bool { return true }),
		"RemoveUseless": k.RemoveUseless(ctx, func() (map[model.RowID]bool, error) { return map[model.RowID]bool{1: true}, nil }),
	} {
		if fault.ReasonOf(err) != fault.Canceled {
			t.Errorf("%s says %v", what, err)
		}
	}
	for _, path := range []string{"e/1/file", "e/2/inner"} {
		if _, err := os.Stat(filepath.Join(k.Dir, path)); err != nil {
			t.Error(err)
		}
	}
}

// TestNotEmptied wants a start to fail with what is wrong.
func TestNotEmptied(t *testing.T) {
	v := row(1, "v", model.UntilStopped)
	k := keeper(t, v)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "file"), nil, 0o600), os.MkdirAll(filepath.Dir(k.dir(v)), 0o700), os.Symlink(outside, k.dir(v)))
	err := k.Ready(t.Context(), "e", "u", func() bool { return true })
	if fault.ReasonOf(err) != fault.StartFailed || !strings.Contains(err.Error(), `application data "v" of u on e`) {
		t.Errorf("it is %q: %v", fault.ReasonOf(err), err)
	}
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

// TestMounted wants that what is mounted in a volume stays, is not counted, and is named.
func TestMounted(t *testing.T) {
	v := row(1, "v", model.UntilStopped)
	k := keeper(t, v)
	other := t.TempDir() // of the same file system
	must(t, k.Ensure(t.Context(), "e", "u"), os.MkdirAll(filepath.Join(k.dir(v), "a/mounted"), 0o700), os.Mkdir(filepath.Join(k.dir(v), "b"), 0o700),
		os.MkdirAll(filepath.Join(k.Dir, "e/2"), 0o700), os.WriteFile(filepath.Join(other, "file"), make([]byte, 9<<20), 0o600))
	denied := ""
	ended := make(chan struct{})
	go func() { // in a mount namespace of its own, which ends with the thread
		defer close(ended)
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		for _, dir := range []string{filepath.Join(k.dir(v), "a/mounted"), filepath.Join(k.Dir, "e/2")} {
			if err == nil {
				err = unix.Mount(other, dir, "", unix.MS_BIND, "")
			}
		}
		if err != nil {
			denied = err.Error()
			return
		}
		if size, err := measure(t.Context(), k.dir(v)); err != nil || size > 1 {
			t.Errorf("it holds %d MiB: %v", size, err)
		}
		for what, call := range map[string]func() error{
			"e/1/a/mounted: something is mounted": func() error { return k.Ready(t.Context(), "e", "u", func() bool { return true }) },
			"e/2: something is mounted": func() error {
				return k.RemoveUseless(t.Context(), func() (map[model.RowID]bool, error) { return map[model.RowID]bool{1: true}, nil })
			},
		} {
			if err := call(); err == nil || !strings.Contains(err.Error(), what) {
				t.Errorf("it is not said that %s: %v", what, err)
			}
		}
	}()
	<-ended
	if denied != "" {
		if os.Getenv("CI") == "true" {
			t.Fatal("nothing can be mounted, and CI=true permits no skips:", denied)
		}
		t.Skip("nothing can be mounted:", denied)
	}
	if _, err := os.Stat(filepath.Join(other, "file")); err != nil {
		t.Errorf("what was mounted is gone: %v", err)
	}
	if _, err := os.Stat(filepath.Join(k.dir(v), "b")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the rest is there: %v", err)
	}
}

// TestOtherMount tells a mount by its number and, where the kernel does not tell that, by its file system.
func TestOtherMount(t *testing.T) {
	at := func(path string) mount {
		dir, err := openDir(unix.AT_FDCWD, path, path)
		must(t, err)
		defer dir.Close()
		m, err := mountOf(dir)
		must(t, err)
		return m
	}
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "inner"), 0o700))
	if at(dir) != at(filepath.Join(dir, "inner")) || at(dir) == at("/proc") {
		t.Errorf("%v, in it %v, elsewhere %v", at(dir), at(filepath.Join(dir, "inner")), at("/proc"))
	}
}

// TestMadeWhileCollected makes directories while the one above is removed as one in which nothing is.
func TestMadeWhileCollected(t *testing.T) {
	v := row(1, "v", model.Forever)
	k := keeper(t, v)
	for range 300 {
		var collector sync.WaitGroup
		collector.Go(func() {
			for range patience - 1 {
				_ = os.Remove(filepath.Join(k.Dir, "e"))
			}
		})
		err := k.Ensure(t.Context(), "e", "u")
		collector.Wait()
		must(t, err, os.Remove(k.dir(v)))
	}
}

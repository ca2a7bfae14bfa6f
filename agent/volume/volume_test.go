package volume

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// keeper is a keeper with volumes of the unit u on e as rows.
func keeper(t *testing.T, rows ...model.Volume) *Keeper {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"), log)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	inv, err := inventory.New(s, log)
	must(t, err)
	k, err := New(Options{Inventory: inv, Dir: filepath.Join(t.TempDir(), "data"), Log: log})
	must(t, err)
	must(t, inv.Update(func(tx *inventory.Tx) error {
		for _, v := range rows {
			if err := tx.PutVolume(&v); err != nil {
				return err
			}
		}
		return nil
	}))
	return k
}

func row(id model.RowID, name string, retain model.Retain) model.Volume {
	return model.Volume{ID: id, Env: "e", UUID: "u", Name: name, Capacity: 1, Retain: retain, AccessPath: "/" + name}
}

func TestReady(t *testing.T) {
	kept, temporary := row(1, "kept", model.Forever), row(2, "temporary", model.UntilStopped)
	k := keeper(t, kept, temporary)
	running, stopped := func() bool { return false }, func() bool { return true }
	must(t, k.Ready(t.Context(), "e", "u", running)) // makes what is not there
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.WriteFile(outside, nil, 0o600))
	for _, v := range []model.Volume{kept, temporary} {
		must(t, os.MkdirAll(filepath.Join(k.dir(v), "a/b"), 0o700), os.WriteFile(filepath.Join(k.dir(v), "a/b/file"), nil, 0o400),
			os.Symlink(filepath.Dir(outside), filepath.Join(k.dir(v), "link")), os.Symlink("nowhere", filepath.Join(k.dir(v), ".hidden")))
	}
	must(t, os.Chmod(k.dir(temporary), 0o710)) // by its user
	count := func(v model.Volume) int {
		entries, err := os.ReadDir(k.dir(v))
		must(t, err)
		return len(entries)
	}
	must(t, k.Ready(t.Context(), "e", "u", running))
	if count(kept) != 3 || count(temporary) != 3 {
		t.Errorf("while it runs there are %d and %d files, not 3", count(kept), count(temporary))
	}
	must(t, k.Ready(t.Context(), "e", "u", stopped))
	if count(kept) != 3 || count(temporary) != 0 {
		t.Errorf("after a stop there are %d and %d files, not 3 and 0", count(kept), count(temporary))
	}
	if info, err := os.Stat(k.dir(temporary)); err != nil || info.Mode().Perm() != 0o710 {
		t.Errorf("the directory is not as its user made it: %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

// TestHalfMade makes a directory that an earlier process had only begun.
func TestHalfMade(t *testing.T) {
	v := row(7, "v", model.Forever)
	k := keeper(t, v)
	must(t, os.MkdirAll(filepath.Join(k.Dir, "e", ".7", "rest"), 0o700), k.Ensure(t.Context(), "e", "u"))
	if info, err := os.Stat(k.dir(v)); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("the directory is %v: %v", info, err)
	}
	if entries, err := os.ReadDir(k.dir(v)); err != nil || len(entries) > 0 {
		t.Errorf("it holds %v: %v", entries, err)
	}
}

func TestRemoveUseless(t *testing.T) {
	k := keeper(t)
	must(t, k.Inventory.Update(func(tx *inventory.Tx) error {
		return tx.PutExecEnv(&model.ExecEnv{ID: "empty", Instance: 1, Alias: "cpe-empty"})
	}))
	for _, dir := range []string{"e/1", "e/2", "e/3", "e/.1", "e/.2", "e/007", "other/4", "e/README"} {
		must(t, os.MkdirAll(filepath.Join(k.Dir, dir, "inner"), 0o700))
	}
	must(t, os.MkdirAll(filepath.Join(k.Dir, "empty"), 0o700), os.MkdirAll(filepath.Join(k.Dir, "gone-1"), 0o700), os.MkdirAll(filepath.Join(k.Dir, "lost+found"), 0o700), os.MkdirAll(filepath.Join(k.Dir, "later/8"), 0o700),
		os.WriteFile(filepath.Join(k.Dir, "core"), nil, 0o600), os.WriteFile(filepath.Join(k.Dir, "e/9"), nil, 0o600), os.Symlink("e", filepath.Join(k.Dir, "link")))
	left := func() string {
		var found []string
		must(t, filepath.WalkDir(k.Dir, func(path string, d fs.DirEntry, err error) error {
			if filepath.Base(path) != "inner" && path != k.Dir {
				found = append(found, path)
			}
			return err
		}))
		for i := range found {
			found[i] = strings.TrimPrefix(found[i], k.Dir+"/")
		}
		return strings.Join(found, " ")
	}
	if err := k.RemoveUseless(t.Context(), func() (map[model.RowID]bool, error) { return nil, errors.New("a test") }); err == nil {
		t.Error("nobody knows what is needed, and there is no error")
	}
	if got, want := left(), "core e e/.1 e/.2 e/007 e/1 e/2 e/3 e/9 e/README empty gone-1 later later/8 link lost+found other other/4"; got != want {
		t.Errorf("%s is left, not %s", got, want)
	}
	must(t, k.RemoveUseless(t.Context(), func() (map[model.RowID]bool, error) {
		must(t, os.Mkdir(filepath.Join(k.Dir, "e/5"), 0o700)) // comes in between
		return map[model.RowID]bool{2: true, 4: true}, nil
	}))
	if got, want := left(), "core e e/.2 e/007 e/2 e/5 e/9 e/README empty link lost+found other other/4"; got != want {
		t.Errorf("%s is left, not %s", got, want)
	}
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	want := func(mib int64) {
		t.Helper()
		if got, err := measure(t.Context(), dir); err != nil || got != mib {
			t.Errorf("it is %d MiB, not %d: %v", got, mib, err)
		}
	}
	want(0)
	must(t, os.WriteFile(filepath.Join(dir, "file"), make([]byte, 3<<19), 0o600))
	want(2)
	must(t, os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "same")))
	want(2)
	must(t, os.Symlink("/usr", filepath.Join(dir, "link")))
	want(2)
	sparse := filepath.Join(dir, "sparse")
	must(t, os.WriteFile(sparse, nil, 0o600), os.Truncate(sparse, 1<<30))
	want(2)
	root, err := os.OpenRoot(dir)
	must(t, err)
	for range 10 { // deeper than any path can say
		must(t, root.MkdirAll(strings.Repeat("0123456789/", 40), 0o700))
		deeper, err := root.OpenRoot(strings.Repeat("0123456789/", 40))
		must(t, err, root.Close())
		root = deeper
	}
	must(t, root.Close())
	if got, err := measure(t.Context(), dir); err != nil || got < 2 {
		t.Errorf("what is very deep makes it %d MiB: %.100v", got, err)
	}
	if _, err := measure(t.Context(), filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of nothing it says %v", err)
	}
}

// TestCheckSays wants refusals that say what would be right.
func TestCheckSays(t *testing.T) {
	good := model.VolumeRequest{Name: "db", Capacity: 1, Retain: model.Forever, AccessPath: "/db"}
	for want, change := range map[string]func(*model.VolumeRequest){
		`"db": it has no path`:                                   func(r *model.VolumeRequest) { r.AccessPath = "" },
		`its path has more than 256 characters`:                  func(r *model.VolumeRequest) { r.AccessPath = strings.Repeat("/ä", 129) },
		`its name has more than 64 characters`:                   func(r *model.VolumeRequest) { r.Name = strings.Repeat("ä", 65) },
		`its capacity is not 1 to 4294967295 MiB`:                func(r *model.VolumeRequest) { r.Capacity = 0 },
		`is not on an encrypted medium, ask for Encrypted=false`: func(r *model.VolumeRequest) { r.Encrypted = true },
	} {
		r := good
		change(&r)
		if err := Check([]model.VolumeRequest{r}, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("of %+v it says %v, without %q", r, err, want)
		}
	}
	must(t, Check([]model.VolumeRequest{good}, false))
}

func TestMakeWithoutRoom(t *testing.T) {
	k := keeper(t)
	k.Reserve = 1 << 62
	err := k.Make(t.Context(), Change{After: []model.Volume{row(1, "v", model.Forever)}})
	if fault.ReasonOf(err) != fault.SystemResourcesExceeded {
		t.Errorf("the error is %v", err)
	}
	if entries, err := os.ReadDir(k.Dir); err != nil || len(entries) > 0 {
		t.Errorf("%v is left: %v", entries, err)
	}
}

// TestMakeOfFull wants that what a volume holds matters only when it is given another capacity: a unit that stores more than was thought is updated and comes back all the same.
func TestMakeOfFull(t *testing.T) {
	old := row(1, "v", model.Forever)
	k := keeper(t, old)
	must(t, k.Ensure(t.Context(), "e", "u"), os.WriteFile(filepath.Join(k.dir(old), "file"), make([]byte, 5<<19), 0o600))
	for _, c := range []struct {
		capacity int64
		path     string
		refused  bool
	}{{1, "/v", false}, {1, "/other", false}, {2, "/v", true}, {3, "/v", false}} {
		now := old
		now.Capacity, now.AccessPath = c.capacity, c.path
		err := k.Make(t.Context(), Change{Before: []model.Volume{old}, After: []model.Volume{now}})
		if refused := fault.ReasonOf(err) == fault.SystemResourcesExceeded; refused != c.refused || !refused && err != nil {
			t.Errorf("3 MiB of %d, now %d at %s: %v", old.Capacity, c.capacity, c.path, err)
		}
	}
}

// TestRecordKeepsWhatIsNotPlanned wants that what was written into a row meanwhile is not lost, nor a row that another operation has made.
func TestRecordKeepsWhatIsNotPlanned(t *testing.T) {
	k := keeper(t, row(1, "one", model.Forever), row(2, "two", model.Forever))
	var c Change
	must(t, k.Inventory.Update(func(tx *inventory.Tx) (err error) {
		c, err = k.Plan(tx, Unit{Env: "e", UUID: "u"}, []model.VolumeRequest{{Name: "one", Capacity: 5, Retain: model.Forever, AccessPath: "/one"}}, KeepNamed)
		return err
	}))
	must(t, k.Inventory.Update(func(tx *inventory.Tx) error {
		named, used := *tx.Volume(1), row(3, "three", model.Forever)
		named.Alias, named.Utilization = "mine", 4
		return errors.Join(tx.PutVolume(&named), tx.PutVolume(&used), k.Record(tx, c))
	}))
	s := k.Inventory.Snapshot()
	if v := s.Volume(1); v.Alias != "mine" || v.Utilization != 4 || v.Capacity != 5 {
		t.Errorf("the row is %+v", *v)
	}
	var names []string
	for v := range s.Volumes() {
		names = append(names, v.Name)
	}
	if !slices.Equal(names, []string{"one", "three"}) {
		t.Errorf("there are %q", names)
	}
}

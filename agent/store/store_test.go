package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	bolt "go.etcd.io/bbolt"

	"github.com/smmd-project/smmd/agent/model"
)

// quiet is a log nobody reads.
var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// openAt opens a store that is closed with the test.
func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a second Close does nothing
	return s
}

// update runs f in a transaction that is committed.
func update(t testing.TB, s *Store, f func(*Tx) error) {
	t.Helper()
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback()
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenSyncsTheDirectory(t *testing.T) {
	dir := t.TempDir()
	var synced []string
	f := form{Schema, nil, func(d string) error {
		synced = append(synced, d)
		return SyncDir(d)
	}}
	for range 2 { // at creation, and again by whoever comes after a process that died before it could
		s, err := f.open(filepath.Join(dir, "state.db"), quiet)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(synced, []string{dir, dir}) {
		t.Errorf("synced %q, want %q twice", synced, dir)
	}
	f.syncDir = func(string) error { return errors.New("no disk") }
	if s, err := f.open(filepath.Join(dir, "other.db"), quiet); err == nil {
		_ = s.Close()
		t.Error("a directory that cannot be synced is no error")
	}
	if err := SyncDir(filepath.Join(dir, "missing")); err == nil {
		t.Error("a directory that is not there can be synced")
	}
	fi, err := os.Stat(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", fi.Mode().Perm())
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	synctest.Test(t, func(t *testing.T) { // the two seconds cost nothing here
		s := openAt(t, path)
		if second, err := Open(path, quiet); err == nil {
			_ = second.Close()
			t.Fatal("a second one can open the file")
		} else if !strings.Contains(err.Error(), "another process uses it") {
			t.Errorf("error %q does not say why", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		openAt(t, path)
	})
}

func TestOpenRefuses(t *testing.T) {
	foreign := func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("cats"))
		return err
	}
	schema := func(v string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			m, err := tx.CreateBucket([]byte("meta"))
			if err != nil {
				return err
			}
			return m.Put([]byte("schema"), []byte(v))
		}
	}
	for _, c := range []struct {
		name string
		make func(*bolt.Tx) error
		want string
	}{
		{"newer", schema("\x00\x00\x00\xff"), fmt.Sprintf("it has schema 255, this program knows %d", Schema)},
		{"damaged schema", schema("1"), "its schema cannot be read"},
		{"schema zero", schema("\x00\x00\x00\x00"), "its schema cannot be read"},
		{"another program's", foreign, `a bucket "cats" and no schema`},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			db, err := bolt.Open(path, 0o600, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Update(c.make), db.Close()); err != nil {
				t.Fatal(err)
			}
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if s, err := Open(path, quiet); err == nil {
				_ = s.Close()
				t.Fatal("opened")
			} else if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the refused file was changed")
			}
		})
	}
	t.Run("garbage", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "state.db")
		if err := os.WriteFile(path, bytes.Repeat([]byte("rubbish!"), 4096), 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path, quiet); err == nil {
			_ = s.Close()
			t.Fatal("opened")
		}
	})
}

func TestMigration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := openAt(t, path)
	update(t, s, func(tx *Tx) error { return ExecEnvs.Put(tx, "osgi", model.ExecEnv{ID: "osgi", Alias: "old"}) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var synced int
	sync := func(d string) error {
		synced++
		return SyncDir(d)
	}
	rename := func(tx *bolt.Tx) error {
		return tx.Bucket([]byte("exec_env")).Put([]byte("osgi"), append([]byte{recordVersion}, `{"id":"osgi","alias":"new"}`...))
	}

	failing := form{Schema + 2, map[int]func(*bolt.Tx) error{
		Schema: rename, Schema + 1: func(*bolt.Tx) error { return errors.New("no") },
	}, sync}
	if s, err := failing.open(path, quiet); err == nil {
		_ = s.Close()
		t.Fatal("a failing migration is no error")
	} else if !strings.Contains(err.Error(), fmt.Sprintf("from schema %d: no", Schema+1)) {
		t.Errorf("error %q", err)
	}
	if got := aliasIn(t, path); got != "old" {
		t.Errorf("after a failed migration the record says %q", got)
	}
	gap := form{Schema + 2, map[int]func(*bolt.Tx) error{Schema: rename}, sync}
	if s, err := gap.open(path, quiet); err == nil {
		_ = s.Close()
		t.Fatal("a missing migration is no error")
	}

	synced = 0
	good := form{Schema + 1, map[int]func(*bolt.Tx) error{Schema: rename}, sync}
	s, err := good.open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if synced != 2 { // the backup, then the file
		t.Errorf("synced %d times, want 2", synced)
	}
	backup := fmt.Sprintf("%s.%d", path, Schema)
	if got := aliasIn(t, backup); got != "old" {
		t.Errorf("the backup says %q, want old", got)
	}
	if _, err := os.Stat(backup + ".new"); !os.IsNotExist(err) {
		t.Errorf("a part of a backup is left: %v", err)
	}
	if s, err := Open(path, quiet); err == nil {
		_ = s.Close()
		t.Error("the program before the migration opens the migrated file")
	}
	if s, err = good.open(path, quiet); err != nil {
		t.Fatal(err)
	}
	update(t, s, func(tx *Tx) error {
		e, ok, err := ExecEnvs.Get(tx, "osgi")
		if err != nil || !ok || e.Alias != "new" {
			t.Errorf("migrated record %+v, %v, %v", e, ok, err)
		}
		return nil
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// aliasIn reads the alias of the environment from a file of the present schema.
func aliasIn(t *testing.T, path string) string {
	t.Helper()
	s, err := Open(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var alias string
	err = s.View(func(tx *Tx) error {
		e, _, err := ExecEnvs.Get(tx, "osgi")
		alias = e.Alias
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return alias
}

// A file of an earlier schema is brought to the present one, with what it holds.
func TestMigrationFromEarlierSchemas(t *testing.T) {
	for schema, added := range map[byte][]string{
		1: nil, 2: {"baseline"}, 3: {"baseline", "report", "change_request", "notification", "attribute", "policy"},
	} {
		t.Run(fmt.Sprint(schema), func(t *testing.T) { migrate(t, schema, added) })
	}
}

func migrate(t *testing.T, schema byte, added []string) {
	path := filepath.Join(t.TempDir(), "state.db")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range append([]string{
			"meta", "exec_env", "deployment_unit", "unit_private", "unit_index", "execution_unit", "operation", "set_aside",
		}, added...) {
			if _, err := tx.CreateBucket([]byte(name)); err != nil {
				return err
			}
		}
		return errors.Join(tx.Bucket([]byte("meta")).Put([]byte("schema"), []byte{0, 0, 0, schema}),
			tx.Bucket([]byte("exec_env")).Put([]byte("osgi"), []byte("\x01{\"id\":\"osgi\",\"alias\":\"old\"}")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if got := aliasIn(t, path); got != "old" {
		t.Errorf("the record says %q", got)
	}
	s := openAt(t, path)
	err = s.View(func(tx *Tx) error {
		for _, name := range buckets {
			if tx.tx.Bucket([]byte(name)) == nil {
				t.Errorf("there is no bucket %s", name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMigrationsAreComplete(t *testing.T) {
	for v := 1; v < Schema; v++ {
		if migrations[v] == nil {
			t.Errorf("there is no migration from schema %d", v)
		}
	}
}

func TestFailCommits(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	broken := errors.New("disk full")
	s.FailCommits(func() error { return broken })
	tx, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := UnitIndex.Put(tx, "a", 1); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); !errors.Is(err, broken) {
		t.Fatalf("commit: %v", err)
	}
	s.FailCommits(nil)
	// The failed transaction has ended: another one can begin, and sees nothing of it.
	update(t, s, func(tx *Tx) error {
		if _, ok, err := UnitIndex.Get(tx, "a"); ok || err != nil {
			t.Errorf("after a failed commit: %v, %v", ok, err)
		}
		return nil
	})
}

func TestViewIsConsistent(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	// The file is made large first: a commit that has to map it anew waits for all views to end.
	update(t, s, func(tx *Tx) error { return Privates.Put(tx, 1, Private{Credentials: make([]byte, 1<<20)}) })
	update(t, s, func(tx *Tx) error { return UnitIndex.Put(tx, "a", 1) })
	err := s.View(func(view *Tx) error {
		update(t, s, func(tx *Tx) error { return UnitIndex.Put(tx, "a", 2) })
		id, _, err := UnitIndex.Get(view, "a")
		if id != 1 {
			t.Errorf("a view sees %d of a later commit", id)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

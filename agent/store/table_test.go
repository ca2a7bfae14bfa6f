package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

func roundTrip[K Key, V any](t *testing.T, table Table[K, V], k K, v V) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	s := openAt(t, path)
	update(t, s, func(tx *Tx) error { return table.Put(tx, k, v) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAt(t, path)
	update(t, s, func(tx *Tx) error {
		got, ok, err := table.Get(tx, k)
		if err != nil || !ok {
			t.Fatalf("record %v: %v, %v", k, ok, err)
		}
		if d := cmp.Diff(v, got); d != "" {
			t.Errorf("record %v is another one (-put +got):\n%s", k, d)
		}
		return table.Delete(tx, k)
	})
	update(t, s, func(tx *Tx) error {
		if _, ok, err := table.Get(tx, k); ok || err != nil {
			t.Errorf("deleted record: %v, %v", ok, err)
		}
		return table.Delete(tx, k) // once more is no error
	})
}

func TestRoundTrip(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89000, time.UTC)
	t.Run("exec_env", func(t *testing.T) {
		roundTrip(t, ExecEnvs, "osgi", model.ExecEnv{
			ID: "osgi", Instance: 3, Alias: "cpe-osgi", Adapter: "osgi", Parent: "outer", Enable: true, InitialRunLevel: 7,
			InitialExecutionUnitRunLevel: -1, Name: "4711", Type: "OSGi", Vendor: "Föhr & Söhne", Version: "7.0", Launch: "l",
			Level: 4, Seen: true, RestartReason: "why", RestartCount: 9, LastRestarted: at,
		})
	})
	t.Run("deployment_unit", func(t *testing.T) {
		roundTrip(t, DeploymentUnits, math.MaxUint32, model.DeploymentUnit{
			ID: math.MaxUint32, Alias: "a", Env: "osgi", Key: "k", UUID: "u", Version: "1", DUID: "12", Name: "n", Vendor: "v",
			Description: "<&>", URL: "http://x/y?z=1&w", Status: model.DUInstalled, Resolved: true, Installed: at, Missing: true,
			ModuleVersion: "blue",
		})
	})
	t.Run("execution_unit", func(t *testing.T) {
		roundTrip(t, ExecutionUnits, 1, model.ExecutionUnit{
			ID: 1, Alias: "a", DU: 2, Env: "e", Module: "m", EUID: "e/u", Name: "n", Label: "l", Vendor: "v", Version: "1",
			Description: "d", Inert: true, AutoStart: true, RunLevel: 65535, AutoStartPending: true, RunLevelPending: true,
			Created: at, Restart: model.AutoRestart{Enable: true, Minimum: 1, Maximum: 2, Multiplier: 3, Retries: 4, Reset: 5, Count: 6, Last: at},
		})
	})
	t.Run("unit_private", func(t *testing.T) {
		roundTrip(t, Privates, 5, Private{
			Handle: adapter.Handle{Version: 2, Data: []byte{0, 1, 255}}, SHA256: "ab", Size: 1 << 40, Credentials: []byte("sealed"),
		})
	})
	t.Run("unit_index", func(t *testing.T) { roundTrip(t, UnitIndex, IndexKey("u", "1", "e"), 17) })
}

func TestRunTimeStateIsNotStored(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	update(t, s, func(tx *Tx) error {
		return ExecutionUnits.Put(tx, 1, model.ExecutionUnit{ID: 1, Status: model.EUActive, FaultMessage: "m", PIDs: []uint32{1}})
	})
	update(t, s, func(tx *Tx) error {
		got, _, err := ExecutionUnits.Get(tx, 1)
		if d := cmp.Diff(model.ExecutionUnit{ID: 1}, got); d != "" {
			t.Errorf("stored (-want +got):\n%s", d)
		}
		return err
	})
}

func TestUnusableKeys(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "state.db"))
	update(t, s, func(tx *Tx) error {
		for _, k := range []string{"", strings.Repeat("k", bolt.MaxKeySize+1)} {
			if err := UnitIndex.Put(tx, k, 1); err == nil {
				t.Errorf("a key of %d bytes is accepted", len(k))
			}
		}
		return nil
	})
}

func TestNewTableOutsideTheDrawing(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a bucket that is not in the drawing makes a table")
		}
	}()
	NewTable[string, int]("cats")
}

// raw writes past the table, as a damaged disk or another version would.
func raw(tx *Tx, bucket string, key, value []byte) error {
	return tx.tx.Bucket([]byte(bucket)).Put(key, value)
}

func TestBadRecordsAreSetAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	var told bytes.Buffer
	s, err := Open(path, slog.New(slog.NewTextHandler(&told, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bad := map[string][]byte{
		"\x00\x00\x00\x02":     []byte("\x01{\"id\":"),       // broken off
		"\x00\x00\x00\x03":     []byte("\x63{}"),             // of a later version
		"\x00\x00\x00\x04":     {},                           // empty
		"\x00\x00\x00\x05":     []byte("\x01{\"id\":\"x\"}"), // of another type
		"\x00\x00\x00\x06\x00": []byte("\x01{\"id\":6}"),     // under a key of another form
	}
	update(t, s, func(tx *Tx) error {
		for _, id := range []model.RowID{1, 7} {
			if err := DeploymentUnits.Put(tx, id, model.DeploymentUnit{ID: id}); err != nil {
				return err
			}
		}
		for k, v := range bad {
			if err := raw(tx, "deployment_unit", []byte(k), v); err != nil {
				return err
			}
		}
		return nil
	})
	load := func(tx *Tx) (ids []model.RowID, err error) {
		err = DeploymentUnits.Load(tx, func(id model.RowID, u model.DeploymentUnit) error {
			if id != u.ID {
				t.Errorf("key %d, record %d", id, u.ID)
			}
			ids = append(ids, id)
			return nil
		})
		return ids, err
	}
	err = s.View(func(tx *Tx) error {
		_, err := load(tx)
		return err
	})
	if err == nil {
		t.Error("in a view a bad record is no error")
	}
	for range 2 { // told once, and gone the second time
		update(t, s, func(tx *Tx) error {
			ids, err := load(tx)
			if d := cmp.Diff([]model.RowID{1, 7}, ids); d != "" {
				t.Errorf("good records (-want +got):\n%s", d)
			}
			return err
		})
		if n := strings.Count(told.String(), "set aside"); n != len(bad) {
			t.Errorf("told %d times, want %d:\n%s", n, len(bad), &told)
		}
	}
	update(t, s, func(tx *Tx) error {
		for k, v := range bad {
			if got := tx.tx.Bucket([]byte("set_aside")).Get([]byte("deployment_unit/" + k)); got == nil || !bytes.Equal(got, v) {
				t.Errorf("set aside %x as %q, want %q", k, got, v)
			}
		}
		return nil
	})
	update(t, s, func(tx *Tx) error {
		if err := raw(tx, "deployment_unit", []byte{0, 0, 0, 9}, []byte("\x01[")); err != nil {
			return err
		}
		if _, _, err := DeploymentUnits.Get(tx, 9); err == nil {
			t.Error("Get of a bad record is no error")
		}
		return nil
	})
}

func TestNumbersAreNeverReused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	next := func(s *Store, table string) (n uint32) {
		update(t, s, func(tx *Tx) (err error) {
			n, err = tx.NextNumber(table)
			return err
		})
		return n
	}
	for want := uint32(1); want <= 3; want++ {
		s := openAt(t, path)
		if got := next(s, "Job"); got != want {
			t.Errorf("number %d, want %d", got, want)
		}
		update(t, s, func(tx *Tx) error { return DeploymentUnits.Delete(tx, want) })
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openAt(t, path)
	if got := next(s, "DeploymentUnit"); got != 1 {
		t.Errorf("another table begins at %d", got)
	}
	for _, c := range []struct{ name, value string }{
		{"damaged", "\x01"}, {"empty", ""},
	} {
		update(t, s, func(tx *Tx) error {
			if err := raw(tx, "meta", []byte("next/Job"), []byte(c.value)); err != nil {
				return err
			}
			if n, err := tx.NextNumber("Job"); err == nil {
				t.Errorf("a counter that is %s gives %d", c.name, n)
			}
			return nil
		})
	}
	update(t, s, func(tx *Tx) error { return raw(tx, "meta", []byte("next/Job"), []byte{255, 255, 255, 255}) })
	if got := next(s, "Job"); got != math.MaxUint32 {
		t.Errorf("the last number is %d", got)
	}
	update(t, s, func(tx *Tx) error {
		if n, err := tx.NextNumber("Job"); err == nil {
			t.Errorf("after the last number comes %d", n)
		}
		return nil
	})
}

// Any sequence of put, delete, rollback, failed commit and reopening leaves what a map would hold.
func TestTableIsAMap(t *testing.T) {
	dir := t.TempDir()
	var files int
	rapid.Check(t, func(t *rapid.T) {
		files++
		path := filepath.Join(dir, fmt.Sprint(files))
		defer os.Remove(path)
		s, err := Open(path, quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		want := map[string]model.RowID{}
		var order []string
		for range rapid.IntRange(1, 12).Draw(t, "transactions") {
			draft := maps.Clone(want)
			tx, err := s.Begin()
			if err != nil {
				t.Fatal(err)
			}
			for range rapid.IntRange(0, 6).Draw(t, "changes") {
				k := rapid.StringMatching(`[abc]{1,2}`).Draw(t, "key")
				if rapid.Bool().Draw(t, "put") {
					draft[k] = rapid.Uint32().Draw(t, "value")
					err = UnitIndex.Put(tx, k, draft[k])
				} else {
					delete(draft, k)
					err = UnitIndex.Delete(tx, k)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			switch rapid.SampledFrom([]string{"commit", "rollback", "fail", "reopen"}).Draw(t, "end") {
			case "rollback":
				err = tx.Rollback()
			case "fail":
				s.FailCommits(func() error { return os.ErrDeadlineExceeded })
				if tx.Commit() == nil {
					t.Fatal("the commit did not fail")
				}
				s.FailCommits(nil)
			case "reopen":
				want = draft
				if err = tx.Commit(); err == nil {
					err = s.Close()
				}
				if err == nil {
					s, err = Open(path, quiet)
				}
			default:
				want = draft
				err = tx.Commit()
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]model.RowID{}
			order = order[:0]
			err = s.View(func(tx *Tx) error {
				return UnitIndex.Load(tx, func(k string, v model.RowID) error {
					got[k] = v
					order = append(order, k)
					return nil
				})
			})
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(want, got) {
				t.Fatalf("holds %v, want %v", got, want)
			}
			for i := 1; i < len(order); i++ {
				if order[i-1] >= order[i] {
					t.Fatalf("order %q", order)
				}
			}
		}
	})
}

// Package store keeps what must survive: one bbolt file with versioned records.
//
//	state.db
//	├── meta              "schema" → version of this drawing; "next/<table>" → next number of a table
//	├── exec_env          <configured name>            → model.ExecEnv
//	├── deployment_unit   <number>                     → model.DeploymentUnit
//	├── unit_private      <number of the DU>           → Private: handle, package, sealed credentials
//	├── unit_index        <uuid>|<version>|<env>       → number of the DU
//	├── execution_unit    <number>                     → model.ExecutionUnit
//	├── volume            <number>                     → model.Volume
//	├── baseline          <kind>|<environment>         → the baseline record (package baseline)
//	├── operation         <number of the job>          → the journal record (package operation)
//	├── report            <number>                     → a report that is not acknowledged (package report)
//	├── change_request    <number of its report>       → a ChangeDUState and how far it is (package report)
//	├── change_part       <number of a job>            → how that operation of a ChangeDUState has ended (package report)
//	├── notification      <number>                     → model.Notification
//	├── attribute         <parameter path>             → its notification attribute
//	├── policy            "policy"                     → model.Policy
//	└── set_aside         <bucket>/<key>               → records that could not be read, as they were
//
// Numbers are big-endian, so that a bucket is in their order. A record is one byte, the version of its form, and JSON.
//
// Run-time state (the status of execution units, sizes, progress) is not here: it is learned again from the environments.
//
// bbolt syncs the file at each commit but not the directory when it creates the file; [Open] does. A file whose schema is newer
// than this program is refused, one that is older is copied to state.db.<schema> before it is migrated. What holds no schema at
// all, and is not empty, is refused too.
package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Schema is the version of the drawing above.
const Schema = 5

// migrations[n] brings a file from schema n to n+1.
var migrations = map[int]func(*bolt.Tx) error{
	1: func(*bolt.Tx) error { return nil }, // the bucket baseline is new; all buckets that lack are made anyway
	2: func(*bolt.Tx) error { return nil }, // likewise report, change_request, notification, attribute and policy
	3: func(*bolt.Tx) error { return nil }, // likewise change_part
	4: func(*bolt.Tx) error { return nil }, // likewise volume
}

var buckets = []string{
	"meta", "exec_env", "deployment_unit", "unit_private", "unit_index", "execution_unit", "volume", "operation",
	"baseline", "report", "change_request", "change_part", "notification", "attribute", "policy", "set_aside",
}

// Store is an open state.db. It is used by one process at a time; a second one is refused.
type Store struct {
	db  *bolt.DB
	log *slog.Logger
	// fail, when set, is asked before each commit; tests make a commit fail with it.
	fail atomic.Pointer[func() error]
}

// form is what a program knows of the file, and how it makes a directory durable.
type form struct {
	schema     int
	migrations map[int]func(*bolt.Tx) error
	syncDir    func(string) error
}

// Open opens or creates the file at path, in a directory that exists. It waits two seconds for another process to let go
// of it.
func Open(path string, log *slog.Logger) (*Store, error) {
	return form{Schema, migrations, SyncDir}.open(path, log)
}

func (f form) open(path string, log *slog.Logger) (*Store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("cannot open %s: another process uses it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	if err := f.prepare(db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &Store{db: db, log: log}, nil
}

// prepare brings the file to the schema of this program. The directory is synced each time: the process that created the file may
// have died before it could.
func (f form) prepare(db *bolt.DB, path string) error {
	schema, err := readSchema(db)
	if err != nil {
		return fmt.Errorf("cannot use %s: %w", path, err)
	}
	switch {
	case schema > f.schema:
		return fmt.Errorf("cannot use %s: it has schema %d, this program knows %d; it was written by a newer version", path, schema, f.schema)
	case schema == f.schema:
		return f.syncDir(filepath.Dir(path))
	case schema > 0:
		if err := f.backUp(db, path+"."+strconv.Itoa(schema)); err != nil {
			return err
		}
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		for v := schema; 0 < v && v < f.schema; v++ {
			migrate, ok := f.migrations[v]
			if !ok {
				return fmt.Errorf("from schema %d: this program does not know how", v)
			}
			if err := migrate(tx); err != nil {
				return fmt.Errorf("from schema %d: %w", v, err)
			}
		}
		return tx.Bucket([]byte("meta")).Put([]byte("schema"), binary.BigEndian.AppendUint32(nil, uint32(f.schema)))
	})
	if err != nil {
		return fmt.Errorf("cannot prepare %s: %w", path, err)
	}
	return f.syncDir(filepath.Dir(path))
}

// readSchema returns the schema of a file, 0 for an empty one. A file that holds something but no schema is not ours.
func readSchema(db *bolt.DB) (schema int, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		m := tx.Bucket([]byte("meta"))
		if m == nil {
			if name, _ := tx.Cursor().First(); name != nil {
				return fmt.Errorf("it is the file of another program: it has a bucket %q and no schema", name)
			}
			return nil
		}
		v := m.Get([]byte("schema"))
		if len(v) != 4 || binary.BigEndian.Uint32(v) == 0 {
			return errors.New("its schema cannot be read")
		}
		schema = int(binary.BigEndian.Uint32(v))
		return nil
	})
	return schema, err
}

// backUp copies the file, whole or not at all.
func (f form) backUp(db *bolt.DB, to string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot back up the state to %s: %w", to, err)
		}
	}()
	tmp := to + ".new"
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(file)
		return err
	})
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, to); err != nil {
		return err
	}
	return f.syncDir(filepath.Dir(to))
}

// SyncDir makes the entries of a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync directory %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("cannot sync directory %s: %w", dir, err)
	}
	return nil
}

// Close ends the use of the file. It waits for open transactions.
func (s *Store) Close() error { return s.db.Close() }

// FailCommits makes every commit ask f first; an error of f fails the commit. It is for tests of what happens then.
func (s *Store) FailCommits(f func() error) { s.fail.Store(&f) }

// View calls f with a consistent view of everything. Nothing in f may block.
func (s *Store) View(f func(*Tx) error) error {
	return s.db.View(func(tx *bolt.Tx) error { return f(&Tx{tx: tx, store: s}) })
}

// Begin starts the one write transaction there can be; it waits for the present one to end.
func (s *Store) Begin() (*Tx, error) {
	tx, err := s.db.Begin(true)
	if err != nil {
		return nil, fmt.Errorf("cannot begin a transaction: %w", err)
	}
	return &Tx{tx: tx, store: s}, nil
}

// Tx is a transaction.
type Tx struct {
	tx    *bolt.Tx
	store *Store
}

// Commit makes the changes durable, or none of them. The transaction has ended in both cases.
func (t *Tx) Commit() error {
	if f := t.store.fail.Load(); f != nil && *f != nil {
		if err := (*f)(); err != nil {
			return errors.Join(fmt.Errorf("cannot commit: %w", err), t.tx.Rollback())
		}
	}
	if err := t.tx.Commit(); err != nil {
		return fmt.Errorf("cannot commit: %w", err)
	}
	return nil
}

// Rollback drops the changes.
func (t *Tx) Rollback() error { return t.tx.Rollback() }

// NextNumber returns the next number of a table, starting at 1. A number is never given twice, also when its row is gone.
func (t *Tx) NextNumber(table string) (uint32, error) {
	meta, key := t.tx.Bucket([]byte("meta")), []byte("next/"+table)
	next := uint32(1)
	switch v := meta.Get(key); {
	case len(v) == 4:
		next = binary.BigEndian.Uint32(v)
	case v != nil: // to begin anew would give numbers twice
		return 0, fmt.Errorf("cannot number a row of %s: the counter in the store is damaged", table)
	}
	if next == 0 {
		return 0, fmt.Errorf("cannot number a row of %s: the numbers are used up", table)
	}
	return next, meta.Put(key, binary.BigEndian.AppendUint32(nil, next+1))
}

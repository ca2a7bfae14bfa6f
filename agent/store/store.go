// Package store keeps what must survive: one bbolt file with versioned records.
//
//	state.db
//	├── meta              "schema" → version of this drawing; "next/<table>" → next number of a table
//	├── exec_env          <configured name>            → model.ExecEnv
//	├── deployment_unit   <number>                     → model.DeploymentUnit
//	├── unit_private      <number of the DU>           → Private: handle, package, sealed credentials
//	├── unit_index        <uuid>|<version>|<env>       → number of the DU
//	├── execution_unit    <number>                     → model.ExecutionUnit
//	├── operation         <number of the job>          → the journal record (package operation)
//	└── set_aside         <bucket>/<key>               → records that could not be read, as they were
//
// Numbers are big-endian, so that a bucket is in their order. A record is one byte, the version of its form, and JSON.
//
// Run-time state (the status of execution units, sizes, progress) is not here: it is learned again from the environments.
//
// bbolt syncs the file at each commit but not the directory when it creates the file; [Open] does. A file whose schema is newer
// than this program is refused, one that is older is copied to state.db.<schema> before it is migrated.
package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Schema is the version of the drawing above.
const Schema = 1

// migrations[n] brings a file from schema n to n+1.
var migrations = map[int]func(*bolt.Tx) error{}

var buckets = []string{
	"meta", "exec_env", "deployment_unit", "unit_private", "unit_index", "execution_unit", "operation", "set_aside",
}

// Store is an open state.db. It is used by one process at a time; a second one is refused.
type Store struct {
	db  *bolt.DB
	log *slog.Logger
	// fail, when set, is asked before each commit; tests make a commit fail with it.
	fail func() error
}

// Open opens or creates the file at path, in a directory that exists. It waits two seconds for another process to let go
// of it.
func Open(path string, log *slog.Logger) (*Store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 2 * time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("cannot open %s: another process uses it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	s := &Store{db: db, log: log}
	if err := s.prepare(path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

func (s *Store) prepare(path string) error {
	schema := 0
	err := s.db.View(func(tx *bolt.Tx) error {
		if m := tx.Bucket([]byte("meta")); m != nil {
			if v := m.Get([]byte("schema")); len(v) == 4 {
				schema = int(binary.BigEndian.Uint32(v))
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	switch {
	case schema > Schema:
		return fmt.Errorf("cannot use %s: it has schema %d, this program knows %d; it was written by a newer version", path, schema, Schema)
	case schema == Schema:
		return nil
	case schema > 0:
		if err := s.backUp(path + "." + strconv.Itoa(schema)); err != nil {
			return err
		}
	}
	err = s.db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		for v := max(schema, 1); v < Schema; v++ {
			if err := migrations[v](tx); err != nil {
				return fmt.Errorf("from schema %d: %w", v, err)
			}
		}
		return tx.Bucket([]byte("meta")).Put([]byte("schema"), binary.BigEndian.AppendUint32(nil, Schema))
	})
	if err != nil {
		return fmt.Errorf("cannot prepare %s: %w", path, err)
	}
	return SyncDir(filepath.Dir(path))
}

func (s *Store) backUp(to string) error {
	err := s.db.View(func(tx *bolt.Tx) error { return tx.CopyFile(to, 0o600) })
	if err != nil {
		return fmt.Errorf("cannot back up the state to %s: %w", to, err)
	}
	return SyncDir(filepath.Dir(to))
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
func (s *Store) FailCommits(f func() error) { s.fail = f }

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

// Commit makes the changes durable, or none of them.
func (t *Tx) Commit() error {
	if t.store.fail != nil {
		if err := t.store.fail(); err != nil {
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
	if v := meta.Get(key); len(v) == 4 {
		next = binary.BigEndian.Uint32(v)
	}
	if next == 0 {
		return 0, fmt.Errorf("cannot number a row of %s: the numbers are used up", table)
	}
	return next, meta.Put(key, binary.BigEndian.AppendUint32(nil, next+1))
}

package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
)

// recordVersion is the first byte of every record.
const recordVersion = 1

// Key is a key of a table.
type Key interface{ ~uint32 | ~string }

// Table is one bucket with records of type V.
type Table[K Key, V any] struct{ bucket string }

// The tables. The journal's is made by package operation, which knows its records.
var (
	ExecEnvs        = NewTable[string, model.ExecEnv]("exec_env")
	DeploymentUnits = NewTable[model.RowID, model.DeploymentUnit]("deployment_unit")
	Privates        = NewTable[model.RowID, Private]("unit_private")
	UnitIndex       = NewTable[string, model.RowID]("unit_index")
	ExecutionUnits  = NewTable[model.RowID, model.ExecutionUnit]("execution_unit")
	Volumes         = NewTable[model.RowID, model.Volume]("volume")
)

// Private is what the agent keeps for a deployment unit and shows to nobody.
type Private struct {
	Handle adapter.Handle `json:"handle"`
	// SHA256 and Size are those of the unit's package in the package store, which is that of its version Version. They are empty for a
	// unit that was found in its environment and whose package was not needed yet.
	Version string `json:"version,omitempty"`
	SHA256  string `json:"sha256,omitempty"`
	Size    int64  `json:"size,omitempty"`
	// Credentials are those of the last install or update, sealed ([Sealer]).
	Credentials []byte `json:"credentials,omitempty"`
	// EUIDs are those of modules that the unit had in other versions: one that comes back gets its own again.
	EUIDs map[string]string `json:"euids,omitempty"`
}

// Of returns what is kept of a unit that has a version now: without the package, when that is of another version. Somebody else
// has updated the unit then.
func (p Private) Of(version string) Private {
	if p.Version != version {
		p.Version, p.SHA256, p.Size = "", "", 0
	}
	return p
}

// IndexKey is the key of a version of a unit on an environment (TR-181, unique key of the DeploymentUnit table).
func IndexKey(uuid, version, env string) string { return uuid + "|" + version + "|" + env }

// NewTable returns the table in the named bucket of the drawing. It panics for any other name.
func NewTable[K Key, V any](bucket string) Table[K, V] {
	for _, b := range buckets {
		if b == bucket {
			return Table[K, V]{bucket}
		}
	}
	panic("store: no bucket " + bucket)
}

func encodeKey[K Key](k K) []byte {
	switch k := any(k).(type) {
	case string:
		return []byte(k)
	case uint32:
		return binary.BigEndian.AppendUint32(nil, k)
	}
	panic("store: key type")
}

func decodeKey[K Key](b []byte) (k K, err error) {
	switch p := any(&k).(type) {
	case *string:
		*p = string(b)
	case *uint32:
		if len(b) != 4 {
			return k, fmt.Errorf("key of %d bytes", len(b))
		}
		*p = binary.BigEndian.Uint32(b)
	}
	return k, nil
}

func decode[V any](b []byte) (v V, err error) {
	if len(b) == 0 || b[0] != recordVersion {
		return v, fmt.Errorf("record of an unknown version")
	}
	return v, json.Unmarshal(b[1:], &v)
}

// Get returns the record with key k, and whether there is one.
func (t Table[K, V]) Get(tx *Tx, k K) (v V, ok bool, err error) {
	b := tx.tx.Bucket([]byte(t.bucket)).Get(encodeKey(k))
	if b == nil {
		return v, false, nil
	}
	if v, err = decode[V](b); err != nil {
		return v, false, fmt.Errorf("cannot read record %v of %s: %w", k, t.bucket, err)
	}
	return v, true, nil
}

// Put writes a record. What is there already in the same words is not written again.
func (t Table[K, V]) Put(tx *Tx, k K, v V) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot write record %v of %s: %w", k, t.bucket, err)
	}
	data = append([]byte{recordVersion}, data...)
	b, key := tx.tx.Bucket([]byte(t.bucket)), encodeKey(k)
	if bytes.Equal(b.Get(key), data) {
		return nil
	}
	if err := b.Put(key, data); err != nil {
		return fmt.Errorf("cannot write record %v of %s: %w", k, t.bucket, err)
	}
	return nil
}

// Delete removes a record; one that is not there is no error.
func (t Table[K, V]) Delete(tx *Tx, k K) error {
	if err := tx.tx.Bucket([]byte(t.bucket)).Delete(encodeKey(k)); err != nil {
		return fmt.Errorf("cannot delete record %v of %s: %w", k, t.bucket, err)
	}
	return nil
}

// SetAside calls f with the key of every record that could not be read and was set aside, as far as the key can be read.
func (t Table[K, V]) SetAside(tx *Tx, f func(K)) {
	prefix := []byte(t.bucket + "/")
	c := tx.tx.Bucket([]byte("set_aside")).Cursor()
	for key, _ := c.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); key, _ = c.Next() {
		if k, err := decodeKey[K](key[len(prefix):]); err == nil {
			f(k)
		}
	}
}

// Load calls f for every record in the order of keys. In a write transaction a record that cannot be read is moved to the
// bucket set_aside and logged, so that one bad record does not keep the agent from starting; in a view it is an error. f must
// not write to the table.
func (t Table[K, V]) Load(tx *Tx, f func(K, V) error) error {
	b := tx.tx.Bucket([]byte(t.bucket))
	var bad [][]byte
	err := b.ForEach(func(key, data []byte) error {
		k, err := decodeKey[K](key)
		if err == nil {
			var v V
			if v, err = decode[V](data); err == nil {
				return f(k, v)
			}
		}
		if !tx.tx.Writable() {
			return fmt.Errorf("cannot read record %x of %s: %w", key, t.bucket, err)
		}
		tx.store.log.Error("a record cannot be read and is set aside", "bucket", t.bucket, "key", fmt.Sprintf("%x", key), "err", err)
		bad = append(bad, bytes.Clone(key))
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range bad {
		aside := append([]byte(t.bucket+"/"), key...)
		if err := tx.tx.Bucket([]byte("set_aside")).Put(aside, bytes.Clone(b.Get(key))); err != nil {
			return fmt.Errorf("cannot set aside record %x of %s: %w", key, t.bucket, err)
		}
		if err := b.Delete(key); err != nil {
			return fmt.Errorf("cannot set aside record %x of %s: %w", key, t.bucket, err)
		}
	}
	return nil
}

package systemd

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// recordVersion is the version of the form of [record]; a newer one is refused.
const recordVersion = 1

// A state says which step of a deployment unit's life is open. What an adapter leaves that was killed is told by it, and [env.settle] finishes or
// undoes it.
type state string

const (
	installed    state = "installed"    // nothing is open
	installing   state = "installing"   // undone: Current goes
	updating     state = "updating"     // undone: Next goes
	reverting    state = "reverting"    // finished: Next becomes Current, which goes
	uninstalling state = "uninstalling" // undone: Current stays
	removing     state = "removing"     // finished: all goes
)

// record is what the environment's directory keeps of a deployment unit, in the file units/ID.json.
type record struct {
	Version  int         `json:"version"`
	Key      string      `json:"key"`
	State    state       `json:"state"`
	Op       string      `json:"op"` // method and operation that brought Current, or that is open
	Current  generation  `json:"current"`
	Previous *generation `json:"previous,omitempty"` // what an Update replaced, until Discard
	Next     *generation `json:"next,omitempty"`     // what is to be Current
	Given    *given      `json:"given,omitempty"`    // settings of all generations, nil when there never were any
}

// generation is one version of a deployment unit.
type generation struct {
	content
	Image  string `json:"image"`  // its name below images/, and in portabled
	SHA256 string `json:"sha256"` // of the package
	Size   int64  `json:"size"`   // KiB on disk
}

// content is what a package says of itself.
type content struct {
	Manifest adapter.Manifest `json:"manifest"`
	Prefixes []string         `json:"prefixes"`
	Units    []string         `json:"units"` // sorted
	// States are the directories below /var/lib, /var/cache and /var/log that services keep, by their unit.
	States map[string][]string `json:"states,omitempty"`
}

// modules are the units that can be execution units. Sockets come first, since the agent starts units of one run level in this order: a socket
// cannot be started when its service runs already.
func (c content) modules() []string {
	var sockets, others []string
	for _, u := range c.Units {
		switch {
		case !startable(u):
		case kindOf(u) == socket:
			sockets = append(sockets, u)
		default:
			others = append(others, u)
		}
	}
	return append(sockets, others...)
}

func (r *record) generations() []generation {
	all := []generation{r.Current}
	for _, g := range []*generation{r.Previous, r.Next} {
		if g != nil {
			all = append(all, *g)
		}
	}
	return all
}

// units are the units of all generations.
func (r *record) units() []string {
	var all []string
	for _, g := range r.generations() {
		all = append(all, g.Units...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// idOf returns what stands for a key in the names of files and images: keys may have characters that these may not have.
func idOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:6])
}

// store are the records of an environment.
type store struct{ dir string } // the environment's directory

func (s store) images() string           { return filepath.Join(s.dir, "images") }
func (s store) image(name string) string { return filepath.Join(s.images(), name) }
func (s store) file(key string) string   { return filepath.Join(s.dir, "units", idOf(key)+".json") }

// load returns the record of a key, nil when there is none.
func (s store) load(key string) (*record, error) {
	r, err := s.read(s.file(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && r.Key != key {
		err = fmt.Errorf("cannot read %s: it is of unit %q", s.file(key), r.Key)
	}
	return r, err
}

func (s store) read(path string) (*record, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read a record: %w", err)
	}
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("cannot read %s: it is of version %d, this adapter knows %d", path, r.Version, recordVersion)
	}
	return &r, nil
}

// all returns the records in the order of their keys, and what is wrong with those that cannot be read.
func (s store) all() ([]*record, error) {
	files, err := os.ReadDir(filepath.Join(s.dir, "units"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the records: %w", err)
	}
	var records []*record
	var errs []error
	for _, f := range files {
		if filepath.Ext(f.Name()) != ".json" {
			continue
		}
		r, err := s.read(filepath.Join(s.dir, "units", f.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *record) int { return strings.Compare(a.Key, b.Key) })
	return records, errors.Join(errs...)
}

// save writes the record so that after a power cut it is there as it was before or as it is now. An image that it names has been synced before.
func (s store) save(r *record) error {
	r.Version = recordVersion
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot encode the record of %q: %w", r.Key, err)
	}
	path := s.file(r.Key)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot write a record: %w", err)
	}
	if err := writeFile(path, data, 0o600); err != nil {
		return err
	}
	return syncDir(dir)
}

func (s store) remove(key string) error {
	err := os.Remove(s.file(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove a record: %w", err)
	}
	return syncDir(filepath.Join(s.dir, "units"))
}

// writeFile replaces the content of a file at once.
func writeFile(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot write %s: %w", path, err), os.Remove(tmp))
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// syncAll writes the file system of dir to its disk: an unpacked image has too many files for one fsync(2) each.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("cannot sync the file system of %s: %w", dir, err)
	}
	return nil
}

package lxc

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// The names of files and directories; the package comment says what they are.
const (
	storeName   = "store"
	stagingName = "staging"
	trashName   = "trash"
	recordName  = "smmd.json"
	imageName   = "image.json"
	rootfsName  = "rootfs"
	configName  = "config"
	logName     = "lxc.log"
	consoleName = "console.log"
)

// format is the version of all files that the adapter writes.
const format = 1

// store are the directories of one environment.
type store struct {
	env string
	dir string // DataDir of the environment
}

// record is smmd.json. It is replaced as a whole, and each change of what is installed is one such step.
type record struct {
	Format   int    `json:"format"`
	Key      string `json:"key"`
	Op       string `json:"op"`       // by which the unit was installed
	Current  int    `json:"current"`  // the present generation
	Previous int    `json:"previous"` // the one before an Update that is not discarded, 0 without
	UpdateOp string `json:"updateOp"` // by which the present generation came, empty for Install
}

// generation is image.json: what one package asks for.
type generation struct {
	Format   int              `json:"format"`
	Package  string           `json:"package"` // SHA-256
	Manifest adapter.Manifest `json:"manifest"`
	Process  process          `json:"process"`
	// Problem says why it cannot be started, empty when nothing is known.
	Problem string `json:"problem"`
	// FirstID and IDs are the range of ids that the files were given to.
	FirstID uint32 `json:"firstId"`
	IDs     uint32 `json:"ids"`
}

// lxcPath is the directory that LXC is told with -P.
func (s store) lxcPath() string { return filepath.Join(s.dir, storeName) }

// at is the directory of a container, or something in it.
func (s store) at(name string, parts ...string) string {
	return filepath.Join(append([]string{s.lxcPath(), name}, parts...)...)
}

// generationDir is the directory of a generation.
func (s store) generationDir(name string, n int) string { return s.at(name, strconv.Itoa(n)) }

// tree is the root file system of a generation.
func (s store) tree(name string, n int) string {
	return filepath.Join(s.generationDir(name, n), rootfsName)
}

// plainKey is a key that can be part of the name of a container as it is.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// nameFor returns the name of the container with a key. Control groups know containers by their names alone, so the environment is in it.
func (s store) nameFor(key string) string {
	if plainKey.MatchString(key) {
		return s.env + "." + key
	}
	sum := sha256.Sum256([]byte(key))
	return s.env + ".." + hex.EncodeToString(sum[:16])
}

// make makes the directories. The store can be entered by everybody: what is around it keeps everybody out.
func (s store) make() error {
	for _, name := range []string{storeName, stagingName, trashName} {
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o755); err != nil {
			return fmt.Errorf("cannot make the directories of environment %q: %w", s.env, err)
		}
	}
	return nil
}

// list returns the names of all containers: ours, and those that somebody else has finished making.
func (s store) list() ([]string, error) {
	entries, err := os.ReadDir(s.lxcPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the containers of environment %q: %w", s.env, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && s.exists(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// exists reports whether there is a container of that name.
func (s store) exists(name string) bool {
	if s.ours(name) {
		return true
	}
	_, err := os.Stat(s.at(name, configName))
	_, making := os.Lstat(s.at(name, "partial")) // while lxc-create is at it
	return err == nil && errors.Is(making, fs.ErrNotExist)
}

func (s store) ours(name string) bool {
	_, err := os.Lstat(s.at(name, recordName))
	return err == nil
}

// record reads smmd.json of a container.
func (s store) record(name string) (record, error) {
	var r record
	err := readJSON(s.at(name, recordName), &r)
	if err == nil && r.Format > format {
		err = fmt.Errorf("it is of format %d, newer than %d", r.Format, format)
	}
	if err != nil {
		return r, fmt.Errorf("cannot read the record of container %q: %w", name, err)
	}
	return r, nil
}

func (s store) saveRecord(name string, r record) error {
	r.Format = format
	return writeJSON(s.at(name, recordName), r)
}

// generation reads image.json of generation n.
func (s store) generation(name string, n int) (generation, error) {
	var g generation
	if err := readJSON(filepath.Join(s.generationDir(name, n), imageName), &g); err != nil {
		return g, fmt.Errorf("cannot read generation %d of container %q: %w", n, name, err)
	}
	return g, nil
}

// stage makes an empty directory for something that is to become a container or a generation of one.
func (s store) stage() (string, error) {
	if err := s.make(); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Join(s.dir, stagingName), "")
	if err != nil {
		return "", full("cannot unpack the package", err)
	}
	return dir, os.Chmod(dir, 0o755)
}

// move brings what was staged to its place, for good.
func (s store) move(staged, to string) error {
	if err := syncFileSystem(staged); err != nil {
		return full("cannot store the container", err)
	}
	if err := os.Rename(staged, to); err != nil {
		return full("cannot store the container", err)
	}
	return errors.Join(syncDir(filepath.Dir(to)), syncDir(filepath.Dir(staged)))
}

// discard takes something out of the store at once, and then removes it. Something with a mount in it stays where it is.
func (s store) discard(dir string) error {
	if err := s.make(); err != nil {
		return err
	}
	if err := nothingMounted(dir); err != nil {
		return err
	}
	to := filepath.Join(s.dir, trashName, rand.Text())
	if err := os.Rename(dir, to); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("cannot remove %s: %w", dir, err)
	}
	if err := syncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return removeTree(to)
}

// sweep removes what a process that was ended has left: what it had not yet made a container, and what it had not removed yet.
func (s store) sweep() error {
	var errs []error
	for _, name := range []string{stagingName, trashName} {
		entries, err := os.ReadDir(filepath.Join(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		errs = append(errs, err)
		for _, e := range entries {
			errs = append(errs, removeTree(filepath.Join(s.dir, name, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// trim removes the generations of a container that its record does not name.
func (s store) trim(name string, r record) error {
	entries, err := os.ReadDir(s.at(name))
	if err != nil {
		return fmt.Errorf("cannot list the generations of container %q: %w", name, err)
	}
	var errs []error
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil || slices.Contains([]int{r.Current, r.Previous}, n) {
			continue
		}
		errs = append(errs, s.discard(s.at(name, e.Name())))
	}
	return errors.Join(errs...)
}

// freeGeneration is a number that no generation of a container has, or had since its record was written.
func (s store) freeGeneration(name string, r record) (int, error) {
	n := max(r.Current, r.Previous) + 1
	// What is there of that number was never recorded.
	return n, s.discard(s.generationDir(name, n))
}

func readJSON(path string, into any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// writeJSON replaces a file as a whole.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", path, err)
	}
	return writeFile(path, append(data, '\n'))
}

// writeFile replaces a file as a whole: after a power cut it is the old one or the new one.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-")
	if err != nil {
		return full("cannot write "+path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return full("cannot write "+path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot sync %s: %w", dir, err)
	}
	return nil
}

// syncFileSystem writes out the file system of dir: one call for a whole tree.
func syncFileSystem(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// full gives an error of the file system its reason.
func full(what string, err error) error {
	var known *adapter.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EMLINK):
		return adapter.Errorf(adapter.NoResources, "%s: %v", what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

package packages

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/agent/fault"
)

// Fetched is a complete file in the spool. It may be stored: what it says stays true until the key is put or discarded.
type Fetched struct {
	Key    string `json:"key"`
	SHA256 string `json:"sha256"` // hexadecimal, lower case
	Size   int64  `json:"size"`   // bytes
}

// keyRE is the form of keys: they are names of files.
var keyRE = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$`)

// SpoolPath is where the file of key is while it is in the spool.
func (s *Store) SpoolPath(key string) string { return filepath.Join(s.dir, "spool", key+".part") }

func (s *Store) statePath(key string) string { return filepath.Join(s.dir, "spool", key+".json") }

// openSpool takes stock of the part files.
func (s *Store) openSpool() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "spool"))
	if err != nil {
		return fmt.Errorf("cannot open the package store: %w", err)
	}
	for _, entry := range entries {
		key, isPart := strings.CutSuffix(entry.Name(), ".part")
		if !isPart {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("cannot open the package store: %w", err)
		}
		s.parts[key] = &claim{written: info.Size()}
	}
	return nil
}

// Discard removes what the spool has of key: the undo of a Fetch. Nothing there is no error.
func (s *Store) Discard(key string) error {
	if !keyRE.MatchString(key) {
		return fmt.Errorf("cannot discard a part file: %q is no key", key)
	}
	release, err := s.hold(key)
	if err != nil {
		return err
	}
	defer release()
	// The state goes first: a part file without one is of no use to anybody.
	if err := removeAll(s.statePath(key), s.statePath(key)+".new", s.SpoolPath(key)); err != nil {
		return fmt.Errorf("cannot discard a part file: %w", err)
	}
	s.drop(key)
	return nil
}

// CleanSpool removes everything from the spool that keep does not claim by its key; files that the agent did not make go
// too, part files that a Fetch or a Put works on stay. What is in the spool is listed before keep is called for the first
// time: a keep that looks then, and not earlier, which operations are open knows all of them.
func (s *Store) CleanSpool(keep func(key string) bool) error {
	dir := filepath.Join(s.dir, "spool")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot clean the spool: %w", err)
	}
	var errs []error
	for _, entry := range entries {
		// A state that is being written, <key>.json.new, belongs to its key as well.
		key, isOurs := strings.CutSuffix(strings.TrimSuffix(entry.Name(), ".new"), ".json")
		if !isOurs {
			key, isOurs = strings.CutSuffix(entry.Name(), ".part")
		}
		if !isOurs || !keyRE.MatchString(key) {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, entry.Name())))
			continue
		}
		if !keep(key) && !s.busy(key) {
			errs = append(errs, s.Discard(key))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot clean the spool: %w", err)
	}
	return nil
}

// A part is the part file of a running transfer.
type part struct {
	store    *Store
	key      string
	file     *os.File
	size     int64 // bytes in the file, all of which are in hash
	promised int64
	hash     hash.Hash
	release  func()
}

// openPart opens the part file of key, empty or as an earlier transfer left it.
func (s *Store) openPart(key string) (*part, error) {
	if !keyRE.MatchString(key) {
		return nil, fmt.Errorf("cannot make a part file: %q is no key", key)
	}
	release, err := s.hold(key)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(s.SpoolPath(key), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		release()
		return nil, fault.As(spaceReason(err), fmt.Errorf("cannot make a part file: %w", err))
	}
	return &part{store: s, key: key, file: file, hash: sha256.New(), release: release}, nil
}

// close gives the part file back. It stays if keep is true, and goes with its state otherwise.
func (p *part) close(keep bool) error {
	defer p.release()
	err := p.file.Close()
	if !keep {
		err = errors.Join(err, removeAll(p.store.statePath(p.key), p.store.SpoolPath(p.key)))
		p.store.drop(p.key)
	}
	return err
}

// restart empties the part file. The state goes first, so that no crash leaves it with another content than it was made for.
func (p *part) restart() error {
	if err := removeAll(p.store.statePath(p.key)); err != nil {
		return fmt.Errorf("cannot empty the part file: %w", err)
	}
	if err := p.file.Truncate(0); err != nil {
		return fmt.Errorf("cannot empty the part file: %w", err)
	}
	if _, err := p.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("cannot empty the part file: %w", err)
	}
	p.hash.Reset()
	p.size, p.promised = 0, 0
	p.store.wrote(p.key, 0)
	return nil
}

// shorten cuts the part file to keep of the bytes that it has, and puts those into the hash.
func (p *part) shorten(keep func(has int64) int64) error {
	info, err := p.file.Stat()
	if err != nil {
		return fmt.Errorf("cannot read the part file: %w", err)
	}
	if err := p.file.Truncate(keep(info.Size())); err != nil {
		return fmt.Errorf("cannot shorten the part file: %w", err)
	}
	_, err = p.reread(0)
	return err
}

// reread puts what is in the file into the hash and returns its last tail bytes, fewer if the file is shorter.
func (p *part) reread(tail int64) ([]byte, error) {
	p.hash.Reset()
	n, err := io.Copy(p.hash, p.file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the part file: %w", err)
	}
	p.size = n
	p.store.wrote(p.key, n)
	end := make([]byte, min(tail, n))
	if _, err := p.file.ReadAt(end, n-int64(len(end))); err != nil {
		return nil, fmt.Errorf("cannot read the part file: %w", err)
	}
	return end, nil
}

// step is the room that is claimed at once for a file whose size nobody told.
const step = 1 << 20

// expect claims the room for a file of total bytes, -1 when that is not known.
func (p *part) expect(total int64) error {
	if total < 0 {
		return nil // Write claims as it goes
	}
	if err := p.store.promise(p.key, total); err != nil {
		return err
	}
	p.promised = total
	return nil
}

// Write appends to the file. A full disk and a limit that is passed are system-resources-exceeded.
func (p *part) Write(b []byte) (int, error) {
	end := p.size + int64(len(b))
	if end > p.promised {
		ahead := max(end, min(p.promised+step, p.store.limits.MaxSize))
		if err := p.store.promise(p.key, ahead); err != nil {
			if ahead == end {
				return 0, err
			}
			// The last step may be too much where the rest of the file is not.
			if err := p.store.promise(p.key, end); err != nil {
				return 0, err
			}
			ahead = end
		}
		p.promised = ahead
	}
	n, err := p.store.write(p.file, b)
	p.hash.Write(b[:n])
	p.size += int64(n)
	p.store.wrote(p.key, p.size)
	if err != nil {
		return n, fault.As(spaceReason(err), fmt.Errorf("cannot write the part file: %w", err))
	}
	return n, nil
}

// finish makes the complete file durable.
func (p *part) finish() (Fetched, error) {
	if err := p.file.Sync(); err != nil {
		return Fetched{}, fault.As(spaceReason(err), fmt.Errorf("cannot write the part file: %w", err))
	}
	if err := syncDir(filepath.Dir(p.store.SpoolPath(p.key))); err != nil {
		return Fetched{}, fmt.Errorf("cannot write the part file: %w", err)
	}
	return Fetched{Key: p.key, SHA256: hexSum(p.hash), Size: p.size}, nil
}

// stateVersion is the version of [partState]; a state of another one is not used.
const stateVersion = 1

// partState says what a part file is the beginning of.
type partState struct {
	Version      int    `json:"version"`
	URL          string `json:"url"`  // SHA-256 of the URL: a query may hold secrets
	Boot         string `json:"boot"` // after another boot the file may hold other bytes than were written
	IfRange      string `json:"if_range"`
	ETag         string `json:"etag,omitempty"`
	LastModified string `json:"last_modified,omitempty"`
	Total        int64  `json:"total"` // bytes, -1 when the server did not say
}

// saveState writes the state beside the part file, whole or not at all.
func (p *part) saveState(st partState) error {
	data, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("cannot write the state of the part file: %w", err)
	}
	path := p.store.statePath(p.key)
	temporary := path + ".new"
	if err := os.WriteFile(temporary, data, 0o600); err != nil {
		return fault.As(spaceReason(err), errors.Join(fmt.Errorf("cannot write the state of the part file: %w", err), removeAll(temporary)))
	}
	// No fsync: the state is not used after another boot, and until then the kernel remembers.
	if err := os.Rename(temporary, path); err != nil {
		return fault.As(spaceReason(err), fmt.Errorf("cannot write the state of the part file: %w", err))
	}
	return nil
}

// loadState reads the state of the part file; false when there is none that can be used.
func (p *part) loadState() (partState, bool, error) {
	var st partState
	data, err := os.ReadFile(p.store.statePath(p.key))
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, fmt.Errorf("cannot read the state of the part file: %w", err)
	}
	if err := json.Unmarshal(data, &st); err != nil {
		return st, false, nil // damaged: the transfer starts over, which mends it
	}
	return st, st.Version == stateVersion && st.Boot != "" && st.Boot == bootID(), nil
}

// bootID names the running boot of the device, empty when it cannot be told: by the boot id of the kernel, and by when process 1 began, as a
// device that is a container on another one has that one's boot id.
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return ""
	}
	// proc(5): after the name, which may hold anything, come the fields from the third on; starttime is the 22nd.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return ""
	}
	return string(bytes.TrimSpace(id)) + "." + string(fields[19])
}

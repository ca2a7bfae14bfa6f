package osgi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// A package manager replaces the files of a framework that runs: another file has the path then, and the JVM goes on with the one that it
// has open. What it was launched from is read through its descriptors, which still have a file that was removed.

// startSlack is how much later than the process a file may seem to have been changed that it was launched from: starts are counted in
// hundredths of a second.
const startSlack = 100 * time.Millisecond

// deletedMark is what Linux writes behind the name of an open file whose name is another's now, or nobody's (proc_pid_fd(5)).
const deletedMark = " (deleted)"

// descriptor is a regular file that a process has open.
type descriptor struct {
	path string // in /proc, to read it
	name string
	info os.FileInfo
}

func descriptors(pid int) ([]descriptor, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []descriptor
	for _, e := range entries {
		d := descriptor{path: filepath.Join(dir, e.Name())}
		if d.name, err = os.Readlink(d.path); err != nil {
			continue // closed meanwhile
		}
		if d.info, err = os.Stat(d.path); err == nil && d.info.Mode().IsRegular() {
			all = append(all, d)
		}
	}
	return all, nil
}

// opened returns where the content can be read of the files with which the process pid was launched: their paths, or descriptors of the
// process where others have these paths by now. [adapter.NotSupported] says that some content cannot be told any more.
func (h *host) opened(pid int, files []string) ([]string, error) {
	open, err := descriptors(pid)
	if err != nil {
		return nil, err
	}
	lived, err := age(pid)
	if err != nil {
		return nil, err
	}
	began := time.Now().Add(startSlack - lived)
	at := make([]string, len(files))
	for i, file := range files {
		if at[i] = removed(open, file); at[i] != "" {
			continue
		}
		same, err := unchanged(open, file, began)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if same {
			at[i] = file
			continue
		}
		if i == 0 {
			at[i] = h.factoryAmong(open, files)
		}
		if at[i] == "" {
			return nil, adapter.Errorf(adapter.NotSupported, "%s was replaced after the launch, and the framework does not have open what was there; launch it again", file)
		}
	}
	return at, nil
}

// removed returns the one descriptor of a file that was at the path; empty when there is none, or several.
func removed(open []descriptor, path string) string {
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		dir = filepath.Dir(path)
	}
	return only(open, func(d descriptor) bool {
		return d.name == path+deletedMark || d.name == filepath.Join(dir, filepath.Base(path))+deletedMark
	})
}

// unchanged reports whether the file at path has been there, as it is, since before began.
func unchanged(open []descriptor, path string, began time.Time) (bool, error) {
	name, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	file, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if changed(name).After(began) && name.Mode()&os.ModeSymlink != 0 {
		return false, nil // it may have led elsewhere
	}
	if !changed(file).After(began) {
		return true, nil
	}
	// Another mode or a further name is no other content.
	for _, d := range open {
		if os.SameFile(d.info, file) {
			return !file.ModTime().After(began), nil
		}
	}
	return false, nil
}

// changed is when anything of a file was changed last; other than the time of its content it cannot be set.
func changed(info os.FileInfo) time.Time {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(stat.Ctim.Unix())
	}
	return info.ModTime()
}

// factoryAmong returns the one descriptor of a jar that makes frameworks, which is the framework's when its path is a link that leads
// elsewhere now; empty when there is none, or several. What is at one of the paths now, and what the framework keeps, is none.
func (h *host) factoryAmong(open []descriptor, files []string) string {
	storage, err := filepath.EvalSymlinks(h.storage())
	if err != nil {
		storage = h.storage()
	}
	var present []os.FileInfo
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			present = append(present, info)
		}
	}
	return only(open, func(d descriptor) bool {
		for _, info := range present {
			if os.SameFile(info, d.info) {
				return false
			}
		}
		return !strings.HasPrefix(d.name, storage+"/") && factoryOf(d.path) != ""
	})
}

// only returns the path of the one file that ok is true of, however often it is open.
func only(open []descriptor, ok func(descriptor) bool) string {
	var found *descriptor
	for i, d := range open {
		if found != nil && os.SameFile(found.info, d.info) || !ok(d) {
			continue
		}
		if found != nil {
			return ""
		}
		found = &open[i]
	}
	if found == nil {
		return ""
	}
	return found.path
}

// launchedFrom returns where the files can be read that the framework of the running process was launched with, and their paths; none
// when there is no process.
func (h *host) launchedFrom() (at, files []string, err error) {
	pid, files, err := h.runsFrom()
	if err != nil || len(files) == 0 {
		return nil, nil, err
	}
	at, err = h.opened(pid, files)
	if err != nil {
		return nil, files, fmt.Errorf("what process %d was launched from cannot be read: %w", pid, err)
	}
	return at, files, nil
}

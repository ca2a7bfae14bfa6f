package lxc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/rootfs"
)

const (
	// sampleEvery is how often values that change all the time are looked at.
	sampleEvery = 30 * time.Second
	// diskEvery is the same for the disk that a container uses: that means to look at each of its files.
	diskEvery = 5 * time.Minute
	// maxConsole is how large the file with what a container prints may become, in bytes.
	maxConsole = 1 << 20
)

// sample are the values of a container that change all the time, in KiB; -1 is unknown.
type sample struct {
	first        int // the first process of the run they belong to
	pids         []int
	memory, disk int64
	diskAt       time.Time
}

var noSample = sample{memory: -1, disk: -1}

// sampleRun looks at the processes and the memory of a container that runs.
func (e *env) sampleRun(c *container, first int) sample {
	pids, memory := []int(nil), int64(-1)
	if groups, err := readCgroups("self"); err == nil {
		own := groups.groupsOf(first)
		pids, memory = groups.processes(own, c.name), groups.memory(own, c.name)
	}
	if memory < 0 && len(pids) > 0 {
		memory = residentOf(pids)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	s := c.sample
	if s.first != first || !noticeable(s.memory, memory) {
		s.memory = memory
	}
	s.first, s.pids = first, pids
	c.sample = s
	return s
}

// sampleDisk looks at the disk that a container uses.
func (e *env) sampleDisk(c *container) {
	disk, err := rootfs.DiskUsage(e.store.at(c.name))
	if err != nil {
		disk = -1 // it is being removed
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	c.sample.diskAt = time.Now()
	if noticeable(c.sample.disk, disk) {
		c.sample.disk = disk
	}
}

// noticeable reports whether a value has changed by more than what is not worth telling: a tenth, or 256 KiB.
func noticeable(before, now int64) bool {
	if before < 0 || now < 0 {
		return before != now
	}
	return max(before-now, now-before) > max(before/10, 256)
}

// residentOf adds up what processes have in memory, in KiB. What several of them share is counted several times: where no control group tells, that is all
// there is.
func residentOf(pids []int) int64 {
	var pages int64
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
		if f := strings.Fields(string(data)); err == nil && len(f) > 1 {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err == nil {
				pages += n
			}
		}
	}
	return pages * int64(os.Getpagesize()) / 1024
}

// available returns the disk that the environment's file system has left, and the memory of the device, in KiB.
func available(dir string) (disk, memory int64) {
	disk, memory = -1, -1
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil {
		disk = int64(st.Bavail) * int64(st.Bsize) / 1024 //nolint:unconvert // other types on other processors
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		memory = memAvailable(data)
	}
	return disk, memory
}

func memAvailable(meminfo []byte) int64 {
	for lines := bufio.NewScanner(bytes.NewReader(meminfo)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 1 && f[0] == "MemAvailable:" {
			if n, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// sampleAll looks at all containers, and tells what has changed noticeably.
func (w *watcher) sampleAll() {
	e := w.env
	names, err := e.store.list()
	if err != nil {
		e.log.Warn("containers cannot be listed", "err", err)
		return
	}
	for _, name := range names {
		if w.ctx.Err() != nil {
			return
		}
		c := e.container(name)
		e.mu.Lock()
		diskAt, first, active := c.sample.diskAt, c.sample.first, len(c.sample.pids) > 0
		e.mu.Unlock()
		if time.Since(diskAt) >= diskEvery {
			e.sampleDisk(c)
		}
		if active {
			e.sampleRun(c, first)
		}
		if err := boundConsole(filepath.Join(e.store.at(name), consoleName)); err != nil {
			e.log.Warn("what a container prints cannot be kept within bounds", "du", c.key, "err", err)
		}
		e.refresh(w.ctx, name)
	}
	w.tellEnv()
}

// boundConsole keeps the last part of a file that has become too large. Who writes to it adds to its end, wherever that is.
func boundConsole(path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Size() <= maxConsole {
		return nil // there is none where the journal has it
	}
	tail, err := tailOf(path, maxConsole/4)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(slices.Concat([]byte("…\n"), tail))
	return errors.Join(err, f.Close())
}

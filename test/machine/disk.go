package machine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// loops is how many loop devices a machine has. They are the host's, so it needs nodes for more than it uses.
const loops = 64

// journalDir is where the journal is kept, on the disk.
const journalDir = "var/log/journal"

// prepare makes the disk of a device out of the overlay over the host's root: what is enabled on the host has nothing to do with it.
func prepare(disk *os.Root, o Options) error {
	var id [16]byte
	rand.Read(id[:])
	files := map[string]string{
		// An empty one would make every unit that has a preset enabled at the first boot, and another identity at each.
		"etc/machine-id": fmt.Sprintf("%x\n", id),
		"etc/hostname":   "device\n",
		"etc/fstab":      "",
		// The journal is read when the machine is off, too.
		"etc/systemd/journald.conf": "[Journal]\nStorage=persistent\nCompress=no\nRateLimitIntervalSec=0\n",
	}
	if o.Loops {
		nodes := "c /dev/loop-control 0660 root disk - 10:237\n"
		for i := range loops {
			nodes += fmt.Sprintf("b /dev/loop%d 0660 root disk - 7:%d\n", i, i)
		}
		files["etc/tmpfiles.d/smmd-machine-loops.conf"] = nodes
	}
	links := map[string]string{
		"etc/systemd/system/default.target": "/usr/lib/systemd/system/multi-user.target",
	}
	for _, unit := range []string{"console-getty.service", "getty.target", "modprobe@.service", "cloud-init.target", "systemd-binfmt.service"} {
		links["etc/systemd/system/"+unit] = "/dev/null"
	}
	enabled, err := fs.Glob(disk.FS(), "etc/systemd/system/*.wants")
	if err != nil {
		return err
	}
	required, err := fs.Glob(disk.FS(), "etc/systemd/system/*.requires")
	if err != nil {
		return err
	}
	scripts, err := fs.Glob(disk.FS(), "etc/rc?.d") // services of System V
	if err != nil {
		return err
	}
	for _, dir := range append(append(enabled, required...), scripts...) {
		if err := disk.RemoveAll(dir); err != nil {
			return err
		}
	}
	// The host's own journal would be in the way of the machine's.
	if err := disk.RemoveAll(journalDir); err != nil {
		return err
	}
	if err := disk.MkdirAll(journalDir, 0o755); err != nil {
		return err
	}
	for path, content := range files {
		if err := put(disk, path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	for path, target := range links {
		if err := disk.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := disk.Symlink(target, path); err != nil {
			return err
		}
	}
	return nil
}

// put writes a file of a disk, in place of whatever was there, with its directories.
func put(disk *os.Root, path string, content []byte, mode fs.FileMode) error {
	path = strings.TrimPrefix(path, "/")
	if err := disk.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := disk.WriteFile(path, content, mode); err != nil {
		return err
	}
	return disk.Chmod(path, mode) // whatever the umask
}

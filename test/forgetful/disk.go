// Package forgetful is a disk that forgets, for power cuts in tests: what was not synced when the power is cut is gone.
//
// Killing a machine alone loses nothing: the host's kernel has what was written and brings it to the disk. A [Disk] is an ext4 file system on a
// block device of its own, in a process of its own. The device keeps apart what was flushed (by fsync, fdatasync, syncfs or the file system
// itself) and what was written since. [Disk.Freeze] is the cut; [Disk.Restore] mounts what is left, as the next boot does.
package forgetful

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Disk is mounted below a directory, in the mount namespace of its server.
type Disk struct {
	Path string // where it is mounted

	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	wrong strings.Builder
}

// Start starts the server of an empty disk. dir is an empty directory; command makes the command of the server, in the namespaces where the
// disk is to be seen. The executable of this process has to be there: it is the server, too.
func Start(command func(ctx context.Context, args ...string) *exec.Cmd, dir string) (*Disk, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := &Disk{Path: filepath.Join(dir, stateDir), cmd: command(context.Background(), self)}
	d.cmd.Env = append(d.cmd.Environ(), serveVariable+"="+dir)
	d.cmd.Stderr = &d.wrong
	if d.in, err = d.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := d.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	d.out = bufio.NewReader(out)
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the server of a disk: %w", err)
	}
	return d, d.expect("ready")
}

// Freeze is the power cut: what is synced from now on is forgotten as well. The disk can still be used until whoever uses it has ended.
func (d *Disk) Freeze() error { return d.order("freeze") }

// Restore gives the disk the content that the cut has left it. Nobody may use it meanwhile.
func (d *Disk) Restore() error { return d.order("restore") }

// Close ends the server in good order. Nobody may use the disk any more.
func (d *Disk) Close() error { return d.end(nil) }

// Abandon returns when the server has been ended by whoever ends everything that is beside a machine.
func (d *Disk) Abandon() { _ = d.end(nil) }

func (d *Disk) order(what string) error {
	if _, err := fmt.Fprintln(d.in, what); err != nil {
		return d.end(err)
	}
	return d.expect("done")
}

func (d *Disk) expect(want string) error {
	line, err := d.out.ReadString('\n')
	if err != nil || line != want+"\n" {
		return d.end(fmt.Errorf("it says %q, not %s (%w)", line, want, err))
	}
	return nil
}

// end ends the server, and says what it had to say if something went wrong.
func (d *Disk) end(err error) error {
	_ = d.in.Close() // it may have ended by itself
	if err = errors.Join(err, d.cmd.Wait()); err != nil {
		return fmt.Errorf("the server of a disk failed: %w\n%s", err, d.wrong.String())
	}
	return nil
}

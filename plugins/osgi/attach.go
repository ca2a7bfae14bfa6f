package osgi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// An environment is attached when somebody else launches its framework and ends it: a launcher of the framework's own, an application
// server. The host is a bundle in it then, and the adapter finds it by its socket alone. The framework may run as another user, who is
// not to get at more by us than it has: see [host.trusted] and [copyOwned].

// uploadChunk is how much of a package one request carries, in bytes: in Base64 it fits the host's bound of 1 MiB.
const uploadChunk = 512 << 10

// errMode says that the host answers in the other way than is configured.
var errMode = errors.New("the framework is not the one that is configured")

// checkMode compares who launched the framework with who is configured to.
func (e *env) checkMode(h hello) error {
	switch {
	case h.Framework.Attached == e.set.attach:
		return nil
	case e.set.attach:
		return fmt.Errorf("%w: process %d was launched by the adapter, and attach is configured; end it, and launch the one to attach to", errMode, h.PID)
	}
	return fmt.Errorf("%w: process %d was launched by somebody else, and attach is not configured", errMode, h.PID)
}

// notOurs is the refusal of what only those can do who launch the framework.
func notOurs(what string) error {
	return adapter.Errorf(adapter.NotSupported, "cannot %s: somebody else launches and ends its framework, to which it is attached", what)
}

// waiting says why an attached environment is not up.
func (h *host) waiting(err error) string {
	text := err.Error()
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		text = "nobody listens on " + h.socket()
	}
	return "waiting for the framework: " + text
}

// maxLinks bounds the symbolic links on the way to a socket, as Linux does.
const maxLinks = 40

// trusted reports as an error who else could put a socket in the place of the framework's: every directory on the way to it must be
// writable by nobody but its owner and group. In one that is sticky (/tmp) the next may lie, if it belongs to root or to us. The way goes
// through links, and who can replace one leads it elsewhere: the directory that has the link counts as much as what the link names.
func (h *host) trusted() error {
	dir, links := "/", 0 // dir has no link in it
	for rest := parts(filepath.Dir(h.socket())); len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir)
			continue
		}
		next := filepath.Join(dir, name)
		info, err := os.Lstat(next)
		if err != nil {
			return err
		}
		if err := h.trustedDir(dir, next); err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink == 0 {
			dir = next
			continue
		}
		if links++; links > maxLinks {
			return fmt.Errorf("cannot follow %s: %w", filepath.Dir(h.socket()), syscall.ELOOP)
		}
		target, err := os.Readlink(next)
		if err != nil {
			return err
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(parts(target), rest...)
	}
	return h.trustedDir(dir, "")
}

// trustedDir is trusted for one directory; next is what the way goes on with in it, empty for the socket.
func (h *host) trustedDir(dir, next string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o002 != 0 && (info.Mode()&os.ModeSticky == 0 || !ours(next)) {
		return fmt.Errorf("directory %s is writable by everybody, so the socket %s can be anybody's", dir, h.socket())
	}
	return nil
}

// parts are the names in a path that say where it goes. It is not cleaned: .. behind a link is the parent of what the link names.
func parts(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(name string) bool { return name == "" || name == "." })
}

// ours reports whether a file belongs to root or to the user that we are; an empty path is none.
func ours(path string) bool {
	info, err := os.Lstat(path)
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// peer returns the user of the process that listens.
func (c *conn) peer() (uint32, error) {
	socket, ok := c.c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("%T has no peer", c.c)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return cred.Uid, nil
}

// upload sends a file, for the install or update that follows on the same connection.
func (c *conn) upload(ctx context.Context, file io.Reader) error {
	chunk := make([]byte, uploadChunk)
	for {
		n, err := io.ReadFull(contextReader{ctx, file}, chunk)
		if n > 0 {
			if err := c.call("upload", map[string][]byte{"data": chunk[:n]}, nil, nil); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// bring makes a request that installs or updates a bundle from a file. Who runs an attached framework may not be able to read the file.
func (e *env) bring(ctx context.Context, what, method, file string, params map[string]any, result any) error {
	if !e.set.attach {
		params["path"] = file
		return e.change(ctx, what, method, params, result)
	}
	f, err := os.Open(file)
	if err != nil {
		return adapter.Errorf(adapter.Internal, "cannot %s: %v", what, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	params["timeout"] = e.limits.change.Milliseconds()
	return e.converse(ctx, what, e.limits.change, func(t *talk) error {
		err := t.c.upload(t.ctx, f)
		var refused *hostError
		switch {
		case err == nil:
		case ctx.Err() == nil && t.ctx.Err() != nil && !errors.As(err, &refused): // nothing has begun that could go on
			return adapter.Errorf(adapter.Unavailable, "cannot %s: the package could not be sent within %v", what, e.limits.change)
		default:
			return err
		}
		t.renew(e.limits.change + e.limits.slack)
		return t.c.call(method, params, result, nil)
	})
}

// copyOwned writes the content of a file to w that belongs to the user: no more than that user could show itself, and no more than a bundle
// may have.
func copyOwned(ctx context.Context, w io.Writer, file string, user uint32) error {
	in, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0) // a pipe must not hold us up
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // nothing was written
	info, err := in.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return fmt.Errorf("%s %w", file, errNoFile)
	}
	if user != 0 && stat.Uid != user {
		return fmt.Errorf("%s does not belong to user %d, as whom the framework runs", file, user)
	}
	if info.Size() > maxUnpacked { // as it is when there are holes in it
		return errTooMuch()
	}
	return copyAtMost(w, contextReader{ctx, in}, maxUnpacked)
}

// copyAtMost writes all that r has to w, but not more than limit bytes and one.
func copyAtMost(w io.Writer, r io.Reader, limit int64) error {
	n, err := io.Copy(w, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		return errTooMuch()
	}
	return err
}

func errTooMuch() error {
	return adapter.Errorf(adapter.NoResources, "the framework's file has more than %d MiB", maxUnpacked>>20)
}

// attachable are the settings that an attached environment may have; the others are about a launch.
var attachable = []string{"attach", "socket", "name", "call_timeout"}

// checkAttach refuses settings that would be without effect. keys are those that were set.
func (s *settings) checkAttach(keys []string) (key string, err error) {
	if !s.attach {
		if slices.Contains(keys, "socket") {
			return "socket", errors.New("it is for attach = true: of a framework that the adapter launches it is given")
		}
		if s.framework == "" {
			return "framework", errors.New("the path of the framework's jar is required")
		}
		return "", nil
	}
	for _, key := range keys {
		if !slices.Contains(attachable, key) {
			return key, fmt.Errorf("it is without effect with attach = true, where somebody else launches the framework; what is left is %s", strings.Join(attachable, ", "))
		}
	}
	return "", nil
}

package systemd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// rawSuffix is how portabled knows an image that is a file.
const rawSuffix = ".raw"

// inspectRaw lets portabled read os-release and the unit files of an image, and the manager look for mount points. The agent's service may
// not mount anything itself, and whether this device's kernel can mount an image, only its kernel can say.
func (e *env) inspectRaw(ctx context.Context, file string, f form) (content, error) {
	l, err := e.link(ctx)
	if err != nil {
		return content{}, err
	}
	dir, err := e.inspectDir()
	if err != nil {
		return content{}, err
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			e.log.Warn("what is left of reading a package cannot be removed", "err", err)
		}
	}()
	name := filepath.Join(dir, "image"+rawSuffix) // the package's own name may have any suffix
	if err := os.Symlink(file, name); err != nil {
		return content{}, fmt.Errorf("cannot read the package: %w", err)
	}
	c, err := readRaw(ctx, l, name)
	if err != nil || !f.readOnly() {
		return c, err
	}
	return c, l.checkMountPoints(ctx, e.probes(), name, filepath.Join(dir, "mount"), mountPoints(c))
}

// inspections is the directory for packages that are being read, in the environment's.
const inspections = "inspect"

// inspectDir makes a directory for reading one package.
func (e *env) inspectDir() (string, error) {
	parent := filepath.Join(e.store.dir, inspections)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", fmt.Errorf("cannot read the package: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		return "", fmt.Errorf("cannot read the package: %w", err)
	}
	return dir, nil
}

// readRaw reads an image. Which of its units belong to it, its os-release says, so portabled is asked for all.
func readRaw(ctx context.Context, l *link, image string) (content, error) {
	release, units, err := l.metadata(ctx, image)
	if err != nil {
		return content{}, notAnImage(ctx, err)
	}
	return contentOf(release, units)
}

// notAnImage classifies what portabled says of an image that it does not take.
func notAnImage(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot inspect the package: %w", ctx.Err())
	case says(err, "lacks os-release"), says(err, "matching unit files"):
		return &adapter.Error{Reason: adapter.Mismatch, Message: "cannot use the package: it is no portable service image: " + err.Error(), Cause: err.Error()}
	case errorName(err) == "org.freedesktop.DBus.Error.ServiceUnknown", !isPeer(err):
		return explain("inspect the package", err)
	case says(err, "No such file or directory"):
		return noLoop(err)
	}
	return &adapter.Error{Reason: adapter.Corrupt, Message: "cannot use the package: its file system cannot be read: " + err.Error(), Cause: err.Error()}
}

// isPeer reports whether err is an answer, and no failure to get one.
func isPeer(err error) bool { return errorName(err) != "" }

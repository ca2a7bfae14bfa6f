package osgi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// exportAnswer is the host's answer to export.
type exportAnswer struct {
	Path         string `json:"path"`
	SymbolicName string `json:"symbolicName"`
	Version      string `json:"version"`
}

// Export implements [adapter.Exporter]: it copies the jar that the framework keeps of the bundle.
func (o *osgi) Export(ctx context.Context, u adapter.UnitRef, path string) error {
	e, err := o.env(u.Env)
	if err != nil {
		return err
	}
	loc, err := location(u)
	if err != nil {
		return err
	}
	what := "export " + bundleName(e.id, loc)
	if !filepath.IsAbs(path) {
		return adapter.Errorf(adapter.InvalidArgument, "cannot %s: path %q is not absolute", what, path)
	}
	stored, read, err := e.storedJar(ctx, what, loc)
	if err != nil {
		return err
	}
	if err := writeFile(path, read); err != nil {
		return fileError(ctx, what, err)
	}
	if err := sameBundle(ctx, path, stored); err != nil {
		return fileError(ctx, what, errors.Join(err, os.Remove(path)))
	}
	return nil
}

// storedJar asks where the framework keeps the jar of a bundle's present content; read copies it.
func (e *env) storedJar(ctx context.Context, what, loc string) (stored exportAnswer, read func(io.Writer) error, err error) {
	var user uint32 // of an attached framework
	err = e.converse(ctx, what, e.limits.change, func(t *talk) (err error) {
		if user, err = t.c.peer(); err != nil {
			return err
		}
		return t.c.call("export", map[string]any{"location": loc}, &stored, nil)
	})
	if err != nil {
		return stored, nil, err
	}
	if !e.set.attach {
		if err := e.host.keeps(stored.Path); err != nil {
			return stored, nil, adapter.Errorf(adapter.Internal, "cannot %s: %v", what, err)
		}
	}
	return stored, func(w io.Writer) error {
		var err error
		if e.set.attach {
			err = copyOwned(ctx, w, stored.Path, user)
		} else {
			err = copyFile(ctx, w, stored.Path)
		}
		if errors.Is(err, os.ErrNotExist) {
			err = adapter.Errorf(adapter.BadState, "the framework removed it meanwhile: %v", err)
		}
		return err
	}, nil
}

// has reports whether the present content of a bundle is the package p. It is not known, and so not the case, when the framework keeps no jar of it.
func (e *env) has(ctx context.Context, what, loc string, p adapter.Package) (bool, error) {
	_, read, err := e.storedJar(ctx, what, loc)
	if adapter.ReasonOf(err) == adapter.NotSupported {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	sum := sha256.New()
	if err := read(sum); err != nil {
		return false, fileError(ctx, what, err)
	}
	return hex.EncodeToString(sum.Sum(nil)) == p.SHA256, nil
}

// keeps checks that a file is in the host's storage. Bundles run in the host's process and could answer in its place: what they can
// make the adapter read must be their framework's.
func (h *host) keeps(file string) error {
	real, err := filepath.EvalSymlinks(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil // which the copy tells
	}
	if err != nil {
		return err
	}
	storage, err := filepath.EvalSymlinks(h.storage())
	if err != nil {
		return err
	}
	if !strings.HasPrefix(real, storage+string(filepath.Separator)) {
		return fmt.Errorf("%w: %s is not in its storage", errFrame, file)
	}
	return nil
}

// sameBundle checks that the file is whole and the bundle that the framework spoke of: it may have been updated while it was copied.
func sameBundle(ctx context.Context, path string, stored exportAnswer) error {
	m, err := inspectBundle(ctx, path)
	switch {
	case adapter.ReasonOf(err) == adapter.Mismatch: // a bundle of manifest version 1
		return adapter.Errorf(adapter.NotSupported, "it could not be installed again: %v", err)
	case err != nil:
		return err
	case m.Name != stored.SymbolicName || m.Version != stored.Version:
		return adapter.Errorf(adapter.BadState, "it is %s %s, and the copy of it is %s %s", stored.SymbolicName, stored.Version, m.Name, m.Version)
	}
	return nil
}

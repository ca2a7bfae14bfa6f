package systemd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/rootfs"
)

// imageName makes the name of a new image. portabled compares the last elements of paths up to the first _ when it detaches: there is none, and
// each generation of each unit has a name of its own.
func imageName(manifest adapter.Manifest, key string, f form) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return '-'
	}, manifest.Name)
	name += "-" + idOf(key) + "-" + strings.ToLower(rand.Text()[:6])
	if f.raw() {
		name += rawSuffix
	}
	return name
}

// locked runs f with the lock of a key, after what an earlier call left open there has been finished or undone.
func (e *env) locked(ctx context.Context, key, what string, f func(l *link, r *record) error) error {
	if err := e.keys.take(ctx, key); err != nil {
		return err
	}
	defer e.keys.release(key)
	l, err := e.running(ctx, what)
	if err != nil {
		return err
	}
	r, err := e.store.load(key)
	if err != nil {
		return err
	}
	if r, err = e.settle(ctx, l, r); err != nil {
		return err
	}
	return f(l, r)
}

// permanent reports whether the key is that of one of the device's own units.
func (e *env) permanent(key string) bool { return slices.Contains(e.set.units, key) }

func (e *env) refusePermanent(key, what string) error {
	if e.permanent(key) {
		return adapter.Errorf(adapter.NotSupported, "cannot %s unit %q in environment %q: it is part of the device's firmware", what, key, e.id)
	}
	return nil
}

func (e *env) install(ask, ctx context.Context, op adapter.OpID, spec adapter.InstallSpec) (unit adapter.Unit, err error) {
	if spec.Key == "" {
		return unit, adapter.Errorf(adapter.InvalidArgument, "cannot install into environment %q: the unit has no key", e.id)
	}
	if e.permanent(spec.Key) {
		return unit, adapter.Errorf(adapter.Exists, "cannot install unit %q into environment %q: the device's firmware has it", spec.Key, e.id)
	}
	what := fmt.Sprintf("install unit %q in environment %q", spec.Key, e.id)
	tag := "install/" + string(op)
	err = e.locked(ctx, spec.Key, what, func(l *link, r *record) error {
		if r != nil {
			if r.Op != tag {
				return adapter.Errorf(adapter.Exists, "cannot %s: it is there already", what)
			}
			unit, err = e.unit(ctx, l, r)
			return err
		}
		g, f, err := e.prepare(ask, spec.Package, spec.Key)
		if err != nil {
			return err
		}
		r = &record{Key: spec.Key, State: installing, Op: tag, Current: g}
		if err := e.claim(ctx, r, g); err != nil {
			return err
		}
		err = e.unpack(ask, spec.Package, &r.Current, f)
		if err == nil {
			err = e.present(ctx, l, r, r.Current)
		}
		if err == nil {
			r.State = installed
			err = e.store.save(r)
		}
		if err != nil {
			r.State = installing
			return e.undo(ctx, l, r, err)
		}
		unit, err = e.unit(ctx, l, r)
		return err
	})
	return unit, err
}

// undo brings a record back to rest after a failure, whose error it returns. What cannot be undone now is undone by the next call or launch.
func (e *env) undo(ctx context.Context, l *link, r *record, cause error) error {
	if ctx.Err() != nil {
		return cause // nothing can be done any more
	}
	if _, err := e.settle(ctx, l, r); err != nil {
		e.log.Error("a failed operation could not be undone; it is tried again with the next one", "du", r.Key, "err", err)
	}
	return cause
}

// prepare reads a package and makes up a generation for it, of which nothing is there yet.
func (e *env) prepare(ctx context.Context, p adapter.Package, key string) (generation, form, error) {
	f, err := formOf(p.Path)
	if err != nil {
		return generation{}, 0, err
	}
	c, err := e.inspect(ctx, p)
	if err != nil {
		return generation{}, 0, err
	}
	return generation{content: c, Image: imageName(c.Manifest, key, f), SHA256: p.SHA256}, f, nil
}

// namesLock is the name among the adapter's locks of the names of units, which are those of the whole device.
const namesLock = "names"

// claim saves a record with a new generation, unless another unit of ours has a unit file of the same name. What the device itself has, portabled
// knows.
func (e *env) claim(ctx context.Context, r *record, g generation) error {
	if err := e.own.locks.take(ctx, namesLock); err != nil {
		return err
	}
	defer e.own.locks.release(namesLock)
	if err := e.checkNames(r, g); err != nil {
		return err
	}
	return e.store.save(r)
}

func (e *env) checkNames(r *record, g generation) error {
	for _, x := range append([]*env{e}, e.own.others(e)...) {
		records, err := x.store.all()
		if err != nil {
			return err
		}
		for _, other := range records {
			if x == e && other.Key == r.Key {
				continue
			}
			for _, u := range other.units() {
				if slices.Contains(g.Units, u) {
					m := other.Current.Manifest
					return adapter.Errorf(adapter.Exists,
						"cannot attach %s %s: unit %s is there already, from %s %s in environment %q; side by side they need unit files with different names",
						g.Manifest.Name, g.Manifest.Version, u, m.Name, m.Version, x.id)
				}
			}
		}
	}
	return nil
}

// unpack makes the image of a generation from its package.
func (e *env) unpack(ctx context.Context, p adapter.Package, g *generation, f form) error {
	if err := os.MkdirAll(e.store.images(), 0o700); err != nil {
		return fmt.Errorf("cannot make an image: %w", err)
	}
	src, err := os.Open(p.Path)
	if err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	defer src.Close()
	path := e.store.image(g.Image)
	if f.raw() {
		err = copyFile(ctx, src, path)
	} else if err = os.Mkdir(path, 0o755); err == nil {
		_, err = rootfs.Unpack(ctx, src, path, rootfs.Options{})
	}
	if err != nil {
		return fmt.Errorf("cannot make an image of the package: %w", err)
	}
	if g.Size, err = rootfs.DiskUsage(path); err != nil {
		return err
	}
	return syncAll(e.store.images())
}

func copyFile(ctx context.Context, src io.Reader, path string) error {
	dst, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return src.Read(p)
	}))
	return errors.Join(err, dst.Close())
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// present makes a generation the one that the manager sees.
func (e *env) present(ctx context.Context, l *link, r *record, g generation) error {
	changed, err := e.ensure(ctx, l, r, g)
	if err != nil || !changed {
		return err
	}
	return l.reload(ctx)
}

// swap replaces a generation by another.
func (e *env) swap(ctx context.Context, l *link, r *record, from, to generation) error {
	changed, err := e.drop(ctx, l, from, to.Units)
	if err != nil {
		return err
	}
	did, err := e.ensure(ctx, l, r, to)
	if err != nil {
		return err
	}
	if changed || did {
		if err := l.reload(ctx); err != nil {
			return err
		}
	}
	for _, u := range append(slices.Clone(from.modules()), to.modules()...) {
		l.clearFailure(ctx, u)
		e.try(u, attempt{})
	}
	for _, u := range from.Units {
		if !slices.Contains(to.Units, u) {
			_ = l.release(ctx, u) // with the bus it is gone anyway
		}
	}
	return nil
}

// halt stops the modules of a generation, and the instances of its templates: an image of which anything runs cannot be detached.
func (e *env) halt(ctx context.Context, l *link, g generation, what string) error {
	left, err := l.stopAll(ctx, g.Units, "", e.set.callTimeout)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return adapter.Errorf(adapter.StillRunning, "cannot %s: %s still stopping", what, strings.Join(left, ", "))
	}
	return nil
}

func notThere(what string) error {
	return adapter.Errorf(adapter.NotFound, "cannot %s: there is no such unit", what)
}

func (e *env) update(ask, ctx context.Context, op adapter.OpID, u adapter.UnitRef, next adapter.Package) (unit adapter.Unit, err error) {
	if err := e.refusePermanent(u.Key, "update"); err != nil {
		return unit, err
	}
	what := fmt.Sprintf("update unit %q in environment %q", u.Key, e.id)
	tag := "update/" + string(op)
	err = e.locked(ctx, u.Key, what, func(l *link, r *record) error {
		if r == nil {
			return notThere(what)
		}
		if r.Op != tag {
			if err := e.replace(ask, ctx, l, r, tag, next, what); err != nil {
				return err
			}
		}
		unit, err = e.unit(ctx, l, r)
		return err
	})
	return unit, err
}

// replace makes the package the present generation and keeps the one of before.
func (e *env) replace(ask, ctx context.Context, l *link, r *record, tag string, next adapter.Package, what string) error {
	g, f, err := e.prepare(ask, next, r.Key)
	if err != nil {
		return err
	}
	if err := e.forgetPrevious(r); err != nil { // of an Update that was never discarded
		return err
	}
	before := *r
	r.State, r.Next = updating, &g
	if err := e.claim(ctx, r, g); err != nil {
		*r = before
		return err
	}
	err = e.unpack(ask, next, &g, f)
	if err == nil {
		err = e.halt(ctx, l, r.Current, what)
	}
	if err == nil {
		err = e.swap(ctx, l, r, r.Current, g)
	}
	if err == nil {
		*r = record{Key: r.Key, State: installed, Op: tag, Current: g, Previous: &before.Current, Given: before.Given}
		if err = e.store.save(r); err != nil {
			*r = before
			r.State, r.Next = updating, &g
		}
	}
	if err != nil {
		return e.undo(ctx, l, r, err)
	}
	return nil
}

func (e *env) revert(ask, ctx context.Context, op adapter.OpID, u adapter.UnitRef, old adapter.Package) (unit adapter.Unit, err error) {
	if err := e.refusePermanent(u.Key, "revert"); err != nil {
		return unit, err
	}
	what := fmt.Sprintf("revert unit %q in environment %q", u.Key, e.id)
	tag := "revert/" + string(op)
	err = e.locked(ctx, u.Key, what, func(l *link, r *record) error {
		switch {
		case r == nil:
			return notThere(what)
		case r.Op == tag:
		case r.Previous != nil && (r.Previous.SHA256 == old.SHA256 || r.Current.SHA256 != old.SHA256):
			if err := e.halt(ctx, l, r.Current, what); err != nil {
				return err
			}
			r.State, r.Op, r.Next, r.Previous = reverting, tag, r.Previous, nil
			if err := e.store.save(r); err != nil {
				return err
			}
			settled, err := e.settle(ctx, l, r)
			if err != nil {
				return err
			}
			r = settled
		case r.Current.SHA256 == old.SHA256: // nothing came of the Update
			if err := e.halt(ctx, l, r.Current, what); err != nil {
				return err
			}
		default: // what was kept is gone, the package is not
			if err := e.replace(ask, ctx, l, r, tag, old, what); err != nil {
				return err
			}
			if err := e.forgetPrevious(r); err != nil {
				return err
			}
		}
		unit, err = e.unit(ctx, l, r)
		return err
	})
	return unit, err
}

func (e *env) discard(ctx context.Context, u adapter.UnitRef) error {
	if e.permanent(u.Key) {
		return nil // nothing of it was ever kept
	}
	what := fmt.Sprintf("discard the old generation of unit %q in environment %q", u.Key, e.id)
	return e.locked(ctx, u.Key, what, func(_ *link, r *record) error {
		if r == nil {
			return nil
		}
		return e.forgetPrevious(r)
	})
}

// forgetPrevious removes what an Update replaced.
func (e *env) forgetPrevious(r *record) error {
	if r.Previous == nil {
		return nil
	}
	if err := e.removeImage(*r.Previous); err != nil {
		return err
	}
	r.Previous = nil
	return e.store.save(r)
}

func (e *env) removeImage(g generation) error {
	if g.Image == "" || filepath.Base(g.Image) != g.Image {
		return fmt.Errorf("cannot remove an image: %q is no name of one", g.Image)
	}
	if err := os.RemoveAll(e.store.image(g.Image)); err != nil {
		return fmt.Errorf("cannot remove an image: %w", err)
	}
	return nil
}

// uninstall takes the image off, which the manager or portabled may refuse; then the unit stays as it was. Once it is off there is no way back, and what
// cannot be removed is tried again with the next launch or call.
func (e *env) uninstall(ctx context.Context, u adapter.UnitRef) (result adapter.UninstallResult, err error) {
	if err := e.refusePermanent(u.Key, "uninstall"); err != nil {
		return result, err
	}
	what := fmt.Sprintf("uninstall unit %q in environment %q", u.Key, e.id)
	err = e.locked(ctx, u.Key, what, func(l *link, r *record) error {
		if r == nil {
			return nil
		}
		if err := e.halt(ctx, l, r.Current, what); err != nil {
			return err
		}
		r.State = uninstalling
		if err := e.store.save(r); err != nil {
			return err
		}
		if err := e.takeOff(ctx, l, r); err != nil {
			return e.undo(ctx, l, r, err)
		}
		if _, err := e.settle(ctx, l, r); err != nil {
			e.log.Error("not all of a unit that was uninstalled could be removed; it is tried again", "du", u.Key, "err", err)
			result.Pending = true
		}
		return nil
	})
	return result, err
}

// takeOff detaches the image of a unit that is being uninstalled. The manager keeps its units in memory, so that it can still clean up after them.
func (e *env) takeOff(ctx context.Context, l *link, r *record) error {
	for _, u := range r.Current.modules() {
		_ = l.hold(ctx, u) // one without a unit file cannot be held
	}
	if _, err := e.drop(ctx, l, r.Current, nil); err != nil {
		return err
	}
	r.State = removing
	if err := e.store.save(r); err != nil {
		r.State = uninstalling
		return err
	}
	return nil
}

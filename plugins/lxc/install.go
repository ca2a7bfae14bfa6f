package lxc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// unit returns a container as it is, after its news.
func (e *env) unit(ctx context.Context, c *container) (adapter.Unit, error) {
	e.refresh(ctx, c.name)
	e.observing.Lock()
	defer e.observing.Unlock()
	u, there, err := e.observe(ctx, c.name)
	if err == nil && !there {
		err = adapter.Errorf(adapter.NotFound, "cannot find %s", containerName(e.id, c.key))
	}
	return u, err
}

// stage unpacks a package into a directory of its own. Whoever gets it removes it or moves it to its place.
func (e *env) stage(ctx context.Context, p adapter.Package) (string, generation, error) {
	dir, err := e.stageDir()
	if err != nil {
		return "", generation{}, err
	}
	g, err := unpack(ctx, e.set, p, dir)
	if err != nil {
		e.unstage(dir)
		return "", g, err
	}
	return dir, g, nil
}

// stageDir is an empty directory for what is to become a container.
func (e *env) stageDir() (string, error) {
	e.sweep()
	return e.store.stage()
}

// unstage removes what was unpacked in vain.
func (e *env) unstage(dir string) {
	if err := removeTree(dir); err != nil {
		e.log.Warn("what was unpacked cannot be removed now", "path", dir, "err", err)
	}
}

// install makes a container of a package.
func (e *env) install(ctx context.Context, op adapter.OpID, key string, p adapter.Package) (adapter.Unit, error) {
	var none adapter.Unit
	what := fmt.Sprintf("install %s", containerName(e.id, key))
	c := e.container(e.store.nameFor(key))
	done, err := e.takeChange(ctx, c)
	if err != nil {
		return none, fmt.Errorf("cannot %s: %w", what, err)
	}
	defer done()
	if err := e.up(what); err != nil {
		return none, err
	}
	if e.store.exists(c.name) {
		rec, err := e.store.record(c.name)
		if err == nil && rec.Op == string(op) && rec.Key == key {
			return e.unit(ctx, c)
		}
		return none, adapter.Errorf(adapter.Exists, "cannot %s: there is one already", what)
	}
	tree, _, err := e.stage(ctx, p)
	if err != nil {
		return none, err
	}
	defer e.unstage(tree)
	whole, err := e.stageDir()
	if err != nil {
		return none, err
	}
	defer e.unstage(whole)
	e.mu.Lock()
	c.key = key
	e.mu.Unlock()
	if err := os.Rename(tree, filepath.Join(whole, "1")); err != nil {
		return none, full("cannot "+what, err)
	}
	// LXC shows a directory with a configuration as a container; before each start it is replaced.
	config := fmt.Sprintf("lxc.uts.name = %q\nlxc.rootfs.path = %q\n", hostName(key), "dir:"+e.store.at(c.name, "1", rootfsName))
	if err := writeFile(filepath.Join(whole, configName), []byte(config)); err != nil {
		return none, err
	}
	if err := writeJSON(filepath.Join(whole, recordName), record{Format: format, Key: key, Op: string(op), Current: 1}); err != nil {
		return none, err
	}
	if ctx.Err() != nil {
		return none, fmt.Errorf("cannot %s: %w", what, ctx.Err())
	}
	if err := e.store.move(whole, e.store.at(c.name)); err != nil {
		return none, err
	}
	e.sampleDisk(c)
	return e.unit(ctx, c)
}

// ownRecord returns the record of a container that exists and is ours.
func (e *env) ownRecord(c *container, what string) (record, error) {
	if !e.store.exists(c.name) {
		return record{}, adapter.Errorf(adapter.NotFound, "cannot %s: there is none", what)
	}
	if !e.store.ours(c.name) {
		return record{}, adapter.Errorf(adapter.NotSupported, "cannot %s: somebody else made it, and not of a package", what)
	}
	return e.store.record(c.name)
}

// update makes a package the present generation of a container. What was there before stays until discard.
func (e *env) update(ctx context.Context, op adapter.OpID, c *container, next adapter.Package) (adapter.Unit, error) {
	var none adapter.Unit
	what := "update " + containerName(e.id, c.key)
	done, err := e.takeChange(ctx, c)
	if err != nil {
		return none, fmt.Errorf("cannot %s: %w", what, err)
	}
	defer done()
	if err := e.up(what); err != nil {
		return none, err
	}
	rec, err := e.ownRecord(c, what)
	if err != nil {
		return none, err
	}
	if rec.UpdateOp == string(op) && rec.Previous != 0 {
		return e.unit(ctx, c) // it is done
	}
	if err := e.replace(ctx, c, rec, next, string(op), what); err != nil {
		return none, err
	}
	return e.unit(ctx, c)
}

// replace unpacks a package beside the present generation, stops the container, and makes the package its present generation.
func (e *env) replace(ctx context.Context, c *container, rec record, next adapter.Package, op, what string) error {
	tree, _, err := e.stage(ctx, next)
	if err != nil {
		return err
	}
	defer e.unstage(tree)
	n, err := e.store.freeGeneration(c.name, rec)
	if err != nil {
		return err
	}
	if err := e.store.move(tree, e.store.generationDir(c.name, n)); err != nil {
		return err
	}
	rec.Previous, rec.Current, rec.UpdateOp = rec.Current, n, op
	return e.switchTo(ctx, c, rec, what)
}

// switchTo stops a container and gives it another record: the one step by which its present generation changes. It goes on
// when ctx is done, and the next call finds it done.
func (e *env) switchTo(ctx context.Context, c *container, rec record, what string) error {
	err := e.do(ctx, c, doChange, func(ctx context.Context) error {
		if err := e.quiet(ctx, c, what); err != nil {
			return err
		}
		if err := e.store.saveRecord(c.name, rec); err != nil {
			return err
		}
		// What is shown of the run before is not of this generation.
		if err := removeIfThere(e.store.at(c.name, runName)); err != nil {
			return err
		}
		return e.store.trim(c.name, rec)
	})
	if err == nil {
		e.sampleDisk(c)
	}
	return err
}

// quiet stops a container within an action. One that ends uncleanly has ended.
func (e *env) quiet(ctx context.Context, c *container, what string) error {
	err := e.stopContainer(ctx, c, e.set.stopTimeout)
	if adapter.ReasonOf(err) == adapter.StopFailed && e.isStopped(ctx, c.name) {
		e.log.Warn("container did not end cleanly", "du", c.key, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	return nil
}

// revert makes the generation before an update the present one again, stopped. Where there is none it is the package that counts.
func (e *env) revert(ctx context.Context, c *container, old adapter.Package) (adapter.Unit, error) {
	var none adapter.Unit
	what := "revert " + containerName(e.id, c.key)
	done, err := e.takeChange(ctx, c)
	if err != nil {
		return none, fmt.Errorf("cannot %s: %w", what, err)
	}
	defer done()
	if err := e.up(what); err != nil {
		return none, err
	}
	rec, err := e.ownRecord(c, what)
	if err != nil {
		return none, err
	}
	g, err := e.store.generation(c.name, rec.Current)
	if err != nil {
		return none, err
	}
	switch {
	case rec.Previous != 0 && e.isOf(c, rec.Previous, old):
		rec.Current, rec.Previous, rec.UpdateOp = rec.Previous, 0, ""
		err = e.switchTo(ctx, c, rec, what)
	case g.Package == old.SHA256:
		err = e.switchTo(ctx, c, rec, what)
	default: // it was discarded, or never there
		if err = e.replace(ctx, c, rec, old, "", what); err == nil {
			err = e.drop(c)
		}
	}
	if err != nil {
		return none, err
	}
	return e.unit(ctx, c)
}

// isOf reports whether generation n is of a package.
func (e *env) isOf(c *container, n int, p adapter.Package) bool {
	g, err := e.store.generation(c.name, n)
	return err == nil && g.Package == p.SHA256
}

// drop removes the generation before the present one.
func (e *env) drop(c *container) error {
	rec, err := e.store.record(c.name)
	if err != nil {
		return err
	}
	if rec.Previous != 0 {
		rec.Previous = 0
		if err := e.store.saveRecord(c.name, rec); err != nil {
			return err
		}
	}
	return e.store.trim(c.name, rec)
}

// discardOld ends an update for good.
func (e *env) discardOld(ctx context.Context, c *container) error {
	what := "discard the old generation of " + containerName(e.id, c.key)
	done, err := e.takeChange(ctx, c)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	defer done()
	if err := e.up(what); err != nil {
		return err
	}
	if !e.store.ours(c.name) {
		return nil // it is gone, or never had one
	}
	if err := e.drop(c); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	e.sampleDisk(c)
	e.refresh(ctx, c.name)
	return nil
}

// uninstall stops a container and removes it with all that belongs to it.
func (e *env) uninstall(ctx context.Context, c *container) error {
	what := "uninstall " + containerName(e.id, c.key)
	done, err := e.takeChange(ctx, c)
	if err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	defer done()
	if err := e.up(what); err != nil {
		return err
	}
	if !e.store.exists(c.name) {
		return nil
	}
	return e.do(ctx, c, doChange, func(ctx context.Context) error {
		if err := e.quiet(ctx, c, what); err != nil {
			return err
		}
		if !e.store.ours(c.name) {
			return e.destroyForeign(ctx, c)
		}
		if err := e.store.discard(e.store.at(c.name)); err != nil {
			return fmt.Errorf("cannot %s: %w", what, err)
		}
		return nil
	})
}

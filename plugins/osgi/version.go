package osgi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

const (
	versionName = "version"
	recordName  = "current.json"
	// recordVersion is the version of [versionRecord].
	recordVersion = 1
)

// versionDir is what an environment was put back to run from, the directory version of its DataDir:
//
//	current.json      what runs in place of what is configured; absent: nothing does
//	ID/framework.jar  the files of the version that is called ID by its digests
//	ID/classpath-N.jar
//
// What is not named by current.json is the rest of an earlier version, from which a framework may still be running, or of a
// write that was cut off: the next launch removes it.
type versionDir struct {
	dir string
	log *slog.Logger
}

// versionRecord is the content of current.json.
type versionRecord struct {
	Version int `json:"version"`
	// Over is the [digests.id] of what was configured when the version was restored: when something else is, the configuration has
	// been changed since and goes before.
	Over  string  `json:"over"`
	Files digests `json:"files"` // of the restored files
}

// choice is what a framework is to run from.
type choice struct {
	files []string
	sums  digests // nil: not looked at, because nothing was restored
	// restored says that it is not what is configured.
	restored bool
	// void says why there is a record that is not followed, empty when it is or there is none.
	void string
}

func (v *versionDir) files(d digests) []string {
	var all []string
	for i := range d {
		all = append(all, filepath.Join(v.dir, d.id(), memberName(i)))
	}
	return all
}

// choose says what to run from when configured is configured. It changes nothing.
func (v *versionDir) choose(ctx context.Context, configured []string) (choice, error) {
	var r versionRecord
	raw, err := os.ReadFile(filepath.Join(v.dir, recordName))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return choice{files: configured}, nil
	case err != nil:
		return choice{}, err
	}
	broken := json.Unmarshal(raw, &r)
	if broken == nil && r.Version > recordVersion {
		return choice{}, fmt.Errorf("%s is of version %d, newer than %d", filepath.Join(v.dir, recordName), r.Version, recordVersion)
	}
	sums, err := digestsOf(ctx, configured)
	if err != nil {
		return choice{}, err // whether the configuration was changed cannot be said
	}
	c := choice{files: configured, sums: sums}
	switch {
	case broken != nil || len(r.Files) == 0:
		c.void = recordName + " is damaged"
		return c, nil
	case r.Over != sums.id():
		c.void = "the configuration names other files than when it was restored"
		return c, nil
	}
	there, err := digestsOf(ctx, v.files(r.Files))
	switch {
	case ctx.Err() != nil:
		return choice{}, ctx.Err()
	case err != nil:
		c.void = err.Error()
	case there.id() != r.Files.id():
		c.void = "its files are damaged"
	default:
		c = choice{files: v.files(r.Files), sums: r.Files, restored: true}
	}
	return c, nil
}

// settle is choose for a launch: nothing runs, so what is not followed is dropped.
func (v *versionDir) settle(ctx context.Context, configured []string) ([]string, error) {
	c, err := v.choose(ctx, configured)
	if err != nil {
		return nil, err
	}
	if c.void != "" {
		v.log.Warn("the restored version is dropped, the configured one runs", "why", c.void)
		if err := v.forget(); err != nil {
			return nil, err
		}
	}
	keep := ""
	if c.restored {
		v.log.Info("the restored version runs in place of the configured one", "version", c.sums.id())
		keep = c.sums.id()
	}
	return c.files, v.clear(keep)
}

// clear removes all but the record and the version keep.
func (v *versionDir) clear(keep string) error {
	entries, err := os.ReadDir(v.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != keep && e.Name() != recordName {
			err = errors.Join(err, os.RemoveAll(filepath.Join(v.dir, e.Name())))
		}
	}
	return err
}

// forget makes the configured version the one to run from.
func (v *versionDir) forget() error {
	if err := os.Remove(filepath.Join(v.dir, recordName)); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	return syncDir(v.dir)
}

// restore makes the archive the version to run from in place of configured.
func (v *versionDir) restore(ctx context.Context, a *archive, configured []string) error {
	now, err := digestsOf(ctx, configured)
	if err != nil {
		return adapter.Errorf(adapter.Unstartable, "what is configured cannot be read: %v", err)
	}
	if a.sums.id() == now.id() {
		return v.forget()
	}
	c, err := v.choose(ctx, configured)
	if err != nil {
		return err
	}
	if c.restored && c.sums.id() == a.sums.id() {
		return nil
	}
	if strings.Contains(v.dir, ":") {
		return adapter.Errorf(adapter.NotSupported, "%s has a colon, which no class path may have", v.dir)
	}
	if err := v.unpack(ctx, a); err != nil {
		return err
	}
	record, err := json.Marshal(versionRecord{Version: recordVersion, Over: now.id(), Files: a.sums})
	if err != nil {
		return err
	}
	next := filepath.Join(v.dir, recordName+".new")
	err = writeFile(next, func(w io.Writer) error {
		_, err := w.Write(record)
		return err
	})
	if err != nil {
		return err
	}
	if err := os.Rename(next, filepath.Join(v.dir, recordName)); err != nil {
		return err
	}
	return syncDir(v.dir)
}

// unpack puts the files of the archive into their directory, which is there whole or not at all.
func (v *versionDir) unpack(ctx context.Context, a *archive) error {
	dir := filepath.Join(v.dir, a.sums.id())
	if there, err := digestsOf(ctx, v.files(a.sums)); err == nil && there.id() == a.sums.id() {
		return nil // of an earlier restore
	}
	next := dir + ".new"
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(next)); err != nil {
		return err
	}
	if err := os.MkdirAll(next, 0o700); err != nil {
		return err
	}
	if err := a.extract(ctx, next); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	if err := os.Rename(next, dir); err != nil {
		return err
	}
	return errors.Join(syncDir(v.dir), syncDir(filepath.Dir(v.dir)))
}

// present returns what the framework runs from, with the digests: another one may have been configured since its launch, or put in its
// place. One that is down would run from what is chosen.
func (h *host) present(ctx context.Context) ([]string, digests, error) {
	v := h.versions()
	at, running, unread := h.launchedFrom()
	if len(running) > 0 {
		dir := filepath.Dir(running[0])
		restored := filepath.Dir(dir) == v.dir
		if unread != nil && !restored {
			return nil, nil, unread
		}
		if unread == nil {
			sums, err := digestsOf(ctx, at)
			if err != nil && (!restored || ctx.Err() != nil) {
				return nil, nil, err
			}
			if err == nil && (!restored || filepath.Base(dir) == sums.id()) { // restored files that are damaged are no version of anything
				return at, sums, nil
			}
		}
	} else if unread != nil {
		return nil, nil, unread
	}
	c, err := v.choose(ctx, h.configured())
	if err != nil {
		return nil, nil, err
	}
	if c.sums == nil {
		c.sums, err = digestsOf(ctx, c.files)
	}
	return c.files, c.sums, err
}

// SaveVersion implements [adapter.Versioner]: it saves the framework's jar and class path.
func (o *osgi) SaveVersion(ctx context.Context, id, path string) error {
	e, err := o.env(id)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("save the version of environment %q", id)
	if e.set.attach {
		return notOurs(what)
	}
	if !filepath.IsAbs(path) {
		return adapter.Errorf(adapter.InvalidArgument, "cannot %s: path %q is not absolute", what, path)
	}
	done, err := e.takeTurn(ctx) // a launch removes files
	if err != nil {
		return fileError(ctx, what, err)
	}
	defer done()
	files, sums, err := e.host.present(ctx)
	if err == nil {
		err = writeFile(path, func(w io.Writer) error { return writeArchive(ctx, w, files, sums) })
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errNoFile):
		return adapter.Errorf(adapter.NotSupported, "cannot %s: %v", what, err)
	}
	return fileError(ctx, what, err)
}

// RestoreVersion implements [adapter.Versioner].
func (o *osgi) RestoreVersion(ctx context.Context, _ adapter.OpID, id string, p adapter.Package) error {
	e, err := o.env(id)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("restore the version of environment %q", id)
	if e.set.attach {
		return notOurs(what)
	}
	a, err := openArchive(p.Path)
	if err != nil {
		return fileError(ctx, what, err)
	}
	defer a.close()
	done, err := e.takeTurn(ctx) // two changes at once, or one during a launch
	if err != nil {
		return fileError(ctx, what, err)
	}
	defer done()
	if err := e.host.versions().restore(ctx, a, e.host.configured()); err != nil {
		return fileError(ctx, what, err)
	}
	return nil
}

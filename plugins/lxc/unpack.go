package lxc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/rootfs"
)

// options say how packages of this environment are unpacked.
func (s settings) options() rootfs.Options {
	o := rootfs.Options{MaxBytes: s.maxUnpacked}
	if s.subIDs.count > 0 {
		o.UIDs = rootfs.IDMap{HostID: int(s.subIDs.first), Size: int(s.subIDs.count)}
		o.GIDs = o.UIDs
	}
	return o
}

// archiveLimit is how many bytes the archive of an image may have when it is no longer compressed: its layers may be as large as what is
// in them, with headers and padding.
func (s settings) archiveLimit() int64 { return s.maxUnpacked + s.maxUnpacked/4 + 32<<20 }

// inspect reads what a package says of itself, and checks it as far as that is possible without writing it anywhere. tmp is a directory
// for what has to be unpacked meanwhile.
func inspect(ctx context.Context, s settings, p adapter.Package, tmp string) (adapter.Manifest, error) {
	k, err := kindOf(ctx, p.Path)
	if err != nil {
		return adapter.Manifest{}, err
	}
	if k == treeKind {
		if err := scanTree(ctx, p.Path, s.options()); err != nil { // first: it has limits
			return adapter.Manifest{}, err
		}
		m, err := readMetadata(ctx, p.Path)
		if err != nil {
			return adapter.Manifest{}, err
		}
		return named(m.manifest())
	}
	img, err := openImage(ctx, p.Path, tmp, s.archiveLimit())
	if err != nil {
		return adapter.Manifest{}, err
	}
	defer img.close()
	if err := img.scan(ctx, s.options()); err != nil {
		return adapter.Manifest{}, err
	}
	return named(img.manifest())
}

// named refuses a package without a name: the name is what the unit's UUID is made of, and what an update is recognized by.
func named(m adapter.Manifest) (adapter.Manifest, error) {
	if m.Name == "" {
		return m, adapter.Errorf(adapter.Corrupt, "cannot use the package: its metadata.yaml has neither the property name nor the property os")
	}
	return m, nil
}

// unpack makes a generation of a package in dir, which is empty. What is wrong with what the package wants to run is no error: the
// generation says so.
func unpack(ctx context.Context, s settings, p adapter.Package, dir string) (generation, error) {
	g := generation{Format: format, Package: p.SHA256, FirstID: s.subIDs.first, IDs: s.subIDs.count}
	k, err := kindOf(ctx, p.Path)
	if err != nil {
		return g, err
	}
	root := filepath.Join(dir, rootfsName)
	var config v1.Config
	var problem error
	if k == treeKind {
		if err := unpackTree(ctx, p.Path, dir, s.options()); err != nil {
			return g, err
		}
		m, err := readMetadata(ctx, p.Path)
		if err != nil {
			return g, err
		}
		g.Manifest, config, problem = m.manifest(), m.config(), m.problem()
	} else {
		img, err := openImage(ctx, p.Path, dir, s.archiveLimit())
		if err != nil {
			return g, err
		}
		defer img.close()
		if err := os.Mkdir(root, 0o755); err != nil {
			return g, full("cannot unpack the package", err)
		}
		if err := img.scan(ctx, s.options()); err != nil {
			return g, err
		}
		if err := img.apply(ctx, root, s.options()); err != nil {
			return g, err
		}
		g.Manifest, config, problem = img.manifest(), img.config.Config, img.problem()
	}
	if g.Manifest, err = named(g.Manifest); err != nil {
		return g, err
	}
	if problem == nil {
		problem = provide(root)
	}
	if problem == nil {
		g.Process, problem = resolveProcess(root, config)
	}
	if problem == nil {
		problem = g.fits(s)
	}
	if problem != nil {
		g.Problem = fmt.Sprintf("the image %v", problem)
	}
	return g, writeJSON(filepath.Join(dir, imageName), g)
}

// problem says why the image cannot run on this device.
func (img *image) problem() error {
	if os := img.config.OS; os != "" && os != "linux" {
		return fmt.Errorf("is for %s", os)
	}
	return checkArchitecture(img.config.Architecture, img.config.Variant)
}

func checkArchitecture(architecture, variant string) error {
	have := platforms()
	if architecture == "" || slices.ContainsFunc(have, func(p platform) bool { return p.runs(architecture, variant) }) {
		return nil
	}
	return fmt.Errorf("is for processors of the architecture %s, and this device has %s", architecture+variant, have[0].architecture+have[0].variant)
}

// fits checks the user of the process against the ids that the environment has.
func (g generation) fits(s settings) error {
	if n := s.subIDs.count; n > 0 && (g.Process.UID >= n || g.Process.GID >= n) {
		return fmt.Errorf("wants to be user %d and group %d, and the ids of the environment end at %d", g.Process.UID, g.Process.GID, n-1)
	}
	return nil
}

// provide makes the directories that file systems are mounted on in every container.
func provide(root string) error {
	for _, name := range []string{"dev", "proc", "sys"} {
		if _, err := os.Lstat(filepath.Join(root, name)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := makeDirs(root, name); err != nil {
			return fmt.Errorf("has no directory /%s, and none can be made: %w", name, err)
		}
	}
	return nil
}

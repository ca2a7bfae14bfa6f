package lxc

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.yaml.in/yaml/v3"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/rootfs"
)

// metadata is metadata.yaml of a root file system tarball, in the unified image format of Incus and LXD. What is run in the container is an
// addition of ours, which those leave alone: the format is for containers with an init of their own.
type metadata struct {
	Architecture string            `yaml:"architecture"`
	Properties   map[string]string `yaml:"properties"`
	Process      *struct {
		Entrypoint []string `yaml:"entrypoint"`
		Env        []string `yaml:"env"`
		User       string   `yaml:"user"`
		WorkingDir string   `yaml:"working_dir"`
		StopSignal string   `yaml:"stop_signal"`
	} `yaml:"process"`
}

// maxMetadata bounds metadata.yaml, in bytes.
const maxMetadata = 256 << 10

// readMetadata finds metadata.yaml in a tarball.
func readMetadata(ctx context.Context, p string) (metadata, error) {
	var m metadata
	found := false
	err := eachMember(ctx, p, func(hdr *tar.Header, r io.Reader) error {
		if path.Clean(hdr.Name) != "metadata.yaml" || hdr.Typeflag != tar.TypeReg {
			return nil
		}
		data, err := io.ReadAll(io.LimitReader(r, maxMetadata+1))
		if err != nil {
			return err
		}
		if len(data) > maxMetadata {
			return adapter.Errorf(adapter.Corrupt, "cannot read the package: metadata.yaml has more than %d bytes", maxMetadata)
		}
		if err := yaml.Unmarshal(data, &m); err != nil {
			return adapter.Errorf(adapter.Corrupt, "cannot read the package: metadata.yaml: %v", err)
		}
		found = true
		return errEnough
	})
	if err == nil && !found {
		err = adapter.Errorf(adapter.Mismatch, "cannot use the package: it has no metadata.yaml")
	}
	return m, err
}

// errEnough ends a walk over the members of a tarball before its end.
var errEnough = errors.New("enough was read")

// eachMember calls f with the members of a tarball.
func eachMember(ctx context.Context, p string, f func(*tar.Header, io.Reader) error) error {
	file, err := os.Open(p)
	if err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	defer file.Close()
	in, err := rootfs.Decompress(file)
	if err != nil {
		return err
	}
	defer in.Close()
	tr := tar.NewReader(&contextReader{ctx, in})
	for {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = f(hdr, tr)
		}
		var known *adapter.Error
		switch {
		case err == nil:
		case errors.Is(err, errEnough):
			return nil
		case errors.As(err, &known):
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("cannot read the package: %w", ctx.Err())
		default:
			return adapter.Errorf(adapter.Corrupt, "cannot read the package: %v", err)
		}
	}
}

// scanTree reads a tarball to its end: sizes, and what must not be in it.
func scanTree(ctx context.Context, p string, o rootfs.Options) error {
	file, err := os.Open(p)
	if err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	defer file.Close()
	_, err = rootfs.Scan(ctx, file, o)
	return err
}

// unpackTree puts the root file system of a tarball into dir, which is empty.
func unpackTree(ctx context.Context, p, dir string, o rootfs.Options) error {
	if err := scanTree(ctx, p, o); err != nil {
		return err
	}
	file, err := os.Open(p)
	if err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	defer file.Close()
	whole := filepath.Join(dir, "tarball")
	if err := os.Mkdir(whole, 0o755); err != nil {
		return full("cannot unpack the package", err)
	}
	if _, err := rootfs.Unpack(ctx, file, whole, o); err != nil {
		return err
	}
	tree := filepath.Join(whole, rootfsName)
	if info, err := os.Lstat(tree); err != nil || !info.IsDir() {
		return adapter.Errorf(adapter.Corrupt, "cannot unpack the package: it has no directory %q", rootfsName)
	}
	if err := os.Rename(tree, filepath.Join(dir, rootfsName)); err != nil {
		return full("cannot unpack the package", err)
	}
	if err := os.RemoveAll(whole); err != nil {
		return fmt.Errorf("cannot unpack the package: %w", err)
	}
	return nil
}

func (m metadata) manifest() adapter.Manifest {
	property := func(names ...string) string {
		for _, name := range names {
			if v := strings.TrimSpace(m.Properties[name]); v != "" {
				return v
			}
		}
		return ""
	}
	return adapter.Manifest{
		Name: property("name", "os"), Vendor: property("vendor"), Version: property("version", "release"), Description: property("description"),
	}
}

func (m metadata) config() v1.Config {
	if m.Process == nil {
		return v1.Config{}
	}
	return v1.Config{Entrypoint: m.Process.Entrypoint, Env: m.Process.Env, User: m.Process.User, WorkingDir: m.Process.WorkingDir,
		StopSignal: m.Process.StopSignal}
}

// architectures are the names that metadata.yaml has for architectures, which are those of the kernel, and what images call them.
var architectures = map[string]platform{
	"x86_64": {"amd64", ""}, "i686": {"386", ""}, "aarch64": {"arm64", ""}, "armv7l": {"arm", "v7"}, "armv6l": {"arm", "v6"}, "armhf": {"arm", "v7"},
	"armel": {"arm", "v5"}, "i386": {"386", ""}, "ppc64le": {"ppc64le", ""}, "ppc64el": {"ppc64le", ""}, "s390x": {"s390x", ""}, "riscv64": {"riscv64", ""},
}

// problem says why the root file system cannot run on this device.
func (m metadata) problem() error {
	p, ok := architectures[m.Architecture]
	if !ok {
		p = platform{architecture: m.Architecture}
	}
	if err := checkArchitecture(p.architecture, p.variant); err != nil {
		return err
	}
	if m.Process == nil {
		return errors.New("has no process in its metadata.yaml, and an init of its own cannot be run")
	}
	return nil
}

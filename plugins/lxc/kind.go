package lxc

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/rootfs"
)

// A kind is a kind of package.
type kind string

const (
	imageKind kind = "image" // an OCI image layout or what docker save writes, in a tar file
	treeKind  kind = "tree"  // a root file system with metadata, as Incus and LXD have it in one file
)

// docker is what docker save of old writes before its manifest.
var docker = regexp.MustCompile(`^([0-9a-f]{64}(\.json|\.tar|/.*)?|repositories)$`)

// kindOf tells the kind of a package by the first of its files that says something.
func kindOf(ctx context.Context, p string) (kind, error) {
	file, err := os.Open(p)
	if err != nil {
		return "", fmt.Errorf("cannot read the package: %w", err)
	}
	defer file.Close()
	in, err := rootfs.Decompress(file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	tr := tar.NewReader(&contextReader{ctx, in})
	for {
		hdr, err := tr.Next()
		var known *adapter.Error
		switch {
		case err == nil:
		case errors.As(err, &known):
			return "", err
		case ctx.Err() != nil:
			return "", fmt.Errorf("cannot read the package: %w", ctx.Err())
		default:
			return "", foreign("it is no tar file")
		}
		switch name := path.Clean(hdr.Name); {
		case name == ".", hdr.Typeflag == tar.TypeXGlobalHeader:
		case name == "oci-layout", name == "index.json", name == "manifest.json", name == "blobs", strings.HasPrefix(name, "blobs/"),
			docker.MatchString(name):
			return imageKind, nil
		case name == "metadata.yaml", name == "templates", strings.HasPrefix(name, "templates/"),
			name == "rootfs", strings.HasPrefix(name, "rootfs/"):
			return treeKind, nil
		default:
			return "", foreign(fmt.Sprintf("its first file is %q", name))
		}
	}
}

func foreign(why string) error {
	return adapter.Errorf(adapter.Mismatch, "cannot use the package: it is neither an OCI image archive nor a root file system with metadata.yaml: %s", why)
}

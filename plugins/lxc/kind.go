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
			return "", noTar(file)
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

// others are good packages of other kinds that are no tar files, by what they have at a place.
var others = []struct {
	offset int64
	magic  string
	what   string
}{
	{0, "PK\x03\x04", "a zip or jar file"},
	{0, "hsqs", "an image of a squashfs"},
	{1024 + 56, "\x53\xef", "an image of an ext4"},
	{512, "EFI PART", "an image of a disk with partitions"},
	{0, "!<arch>\n", "a Debian package"},
	{0, "\xed\xab\xee\xdb", "an RPM package"},
	{0, "\x7fELF", "a program"},
}

// noTar says what a file is that is no tar file: a package of another kind, or nothing that could be used anywhere.
func noTar(file *os.File) error {
	for _, o := range others {
		head := make([]byte, len(o.magic))
		if _, err := file.ReadAt(head, o.offset); err == nil && string(head) == o.magic {
			return foreign("it is " + o.what)
		}
	}
	return adapter.Errorf(adapter.Corrupt, "cannot use the package: it is no tar file")
}

func foreign(why string) error {
	return adapter.Errorf(adapter.Mismatch, "cannot use the package: it is neither an OCI image archive nor a root file system with metadata.yaml: %s", why)
}

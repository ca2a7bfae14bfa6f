// Package images makes packages for environments that are no OSGi frameworks, for tests and for the demonstration: images of portable
// services and of containers. What runs in them is the host's statically linked busybox.
package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// applets are what busybox is called by in an image, in /bin.
var applets = []string{"sh", "sleep", "echo", "cat", "true", "false", "touch", "ls", "kill", "env", "id", "pwd", "mkdir", "rm", "ps", "httpd", "nc", "dd", "sync"}

// A Portable is an image of a portable service.
type Portable struct {
	Name    string // of the image, and what the names of its units begin with
	Version string
	Vendor  string
	Units   map[string]string // unit files by their names
	Files   map[string]string // more files, by their absolute paths
}

// Service returns the text of a service that runs a command line of the shell in the image.
func Service(script string, more ...string) string {
	return "[Unit]\nDescription=A service made for a test\n[Service]\nExecStart=/bin/sh -c '" + script + "'\n" + strings.Join(more, "\n") + "\n"
}

func (p Portable) files() map[string]string {
	files := map[string]string{
		"/etc/os-release": fmt.Sprintf("ID=%s\nIMAGE_ID=%[1]s\nVERSION_ID=%q\nIMAGE_VERSION=%[2]q\nVENDOR_NAME=%q\nPRETTY_NAME=%q\nPORTABLE_PREFIXES=%[1]s\n",
			p.Name, p.Version, p.Vendor, p.Name+" "+p.Version),
		"/etc/machine-id": "", "/etc/resolv.conf": "",
	}
	for name, text := range p.Units {
		files["/usr/lib/systemd/system/"+name] = text
	}
	maps.Copy(files, p.Files)
	return files
}

// points are where the service manager mounts something: an image that cannot be written has to have them.
var points = []string{"/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/lib"}

// Tree writes the image as a tree below dir, which must not exist.
func (p Portable) Tree(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for _, point := range points {
		if err := os.MkdirAll(filepath.Join(dir, point), 0o755); err != nil {
			return err
		}
	}
	return write(dir, p.files())
}

// Tar writes the image to the file at path, compressed as its last extension says: .tar, .gz, .xz or .zst.
func (p Portable) Tar(path string) error {
	return p.with(func(dir string) error {
		return run("tar", "--create", "--auto-compress", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "--mtime=@1700000000", "--file="+path, "--directory="+dir, ".")
	})
}

// Squashfs writes the image to the file at path as a file system that cannot be written.
func (p Portable) Squashfs(path string) error {
	return p.with(func(dir string) error {
		return run("mksquashfs", dir, path, "-noappend", "-quiet", "-no-progress", "-all-root")
	})
}

// Ext4 writes the image to the file at path as a file system of 16 MiB.
func (p Portable) Ext4(path string) error {
	return p.with(func(dir string) error {
		return run("mkfs.ext4", "-q", "-F", "-E", "root_owner=0:0", "-d", dir, path, "16M")
	})
}

// with calls use with the image as a tree.
func (p Portable) with(use func(dir string) error) error {
	tmp, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dir := filepath.Join(tmp, "root")
	if err := p.Tree(dir); err != nil {
		return err
	}
	return use(dir)
}

// busybox is where the host has it: the one that needs no libraries.
func busybox() (string, error) {
	for _, path := range []string{"/bin/busybox", "/usr/bin/busybox"} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("cannot find busybox: install busybox-static")
}

// write writes busybox, its names and files below dir.
func write(dir string, files map[string]string) error {
	source, err := busybox()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), program, 0o755); err != nil {
		return err
	}
	for _, name := range applets {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			return err
		}
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, out)
	}
	return nil
}

// A Container is an image of a container.
type Container struct {
	Name    string
	Version string
	Vendor  string
	Config  v1.Config         // entrypoint, user and so on; without an Entrypoint it sleeps
	Files   map[string]string // more files, by their absolute paths
	Layers  []Layer           // further layers on top
}

// A Layer is what a layer changes.
type Layer struct {
	Files  map[string]string // by absolute paths
	Remove []string          // absolute paths: whiteouts
}

// Image returns the image.
func (c Container) Image() (v1.Image, error) {
	lowest, err := c.lowest()
	if err != nil {
		return nil, err
	}
	layers := []v1.Layer{lowest}
	for _, l := range c.Layers {
		next, err := l.layer()
		if err != nil {
			return nil, err
		}
		layers = append(layers, next)
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layers...)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, c.Config
	if len(file.Config.Entrypoint) == 0 {
		file.Config.Entrypoint = []string{"/bin/sleep", "1000000"}
	}
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return nil, err
	}
	about := map[string]string{
		"org.opencontainers.image.title": c.Name, "org.opencontainers.image.version": c.Version, "org.opencontainers.image.vendor": c.Vendor,
	}
	maps.DeleteFunc(about, func(_, value string) bool { return value == "" })
	return mutate.Annotations(img, about).(v1.Image), nil
}

// Archive writes the image to the file at path: the tar of an OCI image layout.
func (c Container) Archive(path string) error {
	img, err := c.Image()
	if err != nil {
		return err
	}
	return Archive(img, path)
}

// Archive writes an image to the file at path: the tar of an OCI image layout.
func Archive(img v1.Image, path string) error {
	tmp, err := os.MkdirTemp("", "image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	l, err := layout.Write(tmp, empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendImage(img); err != nil {
		return err
	}
	return run("tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "--mtime=@1700000000", "--file="+path, "--directory="+tmp, ".")
}

func (c Container) lowest() (v1.Layer, error) {
	tmp, err := os.MkdirTemp("", "image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	files := map[string]string{
		"/etc/passwd": "root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n", "/etc/group": "root:x:0:\nuser:x:1000:\n",
	}
	maps.Copy(files, c.Files)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	if err := write(tmp, files); err != nil {
		return nil, err
	}
	for _, point := range []string{"/proc", "/sys", "/dev", "/run", "/tmp"} {
		if err := os.MkdirAll(filepath.Join(tmp, point), 0o755); err != nil {
			return nil, err
		}
	}
	out, err := exec.Command("tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "--mtime=@1700000000", "--directory="+tmp, ".").Output()
	if err != nil {
		return nil, fmt.Errorf("tar: %w", err)
	}
	return layerOf(out)
}

func (l Layer) layer() (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(name, text string) error {
		if err := w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err := io.WriteString(w, text)
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(l.Files)) {
		if err := put(name, l.Files[name]); err != nil {
			return nil, err
		}
	}
	for _, name := range l.Remove {
		if err := put(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), ""); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return layerOf(b.Bytes())
}

func layerOf(data []byte) (v1.Layer, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return CompressedLayer(b.Bytes())
}

// CompressedLayer returns the layer that is this tar archive, compressed with gzip.
func CompressedLayer(data []byte) (v1.Layer, error) {
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		tarball.WithMediaType(types.OCILayer))
}

package systemd

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// image is a portable service image in the making: busybox, os-release, and unit files.
type image struct {
	release string
	units   map[string]string
	files   map[string]string // further ones
	links   map[string]string
	dirs    []string
}

// newImage makes an image with all mount points that a read-only one needs.
func newImage(name, version string) *image {
	return &image{
		release: "ID=" + name + "\nVERSION_ID=" + version + "\nPRETTY_NAME=\"The " + name + " of the tests\"\nHOME_URL=https://www.example.com/" + name + "\n",
		units:   map[string]string{}, files: map[string]string{"etc/machine-id": "", "etc/resolv.conf": ""},
		links: map[string]string{"bin/sh": "busybox", "etc/os-release": "../usr/lib/os-release"},
		dirs:  []string{"proc", "sys", "dev", "run", "tmp", "var/tmp", "var/lib", "usr/lib/systemd/system", "bin", "etc"},
	}
}

// unit adds a unit file.
func (i *image) unit(name, text string) *image {
	i.units[name] = text
	return i
}

// service adds a service that runs a command line of the shell, with further settings.
func (i *image) service(name, command, more string) *image {
	return i.unit(name, "[Unit]\nDescription=Service "+name+"\n[Service]\nExecStart=/bin/sh -c '"+command+"'\n"+more)
}

func (i *image) all() map[string]string {
	all := maps.Clone(i.files)
	all["usr/lib/os-release"] = i.release
	for name, text := range i.units {
		all["usr/lib/systemd/system/"+name] = text
	}
	return all
}

// busyboxFile is the static busybox of the tests.
func busyboxFile(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("cannot read busybox (package busybox-static): %v", err)
	}
	return data
}

// tar makes a tar archive of the image.
func (i *image) tar(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h *tar.Header, data []byte) {
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range append([]string{".", "usr", "usr/lib", "usr/lib/systemd", "var"}, i.dirs...) {
		put(&tar.Header{Typeflag: tar.TypeDir, Name: "./" + d + "/", Mode: 0o755}, nil)
	}
	put(&tar.Header{Typeflag: tar.TypeReg, Name: "./bin/busybox", Mode: 0o755}, busyboxFile(t))
	all := i.all()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		put(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + name, Mode: 0o644}, []byte(all[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(i.links)) {
		put(&tar.Header{Typeflag: tar.TypeSymlink, Name: "./" + name, Linkname: i.links[name]}, nil)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// tree writes the image into a directory.
func (i *image) tree(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range i.dirs {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range i.all() {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), busyboxFile(t), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, to := range i.links {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// pack is how an image becomes a package.
type pack func(t testing.TB, i *image) []byte

// packs are all ways that the adapter knows.
var packs = map[string]pack{
	"tar": func(t testing.TB, i *image) []byte { return i.tar(t) },
	"tar.gz": func(t testing.TB, i *image) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		return compressed(t, i, w, &b)
	},
	"tar.xz": func(t testing.TB, i *image) []byte {
		var b bytes.Buffer
		w, err := xz.WriterConfig{DictCap: 1 << 16}.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		return compressed(t, i, w, &b)
	},
	"tar.zst": func(t testing.TB, i *image) []byte {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			t.Fatal(err)
		}
		return compressed(t, i, w, &b)
	},
	"squashfs": func(t testing.TB, i *image) []byte {
		out := filepath.Join(t.TempDir(), "image")
		return built(t, out, "mksquashfs", i.tree(t), out, "-quiet", "-no-progress", "-noappend")
	},
	"ext4": func(t testing.TB, i *image) []byte {
		out := filepath.Join(t.TempDir(), "image")
		return built(t, out, "mkfs.ext4", "-q", "-d", i.tree(t), out, "8M")
	},
}

func compressed(t testing.TB, i *image, w interface {
	Write([]byte) (int, error)
	Close() error
}, b *bytes.Buffer) []byte {
	t.Helper()
	if _, err := w.Write(i.tar(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func built(t testing.TB, out string, args ...string) []byte {
	t.Helper()
	if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", args[0], err, text)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// packageOf writes a package file with a name that says nothing, as in the agent's store.
func packageOf(t testing.TB, data []byte) adapter.Package {
	t.Helper()
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	path := filepath.Join(t.TempDir(), digest)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return adapter.Package{Path: path, SHA256: digest, Size: int64(len(data))}
}

// pkg makes a package of the image as a plain tar archive.
func (i *image) pkg(t testing.TB) adapter.Package {
	t.Helper()
	return packageOf(t, i.tar(t))
}

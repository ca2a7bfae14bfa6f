package lxc

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/test/machine"
)

// TestImageOfOtherTools installs an image that umoci made and skopeo copied, and compares its root file system with what umoci itself unpacks.
func TestImageOfOtherTools(t *testing.T) {
	machine.RequireInside(t)
	dir := t.TempDir()
	image, bundle := filepath.Join(dir, "layout"), filepath.Join(dir, "bundle")
	root := filepath.Join(bundle, "rootfs")
	tool(t, "umoci", "init", "--layout", image)
	tool(t, "umoci", "new", "--image", image+":latest")

	// Three layers. umoci compares the trees and makes whiteouts, links and all else of that.
	layers := []func(){
		func() {
			busybox, err := os.ReadFile("/bin/busybox")
			must(t, err, os.MkdirAll(filepath.Join(root, "bin"), 0o755), os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755))
			for _, a := range applets {
				must(t, os.Symlink("busybox", filepath.Join(root, "bin", a)))
			}
			for _, d := range []string{"etc", "opaque/deep", "gone", "became-file", "srv", "sticky"} {
				must(t, os.MkdirAll(filepath.Join(root, d), 0o755))
			}
			for name, mode := range map[string]fs.FileMode{"etc/plain": 0o644, "opaque/a": 0o600, "opaque/deep/b": 0o600, "gone/c": 0o600, "became-file/d": 0o600,
				"became-dir": 0o600, "bin/su": 0o755, "srv/first": 0o640, "became-link": 0o600} {
				must(t, os.WriteFile(filepath.Join(root, name), []byte("content of "+name), mode))
			}
			must(t, os.Chmod(filepath.Join(root, "bin/su"), 0o755|fs.ModeSetuid), os.Chmod(filepath.Join(root, "sticky"), 0o777|fs.ModeSticky),
				os.Chown(filepath.Join(root, "srv/first"), 33, 34), os.Lchown(filepath.Join(root, "bin/cat"), 7, 8),
				os.Link(filepath.Join(root, "srv/first"), filepath.Join(root, "srv/second")), unix.Mkfifo(filepath.Join(root, "srv/fifo"), 0o620),
				unix.Setxattr(filepath.Join(root, "etc/plain"), "user.note", []byte("kept"), 0),
				unix.Setxattr(filepath.Join(root, "bin/busybox"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
		},
		func() {
			must(t, os.RemoveAll(filepath.Join(root, "opaque")), os.Mkdir(filepath.Join(root, "opaque"), 0o700), os.WriteFile(filepath.Join(root, "opaque/new"), nil, 0o600),
				os.RemoveAll(filepath.Join(root, "gone")), os.RemoveAll(filepath.Join(root, "became-file")), os.WriteFile(filepath.Join(root, "became-file"), []byte("file"), 0o600),
				os.Remove(filepath.Join(root, "became-dir")), os.Mkdir(filepath.Join(root, "became-dir"), 0o711),
				os.Remove(filepath.Join(root, "became-link")), os.Symlink("../../../../etc/plain", filepath.Join(root, "srv/up")), os.Symlink("/etc", filepath.Join(root, "became-link")),
				// A hard link in this layer to a file of the one below.
				os.Link(filepath.Join(root, "srv/first"), filepath.Join(root, "srv/third")))
		},
		func() {
			must(t, os.Remove(filepath.Join(root, "srv/first")), os.WriteFile(filepath.Join(root, "run.sh"), []byte("#!/bin/sh\necho 'it runs' > /srv/ran\nexit 5\n"), 0o755))
		},
	}
	for _, change := range layers {
		tool(t, "umoci", "unpack", "--image", image+":latest", bundle)
		change()
		must(t, os.RemoveAll(filepath.Join(root, "srv/up")))
		tool(t, "umoci", "repack", "--image", image+":latest", bundle)
		must(t, os.RemoveAll(bundle))
	}
	tool(t, "umoci", "config", "--image", image+":latest", "--config.entrypoint", "/run.sh", "--manifest.annotation", "org.opencontainers.image.title=told",
		"--manifest.annotation", "org.opencontainers.image.version=3.1", "--manifest.annotation", "org.opencontainers.image.vendor=umoci")
	tool(t, "umoci", "unpack", "--image", image+":latest", bundle)
	archive := filepath.Join(dir, "image.tar")
	tool(t, "skopeo", "--insecure-policy", "copy", "oci:"+image+":latest", "oci-archive:"+archive)

	d := newDevice(t, units{}, map[string]any{"settle": "20s"}) // it fails at its start, which may take a while
	data, err := os.ReadFile(archive)
	must(t, err)
	u := d.install("told", data)
	if want := (adapter.Manifest{Name: "told", Vendor: "umoci", Version: "3.1"}); u.Manifest != want {
		t.Errorf("the manifest is %+v", u.Manifest)
	}
	want, got := treeOf(t, root), treeOf(t, d.rootfs("told", ""))
	for _, name := range []string{"dev", "proc", "sys"} { // mount points, which every container has
		delete(got, name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the root file system is not what umoci unpacks (-umoci +ours):\n%s", diff)
	}
	if len(want) < 25 {
		t.Errorf("there are only %d files", len(want))
	}
	reasonIs(t, d.a.Start(t.Context(), "op", d.moduleOf("told"), adapter.StartOptions{}), adapter.StartFailed)
	if m := d.is("told", adapter.Idle); m.ExitCode == nil || *m.ExitCode != 5 || d.file("told", "srv/ran") != "it runs\n" {
		t.Errorf("%+v", m)
	}
	if out := tool(t, "lxc-ls", "-P", d.env.store.lxcPath(), "-1"); strings.TrimSpace(out) != d.name("told") {
		t.Errorf("lxc-ls says %q", out)
	}

	// The same in the format of docker save.
	docker := filepath.Join(dir, "docker.tar")
	tool(t, "skopeo", "--insecure-policy", "copy", "oci:"+image+":latest", "docker-archive:"+docker+":registry.example/team/told:3.1")
	data, err = os.ReadFile(docker)
	must(t, err)
	u = d.install("docker", data)
	if u.Manifest.Name != "told" || u.Manifest.Version != "3.1" {
		t.Errorf("the manifest of the docker archive is %+v", u.Manifest)
	}
	got = treeOf(t, d.rootfs("docker", ""))
	for _, name := range []string{"dev", "proc", "sys"} {
		delete(got, name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the root file system of the docker archive is not what umoci unpacks (-umoci +ours):\n%s", diff)
	}
}

// node is a file with all that a container can see of it.
type node struct {
	Mode, UID, GID uint32
	Links          uint64
	Content        string
	Attributes     map[string]string
	Time           int64 // of files that are no directories
}

// treeOf reads a tree.
func treeOf(t *testing.T, root string) map[string]node {
	t.Helper()
	all := map[string]node{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		n := node{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Attributes: map[string]string{}}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			n.Content = hashOf(data).Hex
		case unix.S_IFLNK:
			if n.Content, err = os.Readlink(path); err != nil {
				return err
			}
		}
		if !d.IsDir() {
			n.Links, n.Time = uint64(st.Nlink), int64(st.Mtim.Sec) //nolint:unconvert // other types on other processors
		}
		for _, name := range []string{"user.note", "security.capability"} {
			value := make([]byte, 64)
			if size, err := unix.Lgetxattr(path, name, value); err == nil {
				n.Attributes[name] = string(value[:size])
			}
		}
		name, err := filepath.Rel(root, path)
		all[name] = n
		return err
	})
	must(t, err)
	return all
}

// TestTree installs a root file system with metadata.
func TestTree(t *testing.T) {
	d := newDevice(t, units{}, nil)
	meta := "architecture: " + kernelName(t) + "\ncreation_date: 1700000000\nproperties:\n  name: tree\n  version: \"7\"\n  vendor: Example\n  description: A tree\n" +
		"process:\n  entrypoint: [/bin/sh, -c, 'echo $WHO > /tmp/out; exit 0']\n  env: [WHO=me]\n  user: web\n"
	entries := []entry{{name: "rootfs/"}}
	for _, e := range base(t) {
		e.name = "rootfs/" + e.name
		entries = append(entries, e)
	}
	u := d.install("tree", gzipped(t, tarOf(t, append(entries, entry{name: "metadata.yaml", content: meta}))))
	if want := (adapter.Manifest{Name: "tree", Vendor: "Example", Version: "7", Description: "A tree"}); u.Manifest != want {
		t.Errorf("the manifest is %+v", u.Manifest)
	}
	d.start("tree")
	if out := d.file("tree", "tmp/out"); out != "me\n" {
		t.Errorf("it wrote %q", out)
	}
	u = d.install("init", tarOf(t, append([]entry{{name: "metadata.yaml", content: "architecture: " + kernelName(t) + "\nproperties: {os: Debian, release: bookworm}\n"}}, entries...)))
	if m := u.Modules[0]; m.Reason != adapter.Unstartable || u.Manifest.Name != "Debian" || u.Manifest.Version != "bookworm" {
		t.Errorf("%+v", u)
	}
}

func kernelName(t *testing.T) string {
	var u unix.Utsname
	must(t, unix.Uname(&u))
	return unix.ByteSliceToString(u.Machine[:])
}

// TestHostilePackages shows that nothing outside of the root file system is touched, whatever is in a package.
func TestHostilePackages(t *testing.T) {
	sparse := func() []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		must(t, w.WriteHeader(&tar.Header{Name: "huge", Mode: 0o644, Size: 10 << 30, Typeflag: tar.TypeReg}))
		_, err := io.CopyN(w, zeros{}, 1<<20) // the header alone tells
		must(t, err)
		return append(out.Bytes(), make([]byte, 1024)...)
	}
	layer := func(e ...entry) []byte {
		return archiveOf(t, imageSpec{title: "x", version: "1", layers: [][]entry{e}, config: v1Config("/x")})
	}
	device := func() []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		must(t, w.WriteHeader(&tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}), w.Close())
		return out.Bytes()
	}
	tree := func(rest ...entry) []byte {
		return tarOf(t, append([]entry{{name: "metadata.yaml", content: "properties: {name: x, version: 1}\n"}}, rest...))
	}
	for name, c := range map[string]struct {
		data []byte
		want adapter.Reason
	}{
		"parent":           {layer(entry{name: "../x"}), adapter.Corrupt},
		"absolute":         {layer(entry{name: "/etc/x"}), adapter.Corrupt},
		"link out":         {layer(entry{name: "l", link: "../../../../tmp"}), adapter.Corrupt},
		"through link":     {layer(entry{name: "l", link: "/tmp"}, entry{name: "l/x"}), adapter.Corrupt},
		"device":           {withLayer(t, device()), adapter.Corrupt},
		"sparse":           {withLayer(t, sparse()), adapter.NoResources},
		"bomb":             {withLayer(t, gzipped(t, make([]byte, 80<<20))), adapter.NoResources},
		"bomb around":      {gzipped(t, tarOf(t, []entry{{name: "oci-layout"}, {name: "zeros", content: strings.Repeat("\x00", 120<<20)}})), adapter.NoResources},
		"tree: parent":     {tree(entry{name: "rootfs/"}, entry{name: "rootfs/../../x"}), adapter.Corrupt},
		"tree: link":       {tree(entry{name: "rootfs", link: "/etc"}), adapter.Corrupt},
		"tree: no rootfs":  {tree(), adapter.Corrupt},
		"tree: metadata":   {tarOf(t, []entry{{name: "metadata.yaml", content: "properties: ["}}), adapter.Corrupt},
		"tree: no name":    {tarOf(t, []entry{{name: "metadata.yaml", content: "architecture: x86_64"}, {name: "rootfs/"}}), adapter.Corrupt},
		"empty":            {nil, adapter.Corrupt},
		"garbage":          {[]byte(strings.Repeat("garbage ", 512)), adapter.Corrupt},
		"squashfs":         {[]byte("hsqs" + strings.Repeat("x", 100)), adapter.Mismatch},
		"jar":              {[]byte("PK\x03\x04"), adapter.Mismatch},
		"portable service": {tarOf(t, []entry{{name: "usr/lib/os-release"}}), adapter.Mismatch},
		"gzip of nothing":  {gzipped(t, []byte("nothing")), adapter.Corrupt},
		"damaged gzip":     {gzipped(t, layer(entry{name: "x"}))[:200], adapter.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			set := defaultSettings()
			set.maxUnpacked = 64 << 20
			p := packageOf(t, c.data)
			_, err := inspect(t.Context(), set, p, dir)
			if name == "tree: link" || name == "tree: no rootfs" { // that is seen when it is unpacked
				must(t, err)
			} else {
				reasonIs(t, err, c.want)
			}
			into := filepath.Join(dir, "in")
			must(t, os.Mkdir(into, 0o755))
			_, err = unpack(t.Context(), set, p, into)
			reasonIs(t, err, c.want)
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 1 {
				t.Errorf("there is %v beside: %v", entries, err)
			}
			for _, outside := range []string{"/tmp/x", "/etc/x"} {
				if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s is there", outside)
				}
			}
		})
	}
}

// zeros has no end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

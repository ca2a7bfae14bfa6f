package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// capNetRaw are file capabilities, revision 2: cap_net_raw=ep.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func setxattr(t *testing.T, path, name, value string) {
	t.Helper()
	if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
		t.Fatalf("cannot set %s: %v", name, err)
	}
}

// A tree of everything that a file system has is the same after tar(1) packed it.
func TestLikeGNUTar(t *testing.T) {
	needRoot(t)
	from := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(from, name) }
	must(os.Chmod(from, 0o750))
	must(os.Chown(from, 7, 8))
	must(os.MkdirAll(at("d/e"), 0o755))
	must(os.WriteFile(at("d/setuid"), []byte("s"), 0o755))
	must(os.Chown(at("d/setuid"), 1000, 1001))
	must(os.Chmod(at("d/setuid"), 0o6755|os.ModeSetuid|os.ModeSetgid))
	must(os.Chmod(at("d/e"), 0o777|os.ModeSticky))
	must(os.WriteFile(at("d/ping"), []byte("p"), 0o755))
	setxattr(t, at("d/ping"), "security.capability", capNetRaw)
	setxattr(t, at("d/ping"), "user.note", "a\x00b")
	setxattr(t, at("d/e"), "user.dir", "x")
	must(os.Link(at("d/ping"), at("d/ping2")))
	must(os.Link(at("d/setuid"), at("a-setuid")))
	must(os.Symlink("/etc/passwd", at("abs")))
	must(os.Symlink("d/setuid", at("rel")))
	must(os.Lchown(at("rel"), 5, 6))
	must(os.Symlink("nothing", at("dangling")))
	must(unix.Mkfifo(at("fifo"), 0o640))
	must(os.WriteFile(at(strings.Repeat("long", 60)), []byte("l"), 0o600))
	must(os.WriteFile(at("ümläut\n"), nil, 0o000))
	must(os.WriteFile(at("latin-1 \xe4"), []byte("x"), 0o644))
	must(os.Symlink("to \xe4", at("link \xff")))
	must(os.WriteFile(at(".wh.not-a-whiteout"), nil, 0o644))
	old := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	must(os.Chtimes(at("d/setuid"), old, old))
	must(os.Chtimes(at("d/e"), old, old))

	for _, format := range []string{"gnu", "posix"} {
		for _, how := range append(compressions, "gzip -9") {
			args := []string{"--format=" + format, "."}
			want := tree(t, from)
			if format == "posix" {
				args = append([]string{"--xattrs", "--xattrs-include=*"}, args...)
			} else {
				for i := range want { // the format has no attributes
					want[i], _, _ = strings.Cut(want[i], " security.")
					want[i], _, _ = strings.Cut(want[i], " user.")
				}
			}
			data := gnuTar(t, from, args...)
			if how != "gzip -9" {
				data = compress(t, how, data)
			} else {
				cmd := exec.Command("gzip", "-9")
				cmd.Stdin = bytes.NewReader(data)
				var err error
				data, err = cmd.Output()
				must(err)
			}
			to := unpackInto(t, Options{}, data)
			if diff := cmp.Diff(want, tree(t, to)); diff != "" {
				t.Errorf("%s, %s: it differs (- packed, + unpacked):\n%s", format, how, diff)
			}
			info, err := os.Stat(filepath.Join(to, "d/e"))
			must(err)
			if !info.ModTime().Truncate(time.Second).Equal(old.Truncate(time.Second)) {
				t.Errorf("the directory is of %v", info.ModTime())
			}
		}
	}
}

// What the device alone may say of a file is not taken from an archive.
func TestAttributesLeftOut(t *testing.T) {
	needRoot(t)
	f := file("f", "x")
	f.PAXRecords = map[string]string{
		"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.security.ima": "x", "SCHILY.xattr.system.posix_acl_access": "x",
		"SCHILY.xattr.user.kept": "1", "SCHILY.xattr.security.capability": capNetRaw, "SMMD.oddity": "x", "LIBARCHIVE.xattr.user.other": "eA==",
	}
	d := dir("d")
	d.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}
	l := symlink("l", "f")
	l.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "y"}
	top := dir("./")
	top.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}
	data := pack(t, top, f, d, l, item{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"SMMD.global": "x"}}})
	for _, to := range []string{unpackInto(t, Options{}, data), applyAll(t, Options{}, data)} {
		if got, want := xattrsOf(t, filepath.Join(to, "f")), fmt.Sprintf(" security.capability=%x user.kept=31", capNetRaw); got != want {
			t.Errorf("the attributes are %q, want %q", got, want)
		}
		if got := xattrsOf(t, filepath.Join(to, "d")) + xattrsOf(t, to); got != "" {
			t.Errorf("the directories have %q", got)
		}
	}
}

// Archives have capabilities with the first name of a file only.
func TestCapabilitiesOfHardLinks(t *testing.T) {
	needRoot(t)
	f := file("f", "x")
	f.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capNetRaw}
	lower := pack(t, dir("d"), f, link("d/g", "f"), link("h", "d/g"))
	got := applyAll(t, Options{}, lower, pack(t, link("d/i", "h"), link("j", "f"), symlink("s", "d"), link("k", "s/g")))
	for _, name := range []string{"f", "d/g", "h", "d/i", "j", "k"} {
		if got, want := xattrsOf(t, filepath.Join(got, name)), fmt.Sprintf(" security.capability=%x", capNetRaw); got != want {
			t.Errorf("%s has %q, want %q", name, got, want)
		}
	}
}

func TestShift(t *testing.T) {
	needRoot(t)
	f := file("f", "x")
	f.Uid, f.Gid, f.Mode = 1000, 65535, 0o6755
	f.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capNetRaw, "SCHILY.xattr.user.kept": "1"}
	o := Options{UIDs: IDMap{HostID: 100000, Size: 65536}, GIDs: IDMap{HostID: 200000, Size: 65536}}
	l := symlink("implied/l", "/f")
	l.Uid = 3
	// Tools give the entry of a hard link what the file has, its attributes excepted.
	g := link("g", "f")
	g.Uid, g.Gid, g.Mode = f.Uid, f.Gid, f.Mode
	data := pack(t, f, l, g)
	for _, to := range []string{unpackInto(t, o, data), applyAll(t, o, data)} {
		for name, want := range map[string][2]uint32{
			".": {100000, 200000}, "f": {101000, 265535}, "g": {101000, 265535},
			"implied": {100000, 200000}, "implied/l": {100003, 200000},
		} {
			info, err := os.Lstat(filepath.Join(to, name))
			if err != nil {
				t.Fatal(err)
			}
			st := info.Sys().(*syscall.Stat_t)
			if got := [2]uint32{st.Uid, st.Gid}; got != want {
				t.Errorf("%s belongs to %v, want %v", name, got, want)
			}
		}
	}
	to := unpackInto(t, o, data)
	info, err := os.Lstat(filepath.Join(to, "f"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != 0o755|os.ModeSetuid|os.ModeSetgid {
		t.Errorf("the mode is %v", info.Mode())
	}
	// Revision 3 with the root of the namespace, or the kernel ignores them there.
	want := " security.capability=010000030020000000000000000000000000000" + "0a0860100 user.kept=31"
	if got := xattrsOf(t, filepath.Join(to, "g")); got != want {
		t.Errorf("the attributes are %q, want %q", got, want)
	}
	// A root that an earlier layer gave an owner keeps it.
	top := dir("./")
	top.Uid, top.Mode = 5, 0o711
	two := applyAll(t, o, pack(t, top), pack(t, file("x", "")))
	if info, err := os.Stat(two); err != nil || info.Sys().(*syscall.Stat_t).Uid != 100005 || info.Mode().Perm() != 0o711 {
		t.Errorf("the root is %v %v", info, err)
	}
	out := file("f", "")
	out.Uid = 65536
	_, err = Unpack(t.Context(), bytes.NewReader(pack(t, out)), t.TempDir(), o)
	wantReason(t, err, "invalid-argument")
}

// The layers of the test below: all that layers are for, and all that is odd but right.
func layers(t *testing.T) [][]byte {
	setuid := file("bin/su", "su")
	setuid.Mode, setuid.Uid, setuid.Gid = 0o4755, 3, 4
	ping := file("bin/ping", "ping")
	ping.Mode = 0o755
	ping.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": capNetRaw, "SCHILY.xattr.user.note": "n"}
	own := dir("home/")
	own.Uid, own.Gid, own.Mode = 1000, 1000, 0o700
	tmp := dir("tmp")
	tmp.Mode = 0o1777
	nosuid := file("bin/su", "su, not setuid")
	nosuid.Mode = 0o755
	all := [][]item{
		{
			dir("bin"), setuid, ping, own, tmp, dir("etc"), file("etc/a", "a1"), file("etc/b", "b1"), file("etc/c", "c1"), dir("etc/d"), file("etc/d/x", "x"),
			dir("opaque"), file("opaque/old", "o"), dir("opaque/sub"), file("opaque/sub/old", "o"), symlink("lib", "usr/lib"), dir("usr"), dir("usr/lib"),
			symlink("var-run", "/run"), dir("run"), of(tar.TypeFifo, "run/fifo"), file("linked", "l"), file("first", "f"), link("second", "first"),
			file("to-dir", "f"), dir("to-file"), file("to-file/x", "x"), dir("to-link"), file("to-link/x", "x"), symlink("link-to-dir", "usr"),
			file("twice", "1"), file("twice", "2"), file(strings.Repeat("p/", 100)+"deep", "d"),
		},
		{
			file("etc/.wh.a", ""), file("etc/b", "b2"), file("etc/.wh.d", ""), dir("opaque"), file("opaque/.wh..wh..opq", ""), file("opaque/new", "n"),
			link("usr/linked", "linked"), file(".wh.first", ""), dir("to-dir"), file("to-dir/x", "x"), file("to-file", "f"), symlink("to-link", "usr"),
			dir("link-to-dir"), file("link-to-dir/own", "o"), file("lib/so", "through"), nosuid, link("bin/ping6", "bin/ping"), file(".wh.never-there", ""),
		},
		{
			dir("etc"), file("etc/a", "a3"), file("to-dir/.wh.x", ""), file(".wh.opaque", ""), file("var-run/x", "through"), link("third", "second"),
		},
	}
	var out [][]byte
	known := map[string]item{}
	for _, items := range all {
		for i := range items {
			items[i].ModTime = time.Unix(1700000000+int64(i), 0)
			if items[i].Typeflag == tar.TypeLink { // as tools do
				of := known[items[i].Linkname]
				items[i].ModTime, items[i].Mode, items[i].Uid, items[i].Gid = of.ModTime, of.Mode, of.Uid, of.Gid
			}
			known[items[i].Name] = items[i]
		}
		out = append(out, pack(t, items...))
	}
	return out
}

// Layers become the tree that an independent tool makes of them.
func TestLikeUmoci(t *testing.T) {
	needRoot(t)
	umoci, err := exec.LookPath("umoci")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("umoci is missing, and CI=true permits no skips")
		}
		t.Skip("umoci is missing")
	}
	image := t.TempDir()
	ls := layers(t)
	writeLayout(t, image, ls)
	bundle := filepath.Join(t.TempDir(), "bundle")
	if out, err := exec.Command(umoci, "unpack", "--image", image+":latest", bundle).CombinedOutput(); err != nil {
		t.Fatalf("umoci: %v\n%s", err, out)
	}
	got := applyAll(t, Options{}, ls...)
	if diff := cmp.Diff(tree(t, filepath.Join(bundle, "rootfs"))[1:], tree(t, got)[1:]); diff != "" {
		t.Errorf("it differs (- umoci, + ours):\n%s", diff)
	}
	for i, data := range ls {
		if _, err := ScanLayer(t.Context(), bytes.NewReader(data), Options{}); err != nil {
			t.Errorf("layer %d: %v", i, err)
		}
	}
}

// writeLayout makes an OCI image layout of layers (OCI image specification, Image Layout).
func writeLayout(t *testing.T, to string, layers [][]byte) {
	t.Helper()
	type object = map[string]any
	blob := func(kind string, data []byte) object {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		path := filepath.Join(to, "blobs/sha256", sum)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, data, 0o644)); err != nil {
			t.Fatal(err)
		}
		return object{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + sum, "size": len(data)}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var descriptors []object
	var ids []string
	for _, layer := range layers {
		var buf bytes.Buffer
		w := gzip.NewWriter(&buf)
		_, err := w.Write(layer)
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, fmt.Sprintf("sha256:%x", sha256.Sum256(layer)))
		descriptors = append(descriptors, blob("layer.v1.tar+gzip", buf.Bytes()))
	}
	config := blob("config.v1+json", encode(object{"architecture": "amd64", "os": "linux", "rootfs": object{"type": "layers", "diff_ids": ids}}))
	manifest := blob("manifest.v1+json", encode(object{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": descriptors}))
	manifest["annotations"] = object{"org.opencontainers.image.ref.name": "latest"}
	for name, v := range map[string]any{"index.json": object{"schemaVersion": 2, "manifests": []object{manifest}}, "oci-layout": object{"imageLayoutVersion": "1.0.0"}} {
		if err := os.WriteFile(filepath.Join(to, name), encode(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

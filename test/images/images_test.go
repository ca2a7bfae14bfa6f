package images

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAgree asks tools that others wrote what is in the images.
func TestAgree(t *testing.T) {
	dir := t.TempDir()
	p := Portable{Name: "hello", Version: "1.0", Vendor: "Example", Units: map[string]string{"hello.service": Service("sleep 1000")}}
	for name, make := range map[string]func(string) error{"a.tar.gz": p.Tar, "a.tar.zst": p.Tar, "a.raw": p.Squashfs, "b.raw": p.Ext4} {
		if err := make(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	list := output(t, "tar", "tf", filepath.Join(dir, "a.tar.gz"))
	for _, want := range []string{"./etc/os-release\n", "./usr/lib/systemd/system/hello.service\n", "./bin/busybox\n"} {
		if !strings.Contains(list, want) {
			t.Errorf("the archive has\n%s", list)
		}
	}
	c := Container{Name: "box", Version: "2", Files: map[string]string{"/old": "x"}, Layers: []Layer{{Files: map[string]string{"/new": "y"}, Remove: []string{"/old"}}}}
	archive := filepath.Join(dir, "box.tar")
	if err := c.Archive(archive); err != nil {
		t.Fatal(err)
	}
	if got := output(t, "skopeo", "inspect", "--raw", "oci-archive:"+archive); !strings.Contains(got, `"org.opencontainers.image.title":"box"`) {
		t.Errorf("skopeo reads %s", got)
	}
	config := output(t, "skopeo", "inspect", "--config", "oci-archive:"+archive)
	if !strings.Contains(config, `"/bin/sleep"`) || strings.Count(config, "sha256:") != 2 {
		t.Errorf("skopeo reads %s", config)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

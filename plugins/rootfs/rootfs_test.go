package rootfs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhiteouts(t *testing.T) {
	got := applyAll(t, Options{},
		pack(t, dir("d"), file("d/a", "1"), file("d/b", "2"), dir("o"), file("o/x", "3"), file("f", "4"), symlink("run", "/var/run"), dir("var"), dir("var/run")),
		pack(t, file("d/.wh.a", ""), file("o/.wh..wh..opq", ""), file("o/new", "5"), dir("f"), file("f/in", "6"), file("run/pid", "7"), link("d/c", "d/b")),
	)
	for name, want := range map[string]string{"d/b": "2", "d/c": "2", "o/new": "5", "f/in": "6", "var/run/pid": "7"} {
		if c := content(t, filepath.Join(got, name)); c != want {
			t.Errorf("%s has %q, want %q", name, c, want)
		}
	}
	for _, name := range []string{"d/a", "o/x", "d/.wh.a", "o/.wh..wh..opq"} {
		if _, err := os.Lstat(filepath.Join(got, name)); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", name, err)
		}
	}
}

package rootfs

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// TestRunsAtOnce: what was unpacked can be executed at once, also while this process starts programs.
func TestRunsAtOnce(t *testing.T) {
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, err := range []error{
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "true", Mode: 0o755, Size: int64(len(program))}),
		func() error { _, err := w.Write(program); return err }(),
		w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	over := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := exec.Command("/bin/true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	defer others.Wait()
	defer close(over)
	for range 100 {
		dir := t.TempDir()
		if _, err := Unpack(t.Context(), bytes.NewReader(b.Bytes()), dir, Options{}); err != nil {
			t.Fatal(err)
		}
		if err := exec.Command(filepath.Join(dir, "true")).Run(); err != nil {
			t.Fatal(err)
		}
	}
}

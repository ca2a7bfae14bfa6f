package forgetful

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestImage compares an image with two plain ones: what is seen, and what was synced.
func TestImage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const size = 5*blockSize + 100
		img := newImage(size)
		seen, synced := make([]byte, size), make([]byte, size)
		check := func(img *image, want []byte, what string) {
			off := rapid.Int64Range(0, size+10).Draw(t, "offset")
			got := make([]byte, rapid.IntRange(0, size).Draw(t, "length"))
			n := img.read(got, off)
			if off = min(off, size); !bytes.Equal(got[:n], want[off:min(off+int64(len(got)), size)]) {
				t.Fatalf("%s, at %d for %d", what, off, len(got))
			}
		}
		frozen := false
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				off := rapid.Int64Range(0, size).Draw(t, "offset")
				data := bytes.Repeat([]byte{byte(rapid.IntRange(1, 255).Draw(t, "byte"))}, rapid.IntRange(0, 2*blockSize).Draw(t, "length"))
				if n := img.write(data, off); n != copy(seen[off:], data) {
					t.Fatalf("%d bytes written at %d", n, off)
				}
			},
			"sync": func(*rapid.T) {
				img.sync()
				if !frozen {
					copy(synced, seen)
				}
			},
			"freeze": func(*rapid.T) { img.freeze(); frozen = true },
			"cut": func(*rapid.T) {
				old := img
				img, frozen = img.after(), false
				old.write(bytes.Repeat([]byte{255}, size), 0)
				copy(seen, synced)
			},
			"": func(*rapid.T) {
				check(img, seen, "what is seen")
				check(img.after(), synced, "what was synced")
			},
		})
	})
}

// TestDisk: after a power cut there is what was synced in any of the ways, and nothing that was written without.
func TestDisk(t *testing.T) {
	if os.Getuid() != 0 {
		missing(t, "mounting a file system needs root")
	}
	for _, path := range []string{"/dev/fuse", "/dev/loop-control"} {
		if _, err := os.Stat(path); err != nil {
			missing(t, err.Error())
		}
	}
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		missing(t, err.Error())
	}
	var server *exec.Cmd
	dir := t.TempDir()
	d, err := Start(func(ctx context.Context, args ...string) *exec.Cmd {
		server = exec.CommandContext(ctx, args[0], args[1:]...)
		server.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		return server
	}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if loops(t, imageName(dir)) == "" {
		t.Error("there is no loop device: this test would not see that one is left")
	}
	run := func(script string) string {
		t.Helper()
		cmd := exec.Command("nsenter", "-t", fmt.Sprint(server.Process.Pid), "-m", "--wd="+fmt.Sprintf("/proc/%d/root%s", server.Process.Pid, d.Path), "sh", "-ec", script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}
	run("mkdir dir && echo one >dir/synced && sync dir/synced")
	run("echo two >dir/all && sync -f dir")
	run("echo changed >dir/synced && echo new >new && mv dir/all dir/moved")
	if got := run("cat dir/synced new dir/moved"); got != "changed\nnew\ntwo\n" {
		t.Errorf("before the cut there is %q", got)
	}
	if err := d.Freeze(); err != nil {
		t.Fatal(err)
	}
	run("sync new; sync")
	if err := d.Restore(); err != nil {
		t.Fatal(err)
	}
	if got := run("cat dir/synced dir/all; ls . dir"); got != "one\ntwo\n.:\ndir\nlost+found\n\ndir:\nall\nsynced\n" {
		t.Errorf("after the cut there is %q", got)
	}
	run("echo three >dir/synced && sync -d dir/synced")
	for range 2 {
		if err := d.Restore(); err != nil {
			t.Fatal(err)
		}
		if got := run("cat dir/synced"); got != "three\n" {
			t.Errorf("after the next cut there is %q", got)
		}
	}
	if err := d.order("dance"); err == nil || !strings.Contains(err.Error(), `cannot obey "dance"`) {
		t.Errorf("it obeys: %v", err)
	}
	if loops := loops(t, imageName(dir)); loops != "" {
		t.Errorf("a loop device is left: %s", loops)
	}
}

// loops returns the loop devices that have a name.
func loops(t *testing.T, name string) (found string) {
	t.Helper()
	out, err := exec.Command("losetup", "--list", "--noheadings", "--output", "BACK-FILE").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, name) {
			found += line
		}
	}
	return found
}

func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why)
	}
	t.Skip(why)
}

package systemd

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// FuzzOSRelease: whatever is in an os-release file, there is a result that can be used, or an error.
func FuzzOSRelease(f *testing.F) {
	for _, seed := range []string{"", "ID=a\n", "ID=\"a\\", "ID='\nHOME_URL=://\n", "PORTABLE_PREFIXES=\" \"\nID=x", "=\n==\nA=\"\"\"\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := contentOf(data, map[string][]byte{"a.service": data, "x-y.socket": data, "m@.service": nil})
		if err != nil {
			if r := adapter.ReasonOf(err); r != adapter.Corrupt && r != adapter.Mismatch {
				t.Errorf("%v", err)
			}
			return
		}
		if c.Manifest.Name == "" || c.Manifest.Version == "" || len(c.modules()) == 0 || slices.Contains(c.Prefixes, "") {
			t.Errorf("%+v", c)
		}
	})
}

// FuzzUnitFile: what is read of a unit file never leads out of the directories that systemd makes.
func FuzzUnitFile(f *testing.F) {
	for _, seed := range []string{"", "[Service]\nStateDirectory=a ../b /c\n", "[Service]\nLogsDirectory=\\\n\\\n..:x\n", "[\n]=\n=[Service]", "[Service]\nCacheDirectory=...\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, d := range stateDirectories(parseUnit(data)) {
			if !strings.HasPrefix(d, "/var/") || strings.Contains(d, "..") || strings.Count(d, "/") < 3 {
				t.Errorf("%q", d)
			}
		}
	})
}

// FuzzSkeleton: an archive of any content is read to an end.
func FuzzSkeleton(f *testing.F) {
	i := newImage("fuzz", "1").service("fuzz.service", "true", "")
	i.links["loop"] = "loop"
	i.links["a"] = "b/../a/x"
	whole := i.tar(f)
	f.Add(whole[:2048])
	f.Add(whole[len(whole)-8192:]) // behind busybox
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newSkeleton()
		if err := s.read(bytes.NewReader(data)); err != nil {
			return
		}
		if _, err := s.content(); err != nil {
			if r := adapter.ReasonOf(err); r != adapter.Corrupt && r != adapter.Mismatch {
				t.Errorf("%v", err)
			}
		}
	})
}

// FuzzForm: the first bytes of any file are judged.
func FuzzForm(f *testing.F) {
	f.Add([]byte("hsqs"), int64(4))
	f.Add(bytes.Repeat([]byte{0x53, 0xef}, 1024), int64(2048))
	f.Add([]byte("PK\x03\x04"), int64(100))
	f.Fuzz(func(t *testing.T, head []byte, size int64) {
		form, err := formOfHead(head, size)
		if err == nil && (form < tarball || form > ext4) {
			t.Errorf("form %d", form)
		}
	})
}

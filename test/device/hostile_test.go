package device

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
	"github.com/smmd-project/smmd/test/images"
	"github.com/smmd-project/smmd/test/support"
)

// escaped is what entries of hostile archives are called, wherever they want to be.
const escaped = "smmd-test-escaped"

// entries writes entries that the headers describe; a regular file has its own name as content.
func entries(headers ...tar.Header) func(*testing.T, *tar.Writer) {
	return func(t *testing.T, w *tar.Writer) {
		for _, h := range headers {
			h.Mode = 0o755
			if h.Typeflag == tar.TypeReg {
				h.Size = int64(len(h.Name))
			}
			err := w.WriteHeader(&h)
			if err == nil && h.Size > 0 {
				_, err = io.WriteString(w, h.Name)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func file(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }

func link(name, to string, kind byte) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: to}
}

// zeros writes a file of so many bytes, all of them there.
func zeros(n int64) func(*testing.T, *tar.Writer) {
	return func(t *testing.T, w *tar.Writer) {
		err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: n})
		block := make([]byte, 1<<20)
		for left := n; err == nil && left > 0; left -= int64(len(block)) {
			_, err = w.Write(block[:min(left, int64(len(block)))])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// The hostile archives, by what is in them besides what a good one has. One that is nil has a file of 10 GiB that is nothing but a hole.
var hostile = map[string]struct {
	add   func(*testing.T, *tar.Writer)
	fault string
}{
	"name with dots":           {entries(file("../../../../../" + escaped)), "PackageCorrupt"},
	"absolute name":            {entries(file("/" + escaped)), "PackageCorrupt"},
	"behind a link with dots":  {entries(link("way", "../../../../../../..", tar.TypeSymlink), file("way/"+escaped)), "PackageCorrupt"},
	"behind an absolute link":  {entries(link("way", "/var", tar.TypeSymlink), file("way/"+escaped)), "PackageCorrupt"},
	"hard link to the outside": {entries(link(escaped, "../../../../../../../../etc/shadow", tar.TypeLink)), "PackageCorrupt"},
	"device":                   {entries(tar.Header{Typeflag: tar.TypeBlock, Name: escaped, Devmajor: 7}), "PackageCorrupt"},
	"sparse file":              {nil, "SystemResourcesExceeded"},
	"bomb":                     {zeros(1<<30 + 1), "SystemResourcesExceeded"},
}

// TestHostileArchives: what wants to be written outside, to make devices, or to fill the disk is refused, and leaves nothing anywhere.
func TestHostileArchives(t *testing.T) {
	d := boot(t, Options{Config: bothKinds(1)})
	d.Up()
	outside := func() string {
		return d.sh("find / -xdev -name " + escaped + " -not -path '/proc/*'; stat -c '%h %i' /etc/shadow; find / -xdev -type b -newer /etc/machine-id -not -path '/dev/*'")
	}
	each(t, d, func(t *testing.T, d *Device, k kind) {
		before, files := outside(), d.left(k)
		for name, h := range hostile {
			url := d.Serve("/"+k.adapter+"/"+filepath.Base(name), fileserver.File{Content: hostilePackage(t, k, h.add)})
			job := d.Job(d.Client.Install(t.Context(), url, client.InstallOptions{ExecEnv: k.env}))
			if job.FaultName != h.fault {
				t.Errorf("%s: the install ended with %v, wanted %s", name, job.Err(), h.fault)
			}
			equal(t, name+": files outside", outside(), before)
			equal(t, name+": files of the environment", d.left(k), files)
			if rows := d.rows(k); len(rows) > 0 {
				t.Errorf("%s: there is %s", name, support.Show(rows[0]))
			}
		}
	})
}

// hostilePackage returns a package of the kind with something added, by add or a sparse file.
func hostilePackage(t *testing.T, k kind, add func(*testing.T, *tar.Writer)) []byte {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "package.tar")
	good := program{name: "hostile", version: "1"}
	if k.adapter == services.adapter {
		if err := k.pack(good, path); err != nil {
			t.Fatal(err)
		}
		return compressed(t, path, add)
	}
	layer := filepath.Join(dir, "layer.tar")
	if err := os.WriteFile(layer, make([]byte, 1024), 0o600); err != nil { // an archive without entries
		t.Fatal(err)
	}
	evil, err := images.CompressedLayer(compressed(t, layer, add))
	if err != nil {
		t.Fatal(err)
	}
	img, err := images.Container{Name: good.name, Version: good.version}.Image()
	if err == nil {
		img, err = mutate.AppendLayers(img, evil)
	}
	if err == nil {
		err = images.Archive(img, path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

// compressed returns the archive at path with something added, compressed with gzip.
func compressed(t *testing.T, path string, add func(*testing.T, *tar.Writer)) []byte {
	t.Helper()
	if add == nil { // one that only GNU tar makes
		hole := filepath.Join(filepath.Dir(path), "hole")
		err := os.WriteFile(hole, nil, 0o600)
		if err == nil {
			err = os.Truncate(hole, 10<<30)
		}
		if err == nil {
			_, err = exec.Command("tar", "--append", "--sparse", "--file="+path, "--directory="+filepath.Dir(path), "hole").Output()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return squeeze(t, read(t, path), add)
}

// squeeze compresses an archive, as it is or with something added at its end.
func squeeze(t *testing.T, archive []byte, add func(*testing.T, *tar.Writer)) []byte {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if add == nil {
		_, err = z.Write(archive)
	} else {
		r, w := tar.NewReader(bytes.NewReader(archive)), tar.NewWriter(z)
		for err == nil {
			var h *tar.Header
			if h, err = r.Next(); err == nil {
				if err = w.WriteHeader(h); err == nil {
					_, err = io.Copy(w, r)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			add(t, w)
			err = w.Close()
		}
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

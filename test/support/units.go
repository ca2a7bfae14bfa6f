package support

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/test/fileserver"
)

// URL makes the file server of the device serve a bundle, see [BundlePath], and returns its URL.
func (d *Device) URL(bundle string) string {
	d.t.Helper()
	return d.Serve("/"+bundle, fileserver.File{Content: d.Content(bundle)})
}

// Serve makes the file server of the device answer at a path, and returns the URL.
func (d *Device) Serve(path string, f fileserver.File) string {
	d.Files.Set(path, f)
	return d.Files.URL + path
}

// Content returns the bytes of a bundle.
func (d *Device) Content(bundle string) []byte {
	d.t.Helper()
	content, err := os.ReadFile(BundlePath(d.t, bundle))
	if err != nil {
		d.t.Fatal(err)
	}
	return content
}

// Job waits for the end of a job; err is that of the call that began it.
func (d *Device) Job(path dbus.ObjectPath, err error) *client.Job {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := d.context()
	defer cancel()
	j, err := d.Client.WaitJob(ctx, path, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return j
}

// Done waits for a job that has to succeed; err is that of the call that began it.
func (d *Device) Done(path dbus.ObjectPath, err error) *client.Job {
	d.t.Helper()
	j := d.Job(path, err)
	if err := j.Err(); err != nil {
		d.t.Fatalf("%s: %v", j.Operation, err)
	}
	return j
}

// A Unit is a deployment unit with its one execution unit.
type Unit struct {
	*client.DeploymentUnit
	EU *client.ExecutionUnit
}

// Unit reads a deployment unit with its one execution unit.
func (d *Device) Unit(du dbus.ObjectPath) Unit {
	d.t.Helper()
	tree := d.Tree()
	u := Unit{DeploymentUnit: tree.DeploymentUnit(du)}
	if u.DeploymentUnit == nil {
		d.t.Fatalf("there is no %s", du)
	}
	if len(u.ExecutionUnits) != 1 {
		d.t.Fatalf("%s has the execution units %v", u.Ref, u.ExecutionUnits)
	}
	if u.EU = tree.ExecutionUnit(u.ExecutionUnits[0]); u.EU == nil {
		d.t.Fatalf("there is no %s", u.ExecutionUnits[0])
	}
	return u
}

// Install installs a bundle, see [BundlePath], on an environment, waits until that is done and returns the unit.
func (d *Device) Install(bundle, env string) Unit {
	d.t.Helper()
	return d.InstallWith(d.URL(bundle), client.InstallOptions{ExecEnv: env})
}

// InstallWith installs what is at a URL, waits until that is done and returns the unit.
func (d *Device) InstallWith(url string, o client.InstallOptions) Unit {
	d.t.Helper()
	j := d.Done(d.Client.Install(d.t.Context(), url, o))
	for _, path := range j.Objects {
		if r, ok := client.ParseRef(string(path)); ok && r.Kind() == client.KindDeploymentUnit {
			return d.Unit(path)
		}
	}
	d.t.Fatalf("%s is done and names no deployment unit: %v", j, j.Objects)
	return Unit{}
}

// Packages returns the files below the package store, paths relative to it, but the saved versions of environments, which the agent
// keeps there for itself once it gets to it.
func (d *Device) Packages() []string {
	d.t.Helper()
	root := filepath.Join(d.State, "packages")
	var files []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		saved, err := isVersion(path)
		if err == nil && !saved {
			files = append(files, strings.TrimPrefix(path, root+"/"))
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it is being collected
		}
		return err
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return files
}

// isVersion reports whether a file is a saved version of an OSGi environment, which says so in its first member.
func isVersion(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // nothing was written
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	return bytes.Contains(head[:n], []byte("smmd-osgi-version-")), nil
}

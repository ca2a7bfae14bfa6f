package osgi

import (
	"archive/zip"
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A framework's storage is nothing to a framework of another make: Felix that is started on what Equinox wrote begins an empty one beside
// it, in which all units are missing. So each storage says which make it is of, and another one is not launched on it. Versions of one make
// read what the others wrote.
const (
	// makeName is the file in the storage that names the make, as [makeOf] does.
	makeName = "make"
	// factoryName is the member of a jar that names the class which makes its framework (OSGi Core, Launching and Controlling a Framework).
	factoryName = "META-INF/services/org.osgi.framework.launch.FrameworkFactory"
	// maxFactory bounds what is read of it, in bytes.
	maxFactory = 64 << 10
)

// makeOf returns the make of the framework that runs from files, and the file that it is in: the class that the first of them names, as
// the host looks for it. Both are empty when none does, or cannot be read: the launch says that.
func makeOf(files []string) (class, file string) {
	for _, file := range files {
		if class := factoryOf(file); class != "" {
			return class, file
		}
	}
	return "", ""
}

func factoryOf(file string) string {
	jar, err := zip.OpenReader(file)
	if err != nil {
		return ""
	}
	defer func() { _ = jar.Close() }() // nothing was written
	member, err := jar.Open(factoryName)
	if err != nil {
		return ""
	}
	defer func() { _ = member.Close() }() // nothing was written
	// A file of a service provider (java.util.ServiceLoader): a name on each line, # begins a comment.
	lines := bufio.NewScanner(io.LimitReader(member, maxFactory))
	for lines.Scan() {
		name, _, _ := strings.Cut(lines.Text(), "#")
		if name = strings.TrimSpace(name); name != "" {
			return name
		}
	}
	return ""
}

// checkMake refuses a framework that the storage is not of. A storage that names no make is of any.
func (h *host) checkMake(files []string) error {
	content, err := os.ReadFile(filepath.Join(h.storage(), makeName))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	now, file := makeOf(files)
	if was := strings.TrimSpace(string(content)); was != "" && now != "" && was != now {
		return fmt.Errorf("%s is of another make than the framework that wrote %s: %s, not %s; name one of that make again, or give this one an environment of its own",
			file, h.storage(), now, was)
	}
	return nil
}

// keepMake makes the storage say which make the framework is of that was launched on it.
func (h *host) keepMake(files []string) error {
	now, _ := makeOf(files)
	path := filepath.Join(h.storage(), makeName)
	if content, err := os.ReadFile(path); now == "" || err == nil && string(content) == now+"\n" {
		return nil
	}
	next := path + ".new"
	err := writeFile(next, func(w io.Writer) error {
		_, err := io.WriteString(w, now+"\n")
		return err
	})
	if err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncDir(h.storage())
}

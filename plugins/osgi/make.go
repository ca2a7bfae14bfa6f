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
// read what the others wrote. An empty storage is marked before a launch, so that nothing that ends the launch, the adapter or the device
// leaves one that a framework wrote and that says nothing; as long as the framework has written nothing the mark is without effect.
const (
	// makeName is the file in the storage that names the make, as [makeOf] does.
	makeName = "make"
	// factoryName is the member of a jar that names the class which makes its framework (OSGi Core, Launching and Controlling a Framework).
	factoryName = "META-INF/services/org.osgi.framework.launch.FrameworkFactory"
	// maxFactory bounds what is read of it, in bytes.
	maxFactory = 64 << 10
	// frameworkName is what of the storage the host gives to the framework.
	frameworkName = "framework"
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

// written reports whether a framework wrote to the storage.
func (h *host) written() (bool, error) {
	entries, err := os.ReadDir(filepath.Join(h.storage(), frameworkName))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	return len(entries) > 0, nil
}

// mark returns the make that the storage names, empty when it names none.
func (h *host) mark() (string, error) {
	content, err := os.ReadFile(filepath.Join(h.storage(), makeName))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(content)), err
}

// checkMake refuses a framework that the storage is not of. A storage that names no make is of any.
func (h *host) checkMake(files []string) error {
	was, err := h.mark()
	if err != nil || was == "" {
		return err
	}
	if written, err := h.written(); err != nil || !written {
		return err
	}
	if now, file := makeOf(files); now != "" && was != now {
		return fmt.Errorf("%s is of another make than the framework that wrote %s: %s, not %s; name one of that make again, or give this one an environment of its own",
			file, h.storage(), now, was)
	}
	return nil
}

// claimMake marks the storage with the make of the framework that is to be launched, unless one has written there.
func (h *host) claimMake(files []string) error {
	if written, err := h.written(); err != nil || written {
		return err
	}
	now, _ := makeOf(files)
	if now != "" {
		return h.keepMake(now)
	}
	// The mark of a launch that came to nothing is not that of a framework that does not say what it is.
	if err := os.Remove(filepath.Join(h.storage(), makeName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// markRunning marks a storage without a mark with the make of the framework that runs on it.
func (h *host) markRunning() error {
	if was, err := h.mark(); err != nil || was != "" {
		return err
	}
	at, _, err := h.launchedFrom()
	if err != nil {
		return err
	}
	now, _ := makeOf(at)
	return h.keepMake(now)
}

// keepMake makes the storage say that it is of the make now, unless that is empty.
func (h *host) keepMake(now string) error {
	h.marking.Lock()
	defer h.marking.Unlock()
	if was, err := h.mark(); now == "" || err == nil && was == now {
		return nil
	}
	if err := os.MkdirAll(h.storage(), 0o700); err != nil {
		return err
	}
	path := filepath.Join(h.storage(), makeName)
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

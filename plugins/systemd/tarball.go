package systemd

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
	"github.com/smmd-project/smmd/plugins/rootfs"
)

// unitPaths are the directories where portabled looks for unit files, the first that has one of a name wins (systemd.unit(5)).
var unitPaths = []string{
	"etc/systemd/system.control", "run/systemd/system.control", "run/systemd/transient", "run/systemd/generator.early", "etc/systemd/system",
	"etc/systemd/system.attached", "run/systemd/system", "run/systemd/system.attached", "run/systemd/generator", "usr/local/lib/systemd/system",
	"usr/lib/systemd/system", "lib/systemd/system", "run/systemd/generator.late",
}

// osReleasePaths are where os-release is, in this order (os-release(5)).
var osReleasePaths = []string{"etc/os-release", "usr/lib/os-release"}

const (
	maxUnitFile = 1 << 20 // bytes of a unit file
	maxKept     = 8 << 20 // bytes of all files of an archive that are kept in memory
	maxLinks    = 40      // that are followed to a file, as the kernel does
)

// skeleton is what Inspect keeps of an archive: links, and the files that may be os-release or unit files.
type skeleton struct {
	links map[string]string // symbolic links
	files map[string][]byte
	kept  int
	marks map[string]bool // names at the root that tell of other kinds of archives
}

func newSkeleton() *skeleton {
	return &skeleton{links: map[string]string{}, files: map[string][]byte{}, marks: map[string]bool{}}
}

// inspectTar reads an archive once: the sieve that judges whether it may be unpacked, and the skeleton beside it.
func inspectTar(ctx context.Context, file string) (content, error) {
	f, err := os.Open(file)
	if err != nil {
		return content{}, fmt.Errorf("cannot read the package: %w", err)
	}
	defer f.Close()
	plain, err := rootfs.Decompress(f)
	if err != nil {
		return content{}, err
	}
	defer plain.Close()
	pr, pw := io.Pipe()
	sk := newSkeleton()
	done := make(chan error, 1)
	go func() {
		err := sk.read(pr)
		_, _ = io.Copy(io.Discard, pr) // what follows an error is for the sieve alone
		done <- err
	}()
	_, err = rootfs.Scan(ctx, io.TeeReader(plain, pw), rootfs.Options{})
	_ = pw.Close() // always nil
	kept := <-done
	if err == nil {
		err = kept
	}
	if err != nil {
		return content{}, err
	}
	return sk.content()
}

// read takes what is of interest from a plain archive. What is wrong with the archive, the sieve says.
func (s *skeleton) read(r io.Reader) error {
	tr := tar.NewReader(r)
	for {
		hdr, err := tr.Next()
		if err != nil {
			return nil //nolint:nilerr // the end, or the sieve's matter
		}
		name := strings.TrimPrefix(path.Clean("/"+hdr.Name), "/")
		s.marks[strings.SplitN(name, "/", 2)[0]] = true
		delete(s.links, name)
		delete(s.files, name)
		switch {
		case hdr.Typeflag == tar.TypeSymlink:
			s.links[name] = hdr.Linkname
		case hdr.Typeflag == tar.TypeLink:
			if data, ok := s.files[strings.TrimPrefix(path.Clean("/"+hdr.Linkname), "/")]; ok {
				s.files[name] = data
			}
		case hdr.Typeflag == tar.TypeReg && interesting(name):
			if err := s.keep(name, hdr.Size, tr); err != nil {
				return err
			}
		}
	}
}

// interesting reports whether a file may be one that is looked for, perhaps by way of a link.
func interesting(name string) bool {
	return strings.HasSuffix(path.Base(name), "os-release") || kindOf(path.Base(name)) != ""
}

func (s *skeleton) keep(name string, size int64, r io.Reader) error {
	if size > maxUnitFile || s.kept+int(size) > maxKept {
		return adapter.Errorf(adapter.Corrupt, "cannot use the package: %s is too large, or its unit files are together", name)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return nil //nolint:nilerr // the sieve's matter
	}
	s.kept += len(data)
	s.files[name] = data
	return nil
}

func (s *skeleton) content() (content, error) {
	var release []byte
	found := false
	for _, p := range osReleasePaths {
		if release, found = s.open(p); found {
			break
		}
	}
	if !found {
		what := "it has no os-release"
		if s.marks["oci-layout"] || s.marks["manifest.json"] {
			what = "it is a container image"
		}
		return content{}, adapter.Errorf(adapter.Mismatch, "cannot use the package: %s and is no portable service image", what)
	}
	units := map[string][]byte{}
	for _, dir := range unitPaths {
		for _, name := range s.list(dir) {
			if _, there := units[name]; there {
				continue
			}
			if data, ok := s.open(path.Join(dir, name)); ok {
				units[name] = data
			}
		}
	}
	return contentOf(release, units)
}

// list returns the names of unit files in a directory.
func (s *skeleton) list(dir string) []string {
	at, ok := s.resolve(dir)
	if !ok {
		return nil
	}
	var names []string
	for file := range s.files {
		if path.Dir(file) == at && kindOf(path.Base(file)) != "" {
			names = append(names, path.Base(file))
		}
	}
	for link := range s.links {
		if path.Dir(link) == at && kindOf(path.Base(link)) != "" {
			names = append(names, path.Base(link))
		}
	}
	slices.Sort(names)
	return names
}

func (s *skeleton) open(name string) ([]byte, bool) {
	at, ok := s.resolve(name)
	if !ok {
		return nil, false
	}
	data, ok := s.files[at]
	return data, ok
}

// resolve follows symbolic links as a process would whose root is the archive's.
func (s *skeleton) resolve(name string) (string, bool) {
	at, rest := "", name
	for links := 0; rest != ""; {
		var component string
		component, rest, _ = strings.Cut(rest, "/")
		switch component {
		case "", ".":
			continue
		case "..":
			if at = path.Dir(at); at == "." {
				at = ""
			}
			continue
		}
		next := path.Join(at, component)
		to, isLink := s.links[next]
		if !isLink {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", false
		}
		if path.IsAbs(to) {
			at = ""
		}
		rest = to + "/" + rest
	}
	return at, true
}

package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// A form is what kind of file a package is, told by its first bytes.
type form int

const (
	tarball  form = iota + 1 // of a tree, compressed or not
	squashfs                 // a read-only file system
	ext4                     // or its elders
)

// raw reports whether the package is the image itself.
func (f form) raw() bool { return f != tarball }

// readOnly reports whether nothing can be made in the image when it is mounted.
func (f form) readOnly() bool { return f == squashfs }

// formOf tells what a package is. [adapter.Mismatch]: something else.
func formOf(path string) (form, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("cannot read the package: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("cannot read the package: %w", err)
	}
	head := make([]byte, 2048)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, fmt.Errorf("cannot read the package: %w", err)
	}
	return formOfHead(head[:n], info.Size())
}

// foreign are the beginnings of files that are good packages, but of other kinds.
var foreign = map[string]string{
	"PK\x03\x04":       "a zip or jar file",
	"!<arch>\n":        "a Debian package",
	"\xed\xab\xee\xdb": "an RPM package",
	"\x7fELF":          "a program",
}

func formOfHead(head []byte, size int64) (form, error) {
	has := func(offset int, magic string) bool {
		return len(head) >= offset+len(magic) && string(head[offset:offset+len(magic)]) == magic
	}
	for magic, what := range foreign {
		if has(0, magic) {
			return 0, adapter.Errorf(adapter.Mismatch, "cannot use the package: it is %s and no portable service image", what)
		}
	}
	switch {
	case has(0, "hsqs"):
		return squashfs, checkSquashfs(head, size)
	case has(1024+56, "\x53\xef"):
		return ext4, checkExt4(head, size)
	case has(512, "EFI PART"):
		return 0, adapter.Errorf(adapter.Mismatch, "cannot use the package: it is an image of a disk with partitions; squashfs and ext4 without partitions are known")
	case has(0, "\x1f\x8b"), has(0, "\xfd7zXZ\x00"), has(0, "\x28\xb5\x2f\xfd"), has(257, "ustar"):
		return tarball, nil
	}
	return 0, adapter.Errorf(adapter.Corrupt, "cannot use the package: it is no tar archive, plain or compressed with gzip, xz or zstd, and no image of squashfs or ext4")
}

func little(b []byte) (n int64) {
	for _, x := range slices.Backward(b) {
		n = n<<8 | int64(x)
	}
	return n
}

// checkSquashfs compares the size that the superblock tells (offset 40, 8 bytes) with the file's.
func checkSquashfs(head []byte, size int64) error {
	if len(head) < 96 {
		return cutOff(size, 96)
	}
	if used := little(head[40:48]); used < 96 || used > size {
		return cutOff(size, used)
	}
	return nil
}

// checkExt4 compares the number of blocks that the superblock tells (offset 1024, low half at 4, binary logarithm of the size in KiB at 24) with the
// file's size.
func checkExt4(head []byte, size int64) error {
	if len(head) < 2048 {
		return cutOff(size, 2048)
	}
	super := head[1024:]
	shift := little(super[24:28])
	if shift > 6 {
		return adapter.Errorf(adapter.Corrupt, "cannot use the package: its file system has blocks of no known size")
	}
	if used := little(super[4:8]) << (10 + shift); used > size {
		return cutOff(size, used)
	}
	return nil
}

func cutOff(size, want int64) error {
	return adapter.Errorf(adapter.Corrupt, "cannot use the package: it has %d bytes and its file system says %d", size, want)
}

// inspect reads what a package says of itself.
func (e *env) inspect(ctx context.Context, p adapter.Package) (content, error) {
	if err := ctx.Err(); err != nil {
		return content{}, fmt.Errorf("cannot inspect the package: %w", err)
	}
	f, err := formOf(p.Path)
	if err != nil {
		return content{}, err
	}
	if f.raw() {
		return e.inspectRaw(ctx, p.Path, f)
	}
	return inspectTar(ctx, p.Path)
}

var osName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// contentOf puts together what os-release and the unit files say. units are all unit files of the image, by their names.
func contentOf(release []byte, units map[string][]byte) (content, error) {
	var c content
	o, err := parseOSRelease(release)
	if err != nil {
		return c, adapter.Errorf(adapter.Corrupt, "cannot use the package: %v", err)
	}
	name := o.name()
	if !osName.MatchString(name) {
		return c, adapter.Errorf(adapter.Corrupt, "cannot use the package: its os-release has no IMAGE_ID or ID that is a name, but %q", name)
	}
	c.Prefixes = o.prefixes()
	for u := range units {
		if !slices.ContainsFunc(c.Prefixes, func(p string) bool { return matches(u, p) }) {
			continue
		}
		if isPrefix(u) {
			return c, adapter.Errorf(adapter.Corrupt, "cannot use the package: what holds for its unit %s holds for all units of the device whose names begin in that way", u)
		}
		c.Units = append(c.Units, u)
	}
	slices.Sort(c.Units)
	if len(c.modules()) == 0 {
		return c, adapter.Errorf(adapter.Mismatch,
			"cannot use the package: it has no service, socket, timer, path or target with a name that begins with %s, followed by a dot or a dash (PORTABLE_PREFIXES, IMAGE_ID or ID of its os-release)",
			strings.Join(c.Prefixes, " or "))
	}
	c.Manifest = adapter.Manifest{Name: name, Vendor: o.vendor(), Version: o.version(), Description: o["PRETTY_NAME"]}
	for _, u := range c.Units {
		file := parseUnit(units[u])
		if d := file.last("Unit", "Description"); d != "" && (len(c.Units) == 1 || slices.Contains(c.Prefixes, strings.TrimSuffix(u, "."+service))) {
			c.Manifest.Description = d
		}
		if dirs := stateDirectories(file); len(dirs) > 0 && kindOf(u) == service && !isTemplate(u) {
			if c.States == nil {
				c.States = map[string][]string{}
			}
			c.States[u] = dirs
		}
	}
	return c, nil
}

// unitFile are the assignments of a unit file, by section and key in lower case as they are written.
type unitFile map[[2]string][]string

// parseUnit reads a unit file as far as it is plain (systemd.syntax(7)): continued lines are joined; nothing is expanded.
func parseUnit(data []byte) unitFile {
	u := unitFile{}
	section := ""
	joined := bytes.ReplaceAll(data, []byte("\\\n"), []byte(" "))
	for line := range strings.Lines(string(joined)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", line[0] == '#', line[0] == ';':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			key, value, _ := strings.Cut(line, "=")
			at := [2]string{section, strings.TrimSpace(key)}
			if value = strings.TrimSpace(value); value == "" {
				delete(u, at) // an empty assignment resets a list
				continue
			}
			u[at] = append(u[at], value)
		}
	}
	return u
}

func (u unitFile) last(section, key string) string {
	if all := u[[2]string{section, key}]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}

// stateDirectories are the directories outside of /run that a service keeps (systemd.exec(5), StateDirectory).
func stateDirectories(u unitFile) []string {
	var dirs []string
	for _, d := range []struct{ key, parent string }{{"StateDirectory", "/var/lib/"}, {"CacheDirectory", "/var/cache/"}, {"LogsDirectory", "/var/log/"}} {
		for _, value := range u[[2]string{"Service", d.key}] {
			for _, name := range strings.Fields(value) {
				name, _, _ = strings.Cut(name, ":") // names of links follow
				if clean := strings.Trim(name, "/"); clean != "" && !strings.Contains(clean, "..") && !strings.Contains(clean, "%") {
					dirs = append(dirs, d.parent+clean)
				}
			}
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

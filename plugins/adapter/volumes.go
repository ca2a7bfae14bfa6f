package adapter

import (
	"fmt"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// reservedPaths are where the modules of a unit find the device: no volume is there or below.
var reservedPaths = []string{"/dev", "/proc", "/run/systemd", "/sys"}

// longestName is the most bytes that the name of a file has on Linux (path_resolution(7), NAME_MAX).
const longestName = 255

// CheckVolumes returns an [InvalidArgument] error, "cannot <what>: …", that names the volume which is not as [Volume] says: an adapter calls it
// before it changes anything, and adds what its own environment cannot do. Paths are text of UTF-8 without control characters. Whether a Source is
// there it does not ask.
func CheckVolumes(what string, vs []Volume) error {
	for i, v := range vs {
		if wrong := wrongPath(v.Source); wrong != "" {
			return Errorf(InvalidArgument, "cannot %s: the directory %q of the volume at %q %s", what, v.Source, v.Path, wrong)
		}
		if wrong := wrongPath(v.Path); wrong != "" {
			return Errorf(InvalidArgument, "cannot %s: the path %q of a volume %s", what, v.Path, wrong)
		}
		for _, p := range reservedPaths {
			if within(v.Path, p) {
				return Errorf(InvalidArgument, "cannot %s: the path %q of a volume is at or below %s", what, v.Path, p)
			}
		}
		for _, w := range vs[:i] {
			switch {
			case v.Path == w.Path:
				return Errorf(InvalidArgument, "cannot %s: two volumes have the path %q", what, v.Path)
			case within(v.Path, w.Path), within(w.Path, v.Path):
				return Errorf(InvalidArgument, "cannot %s: of the paths %q and %q of volumes one is below the other", what, w.Path, v.Path)
			}
		}
	}
	return nil
}

// wrongPath says what is wrong with a path, empty if nothing is.
func wrongPath(p string) string {
	switch {
	case !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl):
		return "has a control character or is no text of UTF-8"
	case !path.IsAbs(p):
		return "is not absolute"
	case path.Clean(p) != p:
		return "is not clean"
	case p == "/":
		return "is the root"
	}
	for name := range strings.SplitSeq(p, "/") {
		if len(name) > longestName {
			return fmt.Sprintf("has a name of more than %d bytes", longestName)
		}
	}
	return ""
}

// within reports whether p is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

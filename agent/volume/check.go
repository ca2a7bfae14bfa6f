package volume

import (
	"cmp"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
)

// Check judges volumes that are asked for by themselves; encrypted says whether those that are made here are on an encrypted medium. Errors are invalid-arguments and
// unsupported-argument.
func Check(all []model.VolumeRequest, encrypted bool) error {
	names := map[string]bool{}
	for _, v := range all {
		why := ""
		switch {
		case v.Name == "":
			why = "its name is empty"
		case !utf8.ValidString(v.Name) || strings.ContainsFunc(v.Name, unicode.IsControl):
			why = "its name is no text, or has control characters in it"
		case utf8.RuneCountInString(v.Name) > model.MaxVolumeName:
			why = "its name is too long"
		case names[v.Name]:
			why = "it is there twice"
		case v.Capacity < 1 || v.Capacity > model.MaxCapacity:
			why = "a capacity is at least 1 MiB, and at most 4294967295"
		case v.Retain != model.Forever && v.Retain != model.UntilStopped:
			why = "it is kept neither Forever nor UntilStopped"
		default:
			why = wrongPath(v.AccessPath)
		}
		if why != "" {
			return fault.Errorf(fault.InvalidArguments, "cannot make application data %.40q: %s", v.Name, why)
		}
		if v.Encrypted && !encrypted {
			return fault.Errorf(fault.UnsupportedArgument,
				"cannot make application data %q: this device has no encrypted medium for it (Encrypted is true where it is not given: ask for false)", v.Name)
		}
		names[v.Name] = true
	}
	return checkSet(requested(all))
}

// wrongPath says why nothing can be at a path; empty when something can.
func wrongPath(p string) string {
	switch {
	case !utf8.ValidString(p) || strings.ContainsFunc(p, unicode.IsControl):
		return "its path is no text, or has control characters in it"
	case utf8.RuneCountInString(p) > model.MaxAccessPath:
		return "its path is too long"
	case !path.IsAbs(p) || path.Clean(p) != p:
		return "its path is not absolute, or not in its shortest form"
	case p == "/":
		return "its path is the root"
	}
	for _, system := range []string{"/dev", "/proc", "/run/systemd", "/sys"} {
		if within(p, system) {
			return "its path is at or below " + system
		}
	}
	return ""
}

// within reports whether a path is at or below another one.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

// requested are volumes as far as [checkSet] looks at them.
func requested(all []model.VolumeRequest) []model.Volume {
	var out []model.Volume
	for _, v := range all {
		out = append(out, model.Volume{Name: v.Name, AccessPath: v.AccessPath})
	}
	return out
}

// checkSet judges volumes together, which one unit is to have.
func checkSet(all []model.Volume) error {
	if len(all) > model.MaxVolumes {
		return fault.Errorf(fault.InvalidArguments, "cannot make application data: a deployment unit has at most %d volumes, these are %d", model.MaxVolumes, len(all))
	}
	byPath := slices.SortedFunc(slices.Values(all), func(a, b model.Volume) int { return cmp.Compare(a.AccessPath, b.AccessPath) })
	for i, a := range byPath {
		for _, b := range byPath[i+1:] {
			if within(b.AccessPath, a.AccessPath) {
				return fault.Errorf(fault.InvalidArguments, "cannot have application data %q at %s: %q is at %s", b.Name, b.AccessPath, a.Name, a.AccessPath)
			}
		}
	}
	return nil
}

package volume

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/plugins/adapter"
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
			why = fmt.Sprintf("its name has more than %d characters", model.MaxVolumeName)
		case names[v.Name]:
			why = "it is there twice"
		case v.Capacity < 1 || v.Capacity > model.MaxCapacity:
			why = fmt.Sprintf("its capacity is not 1 to %d MiB", int64(model.MaxCapacity))
		case v.Retain != model.Forever && v.Retain != model.UntilStopped:
			why = "it is kept neither Forever nor UntilStopped"
		case v.AccessPath == "":
			why = "it has no path"
		case utf8.RuneCountInString(v.AccessPath) > model.MaxAccessPath:
			why = fmt.Sprintf("its path has more than %d characters", model.MaxAccessPath)
		}
		if why != "" {
			return fault.Errorf(fault.InvalidArguments, "cannot make application data %.40q: %s", v.Name, why)
		}
		if v.Encrypted && !encrypted {
			return fault.Errorf(fault.UnsupportedArgument,
				"cannot make application data %q: what this device stores is not on an encrypted medium, ask for Encrypted=false (in USP true is the default)", v.Name)
		}
		names[v.Name] = true
	}
	return checkSet(requested(all))
}

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
	var told []adapter.Volume
	for _, v := range all {
		told = append(told, adapter.Volume{Source: "/" + strconv.Itoa(len(told)), Path: v.AccessPath})
	}
	return fault.As(fault.InvalidArguments, adapter.CheckVolumes("make application data", told)) // the rules of paths are those of environments
}

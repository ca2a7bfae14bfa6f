package systemd

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// givenVolume is a directory of the device that the services of a deployment unit see. The service manager binds it into the file system of each
// service when it starts: only there, since a service with a root of its own has its own mounts, none of which come back to the device.
type givenVolume struct {
	Source string `json:"source"`
	Path   string `json:"path"`
}

// volumesOf checks volumes. [adapter.InvalidArgument] and [adapter.NotSupported] name the one that is wrong.
func volumesOf(vs []adapter.Volume, what string) ([]givenVolume, error) {
	if err := adapter.CheckVolumes(what, vs); err != nil {
		return nil, err
	}
	var out []givenVolume
	for _, v := range vs {
		for _, p := range []string{v.Source, v.Path} {
			if strings.ContainsFunc(p, refused) {
				return nil, adapter.Errorf(adapter.NotSupported, "cannot %s: systemd takes no path with characters that Unicode does not have, as in %q", what, p)
			}
		}
		out = append(out, givenVolume(v))
	}
	return out, nil
}

// volumesDropIn is the part of the drop-in of a service that has to do with volumes.
func volumesDropIn(service string, vs []givenVolume) string {
	text := ""
	hidden := slices.ContainsFunc(vs, func(v givenVolume) bool {
		return slices.ContainsFunc(homes, func(dir string) bool { return v.Path == dir || strings.HasPrefix(v.Path, dir+"/") })
	})
	if hidden && yes(setting(attachedFiles(service), "ProtectHome")) {
		text = "ProtectHome=tmpfs\n" // they are as empty, and what is mounted below is not masked
	}
	return text + bindPaths(vs)
}

// homes are what ProtectHome= hides (systemd.exec(5)).
var homes = []string{"/home", "/root", "/run/user"}

// attachedFiles are the unit file of a service that is attached and what portabled adds to it, the profile above all, in the order in which they count.
func attachedFiles(service string) (files []unitFile) {
	for _, dir := range attachedDirs {
		more, _ := filepath.Glob(filepath.Join(dir, service+".d", "*.conf")) // the pattern is a good one
		for _, file := range append([]string{filepath.Join(dir, service)}, more...) {
			if data, err := os.ReadFile(file); err == nil { // else it is attached in the other way
				files = append(files, parseUnit(data))
			}
		}
	}
	return files
}

// setting is what the last of the files says.
func setting(files []unitFile, key string) (value string) {
	for _, f := range files {
		value = cmp.Or(f.last("Service", key), value)
	}
	return value
}

// yes and no are how the manager reads a truth value (systemd.syntax(7)).
func yes(value string) bool {
	return slices.Contains([]string{"1", "yes", "y", "true", "t", "on"}, strings.ToLower(value))
}

func no(value string) bool {
	return slices.Contains([]string{"0", "no", "n", "false", "f", "off"}, strings.ToLower(value))
}

// bindPaths are the settings that bind volumes (systemd.exec(5), BindPaths). Of two that bind to one path the manager takes the one that does not
// bind what is mounted below: so a volume wins over a BindPaths= of the image's own.
func bindPaths(vs []givenVolume) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`)
	var b strings.Builder
	for _, v := range vs {
		fmt.Fprintf(&b, "BindPaths=\"%s\":\"%s\":norbind\n", quote.Replace(v.Source), quote.Replace(v.Path))
	}
	return b.String()
}

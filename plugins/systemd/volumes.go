package systemd

import (
	"fmt"
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

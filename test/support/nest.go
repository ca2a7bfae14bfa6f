package support

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
)

// Nest leaves the launch to a bundle in another framework, nested-1.0.0.jar of the test bundles: it launches this one inside the JVM of its own
// framework when it is started, and ends it when it is stopped. The properties that are returned are for that other framework.
func (l *Launcher) Nest() map[string]string {
	l.t.Helper()
	all := map[string]string{
		"org.osgi.framework.storage": l.Storage(), "org.osgi.framework.startlevel.beginning": fmt.Sprint(l.StartLevel),
	}
	if l.Framework == "equinox" {
		maps.Copy(all, equinoxProperties)
	} else { // in another Felix it finds none of its resources by a text, and the console begins with one
		l.write("etc/gosh_profile", nil)
		all["gosh.home"] = l.Dir
	}
	maps.Copy(all, l.properties())
	jar := (&Env{Framework: l.Framework}).framework().find(l.t)
	all["class_path"] = strings.Join([]string{jar, BundlePath(l.t, "nested-1.0.0.jar")}, ",")
	all["bundles"] = strings.Join(l.all(), ",")
	l.write("nested.properties", all)
	return map[string]string{"smmd.test.nested": filepath.Join(l.Dir, "nested.properties")}
}

package docs

import (
	"slices"
	"strings"
	"testing"
)

// TestSystemdParameters looks for the parameters and fault codes that systemd.md tells of in the data model.
func TestSystemdParameters(t *testing.T) {
	const page = "docs/systemd.md"
	text, model := read(t, page), modeled()
	for _, object := range []string{"ExecEnv", "DeploymentUnit", "ExecutionUnit"} {
		for _, cells := range table(t, section(t, text, "### "+object), "parameter") {
			if strings.HasSuffix(cells[0], "(D-Bus)") {
				continue
			}
			for name := range strings.SplitSeq(cells[0], ", ") {
				if model["Device.SoftwareModules."+object+".{i}."+name] == nil {
					t.Errorf("%s tells of %s.{i}.%s, which the data model does not have", page, object, name)
				}
			}
		}
	}
	codes := model["Device.SoftwareModules.ExecutionUnit.{i}.ExecutionFaultCode"].Enum
	for _, cells := range table(t, section(t, text, "## Faults"), "what happens") {
		named := slices.ContainsFunc(codes, func(code string) bool { return strings.Contains(cells[1], code) })
		if !named {
			t.Errorf("%s tells of %q without a fault code: %s", page, cells[0], cells[1])
		}
	}
}

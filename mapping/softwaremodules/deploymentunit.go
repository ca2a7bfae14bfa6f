package softwaremodules

import (
	"time"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

var deploymentUnitTable = &object{
	Name: "DeploymentUnit", UniqueKeys: [][]string{{"UUID", "Version", "ExecutionEnvRef"}, {"Alias"}},
	Table: &table{Rows: deploymentUnits, Row: deploymentUnit, Alias: func(r Row) string { return r.du.Alias }},
	Parameters: []*parameter{
		{Name: "UUID", Type: dm.String, Length: 36, Since: "2.1", Text: func(r Row) string { return r.du.UUID }},
		{Name: "DUID", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.du.DUID }},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", Check: alias, Attribute: attribute(model.Alias), Text: func(r Row) string { return r.du.Alias }},
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.1", From: "2.18", Protocol: dm.USPOnly, Text: func(r Row) string { return r.du.Alias }},
		{Name: "Name", Type: dm.String, Length: 64, Since: "2.1", Text: func(r Row) string { return r.du.Name }},
		{Name: "Name", Type: dm.String, Length: 256, Since: "2.1", From: "2.16", Text: func(r Row) string { return r.du.Name }},
		{Name: "Status", Type: dm.String, Enum: []string{"Installing", "Installed", "Updating", "Uninstalling", "Uninstalled"}, Since: "2.1", Notify: dm.NotifyCanDeny, Text: func(r Row) string { return string(r.du.Status) }},
		{Name: "Resolved", Type: dm.Boolean, Since: "2.1", Bool: func(r Row) bool { return r.du.Resolved }},
		{Name: "URL", Type: dm.String, Length: 2048, Since: "2.1", Text: func(r Row) string { return r.du.URL }},
		{Name: "Description", Type: dm.String, Length: 256, Since: "2.1", Text: func(r Row) string { return r.du.Description }},
		{Name: "Vendor", Type: dm.String, Length: 128, Since: "2.1", Text: func(r Row) string { return r.du.Vendor }},
		{Name: "Version", Type: dm.String, Length: 32, Since: "2.1", Text: func(r Row) string { return r.du.Version }},
		{Name: "VendorLogList", Type: dm.String, List: true, Since: "2.1", Text: empty},
		{Name: "VendorConfigList", Type: dm.String, List: true, Since: "2.1", Text: empty},
		{Name: "ExecutionUnitList", Type: dm.String, List: true, Reference: executionUnitPath, Since: "2.1", Text: func(r Row) string { return r.view.executionUnitsOf(r.du.ID) }},
		{Name: "ExecutionEnvRef", Type: dm.String, Reference: execEnvPath, Since: "2.1", Text: func(r Row) string { return r.view.execEnvRef(r.du.Env) }},
		{Name: "Installed", Type: dm.DateTime, Since: "2.16", Time: func(r Row) time.Time { return r.du.Installed }},
		{Name: "LastUpdate", Type: dm.DateTime, Since: "2.16", Time: func(r Row) time.Time { return r.du.LastUpdate }},
		{Name: "ModuleVersion", Type: dm.String, Length: 32, Since: "2.17", Protocol: dm.USPOnly, Text: func(r Row) string { return r.du.ModuleVersion }},
		{Name: "InternalController", Type: dm.String, Since: "2.16", Protocol: dm.USPOnly, Text: empty},
	},
	Commands: []*command{
		{Name: "Update()", Async: true, Since: "2.12", Inputs: updateInputs},
		{Name: "Uninstall()", Async: true, Since: "2.12", Inputs: []*argument{retainData}},
	},
}

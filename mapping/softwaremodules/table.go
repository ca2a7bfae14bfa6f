package softwaremodules

import (
	"errors"
	"iter"
	"math"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

type (
	object    = dm.Object[Row]
	table     = dm.Table[Row]
	parameter = dm.Parameter[Row]
	command   = dm.Command
	event     = dm.Event
	argument  = dm.Argument
)

var (
	levels  = dm.Range{Min: -1, Max: model.MaxRunLevel}
	level   = dm.Range{Min: 0, Max: model.MaxRunLevel}
	size    = dm.Range{Min: model.UnknownSize, Max: math.MaxInt32} // KiB
	percent = dm.Range{Min: -1, Max: 100}
)

// attribute returns what a write to a parameter sets.
func attribute(a model.Attribute) string { return string(a) }

// The readers of what this agent has nothing for. Of the lists, the OSGi guideline asks for emptiness by name in VendorLogList,
// VendorConfigList, References and AssociatedProcessList; the other tables that could be referred to (DeviceInfo.Processor,
// DeviceInfo.SupportedDataModel, IP.Interface, roles) are not this agent's either.
func empty(Row) string    { return "" }
func zero(Row) int64      { return 0 }
func unknown(Row) int64   { return -1 } // not applicable, for shares and limits that are not managed
func never(Row) time.Time { return time.Time{} }

// The tables that parameters refer to.
const (
	execEnvClassPath    = "Device.SoftwareModules.ExecEnvClass."
	execEnvPath         = "Device.SoftwareModules.ExecEnv."
	deploymentUnitPath  = "Device.SoftwareModules.DeploymentUnit."
	executionUnitPath   = "Device.SoftwareModules.ExecutionUnit."
	applicationDataPath = "Device.SoftwareModules.ExecEnv.{i}.ApplicationData."
)

// rowless is a table that has no rows.
var rowless = &table{
	Rows: func(Row) iter.Seq2[uint32, Row] { return func(func(uint32, Row) bool) {} },
	Row:  func(Row, uint32) (Row, bool) { return Row{}, false },
}

// alias is the rule for a written Alias (TR-106, data type Alias).
func alias(text string) error {
	first, _ := utf8.DecodeRuneInString(text)
	switch {
	case text == "":
		return errors.New("an alias is not empty")
	case !unicode.IsLetter(first):
		return errors.New("an alias begins with a letter")
	}
	return nil
}

// The versions of Device:2 that the agent can announce.
const (
	Version      = "2.19" // unless the configuration says otherwise
	OlderVersion = "2.15" // before the data model of software modules grew
)

// root is the data model of all protocols and versions, with what this agent has of it. What an object or parameter has no value for is
// either empty, as the data model allows it, or absent.
var root = &object{Objects: []*object{{Name: "Device", Objects: []*object{{
	Name: "SoftwareModules",
	Parameters: []*parameter{
		{Name: "ExecEnvClassNumberOfEntries", Type: dm.UnsignedInt, Since: "2.16", Int: zero},
		{Name: "ExecEnvNumberOfEntries", Type: dm.UnsignedInt, Since: "2.1", Int: func(r Row) int64 { return int64(r.view.Count(model.KindExecEnv)) }},
		{Name: "DeploymentUnitNumberOfEntries", Type: dm.UnsignedInt, Since: "2.1", Int: func(r Row) int64 { return int64(r.view.Count(model.KindDeploymentUnit)) }},
		{Name: "ExecutionUnitNumberOfEntries", Type: dm.UnsignedInt, Since: "2.1", Int: func(r Row) int64 { return int64(r.view.Count(model.KindExecutionUnit)) }},
	},
	Commands: []*command{{Name: "InstallDU()", Async: true, Since: "2.12", Inputs: installInputs, Outputs: installOutputs}},
	Events:   []*event{stateChange},
	Objects:  []*object{execEnvClassTable, execEnvTable, deploymentUnitTable, executionUnitTable},
}, managementServer}}}}

// views are made once, by protocol and version.
var views = func() map[dm.Protocol]map[string]*object {
	all := map[dm.Protocol]map[string]*object{}
	for _, p := range []dm.Protocol{dm.CWMPOnly, dm.USPOnly} {
		all[p] = map[string]*object{}
		for _, v := range []string{Version, OlderVersion} {
			all[p][v] = root.View(p, v)
		}
	}
	return all
}()

// Tree returns the data model as a protocol sees it, [dm.CWMPOnly] or [dm.USPOnly], in one of the two versions. It is never changed.
func Tree(p dm.Protocol, version string) *dm.Object[Row] { return views[p][version] }

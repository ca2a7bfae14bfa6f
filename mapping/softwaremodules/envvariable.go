package softwaremodules

import (
	"errors"
	"iter"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// envVariableTable is what the controller gave to the deployment unit of an execution unit, so it is the same for all execution units of one.
// The variables that the package itself brings are not in it. CWMP can see it (TR-181, CWMP, Device.SoftwareModules.); an Alias is the
// agent's own for both protocols.
var envVariableTable = &object{
	Name: "EnvVariable", Since: "2.17", UniqueKeys: [][]string{{"Key"}, {"Alias"}},
	Table: &table{Rows: envVariables, Row: envVariable, Alias: variableAlias},
	Parameters: []*parameter{
		{Name: "Alias", Type: dm.String, Length: 64, Since: "2.17", Text: variableAlias},
		{Name: "Key", Type: dm.String, Length: model.MaxVariable, Since: "2.17", Text: func(r Row) string { return r.variable.Key }},
		{Name: "Value", Type: dm.String, Length: model.MaxVariable, Since: "2.17", Text: func(r Row) string { return r.variable.Value }},
	},
}

func envVariables(r Row) iter.Seq2[uint32, Row] {
	return func(yield func(uint32, Row) bool) {
		all := r.view.SettingsOf(r.eu).Variables
		for i := range all {
			if !yield(all[i].Number, Row{view: r.view, variable: &all[i]}) {
				return
			}
		}
	}
}

func envVariable(r Row, instance uint32) (Row, bool) {
	for n, row := range envVariables(r) {
		if n == instance {
			return row, true
		}
	}
	return Row{}, false
}

// variableAlias is what an agent gives to a row that nobody named (TR-106, data type Alias).
func variableAlias(r Row) string { return "cpe-" + strconv.FormatUint(uint64(r.variable.Number), 10) }

// variableKey is the rule for the name of an environment variable: what a process could not be given is refused at once.
func variableKey(text string) error {
	switch {
	case text == "":
		return errors.New("the name of a variable is not empty")
	case strings.Contains(text, "="):
		return errors.New("the name of a variable has no equals sign")
	}
	return nil
}

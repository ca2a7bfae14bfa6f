package softwaremodules

import (
	"strconv"

	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// FaultCodes are the codes that FaultCodeFilter can name, those of the result of an operation on a deployment unit (TR-069 Tables 81 and 85).
var FaultCodes = []string{
	"9001", "9003", "9012", "9013", "9015", "9016", "9017", "9018", "9022", "9023", "9024", "9025", "9026", "9027", "9028", "9029", "9030",
	"9031", "9032",
}

// managementServer is Device.ManagementServer. with what concerns software modules; the rest of it is the CWMP client's own.
var managementServer = &object{Name: "ManagementServer", Protocol: dm.CWMPOnly, Objects: []*object{{
	Name: "DUStateChangeComplPolicy",
	Row:  func(parent Row) Row { return Row{view: parent.view, policy: true} },
	Parameters: []*parameter{
		{Name: "Enable", Type: dm.Boolean, Since: "2.1", Attribute: attribute(model.PolicyEnable), Bool: func(r Row) bool { return r.view.Policy.Enable }},
		{Name: "OperationTypeFilter", Type: dm.String, List: true, Enum: []string{"Install", "Update", "Uninstall"}, Since: "2.1", Attribute: attribute(model.PolicyOperationTypeFilter), Text: operationTypes},
		{Name: "ResultTypeFilter", Type: dm.String, Enum: []string{"Success", "Failure", "Both"}, Since: "2.1", Attribute: attribute(model.PolicyResultTypeFilter), Text: func(r Row) string { return r.view.Policy.Results }},
		{Name: "FaultCodeFilter", Type: dm.String, List: true, Enum: FaultCodes, Since: "2.1", Attribute: attribute(model.PolicyFaultCodeFilter), Text: faultCodes},
	},
}}}

func operationTypes(r Row) string {
	var list []byte
	for _, o := range r.view.Policy.Operations {
		list = add(list, string(o))
	}
	return string(list)
}

func faultCodes(r Row) string {
	var list []byte
	for _, c := range r.view.Policy.FaultCodes {
		list = add(list, strconv.FormatUint(uint64(c), 10))
	}
	return string(list)
}

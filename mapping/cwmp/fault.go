package cwmp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// A Fault refuses a whole RPC (TR-069 A.5). Code is the CWMP fault code and Reason the agent's own word for it; Message says what could not
// be done. Parameters is set for SetParameterValues only, together with code 9003: one for each value that is refused.
type Fault struct {
	Code       uint32
	Reason     fault.Reason
	Message    string
	Parameters []ParameterFault
}

// A ParameterFault is one SetParameterValuesFault (TR-069 A.5).
type ParameterFault struct {
	Name    string // as it was given
	Code    uint32 // 9005 to 9008
	Message string
}

func (f *Fault) Error() string { return f.Message }

// badName refuses a call that names something that is not there.
func badName(err error) *Fault {
	return &Fault{Code: InvalidParameterName, Reason: fault.InvalidArguments, Message: err.Error()}
}

// refused turns what the agent says about a set into a fault.
func refused(values []ParameterValue, err error) *Fault {
	var set *model.SetError
	if !errors.As(err, &set) || len(set.Faults) == 0 {
		r := fault.ReasonOf(err)
		return &Fault{Code: RPC(r), Reason: r, Message: err.Error()}
	}
	var wrong []ParameterFault
	var reasons []fault.Reason
	for i, v := range values { // in the order of the request
		e, ok := set.Faults[i]
		if !ok {
			continue
		}
		r := fault.ReasonOf(e)
		if concernsRequest(r) {
			return &Fault{Code: RPC(r), Reason: r, Message: e.Error()}
		}
		wrong, reasons = append(wrong, ParameterFault{v.Name, ParameterCode(r), e.Error()}), append(reasons, r)
	}
	if len(wrong) == 0 { // the agent refused something that nobody asked for
		return &Fault{Code: RPC(fault.Internal), Reason: fault.Internal, Message: err.Error()}
	}
	reason := fault.InvalidArguments
	if len(slices.Compact(reasons)) == 1 {
		reason = reasons[0]
	}
	return &Fault{Code: InvalidArguments, Reason: reason, Message: summary(wrong), Parameters: wrong}
}

// summary is a message about several parameters.
func summary(wrong []ParameterFault) string {
	if len(wrong) == 1 {
		return wrong[0].Message
	}
	return fmt.Sprintf("%s (and %d more)", wrong[0].Message, len(wrong)-1)
}

// sameType reports whether name, with whatever prefix the XML Schema namespace has, is the type t.
func sameType(name string, t dm.Type) bool {
	return name[strings.LastIndexByte(name, ':')+1:] == string(t)
}

package report

import (
	"slices"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// The values of ResultTypeFilter (TR-181, ManagementServer.DUStateChangeComplPolicy.).
const (
	ResultSuccess = "Success"
	ResultFailure = "Failure"
	ResultBoth    = "Both"
)

var allPerformed = []model.Performed{model.PerformedInstall, model.PerformedUpdate, model.PerformedUninstall}

// defaultPolicy reports nothing, and everything once it is enabled. The data model has no defaults.
func (k *Keeper) defaultPolicy() model.Policy {
	p := model.Policy{Operations: slices.Clone(allPerformed), Results: ResultBoth}
	for _, r := range fault.Reasons() {
		for _, what := range allPerformed {
			p.FaultCodes = append(p.FaultCodes, k.Code(what, r))
		}
	}
	slices.Sort(p.FaultCodes)
	p.FaultCodes = slices.Compact(p.FaultCodes)
	return p
}

// passes reports whether the policy has an autonomous result told.
func (k *Keeper) passes(p model.Policy, res model.Result) bool {
	switch {
	case !p.Enable || !slices.Contains(p.Operations, res.Performed):
		return false
	case res.Fault == fault.None:
		return p.Results != ResultFailure
	default:
		return p.Results != ResultSuccess && slices.Contains(p.FaultCodes, k.Code(res.Performed, res.Fault))
	}
}

// SetPolicy sets one attribute of the policy. An error is of class invalid-arguments.
func (k *Keeper) SetPolicy(tx *inventory.Tx, x model.Assignment) error {
	p := tx.Policy
	var text string
	switch v := x.Value.(type) {
	case bool:
		if x.Attribute != model.PolicyEnable {
			return refused(x)
		}
		p.Enable = v
	case string:
		if x.Attribute == model.PolicyEnable {
			return refused(x)
		}
		text = v
	default:
		return refused(x)
	}
	switch x.Attribute {
	case model.PolicyEnable:
	case model.PolicyOperationTypeFilter:
		p.Operations = nil
		for _, word := range list(text) {
			if !slices.Contains(allPerformed, model.Performed(word)) {
				return refused(x)
			}
			p.Operations = append(p.Operations, model.Performed(word))
		}
	case model.PolicyResultTypeFilter:
		if text != ResultSuccess && text != ResultFailure && text != ResultBoth {
			return refused(x)
		}
		p.Results = text
	case model.PolicyFaultCodeFilter:
		p.FaultCodes = nil
		for _, word := range list(text) {
			n, err := strconv.ParseUint(word, 10, 32)
			if err != nil {
				return refused(x)
			}
			p.FaultCodes = append(p.FaultCodes, uint32(n))
		}
	default:
		return fault.Errorf(fault.InvalidArguments, "cannot set %s of the policy: there is no such attribute", x.Attribute)
	}
	st, err := tx.Store()
	if err != nil {
		return err
	}
	tx.SetPolicy(p)
	return policies.Put(st, policyKey, p)
}

func refused(x model.Assignment) error {
	return fault.Errorf(fault.InvalidArguments, "cannot set %s of the policy to %.80q", x.Attribute, x.Value)
}

// list splits a comma-separated list (TR-106 3.2.3: blanks around the commas are ignored).
func list(s string) (words []string) {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	for word := range strings.SplitSeq(s, ",") {
		words = append(words, strings.TrimSpace(word))
	}
	return words
}

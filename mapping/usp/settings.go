package usp

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// settings are the arguments of InstallDU() and Update() that say what the execution units are given.
type settings struct {
	variables []model.VariableRequest // nil: none is given
	limits    model.LimitsRequest
}

func readSettings(args map[string]any) (settings, error) {
	variables, err := readVariables(args)
	if err != nil {
		return settings{}, err
	}
	limits, err := readLimits(args, "Resources.")
	return settings{variables, limits}, err
}

// readVariables returns the rows of EnvVariable.{i}. in the order of their numbers, which may have holes: they are those of the arguments and not
// those that the rows in the data model will have. No two rows have the same Key.
func readVariables(args map[string]any) ([]model.VariableRequest, error) {
	type row struct {
		number uint64
		model.VariableRequest
	}
	var rows []row
	for name, value := range args {
		prefix, isKey := strings.CutSuffix(name, ".Key")
		number, ok := strings.CutPrefix(prefix, "EnvVariable.")
		if !isKey || !ok {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, fault.Errorf(fault.Internal, "cannot read the argument %s: %w", name, err)
		}
		key, _ := value.(string)
		text, _ := args[prefix+".Value"].(string) // mandatory: it is there
		rows = append(rows, row{n, model.VariableRequest{Key: key, Value: text}})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.number, b.number) })
	first := map[string]uint64{}
	var variables []model.VariableRequest
	for _, r := range rows {
		if n, twice := first[r.Key]; twice {
			return nil, fault.Errorf(fault.InvalidArguments, "cannot take EnvVariable.%d: it has the Key of EnvVariable.%d", r.number, n)
		}
		first[r.Key] = r.number
		variables = append(variables, r.VariableRequest)
	}
	return variables, nil
}

// readLimits returns the arguments AllocatedDiskSpace, AllocatedMemory and AllocatedCPUPercent of an object, "" for none.
func readLimits(args map[string]any, object string) (model.LimitsRequest, error) {
	var r model.LimitsRequest
	read := func(name string) (*int64, error) {
		n, given := args[object+name].(int)
		if !given {
			return nil, nil
		}
		limit, err := softwaremodules.Limit(object+name, n)
		return &limit, err
	}
	var err error
	if r.Disk, err = read("AllocatedDiskSpace"); err != nil {
		return model.LimitsRequest{}, err
	}
	if r.Memory, err = read("AllocatedMemory"); err != nil {
		return model.LimitsRequest{}, err
	}
	cpu, err := read("AllocatedCPUPercent")
	if err != nil {
		return model.LimitsRequest{}, err
	}
	if cpu != nil {
		percent := int(*cpu)
		r.CPU = &percent
	}
	return r, nil
}

package usp

import (
	"fmt"
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
	volumes   []model.VolumeRequest
}

func readSettings(args map[string]any) (settings, error) {
	variables, err := readVariables(args)
	if err != nil {
		return settings{}, err
	}
	volumes, err := readVolumes(args)
	if err != nil {
		return settings{}, err
	}
	limits, err := readLimits(args, "Resources.")
	return settings{variables, limits, volumes}, err
}

// rows returns the numbers that the rows of a table have among the arguments, in their order, which may have holes: they are those of the arguments and not
// those that rows in the data model will have. mandatory is an argument that every row has.
func rows(args map[string]any, table, mandatory string) ([]uint64, error) {
	var numbers []uint64
	for name := range args {
		number, ok := strings.CutPrefix(name, table)
		number, is := strings.CutSuffix(number, mandatory)
		if !ok || !is {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil {
			return nil, fault.Errorf(fault.Internal, "cannot read the argument %s: %w", name, err)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers, nil
}

// readVariables returns the rows of EnvVariable.{i}. in the order of their numbers. No two rows have the same Key.
func readVariables(args map[string]any) ([]model.VariableRequest, error) {
	numbers, err := rows(args, "EnvVariable.", ".Key")
	if err != nil {
		return nil, err
	}
	first := map[string]uint64{}
	var variables []model.VariableRequest
	for _, n := range numbers {
		row := fmt.Sprintf("EnvVariable.%d.", n)
		key, _ := args[row+"Key"].(string)
		value, _ := args[row+"Value"].(string) // mandatory: it is there
		if of, twice := first[key]; twice {
			return nil, fault.Errorf(fault.InvalidArguments, "cannot take EnvVariable.%d: it has the Key of EnvVariable.%d", n, of)
		}
		first[key] = n
		variables = append(variables, model.VariableRequest{Key: key, Value: value})
	}
	return variables, nil
}

// readVolumes returns the rows of ApplicationData.{i}. in the order of their numbers. What is wrong with one, or with several together, the agent says.
func readVolumes(args map[string]any) ([]model.VolumeRequest, error) {
	numbers, err := rows(args, "ApplicationData.", ".Name")
	if err != nil {
		return nil, err
	}
	var volumes []model.VolumeRequest
	for _, n := range numbers {
		row := fmt.Sprintf("ApplicationData.%d.", n)
		text := func(name string) string { s, _ := args[row+name].(string); return s }
		capacity, _ := args[row+"Capacity"].(int)
		encrypted, _ := args[row+"Encrypted"].(bool) // it is there: it has a default
		volumes = append(volumes, model.VolumeRequest{
			Name: text("Name"), Capacity: int64(capacity), Encrypted: encrypted, Retain: model.Retain(text("Retain")), AccessPath: text("AccessPath"),
		})
	}
	return volumes, nil
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

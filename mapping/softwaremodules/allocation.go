package softwaremodules

import "github.com/smmd-project/smmd/agent/fault"

// noLimit is what the data model says, and takes, where nothing is limited (TR-181, AllocatedDiskSpace and its like: not applicable).
const noLimit = -1

// Allocated returns a limit of the model, in which 0 is none, as the data model says it.
func Allocated(limit int64) int64 {
	if limit <= 0 {
		return noLimit
	}
	return limit
}

// Limit returns a value of AllocatedDiskSpace, AllocatedMemory or AllocatedCPUPercent that is asked for as the model has it: 0 for the -1 that
// takes a limit away. Nothing can run within 0, so that is refused, of class unsupported-argument. name is for the message.
func Limit(name string, value int) (int64, error) {
	switch {
	case value == noLimit:
		return 0, nil
	case value < noLimit:
		return 0, fault.Errorf(fault.InvalidArguments, "cannot take %d for %s: it is -1 or more", value, name)
	case value == 0:
		return 0, fault.Errorf(fault.UnsupportedArgument, "cannot take 0 for %s: nothing can run with that; -1 takes a limit away", name)
	}
	return int64(value), nil
}

package report

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
)

// maxAttributes bounds the parameter paths that have a notification attribute of their own: a unit with its execution unit has some 60, and an ACS may set
// all that there are. maxPath bounds the length of one (TR-069 A.3.2.5: 256 characters).
const (
	maxAttributes = 65536
	maxPath       = 256
)

// SetAttributes sets the notification attributes of parameters: 0 off, 1 passive, 2 active (TR-069 A.3.2.4), and [model.AttributeDefault] for what
// the data model begins with: then nothing is kept. Those of rows that are gone are forgotten on the way: their numbers never come again. Errors are
// invalid-arguments and system-resources-exceeded.
func (k *Keeper) SetAttributes(tx *inventory.Tx, set map[string]int) error {
	all := maps.Clone(tx.Attributes)
	if all == nil {
		all = map[string]int{}
	}
	maps.Copy(all, set)
	maps.DeleteFunc(all, func(path string, a int) bool { return a == model.AttributeDefault || gone(&tx.Snapshot, path) })
	if len(all) > maxAttributes {
		return fault.Errorf(fault.SystemResourcesExceeded, "cannot set the notification attributes: more than %d parameters would have one", maxAttributes)
	}
	st, err := tx.Store()
	if err != nil {
		return err
	}
	for _, path := range slices.Sorted(maps.Keys(set)) { // in the order of the keys the store takes many at once quickly
		a := set[path]
		if a < model.AttributeDefault || a > 2 || path == "" || len(path) > maxPath {
			return fault.Errorf(fault.InvalidArguments, "cannot set the notification attribute of %.80q to %d: it is 0, 1 or 2", path, a)
		}
		if _, kept := all[path]; !kept {
			continue
		}
		if err := attributes.Put(st, path, a); err != nil {
			return err
		}
	}
	for path := range tx.Attributes {
		if _, kept := all[path]; kept {
			continue
		}
		if err := attributes.Delete(st, path); err != nil {
			return err
		}
	}
	tx.SetAttributes(all)
	return nil
}

// gone reports whether a path is of a row that does not exist.
func gone(s *model.Snapshot, path string) bool {
	parts := strings.SplitN(path, ".", 5) // Device, SoftwareModules, the table, the number, what is in the row
	if len(parts) < 5 || parts[1] != "SoftwareModules" {
		return false
	}
	n, err := strconv.ParseUint(parts[3], 10, 32)
	if err != nil {
		return false
	}
	switch model.Kind(parts[2]) {
	case model.KindExecEnv:
		return s.ExecEnv(uint32(n)) == nil
	case model.KindDeploymentUnit:
		return s.DeploymentUnit(uint32(n)) == nil
	case model.KindExecutionUnit:
		return s.ExecutionUnit(uint32(n)) == nil
	}
	return false
}

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
	inner, ok := strings.CutPrefix(path, "Device.SoftwareModules.")
	if !ok {
		return false
	}
	table, n, inner := row(inner)
	within, m, _ := row(inner)
	switch model.Kind(table) {
	case model.KindExecEnv:
		e := s.ExecEnv(n)
		if e == nil || model.Kind(within) != model.KindVolume {
			return e == nil
		}
		v := s.Volume(m)
		return v == nil || v.Env != e.ID
	case model.KindDeploymentUnit:
		return s.DeploymentUnit(n) == nil
	case model.KindExecutionUnit:
		u := s.ExecutionUnit(n)
		if u == nil || within != "EnvVariable" {
			return u == nil
		}
		return !slices.ContainsFunc(s.SettingsOf(u).Variables, func(v model.Variable) bool { return v.Number == m })
	}
	return false
}

// row returns the table that a path begins with, the number of the row and what is in the row. The table is empty when the path is not of a row.
func row(path string) (table string, n uint32, inner string) {
	parts := strings.SplitN(path, ".", 3)
	if len(parts) < 3 {
		return "", 0, ""
	}
	number, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return "", 0, ""
	}
	return parts[0], uint32(number), parts[2]
}

package report

import (
	"maps"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
)

// maxAttributes bounds the parameter paths that have a notification attribute of their own, maxPath the length of one (TR-069 A.3.2.5: 256 characters).
const (
	maxAttributes = 4096
	maxPath       = 256
)

// SetAttributes sets the notification attributes of parameters: 0 off, 1 passive, 2 active (TR-069 A.3.2.4). Errors are invalid-arguments and
// system-resources-exceeded.
func (k *Keeper) SetAttributes(tx *inventory.Tx, set map[string]int) error {
	all := maps.Clone(tx.Attributes)
	if all == nil {
		all = map[string]int{}
	}
	maps.Copy(all, set)
	if len(all) > maxAttributes {
		return fault.Errorf(fault.SystemResourcesExceeded, "cannot set the notification attributes: more than %d parameters would have one", maxAttributes)
	}
	st, err := tx.Store()
	if err != nil {
		return err
	}
	for path, a := range set {
		if a < 0 || a > 2 || path == "" || len(path) > maxPath {
			return fault.Errorf(fault.InvalidArguments, "cannot set the notification attribute of %.80q to %d: it is 0, 1 or 2", path, a)
		}
		if err := attributes.Put(st, path, a); err != nil {
			return err
		}
	}
	tx.SetAttributes(all)
	return nil
}

package baseline

import "github.com/smmd-project/smmd/agent/model"

// present is a unit as it is now.
type present struct {
	row       *model.DeploymentUnit
	sha256    string // of its package, empty when unknown
	system    bool   // part of the environment itself
	permanent bool   // part of the device's firmware
}

// plan says what brings the units of an environment back to a baseline. Units are the same when the environment knows them by the same
// key.
type plan struct {
	remove   []*model.DeploymentUnit // came since
	rollBack []change                // are there at another version, or from another package
	install  []Unit                  // went since
	keep     []change                // are as they were; levels and AutoStart are still to be compared
}

type change struct {
	row *model.DeploymentUnit
	to  Unit
}

// compare makes the plan. What is Missing from its environment counts as gone.
func compare(r Record, now []present) plan {
	var p plan
	wanted := map[string]Unit{}
	for _, u := range r.Units {
		wanted[u.Key] = u
	}
	for _, n := range now {
		u, known := wanted[n.row.Key]
		switch {
		case n.system:
			delete(wanted, n.row.Key) // it comes with the version of the environment
			continue
		case n.permanent:
			// It comes with the firmware, whatever its version: only its levels and AutoStart are compared.
			if known {
				p.keep = append(p.keep, change{n.row, u})
				delete(wanted, n.row.Key)
			}
			continue
		case n.row.Status == model.DUInstalling:
			continue // an earlier process did not get further with it; or an install is to have its turn after this one
		case !known:
			p.remove = append(p.remove, n.row)
			continue
		case n.row.Missing:
			continue // stays in wanted: installed again, into its row
		case n.row.Status == model.DUUpdating, n.row.Version != u.Version, u.Package.SHA256 != "" && n.sha256 != "" && n.sha256 != u.Package.SHA256:
			p.rollBack = append(p.rollBack, change{n.row, u})
		default:
			p.keep = append(p.keep, change{n.row, u})
		}
		delete(wanted, n.row.Key)
	}
	for _, u := range r.Units {
		if _, gone := wanted[u.Key]; gone && !u.Permanent {
			p.install = append(p.install, u)
		}
	}
	return p
}

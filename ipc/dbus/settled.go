package dbus

import "github.com/smmd-project/smmd/agent/model"

// settled is the environments, by ID, that have told all that they hold since the agent has started, or are disabled. Until then the agent only
// learns what is there, and what it learns is no change.
type settled map[string]bool

// learn takes note of the environments whose state is known by now.
func (k settled) learn(s *model.Snapshot) {
	for e := range s.ExecEnvs() {
		if e.Synced || e.Status == model.EEDisabled {
			k[e.ID] = true
		}
	}
}

// counts reports whether a row is of an environment whose state was known before.
func (k settled) counts(last, next *model.Snapshot, r model.Ref) bool {
	found := row(next, r)
	if found == nil {
		found = row(last, r)
	}
	switch x := found.(type) {
	case *model.ExecEnv:
		return k[x.ID]
	case *model.DeploymentUnit:
		return k[x.Env]
	case *model.ExecutionUnit:
		return k[x.Env]
	}
	return true
}

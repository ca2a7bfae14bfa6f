package fake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// stateVersion is the version of the form in which a World is stored. Another one is refused.
const stateVersion = 1

const stateFile = "world.json"

// State is all that a [World] holds, as [World.State] and [ReadState] show it: a view that is independent of the adapter.
type State struct {
	Version  int                  `json:"version"`
	Envs     map[string]*EnvState `json:"envs"`
	Released map[string]bool      `json:"released,omitempty"` // names of packages that no longer hang
}

// EnvState is an environment.
type EnvState struct {
	Up       bool   `json:"up"`
	Detail   string `json:"detail,omitempty"`
	Launches int    `json:"launches"` // how often it was launched
	RunLevel int    `json:"run_level"`
	// InitialModuleRunLevel is the level of new modules.
	InitialModuleRunLevel int `json:"initial_module_run_level"`
	NextDUID              int `json:"next_duid"`
	// Configured is the version that the configuration names, Running that of the present or last launch.
	Configured string                `json:"configured"`
	Running    string                `json:"running,omitempty"`
	Restored   *RestoredVersion      `json:"restored,omitempty"`
	Units      map[string]*UnitState `json:"units"`               // by key
	Leftovers  []string              `json:"leftovers,omitempty"` // keys of units whose rest goes at the next launch
	// Constraints are the limits that Constrain has set; one that is not there is as configured.
	Constraints Constraints `json:"constraints,omitzero"`
}

// RestoredVersion is a version that was put back.
type RestoredVersion struct {
	Version string `json:"version"`
	// Over is what was configured then; when that changes, the configured version is in force again.
	Over string `json:"over"`
}

// effective is the version that the next launch runs.
func (e *EnvState) effective() string {
	if e.Restored != nil && e.Restored.Over == e.Configured {
		return e.Restored.Version
	}
	return e.Configured
}

// UnitState is an installed unit.
type UnitState struct {
	DUID      string         `json:"duid"`
	InstallOp adapter.OpID   `json:"install_op,omitempty"` // empty: installed at the console
	UpdateOp  adapter.OpID   `json:"update_op,omitempty"`  // the update that is not yet discarded or reverted
	Present   Generation     `json:"present"`
	Kept      []Generation   `json:"kept,omitempty"` // what a Revert can go back to, the oldest first
	LastGen   int            `json:"last_gen"`
	System    bool           `json:"system,omitempty"`
	Permanent bool           `json:"permanent,omitempty"`
	Modules   []*ModuleState `json:"modules"`
	// Settings are those that the next start of a module takes over.
	Settings adapter.UnitSettings `json:"settings,omitzero"`
}

// A Generation is one package of a unit.
type Generation struct {
	Number int    `json:"number"`
	SHA256 string `json:"sha256"`
	Spec   Spec   `json:"spec"`
}

// ModuleState is an execution unit.
type ModuleState struct {
	ID        string         `json:"id"`
	Status    adapter.Status `json:"status"`
	Reason    adapter.Reason `json:"reason,omitempty"`
	Message   string         `json:"message,omitempty"`
	ExitCode  *int           `json:"exit_code,omitempty"`
	AutoStart bool           `json:"auto_start"`
	RunLevel  int            `json:"run_level"`
	// Settings are those with which the module was last started.
	Settings adapter.UnitSettings `json:"settings,omitzero"`
}

// spec returns what the present generation says of the module m.
func (u *UnitState) spec(m *ModuleState) ModuleSpec {
	for _, s := range u.Present.Spec.Modules {
		if s.ID == m.ID {
			return s
		}
	}
	return ModuleSpec{ID: m.ID, Name: m.ID}
}

// rest makes a module idle, without a fault but the one that it always has.
func (u *UnitState) rest(m *ModuleState) { u.spec(m).rest(m) }

func (s ModuleSpec) rest(m *ModuleState) {
	m.Status, m.Reason, m.Message = adapter.Idle, "", ""
	if s.Unstartable != "" {
		m.Reason, m.Message = adapter.Unstartable, s.Unstartable
	}
}

func (u *UnitState) module(id string) *ModuleState {
	for _, m := range u.Modules {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// resolved reports whether all that u requires is installed in e, and what is not.
func (e *EnvState) resolved(u *UnitState) (bool, string) {
	for _, name := range u.Present.Spec.Requires {
		if !slices.ContainsFunc(slices.Collect(maps.Values(e.Units)), func(x *UnitState) bool { return x.Present.Spec.Name == name }) {
			return false, name
		}
	}
	return true, ""
}

// usedKiB is the disk that the units take.
func (e *EnvState) usedKiB() int64 {
	var sum int64
	for _, u := range e.Units {
		sum += u.Present.Spec.SizeKiB
		for _, g := range u.Kept {
			sum += g.Spec.SizeKiB
		}
	}
	return sum
}

// sortedKeys are the keys of the units in the order in which they are told.
func (e *EnvState) sortedKeys() []string { return slices.Sorted(maps.Keys(e.Units)) }

// clone copies s deeply.
func (s *State) clone() (State, error) {
	var out State
	data, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		return State{}, fmt.Errorf("cannot copy the state of the world: %w", err)
	}
	return out, nil
}

// ReadState reads the World in dir without taking it, for instance while an adapter's process has it.
func ReadState(dir string) (State, error) {
	s := State{Version: stateVersion, Envs: map[string]*EnvState{}, Released: map[string]bool{}}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("cannot read the world: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return State{}, fmt.Errorf("cannot read the world in %s: %w", dir, err)
	}
	if s.Version != stateVersion {
		return State{}, fmt.Errorf("cannot read the world in %s: version %d, not %d", dir, s.Version, stateVersion)
	}
	if s.Released == nil {
		s.Released = map[string]bool{}
	}
	return s, nil
}

// writeState replaces the file of the World in dir. It survives the end of the process, which is all that a fake has to
// survive: nothing is synced to the disk.
func writeState(dir string, s *State) error {
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("cannot write the world: %w", err)
	}
	tmp := filepath.Join(dir, stateFile+".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("cannot write the world: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, stateFile)); err != nil {
		return fmt.Errorf("cannot write the world: %w", err)
	}
	return nil
}

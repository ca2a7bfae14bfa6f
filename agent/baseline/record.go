package baseline

import (
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// Kind is a protocol that has a baseline of its own.
type Kind string

// The kinds; the strings are stored.
const (
	CWMP Kind = "cwmp"
	USP  Kind = "usp"
)

func (k Kind) check() error {
	if k != CWMP && k != USP {
		return fault.Errorf(fault.InvalidArguments, "cannot use the baseline %.20q: there are %s and %s", k, CWMP, USP)
	}
	return nil
}

// Record is the baseline of one kind for one environment.
type Record struct {
	Env   string    `json:"env"`
	Token string    `json:"token"` // of the caller: the same token is the same baseline; empty: taken by the agent
	Taken time.Time `json:"taken"` // wall time

	InitialRunLevel              int  `json:"initial_run_level"`
	InitialExecutionUnitRunLevel int  `json:"initial_execution_unit_run_level"`
	Version                      File `json:"version"` // what the environment itself ran from; empty: the environment has no such file

	Units []Unit `json:"units"`
}

// taken reports whether there is more than a token, which waits for the first sync of the environment.
func (r Record) taken() bool { return !r.Taken.IsZero() }

// volumes are the application data of a unit, of whatever version: they share it.
func (r Record) volumes(uuid string) []model.VolumeRequest {
	var all []model.VolumeRequest
	for _, u := range r.Units {
		for _, v := range u.Volumes {
			if u.UUID == uuid && !slices.ContainsFunc(all, func(had model.VolumeRequest) bool { return had.Name == v.Name }) {
				all = append(all, v)
			}
		}
	}
	return all
}

// File is a pinned file in the package store.
type File struct {
	SHA256 string `json:"sha256,omitempty"`
	Size   int64  `json:"size,omitempty"`
}

// Unit is a deployment unit in a baseline.
type Unit struct {
	Key     string `json:"key"`
	UUID    string `json:"uuid"`
	Version string `json:"version"`
	Name    string `json:"name"`
	Alias   string `json:"alias"`
	URL     string `json:"url"`
	Package File   `json:"package"` // empty: not restorable
	// Permanent: it comes and goes with the device's firmware. Only its levels and AutoStart are restored.
	Permanent   bool     `json:"permanent,omitempty"`
	Credentials []byte   `json:"credentials,omitempty"`
	Modules     []Module `json:"modules"`
	// ModuleVersion is what the controller called the version.
	ModuleVersion string `json:"module_version,omitempty"`
	// Settings are what the controller gave to its execution units.
	Settings model.UnitSettings `json:"settings,omitzero"`
	// Volumes are its application data, which is made again where it is gone; what it held is not in the baseline.
	Volumes []model.VolumeRequest `json:"volumes,omitempty"`
}

// lacks reports whether a package is needed to restore the unit and is not there.
func (u Unit) lacks() bool { return u.Package == (File{}) && !u.Permanent }

// Module is an execution unit in a baseline.
type Module struct {
	ID        string `json:"id"`
	AutoStart bool   `json:"auto_start"`
	RunLevel  int    `json:"run_level"`
	// Restart is how it was to be restarted; nil: the baseline is older than that.
	Restart *model.AutoRestart `json:"auto_restart,omitempty"`
}

// records is the table of baselines; the key is <kind>|<environment>.
var records = store.NewTable[string, Record]("baseline")

func key(k Kind, env string) string { return string(k) + "|" + env }

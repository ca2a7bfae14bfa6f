package client

import (
	"strconv"
	"strings"

	"github.com/godbus/dbus/v5"
)

// Kind is a table of the agent, by its word in object paths and in the data model.
type Kind string

// The kinds of objects.
const (
	KindExecEnv        Kind = "ExecEnv"
	KindDeploymentUnit Kind = "DeploymentUnit"
	KindExecutionUnit  Kind = "ExecutionUnit"
	KindJob            Kind = "Job"
)

var kinds = []Kind{KindExecEnv, KindDeploymentUnit, KindExecutionUnit, KindJob}

// Prefix begins the data-model path of every object but the jobs.
const Prefix = "Device.SoftwareModules."

func (k Kind) iface() string { return "org.smmd." + string(k) + "1" }

// ObjectPath returns the D-Bus path of the object of kind k with that instance number.
func ObjectPath(k Kind, instance uint32) dbus.ObjectPath {
	return dbus.ObjectPath(Root + "/" + string(k) + "/" + strconv.FormatUint(uint64(instance), 10))
}

// A Ref names an object. It begins the JSON of everything that has one.
type Ref struct {
	Object   dbus.ObjectPath `json:"object"`         // /org/smmd/Agent1/ExecEnv/1
	Path     string          `json:"path,omitempty"` // Device.SoftwareModules.ExecEnv.1; empty for a job
	Instance uint32          `json:"instance"`       // the last word of both; the number of a job
}

// Kind returns the table of the object, "" for an empty Ref.
func (r Ref) Kind() Kind {
	k, _ := splitPath(r.Object)
	return k
}

// String returns what a person calls the object: ExecEnv.1, DeploymentUnit.3, job 7.
func (r Ref) String() string {
	if k := r.Kind(); k != KindJob {
		return string(k) + "." + strconv.FormatUint(uint64(r.Instance), 10)
	}
	return "job " + strconv.FormatUint(uint64(r.Instance), 10)
}

// ParseRef returns the object that path names: a D-Bus path, or a path of the data model with or without the dot at its end.
func ParseRef(path string) (Ref, bool) {
	if rest, ok := strings.CutPrefix(path, Prefix); ok {
		kind, number, _ := strings.Cut(strings.TrimSuffix(rest, "."), ".")
		if kind == string(KindJob) {
			return Ref{}, false
		}
		return newRef(dbus.ObjectPath(Root + "/" + kind + "/" + number))
	}
	return newRef(dbus.ObjectPath(path))
}

func newRef(path dbus.ObjectPath) (Ref, bool) {
	k, n := splitPath(path)
	if k == "" {
		return Ref{}, false
	}
	r := Ref{Object: path, Instance: n}
	if k != KindJob {
		r.Path = Prefix + string(k) + "." + strconv.FormatUint(uint64(n), 10)
	}
	return r, true
}

// splitPath returns kind and number of an object path, "" for any other path.
func splitPath(path dbus.ObjectPath) (Kind, uint32) {
	rest, ok := strings.CutPrefix(string(path), Root+"/")
	if !ok {
		return "", 0
	}
	word, number, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != number {
		return "", 0
	}
	for _, k := range kinds {
		if word == string(k) {
			return k, uint32(n)
		}
	}
	return "", 0
}

package xml

import (
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/model"
)

// The names of the contract.
const (
	BusName     = "org.smmd.Agent1"
	Root        = "/org/smmd/Agent1"
	ErrorPrefix = "org.smmd.Error." // followed by the Name of a fault

	Agent          = "org.smmd.Agent1"
	ExecEnv        = "org.smmd.ExecEnv1"
	DeploymentUnit = "org.smmd.DeploymentUnit1"
	ExecutionUnit  = "org.smmd.ExecutionUnit1"
	Job            = "org.smmd.Job1"
	CWMP           = "org.smmd.CWMP1"
	USP            = "org.smmd.USP1"

	Peer           = "org.freedesktop.DBus.Peer"
	Introspectable = "org.freedesktop.DBus.Introspectable"
	Properties     = "org.freedesktop.DBus.Properties"
	ObjectManager  = "org.freedesktop.DBus.ObjectManager"
)

// The kinds of baseline that Reset goes back to: one for each protocol.
const (
	BaselineCWMP = "cwmp"
	BaselineUSP  = "usp"
)

// NoObject is the path that stands for a reference to nothing.
const NoObject = "/"

// Kinds is every kind of row that has an object, parents first.
var Kinds = []model.Kind{model.KindExecEnv, model.KindDeploymentUnit, model.KindExecutionUnit, model.KindJob}

// Of returns the interface that objects of a kind have, or "".
func Of(k model.Kind) string {
	switch k {
	case model.KindExecEnv:
		return ExecEnv
	case model.KindDeploymentUnit:
		return DeploymentUnit
	case model.KindExecutionUnit:
		return ExecutionUnit
	case model.KindJob:
		return Job
	}
	return ""
}

// Path returns the object path of a row, and [NoObject] for the zero Ref.
func Path(r model.Ref) string {
	if r.Instance == 0 {
		return NoObject
	}
	return Root + "/" + string(r.Kind) + "/" + strconv.FormatUint(uint64(r.Instance), 10)
}

// ParsePath returns the row that an object path names. Every row has one path: leading zeros, signs and anything after the
// number are refused. It does not say whether the row exists.
func ParsePath(path string) (model.Ref, bool) {
	kind, number, ok := strings.Cut(strings.TrimPrefix(path, Root+"/"), "/")
	if !ok || !strings.HasPrefix(path, Root+"/") || Of(model.Kind(kind)) == "" {
		return model.Ref{}, false
	}
	n, ok := ParseInstance(number)
	return model.Ref{Kind: model.Kind(kind), Instance: n}, ok
}

// ParseInstance reads an instance number: decimal digits that begin with none of 0, + and -.
func ParseInstance(s string) (uint32, bool) {
	if s == "" || s[0] < '1' || s[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

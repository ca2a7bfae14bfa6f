package dbus

import (
	"iter"
	"slices"

	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/ipc/xml"
)

// tables is every kind of row, parents first: those that have objects, and application data, which is told as a property of its environment.
var tables = append(slices.Clone(xml.Kinds), model.KindVolume)

// hasObject reports whether the rows of a kind have objects of their own.
func hasObject(k model.Kind) bool { return xml.Of(k) != "" }

// row returns the row that a Ref names, as a pointer to its type, or nil.
func row(s *model.Snapshot, r model.Ref) any {
	switch r.Kind {
	case model.KindExecEnv:
		return orNil(s.ExecEnv(r.Instance))
	case model.KindDeploymentUnit:
		return orNil(s.DeploymentUnit(r.Instance))
	case model.KindExecutionUnit:
		return orNil(s.ExecutionUnit(r.Instance))
	case model.KindJob:
		return orNil(s.Job(r.Instance))
	case model.KindVolume:
		return orNil(s.Volume(r.Instance))
	}
	return nil
}

// orNil keeps a nil pointer from becoming an interface that is not nil.
func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return p
}

// rows ranges over the rows of one table.
func rows(s *model.Snapshot, k model.Kind) iter.Seq2[model.Ref, any] {
	return func(yield func(model.Ref, any) bool) {
		switch k {
		case model.KindExecEnv:
			for e := range s.ExecEnvs() {
				if !yield(model.Ref{Kind: k, Instance: e.Instance}, e) {
					return
				}
			}
		case model.KindDeploymentUnit:
			for u := range s.DeploymentUnits() {
				if !yield(model.Ref{Kind: k, Instance: u.ID}, u) {
					return
				}
			}
		case model.KindExecutionUnit:
			for u := range s.ExecutionUnits() {
				if !yield(model.Ref{Kind: k, Instance: u.ID}, u) {
					return
				}
			}
		case model.KindJob:
			for j := range s.Jobs() {
				if !yield(model.Ref{Kind: k, Instance: j.ID}, j) {
					return
				}
			}
		case model.KindVolume:
			for x := range s.Volumes() {
				if !yield(model.Ref{Kind: k, Instance: x.ID}, x) {
					return
				}
			}
		}
	}
}

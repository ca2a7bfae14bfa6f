package dbus

import (
	"iter"

	"github.com/smmd-project/smmd/agent/model"
)

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
		}
	}
}

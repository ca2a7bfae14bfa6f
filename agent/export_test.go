package agent

import (
	"context"

	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
)

// FailCommits makes every commit of the store ask f first.
func (a *Agent) FailCommits(f func() error) { a.store.FailCommits(f) }

// UpdateRows is [Agent.Update] of one unit wherever it is.
func (a *Agent) UpdateRows(r model.UpdateRequest, rows ...model.RowID) (uint32, error) {
	return accept(context.Background(), a, func(tx *inventory.Tx) (uint32, error) {
		var all []*model.DeploymentUnit
		request := operation.Request{}
		for _, id := range rows {
			du := tx.DeploymentUnit(id)
			all, request.Envs, request.Locks = append(all, du), append(request.Envs, du.Env), append(request.Locks, id)
		}
		s, err := a.dus.NewUpdate(tx, r, all...)
		if err != nil {
			return 0, err
		}
		return operation.Submit(a.eng, tx, a.update, s, request)
	})
}

package agent

// FailCommits makes every commit of the store ask f first.
func (a *Agent) FailCommits(f func() error) { a.store.FailCommits(f) }

package report

import (
	"maps"
	"slices"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/store"
)

// MaxOperations is how many elements a ChangeDUState may have. TR-069 A.4.1.10 wants 16 at least.
const MaxOperations = 64

// maxCommandKey is the greatest length of a command key (TR-069 Table 70), in characters.
const maxCommandKey = 32

// maxRequests bounds the requests that are known: those at work, those whose report nobody has fetched, and those whose token is remembered. The last
// make room for others.
const maxRequests = 256

// remembered is how long the token of a request is known after its report is gone.
const remembered = 24 * time.Hour

// Request is a ChangeDUState and how far it is. Its number is that of its report.
type Request struct {
	ID         uint32       `json:"id"`
	Token      string       `json:"token,omitempty"`
	CommandKey string       `json:"command_key,omitempty"`
	Originator model.Origin `json:"originator,omitzero"`
	Elements   []Element    `json:"elements,omitempty"` // until the report is complete

	Reported bool `json:"reported,omitempty"` // the report is complete
	Dropped  bool `json:"dropped,omitempty"`  // nobody wants the report any more
	Told     bool `json:"told,omitempty"`     // the report is acknowledged, or dropped
	// Late are operations that had not ended when the report was due: what becomes of them is no autonomous result.
	Late []uint32 `json:"late,omitempty"`

	Boot   string        `json:"boot"`    // boot id of the last time this was written
	Stamp  time.Duration `json:"stamp"`   // CLOCK_BOOTTIME then
	Used   time.Duration `json:"used"`    // since the acceptance, up to Stamp
	ToldAt time.Duration `json:"told_at"` // Used when it was told
}

// Element is an element of a ChangeDUState.
type Element struct {
	Performed   model.Performed `json:"performed"`
	URL         string          `json:"url,omitempty"`
	UUID        string          `json:"uuid,omitempty"`
	Version     string          `json:"version,omitempty"`
	ExecEnv     string          `json:"exec_env,omitempty"`
	Credentials []byte          `json:"credentials,omitempty"` // sealed, until it has begun
	Begun       bool            `json:"begun,omitempty"`
	Parts       []Part          `json:"parts,omitempty"` // once it has begun
}

// Part is an operation that an element came to, or what was refused.
type Part struct {
	Job     uint32         `json:"job,omitempty"`
	Expect  []model.Result `json:"expect,omitempty"`  // what it is about, while it has not ended
	Results []model.Result `json:"results,omitempty"` // how it has ended
}

// ended reports whether every part of the element has ended.
func (e *Element) ended() bool {
	return e.Begun && !slices.ContainsFunc(e.Parts, func(p Part) bool { return len(p.Results) == 0 })
}

// wide reports whether the element may be about any unit.
func (e *Element) wide() bool { return e.Performed == model.PerformedUpdate && e.UUID == "" }

// waitsFor reports whether the element begins only when an earlier one has ended.
func (e *Element) waitsFor(earlier *Element) bool {
	return !earlier.ended() && (e.wide() || earlier.wide() || e.UUID != "" && e.UUID == earlier.UUID)
}

// ready returns the first element that can begin, or -1.
func (r *Request) ready() int {
	for i := range r.Elements {
		e := &r.Elements[i]
		if !e.Begun && !slices.ContainsFunc(r.Elements[:i], func(earlier Element) bool { return e.waitsFor(&earlier) }) {
			return i
		}
	}
	return -1
}

// part returns the part that is an operation, or nil.
func (r *Request) part(job uint32) *Part {
	for i := range r.Elements {
		parts := r.Elements[i].Parts
		if p := slices.IndexFunc(parts, func(p Part) bool { return p.Job == job }); p >= 0 {
			return &parts[p]
		}
	}
	return nil
}

// copied returns a request that can be changed.
func (r *Request) copied() *Request {
	next := *r
	next.Late = slices.Clone(r.Late)
	next.Elements = slices.Clone(r.Elements)
	for i := range next.Elements {
		next.Elements[i].Parts = slices.Clone(next.Elements[i].Parts)
	}
	return &next
}

// used returns how long ago the request was accepted.
func (k *Keeper) used(r *Request) time.Duration {
	if boot, now := k.Clock.Boot(), k.Clock.SinceBoot(); r.Boot != boot {
		return r.Used + now // all of this boot; what was between is unknown
	} else {
		return r.Used + now - r.Stamp
	}
}

// known returns the numbers of the requests, ordered.
func (k *Keeper) known() []uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.requests))
}

// request returns a request as the transaction sees it, or nil.
func (k *Keeper) request(tx *inventory.Tx, id uint32) *Request {
	if k.staged.tx == tx {
		if r, staged := k.staged.requests[id]; staged {
			return r
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.requests[id]
}

// stage makes r what the transaction sees of a request; nil: it is gone.
func (k *Keeper) stage(tx *inventory.Tx, id uint32, r *Request) {
	if k.staged.tx != tx {
		k.staged = staged{tx, map[uint32]*Request{}}
	}
	k.staged.requests[id] = r
	tx.AfterCommit(func() {
		k.mu.Lock()
		if k.staged = (staged{}); r == nil {
			delete(k.requests, id)
		} else {
			k.requests[id] = r
		}
		k.mu.Unlock()
		k.Wake() // not before: Run looks which requests there are without waiting for the writer
	})
}

func (k *Keeper) put(tx *inventory.Tx, r *Request) error {
	r.Used = k.used(r)
	r.Boot, r.Stamp = k.Clock.Boot(), k.Clock.SinceBoot()
	st, err := tx.Store()
	if err != nil {
		return err
	}
	k.stage(tx, r.ID, r)
	return requests.Put(st, r.ID, *r)
}

// requestOf returns the request that an operation belongs to, or nil.
func (k *Keeper) requestOf(tx *inventory.Tx, job uint32) *Request {
	for _, id := range k.known() {
		if r := k.request(tx, id); r != nil && (r.part(job) != nil || slices.Contains(r.Late, job)) {
			return r
		}
	}
	return nil
}

// Accept takes on a ChangeDUState and returns its number. The same token again is the same request. An element that is refused already has its result;
// the others begin when [Keeper.Run] looks. Errors are invalid-arguments, not-supported and too-many-operations: nothing is done then.
func (k *Keeper) Accept(tx *inventory.Tx, asked model.ChangeRequest) (uint64, error) {
	if !k.CWMP {
		return 0, fault.Errorf(fault.NotSupported, "cannot accept the request: cwmp is not among the faces of the configuration")
	}
	known := k.known()
	if asked.Token != "" {
		for _, id := range known {
			if r := k.request(tx, id); r != nil && r.Token == asked.Token {
				return uint64(id), nil
			}
		}
	}
	switch n := len(asked.Operations); {
	case n == 0:
		return 0, fault.Errorf(fault.InvalidArguments, "cannot accept the request: it has no operation")
	case n > MaxOperations:
		return 0, fault.Errorf(fault.TooManyOperations, "cannot accept the request: it has %d operations, and %d may be in one", n, MaxOperations)
	case len([]rune(asked.CommandKey)) > maxCommandKey:
		return 0, fault.Errorf(fault.InvalidArguments, "cannot accept the request: its command key is longer than %d characters", maxCommandKey)
	}
	if err := k.makeRoom(tx, known); err != nil {
		return 0, err
	}
	st, err := tx.Store()
	if err != nil {
		return 0, err
	}
	id, err := st.NextNumber(reportNumber)
	if err != nil {
		return 0, err
	}
	r := &Request{
		ID: id, Token: asked.Token, CommandKey: asked.CommandKey, Originator: asked.Originator, Boot: k.Clock.Boot(), Stamp: k.Clock.SinceBoot(),
	}
	for _, op := range asked.Operations {
		e := Element{Performed: op.Performed, URL: op.URL, UUID: op.UUID, Version: op.Version, ExecEnv: op.ExecEnv}
		if op.Refused == nil && (op.Username != "" || op.Password != "") {
			if e.Credentials, err = k.Sealer.Seal(store.Credentials{Username: op.Username, Password: op.Password}); err != nil {
				return 0, err
			}
		}
		r.Elements = append(r.Elements, e)
	}
	for i, op := range asked.Operations {
		if op.Refused != nil {
			if err := k.begun(tx, r, i, []Part{{Results: []model.Result{k.refuse(&r.Elements[i], op.Refused)}}}); err != nil {
				return 0, err
			}
		}
	}
	return uint64(id), k.settle(tx, r)
}

// makeRoom makes room for one more request. Those of which nothing but the token is remembered go for it, the oldest first.
func (k *Keeper) makeRoom(tx *inventory.Tx, known []uint32) error {
	for left := len(known); left >= maxRequests; left-- {
		i := slices.IndexFunc(known, func(id uint32) bool {
			r := k.request(tx, id)
			return r != nil && r.Told && len(r.Late) == 0
		})
		if i < 0 {
			return fault.Errorf(fault.TooManyOperations, "cannot accept the request: %d have not ended, or their reports have not been acknowledged", left)
		}
		if err := k.forget(tx, known[i]); err != nil {
			return err
		}
		known = slices.Delete(slices.Clone(known), i, i+1)
	}
	return nil
}

// refuse is the result of an element that came to no operation.
func (k *Keeper) refuse(e *Element, why error) model.Result {
	now := k.Clock.Wall()
	return model.Result{
		Performed: e.Performed, UUID: e.UUID, Env: e.ExecEnv, Version: e.Version, State: Unchanged(e.Performed), Start: now, Complete: now,
		Fault: fault.ReasonOf(why), Message: clip(why.Error()),
	}
}

// Unchanged is the state that TR-069 Table 80 has for an operation that failed.
func Unchanged(p model.Performed) model.ResultState {
	if p == model.PerformedInstall {
		return model.ResultFailed
	}
	return model.ResultInstalled
}

// begun notes what an element came to, and tells what was refused.
func (k *Keeper) begun(tx *inventory.Tx, r *Request, i int, parts []Part) error {
	e := &r.Elements[i]
	e.Begun, e.Credentials, e.Parts = true, nil, parts
	for _, p := range parts {
		for j := range p.Results {
			p.Results[j].Message = clip(p.Results[j].Message)
			if err := k.stateChange(tx, p.Results[j]); err != nil {
				return err
			}
		}
	}
	return nil
}

// results returns the results of the request, if every element has ended.
func (r *Request) results() (all []model.Result, ended bool) {
	for i := range r.Elements {
		if !r.Elements[i].ended() {
			return nil, false
		}
		for _, p := range r.Elements[i].Parts {
			all = append(all, p.Results...)
		}
	}
	return all, true
}

// settle writes the request, and its report when every element has ended.
func (k *Keeper) settle(tx *inventory.Tx, r *Request) error {
	if results, ended := r.results(); ended {
		return k.complete(tx, r, results)
	}
	return k.put(tx, r)
}

// complete makes the report of a request.
func (k *Keeper) complete(tx *inventory.Tx, r *Request, results []model.Result) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	for _, e := range r.Elements {
		for _, p := range e.Parts {
			if err := parts.Delete(st, p.Job); err != nil {
				return err
			}
		}
	}
	r.Reported, r.Elements = true, nil
	if r.Dropped {
		return errorsOf(k.put(tx, r), func() error { return k.told(tx, r.ID) })
	}
	if err := reports.Put(st, r.ID, filed{Kind: model.ReportRequested, CommandKey: r.CommandKey, Results: results}); err != nil {
		return err
	}
	full := &model.Report{ID: uint64(r.ID), Kind: model.ReportRequested, CommandKey: r.CommandKey, Results: results}
	tx.SetReports(ordered(append(slices.Clip(tx.Reports), full)))
	return k.put(tx, r)
}

// errorsOf returns err, or what f returns when there is none.
func errorsOf(err error, f func() error) error {
	if err != nil {
		return err
	}
	return f()
}

// told notes that the report of a request is gone. The request stays while its token is remembered or an operation of it is open.
func (k *Keeper) told(tx *inventory.Tx, id uint32) error {
	r := k.request(tx, id)
	if r == nil {
		return nil
	}
	if r.Token == "" && len(r.Late) == 0 {
		return k.forget(tx, id)
	}
	next := r.copied()
	next.Told, next.ToldAt = true, k.used(r)
	return k.put(tx, next)
}

func (k *Keeper) forget(tx *inventory.Tx, id uint32) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	k.stage(tx, id, nil)
	return requests.Delete(st, id)
}

// concludePart takes over how an operation of a request has ended.
func (k *Keeper) concludePart(tx *inventory.Tx, r *Request, results []model.Result, job uint32, failure error) error {
	next := r.copied()
	p := next.part(job)
	if p == nil { // its report is complete
		next.Late = slices.DeleteFunc(next.Late, func(late uint32) bool { return late == job })
		if next.Told && next.Token == "" && len(next.Late) == 0 {
			return k.forget(tx, next.ID)
		}
		return k.put(tx, next)
	}
	if len(results) == 0 {
		results = k.without(tx, p, failure)
	}
	p.Results, p.Expect = results, nil
	if all, ended := next.results(); ended {
		return k.complete(tx, next, all)
	}
	// The request itself is not written: an element may be about every unit of the device.
	st, err := tx.Store()
	if err != nil {
		return err
	}
	k.stage(tx, next.ID, next)
	return parts.Put(st, job, results)
}

// without returns the results of an operation that has none of its own: its units as they are now, and why.
func (k *Keeper) without(tx *inventory.Tx, p *Part, why error) []model.Result {
	results := slices.Clone(p.Expect)
	for i := range results {
		res := &results[i]
		if row := tx.DeploymentUnit(res.DU); row != nil {
			res.Version, res.Resolved, res.EUs = row.Version, row.Resolved, nil
			for u := range tx.ExecutionUnitsOf(row.ID) {
				res.EUs = append(res.EUs, u.ID)
			}
		}
		res.Complete, res.Fault, res.Message = k.Clock.Wall(), fault.ReasonOf(why), clip(why.Error())
	}
	return results
}

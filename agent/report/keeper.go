package report

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/inventory"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/agent/operation"
	"github.com/smmd-project/smmd/agent/store"
)

// Options configure a keeper.
type Options struct {
	Inventory *inventory.Inventory
	Sealer    *store.Sealer
	Clock     operation.Clock
	CWMP, USP bool          // the protocols in use
	Limit     time.Duration // from the acceptance of a ChangeDUState to its report (TR-069 A.4.1.10: 24 h)
	// Code is the number of a fault in a result of CWMP, by which the policy filters.
	Code func(model.Performed, fault.Reason) uint32
	// Begin decides which units an element of a ChangeDUState is about, submits the operations and tells what is to be expected of them. What it
	// refuses is part of what it returns; its error means that nothing was submitted, and too-many-operations that this is to be tried again.
	Begin func(*inventory.Tx, model.UnitOperation, model.Origin) ([]Part, error)
	Log   *slog.Logger
}

// Keeper keeps what waits to be told.
type Keeper struct {
	Options
	wake chan struct{} // buffered 1: elements may begin, reports may be due

	// mu guards what follows. Only the writer of the inventory changes it.
	mu       sync.Mutex
	requests map[uint32]*Request // by number; a value is never changed in place
	staged   staged
	dropped  map[string]uint64 // what was dropped since the agent started, because too many waited
}

// staged is what the present transaction makes of requests; nil: it is gone. There is one writer at a time.
type staged struct {
	tx       *inventory.Tx
	requests map[uint32]*Request
}

// maxWaiting bounds the results of the autonomous report, and the notifications. The oldest go.
const maxWaiting = 1000

// maxMessage is the greatest length of a fault string in characters (TR-069 Table 81, TR-181 DUStateChange! Fault.FaultString).
const maxMessage = 256

// The names of the counters.
const (
	reportNumber       = "report"
	notificationNumber = "notification"
)

// filed is a report in the store: that of a request, or one result of the autonomous report.
type filed struct {
	Kind       model.ReportKind `json:"kind"`
	CommandKey string           `json:"command_key,omitempty"`
	Results    []model.Result   `json:"results"`
}

var (
	reports       = store.NewTable[uint32, filed]("report")
	requests      = store.NewTable[uint32, Request]("change_request")
	parts         = store.NewTable[uint32, []model.Result]("change_part") // what has ended since its request was written
	notifications = store.NewTable[uint32, model.Notification]("notification")
	attributes    = store.NewTable[string, int]("attribute")
	policies      = store.NewTable[string, model.Policy]("policy")
)

// policyKey is the key of the one policy.
const policyKey = "policy"

// New returns a keeper. [Keeper.Load] reads what it kept.
func New(o Options) *Keeper {
	return &Keeper{Options: o, wake: make(chan struct{}, 1), requests: map[uint32]*Request{}, dropped: map[string]uint64{}}
}

// Load reads what waits into the snapshot, and drops what is kept for a protocol that is not in use any more. It is called once, before anything is
// told. It takes a number for a notification, so that numbers that others derive from the last one never repeat.
func (k *Keeper) Load() error {
	err := k.Inventory.Update(func(tx *inventory.Tx) error {
		st, err := tx.Store()
		if err != nil {
			return err
		}
		return errors.Join(k.loadReports(tx, st), k.loadNotifications(tx, st), k.loadSettings(tx, st))
	})
	if err != nil {
		return fmt.Errorf("cannot read what waits to be told: %w", err)
	}
	k.Inventory.BeforeCommit(k.restarts)
	k.Wake()
	return nil
}

func (k *Keeper) loadReports(tx *inventory.Tx, st *store.Tx) error {
	kept := map[uint32]filed{}
	err := reports.Load(st, func(id uint32, r filed) error {
		kept[id] = r
		return nil
	})
	if err != nil {
		return err
	}
	err = requests.Load(st, func(id uint32, r Request) error {
		k.requests[id] = &r
		return nil
	})
	if err != nil {
		return err
	}
	if err := k.loadParts(st); err != nil {
		return err
	}
	var all []*model.Report
	for id, r := range kept {
		if r.Kind == model.ReportRequested {
			all = append(all, &model.Report{ID: uint64(id), Kind: r.Kind, CommandKey: r.CommandKey, Results: r.Results})
		}
	}
	if auto := merge(kept); auto != nil {
		all = append(all, auto)
	}
	tx.SetReports(ordered(all))
	if k.CWMP {
		return nil
	}
	return k.Drop(tx)
}

// loadParts takes over what has ended since its request was written, and removes what belongs to none.
func (k *Keeper) loadParts(st *store.Tx) error {
	known := map[uint32]*Part{}
	for _, r := range k.requests {
		for i := range r.Elements {
			for j := range r.Elements[i].Parts {
				known[r.Elements[i].Parts[j].Job] = &r.Elements[i].Parts[j]
			}
		}
	}
	var stale []uint32
	err := parts.Load(st, func(job uint32, results []model.Result) error {
		if p := known[job]; p != nil {
			p.Results, p.Expect = results, nil
		} else {
			stale = append(stale, job)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, job := range stale {
		if err := parts.Delete(st, job); err != nil {
			return err
		}
	}
	return nil
}

// merge returns the autonomous report that results make which were filed one by one, or nil. Its number is that of the last one.
func merge(kept map[uint32]filed) *model.Report {
	var ids []uint32
	for id, r := range kept {
		if r.Kind == model.ReportAutonomous {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	slices.Sort(ids)
	auto := &model.Report{ID: uint64(ids[len(ids)-1]), Kind: model.ReportAutonomous}
	for _, id := range ids {
		auto.Results = append(auto.Results, kept[id].Results...)
	}
	return auto
}

// ordered sorts reports by their numbers.
func ordered(all []*model.Report) []*model.Report {
	slices.SortFunc(all, func(a, b *model.Report) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

func (k *Keeper) loadNotifications(tx *inventory.Tx, st *store.Tx) error {
	last, err := st.NextNumber(notificationNumber)
	if err != nil {
		return err
	}
	var all []*model.Notification
	var stale []uint32
	err = notifications.Load(st, func(id uint32, n model.Notification) error {
		if k.USP {
			all = append(all, &n)
		} else {
			stale = append(stale, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range stale {
		if err := notifications.Delete(st, id); err != nil {
			return err
		}
	}
	tx.SetNotifications(all, uint64(last))
	return nil
}

func (k *Keeper) loadSettings(tx *inventory.Tx, st *store.Tx) error {
	p, set, err := policies.Get(st, policyKey)
	if err != nil {
		return err
	}
	if !set {
		p = k.defaultPolicy()
	}
	tx.SetPolicy(p)
	all := map[string]int{}
	err = attributes.Load(st, func(path string, a int) error {
		all[path] = a
		return nil
	})
	tx.SetAttributes(all)
	return err
}

// Wake makes [Keeper.Run] look what can be done.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Conclude takes over how an operation has ended. It runs in the transaction that ends it.
func (k *Keeper) Conclude(tx *inventory.Tx, c operation.Conclusion) error {
	for i := range c.Results {
		c.Results[i].Message = clip(c.Results[i].Message)
		if err := k.stateChange(tx, c.Results[i]); err != nil {
			return err
		}
	}
	if r := k.requestOf(tx, c.Job); r != nil {
		if err := k.concludePart(tx, r, c.Results, c.Job, failureOf(c)); err != nil {
			return err
		}
	} else if err := k.autonomous(tx, c.Results); err != nil {
		return err
	}
	tx.AfterCommit(k.Wake)
	return k.commandEnded(tx, c)
}

// failureOf is why an operation has no results.
func failureOf(c operation.Conclusion) error {
	if c.Fault == fault.None {
		return errLost
	}
	return fault.Errorf(c.Fault, "%s", c.Message)
}

// Tell takes over what became of deployment units without an operation of their own.
func (k *Keeper) Tell(tx *inventory.Tx, results ...model.Result) error {
	for i := range results {
		results[i].Message = clip(results[i].Message)
		if err := k.stateChange(tx, results[i]); err != nil {
			return err
		}
	}
	return k.autonomous(tx, results)
}

// autonomous adds results that no ChangeDUState asked for to the report that waits, as far as the policy lets them through. The report gets a new number
// with each, so that acknowledging what was read leaves what came since.
func (k *Keeper) autonomous(tx *inventory.Tx, results []model.Result) error {
	if !k.CWMP {
		return nil
	}
	for _, res := range results {
		if !k.passes(tx.Policy, res) {
			continue
		}
		if err := k.addAutonomous(tx, res); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) addAutonomous(tx *inventory.Tx, res model.Result) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	id, err := st.NextNumber(reportNumber)
	if err != nil {
		return err
	}
	if err := reports.Put(st, id, filed{Kind: model.ReportAutonomous, Results: []model.Result{res}}); err != nil {
		return err
	}
	next := &model.Report{ID: uint64(id), Kind: model.ReportAutonomous}
	var all []*model.Report
	for _, r := range tx.Reports {
		if r.Kind != model.ReportAutonomous {
			all = append(all, r)
			continue
		}
		next.Results = r.Results
		if len(next.Results) >= maxWaiting {
			if err := k.dropOldest(tx, st); err != nil {
				return err
			}
			next.Results = next.Results[1:]
		}
	}
	next.Results = append(slices.Clip(next.Results), res)
	tx.SetReports(ordered(append(all, next)))
	return nil
}

// dropOldest removes the oldest result of the autonomous report.
func (k *Keeper) dropOldest(tx *inventory.Tx, st *store.Tx) error {
	oldest := uint32(0)
	err := reports.Load(st, func(id uint32, r filed) error {
		if r.Kind == model.ReportAutonomous && (oldest == 0 || id < oldest) {
			oldest = id
		}
		return nil
	})
	if err != nil {
		return err
	}
	k.lost(tx, "the oldest result that waits for the ACS was dropped: too many wait", "report", oldest)
	return reports.Delete(st, oldest)
}

// lost counts what is dropped, and logs the first of a kind and then one whenever there are twice as many: a device that nobody reads from would log nothing else.
func (k *Keeper) lost(tx *inventory.Tx, what string, args ...any) {
	tx.AfterCommit(func() {
		k.mu.Lock()
		k.dropped[what]++
		n := k.dropped[what]
		k.mu.Unlock()
		if n&(n-1) == 0 {
			k.Log.Warn(what, append(args, "dropped", n)...)
		}
	})
}

// Acknowledge removes a report that has been delivered. Of the autonomous report it removes what was in it when it had this number. A report that does
// not wait is an error of class invalid-arguments.
func (k *Keeper) Acknowledge(tx *inventory.Tx, id uint64) error {
	unknown := fault.Errorf(fault.InvalidArguments, "cannot acknowledge report %d: none with that number waits", id)
	if id > 1<<32-1 {
		return unknown
	}
	st, err := tx.Store()
	if err != nil {
		return err
	}
	r, known, err := reports.Get(st, uint32(id))
	switch {
	case err != nil:
		return err
	case !known:
		return unknown
	case r.Kind == model.ReportAutonomous:
		return k.acknowledgeAutonomous(tx, st, uint32(id))
	}
	if err := reports.Delete(st, uint32(id)); err != nil {
		return err
	}
	tx.SetReports(slices.DeleteFunc(slices.Clone(tx.Reports), func(r *model.Report) bool { return r.ID == id }))
	return k.told(tx, uint32(id))
}

func (k *Keeper) acknowledgeAutonomous(tx *inventory.Tx, st *store.Tx, upTo uint32) error {
	left := map[uint32]filed{}
	var gone []uint32
	err := reports.Load(st, func(id uint32, r filed) error {
		switch {
		case r.Kind != model.ReportAutonomous:
		case id <= upTo:
			gone = append(gone, id)
		default:
			left[id] = r
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range gone {
		if err := reports.Delete(st, id); err != nil {
			return err
		}
	}
	all := slices.DeleteFunc(slices.Clone(tx.Reports), func(r *model.Report) bool { return r.Kind == model.ReportAutonomous })
	if auto := merge(left); auto != nil {
		all = append(all, auto)
	}
	tx.SetReports(ordered(all))
	return nil
}

// Drop removes every report that waits, and sees to it that none comes of the requests that have been accepted (TR-069 Table 8: what waits is discarded at
// BOOTSTRAP). What these requests still have to do is done.
func (k *Keeper) Drop(tx *inventory.Tx) error {
	st, err := tx.Store()
	if err != nil {
		return err
	}
	var gone []uint32
	err = reports.Load(st, func(id uint32, _ filed) error {
		gone = append(gone, id)
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range gone {
		if err := reports.Delete(st, id); err != nil {
			return err
		}
	}
	tx.SetReports(nil)
	for _, id := range k.known() {
		if r := k.request(tx, id); r != nil && !r.Told {
			next := *r
			next.Dropped = true
			if err := k.put(tx, &next); err != nil {
				return err
			}
			if r.Reported {
				if err := k.told(tx, id); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// clip shortens a message to what a fault string may have.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= maxMessage {
		return s
	}
	return string([]rune(s)[:maxMessage-1]) + "…"
}

package dbus

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	"github.com/smmd-project/smmd/mapping/cwmp"
)

// valueChanges is what the ACS is still to be told of: parameters with passive or active notification whose value somebody else than the ACS
// has changed. It is made from the commits of the agent and kept in memory, at most one entry for each parameter there is.
//
// Nothing is pending after a start. An environment counts from the moment on at which it has told all that it holds, or is disabled: until
// then the agent only learns what is there.
type valueChanges struct {
	face  *cwmp.Face
	agent Agent
	wake  chan struct{} // buffered 1: there is something in untold

	mu      sync.Mutex
	last    *model.Snapshot // up to which values are compared; nil: nothing yet
	known   settled         // the environments that count
	life    uint64          // of this life of the agent, in the upper bits of every cursor
	count   uint64          // of the changes so far: the lower bits
	pending map[model.Ref]map[string]uint64
	untold  []string // paths that no signal has told yet
	writes  []*write // of the ACS, on their way
}

// write is a SetParameterValues. What it changes is no news to the ACS.
type write struct {
	paths map[string]bool
	from  uint64   // Seq of the agent's state before it
	upTo  uint64   // Seq after it; 0: it has not ended
	held  []change // that may be its own, until it has ended
}

// change is one parameter that has another value.
type change struct {
	ref  model.Ref
	path string
}

// lifeBits is how far up the life is in a cursor.
const lifeBits = 40

func newValueChanges(face *cwmp.Face, agent Agent) *valueChanges {
	return &valueChanges{
		face: face, agent: agent, wake: make(chan struct{}, 1), known: settled{}, life: uint64(rand.Uint32N(1<<23-1)+1) << lifeBits,
		pending: map[model.Ref]map[string]uint64{},
	}
}

// commit takes one entry of the feed.
func (v *valueChanges) commit(c model.Commit) {
	v.mu.Lock()
	defer v.mu.Unlock()
	last, next := v.last, c.Snapshot
	v.last = next
	if last == nil {
		v.known.learn(next)
		return
	}
	changes := merge(c.Changes)
	if c.Changes == nil {
		changes = difference(last, next)
	}
	refs := slices.DeleteFunc(affected(&view{snap: last}, &view{snap: next}, changes), func(r model.Ref) bool {
		return r.Kind == model.KindJob || !v.known.counts(last, next, r)
	})
	for _, p := range v.face.Changed(last, next, append(refs, model.Ref{Kind: model.KindPolicy})) {
		v.put(change{p.Ref, p.Name}, next.Seq)
	}
	for _, x := range changes {
		if x.New == nil {
			delete(v.pending, x.Row)
		}
	}
	v.writes = slices.DeleteFunc(v.writes, func(w *write) bool { return w.upTo != 0 && w.upTo <= next.Seq })
	v.known.learn(next)
}

// put makes a change pending, unless it is one of the ACS itself.
func (v *valueChanges) put(x change, seq uint64) {
	for _, w := range v.writes {
		if !w.paths[x.path] || seq <= w.from {
			continue
		}
		if w.upTo == 0 {
			w.held = append(w.held, x)
			return
		}
		if seq <= w.upTo {
			return
		}
	}
	v.count++
	if v.pending[x.ref] == nil {
		v.pending[x.ref] = map[string]uint64{}
	}
	v.pending[x.ref][x.path] = v.count
	v.untold = append(v.untold, x.path)
	select {
	case v.wake <- struct{}{}:
	default:
	}
}

// writing says that the ACS is about to set the parameters at these paths. The function it returns says whether it has, and must be called.
func (v *valueChanges) writing(paths []string) (done func(ok bool)) {
	w := &write{paths: map[string]bool{}, from: v.agent.Snapshot().Seq}
	for _, p := range paths {
		w.paths[p] = true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.writes = append(v.writes, w)
	return func(ok bool) {
		seq := v.agent.Snapshot().Seq
		v.mu.Lock()
		defer v.mu.Unlock()
		if w.upTo = seq; !ok || v.last != nil && v.last.Seq >= seq {
			v.writes = slices.DeleteFunc(v.writes, func(x *write) bool { return x == w })
		}
		if !ok {
			for _, x := range w.held { // it was somebody else
				v.put(x, w.from)
			}
		}
		w.held = nil
	}
}

// tell returns the values that no signal has told yet.
func (v *valueChanges) tell() []cwmp.ParameterValue {
	v.mu.Lock()
	defer v.mu.Unlock()
	paths := v.untold
	v.untold = nil
	slices.Sort(paths)
	return v.values(slices.Compact(paths))
}

// values returns what the parameters have now.
func (v *valueChanges) values(paths []string) []cwmp.ParameterValue {
	if len(paths) == 0 {
		return nil
	}
	return v.face.Values(v.last, paths)
}

// get returns what is pending, in the order of the last changes, and the cursor to acknowledge it with.
func (v *valueChanges) get() (uint64, []cwmp.ParameterValue) {
	v.mu.Lock()
	defer v.mu.Unlock()
	at := map[string]uint64{}
	for _, paths := range v.pending {
		maps.Copy(at, paths)
	}
	order := slices.SortedFunc(maps.Keys(at), func(a, b string) int { return cmp.Compare(at[a], at[b]) })
	return v.life | v.count, v.values(order)
}

// acknowledge forgets what was pending when get returned the cursor and has not changed since.
func (v *valueChanges) acknowledge(cursor uint64) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if cursor>>lifeBits<<lifeBits != v.life || cursor > v.life|v.count {
		return fault.Errorf(fault.InvalidArguments, "cannot acknowledge value changes up to %d: there was no such cursor since the agent has started", cursor)
	}
	for ref, paths := range v.pending {
		maps.DeleteFunc(paths, func(_ string, n uint64) bool { return v.life|n <= cursor })
		if len(paths) == 0 {
			delete(v.pending, ref)
		}
	}
	return nil
}

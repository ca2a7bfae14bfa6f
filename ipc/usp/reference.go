package usp

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/smmd-project/smmd/ipc/client"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// A reference is one item of a ReferenceList: what a subscription is about (TR-369, Notify).
//
// Names, instance numbers and wildcards are compared with the path of the news. What it takes the tree to know, search expressions and
// followed references, the agent is asked for; what a reference stood for when it was last asked counts too, because a row that is gone
// cannot be found any more when its deletion is told.
type reference struct {
	segments []dm.Segment
	below    bool   // it stands for what is below it too
	ask      string // path to ask the agent for; empty: the segments say it all
	leaf     string // name of a command, an event or a parameter behind ask
}

// newReference reads an item of a ReferenceList. The item was checked by checkReferences.
func newReference(item, notifType string) reference {
	p, err := dm.ParsePath(item, dm.USP)
	if err != nil {
		return reference{} // matches nothing
	}
	r := reference{segments: p.Segments, below: p.Partial || notifType == client.USPObjectCreation || notifType == client.USPObjectDeletion}
	if !slices.ContainsFunc(p.Segments, func(s dm.Segment) bool { return s.Kind == dm.Search || s.Kind == dm.Follow }) {
		return r
	}
	r.ask = item
	if !p.Partial {
		r.ask, r.leaf = splitLeaf(p)
	}
	return r
}

// splitLeaf cuts the last name off a path.
func splitLeaf(p dm.Path) (object, leaf string) {
	last := len(p.Segments) - 1
	return dm.Path{Segments: p.Segments[:last], Partial: true}.String(), p.Segments[last].String()
}

// covers reports whether the path of some news is what r stands for.
func (r *reference) covers(path string, objects func(ask string) []string) bool {
	if r.ask == "" {
		return r.fits(strings.Split(strings.TrimSuffix(path, "."), "."))
	}
	return slices.ContainsFunc(objects(r.ask), func(object string) bool {
		if r.leaf == "" {
			return strings.HasPrefix(path, object)
		}
		return path == object+r.leaf
	})
}

// fits compares segment by segment.
func (r *reference) fits(path []string) bool {
	if len(r.segments) == 0 || len(path) < len(r.segments) || len(path) > len(r.segments) && !r.below {
		return false
	}
	for i, s := range r.segments {
		if s.Kind == dm.Wildcard {
			if _, err := strconv.ParseUint(path[i], 10, 32); err != nil {
				return false
			}
		} else if s.String() != path[i] {
			return false
		}
	}
	return true
}

// memory knows what references stood for when the agent was last asked.
type memory struct {
	mu    sync.Mutex
	stood map[string][]string // objects, by the path that was asked for
}

// remember asks the agent what a path stands for, and returns that and what it stood for before.
func (s *session) remember(ctx context.Context, ask string) []string {
	ctx, cancel := context.WithTimeout(ctx, s.s.times.request)
	defer cancel()
	results, err := s.agent.USPGet(ctx, 1, ask)
	if err != nil {
		s.log.Warn("what a subscription refers to cannot be told", "reference", ask, "err", err)
	}
	var now []string
	for _, result := range results {
		for _, o := range result.Objects {
			now = append(now, o.Path)
		}
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	both := slices.Concat(now, s.memory.stood[ask])
	if err == nil {
		s.memory.stood[ask] = now
	}
	return both
}

// forget drops what no reference asks for any more.
func (s *session) forget(subs []*subscription) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	maps.DeleteFunc(s.memory.stood, func(ask string, _ []string) bool {
		return !slices.ContainsFunc(subs, func(sub *subscription) bool {
			return slices.ContainsFunc(sub.references, func(r reference) bool { return r.ask == ask })
		})
	})
}

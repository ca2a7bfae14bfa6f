package systemd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// handleVersion is the version of our handles, whose content is the key.
const handleVersion = 1

// excerpt are the last lines of a run's log.
type excerpt struct {
	of    string // which end of which run
	lines []string
	looks int
}

// maxLooks is how often lines are looked for that are not there: journald may be late.
const maxLooks = 4

// skip is a start that was skipped.
type skip struct {
	at        uint64 // as [unitState] checked
	condition string // that did not hold
}

// sizes are what a unit uses, as it was told last, in KiB.
type sizes struct{ memory, disk int64 }

// unit is a deployment unit as it is now.
func (e *env) unit(ctx context.Context, l *link, r *record) (adapter.Unit, error) {
	g := r.Current
	u := adapter.Unit{
		Env: e.id, Key: r.Key, DUID: duid(g.Image), Handle: adapter.Handle{Version: handleVersion, Data: []byte(r.Key)},
		Manifest: g.Manifest, Resolved: true,
	}
	_, err := os.Stat(e.store.image(g.Image))
	gone := err != nil
	for _, name := range g.modules() {
		m, resolved, err := e.module(ctx, l, name, g.Manifest)
		if err != nil {
			return u, err
		}
		if gone && m.Status == adapter.Idle {
			m.Reason, m.Message = adapter.Unstartable, "the image of the unit is gone: "+e.store.image(g.Image)
		}
		if r.State != installed && m.Status == adapter.Idle {
			m.Reason, m.Message = "", "" // it is not attached for a moment
		}
		if kindOf(name) == service {
			m.Disk = e.size(name).disk
			if m.Disk < 0 {
				m.Disk = g.Size + diskOf(g.States[name])
			}
		}
		u.Resolved = u.Resolved && resolved && !gone
		u.Modules = append(u.Modules, m)
	}
	return u, nil
}

// duid is the name of the image without what tells its generations apart.
func duid(image string) string {
	name := strings.TrimSuffix(image, rawSuffix)
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		name = name[:i]
	}
	return name
}

// permanentUnit is one of the device's own units, as it is now.
func (e *env) permanentUnit(ctx context.Context, l *link, name string) (adapter.Unit, error) {
	m := adapter.Manifest{Name: name, Version: "0"}
	for _, p := range osReleasePaths {
		data, err := os.ReadFile(filepath.Join("/", p))
		if err != nil {
			continue
		}
		if o, err := parseOSRelease(data); err == nil { // whatever else the device is
			m.Vendor, m.Version = o.vendor(), o.version()
		}
		break
	}
	mod, resolved, err := e.module(ctx, l, name, m)
	m.Description = mod.Description
	return adapter.Unit{
		Env: e.id, Key: name, DUID: name, Handle: adapter.Handle{Version: handleVersion, Data: []byte(name)},
		Manifest: m, Resolved: resolved, Permanent: true, Modules: []adapter.Module{mod},
	}, err
}

// module is an execution unit as it is now, and whether all that it requires is there.
func (e *env) module(ctx context.Context, l *link, name string, m adapter.Manifest) (adapter.Module, bool, error) {
	_ = l.hold(ctx, name) // one without a unit file cannot be held
	s, err := l.state(ctx, name)
	if err != nil {
		return adapter.Module{}, false, err
	}
	lacks, err := l.lacks(ctx, s)
	if err != nil {
		return adapter.Module{}, false, err
	}
	out := adapter.Module{
		ID: name, Name: name, Label: name, Vendor: m.Vendor, Version: m.Version, Description: s.description,
		Status: s.status(), ExitCode: s.exitCode(), RunLevel: -1, Memory: -1, Disk: -1,
	}
	e.recall(&s)
	out.Reason, out.Message = s.fault(e.tried(name), lacks)
	if out.Reason != "" {
		out.Message = message(out.Message, e.lines(ctx, s))
	}
	if kindOf(name) != service {
		out.Memory, out.Disk = 0, 0 // it has no processes of its own
		return out, s.load == "loaded" && len(lacks) == 0, nil
	}
	if out.Status != adapter.Idle {
		if out.PIDs, err = l.pids(ctx, name); err != nil {
			return out, false, err
		}
	}
	out.Memory = e.memory(s, out.PIDs)
	return out, s.load == "loaded" && len(lacks) == 0, nil
}

// recall keeps which condition did not hold: the manager forgets that, and not that there was one, when it reads its unit files again.
func (e *env) recall(s *unitState) {
	if !s.skipped {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known := skip{at: s.checked, condition: s.condition}
	if s.condition != "" {
		e.skips[s.name] = known
	} else if known = e.skips[s.name]; known.at == s.checked {
		s.condition = known.condition
	}
}

// memory is what a service uses, as it was told before unless that has changed noticeably.
func (e *env) memory(s unitState, pids []int) int64 {
	now := s.memory
	switch {
	case len(pids) == 0:
		now = 0
	case now <= 0: // the kernel accounts late, or not at all
		now = residentOf(pids)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.sizes[s.name]
	if !ok {
		known = sizes{-1, -1}
	}
	if now == 0 || noticeably(known.memory, now) {
		known.memory = now
	}
	e.sizes[s.name] = known
	return known.memory
}

func (e *env) size(unit string) sizes {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s, ok := e.sizes[unit]; ok {
		return s
	}
	return sizes{-1, -1}
}

// measure looks at the sizes on disk of a generation's services.
func (e *env) measure(g generation) {
	for _, name := range g.modules() {
		if kindOf(name) != service {
			continue
		}
		disk := g.Size + diskOf(g.States[name])
		e.mu.Lock()
		known, ok := e.sizes[name]
		if !ok {
			known = sizes{-1, -1}
		}
		if noticeably(known.disk, disk) {
			known.disk = disk
		}
		e.sizes[name] = known
		e.mu.Unlock()
	}
}

// lines are the last lines of the log of a run that has ended. They are read once, if there are any.
func (e *env) lines(ctx context.Context, s unitState) []string {
	of := fmt.Sprint(s.invocation, s.active, s.result, s.code, s.exit)
	e.mu.Lock()
	known := e.logs[s.name]
	e.mu.Unlock()
	if known.of != of {
		known = excerpt{of: of}
	}
	if len(known.lines) > 0 || known.looks >= maxLooks {
		return known.lines
	}
	lines, err := lastLines(ctx, s)
	if err != nil {
		e.log.Debug("the log of a unit cannot be read", "eu", s.name, "err", err)
	}
	known.lines = lines
	known.looks++
	e.mu.Lock()
	defer e.mu.Unlock()
	e.logs[s.name] = known
	return lines
}

// expectsLines reports whether the log of a unit that failed should be looked at again.
func (e *env) expectsLines(unit string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	x, ok := e.logs[unit]
	return ok && len(x.lines) == 0 && x.looks < maxLooks
}

// find returns the name of a module's unit.
func (e *env) find(m adapter.ModuleRef, what string) (string, error) {
	if e.permanent(m.Key) {
		if m.Module != m.Key {
			return "", adapter.Errorf(adapter.NotFound, "cannot %s: its unit has the one module %q", what, m.Key)
		}
		return m.Key, nil
	}
	r, err := e.store.load(m.Key)
	if err != nil {
		return "", err
	}
	if r == nil || r.State == installing || r.State == removing {
		return "", notThere(what)
	}
	if !slices.Contains(r.Current.modules(), m.Module) {
		return "", adapter.Errorf(adapter.NotFound, "cannot %s: %s %s has no such module", what, r.Current.Manifest.Name, r.Current.Manifest.Version)
	}
	if !attachedFrom(m.Module, r.Current.Image) {
		return "", adapter.Errorf(adapter.NotFound, "cannot %s: somebody has detached it; a new launch of the environment attaches it again", what)
	}
	return m.Module, nil
}

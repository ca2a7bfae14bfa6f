package usp

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/smmd-project/smmd/agent/fault"
	"github.com/smmd-project/smmd/agent/model"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
	"github.com/smmd-project/smmd/mapping/softwaremodules"
)

// A Setting is one parameter of an object that is to be set. The object fails with it when it is Required.
type Setting struct {
	Parameter string // relative to the object
	Value     string
	Required  bool
}

// An Update is an object, a row or a search path, with what to set in it.
type Update struct {
	Path     string
	Settings []Setting
}

// An Updated is what became of one object that an [Update] stands for.
type Updated struct {
	Path       string
	Parameters map[string]string // what was set, with its value now
	Errors     []ParameterError  // what was not
}

// A SetResult is the answer to one [Update]. With a code other than 0 nothing of it was applied, and Objects are those that failed.
type SetResult struct {
	Requested string
	Objects   []Updated
	Status
}

// write is one parameter of one object on its way to the agent.
type write struct {
	parameter string // relative to the object
	node      node
	required  bool
	value     any
	failed    *Status // nil: not, so far
}

// target is one object that an update stands for.
type target struct {
	path   string
	writes []*write
}

// plan is what an update comes to.
type plan struct {
	requested string
	targets   []*target
	failed    *Status // of the whole update; nil: not, so far
}

// maxWrites is how many parameters of how many rows one message may set.
const maxWrites = 1 << 15

// key is what a write sets.
type key struct {
	row       model.Ref
	attribute string
}

// Set answers the message of that name (TR-369, Set). With allowPartial each update stands for itself; a search path that matches several
// rows is all or nothing even then (R-SET.2a). Without, the whole message is: the error is a *[Failure] with code 7004 and one element for each
// parameter or object that failed. A parameter that is not required and fails is told and left out. In both cases what is left is one change of
// the agent, however many updates there are.
func (f *Face) Set(ctx context.Context, updates []Update, allowPartial bool, originator model.Origin) ([]SetResult, error) {
	row := softwaremodules.NewRow(f.agent.Snapshot())
	plans := make([]*plan, len(updates))
	seen, left := map[key]bool{}, maxWrites
	for i, u := range updates {
		if allowPartial {
			seen = map[key]bool{}
		}
		plans[i] = f.plan(row, u, seen, &left)
	}
	err := f.apply(ctx, plans, allowPartial, originator)
	switch {
	case allowPartial && err != nil:
		for _, p := range plans {
			if p.failed == nil {
				p.failed = &Status{Parameter(reasonOf(err)), err.Error()}
			}
		}
	case err != nil:
		r := reasonOf(err)
		return nil, &Failure{Code: Parameter(r), Reason: r, Message: err.Error()}
	case !allowPartial && failed(plans):
		return nil, failure(plans)
	}
	row = softwaremodules.NewRow(f.agent.Snapshot())
	results := make([]SetResult, len(plans))
	for i, p := range plans {
		results[i] = f.result(row, p)
	}
	return results, nil
}

// plan finds what an update is about and judges its values. seen is what was set before, left how much may still be.
func (f *Face) plan(row softwaremodules.Row, u Update, seen map[key]bool, left *int) *plan {
	p := &plan{requested: u.Path}
	fail := func(s Status) *plan { p.failed = &s; return p }
	path, at, err := f.locate(u.Path, dm.USP)
	switch {
	case err != nil:
		return fail(status(err, ObjectDoesNotExist))
	case !path.Partial:
		return fail(Status{InvalidPath, fmt.Sprintf("cannot set parameters of %s: it is no object", path)})
	case at.Table:
		return fail(Status{ObjectNotUpdated, fmt.Sprintf("cannot set parameters of %s: it is a table and no row of it", path)})
	}
	nodes, err := dm.Resolve(f.root, row, path, dm.ForGet)
	if err != nil {
		return fail(status(err, ObjectDoesNotExist))
	}
	if *left -= 1 + len(nodes)*len(u.Settings); *left < 0 {
		return fail(Status{ResourcesExceeded, fmt.Sprintf("cannot set more than %d parameters in one message", maxWrites)})
	}
	for _, n := range nodes {
		t := &target{path: n.Path}
		for _, s := range u.Settings {
			w := &write{parameter: s.Parameter, required: s.Required}
			var st Status
			if w.node, w.value, st = f.judge(row, n, s); st.Code == 0 {
				k := key{w.node.Row.Ref(), w.node.Parameter.Attribute}
				if seen[k] {
					st = Status{ValueConflict, fmt.Sprintf("cannot set %s twice in one message", w.node.Path)}
				}
				seen[k] = true
			}
			if st.Code != 0 {
				w.failed = &st
			}
			t.writes = append(t.writes, w)
		}
		p.targets = append(p.targets, t)
	}
	p.judge()
	return p
}

// judge finds the parameter of a setting and reads its value.
func (f *Face) judge(row softwaremodules.Row, n node, s Setting) (node, any, Status) {
	path, at, err := f.locate(n.Path+s.Parameter, dm.USP)
	switch {
	case err == nil && (at.Parameter == nil || at.Search):
		return node{}, nil, Status{UnsupportedParameter, fmt.Sprintf("cannot set %s: it is no parameter", path)}
	case errors.Is(err, dm.ErrSyntax):
		return node{}, nil, Status{InvalidPathSyntax, err.Error()}
	case err != nil:
		return node{}, nil, Status{UnsupportedParameter, err.Error()}
	}
	found, err := dm.Resolve(f.root, row, path, dm.ForGet)
	if err != nil || len(found) != 1 {
		return node{}, nil, Status{ObjectDoesNotExist, fmt.Sprintf("cannot set %s: the object does not exist", path)}
	}
	w := found[0]
	if !w.Parameter.Writable() {
		return node{}, nil, Status{NonWritableParameter, fmt.Sprintf("cannot set %s: it is not writable", w.Path)}
	}
	value, err := w.Parameter.Parse(s.Value)
	if err != nil {
		code := InvalidValue
		if !lexical(w.Parameter.Type, s.Value) {
			code = InvalidType
		}
		return node{}, nil, Status{code, err.Error()}
	}
	return w, value, Status{}
}

// lexical reports whether a text is a value of the type, whatever its range.
func lexical(t dm.Type, text string) bool {
	if t == dm.Int || t == dm.UnsignedInt {
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		return errors.Is(err, strconv.ErrRange) || err == nil && (t == dm.Int || n >= 0)
	}
	return t != dm.Boolean
}

// judge fails the update when a parameter that is required has failed.
func (p *plan) judge() {
	if p.failed != nil {
		return
	}
	for _, t := range p.targets {
		for _, w := range t.writes {
			if w.required && w.failed != nil {
				p.failed = &Status{RequiredParameterFailed, w.failed.Text}
				return
			}
		}
	}
}

func failed(plans []*plan) bool {
	for _, p := range plans {
		if p.failed != nil {
			return true
		}
	}
	return false
}

// apply gives what is left of the plans to the agent as one change. What the agent refuses and is not required is left out, and the rest
// tried again; with partial, so are plans that have failed, and else nothing is done once one has. The error is one that has nothing to do with
// single parameters: then nothing is done either.
func (f *Face) apply(ctx context.Context, plans []*plan, partial bool, originator model.Origin) error {
	for {
		if !partial && failed(plans) {
			return nil
		}
		var as []model.Assignment
		var writes []*write
		for _, p := range plans {
			if p.failed != nil {
				continue
			}
			for _, t := range p.targets {
				for _, w := range t.writes {
					if w.failed == nil {
						as = append(as, model.Assignment{Row: w.node.Row.Ref(), Attribute: model.Attribute(w.node.Parameter.Attribute), Value: w.value})
						writes = append(writes, w)
					}
				}
			}
		}
		if len(as) == 0 {
			return nil
		}
		_, err := f.agent.Set(ctx, as, originator)
		var refused *model.SetError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &refused):
			return err
		}
		known := false
		for i, e := range refused.Faults {
			if i >= 0 && i < len(writes) {
				known = true
				writes[i].failed = &Status{Parameter(reasonOf(e)), e.Error()}
			}
		}
		if !known { // the agent refused something that nobody asked for
			return fault.Errorf(fault.Internal, "cannot set: %w", err)
		}
		for _, p := range plans {
			p.judge()
		}
	}
}

// failure tells everything that failed, with whole paths.
func failure(plans []*plan) *Failure {
	f := &Failure{Code: InvalidArguments, Reason: fault.InvalidArguments}
	for _, p := range plans {
		if p.failed != nil && len(p.targets) == 0 {
			f.Parameters = append(f.Parameters, ParameterError{p.requested, *p.failed})
		}
		for _, t := range p.targets {
			for _, w := range t.writes {
				if w.failed != nil {
					f.Parameters = append(f.Parameters, ParameterError{t.path + w.parameter, *w.failed})
				}
			}
		}
	}
	f.Message = summary(f.Parameters)
	return f
}

// summary is a message about several parameters.
func summary(wrong []ParameterError) string {
	switch len(wrong) {
	case 0:
		return "cannot set: the message is refused"
	case 1:
		return wrong[0].Text
	}
	return fmt.Sprintf("%s (and %d more)", wrong[0].Text, len(wrong)-1)
}

// result tells what became of an update. row is of the state after it.
func (f *Face) result(row softwaremodules.Row, p *plan) SetResult {
	r := SetResult{Requested: p.requested}
	if p.failed != nil {
		r.Status = *p.failed
	}
	for _, t := range p.targets {
		o := Updated{Path: t.path, Parameters: map[string]string{}}
		for _, w := range t.writes {
			switch {
			case w.failed != nil:
				o.Errors = append(o.Errors, ParameterError{w.parameter, *w.failed})
			case p.failed == nil:
				o.Parameters[w.parameter] = f.current(row, w)
			}
		}
		if p.failed == nil || len(o.Errors) > 0 {
			r.Objects = append(r.Objects, o)
		}
	}
	return r
}

// current returns the value of a parameter that was set; of a row that is gone by now, the value it was given.
func (f *Face) current(row softwaremodules.Row, w *write) string {
	if path, err := dm.ParsePath(w.node.Path, dm.USP); err == nil {
		if found, err := dm.Resolve(f.root, row, path, dm.ForGet); err == nil && len(found) == 1 {
			return found[0].Parameter.Value(found[0].Row)
		}
	}
	return fmt.Sprint(w.value)
}

// reasonOf returns the class of an error, never none.
func reasonOf(err error) fault.Reason {
	if r := fault.ReasonOf(err); r != fault.None {
		return r
	}
	return fault.Internal
}

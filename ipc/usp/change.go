package usp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// A change of several objects goes to two places: the subscriptions of the session and the agent. The session's part is prepared first, in a draft
// of its table; then the agent does or refuses its part; then the draft becomes the table, which cannot fail.

// set answers a Set.
func (s *session) set(ctx context.Context, id string, r *usppb.Set) (*usppb.Msg, error) {
	d := s.subs.draft()
	updates := make([]client.USPUpdate, len(r.GetUpdateObjs()))
	for i, o := range r.GetUpdateObjs() {
		updates[i].Path = o.GetObjPath()
		for _, p := range o.GetParamSettings() {
			updates[i].Settings = append(updates[i].Settings, client.USPSetting{Parameter: p.GetParam(), Value: p.GetValue(), Required: p.GetRequired()})
		}
	}
	results, err := change(updates, r.GetAllowPartial(),
		func(u client.USPUpdate) string { return u.Path },
		func(u client.USPUpdate) (client.USPSetResult, *failure) { return d.set(u, time.Now()) },
		func(list []client.USPUpdate) ([]client.USPSetResult, error) {
			return s.agent.USPSet(ctx, r.GetAllowPartial(), list...)
		})
	if err != nil {
		return nil, err
	}
	s.commit(ctx, d)
	resp := &usppb.SetResp{}
	for _, result := range results {
		resp.UpdatedObjResults = append(resp.UpdatedObjResults, setResult(result))
	}
	return response(id, usppb.Header_SET_RESP, &usppb.Response{RespType: &usppb.Response_SetResp{SetResp: resp}}), nil
}

// add answers an Add.
func (s *session) add(ctx context.Context, id string, r *usppb.Add) (*usppb.Msg, error) {
	d := s.subs.draft()
	objects := make([]client.USPUpdate, len(r.GetCreateObjs()))
	for i, o := range r.GetCreateObjs() {
		objects[i].Path = o.GetObjPath()
		for _, p := range o.GetParamSettings() {
			objects[i].Settings = append(objects[i].Settings, client.USPSetting{Parameter: p.GetParam(), Value: p.GetValue(), Required: p.GetRequired()})
		}
	}
	results, err := change(objects, r.GetAllowPartial(),
		func(u client.USPUpdate) string { return u.Path },
		func(u client.USPUpdate) (client.USPAddResult, *failure) { return d.create(u, time.Now()) },
		func(list []client.USPUpdate) ([]client.USPAddResult, error) {
			return s.agent.USPAdd(ctx, r.GetAllowPartial(), list...)
		})
	if err != nil {
		return nil, err
	}
	s.commit(ctx, d)
	resp := &usppb.AddResp{}
	for _, result := range results {
		resp.CreatedObjResults = append(resp.CreatedObjResults, addResult(result))
	}
	return response(id, usppb.Header_ADD_RESP, &usppb.Response{RespType: &usppb.Response_AddResp{AddResp: resp}}), nil
}

// delete answers a Delete.
func (s *session) delete(ctx context.Context, id string, r *usppb.Delete) (*usppb.Msg, error) {
	d := s.subs.draft()
	results, err := change(r.GetObjPaths(), r.GetAllowPartial(),
		func(path string) string { return path },
		d.remove,
		func(list []string) ([]client.USPDeleteResult, error) {
			return s.agent.USPDelete(ctx, r.GetAllowPartial(), list...)
		})
	if err != nil {
		return nil, err
	}
	s.commit(ctx, d)
	resp := &usppb.DeleteResp{}
	for _, result := range results {
		resp.DeletedObjResults = append(resp.DeletedObjResults, deleteResult(result))
	}
	return response(id, usppb.Header_DELETE_RESP, &usppb.Response{RespType: &usppb.Response_DeleteResp{DeleteResp: resp}}), nil
}

// change prepares what is the session's, then has the agent do what is its own in one call. Unless allowPartial is set, a failure of the session's
// part is that of the whole, and the agent is not asked.
func change[E, R any](elements []E, allowPartial bool, path func(E) string, local func(E) (R, *failure), agent func([]E) ([]R, error)) ([]R, error) {
	results := make([]R, len(elements))
	var failed failure
	var remote []E
	var places []int
	for i, e := range elements {
		if !isLocal(path(e)) {
			remote, places = append(remote, e), append(places, i)
			continue
		}
		var f *failure
		if results[i], f = local(e); f != nil {
			if failed.code == 0 {
				failed.code, failed.text = codeInvalid, f.text
			}
			if len(f.params) == 0 {
				f.params = []paramFailure{{path(e), f.code, f.text}}
			}
			failed.params = append(failed.params, f.params...)
		}
	}
	if failed.code != 0 && !allowPartial {
		return nil, &failed
	}
	if len(remote) == 0 {
		return results, nil
	}
	told, err := agent(remote)
	if err != nil {
		return nil, err
	}
	if len(told) != len(remote) {
		return nil, fmt.Errorf("cannot answer: the agent tells %d results for %d objects", len(told), len(remote))
	}
	for i, result := range told {
		results[places[i]] = result
	}
	return results, nil
}

// commit makes a draft the table of subscriptions, and learns what its references stand for.
func (s *session) commit(ctx context.Context, d *draft) {
	if !d.changed {
		return
	}
	s.subs.commit(d)
	subs := s.subs.list()
	asked := map[string]bool{}
	for _, sub := range subs {
		for _, r := range sub.references {
			if r.ask != "" && !asked[r.ask] {
				asked[r.ask] = true
				s.remember(ctx, r.ask)
			}
		}
	}
	s.forget(subs)
}

// find returns the subscriptions that a path stands for in the draft.
func (d *draft) find(path string) ([]*subscription, *failure) {
	t := &tables{}
	for _, n := range slices.Sorted(maps.Keys(d.rows)) {
		t.subs = append(t.subs, d.rows[n])
	}
	nodes, f := t.resolve(path)
	if f != nil {
		return nil, f
	}
	var list []*subscription
	for _, n := range nodes {
		if n.Row.sub == nil || n.Parameter != nil {
			return nil, failf(codeInvalid, "cannot change %s: it is no subscription", n.Path)
		}
		list = append(list, n.Row.sub)
	}
	return list, nil
}

// set changes the rows that a path stands for, all of them or none.
func (d *draft) set(u client.USPUpdate, now time.Time) (client.USPSetResult, *failure) {
	result := client.USPSetResult{Requested: u.Path}
	list, f := d.find(u.Path)
	if f == nil && len(list) == 0 {
		f = failf(codeNoObject, "cannot set %s: there is no such subscription", u.Path)
	}
	before := maps.Clone(d.rows)
	for _, sub := range list {
		var errs []paramFailure
		if sub, errs, f = d.update(sub, settingsOf(u), now); f != nil {
			result.Objects = []client.USPUpdated{{Path: pathOf(f, u.Path), Errors: relative(f.params)}}
			break
		}
		one := client.USPUpdated{Path: sub.path(), Updated: map[string]string{}, Errors: relative(errs)}
		for _, p := range subscriptionModel.Parameters {
			wanted := slices.ContainsFunc(u.Settings, func(x client.USPSetting) bool { return x.Parameter == p.Name })
			failed := slices.ContainsFunc(errs, func(x paramFailure) bool { return x.path == p.Name })
			if wanted && !failed {
				one.Updated[p.Name] = p.Value(localRow{sub: sub})
			}
		}
		result.Objects = append(result.Objects, one)
	}
	if f != nil {
		d.rows = before
		result.USPError = client.USPError{Code: f.code, Text: f.text}
		return result, f
	}
	d.changed = true
	return result, nil
}

// create adds a row.
func (d *draft) create(u client.USPUpdate, now time.Time) (client.USPAddResult, *failure) {
	result := client.USPAddResult{Requested: u.Path}
	var f *failure
	switch u.Path {
	case subscriptionTable, strings.TrimSuffix(subscriptionTable, "."):
		var sub *subscription
		var errs []paramFailure
		if sub, errs, f = d.add(settingsOf(u), now); f == nil {
			d.changed = true
			result.Path, result.Errors = sub.path(), relative(errs)
			result.UniqueKeys = map[string]string{"Alias": sub.Alias, "ID": sub.ID, "Recipient": ""}
			return result, nil
		}
	default:
		if _, f = (&tables{}).resolve(u.Path); f == nil {
			f = failf(codeInvalid, "cannot add to %s: rows are added to %s only", u.Path, subscriptionTable)
		}
	}
	result.USPError = client.USPError{Code: f.code, Text: f.text}
	return result, f
}

// remove deletes the rows that a path stands for. Rows that are not there are none to delete, and no failure.
func (d *draft) remove(path string) (client.USPDeleteResult, *failure) {
	result := client.USPDeleteResult{Requested: path}
	list, f := d.find(path)
	if f != nil && f.code != codeNoObject {
		result.USPError = client.USPError{Code: f.code, Text: f.text}
		return result, f
	}
	for _, sub := range list {
		delete(d.rows, sub.number)
		d.changed = true
		result.Affected = append(result.Affected, sub.path())
	}
	return result, nil
}

func settingsOf(u client.USPUpdate) []setting {
	list := make([]setting, len(u.Settings))
	for i, x := range u.Settings {
		list[i] = setting{x.Parameter, x.Value, x.Required}
	}
	return list
}

// relative tells parameters by their names alone.
func relative(list []paramFailure) []client.USPParamError {
	var errs []client.USPParamError
	for _, p := range list {
		errs = append(errs, client.USPParamError{Path: p.path[strings.LastIndexByte(p.path, '.')+1:], Code: p.code, Text: p.text})
	}
	return errs
}

// pathOf returns the path of the row that a failure is about.
func pathOf(f *failure, otherwise string) string {
	if len(f.params) == 0 {
		return otherwise
	}
	return f.params[0].path[:strings.LastIndexByte(f.params[0].path, '.')+1]
}

func setResult(r client.USPSetResult) *usppb.SetResp_UpdatedObjectResult {
	errs := func(list []client.USPParamError) []*usppb.SetResp_ParameterError {
		var all []*usppb.SetResp_ParameterError
		for _, e := range list {
			all = append(all, &usppb.SetResp_ParameterError{Param: e.Path, ErrCode: e.Code, ErrMsg: e.Text})
		}
		return all
	}
	status := &usppb.SetResp_UpdatedObjectResult_OperationStatus{}
	if r.Code != 0 {
		fail := &usppb.SetResp_UpdatedObjectResult_OperationStatus_OperationFailure{ErrCode: r.Code, ErrMsg: r.Text}
		for _, o := range r.Objects {
			fail.UpdatedInstFailures = append(fail.UpdatedInstFailures, &usppb.SetResp_UpdatedInstanceFailure{AffectedPath: o.Path, ParamErrs: errs(o.Errors)})
		}
		status.OperStatus = &usppb.SetResp_UpdatedObjectResult_OperationStatus_OperFailure{OperFailure: fail}
	} else {
		done := &usppb.SetResp_UpdatedObjectResult_OperationStatus_OperationSuccess{}
		for _, o := range r.Objects {
			done.UpdatedInstResults = append(done.UpdatedInstResults, &usppb.SetResp_UpdatedInstanceResult{
				AffectedPath: o.Path, UpdatedParams: o.Updated, ParamErrs: errs(o.Errors),
			})
		}
		status.OperStatus = &usppb.SetResp_UpdatedObjectResult_OperationStatus_OperSuccess{OperSuccess: done}
	}
	return &usppb.SetResp_UpdatedObjectResult{RequestedPath: r.Requested, OperStatus: status}
}

func addResult(r client.USPAddResult) *usppb.AddResp_CreatedObjectResult {
	status := &usppb.AddResp_CreatedObjectResult_OperationStatus{}
	if r.Code != 0 {
		status.OperStatus = &usppb.AddResp_CreatedObjectResult_OperationStatus_OperFailure{
			OperFailure: &usppb.AddResp_CreatedObjectResult_OperationStatus_OperationFailure{ErrCode: r.Code, ErrMsg: r.Text},
		}
	} else {
		done := &usppb.AddResp_CreatedObjectResult_OperationStatus_OperationSuccess{InstantiatedPath: r.Path, UniqueKeys: r.UniqueKeys}
		for _, e := range r.Errors {
			done.ParamErrs = append(done.ParamErrs, &usppb.AddResp_ParameterError{Param: e.Path, ErrCode: e.Code, ErrMsg: e.Text})
		}
		status.OperStatus = &usppb.AddResp_CreatedObjectResult_OperationStatus_OperSuccess{OperSuccess: done}
	}
	return &usppb.AddResp_CreatedObjectResult{RequestedPath: r.Requested, OperStatus: status}
}

func deleteResult(r client.USPDeleteResult) *usppb.DeleteResp_DeletedObjectResult {
	status := &usppb.DeleteResp_DeletedObjectResult_OperationStatus{}
	if r.Code != 0 {
		status.OperStatus = &usppb.DeleteResp_DeletedObjectResult_OperationStatus_OperFailure{
			OperFailure: &usppb.DeleteResp_DeletedObjectResult_OperationStatus_OperationFailure{ErrCode: r.Code, ErrMsg: r.Text},
		}
	} else {
		done := &usppb.DeleteResp_DeletedObjectResult_OperationStatus_OperationSuccess{AffectedPaths: r.Affected}
		for _, e := range r.Unaffected {
			done.UnaffectedPathErrs = append(done.UnaffectedPathErrs, &usppb.DeleteResp_UnaffectedPathError{UnaffectedPath: e.Path, ErrCode: e.Code, ErrMsg: e.Text})
		}
		status.OperStatus = &usppb.DeleteResp_DeletedObjectResult_OperationStatus_OperSuccess{OperSuccess: done}
	}
	return &usppb.DeleteResp_DeletedObjectResult{RequestedPath: r.Requested, OperStatus: status}
}

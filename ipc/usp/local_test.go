package usp_test

import (
	"fmt"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

func dbusPath(prefix string, n int) dbus.ObjectPath { return dbus.ObjectPath(fmt.Sprint(prefix, n)) }

func TestLocalModel(t *testing.T) {
	if err := usp.LocalModel.Validate(); err != nil {
		t.Fatal(err)
	}
}

const subs = "Device.LocalAgent.Subscription."

// TestSubscriptionTable: the table is read, changed and searched as any other.
func TestSubscriptionTable(t *testing.T) {
	_, l := joined(t, newAgent())
	l.Subscribe("one", "Event", sm)
	l.Subscribe("two", "ValueChange", sm)
	l.Subscribe("three", "ValueChange", sm)
	for path, want := range map[string][]string{
		subs + `[ID=="two"].NotifType`:              {subs + "2.NotifType=ValueChange"},
		subs + `[NotifType=="ValueChange"].ID`:      {subs + "2.ID=two", subs + "3.ID=three"},
		subs + "2.Enable":                           {subs + "2.Enable=true"},
		subs + "7.Enable":                           {subs + "7.Enable: 7026"},
		subs + "2.Nothing":                          {subs + "2.Nothing: 7026"},
		subs + "[":                                  {subs + "[: 7008"},
		"Device.LocalAgent.Nothing.":                {"Device.LocalAgent.Nothing.: 7026"},
		"Device.LocalAgent.RequestNumberOfEntries":  {"Device.LocalAgent.RequestNumberOfEntries=0"},
		"Device.LocalAgent.SubscriptionNumberOfEnt": {"Device.LocalAgent.SubscriptionNumberOfEnt: 7026"},
	} {
		if got := told(l.Call(usptest.Get("get "+path, path))); !cmp.Equal(got, want) {
			t.Errorf("%s is %q, wanted %q", path, got, want)
		}
	}
	for depth, want := range map[uint32]int{0: 2 + 3*11 + 1, 1: 1, 2: 2 + 1, 3: 2 + 1, 4: 2 + 3*11 + 1} {
		m := usptest.Get(fmt.Sprint("depth ", depth), "Device.")
		m.GetBody().GetRequest().GetGet().MaxDepth = depth
		if got := told(l.Call(m)); len(got) != want {
			t.Errorf("Device. to depth %d has %d parameters, wanted %d: %q", depth, len(got), want, got)
		}
	}

	set := l.Call(usptest.Set("set", subs+`[NotifType=="ValueChange"].`, "Enable", "false", false)).GetBody().GetResponse().GetSetResp()
	if want := `updated_obj_results:{requested_path:"Device.LocalAgent.Subscription.[NotifType==\"ValueChange\"]." oper_status:{oper_success:{` +
		`updated_inst_results:{affected_path:"Device.LocalAgent.Subscription.2." updated_params:{key:"Enable" value:"false"}} ` +
		`updated_inst_results:{affected_path:"Device.LocalAgent.Subscription.3." updated_params:{key:"Enable" value:"false"}}}}}`; oneLine(set) != want {
		t.Errorf("a search is set with %s, wanted %s", oneLine(set), want)
	}
	for _, c := range []struct {
		path, param, value string
		code               uint32 // of the parameter
	}{
		{subs + "2.", "Recipient", "x", 7013}, {subs + "2.", "Nothing", "x", 7010}, {subs + "2.", "Enable", "maybe", 7012}, {subs + "2.", "NotifType", "Boot", 7012},
		{subs + "2.", "ReferenceList", "", 7012}, {subs + "2.", "ReferenceList", "1.2", 7012}, {subs + "2.", "ID", "", 7012}, {subs + "2.", "ID", "one", 7025},
		{subs + "9.", "Enable", "true", 7016}, {"Device.LocalAgent.", "RequestNumberOfEntries", "1", 7004}, {subs + "[", "Enable", "true", 7008},
	} {
		id := fmt.Sprint("set ", c)
		e := l.Call(usptest.Set(id, c.path, c.param, c.value, false)).GetBody().GetError()
		if e.GetErrCode() != 7004 || len(e.GetParamErrs()) != 1 || e.GetParamErrs()[0].GetErrCode() != c.code {
			t.Errorf("%s%s = %q is answered with %v, wanted %d", c.path, c.param, c.value, e, c.code)
		}
		r := l.Call(usptest.Set("partial "+id, c.path, c.param, c.value, true)).GetBody().GetResponse().GetSetResp().GetUpdatedObjResults()
		if len(r) != 1 || r[0].GetOperStatus().GetOperFailure() == nil {
			t.Errorf("%s%s = %q, allow_partial: %v", c.path, c.param, c.value, r)
		}
	}
	deleted := l.Call(usptest.Delete("delete", subs+"2.", subs+"9.", subs+`[ID=="three"].`)).GetBody().GetResponse().GetDeleteResp()
	if want := `deleted_obj_results:{requested_path:"Device.LocalAgent.Subscription.2." oper_status:{oper_success:{affected_paths:"Device.LocalAgent.Subscription.2."}}} ` +
		`deleted_obj_results:{requested_path:"Device.LocalAgent.Subscription.9." oper_status:{oper_success:{}}} ` +
		`deleted_obj_results:{requested_path:"Device.LocalAgent.Subscription.[ID==\"three\"]." oper_status:{oper_success:{affected_paths:"Device.LocalAgent.Subscription.3."}}}`; oneLine(deleted) != want {
		t.Errorf("deleted %s, wanted %s", oneLine(deleted), want)
	}
	if path := l.Subscribe("four", "Event", sm); path != subs+"4." {
		t.Errorf("the number of a row is given again: %s", path)
	}
}

// TestAdd: what an Add has to bring, and what becomes of it when some of it cannot be.
func TestAdd(t *testing.T) {
	_, l := joined(t, newAgent())
	l.Subscribe("one", "Event", sm)
	for name, params := range map[string]map[string]string{
		"no type":       {"ReferenceList": sm, "ID": "x"},
		"no references": {"NotifType": "Event", "ID": "x"},
		"same ID":       {"NotifType": "Event", "ReferenceList": sm, "ID": "one"},
		"bad type":      {"NotifType": "Weather", "ReferenceList": sm, "ID": "x"},
		"bad path":      {"NotifType": "Event", "ReferenceList": sm + "[", "ID": "x"},
		"unknown":       {"NotifType": "Event", "ReferenceList": sm, "ID": "x", "Colour": "red"},
	} {
		if code, text := errorOf(l.Call(usptest.AddSubscription(name, params))); code != 7004 {
			t.Errorf("%s is answered with %d %s", name, code, text)
		}
	}
	optional := usptest.AddSubscription("optional", map[string]string{"NotifType": "Event", "ReferenceList": sm, "ID": "two", "Colour": "red"})
	for _, p := range optional.GetBody().GetRequest().GetAdd().GetCreateObjs()[0].GetParamSettings() {
		p.Required = false
	}
	ok := l.Call(optional).GetBody().GetResponse().GetAddResp().GetCreatedObjResults()[0].GetOperStatus().GetOperSuccess()
	if ok.GetInstantiatedPath() != subs+"2." || len(ok.GetParamErrs()) != 1 || ok.GetParamErrs()[0].GetParam() != "Colour" || ok.GetUniqueKeys()["ID"] != "two" {
		t.Errorf("with an unknown parameter that is not required: %v", ok)
	}
	// Two objects, one of which cannot be: none or the other, as allow_partial says.
	for _, partial := range []bool{false, true} {
		m := usptest.AddSubscription(fmt.Sprint("partial ", partial), map[string]string{"NotifType": "Event", "ReferenceList": sm, "ID": "three"})
		add := m.GetBody().GetRequest().GetAdd()
		add.AllowPartial = partial
		add.CreateObjs = append(add.CreateObjs, &usppb.Add_CreateObject{ObjPath: "Device.LocalAgent.Request."})
		r := l.Call(m)
		results := r.GetBody().GetResponse().GetAddResp().GetCreatedObjResults()
		if code, text := errorOf(r); partial != (code == 0) || partial && (len(results) != 2 || results[0].GetOperStatus().GetOperSuccess() == nil || results[1].GetOperStatus().GetOperFailure() == nil) {
			t.Errorf("allow_partial %t: %d %s, %v", partial, code, text, results)
		}
		want := map[bool]int{false: 0, true: 1}[partial]
		if got := told(l.Call(usptest.Get(fmt.Sprint("get ", partial), subs+`[ID=="three"].ID`))); len(got) != want {
			t.Errorf("allow_partial %t: %q", partial, got)
		}
	}
}

// TestBothPlaces: a change of subscriptions and of software modules at once is all or nothing, unless it need not be.
func TestBothPlaces(t *testing.T) {
	a := newAgent()
	refuse := true
	a.set = func(updates []client.USPUpdate) ([]client.USPSetResult, error) {
		if refuse {
			e := &client.Error{Name: "InvalidArguments", Message: "cannot set", USP: 7004, Details: map[string]any{"parameters": [][]any{{sm + "ExecEnv.1.Enable", uint32(7012), "no"}}}}
			return nil, e
		}
		return []client.USPSetResult{{Requested: updates[0].Path, Objects: []client.USPUpdated{{Path: updates[0].Path, Updated: map[string]string{"Enable": "false"}}}}}, nil
	}
	_, l := joined(t, a)
	l.Subscribe("one", "Event", sm)
	both := func(id string) *usppb.Msg {
		m := usptest.Set(id, subs+"1.", "Enable", "false", false)
		set := m.GetBody().GetRequest().GetSet()
		set.UpdateObjs = append(set.UpdateObjs, usptest.Set("", sm+"ExecEnv.1.", "Enable", "false", false).GetBody().GetRequest().GetSet().GetUpdateObjs()...)
		return m
	}
	e := l.Call(both("refused")).GetBody().GetError()
	if e.GetErrCode() != 7004 || oneLine(e) != `err_code:7004 err_msg:"cannot set" param_errs:{param_path:"Device.SoftwareModules.ExecEnv.1.Enable" err_code:7012 err_msg:"no"}` {
		t.Errorf("the refusal is %s", oneLine(e))
	}
	if got := told(l.Call(usptest.Get("1", subs+"1.Enable"))); !cmp.Equal(got, []string{subs + "1.Enable=true"}) {
		t.Errorf("after the refusal %q", got)
	}
	refuse = false
	if r := l.Call(both("done")).GetBody().GetResponse().GetSetResp().GetUpdatedObjResults(); len(r) != 2 || r[1].GetRequestedPath() != sm+"ExecEnv.1." || r[1].GetOperStatus().GetOperSuccess() == nil {
		t.Errorf("done: %v", r)
	}
	if got := told(l.Call(usptest.Get("2", subs+"1.Enable"))); !cmp.Equal(got, []string{subs + "1.Enable=false"}) {
		t.Errorf("after it is done %q", got)
	}
	if code, text := errorOf(l.Call(usptest.Request("add", usppb.Header_ADD, &usppb.Request{ReqType: &usppb.Request_Add{Add: &usppb.Add{CreateObjs: []*usppb.Add_CreateObject{{ObjPath: sm + "ExecEnv."}}}}}))); code != 7006 {
		t.Errorf("an Add that the agent refuses is answered with %d %s", code, text)
	}
	d := l.Call(usptest.Delete("delete", sm+"ExecEnv.1.")).GetBody().GetResponse().GetDeleteResp()
	if want := `deleted_obj_results:{requested_path:"Device.SoftwareModules.ExecEnv.1." oper_status:{oper_failure:{err_code:7006 err_msg:"cannot delete"}}}`; oneLine(d) != want {
		t.Errorf("a Delete that the agent refuses is answered with %s", oneLine(d))
	}
}

// TestSupportedLocal: the objects of the session are told too, where they are asked for.
func TestSupportedLocal(t *testing.T) {
	_, l := joined(t, newAgent())
	for path, want := range map[string][]string{
		"Device.LocalAgent.":                     {"Device.LocalAgent. 2 0", "Device.LocalAgent.Request.{i}. 4 1", "Device.LocalAgent.Subscription.{i}. 11 0"},
		subs:                                     {subs + "{i}. 11 0"},
		subs + "{i}.":                            {subs + "{i}. 11 0"},
		"Device.LocalAgent.Request.{i}.Cancel()": {"Device.LocalAgent.Request.{i}. 0 1"},
		"Device.LocalAgent.Subscription.{i}.Enable": {subs + "{i}. 1 0"},
		"Device.LocalAgent.Nothing.":                {"7026"},
		"Device.":                                   {"Device. 0 0", "Device.LocalAgent. 2 0", "Device.LocalAgent.Request.{i}. 4 1", "Device.LocalAgent.Subscription.{i}. 11 0", "Device.SoftwareModules.ExecEnv.{i}. 1 1"},
	} {
		r := l.Call(usptest.GetSupportedDM(path, path)).GetBody().GetResponse().GetGetSupportedDmResp().GetReqObjResults()
		var got []string
		for _, o := range r[0].GetSupportedObjs() {
			got = append(got, fmt.Sprint(o.GetSupportedObjPath(), " ", len(o.GetSupportedParams()), " ", len(o.GetSupportedCommands())))
		}
		if r[0].GetErrCode() != 0 {
			got = append(got, fmt.Sprint(r[0].GetErrCode()))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-wanted +got):\n%s", path, d)
		}
	}
	m := usptest.GetSupportedDM("first", "Device.LocalAgent.")
	m.GetBody().GetRequest().GetGetSupportedDm().FirstLevelOnly = true
	r := l.Call(m).GetBody().GetResponse().GetGetSupportedDmResp().GetReqObjResults()[0].GetSupportedObjs()
	if len(r) != 3 || len(r[0].GetSupportedParams()) != 2 || len(r[2].GetSupportedParams()) != 0 || r[2].GetAccess() != usppb.GetSupportedDMResp_OBJ_ADD_DELETE {
		t.Errorf("the first level is %v", r)
	}
	l.Subscribe("one", "Event", sm)
	for path, want := range map[string]int{"Device.LocalAgent.": 1, subs: 1, "Device.LocalAgent.Request.": 0, subs + "1.": 0} {
		got := l.Call(usptest.GetInstances("inst "+path, path)).GetBody().GetResponse().GetGetInstancesResp().GetReqPathResults()[0]
		if got.GetErrCode() != 0 || len(got.GetCurrInsts()) != want {
			t.Errorf("%s has the rows %v, wanted %d", path, got, want)
		}
	}
	if got := l.Call(usptest.GetInstances("param", subs+"1.Enable")).GetBody().GetResponse().GetGetInstancesResp().GetReqPathResults()[0]; got.GetErrCode() != 7018 {
		t.Errorf("the rows of a parameter are %v", got)
	}
}

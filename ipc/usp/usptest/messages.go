package usptest

import "github.com/smmd-project/smmd/ipc/usp/usppb"

// Request returns a message with a request.
func Request(id string, kind usppb.Header_MsgType, r *usppb.Request) *usppb.Msg {
	return &usppb.Msg{Header: &usppb.Header{MsgId: id, MsgType: kind}, Body: &usppb.Body{MsgBody: &usppb.Body_Request{Request: r}}}
}

// Get returns a Get.
func Get(id string, paths ...string) *usppb.Msg {
	return Request(id, usppb.Header_GET, &usppb.Request{ReqType: &usppb.Request_Get{Get: &usppb.Get{ParamPaths: paths}}})
}

// AddSubscription returns the Add of a subscription, in which everything is required.
func AddSubscription(id string, params map[string]string) *usppb.Msg {
	o := &usppb.Add_CreateObject{ObjPath: "Device.LocalAgent.Subscription."}
	for name, value := range params {
		o.ParamSettings = append(o.ParamSettings, &usppb.Add_CreateParamSetting{Param: name, Value: value, Required: true})
	}
	return Request(id, usppb.Header_ADD, &usppb.Request{ReqType: &usppb.Request_Add{Add: &usppb.Add{CreateObjs: []*usppb.Add_CreateObject{o}}}})
}

// Operate returns an Operate that wants an answer.
func Operate(id, command, key string, input map[string]string) *usppb.Msg {
	return Request(id, usppb.Header_OPERATE, &usppb.Request{ReqType: &usppb.Request_Operate{Operate: &usppb.Operate{
		Command: command, CommandKey: key, SendResp: true, InputArgs: input,
	}}})
}

// Set returns a Set of one parameter, which is required.
func Set(id, path, param, value string, partial bool) *usppb.Msg {
	return Request(id, usppb.Header_SET, &usppb.Request{ReqType: &usppb.Request_Set{Set: &usppb.Set{AllowPartial: partial, UpdateObjs: []*usppb.Set_UpdateObject{{
		ObjPath: path, ParamSettings: []*usppb.Set_UpdateParamSetting{{Param: param, Value: value, Required: true}},
	}}}}})
}

// Delete returns a Delete.
func Delete(id string, paths ...string) *usppb.Msg {
	return Request(id, usppb.Header_DELETE, &usppb.Request{ReqType: &usppb.Request_Delete{Delete: &usppb.Delete{ObjPaths: paths}}})
}

// GetInstances returns a GetInstances of everything below the paths.
func GetInstances(id string, paths ...string) *usppb.Msg {
	return Request(id, usppb.Header_GET_INSTANCES, &usppb.Request{ReqType: &usppb.Request_GetInstances{GetInstances: &usppb.GetInstances{ObjPaths: paths}}})
}

// GetSupportedDM returns a GetSupportedDM that asks for everything.
func GetSupportedDM(id string, paths ...string) *usppb.Msg {
	return Request(id, usppb.Header_GET_SUPPORTED_DM, &usppb.Request{ReqType: &usppb.Request_GetSupportedDm{GetSupportedDm: &usppb.GetSupportedDM{
		ObjPaths: paths, ReturnCommands: true, ReturnEvents: true, ReturnParams: true, ReturnUniqueKeySets: true,
	}}})
}

package usp

import (
	"context"
	"fmt"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// get answers a Get.
func (s *session) get(ctx context.Context, id string, r *usppb.Get) (*usppb.Msg, error) {
	results, err := s.ask(ctx, r.GetParamPaths(), func(paths []string) ([]client.USPGetResult, error) {
		return s.agent.USPGet(ctx, r.GetMaxDepth(), paths...)
	}, func(t *tables, path string) client.USPGetResult { return t.get(path, r.GetMaxDepth()) })
	if err != nil {
		return nil, err
	}
	resp := &usppb.GetResp{}
	for _, result := range results {
		one := &usppb.GetResp_RequestedPathResult{RequestedPath: result.Requested, ErrCode: result.Code, ErrMsg: result.Text}
		for _, o := range result.Objects {
			one.ResolvedPathResults = append(one.ResolvedPathResults, &usppb.GetResp_ResolvedPathResult{ResolvedPath: o.Path, ResultParams: o.Parameters})
		}
		resp.ReqPathResults = append(resp.ReqPathResults, one)
	}
	return response(id, usppb.Header_GET_RESP, &usppb.Response{RespType: &usppb.Response_GetResp{GetResp: resp}}), nil
}

// getInstances answers a GetInstances.
func (s *session) getInstances(ctx context.Context, id string, r *usppb.GetInstances) (*usppb.Msg, error) {
	results, err := s.ask(ctx, r.GetObjPaths(), func(paths []string) ([]client.USPGetResult, error) {
		return s.agent.USPGetInstances(ctx, r.GetFirstLevelOnly(), paths...)
	}, (*tables).getInstances)
	if err != nil {
		return nil, err
	}
	resp := &usppb.GetInstancesResp{}
	for _, result := range results {
		one := &usppb.GetInstancesResp_RequestedPathResult{RequestedPath: result.Requested, ErrCode: result.Code, ErrMsg: result.Text}
		for _, o := range result.Objects {
			one.CurrInsts = append(one.CurrInsts, &usppb.GetInstancesResp_CurrInstance{InstantiatedObjPath: o.Path, UniqueKeys: o.Parameters})
		}
		resp.ReqPathResults = append(resp.ReqPathResults, one)
	}
	return response(id, usppb.Header_GET_INSTANCES_RESP, &usppb.Response{RespType: &usppb.Response_GetInstancesResp{GetInstancesResp: resp}}), nil
}

// ask answers each path from where it belongs: the agent, in one call for all of them, or the tables of the session. What is above both is
// answered by both.
func (s *session) ask(ctx context.Context, paths []string, agent func([]string) ([]client.USPGetResult, error),
	local func(*tables, string) client.USPGetResult,
) ([]client.USPGetResult, error) {
	var remote []string
	for _, path := range paths {
		if !isLocal(path) {
			remote = append(remote, path)
		}
	}
	var told []client.USPGetResult
	if len(remote) > 0 {
		var err error
		if told, err = agent(remote); err != nil {
			return nil, err
		}
		if len(told) != len(remote) {
			return nil, fmt.Errorf("cannot answer: the agent tells %d results for %d paths", len(told), len(remote))
		}
	}
	results := make([]client.USPGetResult, 0, len(paths))
	for _, path := range paths {
		var result client.USPGetResult
		if !isLocal(path) {
			result, told = told[0], told[1:]
		}
		if isLocal(path) || isAbove(path) {
			t, err := s.tables(ctx, path)
			if err != nil {
				return nil, err
			}
			own := local(t, path)
			own.Objects = append(own.Objects, result.Objects...)
			result = own
		}
		results = append(results, result)
	}
	return results, nil
}

// getSupportedDM answers a GetSupportedDM.
func (s *session) getSupportedDM(ctx context.Context, id string, r *usppb.GetSupportedDM) (*usppb.Msg, error) {
	o := client.USPSupportedOptions{
		FirstLevelOnly: r.GetFirstLevelOnly(), Commands: r.GetReturnCommands(), Events: r.GetReturnEvents(), Params: r.GetReturnParams(),
		UniqueKeySets: r.GetReturnUniqueKeySets(),
	}
	resp := &usppb.GetSupportedDMResp{}
	for _, path := range r.GetObjPaths() {
		var result client.USPSupportedResult
		if !isLocal(path) {
			told, err := s.agent.USPGetSupportedDM(ctx, o, path)
			if err != nil {
				return nil, err
			}
			if len(told) != 1 {
				return nil, fmt.Errorf("cannot answer: the agent tells %d results for a path", len(told))
			}
			result = told[0]
		}
		if isLocal(path) || isAbove(path) {
			own := getSupportedLocal(path, o)
			own.DataModelURI = result.DataModelURI
			own.Objects = mergeSupported(own.Objects, result.Objects)
			result = own
		}
		resp.ReqObjResults = append(resp.ReqObjResults, supportedResult(result))
	}
	return response(id, usppb.Header_GET_SUPPORTED_DM_RESP, &usppb.Response{RespType: &usppb.Response_GetSupportedDmResp{GetSupportedDmResp: resp}}), nil
}

// mergeSupported joins two parts of one data model, which may have objects above both in common.
func mergeSupported(own, told []client.USPSupportedObject) []client.USPSupportedObject {
	seen := map[string]bool{}
	for _, o := range own {
		seen[o.Path] = true
	}
	for _, o := range told {
		if !seen[o.Path] {
			own = append(own, o)
		}
	}
	return own
}

// supportedResult says a result in the words of TR-369. A word that the standard does not have becomes the zero of its enumeration.
func supportedResult(r client.USPSupportedResult) *usppb.GetSupportedDMResp_RequestedObjectResult {
	result := &usppb.GetSupportedDMResp_RequestedObjectResult{
		ReqObjPath: r.Requested, ErrCode: r.Code, ErrMsg: r.Text, DataModelInstUri: r.DataModelURI,
	}
	for _, o := range r.Objects {
		one := &usppb.GetSupportedDMResp_SupportedObjectResult{
			SupportedObjPath: o.Path, IsMultiInstance: o.MultiInstance,
			Access: usppb.GetSupportedDMResp_ObjAccessType(usppb.GetSupportedDMResp_ObjAccessType_value[o.Access]),
		}
		for _, p := range o.Params {
			one.SupportedParams = append(one.SupportedParams, &usppb.GetSupportedDMResp_SupportedParamResult{
				ParamName:   p.Name,
				Access:      usppb.GetSupportedDMResp_ParamAccessType(usppb.GetSupportedDMResp_ParamAccessType_value[p.Access]),
				ValueType:   usppb.GetSupportedDMResp_ParamValueType(usppb.GetSupportedDMResp_ParamValueType_value[p.Type]),
				ValueChange: usppb.GetSupportedDMResp_ValueChangeType(usppb.GetSupportedDMResp_ValueChangeType_value[p.ValueChange]),
			})
		}
		for _, c := range o.Commands {
			one.SupportedCommands = append(one.SupportedCommands, &usppb.GetSupportedDMResp_SupportedCommandResult{
				CommandName: c.Name, InputArgNames: c.Inputs, OutputArgNames: c.Outputs,
				CommandType: usppb.GetSupportedDMResp_CmdType(usppb.GetSupportedDMResp_CmdType_value[c.Kind]),
			})
		}
		for _, e := range o.Events {
			one.SupportedEvents = append(one.SupportedEvents, &usppb.GetSupportedDMResp_SupportedEventResult{EventName: e.Name, ArgNames: e.Arguments})
		}
		for _, k := range o.UniqueKeySets {
			one.UniqueKeySets = append(one.UniqueKeySets, &usppb.GetSupportedDMResp_SupportedUniqueKeySet{KeyNames: k})
		}
		result.SupportedObjs = append(result.SupportedObjs, one)
	}
	return result
}

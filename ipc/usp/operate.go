package usp

import (
	"context"
	"errors"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// operate answers an Operate; nil where no answer is wanted.
func (s *session) operate(ctx context.Context, c call, r *usppb.Operate) (*usppb.Msg, error) {
	var results []client.USPOperateResult
	var err error
	if isLocal(r.GetCommand()) {
		results, err = s.cancel(ctx, r.GetCommand())
	} else {
		results, err = s.agent.USPOperate(ctx, r.GetCommand(), r.GetCommandKey(), r.GetInputArgs(), c.from)
	}
	if err != nil {
		return nil, err
	}
	if !r.GetSendResp() {
		return nil, nil
	}
	resp := &usppb.OperateResp{}
	for _, result := range results {
		resp.OperationResults = append(resp.OperationResults, operateResult(result))
	}
	return response(c.id, usppb.Header_OPERATE_RESP, &usppb.Response{RespType: &usppb.Response_OperateResp{OperateResp: resp}}), nil
}

func operateResult(r client.USPOperateResult) *usppb.OperateResp_OperationResult {
	one := &usppb.OperateResp_OperationResult{ExecutedCommand: r.Command}
	switch {
	case r.Code != 0:
		one.OperationResp = &usppb.OperateResp_OperationResult_CmdFailure{CmdFailure: &usppb.OperateResp_OperationResult_CommandFailure{ErrCode: r.Code, ErrMsg: r.Text}}
	case r.Job != "":
		one.OperationResp = &usppb.OperateResp_OperationResult_ReqObjPath{ReqObjPath: requestPath(string(r.Job))}
	default:
		one.OperationResp = &usppb.OperateResp_OperationResult_ReqOutputArgs{ReqOutputArgs: &usppb.OperateResp_OperationResult_OutputArgs{OutputArgs: r.Outputs}}
	}
	return one
}

// cancel executes Device.LocalAgent.Request.{i}.Cancel(), the only command of this package. The end of the job is told as that of its command.
func (s *session) cancel(ctx context.Context, command string) ([]client.USPOperateResult, error) {
	t, err := s.tables(ctx, command)
	if err != nil {
		return nil, err
	}
	nodes, f := t.resolve(command)
	switch {
	case f != nil && f.code == codeNoObject:
		return []client.USPOperateResult{{Command: command, USPError: client.USPError{Code: f.code, Text: f.text}}}, nil
	case f != nil:
		return nil, f
	}
	var results []client.USPOperateResult
	for _, n := range nodes {
		if n.Command == nil {
			return nil, failf(codeInvalidPath, "cannot execute %s: it is no command", command)
		}
		result := client.USPOperateResult{Command: n.Path}
		var refused *client.Error
		if err := s.agent.Cancel(ctx, n.Row.req.Job); errors.As(err, &refused) {
			result.USPError = client.USPError{Code: codeCommandFailed, Text: refused.Message}
		} else if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
	return results, nil
}

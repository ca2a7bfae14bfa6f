package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/ipc/usp/usppb"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

// bridgeService is the USP Service that is shipped.
const bridgeService = "smmd-usp.service"

// A bridge is the connection of the shipped USP Service to a double of a Broker, which says and is told everything in USP records.
type bridge struct {
	*usptest.Link
	broker *usptest.Broker
	count  int // of the requests so far
}

// join starts the USP Service. It must not be there for other checks, which read the same news: it acknowledges them.
func (s *suite) join(t *testing.T) {
	broker := s.d.Broker(t)
	s.d.Machine.Run(t, "systemctl", "start", bridgeService)
	s.bridge = &bridge{Link: broker.Accept(), broker: broker}
	s.bridge.Register()
}

// leave stops the USP Service.
func (s *suite) leave(t *testing.T) {
	if s.bridge == nil {
		return
	}
	s.d.Machine.Run(t, "systemctl", "stop", bridgeService)
	s.bridge.For(t)
	s.bridge.Ended()
	s.bridge.broker.Close()
	s.bridge = nil
}

// id is one that no other request has.
func (b *bench) id() string {
	b.s.bridge.count++
	return fmt.Sprintf("request-%d", b.s.bridge.count)
}

// asks sends a request and returns the response, which has to be one.
func (b *bench) asks(m *usppb.Msg) *usppb.Response {
	b.t.Helper()
	answer := b.s.bridge.Call(m)
	r := answer.GetBody().GetResponse()
	if r == nil {
		b.t.Fatalf("%v is answered with %v", m, answer)
	}
	return r
}

// commands sends an Operate and returns its results.
func (b *bench) commands(command, key string, input map[string]string) []*usppb.OperateResp_OperationResult {
	b.t.Helper()
	return b.asks(usptest.Operate(b.id(), command, key, input)).GetOperateResp().GetOperationResults()
}

// requests is [bench.commands] for one that has to go on. It returns the path of its Request.
func (b *bench) requests(command, key string, input map[string]string) string {
	b.t.Helper()
	r := b.commands(command, key, input)
	if len(r) != 1 || r[0].GetExecutedCommand() != command || !strings.HasPrefix(r[0].GetReqObjPath(), "Device.LocalAgent.Request.") {
		b.t.Fatalf("%s is answered with %v", command, r)
	}
	return r[0].GetReqObjPath()
}

// reads gets one parameter; the code is why there is none.
func (b *bench) reads(path string) (value string, code uint32) {
	b.t.Helper()
	r := b.asks(usptest.Get(b.id(), path)).GetGetResp().GetReqPathResults()
	if len(r) != 1 {
		b.t.Fatalf("%s is answered with %v", path, r)
	}
	for _, o := range r[0].GetResolvedPathResults() {
		for _, value = range o.GetResultParams() {
			return value, 0
		}
	}
	return "", r[0].GetErrCode()
}

// subscribes makes a subscription for the time of the check. The Service is told nothing of others.
func (b *bench) subscribes(kind, references string) (id string) {
	b.t.Helper()
	id = b.id()
	path := b.s.bridge.Subscribe(id, kind, references)
	b.t.Cleanup(func() {
		if !b.t.Failed() {
			b.s.bridge.Call(usptest.Delete(b.id(), path))
		}
	})
	return id
}

// heard is what a subscription has been told so far.
func (b *bench) heard(subscription string) (all []*usppb.Notify) {
	for _, m := range b.s.bridge.Sent() {
		if n := m.GetBody().GetRequest().GetNotify(); n.GetSubscriptionId() == subscription {
			all = append(all, n)
		}
	}
	return all
}

// tells waits until a subscription is told something.
func (b *bench) tells(subscription, what string, which func(*usppb.Notify) bool) (found *usppb.Notify) {
	b.t.Helper()
	b.s.bridge.Await(what, func() bool {
		i := slices.IndexFunc(b.s.bridge.Asked, func(m *usppb.Msg) bool {
			n := m.GetBody().GetRequest().GetNotify()
			return n.GetSubscriptionId() == subscription && which(n)
		})
		if i >= 0 {
			found = b.s.bridge.Asked[i].GetBody().GetRequest().GetNotify()
		}
		return i >= 0
	})
	return found
}

// completes waits until a subscription is told the end of a command with a key.
func (b *bench) completes(subscription, key string) *usppb.Notify_OperationComplete {
	b.t.Helper()
	return b.tells(subscription, "the OperationComplete with the key "+key, func(n *usppb.Notify) bool {
		return n.GetOperComplete().GetCommandKey() == key
	}).GetOperComplete()
}

// supports asks for a part of the supported data model.
func (b *bench) supports(path string, commands, events bool) []*usppb.GetSupportedDMResp_SupportedObjectResult {
	b.t.Helper()
	r := b.asks(usptest.Request(b.id(), usppb.Header_GET_SUPPORTED_DM, &usppb.Request{ReqType: &usppb.Request_GetSupportedDm{GetSupportedDm: &usppb.GetSupportedDM{
		ObjPaths: []string{path}, ReturnCommands: commands, ReturnEvents: events,
	}}})).GetGetSupportedDmResp().GetReqObjResults()
	if len(r) != 1 || r[0].GetErrCode() != 0 {
		b.t.Fatalf("the data model of %s is answered with %v", path, r)
	}
	return r[0].GetSupportedObjs()
}

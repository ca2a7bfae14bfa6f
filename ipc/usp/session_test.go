package usp_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

// joined returns a broker at which a Service is registered, and the link to it.
func joined(t *testing.T, a usp.Agent, adjust ...func(*usp.Service)) (*usptest.Broker, *usptest.Link) {
	t.Helper()
	b := usptest.NewBroker(t)
	serve(t, b, a, adjust...)
	l := b.Accept()
	l.Register()
	return b, l
}

// errorOf returns the code and the text of an Error message.
func errorOf(m *usppb.Msg) (uint32, string) {
	e := m.GetBody().GetError()
	return e.GetErrCode(), e.GetErrMsg()
}

// works checks that a link still serves.
func works(t *testing.T, l *usptest.Link, id string) {
	t.Helper()
	m := l.Call(usptest.Get(id, "Device.SoftwareModules."))
	if r := m.GetBody().GetResponse().GetGetResp().GetReqPathResults(); len(r) != 1 || r[0].GetErrCode() != 0 {
		t.Fatalf("the Get %s is answered with %v", id, m)
	}
}

// TestRegistration replays what OB-USP-AGENT does from the connection of a Service until its data model is there.
func TestRegistration(t *testing.T) {
	a := newAgent()
	b := usptest.NewBroker(t)
	serve(t, b, a)
	l := b.Accept()
	if l.Endpoint != usp.DefaultEndpointID {
		t.Errorf("the endpoint is %q", l.Endpoint)
	}
	l.Register()

	dm := l.Call(usptest.GetSupportedDM("BROKER-1", "Device.SoftwareModules.")).GetBody().GetResponse().GetGetSupportedDmResp().GetReqObjResults()
	want := `req_obj_path:"Device.SoftwareModules." data_model_inst_uri:"urn:x" supported_objs:{supported_obj_path:"Device.SoftwareModules.ExecEnv.{i}." is_multi_instance:true ` +
		`supported_commands:{command_name:"Reset()" input_arg_names:"A" output_arg_names:"B" command_type:CMD_ASYNC} supported_events:{event_name:"Restarted!" arg_names:"Reason"} ` +
		`supported_params:{param_name:"Enable" access:PARAM_READ_WRITE value_type:PARAM_BOOLEAN value_change:VALUE_CHANGE_ALLOWED} unique_key_sets:{key_names:"Name"} unique_key_sets:{key_names:"Alias"}}`
	if len(dm) != 1 || oneLine(dm[0]) != want {
		t.Errorf("the data model is\n%v, wanted\n%s", dm, want)
	}

	empty := l.Call(usptest.Get("BROKER-2", "Device.LocalAgent.Subscription.")).GetBody().GetResponse().GetGetResp().GetReqPathResults()
	if len(empty) != 1 || empty[0].GetErrCode() != 0 || len(empty[0].GetResolvedPathResults()) != 0 || empty[0].GetRequestedPath() != "Device.LocalAgent.Subscription." {
		t.Errorf("without subscriptions there are %v", empty)
	}
	first := l.Subscribe("1-1-6b01d1f5-BROKER-D", "Event", "Device.SoftwareModules.DUStateChange!")
	second := l.Subscribe("1-2-6b01d1f5-BROKER-D", "OperationComplete", "Device.SoftwareModules.DeploymentUnit.*.Update(), Device.SoftwareModules.InstallDU()")
	if first != "Device.LocalAgent.Subscription.1." || second != "Device.LocalAgent.Subscription.2." {
		t.Errorf("the subscriptions are %s and %s", first, second)
	}
	rows := l.Call(usptest.Get("BROKER-3", "Device.LocalAgent.Subscription.*.ID", "Device.LocalAgent.SubscriptionNumberOfEntries"))
	if got := told(rows); !cmp.Equal(got, []string{
		"Device.LocalAgent.Subscription.1.ID=1-1-6b01d1f5-BROKER-D", "Device.LocalAgent.Subscription.2.ID=1-2-6b01d1f5-BROKER-D", "Device.LocalAgent.SubscriptionNumberOfEntries=2",
	}) {
		t.Errorf("the table is %q", got)
	}

	inst := l.Call(usptest.GetInstances("BROKER-4", "Device.SoftwareModules.DeploymentUnit.", "Device.SoftwareModules.ExecEnv.")).GetBody().GetResponse().GetGetInstancesResp().GetReqPathResults()
	if len(inst) != 2 || oneLine(inst[1]) != `requested_path:"Device.SoftwareModules.ExecEnv." curr_insts:{instantiated_obj_path:"Device.SoftwareModules.ExecEnv.1." unique_keys:{key:"Alias" value:"cpe-1"}}` {
		t.Errorf("the instances are %v", inst)
	}
	version := l.Call(usptest.Request("BROKER-5", usppb.Header_GET_SUPPORTED_PROTO, &usppb.Request{ReqType: &usppb.Request_GetSupportedProtocol{GetSupportedProtocol: &usppb.GetSupportedProtocol{ControllerSupportedProtocolVersions: "1.3,1.4"}}}))
	if v := version.GetBody().GetResponse().GetGetSupportedProtocolResp().GetAgentSupportedProtocolVersions(); v != "1.4" {
		t.Errorf("the protocols are %q", v)
	}
}

// oneLine returns a message as text, the same in every run.
func oneLine(m proto.Message) string {
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

// told returns the parameters of a GetResp, each as path=value, sorted.
func told(m *usppb.Msg) []string {
	list := []string{}
	for _, r := range m.GetBody().GetResponse().GetGetResp().GetReqPathResults() {
		if r.GetErrCode() != 0 {
			list = append(list, fmt.Sprintf("%s: %d", r.GetRequestedPath(), r.GetErrCode()))
		}
		for _, o := range r.GetResolvedPathResults() {
			for name, value := range o.GetResultParams() {
				list = append(list, o.GetResolvedPath()+name+"="+value)
			}
		}
	}
	slices.Sort(list)
	return list
}

// TestFragments sends a request in pieces, also with pauses where OB-USP-AGENT itself gives up.
func TestFragments(t *testing.T) {
	_, l := joined(t, newAgent())
	for i, size := range []int{1, 4, 8, 13} {
		id := fmt.Sprint("BROKER-", i)
		b, err := usp.Encode(them, us, usptest.Get(id, "Device.SoftwareModules."))
		if err != nil {
			t.Fatal(err)
		}
		for piece := range slices.Chunk(usp.Frame(usp.TypeRecord, b), size) {
			l.Write(piece)
		}
		l.Answer(id)
	}
	// Two requests and something unknown in one write.
	one, _ := usp.Encode(them, us, usptest.Get("a", "Device.SoftwareModules."))
	two, _ := usp.Encode(them, us, usptest.Get("b", "Device.SoftwareModules."))
	l.Write(slices.Concat(usp.Frame(usp.TypeRecord, one), usp.Frame(9, []byte("?")), usp.Frame(usp.TypeRecord, two)))
	l.Answer("a")
	l.Answer("b")
}

// TestBadInput: what cannot be used is answered where there is something to answer, and the session goes on.
func TestBadInput(t *testing.T) {
	_, l := joined(t, newAgent())
	for i, payload := range [][]byte{
		[]byte("\xff\xff\xff"), garbled(t, usptest.Get("#", "Device.")), {}, garbled(t, &usppb.Msg{Header: &usppb.Header{MsgId: "x", MsgType: usppb.Header_NOTIFY_RESP}, Body: &usppb.Body{MsgBody: &usppb.Body_Error{Error: &usppb.Error{ErrMsg: "#"}}}}),
	} {
		l.Write(usp.Frame(usp.TypeRecord, carrying(t, payload)))
		works(t, l, fmt.Sprint("after payload ", i))
	}
	l.Write(usp.Frame(usp.TypeRecord, record(t, &usppb.Record{ToId: "proto::other", FromId: them, RecordType: &usppb.Record_Disconnect{Disconnect: &usppb.DisconnectRecord{}}})))
	l.Write(usp.Frame(usp.TypeHandshake, []byte("proto::again")))
	works(t, l, "after a record for another")

	l.Write(usp.Frame(usp.TypeRecord, carrying(t, garbled(t, usptest.Operate("PBROKER-1", "Device.SoftwareModules.InstallDU()", "k", map[string]string{"URL": "#"})))))
	if code, text := errorOf(l.Answer("PBROKER-1")); code != 7004 {
		t.Errorf("an Operate that is not UTF-8 is answered with %d %s", code, text)
	}
	for id, m := range map[string]*usppb.Msg{
		"no request": usptest.Request("no request", usppb.Header_DEREGISTER, &usppb.Request{}),
		"no body":    {Header: &usppb.Header{MsgId: "no body", MsgType: usppb.Header_GET}},
		"register":   usptest.Request("register", usppb.Header_REGISTER, &usppb.Request{ReqType: &usppb.Request_Register{Register: &usppb.Register{}}}),
	} {
		if code, text := errorOf(l.Call(m)); code != 7001 && code != 7004 {
			t.Errorf("%s is answered with %d %s", id, code, text)
		}
	}
	l.Send(&usppb.Msg{Header: &usppb.Header{MsgId: "e", MsgType: usppb.Header_ERROR}, Body: &usppb.Body{MsgBody: &usppb.Body_Error{Error: &usppb.Error{ErrCode: 7003}}}})
	l.Send(usptest.Request("n", usppb.Header_NOTIFY, &usppb.Request{ReqType: &usppb.Request_Notify{Notify: &usppb.Notify{}}}))
	works(t, l, "at the end")
}

// TestReconnects: whatever ends a session, there is another one after it.
func TestReconnects(t *testing.T) {
	a := newAgent()
	b := usptest.NewBroker(t)
	serve(t, b, a)
	for _, c := range []struct {
		name string
		end  func(l *usptest.Link)
		tell string // the Error frame that the service sends first; empty: none
	}{
		{"the broker closes", func(l *usptest.Link) { l.Conn.Close() }, ""},
		{"a duplicate endpoint", func(l *usptest.Link) {
			l.Write(usp.Frame(usp.TypeError, []byte("Duplicate EndpointID connecting on same UDS path")))
		}, ""},
		{"no frame", func(l *usptest.Link) { l.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }, "not a USP frame"},
		{"a frame that is too long", func(l *usptest.Link) { l.Write([]byte("_USP\x7f\xff\xff\xff")) }, "not a USP frame"},
		{"no record", func(l *usptest.Link) { l.Write(usp.Frame(usp.TypeRecord, []byte("\xff\xff"))) }, "not a USP record"},
		{"a disconnect", func(l *usptest.Link) {
			l.Write(usp.Frame(usp.TypeRecord, record(t, &usppb.Record{ToId: us, FromId: them, RecordType: &usppb.Record_Disconnect{Disconnect: &usppb.DisconnectRecord{Reason: "bye"}}})))
		}, ""},
		{"the bus is lost", func(*usptest.Link) { a.change(func() { close(a.lost); a.lost = make(chan struct{}) }) }, ""},
		{"another agent", func(*usptest.Link) {
			a.change(func() { a.boots, a.version = a.boots+1, a.version+"1" })
		}, ""},
	} {
		l := b.Accept()
		l.Register()
		works(t, l, c.name)
		if c.name == "the bus is lost" || c.name == "another agent" {
			// The service watches the agent once the broker has stopped making subscriptions.
			a.tell(client.USPNotification{ID: uint64(len(a.version)) << 30, Kind: client.USPEvent, Object: "Device.SoftwareModules.", Event: "DUStateChange!"})
			a.await(t, "the acknowledgement", func() bool { return len(a.news) == 0 })
		}
		c.end(l)
		if c.name == "the broker closes" {
			continue
		}
		texts := l.Ended()
		if c.tell == "" && len(texts) > 0 || c.tell != "" && (len(texts) != 1 || !strings.Contains(texts[0], c.tell)) {
			t.Errorf("%s: the service says %q, wanted %q", c.name, texts, c.tell)
		}
	}
	// A broker that is away for a while, and one that refuses.
	b.Close()
	b.Open()
	l := b.Accept()
	l.Await("the Register", func() bool { return len(l.Asked) == 2 })
	l.Send(&usppb.Msg{Header: &usppb.Header{MsgId: l.Sent()[1].GetHeader().GetMsgId(), MsgType: usppb.Header_ERROR}, Body: &usppb.Body{MsgBody: &usppb.Body_Error{Error: &usppb.Error{ErrCode: 7029, ErrMsg: "taken"}}}})
	l.Ended()
	raw := b.AcceptRaw()
	raw.Write(usp.Frame(usp.TypeError, []byte("go away")))
	l = b.Accept()
	l.Register()
	works(t, l, "after all")
}

// TestAgentAway: while there is no agent the Broker is answered at once, and the session goes on when it is back.
func TestAgentAway(t *testing.T) {
	a := newAgent()
	_, l := joined(t, a)
	l.Subscribe("s", "Event", "Device.SoftwareModules.")
	a.tell(event(1<<20, "one"))
	l.Notifies(1)
	a.change(func() { a.away = true })
	if code, text := errorOf(l.Call(usptest.Get("1", "Device.SoftwareModules."))); code != 7003 {
		t.Errorf("without an agent a Get is answered with %d %s", code, text)
	}
	a.change(func() { a.away, a.boots = false, a.boots+1; a.news = append(a.news, event(2<<20, "two")) })
	if n := l.Notifies(2); n[1].GetEvent().GetParams()["UUID"] != "two" {
		t.Errorf("after its return %v", n)
	}
	works(t, l, "2")
	a.await(t, "the acknowledgement", func() bool { return a.acked == 2<<20 })
}

// TestSilence: an agent that does not answer holds up nobody but those who ask for the same, and them not for long.
func TestSilence(t *testing.T) {
	a := newAgent()
	release := make(chan struct{})
	a.get = func(ctx context.Context, paths []string) ([]client.USPGetResult, error) {
		if paths[0] == "Device.SoftwareModules.ExecEnv." {
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("cannot get values: %w", ctx.Err())
			case <-release:
			}
		}
		return []client.USPGetResult{{Requested: paths[0]}}, nil
	}
	_, l := joined(t, a)
	l.Send(usptest.Get("slow", "Device.SoftwareModules.ExecEnv."))
	works(t, l, "quick")
	close(release)
	l.Answer("slow")

	a.change(func() { release = make(chan struct{}) })
	_, l = joined(t, a, func(s *usp.Service) { s.Limit(50 * time.Millisecond) })
	for i := range 20 { // more than are served at once
		l.Send(usptest.Get(fmt.Sprint("never ", i), "Device.SoftwareModules.ExecEnv."))
	}
	works(t, l, "behind them")
	for i := range 20 {
		if code, text := errorOf(l.Answer(fmt.Sprint("never ", i))); code != 7003 {
			t.Errorf("without an answer a Get is answered with %d %s", code, text)
		}
	}
}

// TestDefect: a defect costs one answer.
func TestDefect(t *testing.T) {
	a := newAgent()
	a.get = func(_ context.Context, paths []string) ([]client.USPGetResult, error) {
		if paths[0] == "Device.SoftwareModules.X" {
			panic("a defect")
		}
		return []client.USPGetResult{{Requested: paths[0]}}, nil
	}
	_, l := joined(t, a)
	if code, text := errorOf(l.Call(usptest.Get("1", "Device.SoftwareModules.X"))); code != 7003 {
		t.Errorf("a defect is answered with %d %s", code, text)
	}
	works(t, l, "2")
}

// TestTooLong: an answer that the Broker would not take becomes an Error.
func TestTooLong(t *testing.T) {
	a := newAgent()
	a.get = func(_ context.Context, paths []string) ([]client.USPGetResult, error) {
		length := map[string]int{"Device.SoftwareModules.": 0, "long": 1 << 20, "too long": usp.MaxFrame}[paths[0]]
		return []client.USPGetResult{{Requested: paths[0], Objects: []client.USPObject{{Path: "O.", Parameters: map[string]string{"P": strings.Repeat("x", length)}}}}}, nil
	}
	_, l := joined(t, a)
	if got := told(l.Call(usptest.Get("1", "long"))); len(got) != 1 || len(got[0]) != len("O.P=")+1<<20 {
		t.Errorf("a long answer has %d parameters", len(got))
	}
	if code, text := errorOf(l.Call(usptest.Get("2", "too long"))); code != 7005 {
		t.Errorf("an answer that is too long is %d %s", code, text)
	}
	works(t, l, "3")
}

func TestEndpointID(t *testing.T) {
	for _, id := range []string{"smmd", "proto:smmd", ":a:b", "proto::", "proto::a b", "proto::ä", "proto::" + strings.Repeat("x", 250)} {
		if _, err := usp.New(usp.Options{EndpointID: id}); err == nil {
			t.Errorf("%q is an endpoint identifier", id)
		}
	}
	for _, id := range []string{"", "proto::smmd", "os::012345-smmd", "self:a:b:c"} {
		if _, err := usp.New(usp.Options{EndpointID: id}); err != nil {
			t.Error(err)
		}
	}
}

func event(id uint64, uuid string) client.USPNotification {
	return client.USPNotification{ID: id, Kind: client.USPEvent, Object: "Device.SoftwareModules.", Event: "DUStateChange!", Arguments: map[string]string{"UUID": uuid}}
}

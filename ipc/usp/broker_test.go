package usp_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// patience is how long a test waits for what has to happen.
const patience = 60 * time.Second

// broker is a double of OB-USP-AGENT as a Broker: it does on the wire what that was seen to do.
type broker struct {
	t      testing.TB
	path   string
	listen net.Listener
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	dir, err := os.MkdirTemp("", "smmd-usp-") // the directory of the test may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &broker{t: t, path: filepath.Join(dir, "broker")}
	b.open()
	t.Cleanup(b.close)
	return b
}

// open makes the broker be there, close makes it go.
func (b *broker) open() {
	b.t.Helper()
	var err error
	if b.listen, err = net.Listen("unix", b.path); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) close() { b.listen.Close() }

// link is a connection of a service.
type link struct {
	t        testing.TB
	conn     net.Conn
	endpoint string // of the service

	mu      sync.Mutex
	answers map[string]*usppb.Msg // by the id of the request
	asked   []*usppb.Msg          // what the service sent by itself, in order
	all     []*usppb.Msg          // everything, in order
	errors  []string              // texts of Error frames
	broken  error                 // why nothing comes any more
	news    chan struct{}         // closed and replaced when one of the above changes
}

// accept waits for a service and shakes hands with it.
func (b *broker) accept() *link {
	b.t.Helper()
	l := b.acceptRaw()
	if err := l.handshake(); err != nil {
		b.t.Fatalf("the handshake: %v", err)
	}
	go l.read()
	return l
}

// acceptRaw waits for a service and does nothing.
func (b *broker) acceptRaw() *link {
	b.t.Helper()
	if err := b.listen.(*net.UnixListener).SetDeadline(time.Now().Add(patience)); err != nil {
		b.t.Fatal(err)
	}
	conn, err := b.listen.Accept()
	if err != nil {
		b.t.Fatalf("no service connects: %v", err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return &link{t: b.t, conn: conn, answers: map[string]*usppb.Msg{}, news: make(chan struct{})}
}

func (l *link) handshake() error {
	frame, err := usp.ReadFrame(l.conn)
	if err != nil {
		return err
	}
	if len(frame) != 1 || frame[0].Kind != usp.TypeHandshake {
		return fmt.Errorf("the first frame of the service is %v", frame)
	}
	l.endpoint = string(frame[0].Value)
	_, err = l.conn.Write(usp.Frame(usp.TypeHandshake, []byte(them)))
	return err
}

// read takes what the service sends. As OB-USP-AGENT does, it expects the header of a frame to come at once.
func (l *link) read() {
	for {
		frame, err := readAtOnce(l.conn)
		l.mu.Lock()
		if err != nil {
			l.broken = err
		}
		for _, tlv := range frame {
			switch tlv.Kind {
			case usp.TypeError:
				l.errors = append(l.errors, string(tlv.Value))
			case usp.TypeRecord:
				var r usppb.Record
				var m usppb.Msg
				if err := proto.Unmarshal(tlv.Value, &r); err != nil || r.GetFromId() != l.endpoint || r.GetToId() != them {
					l.broken = fmt.Errorf("the record %v, %w", &r, err)
				} else if r.GetUdsConnect() != nil {
					m.Header = &usppb.Header{MsgId: "uds-connect"}
					l.asked = append(l.asked, &m)
				} else if err := proto.Unmarshal(r.GetNoSessionContext().GetPayload(), &m); err != nil {
					l.broken = err
				} else if m.GetBody().GetRequest() != nil {
					l.asked = append(l.asked, &m)
				} else {
					l.answers[m.GetHeader().GetMsgId()] = &m
				}
				l.all = append(l.all, &m)
			}
		}
		close(l.news)
		l.news = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// readAtOnce reads a frame whose first bytes have to come in one piece.
func readAtOnce(conn net.Conn) ([]usp.TLV, error) {
	head := make([]byte, 13)
	n, err := conn.Read(head)
	if err != nil {
		return nil, err
	}
	if n < len(head) {
		return nil, fmt.Errorf("the stream pauses after byte %d of a frame: for OB-USP-AGENT it has ended", n)
	}
	return usp.ReadFrame(io.MultiReader(&once{head}, conn))
}

// once is the bytes of a slice.
type once struct{ b []byte }

func (o *once) Read(p []byte) (int, error) {
	if len(o.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, o.b)
	o.b = o.b[n:]
	return n, nil
}

// await waits until f, which is called under the lock, returns true.
func (l *link) await(what string, f func() bool) {
	l.t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		done, broken, news := f(), l.broken, l.news
		l.mu.Unlock()
		if done {
			return
		}
		if broken != nil {
			l.t.Fatalf("%s does not come any more: %v; so far %v and the errors %q", what, broken, l.sent(), l.errors)
		}
		select {
		case <-news:
		case <-deadline:
			l.t.Fatalf("%s does not come; so far %v", what, l.sent())
		}
	}
}

// sent returns what the service has sent by itself.
func (l *link) sent() []*usppb.Msg {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.asked)
}

// write sends bytes to the service.
func (l *link) write(b []byte) {
	l.t.Helper()
	if _, err := l.conn.Write(b); err != nil {
		l.t.Fatalf("cannot write to the service: %v", err)
	}
}

// send sends a message to the service.
func (l *link) send(m *usppb.Msg) {
	l.t.Helper()
	b, err := usp.Encode(them, l.endpoint, m)
	if err != nil {
		l.t.Fatal(err)
	}
	l.write(usp.Frame(usp.TypeRecord, b))
}

// answer waits for the answer to a request.
func (l *link) answer(id string) *usppb.Msg {
	l.t.Helper()
	var m *usppb.Msg
	l.await("the answer to "+id, func() bool { m = l.answers[id]; return m != nil })
	return m
}

// call sends a request and waits for its answer.
func (l *link) call(m *usppb.Msg) *usppb.Msg {
	l.t.Helper()
	l.send(m)
	return l.answer(m.GetHeader().GetMsgId())
}

// ended waits for the end of the connection and returns the texts of the Error frames before it.
func (l *link) ended() []string {
	l.t.Helper()
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		broken, news, texts := l.broken, l.news, slices.Clone(l.errors)
		l.mu.Unlock()
		if broken != nil {
			return texts
		}
		select {
		case <-news:
		case <-deadline:
			l.t.Fatalf("the service does not close the connection; so far %v", l.sent())
		}
	}
}

// register lets the service announce and register itself, as OB-USP-AGENT does, up to the answer to the Register.
func (l *link) register() {
	l.t.Helper()
	l.await("the Register", func() bool { return len(l.asked) == 2 })
	sent := l.sent()
	reg := sent[1].GetBody().GetRequest().GetRegister()
	if sent[0].GetHeader().GetMsgId() != "uds-connect" || reg == nil || reg.GetAllowPartial() || len(reg.GetRegPaths()) != 1 || reg.GetRegPaths()[0].GetPath() != "Device.SoftwareModules." {
		l.t.Fatalf("the service begins with %v", sent)
	}
	l.send(&usppb.Msg{
		Header: &usppb.Header{MsgId: sent[1].GetHeader().GetMsgId(), MsgType: usppb.Header_REGISTER_RESP},
		Body: &usppb.Body{MsgBody: &usppb.Body_Response{Response: &usppb.Response{RespType: &usppb.Response_RegisterResp{RegisterResp: &usppb.RegisterResp{
			RegisteredPathResults: []*usppb.RegisterResp_RegisteredPathResult{{RequestedPath: "Device.SoftwareModules.", OperStatus: &usppb.RegisterResp_RegisteredPathResult_OperationStatus{
				OperStatus: &usppb.RegisterResp_RegisteredPathResult_OperationStatus_OperSuccess{OperSuccess: &usppb.RegisterResp_RegisteredPathResult_OperationStatus_OperationSuccess{RegisteredPath: "Device.SoftwareModules."}},
			}}},
		}}}}},
	})
}

// notifies waits for that many Notify and returns them.
func (l *link) notifies(n int) []*usppb.Notify {
	l.t.Helper()
	var list []*usppb.Notify
	l.await(fmt.Sprintf("the Notify number %d", n), func() bool {
		list = nil
		for _, m := range l.asked {
			if x := m.GetBody().GetRequest().GetNotify(); x != nil {
				list = append(list, x)
			}
		}
		return len(list) >= n
	})
	return list
}

// subscribe makes a subscription as OB-USP-AGENT passes one on, and returns its path.
func (l *link) subscribe(id, kind, references string) string {
	l.t.Helper()
	resp := l.call(addMsg("BROKER-sub-"+id, map[string]string{
		"NotifType": kind, "ReferenceList": references, "ID": id, "Persistent": "false", "TimeToLive": "0", "NotifRetry": "false",
		"NotifExpiration": "0", "Enable": "true",
	}))
	ok := resp.GetBody().GetResponse().GetAddResp().GetCreatedObjResults()
	if len(ok) != 1 || ok[0].GetRequestedPath() != "Device.LocalAgent.Subscription." || ok[0].GetOperStatus().GetOperSuccess().GetInstantiatedPath() == "" {
		l.t.Fatalf("the subscription %s is answered with %v", id, resp)
	}
	return ok[0].GetOperStatus().GetOperSuccess().GetInstantiatedPath()
}

// addMsg returns the Add of a subscription, in which everything is required.
func addMsg(id string, params map[string]string) *usppb.Msg {
	o := &usppb.Add_CreateObject{ObjPath: "Device.LocalAgent.Subscription."}
	for name, value := range params {
		o.ParamSettings = append(o.ParamSettings, &usppb.Add_CreateParamSetting{Param: name, Value: value, Required: true})
	}
	return ask(id, usppb.Header_ADD, &usppb.Request{ReqType: &usppb.Request_Add{Add: &usppb.Add{CreateObjs: []*usppb.Add_CreateObject{o}}}})
}

func operateMsg(id, command, key string, input map[string]string) *usppb.Msg {
	return ask(id, usppb.Header_OPERATE, &usppb.Request{ReqType: &usppb.Request_Operate{Operate: &usppb.Operate{
		Command: command, CommandKey: key, SendResp: true, InputArgs: input,
	}}})
}

func setMsg(id, path, param, value string, partial bool) *usppb.Msg {
	return ask(id, usppb.Header_SET, &usppb.Request{ReqType: &usppb.Request_Set{Set: &usppb.Set{AllowPartial: partial, UpdateObjs: []*usppb.Set_UpdateObject{{
		ObjPath: path, ParamSettings: []*usppb.Set_UpdateParamSetting{{Param: param, Value: value, Required: true}},
	}}}}})
}

func deleteMsg(id string, paths ...string) *usppb.Msg {
	return ask(id, usppb.Header_DELETE, &usppb.Request{ReqType: &usppb.Request_Delete{Delete: &usppb.Delete{ObjPaths: paths}}})
}

func instancesMsg(id string, paths ...string) *usppb.Msg {
	return ask(id, usppb.Header_GET_INSTANCES, &usppb.Request{ReqType: &usppb.Request_GetInstances{GetInstances: &usppb.GetInstances{ObjPaths: paths}}})
}

func supportedMsg(id string, paths ...string) *usppb.Msg {
	return ask(id, usppb.Header_GET_SUPPORTED_DM, &usppb.Request{ReqType: &usppb.Request_GetSupportedDm{GetSupportedDm: &usppb.GetSupportedDM{
		ObjPaths: paths, ReturnCommands: true, ReturnEvents: true, ReturnParams: true, ReturnUniqueKeySets: true,
	}}})
}

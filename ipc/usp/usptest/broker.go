// Package usptest is a double of a USP Broker for tests: it does on the wire what OB-USP-AGENT was seen to do to a USP Service that connects to
// its socket, and nothing that a Service could lean on and a real Broker would not give. It encodes frames by itself, so that a mistake in
// package usp is not made twice.
package usptest

import (
	"bytes"
	"errors"
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

	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// Patience is how long a test waits for what has to happen.
const Patience = 60 * time.Second

// ID is the endpoint identifier of the Broker.
const ID = "proto::broker"

// registered is what a Service registers.
const registered = "Device.SoftwareModules."

// Broker listens on a socket of its own.
type Broker struct {
	Path   string // of the socket
	t      testing.TB
	listen *net.UnixListener
}

// NewBroker returns a Broker with a socket of its own that is there until the test ends.
func NewBroker(t testing.TB) *Broker {
	t.Helper()
	dir, err := os.MkdirTemp("", "smmd-usp-") // the directory of the test may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return NewBrokerAt(t, filepath.Join(dir, "broker"))
}

// NewBrokerAt is [NewBroker] with a path for the socket, whose directory has to be there.
func NewBrokerAt(t testing.TB, path string) *Broker {
	t.Helper()
	b := &Broker{t: t, Path: path}
	b.Open()
	t.Cleanup(b.Close)
	return b
}

// Open makes the Broker be there.
func (b *Broker) Open() {
	b.t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: b.Path, Net: "unix"})
	if err != nil {
		b.t.Fatal(err)
	}
	b.listen = l
}

// Close makes the Broker go. Connections stay.
func (b *Broker) Close() {
	if err := b.listen.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		b.t.Error(err)
	}
}

// Link is a connection of a Service.
type Link struct {
	Conn     net.Conn
	Endpoint string // of the Service

	// These may be read in the functions that Await and Look are given only.
	Answers map[string]*usppb.Msg // by the id of the request
	Asked   []*usppb.Msg          // what the Service sent by itself, in order; its connect record is a message with the id [ConnectID]
	All     []*usppb.Msg          // everything, in order

	t      testing.TB
	mu     sync.Mutex
	errors []string      // texts of Error frames
	broken error         // why nothing comes any more
	news   chan struct{} // closed and replaced when something has come
}

// Accept waits for a Service and shakes hands with it.
func (b *Broker) Accept() *Link {
	b.t.Helper()
	l := b.AcceptRaw()
	if err := l.handshake(); err != nil {
		b.t.Fatalf("the handshake: %v", err)
	}
	go l.read()
	return l
}

// AcceptRaw waits for a Service and does nothing.
func (b *Broker) AcceptRaw() *Link {
	b.t.Helper()
	if err := b.listen.SetDeadline(time.Now().Add(Patience)); err != nil {
		b.t.Fatal(err)
	}
	conn, err := b.listen.Accept()
	if err != nil {
		b.t.Fatalf("no service connects: %v", err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return &Link{t: b.t, Conn: conn, Answers: map[string]*usppb.Msg{}, news: make(chan struct{})}
}

func (l *Link) handshake() error {
	frame, err := ReadFrame(l.Conn)
	if err != nil {
		return err
	}
	if len(frame) != 1 || frame[0].Kind != TypeHandshake {
		return fmt.Errorf("the first frame of the service is %v", frame)
	}
	l.Endpoint = string(frame[0].Value)
	_, err = l.Conn.Write(Frame(TypeHandshake, []byte(ID)))
	return err
}

// read takes what the service sends. As OB-USP-AGENT does, it expects the header of a frame to come at once.
func (l *Link) read() {
	for {
		frame, err := readAtOnce(l.Conn)
		l.mu.Lock()
		if err != nil {
			l.broken = err
		}
		for _, tlv := range frame {
			switch tlv.Kind {
			case TypeError:
				l.errors = append(l.errors, string(tlv.Value))
			case TypeRecord:
				var r usppb.Record
				var m usppb.Msg
				if err := proto.Unmarshal(tlv.Value, &r); err != nil || r.GetFromId() != l.Endpoint || r.GetToId() != ID {
					l.broken = fmt.Errorf("the record %v, %w", &r, err)
				} else if r.GetUdsConnect() != nil {
					m.Header = &usppb.Header{MsgId: ConnectID}
					l.Asked = append(l.Asked, &m)
				} else if err := proto.Unmarshal(r.GetNoSessionContext().GetPayload(), &m); err != nil {
					l.broken = err
				} else if m.GetBody().GetRequest() != nil {
					l.Asked = append(l.Asked, &m)
				} else {
					l.Answers[m.GetHeader().GetMsgId()] = &m
				}
				l.All = append(l.All, &m)
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
func readAtOnce(conn net.Conn) ([]TLV, error) {
	head := make([]byte, 13)
	n, err := conn.Read(head)
	if err != nil {
		return nil, err
	}
	if n < len(head) {
		return nil, fmt.Errorf("the stream pauses after byte %d of a frame: for OB-USP-AGENT it has ended", n)
	}
	return ReadFrame(io.MultiReader(bytes.NewReader(head), conn))
}

// Await waits until f returns true. what is for the message of a failure.
func (l *Link) Await(what string, f func() bool) {
	l.t.Helper()
	deadline := time.After(Patience)
	for {
		l.mu.Lock()
		done, broken, news, texts := f(), l.broken, l.news, slices.Clone(l.errors)
		l.mu.Unlock()
		if done {
			return
		}
		if broken != nil {
			l.t.Fatalf("%s does not come any more: %v; so far %v and the errors %q", what, broken, l.Sent(), texts)
		}
		select {
		case <-news:
		case <-deadline:
			l.t.Fatalf("%s does not come; so far %v", what, l.Sent())
		}
	}
}

// For makes what goes wrong from now on a failure of another test, such as one within the test that has made the Broker.
func (l *Link) For(t testing.TB) { l.t = t }

// Look calls f at a moment at which nothing comes.
func (l *Link) Look(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// Next returns a channel that is closed when something comes.
func (l *Link) Next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.news
}

// Sent returns what the service has sent by itself.
func (l *Link) Sent() []*usppb.Msg {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.Asked)
}

// Write sends bytes to the service.
func (l *Link) Write(b []byte) {
	l.t.Helper()
	if _, err := l.Conn.Write(b); err != nil {
		l.t.Fatalf("cannot write to the service: %v", err)
	}
}

// Send sends a message to the service.
func (l *Link) Send(m *usppb.Msg) {
	l.t.Helper()
	b, err := Encode(l.Endpoint, m)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Write(Frame(TypeRecord, b))
}

// Answer waits for the answer to a request.
func (l *Link) Answer(id string) *usppb.Msg {
	l.t.Helper()
	var m *usppb.Msg
	l.Await("the answer to "+id, func() bool { m = l.Answers[id]; return m != nil })
	return m
}

// Call sends a request and waits for its answer.
func (l *Link) Call(m *usppb.Msg) *usppb.Msg {
	l.t.Helper()
	l.Send(m)
	return l.Answer(m.GetHeader().GetMsgId())
}

// Ended waits for the end of the connection and returns the texts of the Error frames before it.
func (l *Link) Ended() []string {
	l.t.Helper()
	deadline := time.After(Patience)
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
			l.t.Fatalf("the service does not close the connection; so far %v", l.Sent())
		}
	}
}

// Register lets the service announce and register itself, as OB-USP-AGENT does, up to the answer to the Register.
func (l *Link) Register() {
	l.t.Helper()
	l.Await("the Register", func() bool { return len(l.Asked) == 2 })
	sent := l.Sent()
	reg := sent[1].GetBody().GetRequest().GetRegister()
	if sent[0].GetHeader().GetMsgId() != ConnectID || reg == nil || reg.GetAllowPartial() || len(reg.GetRegPaths()) != 1 || reg.GetRegPaths()[0].GetPath() != registered {
		l.t.Fatalf("the service begins with %v", sent)
	}
	l.Send(&usppb.Msg{
		Header: &usppb.Header{MsgId: sent[1].GetHeader().GetMsgId(), MsgType: usppb.Header_REGISTER_RESP},
		Body: &usppb.Body{MsgBody: &usppb.Body_Response{Response: &usppb.Response{RespType: &usppb.Response_RegisterResp{RegisterResp: &usppb.RegisterResp{
			RegisteredPathResults: []*usppb.RegisterResp_RegisteredPathResult{{RequestedPath: registered, OperStatus: &usppb.RegisterResp_RegisteredPathResult_OperationStatus{
				OperStatus: &usppb.RegisterResp_RegisteredPathResult_OperationStatus_OperSuccess{OperSuccess: &usppb.RegisterResp_RegisteredPathResult_OperationStatus_OperationSuccess{RegisteredPath: registered}},
			}}},
		}}}}},
	})
}

// Notifies waits for that many Notify and returns them.
func (l *Link) Notifies(n int) []*usppb.Notify {
	l.t.Helper()
	var list []*usppb.Notify
	l.Await(fmt.Sprintf("the Notify number %d", n), func() bool {
		list = nil
		for _, m := range l.Asked {
			if x := m.GetBody().GetRequest().GetNotify(); x != nil {
				list = append(list, x)
			}
		}
		return len(list) >= n
	})
	return list
}

// Subscribe makes a subscription as OB-USP-AGENT passes one on, and returns its path.
func (l *Link) Subscribe(id, kind, references string) string {
	l.t.Helper()
	resp := l.Call(AddSubscription("BROKER-sub-"+id, map[string]string{
		"NotifType": kind, "ReferenceList": references, "ID": id, "Persistent": "false", "TimeToLive": "0", "NotifRetry": "false",
		"NotifExpiration": "0", "Enable": "true",
	}))
	ok := resp.GetBody().GetResponse().GetAddResp().GetCreatedObjResults()
	if len(ok) != 1 || ok[0].GetRequestedPath() != "Device.LocalAgent.Subscription." || ok[0].GetOperStatus().GetOperSuccess().GetInstantiatedPath() == "" {
		l.t.Fatalf("the subscription %s is answered with %v", id, resp)
	}
	return ok[0].GetOperStatus().GetOperSuccess().GetInstantiatedPath()
}

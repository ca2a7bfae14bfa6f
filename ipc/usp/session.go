package usp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

const (
	readers = 16 // how many requests that read are served at once
	queued  = 64 // how many requests that change something wait for their turn before the Broker is no longer read
)

// A session is one connection to the Broker, from the handshake to its end.
type session struct {
	s     *Service
	agent Agent
	info  client.Info // of the agent when the session began
	conn  net.Conn
	log   *slog.Logger

	broker   string // the Broker's endpoint identifier
	writing  sync.Mutex
	lastID   atomic.Uint64 // of our messages
	register string        // id of the Register
	accepted chan struct{} // closed when the Broker has accepted the registration

	changes chan call
	reads   chan call
	subs    *subscriptions
	memory  memory

	// operating is held for reading from before an Operate reaches the agent until its answer is written, and for writing while
	// an OperationComplete is: the Broker learns of a Request before it learns of its end.
	operating sync.RWMutex
}

// A call is a request of the Broker that waits to be served.
type call struct {
	from string
	id   string
	req  *usppb.Request
}

func newSession(s *Service, agent Agent, info client.Info, conn net.Conn) *session {
	session := &session{
		s: s, agent: agent, info: info, conn: conn, log: s.log, accepted: make(chan struct{}),
		changes: make(chan call, queued), reads: make(chan call, readers), subs: newSubscriptions(), memory: memory{stood: map[string][]string{}},
	}
	session.register = session.nextID()
	return session
}

// run serves the Broker until something ends the session. ready is called once the registration is accepted.
func (s *session) run(ctx context.Context, ready func()) error {
	defer s.conn.Close()
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	in := bufio.NewReader(s.conn)
	if err := s.handshake(in); err != nil {
		return err
	}
	group.Go(func() error { return s.read(ctx, in) })
	group.Go(func() error { return s.serveAll(ctx, s.changes) })
	for range readers {
		group.Go(func() error { return s.serveAll(ctx, s.reads) })
	}
	group.Go(func() error {
		f := &follower{s: s}
		if err := f.begin(ctx); err != nil {
			return err
		}
		if err := s.join(ctx); err != nil {
			return err
		}
		s.log.Info("registered at the broker", "path", registered, "endpoint", s.s.o.EndpointID, "broker_endpoint", s.broker)
		ready()
		return f.run(ctx)
	})
	return group.Wait()
}

// handshake exchanges endpoint identifiers: ours first (TR-369, UNIX Domain Socket Binding).
func (s *session) handshake(in *bufio.Reader) error {
	if err := s.conn.SetDeadline(time.Now().Add(s.s.times.handshake)); err != nil {
		return err
	}
	if err := writeFrame(s.conn, typeHandshake, []byte(s.s.o.EndpointID)); err != nil {
		return err
	}
	for s.broker == "" {
		frame, err := readFrame(in)
		if err != nil {
			return s.readError("cannot shake hands with the broker", err)
		}
		for _, t := range frame {
			switch t.kind {
			case typeError:
				return refused(t.value)
			case typeHandshake:
				s.broker = string(t.value)
				if err := checkEndpointID(s.broker); err != nil {
					return fmt.Errorf("cannot shake hands with the broker: %w", err)
				}
			}
		}
	}
	return s.conn.SetDeadline(time.Time{})
}

// join announces the Service and registers its path.
func (s *session) join(ctx context.Context) error {
	connect := &usppb.Record{
		Version: protocolVersion, FromId: s.s.o.EndpointID, ToId: s.broker,
		RecordType: &usppb.Record_UdsConnect{UdsConnect: &usppb.UDSConnectRecord{}},
	}
	if err := s.sendRecord(connect); err != nil {
		return err
	}
	m := request(s.register, usppb.Header_REGISTER, &usppb.Request{ReqType: &usppb.Request_Register{Register: &usppb.Register{
		RegPaths: []*usppb.Register_RegistrationPath{{Path: registered}},
	}}})
	if err := s.send(s.broker, m); err != nil {
		return err
	}
	timer := time.NewTimer(s.s.times.handshake)
	defer timer.Stop()
	select {
	case <-s.accepted:
		return nil
	case <-timer.C:
		return fmt.Errorf("cannot register %s: the broker does not answer", registered)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read takes what the Broker sends until there is nothing more.
func (s *session) read(ctx context.Context, in *bufio.Reader) error {
	for {
		frame, err := readFrame(in)
		if err != nil {
			return s.readError("cannot read from the broker", err)
		}
		for _, t := range frame {
			switch t.kind {
			case typeError:
				return refused(t.value)
			case typeRecord:
				if err := s.record(ctx, t.value); err != nil {
					return err
				}
			}
		}
	}
}

// readError tells the Broker that it sent no frame, and what ended the session.
func (s *session) readError(what string, err error) error {
	switch {
	case errors.Is(err, errFrame):
		s.complain(err)
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%s: it closed the connection", what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// complain sends the Error that precedes the end of a connection (TR-369 R-UDS.23). That it cannot be sent changes nothing.
func (s *session) complain(err error) {
	if err := s.write(typeError, []byte(err.Error())); err != nil {
		s.log.Debug("the broker was not told what is wrong", "err", err)
	}
}

func refused(text []byte) error {
	return fmt.Errorf("the broker ends the connection: %.200q", text)
}

// record takes one Record. An error ends the session.
func (s *session) record(ctx context.Context, b []byte) error {
	p, id, err := decode(s.s.o.EndpointID, b)
	var f *failure
	switch {
	case errors.As(err, &f):
		s.log.Warn("a message of the broker is answered with an error", "msg_id", id, "err", err)
		return s.send(p.from, f.message(id))
	case errors.Is(err, errDropped):
		s.log.Warn("something that the broker sent cannot be used", "err", err)
		return nil
	case errors.Is(err, errRecord):
		s.complain(err)
		return err
	case err != nil:
		return err
	case p == nil:
		return nil
	}
	switch body := p.msg.GetBody().GetMsgBody().(type) {
	case *usppb.Body_Request:
		return s.queue(ctx, call{p.from, id, body.Request})
	case *usppb.Body_Response:
		if id == s.register {
			return s.registration(body.Response.GetRegisterResp())
		}
		return nil // to a Notify
	case *usppb.Body_Error:
		if id == s.register {
			return fmt.Errorf("cannot register %s: %s (%d)", registered, body.Error.GetErrMsg(), body.Error.GetErrCode())
		}
		s.log.Warn("the broker answers with an error", "msg_id", id, "code", body.Error.GetErrCode(), "err", body.Error.GetErrMsg())
		return nil
	}
	if isRequest(p.msg.GetHeader().GetMsgType()) {
		return s.send(p.from, failf(codeInvalid, "cannot read the message: it has no body").message(id))
	}
	return nil
}

// registration takes the answer to the Register.
func (s *session) registration(r *usppb.RegisterResp) error {
	select {
	case <-s.accepted:
		return nil // it was answered before
	default:
	}
	for _, one := range r.GetRegisteredPathResults() {
		if f := one.GetOperStatus().GetOperFailure(); f != nil {
			return fmt.Errorf("cannot register %s: %s (%d)", registered, f.GetErrMsg(), f.GetErrCode())
		}
	}
	close(s.accepted)
	return nil
}

// queue hands a request to those who serve it.
func (s *session) queue(ctx context.Context, c call) error {
	to := s.reads
	switch c.req.GetReqType().(type) {
	case *usppb.Request_Set, *usppb.Request_Add, *usppb.Request_Delete, *usppb.Request_Operate:
		to = s.changes
	case *usppb.Request_Notify:
		s.log.Warn("the broker sends a Notify to a service that has subscribed to nothing", "msg_id", c.id)
		return nil
	}
	select {
	case to <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serveAll serves one request after the other.
func (s *session) serveAll(ctx context.Context, calls <-chan call) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-calls:
			if err := s.serve(ctx, c); err != nil {
				return err
			}
		}
	}
}

// serve answers one request. An error ends the session.
func (s *session) serve(ctx context.Context, c call) error {
	if _, ok := c.req.GetReqType().(*usppb.Request_Operate); ok {
		s.operating.RLock()
		defer s.operating.RUnlock()
	}
	limited, cancel := context.WithTimeout(ctx, s.s.times.request)
	defer cancel()
	m, err := s.answer(limited, c)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		f := asFailure(err)
		s.log.Info("a request of the broker is refused", "msg_id", c.id, "code", f.code, "err", f.text)
		m = f.message(c.id)
	}
	if m == nil {
		return nil
	}
	return s.send(c.from, m)
}

// answer makes the answer to a request. A defect of ours costs that answer and not the Service.
func (s *session) answer(ctx context.Context, c call) (m *usppb.Msg, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("a request of the broker met a defect", "msg_id", c.id, "err", p, "stack", string(debug.Stack()))
			err = failf(codeInternal, "cannot answer: an internal error")
		}
	}()
	switch r := c.req.GetReqType().(type) {
	case *usppb.Request_Get:
		return s.get(ctx, c.id, r.Get)
	case *usppb.Request_GetInstances:
		return s.getInstances(ctx, c.id, r.GetInstances)
	case *usppb.Request_GetSupportedDm:
		return s.getSupportedDM(ctx, c.id, r.GetSupportedDm)
	case *usppb.Request_GetSupportedProtocol:
		return response(c.id, usppb.Header_GET_SUPPORTED_PROTO_RESP, &usppb.Response{RespType: &usppb.Response_GetSupportedProtocolResp{
			GetSupportedProtocolResp: &usppb.GetSupportedProtocolResp{AgentSupportedProtocolVersions: protocolVersion},
		}}), nil
	case *usppb.Request_Set:
		return s.set(ctx, c.id, r.Set)
	case *usppb.Request_Add:
		return s.add(ctx, c.id, r.Add)
	case *usppb.Request_Delete:
		return s.delete(ctx, c.id, r.Delete)
	case *usppb.Request_Operate:
		return s.operate(ctx, c, r.Operate)
	}
	return nil, failf(codeNotSupported, "cannot serve a request of this kind")
}

// asFailure says as USP does why a request failed.
func asFailure(err error) *failure {
	if f := (*failure)(nil); errors.As(err, &f) {
		return f
	}
	f := &failure{code: codeInternal, text: err.Error()}
	if e := (*client.Error)(nil); errors.As(err, &e) {
		f.text = e.Message
		switch {
		case e.USP != 0:
			f.code = e.USP
		case e.Name == "InvalidArgs":
			f.code = codeInvalid
		case e.Name == "AccessDenied":
			f.code = codeDenied
		case e.Name == "LimitsExceeded":
			f.code = codeExceeded
		}
		for _, p := range e.USPParameters() {
			f.params = append(f.params, paramFailure{p.Path, p.Code, p.Text})
		}
	}
	return f
}

// nextID returns an id for a message of ours.
func (s *session) nextID() string { return "smmd-" + strconv.FormatUint(s.lastID.Add(1), 10) }

// send brings a message to an endpoint. An answer that is too long for the Broker becomes an Error message.
func (s *session) send(to string, m *usppb.Msg) error {
	b, err := encode(s.s.o.EndpointID, to, m)
	if err != nil {
		return err
	}
	if 5+len(b) > maxFrame {
		id := m.GetHeader().GetMsgId()
		s.log.Warn("a message is too long for the broker", "msg_id", id, "type", m.GetHeader().GetMsgType().String(), "bytes", len(b))
		if m.GetBody().GetResponse() == nil {
			return nil // a Notify: whoever reads the tree learns the same
		}
		if b, err = encode(s.s.o.EndpointID, to, failf(codeExceeded, "cannot send an answer of %d bytes: ask for less at once", len(b)).message(id)); err != nil {
			return err
		}
	}
	return s.write(typeRecord, b)
}

// sendRecord sends a Record that holds no message.
func (s *session) sendRecord(r *usppb.Record) error {
	b, err := proto.Marshal(r)
	if err != nil {
		return err
	}
	return s.write(typeRecord, b)
}

// write sends a frame. A Broker that does not take it in time ends the session.
func (s *session) write(kind byte, value []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.s.times.write)); err != nil {
		return err
	}
	return writeFrame(s.conn, kind, value)
}

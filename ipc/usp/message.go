package usp

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"

	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// protocolVersion is the version of USP that this package speaks.
const protocolVersion = "1.4"

// The codes of TR-369 that this package gives itself. All others are the agent's.
const (
	codeNotSupported  = 7001 // message not supported
	codeInternal      = 7003 // internal error
	codeInvalid       = 7004 // invalid arguments
	codeExceeded      = 7005 // resources exceeded
	codeDenied        = 7006 // permission denied
	codePathSyntax    = 7008 // invalid path syntax
	codeUnsupported   = 7010 // unsupported parameter
	codeInvalidValue  = 7012 // invalid value
	codeReadOnly      = 7013 // parameter is read-only
	codeNoObject      = 7016 // object does not exist
	codeNoTable       = 7018 // object is not a table
	codeMissing       = 7021 // required parameter failed
	codeCommandFailed = 7022 // command failure
	codeDuplicate     = 7025 // an object with that unique key exists
	codeInvalidPath   = 7026 // not in the supported data model
)

// A failure is why a request is answered with an Error message.
type failure struct {
	code   uint32
	text   string
	params []paramFailure
}

// A paramFailure is one of the param_errs of an Error message.
type paramFailure struct {
	path string // whole
	code uint32
	text string
}

func (f *failure) Error() string { return fmt.Sprintf("%s (%d)", f.text, f.code) }

func failf(code uint32, format string, args ...any) *failure {
	return &failure{code: code, text: fmt.Sprintf(format, args...)}
}

// message returns the Error message that answers the request with this id.
func (f *failure) message(id string) *usppb.Msg {
	e := &usppb.Error{ErrCode: f.code, ErrMsg: f.text}
	for _, p := range f.params {
		e.ParamErrs = append(e.ParamErrs, &usppb.Error_ParamError{ParamPath: p.path, ErrCode: p.code, ErrMsg: p.text})
	}
	return &usppb.Msg{
		Header: &usppb.Header{MsgId: id, MsgType: usppb.Header_ERROR},
		Body:   &usppb.Body{MsgBody: &usppb.Body_Error{Error: e}},
	}
}

// request makes a message of a request.
func request(id string, kind usppb.Header_MsgType, r *usppb.Request) *usppb.Msg {
	return &usppb.Msg{
		Header: &usppb.Header{MsgId: id, MsgType: kind},
		Body:   &usppb.Body{MsgBody: &usppb.Body_Request{Request: r}},
	}
}

// response makes a message of the response to the request with this id.
func response(id string, kind usppb.Header_MsgType, r *usppb.Response) *usppb.Msg {
	return &usppb.Msg{
		Header: &usppb.Header{MsgId: id, MsgType: kind},
		Body:   &usppb.Body{MsgBody: &usppb.Body_Response{Response: r}},
	}
}

// encode returns the Record that brings a message to an endpoint.
func encode(from, to string, m *usppb.Msg) ([]byte, error) {
	payload, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("cannot encode %v: %w", m.GetHeader().GetMsgType(), err)
	}
	return proto.Marshal(&usppb.Record{
		Version: protocolVersion, FromId: from, ToId: to,
		RecordType: &usppb.Record_NoSessionContext{NoSessionContext: &usppb.NoSessionContextRecord{Payload: payload}},
	})
}

// errRecord is in the chain of errors that say that the other side sent no Record, for which the connection is to be closed (TR-369 R-UDS.23).
var errRecord = errors.New("not a USP record")

// errDropped is in the chain of errors that say that a Record or message is left unanswered, and the next one is awaited.
var errDropped = errors.New("it is dropped")

// A payload is a message and where it came from.
type payload struct {
	from string
	msg  *usppb.Msg
}

// decode takes a Record apart. It returns nil where the Record holds no message, and a failure with the id of the message where there is one that
// can be answered but not read. Other errors wrap errRecord, [errDropped], or are of type [disconnect].
func decode(self string, b []byte) (p *payload, id string, err error) {
	var r usppb.Record
	if err := proto.Unmarshal(b, &r); err != nil {
		return nil, "", fmt.Errorf("%w: %w", errRecord, err)
	}
	if r.GetToId() != self {
		return nil, "", fmt.Errorf("%w: a record for %q", errDropped, r.GetToId())
	}
	if r.GetPayloadSecurity() != usppb.Record_PLAINTEXT {
		return nil, "", fmt.Errorf("%w: a record with payload security %d", errDropped, r.GetPayloadSecurity())
	}
	switch t := r.GetRecordType().(type) {
	case *usppb.Record_UdsConnect:
		return nil, "", nil
	case *usppb.Record_Disconnect:
		return nil, "", disconnect{t.Disconnect.GetReasonCode(), t.Disconnect.GetReason()}
	case *usppb.Record_NoSessionContext:
		m, id, err := decodeMessage(t.NoSessionContext.GetPayload())
		return &payload{from: r.GetFromId(), msg: m}, id, err
	case *usppb.Record_SessionContext:
		return nil, "", fmt.Errorf("%w: a record with a session context", errDropped)
	}
	return nil, "", fmt.Errorf("%w: a record without a content", errDropped)
}

// disconnect is what the other side said when it ended the session.
type disconnect struct {
	code   uint32
	reason string
}

func (d disconnect) Error() string {
	return fmt.Sprintf("the broker ends it: %s (%d)", d.reason, d.code)
}

// decodeMessage reads a message. With strings that are not UTF-8, which OB-USP-AGENT passes on as they come, Go's decoder gives up; the header is
// then read without the rest, so that a request can be answered.
func decodeMessage(b []byte) (*usppb.Msg, string, error) {
	m := new(usppb.Msg)
	err := proto.Unmarshal(b, m)
	if err == nil {
		err = noZeros(m)
	}
	if err == nil && m.GetHeader().GetMsgId() == "" {
		return nil, "", fmt.Errorf("%w: a message without an id", errDropped)
	}
	if err == nil {
		return m, m.GetHeader().GetMsgId(), nil
	}
	var o usppb.Opening
	if e := proto.Unmarshal(b, &o); e != nil || o.GetHeader().GetMsgId() == "" || strings.ContainsRune(o.GetHeader().GetMsgId(), 0) {
		return nil, "", fmt.Errorf("%w: a message that cannot be read: %w", errDropped, err)
	}
	if !isRequest(o.GetHeader().GetMsgType()) {
		return nil, "", fmt.Errorf("%w: a %v that cannot be read: %w", errDropped, o.GetHeader().GetMsgType(), err)
	}
	return nil, o.GetHeader().GetMsgId(), failf(codeInvalid, "cannot read the message: %v", err)
}

// isRequest reports whether messages of that type are answered.
func isRequest(t usppb.Header_MsgType) bool {
	switch t {
	case usppb.Header_GET, usppb.Header_SET, usppb.Header_ADD, usppb.Header_DELETE, usppb.Header_OPERATE, usppb.Header_GET_INSTANCES,
		usppb.Header_GET_SUPPORTED_DM, usppb.Header_GET_SUPPORTED_PROTO, usppb.Header_REGISTER, usppb.Header_DEREGISTER:
		return true
	}
	return false
}

var errZero = errors.New("a string holds a zero byte")

// noZeros refuses strings with zero bytes: no string of D-Bus may hold one, and the bus ends the connection of who sends it.
func noZeros(m *usppb.Msg) error {
	return protorange.Range(m.ProtoReflect(), func(p protopath.Values) error {
		last := p.Index(-1)
		if last.Step.Kind() == protopath.MapIndexStep && strings.ContainsRune(last.Step.MapIndex().String(), 0) {
			return errZero
		}
		if s, ok := last.Value.Interface().(string); ok && strings.ContainsRune(s, 0) {
			return errZero
		}
		return nil
	})
}

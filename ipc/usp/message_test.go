package usp_test

import (
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/smmd-project/smmd/ipc/client"
	"github.com/smmd-project/smmd/ipc/usp"
	"github.com/smmd-project/smmd/ipc/usp/usppb"
	"github.com/smmd-project/smmd/ipc/usp/usptest"
)

const (
	us   = "proto::smmd"
	them = "proto::broker"
)

// encoded returns a Record from the broker with a message for us.
func encoded(t testing.TB, m *usppb.Msg) []byte {
	t.Helper()
	b, err := usp.Encode(them, us, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// record marshals a Record of the broker.
func record(t testing.TB, r *usppb.Record) []byte {
	t.Helper()
	b, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// carrying returns a Record that carries these bytes as its message.
func carrying(t testing.TB, payload []byte) []byte {
	t.Helper()
	return record(t, &usppb.Record{
		Version: "1.3", FromId: them, ToId: us,
		RecordType: &usppb.Record_NoSessionContext{NoSessionContext: &usppb.NoSessionContextRecord{Payload: payload}},
	})
}

// garbled returns a message as bytes in which the first mark is replaced by a byte that no UTF-8 has.
func garbled(t testing.TB, m *usppb.Msg) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return []byte(strings.Replace(string(b), "#", "\xff", 1))
}

// TestFieldNumbers holds the encoding of a few messages against bytes that are written by hand from the numbers of TR-369.
func TestFieldNumbers(t *testing.T) {
	text := func(b []byte, n protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), s)
	}
	within := func(n protowire.Number, inner []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), inner)
	}
	fixed := func(b []byte, n protowire.Number, v uint32) []byte {
		return protowire.AppendFixed32(protowire.AppendTag(b, n, protowire.Fixed32Type), v)
	}
	varint := func(b []byte, n protowire.Number, v uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
	}
	msg := func(kind uint64, body []byte) []byte {
		return append(within(1, varint(text(nil, 1, "7"), 2, kind)), within(2, body)...)
	}
	for name, c := range map[string]struct {
		msg  *usppb.Msg
		want []byte
	}{
		"Get": {usptest.Request("7", usppb.Header_GET, &usppb.Request{ReqType: &usppb.Request_Get{Get: &usppb.Get{ParamPaths: []string{"Device."}, MaxDepth: 2}}}),
			msg(1, within(1, within(1, fixed(text(nil, 1, "Device."), 2, 2))))},
		"Operate": {usptest.Request("7", usppb.Header_OPERATE, &usppb.Request{ReqType: &usppb.Request_Operate{Operate: &usppb.Operate{
			Command: "C()", CommandKey: "k", SendResp: true, InputArgs: map[string]string{"URL": "u"}}}}),
			msg(6, within(1, within(7, append(varint(text(text(nil, 1, "C()"), 2, "k"), 3, 1), within(4, text(text(nil, 1, "URL"), 2, "u"))...))))},
		"Error": {&usppb.Msg{Header: &usppb.Header{MsgId: "7"}, Body: &usppb.Body{MsgBody: &usppb.Body_Error{Error: &usppb.Error{
			ErrCode: 7004, ErrMsg: "m", ParamErrs: []*usppb.Error_ParamError{{ParamPath: "p", ErrCode: 7012, ErrMsg: "n"}}}}}},
			append(within(1, text(nil, 1, "7")), within(2, within(3, append(text(fixed(nil, 1, 7004), 2, "m"), within(3, text(fixed(text(nil, 1, "p"), 2, 7012), 3, "n"))...)))...)},
		"Register": {usptest.Request("7", usppb.Header_REGISTER, &usppb.Request{ReqType: &usppb.Request_Register{Register: &usppb.Register{
			RegPaths: []*usppb.Register_RegistrationPath{{Path: "P."}}}}}),
			msg(19, within(1, within(10, within(2, text(nil, 1, "P.")))))},
		"OperationComplete": {usptest.Request("7", usppb.Header_NOTIFY, &usppb.Request{ReqType: &usppb.Request_Notify{Notify: &usppb.Notify{SubscriptionId: "s",
			Notification: &usppb.Notify_OperComplete{OperComplete: &usppb.Notify_OperationComplete{ObjPath: "o.", CommandName: "C()", CommandKey: "k",
				OperationResp: &usppb.Notify_OperationComplete_CmdFailure{CmdFailure: &usppb.Notify_OperationComplete_CommandFailure{ErrCode: 7022, ErrMsg: "m"}}}}}}}),
			msg(3, within(1, within(8, append(text(nil, 1, "s"), within(7, append(text(text(text(nil, 1, "o."), 2, "C()"), 3, "k"), within(5, text(fixed(nil, 1, 7022), 2, "m"))...))...))))},
	} {
		var m usppb.Msg
		if err := proto.Unmarshal(c.want, &m); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !proto.Equal(&m, c.msg) {
			t.Errorf("%s:\n%v, wanted\n%v", name, &m, c.msg)
		}
	}
	want := append(text(text(text(nil, 1, "1.4"), 2, us), 3, them), within(7, protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), msg(1, nil)))...)
	var r usppb.Record
	if err := proto.Unmarshal(want, &r); err != nil || r.GetToId() != us || r.GetFromId() != them || len(r.GetNoSessionContext().GetPayload()) == 0 {
		t.Errorf("the record is %v, %v", &r, err)
	}
}

func TestDecode(t *testing.T) {
	zero := usptest.Request("9", usppb.Header_OPERATE, &usppb.Request{ReqType: &usppb.Request_Operate{Operate: &usppb.Operate{Command: "C()", InputArgs: map[string]string{"a\x00": "b"}}}})
	for name, c := range map[string]struct {
		record []byte
		id     string
		class  error  // nil: it is read, or code says what is answered
		code   uint32 // of the Error message
	}{
		"a message":             {encoded(t, usptest.Get("1", "Device.")), "1", nil, 0},
		"no record":             {[]byte("\xff\xff"), "", usp.ErrRecord, 0},
		"for somebody else":     {record(t, &usppb.Record{ToId: "proto::other", FromId: them, RecordType: &usppb.Record_UdsConnect{UdsConnect: &usppb.UDSConnectRecord{}}}), "", usp.ErrDropped, 0},
		"secured":               {record(t, &usppb.Record{ToId: us, PayloadSecurity: usppb.Record_TLS12, RecordType: &usppb.Record_NoSessionContext{}}), "", usp.ErrDropped, 0},
		"with a session":        {record(t, &usppb.Record{ToId: us, RecordType: &usppb.Record_SessionContext{SessionContext: &usppb.SessionContextRecord{}}}), "", usp.ErrDropped, 0},
		"empty":                 {record(t, &usppb.Record{ToId: us}), "", usp.ErrDropped, 0},
		"no message":            {carrying(t, []byte("\xff\xff")), "", usp.ErrDropped, 0},
		"no id":                 {encoded(t, usptest.Get("", "Device.")), "", usp.ErrDropped, 0},
		"request not in UTF-8":  {carrying(t, garbled(t, usptest.Get("2", "Device.#."))), "2", nil, 7004},
		"id not in UTF-8":       {carrying(t, garbled(t, usptest.Get("#", "Device."))), "", usp.ErrDropped, 0},
		"response not in UTF-8": {carrying(t, garbled(t, &usppb.Msg{Header: &usppb.Header{MsgId: "3", MsgType: usppb.Header_NOTIFY_RESP}, Body: &usppb.Body{MsgBody: &usppb.Body_Response{Response: &usppb.Response{RespType: &usppb.Response_NotifyResp{NotifyResp: &usppb.NotifyResp{SubscriptionId: "#"}}}}}})), "", usp.ErrDropped, 0},
		"zero byte in a path":   {encoded(t, usptest.Get("4", "Device.\x00")), "4", nil, 7004},
		"zero byte in a name":   {encoded(t, zero), "9", nil, 7004},
		"zero byte in an id":    {encoded(t, usptest.Get("4\x00", "Device.")), "", usp.ErrDropped, 0},
		"of another version":    {record(t, &usppb.Record{Version: "9.9", ToId: us, FromId: them, RecordType: &usppb.Record_UdsConnect{UdsConnect: &usppb.UDSConnectRecord{}}}), "", nil, 0},
	} {
		from, id, m, err := usp.Decode(us, c.record)
		switch {
		case c.class != nil:
			if !errors.Is(err, c.class) {
				t.Errorf("%s: the error is %v, wanted one of class %v", name, err, c.class)
			}
		case c.code != 0:
			if err == nil || usp.FailureCode(err) != c.code || id != c.id || from != them {
				t.Errorf("%s: id %q from %q with error %v, wanted id %q and code %d", name, id, from, err, c.id, c.code)
			}
		case err != nil || id != c.id || (m != nil) != (c.id != ""):
			t.Errorf("%s: id %q, %v, %v", name, id, m, err)
		}
	}
	if _, _, _, err := usp.Decode(us, record(t, &usppb.Record{ToId: us, RecordType: &usppb.Record_Disconnect{Disconnect: &usppb.DisconnectRecord{Reason: "bye", ReasonCode: 7003}}})); err == nil ||
		errors.Is(err, usp.ErrDropped) || !strings.Contains(err.Error(), "bye (7003)") {
		t.Errorf("a disconnect is %v", err)
	}
}

// An error of D-Bus itself has no codes of its own.
func TestCodesOfTheBus(t *testing.T) {
	for name, want := range map[string]uint32{"InvalidArgs": 7004, "AccessDenied": 7006, "LimitsExceeded": 7005, "UnknownObject": 7003, "NoReply": 7003} {
		if got := usp.FailureCode(&client.Error{Name: name, DBus: "org.freedesktop.DBus.Error." + name}); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	if got := usp.FailureCode(&client.Error{Name: "DuplicateDU", USP: 7226}); got != 7226 {
		t.Errorf("an error with a code is %d", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encoded(f, usptest.Get("1", "Device.SoftwareModules.")))
	f.Add(carrying(f, garbled(f, usptest.Get("2", "Device.#."))))
	f.Add(encoded(f, usptest.Get("3", "a\x00b")))
	f.Add(record(f, &usppb.Record{ToId: us, RecordType: &usppb.Record_Disconnect{Disconnect: &usppb.DisconnectRecord{Reason: "bye"}}}))
	f.Add(record(f, &usppb.Record{ToId: us, FromId: them, RecordType: &usppb.Record_UdsConnect{UdsConnect: &usppb.UDSConnectRecord{}}}))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		from, id, m, err := usp.Decode(us, b)
		switch {
		case err == nil && m != nil && id == "":
			t.Fatalf("a message from %q without an id: %v", from, m)
		case err != nil && m != nil:
			t.Fatalf("a message with the error %v: %v", err, m)
		case strings.ContainsRune(id, 0):
			t.Fatalf("the id %q", id)
		}
		if m == nil {
			return
		}
		again, err := usp.Encode(them, us, m)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, same, other, err := usp.Decode(us, again); err != nil || same != id || !proto.Equal(m, other) {
			t.Fatalf("%v became %v, %v", m, other, err)
		}
	})
}

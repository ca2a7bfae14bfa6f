package usptest

import (
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	"github.com/smmd-project/smmd/ipc/usp/usppb"
)

// The types of what a frame holds (TR-369, UNIX Domain Socket Binding).
const (
	TypeHandshake byte = 1
	TypeError     byte = 2
	TypeRecord    byte = 3
)

// ConnectID is the id of the message that stands for the connect record of a Service.
const ConnectID = "uds-connect"

// A TLV is an element of a frame.
type TLV struct {
	Kind  byte
	Value []byte
}

// Frame returns a frame with one element.
func Frame(kind byte, value []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("_USP"), uint32(5+len(value)))
	b = binary.BigEndian.AppendUint32(append(b, kind), uint32(len(value)))
	return append(b, value...)
}

// ReadFrame reads a frame.
func ReadFrame(r io.Reader) ([]TLV, error) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(head[4:])
	if string(head[:4]) != "_USP" || length > 5<<20 {
		return nil, fmt.Errorf("a frame begins with %x", head)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	var list []TLV
	for len(body) > 0 {
		if len(body) < 5 || uint64(len(body)) < 5+uint64(binary.BigEndian.Uint32(body[1:])) {
			return nil, fmt.Errorf("an element of a frame is cut off: %x", body)
		}
		end := 5 + binary.BigEndian.Uint32(body[1:])
		list = append(list, TLV{body[0], body[5:end]})
		body = body[end:]
	}
	return list, nil
}

// Encode returns a Record of the Broker that brings a message to an endpoint, as OB-USP-AGENT writes it.
func Encode(to string, m *usppb.Msg) ([]byte, error) {
	payload, err := proto.Marshal(m)
	if err != nil {
		return nil, err
	}
	return proto.Marshal(&usppb.Record{
		Version: "1.3", FromId: ID, ToId: to,
		RecordType: &usppb.Record_NoSessionContext{NoSessionContext: &usppb.NoSessionContextRecord{Payload: payload}},
	})
}

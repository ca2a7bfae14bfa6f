package usp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxFrame is how long a frame may be after its first 8 bytes. It is the limit of OB-USP-AGENT for frames and for messages.
const maxFrame = 5 << 20

// frameSync is what every frame begins with (TR-369, UNIX Domain Socket Binding).
const frameSync = "_USP"

// The types of what a frame holds. Others are ignored.
const (
	typeHandshake byte = 1 // endpoint identifier
	typeError     byte = 2 // a text; who receives it closes the connection
	typeRecord    byte = 3 // USP Record
)

// A tlv is one element of a frame.
type tlv struct {
	kind  byte
	value []byte
}

// errFrame is in the chain of errors that say that the bytes of the other side are no frames. What follows them cannot be read either.
var errFrame = errors.New("not a USP frame")

// appendFrame appends a frame with one element to b.
func appendFrame(b []byte, kind byte, value []byte) []byte {
	b = append(b, frameSync...)
	b = binary.BigEndian.AppendUint32(b, uint32(5+len(value)))
	b = append(b, kind)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// writeFrame sends a frame with one element. It makes one call of Write: OB-USP-AGENT takes a pause after the fourth or the eighth byte of a
// frame for the end of the connection.
func writeFrame(w io.Writer, kind byte, value []byte) error {
	if 5+len(value) > maxFrame {
		return fmt.Errorf("cannot send a frame of %d bytes: the limit is %d", 5+len(value), maxFrame)
	}
	if _, err := w.Write(appendFrame(make([]byte, 0, 13+len(value)), kind, value)); err != nil {
		return fmt.Errorf("cannot write to the broker: %w", err)
	}
	return nil
}

// readFrame reads the next frame, in however many pieces it comes. The error wraps [errFrame] when there is no frame, and is io.EOF when
// the stream ends before it.
func readFrame(r io.Reader) ([]tlv, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	if string(head[:4]) != frameSync {
		return nil, fmt.Errorf("%w: it begins with %x", errFrame, head[:4])
	}
	length := binary.BigEndian.Uint32(head[4:])
	if length > maxFrame {
		return nil, fmt.Errorf("%w: a length of %d bytes; the limit is %d", errFrame, length, maxFrame)
	}
	var body bytes.Buffer // grows with what comes, not with what is announced
	if _, err := io.CopyN(&body, r, int64(length)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return parseTLVs(body.Bytes())
}

func parseTLVs(b []byte) ([]tlv, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: it is empty", errFrame)
	}
	var list []tlv
	for len(b) > 0 {
		if len(b) < 5 {
			return nil, fmt.Errorf("%w: %d bytes are left where an element should begin", errFrame, len(b))
		}
		length := binary.BigEndian.Uint32(b[1:5])
		if uint64(length) > uint64(len(b)-5) {
			return nil, fmt.Errorf("%w: an element of %d bytes where %d are left", errFrame, length, len(b)-5)
		}
		list = append(list, tlv{b[0], b[5 : 5+length]})
		b = b[5+length:]
	}
	return list, nil
}

package usp

import (
	"io"
	"time"

	"github.com/smmd-project/smmd/ipc/usp/usppb"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// Hurry makes a Service wait only as long as a test likes to.
func (s *Service) Hurry() {
	s.times.retryMin, s.times.retryMax = time.Millisecond, 5*time.Millisecond
	s.times.settle = 20 * time.Millisecond
}

// Limit sets how long a Service waits for the agent.
func (s *Service) Limit(request time.Duration) { s.times.request = request }

// Frame returns a frame with one element.
func Frame(kind byte, value []byte) []byte { return appendFrame(nil, kind, value) }

// TLV is an element of a frame.
type TLV struct {
	Kind  byte
	Value []byte
}

// ReadFrame reads a frame.
func ReadFrame(r io.Reader) ([]TLV, error) {
	frame, err := readFrame(r)
	var list []TLV
	for _, t := range frame {
		list = append(list, TLV{t.kind, t.value})
	}
	return list, err
}

// Encode returns a Record that holds a message.
func Encode(from, to string, m *usppb.Msg) ([]byte, error) { return encode(from, to, m) }

// Decode reads a Record that holds a message; what else it may be is an error.
func Decode(self string, b []byte) (from, id string, m *usppb.Msg, err error) {
	p, id, err := decode(self, b)
	if p != nil {
		from, m = p.from, p.msg
	}
	return from, id, m, err
}

// The classes of errors.
var (
	ErrFrame   = errFrame
	ErrRecord  = errRecord
	ErrDropped = errDropped
)

// FailureCode returns the code of an error that is answered with an Error message.
func FailureCode(err error) uint32 { return asFailure(err).code }

const (
	MaxFrame      = maxFrame
	TypeHandshake = typeHandshake
	TypeError     = typeError
	TypeRecord    = typeRecord
)

// LocalModel is what a session serves itself.
var LocalModel = localModel

// Covers reports whether news with that path are for a subscription of that type and ReferenceList, and false when the list is none. found
// is what the agent tells of every path that it is asked for.
func Covers(notifType, list, path string, found []string) bool {
	if checkReferences(list) != nil {
		return false
	}
	for _, item := range dm.Items(list) {
		r := newReference(item, notifType)
		if r.covers(path, func(string) []string { return found }) {
			return true
		}
	}
	return false
}

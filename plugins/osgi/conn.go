package osgi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// protocolVersion is the version of the host protocol that this adapter speaks.
	protocolVersion = 1
	// maxFrame bounds a frame of the host protocol, in bytes without the length.
	maxFrame = 8 << 20
	// writeTimeout bounds the writing of one frame: the host reads at once, or it is deaf.
	writeTimeout = 5 * time.Second
)

var (
	errFrame   = errors.New("the host does not speak the protocol")
	errVersion = errors.New("the host speaks another version of the protocol")
)

// message is a frame from the host: an answer if it has an ID, else an event.
type message struct {
	ID     *uint64         `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *hostError      `json:"error"`

	Event     string         `json:"event"`
	Bundle    *bundleInfo    `json:"bundle"`
	Location  string         `json:"location"`
	Message   string         `json:"message"`
	Framework *frameworkInfo `json:"framework"`
}

// request is a frame to the host.
type request struct {
	ID     uint64 `json:"id"`
	Method string `json:"method"`
	Params any    `json:"params"`
}

// hostError is the host's answer to a request that failed.
type hostError struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Cause   string `json:"cause"`
}

func (e *hostError) Error() string { return e.Message }

// hello is the host's first answer.
type hello struct {
	Protocol  int           `json:"protocol"`
	Host      string        `json:"host"`
	PID       int           `json:"pid"`
	Framework frameworkInfo `json:"framework"`
}

// conn is a connection to a host. One goroutine reads; several may send.
type conn struct {
	c      net.Conn
	r      *bufio.Reader
	mu     sync.Mutex // guards writing and id
	id     uint64
	unbind func() bool   // from its context
	quiet  time.Duration // a host that says nothing for so long is deaf; 0: the context alone bounds the wait
}

// newConn takes over c. The connection is closed when ctx is done, so whatever waits for it ends at once.
func newConn(ctx context.Context, c net.Conn) *conn {
	return &conn{c: c, r: bufio.NewReader(c), unbind: context.AfterFunc(ctx, func() { _ = c.Close() })}
}

func (c *conn) close() {
	c.unbind()
	_ = c.c.Close() // nothing is lost: what was asked for is answered, or given up
}

// send writes a request and returns its id.
func (c *conn) send(method string, params any) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.id++
	body, err := json.Marshal(request{ID: c.id, Method: method, Params: params})
	if err != nil {
		return 0, err
	}
	if err := c.c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.id, writeFrame(c.c, body)
}

// receive reads the next message.
func (c *conn) receive() (message, error) {
	if c.quiet > 0 {
		if err := c.c.SetReadDeadline(time.Now().Add(c.quiet)); err != nil {
			return message{}, err
		}
	}
	body, err := readFrame(c.r)
	if err != nil {
		return message{}, err
	}
	return parseMessage(body)
}

// call sends a request and waits for its answer; events on the way go to on, which may be nil when none were subscribed.
func (c *conn) call(method string, params, result any, on func(message) error) error {
	id, err := c.send(method, params)
	if err != nil {
		return err
	}
	for {
		m, err := c.receive()
		if err != nil {
			return err
		}
		switch {
		case m.ID == nil && on != nil:
			if err := on(m); err != nil {
				return err
			}
		case m.ID == nil:
		case *m.ID != id:
			return fmt.Errorf("%w: answer %d to request %d", errFrame, *m.ID, id)
		case m.Error != nil:
			return m.Error
		case result != nil:
			if err := json.Unmarshal(m.Result, result); err != nil {
				return fmt.Errorf("%w: answer to %s: %w", errFrame, method, err)
			}
			return nil
		default:
			return nil
		}
	}
}

// hello makes the first request of a connection.
func (c *conn) hello() (hello, error) {
	var h hello
	err := c.call("hello", map[string]int{"protocol": protocolVersion}, &h, nil)
	var refused *hostError
	switch {
	case errors.As(err, &refused):
		return h, fmt.Errorf("%w: %s", errVersion, refused.Message)
	case err != nil:
		return h, err
	case h.Protocol != protocolVersion:
		return h, fmt.Errorf("%w: %d", errVersion, h.Protocol)
	case h.Framework.Launch == "":
		return h, fmt.Errorf("%w: hello without a launch", errFrame)
	}
	return h, nil
}

// writeFrame writes the length of body, 4 bytes big-endian, and body.
func writeFrame(w io.Writer, body []byte) error {
	if len(body) == 0 || len(body) > maxFrame {
		return fmt.Errorf("%w: a frame of %d bytes", errFrame, len(body))
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(body)), uint32(len(body))), body...))
	return err
}

// readFrame reads the body of a frame. [io.EOF] says that the connection ended between two frames.
func readFrame(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 || n > maxFrame {
		return nil, fmt.Errorf("%w: a frame of %d bytes", errFrame, n)
	}
	// The buffer grows with what really comes: a length alone must not take memory.
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(n)); err != nil {
		return nil, fmt.Errorf("cannot read a frame of %d bytes: %w", n, io.ErrUnexpectedEOF)
	}
	return body.Bytes(), nil
}

// parseMessage decodes and checks the body of a frame from the host.
func parseMessage(body []byte) (message, error) {
	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("%w: %w", errFrame, err)
	}
	switch {
	case m.ID != nil && (m.Result != nil) != (m.Error != nil):
	case m.ID != nil:
		return m, fmt.Errorf("%w: an answer with result and error, or with neither", errFrame)
	case m.Event == "bundle" && (m.Bundle == nil || m.Bundle.Location == ""):
		return m, fmt.Errorf("%w: a bundle event without a bundle", errFrame)
	case m.Event == "removed" && m.Location == "":
		return m, fmt.Errorf("%w: a removed event without a location", errFrame)
	case m.Event == "framework" && m.Framework == nil:
		return m, fmt.Errorf("%w: a framework event without a framework", errFrame)
	case m.Event == "":
		return m, fmt.Errorf("%w: neither an answer nor an event", errFrame)
	}
	return m, nil
}

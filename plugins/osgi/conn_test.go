package osgi

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func FuzzFrame(f *testing.F) {
	frame := func(s string) []byte {
		var b bytes.Buffer
		if err := writeFrame(&b, []byte(s)); err != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	f.Add(frame(`{"id":7,"result":{}}`))
	f.Add(frame(`{"id":7,"error":{"reason":"start-failed","message":"m","cause":"c"}}`))
	f.Add(frame(`{"event":"bundle","bundle":{"id":5,"location":"x","state":"ACTIVE","fault":{"reason":"r","message":"m"}}}`))
	f.Add(frame(`{"event":"removed","location":"x"}`))
	f.Add(frame(`{"event":"framework","framework":{"uuid":"u","memory":{"max":1,"used":2}}}`))
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{'})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		for {
			body, err := readFrame(r)
			if err != nil {
				return
			}
			var again bytes.Buffer
			if err := writeFrame(&again, body); err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(data[len(data)-r.Len()-again.Len():], again.Bytes()) {
				t.Fatal("a frame does not write back")
			}
			m, err := parseMessage(body)
			if err != nil {
				if !errors.Is(err, errFrame) {
					t.Fatalf("error %v is not classified", err)
				}
				continue
			}
			w := &watcher{env: &env{id: "e"}, send: func(adapter.Event) bool { return true }}
			if err := w.forward(m); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestFrameLimits(t *testing.T) {
	for _, n := range []uint32{0, maxFrame + 1, 1 << 31} {
		if _, err := readFrame(bytes.NewReader(binary.BigEndian.AppendUint32(nil, n))); !errors.Is(err, errFrame) {
			t.Errorf("a frame of %d bytes: %v", n, err)
		}
		if n > 1<<30 {
			continue
		}
		if err := writeFrame(io.Discard, make([]byte, n)); !errors.Is(err, errFrame) {
			t.Errorf("writing %d bytes: %v", n, err)
		}
	}
	var b bytes.Buffer
	largest := bytes.Repeat([]byte{'x'}, maxFrame)
	if err := writeFrame(&b, largest); err != nil {
		t.Fatal(err)
	}
	if got, err := readFrame(&b); err != nil || !bytes.Equal(got, largest) {
		t.Errorf("the largest frame does not read back: %v", err)
	}
	if _, err := readFrame(strings.NewReader("")); err != io.EOF {
		t.Errorf("the end between frames is %v", err)
	}
	if _, err := readFrame(strings.NewReader("\x00\x00\x00\x05abc")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame cut short is %v", err)
	}
}

func TestCallRefusesForeignAnswers(t *testing.T) {
	for name, answer := range map[string]string{
		"another id":          `{"id":99,"result":{}}`,
		"no result, no error": `{"id":1}`,
		"result and error":    `{"id":1,"result":{},"error":{}}`,
		"no JSON":             `nonsense`,
		"wrong type":          `{"id":1,"result":[]}`,
		"nothing":             `{}`,
		"no bundle":           `{"event":"bundle"}`,
		"no location":         `{"event":"removed"}`,
		"no framework":        `{"event":"framework"}`,
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			done := make(chan error, 1)
			go func() {
				if _, err := readFrame(theirs); err != nil {
					done <- err
					return
				}
				done <- writeFrame(theirs, []byte(answer))
			}()
			c := newConn(context.Background(), ours)
			defer c.close()
			var result struct{}
			if err := c.call("list", nil, &result, nil); !errors.Is(err, errFrame) {
				t.Errorf("error %v", err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			theirs.Close()
		})
	}
}

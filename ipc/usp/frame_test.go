package usp_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/smmd-project/smmd/ipc/usp"
)

// frame builds a frame from the bytes behind its header.
func frame(body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte("_USP"), uint32(len(body))), body...)
}

func TestReadFrame(t *testing.T) {
	handshake := usp.Frame(usp.TypeHandshake, []byte("proto::broker"))
	if want := append([]byte("_USP\x00\x00\x00\x12\x01\x00\x00\x00\x0d"), "proto::broker"...); !bytes.Equal(handshake, want) {
		t.Fatalf("the handshake is %x, wanted %x", handshake, want)
	}
	for name, c := range map[string]struct {
		stream []byte
		want   []usp.TLV
		err    error
	}{
		"handshake":        {handshake, []usp.TLV{{usp.TypeHandshake, []byte("proto::broker")}}, nil},
		"two elements":     {frame(9, 0, 0, 0, 1, 'x', 3, 0, 0, 0, 0), []usp.TLV{{9, []byte("x")}, {usp.TypeRecord, []byte{}}}, nil},
		"nothing":          {nil, nil, io.EOF},
		"half a header":    {handshake[:5], nil, io.ErrUnexpectedEOF},
		"header alone":     {handshake[:8], nil, io.ErrUnexpectedEOF},
		"half a body":      {handshake[:20], nil, io.ErrUnexpectedEOF},
		"bad sync":         {append([]byte("_USB"), handshake[4:]...), nil, usp.ErrFrame},
		"no element":       {frame(), nil, usp.ErrFrame},
		"half an element":  {frame(1, 0, 0), nil, usp.ErrFrame},
		"overrun":          {frame(1, 0, 0, 0, 2, 'x'), nil, usp.ErrFrame},
		"overrun of 2^32":  {frame(1, 0xff, 0xff, 0xff, 0xff, 'x'), nil, usp.ErrFrame},
		"longer than 5MiB": {[]byte("_USP\x7f\xff\xff\xff"), nil, usp.ErrFrame},
	} {
		for pieces, r := range map[string]io.Reader{"whole": bytes.NewReader(c.stream), "byte by byte": iotest.OneByteReader(bytes.NewReader(c.stream))} {
			got, err := usp.ReadFrame(r)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) || !cmp.Equal(got, c.want) {
				t.Errorf("%s, %s: %v, %v; wanted %v, %v", name, pieces, got, err, c.want, c.err)
			}
		}
	}
	largest := usp.Frame(usp.TypeRecord, make([]byte, usp.MaxFrame-5))
	if got, err := usp.ReadFrame(bytes.NewReader(largest)); err != nil || len(got) != 1 || len(got[0].Value) != usp.MaxFrame-5 {
		t.Errorf("the largest frame: %d elements, %v", len(got), err)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(usp.Frame(usp.TypeHandshake, []byte("proto::broker")))
	f.Add(append(usp.Frame(usp.TypeError, []byte("go away")), usp.Frame(usp.TypeRecord, nil)...))
	f.Add(frame(9, 0, 0, 0, 1, 'x', 3, 0, 0, 0, 0))
	f.Add(frame(1, 0xff, 0xff, 0xff, 0xff, 'x'))
	f.Add([]byte("_USP\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		for {
			before := r.Len()
			list, err := usp.ReadFrame(r)
			if err != nil {
				if len(list) > 0 {
					t.Fatalf("%d elements with the error %v", len(list), err)
				}
				return
			}
			length := 0
			for _, tlv := range list {
				length += 5 + len(tlv.Value)
			}
			if len(list) == 0 || length+8 != before-r.Len() {
				t.Fatalf("%d elements of %d bytes in a frame of %d", len(list), length, before-r.Len())
			}
		}
	})
}

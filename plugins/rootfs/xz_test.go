package rootfs

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"github.com/smmd-project/smmd/plugins/adapter"
)

// xzOf compresses, with a small dictionary: each block has one.
func xzOf(t testing.TB, c xz.WriterConfig, data []byte) []byte {
	t.Helper()
	c.DictCap = lzma.MinDictCap
	var buf bytes.Buffer
	w, err := c.NewWriter(&buf)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// plainOf is what [Decompress] makes of data.
func plainOf(data []byte) ([]byte, error) {
	r, err := Decompress(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// threaded is what xz -T2 --block-size=64 makes of the numbers from 1 to 60, a line each: with sizes in the headers of its blocks.
const threaded = `/Td6WFoAAATm1rRGAsA8QCEBFgC7z4XF4AA/ADRdABiCgo8iTvimVffwmaUlDZBFkVpRtJvKrNwFMuyFUp+xSG3v3OhLuWG64JxTf5jIqVOFfukA5MF19jGf
oXoCwDdAIQEWAHg/Qq/gAD8AL10AGoKCi1x2/sdhN2W4Tiv1bfHfN5GpX9457kTbxgJOOKrdNvWCOQCX5JoxcR4SWgAAAEBeLvHF8eqTAsArKyEBFgDEu7Q1
4AAqACNdAAUN7+nIWYhrbIYg1nJ7TECitGFB6sHLrlTDlknV+whcWyAAAAD+7T8hDNmXBAADUEBLQD8ryhRayLHEZ/sCAAAAAARZWg==`

func numbers() []byte {
	var out []byte
	for i := range 60 {
		out = fmt.Appendln(out, i+1)
	}
	return out
}

func xzFiles(t testing.TB) map[string][]byte {
	t.Helper()
	data := numbers()
	made, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(threaded, "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	small := xz.WriterConfig{BlockSize: 50}
	first, second := xzOf(t, small, data[:70]), xzOf(t, xz.WriterConfig{CheckSum: xz.SHA256}, data[70:])
	return map[string][]byte{
		"of xz -T":                 made,
		"one block":                xzOf(t, xz.WriterConfig{}, data),
		"many blocks":              xzOf(t, xz.WriterConfig{BlockSize: 7, CheckSum: xz.CRC32}, data),
		"no checks":                xzOf(t, xz.WriterConfig{NoCheckSum: true, BlockSize: 64}, data),
		"SHA-256":                  xzOf(t, xz.WriterConfig{CheckSum: xz.SHA256}, data),
		"two streams":              append(bytes.Clone(first), second...),
		"two streams with padding": bytes.Join([][]byte{first, make([]byte, 8), second, make([]byte, 4)}, nil),
		"an empty stream between":  bytes.Join([][]byte{first, xzOf(t, small, nil), second}, nil),
	}
}

func TestXZ(t *testing.T) {
	for name, file := range xzFiles(t) {
		t.Run(name, func(t *testing.T) {
			got, err := plainOf(file)
			if err != nil || !bytes.Equal(got, numbers()) {
				t.Errorf("it is %q: %v", got, err)
			}
			for cut := range file {
				switch got, err := plainOf(file[:cut]); {
				case cut < 6: // not known to be xz
				case err == nil && strings.HasPrefix(name, "two streams") || err == nil && strings.HasPrefix(name, "an empty"):
					if !bytes.HasPrefix(numbers(), got) || cut%xzUnit != 0 { // it ends where a stream does
						t.Errorf("cut off after %d of %d bytes it is %q", cut, len(file), got)
					}
				default:
					wantReason(t, err, adapter.Corrupt)
				}
			}
		})
	}
}

// No damage changes the content unnoticed.
func TestDamagedXZ(t *testing.T) {
	for name, file := range xzFiles(t) {
		if name == "no checks" {
			continue
		}
		unnoticed := 0
		for i := len(xzMagic); i < len(file); i++ {
			bad := bytes.Clone(file)
			bad[i] ^= 1 << (i % 8)
			got, err := plainOf(bad)
			if err == nil {
				unnoticed++
			}
			if err == nil && !bytes.Equal(got, numbers()) || err != nil && adapter.ReasonOf(err) != adapter.Corrupt {
				t.Errorf("%s: with another byte %d of %d it is %q: %v", name, i, len(file), got, err)
			}
		}
		// The decoder does not mind the compressed size of a chunk, two bytes, as long as it is not too small.
		if unnoticed > 2*25 { // chunks, where blocks have 7 bytes
			t.Errorf("%s: %d of %d bytes can be others", name, unnoticed, len(file))
		}
	}
}

// wide makes a block ask for another dictionary: the one whose header is at that place, without sizes.
func wide(file []byte, at int, window byte) []byte {
	file = bytes.Clone(file)
	head := file[at : at+12]
	head[4] = window
	binary.LittleEndian.PutUint32(head[8:], crc32.ChecksumIEEE(head[:8]))
	return file
}

// blocksOf returns where the headers are of blocks without sizes.
func blocksOf(file []byte) []int {
	var blocks []int
	for at := range len(file) - 12 {
		if head := file[at : at+12]; bytes.HasPrefix(head, []byte{2, 0, 0x21, 1}) && binary.LittleEndian.Uint32(head[8:]) == crc32.ChecksumIEEE(head[:8]) {
			blocks = append(blocks, at)
		}
	}
	return blocks
}

// A decoder allocates what the header of a block asks for, of whichever block.
func TestHugeDictionary(t *testing.T) {
	const most, more, four = 30, 31, 40 // 128 MiB, 192 MiB, 4 GiB
	for name, file := range xzFiles(t) {
		if name == "of xz -T" {
			continue // its headers have sizes
		}
		blocks := blocksOf(file)
		if len(blocks) == 0 || len(blocks) < 2 && strings.Contains(name, "streams") {
			t.Fatalf("%s has blocks at %v only", name, blocks)
		}
		for _, at := range []int{blocks[0], blocks[len(blocks)-1]} {
			if got, err := plainOf(wide(file, at, most)); err != nil || !bytes.Equal(got, numbers()) {
				t.Errorf("%s with as much as is permitted in the block at %d: %q, %v", name, at, got, err)
			}
			for _, window := range []byte{more, four} {
				_, err := plainOf(wide(file, at, window))
				wantReason(t, err, adapter.Corrupt)
				if err == nil || !strings.Contains(err.Error(), "dictionary") {
					t.Errorf("%s with %d in the block at %d: %v", name, window, at, err)
				}
			}
		}
	}
}

// A dictionary takes time, and there may be one for each byte.
func TestManyDictionaries(t *testing.T) {
	const window = 28 // 64 MiB, those of xz -9
	for size, want := range map[int64]adapter.Reason{1: adapter.Corrupt, 64 << 10: ""} {
		data := bytes.Repeat([]byte("x"), int(xzWindows/(64<<20)+4)*int(size))
		file := xzOf(t, xz.WriterConfig{BlockSize: size}, data)
		for _, at := range blocksOf(file) {
			file = wide(file, at, window)
		}
		got, err := plainOf(file)
		wantReason(t, err, want)
		if want == "" && !bytes.Equal(got, data) {
			t.Errorf("blocks of %d bytes are others", size)
		}
	}
}

// What is accepted is what another reader of whole files makes of it.
func FuzzXZ(f *testing.F) {
	for _, file := range xzFiles(f) {
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !bytes.HasPrefix(data, []byte(xzMagic)) {
			return
		}
		got, err := plainOf(data)
		if err != nil {
			if reason := adapter.ReasonOf(err); reason != adapter.Corrupt {
				t.Errorf("an error of the class %q: %v", reason, err)
			}
			return
		}
		r, err := xz.NewReader(bytes.NewReader(data))
		var want []byte
		if err == nil {
			want, err = io.ReadAll(r)
		}
		if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, want) {
			t.Errorf("it is %q; want %q, %v", got, want, err)
		}
	})
}

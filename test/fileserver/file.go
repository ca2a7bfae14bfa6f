package fileserver

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"time"
)

var discard = log.New(io.Discard, "", 0)

// A RangeMode is how the server treats a Range header.
type RangeMode string

// The ways to treat a Range header. An If-Range that does not fit makes a decent server send all.
const (
	RangeHonest     RangeMode = ""            // RFC 9110 section 14
	RangeIgnored    RangeMode = "ignored"     // 200 and everything
	RangeWrongStart RangeMode = "wrong-start" // 206 that says another start than was asked for
	RangeWrongBytes RangeMode = "wrong-bytes" // 206 that says the right range and brings bytes from the beginning
	RangeWrongTotal RangeMode = "wrong-total" // 206 that says another total size
	RangeWrongTag   RangeMode = "wrong-tag"   // 206 with another entity tag
	RangeNoHeader   RangeMode = "no-header"   // 206 without Content-Range
	RangeRefused    RangeMode = "refused"     // 416
	RangeAlways     RangeMode = "always"      // 206 even to those who asked for no range
	RangeStale      RangeMode = "stale"       // 206 although If-Range does not fit
)

// A File is the content of a path with the ways in which it is not delivered.
type File struct {
	Content []byte
	Header  http.Header // more header fields of the answer

	// ETag is the entity tag with its quotes; empty: a strong one made of the content; "-": none.
	ETag string
	// ModTime is the Last-Modified date; zero: none.
	ModTime time.Time

	Auth     Auth
	Status   int    // other than 200: answered without the content
	Location string // of a redirect; Status is 302 unless it is set

	// Length is the Content-Length that is told instead of the right one, -1 for none (a chunked body).
	Length *int64
	Range  RangeMode

	Cut        *int64          // the connection is cut after so many bytes of the body
	Hang       *int64          // the body stops after so many bytes until Release is closed; nothing, no header either, comes with -1
	Release    <-chan struct{} // ends Hang; nil: only the end of the client or the server does
	ChunkSize  int             // the body comes in pieces of so many bytes, each flushed; 0: at once
	ChunkDelay time.Duration   // before each piece
}

// Bytes returns n for the knobs of [File] that are counted in bytes.
func Bytes(n int64) *int64 { return &n }

// deliver answers with f.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request, f File) {
	if f.Hang != nil && *f.Hang < 0 {
		s.hang(r, f.Release)
	}
	for name, values := range f.Header {
		w.Header()[name] = values
	}
	if f.Location != "" && f.Status == 0 {
		f.Status = http.StatusFound
	}
	if f.Status != 0 && f.Status != http.StatusOK {
		if f.Location != "" {
			w.Header().Set("Location", f.Location)
		}
		w.WriteHeader(f.Status)
		_, _ = io.WriteString(w, http.StatusText(f.Status))
		return
	}
	tag := f.ETag
	if tag == "" {
		sum := sha256.Sum256(f.Content)
		tag = `"` + hex.EncodeToString(sum[:8]) + `"`
	}
	if tag != "-" {
		w.Header().Set("ETag", tag)
	}
	modified := ""
	if !f.ModTime.IsZero() {
		modified = f.ModTime.UTC().Format(http.TimeFormat)
		w.Header().Set("Last-Modified", modified)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	start, status := s.choose(w, r, f, tag, modified)
	body := f.Content[min(start, int64(len(f.Content))):]
	if f.Range == RangeWrongBytes {
		body = f.Content[:len(body)]
	}
	length := int64(len(body))
	if f.Length != nil {
		length = *f.Length
	}
	if length >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	}
	w.WriteHeader(status)
	if status != http.StatusRequestedRangeNotSatisfiable && r.Method != http.MethodHead {
		s.send(w, r, f, body)
	}
}

// choose decides where the answer starts and sets the headers that say so.
func (s *Server) choose(w http.ResponseWriter, r *http.Request, f File, tag, modified string) (start int64, status int) {
	total := int64(len(f.Content))
	start, asked := rangeStart(r)
	if check := r.Header.Get("If-Range"); check != "" && f.Range != RangeStale && (check != tag || strings.HasPrefix(check, "W/")) && check != modified {
		asked = false
	}
	told := start
	switch f.Range {
	case RangeIgnored:
		return 0, http.StatusOK
	case RangeAlways:
		asked = true
	case RangeRefused:
		if asked {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", total))
			return total, http.StatusRequestedRangeNotSatisfiable
		}
	case RangeWrongStart:
		told++
		start++
	case RangeWrongTotal:
		total++
	case RangeWrongTag:
		if asked {
			w.Header().Set("ETag", `"another"`)
		}
	}
	switch {
	case !asked:
		return 0, http.StatusOK
	case start >= int64(len(f.Content)):
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", total))
		return total, http.StatusRequestedRangeNotSatisfiable
	case f.Range != RangeNoHeader:
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", told, len(f.Content)-1, total))
	}
	return start, http.StatusPartialContent
}

// rangeStart reads "Range: bytes=N-"; other forms are treated as no range, which RFC 9110 allows.
func rangeStart(r *http.Request) (int64, bool) {
	spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes=")
	spec, open := strings.CutSuffix(spec, "-")
	n, err := strconv.ParseInt(spec, 10, 64)
	if !ok || !open || err != nil || n < 0 {
		return 0, false
	}
	return n, true
}

// send writes body in the way that f wants. Errors of the connection end it: the client is gone.
func (s *Server) send(w http.ResponseWriter, r *http.Request, f File, body []byte) {
	control := http.NewResponseController(w)
	size := f.ChunkSize
	if size <= 0 {
		size = max(len(body), 1)
	}
	for sent := int64(0); ; {
		if f.Cut != nil && sent >= *f.Cut {
			_ = control.Flush()
			panic(http.ErrAbortHandler) // the server's way to drop the connection without an end of the body
		}
		if f.Hang != nil && sent == *f.Hang {
			_ = control.Flush()
			s.hang(r, f.Release)
		}
		if len(body) == 0 {
			return
		}
		piece := int64(min(size, len(body)))
		for _, stop := range []*int64{f.Cut, f.Hang} {
			if stop != nil && *stop > sent {
				piece = min(piece, *stop-sent)
			}
		}
		if f.ChunkDelay > 0 {
			select {
			case <-time.After(f.ChunkDelay):
			case <-r.Context().Done():
				return
			}
		}
		if _, err := w.Write(body[:piece]); err != nil {
			return
		}
		if f.ChunkSize > 0 || f.Length != nil {
			_ = control.Flush()
		}
		body, sent = body[piece:], sent+piece
	}
}

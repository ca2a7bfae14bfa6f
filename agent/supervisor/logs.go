package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
)

const (
	maxLine  = 16 << 10 // bytes; what is longer is cut
	maxWords = 256      // bytes of the last words of a process
)

// lineLog takes the lines that a process writes into the agent's log. It may be used by several goroutines.
type lineLog struct {
	log *slog.Logger

	mu       sync.Mutex
	panicked bool   // a stack trace of Go follows, to the end
	last     string // the line that tells most about an end to come
}

func newLineLog(log *slog.Logger) *lineLog { return &lineLog{log: log} }

// readAll logs every line of r to its end. No error is told: the output of a process ends with it.
func (l *lineLog) readAll(r io.Reader) {
	b := bufio.NewReaderSize(r, maxLine)
	for cut := false; ; {
		line, err := b.ReadSlice('\n')
		if !cut && len(line) > 0 {
			l.line(bytes.TrimRight(line, "\r\n"))
		}
		// The rest of a line that was cut is passed over.
		cut = errors.Is(err, bufio.ErrBufferFull)
		if err != nil && !cut {
			return
		}
	}
}

// line logs one line.
func (l *lineLog) line(line []byte) {
	if len(line) == 0 {
		return
	}
	if level, msg, attrs, ok := parseLine(line); ok {
		if level >= slog.LevelError {
			l.remember(msg)
		}
		l.log.LogAttrs(context.Background(), level, msg, attrs...)
		return
	}
	text := strings.ToValidUTF8(string(line), "\uFFFD")
	level := slog.LevelInfo
	if l.rememberRaw(text) {
		level = slog.LevelError
	}
	l.log.Log(context.Background(), level, text)
}

// rememberRaw keeps a line without structure and reports whether it belongs to the trace of a panic, of which the first line says most.
func (l *lineLog) rememberRaw(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.panicked {
		return true
	}
	l.panicked = strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")
	l.last = text
	return l.panicked
}

func (l *lineLog) remember(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.panicked {
		l.last = text
	}
}

// lastWords returns the line that tells most about the end of the process, empty when it ended in silence.
func (l *lineLog) lastWords() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.last) > maxWords {
		return strings.ToValidUTF8(l.last[:maxWords], "") + "…"
	}
	return l.last
}

// parseLine reads a line of log/slog's JSON handler or of hclog's. Anything else, and a line without message or level, is not ok.
func parseLine(line []byte) (level slog.Level, msg string, attrs []slog.Attr, ok bool) {
	if line[0] != '{' {
		return 0, "", nil, false
	}
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if d.Decode(&fields) != nil || d.More() {
		return 0, "", nil, false
	}
	take := func(keys ...string) (string, bool) {
		for _, k := range keys {
			if s, is := fields[k].(string); is {
				delete(fields, k)
				return s, true
			}
		}
		return "", false
	}
	name, haveLevel := take("@level", "level")
	msg, haveMsg := take("@message", "msg")
	if !haveLevel || !haveMsg {
		return 0, "", nil, false
	}
	switch {
	case strings.EqualFold(name, "trace"):
		level = slog.LevelDebug
	case level.UnmarshalText([]byte(name)) != nil:
		return 0, "", nil, false
	}
	// The agent's log has a time of its own, and who speaks is not for the process to say.
	for _, k := range []string{"time", "@timestamp", "adapter"} {
		delete(fields, k)
	}
	for k, v := range fields {
		attrs = append(attrs, attr(k, v))
	}
	slices.SortFunc(attrs, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return level, msg, attrs, true
}

// attr makes an attribute of a decoded JSON value.
func attr(key string, v any) slog.Attr {
	switch x := v.(type) {
	case string:
		return slog.String(key, x)
	case bool:
		return slog.Bool(key, x)
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return slog.Int64(key, n)
		}
		return slog.String(key, x.String())
	}
	text, err := json.Marshal(v)
	if err != nil {
		return slog.String(key, err.Error())
	}
	return slog.String(key, string(text))
}

// Write logs what an adapter printed after the handshake, which go-plugin brings over the connection. It is fit for lines only: what
// comes in pieces is logged in pieces.
func (l *lineLog) Write(p []byte) (int, error) {
	l.readAll(bytes.NewReader(p))
	return len(p), nil
}

// pluginLogger returns the logger for go-plugin itself. What matters of it this package says in its own words, so it is for debugging.
func pluginLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
	l.RegisterSink(sink{log})
	return l
}

// sink takes the log of go-plugin.
type sink struct{ log *slog.Logger }

// Accept implements [hclog.SinkAdapter].
func (s sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	if level > hclog.Trace {
		s.log.Debug(msg, args...)
	}
}

// lowestLevel returns the lowest level of interest to log, in the words of log/slog.
func lowestLevel(log *slog.Logger) string {
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn} {
		if log.Enabled(context.Background(), level) {
			return strings.ToLower(level.String())
		}
	}
	return strings.ToLower(slog.LevelError.String())
}

package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
)

// journalHandler writes text lines that begin with the priority as the journal reads it from a stream (sd-daemon(3)). The
// journal has the time itself.
type journalHandler struct {
	mu  *sync.Mutex
	out io.Writer
	buf *bytes.Buffer
	slog.Handler
}

func newJournalHandler(out io.Writer, o *slog.HandlerOptions) slog.Handler {
	buf := new(bytes.Buffer)
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	return &journalHandler{new(sync.Mutex), out, buf, slog.NewTextHandler(buf, o)}
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Reset()
	h.buf.WriteString(priority(r.Level))
	if err := h.Handler.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.Write(h.buf.Bytes())
	return err
}

func (h *journalHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return &journalHandler{h.mu, h.out, h.buf, h.Handler.WithAttrs(as)}
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.mu, h.out, h.buf, h.Handler.WithGroup(name)}
}

func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	}
	return "<7>"
}

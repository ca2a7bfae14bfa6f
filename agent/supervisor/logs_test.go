package supervisor

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func logged(lines string) string {
	var out bytes.Buffer
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})
	newLineLog(slog.New(h)).readAll(strings.NewReader(lines))
	return out.String()
}

func TestLines(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"slog", `{"time":"x","level":"WARN","msg":"m","op":"7","b":true,"n":1.5,"o":{"k":null}}`,
			`level=WARN msg=m b=true n=1.5 o="{\"k\":null}" op=7`},
		{"hclog", `{"@timestamp":"x","@level":"trace","@message":"m","@module":"x"}`, `level=DEBUG msg=m @module=x`},
		{"own name is kept off", `{"level":"info","msg":"m","adapter":"liar"}`, `level=INFO msg=m`},
		{"level of another kind", `{"level":3,"msg":"m"}`, `level=INFO msg="{\"level\":3,\"msg\":\"m\"}"`},
		{"unknown level", `{"level":"loud","msg":"m"}`, `level=INFO msg="{\"level\":\"loud\",\"msg\":\"m\"}"`},
		{"message of another kind", `{"@level":"info","@message":7}`, `level=INFO msg="{\"@level\":\"info\",\"@message\":7}"`},
		{"text", "hello\r", `level=INFO msg=hello`},
		{"not UTF-8", "a\xff", "level=INFO msg=\"a\uFFFD\""},
		{"last line without end", "a\n\nb", "level=INFO msg=a\nlevel=INFO msg=b"},
		{"panic", "x\npanic: p\n\ngoroutine 1", "level=INFO msg=x\nlevel=ERROR msg=\"panic: p\"\nlevel=ERROR msg=\"goroutine 1\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.TrimSuffix(logged(tt.in), "\n"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	long := logged(strings.Repeat("x", 3*maxLine) + "\nshort\n")
	if n := strings.Count(long, "\n"); n != 2 || !strings.HasSuffix(long, "level=INFO msg=short\n") {
		t.Errorf("a long line made %d lines", n)
	}
}

func TestLastWords(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "",
		"a\nb":                                "b",
		"panic: p\ngoroutine 1":               "panic: p",
		`{"level":"ERROR","msg":"e"}`:         "e",
		`{"level":"INFO","msg":"i"}`:          "",
		strings.Repeat("x", maxWords-1) + "é": strings.Repeat("x", maxWords-1) + "…",
	} {
		l := newLineLog(slog.New(slog.DiscardHandler))
		l.readAll(strings.NewReader(in))
		if got := l.lastWords(); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

// FuzzLine looks for output of a process that could upset the agent.
func FuzzLine(f *testing.F) {
	for _, s := range []string{
		`{"level":"WARN","msg":"m","n":1}`, `{"@level":"trace","@message":7}`, `{"level":"info","msg":"m"} x`, "panic: x", "\xff", "{", "{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got := logged(string(b))
		if lines := strings.Count(got, "\n"); lines > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%q became %d lines", b, lines)
		}
	})
}

package supervisor

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

func TestBadStarts(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(b))
	tests := []struct {
		name, role, want string
		change           func(*Options)
	}{
		{"ends at once", "exit", "exit status 3: no license found", nil},
		{"garbage on stdout", "garbage", "Hello, I am an adapter!", nil},
		{"a flood on stdout", "flood", "too long", nil},
		{"no word", "silent", "timeout", func(o *Options) { o.StartTimeout = 300 * time.Millisecond }},
		{"TCP", "tcp", "is no Unix socket in", nil},
		{"another version", "version", "incompatible API version", nil},
		{"ends its event stream", "watch-ends", "ended its event stream", nil},
		{"executable missing", "good", "no such file", func(o *Options) { o.Command = []string{"/nonexistent/adapter"} }},
		{"no command", "good", "no command", func(o *Options) { o.Command = nil }},
		{"wrong digest", "good", "sha256 is not the configured one", func(o *Options) { o.SHA256 = strings.Repeat("0", 64) }},
		{"no digest", "good", "cannot read the configured sha256", func(o *Options) { o.SHA256 = "xyz" }},
		{"digest of a missing file", "good", "cannot verify", func(o *Options) { o.SHA256, o.Command = sum, []string{"/nonexistent"} }},
		{"long path", "good", "of at most 107", func(o *Options) { o.RuntimeDir = "/tmp/" + strings.Repeat("x", 80) }},
		{"no name", "good", "not fit for a directory", func(o *Options) { o.Name = "" }},
		{"a name that climbs out", "good", "not fit for a directory", func(o *Options) { o.Name = "../x" }},
		{"a name that is a parent", "good", "not fit for a directory", func(o *Options) { o.Name = ".." }},
		{"runtime directory is a file", "good", "not a directory", func(o *Options) { o.RuntimeDir = "/dev/null" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, w, _ := run(t, tt.role, func(o *Options) {
				o.BackoffMin, o.BackoffMax = time.Hour, time.Hour
				if tt.change != nil {
					tt.change(o)
				}
			})
			w.until("lost")
			err := w.losses()[0]
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("lost for %q, want %q", err, tt.want)
			}
			if i := s.Info(); i.State != StateBackingOff || i.Detail != err.Error() || i.PID != 0 {
				t.Errorf("Info: %+v", i)
			}
		})
	}
	t.Run("right digest", func(t *testing.T) {
		_, w, _ := run(t, "good", func(o *Options) { o.SHA256 = strings.ToUpper(sum) })
		w.expect(fresh...)
	})
}

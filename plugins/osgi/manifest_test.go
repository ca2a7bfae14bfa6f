package osgi

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"archive/zip"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/plugins/adapter"
)

func TestParseManifest(t *testing.T) {
	tests := []struct {
		name, in string
		want     map[string]string // nil: an error
	}{
		{"empty", "", map[string]string{}},
		{"LF", "A: 1\nB: 2\n", map[string]string{"a": "1", "b": "2"}},
		{"CR LF", "A: 1\r\nB: 2\r\n", map[string]string{"a": "1", "b": "2"}},
		{"CR", "A: 1\rB: 2\r", map[string]string{"a": "1", "b": "2"}},
		{"no end of line", "A: 1", map[string]string{"a": "1"}},
		{"continuation", "A: 1\n 2\r\n 3\r 4\nB: x\n", map[string]string{"a": "1234", "b": "x"}},
		{"continuation keeps further blanks", "A: 1\n  2 \n", map[string]string{"a": "1 2 "}},
		{"character split over a continuation", "A: \xc3\n \xa4\n", map[string]string{"a": "ä"}},
		{"main section only", "A: 1\n\nName: x\nB: 2\n", map[string]string{"a": "1"}},
		{"blank lines first", "\n\r\nA: 1\n", map[string]string{"a": "1"}},
		{"byte order mark", "\xef\xbb\xbfA: 1\n", map[string]string{"a": "1"}},
		{"no value", "A:\nB: \n", map[string]string{"a": "", "b": ""}},
		{"name without regard to case, last value", "Ab: 1\naB: 2\n", map[string]string{"ab": "2"}},
		{"colon in the value", "A: x: y\n", map[string]string{"a": "x: y"}},
		{"no colon", "A 1\n", nil},
		{"no blank after the colon", "A:1\n", nil},
		{"continues nothing", " A: 1\n", nil},
		{"no name", ": 1\n", nil},
		{"a name with a dot", "A.b: 1\n", nil},
		{"a long name", strings.Repeat("a", 71) + ": 1\n", nil},
		{"not UTF-8", "A: \xff\n", nil},
		{"too large", "A: " + strings.Repeat("x", maxManifest) + "\n", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseManifest([]byte(test.in))
			if test.want == nil {
				if err == nil {
					t.Fatalf("no error, but %v", got)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// fold writes a header as java.util.jar.Manifest does: lines of at most 72 bytes, split anywhere.
func fold(name, value, end string) string {
	line := name + ": " + value
	var b strings.Builder
	for limit := 72; len(line) > limit; limit = 71 {
		b.WriteString(line[:limit] + end + " ")
		line = line[limit:]
	}
	return b.String() + line + end
}

func TestFoldedManifestReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching(`[^\r\n]{0,400}`).Draw(t, "value")
		end := rapid.SampledFrom([]string{"\n", "\r\n", "\r"}).Draw(t, "end")
		got, err := parseManifest([]byte("Manifest-Version: 1.0" + end + fold("X", value, end) + end))
		if err != nil {
			t.Fatal(err)
		}
		if got["x"] != value {
			t.Fatalf("%q, want %q", got["x"], value)
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte("Manifest-Version: 1.0\r\nBundle-SymbolicName: a.b;singleton:=true\r\nBundle-Version: 1\r\n\r\n"))
	f.Add([]byte(fold("Import-Package", strings.Repeat("a.b.c;version=\"[1,2)\",", 20)+"ä", "\n")))
	f.Add([]byte(" x\n"))
	f.Add([]byte("A: \xc3\n \xa4\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		headers, err := parseManifest(data)
		if err != nil {
			return
		}
		for name, value := range headers {
			if name != strings.ToLower(name) || strings.ContainsAny(value, "\r\n") || !utf8.ValidString(value) {
				t.Errorf("header %q: %q", name, value)
			}
			again, err := parseManifest([]byte(fold("X", value, "\n")))
			if err != nil || again["x"] != value {
				t.Errorf("%q does not read back: %q, %v", value, again["x"], err)
			}
		}
		if _, err := symbolicName(headers["bundle-symbolicname"]); err != nil {
			return
		}
		if v, err := normalVersion(headers["bundle-version"]); err == nil {
			if again, err := normalVersion(v); err != nil || again != v {
				t.Errorf("version %q is not normal: %q, %v", v, again, err)
			}
		}
		parseProperties(data)
	})
}

func TestNormalVersion(t *testing.T) {
	for in, want := range map[string]string{
		"": "0.0.0", "1": "1.0.0", "1.2": "1.2.0", " 1.2.3 ": "1.2.3", "1.2.3.q-1_x": "1.2.3.q-1_x", "01.0.0": "1.0.0",
		"1.2.3.": "", "1..2": "", "x": "", "-1": "", "+1": "", "1.2.3.a.b": "", "1.2.q": "", "4294967296": "",
	} {
		got, err := normalVersion(in)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("normalVersion(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestParseProperties(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"# c = 1\n! d = 2\n\n a = x\\\n   y\nb:\\u00e4\\ud83d\\ude00\\zz\nc\\ d  e\ne=\xe4\nf = \\t\\n\\\\\ng\nh = z\\": {
			"a": "xy", "b": "ä😀zz", "c d": "e", "e": "ä", "f": "\t\n\\", "g": "", "h": "z",
		},
		"utf = Müller \\é 😀\n": {"utf": "Müller é 😀"},      // as Java does since version 9
		"both = ü \xfc":        {"both": "\u00c3\u00bc ü"}, // one byte that is no UTF-8 makes it ISO 8859-1
		"a = 1\nb = \\uzz":     nil,
		"a = \\u12":            nil,
	} {
		if diff := cmp.Diff(want, parseProperties([]byte(text))); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

// member is a file of a jar.
type member struct{ name, content string }

func writeJar(t testing.TB, members ...member) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.jar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for _, m := range members {
		// Stored, so that a test can find the content and alter it.
		part, err := w.CreateHeader(&zip.FileHeader{Name: m.name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

// bundleJar writes a small bundle.
func bundleJar(t testing.TB, name, version string) string {
	return writeJar(t, member{manifestName, "Manifest-Version: 1.0\nBundle-ManifestVersion: 2\nBundle-SymbolicName: " + name +
		"\nBundle-Version: " + version + "\n"}, member{"content", "the content of " + name})
}

func alter(t *testing.T, path string, change func([]byte) []byte) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspect(t *testing.T) {
	bundle := "Manifest-Version: 1.0\nBundle-SymbolicName: a.b; singleton:=true\nBundle-Version: 1\nBundle-Vendor: %vendor\nBundle-Description: %nothing\n"
	flip := func(what string) func([]byte) []byte {
		return func(data []byte) []byte {
			i := strings.Index(string(data), what)
			data[i] ^= 1
			return data
		}
	}
	tests := []struct {
		name   string
		path   string
		want   adapter.Manifest
		reason adapter.Reason
	}{
		{"localized", writeJar(t, member{manifestName, bundle}, member{"OSGI-INF/l10n/bundle.properties", "vendor = M\\u00fcller\n"}),
			adapter.Manifest{Name: "a.b", Version: "1.0.0", Vendor: "Müller", Description: "nothing"}, ""},
		{"its own localization", writeJar(t, member{manifestName, bundle + "Bundle-Localization: l/x\n"}, member{"l/x.properties", "vendor:V\nnothing=D"}),
			adapter.Manifest{Name: "a.b", Version: "1.0.0", Vendor: "V", Description: "D"}, ""},
		{"no version", writeJar(t, member{manifestName, "Bundle-SymbolicName: x\n"}), adapter.Manifest{Name: "x", Version: "0.0.0"}, ""},
		{"no bundle", writeJar(t, member{manifestName, "Manifest-Version: 1.0\n"}), adapter.Manifest{}, adapter.Mismatch},
		{"no manifest", writeJar(t, member{"x", "y"}), adapter.Manifest{}, adapter.Mismatch},
		{"empty archive", writeJar(t), adapter.Manifest{}, adapter.Mismatch},
		{"two manifests", writeJar(t, member{manifestName, bundle}, member{"meta-inf/manifest.mf", bundle}), adapter.Manifest{}, adapter.Corrupt},
		{"malformed name", writeJar(t, member{manifestName, "Bundle-SymbolicName: a b\n"}), adapter.Manifest{}, adapter.Corrupt},
		{"malformed version", writeJar(t, member{manifestName, "Bundle-SymbolicName: a\nBundle-Version: x\n"}), adapter.Manifest{}, adapter.Corrupt},
		{"malformed manifest", writeJar(t, member{manifestName, "nonsense\n"}), adapter.Manifest{}, adapter.Corrupt},
		{"truncated", alter(t, bundleJar(t, "x", "1"), func(b []byte) []byte { return b[:len(b)-30] }), adapter.Manifest{}, adapter.Corrupt},
		{"no zip", alter(t, bundleJar(t, "x", "1"), func([]byte) []byte { return []byte("#!/bin/sh\n") }), adapter.Manifest{}, adapter.Corrupt},
		{"empty file", alter(t, bundleJar(t, "x", "1"), func([]byte) []byte { return nil }), adapter.Manifest{}, adapter.Corrupt},
		{"tar", alter(t, bundleJar(t, "x", "1"), func([]byte) []byte { return append(make([]byte, 257), "ustar\x0000"...) }), adapter.Manifest{}, adapter.Mismatch},
		{"gzip", alter(t, bundleJar(t, "x", "1"), func([]byte) []byte { return []byte("\x1f\x8b\x08") }), adapter.Manifest{}, adapter.Mismatch},
		{"ext4", alter(t, bundleJar(t, "x", "1"), func([]byte) []byte { return append(make([]byte, 0x438), "\x53\xef"...) }), adapter.Manifest{}, adapter.Mismatch},
		{"altered manifest", alter(t, bundleJar(t, "x", "1"), flip("Bundle-Version")), adapter.Manifest{}, adapter.Corrupt},
		{"altered member", alter(t, bundleJar(t, "x", "1"), flip("the content")), adapter.Manifest{}, adapter.Corrupt},
		{"no file", "/nonexistent", adapter.Manifest{}, adapter.Internal},
	}
	o := configured(t, shortLimits(), t.TempDir(), map[string]any{}) // and never launched
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := o.Inspect(t.Context(), "home", adapter.Package{Path: test.path})
			if adapter.ReasonOf(err) != test.reason {
				t.Fatalf("error %v, want reason %q", err, test.reason)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestInspectEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := configured(t, shortLimits(), t.TempDir(), map[string]any{}).Inspect(ctx, "home", adapter.Package{Path: bundleJar(t, "x", "1")})
	if adapter.ReasonOf(err) != adapter.Canceled {
		t.Errorf("error %v", err)
	}
}

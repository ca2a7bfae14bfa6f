package datamodel_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/fault"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

func TestParsePath(t *testing.T) {
	name := func(s string) dm.Segment { return dm.Segment{Kind: dm.Name, Text: s} }
	number := func(n uint32) dm.Segment { return dm.Segment{Kind: dm.Number, Number: n} }
	for _, tc := range []struct {
		text   string
		syntax dm.Syntax
		want   []dm.Segment
	}{
		{"", dm.CWMP, nil},
		{"Device.", dm.CWMP, []dm.Segment{name("Device")}},
		{"Device", dm.CWMP, []dm.Segment{name("Device")}},
		{"Device.A.1.B", dm.CWMP, []dm.Segment{name("Device"), name("A"), number(1), name("B")}},
		{"Device.A.4294967295.", dm.USP, []dm.Segment{name("Device"), name("A"), number(4294967295)}},
		{"Device.A.1", dm.CWMP, []dm.Segment{name("Device"), name("A"), number(1)}},
		{"Device.X_EXAMPLE-COM_a._b9", dm.CWMP, []dm.Segment{name("Device"), name("X_EXAMPLE-COM_a"), name("_b9")}},
		{"Device.A.[cpe-osgi].B", dm.CWMP, []dm.Segment{name("Device"), name("A"), {Kind: dm.Alias, Text: "cpe-osgi"}, name("B")}},
		{"Device.A.[a.b].", dm.CWMP, []dm.Segment{name("Device"), name("A"), {Kind: dm.Alias, Text: "a.b"}}},
		{"Device.A.*.B", dm.USP, []dm.Segment{name("Device"), name("A"), {Kind: dm.Wildcard}, name("B")}},
	} {
		p, err := dm.ParsePath(tc.text, tc.syntax)
		if err != nil {
			t.Errorf("ParsePath(%q): %v", tc.text, err)
			continue
		}
		if len(p.Segments) != len(tc.want) {
			t.Errorf("ParsePath(%q) = %v, want %v", tc.text, p.Segments, tc.want)
			continue
		}
		for i, s := range p.Segments {
			if s.String() != tc.want[i].String() || s.Kind != tc.want[i].Kind {
				t.Errorf("ParsePath(%q): segment %d is %v, want %v", tc.text, i, s, tc.want[i])
			}
		}
		if want := tc.text == "" || strings.HasSuffix(tc.text, "."); p.Partial != want {
			t.Errorf("ParsePath(%q): Partial = %t", tc.text, p.Partial)
		}
		if p.String() != tc.text {
			t.Errorf("ParsePath(%q).String() = %q", tc.text, p.String())
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, tc := range []struct {
		text   string
		syntax dm.Syntax
	}{
		{"", dm.USP},
		{".", dm.CWMP},
		{".Device.", dm.CWMP},
		{"Device..A", dm.CWMP},
		{"Device.A..", dm.CWMP},
		{"1.A", dm.CWMP},
		{"[a].A", dm.CWMP},
		{"*.A", dm.USP},
		{"Device.A.0.B", dm.CWMP},
		{"Device.A.01.B", dm.CWMP},
		{"Device.A.+1.B", dm.CWMP},
		{"Device.A.-1.B", dm.CWMP},
		{"Device.A.4294967296.B", dm.CWMP},
		{"Device.A.1x.B", dm.CWMP},
		{"Device.A.*.B", dm.CWMP},
		{"Device.A.[a.B", dm.CWMP},
		{"Device.A.[].B", dm.CWMP},
		{"Device.A.[a]B", dm.CWMP},
		{"Device.A.[a].B", dm.USP},
		{"Device.A b", dm.CWMP},
		{"Device.Ä", dm.CWMP},
		{"Device.A\x00", dm.CWMP},
		{"Device." + strings.Repeat("a", 250), dm.CWMP},
	} {
		_, err := dm.ParsePath(tc.text, tc.syntax)
		if !errors.Is(err, dm.ErrSyntax) || fault.ReasonOf(err) != fault.InvalidArguments {
			t.Errorf("ParsePath(%q, %s): %v, want a syntax error of class invalid-arguments", tc.text, tc.syntax, err)
		}
	}
	if _, err := dm.ParsePath("Device."+strings.Repeat("a", 249), dm.CWMP); err != nil {
		t.Errorf("a path of 256 characters: %v", err)
	}
}

// TestPathRoundTrip makes paths out of segments instead of taking them out of text.
func TestPathRoundTrip(t *testing.T) {
	names := rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_-]{0,5}`)
	rapid.Check(t, func(t *rapid.T) {
		syntax := rapid.SampledFrom([]dm.Syntax{dm.CWMP, dm.USP}).Draw(t, "syntax")
		p := dm.Path{Segments: []dm.Segment{{Kind: dm.Name, Text: names.Draw(t, "root")}}, Partial: rapid.Bool().Draw(t, "partial")}
		for range rapid.IntRange(0, 6).Draw(t, "length") {
			var s dm.Segment
			switch s.Kind = rapid.SampledFrom([]dm.SegmentKind{dm.Name, dm.Number, dm.Alias}).Draw(t, "kind"); s.Kind {
			case dm.Name:
				s.Text = names.Draw(t, "name")
			case dm.Number:
				s.Number = rapid.Uint32Min(1).Draw(t, "number")
			case dm.Alias:
				if syntax == dm.USP {
					s.Kind = dm.Wildcard
				} else {
					s.Text = rapid.StringMatching(`[a-z][^\]]{0,5}`).Draw(t, "alias")
				}
			}
			p.Segments = append(p.Segments, s)
		}
		got, err := dm.ParsePath(p.String(), syntax)
		if err != nil {
			t.Fatalf("ParsePath(%q): %v", p, err)
		}
		if got.Partial != p.Partial || len(got.Segments) != len(p.Segments) {
			t.Fatalf("%q came back as %q", p, got)
		}
		for i := range got.Segments {
			if got.Segments[i].Kind != p.Segments[i].Kind || got.Segments[i].String() != p.Segments[i].String() {
				t.Fatalf("segment %d of %q came back as %v", i, p, got.Segments[i])
			}
		}
	})
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"", ".", "Device.", "Device.SoftwareModules.ExecEnv.1.Status", "Device.A.[cpe-x].B", "Device.A.*.", "Device.A.007.",
		"Device.A.[a.b]", "Device..", "[", "Device.A.[]", "Device.A.4294967296", "X_EXAMPLE-COM_.",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, cwmp bool) {
		syntax := dm.USP
		if cwmp {
			syntax = dm.CWMP
		}
		p, err := dm.ParsePath(s, syntax)
		if err != nil {
			return
		}
		again, err := dm.ParsePath(p.String(), syntax)
		if err != nil {
			t.Fatalf("the canonical form %q of %q is refused: %v", p, s, err)
		}
		if again.String() != p.String() || cwmp && p.String() != s {
			t.Fatalf("%q became %q and then %q", s, p, again)
		}
	})
}

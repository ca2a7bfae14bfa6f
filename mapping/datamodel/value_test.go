package datamodel_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/smmd-project/smmd/agent/fault"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

type value struct {
	b bool
	i int64
	s string
	t time.Time
}

func param(p dm.Parameter[value]) *dm.Parameter[value] {
	p.Name, p.Since = "P", "1"
	switch {
	case p.Command:
	case p.Type == dm.Boolean:
		p.Bool = func(v value) bool { return v.b }
	case p.Type == dm.Int, p.Type == dm.UnsignedInt:
		p.Int = func(v value) int64 { return v.i }
	case p.Type == dm.DateTime:
		p.Time = func(v value) time.Time { return v.t }
	default:
		p.Text = func(v value) string { return v.s }
	}
	return &p
}

func TestValue(t *testing.T) {
	berlin := time.FixedZone("", 2*3600)
	for _, tc := range []struct {
		p    dm.Parameter[value]
		v    value
		want string
	}{
		{dm.Parameter[value]{Type: dm.Boolean}, value{b: true}, "true"},
		{dm.Parameter[value]{Type: dm.Boolean}, value{}, "false"},
		{dm.Parameter[value]{Type: dm.Int}, value{i: -7}, "-7"},
		{dm.Parameter[value]{Type: dm.Int}, value{i: math.MaxInt64}, "2147483647"},
		{dm.Parameter[value]{Type: dm.Int, Range: dm.Range{Min: -1, Max: 100}}, value{i: -2}, "-1"},
		{dm.Parameter[value]{Type: dm.UnsignedInt}, value{i: -2}, "0"},
		{dm.Parameter[value]{Type: dm.UnsignedInt}, value{i: math.MaxInt64}, "4294967295"},
		{dm.Parameter[value]{Type: dm.DateTime}, value{}, "0001-01-01T00:00:00Z"},
		{dm.Parameter[value]{Type: dm.DateTime}, value{t: time.Date(2026, 5, 6, 1, 2, 3, 999, berlin)}, "2026-05-05T23:02:03Z"},
		{dm.Parameter[value]{Type: dm.String}, value{s: "häh"}, "häh"},
		{dm.Parameter[value]{Type: dm.String, Length: 3}, value{s: "abcd"}, "abc"},
		{dm.Parameter[value]{Type: dm.String, Length: 3}, value{s: "häßlich"}, "häß"}, // characters, not bytes
		{dm.Parameter[value]{Type: dm.String, Length: 3}, value{s: "ä😀ö"}, "ä😀ö"},
		{dm.Parameter[value]{Type: dm.String}, value{s: "a\x00b\tc\xffd\x1b"}, "a\uFFFDb\tc\uFFFDd\uFFFD"},
		{dm.Parameter[value]{Type: dm.String, List: true, Length: 3}, value{s: "a,b,c,d"}, "a,b,c,d"},
		{dm.Parameter[value]{Type: dm.Boolean, Command: true}, value{b: true}, "false"},
		{dm.Parameter[value]{Type: dm.Int, Command: true}, value{i: 7}, "-1"},
		{dm.Parameter[value]{Type: dm.UnsignedInt, Command: true}, value{i: 7}, "0"},
		{dm.Parameter[value]{Type: dm.DateTime, Command: true}, value{}, dm.UnknownTime},
		{dm.Parameter[value]{Type: dm.String, Command: true}, value{s: "x"}, ""},
	} {
		if got := param(tc.p).Value(tc.v); got != tc.want {
			t.Errorf("Value of %s %+v = %q, want %q", tc.p.Type, tc.v, got, tc.want)
		}
	}
}

func TestParse(t *testing.T) {
	odd := func(s string) error {
		if len(s)%2 == 0 {
			return errors.New("it is even")
		}
		return nil
	}
	boolean := dm.Parameter[value]{Type: dm.Boolean}
	level := dm.Parameter[value]{Type: dm.Int, Range: dm.Range{Min: -1, Max: 65535}}
	unsigned := dm.Parameter[value]{Type: dm.UnsignedInt}
	short := dm.Parameter[value]{Type: dm.String, Length: 3}
	choice := dm.Parameter[value]{Type: dm.String, Enum: []string{"Idle", "Active"}}
	for _, tc := range []struct {
		p    dm.Parameter[value]
		text string
		want any // nil: refused
	}{
		{boolean, "true", true},
		{boolean, " 1\n", true},
		{boolean, "false", false},
		{boolean, "0", false},
		{boolean, "True", nil},
		{boolean, "", nil},
		{level, "-1", -1},
		{level, " +65535 ", 65535},
		{level, "007", 7},
		{level, "-2", nil},
		{level, "65536", nil},
		{level, "1.0", nil},
		{level, "0x1", nil},
		{level, "1_0", nil},
		{level, "", nil},
		{level, "99999999999999999999", nil},
		{unsigned, "4294967295", 4294967295},
		{unsigned, "4294967296", nil},
		{unsigned, "-1", nil},
		{short, "", ""},
		{short, " a ", " a "},
		{short, "äöü", "äöü"},
		{short, "abcd", nil},
		{short, "a\x00", nil},
		{short, "a\xff", nil},
		{choice, "Idle", "Idle"},
		{choice, "idle", nil},
		{choice, "", nil},
		{dm.Parameter[value]{Type: dm.String, Check: odd}, "abc", "abc"},
		{dm.Parameter[value]{Type: dm.String, Check: odd}, "ab", nil},
		{dm.Parameter[value]{Type: dm.DateTime}, dm.UnknownTime, nil},
	} {
		got, err := param(tc.p).Parse(tc.text)
		if got != tc.want || (err == nil) != (tc.want != nil) {
			t.Errorf("Parse(%q) as %s = %v, %v, want %v", tc.text, tc.p.Type, got, err, tc.want)
		}
		if err != nil {
			if fault.ReasonOf(err) != fault.InvalidArguments {
				t.Errorf("Parse(%q): error of class %s", tc.text, fault.ReasonOf(err))
			}
			if len(tc.text) > 3 && strings.Contains(err.Error(), tc.text) {
				t.Errorf("the error repeats the value: %v", err)
			}
		}
	}
}

func TestXSD(t *testing.T) {
	if got := dm.UnsignedInt.XSD(); got != "xsd:unsignedInt" {
		t.Errorf("XSD = %q", got)
	}
}

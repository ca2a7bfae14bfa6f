package datamodel_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

var brew = &dm.Command{Name: "Brew()", Since: "2.1", Inputs: []*dm.Argument{
	{Name: "Cups", Type: dm.UnsignedInt, Range: dm.Range{Min: 1, Max: 4}, Since: "2.1", Mandatory: true},
	{Name: "Kind", Type: dm.String, Enum: []string{"Black", "White"}, Since: "2.1", Default: "Black"},
	{Name: "Name", Type: dm.String, Length: 3, Since: "2.1"},
	{Name: "Hot", Type: dm.Boolean, Since: "2.1", Default: "true", Unsupported: true},
	{Name: "Sugar", Type: dm.Int, Since: "2.1", Unsupported: true},
	{Name: "Milk.Kind", Type: dm.String, Since: "2.1", Mandatory: true, Check: func(s string) error {
		if s == "sour" {
			return errors.New("nobody drinks that")
		}
		return nil
	}},
	{Name: "Milk.Warm", Type: dm.Boolean, Since: "2.1", Default: "false"},
	{Name: "Milk.Spoon.{i}.Size", Type: dm.Int, Since: "2.1", Mandatory: true},
	{Name: "Milk.Spoon.{i}.Metal", Type: dm.Boolean, Since: "2.1"},
}}

func TestCommandRead(t *testing.T) {
	for _, tc := range []struct {
		given string // name=value, separated by blanks
		want  map[string]any
		err   error
	}{
		{"Cups=2", map[string]any{"Cups": 2, "Kind": "Black"}, nil},
		{"Cups=2 Kind=White Name=abc", map[string]any{"Cups": 2, "Kind": "White", "Name": "abc"}, nil},
		{"Cups=2 Bogus=1 Cup.1.x=2 Milk.Foam=1 {i}=3", map[string]any{"Cups": 2, "Kind": "Black"}, nil},
		{"Cups=2 Hot=1 Sugar=", map[string]any{"Cups": 2, "Kind": "Black"}, nil},
		{"Cups=2 Milk.Kind=oat Milk.Warm=true", map[string]any{"Cups": 2, "Kind": "Black", "Milk.Kind": "oat", "Milk.Warm": true}, nil},
		{"Cups=2 Milk.Kind=oat Milk.Spoon.7.Size=3", map[string]any{"Cups": 2, "Kind": "Black", "Milk.Kind": "oat", "Milk.Warm": false, "Milk.Spoon.7.Size": 3}, nil},
		{"Cups=2 Milk.Spoon.07.Size=3", map[string]any{"Cups": 2, "Kind": "Black"}, nil}, // no name of the command
		{"", nil, dm.ErrMissing},
		{"Kind=Green Hot=false", nil, dm.ErrMissing},
		{"Cups=2 Milk.Warm=true", nil, dm.ErrMissing},
		{"Cups=2 Milk.Kind=oat Milk.Spoon.1.Size=1 Milk.Spoon.2.Metal=true", nil, dm.ErrMissing},
		{"Cups=2 Milk.Spoon.1.Size=1", nil, dm.ErrMissing},
		{"Cups=2 Hot=false", nil, dm.ErrUnsupported},
		{"Cups=2 Sugar=0", nil, dm.ErrUnsupported},
		{"Cups=5", nil, errors.ErrUnsupported},
		{"Cups=", nil, errors.ErrUnsupported},
		{"Cups=two", nil, errors.ErrUnsupported},
		{"Cups=1 Kind=Green", nil, errors.ErrUnsupported},
		{"Cups=1 Name=abcd", nil, errors.ErrUnsupported},
		{"Cups=1 Hot=maybe", nil, errors.ErrUnsupported},
		{"Cups=1 Milk.Kind=sour", nil, errors.ErrUnsupported},
	} {
		given := map[string]string{}
		for _, pair := range strings.Fields(tc.given) {
			k, v, _ := strings.Cut(pair, "=")
			given[k] = v
		}
		got, err := brew.Read(given)
		switch {
		case tc.err == errors.ErrUnsupported: // stands for a value that is refused
			if err == nil || errors.Is(err, dm.ErrMissing) || errors.Is(err, dm.ErrUnsupported) {
				t.Errorf("%s: %v, want a refused value", tc.given, err)
			}
		case !errors.Is(err, tc.err) || (err == nil) != (tc.err == nil):
			t.Errorf("%s: %v, want %v", tc.given, err, tc.err)
		case !maps.Equal(got, tc.want):
			t.Errorf("%s: %v, want %v", tc.given, got, tc.want)
		}
	}
}

func FuzzCommandRead(f *testing.F) {
	f.Add("Cups", "2", "Milk.Spoon.1.Size", "3")
	f.Add("Milk.Kind", "", "Cups", "99999999999999999999")
	f.Add(".", "", "{i}", "{i}")
	f.Add("Milk.Spoon.{i}.Size", "1", "Hot", "\xff")
	f.Fuzz(func(t *testing.T, k1, v1, k2, v2 string) {
		got, err := brew.Read(map[string]string{k1: v1, k2: v2})
		if err == nil && (got["Cups"] == nil || got["Kind"] == nil) {
			t.Fatalf("%q=%q %q=%q is read as %v", k1, v1, k2, v2, got)
		}
	})
}

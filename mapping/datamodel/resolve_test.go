package datamodel_test

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/smmd-project/smmd/agent/fault"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// shop is a toy consumer: shelves with boxes.
type shop struct {
	name  string
	below []*shop // instance numbers are the places times ten
}

func rows(r *shop) iter.Seq2[uint32, *shop] {
	return func(yield func(uint32, *shop) bool) {
		for i, b := range r.below {
			if b != nil && !yield(uint32(i+1)*10, b) {
				return
			}
		}
	}
}

func row(r *shop, n uint32) (*shop, bool) {
	for number, b := range rows(r) {
		if number == n {
			return b, true
		}
	}
	return nil, false
}

func shopTable() *dm.Table[*shop] {
	return &dm.Table[*shop]{Rows: rows, Row: row, Alias: func(r *shop) string { return r.name }}
}

var toy = &dm.Object[*shop]{Objects: []*dm.Object[*shop]{{
	Name:       "Shop",
	Parameters: []*dm.Parameter[*shop]{{Name: "Name", Type: dm.String, Since: "1", Text: func(r *shop) string { return r.name }}},
	Objects: []*dm.Object[*shop]{{
		Name: "Shelf", Table: shopTable(),
		Parameters: []*dm.Parameter[*shop]{
			{Name: "Alias", Type: dm.String, Since: "1", Attribute: "alias", Text: func(r *shop) string { return r.name }},
		},
		Objects: []*dm.Object[*shop]{
			{
				Name: "Box", Table: shopTable(),
				Parameters: []*dm.Parameter[*shop]{{Name: "Label", Type: dm.String, Since: "1", Text: func(r *shop) string { return r.name }}},
			},
			{Name: "Extras"},
		},
	}},
}}}

func goods() *shop {
	return &shop{"s", []*shop{
		{"low", []*shop{{"a", nil}, {"b", nil}}},
		nil, // deleted: its number is not used again
		{"high", []*shop{nil, {"c", nil}}},
	}}
}

func paths(t *testing.T, nodes []dm.Node[*shop]) []string {
	t.Helper()
	var all []string
	for _, n := range nodes {
		all = append(all, n.Path)
	}
	return all
}

func TestToyIsValid(t *testing.T) {
	if err := toy.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestResolve(t *testing.T) {
	for _, tc := range []struct {
		path    string
		syntax  dm.Syntax
		purpose dm.Purpose
		want    string // separated by spaces
		err     error
	}{
		{"", dm.CWMP, dm.ForGet, "", nil},
		{"Shop.", dm.CWMP, dm.ForGet, "Shop.", nil},
		{"Shop.Name", dm.CWMP, dm.ForGet, "Shop.Name", nil},
		{"Shop.Shelf.", dm.CWMP, dm.ForGet, "Shop.Shelf.", nil},
		{"Shop.Shelf.10.", dm.CWMP, dm.ForGet, "Shop.Shelf.10.", nil},
		{"Shop.Shelf.30.Box.20.Label", dm.CWMP, dm.ForGet, "Shop.Shelf.30.Box.20.Label", nil},
		{"Shop.Shelf.[high].Box.20.Label", dm.CWMP, dm.ForGet, "Shop.Shelf.[high].Box.20.Label", nil},
		{"Shop.Shelf.10.Extras.", dm.CWMP, dm.ForGet, "Shop.Shelf.10.Extras.", nil},
		{"Shop.Shelf.*.Alias", dm.USP, dm.ForGet, "Shop.Shelf.10.Alias Shop.Shelf.30.Alias", nil},
		{"Shop.Shelf.*.Box.*.Label", dm.USP, dm.ForGet, "Shop.Shelf.10.Box.10.Label Shop.Shelf.10.Box.20.Label Shop.Shelf.30.Box.20.Label", nil},
		{"Shop.Shelf.*.Box.10.Label", dm.USP, dm.ForGet, "Shop.Shelf.10.Box.10.Label", nil},
		{"Shop.Shelf.*.Box.70.Label", dm.USP, dm.ForGet, "", nil}, // a get is forgiving
		{"Shop.Shelf.*.Box.70.Lable", dm.USP, dm.ForGet, "", dm.ErrUnknown},

		{"Shop.Shelf.20.", dm.CWMP, dm.ForGet, "", dm.ErrNoInstance},
		{"Shop.Shelf.[middle].Alias", dm.CWMP, dm.ForGet, "", dm.ErrNoInstance},
		{"Shop", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Shop.Name.", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Shop.Shelf", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Shop.Shelf.10", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Shop.Shelf.10.10.", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Shop.Shelf.Alias", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Shop.Shelf.Alias.", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Shop.Shop.", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"Store.", dm.CWMP, dm.ForGet, "", dm.ErrUnknown},
		{"shop.", dm.CWMP, dm.ForGet, "", dm.ErrUnknown}, // names are case-sensitive

		{"Shop.Shelf.10.Alias", dm.CWMP, dm.ForSet, "Shop.Shelf.10.Alias", nil},
		{"Shop.Shelf.*.Alias", dm.USP, dm.ForSet, "Shop.Shelf.10.Alias Shop.Shelf.30.Alias", nil},
		{"Shop.Shelf.*.Box.*.Label", dm.USP, dm.ForSet, "", dm.ErrReadOnly},
		{"Shop.Shelf.*.Box.70.Label", dm.USP, dm.ForSet, "", dm.ErrNoInstance}, // a set is not
		{"Shop.Name", dm.CWMP, dm.ForSet, "", dm.ErrReadOnly},
		{"Shop.Shelf.10.", dm.CWMP, dm.ForSet, "", dm.ErrUnknown},
		{"", dm.CWMP, dm.ForSet, "", dm.ErrUnknown},
	} {
		p, err := dm.ParsePath(tc.path, tc.syntax)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := dm.Resolve(toy, goods(), p, tc.purpose)
		if !errors.Is(err, tc.err) || (tc.err == nil) != (err == nil) {
			t.Errorf("%s %s: error %v, want %v", tc.purpose, tc.path, err, tc.err)
			continue
		}
		if err != nil && fault.ReasonOf(err) != fault.InvalidArguments {
			t.Errorf("%s %s: error of class %s", tc.purpose, tc.path, fault.ReasonOf(err))
		}
		if dm.IsUnknown(err) != (err != nil && tc.err != dm.ErrReadOnly) {
			t.Errorf("%s %s: IsUnknown(%v) = %t", tc.purpose, tc.path, err, dm.IsUnknown(err))
		}
		if got := strings.Join(paths(t, nodes), " "); got != tc.want {
			t.Errorf("%s %s = %s, want %s", tc.purpose, tc.path, got, tc.want)
		}
	}
}

// A wildcard over an empty table still tells a name that exists from one that does not.
func TestResolveInEmptyTable(t *testing.T) {
	for path, want := range map[string]error{
		"Shop.Shelf.*.Box.*.Label": nil, "Shop.Shelf.*.": nil, "Shop.Shelf.*.Box.10.": nil,
		"Shop.Shelf.*.Bix.*.Label": dm.ErrUnknown, "Shop.Shelf.*.Box.Label": dm.ErrUnknown, "Shop.Shelf.*.Box.*": dm.ErrUnknown,
	} {
		p, err := dm.ParsePath(path, dm.USP)
		if err != nil {
			t.Fatal(err)
		}
		nodes, err := dm.Resolve(toy, &shop{}, p, dm.ForGet)
		if len(nodes) != 0 || !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("get %s = %v, %v, want nothing and error %v", path, paths(t, nodes), err, want)
		}
	}
}

func TestWalk(t *testing.T) {
	nodes, err := dm.Resolve(toy, goods(), dm.Path{Partial: true}, dm.ForGet)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"", "Shop.", "Shop.Name", "Shop.Shelf.",
		"Shop.Shelf.10.", "Shop.Shelf.10.Alias", "Shop.Shelf.10.Box.",
		"Shop.Shelf.10.Box.10.", "Shop.Shelf.10.Box.10.Label", "Shop.Shelf.10.Box.20.", "Shop.Shelf.10.Box.20.Label", "Shop.Shelf.10.Extras.",
		"Shop.Shelf.30.", "Shop.Shelf.30.Alias", "Shop.Shelf.30.Box.", "Shop.Shelf.30.Box.20.", "Shop.Shelf.30.Box.20.Label", "Shop.Shelf.30.Extras.",
	}
	if got := paths(t, slices.Collect(nodes[0].All())); !slices.Equal(got, want) {
		t.Errorf("All = %q, want %q", got, want)
	}
	for stop := range len(want) { // whoever stops early is not called again
		n := 0
		for range nodes[0].All() {
			if n++; n > stop {
				break
			}
		}
	}
	shopNode := slices.Collect(nodes[0].Children())[0]
	if got, want := paths(t, slices.Collect(shopNode.Children())), []string{"Shop.Name", "Shop.Shelf."}; !slices.Equal(got, want) {
		t.Errorf("Children = %q, want %q", got, want)
	}
}

func TestValidateFindsMistakes(t *testing.T) {
	text := func(*shop) string { return "" }
	ok := dm.Parameter[*shop]{Name: "P", Type: dm.String, Since: "1", Text: text}
	for name, o := range map[string]*dm.Object[*shop]{
		"bad name":          {Parameters: []*dm.Parameter[*shop]{{Name: "1", Type: dm.String, Since: "1", Text: text}}},
		"twice":             {Parameters: []*dm.Parameter[*shop]{&ok, &ok}},
		"object and param":  {Parameters: []*dm.Parameter[*shop]{&ok}, Objects: []*dm.Object[*shop]{{Name: "P"}}},
		"no type":           {Parameters: []*dm.Parameter[*shop]{{Name: "P", Since: "1", Text: text}}},
		"no reader":         {Parameters: []*dm.Parameter[*shop]{{Name: "P", Type: dm.String, Since: "1"}}},
		"wrong reader":      {Parameters: []*dm.Parameter[*shop]{{Name: "P", Type: dm.Int, Since: "1", Text: text}}},
		"no version":        {Parameters: []*dm.Parameter[*shop]{{Name: "P", Type: dm.String, Text: text}}},
		"command read":      {Parameters: []*dm.Parameter[*shop]{{Name: "P", Type: dm.String, Since: "1", Text: text, Command: true, Attribute: "a"}}},
		"command read-only": {Parameters: []*dm.Parameter[*shop]{{Name: "P", Type: dm.String, Since: "1", Command: true}}},
		"range":             {Parameters: []*dm.Parameter[*shop]{{Name: "P", Type: dm.UnsignedInt, Since: "1", Range: dm.Range{Min: -1, Max: 1}, Int: func(*shop) int64 { return 0 }}}},
		"table":             {Table: &dm.Table[*shop]{}},
		"below":             {Objects: []*dm.Object[*shop]{{Name: "O", Parameters: []*dm.Parameter[*shop]{{Name: "P"}}}}},
	} {
		if err := o.Validate(); err == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

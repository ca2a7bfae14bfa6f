package datamodel_test

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/smmd-project/smmd/agent/fault"
	dm "github.com/smmd-project/smmd/mapping/datamodel"
)

// garage is a consumer with every type: cars, with owners that they refer to.
type garage struct {
	cars   []*car
	owners []string
}

type car struct {
	name   string
	used   bool
	speed  int64
	seats  int64
	built  time.Time
	owners []int // instance numbers of owners; 0: a reference to nothing
}

// spot is a place in a garage.
type spot struct {
	g     *garage
	car   *car
	owner string
}

// table makes a table of a list; instance numbers are the places from 1.
func table[T any](all func(spot) []T, at func(spot, T) spot) *dm.Table[spot] {
	rows := func(s spot) iter.Seq2[uint32, spot] {
		return func(yield func(uint32, spot) bool) {
			for i, x := range all(s) {
				if !yield(uint32(i+1), at(s, x)) {
					return
				}
			}
		}
	}
	return &dm.Table[spot]{Rows: rows, Row: func(s spot, n uint32) (spot, bool) {
		for i, r := range rows(s) {
			if i == n {
				return r, true
			}
		}
		return spot{}, false
	}}
}

func ownerPath(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("G.Owner.%d", n)
}

var garageSchema = &dm.Object[spot]{Objects: []*dm.Object[spot]{{
	Name: "G",
	Commands: []*dm.Command{{
		Name: "Open()", Since: "2.1", Inputs: []*dm.Argument{{Name: "Key", Type: dm.String, Since: "2.1"}},
	}},
	Events: []*dm.Event{{Name: "Opened!", Since: "2.1"}},
	Objects: []*dm.Object[spot]{
		{
			Name: "Car", UniqueKeys: [][]string{{"Name"}, {"Speed", "Built"}},
			Table: table(func(s spot) []*car { return s.g.cars }, func(s spot, c *car) spot { return spot{g: s.g, car: c} }),
			Parameters: []*dm.Parameter[spot]{
				{Name: "Name", Type: dm.String, Since: "2.1", Text: func(s spot) string { return s.car.name }},
				{Name: "Used", Type: dm.Boolean, Since: "2.1", Bool: func(s spot) bool { return s.car.used }},
				{Name: "Speed", Type: dm.Int, Since: "2.1", Int: func(s spot) int64 { return s.car.speed }},
				{Name: "Built", Type: dm.DateTime, Since: "2.1", Time: func(s spot) time.Time { return s.car.built }},
				{Name: "Driver", Type: dm.String, Reference: "G.Owner.", Since: "2.1", Text: func(s spot) string {
					if len(s.car.owners) == 0 {
						return ""
					}
					return ownerPath(s.car.owners[0])
				}},
				{Name: "Owners", Type: dm.String, List: true, Reference: "G.Owner.", Since: "2.1", Text: func(s spot) string {
					var all []string
					for _, n := range s.car.owners {
						all = append(all, ownerPath(n))
					}
					return strings.Join(all, ",")
				}},
			},
			Commands: []*dm.Command{{Name: "Start()", Since: "2.1"}},
			Objects: []*dm.Object[spot]{{
				Name: "Inside",
				Parameters: []*dm.Parameter[spot]{
					{Name: "Seats", Type: dm.UnsignedInt, Since: "2.1", Int: func(s spot) int64 { return s.car.seats }},
				},
			}},
		},
		{
			Name: "Owner", UniqueKeys: [][]string{{"Name"}},
			Table:      table(func(s spot) []string { return s.g.owners }, func(s spot, o string) spot { return spot{g: s.g, owner: o} }),
			Parameters: []*dm.Parameter[spot]{{Name: "Name", Type: dm.String, Since: "2.1", Text: func(s spot) string { return s.owner }}},
			Objects: []*dm.Object[spot]{{
				Name: "Hat", Table: table(func(spot) []string { return nil }, func(s spot, _ string) spot { return s }),
				Parameters: []*dm.Parameter[spot]{{Name: "Size", Type: dm.Int, Since: "2.1", Int: func(spot) int64 { return 0 }}},
			}},
		},
	},
}}}

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func cars() spot {
	return spot{g: &garage{
		cars: []*car{
			{name: "a", used: true, speed: -1, seats: 4, built: newYear, owners: []int{2, 1}},
			{name: `b"%`, speed: 120, seats: 2, owners: []int{1}},
			{name: "c", used: true, speed: 120, seats: 4, built: newYear.Add(time.Hour)},
			{name: "d", speed: 7, seats: 1, owners: []int{0, 3}},
		},
		owners: []string{"Ann", "Bob"},
	}}
}

func TestGarageIsValid(t *testing.T) {
	if err := garageSchema.Validate(); err != nil {
		t.Fatal(err)
	}
}

func TestSearch(t *testing.T) {
	for _, tc := range []struct {
		path   string
		want   string // separated by spaces
		search bool
		err    error
	}{
		{`G.Car.[Name=="a"].`, "G.Car.1.", false, nil},
		{`G.Car.[Name!="a"].Speed`, "G.Car.2.Speed G.Car.3.Speed G.Car.4.Speed", true, nil},
		{`G.Car.[Name=="b%22%25"].`, "G.Car.2.", false, nil},
		{`G.Car.[ Name == "a" && Used == 1 ].`, "G.Car.1.", true, nil},
		{`G.Car.[Used==true].`, "G.Car.1. G.Car.3.", true, nil},
		{`G.Car.[Used!=0].`, "G.Car.1. G.Car.3.", true, nil},
		{`G.Car.[Speed>7].`, "G.Car.2. G.Car.3.", true, nil},
		{`G.Car.[Speed>=+007].`, "G.Car.2. G.Car.3. G.Car.4.", true, nil},
		{`G.Car.[Speed<7].`, "G.Car.1.", true, nil},
		{`G.Car.[Speed<=-1].`, "G.Car.1.", true, nil},
		{`G.Car.[Inside.Seats==4].Inside.Seats`, "G.Car.1.Inside.Seats G.Car.3.Inside.Seats", true, nil},
		{`G.Car.[Built<2026-01-01T00:30:00Z].`, "G.Car.1.", true, nil},
		{`G.Car.[Built==2026-01-01T01:00:00+01:00].`, "G.Car.1.", true, nil},
		{`G.Car.[Built==0001-01-01T00:00:00Z].`, "G.Car.2. G.Car.4.", true, nil},
		{`G.Car.[Owners~="G.Owner.1"].`, "G.Car.1. G.Car.2.", true, nil},
		{`G.Car.[Owners=="G.Owner.1"].`, "G.Car.2.", true, nil},
		{`G.Car.[Driver+.Name=="Ann"].`, "G.Car.2.", true, nil},
		{`G.Car.[Owners#*+.Name=="Ann"].`, "G.Car.1. G.Car.2.", true, nil},
		{`G.Car.[Owners#2+.Name=="Ann"].`, "G.Car.1.", true, nil},
		{`G.Car.[Name=="z"].`, "", false, dm.ErrNoInstance},
		{`G.Car.[Name=="z"&&Speed==1].`, "", true, nil},
		{`G.Car.*.Driver+.Name`, "G.Owner.2.Name G.Owner.1.Name", true, nil}, // one owner once; cars without one are left out
		{`G.Car.1.Driver+.`, "G.Owner.2.", false, nil},
		{`G.Car.1.Owners+.Name`, "G.Owner.2.Name", false, nil},
		{`G.Car.1.Owners#2+.Name`, "G.Owner.1.Name", false, nil},
		{`G.Car.1.Owners#3+.Name`, "", false, dm.ErrNoInstance},
		{`G.Car.1.Owners#*+.`, "G.Owner.2. G.Owner.1.", true, nil},
		{`G.Car.3.Owners#*+.`, "", true, nil},
		{`G.Car.3.Driver+.Name`, "", false, dm.ErrNoInstance},
		{`G.Car.4.Owners#2+.Name`, "", false, dm.ErrNoInstance}, // owner 3 is gone
		{`G.Car.4.Owners#1+.Name`, "", false, dm.ErrNoInstance},
		{`G.Open()`, "G.Open()", false, nil},
		{`G.Car.[Used==true].Start()`, "G.Car.1.Start() G.Car.3.Start()", true, nil},
		{`G.Opened!`, "G.Opened!", false, nil},

		{`G.Close()`, "", false, dm.ErrUnknown},
		{`G.Closed!`, "", false, dm.ErrUnknown},
		{`G.Open`, "", false, dm.ErrUnknown},
		{`G.Car.[Wheels==4].`, "", false, dm.ErrUnknown},
		{`G.Car.[Inside.Doors==4].`, "", false, dm.ErrUnknown},
		{`G.Car.[Inside==4].`, "", false, dm.ErrUnknown},
		{`G.Car.1.Name+.`, "", false, dm.ErrUnknown},
		{`G.Car.1.Driver#2+.`, "", false, dm.ErrUnknown},
		{`G.Car.1.Driver+.Hat.Size`, "", false, dm.ErrUnknown},
		{`G.Owner.[Hat.Size==1].`, "", false, dm.ErrSyntax},
		{`G.Car.[Driver+.Hat.Size==1].`, "", false, dm.ErrSyntax},
		{`G.Car.[Used=="true"].`, "", false, dm.ErrSyntax},
		{`G.Car.[Used>false].`, "", false, dm.ErrSyntax},
		{`G.Car.[Used==2].`, "", false, dm.ErrSyntax},
		{`G.Car.[Name==a].`, "", false, dm.ErrSyntax},
		{`G.Car.[Name>"a"].`, "", false, dm.ErrSyntax},
		{`G.Car.[Name~="a"].`, "", false, dm.ErrSyntax},
		{`G.Car.[Speed=="7"].`, "", false, dm.ErrSyntax},
		{`G.Car.[Speed~=7].`, "", false, dm.ErrSyntax},
		{`G.Car.[Speed==7.5].`, "", false, dm.ErrSyntax},
		{`G.Car.[Owners<"a"].`, "", false, dm.ErrSyntax},
		{`G.Car.[Owners~=1].`, "", false, dm.ErrSyntax},
		{`G.Car.[Built==yesterday].`, "", false, dm.ErrSyntax},
		{`G.Car.[Built>0001-01-01T00:00:00Z].`, "", false, dm.ErrSyntax},
	} {
		p, err := dm.ParsePath(tc.path, dm.USP)
		if err != nil {
			t.Errorf("%s: %v", tc.path, err)
			continue
		}
		nodes, err := dm.Resolve(garageSchema, cars(), p, dm.ForGet)
		if !errors.Is(err, tc.err) || (tc.err == nil) != (err == nil) || err != nil && fault.ReasonOf(err) != fault.InvalidArguments {
			t.Errorf("%s: error %v, want %v", tc.path, err, tc.err)
			continue
		}
		var got []string
		for _, n := range nodes {
			got = append(got, n.Path)
			if n.Command != nil && !slices.Equal(slices.Collect(n.Children()), nil) {
				t.Errorf("%s has children", n.Path)
			}
		}
		if strings.Join(got, " ") != tc.want {
			t.Errorf("%s = %q, want %q", tc.path, got, tc.want)
		}
		if place, err := dm.Locate(garageSchema, p); err == nil && place.Search != tc.search {
			t.Errorf("%s: Search is %t, want %t", tc.path, place.Search, tc.search)
		}
	}
}

// However a path goes from row to row, what it costs has an end.
func TestFollowingHasAnEnd(t *testing.T) {
	many := spot{g: &garage{owners: []string{"Ann"}}}
	for range 1000 {
		many.g.cars = append(many.g.cars, &car{owners: slices.Repeat([]int{1}, 200)})
	}
	for path, want := range map[string]error{
		`G.Car.1.Owners#*+.Name`: nil, `G.Car.[Owners#*+.Name=="Bob"].`: dm.ErrTooMuch, `G.Car.*.Owners#7+.Name`: dm.ErrTooMuch,
	} {
		p, err := dm.ParsePath(path, dm.USP)
		if err != nil {
			t.Fatal(err)
		}
		if nodes, err := dm.Resolve(garageSchema, many, p, dm.ForGet); !errors.Is(err, want) || want == nil && len(nodes) != 1 {
			t.Errorf("%s: %d places, %v, want %v", path, len(nodes), err, want)
		}
	}
}

func TestParseUSPRefuses(t *testing.T) {
	for _, s := range []string{
		`G.Car.[].`, `G.Car.[Name].`, `G.Car.[Name==].`, `G.Car.[=="a"].`, `G.Car.[Name=="a".`, `G.Car.[Name=="a]`, `G.Car.[Name=="a"`, `G.Car.[Name="a"].`,
		`G.Car.[Name=="a"&&].`, `G.Car.[Name=="a"||Name=="b"].`, `G.Car.[Name=="a"]Speed`, `G.Car.[Name=="%2"].`, `G.Car.[Name=="%zz"].`,
		`G.Car.[A.*.B==1].`, `G.Car.[A.1.B==1].`, `G.Car.[A+==1].`, `G.Car.[Owners#0+.A==1].`, `G.Car.[Name==a"b].`, `G.Car.{Name=="a"}.`, `G.Car.[Name===1].`,
		`G.Car.1.Driver+`, `G.Car.1.Driver#+.Name`, `G.Car.1.Driver#0+.Name`, `G.Car.1.Driver#01+.Name`, `G.Car.1.#1+.Name`, `G.Car.1.+.Name`, `+.Name`,
		`G.Open().`, `G.Open().A`, `G.Opened!.`, `G.()`, `G.!`, `G.Open()!`, `G.Open(a)`, `Open()`, `G.Car.{i}.Name`, `G.Car.+1.`,
		`G.` + strings.Repeat("A.", 40), `G.Car.[` + strings.Repeat("A==1&&", 40) + `A==1].`,
	} {
		if p, err := dm.ParsePath(s, dm.USP); !errors.Is(err, dm.ErrSyntax) || fault.ReasonOf(err) != fault.InvalidArguments {
			t.Errorf("ParsePath(%q) = %v, %v, want a syntax error", s, p, err)
		}
	}
}

func TestLocateSupported(t *testing.T) {
	for path, want := range map[string]string{
		"G.": "G.", "G.Car.": "G.Car.", "G.Car.{i}.": "G.Car.{i}.", "G.Car.{i}.Name": "G.Car.{i}.Name", "G.Owner.{i}.Hat.": "G.Owner.{i}.Hat.",
		"G.Owner.1.Hat.": "G.Owner.{i}.Hat.", "G.Owner.1.Hat.{i}.": "G.Owner.{i}.Hat.{i}.", "G.Car.{i}.Start()": "G.Car.{i}.Start()", "G.Opened!": "G.Opened!",
		"G.Car.1.Driver+.": "G.Owner.{i}.",
		"G.{i}.":           "", "G.Car.{i}.Nome": "", "G.Car.{i}": "",
	} {
		p, err := dm.ParsePath(path, dm.Supported)
		if err != nil {
			t.Error(err)
			continue
		}
		place, err := dm.Locate(garageSchema, p)
		if place.Path != want || (want == "") != errors.Is(err, dm.ErrUnknown) {
			t.Errorf("%s is %q, %v, want %q", path, place.Path, err, want)
		}
	}
	for _, path := range []string{"G.Owner.{i}.Hat.1.", "G.Car.{i}.Driver+.Name", "G.Owner.{i}.Hat.*.Size"} {
		if _, err := dm.ParsePath(path, dm.Supported); !errors.Is(err, dm.ErrSyntax) {
			t.Errorf("%s: %v, want a syntax error", path, err)
		}
	}
}

// operatorsOf is what a naive evaluator compares: a pair of numbers. The unknown time and booleans have no order.
func naive(o dm.Operator, a, b float64) bool {
	return map[dm.Operator]bool{"==": a == b, "!=": a != b, "<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[o]
}

// TestSearchAgainstNaiveEvaluator makes expressions of conditions whose truth it knows without reading them.
func TestSearchAgainstNaiveEvaluator(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := &garage{owners: []string{"Ann", "Bob"}}
		names := rapid.SampledFrom([]string{"a", "b", `q"`, "%", "x.y]", "&&"})
		for range rapid.IntRange(0, 5).Draw(t, "cars") {
			g.cars = append(g.cars, &car{
				name: names.Draw(t, "name"), used: rapid.Bool().Draw(t, "used"), speed: rapid.Int64Range(-2, 2).Draw(t, "speed"),
				seats: rapid.Int64Range(0, 2).Draw(t, "seats"), built: newYear.Add(time.Duration(rapid.Int64Range(0, 2).Draw(t, "built")) * time.Hour),
			})
		}
		var c []dm.Component
		var tests []func(*car) bool
		for range rapid.IntRange(1, 3).Draw(t, "conditions") {
			ordered := rapid.SampledFrom([]dm.Operator{"==", "!=", "<", ">", "<=", ">="}).Draw(t, "operator")
			plain := rapid.SampledFrom([]dm.Operator{"==", "!="}).Draw(t, "plain operator")
			n := rapid.Int64Range(-2, 2).Draw(t, "constant")
			path := func(names ...string) (segs []dm.Segment) {
				for _, s := range names {
					segs = append(segs, dm.Segment{Kind: dm.Name, Text: s})
				}
				return segs
			}
			switch rapid.IntRange(0, 4).Draw(t, "parameter") {
			case 0:
				s := names.Draw(t, "wanted")
				c = append(c, dm.Component{Path: path("Name"), Operator: plain, Constant: s, Quoted: true})
				tests = append(tests, func(x *car) bool { return (x.name == s) == (plain == "==") })
			case 1:
				c = append(c, dm.Component{Path: path("Used"), Operator: plain, Constant: fmt.Sprint(n > 0)})
				tests = append(tests, func(x *car) bool { return (x.used == (n > 0)) == (plain == "==") })
			case 2:
				c = append(c, dm.Component{Path: path("Speed"), Operator: ordered, Constant: fmt.Sprint(n)})
				tests = append(tests, func(x *car) bool { return naive(ordered, float64(x.speed), float64(n)) })
			case 3:
				c = append(c, dm.Component{Path: path("Inside", "Seats"), Operator: ordered, Constant: fmt.Sprint(n)})
				tests = append(tests, func(x *car) bool { return naive(ordered, float64(x.seats), float64(n)) })
			case 4:
				at := newYear.Add(time.Duration(n) * time.Hour)
				c = append(c, dm.Component{Path: path("Built"), Operator: ordered, Constant: at.Format(time.RFC3339)})
				tests = append(tests, func(x *car) bool { return naive(ordered, float64(x.built.Unix()), float64(at.Unix())) })
			}
		}
		text := dm.Path{Segments: []dm.Segment{{Kind: dm.Name, Text: "G"}, {Kind: dm.Name, Text: "Car"}, {Kind: dm.Search, Search: c}}, Partial: true}.String()
		p, err := dm.ParsePath(text, dm.USP)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if p.String() != text {
			t.Fatalf("%s came back as %s", text, p)
		}
		nodes, err := dm.Resolve(garageSchema, spot{g: g}, p, dm.ForGet)
		var got, want []string
		for _, n := range nodes {
			got = append(got, n.Path)
		}
		for i, x := range g.cars {
			if !slices.ContainsFunc(tests, func(f func(*car) bool) bool { return !f(x) }) {
				want = append(want, fmt.Sprintf("G.Car.%d.", i+1))
			}
		}
		if err != nil && !(errors.Is(err, dm.ErrNoInstance) && len(want) == 0) || !slices.Equal(got, want) {
			t.Fatalf("%s finds %q (%v), want %q", text, got, err, want)
		}
	})
}

// Whatever a path says, it is judged and resolved without harm, and a place that is found is found again under its own path.
func FuzzResolveUSP(f *testing.F) {
	for _, s := range []string{
		`G.`, `G.Car.*.`, `G.Car.[Name=="a"].Speed`, `G.Car.[Owners#*+.Name=="Ann"&&Speed>-3].Owners#*+.Name`, `G.Car.1.Owners#2+.`, `G.Car.*.Start()`,
		`G.Car.[Built<2026-01-01T00:30:00Z].`, `G.Car.*.Owners#*+.Hat.*.Size`, `G.Opened!`, `G.Car.[Name=="%22"].`, `G.Car.4294967295.`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := dm.ParsePath(s, dm.USP)
		if err != nil {
			return
		}
		nodes, err := dm.Resolve(garageSchema, cars(), p, dm.ForGet)
		if err != nil && !dm.IsUnknown(err) {
			t.Fatalf("%q: %v", s, err)
		}
		if len(nodes) > math.MaxInt8 {
			t.Fatalf("%q stands for %d places", s, len(nodes))
		}
		for _, n := range nodes {
			own, err := dm.ParsePath(n.Path, dm.USP)
			if err != nil {
				t.Fatalf("%q stands for %q: %v", s, n.Path, err)
			}
			again, err := dm.Resolve(garageSchema, cars(), own, dm.ForGet)
			if err != nil || len(again) != 1 || again[0].Path != n.Path {
				t.Fatalf("%q stands for %q, which stands for %v, %v", s, n.Path, again, err)
			}
		}
	})
}
